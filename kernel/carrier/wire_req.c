// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The requester's half of the wire: what its owner does in which order, and its life.
 *
 * Carrier, wire: responses (wire_ack.c) first, then the clock (wire_pos.c), then what is to be sent
 * (wire_send.c).
 */
#include <linux/slab.h>
#include "carrier/wire_make.h"
#include "carrier/wire_ack.h"
#include "carrier/wire_out.h"
#include "carrier/wire_pos.h"
#include "carrier/wire_req.h"
#include "carrier/wire_send.h"
#include "carrier/wire_state.h"

enum prxe_step prxe_wire_req_serve(struct prxe_qp *qp, struct prxe_budget *b)
{
	enum prxe_step step;
	int error;

	step = prxe_wire_serve_responses(qp);
	if (step != PRXE_STEP_DONE)
		return step;
	if (qp->req.waiting) {
		if (!READ_ONCE(qp->req.timer_fired))
			return PRXE_STEP_BLOCKED;
		qp->req.waiting = false;
	}
	if (!prxe_wire_look_at_clock(qp))
		return PRXE_STEP_MORE;
	if (!prxe_park_faulting(&qp->req.park[PRXE_PARK_SEND], &error) && error)
		prxe_wire_send_fault_failed(qp);
	return prxe_wire_send_batch(qp, &b->bytes);
}

void prxe_wire_req_forget(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	prxe_wire_forget_pend(qp);
	prxe_make_drop(&w->make);
	spin_lock_bh(&w->acks.lock);
	w->acks_pkts = 0;
	__skb_queue_purge(&w->acks);
	spin_unlock_bh(&w->acks.lock);
	w->land_done = 0;
	WRITE_ONCE(w->land_lost, false);
	w->late_nak = false;
}

void prxe_wire_req_init(struct prxe_qp *qp)
{
	skb_queue_head_init(&prxe_wire_req(qp)->acks);
}

void prxe_wire_req_reset(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	prxe_wire_req_forget(qp);
	prxe_route_drop(&w->route);
	kfree(w->rd_last);
	w->rd_last = NULL;
	w->rd_head = 0;
	w->rd_tail = 0;
	w->unasked = 0;
	w->single = 0;
	w->no_run = U32_MAX;
	w->backoff = 0;
	w->rewound_set = false;
	w->timer_on = false;
	qp->req.timer_fired = false;
	w->rnr_wait = false;
	w->send = qp->req.sq->index;
	WRITE_ONCE(w->skbs.need, false);
}

void prxe_wire_req_start(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	WRITE_ONCE(w->una, qp->req.psn);
	WRITE_ONCE(w->sent_high, qp->req.psn);
	w->send = qp->req.sq->index;
	w->last_heard = ktime_get();
}
