// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The threads of a mirror: they fault for those who must not sleep, and prefetch.
 */
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/wait.h>
#include "fault.h"
#include "mirror.h"
#include "prxe.h"

/* ---- threads ---- */

/*
 * Threads of one mirror. They are made by pool_work, in a workqueue, because requests come from contexts that cannot; the first
 * few as soon as nobody is idle, more (a fault may take as long as a userfaultfd server likes) only when requests had to wait.
 */
#define THREADS_QUICK	4
#define THREADS_MAX	16
#define GROW_DELAY	msecs_to_jiffies(10)
#define IDLE_TIME	(5 * HZ)
#define BUSY_TRIES	16
#define PREFETCHES_MAX	256	/* that go on beside their caller; more are done by their caller */

struct prxe_fault_pool {
	struct prxe_mirror *mirror;
	spinlock_t lock;		/* BH off; everything below */
	struct list_head queue;		/* struct prxe_fault_req: somebody waits for it */
	struct list_head ahead;		/* the same: prefetch, when queue is empty */
	atomic_t prefetches;		/* under way */
	unsigned int queued, threads, idle;
	bool dying;
	struct list_head list;		/* struct fault_thread, of those that run */
	wait_queue_head_t wait;
	struct delayed_work work;	/* holds a reference on the mirror while pending */
};

struct fault_thread {
	struct prxe_fault_pool *pool;	/* a reference on its mirror */
	struct task_struct *task;	/* a reference; set before it runs */
	struct list_head node;		/* pool->list */
	struct list_head all;		/* all_threads; until it was joined */
	struct completion exited;
};

static LIST_HEAD(all_threads);
static DEFINE_MUTEX(all_threads_lock);
static struct workqueue_struct *fault_wq;

static void prefetch_done(struct prxe_fault_req *req);

static void req_finish(struct prxe_fault_req *req, int result)
{
	req->result = result;
	prxe_miss_drop(&req->miss);
	req->done(req);
	/* @req is its owner's again, or gone. */
}

/* pool->lock held, and a reference on the mirror. */
static void pool_work_later(struct prxe_fault_pool *pool, unsigned long delay)
{
	lockdep_assert_held(&pool->lock);
	refcount_inc(&pool->mirror->ref);
	if (delay ? !queue_delayed_work(fault_wq, &pool->work, delay) : mod_delayed_work(fault_wq, &pool->work, 0))
		/* Not the last one: whoever calls has one. */
		WARN_ON_ONCE(refcount_dec_and_test(&pool->mirror->ref));
}

void prxe_fault_queue(struct prxe_fault_req *req, const struct prxe_miss *miss)
{
	struct prxe_fault_pool *pool = miss->mirror->pool;

	req->miss = *miss;
	req->result = 0;
	spin_lock_bh(&pool->lock);
	list_add_tail(&req->node, req->done == prefetch_done ? &pool->ahead : &pool->queue);
	pool->queued++;
	if (pool->dying)
		pool_work_later(pool, 0);
	else if (pool->queued > pool->idle && pool->threads < THREADS_MAX)
		pool_work_later(pool, pool->threads < THREADS_QUICK ? 0 : GROW_DELAY);
	/* Under the lock: once it is dropped the request may be over, and the mirror with it. */
	if (pool->idle)
		wake_up(&pool->wait);
	spin_unlock_bh(&pool->lock);
}

static struct prxe_fault_req *pool_take(struct prxe_fault_pool *pool)
{
	struct prxe_fault_req *req = list_first_entry_or_null(&pool->queue, struct prxe_fault_req, node);

	if (!req)
		req = list_first_entry_or_null(&pool->ahead, struct prxe_fault_req, node);
	if (req) {
		list_del_init(&req->node);
		pool->queued--;
	}
	return req;
}

/* The next request; NULL: this thread is to end, and was taken off the pool's books. */
static struct prxe_fault_req *thread_next(struct fault_thread *t)
{
	struct prxe_fault_pool *pool = t->pool;
	struct prxe_fault_req *req;
	bool timeout = false;

	spin_lock_bh(&pool->lock);
	for (;;) {
		req = pool->dying ? NULL : pool_take(pool);
		/* One stays: making a thread takes longer than most faults. */
		if (req || pool->dying || (timeout && pool->threads > 1))
			break;
		pool->idle++;
		spin_unlock_bh(&pool->lock);
		timeout = !wait_event_idle_exclusive_timeout(pool->wait,
							     READ_ONCE(pool->dying) || READ_ONCE(pool->queued),
							     IDLE_TIME);
		spin_lock_bh(&pool->lock);
		pool->idle--;
	}
	if (!req) {
		pool->threads--;
		list_del_init(&t->node);
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

static int fault_thread(void *arg)
{
	struct fault_thread *t = arg;
	struct prxe_mirror *mirror = t->pool->mirror;
	struct prxe_fault_req *req;

	/* Before the look at pool->dying: who was too early for the one is in time for the other. */
	allow_kernel_signal(SIGKILL);
	while ((req = thread_next(t))) {
		int tries = 0;
		int ret = 0;

		if (req->done != prefetch_done && miss_is_over(&req->miss)) {
			prxe_mirror_count_fault(mirror, true);
			req_finish(req, 0);
			continue;
		}
		do {
			if (tries)
				schedule_timeout_killable(1);
			ret = prxe_fault_range(mirror, req->miss.va, req->miss.len, req->miss.write, false);
		} while (ret == -EBUSY && ++tries < BUSY_TRIES);
		if (!ret && req->done != prefetch_done)
			prxe_mirror_count_fault(mirror, true);
		req_finish(req, ret);
	}
	prxe_mirror_put(mirror);
	/* In the kernel's text: nothing of the module runs after the completion. */
	kthread_complete_and_exit(&t->exited, 0);
}

/* Free what is left of threads that have ended; @all: wait for each, killing those that pool_kill() has missed. */
static void threads_join(bool all)
{
	struct fault_thread *t, *next;

	mutex_lock(&all_threads_lock);
	list_for_each_entry_safe(t, next, &all_threads, all) {
		if (all) {
			send_sig(SIGKILL, t->task, 1);
			wait_for_completion(&t->exited);
		} else if (!completion_done(&t->exited)) {
			continue;
		}
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

static void pool_work(struct work_struct *work)
{
	struct prxe_fault_pool *pool = container_of(to_delayed_work(work), struct prxe_fault_pool, work);
	struct prxe_fault_req *req;
	bool grow;
	int ret;

	threads_join(false);
	spin_lock_bh(&pool->lock);
	while (pool->dying && (req = pool_take(pool))) {
		spin_unlock_bh(&pool->lock);
		req_finish(req, -EINTR);
		spin_lock_bh(&pool->lock);
	}
	grow = !pool->dying && pool->queued > pool->idle && pool->threads < THREADS_MAX;
	spin_unlock_bh(&pool->lock);

	if (grow) {
		ret = thread_start(pool);
		spin_lock_bh(&pool->lock);
		if (ret && !pool->threads) {
			/* Nobody there to serve them: the requests end with the reason. */
			while ((req = pool_take(pool))) {
				spin_unlock_bh(&pool->lock);
				req_finish(req, ret);
				spin_lock_bh(&pool->lock);
			}
		} else if (!pool->dying && pool->queued > pool->idle + 1 && pool->threads < THREADS_MAX) {
			pool_work_later(pool, pool->threads < THREADS_QUICK ? 1 : GROW_DELAY);
		}
		spin_unlock_bh(&pool->lock);
	}
	prxe_mirror_put(pool->mirror);
}

struct prxe_fault_pool *prxe_fault_pool_create(struct prxe_mirror *mirror)
{
	struct prxe_fault_pool *pool = kzalloc(sizeof(*pool), GFP_KERNEL);

	if (!pool)
		return NULL;
	pool->mirror = mirror;
	spin_lock_init(&pool->lock);
	INIT_LIST_HEAD(&pool->queue);
	INIT_LIST_HEAD(&pool->ahead);
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
		send_sig(SIGKILL, t->task, 1);
	wake_up_all(&pool->wait);
	pool_work_later(pool, 0);
	spin_unlock_bh(&pool->lock);
}

void prxe_fault_pool_destroy(struct prxe_fault_pool *pool)
{
	kfree(pool);
}

/* ---- prefetch without waiting ---- */

struct prefetch {
	struct prxe_fault_req req;
	struct prxe_mirror *mirror;	/* a reference */
	unsigned long va;
	u64 len;			/* left, from va on */
	bool write;
};

static void prefetch_next(struct prefetch *p)
{
	struct prxe_miss miss = {
		.mirror = p->mirror,
		.va = p->va,
		.len = min_t(u64, p->len, PRXE_LEAF_SIZE - (p->va & (PRXE_LEAF_SIZE - 1))),
		.write = p->write,
	};

	refcount_inc(&p->mirror->ref);
	prxe_fault_queue(&p->req, &miss);
}

static void prefetch_done(struct prxe_fault_req *req)
{
	struct prefetch *p = container_of(req, struct prefetch, req);
	u64 part = min_t(u64, p->len, PRXE_LEAF_SIZE - (p->va & (PRXE_LEAF_SIZE - 1)));

	p->va += part;
	p->len -= part;
	/* A leaf without memory does not end it, a dead address space does. */
	if (p->len && (!req->result || req->result == -EFAULT) && !READ_ONCE(p->mirror->dead)) {
		prefetch_next(p);
		return;
	}
	atomic_dec(&p->mirror->pool->prefetches);
	prxe_mirror_put(p->mirror);
	kfree(p);
}

int prxe_fault_prefetch(struct prxe_mirror *mirror, unsigned long va, u64 len, bool write)
{
	struct prefetch *p;

	if (atomic_inc_return(&mirror->pool->prefetches) > PREFETCHES_MAX) {
		atomic_dec(&mirror->pool->prefetches);
		return prxe_fault_range(mirror, va, len, write, false);
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
	p->write = write;
	p->req.done = prefetch_done;
	prefetch_next(p);
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
