// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The requester's half of the wire: WQEs become packets, responses become completions. Everything runs as owner of the send side
 * but prxe_wire_req_rcv(), which only queues.
 *
 * Position: req.send and req.psn say which packet comes next; a WQE has its PSNs from its first packet on, so a position in a message is a
 * PSN. una is the oldest PSN that is not acknowledged; it lies in the oldest WQE. Going back is psn = una and send = the oldest
 * WQE: packets are made from the SGEs again, nothing is kept for it.
 */
#include <linux/slab.h>
#include "carrier/wire.h"
#include "carrier/wire_state.h"
#include "mem/mem.h"
#include "transport/qp.h"

#define WINDOW		256U	/* PSNs outstanding */
/* What one READ request asks for: the responder answers that much at once, in softirq. Longer READs are several requests. */
#define READ_BYTES	(64U << 10)
#define ACK_EVERY	32U	/* packets, at most, for one AckReq */
#define BATCH_BYTES	(64U << 10)	/* sent with BH off at a time */
#define PKT_COST	4096U	/* of the caller's budget, at least */
#define MAX_ACKS	(2 * WINDOW)	/* responses queued */
#define FEW_ACKS	WINDOW	/* more are held and paid for: nobody takes them as they come */
#define ALLOC_RETRY_NS	NSEC_PER_MSEC
/* Local ACK timeouts below what an operating system can answer in are taken for this. */
#define MIN_TIMEOUT_NS	(4 * NSEC_PER_MSEC)

static bool is_local_op(const struct prxe_wqe *wqe)
{
	return wqe->opcode == IB_WR_LOCAL_INV || wqe->opcode == IB_WR_REG_MR || wqe->opcode == IB_WR_BIND_MW;
}

static bool is_atomic(const struct prxe_wqe *wqe)
{
	return wqe->opcode == IB_WR_ATOMIC_CMP_AND_SWP || wqe->opcode == IB_WR_ATOMIC_FETCH_AND_ADD;
}

/* Answered by a response of its own, not by an ACK. */
static bool is_rd(const struct prxe_wqe *wqe)
{
	return wqe->opcode == IB_WR_RDMA_READ || wqe->opcode == IB_WR_ATOMIC_WRITE || wqe->opcode == IB_WR_FLUSH ||
	       is_atomic(wqe);
}

static struct prxe_wqe *oldest(struct prxe_qp *qp)
{
	return qp->req.sq->index == qp->req.fetch ? NULL : prxe_req_wqe(qp, qp->req.sq->index);
}

static bool outstanding(const struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	return prxe_psn_cmp(qp->req.psn, w->una) > 0;
}

static void forget_pend(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	if (w->pend) {
		kfree_skb(w->pend);
		w->pend = NULL;
	}
	w->pend_done = 0;
}

/*
 * The packet at @psn of the WQE at @index is about to be made. What is half made stays if it is
 * that one; it never is another one, because whoever changes the position forgets it.
 */
static void pend_is_for(struct prxe_qp *qp, u32 index, u32 psn)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	bool same = w->pend_index == index && w->pend_psn == psn;

	if (!same && (WARN_ON_ONCE(w->pend) || w->pend_done))
		forget_pend(qp);
	w->pend_index = index;
	w->pend_psn = psn;
}

static u32 rd_count(const struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	return w->rd_head - w->rd_tail;
}

static u32 rd_limit(const struct prxe_qp *qp)
{
	return clamp_t(u32, READ_ONCE(qp->attr.max_rd_atomic), 1, PRXE_MAX_RD_ATOM);
}

static void rewind_to_una(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	if (outstanding(qp))
		prxe_count(qp->dev, retransmits);
	qp->req.psn = w->una;
	w->send = qp->req.sq->index;
	w->rd_tail = w->rd_head;
	w->unasked = 0;
	w->last_heard = ktime_get();
	forget_pend(qp);
}

/* una moves on; softirqs look at it. */
static void progress(struct prxe_qp *qp, u32 una)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	WRITE_ONCE(w->una, una);
	w->rewound_set = false;
	qp->req.retry = qp->attr.retry_cnt;
	qp->req.rnr_retry = qp->attr.rnr_retry;
	w->rnr_wait = false;
	while (rd_count(qp) && prxe_psn_cmp(w->rd_last[w->rd_tail % PRXE_MAX_RD_ATOM], una) < 0)
		w->rd_tail++;
}

/* After completions: what was acknowledged before it was sent again need not be. */
static void resync(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	if (prxe_psn_cmp(qp->req.psn, w->una) < 0) {
		qp->req.psn = w->una;
		w->send = qp->req.sq->index;
		forget_pend(qp);
	}
}

static void finish(struct prxe_qp *qp, struct prxe_wqe *wqe, enum ib_wc_status status)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	wqe->state = PRXE_WQE_DONE;
	w->land_done = 0;
	prxe_req_complete(qp, wqe, status);
}

/* Everything up to and including @psn has arrived there. False: a READ or atomic without its response stands in the way. */
static bool ack_to(struct prxe_qp *qp, u32 psn)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	struct prxe_wqe *wqe;

	while ((wqe = oldest(qp)) && wqe->state != PRXE_WQE_FETCHED && prxe_psn_cmp(psn, w->una) >= 0) {
		if (is_rd(wqe))
			return false;
		if (prxe_psn_cmp(psn, wqe->last_psn) < 0) {
			progress(qp, prxe_psn_add(psn, 1));
			break;
		}
		progress(qp, prxe_psn_add(wqe->last_psn, 1));
		finish(qp, wqe, IB_WC_SUCCESS);
		if (READ_ONCE(qp->state) == IB_QPS_ERR)
			break;
	}
	return true;
}

/* The retry counter: false when it is used up, and then the oldest WQE has failed. */
static bool take_retry(struct prxe_qp *qp)
{
	struct prxe_wqe *wqe = oldest(qp);

	if (qp->req.retry) {
		qp->req.retry--;
		prxe_count(qp->dev, completer_retry_err);
		return true;
	}
	prxe_count(qp->dev, retry_exceeded_err);
	if (wqe)
		finish(qp, wqe, IB_WC_RETRY_EXC_ERR);
	return false;
}

/*
 * A sequence NAK, or a response that was overtaken, asks for a retransmission, which uses up a
 * retry as one by the ACK timer does (IBTA 9.7.5.1.3). At most one for each una: if the same packet
 * is lost again, the ACK timer recovers it.
 */
static void rewind_on_nak(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	if (w->rewound_set && w->rewound == w->una)
		return;
	if (!take_retry(qp))
		return;
	w->rewound = w->una;
	w->rewound_set = true;
	rewind_to_una(qp);
}

/* ---- responses ---- */

enum resp_result {
	RESP_TAKEN,
	RESP_MISS,	/* its landing memory is missing: keep it, park */
};

static void landing_failed(struct prxe_qp *qp, struct prxe_wqe *wqe)
{
	finish(qp, wqe, IB_WC_LOC_PROT_ERR);
}

/* Bytes of the response at the head go to where the WQE says; from an skb, or the 8 bytes at @val. */
static enum resp_result land(struct prxe_qp *qp, struct prxe_wqe *wqe, const struct sk_buff *skb, const struct prxe_pkt *pkt,
			     const u64 *val, u32 pos, u32 len, struct prxe_miss *miss)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	struct prxe_sgl sgl = { .sge = wqe->sge, .num = wqe->num_sge };

	if (w->land_psn != pkt->psn)
		w->land_done = 0;
	w->land_psn = pkt->psn;
	while (w->land_done < len) {
		u32 done = w->land_done;
		ssize_t n;

		prxe_mem_begin();
		if (val)
			n = prxe_sgl_scatter(qp, sgl, pos + done, (const u8 *)val + done, len - done, miss);
		else
			n = prxe_sgl_scatter_skb(qp, sgl, pos + done, skb, pkt->payload_off + done, len - done,
						 wqe->length - pos - len, miss);
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
	progress(qp, prxe_psn_add(pkt->psn, 1));
	if (pkt->psn == wqe->last_psn)
		finish(qp, wqe, IB_WC_SUCCESS);
	return RESP_TAKEN;
}

/* The request that has @psn, which is not before una. NULL: none that was sent. */
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

/*
 * Where the data of a response begin in the message, and how many there are. Not of an atomic's.
 */
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

/* Is the response of the kind and the length that its request gets? */
static bool answers(const struct prxe_qp *qp, const struct prxe_wqe *wqe,
		    const struct prxe_pkt *pkt)
{
	if (!is_rd(wqe) || is_atomic(wqe) != !!(pkt->flags & PRXE_OPF_ATOMIC))
		return false;
	return is_atomic(wqe) || pkt->payload_len == response_len(qp, wqe, pkt->psn);
}

/*
 * A READ response or an atomic acknowledge. It acknowledges what is before it, so it is looked at
 * before that: one that is no answer to the request of its PSN says nothing. (The oldest request
 * fails by one of the wrong kind or length, as a bad response: IBTA 9.9.2.)
 */
static enum resp_result take_data(struct prxe_qp *qp, struct sk_buff *skb, struct prxe_pkt *pkt, struct prxe_miss *miss)
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
		rewind_on_nak(qp);
		return RESP_TAKEN;
	}
	wqe = oldest(qp);
	if (!wqe || wqe->state == PRXE_WQE_FETCHED || pkt->psn != w->una || !is_rd(wqe))
		return RESP_TAKEN;
	if (!answers(qp, wqe, pkt)) {
		finish(qp, wqe, IB_WC_BAD_RESP_ERR);
		return RESP_TAKEN;
	}
	if (is_atomic(wqe)) {
		wqe->orig = pkt->orig;
		return land(qp, wqe, NULL, pkt, &wqe->orig, 0, sizeof(u64), miss);
	}
	return land(qp, wqe, skb, pkt, NULL, response_pos(qp, wqe, pkt->psn), pkt->payload_len,
		    miss);
}

static void take_rnr(struct prxe_qp *qp, struct prxe_pkt *pkt)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	struct prxe_wqe *wqe = oldest(qp);

	prxe_count(qp->dev, rcvd_rnr_err);
	if (w->rnr_wait)
		return;
	if (qp->attr.rnr_retry != 7) {
		if (!qp->req.rnr_retry) {
			prxe_count(qp->dev, rnr_retry_exceeded_err);
			finish(qp, wqe, IB_WC_RNR_RETRY_EXC_ERR);
			return;
		}
		qp->req.rnr_retry--;
	}
	rewind_to_una(qp);
	w->rnr_wait = true;
	w->rnr_until = ktime_add_ns(w->last_heard, prxe_rnr_ns(PRXE_AETH_VALUE(pkt->syndrome)));
	hrtimer_start(&qp->req.timer, w->rnr_until, HRTIMER_MODE_ABS_SOFT);
	w->timer_on = true;
}

static void take_nak(struct prxe_qp *qp, struct prxe_pkt *pkt)
{
	struct prxe_wqe *wqe = oldest(qp);

	switch (PRXE_AETH_VALUE(pkt->syndrome)) {
	case PRXE_NAK_PSN_SEQ:
		prxe_count(qp->dev, rcvd_seq_err);
		rewind_on_nak(qp);
		break;
	case PRXE_NAK_INV_REQ:
		finish(qp, wqe, IB_WC_REM_INV_REQ_ERR);
		break;
	case PRXE_NAK_REM_ACC:
		finish(qp, wqe, IB_WC_REM_ACCESS_ERR);
		break;
	case PRXE_NAK_REM_OP:
		finish(qp, wqe, IB_WC_REM_OP_ERR);
		break;
	default:
		finish(qp, wqe, IB_WC_BAD_RESP_ERR);
		break;
	}
}

static void take_ack(struct prxe_qp *qp, struct prxe_pkt *pkt)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	struct prxe_wqe *wqe;

	switch (PRXE_AETH_TYPE(pkt->syndrome)) {
	case PRXE_AETH_ACK:
		if (!ack_to(qp, pkt->psn))
			rewind_on_nak(qp);
		return;
	case PRXE_AETH_RNR:
	case PRXE_AETH_NAK:
		break;
	default:
		return;
	}
	/* They acknowledge what is before their PSN, and speak of the packet that has it. */
	if (!ack_to(qp, prxe_psn_add(pkt->psn, -1))) {
		/* It overtook responses (another CPU sent them). Its sender is in error now and will not say it again. */
		if (PRXE_AETH_TYPE(pkt->syndrome) == PRXE_AETH_NAK && PRXE_AETH_VALUE(pkt->syndrome) != PRXE_NAK_PSN_SEQ) {
			w->late_nak = true;
			w->late_syndrome = pkt->syndrome;
			w->late_psn = pkt->psn;
			return;
		}
		rewind_on_nak(qp);
		return;
	}
	wqe = oldest(qp);
	if (READ_ONCE(qp->state) == IB_QPS_ERR || !wqe || wqe->state == PRXE_WQE_FETCHED || pkt->psn != w->una)
		return;
	if (PRXE_AETH_TYPE(pkt->syndrome) == PRXE_AETH_RNR)
		take_rnr(qp, pkt);
	else
		take_nak(qp, pkt);
}

/* The NAK that came before the responses to what precedes it: now is its turn, if they have come. */
static void take_late_nak(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	struct prxe_pkt nak = { .psn = w->late_psn, .syndrome = w->late_syndrome };

	if (!w->late_nak || prxe_psn_cmp(w->una, nak.psn) < 0 || READ_ONCE(qp->state) == IB_QPS_ERR)
		return;
	w->late_nak = false;
	if (nak.psn == w->una)
		take_ack(qp, &nak);
}

static enum resp_result take_response(struct prxe_qp *qp, struct sk_buff *skb, struct prxe_miss *miss)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	struct prxe_pkt pkt;

	/* Parsed before, so it will be again. Stale ones and ones to what was never sent are ghosts. */
	if (prxe_pkt_parse(&pkt, skb->data, skb_headlen(skb), skb->len) || prxe_psn_cmp(pkt.psn, w->sent_high) >= 0)
		return RESP_TAKEN;
	/* A NAK may say una itself; nothing older says anything. */
	if (prxe_psn_cmp(pkt.psn, w->una) < 0)
		return RESP_TAKEN;
	if (pkt.flags & PRXE_OPF_ACK) {
		take_ack(qp, &pkt);
		return RESP_TAKEN;
	}
	return take_data(qp, skb, &pkt, miss);
}

/*
 * What is queued has to wait: from here on it is counted and paid for, as what comes later. What
 * finds no room is asked for again when the wait is over.
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
	spin_unlock_bh(&acks->lock);
	while ((skb = __skb_dequeue(&all))) {
		skb = prxe_wire_hold(qp, skb);
		if (skb)
			__skb_queue_tail(&held, skb);
		else
			WRITE_ONCE(w->land_lost, true);
	}
	spin_lock_bh(&acks->lock);
	skb_queue_splice(&held, acks);
	spin_unlock_bh(&acks->lock);
}

/*
 * Take what has come. PRXE_STEP_DONE: go on to send, whether or not the rest waits for memory to
 * land in.
 */
static enum prxe_step take_responses(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	u32 una = w->una;
	struct sk_buff *skb;

	while ((skb = skb_dequeue(&w->acks))) {
		struct prxe_miss miss = {};

		if (take_response(qp, skb, &miss) == RESP_MISS) {
			skb_queue_head(&w->acks, skb);
			if (prxe_req_park(qp, PRXE_PARK_LAND, qp->req.sq->index, w->una, &miss,
					  false))
				return PRXE_STEP_MORE;
			hold_responses(qp);
			break;
		}
		consume_skb(skb);
		resync(qp);
		take_late_nak(qp);
		if (READ_ONCE(qp->state) == IB_QPS_ERR)
			return PRXE_STEP_MORE;
	}
	/*
	 * Only what acknowledges something new shows that the peer is there: anybody can repeat old
	 * ones.
	 */
	if (una != w->una)
		w->last_heard = ktime_get();
	return PRXE_STEP_DONE;
}

/* The responses first: they are taken whatever the next packet to be sent waits for. */
static enum prxe_step serve_responses(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	bool was_parked = qp->req.park[PRXE_PARK_LAND].parked;
	struct prxe_wqe *wqe;
	int error;

	if (prxe_park_faulting(&qp->req.park[PRXE_PARK_LAND], &error)) {
		/* The time that a fault of ours takes is not the peer's silence. */
		w->last_heard = ktime_get();
		return PRXE_STEP_DONE;
	}
	if (was_parked) {
		w->last_heard = ktime_get();
		if (READ_ONCE(w->land_lost)) {
			WRITE_ONCE(w->land_lost, false);
			rewind_to_una(qp);
		}
	}
	if (error) {
		wqe = oldest(qp);
		if (wqe && wqe->state != PRXE_WQE_FETCHED)
			landing_failed(qp, wqe);
		if (READ_ONCE(qp->state) == IB_QPS_ERR)
			return PRXE_STEP_MORE;
	}
	return take_responses(qp);
}

/*
 * May this response say something? By position; the owner of the send side judges its kind and
 * length. Lockless: una only moves on, and sent_high is moved before a packet leaves, so that
 * what answers it passes.
 */
static bool may_matter(const struct prxe_qp *qp, const struct prxe_pkt *pkt)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	return prxe_psn_cmp(pkt->psn, READ_ONCE(w->una)) >= 0 &&
	       prxe_psn_cmp(pkt->psn, READ_ONCE(w->sent_high)) < 0;
}

/* Syndromes that exist (IBTA 9.7.5.2.1); one of a response with data says ACK. */
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

/*
 * False: the QP ended, or was reset, since the packet was accepted: who did that has emptied the
 * queue, or is about to.
 */
static bool queue_response(struct prxe_qp *qp, struct sk_buff *skb)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	struct sk_buff_head *acks = &w->acks;
	enum ib_qp_state state;
	bool ok;

	spin_lock_bh(&acks->lock);
	state = READ_ONCE(qp->state);
	ok = !READ_ONCE(qp->dead) && (state == IB_QPS_RTS || state == IB_QPS_SQD);
	if (ok)
		__skb_queue_tail(acks, skb);
	spin_unlock_bh(&acks->lock);
	return ok;
}

void prxe_wire_req_rcv(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkt)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	u32 queued = skb_queue_len_lockless(&w->acks);

	if (!syndrome_ok(pkt) || pkt->payload_len > 1U << qp->mtu_shift) {
		prxe_count(qp->dev, rcvd_malformed);
		kfree_skb(skb);
		return;
	}
	if (qp->local || qp->type != IB_QPT_RC || queued >= MAX_ACKS || !may_matter(qp, pkt)) {
		prxe_count(qp->dev, dropped);
		kfree_skb(skb);
		return;
	}
	if (queued >= FEW_ACKS || READ_ONCE(qp->req.park[PRXE_PARK_LAND].parked)) {
		skb = prxe_wire_hold(qp, skb);
		if (!skb) {
			WRITE_ONCE(w->land_lost, true);
			prxe_count(qp->dev, dropped);
			return;
		}
	}
	if (queue_response(qp, skb))
		prxe_req_kick(qp, true);
	else
		kfree_skb(skb);
}

/* ---- time ---- */

static u64 ack_timeout(const struct prxe_qp *qp)
{
	u64 ns = prxe_timeout_ns(READ_ONCE(qp->attr.timeout) & 31);

	return ns ? max_t(u64, ns, MIN_TIMEOUT_NS) : 0;
}

/* False: the QP failed. */
static bool look_at_clock(struct prxe_qp *qp)
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
	if (qp->type != IB_QPT_RC || !timeout || !outstanding(qp) ||
	    ktime_to_ns(ktime_sub(now, w->last_heard)) < (s64)timeout)
		return true;
	if (!take_retry(qp))
		return false;
	rewind_to_una(qp);
	return true;
}

/* The timer runs while something is outstanding, lazily: it is not moved by progress but looks at last_heard when it ends. */
static void arm_timer(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	u64 timeout = ack_timeout(qp);

	if (w->timer_on || qp->type != IB_QPT_RC || !timeout || !outstanding(qp))
		return;
	w->timer_on = true;
	WRITE_ONCE(qp->req.timer_fired, false);
	hrtimer_start(&qp->req.timer, ktime_add_ns(w->last_heard, timeout), HRTIMER_MODE_ABS_SOFT);
}

/* ---- sending ---- */

enum send_result {
	SEND_OK,
	SEND_BLOCKED,	/* window, order, fence, timer: a kick will come */
	SEND_MISS,	/* *miss is filled: park */
	SEND_FAILED,	/* wqe->status is set; it completes in its turn */
	SEND_NOMEM,
};

static u8 send_opcode(const struct prxe_qp *qp, const struct prxe_wqe *wqe, bool first, bool last)
{
	u8 t = qp->type == IB_QPT_UC ? PRXE_UC : PRXE_RC;

	switch (wqe->opcode) {
	case IB_WR_RDMA_WRITE:
	case IB_WR_RDMA_WRITE_WITH_IMM:
		if (!last)
			return t | (first ? PRXE_WRITE_FIRST : PRXE_WRITE_MIDDLE);
		if (wqe->opcode == IB_WR_RDMA_WRITE)
			return t | (first ? PRXE_WRITE_ONLY : PRXE_WRITE_LAST);
		return t | (first ? PRXE_WRITE_ONLY_IMM : PRXE_WRITE_LAST_IMM);
	default:
		if (!last)
			return t | (first ? PRXE_SEND_FIRST : PRXE_SEND_MIDDLE);
		if (wqe->opcode == IB_WR_SEND_WITH_IMM)
			return t | (first ? PRXE_SEND_ONLY_IMM : PRXE_SEND_LAST_IMM);
		if (wqe->opcode == IB_WR_SEND_WITH_INV)
			return t | (first ? PRXE_SEND_ONLY_INV : PRXE_SEND_LAST_INV);
		return t | (first ? PRXE_SEND_ONLY : PRXE_SEND_LAST);
	}
}

static enum send_result send_failed(struct prxe_qp *qp, struct prxe_wqe *wqe, enum ib_wc_status status)
{
	forget_pend(qp);
	wqe->status = status;
	return SEND_FAILED;
}

/* [pos, pos + len) of the WQE's memory into the packet that is being made, from pend_done on. */
static enum send_result gather(struct prxe_qp *qp, struct prxe_wqe *wqe, u32 pos, u32 len,
			       struct prxe_miss *miss)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	u8 *at = w->pend_at;

	if (WARN_ON_ONCE(len > skb_tail_pointer(w->pend) - PRXE_ICRC_BYTES - at))
		return SEND_FAILED;
	while (w->pend_done < len) {
		u32 done = w->pend_done;
		ssize_t n;

		prxe_mem_begin();
		n = prxe_wqe_gather(qp, wqe, pos + done, at + done, len - done, miss);
		prxe_mem_end();
		if (n > 0)
			w->pend_done += n;
		if (miss->mirror)
			return SEND_MISS;
		if (n <= 0)
			return SEND_FAILED;
	}
	return SEND_OK;
}

/* Is the landing of [pos, pos + len) there and writable, from pend_done on? */
static enum send_result probe(struct prxe_qp *qp, struct prxe_wqe *wqe, u32 pos, u32 len, struct prxe_miss *miss)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	struct prxe_sgl sgl = { .sge = wqe->sge, .num = wqe->num_sge };

	while (w->pend_done < len) {
		u32 done = w->pend_done;
		ssize_t n;

		prxe_mem_begin();
		n = prxe_sgl_probe(qp, sgl, pos + done, min_t(u32, len - done, PRXE_MEM_CHUNK), IB_ACCESS_LOCAL_WRITE, miss);
		prxe_mem_end();
		if (n > 0)
			w->pend_done += n;
		if (miss->mirror)
			return SEND_MISS;
		if (n <= 0)
			return SEND_FAILED;
	}
	return SEND_OK;
}

/* A packet is out, or as good as: @pkts PSNs from psn on are its own. */
static void sent(struct prxe_qp *qp, struct prxe_wqe *wqe, u32 pkts)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	if (!outstanding(qp))
		w->last_heard = ktime_get();
	qp->req.psn = prxe_psn_add(qp->req.psn, pkts);
	if (prxe_psn_cmp(qp->req.psn, w->sent_high) > 0)
		WRITE_ONCE(w->sent_high, qp->req.psn);	/* before it leaves: may_matter() */
	w->pend_done = 0;
	if (prxe_psn_cmp(qp->req.psn, wqe->last_psn) > 0) {
		wqe->state = PRXE_WQE_SENT;
		w->send = prxe_queue_next(qp->req.sq, w->send);
	}
}

/*
 * A packet waits for the next one or the end of its batch: then it is known to be the last for now, and asks for the ACK that its
 * predecessors did not. Never held when BH is on.
 */
static void flush_held(struct prxe_qp *qp, bool ask)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	struct sk_buff *skb = w->held;

	if (!skb)
		return;
	w->held = NULL;
	if (ask && qp->type == IB_QPT_RC) {
		prxe_wire_ask_ack(skb);
		w->unasked = 0;
	}
	prxe_wire_xmit(qp, &qp->av, skb, &w->route);
}

static enum send_result send_data(struct prxe_qp *qp, struct prxe_wqe *wqe, struct prxe_miss *miss, u32 *bytes)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	u32 pos = ((qp->req.psn - wqe->first_psn) & PRXE_PSN_MASK) << qp->mtu_shift;
	u32 len = min(wqe->length - pos, 1U << qp->mtu_shift);
	bool first = qp->req.psn == wqe->first_psn;
	bool last = qp->req.psn == wqe->last_psn;
	enum send_result r;
	struct sk_buff *skb;

	pend_is_for(qp, w->send, qp->req.psn);
	if (!w->pend) {
		struct prxe_pkt pkt = {
			.opcode = send_opcode(qp, wqe, first, last),
			.se = last && wqe->flags & IB_SEND_SOLICITED,
			.qpn = qp->attr.dest_qp_num,
			.psn = qp->req.psn,
			.va = wqe->remote_addr,
			.rkey = wqe->rkey,
			.dma_len = wqe->length,
			.imm = (__force u32)wqe->imm,
			.ieth = wqe->inv_rkey,
			.payload_len = len,
		};

		if (qp->type == IB_QPT_RC) {
			pkt.ackreq = ++w->unasked >= ACK_EVERY;
			if (pkt.ackreq)
				w->unasked = 0;
		}
		w->pend = prxe_wire_alloc(qp, &qp->av, &pkt, (void **)&w->pend_at,
					       PRXE_ACCOUNT_REQ);
		if (!w->pend)
			return SEND_NOMEM;
	}
	r = gather(qp, wqe, pos, len, miss);
	if (r == SEND_FAILED)
		return send_failed(qp, wqe, IB_WC_LOC_PROT_ERR);
	if (r != SEND_OK)
		return r;
	skb = w->pend;
	w->pend = NULL;
	sent(qp, wqe, 1);
	*bytes = len;
	flush_held(qp, false);
	w->held = skb;
	if (last && qp->type == IB_QPT_UC) {
		prxe_count(qp->dev, wire_messages);
		progress(qp, qp->req.psn);
		finish(qp, wqe, IB_WC_SUCCESS);
	} else if (last) {
		prxe_count(qp->dev, wire_messages);
	}
	return SEND_OK;
}

static enum send_result send_read(struct prxe_qp *qp, struct prxe_wqe *wqe, struct prxe_miss *miss, u32 *bytes)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	u32 pos = ((qp->req.psn - wqe->first_psn) & PRXE_PSN_MASK) << qp->mtu_shift;
	/* Requests end where they ended the first time: a repetition that reached over into the next one is not remembered as one. */
	u32 len = min(wqe->length - pos, READ_BYTES - pos % READ_BYTES);
	u32 pkts = prxe_pkts(len, qp->mtu_shift);
	struct prxe_pkt pkt = {
		.opcode = PRXE_READ_REQUEST,
		.qpn = qp->attr.dest_qp_num,
		.psn = qp->req.psn,
		.va = wqe->remote_addr + pos,
		.rkey = wqe->rkey,
		.dma_len = len,
	};
	enum send_result r;
	struct sk_buff *skb;
	void *payload;

	if (outstanding(qp) && ((qp->req.psn - w->una) & PRXE_PSN_MASK) + pkts > WINDOW)
		return SEND_BLOCKED;
	pend_is_for(qp, w->send, qp->req.psn);
	if (!w->rd_last) {
		w->rd_last = kcalloc(PRXE_MAX_RD_ATOM, sizeof(*w->rd_last), GFP_ATOMIC | __GFP_NOWARN);
		if (!w->rd_last)
			return SEND_NOMEM;
	}
	if (is_atomic(wqe)) {
		pkt.opcode = wqe->opcode == IB_WR_ATOMIC_CMP_AND_SWP ? PRXE_COMPARE_SWAP : PRXE_FETCH_ADD;
		pkt.swap_add = wqe->opcode == IB_WR_ATOMIC_CMP_AND_SWP ? wqe->swap : wqe->compare_add;
		pkt.compare = wqe->opcode == IB_WR_ATOMIC_CMP_AND_SWP ? wqe->compare_add : 0;
	} else if (wqe->opcode == IB_WR_ATOMIC_WRITE) {
		pkt.opcode = PRXE_ATOMIC_WRITE_OP;
		pkt.dma_len = sizeof(u64);
		pkt.payload_len = sizeof(u64);
	} else if (wqe->opcode == IB_WR_FLUSH) {
		pkt.opcode = PRXE_FLUSH;
		pkt.dma_len = wqe->flush.length;
		pkt.feth = PRXE_FETH(wqe->flush.type, wqe->flush.level);
	}
	if (wqe->opcode != IB_WR_ATOMIC_WRITE) {
		r = probe(qp, wqe, pos, len, miss);
		if (r == SEND_FAILED)
			return send_failed(qp, wqe, IB_WC_LOC_PROT_ERR);
		if (r != SEND_OK)
			return r;
	}
	skb = prxe_wire_alloc(qp, &qp->av, &pkt, &payload, PRXE_ACCOUNT_REQ);
	if (!skb)
		return SEND_NOMEM;
	if (pkt.payload_len)
		memcpy(payload, &wqe->compare_add, sizeof(u64));
	sent(qp, wqe, pkts);
	w->rd_last[w->rd_head++ % PRXE_MAX_RD_ATOM] = prxe_psn_add(qp->req.psn, -1);
	*bytes = 0;
	/* Its response acknowledges what is before it. */
	flush_held(qp, false);
	prxe_wire_xmit(qp, &qp->av, skb, &w->route);
	if (wqe->state == PRXE_WQE_SENT)
		prxe_count(qp->dev, wire_messages);
	return SEND_OK;
}

/*
 * The packet that comes next waits for its memory. (One before it, that is sent again, does not.)
 */
static bool send_waits(const struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	const struct prxe_park *park = &qp->req.park[PRXE_PARK_SEND];

	return park->parked && park->index == w->send && park->psn == qp->req.psn;
}

/* The next packet, or the next WQE that needs none. */
static enum send_result send_next(struct prxe_qp *qp, struct prxe_miss *miss, u32 *bytes)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	struct prxe_wqe *wqe;

	*bytes = 0;
	if (w->rnr_wait || send_waits(qp) ||
	    prxe_wire_skb_limit(&w->skbs))
		return SEND_BLOCKED;
	if (w->send != qp->req.fetch)
		wqe = prxe_req_wqe(qp, w->send);
	else
		wqe = NULL;
	if (!wqe || wqe->state == PRXE_WQE_FETCHED) {
		bool is_oldest = w->send == qp->req.sq->index;

		/* In SQD nothing new starts; that everything is drained is told when nothing is outstanding. */
		if (READ_ONCE(qp->state) == IB_QPS_SQD && (!is_oldest || !prxe_req_may_start(qp)))
			return SEND_BLOCKED;
		if (READ_ONCE(qp->state) != IB_QPS_SQD)
			prxe_req_may_start(qp);
		if (!wqe)
			wqe = prxe_req_fetch(qp);
		if (!wqe)
			return SEND_BLOCKED;
		if (wqe->status || is_local_op(wqe)) {
			enum ib_wc_status status = wqe->status;

			/* In its turn: when everything before it is over. */
			if (!is_oldest)
				return SEND_BLOCKED;
			if (!status)
				status = prxe_req_local_op(qp, wqe);
			w->send = prxe_queue_next(qp->req.sq, w->send);
			finish(qp, wqe, status);
			return SEND_OK;
		}
		if (wqe->flags & IB_SEND_FENCE && rd_count(qp))
			return SEND_BLOCKED;
		wqe->state = PRXE_WQE_STARTED;
		wqe->first_psn = qp->req.psn;
		wqe->last_psn = prxe_psn_add(qp->req.psn, prxe_pkts(wqe->length, qp->mtu_shift) - 1);
	}
	if (wqe->status) {
		if (w->send == qp->req.sq->index) {
			finish(qp, wqe, wqe->status);
			return SEND_OK;
		}
		return SEND_BLOCKED;
	}
	if (is_rd(wqe)) {
		if (rd_count(qp) >= rd_limit(qp))
			return SEND_BLOCKED;
		return send_read(qp, wqe, miss, bytes);
	}
	if (qp->type == IB_QPT_RC && ((qp->req.psn - w->una) & PRXE_PSN_MASK) >= WINDOW)
		return SEND_BLOCKED;
	return send_data(qp, wqe, miss, bytes);
}

/* Memory is missing for the next packet, of the WQE at @index. Takes the miss over. */
static enum prxe_step send_park(struct prxe_qp *qp, u32 index, struct prxe_miss *miss)
{
	bool go_on = prxe_req_park(qp, PRXE_PARK_SEND, index, qp->req.psn, miss, false);

	return go_on ? PRXE_STEP_MORE : PRXE_STEP_BLOCKED;
}

/* With BH off for a batch, so that the other side's softirq runs once for it; then the stack has its turn. */
static enum prxe_step send_batch(struct prxe_qp *qp, unsigned int *budget)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	struct prxe_miss miss = {};
	enum send_result r;
	u32 total = 0;

	local_bh_disable();
	do {
		u32 bytes;

		r = send_next(qp, &miss, &bytes);
		total += max(bytes, PKT_COST / 4);
		if (r == SEND_OK)
			*budget -= min(*budget, max(bytes, PKT_COST));
	} while (r == SEND_OK && *budget && total < BATCH_BYTES && !prxe_qp_send_over(qp));
	flush_held(qp, true);
	arm_timer(qp);
	local_bh_enable();

	switch (r) {
	case SEND_OK:
	case SEND_FAILED:
		return PRXE_STEP_MORE;
	case SEND_MISS:
		return send_park(qp, w->send, &miss);
	case SEND_NOMEM:
		prxe_req_wait(qp, ALLOC_RETRY_NS);
		w->timer_on = true;
		return PRXE_STEP_BLOCKED;
	default:
		return PRXE_STEP_BLOCKED;
	}
}

/* The fault for a packet that was to be sent failed: its WQE fails, when its turn comes. */
static void send_fault_failed(struct prxe_qp *qp)
{
	const struct prxe_park *park = &qp->req.park[PRXE_PARK_SEND];
	struct prxe_wqe *wqe = prxe_req_wqe(qp, park->index);
	u32 mask = qp->req.sq->mask;

	/*
	 * It cannot be over without this packet, but what is shared with user space is never
	 * trusted for that.
	 */
	if (((park->index - qp->req.sq->index) & mask) >=
	    ((qp->req.fetch - qp->req.sq->index) & mask))
		return;
	if (wqe->state != PRXE_WQE_STARTED && wqe->state != PRXE_WQE_SENT)
		return;
	if (prxe_psn_cmp(park->psn, wqe->first_psn) >= 0 &&
	    prxe_psn_cmp(park->psn, wqe->last_psn) <= 0)
		send_failed(qp, wqe, IB_WC_LOC_PROT_ERR);
}

int prxe_wire_req_step(struct prxe_qp *qp, unsigned int *budget)
{
	enum prxe_step step;
	int error;

	step = serve_responses(qp);
	if (step != PRXE_STEP_DONE)
		return step;
	if (qp->req.waiting) {
		if (!READ_ONCE(qp->req.timer_fired))
			return PRXE_STEP_BLOCKED;
		qp->req.waiting = false;
	}
	if (!look_at_clock(qp))
		return PRXE_STEP_MORE;
	if (!prxe_park_faulting(&qp->req.park[PRXE_PARK_SEND], &error) && error)
		send_fault_failed(qp);
	return send_batch(qp, budget);
}

/* ---- UD and GSI ---- */

static struct sk_buff *alloc_ud(struct prxe_qp *qp, const struct prxe_wqe *wqe)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	bool imm = wqe->opcode == IB_WR_SEND_WITH_IMM;
	struct prxe_pkt pkt = {
		.opcode = PRXE_UD | (imm ? PRXE_SEND_ONLY_IMM : PRXE_SEND_ONLY),
		.se = !!(wqe->flags & IB_SEND_SOLICITED),
		.qpn = wqe->ud.qpn,
		.psn = qp->req.psn,
		.qkey = wqe->ud.qkey,
		.src_qp = qp->qpn,
		.imm = (__force u32)wqe->imm,
		.payload_len = wqe->length,
	};

	return prxe_wire_alloc(qp, &wqe->ud.av, &pkt, (void **)&w->pend_at, PRXE_ACCOUNT_REQ);
}

static enum prxe_step ud_failed(struct prxe_qp *qp, struct prxe_wqe *wqe)
{
	forget_pend(qp);
	finish(qp, wqe, IB_WC_LOC_PROT_ERR);
	return PRXE_STEP_DONE;
}

int prxe_wire_ud_step(struct prxe_qp *qp, struct prxe_wqe *wqe)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	struct prxe_miss miss = {};
	enum send_result r;
	struct sk_buff *skb;
	int error;

	if (prxe_park_faulting(&qp->req.park[PRXE_PARK_SEND], &error))
		return PRXE_STEP_BLOCKED;
	if (error)
		return ud_failed(qp, wqe);
	if (prxe_wire_skb_limit(&w->skbs))
		return PRXE_STEP_BLOCKED;
	pend_is_for(qp, qp->req.sq->index, qp->req.psn);
	if (!w->pend) {
		wqe->state = PRXE_WQE_STARTED;
		w->pend = alloc_ud(qp, wqe);
		if (!w->pend) {
			prxe_req_wait(qp, ALLOC_RETRY_NS);
			return PRXE_STEP_BLOCKED;
		}
	}
	r = gather(qp, wqe, 0, wqe->length, &miss);
	if (r == SEND_MISS)
		return send_park(qp, qp->req.sq->index, &miss);
	if (r == SEND_FAILED)
		return ud_failed(qp, wqe);
	skb = w->pend;
	w->pend = NULL;
	w->pend_done = 0;
	qp->req.psn = prxe_psn_add(qp->req.psn, 1);
	/* The route cache is for the last destination. Lost is lost: UD promises nothing. */
	local_bh_disable();
	prxe_wire_xmit(qp, &wqe->ud.av, skb, &w->route);
	local_bh_enable();
	prxe_count(qp->dev, wire_messages);
	finish(qp, wqe, IB_WC_SUCCESS);
	return PRXE_STEP_DONE;
}

/* ---- life ---- */

void prxe_wire_req_forget(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	forget_pend(qp);
	skb_queue_purge(&w->acks);
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
	w->rewound_set = false;
	w->timer_on = false;
	qp->req.timer_fired = false;
	w->rnr_wait = false;
	w->send = qp->req.sq->index;
	WRITE_ONCE(w->skbs.need, false);
}

/* RTS: psn and the retry counters are set. */
void prxe_wire_req_start(struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	WRITE_ONCE(w->una, qp->req.psn);
	WRITE_ONCE(w->sent_high, qp->req.psn);
	w->send = qp->req.sq->index;
	w->last_heard = ktime_get();
}
