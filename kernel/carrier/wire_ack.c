// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The wire's requester: responses become completions.
 *
 * prxe_wire_req_rcv() queues a response in softirq; everything else here runs as owner of the send
 * side. A response acknowledges all requests before it, so it is checked first, and only then are
 * those taken as acknowledged. Carrier, wire: uses the requester's position.
 */
#include <linux/slab.h>
#include "base/packet.h"
#include "carrier/wire_ack.h"
#include "carrier/wire_again.h"
#include "carrier/wire_early.h"
#include "carrier/wire_ecn.h"
#include "carrier/wire_hold.h"
#include "carrier/wire_out.h"
#include "carrier/wire_pos.h"
#include "carrier/wire_state.h"
#include "mem/copy.h"
#include "mem/gate.h"
#include "mem/sgl.h"
#include "transport/carrier.h"

#define RTT_MAX_NS	(32 * NSEC_PER_MSEC)	/* what is believed, without an ACK timeout */
#define TRIAL_NS	(2 * NSEC_PER_MSEC)	/* at least, until a silent peer gets everything */

/* If an ACK arrives during a retransmission, skip the packets that it covers. */
static void resync(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	prxe_wire_again_heard(qp);
	if (prxe_psn_cmp(qp->req.psn, w->una) < 0) {
		qp->req.psn = w->una;
		w->send = qp->req.sq->index;
		prxe_wire_forget_pend(qp);
	}
}

/*
 * The peer has everything up to and including @psn: complete those WQEs. Returns false if one of
 * them is a READ or atomic whose response has not arrived.
 */
static bool ack_to(struct prxe_qp *qp, u32 psn)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	struct prxe_wqe *wqe;

	while ((wqe = prxe_wire_oldest(qp)) && wqe->state != PRXE_WQE_FETCHED &&
	       prxe_psn_cmp(psn, w->una) >= 0) {
		if (prxe_wire_is_rd(wqe))
			return false;
		if (prxe_psn_cmp(psn, wqe->last_psn) < 0) {
			prxe_wire_progress(qp, prxe_psn_add(psn, 1));
			break;
		}
		prxe_wire_progress(qp, prxe_psn_add(wqe->last_psn, 1));
		prxe_wire_finish(qp, wqe, IB_WC_SUCCESS);
		if (READ_ONCE(qp->state) == IB_QPS_ERR)
			break;
	}
	return true;
}

enum resp_result {
	RESP_TAKEN,
	RESP_MISS,	/* the memory for its data is missing: keep the response, park */
};

/*
 * The response to an earlier request is missing. Perhaps this one has overtaken it, so keep it and
 * wait for a moment.
 */
static void came_early(struct prxe_qp *qp, const struct sk_buff *skb, const struct prxe_pkt *pkt)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	if (!prxe_early_keep(qp, &w->early, skb, pkt))
		w->early_full = true;
}

static void landing_failed(struct prxe_qp *qp, struct prxe_wqe *wqe)
{
	prxe_wire_finish(qp, wqe, IB_WC_LOC_PROT_ERR);
}

/*
 * Write the data of the response at the head of the queue to where the WQE says: data from @skb, or
 * the 8 bytes at @val.
 */
static enum resp_result land(struct prxe_qp *qp, struct prxe_wqe *wqe, const struct sk_buff *skb,
			     const struct prxe_pkt *pkt, const u64 *val, u32 pos, u32 len,
			     struct prxe_miss *miss)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	struct prxe_sgl sgl = { .sge = wqe->sge, .num = wqe->num_sge };
	struct prxe_parts payload = {
		.skb = skb, .off = pkt->payload_off, .bits = PRXE_ONE_PART,
	};

	if (w->land_psn != pkt->psn)
		w->land_done = 0;
	w->land_psn = pkt->psn;
	while (w->land_done < len) {
		u32 done = w->land_done;
		ssize_t n;

		prxe_mem_begin();
		if (val)
			n = prxe_sgl_scatter(&qp->who, sgl, pos + done, (const u8 *)val + done,
					     len - done, miss);
		else
			n = prxe_sgl_scatter_parts(&qp->who, sgl, pos + done, &payload, done,
						   len - done, wqe->length - pos - len, miss);
		prxe_mem_end();
		if (n > 0)
			w->land_done += n;
		if (miss->mirror)
			return RESP_MISS;
		if (n <= 0) {
			landing_failed(qp, wqe);
			return RESP_TAKEN;
		}
	}
	w->land_done = 0;
	prxe_wire_progress(qp, prxe_psn_add(pkt->psn, 1));
	if (pkt->psn == wqe->last_psn)
		prxe_wire_finish(qp, wqe, IB_WC_SUCCESS);
	return RESP_TAKEN;
}

/* The WQE that has @psn, which is not before una. NULL if no request with this PSN was sent. */
static struct prxe_wqe *wqe_of(struct prxe_qp *qp, u32 psn)
{
	u32 index;

	for (index = qp->req.sq->index; index != qp->req.fetch;
	     index = prxe_queue_next(qp->req.sq, index)) {
		struct prxe_wqe *wqe = prxe_req_wqe(qp, index);

		if (wqe->state == PRXE_WQE_FETCHED)
			break;
		if (prxe_psn_cmp(psn, wqe->last_psn) <= 0)
			return wqe;
	}
	return NULL;
}

/* Where the data of a READ's response begin in the message, and how many bytes it has. */
static u32 response_pos(const struct prxe_qp *qp, const struct prxe_wqe *wqe, u32 psn)
{
	return ((psn - wqe->first_psn) & PRXE_PSN_MASK) << qp->mtu_shift;
}

static u32 response_len(const struct prxe_qp *qp, const struct prxe_wqe *wqe, u32 psn)
{
	if (wqe->opcode != IB_WR_RDMA_READ)
		return 0;
	return min(wqe->length - response_pos(qp, wqe, psn), 1U << qp->mtu_shift);
}

/* Does the response have the kind and the length that its request asks for? */
static bool answers(const struct prxe_qp *qp, const struct prxe_wqe *wqe,
		    const struct prxe_pkt *pkt)
{
	if (!prxe_wire_is_rd(wqe) || prxe_wire_is_atomic(wqe) != !!(pkt->flags & PRXE_OPF_ATOMIC))
		return false;
	return prxe_wire_is_atomic(wqe) || pkt->payload_len == response_len(qp, wqe, pkt->psn);
}

/*
 * A READ response or an atomic acknowledge. It acknowledges the requests before it, so first check
 * it: a response that does not fit the request with its PSN is dropped and acknowledges nothing.
 * But if it is for the oldest request and has the wrong kind or length, this request fails with a
 * bad response (IBTA 9.9.2).
 */
static enum resp_result take_data(struct prxe_qp *qp, struct sk_buff *skb, struct prxe_pkt *pkt,
				  struct prxe_miss *miss)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	struct prxe_wqe *wqe;

	if (pkt->psn != w->una) {
		wqe = wqe_of(qp, pkt->psn);
		if (!wqe || !answers(qp, wqe, pkt)) {
			prxe_count(qp->dev, dropped);
			return RESP_TAKEN;
		}
	}
	if (!ack_to(qp, prxe_psn_add(pkt->psn, -1))) {
		came_early(qp, skb, pkt);
		return RESP_TAKEN;
	}
	wqe = prxe_wire_oldest(qp);
	if (!wqe || wqe->state == PRXE_WQE_FETCHED || pkt->psn != w->una || !prxe_wire_is_rd(wqe))
		return RESP_TAKEN;
	if (!answers(qp, wqe, pkt)) {
		prxe_wire_finish(qp, wqe, IB_WC_BAD_RESP_ERR);
		return RESP_TAKEN;
	}
	if (prxe_wire_is_atomic(wqe)) {
		wqe->orig = pkt->orig;
		return land(qp, wqe, NULL, pkt, &wqe->orig, 0, sizeof(u64), miss);
	}
	return land(qp, wqe, skb, pkt, NULL, response_pos(qp, wqe, pkt->psn), pkt->payload_len,
		    miss);
}

static void take_rnr(struct prxe_qp *qp, struct prxe_pkt *pkt)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	struct prxe_wqe *wqe = prxe_wire_oldest(qp);

	prxe_count(qp->dev, rcvd_rnr_err);
	if (w->rnr_wait)
		return;
	if (qp->attr.rnr_retry != 7) {
		if (!qp->req.rnr_retry) {
			prxe_count(qp->dev, rnr_retry_exceeded_err);
			prxe_wire_finish(qp, wqe, IB_WC_RNR_RETRY_EXC_ERR);
			return;
		}
		qp->req.rnr_retry--;
	}
	prxe_wire_rewind(qp);
	w->rnr_wait = true;
	w->rnr_until = ktime_add_ns(w->last_heard, prxe_rnr_ns(PRXE_AETH_VALUE(pkt->syndrome)));
	hrtimer_start(&qp->req.timer, w->rnr_until, HRTIMER_MODE_ABS_SOFT);
	w->timer_on = true;
}

static void take_nak(struct prxe_qp *qp, struct prxe_pkt *pkt)
{
	struct prxe_wqe *wqe = prxe_wire_oldest(qp);

	switch (PRXE_AETH_VALUE(pkt->syndrome)) {
	case PRXE_NAK_PSN_SEQ:
		prxe_count(qp->dev, rcvd_seq_err);
		prxe_wire_again_nak(qp);
		break;
	case PRXE_NAK_INV_REQ:
		prxe_wire_finish(qp, wqe, IB_WC_REM_INV_REQ_ERR);
		break;
	case PRXE_NAK_REM_ACC:
		prxe_wire_finish(qp, wqe, IB_WC_REM_ACCESS_ERR);
		break;
	case PRXE_NAK_REM_OP:
		prxe_wire_finish(qp, wqe, IB_WC_REM_OP_ERR);
		break;
	default:
		prxe_wire_finish(qp, wqe, IB_WC_BAD_RESP_ERR);
		break;
	}
}

static void take_ack(struct prxe_qp *qp, const struct sk_buff *skb, struct prxe_pkt *pkt)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	struct prxe_wqe *wqe;

	switch (PRXE_AETH_TYPE(pkt->syndrome)) {
	case PRXE_AETH_ACK:
		if (!ack_to(qp, pkt->psn))
			came_early(qp, skb, pkt);
		return;
	case PRXE_AETH_RNR:
	case PRXE_AETH_NAK:
		break;
	default:
		return;
	}
	/* A NAK acknowledges everything before its PSN, and is about the packet with its PSN. */
	if (!ack_to(qp, prxe_psn_add(pkt->psn, -1))) {
		/*
		 * This NAK overtook responses that another CPU sent. Keep it for later: the peer is
		 * in error now and will not send it again.
		 */
		if (PRXE_AETH_TYPE(pkt->syndrome) == PRXE_AETH_NAK &&
		    PRXE_AETH_VALUE(pkt->syndrome) != PRXE_NAK_PSN_SEQ) {
			w->late_nak = true;
			w->late_syndrome = pkt->syndrome;
			w->late_psn = pkt->psn;
			return;
		}
		came_early(qp, skb, pkt);
		return;
	}
	wqe = prxe_wire_oldest(qp);
	if (READ_ONCE(qp->state) == IB_QPS_ERR || !wqe || wqe->state == PRXE_WQE_FETCHED ||
	    pkt->psn != w->una)
		return;
	if (PRXE_AETH_TYPE(pkt->syndrome) == PRXE_AETH_RNR)
		take_rnr(qp, pkt);
	else
		take_nak(qp, pkt);
}

/*
 * A fatal NAK came before the responses to earlier requests. If they have arrived by now, handle
 * it.
 */
static void take_late_nak(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	struct prxe_pkt nak = { .psn = w->late_psn, .syndrome = w->late_syndrome };

	if (!w->late_nak || prxe_psn_cmp(w->una, nak.psn) < 0 || READ_ONCE(qp->state) == IB_QPS_ERR)
		return;
	w->late_nak = false;
	if (nak.psn == w->una)
		take_ack(qp, NULL, &nak);	/* its turn: it is not kept */
}

/* The packet of a queued skb whose turn it is: its length. */
static u32 turn_len(const struct sk_buff *skb)
{
	return min_t(u32, PRXE_RX(skb)->size, skb->len - PRXE_RX(skb)->off);
}

static enum resp_result take_response(struct prxe_qp *qp, struct sk_buff *skb,
				      struct prxe_miss *miss)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	struct prxe_pkt pkt;

	/*
	 * Drop responses to PSNs we never sent. Parsing cannot fail: the packet was parsed when it
	 * was received.
	 */
	if (prxe_rx_parse(skb, PRXE_RX(skb)->off, turn_len(skb), &pkt) ||
	    prxe_psn_cmp(pkt.psn, w->sent_high) >= 0)
		return RESP_TAKEN;
	/* Drop responses that are older than una. A NAK may be for una itself. */
	if (prxe_psn_cmp(pkt.psn, w->una) < 0)
		return RESP_TAKEN;
	if (pkt.flags & PRXE_OPF_ACK) {
		take_ack(qp, skb, &pkt);
		return RESP_TAKEN;
	}
	return take_data(qp, skb, &pkt, miss);
}

/*
 * The middle of a READ comes in many packets of a train: how many, beginning with the one whose
 * turn it is, are for the oldest request, and next in its order? *@first is the first of them.
 */
static u32 run_length(struct prxe_qp *qp, const struct sk_buff *skb, struct prxe_pkt *first)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	u32 off = PRXE_RX(skb)->off, size = PRXE_RX(skb)->size, mtu = 1U << qp->mtu_shift, n, max;
	struct prxe_wqe *wqe = prxe_wire_oldest(qp);
	struct prxe_pkt pkt;

	if (!wqe || wqe->opcode != IB_WR_RDMA_READ || wqe->state == PRXE_WQE_FETCHED ||
	    skb->len - off < 2 * size || prxe_rx_parse(skb, off, size, first) ||
	    first->opcode != PRXE_READ_MIDDLE || first->payload_len != mtu ||
	    first->psn != w->una || (w->land_done && w->land_psn == first->psn) ||
	    prxe_psn_cmp(first->psn, wqe->first_psn) <= 0)
		return 0;
	/* The last packet of the WQE, and one that was not sent, have rules of their own. */
	max = min((wqe->last_psn - first->psn) & PRXE_PSN_MASK,
		  (w->sent_high - first->psn) & PRXE_PSN_MASK);
	max = min3(max, (skb->len - off) / size, PRXE_MEM_CHUNK >> qp->mtu_shift);
	for (n = 1; n < max; n++)
		if (prxe_rx_parse(skb, off + n * size, size, &pkt) ||
		    pkt.opcode != PRXE_READ_MIDDLE || pkt.payload_len != mtu ||
		    pkt.psn != prxe_psn_add(first->psn, n))
			break;
	return n < 2 ? 0 : n;
}

/*
 * Write the data of such packets to where the WQE says, with one copy. Returns how many are over;
 * what the next one has already written counts for it (land()). 0: take the first one alone.
 */
static u32 land_run(struct prxe_qp *qp, struct sk_buff *skb)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	struct prxe_miss miss = {};
	struct prxe_parts parts;
	struct prxe_wqe *wqe;
	struct prxe_sgl sgl;
	struct prxe_pkt pkt;
	u32 num, len, pos;
	ssize_t n;

	num = run_length(qp, skb, &pkt);
	if (!num)
		return 0;
	wqe = prxe_wire_oldest(qp);
	sgl = (struct prxe_sgl){ .sge = wqe->sge, .num = wqe->num_sge };
	pos = response_pos(qp, wqe, pkt.psn);
	len = num << qp->mtu_shift;
	parts = (struct prxe_parts){
		.skb = skb, .off = pkt.payload_off, .step = PRXE_RX(skb)->size,
		.bits = qp->mtu_shift,
	};
	prxe_mem_begin();
	n = prxe_sgl_scatter_parts(&qp->who, sgl, pos, &parts, 0, len, wqe->length - pos - len,
				   &miss);
	prxe_mem_end();
	prxe_miss_drop(&miss);
	if (n <= 0)
		return 0;
	num = n >> qp->mtu_shift;
	w->land_psn = prxe_psn_add(pkt.psn, num);
	w->land_done = n & ((1U << qp->mtu_shift) - 1);
	if (num)
		prxe_wire_progress(qp, w->land_psn);
	return num;
}

/* How many packets of a queued skb have not had their turn. */
static u32 pkts_left(const struct sk_buff *skb)
{
	return DIV_ROUND_UP(skb->len - PRXE_RX(skb)->off, PRXE_RX(skb)->size);
}

/*
 * Queue a held copy of each packet of @skb whose turn has not come at the end of @to. Returns false
 * if there was no room for all: the others are requested again (land_lost).
 */
static bool hold_packets(struct prxe_qp *qp, struct sk_buff *skb, struct sk_buff_head *to)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	u32 len;

	for (; PRXE_RX(skb)->off < skb->len; PRXE_RX(skb)->off += len) {
		struct sk_buff *held = NULL;
		struct prxe_pkt pkt;

		len = turn_len(skb);
		if (!prxe_rx_parse(skb, PRXE_RX(skb)->off, len, &pkt))
			held = prxe_wire_hold(qp, skb, &pkt);
		if (!held) {
			WRITE_ONCE(w->land_lost, true);
			return false;
		}
		PRXE_RX(held)->size = len;
		__skb_queue_tail(to, held);
	}
	return true;
}

/*
 * The queued responses have to wait for memory: hold them, that is, count and charge them, as those
 * that arrive later. A response for which there is no room is dropped, and requested again when the
 * wait is over (land_lost).
 */
static void hold_responses(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	struct sk_buff_head *acks = &w->acks, all, held;
	struct sk_buff *skb;

	__skb_queue_head_init(&all);
	__skb_queue_head_init(&held);
	spin_lock_bh(&acks->lock);
	skb_queue_splice_init(acks, &all);
	w->acks_pkts = 0;
	spin_unlock_bh(&acks->lock);
	while ((skb = __skb_dequeue(&all))) {
		if (prxe_wire_is_held(skb)) {
			__skb_queue_tail(&held, skb);
			continue;
		}
		hold_packets(qp, skb, &held);
		kfree_skb(skb);
	}
	spin_lock_bh(&acks->lock);
	w->acks_pkts += skb_queue_len(&held);
	skb_queue_splice(&held, acks);
	spin_unlock_bh(&acks->lock);
}

static struct sk_buff *next_response(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	struct sk_buff *skb;

	spin_lock_bh(&w->acks.lock);
	skb = __skb_dequeue(&w->acks);
	if (skb)
		w->acks_pkts -= pkts_left(skb);
	spin_unlock_bh(&w->acks.lock);
	return skb;
}

static void back_to_queue(struct prxe_qp *qp, struct sk_buff *skb)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	spin_lock_bh(&w->acks.lock);
	__skb_queue_head(&w->acks, skb);
	w->acks_pkts += pkts_left(skb);
	spin_unlock_bh(&w->acks.lock);
}

/*
 * @pkts packets more were acknowledged. Only that shows that the peer is alive: anybody could
 * repeat old responses.
 */
static void heard(struct prxe_qp *qp, u32 pkts)
{
	u64 timeout = prxe_timeout_ns(READ_ONCE(qp->attr.timeout) & 31);
	struct prxe_wire_req *w = prxe_wire_req(qp);
	s64 rtt;

	w->last_heard = ktime_get();
	prxe_ecn_acknowledged(qp, pkts);
	if (!w->rtt_on || prxe_psn_cmp(w->una, w->rtt_psn) <= 0)
		return;
	w->rtt_on = false;
	rtt = ktime_to_ns(ktime_sub(w->last_heard, w->rtt_at));
	w->rtt = w->rtt ? w->rtt + (rtt - w->rtt) / 8 : rtt;
	/* A fault at the peer may be in it. Twice of it must be less than the ACK timeout. */
	w->rtt = min_t(u64, w->rtt, timeout ? timeout / 8 : RTT_MAX_NS);
}

/*
 * Is it the turn of this response, which came early? Not while a response before it is missing. (A
 * NAK for una is about a request that has none.)
 */
static bool is_due(struct prxe_qp *qp, const struct sk_buff *skb)
{
	const struct prxe_wqe *wqe = prxe_wire_oldest(qp);
	struct prxe_pkt pkt;

	if (!wqe || !prxe_wire_is_rd(wqe))
		return true;
	if (PRXE_RX(skb)->psn != prxe_wire_req(qp)->una)
		return false;
	return !PRXE_RX(skb)->ack || prxe_rx_parse(skb, 0, skb->len, &pkt) ||
	       PRXE_AETH_TYPE(pkt.syndrome) != PRXE_AETH_ACK;
}

/* The response that came early and is due now, if there is one, is the next in the queue. */
static void take_early(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	struct sk_buff *skb;

	if (likely(!prxe_early_any(&w->early)))
		return;
	skb = prxe_early_first(&w->early, w->una);
	if (!skb || !is_due(qp, skb))
		return;
	prxe_early_take(&w->early, skb);
	back_to_queue(qp, skb);
}

/* The PSN behind the responses that are missing before @first, which came early. */
static u32 gap_end(const struct sk_buff *first)
{
	struct prxe_pkt pkt;

	/* An ACK says that the response of its own PSN has left, too. */
	if (PRXE_RX(first)->ack && !prxe_rx_parse(first, 0, first->len, &pkt) &&
	    PRXE_AETH_TYPE(pkt.syndrome) == PRXE_AETH_ACK)
		return prxe_psn_add(PRXE_RX(first)->psn, 1);
	return PRXE_RX(first)->psn;
}

/* Responses are missing before some that are kept. @late: the timer has ended. */
static void look_for_gap(struct prxe_qp *qp, bool late)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	struct prxe_early *early = &w->early;
	struct prxe_wqe *wqe = prxe_wire_oldest(qp);
	struct sk_buff *first;

	first = prxe_early_first(early, w->una);
	if (!first) {
		/* Behind those that were kept, and have landed, others had no room. */
		if (w->early_full && wqe && prxe_wire_is_rd(wqe))
			prxe_wire_again_ask(qp, prxe_psn_add(wqe->last_psn, 1));
		w->early_full = false;
		return;
	}
	if (early->psn == w->una && early->asked >= early->ask_max)
		return;
	late = late && prxe_early_late(early, early->timed, w->una);
	late |= w->early_full && !early->asked;
	if (prxe_early_ask(early, w->una, late))
		prxe_wire_again_ask(qp, gap_end(first));
}

/* Is something missing that may still come? If a timer has ended, ask for it, or send it. */
static void look_at_early(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	bool late = READ_ONCE(w->early_late);
	struct prxe_early *early = &w->early;

	if (likely(!late && !prxe_early_any(early) && !w->early_full && !w->trial))
		return;
	if (late) {
		WRITE_ONCE(w->early_late, false);
		early->timing = false;
	}
	look_for_gap(qp, late);
	if (READ_ONCE(qp->state) == IB_QPS_ERR)
		return;
	if (late && w->trial_timed == w->una && prxe_wire_again_stands(qp))
		prxe_wire_again_all(qp);
	if (prxe_early_any(early) && early->asked < early->ask_max) {
		prxe_early_start(early, early->asked ? 2 * w->rtt : 0);
		w->trial_timed = w->una;
	} else if (prxe_wire_again_stands(qp) && !(early->timing && w->trial_timed == w->una)) {
		early->timing = false;
		prxe_early_start(early, max_t(u64, 2 * w->rtt, TRIAL_NS));
		w->trial_timed = w->una;
	}
}

/*
 * Handle responses in order. Returns PRXE_STEP_DONE: go on and send, even if a response waits for
 * the memory that it is written to.
 */
static enum prxe_step take_responses(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	u32 una = w->una;
	struct sk_buff *skb;

	if (unlikely(READ_ONCE(w->congested)))
		prxe_ecn_slow_down(qp);
	while ((skb = next_response(qp))) {
		for (; PRXE_RX(skb)->off < skb->len; PRXE_RX(skb)->off += turn_len(skb)) {
			struct prxe_miss miss = {};
			u32 run = land_run(qp, skb);

			if (run) {
				/* The last one's length is added by the loop. */
				PRXE_RX(skb)->off += (run - 1) * PRXE_RX(skb)->size;
			} else if (take_response(qp, skb, &miss) == RESP_MISS) {
				back_to_queue(qp, skb);
				if (prxe_req_park(qp, PRXE_PARK_LAND, qp->req.sq->index, w->una,
						  &miss, false))
					return PRXE_STEP_MORE;
				hold_responses(qp);
				goto out;
			}
			resync(qp);
			take_late_nak(qp);
			take_early(qp);
			if (READ_ONCE(qp->state) == IB_QPS_ERR) {
				consume_skb(skb);
				return PRXE_STEP_MORE;
			}
		}
		consume_skb(skb);
	}
	look_at_early(qp);
	if (READ_ONCE(qp->state) == IB_QPS_ERR)
		return PRXE_STEP_MORE;
out:
	if (una != w->una)
		heard(qp, (w->una - una) & PRXE_PSN_MASK);
	return PRXE_STEP_DONE;
}

/* Responses come first: they are handled even while the next packet to be sent waits for memory. */
enum prxe_step prxe_wire_serve_responses(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	bool was_parked = qp->req.park[PRXE_PARK_LAND].parked;
	struct prxe_wqe *wqe;
	int error;

	prxe_req_assert_owner(qp);
	if (prxe_park_faulting(&qp->req.park[PRXE_PARK_LAND], &error)) {
		/* Do not take the time that our own fault takes for silence of the peer. */
		w->last_heard = ktime_get();
		return PRXE_STEP_DONE;
	}
	if (was_parked) {
		w->last_heard = ktime_get();
		w->rtt_on = false;
		if (READ_ONCE(w->land_lost)) {
			WRITE_ONCE(w->land_lost, false);
			prxe_wire_rewind(qp);
		}
	}
	if (error) {
		wqe = prxe_wire_oldest(qp);
		if (wqe && wqe->state != PRXE_WQE_FETCHED)
			landing_failed(qp, wqe);
		if (READ_ONCE(qp->state) == IB_QPS_ERR)
			return PRXE_STEP_MORE;
	}
	return take_responses(qp);
}

/*
 * May this response say something new? Decided by its PSN only; the owner of the send side checks
 * kind and length later. Lockless: una only grows, and sent_high is raised before a packet is sent,
 * so every answer to it passes.
 */
static bool may_matter(const struct prxe_qp *qp, const struct prxe_pkt *pkt)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	return prxe_psn_cmp(pkt->psn, READ_ONCE(w->una)) >= 0 &&
	       prxe_psn_cmp(pkt->psn, READ_ONCE(w->sent_high)) < 0;
}

/* Does the syndrome exist (IBTA 9.7.5.2.1)? A response with data must say ACK. */
static bool syndrome_ok(const struct prxe_pkt *pkt)
{
	u8 type = PRXE_AETH_TYPE(pkt->syndrome);

	if (!(pkt->flags & PRXE_OPF_AETH) || type == PRXE_AETH_ACK)
		return true;
	if (!(pkt->flags & PRXE_OPF_ACK))
		return false;
	if (type == PRXE_AETH_NAK)
		return PRXE_AETH_VALUE(pkt->syndrome) <= PRXE_NAK_RD_REQ;
	return type == PRXE_AETH_RNR;
}

bool prxe_wire_req_wants(struct prxe_qp *qp, const struct prxe_pkt *pkt)
{
	if (!syndrome_ok(pkt) || pkt->payload_len > 1U << qp->mtu_shift) {
		prxe_count(qp->dev, rcvd_malformed);
		return false;
	}
	if (READ_ONCE(qp->carrier) != prxe_carrier_of(PRXE_CARRIER_WIRE) ||
	    qp->type != IB_QPT_RC || !may_matter(qp, pkt)) {
		prxe_count(qp->dev, dropped);
		return false;
	}
	return true;
}

/*
 * Returns false if the QP died or was reset after the packets were accepted: whoever did that has
 * emptied the queue already, or will.
 */
static bool queue_responses(struct prxe_qp *qp, struct sk_buff_head *list, u32 pkts)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	struct sk_buff_head *acks = &w->acks;
	enum ib_qp_state state;
	bool ok;

	spin_lock_bh(&acks->lock);
	state = READ_ONCE(qp->state);
	ok = !READ_ONCE(qp->dead) && (state == IB_QPS_RTS || state == IB_QPS_SQD);
	if (ok) {
		w->acks_pkts += pkts;
		skb_queue_splice_tail_init(list, acks);
	}
	spin_unlock_bh(&acks->lock);
	return ok;
}

void prxe_wire_req_rcv(struct prxe_qp *qp, struct sk_buff *skb, u32 pkts)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	u32 queued = READ_ONCE(w->acks_pkts), window = prxe_wire_window(qp);
	struct sk_buff_head list;

	__skb_queue_head_init(&list);
	if (queued + pkts > 2 * window) {
		prxe_count_add(qp->dev, dropped, pkts);
		kfree_skb(skb);
		return;
	}
	/* More than a window: the owner of the send side is behind. */
	if (queued + pkts > window || READ_ONCE(qp->req.park[PRXE_PARK_LAND].parked)) {
		if (!hold_packets(qp, skb, &list))
			prxe_count_add(qp->dev, dropped, pkts - skb_queue_len(&list));
		kfree_skb(skb);
		pkts = skb_queue_len(&list);
	} else {
		__skb_queue_tail(&list, skb);
	}
	if (!pkts)
		return;
	if (queue_responses(qp, &list, pkts))
		prxe_req_kick(qp, true);
	else
		__skb_queue_purge(&list);
}
