/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The send side of a QP: its ownership, and what its owner does. "Owner" in a comment means: the
 * caller owns the send side, that is, it raised req.kicks from zero (requester.c); any context but
 * hardirq; the function does not sleep.
 */
#ifndef PRXE_REQUESTER_H
#define PRXE_REQUESTER_H

#include "transport/carrier.h"
#include "transport/park.h"
#include "transport/qp.h"
#include "transport/wqe.h"

/* At creation of a QP that nobody else sees yet. Sleeps. */
void prxe_req_init(struct prxe_qp *qp);
/* On the way to RESET: cancels the timer, the faults and all WQEs. Owner, but sleeps. */
void prxe_req_reset(struct prxe_qp *qp);
/* At RTS: take PSN and retry counters from attr. Owner. */
void prxe_req_start(struct prxe_qp *qp);
/*
 * From SQE or SQD to RTS. WQEs that were posted in SQE are flushed; PSNs go on where they stopped.
 * Owner, but sleeps.
 */
void prxe_req_resume(struct prxe_qp *qp, enum ib_qp_state from);

/*
 * Make the send side look at its queue. @budget: the caller may serve the queue itself, within a
 * budget (poster, fault thread, softirq); otherwise the worker does. Any context but hardirq.
 */
void prxe_req_kick(struct prxe_qp *qp, bool budget);
/*
 * Become the owner; waits for the present owner to leave. The wait is bounded: an owner leaves
 * after one step, which its budget limits, and never keeps ownership while it waits for memory or a
 * timer. Process context; sleeps. prxe_req_disown() gives ownership up and queues the worker, which
 * serves the kicks that came meanwhile.
 */
void prxe_req_own(struct prxe_qp *qp);
void prxe_req_disown(struct prxe_qp *qp);
/*
 * User space has posted and rung the doorbell: the caller serves the send side, unless another
 * owner does so already. Process context. Returns 0, or -EINVAL if the QP has not reached RTS.
 */
int prxe_req_doorbell(struct prxe_qp *qp);

/*
 * The work item that prxe_qp_schedule() queues: serves both sides of the QP. Drops the reference
 * that was taken for it.
 */
void prxe_qp_work(struct work_struct *work);

/* Slow path of prxe_req_waits(): a wait was started. Is it still going on? Owner. */
bool prxe_req_waits_still(struct prxe_qp *qp);

/*
 * For carriers that execute one WQE at a time: does the send side wait for memory or for the timer?
 * If its wait has ended, this also clears the wait. Owner.
 */
static inline bool prxe_req_waits(struct prxe_qp *qp)
{
	if (likely(!qp->req.waiting && !qp->req.park[PRXE_PARK_SEND].parked))
		return false;
	return prxe_req_waits_still(qp);
}

/*
 * Slow path of prxe_req_may_start() in SQD, when all started WQEs are over: raise
 * IB_EVENT_SQ_DRAINED once, if the consumer asked for it. Owner.
 */
void prxe_req_drained(struct prxe_qp *qp);

/*
 * May a new WQE start? In SQD none may. Call it only when all WQEs that were started are over: in
 * SQD it then reports that the queue is drained. Owner.
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
 * The oldest WQE is over: free its slot, and post its completion if it is signalled or @status is
 * an error. An error other than WR_FLUSH_ERR also moves the QP into an error state. Owner.
 */
void prxe_req_complete(struct prxe_qp *qp, struct prxe_wqe *wqe, enum ib_wc_status status);

/*
 * The oldest WQE that has not completed, fetched from the ring if necessary; NULL if there is none.
 * Owner.
 */
static inline struct prxe_wqe *prxe_req_oldest(struct prxe_qp *qp)
{
	if (qp->req.sq->index != qp->req.fetch)
		return prxe_req_wqe(qp, qp->req.sq->index);
	return prxe_req_fetch(qp);
}

/* Charge one WQE and @bytes to the budget. Returns false when the budget is used up. */
static inline bool prxe_budget_spend(struct prxe_budget *b, unsigned int bytes)
{
	b->bytes -= min(b->bytes, bytes);
	b->wqes -= min(b->wqes, 1U);
	return b->bytes && b->wqes;
}

/*
 * Execute one WQE after the other. Each is over before the next begins, so fences and ordering need
 * no further code. @step carries the message of the oldest WQE, or a part of it. Owner.
 */
static __always_inline enum prxe_step
prxe_req_serve_each(struct prxe_qp *qp, struct prxe_budget *b,
		    enum prxe_step (*step)(struct prxe_qp *qp, struct prxe_wqe *wqe))
{
	while (READ_ONCE(qp->state) == IB_QPS_RTS || READ_ONCE(qp->state) == IB_QPS_SQD) {
		struct prxe_wqe *wqe = prxe_req_oldest(qp);
		enum prxe_step s = PRXE_STEP_DONE;
		u32 before;

		/* Ask even when the queue is empty: this is what raises IB_EVENT_SQ_DRAINED. */
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
