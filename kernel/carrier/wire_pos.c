// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The position of the wire's requester: going back, retries, and the clock.
 *
 * req.psn and wire_req.send say which packet comes next. A WQE gets its PSNs when its first packet
 * is made, so a position in a message is a PSN. una is the oldest PSN that is not acknowledged; it
 * lies in the oldest WQE. To go back is to set psn to una and send to the oldest WQE: packets are
 * made from the SGEs again, no copy of a packet is kept. Carrier, wire: the lowest file of the
 * requester's half.
 */
#include "base/packet.h"
#include "carrier/wire_make.h"
#include "carrier/wire_pos.h"

/*
 * No operating system can answer faster than this: a shorter local ACK timeout is taken for this
 * value.
 */
#define MIN_TIMEOUT_NS	(4 * NSEC_PER_MSEC)

void prxe_wire_forget_pend(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	prxe_make_forget(&w->make);
	w->pend_done = 0;
}

void prxe_wire_rewind(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	if (prxe_wire_outstanding(qp))
		prxe_count(qp->dev, retransmits);
	qp->req.psn = w->una;
	w->send = qp->req.sq->index;
	w->rd_tail = w->rd_head;
	w->again = false;
	w->trial = false;
	w->rtt_on = false;
	w->unasked = 0;
	w->last_heard = ktime_get();
	prxe_wire_forget_pend(qp);
}

bool prxe_wire_take_retry(struct prxe_qp *qp)
{
	struct prxe_wqe *wqe = prxe_wire_oldest(qp);

	if (qp->req.retry) {
		qp->req.retry--;
		prxe_count(qp->dev, completer_retry_err);
		return true;
	}
	prxe_count(qp->dev, retry_exceeded_err);
	if (wqe)
		prxe_wire_finish(qp, wqe, IB_WC_RETRY_EXC_ERR);
	return false;
}

/* It doubles with each timeout, to four times what was asked for, which IBTA 9.7.6.1.3 allows. */
#define BACKOFF_MAX	2U

static u64 ack_timeout(const struct prxe_qp *qp)
{
	u64 ns = prxe_timeout_ns(READ_ONCE(qp->attr.timeout) & 31);

	return ns ? max_t(u64, ns, MIN_TIMEOUT_NS) << prxe_wire_req(qp)->backoff : 0;
}

bool prxe_wire_look_at_clock(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	u64 timeout;
	ktime_t now;

	if (!READ_ONCE(qp->req.timer_fired))
		return true;
	WRITE_ONCE(qp->req.timer_fired, false);
	w->timer_on = false;
	now = ktime_get();
	if (w->rnr_wait) {
		if (ktime_before(now, w->rnr_until)) {
			hrtimer_start(&qp->req.timer, w->rnr_until, HRTIMER_MODE_ABS_SOFT);
			w->timer_on = true;
			return true;
		}
		w->rnr_wait = false;
		w->last_heard = now;
		return true;
	}
	timeout = ack_timeout(qp);
	if (qp->type != IB_QPT_RC || !timeout || !prxe_wire_outstanding(qp) ||
	    ktime_to_ns(ktime_sub(now, w->last_heard)) < (s64)timeout)
		return true;
	if (!prxe_wire_take_retry(qp))
		return false;
	prxe_wire_rewind(qp);
	/* A NAK that is under way is about what is sent again now. */
	w->naks = 0;
	w->rewound = w->una;
	w->rewound_set = true;
	w->rewound_at = now;
	w->backoff = min(w->backoff + 1U, BACKOFF_MAX);
	/*
	 * A network card may cut trains in a way that the ICRC does not know. So a window's packets
	 * go one by one now.
	 */
	w->single = prxe_wire_window(qp);
	return true;
}

/*
 * The timer runs while something is outstanding. Progress does not restart it; instead, when it
 * ends, it compares the time with last_heard.
 */
void prxe_wire_arm_timer(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	u64 timeout = ack_timeout(qp);

	if (w->timer_on || qp->type != IB_QPT_RC || !timeout || !prxe_wire_outstanding(qp))
		return;
	w->timer_on = true;
	WRITE_ONCE(qp->req.timer_fired, false);
	hrtimer_start(&qp->req.timer, ktime_add_ns(w->last_heard, timeout), HRTIMER_MODE_ABS_SOFT);
}
