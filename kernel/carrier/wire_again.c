// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The wire's requester: what is sent again.
 *
 * A responder need not keep what comes behind a gap, and IBTA 9.7.5.1.3 has the requester send
 * everything from the gap on ("go-back-N"). Ours keeps it (wire_early.h), and so do some others. No
 * packet says which kind a peer is. So the first packets behind a gap are a trial: only what is
 * missing is sent again, and sending goes on where it was. If the peer then acknowledges what was
 * not sent again, it keeps packets. If it asks for the next packet behind the gap, it probably does
 * not, and gets everything; after the second time it is not tried any more. That costs such a peer
 * a round trip, twice, and it sees nothing but packets that it has to expect.
 *
 * What is missing is more than one packet if a train was lost: the bitmap knows where trains began.
 * READ responses that are missing can always be asked for alone.
 *
 * While packets are sent again, req.psn and send are the position there; then_psn and then_send say
 * where sending goes on. Carrier, wire: uses the requester's position (wire_pos.c).
 */
#include <linux/bitmap.h>
#include "base/packet.h"
#include "carrier/wire_again.h"
#include "carrier/wire_out.h"
#include "carrier/wire_pos.h"

#define NAKS_MAX	4U	/* answered for one packet; then its ACK timer has to end */
#define NAK_GAP_NS	NSEC_PER_MSEC	/* at least, between two of them */
#define REFUSED_MAX	2U	/* trials that failed in a row: the peer keeps nothing */
#define REFUSED_AGAIN	32U	/* but so many gaps later, try again: it may have been chance */

/* How many packets are sent again if that was not enough, to a peer that keeps them. Then all. */
static const u32 more[] = { 16, 64 };

static_assert(PRXE_WINDOW_MAX <= PRXE_STARTS);

void prxe_wire_again_train(struct prxe_qp *qp, u32 psn, u32 pkts)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	u32 i;

	__set_bit(psn % PRXE_STARTS, w->starts);
	for (i = 1; i < pkts; i++)
		__clear_bit((psn + i) % PRXE_STARTS, w->starts);
}

/* How many packets, from the one at @psn on, left together with it, if it was the first of them? */
static u32 train_pkts(const struct prxe_wire_req *w, u32 psn)
{
	u32 n = 1;

	if (!test_bit(psn % PRXE_STARTS, w->starts))
		return 1;
	while (n < PRXE_TRAIN_MAX && !test_bit((psn + n) % PRXE_STARTS, w->starts))
		n++;
	return n;
}

/* Where sending goes on when nothing has to be sent again. */
static u32 position(const struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	return w->again ? w->then_psn : qp->req.psn;
}

/* Send [una, @end) again, and then go on. Returns false if that is everything. */
static bool only(struct prxe_qp *qp, u32 end)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	if (prxe_psn_cmp(end, position(qp)) >= 0) {
		prxe_wire_rewind(qp);
		return false;
	}
	if (!w->again) {
		w->then_psn = qp->req.psn;
		w->then_send = w->send;
	}
	prxe_count(qp->dev, retransmits);
	w->again = true;
	w->again_end = end;
	qp->req.psn = w->una;
	w->send = qp->req.sq->index;
	w->last_heard = ktime_get();
	w->rtt_on = false;
	prxe_wire_forget_pend(qp);
	return true;
}

void prxe_wire_again_end(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	w->again = false;
	if (prxe_psn_cmp(w->then_psn, w->una) < 0) {
		qp->req.psn = w->una;
		w->send = qp->req.sq->index;
	} else {
		qp->req.psn = w->then_psn;
		w->send = w->then_send;
	}
	prxe_wire_forget_pend(qp);
}

void prxe_wire_again_heard(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	if (w->again && prxe_psn_cmp(w->una, w->again_end) >= 0)
		prxe_wire_again_end(qp);
	if (w->trial && prxe_psn_cmp(w->una, w->trial_end) > 0) {
		w->trial = false;
		w->keeps = true;
		w->refused = 0;
		w->rewound = prxe_psn_add(w->una, -PRXE_TRAIN_MAX);	/* in_part() */
	}
}

/* How many packets, from una on, are probably missing at the peer? 0: send all. */
static u32 missing(struct prxe_wire_req *w)
{
	bool behind = w->trial && w->una == w->trial_end;
	u32 n = train_pkts(w, w->una);

	/* The packet behind those that were sent again is missing, too. */
	if (behind) {
		w->refused++;
		if (w->keeps && w->refused <= ARRAY_SIZE(more))
			return max(n, more[w->refused - 1]);
		if (w->keeps)
			w->refused = 0;
		w->keeps = false;
		return 0;
	}
	if (w->keeps || w->refused < REFUSED_MAX)
		return n;
	if (++w->refused < REFUSED_AGAIN)
		return 0;
	w->refused = REFUSED_MAX - 1;
	return n;
}

/*
 * Only a part of the train that was sent again has arrived: perhaps only the first packet of each
 * train arrives well (wire_pos.c).
 */
static bool in_part(const struct prxe_wire_req *w)
{
	if (w->trial)
		return prxe_psn_cmp(w->una, w->trial_end) < 0;
	return ((w->una - w->rewound) & PRXE_PSN_MASK) < PRXE_TRAIN_MAX;
}

/* Is the packet at una to be sent next in any case? */
static bool is_being_sent(const struct prxe_qp *qp)
{
	return qp->req.psn == prxe_wire_req(qp)->una;
}

/* Use up a retry, but only one for each packet. False: none was left, the QP has failed. */
static bool take_retry(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	if (w->retried)
		return true;
	w->retried = true;
	return prxe_wire_take_retry(qp);
}

/* If @end is in a READ request, the end of that: it was perhaps not executed, and stays whole. */
static u32 whole_request(struct prxe_qp *qp, u32 end)
{
	u32 pkts = PRXE_READ_BYTES >> qp->mtu_shift, index;
	u32 last = prxe_psn_add(end, -1);

	for (index = qp->req.sq->index; index != qp->req.fetch;
	     index = prxe_queue_next(qp->req.sq, index)) {
		const struct prxe_wqe *wqe = prxe_req_wqe(qp, index);
		u32 done;

		if (wqe->state == PRXE_WQE_FETCHED)
			break;
		if (prxe_psn_cmp(last, wqe->last_psn) > 0)
			continue;
		if (!prxe_wire_is_rd(wqe))
			break;
		done = (last - wqe->first_psn) & PRXE_PSN_MASK;
		end = prxe_psn_add(wqe->first_psn, (done / pkts + 1) * pkts);
		if (prxe_psn_cmp(end, wqe->last_psn) > 0)
			end = prxe_psn_add(wqe->last_psn, 1);
		break;
	}
	return end;
}

void prxe_wire_again_nak(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	ktime_t now = ktime_get();
	u32 pkts;

	prxe_wire_again_heard(qp);
	if (is_being_sent(qp))
		return;
	if (!w->rewound_set) {
		w->naks = 0;
	} else if (w->naks >= NAKS_MAX ||
		   ktime_to_ns(ktime_sub(now, w->rewound_at)) <
			   max_t(s64, 2 * w->rtt, NAK_GAP_NS)) {
		return;
	}
	if (!take_retry(qp))
		return;
	if (!w->naks && in_part(w))
		w->single = prxe_wire_window(qp);
	w->naks++;
	w->rewound = w->una;
	w->rewound_set = true;
	w->rewound_at = now;
	pkts = missing(w);
	w->trial = false;
	if (!pkts) {
		prxe_wire_rewind(qp);
	} else if (only(qp, whole_request(qp, prxe_psn_add(w->una, pkts)))) {
		w->trial = true;
		w->trial_end = w->again_end;
	}
}

bool prxe_wire_again_stands(const struct prxe_qp *qp)
{
	const struct prxe_wire_req *w = prxe_wire_req(qp);

	return w->trial && !w->again && w->una == w->trial_end && !is_being_sent(qp);
}

void prxe_wire_again_all(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	/* One that keeps packets is only slow: it waits for memory, say. */
	if (!w->keeps)
		w->refused++;
	prxe_wire_rewind(qp);
}

void prxe_wire_again_ask(struct prxe_qp *qp, u32 end)
{
	if (!is_being_sent(qp) && take_retry(qp))
		only(qp, end);
}
