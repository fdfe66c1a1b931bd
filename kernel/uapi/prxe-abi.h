/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR BSD-2-Clause */
/*
 * The user ABI of prxe: version 2 of rxe's published one (rdma/rdma_user_rxe.h), and the extensions
 * below. This header and prxe-ioctl.h are its only copy: the driver, the provider, libodp and the
 * tests include them.
 */
#ifndef PRXE_ABI_H
#define PRXE_ABI_H

#include <linux/types.h>
#include <rdma/ib_user_verbs.h>

/* What sysfs and uverbs show as abi_version. */
#define PRXE_ABI_VERSION	2

/*
 * Feature bits, negotiated in GET_CONTEXT: user space asks for those that it can use, the kernel
 * answers with those that it grants, and only granted ones are used. rxe's own provider asks for
 * nothing, and an older kernel answers nothing: both work without the extensions.
 *
 * Bit 0 is taken: older providers ask for it, and no kernel has ever granted it.
 */

/*
 * Completion timestamps: in a CQ that was created with IB_UVERBS_CQ_FLAGS_TIMESTAMP_COMPLETION, the
 * kernel fills prxe_cqe.timestamp.
 */
#define PRXE_FEAT_CQE_TIMESTAMP	(1ULL << 1)

/* The driver's part of the GET_CONTEXT command, and of its response. */
struct prxe_alloc_ucontext_req {
	__aligned_u64 want_features;
};

struct prxe_alloc_ucontext_resp {
	__aligned_u64 features;		/* granted */
	__u32 max_inline;		/* bytes of inline data that a send WQE can have at most */
	__u32 reserved;
};

/*
 * One element of a user's completion queue, a cache line: rxe's, which is struct ib_uverbs_wc, with
 * an extension in its padding.
 */
struct prxe_cqe {
	struct ib_uverbs_wc wc;
	__aligned_u64 timestamp;	/* @48: CLOCK_REALTIME, ns; PRXE_FEAT_CQE_TIMESTAMP */
	__aligned_u64 reserved;
};

/*
 * The header of a ring that user space and the kernel share: rxe's struct rxe_queue_buf, with an
 * extension in its padding. Each index is written by one side only.
 *
 * rq_doorbell is written by the kernel, in receive queues. A QP in error flushes what is posted to
 * it, but the kernel stops looking for new WQEs after a while. Then it sets this word, and while
 * the word is not 0, user space rings the doorbell after it has posted a receive WQE. There is no
 * feature bit for it: older kernels leave 0 there.
 */
struct prxe_ring {
	__u32 log2_elem_size;
	__u32 index_mask;
	__u32 pad1[30];
	__u32 producer;		/* @128 */
	__u32 pad2[31];
	__u32 consumer;		/* @256 */
	__u32 rq_doorbell;	/* @260 */
	__u32 pad3[30];
	__u8 data[];		/* @384: the elements */
};

#endif
