// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The threads of a mirror: they serve its queued faults, for those who must not sleep.
 *
 * Each request is tried quickly first, without waiting for whoever has to bring a page
 * (userfaultfd, a swap device, a file system). If it would have to wait, a thread may wait for it,
 * but only a limited number of threads wait at a time, so that some are left for requests that need
 * no waiting. Without a thread the request sleeps, and is tried quickly again from time to time.
 * That needs no memory but the request's own, so any number of requests may sleep.
 *
 * A userfaultfd server hears of a fault only from a thread that waits. So each request gets its
 * turn: when others want a thread to wait in, the watch ends the longest waits, by a SIGKILL that
 * the thread survives, and their requests sleep. A server may not have read the message by then, so
 * such a request gets a thread to wait in again, at growing intervals.
 *
 * A thread holds mm_users while it faults. If nobody else holds mm_users, the owner has exited:
 * the watch ends every wait, and the address space goes.
 *
 * Uses request.c for the requests, fault.c to fault, and leaf.c; mirror.c, above it, makes pools
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
#define RETRY_TIME	(HZ / 10)	/* no thread could be made */

#define QUICK_TIME	msecs_to_jiffies(10)	/* what was to be quick and is not, waits */
#define SLICE		msecs_to_jiffies(40)	/* a wait may end when others want its thread */
#define STUCK_TIME	(HZ / 10)	/* a wait that does not end when it should */
#define KEEP_TIME	HZ	/* such a wait, when the mirror is gone: it may last for ever */

enum thread_state { IDLE, QUICK, WAITING };

struct fault_thread {
	struct prxe_fault_pool *pool;	/* a reference on its mirror */
	struct task_struct *task;	/* with a reference; set before the thread runs */
	struct list_head node;		/* pool->list */
	struct list_head all;		/* all_threads, until it was joined */
	struct completion exited;
	/* Under pool->lock: */
	enum thread_state state;
	u8 class;			/* of the request that it serves */
	bool holds;			/* it holds mm_users */
	bool ended;			/* it was told to end its wait */
	bool stuck;			/* and does not, as on a frozen file system */
	bool keeps_module;		/* it outlasts its mirror, with a reference on the module */
	unsigned long since;		/* when its state changed, or when it was told */
};

static LIST_HEAD(all_threads);
static DEFINE_MUTEX(all_threads_lock);
static atomic_t threads_over;	/* that were not joined yet */
static struct workqueue_struct *fault_wq;

/* ---- one thread ---- */

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
	/* Without mm_users thread_try() ends the request with -ESRCH. */
	t->holds = !READ_ONCE(pool->mirror->dead) && mmget_not_zero(pool->mirror->mm);
	if (t->holds)
		pool->holders++;
	prxe_pool_work_later(pool, FAULT_WATCH);
}

/* It counts as waiting from now on: it is about to wait, or its quick try does not come back. */
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

/* The try is over. True: the caller gives mm_users back, which no longer counts as held. */
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
	 * A thread is told under the lock, too, so this signal is for the wait that is over, and
	 * for no other. The end of the pool is not lost with it: that sets pool->dying.
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

/* Tell a thread to end its wait: it does at the next place where a fatal signal is looked at. */
static void thread_end_wait(struct fault_thread *t)
{
	lockdep_assert_held(&t->pool->lock);
	if (t->ended || t->state == IDLE)
		return;
	t->ended = true;
	t->since = jiffies;
	send_sig(SIGKILL, t->task, 1);
}

/* What this thread is to do next, and how. */
static struct prxe_fault_req *thread_take(struct fault_thread *t)
{
	bool waits = false;
	struct prxe_fault_req *req = prxe_pool_next(t->pool, &waits);

	if (req)
		thread_enter(t, req->class, waits ? WAITING : QUICK);
	return req;
}

/* The next request; NULL: this thread is to end, and the pool has forgotten it. */
static struct prxe_fault_req *thread_next(struct fault_thread *t)
{
	struct prxe_fault_pool *pool = t->pool;
	struct prxe_fault_req *req;
	bool timeout = false;
	DEFINE_WAIT(wait);

	spin_lock_bh(&pool->lock);
	for (;;) {
		req = pool->dying ? NULL : thread_take(t);
		/* One thread stays: making a thread takes longer than most faults. */
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
		/* End the watch now: no timer of the pool may outlive the module. */
		if (pool->dying && !pool->threads)
			prxe_pool_work_later(pool, 0);
	}
	spin_unlock_bh(&pool->lock);
	return req;
}

/* Has another fault brought what @miss needs? */
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

/* A quick try would have had to wait: may this thread wait, at once? */
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

	/* A thread that is to wait counts as waiting already; only thread_leave() ends that. */
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
	 * This thread goes on with the next request itself; a second one may have been held back by
	 * this one's wait.
	 */
	if (pool->idle && prxe_pool_ready(pool) > 1)
		wake_up(&pool->wait);
	spin_unlock_bh(&pool->lock);
	/* Async: if it is the last one, it takes the address space down, which takes long. */
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

	/* Before the first request: SIGKILL is what ends a wait. */
	allow_kernel_signal(SIGKILL);
	while ((req = thread_next(t)))
		thread_serve(t, req);
	prxe_mirror_put(mirror);
	atomic_inc(&threads_over);
	/*
	 * Both exits end in the kernel's text, so that nothing of the module runs after the
	 * completion that prxe_fault_exit() waits for, or without the reference on the module.
	 */
	if (!t->keeps_module)
		kthread_complete_and_exit(&t->exited, 0);
	complete(&t->exited);
	module_put_and_kthread_exit(0);
}

/* Free what threads that have ended leave behind; @all: kill all, and wait until they have. */
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
	/* If the pool is dying by now, the thread sees that, and ends. */
	pool->threads++;
	list_add_tail(&t->node, &pool->list);
	spin_unlock_bh(&pool->lock);
	wake_up_process(task);
	return 0;
}

/* ---- the watch: pool->work makes threads, ends waits, and wakes requests that sleep ---- */

/* End the @n longest waits of a class that have had their time. */
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
 * Has the owner gone? Then only our threads hold mm_users. Each holder that is counted keeps its
 * mm_users for as long as we hold the lock, so if there are no more users than holders, there is no
 * other user; and no process comes back to an address space. If somebody who looks (/proc) holds it
 * for a moment, the next look tells.
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
		/* A quick try that is not over by now waits, whatever it was meant to do. */
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
 * The pool is dying. A thread that stays may stay for ever, and the module's exit would wait as
 * long: with a reference, rmmod says "in use" instead. Is there any without one, to be looked at
 * again?
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
	/* Of a dying one the requests end anyway, and the module's exit may be ahead of us. */
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
	/* Every pool is dying by now, so that its work starts no thread. */
	flush_workqueue(fault_wq);
	threads_join(true);
	destroy_workqueue(fault_wq);
}
