// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The wire's requester: WQEs become packets. Everything runs as owner of the send side.
 *
 * Carrier, wire: uses the requester's position, and wire_out.c to send.
 */
#include <linux/slab.h>
#include "base/packet.h"
#include "carrier/wire_again.h"
#include "carrier/wire_ecn.h"
#include "carrier/wire_make.h"
#include "carrier/wire_out.h"
#include "carrier/wire_pos.h"
#include "carrier/wire_send.h"
#include "carrier/wire_state.h"
#include "mem/copy.h"
#include "mem/gate.h"
#include "mem/sgl.h"
#include "transport/gather.h"
#include "transport/qp.h"

#define ACK_EVERY	32U	/* ask for an ACK after this many packets at the latest */
/*
 * Sent at a time with BH off. The batch also ends when it has half of that and the train is full:
 * so a long message is sent in full trains.
 */
#define BATCH_BYTES	(64U << 10)
#define PKT_COST	4096U	/* each packet costs at least this much of the caller's budget */
#define ALLOC_RETRY_NS	NSEC_PER_MSEC

/*
 * Called before the packet at @psn of the WQE at @index is made. Keeps the incomplete packet if it
 * is this one. It is never another packet, because code that changes the position calls
 * prxe_wire_forget_pend().
 */
static void pend_is_for(struct prxe_qp *qp, u32 index, u32 psn)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	bool same = w->pend_index == index && w->pend_psn == psn;

	if (!same && (WARN_ON_ONCE(w->make.at) || w->pend_done))
		prxe_wire_forget_pend(qp);
	w->pend_index = index;
	w->pend_psn = psn;
}

static u32 rd_limit(const struct prxe_qp *qp)
{
	return clamp_t(u32, READ_ONCE(qp->attr.max_rd_atomic), 1, PRXE_MAX_RD_ATOM);
}

enum send_result {
	SEND_OK,
	SEND_BLOCKED,	/* by window, order, fence or timer; a kick will come */
	SEND_MISS,	/* *miss is filled: park */
	SEND_FAILED,	/* wqe->status is set; it completes when its turn comes */
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

static enum send_result send_failed(struct prxe_qp *qp, struct prxe_wqe *wqe,
				    enum ib_wc_status status)
{
	prxe_wire_forget_pend(qp);
	wqe->status = status;
	return SEND_FAILED;
}

/* Copy message bytes [pos, pos + len) into the packet that is being made, from pend_done on. */
static enum send_result gather(struct prxe_qp *qp, struct prxe_wqe *wqe, u32 pos, u32 len,
			       struct prxe_miss *miss)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	struct prxe_parts one = { .at = w->make.at, .bits = PRXE_ONE_PART };

	while (w->pend_done < len) {
		u32 done = w->pend_done;
		ssize_t n;

		prxe_mem_begin();
		n = prxe_wqe_gather(qp, wqe, pos + done, &one, done, len - done, miss);
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

/*
 * Is the destination of message bytes [pos, pos + len) present and writable? Goes on from
 * pend_done.
 */
static enum send_result probe(struct prxe_qp *qp, struct prxe_wqe *wqe, u32 pos, u32 len,
			      struct prxe_miss *miss)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	struct prxe_sgl sgl = { .sge = wqe->sge, .num = wqe->num_sge };

	while (w->pend_done < len) {
		u32 done = w->pend_done;
		ssize_t n;

		prxe_mem_begin();
		n = prxe_sgl_probe(&qp->who, sgl, pos + done,
				   min_t(u32, len - done, PRXE_MEM_CHUNK), IB_ACCESS_LOCAL_WRITE,
				   miss);
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

/* A packet with @pkts PSNs was made and is about to leave: move the position on. */
static void sent(struct prxe_qp *qp, struct prxe_wqe *wqe, u32 pkts)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	if (!prxe_wire_outstanding(qp)) {
		ktime_t now = ktime_get();

		prxe_ecn_begin(qp, now);
		w->last_heard = now;
	}
	qp->req.psn = prxe_psn_add(qp->req.psn, pkts);
	if (prxe_psn_cmp(qp->req.psn, w->sent_high) > 0)
		/* before it leaves: may_matter() in wire_ack.c */
		WRITE_ONCE(w->sent_high, qp->req.psn);
	w->pend_done = 0;
	if (prxe_psn_cmp(qp->req.psn, wqe->last_psn) > 0) {
		wqe->state = PRXE_WQE_SENT;
		w->send = prxe_queue_next(qp->req.sq, w->send);
	}
}

/* A train leaves. */
static void leave(struct prxe_qp *qp, struct sk_buff *skb)
{
	const struct prxe_tx *tx = PRXE_TX(skb);

	prxe_wire_again_train(qp, prxe_psn_add(tx->next_psn, -tx->pkts), tx->pkts);
	prxe_wire_xmit(qp, &qp->av, skb, &prxe_wire_req(qp)->route);
}

/*
 * Send the train that was held back. A train is held until a packet comes that does not fit it, or
 * the batch ends. At the end of the batch its last packet is known to be the last one for now: then
 * it asks for the ACK (@ask) that the packets before it did not ask for. (Not if it is a READ or
 * atomic: its response acknowledges everything before it.) No train is held when BH are on.
 */
static void flush_held(struct prxe_qp *qp, bool ask)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	struct sk_buff *skb = prxe_make_take(&w->make);

	if (!skb)
		return;
	if (ask && qp->type == IB_QPT_RC && PRXE_TX(skb)->ask) {
		PRXE_TX(skb)->last[8] |= 0x80;	/* AckReq */
		w->unasked = 0;
	}
	leave(qp, skb);
}

static u32 train_max(const struct prxe_wire_req *w)
{
	return w->single ? 1 : READ_ONCE(prxe_train_pkts);
}

/*
 * What follows does not fit the train that was held (@old, taken from the maker), so that leaves
 * now. But if there was no memory to begin the next one (!@ok), it is kept: the last packet of the
 * batch has to ask for the ACK.
 */
static void replace_held(struct prxe_qp *qp, struct sk_buff *old, bool ok)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	if (!old)
		return;
	if (ok)
		leave(qp, old);
	else
		w->make.train = old;
}

/* The payload of the next packet is complete: put it into the train. False: no memory. */
static bool hold(struct prxe_qp *qp, struct prxe_pkt *pkt, bool ask)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	struct sk_buff *old = NULL;
	bool ok;

	if (!prxe_make_fits(w->make.train, pkt, PRXE_ACCOUNT_REQ, train_max(w)))
		old = prxe_make_take(&w->make);
	ok = prxe_make_add(qp, &w->make, pkt, PRXE_ACCOUNT_REQ, ask);
	replace_held(qp, old, ok);
	if (ok && w->single)
		w->single--;
	return ok;
}

/*
 * How many packets, from the next one on, are full and have nothing but a BTH, and may be made
 * together? 0: make the next one alone. *fits: the train that is held takes them.
 */
static u32 run_length(struct prxe_qp *qp, const struct prxe_wqe *wqe, const struct prxe_pkt *pkt,
		      bool *fits)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	const struct prxe_park *park = &qp->req.park[PRXE_PARK_SEND];
	u32 n = (wqe->last_psn - pkt->psn) & PRXE_PSN_MASK;	/* the last one is not */
	s32 to_park = prxe_psn_cmp(park->psn, pkt->psn);
	u32 room;

	if (pkt->psn == wqe->first_psn || pkt->psn == w->no_run || w->pend_done || w->make.at ||
	    wqe->flags & IB_SEND_INLINE)
		return 0;
	if (qp->type == IB_QPT_RC) {
		/* The one that asks for an ACK is made alone. */
		n = min(n, ACK_EVERY - 1 - w->unasked);
		n = min(n, prxe_wire_again_left(qp) - 1);
		n = min(n, prxe_ecn_window(qp) - ((pkt->psn - w->una) & PRXE_PSN_MASK));
	}
	/* Do not step over a packet that waits for its memory. */
	if (park->parked && park->index == w->send && to_park > 0)
		n = min_t(u32, n, to_park);
	if (n < 2)
		return 0;
	room = prxe_make_run_room(w->make.train, pkt, PRXE_ACCOUNT_REQ, train_max(w));
	*fits = room >= 2;
	if (!*fits)
		room = prxe_make_run_room(NULL, pkt, PRXE_ACCOUNT_REQ, train_max(w));
	n = min(n, room);
	return n < 2 ? 0 : n;
}

/*
 * Make packets, of which @pkt is the first, with one copy. Returns how many, perhaps none: there is
 * no memory, or a page is missing. Then the packet is made alone, and can wait for it.
 */
static u32 send_run(struct prxe_qp *qp, struct prxe_wqe *wqe, struct prxe_pkt *pkt)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	u32 pos = ((pkt->psn - wqe->first_psn) & PRXE_PSN_MASK) << qp->mtu_shift;
	struct sk_buff *old = NULL;
	struct prxe_miss miss = {};
	struct prxe_parts parts;
	struct prxe_cut cut;
	bool fits, ok, missed;
	ssize_t n;
	u32 num;

	num = run_length(qp, wqe, pkt, &fits);
	if (num)
		num = prxe_make_run_begin(pkt->opcode, qp->mtu_shift, num, &parts, &cut);
	if (!num)
		return 0;
	prxe_mem_begin();
	n = prxe_wqe_gather(qp, wqe, pos, &parts, 0, num << qp->mtu_shift, &miss);
	prxe_mem_end();
	missed = n < (ssize_t)num << qp->mtu_shift;
	prxe_miss_drop(&miss);
	num = n > 0 ? n >> qp->mtu_shift : 0;
	if (missed)
		w->no_run = prxe_psn_add(pkt->psn, num);
	if (num && !fits)
		old = prxe_make_take(&w->make);
	ok = prxe_make_run_end(qp, &w->make, pkt, num, &cut, PRXE_ACCOUNT_REQ, true);
	replace_held(qp, old, ok);
	if (!num || !ok)
		return 0;
	w->unasked += num;
	sent(qp, wqe, num);
	return num;
}

static enum send_result send_data(struct prxe_qp *qp, struct prxe_wqe *wqe, struct prxe_miss *miss,
				  u32 *bytes)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	u32 pos = ((qp->req.psn - wqe->first_psn) & PRXE_PSN_MASK) << qp->mtu_shift;
	u32 len = min(wqe->length - pos, 1U << qp->mtu_shift);
	bool first = qp->req.psn == wqe->first_psn;
	bool last = qp->req.psn == wqe->last_psn;
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
	enum send_result r;
	u32 run;

	pend_is_for(qp, w->send, qp->req.psn);
	run = send_run(qp, wqe, &pkt);
	if (run) {
		*bytes = max(run << qp->mtu_shift, run * PKT_COST / 4);
		return SEND_OK;
	}
	if (!prxe_make_begin(&w->make, pkt.opcode, len))
		return SEND_NOMEM;
	r = gather(qp, wqe, pos, len, miss);
	if (r == SEND_FAILED)
		return send_failed(qp, wqe, IB_WC_LOC_PROT_ERR);
	if (r != SEND_OK) {
		prxe_make_wait(&w->make, pkt.opcode, w->pend_done);
		return r;
	}
	pkt.ackreq = qp->type == IB_QPT_RC &&
		     (w->unasked + 1 >= ACK_EVERY || prxe_wire_again_left(qp) == 1);
	if (!hold(qp, &pkt, true))
		return SEND_NOMEM;
	w->unasked = pkt.ackreq ? 0 : w->unasked + 1;
	sent(qp, wqe, 1);
	*bytes = len;
	if (last && qp->type == IB_QPT_UC) {
		prxe_count(qp->dev, wire_messages);
		prxe_wire_progress(qp, qp->req.psn);
		prxe_wire_finish(qp, wqe, IB_WC_SUCCESS);
	} else if (last) {
		prxe_count(qp->dev, wire_messages);
	}
	return SEND_OK;
}

/* How much of a READ, from byte @pos on, the next request asks for. */
static u32 read_len(const struct prxe_qp *qp, const struct prxe_wqe *wqe, u32 pos)
{
	u64 again = (u64)prxe_wire_again_left(qp) << qp->mtu_shift;
	/*
	 * A READ request that is sent again must not go beyond the original 64 KiB boundary: the
	 * responder matches a duplicate against one remembered request and ignores one that spans
	 * two.
	 */
	u32 len = min(wqe->length - pos, PRXE_READ_BYTES - pos % PRXE_READ_BYTES);

	return min_t(u64, len, again);
}

static enum send_result send_read(struct prxe_qp *qp, struct prxe_wqe *wqe, struct prxe_miss *miss,
				  u32 *bytes)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	u32 pos = ((qp->req.psn - wqe->first_psn) & PRXE_PSN_MASK) << qp->mtu_shift;
	u32 len = read_len(qp, wqe, pos);
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

	if (prxe_wire_outstanding(qp) && ((qp->req.psn - w->una) & PRXE_PSN_MASK) + pkts >
						  prxe_ecn_window(qp))
		return SEND_BLOCKED;
	pend_is_for(qp, w->send, qp->req.psn);
	if (!w->rd_last) {
		w->rd_last = kcalloc(PRXE_MAX_RD_ATOM, sizeof(*w->rd_last),
				     GFP_ATOMIC | __GFP_NOWARN);
		if (!w->rd_last)
			return SEND_NOMEM;
	}
	if (prxe_wire_is_atomic(wqe)) {
		bool swap = wqe->opcode == IB_WR_ATOMIC_CMP_AND_SWP;

		pkt.opcode = swap ? PRXE_COMPARE_SWAP : PRXE_FETCH_ADD;
		pkt.swap_add = swap ? wqe->swap : wqe->compare_add;
		pkt.compare = swap ? wqe->compare_add : 0;
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
	prxe_make_begin(&w->make, pkt.opcode, pkt.payload_len);	/* small: needs no memory */
	if (pkt.payload_len)
		memcpy(w->make.at, &wqe->compare_add, sizeof(u64));
	if (!hold(qp, &pkt, false))
		return SEND_NOMEM;
	sent(qp, wqe, pkts);
	if (!w->again)	/* else it is there already */
		w->rd_last[w->rd_head++ % PRXE_MAX_RD_ATOM] = prxe_psn_add(qp->req.psn, -1);
	*bytes = 0;
	if (wqe->state == PRXE_WQE_SENT)
		prxe_count(qp->dev, wire_messages);
	return SEND_OK;
}

/* Does the next packet wait for its memory? (A packet before it that is sent again does not.) */
static bool send_waits(const struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	const struct prxe_park *park = &qp->req.park[PRXE_PARK_SEND];

	return park->parked && park->index == w->send && park->psn == qp->req.psn;
}

/* Send the next packet, or execute the next WQE that needs none. */
static enum send_result send_next(struct prxe_qp *qp, struct prxe_miss *miss, u32 *bytes)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	struct prxe_wqe *wqe;

	*bytes = 0;
	if (prxe_wire_again_done(qp))
		prxe_wire_again_end(qp);
	if (w->rnr_wait || send_waits(qp) ||
	    prxe_wire_skb_limit(&w->skbs))
		return SEND_BLOCKED;
	if (w->send != qp->req.fetch)
		wqe = prxe_req_wqe(qp, w->send);
	else
		wqe = NULL;
	if (!wqe || wqe->state == PRXE_WQE_FETCHED) {
		bool is_oldest = w->send == qp->req.sq->index;

		/*
		 * In SQD no new WQE starts. prxe_req_may_start() reports that the queue is drained;
		 * ask it when nothing is outstanding.
		 */
		if (READ_ONCE(qp->state) == IB_QPS_SQD && (!is_oldest || !prxe_req_may_start(qp)))
			return SEND_BLOCKED;
		if (READ_ONCE(qp->state) != IB_QPS_SQD)
			prxe_req_may_start(qp);
		if (!wqe)
			wqe = prxe_req_fetch(qp);
		if (!wqe)
			return SEND_BLOCKED;
		if (wqe->status || wqe->kind & PRXE_WR_LOCAL) {
			enum ib_wc_status status = wqe->status;

			/* These wait for their turn: until everything before them is over. */
			if (!is_oldest)
				return SEND_BLOCKED;
			if (!status)
				status = prxe_req_local_op(qp, wqe);
			w->send = prxe_queue_next(qp->req.sq, w->send);
			prxe_wire_finish(qp, wqe, status);
			return SEND_OK;
		}
		if (wqe->flags & IB_SEND_FENCE && prxe_wire_rd_count(qp))
			return SEND_BLOCKED;
		wqe->state = PRXE_WQE_STARTED;
		wqe->first_psn = qp->req.psn;
		wqe->last_psn = prxe_psn_add(qp->req.psn,
					     prxe_pkts(wqe->length, qp->mtu_shift) - 1);
	}
	if (wqe->status) {
		if (w->send == qp->req.sq->index) {
			prxe_wire_finish(qp, wqe, wqe->status);
			return SEND_OK;
		}
		return SEND_BLOCKED;
	}
	if (prxe_wire_is_rd(wqe)) {
		if (!w->again && prxe_wire_rd_count(qp) >= rd_limit(qp))
			return SEND_BLOCKED;
		return send_read(qp, wqe, miss, bytes);
	}
	if (qp->type == IB_QPT_RC &&
	    ((qp->req.psn - w->una) & PRXE_PSN_MASK) >= prxe_ecn_window(qp))
		return SEND_BLOCKED;
	return send_data(qp, wqe, miss, bytes);
}

/* Memory is missing for the next packet, of the WQE at @index: park. Consumes @miss. */
static enum prxe_step send_park(struct prxe_qp *qp, u32 index, struct prxe_miss *miss)
{
	bool go_on = prxe_req_park(qp, PRXE_PARK_SEND, index, qp->req.psn, miss, false);

	return go_on ? PRXE_STEP_MORE : PRXE_STEP_BLOCKED;
}

/* Is the batch long enough? (Not if only the last packet of a message is left.) */
static bool batch_ends(struct prxe_qp *qp, u32 total)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);
	const struct prxe_wqe *wqe;

	if (total >= BATCH_BYTES)
		return true;
	if (total < BATCH_BYTES / 2 || !prxe_make_full(&w->make))
		return false;
	if (w->send == qp->req.fetch)
		return true;
	wqe = prxe_req_wqe(qp, w->send);
	return wqe->state != PRXE_WQE_STARTED || qp->req.psn != wqe->last_psn;
}

/*
 * BH are off for a batch, so that the softirq of a receiver on this host runs once for the whole
 * batch; after that the network stack gets its turn.
 */
enum prxe_step prxe_wire_send_batch(struct prxe_qp *qp, unsigned int *budget)
{
	bool idle = !prxe_wire_outstanding(qp);
	struct prxe_wire_req *w = prxe_wire_req(qp);
	u32 high = w->sent_high, total = 0;
	struct prxe_miss miss = {};
	enum send_result r;

	prxe_req_assert_owner(qp);
	local_bh_disable();
	do {
		u32 bytes;

		r = send_next(qp, &miss, &bytes);
		total += max(bytes, PKT_COST / 4);
		if (r == SEND_OK)
			*budget -= min(*budget, max(bytes, PKT_COST));
	} while (r == SEND_OK && *budget && !batch_ends(qp, total) && !prxe_qp_send_over(qp));
	flush_held(qp, true);
	if (w->sent_high != high && !w->rtt_on) {
		w->rtt_on = true;
		w->rtt_psn = prxe_psn_add(w->sent_high, -1);
		w->rtt_at = idle ? w->last_heard : ktime_get();
	}
	prxe_wire_arm_timer(qp);
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

void prxe_wire_send_fault_failed(struct prxe_qp *qp)
{
	const struct prxe_park *park = &qp->req.park[PRXE_PARK_SEND];
	struct prxe_wqe *wqe = prxe_req_wqe(qp, park->index);
	u32 mask = qp->req.sq->mask;

	/*
	 * The WQE cannot be over, because this packet was not sent. Check it all the same: failing
	 * another WQE in its slot would be worse than ignoring the fault.
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

/* ---- UD and GSI ---- */

static enum prxe_step ud_failed(struct prxe_qp *qp, struct prxe_wqe *wqe)
{
	prxe_wire_forget_pend(qp);
	prxe_wire_finish(qp, wqe, IB_WC_LOC_PROT_ERR);
	return PRXE_STEP_DONE;
}

enum prxe_step prxe_wire_ud_send(struct prxe_qp *qp, struct prxe_wqe *wqe)
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
	struct prxe_miss miss = {};
	enum send_result r;
	bool made;
	int error;

	prxe_req_assert_owner(qp);
	if (prxe_park_faulting(&qp->req.park[PRXE_PARK_SEND], &error))
		return PRXE_STEP_BLOCKED;
	if (error)
		return ud_failed(qp, wqe);
	if (prxe_wire_skb_limit(&w->skbs))
		return PRXE_STEP_BLOCKED;
	pend_is_for(qp, qp->req.sq->index, qp->req.psn);
	wqe->state = PRXE_WQE_STARTED;
	local_bh_disable();
	made = prxe_make_begin(&w->make, pkt.opcode, wqe->length);
	local_bh_enable();
	if (!made)
		goto no_memory;
	r = gather(qp, wqe, 0, wqe->length, &miss);
	if (r == SEND_MISS) {
		prxe_make_wait(&w->make, pkt.opcode, w->pend_done);
		return send_park(qp, qp->req.sq->index, &miss);
	}
	if (r == SEND_FAILED)
		return ud_failed(qp, wqe);
	/*
	 * The cache holds the route to the last destination. If sending fails, the datagram is
	 * lost: UD promises nothing.
	 */
	local_bh_disable();
	made = prxe_make_add(qp, &w->make, &pkt, PRXE_ACCOUNT_REQ, false);
	if (made)
		prxe_wire_xmit(qp, &wqe->ud.av, prxe_make_take(&w->make), &w->route);
	local_bh_enable();
	if (!made)
		goto no_memory;
	w->pend_done = 0;
	qp->req.psn = prxe_psn_add(qp->req.psn, 1);
	prxe_count(qp->dev, wire_messages);
	wqe->done = wqe->length;
	prxe_wire_finish(qp, wqe, IB_WC_SUCCESS);
	return PRXE_STEP_DONE;

no_memory:
	prxe_req_wait(qp, ALLOC_RETRY_NS);
	return PRXE_STEP_BLOCKED;
}
