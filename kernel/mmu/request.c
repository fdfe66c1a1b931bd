// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The queued faults of a mirror: which one is tried next, which sleep and how long, which want a
 * thread to wait in. This file does not start, signal or end threads; pool.c, which calls it, does.
 *
 * Uses leaf.c for a mirror's reference, and fault.c to drop a miss.
 */
#include <linux/jiffies.h>
#include <linux/sched.h>
#include "mmu/leaf.h"
#include "mmu/request.h"

/*
 * While fewer than THREADS_READY threads serve transfers without waiting, a new thread is started
 * at once; else after GROW_DELAY.
 */
#define THREADS_READY	4
#define THREADS_MAX	20	/* threads that are not stuck */
#define THREADS_HARD	64	/* threads, stuck ones included */
#define GROW_DELAY	msecs_to_jiffies(10)

/* How often pool->work runs while requests want a thread to wait in. */
#define TURN_TIME	msecs_to_jiffies(10)
/* Until a request gets a thread to wait in again; doubled each time, up to 6.4 s. */
#define ANNOUNCE_TIME	(HZ / 10)
#define ANNOUNCE_MAX	6
#define WAKE_BATCH	64	/* sleeping requests of a level that are woken at a time */

/* How many threads may serve each class, and how many of those may wait. */
static const struct {
	unsigned int running, waiting;
} limit[FAULT_CLASSES] = {
	[FAULT_TRANSFER] = { THREADS_HARD, 12 },
	[FAULT_AHEAD] = { 4, 2 },
};

void prxe_pool_init(struct prxe_fault_pool *pool)
{
	unsigned int i;

	spin_lock_init(&pool->lock);
	for (i = 0; i < FAULT_CLASSES; i++) {
		INIT_LIST_HEAD(&pool->class[i].queue);
		INIT_LIST_HEAD(&pool->class[i].want);
	}
	for (i = 0; i < FAULT_LEVELS; i++)
		INIT_LIST_HEAD(&pool->asleep[i]);
	INIT_LIST_HEAD(&pool->list);
	init_waitqueue_head(&pool->wait);
}

void prxe_fault_finish(struct prxe_fault_req *req, int result)
{
	req->result = result;
	prxe_miss_drop(&req->miss);
	req->done(req);
}

void prxe_pool_work_later(struct prxe_fault_pool *pool, unsigned long delay)
{
	unsigned long at = jiffies + delay;

	lockdep_assert_held(&pool->lock);
	if (pool->armed && delay && !time_before(at, pool->at))
		return;
	pool->armed = true;
	pool->at = at;
	refcount_inc(&pool->mirror->ref);
	if (mod_delayed_work(pool->wq, &pool->work, delay))
		/*
		 * It was pending, and had a reference already. This is not the last one: the caller
		 * has one.
		 */
		WARN_ON_ONCE(refcount_dec_and_test(&pool->mirror->ref));
}

bool prxe_pool_may_wait(const struct prxe_fault_pool *pool, unsigned int class)
{
	lockdep_assert_held(&pool->lock);
	return pool->class[class].waiting < limit[class].waiting;
}

unsigned int prxe_pool_ready(const struct prxe_fault_pool *pool)
{
	unsigned int n = 0, i;

	lockdep_assert_held(&pool->lock);
	for (i = 0; i < FAULT_CLASSES; i++) {
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

void prxe_pool_call(struct prxe_fault_pool *pool)
{
	const struct fault_class *t = &pool->class[FAULT_TRANSFER];
	bool few = t->running - t->waiting < THREADS_READY;
	unsigned int ready = prxe_pool_ready(pool);

	lockdep_assert_held(&pool->lock);
	if (pool->dying || READ_ONCE(pool->mirror->dead))
		prxe_pool_work_later(pool, 0);
	else if (ready > pool->idle && pool->threads >= threads_allowed(pool))
		prxe_pool_work_later(pool, TURN_TIME);
	else if (ready > pool->idle)
		prxe_pool_work_later(pool, few ? 0 : GROW_DELAY);
	/* Under the lock: without it, the request may end, and the mirror be freed. */
	if (ready && pool->idle)
		wake_up(&pool->wait);
}

static void req_enqueue(struct prxe_fault_pool *pool, struct prxe_fault_req *req)
{
	struct fault_class *c = &pool->class[req->class];

	lockdep_assert_held(&pool->lock);
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

/* Take @req off all lists. */
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

/*
 * Put @req to sleep. It sleeps longer each time, and longer the more requests sleep, so that trying
 * them never takes a whole CPU.
 */
static void req_sleep(struct prxe_fault_pool *pool, struct prxe_fault_req *req)
{
	unsigned long delay = msecs_to_jiffies((1U << req->level) + pool->num_asleep / 8);

	req->due = jiffies + delay;
	req->asleep = true;
	list_add_tail(&req->node, &pool->asleep[req->level]);
	pool->num_asleep++;
	prxe_pool_work_later(pool, delay);
}

void prxe_fault_again(struct prxe_fault_pool *pool, struct prxe_fault_req *req, int ret,
		      bool waited)
{
	bool would_wait = ret == -EAGAIN || ret == -EINTR;

	lockdep_assert_held(&pool->lock);
	if (waited && would_wait) {
		req->announce = jiffies + (ANNOUNCE_TIME << req->announced);
		req->announced = min(req->announced + 1, ANNOUNCE_MAX);
	}
	if (ret == -EBUSY && !req->level) {
		req_enqueue(pool, req);	/* the first time, try it again at once */
	} else {
		req_sleep(pool, req);
		if (would_wait && !time_before(jiffies, req->announce)) {
			req_want(pool, req);
			prxe_pool_work_later(pool, TURN_TIME);
		}
	}
	req->level = min(req->level + 1, FAULT_LEVELS - 1);
}

bool prxe_fault_goes_on(const struct prxe_fault_req *req, int ret)
{
	if (READ_ONCE(req->cancelled))
		return false;
	/* Advice is not tried again when memory is short: it is only a hint. */
	return ret == -EAGAIN || ret == -EINTR || ret == -EBUSY ||
	       (ret == -ENOMEM && req->class == FAULT_TRANSFER);
}

void prxe_fault_queue_class(struct prxe_fault_req *req, const struct prxe_miss *miss,
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
	prxe_pool_call(pool);
	spin_unlock_bh(&pool->lock);
}

void prxe_fault_queue(struct prxe_fault_req *req, const struct prxe_miss *miss)
{
	prxe_fault_queue_class(req, miss, 0, FAULT_TRANSFER);
}

/* ---- what is next ---- */

struct prxe_fault_req *prxe_pool_next(struct prxe_fault_pool *pool, bool *waits)
{
	unsigned int i;

	lockdep_assert_held(&pool->lock);
	for (i = 0; i < FAULT_CLASSES; i++) {
		struct fault_class *c = &pool->class[i];
		bool want = prxe_pool_may_wait(pool, i) && !list_empty(&c->want);
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
		*waits = want;
		return req;
	}
	return NULL;
}

unsigned int prxe_pool_waits_too_many(const struct prxe_fault_pool *pool, unsigned int class)
{
	const struct fault_class *c = &pool->class[class];
	unsigned int n = c->waiting > limit[class].waiting ? c->waiting - limit[class].waiting : 0;

	if (c->waiting >= limit[class].waiting)
		n += min(c->wanted, limit[class].waiting);
	if (prxe_pool_ready(pool) && !pool->idle && pool->threads >= threads_allowed(pool))
		n++;
	return n;
}

static struct prxe_fault_req *first_asleep(struct prxe_fault_pool *pool, unsigned int level)
{
	return list_first_entry_or_null(&pool->asleep[level], struct prxe_fault_req, node);
}

void prxe_pool_wake_sleepers(struct prxe_fault_pool *pool)
{
	unsigned int level, n;

	lockdep_assert_held(&pool->lock);
	for (level = 0; level < FAULT_LEVELS; level++)
		for (n = 0; n < WAKE_BATCH; n++) {
			struct prxe_fault_req *req = first_asleep(pool, level);

			if (!req || time_before(jiffies, req->due))
				break;
			list_del(&req->node);
			pool->num_asleep--;
			req_enqueue(pool, req);
		}
}

static void drain_list(struct prxe_fault_pool *pool, struct list_head *list, int ret)
{
	struct prxe_fault_req *req;

	while ((req = list_first_entry_or_null(list, struct prxe_fault_req, node))) {
		req_take(pool, req);
		spin_unlock_bh(&pool->lock);
		prxe_fault_finish(req, ret);
		cond_resched();
		spin_lock_bh(&pool->lock);
	}
}

void prxe_pool_drain(struct prxe_fault_pool *pool, int ret)
{
	unsigned int i;

	lockdep_assert_held(&pool->lock);
	for (i = 0; i < FAULT_LEVELS; i++)
		drain_list(pool, &pool->asleep[i], ret);
	for (i = 0; i < FAULT_CLASSES; i++)
		drain_list(pool, &pool->class[i].queue, ret);
}

void prxe_pool_rearm(struct prxe_fault_pool *pool)
{
	bool wanted = pool->class[FAULT_TRANSFER].wanted || pool->class[FAULT_AHEAD].wanted;
	unsigned int busy = pool->threads - pool->idle;
	unsigned int level;

	lockdep_assert_held(&pool->lock);
	for (level = 0; level < FAULT_LEVELS; level++) {
		struct prxe_fault_req *req = first_asleep(pool, level);
		long left = req ? (long)(req->due - jiffies) : 0;

		if (req)
			prxe_pool_work_later(pool, max(left, 1L));
	}
	if (prxe_pool_ready(pool) || wanted)
		prxe_pool_work_later(pool, TURN_TIME);
	else if (busy)
		prxe_pool_work_later(pool, FAULT_WATCH);
}

bool prxe_pool_grows(const struct prxe_fault_pool *pool)
{
	return prxe_pool_ready(pool) > pool->idle && pool->threads < threads_allowed(pool);
}
