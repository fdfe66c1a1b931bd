// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The extended polling interface: start_poll takes the lock, and end_poll releases it and gives all
 * polled CQEs back to the kernel at once. If start_poll finds no CQE, it does not keep the lock.
 */
#include <errno.h>
#include "prxe.h"

static inline struct prxe_cq *ex_cq(struct ibv_cq_ex *cq_ex)
{
	return to_prxe_cq(ibv_cq_ex_to_cq(cq_ex));
}

static inline void cq_show(struct prxe_cq *cq)
{
	cq->cqe = prxe_queue_slot(&cq->queue, cq->cur);
	cq->vcq.cq_ex.wr_id = cq->cqe->wc.wr_id;
	cq->vcq.cq_ex.status = cq->cqe->wc.status;
}

static int cq_start_poll(struct ibv_cq_ex *cq_ex, struct ibv_poll_cq_attr *attr)
{
	struct prxe_cq *cq = ex_cq(cq_ex);
	struct prxe_queue *q = &cq->queue;
	int ret = ENOENT;

	if (prxe_unlikely(attr->comp_mask))
		return EINVAL;

	prxe_lock(&cq->lock);
	if (prxe_unlikely(!q->ring)) {
		ret = EIO;
		goto none;
	}
	cq->cur = prxe_ring_own(&q->ring->consumer) & q->mask;
	cq->producer = prxe_ring_peer(&q->ring->producer) & q->mask;
	if (cq->cur == cq->producer)
		goto none;
	cq_show(cq);
	return 0;

none:
	prxe_unlock(&cq->lock);
	return ret;
}

static int cq_next_poll(struct ibv_cq_ex *cq_ex)
{
	struct prxe_cq *cq = ex_cq(cq_ex);
	struct prxe_queue *q = &cq->queue;
	uint32_t next = prxe_queue_next(q, cq->cur);

	if (next == cq->producer) {
		cq->producer = prxe_ring_peer(&q->ring->producer) & q->mask;
		if (next == cq->producer)
			return ENOENT;
	}
	cq->cur = next;
	cq_show(cq);
	return 0;
}

static void cq_end_poll(struct ibv_cq_ex *cq_ex)
{
	struct prxe_cq *cq = ex_cq(cq_ex);

	prxe_ring_publish(&cq->queue.ring->consumer, prxe_queue_next(&cq->queue, cq->cur));
	prxe_unlock(&cq->lock);
}

/* Define a reader of one member of the current CQE. */
#define CQ_READ(type, name, member)				\
static type cq_read_##name(struct ibv_cq_ex *cq_ex)		\
{								\
	return (type)ex_cq(cq_ex)->cqe->member;			\
}
CQ_READ(enum ibv_wc_opcode, opcode, wc.opcode)
CQ_READ(uint32_t, vendor_err, wc.vendor_err)
CQ_READ(uint32_t, byte_len, wc.byte_len)
CQ_READ(__be32, imm_data, wc.ex.imm_data)
CQ_READ(uint32_t, qp_num, wc.qp_num)
CQ_READ(uint32_t, src_qp, wc.src_qp)
CQ_READ(uint32_t, slid, wc.slid)
CQ_READ(uint8_t, sl, wc.sl)
CQ_READ(uint8_t, dlid_path_bits, wc.dlid_path_bits)
CQ_READ(uint64_t, timestamp, timestamp)

static unsigned int cq_read_wc_flags(struct ibv_cq_ex *cq_ex)
{
	return prxe_wc_flags(ex_cq(cq_ex)->cqe->wc.wc_flags);
}

void prxe_cq_set_ops(struct prxe_cq *cq, uint64_t wc_flags)
{
	struct ibv_cq_ex *ops = &cq->vcq.cq_ex;

	ops->start_poll = cq_start_poll;
	ops->next_poll = cq_next_poll;
	ops->end_poll = cq_end_poll;
	ops->read_opcode = cq_read_opcode;
	ops->read_vendor_err = cq_read_vendor_err;
	ops->read_wc_flags = cq_read_wc_flags;

	if (wc_flags & IBV_WC_EX_WITH_BYTE_LEN)
		ops->read_byte_len = cq_read_byte_len;
	if (wc_flags & IBV_WC_EX_WITH_IMM)
		ops->read_imm_data = cq_read_imm_data;
	if (wc_flags & IBV_WC_EX_WITH_QP_NUM)
		ops->read_qp_num = cq_read_qp_num;
	if (wc_flags & IBV_WC_EX_WITH_SRC_QP)
		ops->read_src_qp = cq_read_src_qp;
	if (wc_flags & IBV_WC_EX_WITH_SLID)
		ops->read_slid = cq_read_slid;
	if (wc_flags & IBV_WC_EX_WITH_SL)
		ops->read_sl = cq_read_sl;
	if (wc_flags & IBV_WC_EX_WITH_DLID_PATH_BITS)
		ops->read_dlid_path_bits = cq_read_dlid_path_bits;
	if (wc_flags & IBV_WC_EX_WITH_COMPLETION_TIMESTAMP)
		ops->read_completion_ts = cq_read_timestamp;
	if (wc_flags & IBV_WC_EX_WITH_COMPLETION_TIMESTAMP_WALLCLOCK)
		ops->read_completion_wallclock_ns = cq_read_timestamp;
}
