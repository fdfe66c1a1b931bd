/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The user ABI as rdma-core sees it: the commands that have a part for the driver, and how values
 * of the ABI are translated to those of libibverbs. The ABI itself is in kernel/uapi.
 */
#ifndef PRXE_CMD_H
#define PRXE_CMD_H

#include <infiniband/kern-abi.h>
#include <rdma/rdma_user_rxe.h>
#include <kernel-abi/rdma_user_rxe.h>
#include "prxe-abi.h"

/* The features that this provider asks for. */
#define PRXE_FEATURES	PRXE_FEAT_CQE_TIMESTAMP

static_assert(sizeof(struct prxe_cqe) == 64, "a CQE is one cache line");
static_assert(offsetof(struct prxe_cqe, timestamp) == 48, "the timestamp's place is ABI");

/*
 * The wc_flags of a CQE are those of the kernel's enum ib_wc_flags. User space's enum ibv_wc_flags
 * has the same values for the lowest two bits only: "with invalidate" is bit 2 in the kernel and
 * bit 3 in user space, and the kernel's higher bits would mean tag matching in user space. Some
 * kernel drivers translate already, so both bits are taken for it. Each of them also has a second
 * meaning, a correct checksum, but no driver of this ABI reports that.
 */
static inline unsigned int prxe_wc_flags(unsigned int flags)
{
	return (flags & (IBV_WC_GRH | IBV_WC_WITH_IMM)) |
	       (flags & (1 << 2 | 1 << 3) ? IBV_WC_WITH_INV : 0);
}

struct prxe_get_context {
	struct ibv_get_context		ibv_cmd;
	struct prxe_alloc_ucontext_req	drv;
};

struct prxe_get_context_resp {
	struct ib_uverbs_get_context_resp ibv_resp;
	struct prxe_alloc_ucontext_resp	  drv;
};

static_assert(sizeof(struct prxe_get_context) ==
	      sizeof(struct ibv_get_context) + sizeof(struct prxe_alloc_ucontext_req),
	      "no padding before the driver's part");
static_assert(sizeof(struct prxe_get_context_resp) ==
	      sizeof(struct ib_uverbs_get_context_resp) + sizeof(struct prxe_alloc_ucontext_resp),
	      "no padding before the driver's part");

DECLARE_DRV_CMD(prxe_create_ah, IB_USER_VERBS_CMD_CREATE_AH, empty, rxe_create_ah_resp);
DECLARE_DRV_CMD(prxe_create_cq, IB_USER_VERBS_EX_CMD_CREATE_CQ, empty, rxe_create_cq_resp);
DECLARE_DRV_CMD(prxe_resize_cq, IB_USER_VERBS_CMD_RESIZE_CQ, empty, rxe_resize_cq_resp);
DECLARE_DRV_CMD(prxe_create_qp, IB_USER_VERBS_EX_CMD_CREATE_QP, empty, rxe_create_qp_resp);
DECLARE_DRV_CMD(prxe_create_srq, IB_USER_VERBS_CMD_CREATE_SRQ, empty, rxe_create_srq_resp);
DECLARE_DRV_CMD(prxe_create_srq_ex, IB_USER_VERBS_CMD_CREATE_XSRQ, empty, rxe_create_srq_resp);
DECLARE_DRV_CMD(prxe_modify_srq, IB_USER_VERBS_CMD_MODIFY_SRQ, rxe_modify_srq_cmd, empty);

#endif
