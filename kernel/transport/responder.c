// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The receive side: what both carriers do with receive WQEs, completions and failures.
 *
 * Transport: uses receive WQEs (obj/queue.c, srq.c), CQs and the table of carriers. Both carriers
 * and the worker of a QP call it.
 */
#include <linux/ktime.h>
#include <linux/lockdep.h>
#include "obj/srq.h"
#include "transport/carrier.h"
#include "transport/responder.h"

void prxe_resp_init(struct prxe_qp *qp)
{
	static atomic_t qps;

	spin_lock_init(&qp->resp.lock);
	/*
	 * Start at a number that no other QP uses. Senders remember a number, and may
	 * later find another QP under the same QP number.
	 */
	qp->resp.fills = (u64)atomic_inc_return(&qps) << 32;
	spin_lock_init(&qp->resp.post_lock);
}

/* Forgets posted receive WQEs (IBTA 10.3.1), and progress and protocol state. */
void prxe_resp_reset(struct prxe_qp *qp)
{
	prxe_carriers_tell(qp, PRXE_LIFE_RESET_RECEIVE);
	spin_lock_bh(&qp->resp.lock);
	qp->resp.rwqe.valid = false;
	qp->resp.msn = 0;
	if (qp->resp.rq) {
		struct prxe_queue *q = qp->resp.rq;

		WRITE_ONCE(q->ring->rq_doorbell, 0);
		prxe_queue_consume_all(q);
	}
	spin_unlock_bh(&qp->resp.lock);
}

int prxe_resp_take(struct prxe_qp *qp)
{
	struct prxe_rwqe *rwqe = &qp->resp.rwqe;
	int err;

	lockdep_assert_held(&qp->resp.lock);
	if (rwqe->valid)
		return 0;
	rwqe->fill = 0;
	rwqe->no = ++qp->resp.fills;
	if (qp->srq)
		err = prxe_srq_take(qp->srq, rwqe);
	else
		err = prxe_rq_take(qp->resp.rq, qp->cap.max_recv_sge, rwqe);
	rwqe->valid = err != -EAGAIN;
	return err;
}

static void resp_post(struct prxe_qp *qp, struct ib_wc *wc, bool solicited)
{
	wc->wr_id = qp->resp.rwqe.wr_id;
	wc->qp = qp->ibqp;
	wc->port_num = PRXE_PORT;
	qp->resp.rwqe.valid = false;
	if (prxe_cq_post(qp->rcq, wc, solicited))
		prxe_qp_set_error(qp, IB_EVENT_QP_FATAL);
}

void prxe_resp_complete(struct prxe_qp *qp, struct ib_wc *wc, bool solicited)
{
	lockdep_assert_held(&qp->resp.lock);
	wc->status = IB_WC_SUCCESS;
	resp_post(qp, wc, solicited);
}

void prxe_resp_fail(struct prxe_qp *qp, enum ib_wc_status status, int event)
{
	lockdep_assert_held(&qp->resp.lock);
	/*
	 * State before completion: a consumer that sees the completion must find the QP in error.
	 */
	prxe_qp_fail_begin(qp);
	prxe_qp_set_error(qp, event);
	if (qp->resp.rwqe.valid) {
		struct ib_wc wc = { .status = status, .opcode = IB_WC_RECV };

		resp_post(qp, &wc, true);
	}
	prxe_qp_fail_end(qp);
}

/*
 * Posted receive WQEs complete with WR_FLUSH_ERR. WQEs of an SRQ stay there, and the consumer is
 * told that this QP will take no more of them. At most 64 are completed before the lock is dropped,
 * so that others get it.
 */
void prxe_resp_flush(struct prxe_qp *qp)
{
	bool more = true;

	while (more) {
		int i;

		spin_lock_bh(&qp->resp.lock);
		for (i = 0; i < 64 && more; i++) {
			struct ib_wc wc = { .status = IB_WC_WR_FLUSH_ERR, .opcode = IB_WC_RECV };

			if (qp->dead || READ_ONCE(qp->state) != IB_QPS_ERR) {
				more = false;
				break;
			}
			/*
			 * From now on posters must ring the doorbell; those that cannot,
			 * prxe_late_look() finds.
			 */
			if (qp->resp.rq)
				WRITE_ONCE(qp->resp.rq->ring->rq_doorbell, 1);
			if (!qp->resp.rwqe.valid && (qp->srq || prxe_resp_take(qp) == -EAGAIN)) {
				more = false;
				break;
			}
			qp->late.since = ktime_get_ns();
			resp_post(qp, &wc, true);
		}
		if (!more && qp->srq && !qp->dead && !qp->last_wqe_told &&
		    READ_ONCE(qp->state) == IB_QPS_ERR) {
			qp->last_wqe_told = true;
			prxe_qp_event(qp, IB_EVENT_QP_LAST_WQE_REACHED);
		}
		spin_unlock_bh(&qp->resp.lock);
		cond_resched();
	}
}
