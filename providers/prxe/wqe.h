/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Writing work requests into slots of a ring: exactly what the kernel reads, each member once. A
 * slot still has the contents of an older WQE, so every function here sets all members that its
 * opcode uses.
 */
#ifndef PRXE_WQE_H
#define PRXE_WQE_H

#include <errno.h>
#include <string.h>
#include "prxe.h"

/* The flags that the kernel uses. The inline flag is set when the data are copied. */
#define WQE_SEND_FLAGS	(IBV_SEND_FENCE | IBV_SEND_SIGNALED | IBV_SEND_SOLICITED)

static_assert(sizeof(struct ibv_sge) == sizeof(struct rxe_sge) &&
		      offsetof(struct ibv_sge, length) == offsetof(struct rxe_sge, length) &&
		      offsetof(struct ibv_sge, lkey) == offsetof(struct rxe_sge, lkey),
	      "SGEs are copied as they are");
static_assert(sizeof(struct rxe_send_wqe) == 208 && offsetof(struct rxe_send_wqe, dma) == 184,
	      "the send WQE is ABI");
static_assert(sizeof(struct rxe_recv_wqe) == 40 && offsetof(struct rxe_recv_wqe, dma) == 16,
	      "the receive WQE is ABI");

static inline void wqe_set_dma(struct rxe_dma_info *dma, uint32_t length, uint32_t num_sge)
{
	dma->length = length;
	dma->resid = length;
	dma->cur_sge = 0;
	dma->num_sge = num_sge;
	dma->sge_offset = 0;
}

/* Set what every send WQE has. It has no data yet: it is complete for a transfer of zero bytes. */
static inline void wqe_start(struct rxe_send_wqe *wqe, uint64_t wr_id, uint32_t opcode,
			     uint32_t send_flags)
{
	wqe->wr.wr_id = wr_id;
	wqe->wr.reserved = 0;
	wqe->wr.opcode = opcode;
	wqe->wr.send_flags = send_flags & WQE_SEND_FLAGS;
	wqe->wr.ex.imm_data = 0;
	/*
	 * Protocol state, which rxe's ABI lets the kernel keep in the WQE: that of a fresh request.
	 */
	wqe->status = 0;
	wqe->state = 0;
	wqe->iova = 0;
	wqe->has_rd_atomic = 0;
	wqe_set_dma(&wqe->dma, 0, 0);
}

static inline void wqe_set_rdma(struct rxe_send_wqe *wqe, uint64_t remote_addr, uint32_t rkey)
{
	wqe->wr.wr.rdma.remote_addr = remote_addr;
	wqe->wr.wr.rdma.rkey = rkey;
	wqe->iova = remote_addr;
}

static inline void wqe_set_atomic(struct rxe_send_wqe *wqe, uint64_t remote_addr, uint32_t rkey,
				  uint64_t compare_add, uint64_t swap)
{
	wqe->wr.wr.atomic.remote_addr = remote_addr;
	wqe->wr.wr.atomic.compare_add = compare_add;
	wqe->wr.wr.atomic.swap = swap;
	wqe->wr.wr.atomic.rkey = rkey;
	wqe->iova = remote_addr;
}

static inline void wqe_set_ud(struct rxe_send_wqe *wqe, const struct prxe_ah *ah, uint32_t qpn,
			      uint32_t qkey)
{
	wqe->wr.wr.ud.remote_qpn = qpn;
	wqe->wr.wr.ud.remote_qkey = qkey;
	wqe->wr.wr.ud.pkey_index = 0;
	wqe->wr.wr.ud.ah_num = ah->num;
	if (!ah->num)
		wqe->wr.wr.ud.av = ah->av;
}

/* To unbind a window, bind it without MR and with length 0. */
static inline void wqe_set_bind(struct rxe_send_wqe *wqe, const struct ibv_mw *mw, uint32_t rkey,
				const struct ibv_mw_bind_info *info)
{
	wqe->wr.wr.mw.addr = info->addr;
	wqe->wr.wr.mw.length = info->length;
	wqe->wr.wr.mw.mr_lkey = info->mr ? info->mr->lkey : 0;
	wqe->wr.wr.mw.mw_rkey = mw->rkey;
	wqe->wr.wr.mw.rkey = rkey;
	wqe->wr.wr.mw.access = info->mw_access_flags;
}

/*
 * Copy the SGEs and add up their lengths. The caller has checked num against the queue's max_sge.
 * Returns 0, or EINVAL if the sum is 4 GiB or more.
 */
static inline int wqe_set_sges(struct rxe_dma_info *dma, const struct ibv_sge *sg, uint32_t num)
{
	uint64_t length = 0;
	uint32_t i;

	for (i = 0; i < num; i++) {
		memcpy(&dma->sge[i], &sg[i], sizeof(sg[i]));
		length += sg[i].length;
	}
	if (prxe_unlikely(length > UINT32_MAX))
		return EINVAL;
	wqe_set_dma(dma, length, num);
	return 0;
}

/* Append inline data at *used. Returns 0, or EINVAL if they do not fit. */
static inline int wqe_add_inline(struct rxe_send_wqe *wqe, uint32_t max_inline, uint32_t *used,
				 const void *data, size_t length)
{
	if (prxe_unlikely(length > max_inline - *used))
		return EINVAL;
	memcpy(wqe->dma.inline_data + *used, data, length);
	*used += length;
	return 0;
}

static inline void wqe_end_inline(struct rxe_send_wqe *wqe, uint32_t used)
{
	wqe->wr.send_flags |= IBV_SEND_INLINE;
	wqe_set_dma(&wqe->dma, used, 0);
}

/* Only these operations send data that may be inline in the WQE. */
static inline bool wqe_opcode_may_inline(uint32_t opcode)
{
	return (1U << opcode) &
	       (1U << IBV_WR_SEND | 1U << IBV_WR_SEND_WITH_IMM | 1U << IBV_WR_SEND_WITH_INV |
		1U << IBV_WR_RDMA_WRITE | 1U << IBV_WR_RDMA_WRITE_WITH_IMM);
}

/*
 * Refuse send work requests before RTS. The library knows the state, because the application
 * changes it through this library.
 */
static inline bool qp_can_send(const struct prxe_qp *qp)
{
	return qp->vqp.qp.state >= IBV_QPS_RTS;
}

#endif
