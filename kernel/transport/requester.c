// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The send side: who owns it, what it executes next, and how it waits.
 *
 * req.kicks counts kicks, and gives ownership. A context that raises it from zero owns the send
 * side and serves it until it can subtract the kicks that it saw and reach zero. All others have
 * only told the owner to look again. An owner never sleeps and never waits: it leaves with "parked"
 * or "waiting" set, and the fault thread or the timer kicks later. So every kick is either served
 * by its caller or seen by the owner.
 *
 * Transport: calls its other files and the table of carriers; code that posts (verbs/) calls it.
 */
#include <linux/delay.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include "obj/cq.h"
#include "transport/carrier.h"
#include "transport/late.h"
#include "transport/park.h"
#include "transport/requester.h"
#include "transport/responder.h"

/* What a poster, a softirq or a fault thread does itself before it hands over to the worker. */
#define INLINE_BYTES		(256U << 10)
#define INLINE_WQES		64
/* What the worker does before it lets other tasks run. */
#define WORKER_BYTES		(8U << 20)
#define WORKER_WQES		4096

/* ---- waiting ---- */

static enum hrtimer_restart req_timer(struct hrtimer *timer)
{
	struct prxe_qp *qp = container_of(timer, struct prxe_qp, req.timer);

	WRITE_ONCE(qp->req.timer_fired, true);
	if (READ_ONCE(qp->state) == IB_QPS_ERR)
		prxe_qp_schedule(qp);
	else
		prxe_req_kick(qp, true);
	return HRTIMER_NORESTART;
}

/* ---- completing ---- */

void prxe_req_complete(struct prxe_qp *qp, struct prxe_wqe *wqe, enum ib_wc_status status)
{
	bool why = unlikely(status != IB_WC_SUCCESS && status != IB_WC_WR_FLUSH_ERR);
	struct prxe_queue *q = qp->req.sq;

	prxe_req_assert_owner(qp);
	/*
	 * State before completion: a consumer that sees the completion must find the QP in error.
	 */
	if (why) {
		prxe_qp_fail_begin(qp);
		prxe_qp_send_error(qp);
	}
	/*
	 * Free the slot before the completion, too: a consumer that sees the completion may post
	 * another WR at once (IBTA 10.8.1). The shadow copy stays valid until the owner fetches
	 * again.
	 */
	prxe_queue_consume_to(q, prxe_queue_next(q, q->index));
	if (qp->sq_sig_all || wqe->flags & IB_SEND_SIGNALED || status != IB_WC_SUCCESS) {
		struct ib_wc wc = {
			.wr_id = wqe->wr_id,
			.status = status,
			.opcode = prxe_wr_wc_opcode(wqe->opcode),
			.byte_len = wqe->length,
			.qp = qp->ibqp,
			.port_num = PRXE_PORT,
		};

		if (prxe_cq_post(qp->scq, &wc, false))
			prxe_qp_set_error(qp, IB_EVENT_QP_FATAL);
	}
	if (why)
		prxe_qp_fail_end(qp);
}

/* ---- serving ---- */

static enum prxe_step req_flush(struct prxe_qp *qp, struct prxe_budget *b)
{
	struct prxe_wqe *wqe;

	if (!qp->req.flushing) {
		qp->req.flushing = true;
		prxe_req_forget_faults(qp);
		prxe_carriers_tell(qp, PRXE_LIFE_FORGET);
		qp->req.waiting = false;
	}
	while ((wqe = prxe_req_oldest(qp))) {
		prxe_req_complete(qp, wqe, IB_WC_WR_FLUSH_ERR);
		if (!prxe_budget_spend(b, 0))
			return PRXE_STEP_MORE;
	}
	return PRXE_STEP_BLOCKED;
}

void prxe_req_drained(struct prxe_qp *qp)
{
	if (qp->req.sqd_told)
		return;
	qp->req.sqd_told = true;
	if (qp->attr.en_sqd_async_notify)
		prxe_qp_event(qp, IB_EVENT_SQ_DRAINED);
}

/*
 * UD and GSI: send each message where its own address leads. The carrier is chosen once, when the
 * message starts: if an address comes or goes, or force_wire changes, only later messages take
 * another carrier.
 */
static enum prxe_step ud_step(struct prxe_qp *qp, struct prxe_wqe *wqe)
{
	if (wqe->carrier == PRXE_CARRIER_NONE)
		wqe->carrier = prxe_carrier_to(qp, &wqe->ud.av);
	return prxe_carrier_of(wqe->carrier)->ud_send(qp, wqe);
}

/*
 * UC and UD wait a bounded time (park.c) for the receiver's memory; after that the message is lost,
 * as it would be on the wire. Called when the timer has ended. True: drop the message and go on.
 */
static bool drop_deadline(struct prxe_qp *qp)
{
	if (qp->type == IB_QPT_RC || !qp->req.park[PRXE_PARK_SEND].remote || !qp->req.deadline)
		return false;
	prxe_req_forget_faults(qp);
	if (qp->req.sq->index != qp->req.fetch)
		prxe_req_wqe(qp, qp->req.sq->index)->drop = 1;
	prxe_count(qp->dev, dropped_fault);
	return true;
}

bool prxe_req_waits_still(struct prxe_qp *qp)
{
	const struct prxe_park *park = &qp->req.park[PRXE_PARK_SEND];

	if (qp->req.waiting) {
		/* A fault that ends before the deadline ends the wait early. */
		if (!READ_ONCE(qp->req.timer_fired) &&
		    !(qp->req.deadline && prxe_park_is_done(park)))
			return true;
		qp->req.waiting = false;
	}
	return park->parked && !prxe_park_is_done(park) && !drop_deadline(qp);
}

static enum prxe_step req_serve(struct prxe_qp *qp, struct prxe_budget *b)
{
	enum ib_qp_state state = READ_ONCE(qp->state);
	enum prxe_step step;

	if (qp->dead)
		return PRXE_STEP_BLOCKED;
	if (prxe_qp_send_over(qp))
		return prxe_qp_send_flushes(qp) ? req_flush(qp, b) : PRXE_STEP_BLOCKED;
	if (state != IB_QPS_RTS && state != IB_QPS_SQD)
		return PRXE_STEP_BLOCKED;
	if (qp->carrier)
		step = qp->carrier->serve(qp, b);
	else
		step = prxe_req_waits(qp) ? PRXE_STEP_BLOCKED :
					    prxe_req_serve_each(qp, b, ud_step);
	if (prxe_qp_send_over(qp))
		return PRXE_STEP_MORE;
	return step;
}

/* The owner's loop. It returns without ownership, or after handing ownership to the worker. */
static void req_run(struct prxe_qp *qp, bool worker)
{
	struct prxe_budget b = {
		.bytes = worker ? WORKER_BYTES : INLINE_BYTES,
		.wqes = worker ? WORKER_WQES : INLINE_WQES,
	};

	for (;;) {
		/* Acquire: what is read below is at least as new as these kicks. */
		int seen = atomic_read_acquire(&qp->req.kicks);
		enum prxe_step step = req_serve(qp, &b);

		if (READ_ONCE(qp->req.wanted)) {
			/*
			 * prxe_req_own() takes over. It loses no kick: prxe_req_disown() makes the
			 * worker look at everything again.
			 */
			atomic_set_release(&qp->req.kicks, 0);
			return;
		}
		if (step != PRXE_STEP_BLOCKED && !(b.bytes && b.wqes)) {
			/*
			 * Release: the next owner, which claims "handed" by xchg() (the worker, or
			 * prxe_req_own()), sees all that this owner did.
			 */
			smp_store_release(&qp->req.handed, true);
			prxe_qp_schedule(qp);
			return;
		}
		if (step == PRXE_STEP_BLOCKED && !atomic_sub_return(seen, &qp->req.kicks))
			return;
	}
}

void prxe_req_kick(struct prxe_qp *qp, bool budget)
{
	if (!budget) {
		prxe_qp_schedule(qp);
		return;
	}
	if (atomic_inc_return(&qp->req.kicks) == 1)
		req_run(qp, false);
}

void prxe_qp_work(struct work_struct *work)
{
	struct prxe_qp *qp = container_of(work, struct prxe_qp, work);
	bool again = false;

	if (!READ_ONCE(qp->dead)) {
		again = prxe_carriers_work(qp);
		if (xchg(&qp->req.handed, false) || atomic_inc_return(&qp->req.kicks) == 1)
			req_run(qp, true);
		if (prxe_qp_flushes(qp)) {
			prxe_resp_flush(qp);
			prxe_late_look(qp);
		}
	}
	if (again)
		prxe_qp_schedule(qp);
	prxe_qp_put(qp);
}

void prxe_req_own(struct prxe_qp *qp)
{
	WRITE_ONCE(qp->req.wanted, true);
	/* Acquire: pairs with the owner's release. The owner leaves after one step at most. */
	while (atomic_cmpxchg_acquire(&qp->req.kicks, 0, 1)) {
		/*
		 * Ownership was handed to the worker. If the worker has not started yet, nobody
		 * serves: take ownership from it here.
		 */
		if (xchg(&qp->req.handed, false))
			break;
		usleep_range(5, 50);
	}
	WRITE_ONCE(qp->req.wanted, false);
}

void prxe_req_disown(struct prxe_qp *qp)
{
	/* The worker serves kicks that came meanwhile: it looks at everything. */
	atomic_set_release(&qp->req.kicks, 0);
	prxe_qp_schedule(qp);
}

/* ---- life ---- */

static void wake(struct prxe_qp *qp)
{
	prxe_req_kick(qp, true);
}

void prxe_req_init(struct prxe_qp *qp)
{
	atomic_set(&qp->req.kicks, 0);
	spin_lock_init(&qp->req.post_lock);
	prxe_hrtimer_setup(&qp->req.timer, req_timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_SOFT);
	prxe_park_init(&qp->req.park[PRXE_PARK_SEND], wake);
	prxe_park_init(&qp->req.park[PRXE_PARK_LAND], wake);
	INIT_WORK(&qp->work, prxe_qp_work);
	prxe_carriers_tell(qp, PRXE_LIFE_INIT);
}

void prxe_req_reset(struct prxe_qp *qp)
{
	struct prxe_queue *q = qp->req.sq;

	hrtimer_cancel(&qp->req.timer);
	prxe_req_forget_faults(qp);
	qp->req.waiting = false;
	qp->req.flushing = false;
	qp->req.sqd_told = false;
	if (q) {
		prxe_queue_consume_all(q);
		qp->req.fetch = q->index;
	}
	prxe_carriers_tell(qp, PRXE_LIFE_RESET_SEND);
}

void prxe_req_start(struct prxe_qp *qp)
{
	qp->req.psn = qp->attr.sq_psn & PRXE_PSN_MASK;
	qp->req.retry = qp->attr.retry_cnt;
	qp->req.rnr_retry = qp->attr.rnr_retry;
	prxe_carriers_tell(qp, PRXE_LIFE_START);
}

void prxe_req_resume(struct prxe_qp *qp, enum ib_qp_state from)
{
	u32 left = qp->req.sq->mask;	/* bounds the loop, whatever is posted meanwhile */
	struct prxe_wqe *wqe;

	prxe_req_assert_owner(qp);
	qp->req.sqd_told = false;
	if (from != IB_QPS_SQE)
		return;
	while (left-- && (wqe = prxe_req_oldest(qp))) {
		prxe_req_complete(qp, wqe, IB_WC_WR_FLUSH_ERR);
		cond_resched();
	}
	hrtimer_cancel(&qp->req.timer);
	prxe_req_forget_faults(qp);
	qp->req.waiting = false;
	qp->req.flushing = false;
	prxe_carriers_tell(qp, PRXE_LIFE_RESET_SEND);
	prxe_carriers_tell(qp, PRXE_LIFE_START);
}

int prxe_req_doorbell(struct prxe_qp *qp)
{
	if (READ_ONCE(qp->state) < IB_QPS_RTS)
		return -EINVAL;
	prxe_req_kick(qp, true);
	/* In error, the doorbell may be about a receive WQE. */
	if (READ_ONCE(qp->state) == IB_QPS_ERR)
		prxe_qp_schedule(qp);
	return 0;
}
