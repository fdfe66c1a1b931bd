/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Queued faults: what a transfer, a prefetch or advice has the threads of a mirror do. */
#ifndef PRXE_REQUEST_H
#define PRXE_REQUEST_H

#include <linux/list.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include "mmu/fault.h"

/*
 * One queued fault. Allocated by the caller, because its QP may be reset or destroyed before the
 * fault ends; kept until @done.
 */
struct prxe_fault_req {
	struct prxe_miss miss;
	int result;
	/*
	 * Called exactly once, in process context without locks, with @result set: 0; a final error
	 * of prxe_fault_once(); or -EINTR, when the mirror is dying. For a transfer it is never
	 * -EAGAIN, -EBUSY or -ENOMEM: such faults are tried again, as a CPU would, as long as the
	 * owner lives.
	 */
	void (*done)(struct prxe_fault_req *req);
	/* The rest is this folder's, under the pool's lock. */
	struct list_head node;		/* in its class's queue, or asleep */
	struct list_head want;		/* among those that want a thread to wait in */
	unsigned long due;		/* when it is tried again */
	unsigned long announce;		/* when it may want a thread to wait in */
	unsigned int flags;		/* FAULT_* */
	u8 class, level, announced;
	bool asleep;
	bool cancelled;			/* by its owner, without the lock: let it end soon */
};

/*
 * Queue a transfer's fault. Any context but hardirq. Takes @miss over. done() is called from a
 * fault thread or a worker, never from inside this call; it may already have run on another CPU
 * when this call returns.
 */
void prxe_fault_queue(struct prxe_fault_req *req, const struct prxe_miss *miss);

/* ---- for pool.c and prefetch.c ---- */

enum { FAULT_TRANSFER, FAULT_AHEAD, FAULT_CLASSES };	/* AHEAD: prefetches and advice */

#define FAULT_LEVELS	7	/* of patience: 1 ms .. 64 ms until a request is tried again */
#define FAULT_WATCH	(HZ / 10)	/* how often pool->work looks at threads that fault */

struct fault_class {
	struct list_head queue;		/* struct prxe_fault_req: to be tried at once */
	struct list_head want;		/* those that would wait, and want a thread to do it in */
	unsigned int queued, wanted;
	unsigned int running, waiting;	/* threads that are not stuck; who waits, runs */
	bool turn;			/* who is next: want, else queue */
};

struct prxe_fault_pool {
	struct prxe_mirror *mirror;
	struct workqueue_struct *wq;	/* for work */
	atomic_t prefetches;		/* under way; prefetch.c */
	spinlock_t lock;		/* BH off; everything below */
	struct fault_class class[FAULT_CLASSES];
	struct list_head asleep[FAULT_LEVELS];
	unsigned int num_asleep;
	unsigned int threads, idle, stuck;
	unsigned int holders;		/* threads that hold mm_users */
	bool dying;			/* the mirror is */
	struct list_head list;		/* pool.c's threads */
	wait_queue_head_t wait;		/* for something to do */
	struct delayed_work work;	/* pool.c; holds a reference on the mirror while pending */
	bool armed;			/* it is, or is about to begin, */
	unsigned long at;		/* at that time */
};

void prxe_pool_init(struct prxe_fault_pool *pool);

/* Queue a fault of a class, with @flags as for prxe_fault_once(); else as prxe_fault_queue(). */
void prxe_fault_queue_class(struct prxe_fault_req *req, const struct prxe_miss *miss,
			    unsigned int flags, unsigned int class);
/* Call done(). Process context, no lock held; @req is on no list. */
void prxe_fault_finish(struct prxe_fault_req *req, int result);
/* Is @ret of a try a reason to try again, and not the answer? */
bool prxe_fault_goes_on(const struct prxe_fault_req *req, int ret);

/* All below: with pool->lock held, and a reference on the mirror. */

/* Have pool->work run in @delay at the latest; without a delay it is queued on return. */
void prxe_pool_work_later(struct prxe_fault_pool *pool, unsigned long delay);
/* There is something to do: wake an idle thread, or have one made. */
void prxe_pool_call(struct prxe_fault_pool *pool);
/* May one more thread wait for requests of this class? */
bool prxe_pool_may_wait(const struct prxe_fault_pool *pool, unsigned int class);
/* How many threads would have something to do now, if there were any number of them? */
unsigned int prxe_pool_ready(const struct prxe_fault_pool *pool);
/* Is one more thread wanted, and allowed? */
bool prxe_pool_grows(const struct prxe_fault_pool *pool);
/* Take the next request off its lists, or NULL. *@waits: a thread is to wait for it. */
struct prxe_fault_req *prxe_pool_next(struct prxe_fault_pool *pool, bool *waits);
/*
 * A try came to nothing, with @ret: queue @req for the next one. @waited: in a thread that waited,
 * so that a userfaultfd server, if there is one, has its message.
 */
void prxe_fault_again(struct prxe_fault_pool *pool, struct prxe_fault_req *req, int ret,
		      bool waited);
/* Requests whose time has come are ready to be tried. */
void prxe_pool_wake_sleepers(struct prxe_fault_pool *pool);
/* How many waits of a class are to end, for others that want to wait, or to be tried at all? */
unsigned int prxe_pool_waits_too_many(const struct prxe_fault_pool *pool, unsigned int class);
/* Finish every request that no thread has, with @ret. Process context; drops the lock meanwhile. */
void prxe_pool_drain(struct prxe_fault_pool *pool, int ret);
/* Have pool->work run when there will be something for it to do. */
void prxe_pool_rearm(struct prxe_fault_pool *pool);

#endif
