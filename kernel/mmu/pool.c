// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The threads of a mirror: they fault for those who must not sleep, and prefetch.
 *
 * Each request is tried quickly first, without waiting for whoever has to bring a page
 * (userfaultfd, a swap device, a file system). If it would have to wait, it may do that in a
 * thread, but only a limited number of threads wait at a time, so that some are left for requests
 * that need not. Without a thread it sleeps, and is tried quickly again from time to time: that
 * needs no memory but its own, so any number of requests may.
 *
 * A userfaultfd server hears of a fault only from a thread that waits. So each request gets its
 * turn: when others want one, the watch ends the longest waits (by a SIGKILL that the thread
 * survives), and what was ended sleeps. A server may not have read the message by then, so it is
 * announced again, at growing intervals.
 *
 * A thread holds mm_users while it faults. When all that are left are ours, the owner has exited:
 * the watch ends every wait, and the address space goes.
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
#include "mmu/mirror.h"

/*
 * Threads are made by pool_work, in a workqueue, because requests come from contexts that cannot;
 * as long as few are ready for the next request at once, then only when requests had to wait.
 */
#define THREADS_READY	4	/* neither waiting nor prefetching */
#define THREADS_MAX	20	/* but for those that are stuck */
#define THREADS_HARD	64
#define GROW_DELAY	msecs_to_jiffies(10)
#define IDLE_TIME	(5 * HZ)
#define RETRY_TIME	(HZ / 10)	/* no thread could be made */

#define QUICK_TIME	msecs_to_jiffies(10)	/* what was to be quick and is not, waits */
#define SLICE		msecs_to_jiffies(40)	/* a wait may end when others want its thread */
#define STUCK_TIME	(HZ / 10)	/* a wait that does not end when it should */
#define WATCH_TIME	(HZ / 10)	/* while threads fault */
#define TURN_TIME	msecs_to_jiffies(10)	/* while requests want a thread to wait in */

#define LEVELS		7	/* of patience: 1 ms .. 64 ms until a request is tried again */
#define ANNOUNCE_TIME	(HZ / 10)	/* until it is announced again; doubled up to 6.4 s */
#define ANNOUNCE_MAX	6
#define WAKE_BATCH	64	/* requests that one look at the time makes ready */

#define PREFETCHES_MAX	256	/* under way */

enum { TRANSFER, AHEAD, CLASSES };

/*
 * How many threads may serve a class, and wait in it. AHEAD: prefetches, and advice that is waited
 * for.
 */
static const struct {
	unsigned int running, waiting;
} limit[CLASSES] = {
	[TRANSFER] = { THREADS_HARD, 12 },
	[AHEAD] = { 4, 2 },
};

struct fault_class {
	struct list_head queue;		/* struct prxe_fault_req: to be tried at once */
	struct list_head want;		/* those that would wait, and want a thread to do it in */
	unsigned int queued, wanted;
	unsigned int running, waiting;	/* threads that are not stuck; who waits, runs */
	bool turn;			/* who is next: queue or want */
};

struct prxe_fault_pool {
	struct prxe_mirror *mirror;
	spinlock_t lock;		/* BH off; everything below */
	struct fault_class class[CLASSES];
	struct list_head asleep[LEVELS];
	unsigned int num_asleep;
	atomic_t prefetches;		/* under way */
	unsigned int threads, idle, stuck;
	unsigned int holders;		/* threads that hold mm_users */
	bool dying;
	struct list_head list;		/* struct fault_thread, of those that run */
	wait_queue_head_t wait;
	struct delayed_work work;	/* holds a reference on the mirror while pending */
	bool armed;			/* it is, or is about to begin, */
	unsigned long at;		/* at that time */
};

enum thread_state { IDLE, QUICK, WAITING };

struct fault_thread {
	struct prxe_fault_pool *pool;	/* a reference on its mirror */
	struct task_struct *task;	/* a reference; set before it runs */
	struct list_head node;		/* pool->list */
	struct list_head all;		/* all_threads; until it was joined */
	struct completion exited;
	/* under pool->lock */
	enum thread_state state;
	u8 class;			/* that it serves */
	bool holds;			/* mm_users */
	bool ended;			/* it was told to wait no longer */
	bool stuck;			/* and does not: it may not, as on a frozen file system */
	bool keeps_module;		/* it outlasts its pool: a reference on the module */
	unsigned long since;		/* it is in this state, or was told */
};

static LIST_HEAD(all_threads);
static DEFINE_MUTEX(all_threads_lock);
static atomic_t threads_over;	/* that were not joined yet */
static struct workqueue_struct *fault_wq;

static void req_finish(struct prxe_fault_req *req, int result)
{
	req->result = result;
	prxe_miss_drop(&req->miss);
	req->done(req);
	/* @req is its owner's again, or gone. */
}

/*
 * In @delay at the latest; without one it is queued when this returns. A reference on the mirror is
 * held.
 */
static void pool_work_later(struct prxe_fault_pool *pool, unsigned long delay)
{
	unsigned long at = jiffies + delay;

	lockdep_assert_held(&pool->lock);
	if (pool->armed && delay && !time_before(at, pool->at))
		return;
	pool->armed = true;
	pool->at = at;
	refcount_inc(&pool->mirror->ref);
	if (mod_delayed_work(fault_wq, &pool->work, delay))
		/* It was pending, with a reference. Not the last one: whoever calls has one. */
		WARN_ON_ONCE(refcount_dec_and_test(&pool->mirror->ref));
}

/* ---- requests ---- */

static bool slot_free(const struct prxe_fault_pool *pool, unsigned int class)
{
	return pool->class[class].waiting < limit[class].waiting;
}

/* What threads could do now, if there were any number of them. */
static unsigned int pool_ready(const struct prxe_fault_pool *pool)
{
	unsigned int n = 0, i;

	for (i = 0; i < CLASSES; i++) {
		const struct fault_class *c = &pool->class[i];
		unsigned int some = c->queued;

		if (c->waiting < limit[i].waiting)
			some += min(c->wanted, limit[i].waiting - c->waiting);
		n += min(some, limit[i].running - min(c->running, limit[i].running));
	}
	return n;
}

static unsigned int threads_allowed(const struct prxe_fault_pool *pool)
{
	return min_t(unsigned int, THREADS_MAX + pool->stuck, THREADS_HARD);
}

/* There is something to do: somebody does it, or a thread is made. */
static void pool_call(struct prxe_fault_pool *pool)
{
	const struct fault_class *t = &pool->class[TRANSFER];
	unsigned int ready = pool_ready(pool);

	lockdep_assert_held(&pool->lock);
	if (pool->dying || READ_ONCE(pool->mirror->dead))
		pool_work_later(pool, 0);
	else if (ready > pool->idle && pool->threads >= threads_allowed(pool))
		pool_work_later(pool, TURN_TIME);
	else if (ready > pool->idle)
		pool_work_later(pool, t->running - t->waiting < THREADS_READY ? 0 : GROW_DELAY);
	/* Under the lock: once it is dropped the request may be over, and the mirror with it. */
	if (ready && pool->idle)
		wake_up(&pool->wait);
}

static void req_enqueue(struct prxe_fault_pool *pool, struct prxe_fault_req *req)
{
	struct fault_class *c = &pool->class[req->class];

	req->asleep = false;
	list_add_tail(&req->node, &c->queue);
	c->queued++;
}

static void req_want(struct prxe_fault_pool *pool, struct prxe_fault_req *req)
{
	struct fault_class *c = &pool->class[req->class];

	if (!list_empty(&req->want))
		return;
	list_add_tail(&req->want, &c->want);
	c->wanted++;
}

/* Off every list. */
static void req_take(struct prxe_fault_pool *pool, struct prxe_fault_req *req)
{
	struct fault_class *c = &pool->class[req->class];

	lockdep_assert_held(&pool->lock);
	if (req->asleep)
		pool->num_asleep--;
	else
		c->queued--;
	if (!list_empty(&req->want))
		c->wanted--;
	list_del_init(&req->node);
	list_del_init(&req->want);
}

/* Until it is tried again: longer each time, and so that many of them do not take a whole CPU. */
static void req_sleep(struct prxe_fault_pool *pool, struct prxe_fault_req *req)
{
	unsigned long delay = msecs_to_jiffies((1U << req->level) + pool->num_asleep / 8);

	req->due = jiffies + delay;
	req->asleep = true;
	list_add_tail(&req->node, &pool->asleep[req->level]);
	pool->num_asleep++;
	pool_work_later(pool, delay);
}

/*
 * A try came to nothing. @waited: in a thread, so that the server, if there is one, had its
 * message.
 */
static void req_again(struct prxe_fault_pool *pool, struct prxe_fault_req *req, int ret,
		      bool waited)
{
	bool would_wait = ret == -EAGAIN || ret == -EINTR;

	lockdep_assert_held(&pool->lock);
	if (waited && would_wait) {
		req->announce = jiffies + (ANNOUNCE_TIME << req->announced);
		req->announced = min(req->announced + 1, ANNOUNCE_MAX);
	}
	if (ret == -EBUSY && !req->level) {
		req_enqueue(pool, req);	/* once at once */
	} else {
		req_sleep(pool, req);
		if (would_wait && !time_before(jiffies, req->announce)) {
			req_want(pool, req);
			pool_work_later(pool, TURN_TIME);
		}
	}
	req->level = min(req->level + 1, LEVELS - 1);
}

/* Is that no answer, but a reason to come back? Advice needs no patience where memory is short. */
static bool req_goes_on(const struct prxe_fault_req *req, int ret)
{
	if (READ_ONCE(req->cancelled))
		return false;
	return ret == -EAGAIN || ret == -EINTR || ret == -EBUSY ||
	       (ret == -ENOMEM && req->class == TRANSFER);
}

static void queue_request(struct prxe_fault_req *req, const struct prxe_miss *miss,
			  unsigned int flags, unsigned int class)
{
	struct prxe_fault_pool *pool = miss->mirror->pool;

	req->miss = *miss;
	req->result = 0;
	req->flags = flags | (miss->write ? FAULT_WRITE : 0);
	req->class = class;
	req->level = 0;
	req->announced = 0;
	req->announce = jiffies;
	req->cancelled = false;
	INIT_LIST_HEAD(&req->want);
	spin_lock_bh(&pool->lock);
	req_enqueue(pool, req);
	pool_call(pool);
	spin_unlock_bh(&pool->lock);
}

void prxe_fault_queue(struct prxe_fault_req *req, const struct prxe_miss *miss)
{
	queue_request(req, miss, 0, TRANSFER);
}

/* ---- one thread ---- */

static void thread_enter(struct fault_thread *t, unsigned int class, enum thread_state state)
{
	struct prxe_fault_pool *pool = t->pool;

	t->class = class;
	t->state = state;
	t->since = jiffies;
	pool->class[class].running++;
	if (state == WAITING)
		pool->class[class].waiting++;
	/* Where nobody can fault any more, the request says so. */
	t->holds = !READ_ONCE(pool->mirror->dead) && mmget_not_zero(pool->mirror->mm);
	if (t->holds)
		pool->holders++;
	pool_work_later(pool, WATCH_TIME);
}

/* It waits from now on: with its own will, or because it does not come back. */
static void thread_waits(struct fault_thread *t)
{
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

/* The try is over. True: mm_users is to be given back, now that it does not count as held. */
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
	 * Told under the lock too: this is the signal for that wait, and for no other. A dying pool
	 * says more.
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

/* Killably. What was told to end stops at the next place where it can. */
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
static struct prxe_fault_req *pool_take(struct prxe_fault_pool *pool, struct fault_thread *t)
{
	unsigned int i;

	lockdep_assert_held(&pool->lock);
	for (i = 0; i < CLASSES; i++) {
		struct fault_class *c = &pool->class[i];
		bool want = slot_free(pool, i) && !list_empty(&c->want);
		struct prxe_fault_req *req;

		if (c->running >= limit[i].running || (!want && list_empty(&c->queue)))
			continue;
		want = want && (c->turn || list_empty(&c->queue));
		c->turn = !want;
		if (want)
			req = list_first_entry(&c->want, struct prxe_fault_req, want);
		else
			req = list_first_entry(&c->queue, struct prxe_fault_req, node);
		req_take(pool, req);
		thread_enter(t, i, want ? WAITING : QUICK);
		return req;
	}
	return NULL;
}

/* The next request; NULL: this thread is to end, and was taken off the pool's books. */
static struct prxe_fault_req *thread_next(struct fault_thread *t)
{
	struct prxe_fault_pool *pool = t->pool;
	struct prxe_fault_req *req;
	bool timeout = false;
	DEFINE_WAIT(wait);

	spin_lock_bh(&pool->lock);
	for (;;) {
		req = pool->dying ? NULL : pool_take(pool, t);
		/* One stays: making a thread takes longer than most faults. */
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
		/* Nobody is left to be watched: no timer of the pool may outlive the module. */
		if (pool->dying && !pool->threads)
			pool_work_later(pool, 0);
	}
	spin_unlock_bh(&pool->lock);
	return req;
}

/* Somebody else's fault brought what @miss needs. */
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
	if (req->class == TRANSFER && miss_is_over(miss))
		return 0;
	return prxe_fault_once(miss->mirror, miss->va, miss->len,
			       req->flags | (wait ? 0 : FAULT_QUICK));
}

/* A quick try would have had to wait. May it? Then at once. */
static bool thread_may_wait(struct fault_thread *t)
{
	struct prxe_fault_pool *pool = t->pool;
	bool may = false;

	spin_lock_bh(&pool->lock);
	if (t->state == QUICK && !t->ended && slot_free(pool, t->class)) {
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

	/* What has its turn to wait is waiting already: state changes from WAITING here only. */
	if (READ_ONCE(t->state) == QUICK)
		ret = thread_try(t, req, false);
	if (ret == -EAGAIN && (READ_ONCE(t->state) == WAITING || thread_may_wait(t)))
		ret = thread_try(t, req, true);

	spin_lock_bh(&pool->lock);
	waited = t->state == WAITING;
	held = thread_leave(t);
	again = req_goes_on(req, ret) && !pool->dying && !READ_ONCE(mirror->dead);
	if (again)
		req_again(pool, req, ret, waited);
	else if (req_goes_on(req, ret))
		ret = pool->dying ? -EINTR : -ESRCH;
	/*
	 * This thread goes on with the next, but others may have waited for the end of this one's
	 * wait.
	 */
	if (pool->idle && pool_ready(pool) > 1)
		wake_up(&pool->wait);
	spin_unlock_bh(&pool->lock);
	/* Not here: to take an address space down takes long. */
	if (held)
		mmput_async(mirror->mm);
	if (again)
		return;
	if (!ret && req->class == TRANSFER)
		prxe_mirror_count_fault(mirror, true);
	req_finish(req, ret);
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

/*
 * Free what is left of threads that have ended; @all: wait for each, killing those that pool_kill()
 * has missed.
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
	/* Also when the pool is dying by now: the thread sees that, and ends. */
	pool->threads++;
	list_add_tail(&t->node, &pool->list);
	spin_unlock_bh(&pool->lock);
	wake_up_process(task);
	return 0;
}

/* ---- the watch: it makes threads, ends waits, and knows the time ---- */

static struct prxe_fault_req *first_asleep(struct prxe_fault_pool *pool, unsigned int level)
{
	return list_first_entry_or_null(&pool->asleep[level], struct prxe_fault_req, node);
}

/* Those whose time has come are to be tried. */
static void wake_sleepers(struct prxe_fault_pool *pool)
{
	unsigned int level, n;

	for (level = 0; level < LEVELS; level++)
		for (n = 0; n < WAKE_BATCH; n++) {
			struct prxe_fault_req *req = first_asleep(pool, level);

			if (!req || time_before(jiffies, req->due))
				break;
			list_del(&req->node);
			pool->num_asleep--;
			req_enqueue(pool, req);
		}
}

/*
 * How many waits of a class are to end, for others that want to wait, or want to be tried at all.
 */
static unsigned int waits_too_many(const struct prxe_fault_pool *pool, unsigned int class)
{
	const struct fault_class *c = &pool->class[class];
	unsigned int n = c->waiting > limit[class].waiting ? c->waiting - limit[class].waiting : 0;

	if (c->waiting >= limit[class].waiting)
		n += min(c->wanted, limit[class].waiting);
	if (pool_ready(pool) && !pool->idle && pool->threads >= threads_allowed(pool))
		n++;
	return n;
}

/* The longest waits. */
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
 * Has the owner gone? Then nobody but threads of ours holds mm_users: each holder that is counted
 * has its own for as long as the lock is held, so that "not more" is "no other", and a process
 * cannot come back to an address space. Somebody else may hold it for a moment (/proc): the next
 * look tells.
 */
static bool owner_gone(const struct prxe_fault_pool *pool)
{
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
		if (t->state == QUICK && !t->stuck && !time_before(jiffies, t->since + QUICK_TIME))
			thread_waits(t);
		if (t->ended && !t->stuck && !time_before(jiffies, t->since + STUCK_TIME)) {
			thread_uncount(t);
			t->stuck = true;
			pool->stuck++;
		}
		/* It may stay for ever, and rmmod would wait as long: "in use" is the answer. */
		if (pool->dying && t->stuck && !t->keeps_module)
			t->keeps_module = try_module_get(THIS_MODULE);
	}
	for (i = 0; i < CLASSES; i++)
		end_waits(pool, i, waits_too_many(pool, i));
}

/* End every request that no thread has, with @ret. The lock is dropped meanwhile. */
static void pool_drain(struct prxe_fault_pool *pool, int ret)
{
	struct list_head *lists[] = { &pool->class[TRANSFER].queue, &pool->class[AHEAD].queue };
	struct prxe_fault_req *req;
	unsigned int i;

	for (i = 0; i < LEVELS + ARRAY_SIZE(lists); i++) {
		struct list_head *list = i < LEVELS ? &pool->asleep[i] : lists[i - LEVELS];

		while ((req = list_first_entry_or_null(list, struct prxe_fault_req, node))) {
			req_take(pool, req);
			spin_unlock_bh(&pool->lock);
			req_finish(req, ret);
			cond_resched();
			spin_lock_bh(&pool->lock);
		}
	}
}

/* When to look again, if there is a reason to. */
static void pool_rearm(struct prxe_fault_pool *pool)
{
	unsigned int busy = pool->threads - pool->idle;
	unsigned int level;

	for (level = 0; level < LEVELS; level++) {
		struct prxe_fault_req *req = first_asleep(pool, level);
		long left = req ? (long)(req->due - jiffies) : 0;

		if (req)
			pool_work_later(pool, max(left, 1L));
	}
	if (pool_ready(pool) || pool->class[TRANSFER].wanted || pool->class[AHEAD].wanted)
		pool_work_later(pool, TURN_TIME);
	else if (busy)
		pool_work_later(pool, WATCH_TIME);
}

static bool pool_grows(const struct prxe_fault_pool *pool)
{
	return pool_ready(pool) > pool->idle && pool->threads < threads_allowed(pool);
}

static void pool_work(struct work_struct *work)
{
	struct delayed_work *delayed = to_delayed_work(work);
	struct prxe_fault_pool *pool = container_of(delayed, struct prxe_fault_pool, work);
	int ret = 0;

	threads_join(false);
	spin_lock_bh(&pool->lock);
	pool->armed = false;
	wake_sleepers(pool);
	pool_watch(pool);
	if (pool->dying)
		pool_drain(pool, -EINTR);
	else if (READ_ONCE(pool->mirror->dead))
		pool_drain(pool, -ESRCH);
	if (pool->idle && pool_ready(pool))
		wake_up_nr(&pool->wait, pool_ready(pool));
	if (!pool->dying && pool_grows(pool)) {
		spin_unlock_bh(&pool->lock);
		ret = thread_start(pool);
		spin_lock_bh(&pool->lock);
		if (ret && !pool->threads)
			pool_work_later(pool, RETRY_TIME);
		else if (pool_ready(pool) > pool->idle + 1)
			pool_call(pool);
	}
	if (!pool->dying)
		pool_rearm(pool);
	else if (pool->threads > pool->stuck)
		pool_work_later(pool, WATCH_TIME);
	spin_unlock_bh(&pool->lock);
	prxe_mirror_put(pool->mirror);
}

struct prxe_fault_pool *prxe_fault_pool_create(struct prxe_mirror *mirror)
{
	struct prxe_fault_pool *pool = kzalloc(sizeof(*pool), GFP_KERNEL);
	unsigned int i;

	if (!pool)
		return NULL;
	pool->mirror = mirror;
	spin_lock_init(&pool->lock);
	for (i = 0; i < CLASSES; i++) {
		INIT_LIST_HEAD(&pool->class[i].queue);
		INIT_LIST_HEAD(&pool->class[i].want);
	}
	for (i = 0; i < LEVELS; i++)
		INIT_LIST_HEAD(&pool->asleep[i]);
	INIT_LIST_HEAD(&pool->list);
	init_waitqueue_head(&pool->wait);
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
	pool_work_later(pool, 0);
	spin_unlock_bh(&pool->lock);
}

void prxe_fault_pool_orphan(struct prxe_fault_pool *pool)
{
	spin_lock_bh(&pool->lock);
	pool_work_later(pool, 0);
	spin_unlock_bh(&pool->lock);
}

void prxe_fault_pool_destroy(struct prxe_fault_pool *pool)
{
	kfree(pool);
}

/* ---- prefetch without waiting ---- */

/* What of [va, va + len) stands in va's leaf. */
static u64 leaf_part(unsigned long va, u64 len)
{
	return min_t(u64, len, PRXE_LEAF_SIZE - (va & (PRXE_LEAF_SIZE - 1)));
}

static void queue_part(struct prxe_fault_req *req, struct prxe_mirror *mirror, unsigned long va,
		       u64 len, unsigned int flags)
{
	struct prxe_miss miss = {
		.mirror = mirror,
		.va = va,
		.len = leaf_part(va, len),
		.write = flags & FAULT_WRITE,
	};

	refcount_inc(&mirror->ref);
	queue_request(req, &miss, flags, AHEAD);
}

struct prefetch {
	struct prxe_fault_req req;
	struct prxe_mirror *mirror;	/* a reference */
	unsigned long va;
	u64 len;			/* left, from va on */
	unsigned int flags;
};

static void prefetch_done(struct prxe_fault_req *req)
{
	struct prefetch *p = container_of(req, struct prefetch, req);
	u64 part = leaf_part(p->va, p->len);

	p->va += part;
	p->len -= part;
	/* A leaf without memory does not end it, a dead address space does. */
	if (p->len && (!req->result || req->result == -EFAULT) && !READ_ONCE(p->mirror->dead)) {
		queue_part(&p->req, p->mirror, p->va, p->len, p->flags);
		return;
	}
	atomic_dec(&p->mirror->pool->prefetches);
	prxe_mirror_put(p->mirror);
	kfree(p);
}

/* In the caller's context, as far as that goes without waiting. */
static int prefetch_here(const struct prxe_dev *dev, struct prxe_mirror *mirror, unsigned long va,
			 u64 len, bool write)
{
	int worst = 0;

	while (len) {
		u64 part = leaf_part(va, len);
		int ret = prxe_fault_nowait(mirror, va, part, write ? FAULT_WRITE : 0);

		if (ret == -ESRCH || fatal_signal_pending(current) || READ_ONCE(dev->leaving))
			break;
		if (ret == -EAGAIN)
			worst = ret;
		va += part;
		len -= part;
		cond_resched();
	}
	return worst;
}

int prxe_fault_prefetch(const struct prxe_dev *dev, struct prxe_mirror *mirror, unsigned long va,
			u64 len, bool write)
{
	struct prefetch *p;

	if (atomic_inc_return(&mirror->pool->prefetches) > PREFETCHES_MAX) {
		atomic_dec(&mirror->pool->prefetches);
		return prefetch_here(dev, mirror, va, len, write);
	}
	p = kzalloc(sizeof(*p), GFP_KERNEL_ACCOUNT);
	if (!p) {
		atomic_dec(&mirror->pool->prefetches);
		return -ENOMEM;
	}
	refcount_inc(&mirror->ref);
	p->mirror = mirror;
	p->va = va;
	p->len = len;
	p->flags = write ? FAULT_WRITE : 0;
	p->req.done = prefetch_done;
	queue_part(&p->req, mirror, va, len, p->flags);
	return 0;
}

/* ---- advice that is waited for ---- */

/*
 * One part of it that a thread does. Counted: the request's half, and the caller's, who may leave
 * first.
 */
struct advice {
	struct prxe_fault_req req;
	refcount_t ref;
	struct completion done;
	struct list_head node;		/* in advices, until the caller goes on */
	const struct prxe_dev *dev;
	bool leaving;			/* that is why it goes on */
};

static LIST_HEAD(advices);
static DEFINE_SPINLOCK(advices_lock);

static void advice_put(struct advice *a)
{
	if (refcount_dec_and_test(&a->ref))
		kfree(a);
}

static void advice_done(struct prxe_fault_req *req)
{
	struct advice *a = container_of(req, struct advice, req);

	complete(&a->done);
	advice_put(a);
}

void prxe_fault_advise_end(const struct prxe_dev *dev)
{
	struct advice *a;

	spin_lock(&advices_lock);
	list_for_each_entry(a, &advices, node)
		if (a->dev == dev) {
			a->leaving = true;
			complete(&a->done);
		}
	spin_unlock(&advices_lock);
}

/* Under the lock: whoever sets leaving comes either before this, or after it to advices. */
static bool advice_list(struct advice *a)
{
	bool stays;

	spin_lock(&advices_lock);
	stays = !READ_ONCE(a->dev->leaving);
	if (stays)
		list_add_tail(&a->node, &advices);
	spin_unlock(&advices_lock);
	return stays;
}

static int advice_wait(struct advice *a)
{
	bool killed = wait_for_completion_killable(&a->done);
	bool leaving;

	spin_lock(&advices_lock);
	list_del(&a->node);
	leaving = a->leaving;
	spin_unlock(&advices_lock);
	if (!killed && !leaving)
		return a->req.result;
	WRITE_ONCE(a->req.cancelled, true);
	return leaving ? -EIO : -EINTR;
}

/*
 * By the mirror's threads: this caller holds a lock of the core's that the device's removal waits
 * for.
 */
static int advise_by_thread(const struct prxe_dev *dev, struct prxe_mirror *mirror,
			    unsigned long va, u64 len, unsigned int flags)
{
	struct advice *a = kzalloc(sizeof(*a), GFP_KERNEL_ACCOUNT);
	int ret = -EIO;

	if (!a)
		return -ENOMEM;
	a->dev = dev;
	init_completion(&a->done);
	a->req.done = advice_done;
	if (!advice_list(a)) {
		kfree(a);
		return ret;
	}
	refcount_set(&a->ref, 2);
	queue_part(&a->req, mirror, va, len, flags);
	ret = advice_wait(a);
	advice_put(a);
	return ret;
}

int prxe_fault_advise(const struct prxe_dev *dev, struct prxe_mirror *mirror, unsigned long va,
		      u64 len, unsigned int flags)
{
	bool first = true;

	might_sleep();
	while (len) {
		u64 part = leaf_part(va, len);
		int ret = prxe_fault_nowait(mirror, va, part, flags);

		if (ret == -EAGAIN)
			ret = advise_by_thread(dev, mirror, va, part, flags);
		/* What is there ends where something is not. */
		if (ret == -EFAULT && (flags & FAULT_PRESENT) && !first)
			return 0;
		if (ret)
			return ret;
		if (READ_ONCE(dev->leaving))
			return -EIO;
		first = false;
		va += part;
		len -= part;
		cond_resched();
	}
	return 0;
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
