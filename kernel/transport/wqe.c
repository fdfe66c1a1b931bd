// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Send WQEs: what each operation is, and how a WQE gets from the ring, which user space can write
 * at any time, into its shadow, which only the kernel can. Transport: uses rings, keys, MRs and
 * address handles; knows no carrier.
 */
#include "mem/mr.h"
#include "mem/mw.h"
#include "obj/ah.h"
#include "transport/wqe.h"

/* The QP types that may use an operation. */
#define RC		PRXE_WR_RC
#define CONNECTED	(PRXE_WR_RC | PRXE_WR_UC)
#define ANY		(PRXE_WR_RC | PRXE_WR_UC | PRXE_WR_UD)

static const struct {
	u8 wc;
	u16 kind;
} wr_table[] = {
	[IB_WR_RDMA_WRITE] = { IB_WC_RDMA_WRITE, CONNECTED | PRXE_WR_RDMA | PRXE_WR_INLINE },
	[IB_WR_RDMA_WRITE_WITH_IMM] = {
		IB_WC_RDMA_WRITE, CONNECTED | PRXE_WR_RDMA | PRXE_WR_IMM | PRXE_WR_INLINE
	},
	[IB_WR_SEND] = { IB_WC_SEND, ANY | PRXE_WR_SEND | PRXE_WR_INLINE },
	[IB_WR_SEND_WITH_IMM] = { IB_WC_SEND, ANY | PRXE_WR_SEND | PRXE_WR_IMM | PRXE_WR_INLINE },
	[IB_WR_SEND_WITH_INV] = { IB_WC_SEND, RC | PRXE_WR_SEND | PRXE_WR_INLINE },
	[IB_WR_RDMA_READ] = { IB_WC_RDMA_READ, RC | PRXE_WR_RDMA | PRXE_WR_READ },
	[IB_WR_ATOMIC_CMP_AND_SWP] = { IB_WC_COMP_SWAP, RC | PRXE_WR_ATOMIC },
	[IB_WR_ATOMIC_FETCH_AND_ADD] = { IB_WC_FETCH_ADD, RC | PRXE_WR_ATOMIC },
	[IB_WR_FLUSH] = { IB_WC_FLUSH, RC | PRXE_WR_FLUSH },
	[IB_WR_ATOMIC_WRITE] = { IB_WC_ATOMIC_WRITE, RC | PRXE_WR_RDMA | PRXE_WR_OPERAND },
	[IB_WR_LOCAL_INV] = { IB_WC_LOCAL_INV, CONNECTED | PRXE_WR_LOCAL },
	[IB_WR_BIND_MW] = { IB_WC_BIND_MW, CONNECTED | PRXE_WR_LOCAL },
	[IB_WR_REG_MR] = { IB_WC_REG_MR, RC | PRXE_WR_LOCAL | PRXE_WR_KERNEL },
};

u16 prxe_wr_kind(const struct prxe_qp *qp, u32 opcode)
{
	u16 type, kind;

	if (opcode >= ARRAY_SIZE(wr_table))
		return 0;
	kind = wr_table[opcode].kind;
	type = qp->type == IB_QPT_RC ? PRXE_WR_RC : qp->type == IB_QPT_UC ? PRXE_WR_UC : PRXE_WR_UD;
	if (!(kind & type) || (kind & PRXE_WR_KERNEL && qp->user))
		return 0;
	/* rxe's user ring can express these operations; the kernel's struct ib_send_wr cannot. */
	if (kind & (PRXE_WR_OPERAND | PRXE_WR_FLUSH) && !qp->user)
		return 0;
	return kind;
}

/*
 * Fill in SGEs or inline data. @w: the head of the ring's slot, already copied; @tail: the rest of
 * it, in the ring.
 */
static enum ib_wc_status fetch_data(struct prxe_qp *qp, struct prxe_wqe *wqe, u16 kind,
				    const struct rxe_send_wqe *w, const void *tail)
{
	u64 sum = 0;
	u32 i;

	if (kind & PRXE_WR_OPERAND) {
		wqe->flags &= ~IB_SEND_INLINE;
		wqe->length = sizeof(u64);
		memcpy(&wqe->compare_add, tail, sizeof(u64));
		return IB_WC_SUCCESS;
	}
	if (kind & PRXE_WR_FLUSH) {
		wqe->flags &= ~IB_SEND_INLINE;
		/*
		 * rdma_rxe reads the length here, too: librxe does not set the length field beside
		 * the address.
		 */
		wqe->flush.length = w->dma.length;
		return IB_WC_SUCCESS;
	}
	if (wqe->flags & IB_SEND_INLINE) {
		if (!(kind & PRXE_WR_INLINE) || w->dma.length > qp->cap.max_inline_data)
			return IB_WC_LOC_QP_OP_ERR;
		wqe->num_sge = 0;
		wqe->length = w->dma.length;
		memcpy(wqe->inline_data, tail, wqe->length);
		return IB_WC_SUCCESS;
	}
	if (w->dma.num_sge > qp->cap.max_send_sge)
		return IB_WC_LOC_QP_OP_ERR;
	wqe->num_sge = w->dma.num_sge;
	memcpy(wqe->sge, tail, wqe->num_sge * sizeof(*wqe->sge));
	for (i = 0; i < wqe->num_sge; i++)
		sum += wqe->sge[i].length;
	if (sum > PRXE_MAX_MSG)
		return IB_WC_LOC_LEN_ERR;
	wqe->length = sum;
	return IB_WC_SUCCESS;
}

static enum ib_wc_status fetch_ud(struct prxe_qp *qp, struct prxe_wqe *wqe,
				  const struct rxe_send_wr *wr)
{
	int err;

	wqe->ud.qpn = wr->wr.ud.remote_qpn & 0xffffff;
	wqe->ud.pkey_index = wr->wr.ud.pkey_index;
	/* IBTA 10.2.5: a Q_Key with the high bit set stands for the QP's own. */
	wqe->ud.qkey = wr->wr.ud.remote_qkey & BIT(31) ? qp->attr.qkey : wr->wr.ud.remote_qkey;
	rcu_read_lock();
	err = prxe_ah_av(qp->dev, qp->pd, wr->wr.ud.ah_num, &wqe->ud.av);
	rcu_read_unlock();
	if (err)
		return IB_WC_LOC_QP_OP_ERR;
	return wqe->length > 1U << qp->mtu_shift ? IB_WC_LOC_LEN_ERR : IB_WC_SUCCESS;
}

static enum ib_wc_status fetch_op(struct prxe_qp *qp, struct prxe_wqe *wqe, u16 kind,
				  const struct rxe_send_wr *wr)
{
	if (kind & PRXE_WR_RDMA) {
		wqe->remote_addr = wr->wr.rdma.remote_addr;
		wqe->rkey = wr->wr.rdma.rkey;
	}
	if (kind & PRXE_WR_ATOMIC) {
		wqe->remote_addr = wr->wr.atomic.remote_addr;
		wqe->rkey = wr->wr.atomic.rkey;
		wqe->compare_add = wr->wr.atomic.compare_add;
		wqe->swap = wr->wr.atomic.swap;
		if (wqe->length < sizeof(u64))
			return IB_WC_LOC_LEN_ERR;
		wqe->length = sizeof(u64);
	}
	if (kind & PRXE_WR_FLUSH) {
		wqe->remote_addr = wr->wr.flush.remote_addr;
		wqe->rkey = wr->wr.flush.rkey;
		wqe->flush.type = wr->wr.flush.type;
		wqe->flush.level = wr->wr.flush.level;
		if (!prxe_flush_known(wqe->flush.type, wqe->flush.level))
			return IB_WC_LOC_QP_OP_ERR;
	}
	/* With max_rd_atomic 0 it could never be sent. */
	if (kind & PRXE_WR_RESPONSE && !qp->attr.max_rd_atomic)
		return IB_WC_LOC_QP_OP_ERR;
	if (qp->type == IB_QPT_UD || qp->type == IB_QPT_GSI)
		return fetch_ud(qp, wqe, wr);
	if (wqe->opcode == IB_WR_BIND_MW) {
		wqe->mw.addr = wr->wr.mw.addr;
		wqe->mw.length = wr->wr.mw.length;
		wqe->mw.mr_lkey = wr->wr.mw.mr_lkey;
		wqe->mw.mw_rkey = wr->wr.mw.mw_rkey;
		wqe->mw.rkey = wr->wr.mw.rkey;
		wqe->mw.access = wr->wr.mw.access;
	} else if (wqe->opcode == IB_WR_REG_MR) {
		wqe->mr = wr->wr.reg.mr;
		wqe->key = wr->wr.reg.key;
		wqe->access = wr->wr.reg.access;
	}
	return IB_WC_SUCCESS;
}

struct prxe_wqe *prxe_req_fetch(struct prxe_qp *qp)
{
	struct prxe_queue *q = qp->req.sq;
	u32 index = qp->req.fetch;
	struct prxe_wqe *wqe;
	struct rxe_send_wqe w;
	const u8 *slot;
	u16 kind;

	prxe_req_assert_owner(qp);
	/*
	 * Keep one slot free whatever the shared producer index says. If a producer laps the ring,
	 * fetching on would overwrite shadow WQEs that are still in flight, and a full shadow would
	 * look empty.
	 */
	if (!prxe_queue_pending_from(q, index) || prxe_queue_next(q, index) == q->index)
		return NULL;
	/* Read the head of the shared slot once: from here on only the copy is looked at. */
	slot = prxe_queue_at(q, index);
	memcpy(&w, slot, sizeof(w));
	barrier();

	wqe = prxe_req_wqe(qp, index);
	wqe->wr_id = w.wr.wr_id;
	wqe->opcode = w.wr.opcode;
	wqe->flags = w.wr.send_flags;
	wqe->kind = 0;
	wqe->state = PRXE_WQE_FETCHED;
	wqe->done_atomic = 0;
	wqe->carrier = 0;	/* PRXE_CARRIER_NONE */
	wqe->drop = 0;
	wqe->done = 0;
	wqe->fill = 0;
	wqe->rwqe_no = 0;
	wqe->length = 0;
	wqe->num_sge = 0;
	wqe->imm = w.wr.ex.imm_data;
	wqe->inv_rkey = w.wr.ex.invalidate_rkey;

	kind = prxe_wr_kind(qp, wqe->opcode);
	if (!kind) {
		wqe->status = IB_WC_LOC_QP_OP_ERR;
		wqe->flags &= ~IB_SEND_INLINE;
	} else {
		wqe->kind = kind;
		wqe->status = kind & PRXE_WR_LOCAL ? IB_WC_SUCCESS :
			      fetch_data(qp, wqe, kind, &w, slot + sizeof(w));
		if (!wqe->status)
			wqe->status = fetch_op(qp, wqe, kind, &w.wr);
	}
	qp->req.fetch = prxe_queue_next(q, index);
	return wqe;
}

enum ib_wc_opcode prxe_wr_wc_opcode(u32 opcode)
{
	return opcode < ARRAY_SIZE(wr_table) ? wr_table[opcode].wc : IB_WC_SEND;
}

enum ib_wc_status prxe_req_local_op(struct prxe_qp *qp, struct prxe_wqe *wqe)
{
	switch (wqe->opcode) {
	case IB_WR_LOCAL_INV:
		return prxe_key_invalidate(&qp->who, wqe->inv_rkey, false) ? IB_WC_LOC_QP_OP_ERR :
									     IB_WC_SUCCESS;
	case IB_WR_BIND_MW:
		return prxe_mw_bind(&qp->who, &wqe->mw) ? IB_WC_MW_BIND_ERR : IB_WC_SUCCESS;
	case IB_WR_REG_MR:
		return prxe_mr_fast_reg(&qp->who, wqe->mr, wqe->key, wqe->access) ?
			       IB_WC_LOC_QP_OP_ERR : IB_WC_SUCCESS;
	default:
		return IB_WC_LOC_QP_OP_ERR;
	}
}
