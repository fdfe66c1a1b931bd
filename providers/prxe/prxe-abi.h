/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What user space and the kernel driver prxe agree on: rxe's published user ABI, version 2 (rdma/rdma_user_rxe.h), and the
 * extensions below. An extension is used only when the kernel grants its feature bit in the response to GET_CONTEXT; a
 * kernel that answers nothing there grants none, and everything works without them.
 */
#ifndef PRXE_ABI_H
#define PRXE_ABI_H

#include <infiniband/kern-abi.h>
#include <rdma/rdma_user_rxe.h>
#include <kernel-abi/rdma_user_rxe.h>

/*
 * The driver id of a prxe device ("PR"). It is private, outside of enum rdma_driver_id, so that no other provider can match the
 * device and this one always does. A kernel driver loaded with rxe_compat=1 says RDMA_DRIVER_RXE instead, and tells user
 * space no id at all: providers then match by the device's name.
 */
#define PRXE_DRIVER_ID		0x5052

/* Both ends of the range of user ABI versions that this provider speaks. */
#define PRXE_ABI_VERSION	2

/*
 * Late receives. A QP in error flushes what is posted to it, but the kernel does not look for ever:
 * it sets a word in the padding of a receive queue's ring header, and while that is not zero, user
 * space rings the doorbell after posting a receive WQE. No feature bit: older kernels leave zero.
 */
#define PRXE_RING_RQ_DOORBELL		260	/* byte offset in struct rxe_queue_buf */

/*
 * Completion timestamps. In a CQ that was created with IB_UVERBS_CQ_FLAGS_TIMESTAMP_COMPLETION, the kernel writes the time of the
 * completion (CLOCK_REALTIME, in ns) behind the struct ib_uverbs_wc, in what is padding otherwise.
 */
#define PRXE_FEAT_CQE_TIMESTAMP		(1ULL << 1)

/*
 * The doorbell as a file of its own: object, method and attribute of the uverbs ioctl that makes it, and the command on it, whose argument is
 * a QP's number. A kernel without it refuses the method; POST_SEND does the same, more slowly.
 */
#define PRXE_OBJECT_DOORBELL		0x1000
#define PRXE_METHOD_DOORBELL_OPEN	0x1000
#define PRXE_ATTR_DOORBELL_FD		0x1000
#define PRXE_DOORBELL_RING		_IO(0x52, 0x50)

/* Bit 0 is taken: older providers ask for it, and no kernel has ever granted it. */
#define PRXE_FEATURES	PRXE_FEAT_CQE_TIMESTAMP

/* One element of a completion queue. */
struct prxe_cqe {
	struct ib_uverbs_wc	wc;
	__aligned_u64		timestamp;
	__aligned_u64		reserved;
};
static_assert(sizeof(struct prxe_cqe) == 64, "a CQE is one cache line");
static_assert(offsetof(struct prxe_cqe, timestamp) == 48, "the timestamp's place is ABI");

/*
 * Completion flags in a CQE are the kernel's (enum ib_wc_flags), which user space's (enum ibv_wc_flags) agree with in the lowest two
 * bits only: the kernel says "with invalidate" with bit 2, user space with bit 3, and what else the kernel says means tag matching to
 * user space. A kernel driver may translate already. Neither side of this device ever reports a checksum, the other user of both bits.
 */
static inline unsigned int prxe_wc_flags(unsigned int flags)
{
	return (flags & (IBV_WC_GRH | IBV_WC_WITH_IMM)) | (flags & (1 << 2 | 1 << 3) ? IBV_WC_WITH_INV : 0);
}

/* Driver's part of GET_CONTEXT: what user space can use ... */
struct prxe_alloc_ucontext_req {
	__aligned_u64		want_features;
};

/* ... and what it may use. */
struct prxe_alloc_ucontext_resp {
	__aligned_u64		features;
	__u32			max_inline;
	__u32			reserved;
};

struct prxe_get_context {
	struct ibv_get_context		ibv_cmd;
	struct prxe_alloc_ucontext_req	drv;
};

struct prxe_get_context_resp {
	struct ib_uverbs_get_context_resp ibv_resp;
	struct prxe_alloc_ucontext_resp	  drv;
};
static_assert(sizeof(struct prxe_get_context) == sizeof(struct ibv_get_context) + 8, "no padding before the driver's part");
static_assert(sizeof(struct prxe_get_context_resp) == sizeof(struct ib_uverbs_get_context_resp) + 16,
	      "no padding before the driver's part");

DECLARE_DRV_CMD(prxe_create_ah, IB_USER_VERBS_CMD_CREATE_AH, empty, rxe_create_ah_resp);
DECLARE_DRV_CMD(prxe_create_cq, IB_USER_VERBS_EX_CMD_CREATE_CQ, empty, rxe_create_cq_resp);
DECLARE_DRV_CMD(prxe_resize_cq, IB_USER_VERBS_CMD_RESIZE_CQ, empty, rxe_resize_cq_resp);
DECLARE_DRV_CMD(prxe_create_qp, IB_USER_VERBS_EX_CMD_CREATE_QP, empty, rxe_create_qp_resp);
DECLARE_DRV_CMD(prxe_create_srq, IB_USER_VERBS_CMD_CREATE_SRQ, empty, rxe_create_srq_resp);
DECLARE_DRV_CMD(prxe_create_srq_ex, IB_USER_VERBS_CMD_CREATE_XSRQ, empty, rxe_create_srq_resp);
DECLARE_DRV_CMD(prxe_modify_srq, IB_USER_VERBS_CMD_MODIFY_SRQ, rxe_modify_srq_cmd, empty);

#endif
