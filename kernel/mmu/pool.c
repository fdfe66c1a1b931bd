// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The fault threads of a mirror. They serve its queued faults, for callers that must not sleep.
 *
 * Each request is first tried quickly, without waiting for whoever has to bring a page
 * (userfaultfd, a swap device, a file system). If it would have to wait, a thread may wait for it;
 * but only a limited number of threads wait at a time, so that some are left for requests that need
 * no waiting. A request that gets no thread to wait in sleeps, and is tried quickly again from time
 * to time. A sleeping request needs no memory but its own, so any number of them may sleep.
 *
 * A userfaultfd server hears of a fault only if a thread waits for it. So each request gets such a
 * thread in turn: when others want one, the watch ends the longest waits, by a SIGKILL that the
 * thread survives, and their requests sleep. A server may not have read the message by then, so
 * such a request gets a thread to wait in again, at growing intervals.
 *
 * A thread holds mm_users while it faults. If nobody else holds mm_users, the owner has exited: the
 * watch ends every wait, and the address space can be taken down.
 *
 * Uses request.c for the requests, fault.c to fault, and leaf.c; mirror.c, above it, creates pools
 * and ends them.
 */
#include <linux/completion.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/refcount.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/wait.h>
#include "base/prxe.h"
#include "mmu/fault.h"
#include "mmu/leaf.h"
#include "mmu/pool.h"
#include "mmu/request.h"

#define IDLE_TIME	(5 * HZ)
#define RETRY_TIME	(HZ / 10)	/* until another try to start a thread */

#define QUICK_TIME	msecs_to_jiffies(10)	/* a quick try that takes longer counts as a wait */
#define SLICE		msecs_to_jiffies(40)	/* longer waits may be ended for others */
#define STUCK_TIME	(HZ / 10)	/* a thread that does not end its wait in time is stuck */
#define KEEP_TIME	HZ	/* after which a stuck thread of a dying mirror holds the module */

enum thread_state { IDLE, QUICK, WAITING };

struct fault_thread {
	struct prxe_fault_pool *pool;	/* with a reference on its mirror */
	struct task_struct *task;	/* with a reference; set before the thread runs */
	struct list_head node;		/* pool->list */
	struct list_head all;		/* all_threads, until threads_join() frees it */
	struct completion exited;
	/* Under pool->lock: */
	enum thread_state state;
	u8 class;			/* class of the request that it serves */
	bool holds;			/* it holds mm_users */
	bool ended;			/* it was told (by SIGKILL) to end its wait */
	bool stuck;			/* told, but does not end, as on a frozen file system */
	bool keeps_module;		/* it holds a reference on the module; see threads_keep() */
	unsigned long since;		/* when it entered its state, or was told to end */
};

static LIST_HEAD(all_threads);
static DEFINE_MUTEX(all_threads_lock);
static atomic_t threads_over;	/* threads that have ended and were not freed yet */
static struct workqueue_struct *fault_wq;

/* ---- one thread ---- */

/* The thread begins to serve a request of @class. */
static void thread_enter(struct fault_thread *t, unsigned int class, enum thread_state state)
{
	struct prxe_fault_pool *pool = t->pool;

	lockdep_assert_held(&pool->lock);
	t->class = class;
	t->state = state;
	t->since = jiffies;
	pool->class[class].running++;
	if (state == WAITING)
		pool->class[class].waiting++;
	/* Without mm_users, thread_try() ends the request with -ESRCH. */
	t->holds = !READ_ONCE(pool->mirror->dead) && mmget_not_zero(pool->mirror->mm);
	if (t->holds)
		pool->holders++;
	prxe_pool_work_later(pool, FAULT_WATCH);
}

/*
 * The thread counts as waiting from now on: it is about to wait, or its quick try takes too long.
 */
static void thread_waits(struct fault_thread *t)
{
	lockdep_assert_held(&t->pool->lock);
	t->state = WAITING;
	t->pool->class[t->class].waiting++;
}

static void thread_uncount(struct fault_thread *t)
{
	struct fault_class *c = &t->pool->class[t->class];

	c->running--;
	if (t->state == WAITING)
		c->waiting--;
}

/*
 * The thread has ended its try. True: it holds mm_users, and the caller gives them back;
 * pool->holders does not count them any more.
 */
static bool thread_leave(struct fault_thread *t)
{
	struct prxe_fault_pool *pool = t->pool;
	bool held = t->holds;

	lockdep_assert_held(&pool->lock);
	if (t->stuck)
		pool->stuck--;
	else
		thread_uncount(t);
	/*
	 * A thread is told under this lock, so a signal that is pending here was sent for the wait
	 * that has ended, and for no other. The end of the pool is not lost with it: pool->dying
	 * says that.
	 */
	if (t->ended)
		flush_signals(current);
	t->state = IDLE;
	t->stuck = false;
	t->ended = false;
	t->holds = false;
	if (held)
		pool->holders--;
	return held;
}

/*
 * Tell a thread to end its wait. It does so at the next place where the kernel checks for a fatal
 * signal.
 */
static void thread_end_wait(struct fault_thread *t)
{
	lockdep_assert_held(&t->pool->lock);
	if (t->ended || t->state == IDLE)
		return;
	t->ended = true;
	t->since = jiffies;
	send_sig(SIGKILL, t->task, 1);
}

/* Take the next request for this thread, and note whether it waits or tries quickly. NULL: none. */
static struct prxe_fault_req *thread_take(struct fault_thread *t)
{
	bool waits = false;
	struct prxe_fault_req *req = prxe_pool_next(t->pool, &waits);

	if (req)
		thread_enter(t, req->class, waits ? WAITING : QUICK);
	return req;
}

/* Wait for the next request. NULL: this thread is to end, and is off the pool's list. */
static struct prxe_fault_req *thread_next(struct fault_thread *t)
{
	struct prxe_fault_pool *pool = t->pool;
	struct prxe_fault_req *req;
	bool timeout = false;
	DEFINE_WAIT(wait);

	spin_lock_bh(&pool->lock);
	for (;;) {
		req = pool->dying ? NULL : thread_take(t);
		/* The last thread stays: starting one takes longer than most faults. */
		if (req || pool->dying || (timeout && pool->threads > 1))
			break;
		pool->idle++;
		prepare_to_wait_exclusive(&pool->wait, &wait, TASK_IDLE);
		spin_unlock_bh(&pool->lock);
		timeout = !schedule_timeout(IDLE_TIME);
		spin_lock_bh(&pool->lock);
		finish_wait(&pool->wait, &wait);
		pool->idle--;
	}
	if (!req) {
		pool->threads--;
		list_del_init(&t->node);
		/* Run the watch now: no timer of the pool may outlive the module. */
		if (pool->dying && !pool->threads)
			prxe_pool_work_later(pool, 0);
	}
	spin_unlock_bh(&pool->lock);
	return req;
}

/* Has another fault published the translation that @miss lacks? */
static bool miss_is_over(const struct prxe_miss *miss)
{
	unsigned long need = PRXE_ENTRY_VALID | (miss->write ? PRXE_ENTRY_WRITE : 0);
	unsigned long *entry = NULL, size;
	struct prxe_leaf *leaf;
	bool over = false;

	if (READ_ONCE(prxe_force_fault))
		return false;
	rcu_read_lock();
	leaf = prxe_mirror_leaf(miss->mirror, miss->va);
	if (leaf)
		entry = prxe_leaf_entry(leaf, miss->va, &size);
	if (entry)
		over = (READ_ONCE(*entry) & need) == need;
	rcu_read_unlock();
	return over;
}

static int thread_try(const struct fault_thread *t, const struct prxe_fault_req *req, bool wait)
{
	const struct prxe_miss *miss = &req->miss;

	if (!t->holds)
		return -ESRCH;
	if (req->class == FAULT_TRANSFER && miss_is_over(miss))
		return 0;
	return prxe_fault_once(miss->mirror, miss->va, miss->len,
			       req->flags | (wait ? 0 : FAULT_QUICK));
}

/* The thread's quick try would have to wait. May it wait now? If so, it counts as waiting. */
static bool thread_may_wait(struct fault_thread *t)
{
	struct prxe_fault_pool *pool = t->pool;
	bool may = false;

	spin_lock_bh(&pool->lock);
	if (t->state == QUICK && !t->ended && prxe_pool_may_wait(pool, t->class)) {
		thread_waits(t);
		t->since = jiffies;
		may = true;
	}
	spin_unlock_bh(&pool->lock);
	return may;
}

static void thread_serve(struct fault_thread *t, struct prxe_fault_req *req)
{
	struct prxe_fault_pool *pool = t->pool;
	struct prxe_mirror *mirror = pool->mirror;
	int ret = -EAGAIN;
	bool held, again, waited;

	/*
	 * The watch may set WAITING, and only thread_leave(), below, ends it: so the state may be
	 * read without the lock.
	 */
	if (READ_ONCE(t->state) == QUICK)
		ret = thread_try(t, req, false);
	if (ret == -EAGAIN && (READ_ONCE(t->state) == WAITING || thread_may_wait(t)))
		ret = thread_try(t, req, true);

	spin_lock_bh(&pool->lock);
	waited = t->state == WAITING;
	held = thread_leave(t);
	again = prxe_fault_goes_on(req, ret) && !pool->dying && !READ_ONCE(mirror->dead);
	if (again)
		prxe_fault_again(pool, req, ret, waited);
	else if (prxe_fault_goes_on(req, ret))
		ret = pool->dying ? -EINTR : -ESRCH;
	/*
	 * This thread takes the next request itself. If there is one more, wake another thread for
	 * it: it may have been held back by this thread's wait.
	 */
	if (pool->idle && prxe_pool_ready(pool) > 1)
		wake_up(&pool->wait);
	spin_unlock_bh(&pool->lock);
	/* mmput_async(): the last mmput() takes the address space down, which takes long. */
	if (held)
		mmput_async(mirror->mm);
	if (again)
		return;
	if (!ret && req->class == FAULT_TRANSFER)
		prxe_mirror_count_fault(mirror, true);
	prxe_fault_finish(req, ret);
}

static int fault_thread(void *arg)
{
	struct fault_thread *t = arg;
	struct prxe_mirror *mirror = t->pool->mirror;
	struct prxe_fault_req *req;

	/* Before the first request, because SIGKILL is how a wait is ended. */
	allow_kernel_signal(SIGKILL);
	while ((req = thread_next(t)))
		thread_serve(t, req);
	prxe_mirror_put(mirror);
	atomic_inc(&threads_over);
	/*
	 * Both ways to exit end in the kernel's own text: so no code of the module runs after the
	 * completion that prxe_fault_exit() waits for, or after the reference on the module is
	 * dropped.
	 */
	if (!t->keeps_module)
		kthread_complete_and_exit(&t->exited, 0);
	complete(&t->exited);
	module_put_and_kthread_exit(0);
}

/*
 * Free the structures of threads that have ended. With @all, kill every thread, and wait for its
 * end.
 */
static void threads_join(bool all)
{
	struct fault_thread *t, *next;

	if (!all && !atomic_read(&threads_over))
		return;
	mutex_lock(&all_threads_lock);
	list_for_each_entry_safe(t, next, &all_threads, all) {
		if (all) {
			send_sig(SIGKILL, t->task, 1);
			wait_for_completion(&t->exited);
		} else if (!completion_done(&t->exited)) {
			continue;
		}
		atomic_dec(&threads_over);
		list_del(&t->all);
		put_task_struct(t->task);
		kfree(t);
	}
	mutex_unlock(&all_threads_lock);
}

static int thread_start(struct prxe_fault_pool *pool)
{
	struct fault_thread *t = kzalloc(sizeof(*t), GFP_KERNEL);
	struct task_struct *task;

	if (!t)
		return -ENOMEM;
	t->pool = pool;
	INIT_LIST_HEAD(&t->node);
	init_completion(&t->exited);
	task = kthread_create(fault_thread, t, "prxe_fault");
	if (IS_ERR(task)) {
		kfree(t);
		return PTR_ERR(task);
	}
	get_task_struct(task);
	t->task = task;

	mutex_lock(&all_threads_lock);
	list_add_tail(&t->all, &all_threads);
	mutex_unlock(&all_threads_lock);

	refcount_inc(&pool->mirror->ref);
	spin_lock_bh(&pool->lock);
	/* If the pool is dying by now, the thread finds that out, and ends. */
	pool->threads++;
	list_add_tail(&t->node, &pool->list);
	spin_unlock_bh(&pool->lock);
	wake_up_process(task);
	return 0;
}

/* ---- the watch: pool->work starts threads, ends waits, and wakes requests that sleep ---- */

/* End the @n longest waits of a class, but none that is shorter than SLICE. */
static void end_waits(struct prxe_fault_pool *pool, unsigned int class, unsigned int n)
{
	while (n--) {
		struct fault_thread *t, *oldest = NULL;

		list_for_each_entry(t, &pool->list, node)
			if (t->state == WAITING && t->class == class && !t->ended &&
			    time_after_eq(jiffies, t->since + SLICE) &&
			    (!oldest || time_before(t->since, oldest->since)))
				oldest = t;
		if (!oldest)
			break;
		thread_end_wait(oldest);
	}
}

/*
 * Has the owner exited? Then only our threads hold mm_users. The holders cannot change while we
 * hold the lock, and each keeps its mm_users. So if mm_users is not larger than their number, there
 * is no other user; and no process comes back to an address space. Somebody who reads /proc may
 * hold mm_users for a moment: then the next look tells.
 */
static bool owner_gone(const struct prxe_fault_pool *pool)
{
	lockdep_assert_held(&pool->lock);
	return pool->holders && atomic_read(&pool->mirror->mm->mm_users) <= pool->holders;
}

static void pool_watch(struct prxe_fault_pool *pool)
{
	struct fault_thread *t;
	unsigned int i;

	lockdep_assert_held(&pool->lock);
	if (owner_gone(pool))
		WRITE_ONCE(pool->mirror->dead, true);
	list_for_each_entry(t, &pool->list, node) {
		if (READ_ONCE(pool->mirror->dead))
			thread_end_wait(t);
		/* A quick try that takes so long does wait, whatever it was meant to do. */
		if (t->state == QUICK && !t->stuck && !time_before(jiffies, t->since + QUICK_TIME))
			thread_waits(t);
		if (t->ended && !t->stuck && !time_before(jiffies, t->since + STUCK_TIME)) {
			thread_uncount(t);
			t->stuck = true;
			pool->stuck++;
		}
	}
	for (i = 0; i < FAULT_CLASSES; i++)
		end_waits(pool, i, prxe_pool_waits_too_many(pool, i));
}

/*
 * The pool is dying. A thread that is stuck may be stuck for ever, and the module's exit would wait
 * as long for it: so such a thread gets a reference on the module, and rmmod says "in use" instead.
 * Returns true if a thread is left without one, so that this has to be called again.
 */
static bool threads_keep(struct prxe_fault_pool *pool)
{
	struct fault_thread *t;
	bool more = false;

	lockdep_assert_held(&pool->lock);
	list_for_each_entry(t, &pool->list, node) {
		if (t->stuck && !t->keeps_module && !time_before(jiffies, t->since + KEEP_TIME))
			t->keeps_module = try_module_get(THIS_MODULE);
		more |= !t->keeps_module;
	}
	return more;
}

static void pool_work(struct work_struct *work)
{
	struct delayed_work *delayed = to_delayed_work(work);
	struct prxe_fault_pool *pool = container_of(delayed, struct prxe_fault_pool, work);
	int ret = 0;

	threads_join(false);
	spin_lock_bh(&pool->lock);
	pool->armed = false;
	prxe_pool_wake_sleepers(pool);
	pool_watch(pool);
	if (pool->dying)
		prxe_pool_drain(pool, -EINTR);
	else if (READ_ONCE(pool->mirror->dead))
		prxe_pool_drain(pool, -ESRCH);
	if (pool->idle && prxe_pool_ready(pool))
		wake_up_nr(&pool->wait, prxe_pool_ready(pool));
	if (!pool->dying && prxe_pool_grows(pool)) {
		spin_unlock_bh(&pool->lock);
		ret = thread_start(pool);
		spin_lock_bh(&pool->lock);
		if (ret && !pool->threads)
			prxe_pool_work_later(pool, RETRY_TIME);
		else if (prxe_pool_ready(pool) > pool->idle + 1)
			prxe_pool_call(pool);
	}
	if (!pool->dying)
		prxe_pool_rearm(pool);
	else if (threads_keep(pool))
		prxe_pool_work_later(pool, FAULT_WATCH);
	spin_unlock_bh(&pool->lock);
	prxe_mirror_put(pool->mirror);
}

struct prxe_fault_pool *prxe_fault_pool_create(struct prxe_mirror *mirror)
{
	struct prxe_fault_pool *pool = kzalloc(sizeof(*pool), GFP_KERNEL);

	if (!pool)
		return NULL;
	pool->mirror = mirror;
	pool->wq = fault_wq;
	prxe_pool_init(pool);
	INIT_DELAYED_WORK(&pool->work, pool_work);
	return pool;
}

void prxe_fault_pool_kill(struct prxe_fault_pool *pool)
{
	struct fault_thread *t;

	spin_lock_bh(&pool->lock);
	pool->dying = true;
	list_for_each_entry(t, &pool->list, node)
		thread_end_wait(t);
	wake_up_all(&pool->wait);
	prxe_pool_work_later(pool, 0);
	spin_unlock_bh(&pool->lock);
}

void prxe_fault_pool_orphan(struct prxe_fault_pool *pool)
{
	spin_lock_bh(&pool->lock);
	/*
	 * The requests of a dying pool end anyway, and the module's exit may have begun before us.
	 */
	if (!pool->dying)
		prxe_pool_work_later(pool, 0);
	spin_unlock_bh(&pool->lock);
}

void prxe_fault_pool_destroy(struct prxe_fault_pool *pool)
{
	kfree(pool);
}

int prxe_fault_init(void)
{
	fault_wq = alloc_workqueue("prxe_fault", WQ_UNBOUND, 0);
	return fault_wq ? 0 : -ENOMEM;
}

void prxe_fault_exit(void)
{
	/* Every pool is dying by now, so its work starts no thread. */
	flush_workqueue(fault_wq);
	threads_join(true);
	destroy_workqueue(fault_wq);
}
