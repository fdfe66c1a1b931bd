/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The send side of a QP: its ownership, and what its owner does. "Owner" stands for: in any context
 * but hardirq, not sleeping, by whoever moved req.kicks from zero (requester.c).
 */
#ifndef PRXE_REQUESTER_H
#define PRXE_REQUESTER_H

#include "transport/carrier.h"
#include "transport/park.h"
#include "transport/qp.h"
#include "transport/wqe.h"

void prxe_req_init(struct prxe_qp *qp);		/* at creation */
/* On the way to RESET: nothing is pending after it. Owner, but sleeps. */
void prxe_req_reset(struct prxe_qp *qp);
void prxe_req_start(struct prxe_qp *qp);	/* at RTS: PSN and retries from attr */
/* Owner, from SQE or SQD to RTS: what was posted in SQE is flushed; PSNs go on. Sleeps. */
void prxe_req_resume(struct prxe_qp *qp, enum ib_qp_state from);

/*
 * Make the send side look at its queue. @budget: the caller may do work itself (poster, fault
 * thread, softirq). Any context but hardirq.
 */
void prxe_req_kick(struct prxe_qp *qp, bool budget);
/*
 * Become the owner, waiting for the present one to leave (bounded: owners leave after their budget,
 * and never own across a wait for memory or time). Process context; sleeps. prxe_req_disown() ends
 * it: kicks act again.
 */
void prxe_req_own(struct prxe_qp *qp);
void prxe_req_disown(struct prxe_qp *qp);
/*
 * User space has posted: the caller serves the send side, unless somebody does already. Process
 * context. -EINVAL: the QP's state.
 */
int prxe_req_doorbell(struct prxe_qp *qp);

/* What prxe_qp_schedule() queues: serves both sides. Holds a reference. */
void prxe_qp_work(struct work_struct *work);

/* For prxe_req_waits(): it did wait. */
bool prxe_req_waits_still(struct prxe_qp *qp);

/*
 * Owner of a side that does one WQE at a time: does it wait for memory or for the timer? If not, a
 * wait that has ended is over.
 */
static inline bool prxe_req_waits(struct prxe_qp *qp)
{
	if (likely(!qp->req.waiting && !qp->req.park[PRXE_PARK_SEND].parked))
		return false;
	return prxe_req_waits_still(qp);
}

/* For prxe_req_may_start(): all that began is over, in SQD. */
void prxe_req_drained(struct prxe_qp *qp);

/*
 * Owner: may a new WQE start? In SQD none does; ask when all that began is over: it is told then.
 */
static inline bool prxe_req_may_start(struct prxe_qp *qp)
{
	if (unlikely(READ_ONCE(qp->state) == IB_QPS_SQD)) {
		prxe_req_drained(qp);
		return false;
	}
	qp->req.sqd_told = false;
	return true;
}

/*
 * Owner: the oldest WQE is over. Completes it if it is signalled or failed, and gives its slot
 * back. An error puts the QP into error.
 */
void prxe_req_complete(struct prxe_qp *qp, struct prxe_wqe *wqe, enum ib_wc_status status);

/* Owner: the oldest WQE that has not completed, fetched if need be; NULL: there is none. */
static inline struct prxe_wqe *prxe_req_oldest(struct prxe_qp *qp)
{
	if (qp->req.sq->index != qp->req.fetch)
		return prxe_req_wqe(qp, qp->req.sq->index);
	return prxe_req_fetch(qp);
}

/* One WQE, and @bytes. False: the budget is used up. */
static inline bool prxe_budget_spend(struct prxe_budget *b, unsigned int bytes)
{
	b->bytes -= min(b->bytes, bytes);
	b->wqes -= min(b->wqes, 1U);
	return b->bytes && b->wqes;
}

/*
 * Owner: one WQE after the other, each over before the next begins, so that fences and order need
 * nothing more. @step carries the message of the oldest WQE, or a part of it.
 */
static __always_inline enum prxe_step
prxe_req_serve_each(struct prxe_qp *qp, struct prxe_budget *b,
		    enum prxe_step (*step)(struct prxe_qp *qp, struct prxe_wqe *wqe))
{
	while (READ_ONCE(qp->state) == IB_QPS_RTS || READ_ONCE(qp->state) == IB_QPS_SQD) {
		struct prxe_wqe *wqe = prxe_req_oldest(qp);
		enum prxe_step s = PRXE_STEP_DONE;
		u32 before;

		/* Asked even when the queue is empty: it is what raises IB_EVENT_SQ_DRAINED. */
		if ((!wqe || wqe->state == PRXE_WQE_FETCHED) && (!prxe_req_may_start(qp) || !wqe))
			return PRXE_STEP_BLOCKED;
		before = wqe->done;
		if (wqe->status)
			prxe_req_complete(qp, wqe, wqe->status);
		else if (wqe->kind & PRXE_WR_LOCAL)
			prxe_req_complete(qp, wqe, prxe_req_local_op(qp, wqe));
		else
			s = step(qp, wqe);
		if (s == PRXE_STEP_BLOCKED)
			return s;
		if (!prxe_budget_spend(b, wqe->done - min(before, wqe->done)) ||
		    READ_ONCE(qp->req.wanted))
			return PRXE_STEP_MORE;
	}
	return prxe_qp_send_over(qp) ? PRXE_STEP_MORE : PRXE_STEP_BLOCKED;
}

#endif
