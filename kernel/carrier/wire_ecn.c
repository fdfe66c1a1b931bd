// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Congestion notification. The header says what for.
 *
 * Marks and CNPs prove nothing: the ICRC does not cover the bits of ECN, and whoever knows the
 * addresses and the QP number can send a CNP. All that they can do is to slow a requester down, to
 * one packet (or READ request) for each round trip at worst, for as long as they keep coming.
 *
 * Carrier, wire: knows the requester's position, and answers by wire_answer.c.
 */
#include <linux/ktime.h>
#include "base/packet.h"
#include "carrier/wire_answer.h"
#include "carrier/wire_ecn.h"
#include "carrier/wire_out.h"
#include "transport/carrier.h"
#include "transport/responder.h"

#define CNP_GAP_NS	(50 * NSEC_PER_USEC)	/* at least, between two CNPs of a QP */
#define STALE_NS	NSEC_PER_SEC	/* what an idle QP knew of the network is worth nothing */
#define GROW		64U	/* a round trip brings back this part of the whole window */

/* Is it time for a CNP? Says so to one of those that ask at the same time. */
static bool cnp_is_due(struct prxe_wire_resp *w)
{
	s64 now = ktime_get_ns(), last = atomic64_read(&w->cnp_at);

	return now - last >= CNP_GAP_NS && atomic64_cmpxchg(&w->cnp_at, last, now) == last;
}

void prxe_ecn_marked(struct prxe_qp *qp, u32 pkts, bool data)
{
	struct prxe_pkt cnp = { .opcode = PRXE_CNP };

	prxe_count_add(qp->dev, np_ecn_marked_roce_packets, pkts);
	if (data)
		WRITE_ONCE(prxe_wire_req(qp)->congested, true);
	if (!cnp_is_due(prxe_wire_resp(qp)))
		return;
	spin_lock_bh(&qp->resp.lock);
	if (prxe_resp_may_run(qp)) {
		cnp.qpn = qp->attr.dest_qp_num;
		if (prxe_resp_out(qp, &cnp, PRXE_ACCOUNT_NONE))
			prxe_count(qp->dev, np_cnp_sent);
	}
	prxe_resp_unlock(qp);
}

void prxe_ecn_notified(struct prxe_qp *qp)
{
	if (qp->type != IB_QPT_RC || !READ_ONCE(prxe_ecn_on) ||
	    READ_ONCE(qp->carrier) != prxe_carrier_of(PRXE_CARRIER_WIRE)) {
		prxe_count(qp->dev, rp_cnp_ignored);
		return;
	}
	prxe_count(qp->dev, rp_cnp_handled);
	/* The owner looks at it with the next response. Without one, nothing is sent anyway. */
	WRITE_ONCE(prxe_wire_req(qp)->congested, true);
}

void prxe_ecn_slow_down(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	u32 under_way = (w->sent_high - w->una) & PRXE_PSN_MASK;

	WRITE_ONCE(w->congested, false);
	/* What was sent before the last time may be what was marked now. */
	if (w->slowed || !under_way)
		return;
	w->cwnd = max(min(under_way, prxe_ecn_window(qp)) / 2, 1U);
	w->cwnd_acked = 0;
	w->slowed = true;
	w->slowed_psn = w->sent_high;
}

void prxe_ecn_acknowledged(struct prxe_qp *qp, u32 pkts)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	u32 window = prxe_wire_window(qp);

	if (likely(!w->cwnd))
		return;
	if (w->slowed) {
		if (prxe_psn_cmp(w->una, w->slowed_psn) >= 0)
			w->slowed = false;
		return;
	}
	w->cwnd_acked += pkts;
	if (w->cwnd_acked < w->cwnd)
		return;
	w->cwnd_acked = 0;
	w->cwnd += window / GROW;
	if (w->cwnd >= window)
		w->cwnd = 0;
}

void prxe_ecn_begin(struct prxe_qp *qp, ktime_t now)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	if (likely(!w->cwnd) || ktime_to_ns(ktime_sub(now, w->last_heard)) < STALE_NS)
		return;
	w->cwnd = 0;
	w->slowed = false;
}
