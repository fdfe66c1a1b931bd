// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The wire's responder: SEND, RDMA WRITE and datagrams. Everything runs under resp.lock.
 *
 * Carrier, wire: uses the answers (wire_answer.c) and the wait for memory (wire_park.c).
 */
#include <linux/lockdep.h>
#include "base/packet.h"
#include "carrier/wire_data.h"
#include "carrier/wire_hold.h"
#include "carrier/wire_park.h"
#include "carrier/wire_state.h"
#include "mem/copy.h"
#include "mem/gate.h"
#include "mem/mw.h"
#include "mem/sgl.h"
#include "obj/vlan.h"
#include "transport/responder.h"

/* Bytes of receive memory that are faulted ahead while the length of the message is unknown. */
#define SEND_AHEAD	(256U << 10)

/*
 * The key under which prxe_resp_fault() remembers a fault: for a SEND the number of the receive
 * WQE, for a WRITE the PSN of the packet that byte @done of a run is in.
 */
static u64 fault_key(const struct prxe_qp *qp, const struct prxe_pkt *pkt, u32 done)
{
	if (pkt->flags & PRXE_OPF_SEND)
		return qp->resp.rwqe.no;
	return prxe_psn_add(pkt->psn, done >> qp->mtu_shift);
}

/*
 * Write the payload of a packet, or of a run whose packets are @step bytes apart, to memory, from
 * where it stopped last time. Returns 0: all of it is there; 1: wait; negative errno: it failed.
 */
static int land(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkt, u32 step)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct prxe_rx *rx = PRXE_RX(skb);
	struct prxe_resp *r = &qp->resp;
	struct prxe_parts parts = {
		.skb = skb, .off = pkt->payload_off, .step = step, .bits = qp->mtu_shift,
	};

	while (rx->done < pkt->payload_len) {
		u32 left = pkt->payload_len - rx->done;
		struct prxe_miss miss = {};
		struct prxe_cursor cur;
		ssize_t n;

		prxe_mem_begin();
		if (pkt->flags & PRXE_OPF_WRITE) {
			n = prxe_gate(&qp->who, w->rkey, true, w->va + rx->done, left,
				      IB_ACCESS_REMOTE_WRITE, &cur);
			if (!n)
				n = prxe_copy_in_parts(&cur, &parts, rx->done, left,
						       w->resid - pkt->payload_len, &miss);
		} else {
			struct prxe_sgl sgl = { .sge = r->rwqe.sge, .num = r->rwqe.num_sge };
			u64 pos = (u64)w->done + rx->done;
			u64 ahead = 0;

			if (!(pkt->flags & PRXE_OPF_LAST))
				ahead = min_t(u64, r->rwqe.length - pos - left, SEND_AHEAD);
			n = prxe_sgl_scatter_parts(&qp->who, sgl, pos, &parts, rx->done, left,
						   ahead, &miss);
		}
		prxe_mem_end();
		if (n > 0)
			rx->done += n;
		/* A packet of the run was executed: an old error was not about the next one. */
		if (step && rx->done >> qp->mtu_shift)
			w->fault_error = 0;
		if (miss.mirror) {
			int err = prxe_resp_fault(qp, &miss, fault_key(qp, pkt, rx->done));

			return err ?: 1;
		}
		if (n <= 0)
			return n ?: -EFAULT;
	}
	return 0;
}

/*
 * This packet of a SEND is about to write into the receive WQE. A local sender may have used the
 * same WQE meanwhile. Then a first packet writes its bytes again; for a later packet this returns
 * false, because what the earlier packets wrote is lost.
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

/* There is no receive WQE for the packet at resp.psn, whose turn it is. */
static enum prxe_exec no_receive(struct prxe_qp *qp)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);

	if (qp->type == IB_QPT_RC) {
		w->ack_due = false;
		w->gap = false;
		w->nak_sent = true;
		w->rnr_sent = true;
		prxe_resp_send_rnr(qp, qp->resp.psn, qp->attr.min_rnr_timer & 31);
	} else {
		w->drop_msg = true;
		qp->resp.msg = 0;
		prxe_count(qp->dev, dropped);
	}
	return PRXE_EXEC_DONE;
}

/* The payload of the packet at resp.psn could not be written. */
static enum prxe_exec landing_failed(struct prxe_qp *qp, u32 kind, int err)
{
	if (kind == PRXE_OPF_WRITE)
		return prxe_resp_no_access(qp);
	return prxe_resp_refuse(qp, qp->resp.psn, PRXE_NAK_REM_OP,
				err == -EACCES ? IB_WC_LOC_PROT_ERR : IB_WC_LOC_QP_OP_ERR, -1);
}

/* A packet of a run, from the BTH to the ICRC. */
static u32 run_step(const struct prxe_qp *qp)
{
	return PRXE_BTH_BYTES + (1U << qp->mtu_shift) + PRXE_ICRC_BYTES;
}

bool prxe_data_follows(const struct prxe_qp *qp, const struct prxe_pkt *first,
		       const struct prxe_pkt *pkt, u32 num)
{
	u32 mtu = 1U << qp->mtu_shift;

	if (first->opcode != PRXE_SEND_MIDDLE && first->opcode != PRXE_WRITE_MIDDLE)
		return false;
	return pkt->opcode == first->opcode && pkt->psn == prxe_psn_add(first->psn, num) &&
	       first->payload_len == mtu && pkt->payload_len == mtu &&
	       pkt->payload_off == first->payload_off + num * run_step(qp);
}

enum prxe_exec prxe_data_run(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkts,
			     u32 *num)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	u32 kind = pkts->flags & (PRXE_OPF_SEND | PRXE_OPF_WRITE);
	struct prxe_rx *rx = PRXE_RX(skb);
	struct prxe_resp *r = &qp->resp;
	struct prxe_pkt run = *pkts;
	u32 n = *num, i;
	bool timing;
	int err;

	lockdep_assert_held(&r->lock);
	*num = 0;
	/* What is not as it should be, prxe_data_exec() finds when it executes the packet alone. */
	if (r->msg != kind)
		return PRXE_EXEC_DONE;
	if (kind == PRXE_OPF_WRITE) {
		n = min(n, w->resid ? (w->resid - 1) >> qp->mtu_shift : 0);
	} else {
		if (prxe_resp_take(qp) || w->fill != r->rwqe.fill || w->done > r->rwqe.length)
			return PRXE_EXEC_DONE;
		n = min_t(u64, n, (r->rwqe.length - w->done) >> qp->mtu_shift);
	}
	if (n < 2)
		return PRXE_EXEC_DONE;
	run.payload_len = n << qp->mtu_shift;
	timing = w->park_timing;
	err = land(qp, skb, &run, run_step(qp));

	n = rx->done >> qp->mtu_shift;
	rx->done &= (1U << qp->mtu_shift) - 1;
	*num = n;
	if (n) {
		u32 bytes = n << qp->mtu_shift;

		w->done += bytes;
		if (kind == PRXE_OPF_WRITE) {
			w->va += bytes;
			w->resid -= bytes;
		}
		r->psn = prxe_psn_add(r->psn, n);
		for (i = 0; i < n; i++)
			w->ack_due |= pkts[i].ackreq;
	}
	if (err > 0) {
		/* The timer that land() started waits for the packet that is next now. */
		if (!timing)
			w->park_psn = r->psn;
		return PRXE_EXEC_WAIT;
	}
	if (err < 0) {
		landing_failed(qp, kind, err);
		(*num)++;
	}
	return PRXE_EXEC_DONE;
}

enum prxe_exec prxe_data_exec(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkt)
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
	if (pkt->payload_len > mtu || (!last && pkt->payload_len != mtu) ||
	    (last && !first && !pkt->payload_len))
		return prxe_resp_bad_request(qp);

	/*
	 * Re-run on every retry of a parked packet; safe, because it depends on the packet and the
	 * state of the QP only.
	 */
	if (first) {
		w->done = 0;
		if (kind == PRXE_OPF_WRITE) {
			if (pkt->dma_len > PRXE_MAX_MSG)
				return prxe_resp_bad_request(qp);
			if (!prxe_resp_allows(qp, IB_ACCESS_REMOTE_WRITE))
				return prxe_resp_bad_request(qp);
			prxe_mem_begin();
			err = prxe_gate(&qp->who, pkt->rkey, true, pkt->va, pkt->dma_len,
					IB_ACCESS_REMOTE_WRITE, &cur);
			prxe_mem_end();
			if (err)
				return prxe_resp_no_access(qp);
			w->va = pkt->va;
			w->rkey = pkt->rkey;
			w->resid = pkt->dma_len;
		}
	}
	if (kind == PRXE_OPF_WRITE &&
	    (last ? pkt->payload_len != w->resid : pkt->payload_len >= w->resid))
		return prxe_resp_bad_request(qp);
	if (kind == PRXE_OPF_SEND || (last && pkt->flags & PRXE_OPF_IMM)) {
		err = prxe_resp_take(qp);
		if (err == -EAGAIN)
			return no_receive(qp);
		if (err)
			return prxe_resp_refuse(qp, pkt->psn, PRXE_NAK_REM_OP, IB_WC_LOC_QP_OP_ERR,
						-1);
	}
	if (kind == PRXE_OPF_SEND && (u64)w->done + pkt->payload_len > r->rwqe.length)
		return prxe_resp_refuse(qp, pkt->psn, PRXE_NAK_INV_REQ, IB_WC_LOC_LEN_ERR, -1);
	if (kind == PRXE_OPF_SEND && !fill_receive(qp, PRXE_RX(skb), first))
		return prxe_resp_refuse(qp, pkt->psn, PRXE_NAK_REM_OP, IB_WC_LOC_QP_OP_ERR, -1);

	err = land(qp, skb, pkt, 0);
	if (err > 0)
		return PRXE_EXEC_WAIT;
	if (err < 0)
		return landing_failed(qp, kind, err);
	if (pkt->flags & PRXE_OPF_INV && prxe_key_invalidate(&qp->who, pkt->ieth, true))
		return prxe_resp_refuse(qp, pkt->psn, PRXE_NAK_REM_ACC, IB_WC_LOC_ACCESS_ERR,
					IB_EVENT_QP_ACCESS_ERR);

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
 * The 40 bytes in front of a datagram: the IPv6 header, or zeroes and the IPv4 header in the last
 * 20.
 */
static void skb_grh(const struct sk_buff *skb, u8 grh[40])
{
	if (skb->protocol == htons(ETH_P_IPV6)) {
		memcpy(grh, skb_network_header(skb), 40);
		return;
	}
	memset(grh, 0, 20);
	memcpy(grh + 20, skb_network_header(skb), 20);
}

/*
 * Write GRH and payload of a datagram into the receive WQE, from where it stopped last time.
 * Returns 0: all of it is there; 1: wait; negative errno: it failed.
 */
static int land_ud(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkt)
{
	u32 total = sizeof(struct ib_grh) + pkt->payload_len;
	struct prxe_rwqe *rwqe = &qp->resp.rwqe;
	struct prxe_sgl sgl = { .sge = rwqe->sge, .num = rwqe->num_sge };
	struct prxe_rx *rx = PRXE_RX(skb);
	u8 grh[sizeof(struct ib_grh)];
	struct prxe_parts payload = {
		.skb = skb, .off = pkt->payload_off, .bits = PRXE_ONE_PART,
	};

	/*
	 * If a local datagram was written into the same receive WQE meanwhile, start at the first
	 * byte again.
	 */
	if (!prxe_resp_claim(&qp->resp, &rx->fill))
		rx->done = 0;
	skb_grh(skb, grh);
	while (rx->done < total) {
		u32 done = rx->done;
		struct prxe_miss miss = {};
		ssize_t n;

		prxe_mem_begin();
		if (done < sizeof(grh))
			n = prxe_sgl_scatter(&qp->who, sgl, done, grh + done, sizeof(grh) - done,
					     &miss);
		else
			n = prxe_sgl_scatter_parts(&qp->who, sgl, done, &payload,
						   done - sizeof(grh), total - done, 0, &miss);
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

enum prxe_exec prxe_ud_exec(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkt)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct prxe_resp *r = &qp->resp;
	struct ib_wc wc = {
		.opcode = IB_WC_RECV,
		.byte_len = sizeof(struct ib_grh) + pkt->payload_len,
		.src_qp = pkt->src_qp,
		.wc_flags = IB_WC_GRH | IB_WC_WITH_NETWORK_HDR_TYPE,
		.network_hdr_type = skb->protocol == htons(ETH_P_IPV6) ? RDMA_NETWORK_IPV6 :
									 RDMA_NETWORK_IPV4,
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

void prxe_data_prepare(struct prxe_qp *qp)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct prxe_resp *r = &qp->resp;
	struct prxe_sgl sgl = { .sge = r->rwqe.sge, .num = r->rwqe.num_sge };

	lockdep_assert_held(&qp->resp.lock);
	while (w->preparing && !w->faulting) {
		u32 end = min_t(u64, r->rwqe.length, PRXE_FAULT_MAX);
		struct prxe_miss miss = {};
		ssize_t n = 0;

		if (r->rwqe.valid && w->prepared < end) {
			u32 len = min_t(u32, end - w->prepared, PRXE_MEM_CHUNK);

			prxe_mem_begin();
			n = prxe_sgl_probe(&qp->who, sgl, w->prepared, len, IB_ACCESS_LOCAL_WRITE,
					   &miss);
			prxe_mem_end();
		}
		if (n > 0)
			w->prepared += n;
		/* U32_MAX is no packet's PSN: if this fault fails, only the preparation ends. */
		if (miss.mirror ? prxe_resp_fault(qp, &miss, U32_MAX) : n <= 0)
			w->preparing = false;
	}
}
