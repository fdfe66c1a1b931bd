// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The responder's half of the wire. Everything runs under resp.lock, most of it in softirq.
 *
 * A request is executed when it is its turn: nothing waits before it and its memory is present. Else it is parked, in order. Three things
 * make requests wait: a READ whose responses are being sent (its responses come before the ACKs of what follows), a fault, and the
 * end of the budget of one pass. run() does whatever can be done now and is called by whoever changes that: the next packet, the
 * worker, the end of a fault.
 *
 * RC requests wait for faults as long as one of them is executed every park_ns(), and PARK_PKTS of them at most; else the requester is told to come
 * again (RNR NAK), what is parked is dropped, and the fault goes on. resp.psn is the oldest PSN that is not executed, recv_psn the next one
 * to be parked.
 */
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/lockdep.h>
#include <linux/slab.h>
#include "carrier/wire.h"
#include "carrier/wire_resp.h"
#include "carrier/wire_state.h"
#include "mem/mem.h"
#include "mem/mr.h"
#include "obj/vlan.h"
#include "transport/qp.h"

#define PARK_PKTS	256U		/* what our requester has under way at most */
#define PARK_MAX_MS	1000U		/* of the module parameter */
#define PARK_MIN_NS	NSEC_PER_MSEC
#define PARK_MAX_NS	(16 * NSEC_PER_MSEC)
#define QUEUE_PKTS	512U		/* behind a READ */
#define PASS_BYTES	(64U << 10)	/* READ responses and parked requests in one pass */
#define WORK_PASSES	4		/* of the worker, with the lock dropped between them */
#define SEND_AHEAD	(256U << 10)	/* of receive memory to fault ahead when a message's length is unknown */
#define WAIT_MAX	msecs_to_jiffies(50)	/* that a UC or UD packet waits for memory .. */
#define LOOK_NS		(25 * NSEC_PER_MSEC)	/* .. and when that is looked at */
#define AHEAD_MAX	4096		/* PSNs: one further ahead is none of our requester's */
#define OUT_MAX		512U		/* answers that wait to be sent; more are lost */
#define OUT_ROUNDS	8

/*
 * What a missing page of the WRITE, READ or atomic at @psn, or of the receive WQE of a SEND, is
 * asked for by.
 */
static u64 fault_key(const struct prxe_resp *r, const struct prxe_pkt *pkt)
{
	return pkt->flags & PRXE_OPF_SEND ? r->rwqe.no : pkt->psn;
}

/* ---- answers ---- */

bool prxe_resp_send_aeth(struct prxe_qp *qp, u8 opcode, u8 syndrome, u32 psn, u64 orig)
{
	struct prxe_pkt pkt = {
		.opcode = opcode,
		.qpn = qp->attr.dest_qp_num,
		.psn = psn,
		.syndrome = syndrome,
		.msn = qp->resp.msn,
		.orig = orig,
	};
	struct sk_buff *skb;
	void *payload;

	skb = prxe_wire_alloc(qp, &qp->av, &pkt, &payload, PRXE_ACCOUNT_NONE);
	/* Without memory it is lost, as on the way; the requester asks again. */
	if (!skb)
		return false;
	prxe_resp_out(qp, skb);
	return true;
}

void prxe_resp_out(struct prxe_qp *qp, struct sk_buff *skb)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);

	lockdep_assert_held(&qp->resp.lock);
	if (skb_queue_len(&w->out) < OUT_MAX)
		__skb_queue_tail(&w->out, skb);
	else
		kfree_skb(skb);
}

/*
 * Drop resp.lock, and send what was queued under it. One CPU sends at a time, so that answers leave
 * in the order in which they were queued; what others queue meanwhile it sends too, for a bounded
 * time, then the worker does.
 */
static void resp_unlock(struct prxe_qp *qp)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct prxe_resp *r = &qp->resp;
	struct sk_buff_head out;
	struct sk_buff *skb;
	int i;

	if (likely(skb_queue_empty(&w->out)) || w->sending) {
		spin_unlock_bh(&r->lock);
		return;
	}
	w->sending = true;
	__skb_queue_head_init(&out);
	for (i = 0; i < OUT_ROUNDS && !skb_queue_empty(&w->out); i++) {
		skb_queue_splice_init(&w->out, &out);
		/* BH stay off: the other side's softirq runs once for all of them. */
		spin_unlock(&r->lock);
		while ((skb = __skb_dequeue(&out)))
			prxe_wire_xmit(qp, &qp->av, skb, &w->route);
		spin_lock(&r->lock);
	}
	w->sending = false;
	if (!skb_queue_empty(&w->out))
		prxe_qp_schedule(qp);
	spin_unlock_bh(&r->lock);
}

static void send_ack(struct prxe_qp *qp)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);

	w->aeth = PRXE_AETH_ACK | PRXE_AETH_UNLIMITED;
	prxe_resp_send_aeth(qp, PRXE_ACKNOWLEDGE, w->aeth, prxe_psn_add(qp->resp.psn, -1), 0);
}

bool prxe_resp_send_rnr(struct prxe_qp *qp, u32 psn, u8 code)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);

	prxe_count(qp->dev, send_rnr_err);
	w->aeth = PRXE_AETH_RNR | code;
	return prxe_resp_send_aeth(qp, PRXE_ACKNOWLEDGE, w->aeth, psn, 0);
}

/* When everything that could be done was done: what the requester is to hear. */
static void acknowledge(struct prxe_qp *qp)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct prxe_resp *r = &qp->resp;

	/* Not before the responses of a READ, which an ACK of what follows would declare lost. */
	if (w->reading || !skb_queue_empty(&w->dups) || !prxe_qp_receives(qp))
		return;
	if (w->gap && skb_queue_empty(&w->parked)) {
		w->gap = false;
		w->ack_due = false;
		w->nak_sent = true;
		prxe_count(qp->dev, out_of_seq_request);
		w->aeth = PRXE_AETH_NAK | PRXE_NAK_PSN_SEQ;
		prxe_resp_send_aeth(qp, PRXE_ACKNOWLEDGE, w->aeth, r->psn, 0);
	} else if (w->ack_due) {
		w->ack_due = false;
		send_ack(qp);
	}
}

static bool may_run(const struct prxe_qp *qp)
{
	return !qp->dead && prxe_qp_receives(qp);
}

static void forget_packets(struct prxe_qp *qp)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);

	prxe_read_forget(qp);
	__skb_queue_purge(&w->dups);
	__skb_queue_purge(&w->parked);
	w->ack_due = false;
	w->gap = false;
}

enum prxe_exec prxe_resp_refuse(struct prxe_qp *qp, u32 psn, enum prxe_nak code, enum ib_wc_status status, int event)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);

	qp->resp.msg = 0;
	if (qp->type != IB_QPT_RC) {
		w->drop_msg = true;
		prxe_count(qp->dev, dropped);
		/* A receive WQE that cannot be used would fail for ever. */
		if (code == PRXE_NAK_REM_OP)
			prxe_resp_fail(qp, status, event);
		return PRXE_EXEC_DONE;
	}
	w->aeth = PRXE_AETH_NAK | code;
	prxe_resp_send_aeth(qp, PRXE_ACKNOWLEDGE, w->aeth, psn, 0);
	prxe_resp_fail(qp, status, event);
	return PRXE_EXEC_DONE;
}

enum prxe_exec prxe_resp_bad_request(struct prxe_qp *qp)
{
	return prxe_resp_refuse(qp, qp->resp.psn, PRXE_NAK_INV_REQ, IB_WC_LOC_QP_OP_ERR, IB_EVENT_QP_REQ_ERR);
}

enum prxe_exec prxe_resp_no_access(struct prxe_qp *qp)
{
	return prxe_resp_refuse(qp, qp->resp.psn, PRXE_NAK_REM_ACC, IB_WC_LOC_ACCESS_ERR, IB_EVENT_QP_ACCESS_ERR);
}

/* ---- faults ---- */

struct resp_fault {
	struct prxe_fault_req req;
	struct prxe_qp *qp;	/* a reference */
	u32 epoch;
};

static bool run(struct prxe_qp *qp, unsigned int budget);

static void resp_fault_done(struct prxe_fault_req *req)
{
	struct resp_fault *f = container_of(req, struct resp_fault, req);
	struct prxe_qp *qp = f->qp;
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	bool more = false;

	spin_lock_bh(&qp->resp.lock);
	if (w->faulting && f->epoch == w->fault_epoch) {
		w->faulting = false;
		w->fault_error = req->result;
		more = run(qp, PASS_BYTES);
	}
	resp_unlock(qp);
	if (more)
		prxe_qp_schedule(qp);
	kfree(f);
	prxe_qp_put(qp);
}

/*
 * Far less than the ACK timeout of the requester. That is not known here, but both ends of a connection are as good as always given the same; one that
 * is shorter makes a slow fault cost a retransmission.
 */
static u64 park_ns(const struct prxe_qp *qp)
{
	u64 timeout = prxe_timeout_ns(READ_ONCE(qp->attr.timeout) & 31);
	u64 ns = min(READ_ONCE(prxe_park_ms), PARK_MAX_MS) * (u64)NSEC_PER_MSEC;

	if (qp->type != IB_QPT_RC)
		return LOOK_NS;
	/* The timeout comes with RTS. */
	if (READ_ONCE(qp->state) < IB_QPS_RTS)
		return ns ? min_t(u64, ns, PARK_MAX_NS) : PARK_MIN_NS;
	/* What the administrator asks for, but never so long that the requester retransmits. */
	if (ns)
		return timeout ? min_t(u64, ns, max_t(u64, timeout / 2, PARK_MIN_NS)) : ns;
	return timeout ? clamp_t(u64, timeout / 8, PARK_MIN_NS, PARK_MAX_NS) : PARK_MAX_NS;
}

void prxe_resp_timer_start(struct prxe_qp *qp)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);

	if (w->park_timing)
		return;
	w->park_timing = true;
	w->park_psn = qp->resp.psn;
	hrtimer_start(&w->park_timer, ns_to_ktime(park_ns(qp)), HRTIMER_MODE_REL_SOFT);
}

int prxe_resp_fault(struct prxe_qp *qp, struct prxe_miss *miss, u64 key)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct resp_fault *f;

	if (w->faulting) {
		prxe_miss_drop(miss);
		return 0;
	}
	if (w->fault_error && w->fault_key == key) {
		int err = w->fault_error;

		w->fault_error = 0;
		prxe_miss_drop(miss);
		return err;
	}
	prxe_resp_timer_start(qp);
	f = kmalloc(sizeof(*f), GFP_ATOMIC | __GFP_NOWARN);
	if (!f) {
		/* The timer tells the requester to come again. */
		prxe_miss_drop(miss);
		return 0;
	}
	refcount_inc(&qp->ref);
	f->qp = qp;
	f->epoch = w->fault_epoch;
	f->req.done = resp_fault_done;
	w->faulting = true;
	w->fault_error = 0;
	w->fault_key = key;
	prxe_fault_queue(&f->req, miss);
	return 0;
}

/*
 * RC: the fault takes too long, or too much is parked. Dropped is not lost: the requester is told when to come again. (If there is no memory to tell it
 * with, its ACK timer does.) @more packets were dropped besides those that are parked.
 */
static void rnr_for_fault(struct prxe_qp *qp, u32 more)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	u32 pkts = skb_queue_len(&w->parked) + more;
	u8 code = PRXE_RNR_FAULT_FIRST;

	if (w->rnr_psn == qp->resp.psn && w->rnr_code)
		code = min(w->rnr_code + 2, PRXE_RNR_FAULT_LAST);
	w->rnr_psn = qp->resp.psn;
	w->rnr_code = code;
	__skb_queue_purge(&w->parked);
	w->ack_due = false;
	w->gap = false;
	w->nak_sent = true;
	if (prxe_resp_send_rnr(qp, qp->resp.psn, code))
		prxe_count_add(qp->dev, rnr_for_fault_pkts, pkts);
	else
		prxe_count_add(qp->dev, lost_to_fault, pkts);
}

/* A UC or UD packet for which memory, or room to wait in, did not come. Takes the skb. */
static void lost_to_wait(struct prxe_qp *qp, struct sk_buff *skb)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);

	prxe_count(qp->dev, dropped_fault);
	kfree_skb(skb);
	if (qp->type == IB_QPT_UC && !w->preparing) {
		w->preparing = true;
		w->prepared = 0;
	}
}

/*
 * UC and UD: packets that have waited for too long are lost. The fault goes on for those that come
 * later. True: some are left, look again.
 */
static bool give_up_old(struct prxe_qp *qp)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct prxe_resp *r = &qp->resp;
	struct sk_buff *skb;

	lockdep_assert_held(&r->lock);
	while ((skb = skb_peek(&w->parked)) &&
	       time_after_eq(jiffies, PRXE_RX(skb)->since + WAIT_MAX)) {
		__skb_unlink(skb, &w->parked);
		lost_to_wait(qp, skb);
	}
	return !skb_queue_empty(&w->parked);
}

/* True: another park_ns(). */
static bool park_time_is_up(struct prxe_qp *qp)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct prxe_resp *r = &qp->resp;

	lockdep_assert_held(&r->lock);
	if (!may_run(qp))
		return false;
	if (!w->faulting) {
		prxe_qp_schedule(qp);	/* there was no memory to queue a fault, or to send */
		return false;
	}
	if (qp->type != IB_QPT_RC)
		return give_up_old(qp);
	if (skb_queue_empty(&w->parked))
		return false;
	if (w->reading) {
		/* What waits behind the READ is asked for again when that is over. */
		__skb_queue_purge(&w->parked);
		w->gap = true;
		return false;
	}
	if (r->psn == w->park_psn) {
		rnr_for_fault(qp, 0);
		return false;
	}
	/* One fault after the other, and each is soon over: the requester hears of it, for the sake of its ACK timer. */
	w->park_psn = r->psn;
	w->ack_due = true;
	acknowledge(qp);
	return true;
}

static enum hrtimer_restart park_timer(struct hrtimer *timer)
{
	struct prxe_wire *wire = container_of(timer, struct prxe_wire, resp.park_timer);
	struct prxe_qp *qp = prxe_wire_qp(wire);
	struct prxe_wire_resp *w = &wire->resp;
	bool again;

	spin_lock_bh(&qp->resp.lock);
	again = park_time_is_up(qp);
	if (again)
		hrtimer_forward_now(timer, ns_to_ktime(park_ns(qp)));
	else
		w->park_timing = false;	/* from now on it may be started, before this has returned too */
	resp_unlock(qp);
	return again ? HRTIMER_RESTART : HRTIMER_NORESTART;
}

/* ---- SEND and RDMA WRITE ---- */

/* Land the payload from where it stopped. 0: all of it; 1: wait; negative: an error. */
static int land(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkt)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct prxe_rx *rx = PRXE_RX(skb);
	struct prxe_resp *r = &qp->resp;

	while (rx->done < pkt->payload_len) {
		u32 left = pkt->payload_len - rx->done;
		int off = pkt->payload_off + rx->done;
		struct prxe_miss miss = {};
		struct prxe_cursor cur;
		ssize_t n;

		prxe_mem_begin();
		if (pkt->flags & PRXE_OPF_WRITE) {
			n = prxe_gate(qp, w->rkey, true, w->va + rx->done, left,
				      IB_ACCESS_REMOTE_WRITE, &cur);
			if (!n)
				n = prxe_copy_skb(&cur, skb, off, left, w->resid - pkt->payload_len, &miss);
		} else {
			struct prxe_sgl sgl = { .sge = r->rwqe.sge, .num = r->rwqe.num_sge };
			u64 pos = (u64)w->done + rx->done;
			u64 ahead = 0;

			if (!(pkt->flags & PRXE_OPF_LAST))
				ahead = min_t(u64, r->rwqe.length - pos - left, SEND_AHEAD);
			n = prxe_sgl_scatter_skb(qp, sgl, pos, skb, off, left, ahead, &miss);
		}
		prxe_mem_end();
		if (n > 0)
			rx->done += n;
		if (miss.mirror) {
			int err = prxe_resp_fault(qp, &miss, fault_key(r, pkt));

			return err ?: 1;
		}
		if (n <= 0)
			return n ?: -EFAULT;
	}
	return 0;
}

/*
 * The receive WQE is about to be filled by this packet of a SEND. A local sender may have used it
 * meanwhile: what a first packet wrote is written again then. False: what earlier packets wrote is
 * gone.
 */
static bool fill_receive(struct prxe_qp *qp, struct prxe_rx *rx, bool first)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct prxe_resp *r = &qp->resp;

	if (!first)
		return w->fill == r->rwqe.fill;
	if (!prxe_resp_claim(r, &rx->fill))
		rx->done = 0;
	w->fill = rx->fill;
	return true;
}

static void complete_recv(struct prxe_qp *qp, const struct prxe_pkt *pkt, u32 bytes)
{
	struct ib_wc wc = {
		.opcode = pkt->flags & PRXE_OPF_WRITE ? IB_WC_RECV_RDMA_WITH_IMM : IB_WC_RECV,
		.byte_len = bytes,
		.src_qp = qp->attr.dest_qp_num,
	};

	if (pkt->flags & PRXE_OPF_IMM) {
		wc.wc_flags |= IB_WC_WITH_IMM;
		wc.ex.imm_data = (__force __be32)pkt->imm;
	} else if (pkt->flags & PRXE_OPF_INV) {
		wc.wc_flags |= IB_WC_WITH_INVALIDATE;
		wc.ex.invalidate_rkey = pkt->ieth;
	}
	prxe_resp_complete(qp, &wc, pkt->se);
}

/* No receive WQE for the packet at resp.psn, whose turn it is. */
static enum prxe_exec no_receive(struct prxe_qp *qp)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);

	if (qp->type == IB_QPT_RC) {
		w->ack_due = false;
		w->nak_sent = true;
		prxe_resp_send_rnr(qp, qp->resp.psn, qp->attr.min_rnr_timer & 31);
	} else {
		w->drop_msg = true;
		qp->resp.msg = 0;
		prxe_count(qp->dev, dropped);
	}
	return PRXE_EXEC_DONE;
}

static enum prxe_exec exec_data(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkt)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	u32 kind = pkt->flags & (PRXE_OPF_SEND | PRXE_OPF_WRITE);
	bool first = pkt->flags & PRXE_OPF_FIRST, last = pkt->flags & PRXE_OPF_LAST;
	u32 mtu = 1U << qp->mtu_shift;
	struct prxe_resp *r = &qp->resp;
	struct prxe_cursor cur;
	int err;

	lockdep_assert_held(&r->lock);
	if (first ? r->msg : r->msg != kind)
		return prxe_resp_bad_request(qp);
	if (pkt->payload_len > mtu || (!last && pkt->payload_len != mtu) || (last && !first && !pkt->payload_len))
		return prxe_resp_bad_request(qp);

	/* All of this is done again when the packet had to wait: it only sets what it reads. */
	if (first) {
		w->done = 0;
		if (kind == PRXE_OPF_WRITE) {
			if (pkt->dma_len > PRXE_MAX_MSG)
				return prxe_resp_bad_request(qp);
			if (!prxe_resp_allows(qp, IB_ACCESS_REMOTE_WRITE))
				return prxe_resp_bad_request(qp);
			prxe_mem_begin();
			err = prxe_gate(qp, pkt->rkey, true, pkt->va, pkt->dma_len, IB_ACCESS_REMOTE_WRITE, &cur);
			prxe_mem_end();
			if (err)
				return prxe_resp_no_access(qp);
			w->va = pkt->va;
			w->rkey = pkt->rkey;
			w->resid = pkt->dma_len;
		}
	}
	if (kind == PRXE_OPF_WRITE && (last ? pkt->payload_len != w->resid : pkt->payload_len >= w->resid))
		return prxe_resp_bad_request(qp);
	if (kind == PRXE_OPF_SEND || (last && pkt->flags & PRXE_OPF_IMM)) {
		err = prxe_resp_take(qp);
		if (err == -EAGAIN)
			return no_receive(qp);
		if (err)
			return prxe_resp_refuse(qp, pkt->psn, PRXE_NAK_REM_OP, IB_WC_LOC_QP_OP_ERR, -1);
	}
	if (kind == PRXE_OPF_SEND && (u64)w->done + pkt->payload_len > r->rwqe.length)
		return prxe_resp_refuse(qp, pkt->psn, PRXE_NAK_INV_REQ, IB_WC_LOC_LEN_ERR, -1);
	if (kind == PRXE_OPF_SEND && !fill_receive(qp, PRXE_RX(skb), first))
		return prxe_resp_refuse(qp, pkt->psn, PRXE_NAK_REM_OP, IB_WC_LOC_QP_OP_ERR, -1);

	err = land(qp, skb, pkt);
	if (err > 0)
		return PRXE_EXEC_WAIT;
	if (err < 0) {
		if (kind == PRXE_OPF_WRITE)
			return prxe_resp_no_access(qp);
		return prxe_resp_refuse(qp, pkt->psn, PRXE_NAK_REM_OP, err == -EACCES ? IB_WC_LOC_PROT_ERR : IB_WC_LOC_QP_OP_ERR, -1);
	}
	if (pkt->flags & PRXE_OPF_INV && prxe_key_invalidate(qp, pkt->ieth, true))
		return prxe_resp_refuse(qp, pkt->psn, PRXE_NAK_REM_ACC, IB_WC_LOC_ACCESS_ERR, IB_EVENT_QP_ACCESS_ERR);

	/* Executed. */
	w->fault_error = 0;
	w->done += pkt->payload_len;
	if (kind == PRXE_OPF_WRITE) {
		w->va += pkt->payload_len;
		w->resid -= pkt->payload_len;
	}
	r->psn = prxe_psn_add(pkt->psn, 1);
	r->msg = last ? 0 : kind;
	if (last) {
		r->msn = (r->msn + 1) & PRXE_PSN_MASK;
		if (kind == PRXE_OPF_SEND || pkt->flags & PRXE_OPF_IMM)
			complete_recv(qp, pkt, w->done);
	}
	if (pkt->ackreq)
		w->ack_due = true;
	return PRXE_EXEC_DONE;
}

/* ---- UD ---- */

/*
 * GRH and payload of a datagram into the receive WQE, from where it stopped. 0: all of it; 1: wait;
 * negative: an error.
 */
static int land_ud(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkt)
{
	u32 total = sizeof(struct ib_grh) + pkt->payload_len;
	struct prxe_rwqe *rwqe = &qp->resp.rwqe;
	struct prxe_sgl sgl = { .sge = rwqe->sge, .num = rwqe->num_sge };
	struct prxe_rx *rx = PRXE_RX(skb);
	u8 grh[sizeof(struct ib_grh)];

	/*
	 * A local datagram may have been through the same receive WQE: then from the first byte
	 * again.
	 */
	if (!prxe_resp_claim(&qp->resp, &rx->fill))
		rx->done = 0;
	prxe_wire_grh(skb, grh);
	while (rx->done < total) {
		u32 done = rx->done;
		struct prxe_miss miss = {};
		ssize_t n;

		prxe_mem_begin();
		if (done < sizeof(grh))
			n = prxe_sgl_scatter(qp, sgl, done, grh + done, sizeof(grh) - done, &miss);
		else
			n = prxe_sgl_scatter_skb(qp, sgl, done, skb, pkt->payload_off + done - sizeof(grh), total - done, 0,
						 &miss);
		prxe_mem_end();
		if (n > 0)
			rx->done += n;
		if (miss.mirror)
			return prxe_resp_fault(qp, &miss, rwqe->no) ?: 1;
		if (n <= 0)
			return -EACCES;
	}
	return 0;
}

static enum prxe_exec exec_ud(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkt)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct prxe_resp *r = &qp->resp;
	struct ib_wc wc = {
		.opcode = IB_WC_RECV,
		.byte_len = sizeof(struct ib_grh) + pkt->payload_len,
		.src_qp = pkt->src_qp,
		.wc_flags = IB_WC_GRH | IB_WC_WITH_NETWORK_HDR_TYPE,
		.network_hdr_type = skb->protocol == htons(ETH_P_IPV6) ? RDMA_NETWORK_IPV6 : RDMA_NETWORK_IPV4,
	};
	int err;

	lockdep_assert_held(&r->lock);
	err = prxe_resp_take(qp);
	if (err == -EAGAIN || (!err && wc.byte_len > r->rwqe.length)) {
		prxe_count(qp->dev, dropped);
		return PRXE_EXEC_DONE;
	}
	if (!err) {
		err = land_ud(qp, skb, pkt);
		if (err > 0)
			return PRXE_EXEC_WAIT;
	}
	if (err) {
		prxe_resp_fail(qp, err == -EACCES ? IB_WC_LOC_PROT_ERR : IB_WC_LOC_QP_OP_ERR, -1);
		return PRXE_EXEC_DONE;
	}
	w->fault_error = 0;
	if (pkt->flags & PRXE_OPF_IMM) {
		wc.wc_flags |= IB_WC_WITH_IMM;
		wc.ex.imm_data = (__force __be32)pkt->imm;
	}
	if (skb_vlan_tag_present(skb))
		prxe_wc_set_vlan(&wc, skb_vlan_tag_get(skb));
	prxe_resp_complete(qp, &wc, pkt->se);
	return PRXE_EXEC_DONE;
}

/*
 * UC lost a message to a fault and will put the next one, which may be the same again, into the same receive WQE: make that present now, so
 * that it does not fault piece by piece.
 */
static void prepare_receive(struct prxe_qp *qp)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct prxe_resp *r = &qp->resp;
	struct prxe_sgl sgl = { .sge = r->rwqe.sge, .num = r->rwqe.num_sge };

	while (w->preparing && !w->faulting) {
		u32 end = min_t(u64, r->rwqe.length, PRXE_FAULT_MAX);
		struct prxe_miss miss = {};
		ssize_t n = 0;

		if (r->rwqe.valid && w->prepared < end) {
			u32 len = min_t(u32, end - w->prepared, PRXE_MEM_CHUNK);

			prxe_mem_begin();
			n = prxe_sgl_probe(qp, sgl, w->prepared, len, IB_ACCESS_LOCAL_WRITE, &miss);
			prxe_mem_end();
		}
		if (n > 0)
			w->prepared += n;
		/* No packet has this PSN: an error of this fault ends the preparation and nothing else. */
		if (miss.mirror ? prxe_resp_fault(qp, &miss, U32_MAX) : n <= 0)
			w->preparing = false;
	}
}

/* ---- in order ---- */

static enum prxe_exec exec_uc(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkt)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct prxe_resp *r = &qp->resp;

	/* A gap, or a new message before the end of the last: what was begun is dropped, its receive WQE used again. */
	if (pkt->psn != r->psn || (pkt->flags & PRXE_OPF_FIRST && r->msg)) {
		if (r->msg)
			w->drop_msg = true;
		r->msg = 0;
		r->psn = pkt->psn;
	}
	if (pkt->flags & PRXE_OPF_FIRST)
		w->drop_msg = false;
	if (w->drop_msg || (!r->msg && !(pkt->flags & PRXE_OPF_FIRST))) {
		w->drop_msg = true;
		r->psn = prxe_psn_add(pkt->psn, 1);
		return PRXE_EXEC_DONE;
	}
	if (exec_data(qp, skb, pkt) == PRXE_EXEC_WAIT)
		return PRXE_EXEC_WAIT;
	r->psn = prxe_psn_add(pkt->psn, 1);
	return PRXE_EXEC_DONE;
}

/* The packet at resp.psn (RC), or the next one. */
static enum prxe_exec exec(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkt)
{
	switch (qp->type) {
	case IB_QPT_RC:
		if (pkt->flags & (PRXE_OPF_SEND | PRXE_OPF_WRITE))
			return exec_data(qp, skb, pkt);
		if (pkt->flags & PRXE_OPF_READ)
			return prxe_read_exec(qp, skb, pkt);
		if (pkt->flags & (PRXE_OPF_ATOMIC | PRXE_OPF_ATOMIC_WRITE))
			return prxe_atomic_exec(qp, skb, pkt);
		if (pkt->flags & PRXE_OPF_FLUSH)
			return prxe_flush_exec(qp, pkt);
		return prxe_resp_bad_request(qp);
	case IB_QPT_UC:
		return exec_uc(qp, skb, pkt);
	default:
		return exec_ud(qp, skb, pkt);
	}
}

/*
 * A local sender under the same address may have been faster: then what waited is a repetition, or
 * ahead.
 */
static bool is_turn(const struct prxe_qp *qp, const struct prxe_pkt *pkt)
{
	if (qp->type != IB_QPT_RC || pkt->psn == qp->resp.psn)
		return true;
	prxe_count(qp->dev, dropped);
	return false;
}

#define OP_RD	(PRXE_OPF_READ | PRXE_OPF_ATOMIC)

/*
 * RC: count a READ or atomic that waits. A requester that has more of them under way than
 * max_dest_rd_atomic hears so (NAK invalid request) when the turn of the surplus one comes.
 */
static void count_rd(struct prxe_qp *qp, struct sk_buff *skb)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);


	w->rd_parked++;
	if (w->rd_parked + (w->reading && w->read_counts) > READ_ONCE(qp->attr.max_dest_rd_atomic))
		PRXE_RX(skb)->overuse = true;
}

/* The same packet after its wait. True: it is used up. */
static bool exec_parked(struct prxe_qp *qp, struct sk_buff *skb)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct prxe_pkt pkt;

	if (prxe_pkt_parse(&pkt, skb->data, skb_headlen(skb), skb->len))
		return true;
	if (is_turn(qp, &pkt)) {
		if (PRXE_RX(skb)->overuse)
			prxe_resp_bad_request(qp);
		else if (exec(qp, skb, &pkt) == PRXE_EXEC_WAIT)
			return false;
	}
	if (qp->type == IB_QPT_RC && pkt.flags & OP_RD)
		w->rd_parked--;
	return true;
}

/* Do what can be done now, about @budget bytes of it. True: there is more to do at once. */
static bool run(struct prxe_qp *qp, unsigned int budget)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct prxe_resp *r = &qp->resp;
	bool more = false;

	lockdep_assert_held(&r->lock);
	while (may_run(qp)) {
		struct prxe_pkt pkt;
		struct sk_buff *skb;

		if (!w->reading && skb_queue_empty(&w->dups) && (w->faulting || skb_queue_empty(&w->parked)))
			break;
		if (!budget) {
			more = true;
			break;
		}
		budget -= min(budget, 1U << qp->mtu_shift);
		if (w->reading) {
			if (!prxe_read_respond(qp))
				break;
			continue;
		}
		skb = __skb_dequeue(&w->dups);
		if (skb) {
			if (!prxe_pkt_parse(&pkt, skb->data, skb_headlen(skb), skb->len))
				prxe_dup_exec(qp, &pkt);
			consume_skb(skb);
			continue;
		}
		skb = __skb_dequeue(&w->parked);
		if (!exec_parked(qp, skb)) {
			__skb_queue_head(&w->parked, skb);
			break;
		}
		consume_skb(skb);
		/* It was refused for now (RNR), so what is behind it comes again too. */
		if (qp->type == IB_QPT_RC && w->nak_sent && !skb_queue_empty(&w->parked))
			__skb_queue_purge(&w->parked);
	}
	if (!may_run(qp))
		forget_packets(qp);
	else if (qp->type == IB_QPT_RC)
		acknowledge(qp);
	else if (w->preparing && skb_queue_empty(&w->parked))
		prepare_receive(qp);
	return more;
}

/* PSNs that a request takes. */
static u32 request_psns(const struct prxe_qp *qp, const struct prxe_pkt *pkt)
{
	return pkt->flags & PRXE_OPF_READ ? prxe_pkts(min(pkt->dma_len, PRXE_MAX_MSG), qp->mtu_shift) : 1;
}

/* RC: is it the next? Takes the skb when not. */
static bool rcv_in_order(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkt)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct prxe_resp *r = &qp->resp;
	s32 diff = prxe_psn_cmp(pkt->psn, r->psn);

	if (skb_queue_empty(&w->parked))
		w->recv_psn = r->psn;
	if (pkt->psn == w->recv_psn)
		return true;
	if (diff < 0) {
		prxe_dup_rcv(qp, skb, pkt);
		return false;
	}
	/* Parked already, or ahead. */
	if (diff > AHEAD_MAX)
		prxe_count(qp->dev, dropped);
	else if (prxe_psn_cmp(pkt->psn, w->recv_psn) > 0 && !w->nak_sent)
		w->gap = true;
	kfree_skb(skb);
	return false;
}

/*
 * A packet cannot wait: too many do, or there is no memory. On RC its sender is told, and sends it
 * again.
 */
static void no_room(struct prxe_qp *qp)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);

	if (qp->type != IB_QPT_RC)
		lost_to_wait(qp, NULL);
	else if (w->faulting && !w->reading)
		rnr_for_fault(qp, 1);
	else
		w->gap = true;
}

/* Behind what waits. Takes the skb. */
static void park(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkt)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	u32 max = qp->type == IB_QPT_RC && (w->reading || !w->faulting) ? QUEUE_PKTS : PARK_PKTS;

	/* One that is too long is refused in its turn, and need not wait for it. */
	if (skb_queue_len(&w->parked) >= max || pkt->payload_len > 1U << qp->mtu_shift) {
		kfree_skb(skb);
		skb = NULL;
	} else {
		skb = prxe_wire_hold(qp, skb);
	}
	if (!skb) {
		no_room(qp);
		return;
	}
	if (w->faulting)
		prxe_resp_timer_start(qp);
	/* Those that were given up, and come again, are counted no more. */
	if (skb_queue_empty(&w->parked))
		w->rd_parked = 0;
	if (qp->type == IB_QPT_RC && pkt->flags & OP_RD)
		count_rd(qp, skb);
	__skb_queue_tail(&w->parked, skb);
	w->recv_psn = prxe_psn_add(pkt->psn, request_psns(qp, pkt));
}

void prxe_wire_resp_rcv(struct prxe_qp *qp, struct sk_buff *skb, struct prxe_pkt *pkt)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct prxe_resp *r = &qp->resp;
	bool more = false;

	spin_lock_bh(&r->lock);
	if (!may_run(qp)) {
		kfree_skb(skb);
		goto out;
	}
	if (qp->type == IB_QPT_RC) {
		if (!rcv_in_order(qp, skb, pkt))
			goto go_on;
		w->nak_sent = false;
		w->gap = false;
	} else if (pkt->payload_len > 1U << qp->mtu_shift) {
		/* No message of UD, and no packet of UC, is longer; it came in IP fragments. */
		prxe_count(qp->dev, rcvd_malformed);
		kfree_skb(skb);
		goto go_on;
	}
	prxe_qp_established(qp);
	if (!w->reading && !w->faulting && skb_queue_empty(&w->parked) && skb_queue_empty(&w->dups) &&
	    exec(qp, skb, pkt) == PRXE_EXEC_DONE)
		consume_skb(skb);
	else
		park(qp, skb, pkt);
go_on:
	more = run(qp, PASS_BYTES);
out:
	resp_unlock(qp);
	if (more)
		prxe_qp_schedule(qp);
}

bool prxe_wire_resp_work(struct prxe_qp *qp)
{
	bool more = true;
	int i;

	for (i = 0; i < WORK_PASSES && more; i++) {
		spin_lock_bh(&qp->resp.lock);
		more = run(qp, PASS_BYTES);
		resp_unlock(qp);
		cond_resched();
	}
	return more;
}

/* ---- life ---- */

void prxe_wire_resp_init(struct prxe_qp *qp)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);

	INIT_LIST_HEAD(&prxe_wire(qp)->groups);
	__skb_queue_head_init(&w->parked);
	__skb_queue_head_init(&w->dups);
	__skb_queue_head_init(&w->out);
	prxe_hrtimer_setup(&w->park_timer, park_timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_SOFT);
}

/* The state says by now that nothing is received: what runs after the lock was held here does nothing. */
void prxe_wire_resp_reset(struct prxe_qp *qp)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct prxe_resp *r = &qp->resp;

	spin_lock_bh(&r->lock);
	forget_packets(qp);
	/* Whoever sends uses the route, and waits for nothing; a last NAK leaves before it ends. */
	while (w->sending) {
		spin_unlock_bh(&r->lock);
		usleep_range(5, 50);
		spin_lock_bh(&r->lock);
	}
	__skb_queue_purge(&w->out);
	w->fault_epoch++;
	w->faulting = false;
	w->fault_error = 0;
	w->rnr_code = 0;
	r->msg = 0;
	w->done = 0;
	w->aeth = PRXE_AETH_ACK | PRXE_AETH_UNLIMITED;
	w->drop_msg = false;
	w->preparing = false;
	w->nak_sent = false;
	w->skbs.need = false;
	prxe_route_drop(&w->route);
	kfree(w->res);
	w->res = NULL;
	spin_unlock_bh(&r->lock);
	hrtimer_cancel(&w->park_timer);
	w->park_timing = false;	/* nothing is received, so nobody starts it */
}
