/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Queue pairs: their state, and who may touch which part of it.
 *
 * struct prxe_qp is separate from the core's ib_qp: lookups find it under RCU, it is
 * reference-counted, and it outlives the verbs object while a peer, a timer or a fault still holds
 * a reference. "dead" is set once, by a thread that owns the send side and holds resp.lock; after
 * that nobody touches ibqp, the CQs, the PD or the SRQ.
 *
 * The send side belongs to its owner: the context that raised req.kicks from zero. There is one
 * owner at a time (a poster, a softirq, a fault thread or the worker); everybody else only kicks,
 * that is, raises req.kicks. resp.lock protects the receive side. Lock order: the owner of a send
 * side may take the resp.lock of a peer. Code that holds a resp.lock never becomes an owner and
 * never takes a second resp.lock; it queues work instead.
 */
#ifndef PRXE_QP_H
#define PRXE_QP_H

#include <linux/hrtimer.h>
#include <linux/lockdep.h>
#include <linux/mutex.h>
#include <linux/refcount.h>
#include <linux/skbuff.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>
#include <rdma/ib_verbs.h>
#include "base/packet.h"
#include "base/prxe.h"
#include "mem/who.h"
#include "mmu/fault.h"
#include "obj/av.h"
#include "obj/cq.h"
#include "obj/queue.h"
#include "obj/watch.h"

struct mem_cgroup;
struct prxe_carrier;
struct prxe_qp;

/*
 * The faults that a send side waits for (park.c), at most one of each kind: SEND, for memory that
 * it sends from (or, with the local carrier, memory of the peer), and LAND, for memory that a
 * response is written to. There are two, because responses must be taken and messages completed
 * even while the next message to be sent lacks its memory.
 */
enum prxe_park_kind { PRXE_PARK_SEND, PRXE_PARK_LAND, PRXE_PARK_NUM };

struct prxe_park {
	void (*wake)(struct prxe_qp *qp);
	/* Taken at the end of a queued fault, and to raise epoch. Innermost lock; BH off. */
	spinlock_t lock;
	/* Written by the owner only: */
	bool parked;		/* a fault was queued, and its end was not seen yet */
	bool remote;		/* the memory was the peer's (local carrier) */
	bool queued;		/* a fault of this epoch was queued, and its end was not seen yet */
	u32 index, psn;		/* the WQE and the PSN that wait */
	u32 epoch;		/* the end of a fault from an older epoch is ignored */
	/* Written by the owner, and at the end of the fault: */
	bool done;		/* the wait is over, error is valid; release/acquire */
	int error;		/* valid with done */
};

/* Receive WQEs that are posted while the QP is in error (late.c). */
struct prxe_late_qp {
	struct prxe_watcher watcher;	/* at the receive CQ, after the timer gave up looking */
	u64 since;			/* ns: last flush of a receive WQE; 0: none. resp.lock */
};

/* Send side. Only the owner touches it, unless a comment says otherwise. */
struct prxe_req {
	atomic_t kicks;			/* any context; > 0: somebody owns the send side */
	bool handed;			/* ownership was handed to the worker; claimed by xchg */
	bool wanted;			/* prxe_req_own() waits: the owner leaves after its step */
	struct prxe_queue *sq;		/* sq->index: the oldest WQE that has not completed */
	spinlock_t post_lock;		/* serialises kernel consumers that post */
	u8 *shadow;			/* the kernel's copies of WQEs, wqe_size each */
	size_t wqe_size;
	u32 fetch;			/* next slot to fetch; [sq->index, fetch) are in shadow */
	u32 psn;			/* of the next new packet */
	u8 retry, rnr_retry;		/* how many are left */
	bool flushing;			/* the QP is in error, WQEs complete with WR_FLUSH_ERR */
	bool sqd_told;			/* IB_EVENT_SQ_DRAINED was raised for this SQD */

	struct hrtimer timer;		/* RNR, ACK or lost-peer timer */
	bool waiting;			/* until the timer ends, nothing new is executed */
	bool lost;			/* local carrier: the timer runs because no peer answered */
	bool deadline;			/* UC, UD: the timer limits the wait for the receiver */
	bool timer_fired;		/* set by the timer, any context */

	struct prxe_park park[PRXE_PARK_NUM];	/* the faults that it waits for */

	struct prxe_qp *peer;		/* local carrier: cached peer, with a reference */
};

/* Receive side. Protected by lock, unless a comment says otherwise. */
struct prxe_resp {
	spinlock_t lock;		/* BH off */
	struct prxe_queue *rq;		/* NULL with an SRQ; rq->index: the next WQE to take */
	spinlock_t post_lock;		/* serialises kernel consumers that post */
	struct prxe_rwqe rwqe;		/* the WQE being filled, or kept for a retry */
	u64 fills;			/* last number given to a receive WQE or to a message */
	u32 psn;			/* expected */
	u32 msn;
	u32 msg;			/* wire: PRXE_OPF_SEND or _WRITE inside a message, else 0 */
};

/*
 * Its address is a multiple of this, so a pointer to it has room for some bits: the destructor of
 * the wire's packets uses them (carrier/wire_out.c).
 */
#define PRXE_QP_ALIGN	128

struct prxe_qp {
	struct ib_qp *ibqp;		/* not valid when dead */
	union {
		struct prxe_who who;	/* what mem/ needs; the same members under plain names: */
		struct {
			struct prxe_dev *dev;
			struct ib_pd *pd;
			u32 qpn;
		};
	};
	struct prxe_cq *scq, *rcq;
	struct prxe_srq *srq;
	refcount_t ref;
	struct rcu_head rcu;
	enum ib_qp_type type;
	/*
	 * The context that created the QP; NULL: a kernel consumer. Only verbs may dereference it,
	 * because a QP may outlive its context.
	 */
	struct prxe_ucontext *user;
	bool dead;			/* set under resp.lock by the owner of the send side */
	bool sq_sig_all;
	struct mutex mutex;		/* modify, query, destroy; sleeps */
	/* Written under state_lock; read with READ_ONCE(). */
	enum ib_qp_state state;
	spinlock_t state_lock;		/* writers of state; innermost, BH off */
	struct ib_qp_attr attr;		/* for query_qp; the transport reads single words of it */
	struct ib_qp_cap cap;
	u32 mtu_shift;			/* 8 .. 12 */
	struct prxe_av av;		/* RC, UC */
	const struct prxe_carrier *carrier;	/* RC, UC: chosen at RTR; else NULL */
	atomic_t failing;		/* open brackets (prxe_qp_fail_begin()): no flushing */
	bool comm_est_told;		/* IB_EVENT_COMM_EST was raised; under resp.lock */
	bool last_wqe_told;		/* the same for IB_EVENT_QP_LAST_WQE_REACHED */
	struct prxe_late_qp late;	/* receive WQEs that are posted while it is in error */
	unsigned long events;		/* bits of enum ib_event_type to be raised by event_work */
	struct mem_cgroup *memcg;	/* pays for held packets; NULL: a kernel consumer's QP */
	struct work_struct event_work;	/* holds a reference while queued */
	struct work_struct work;	/* prxe_qp_work(); holds a reference while queued */
	struct prxe_req req;
	struct prxe_resp resp;
};

static_assert(offsetof(struct prxe_qp, dev) == offsetof(struct prxe_qp, who.dev));
static_assert(offsetof(struct prxe_qp, pd) == offsetof(struct prxe_qp, who.pd));
static_assert(offsetof(struct prxe_qp, qpn) == offsetof(struct prxe_qp, who.qpn));

struct prxe_ibqp {
	struct ib_qp ib;		/* must be first; the core's object */
	struct prxe_qp *qp;		/* NULL: destroyed; read by prxe_qp_get_ib() under RCU */
};

/* For verbs that the core never calls concurrently with, or after, destroy_qp(). */
static inline struct prxe_qp *to_prxe_qp(struct ib_qp *ib)
{
	return container_of(ib, struct prxe_ibqp, ib)->qp;
}

/*
 * For verbs that the core may call during or after destroy_qp(), as rdma netlink does. Returns the
 * QP with a reference, or NULL if it was destroyed. Any context.
 */
struct prxe_qp *prxe_qp_get_ib(struct ib_qp *ib);

/* log2 of the bytes of an MTU: 8 for IB_MTU_256, up to 12 for IB_MTU_4096. */
static inline u32 prxe_mtu_shift(enum ib_mtu mtu)
{
	return mtu - IB_MTU_256 + 8;
}

/*
 * Bracket the change into an error state and the completion that carries the reason. The state
 * changes first, and consumers take the first error completion for the reason. So other CPUs, which
 * flush WQEs when they see the state, wait until the bracket is closed. prxe_qp_fail_end() queues
 * the worker, which flushes. Any context but hardirq; does not sleep.
 */
static inline void prxe_qp_fail_begin(struct prxe_qp *qp)
{
	atomic_inc(&qp->failing);
	smp_mb__after_atomic();		/* pairs with smp_rmb() in prxe_qp_flushes() */
}

void prxe_qp_fail_end(struct prxe_qp *qp);

/* True in states that flush send WQEs: ERR for all QPs, SQE for a UC or UD QP whose send failed. */
static inline bool prxe_qp_send_over(const struct prxe_qp *qp)
{
	enum ib_qp_state s = READ_ONCE(qp->state);

	return s == IB_QPS_ERR || s == IB_QPS_SQE;
}

/* As prxe_qp_send_over(), and the completion with the reason is already in its CQ. */
static inline bool prxe_qp_send_flushes(const struct prxe_qp *qp)
{
	if (!prxe_qp_send_over(qp))
		return false;
	/* Read the bracket after the state: pairs with prxe_qp_fail_begin(). */
	smp_rmb();
	return !atomic_read(&qp->failing);
}

/*
 * True when the QP is in error and the completion with the reason is already in its CQ. The CPU
 * that closes the bracket in prxe_qp_fail_end() queues the worker, so a false answer loses no
 * flush.
 */
static inline bool prxe_qp_flushes(const struct prxe_qp *qp)
{
	if (READ_ONCE(qp->state) != IB_QPS_ERR)
		return false;
	/* Read the bracket after the state: pairs with prxe_qp_fail_begin(). */
	smp_rmb();
	return !atomic_read(&qp->failing);
}

/*
 * At creation, of a zeroed QP: sets the reference count to one, and what the functions in qp.c use.
 */
void prxe_qp_init(struct prxe_qp *qp);

/* Assert that somebody owns the send side. For functions that only the owner may call. */
static inline void prxe_req_assert_owner(const struct prxe_qp *qp)
{
	lockdep_assert(atomic_read(&qp->req.kicks) > 0);
}

static inline bool prxe_qp_tryget(struct prxe_qp *qp)
{
	return refcount_inc_not_zero(&qp->ref);
}

/* Drop a reference; the last one frees the QP after an RCU grace period. Any context. */
void prxe_qp_put(struct prxe_qp *qp);
/* Find a QP by its number. Returns it with a reference, or NULL if there is none. Any context. */
struct prxe_qp *prxe_qp_lookup(struct prxe_dev *dev, u32 qpn);
/* Queues prxe_qp_work() and takes a reference for it. Any context, hardirq included. */
void prxe_qp_schedule(struct prxe_qp *qp);
/*
 * Move the QP into IB_QPS_ERR, unless it is in RESET or ERR or is dead; then it does nothing. The
 * worker does the flushing. @event: an enum ib_event_type to raise, or -1 for none. Any context but
 * hardirq, with or without resp.lock.
 */
void prxe_qp_set_error(struct prxe_qp *qp, int event);
/*
 * A send has failed. An RC QP goes into error. A QP of another type goes into IB_QPS_SQE: its send
 * WQEs are flushed, it goes on receiving, and modify_qp can take it back to RTS (IBTA 10.3.1).
 * Owner of the send side; does not sleep.
 */
void prxe_qp_send_error(struct prxe_qp *qp);
/*
 * Raise an asynchronous event to the consumer of the QP, unless the QP is dead or @event is
 * negative. A work item calls the consumer's handler. Any context but hardirq.
 */
void prxe_qp_event(struct prxe_qp *qp, int event);
/* May this QP receive? (In INIT it may not.) Lockless: the state may change at once. */
static inline bool prxe_qp_receives(const struct prxe_qp *qp)
{
	enum ib_qp_state s = READ_ONCE(qp->state);

	return s == IB_QPS_RTR || s == IB_QPS_RTS || s == IB_QPS_SQD || s == IB_QPS_SQE;
}

/*
 * A packet or message has reached a connected QP, by either carrier. The first one in RTR raises
 * IB_EVENT_COMM_EST (IBTA 11.6.3.1). Under the resp.lock of the QP.
 */
void prxe_qp_comm_est(struct prxe_qp *qp);
static inline void prxe_qp_established(struct prxe_qp *qp)
{
	if (unlikely(READ_ONCE(qp->state) == IB_QPS_RTR))
		prxe_qp_comm_est(qp);
}

#endif
