/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Queue pairs: state, and who may touch what.
 *
 * struct prxe_qp is separate from the core's ib_qp: it is found by RCU, counted, and outlives the verbs object while a peer, a
 * timer or a fault still holds it. "dead" is set once, under both owners; after that ibqp, the CQs, the PD and the SRQ are
 * never touched again.
 *
 * The send side belongs to its owner: whoever moved req.kicks from zero. There is one owner at a time (a poster, a softirq, a fault thread
 * or the worker); everybody else only kicks. The receive side is under resp.lock. Order: a send-side owner may take a
 * peer's resp.lock; who holds a resp.lock never becomes an owner and takes no second resp.lock: it queues work.
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
#include "mem/sgl.h"
#include "mmu/fault.h"
#include "obj/av.h"
#include "obj/cq.h"
#include "obj/queue.h"
#include "transport/late.h"
#include "transport/park.h"

struct mem_cgroup;

/*
 * How a UD message travels: chosen when it starts, and kept until it is over whatever happens to
 * addresses meanwhile.
 */
enum prxe_carrier { PRXE_CARRIER_NONE, PRXE_CARRIER_LOCAL, PRXE_CARRIER_WIRE };

enum prxe_wqe_state { PRXE_WQE_FETCHED, PRXE_WQE_STARTED /* wire: has its PSNs */, PRXE_WQE_SENT /* all packets are out */, PRXE_WQE_DONE };

/* The kernel's copy of a send WQE, checked; user space cannot change it. One for each slot of the SQ, at the slot's index. */
struct prxe_wqe {
	u64 wr_id;			/* or wr_cqe */
	u32 opcode;			/* enum ib_wr_opcode, one that the QP's type allows */
	u32 flags;			/* IB_SEND_* */
	u32 length;			/* of the message: the sum of its SGEs, recomputed */
	u32 num_sge;			/* 0 when inline */
	u8 state;			/* enum prxe_wqe_state */
	u8 status;			/* enum ib_wc_status: what a WQE that failed its checks completes with, in its turn */
	u8 done_atomic;			/* the atomic was executed: orig is its result, only the landing is left */
	u8 carrier;			/* UD: enum prxe_carrier */
	u8 drop;			/* local UC and UD: lost, the receiver's memory took too long */
	u32 done;			/* bytes carried so far (local) */
	u64 fill;			/* local: its number in the receive WQE; prxe_resp_claim() */
	u64 rwqe_no;			/* local: the number of that receive WQE */
	u32 first_psn, last_psn;
	__be32 imm;
	u32 inv_rkey;
	u64 orig;			/* atomics */
	u64 remote_addr;		/* RDMA, atomics and FLUSH */
	u32 rkey;
	u32 key;			/* REG_MR */
	u64 compare_add, swap;		/* also the 8 bytes of ATOMIC_WRITE, in compare_add */
	struct {			/* FLUSH; PRXE_FLUSH_* */
		u32 length;
		u8 type, level;
	} flush;
	struct {			/* UD, GSI */
		struct prxe_av av;
		u32 qpn, qkey;
		u16 pkey_index;
	} ud;
	struct {			/* BIND_MW */
		u64 addr, length;
		u32 mr_lkey, mw_rkey, rkey;
		int access;
	} mw;
	struct ib_mr *mr;		/* REG_MR; kernel consumers only */
	int access;
	union {
		DECLARE_FLEX_ARRAY(struct ib_sge, sge);
		DECLARE_FLEX_ARRAY(u8, inline_data);	/* flags & IB_SEND_INLINE */
	};
};

/* Send side; owner only, but what says otherwise. */
struct prxe_req {
	atomic_t kicks;			/* anybody; > 0: owned */
	bool handed;			/* ownership was given to the worker; by xchg */
	bool wanted;			/* prxe_req_own() waits: the owner leaves at its next chance */
	struct prxe_queue *sq;		/* sq->index: the oldest WQE that has not completed */
	spinlock_t post_lock;		/* kernel consumers' producers */
	u8 *shadow;			/* slots of wqe_size; prxe_req_wqe() */
	size_t wqe_size;
	u32 fetch;			/* index of the next WQE to fetch; [sq->index, fetch) are in shadow */
	u32 psn;			/* of the next new packet */
	u8 retry, rnr_retry;		/* left */
	bool flushing;			/* the QP is in error, WQEs complete with WR_FLUSH_ERR */
	bool sqd_told;			/* IB_EVENT_SQ_DRAINED was raised for this SQD */

	struct hrtimer timer;		/* RNR, ACK or lost-peer timer */
	bool waiting;			/* for the timer: nothing new is executed */
	bool lost;			/* local carrier: it waits because the peer did not answer */
	bool deadline;			/* UC, UD: the timer bounds the wait for a receiver's memory */
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
	u64 fills;			/* the last number of a receive WQE, or of a message in one */
	u32 psn;			/* expected */
	u32 msn;
	u32 msg;			/* wire: PRXE_OPF_SEND or _WRITE inside such a message, else 0 */
};

struct prxe_qp {
	struct ib_qp *ibqp;		/* not when dead */
	struct prxe_dev *dev;
	struct ib_pd *pd;
	struct prxe_cq *scq, *rcq;
	struct prxe_srq *srq;
	refcount_t ref;
	struct rcu_head rcu;
	enum ib_qp_type type;
	u32 qpn;
	/* Whose it is; NULL: a kernel consumer's. Followed by verbs only: a QP may outlive it. */
	struct prxe_ucontext *user;
	bool dead;			/* set under resp.lock by the owner of the send side */
	bool sq_sig_all;
	struct mutex mutex;		/* modify, query, destroy; sleeps */
	enum ib_qp_state state;		/* written under mutex or by prxe_qp_set_error(); READ_ONCE elsewhere */
	spinlock_t state_lock;		/* writers of state; innermost, BH off */
	struct ib_qp_attr attr;		/* what query returns; transport reads single words of it */
	struct ib_qp_cap cap;
	u32 mtu_shift;			/* 8 .. 12 */
	struct prxe_av av;		/* RC, UC */
	bool local;			/* carrier, chosen at RTR */
	atomic_t explaining;		/* completions with an error that are on their way to a CQ: nothing is flushed before them */
	bool comm_est_told;		/* IB_EVENT_COMM_EST was raised; under resp.lock */
	bool last_wqe_told;		/* IB_EVENT_QP_LAST_WQE_REACHED was raised; under resp.lock */
	struct prxe_late_qp late;	/* receive WQEs that come when it is in error */
	unsigned long events;		/* bits of enum ib_event_type to be raised by event_work */
	struct mem_cgroup *memcg;	/* pays for them; a reference; NULL: a kernel consumer's */
	struct work_struct event_work;	/* holds a reference while queued */
	struct work_struct work;	/* prxe_qp_work(): both sides; holds a reference while queued */
	struct prxe_req req;
	struct prxe_resp resp;
};

struct prxe_ibqp {
	struct ib_qp ib;		/* first; the core's object */
	struct prxe_qp *qp;
};

static inline struct prxe_qp *to_prxe_qp(struct ib_qp *ib)
{
	return container_of(ib, struct prxe_ibqp, ib)->qp;
}

static inline struct prxe_wqe *prxe_req_wqe(struct prxe_qp *qp, u32 index)
{
	return (struct prxe_wqe *)(qp->req.shadow + (size_t)index * qp->req.wqe_size);
}

/*
 * Around what puts a QP into error and the completion that says why. Other processors flush as soon as they see the state, which comes first; a consumer
 * takes the first completion for the reason.
 */
static inline void prxe_qp_explain(struct prxe_qp *qp)
{
	atomic_inc(&qp->explaining);
	smp_mb__after_atomic();		/* pairs with the one in prxe_qp_flushes() */
}
void prxe_qp_explained(struct prxe_qp *qp);

/* In a state whose send WQEs are flushed: of all QPs, or of UC and UD whose send failed. */
static inline bool prxe_qp_send_over(const struct prxe_qp *qp)
{
	enum ib_qp_state s = READ_ONCE(qp->state);

	return s == IB_QPS_ERR || s == IB_QPS_SQE;
}

/* The same, and the reason is told. */
static inline bool prxe_qp_send_flushes(const struct prxe_qp *qp)
{
	if (!prxe_qp_send_over(qp))
		return false;
	smp_rmb();
	return !atomic_read(&qp->explaining);
}

/* In error, and the reason is told. If it is not yet, the worker is queued when it is. */
static inline bool prxe_qp_flushes(const struct prxe_qp *qp)
{
	if (READ_ONCE(qp->state) != IB_QPS_ERR)
		return false;
	smp_rmb();
	return !atomic_read(&qp->explaining);
}

/* ---- qp.c: verbs and lifetime ---- */
int prxe_create_qp(struct ib_qp *ib, struct ib_qp_init_attr *init, struct ib_udata *udata);
int prxe_modify_qp(struct ib_qp *ib, struct ib_qp_attr *attr, int mask, struct ib_udata *udata);
int prxe_query_qp(struct ib_qp *ib, struct ib_qp_attr *attr, int mask, struct ib_qp_init_attr *init);
int prxe_destroy_qp(struct ib_qp *ib, struct ib_udata *udata);

static inline bool prxe_qp_tryget(struct prxe_qp *qp)
{
	return refcount_inc_not_zero(&qp->ref);
}
void prxe_qp_put(struct prxe_qp *qp);	/* any context; frees by RCU */
/* By number on a device, with a reference; any context. NULL when there is none. */
struct prxe_qp *prxe_qp_lookup(struct prxe_dev *dev, u32 qpn);
/* Queue prxe_qp_work() with a reference; any context but hardirq... and hardirq too. */
void prxe_qp_schedule(struct prxe_qp *qp);
/*
 * Into IB_QPS_ERR from any state but RESET, from any context but hardirq, with or without resp.lock; idempotent. Flushing happens in the worker. @event: an
 * enum ib_event_type to raise, or -1.
 */
void prxe_qp_set_error(struct prxe_qp *qp, int event);
/*
 * A send has failed: an RC QP goes into error. One of the other types goes into IB_QPS_SQE: its
 * send WQEs are flushed, it goes on receiving, and modify takes it back to RTS (IBTA 10.3.1).
 * The send side's owner.
 */
void prxe_qp_send_error(struct prxe_qp *qp);
/*
 * The device is being taken from its users (dev->leaving is set): all their QPs into error, and what was posted to them
 * completes before this returns. Sleeps.
 */
void prxe_qp_abandon_all(struct prxe_dev *dev);
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

/* ---- requester.c ---- */
void prxe_req_init(struct prxe_qp *qp);		/* at creation */
void prxe_req_reset(struct prxe_qp *qp);	/* on the way to RESET: nothing is pending after it; sleeps */
void prxe_req_start(struct prxe_qp *qp);	/* at RTS: psn, retries from attr */
/* Owner, from SQE or SQD to RTS: what was posted in SQE is flushed; PSNs go on. Sleeps. */
void prxe_req_resume(struct prxe_qp *qp, enum ib_qp_state from);
/* Make the send side look at its queue. @budget: the caller may do work itself (poster, fault thread, softirq). */
void prxe_req_kick(struct prxe_qp *qp, bool budget);
/* Become the send-side owner, waiting for the present one to leave (bounded: owners leave after their budget, and
 * never own across a wait for memory or time). Process context. For reset and destroy. prxe_req_disown() lets kicks act again. */
void prxe_req_own(struct prxe_qp *qp);
void prxe_req_disown(struct prxe_qp *qp);
/* User space has posted: the caller serves the send side, unless somebody does already. Process context. -EINVAL: the state. */
int prxe_req_doorbell(struct prxe_qp *qp);
int prxe_post_send(struct ib_qp *ib, const struct ib_send_wr *wr, const struct ib_send_wr **bad);
/* Owner: fetch the next WQE into its shadow; NULL when there is none. */
struct prxe_wqe *prxe_req_fetch(struct prxe_qp *qp);
/* Owner: the oldest WQE is over. Success completions only when signalled; its slot goes back. An error puts the QP into error. */
void prxe_req_complete(struct prxe_qp *qp, struct prxe_wqe *wqe, enum ib_wc_status status);
/* An asynchronous event of the QP to its consumer, unless it is dead; any context but hardirq. */
void prxe_qp_event(struct prxe_qp *qp, int event);
/* Owner: execute LOCAL_INV, REG_MR, BIND_MW: a status. */
enum ib_wc_status prxe_req_local_op(struct prxe_qp *qp, struct prxe_wqe *wqe);
/* Owner: may a new WQE start (not in SQD; all that began is over when asked)? */
bool prxe_req_may_start(struct prxe_qp *qp);
/* Owner: wait @ns for the timer, then be kicked. */
void prxe_req_wait(struct prxe_qp *qp, u64 ns);
void prxe_qp_work(struct work_struct *work);

enum prxe_step {
	PRXE_STEP_DONE,		/* this WQE is over and was completed: go on */
	PRXE_STEP_MORE,		/* progress was made, there is more of it */
	PRXE_STEP_BLOCKED,	/* parked, waiting, or nothing to do: leave */
};

/* ---- responder.c: what both carriers share; resp.lock held ---- */
/* Take a receive WQE into resp.rwqe unless one is there: 0, -EAGAIN none posted, -EINVAL a malformed one. */
int prxe_resp_take(struct prxe_qp *qp);
/*
 * The message whose number is *@fill wants to go on filling resp.rwqe, which was taken. True: what
 * it wrote before stands there. False: it has written nothing there yet, or somebody else did
 * since: it has a new number now, and starts at its first byte.
 */
static inline bool prxe_resp_claim(struct prxe_resp *r, u64 *fill)
{
	lockdep_assert_held(&r->lock);
	if (*fill && *fill == r->rwqe.fill)
		return true;
	r->rwqe.fill = ++r->fills;
	*fill = r->rwqe.fill;
	return false;
}
/* Complete resp.rwqe. @wc has opcode, byte_len, flags, imm, src_qp... set; wr_id, qp, port are filled here. */
void prxe_resp_complete(struct prxe_qp *qp, struct ib_wc *wc, bool solicited);
/* The message failed: complete resp.rwqe (if any) with @status, QP into error with @event (or -1). */
void prxe_resp_fail(struct prxe_qp *qp, enum ib_wc_status status, int event);
/* Worker: complete everything posted with WR_FLUSH_ERR (resp.lock not held). */
void prxe_resp_flush(struct prxe_qp *qp);
void prxe_resp_init(struct prxe_qp *qp);
void prxe_resp_reset(struct prxe_qp *qp);
int prxe_post_recv(struct ib_qp *ib, const struct ib_recv_wr *wr, const struct ib_recv_wr **bad);
/* QP access check for an inbound operation (IB_ACCESS_REMOTE_*): true when qp_access_flags allow it. */
static inline bool prxe_resp_allows(const struct prxe_qp *qp, int access)
{
	return (READ_ONCE(qp->attr.qp_access_flags) & access) == access;
}

#endif
