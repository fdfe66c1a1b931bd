// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The wire's responder: requests that are answered by a response packet instead of an ACK (READ,
 * atomics, FLUSH), and replaying that response when the requester asks again.
 *
 * Each executed request leaves a "resource": what is needed to answer a repetition (IBTA
 * 9.7.5.1.1). A repeated READ reads the memory again. A repeated atomic or FLUSH is not executed
 * again; the resource has its result. Everything runs under resp.lock.
 *
 * Carrier, wire: uses the answers (wire_answer.c) and the wait for memory (wire_park.c).
 */
#include <linux/lockdep.h>
#include <linux/slab.h>
#include "base/packet.h"
#include "carrier/wire_make.h"
#include "carrier/wire_hold.h"
#include "carrier/wire_out.h"
#include "carrier/wire_park.h"
#include "carrier/wire_read.h"
#include "carrier/wire_state.h"
#include "mem/copy.h"
#include "mem/gate.h"
#include "transport/responder.h"

#define DUPS_MAX	PRXE_MAX_RD_ATOM
/* Bytes of a READ's source that are made present before its first response is sent. */
#define READ_READY	(256U << 10)

/* ---- resources ---- */

/*
 * The next slot to remember a request in; it replaces the oldest one. NULL if there is no memory.
 */
static struct prxe_resource *new_resource(struct prxe_qp *qp)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct prxe_resource *res;

	if (!w->res) {
		w->res_size = clamp_t(u32, qp->attr.max_dest_rd_atomic, 1, PRXE_MAX_RD_ATOM);
		w->res_head = 0;
		w->res = kcalloc(w->res_size, sizeof(*w->res), GFP_ATOMIC | __GFP_NOWARN);
		if (!w->res)
			return NULL;
	}
	res = &w->res[w->res_head];
	w->res_head = (w->res_head + 1) % w->res_size;
	return res;
}

static void fill_resource(struct prxe_resource *res, u32 type, const struct prxe_pkt *pkt,
			  u32 last_psn)
{
	res->type = type;
	res->first_psn = pkt->psn;
	res->last_psn = last_psn;
	res->va = pkt->va;
	res->rkey = pkt->rkey;
	res->length = pkt->dma_len;
}

int prxe_resource_resize(struct prxe_qp *qp, u32 n)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	u32 size = clamp_t(u32, n, 1, PRXE_MAX_RD_ATOM), keep, i;
	struct prxe_resp *r = &qp->resp;
	struct prxe_resource *fresh, *old;

	fresh = kcalloc(size, sizeof(*fresh), GFP_KERNEL_ACCOUNT);
	if (!fresh)
		return -ENOMEM;
	spin_lock_bh(&r->lock);
	old = w->res;
	keep = old ? min(size, w->res_size) : 0;
	for (i = 1; i <= keep; i++)
		fresh[keep - i] = old[(w->res_head + w->res_size - i) % w->res_size];
	w->res = fresh;
	w->res_size = size;
	w->res_head = keep % size;
	spin_unlock_bh(&r->lock);
	kfree(old);
	return 0;
}

/* ---- READ ---- */

void prxe_read_forget(struct prxe_qp *qp)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);

	lockdep_assert_held(&qp->resp.lock);
	w->reading = false;
	prxe_make_forget(&w->make);
	w->read_done = 0;
}

static void start_read(struct prxe_qp *qp, const struct prxe_pkt *pkt)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);

	prxe_read_forget(qp);
	w->reading = true;
	w->read_counts = false;
	w->read_va = pkt->va;
	w->read_rkey = pkt->rkey;
	w->read_left = pkt->dma_len;
	w->read_first = pkt->psn;
	w->read_psn = pkt->psn;
	w->read_last = prxe_psn_add(pkt->psn, prxe_pkts(pkt->dma_len, qp->mtu_shift) - 1);
}

/*
 * Refuse the request at @psn, whose memory cannot be used. A memory error (@err is -EHWPOISON) is
 * no fault of the request, so the answer is "remote operational error" (IBTA 9.7.5.2).
 */
static enum prxe_exec refuse_memory(struct prxe_qp *qp, u32 psn, int err)
{
	if (err == -EHWPOISON)
		return prxe_resp_refuse(qp, psn, PRXE_NAK_REM_OP, IB_WC_LOC_QP_OP_ERR, -1);
	return prxe_resp_refuse(qp, psn, PRXE_NAK_REM_ACC, IB_WC_LOC_ACCESS_ERR,
				IB_EVENT_QP_ACCESS_ERR);
}

/*
 * Memory is missing for the request at @psn: wait for the fault, or refuse if it has failed
 * already.
 */
static enum prxe_exec wait_or_refuse(struct prxe_qp *qp, struct prxe_miss *miss, u32 psn)
{
	return prxe_resp_fault(qp, miss, psn) ? prxe_resp_no_access(qp) : PRXE_EXEC_WAIT;
}

enum prxe_exec prxe_read_exec(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkt)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	u32 ready = min(pkt->dma_len, READ_READY);
	struct prxe_rx *rx = PRXE_RX(skb);
	struct prxe_resp *r = &qp->resp;
	struct prxe_resource *res;
	struct prxe_cursor cur;
	int err;

	lockdep_assert_held(&qp->resp.lock);
	if (r->msg || pkt->dma_len > PRXE_MAX_MSG || !qp->attr.max_dest_rd_atomic)
		return prxe_resp_bad_request(qp);
	if (!prxe_resp_allows(qp, IB_ACCESS_REMOTE_READ))
		return prxe_resp_bad_request(qp);
	prxe_mem_begin();
	err = prxe_gate(&qp->who, pkt->rkey, true, pkt->va, pkt->dma_len, IB_ACCESS_REMOTE_READ,
			&cur);
	prxe_mem_end();
	if (err)
		return prxe_resp_no_access(qp);
	/* Make the memory of the first responses present before the first of them is sent. */
	while (rx->done < ready) {
		u32 n = min_t(u32, ready - rx->done, PRXE_MEM_CHUNK);
		struct prxe_miss miss = {};
		ssize_t got;

		prxe_mem_begin();
		got = prxe_gate(&qp->who, pkt->rkey, true, pkt->va + rx->done, n,
				IB_ACCESS_REMOTE_READ, &cur);
		if (!got)
			got = prxe_copy_probe(&cur, false, n, pkt->dma_len - rx->done - n, &miss);
		prxe_mem_end();
		if (got > 0)
			rx->done += got;
		if (miss.mirror)
			return wait_or_refuse(qp, &miss, pkt->psn);
		if (got <= 0)
			return prxe_resp_no_access(qp);
	}
	res = new_resource(qp);
	if (!res) {
		prxe_resp_timer_start(qp);
		return PRXE_EXEC_WAIT;
	}
	w->fault_error = 0;
	start_read(qp, pkt);
	w->read_counts = true;
	w->single = false;
	fill_resource(res, PRXE_OPF_READ, pkt, w->read_last);
	r->psn = prxe_psn_add(w->read_last, 1);
	r->msn = (r->msn + 1) & PRXE_PSN_MASK;
	return PRXE_EXEC_DONE;
}

static u8 read_opcode(bool first, bool last)
{
	if (first)
		return last ? PRXE_READ_ONLY : PRXE_READ_FIRST;
	return last ? PRXE_READ_LAST : PRXE_READ_MIDDLE;
}

/* @num responses with @len bytes in all were queued. */
static void responded(struct prxe_wire_resp *w, u32 len, u32 num)
{
	w->read_va += len;
	w->read_left -= len;
	w->read_psn = prxe_psn_add(w->read_psn, num);
}

/*
 * Make responses of the middle of a READ, of which @pkt is the first, with one copy. Returns how
 * many, perhaps none: then the next one is made alone, and can wait for its memory, or fail.
 */
static u32 respond_run(struct prxe_qp *qp, struct prxe_pkt *pkt)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	u32 num = (w->read_last - w->read_psn) & PRXE_PSN_MASK; /* the last one has an AETH */
	struct prxe_miss miss = {};
	struct prxe_parts parts;
	struct prxe_cursor cur;
	struct prxe_cut cut;
	ssize_t n = -EACCES;
	u32 len;

	if (num < 2 || w->read_done || w->make.at || w->read_psn == w->no_run)
		return 0;
	num = min3(num, prxe_resp_run_room(qp, pkt, PRXE_ACCOUNT_RESP),
		   PRXE_MEM_CHUNK >> qp->mtu_shift);
	if (num < 2)
		return 0;
	num = prxe_make_run_begin(pkt->opcode, qp->mtu_shift, num, &parts, &cut);
	if (!num)
		return 0;
	len = num << qp->mtu_shift;
	prxe_mem_begin();
	if (prxe_resp_allows(qp, IB_ACCESS_REMOTE_READ))
		n = prxe_gate(&qp->who, w->read_rkey, true, w->read_va, len, IB_ACCESS_REMOTE_READ,
			      &cur);
	if (!n)
		n = prxe_copy_out_parts(&parts, 0, &cur, len, w->read_left - len, &miss);
	prxe_mem_end();
	prxe_miss_drop(&miss);
	num = n > 0 ? n >> qp->mtu_shift : 0;
	if (n < (ssize_t)len)
		w->no_run = prxe_psn_add(w->read_psn, num);
	if (!prxe_make_run_end(qp, &w->make, pkt, num, &cut, PRXE_ACCOUNT_RESP, false) || !num)
		return 0;
	responded(w, num << qp->mtu_shift, num);
	return num;
}

u32 prxe_read_respond(struct prxe_qp *qp)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct prxe_resp *r = &qp->resp;
	u32 len = min(w->read_left, 1U << qp->mtu_shift);
	bool first = w->read_psn == w->read_first, last = w->read_psn == w->read_last;
	struct prxe_pkt pkt = {
		.opcode = read_opcode(first, last),
		.qpn = qp->attr.dest_qp_num,
		.psn = w->read_psn,
		.syndrome = PRXE_AETH_ACK | PRXE_AETH_UNLIMITED,
		.msn = r->msn,
		.payload_len = len,
	};
	u32 num;

	lockdep_assert_held(&qp->resp.lock);
	if (prxe_wire_skb_limit(&w->skbs))
		return 0;
	num = first ? 0 : respond_run(qp, &pkt);
	if (num)
		return num;
	if (!prxe_make_begin(&w->make, pkt.opcode, len)) {
		prxe_resp_timer_start(qp);
		return 0;
	}
	while (w->read_done < len) {
		struct prxe_miss miss = {};
		struct prxe_cursor cur;
		ssize_t n;

		n = -EACCES;
		prxe_mem_begin();
		if (prxe_resp_allows(qp, IB_ACCESS_REMOTE_READ))
			n = prxe_gate(&qp->who, w->read_rkey, true, w->read_va + w->read_done,
				      len - w->read_done, IB_ACCESS_REMOTE_READ, &cur);
		if (!n)
			n = prxe_copy_out(w->make.at + w->read_done, &cur, len - w->read_done,
					  w->read_left - len, &miss);
		prxe_mem_end();
		if (n > 0)
			w->read_done += n;
		if (miss.mirror && !prxe_resp_fault(qp, &miss, w->read_psn)) {
			prxe_make_wait(&w->make, pkt.opcode, w->read_done);
			return 0;
		}
		if (n <= 0) {
			u32 psn = w->read_psn;

			prxe_read_forget(qp);
			refuse_memory(qp, psn, n);
			return 1;
		}
	}
	if (!prxe_resp_out(qp, &pkt, PRXE_ACCOUNT_RESP)) {
		prxe_resp_timer_start(qp);
		return 0;
	}
	w->read_done = 0;
	responded(w, len, 1);
	if (last)
		w->reading = false;
	return 1;
}

/* ---- atomics and FLUSH ---- */

static void answer(struct prxe_qp *qp, const struct prxe_resource *res)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);

	w->aeth = PRXE_AETH_ACK | PRXE_AETH_UNLIMITED;
	if (res->type == PRXE_OPF_ATOMIC)
		prxe_resp_send_aeth(qp, PRXE_ATOMIC_ACKNOWLEDGE, w->aeth, res->first_psn,
				    res->orig);
	else
		prxe_resp_send_aeth(qp, PRXE_READ_ONLY, w->aeth, res->first_psn, 0);
}

static enum prxe_exec executed(struct prxe_qp *qp, struct prxe_resource *res, u32 type,
			       const struct prxe_pkt *pkt, u64 orig)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct prxe_resp *r = &qp->resp;

	w->fault_error = 0;
	w->single = false;
	fill_resource(res, type, pkt, pkt->psn);
	res->orig = orig;
	r->psn = prxe_psn_add(pkt->psn, 1);
	r->msn = (r->msn + 1) & PRXE_PSN_MASK;
	/* The answer acknowledges everything before it as well. */
	w->ack_due = false;
	answer(qp, res);
	return PRXE_EXEC_DONE;
}

/*
 * An atomic is executed once, when its memory is present; a repetition is answered from the
 * resource.
 */
enum prxe_exec prxe_atomic_exec(struct prxe_qp *qp, const struct sk_buff *skb,
				const struct prxe_pkt *pkt)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	bool write = pkt->flags & PRXE_OPF_ATOMIC_WRITE;
	int access = write ? IB_ACCESS_REMOTE_WRITE : IB_ACCESS_REMOTE_ATOMIC;
	struct prxe_resp *r = &qp->resp;
	enum prxe_atomic_op op = PRXE_ATOMIC_WRITE;
	struct prxe_miss miss = {};
	struct prxe_resource *res;
	u64 swap_add = pkt->swap_add, orig;
	struct prxe_cursor cur;
	int err;

	lockdep_assert_held(&qp->resp.lock);
	if (r->msg || !qp->attr.max_dest_rd_atomic || pkt->va & 7)
		return prxe_resp_bad_request(qp);
	if (write) {
		if (pkt->payload_len != sizeof(u64) || pkt->dma_len != sizeof(u64))
			return prxe_resp_bad_request(qp);
		if (skb_copy_bits(skb, pkt->payload_off, &swap_add, sizeof(swap_add)))
			return prxe_resp_bad_request(qp);
	} else {
		op = pkt->opcode == PRXE_COMPARE_SWAP ? PRXE_ATOMIC_CMP_SWP : PRXE_ATOMIC_FETCH_ADD;
	}
	if (!prxe_resp_allows(qp, access))
		return prxe_resp_bad_request(qp);
	/*
	 * Get the slot first: an executed atomic must be remembered. The slot keeps its old content
	 * until then.
	 */
	res = new_resource(qp);
	if (!res) {
		prxe_resp_timer_start(qp);
		return PRXE_EXEC_WAIT;
	}
	prxe_mem_begin();
	err = prxe_gate(&qp->who, pkt->rkey, true, pkt->va, sizeof(u64), access, &cur);
	if (!err)
		err = prxe_copy_atomic(&cur, op, pkt->compare, swap_add, &orig, &miss);
	prxe_mem_end();
	if (err)
		w->res_head = (w->res_head ?: w->res_size) - 1;
	if (miss.mirror)
		return wait_or_refuse(qp, &miss, pkt->psn);
	if (err == -EINVAL)
		return prxe_resp_bad_request(qp);
	if (err)
		return refuse_memory(qp, qp->resp.psn, err);
	return executed(qp, res, write ? PRXE_OPF_ATOMIC_WRITE : PRXE_OPF_ATOMIC, pkt, orig);
}

enum prxe_exec prxe_flush_exec(struct prxe_qp *qp, const struct prxe_pkt *pkt)
{
	u32 level = PRXE_FETH_LEVEL(pkt->feth);
	struct prxe_resource *res;
	int access, err;

	lockdep_assert_held(&qp->resp.lock);
	access = prxe_resp_flush_access(qp, PRXE_FETH_TYPE(pkt->feth), level);
	if (qp->resp.msg || !qp->attr.max_dest_rd_atomic || !access)
		return prxe_resp_bad_request(qp);
	prxe_mem_begin();
	err = prxe_mem_flush(&qp->who, pkt->rkey, pkt->va, pkt->dma_len, access,
			     level == PRXE_FLUSH_WHOLE);
	prxe_mem_end();
	if (err)
		return prxe_resp_no_access(qp);
	res = new_resource(qp);
	if (!res) {
		prxe_resp_timer_start(qp);
		return PRXE_EXEC_WAIT;
	}
	return executed(qp, res, PRXE_OPF_FLUSH, pkt, 0);
}

/* ---- repetitions ---- */

static u32 dup_type(const struct prxe_pkt *pkt)
{
	return pkt->flags &
	       (PRXE_OPF_READ | PRXE_OPF_ATOMIC | PRXE_OPF_ATOMIC_WRITE | PRXE_OPF_FLUSH);
}

/*
 * Does @pkt repeat the request of @res? A repeated READ may ask for all of it, or start at one of
 * its packets, and end at its end or before.
 */
static bool asks_for(const struct prxe_qp *qp, const struct prxe_pkt *pkt,
		     const struct prxe_resource *res)
{
	u64 off = pkt->va - res->va;

	if (res->type != dup_type(pkt) || pkt->rkey != res->rkey)
		return false;
	/*
	 * rdma_rxe repeats an ATOMIC WRITE with another address, so do not compare the address.
	 * That is harmless: the answer is the saved one, and nothing is executed.
	 */
	if (res->type != PRXE_OPF_READ)
		return pkt->psn == res->first_psn;
	if (prxe_psn_cmp(pkt->psn, res->first_psn) < 0 || prxe_psn_cmp(pkt->psn, res->last_psn) > 0)
		return false;
	if (pkt->va < res->va || off > res->length || pkt->dma_len > res->length - off)
		return false;
	return off == (u64)((pkt->psn - res->first_psn) & PRXE_PSN_MASK) << qp->mtu_shift;
}

/*
 * The request that @pkt repeats, newest first, or NULL. A repetition that is too old to be
 * remembered, or differs from the original, gets no answer (IBTA 9.7.5.1.1) and changes nothing,
 * because anybody could send it.
 */
static struct prxe_resource *dup_resource(struct prxe_qp *qp, const struct prxe_pkt *pkt)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	u32 i;

	for (i = 1; w->res && i <= w->res_size; i++) {
		struct prxe_resource *res = &w->res[(w->res_head + w->res_size - i) % w->res_size];

		if (asks_for(qp, pkt, res))
			return res;
	}
	return NULL;
}

void prxe_dup_exec(struct prxe_qp *qp, const struct prxe_pkt *pkt)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct prxe_resource *res = dup_resource(qp, pkt);

	lockdep_assert_held(&qp->resp.lock);
	if (!res)
		return;
	w->single = true;	/* until the next new request; wire_pos.c says why */
	if (res->type == PRXE_OPF_READ)
		start_read(qp, pkt);
	else
		answer(qp, res);
}

/* The last PSN of what @pkt asks for. */
static u32 last_psn(const struct prxe_qp *qp, const struct prxe_pkt *pkt)
{
	u32 len = pkt->flags & PRXE_OPF_READ ? pkt->dma_len : 0;

	return prxe_psn_add(pkt->psn, prxe_pkts(len, qp->mtu_shift) - 1);
}

/*
 * A repetition that waits to be answered, and one that has come: does @outer ask for all that
 * @inner asks for?
 */
static bool covers(const struct prxe_qp *qp, const struct prxe_pkt *outer,
		   const struct prxe_pkt *inner)
{
	return dup_type(outer) == dup_type(inner) && prxe_psn_cmp(outer->psn, inner->psn) <= 0 &&
	       prxe_psn_cmp(last_psn(qp, outer), last_psn(qp, inner)) >= 0;
}

/* Will one that waits answer @pkt as well? */
static bool is_asked_already(struct prxe_qp *qp, const struct prxe_pkt *pkt)
{
	struct sk_buff *skb;
	struct prxe_pkt old;

	skb_queue_walk(&prxe_wire_resp(qp)->dups, skb)
		if (!prxe_rx_parse(skb, 0, skb->len, &old) && covers(qp, &old, pkt))
			return true;
	return false;
}

/* Drop those that wait and ask for nothing that @pkt does not ask for. */
static void drop_older_dups(struct prxe_qp *qp, const struct prxe_pkt *pkt)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct sk_buff *skb, *next;
	struct prxe_pkt old;

	skb_queue_walk_safe(&w->dups, skb, next) {
		if (!prxe_rx_parse(skb, 0, skb->len, &old) && !covers(qp, pkt, &old))
			continue;
		__skb_unlink(skb, &w->dups);
		kfree_skb(skb);
	}
}

/*
 * Is the READ that is being answered to be given up for this repetition? Yes, if that asks for what
 * has not been sent yet: then the requester has gone back. Else it asks only for what it has lost
 * (wire_again.c), or will ask for the rest as well.
 */
static bool replaces_read(const struct prxe_qp *qp, const struct prxe_pkt *pkt)
{
	const struct prxe_wire_resp *w = prxe_wire_resp(qp);

	return w->reading && prxe_psn_cmp(pkt->psn, w->read_psn) <= 0 &&
	       prxe_psn_cmp(last_psn(qp, pkt), w->read_psn) >= 0;
}

void prxe_dup_rcv(struct prxe_qp *qp, const struct sk_buff *skb, const struct prxe_pkt *pkt)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct prxe_resp *r = &qp->resp;
	struct sk_buff *held;

	lockdep_assert_held(&r->lock);
	prxe_count(qp->dev, duplicate_request);
	if (pkt->flags & (PRXE_OPF_SEND | PRXE_OPF_WRITE)) {
		if (pkt->ackreq)
			w->ack_due = true;
		return;
	}
	if (pkt->payload_len > sizeof(u64) || !dup_resource(qp, pkt))
		return;
	if (replaces_read(qp, pkt)) {
		/*
		 * If the reason of the repetition is that we wait for memory and have sent no
		 * response of this READ yet, tell the requester so by an RNR NAK. (Not in the
		 * middle of a READ: there some requesters accept nothing but responses.)
		 */
		bool tell = w->faulting && pkt->psn == w->read_psn && pkt->psn == w->read_first;

		prxe_read_forget(qp);
		if (tell) {
			__skb_queue_purge(&w->dups);
			prxe_resp_send_rnr(qp, pkt->psn, PRXE_RNR_FAULT_LAST);
			return;
		}
	}
	if (!w->reading && skb_queue_empty(&w->dups)) {
		prxe_dup_exec(qp, pkt);
		return;
	}
	if (is_asked_already(qp, pkt))
		return;
	held = skb_queue_len(&w->dups) < DUPS_MAX ? prxe_wire_hold(qp, skb, pkt) : NULL;
	if (!held) {
		prxe_count(qp->dev, dropped);
		return;
	}
	drop_older_dups(qp, pkt);
	__skb_queue_tail(&w->dups, held);
}
