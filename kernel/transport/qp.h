/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Queue pairs: state, and who may touch what.
 *
 * struct prxe_qp is separate from the core's ib_qp: it is found by RCU, counted, and outlives the
 * verbs object while a peer, a timer or a fault still holds it. "dead" is set once, under both
 * owners; after that ibqp, the CQs, the PD and the SRQ are never touched again.
 *
 * The send side belongs to its owner: whoever moved req.kicks from zero. There is one owner at a
 * time (a poster, a softirq, a fault thread or the worker); everybody else only kicks. The receive
 * side is under resp.lock. Order: a send-side owner may take a peer's resp.lock; who holds a
 * resp.lock never becomes an owner and takes no second resp.lock: it queues work.
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
 * Faults that a send side waits for (park.c), at most one of each kind: memory that it sends from
 * (or that a local peer lacks), and memory that a response lands in. They are apart, because
 * responses are taken and messages complete whatever the next message lacks.
 */
enum prxe_park_kind { PRXE_PARK_SEND, PRXE_PARK_LAND, PRXE_PARK_NUM };

struct prxe_park {
	void (*wake)(struct prxe_qp *qp);
	/* Of the end of a queued fault, and of who raises epoch. Innermost, BH off. */
	spinlock_t lock;
	/* Written by the owner only: */
	bool parked;		/* a fault was queued, and not looked at since */
	bool remote;		/* the memory was the peer's (local carrier) */
	bool queued;		/* a fault of this epoch is queued, or was and not looked at */
	u32 index, psn;		/* the WQE and the PSN that wait */
	u32 epoch;		/* a queued fault of an older one is nobody's */
	/* Written by the end of the fault as well: */
	bool done;		/* the wait is over, with error; release and acquire */
	int error;		/* valid with done */
};

/* Receive WQEs that come when the QP is in error (late.c). */
struct prxe_late_qp {
	struct prxe_watcher watcher;	/* of the receive CQ, when time does not look any more */
	u64 since;			/* ns: last flush of a receive; 0: none. resp.lock */
};

/* Send side; owner only, but what says otherwise. */
struct prxe_req {
	atomic_t kicks;			/* anybody; > 0: owned */
	bool handed;			/* ownership was given to the worker; by xchg */
	bool wanted;			/* prxe_req_own() waits: the owner leaves soon */
	struct prxe_queue *sq;		/* sq->index: the oldest WQE that has not completed */
	spinlock_t post_lock;		/* kernel consumers' producers */
	u8 *shadow;			/* slots of wqe_size; prxe_req_wqe() */
	size_t wqe_size;
	u32 fetch;			/* the next to fetch; [sq->index, fetch) are in shadow */
	u32 psn;			/* of the next new packet */
	u8 retry, rnr_retry;		/* left */
	bool flushing;			/* the QP is in error, WQEs complete with WR_FLUSH_ERR */
	bool sqd_told;			/* IB_EVENT_SQ_DRAINED was raised for this SQD */

	struct hrtimer timer;		/* RNR, ACK or lost-peer timer */
	bool waiting;			/* for the timer: nothing new is executed */
	bool lost;			/* local carrier: the timer runs as no peer answered */
	bool deadline;			/* UC, UD: the timer bounds the wait for the receiver */
	bool timer_fired;		/* set by the timer, any context */

	struct prxe_park park[PRXE_PARK_NUM];	/* faults that it waits for */

	struct prxe_qp *peer;		/* local carrier: cached, a reference */
};

/* Receive side; under lock, but what says otherwise. */
struct prxe_resp {
	spinlock_t lock;		/* BH off */
	struct prxe_queue *rq;		/* NULL with an SRQ; rq->index: next to take */
	spinlock_t post_lock;		/* kernel consumers' producers */
	struct prxe_rwqe rwqe;		/* being filled, or kept for a retry */
	u64 fills;			/* the last number of a receive WQE or a message in it */
	u32 psn;			/* expected */
	u32 msn;
	u32 msg;			/* wire: PRXE_OPF_SEND or _WRITE inside of such, else 0 */
};

struct prxe_qp {
	struct ib_qp *ibqp;		/* not when dead */
	union {
		struct prxe_who who;	/* for mem/; and its members under their own names: */
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
	/* Whose it is; NULL: a kernel consumer's. Followed by verbs only: a QP may outlive it. */
	struct prxe_ucontext *user;
	bool dead;			/* set under resp.lock by the owner of the send side */
	bool sq_sig_all;
	struct mutex mutex;		/* modify, query, destroy; sleeps */
	/* Written under state_lock; READ_ONCE elsewhere. */
	enum ib_qp_state state;
	spinlock_t state_lock;		/* writers of state; innermost, BH off */
	struct ib_qp_attr attr;		/* what query returns; transport reads single words of it */
	struct ib_qp_cap cap;
	u32 mtu_shift;			/* 8 .. 12 */
	struct prxe_av av;		/* RC, UC */
	const struct prxe_carrier *carrier;	/* RC, UC: chosen at RTR; else NULL */
	atomic_t failing;		/* open brackets (prxe_qp_fail_begin()): no flushing */
	bool comm_est_told;		/* IB_EVENT_COMM_EST was raised; under resp.lock */
	bool last_wqe_told;		/* and IB_EVENT_QP_LAST_WQE_REACHED */
	struct prxe_late_qp late;	/* receive WQEs that come when it is in error */
	unsigned long events;		/* bits of enum ib_event_type to be raised by event_work */
	struct mem_cgroup *memcg;	/* pays for them; a reference; NULL: a kernel consumer's */
	struct work_struct event_work;	/* holds a reference while queued */
	struct work_struct work;	/* prxe_qp_work(); holds a reference while queued */
	struct prxe_req req;
	struct prxe_resp resp;
};

static_assert(offsetof(struct prxe_qp, dev) == offsetof(struct prxe_qp, who.dev));
static_assert(offsetof(struct prxe_qp, pd) == offsetof(struct prxe_qp, who.pd));
static_assert(offsetof(struct prxe_qp, qpn) == offsetof(struct prxe_qp, who.qpn));

struct prxe_ibqp {
	struct ib_qp ib;		/* first; the core's object */
	struct prxe_qp *qp;		/* NULL: destroyed; RCU for prxe_qp_get_ib() */
};

/* For verbs that the core does not call beside destroy. */
static inline struct prxe_qp *to_prxe_qp(struct ib_qp *ib)
{
	return container_of(ib, struct prxe_ibqp, ib)->qp;
}

/*
 * For those that it does: rdma netlink asks for a QP until after destroy_qp() has returned. With a
 * reference; NULL: it was destroyed. Any context.
 */
struct prxe_qp *prxe_qp_get_ib(struct ib_qp *ib);

/* log2 of the bytes of an MTU: 8 for IB_MTU_256, up to 12 for IB_MTU_4096. */
static inline u32 prxe_mtu_shift(enum ib_mtu mtu)
{
	return mtu - IB_MTU_256 + 8;
}

/*
 * Bracket what puts a QP into error and the completion that carries the reason. The state changes
 * first, and a consumer takes the first error completion for the reason: so other CPUs, which flush
 * when they see the state, wait until the bracket is closed. prxe_qp_fail_end() queues the worker,
 * which flushes. Any context but hardirq; does not sleep.
 */
static inline void prxe_qp_fail_begin(struct prxe_qp *qp)
{
	atomic_inc(&qp->failing);
	smp_mb__after_atomic();		/* pairs with the one in prxe_qp_flushes() */
}

void prxe_qp_fail_end(struct prxe_qp *qp);

/* In a state whose send WQEs are flushed: of all QPs, or of UC and UD whose send failed. */
static inline bool prxe_qp_send_over(const struct prxe_qp *qp)
{
	enum ib_qp_state s = READ_ONCE(qp->state);

	return s == IB_QPS_ERR || s == IB_QPS_SQE;
}

/* The same, and the completion with the reason is in its CQ. */
static inline bool prxe_qp_send_flushes(const struct prxe_qp *qp)
{
	if (!prxe_qp_send_over(qp))
		return false;
	/* The bracket is looked at after the state: pairs with prxe_qp_fail_begin(). */
	smp_rmb();
	return !atomic_read(&qp->failing);
}

/* In error, and the completion with the reason is in its CQ. Until then: prxe_qp_fail_end(). */
static inline bool prxe_qp_flushes(const struct prxe_qp *qp)
{
	if (READ_ONCE(qp->state) != IB_QPS_ERR)
		return false;
	/* The bracket is looked at after the state: pairs with prxe_qp_fail_begin(). */
	smp_rmb();
	return !atomic_read(&qp->failing);
}

/* Of a zeroed QP: one reference, and what the functions here use. */
void prxe_qp_init(struct prxe_qp *qp);

/* For what only the owner of the send side may do. */
static inline void prxe_req_assert_owner(const struct prxe_qp *qp)
{
	lockdep_assert(atomic_read(&qp->req.kicks) > 0);
}

static inline bool prxe_qp_tryget(struct prxe_qp *qp)
{
	return refcount_inc_not_zero(&qp->ref);
}

void prxe_qp_put(struct prxe_qp *qp);	/* any context; frees by RCU */
/* By number on a device, with a reference; any context. NULL when there is none. */
struct prxe_qp *prxe_qp_lookup(struct prxe_dev *dev, u32 qpn);
/* Queues prxe_qp_work() and takes a reference for it. Any context, hardirq included. */
void prxe_qp_schedule(struct prxe_qp *qp);
/*
 * Into IB_QPS_ERR from any state but RESET, from any context but hardirq, with or without
 * resp.lock; idempotent. Flushing happens in the worker. @event: an enum ib_event_type to raise, or
 * -1.
 */
void prxe_qp_set_error(struct prxe_qp *qp, int event);
/*
 * A send has failed: an RC QP goes into error. One of the other types goes into IB_QPS_SQE: its
 * send WQEs are flushed, it goes on receiving, and modify takes it back to RTS (IBTA 10.3.1).
 * The send side's owner.
 */
void prxe_qp_send_error(struct prxe_qp *qp);
/* An asynchronous event of the QP to its consumer, unless it is dead; any context but hardirq. */
void prxe_qp_event(struct prxe_qp *qp, int event);
/* May this QP receive (INIT excluded), may it send? From state; lockless. */
static inline bool prxe_qp_receives(const struct prxe_qp *qp)
{
	enum ib_qp_state s = READ_ONCE(qp->state);

	return s == IB_QPS_RTR || s == IB_QPS_RTS || s == IB_QPS_SQD || s == IB_QPS_SQE;
}

/*
 * A packet or message has reached a connected QP, by either carrier: the first one in RTR raises
 * IB_EVENT_COMM_EST (IBTA 11.6.3.1). Under its resp.lock.
 */
void prxe_qp_comm_est(struct prxe_qp *qp);
static inline void prxe_qp_established(struct prxe_qp *qp)
{
	if (unlikely(READ_ONCE(qp->state) == IB_QPS_RTR))
		prxe_qp_comm_est(qp);
}

#endif
