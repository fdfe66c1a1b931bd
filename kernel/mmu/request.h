/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Queued faults: requests of transfers, prefetches and advice that the threads of a mirror serve.
 */
#ifndef PRXE_REQUEST_H
#define PRXE_REQUEST_H

#include <linux/list.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include "mmu/fault.h"

/*
 * One queued fault. Allocated by the caller, because its QP may be reset or destroyed before the
 * fault ends. The caller keeps it until @done is called.
 */
struct prxe_fault_req {
	struct prxe_miss miss;
	int result;
	/*
	 * Called exactly once, in process context without locks, with @result set: 0; a final error
	 * of prxe_fault_once(); or -EINTR: the mirror is dying. For a transfer, @result is never
	 * -EAGAIN, -EBUSY or -ENOMEM: such a fault is tried again, as a CPU's would be, as long as
	 * the owner lives.
	 */
	void (*done)(struct prxe_fault_req *req);
	/* Everything below is used in this folder only, under the pool's lock. */
	struct list_head node;		/* in the queue of its class, or in pool->asleep */
	struct list_head want;		/* in the class's list want, or empty */
	unsigned long due;		/* jiffies when it is tried again */
	unsigned long announce;		/* jiffies from which on it may want a thread to wait in */
	unsigned int flags;		/* FAULT_* */
	u8 class, level, announced;	/* its class; index in asleep; turns so far */
	bool asleep;
	bool cancelled;			/* set by its owner, without the lock: let it end soon */
};

/*
 * Queue a transfer's fault. Takes over the reference of @miss. done() is called from a fault thread
 * or a worker, never from inside this call; it may already have run on another CPU when this call
 * returns. Any context but hardirq; does not sleep.
 */
void prxe_fault_queue(struct prxe_fault_req *req, const struct prxe_miss *miss);

/* ---- for pool.c and prefetch.c ---- */

enum { FAULT_TRANSFER, FAULT_AHEAD, FAULT_CLASSES };	/* AHEAD: prefetch, advice */

#define FAULT_LEVELS	7	/* a request is tried again after 1 ms, then 2 ms .. 64 ms */
#define FAULT_WATCH	(HZ / 10)	/* how often pool->work looks at busy threads */

struct fault_class {
	struct list_head queue;		/* struct prxe_fault_req: to be tried quickly, at once */
	struct list_head want;		/* requests that want a thread to wait in */
	unsigned int queued, wanted;
	unsigned int running, waiting;	/* threads that are not stuck; those of them that wait */
	bool turn;			/* true: want is served next; false: queue */
};

struct prxe_fault_pool {
	struct prxe_mirror *mirror;
	struct workqueue_struct *wq;	/* for work */
	atomic_t prefetches;		/* how many are under way; prefetch.c */
	spinlock_t lock;		/* BH off; everything below */
	struct fault_class class[FAULT_CLASSES];
	struct list_head asleep[FAULT_LEVELS];
	unsigned int num_asleep;
	unsigned int threads, idle, stuck;
	unsigned int holders;		/* how many threads hold mm_users */
	bool dying;			/* the mirror is dying */
	struct list_head list;		/* pool.c's threads */
	wait_queue_head_t wait;		/* where idle threads wait */
	/* The watch, in pool.c; it holds a reference on the mirror while it is pending. */
	struct delayed_work work;
	bool armed;			/* work is queued, or about to begin, */
	unsigned long at;		/* at this time, in jiffies */
};

/* Set up the lists and the lock of a new pool. */
void prxe_pool_init(struct prxe_fault_pool *pool);

/* As prxe_fault_queue(), for a fault of @class, with @flags as for prxe_fault_once(). */
void prxe_fault_queue_class(struct prxe_fault_req *req, const struct prxe_miss *miss,
			    unsigned int flags, unsigned int class);
/*
 * End @req with @result: drop its miss and call done(). Process context, no lock held; @req is on
 * no list. Afterwards @req is its owner's again, or freed.
 */
void prxe_fault_finish(struct prxe_fault_req *req, int result);
/* Does a try that returned @ret mean that @req is tried again? Else @ret is its result. */
bool prxe_fault_goes_on(const struct prxe_fault_req *req, int ret);

/* All functions below: the caller holds pool->lock, and a reference on the mirror. */

/*
 * Have pool->work run after @delay (in jiffies) or earlier. With delay 0, it is queued when this
 * returns.
 */
void prxe_pool_work_later(struct prxe_fault_pool *pool, unsigned long delay);
/* There is a request: wake an idle thread, or have a new one started. */
void prxe_pool_call(struct prxe_fault_pool *pool);
/* May one more thread wait for requests of this class? */
bool prxe_pool_may_wait(const struct prxe_fault_pool *pool, unsigned int class);
/* How many idle or new threads could take a request now, within the limits of the classes? */
unsigned int prxe_pool_ready(const struct prxe_fault_pool *pool);
/* Is another thread needed and allowed? */
bool prxe_pool_grows(const struct prxe_fault_pool *pool);
/*
 * Take the next request off its lists. *@waits: the thread is to wait for it; else it tries
 * quickly. NULL: there is nothing to do.
 */
struct prxe_fault_req *prxe_pool_next(struct prxe_fault_pool *pool, bool *waits);
/*
 * A try of @req failed with @ret: queue it for the next one. @waited: the thread had waited, so
 * that a userfaultfd server, if there is one, was sent a message.
 */
void prxe_fault_again(struct prxe_fault_pool *pool, struct prxe_fault_req *req, int ret,
		      bool waited);
/* Move the sleeping requests whose time has come to their queues. */
void prxe_pool_wake_sleepers(struct prxe_fault_pool *pool);
/*
 * How many waits of a class are to be ended, because other requests want to wait, or have no thread
 * to be tried in at all?
 */
unsigned int prxe_pool_waits_too_many(const struct prxe_fault_pool *pool, unsigned int class);
/* End all requests that no thread serves, with @ret. Process context; drops the lock meanwhile. */
void prxe_pool_drain(struct prxe_fault_pool *pool, int ret);
/* Have pool->work run again when there will be something for it to do. */
void prxe_pool_rearm(struct prxe_fault_pool *pool);

#endif
