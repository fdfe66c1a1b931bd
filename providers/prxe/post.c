// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * ibv_post_send(), ibv_post_recv(), ibv_post_srq_recv(), ibv_bind_mw(). WQEs are built in the ring
 * and published together; then the doorbell is rung once, outside of the lock.
 */
#include "wqe.h"

/* Set inline data or SGEs, whichever the flags ask for. */
static int build_data(const struct prxe_sq *sq, struct rxe_send_wqe *wqe,
		      const struct ibv_send_wr *wr)
{
	uint32_t used = 0;
	int i, ret;

	if (prxe_unlikely((uint32_t)wr->num_sge > sq->max_sge))
		return EINVAL;
	if (!(wr->send_flags & IBV_SEND_INLINE))
		return wqe_set_sges(&wqe->dma, wr->sg_list, wr->num_sge);

	if (!wqe_opcode_may_inline(wr->opcode))
		return EINVAL;
	for (i = 0; i < wr->num_sge; i++) {
		ret = wqe_add_inline(wqe, sq->max_inline, &used,
				     (const void *)(uintptr_t)wr->sg_list[i].addr,
				     wr->sg_list[i].length);
		if (ret)
			return ret;
	}
	wqe_end_inline(wqe, used);
	return 0;
}

/* Build one WQE. If this fails, it only leaves a slot that will be used again. */
static int build_send(const struct prxe_qp *qp, struct rxe_send_wqe *wqe,
		      const struct ibv_send_wr *wr)
{
	if (prxe_unlikely(wr->opcode >= 32 || !(qp->sq.opcodes & (1U << wr->opcode))))
		return EINVAL;

	wqe_start(wqe, wr->wr_id, wr->opcode, wr->send_flags);
	switch (wr->opcode) {
	case IBV_WR_SEND_WITH_IMM:
		wqe->wr.ex.imm_data = wr->imm_data;
		SWITCH_FALLTHROUGH;
	case IBV_WR_SEND:
		if (qp->vqp.qp.qp_type == IBV_QPT_UD) {
			if (prxe_unlikely(!wr->wr.ud.ah))
				return EINVAL;
			wqe_set_ud(wqe, to_prxe_ah(wr->wr.ud.ah), wr->wr.ud.remote_qpn,
				   wr->wr.ud.remote_qkey);
		}
		break;
	case IBV_WR_SEND_WITH_INV:
		wqe->wr.ex.invalidate_rkey = wr->invalidate_rkey;
		break;
	case IBV_WR_RDMA_WRITE_WITH_IMM:
		wqe->wr.ex.imm_data = wr->imm_data;
		SWITCH_FALLTHROUGH;
	case IBV_WR_RDMA_WRITE:
	case IBV_WR_RDMA_READ:
		wqe_set_rdma(wqe, wr->wr.rdma.remote_addr, wr->wr.rdma.rkey);
		break;
	case IBV_WR_ATOMIC_CMP_AND_SWP:
	case IBV_WR_ATOMIC_FETCH_AND_ADD:
		wqe_set_atomic(wqe, wr->wr.atomic.remote_addr, wr->wr.atomic.rkey,
			       wr->wr.atomic.compare_add, wr->wr.atomic.swap);
		break;
	case IBV_WR_LOCAL_INV:
		wqe->wr.ex.invalidate_rkey = wr->invalidate_rkey;
		return 0;
	case IBV_WR_BIND_MW:
		/* ibv_bind_mw() is for windows of type 1. */
		if (prxe_unlikely(!wr->bind_mw.mw || wr->bind_mw.mw->type != IBV_MW_TYPE_2 ||
				  wr->num_sge ||
				  (!wr->bind_mw.bind_info.mr && wr->bind_mw.bind_info.length)))
			return EINVAL;
		wqe_set_bind(wqe, wr->bind_mw.mw, wr->bind_mw.rkey, &wr->bind_mw.bind_info);
		return 0;
	default:	/* FLUSH and ATOMIC_WRITE have no place in struct ibv_send_wr */
		return EINVAL;
	}
	return build_data(&qp->sq, wqe, wr);
}

/*
 * Ring for a batch of the send queue. EIO means that the device is gone, EINVAL that the state of
 * the QP does not allow sending (somebody else changed it). In both cases the kernel does not look
 * at the queue. Then take the batch back, so that nothing of it is sent after the QP is reset and
 * used again.
 */
int prxe_sq_ring(struct prxe_qp *qp, struct prxe_batch *batch)
{
	int err = prxe_doorbell(qp);

	if (prxe_unlikely(err == EIO || err == EINVAL)) {
		prxe_lock(&qp->sq.lock);
		prxe_batch_withdraw(batch);
		prxe_unlock(&qp->sq.lock);
	}
	return err;
}

int prxe_post_send(struct ibv_qp *ibqp, struct ibv_send_wr *wr, struct ibv_send_wr **bad_wr)
{
	struct prxe_qp *qp = to_prxe_qp(ibqp);
	struct ibv_send_wr *first = wr;
	struct rxe_send_wqe *wqe;
	struct prxe_batch batch;
	bool queued;
	int ret = 0, err;

	if (prxe_unlikely(!qp_can_send(qp))) {
		*bad_wr = wr;
		return EINVAL;
	}

	prxe_lock(&qp->sq.lock);
	prxe_batch_start(&batch, &qp->sq.queue);
	for (; wr; wr = wr->next) {
		wqe = prxe_batch_slot(&batch);
		ret = wqe ? build_send(qp, wqe, wr) : ENOMEM;
		if (prxe_unlikely(ret)) {
			*bad_wr = wr;
			break;
		}
		prxe_batch_add(&batch);
	}
	queued = prxe_batch_publish(&batch);
	prxe_unlock(&qp->sq.lock);

	if (queued) {
		err = prxe_sq_ring(qp, &batch);
		/* The kernel took none of them, even if the list had a bad member further on. */
		if (prxe_unlikely(err)) {
			*bad_wr = first;
			ret = err;
		}
	}
	return ret;
}

static int build_recv(const struct prxe_rq *rq, struct rxe_recv_wqe *wqe,
		      const struct ibv_recv_wr *wr)
{
	if (prxe_unlikely((uint32_t)wr->num_sge > rq->max_sge))
		return EINVAL;
	wqe->wr_id = wr->wr_id;
	return wqe_set_sges(&wqe->dma, wr->sg_list, wr->num_sge);
}

static int post_recv(struct prxe_rq *rq, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad_wr)
{
	struct rxe_recv_wqe *wqe;
	struct prxe_batch batch;
	int ret = 0;

	prxe_lock(&rq->lock);
	if (prxe_unlikely(!rq->queue.ring)) { /* a QP with an SRQ, or a resize of the SRQ failed */
		prxe_unlock(&rq->lock);
		*bad_wr = wr;
		return EINVAL;
	}
	prxe_batch_start(&batch, &rq->queue);
	for (; wr; wr = wr->next) {
		wqe = prxe_batch_slot(&batch);
		ret = wqe ? build_recv(rq, wqe, wr) : ENOMEM;
		if (prxe_unlikely(ret)) {
			*bad_wr = wr;
			break;
		}
		prxe_batch_add(&batch);
	}
	prxe_batch_publish(&batch);
	prxe_unlock(&rq->lock);
	return ret;
}

int prxe_post_recv(struct ibv_qp *ibqp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad_wr)
{
	struct prxe_qp *qp = to_prxe_qp(ibqp);
	int ret;

	if (prxe_unlikely(ibqp->state == IBV_QPS_RESET)) {
		*bad_wr = wr;
		return EINVAL;
	}
	ret = post_recv(&qp->rq, wr, bad_wr);
	/*
	 * The QP is in error, and the kernel flushes what was posted. Ignore an error of the
	 * doorbell: it means that the device is gone.
	 */
	if (prxe_unlikely(prxe_queue_wants_doorbell(&qp->rq.queue)))
		prxe_doorbell(qp);
	return ret;
}

int prxe_post_srq_recv(struct ibv_srq *ibsrq, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad_wr)
{
	return post_recv(&to_prxe_srq(ibsrq)->rq, wr, bad_wr);
}

/*
 * Bind a window of type 1. The new key is valid from now on. If the bind completes in error, the
 * window has no valid key until it is bound again.
 */
int prxe_bind_mw(struct ibv_qp *ibqp, struct ibv_mw *mw, struct ibv_mw_bind *bind)
{
	struct prxe_qp *qp = to_prxe_qp(ibqp);
	uint32_t rkey = ibv_inc_rkey(mw->rkey);
	struct rxe_send_wqe *wqe;
	struct prxe_batch batch;
	int ret;

	if (!(qp->sq.opcodes & (1U << IBV_WR_BIND_MW)) || !qp_can_send(qp) ||
	    (bind->bind_info.mw_access_flags & IBV_ACCESS_ZERO_BASED))
		return EINVAL;

	prxe_lock(&qp->sq.lock);
	prxe_batch_start(&batch, &qp->sq.queue);
	wqe = prxe_batch_slot(&batch);
	if (!wqe) {
		prxe_unlock(&qp->sq.lock);
		return ENOMEM;
	}
	wqe_start(wqe, bind->wr_id, IBV_WR_BIND_MW, bind->send_flags);
	wqe_set_bind(wqe, mw, rkey, &bind->bind_info);
	prxe_batch_add(&batch);
	prxe_batch_publish(&batch);
	prxe_unlock(&qp->sq.lock);

	ret = prxe_sq_ring(qp, &batch);
	if (!ret)
		mw->rkey = rkey;
	return ret;
}
