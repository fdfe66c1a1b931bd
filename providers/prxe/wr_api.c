// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The ibv_wr_*() interface. wr_start takes the lock of the send queue; wr_complete or wr_abort
 * releases it. An operation takes a slot and writes a WQE without data; a setter adds data or an
 * address to the last WQE. After an error nothing of the batch is posted, and wr_complete returns
 * the error.
 */
#include "wqe.h"

static inline struct prxe_qp *ex_qp(struct ibv_qp_ex *qp_ex)
{
	return to_prxe_qp(&qp_ex->qp_base);
}

static void wr_start(struct ibv_qp_ex *qp_ex)
{
	struct prxe_qp *qp = ex_qp(qp_ex);

	prxe_lock(&qp->sq.lock);
	prxe_batch_start(&qp->batch, &qp->sq.queue);
	qp->wqe = NULL;
	qp->wr_err = qp_can_send(qp) ? 0 : EINVAL;
}

static int wr_complete(struct ibv_qp_ex *qp_ex)
{
	struct prxe_qp *qp = ex_qp(qp_ex);
	int ret = qp->wr_err;
	/* A copy, because another thread may use qp->batch after the unlock. */
	struct prxe_batch batch = qp->batch;
	bool queued = false;

	if (!prxe_unlikely(ret))
		queued = prxe_batch_publish(&batch);
	prxe_unlock(&qp->sq.lock);
	return queued ? prxe_sq_ring(qp, &batch) : ret;
}

static void wr_abort(struct ibv_qp_ex *qp_ex)
{
	prxe_unlock(&ex_qp(qp_ex)->sq.lock);
}

/* Begin a WQE. If there is no slot, sets the error of the batch and returns NULL. */
static struct rxe_send_wqe *wr_next(struct ibv_qp_ex *qp_ex, enum ibv_wr_opcode opcode)
{
	struct prxe_qp *qp = ex_qp(qp_ex);
	struct rxe_send_wqe *wqe;

	if (prxe_unlikely(qp->wr_err))
		return NULL;
	wqe = prxe_batch_slot(&qp->batch);
	if (prxe_unlikely(!wqe)) {
		qp->wr_err = ENOMEM;
		return NULL;
	}
	wqe_start(wqe, qp_ex->wr_id, opcode, qp_ex->wr_flags);
	prxe_batch_add(&qp->batch);
	qp->wqe = wqe;
	return wqe;
}

/* The WQE that a setter works on; NULL after an error. */
static struct rxe_send_wqe *wr_current(struct prxe_qp *qp)
{
	if (prxe_unlikely(!qp->wr_err && !qp->wqe))
		qp->wr_err = EINVAL;		/* a setter before any operation */
	return qp->wr_err ? NULL : qp->wqe;
}

static void wr_send(struct ibv_qp_ex *qp_ex)
{
	wr_next(qp_ex, IBV_WR_SEND);
}

static void wr_send_imm(struct ibv_qp_ex *qp_ex, __be32 imm_data)
{
	struct rxe_send_wqe *wqe = wr_next(qp_ex, IBV_WR_SEND_WITH_IMM);

	if (wqe)
		wqe->wr.ex.imm_data = imm_data;
}

static void wr_send_inv(struct ibv_qp_ex *qp_ex, uint32_t invalidate_rkey)
{
	struct rxe_send_wqe *wqe = wr_next(qp_ex, IBV_WR_SEND_WITH_INV);

	if (wqe)
		wqe->wr.ex.invalidate_rkey = invalidate_rkey;
}

static void wr_rdma_write(struct ibv_qp_ex *qp_ex, uint32_t rkey, uint64_t remote_addr)
{
	struct rxe_send_wqe *wqe = wr_next(qp_ex, IBV_WR_RDMA_WRITE);

	if (wqe)
		wqe_set_rdma(wqe, remote_addr, rkey);
}

static void wr_rdma_write_imm(struct ibv_qp_ex *qp_ex, uint32_t rkey, uint64_t remote_addr,
			      __be32 imm_data)
{
	struct rxe_send_wqe *wqe = wr_next(qp_ex, IBV_WR_RDMA_WRITE_WITH_IMM);

	if (wqe) {
		wqe_set_rdma(wqe, remote_addr, rkey);
		wqe->wr.ex.imm_data = imm_data;
	}
}

static void wr_rdma_read(struct ibv_qp_ex *qp_ex, uint32_t rkey, uint64_t remote_addr)
{
	struct rxe_send_wqe *wqe = wr_next(qp_ex, IBV_WR_RDMA_READ);

	if (wqe)
		wqe_set_rdma(wqe, remote_addr, rkey);
}

static void wr_atomic_cmp_swp(struct ibv_qp_ex *qp_ex, uint32_t rkey, uint64_t remote_addr,
			      uint64_t compare, uint64_t swap)
{
	struct rxe_send_wqe *wqe = wr_next(qp_ex, IBV_WR_ATOMIC_CMP_AND_SWP);

	if (wqe)
		wqe_set_atomic(wqe, remote_addr, rkey, compare, swap);
}

static void wr_atomic_fetch_add(struct ibv_qp_ex *qp_ex, uint32_t rkey, uint64_t remote_addr,
				uint64_t add)
{
	struct rxe_send_wqe *wqe = wr_next(qp_ex, IBV_WR_ATOMIC_FETCH_AND_ADD);

	if (wqe)
		wqe_set_atomic(wqe, remote_addr, rkey, add, 0);
}

/* The data are always the eight bytes at @data. */
static void wr_atomic_write(struct ibv_qp_ex *qp_ex, uint32_t rkey, uint64_t remote_addr,
			    const void *data)
{
	struct rxe_send_wqe *wqe = wr_next(qp_ex, IBV_WR_ATOMIC_WRITE);

	if (wqe) {
		wqe_set_rdma(wqe, remote_addr, rkey);
		memcpy(wqe->dma.atomic_wr, data, 8);
		wqe_set_dma(&wqe->dma, 8, 0);
	}
}

static void wr_flush(struct ibv_qp_ex *qp_ex, uint32_t rkey, uint64_t remote_addr, size_t length,
		     uint8_t type, uint8_t level)
{
	struct rxe_send_wqe *wqe = wr_next(qp_ex, IBV_WR_FLUSH);

	if (!wqe)
		return;
	if (length > UINT32_MAX) {
		ex_qp(qp_ex)->wr_err = EINVAL;
		return;
	}
	wqe->wr.wr.flush.remote_addr = remote_addr;
	wqe->wr.wr.flush.length = length;
	wqe->wr.wr.flush.rkey = rkey;
	wqe->wr.wr.flush.type = type;
	wqe->wr.wr.flush.level = level;
	wqe->iova = remote_addr;
	wqe_set_dma(&wqe->dma, length, 0);
}

static void wr_local_inv(struct ibv_qp_ex *qp_ex, uint32_t invalidate_rkey)
{
	struct rxe_send_wqe *wqe = wr_next(qp_ex, IBV_WR_LOCAL_INV);

	if (wqe)
		wqe->wr.ex.invalidate_rkey = invalidate_rkey;
}

static void wr_bind_mw(struct ibv_qp_ex *qp_ex, struct ibv_mw *mw, uint32_t rkey,
		       const struct ibv_mw_bind_info *info)
{
	struct rxe_send_wqe *wqe = wr_next(qp_ex, IBV_WR_BIND_MW);

	if (!wqe)
		return;
	/* ibv_bind_mw() is for windows of type 1. */
	if (mw->type != IBV_MW_TYPE_2 || (!info->mr && info->length)) {
		ex_qp(qp_ex)->wr_err = EINVAL;
		return;
	}
	wqe_set_bind(wqe, mw, rkey, info);
}

static void wr_set_ud_addr(struct ibv_qp_ex *qp_ex, struct ibv_ah *ah, uint32_t remote_qpn,
			   uint32_t remote_qkey)
{
	struct rxe_send_wqe *wqe = wr_current(ex_qp(qp_ex));

	if (wqe)
		wqe_set_ud(wqe, to_prxe_ah(ah), remote_qpn, remote_qkey);
}

static void wr_set_sge_list(struct ibv_qp_ex *qp_ex, size_t num_sge, const struct ibv_sge *sg_list)
{
	struct prxe_qp *qp = ex_qp(qp_ex);
	struct rxe_send_wqe *wqe = wr_current(qp);

	if (wqe)
		qp->wr_err = num_sge > qp->sq.max_sge ? EINVAL
						      : wqe_set_sges(&wqe->dma, sg_list, num_sge);
}

static void wr_set_sge(struct ibv_qp_ex *qp_ex, uint32_t lkey, uint64_t addr, uint32_t length)
{
	struct ibv_sge sge = { .addr = addr, .length = length, .lkey = lkey };

	wr_set_sge_list(qp_ex, 1, &sge);
}

static void wr_set_inline_data_list(struct ibv_qp_ex *qp_ex, size_t num_buf,
				    const struct ibv_data_buf *bufs)
{
	struct prxe_qp *qp = ex_qp(qp_ex);
	struct rxe_send_wqe *wqe = wr_current(qp);
	uint32_t used = 0;
	size_t i;

	if (!wqe)
		return;
	if (!wqe_opcode_may_inline(wqe->wr.opcode))
		qp->wr_err = EINVAL;
	for (i = 0; i < num_buf && !qp->wr_err; i++)
		qp->wr_err = wqe_add_inline(wqe, qp->sq.max_inline, &used, bufs[i].addr,
					    bufs[i].length);
	wqe_end_inline(wqe, used);
}

static void wr_set_inline_data(struct ibv_qp_ex *qp_ex, void *addr, size_t length)
{
	struct ibv_data_buf buf = { .addr = addr, .length = length };

	wr_set_inline_data_list(qp_ex, 1, &buf);
}

void prxe_qp_set_ops(struct prxe_qp *qp, uint64_t flags)
{
	struct ibv_qp_ex *ops = &qp->vqp.qp_ex;

	ops->wr_start = wr_start;
	ops->wr_complete = wr_complete;
	ops->wr_abort = wr_abort;
	ops->wr_set_ud_addr = wr_set_ud_addr;
	ops->wr_set_sge = wr_set_sge;
	ops->wr_set_sge_list = wr_set_sge_list;
	ops->wr_set_inline_data = wr_set_inline_data;
	ops->wr_set_inline_data_list = wr_set_inline_data_list;

	if (flags & IBV_QP_EX_WITH_SEND)
		ops->wr_send = wr_send;
	if (flags & IBV_QP_EX_WITH_SEND_WITH_IMM)
		ops->wr_send_imm = wr_send_imm;
	if (flags & IBV_QP_EX_WITH_SEND_WITH_INV)
		ops->wr_send_inv = wr_send_inv;
	if (flags & IBV_QP_EX_WITH_RDMA_WRITE)
		ops->wr_rdma_write = wr_rdma_write;
	if (flags & IBV_QP_EX_WITH_RDMA_WRITE_WITH_IMM)
		ops->wr_rdma_write_imm = wr_rdma_write_imm;
	if (flags & IBV_QP_EX_WITH_RDMA_READ)
		ops->wr_rdma_read = wr_rdma_read;
	if (flags & IBV_QP_EX_WITH_ATOMIC_CMP_AND_SWP)
		ops->wr_atomic_cmp_swp = wr_atomic_cmp_swp;
	if (flags & IBV_QP_EX_WITH_ATOMIC_FETCH_AND_ADD)
		ops->wr_atomic_fetch_add = wr_atomic_fetch_add;
	if (flags & IBV_QP_EX_WITH_ATOMIC_WRITE)
		ops->wr_atomic_write = wr_atomic_write;
	if (flags & IBV_QP_EX_WITH_FLUSH)
		ops->wr_flush = wr_flush;
	if (flags & IBV_QP_EX_WITH_LOCAL_INV)
		ops->wr_local_inv = wr_local_inv;
	if (flags & IBV_QP_EX_WITH_BIND_MW)
		ops->wr_bind_mw = wr_bind_mw;
}
