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
#include "carrier/wire_early.h"
#include "carrier/wire_out.h"
#include "carrier/wire_pos.h"
#include "carrier/wire_req.h"
#include "carrier/wire_send.h"
#include "carrier/wire_state.h"

#define ASK_MAX	4U	/* times that a response is asked for, before the ACK timer */

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
	prxe_early_forget(&w->early);
	w->early_full = false;
	w->land_done = 0;
	WRITE_ONCE(w->land_lost, false);
	w->late_nak = false;
}

static enum hrtimer_restart early_timer(struct hrtimer *timer)
{
	struct prxe_wire *wire = container_of(timer, struct prxe_wire, req.early.timer);

	WRITE_ONCE(wire->req.early_late, true);
	prxe_req_kick(prxe_wire_qp(wire), true);
	return HRTIMER_NORESTART;
}

void prxe_wire_req_init(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	skb_queue_head_init(&w->acks);
	prxe_early_init(&w->early, ASK_MAX, early_timer);
}

void prxe_wire_req_reset(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	prxe_wire_req_forget(qp);
	prxe_early_reset(&w->early);
	WRITE_ONCE(w->early_late, false);
	prxe_route_drop(&w->route);
	kfree(w->rd_last);
	w->rd_last = NULL;
	w->rd_head = 0;
	w->rd_tail = 0;
	w->unasked = 0;
	w->single = 0;
	w->no_run = U32_MAX;
	w->backoff = 0;
	w->cwnd = 0;
	w->slowed = false;
	w->rewound_set = false;
	w->again = false;
	w->trial = false;
	w->keeps = false;
	w->refused = 0;
	w->retried = false;
	w->rtt_on = false;
	w->rtt = 0;
	w->timer_on = false;
	qp->req.timer_fired = false;
	w->rnr_wait = false;
	w->send = qp->req.sq->index;
	WRITE_ONCE(w->skbs.need, false);
}

void prxe_wire_req_start(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	WRITE_ONCE(w->congested, false);
	WRITE_ONCE(w->una, qp->req.psn);
	WRITE_ONCE(w->sent_high, qp->req.psn);
	w->rewound = prxe_psn_add(qp->req.psn, -PRXE_TRAIN_MAX);
	w->send = qp->req.sq->index;
	w->last_heard = ktime_get();
}
