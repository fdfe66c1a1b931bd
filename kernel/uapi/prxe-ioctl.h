/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR BSD-2-Clause */
/*
 * What prxe adds to the uverbs ioctl (RDMA_VERBS_IOCTL, rdma/rdma_user_ioctl_cmds.h): methods of
 * an object that verbs has, and an object of its own. Only devices that have prxe's own driver id,
 * that is all but those of a module loaded with rxe_compat=1, have these.
 */
#ifndef PRXE_IOCTL_H
#define PRXE_IOCTL_H

#include <linux/ioctl.h>
#include <linux/types.h>

/*
 * The driver id of a prxe device ("PR"), for ib_uverbs_ioctl_hdr.driver_id. It is private and on
 * purpose not in enum rdma_driver_id: no other provider can match the device, and prxe's always
 * does (docs/design.md, "User ABI").
 */
#define PRXE_DRIVER_ID	0x5052

/* A driver numbers its methods and attributes from here (1 << UVERBS_ID_NS_SHIFT). */
#define PRXE_ID_BASE	0x1000U

/*
 * A method of UVERBS_OBJECT_MR: the counters of one MR, for any process that has the MR. It needs
 * no privilege, while RDMA netlink, which tells of other processes' objects too, may need one.
 * PRXE_ATTR_MR_HANDLE in: ibv_mr.handle. PRXE_ATTR_MR_COUNTERS out: struct prxe_mr_counters. If
 * the caller's buffer is longer than this kernel's struct, the rest of it is set to 0.
 */
enum { PRXE_METHOD_MR_COUNTERS = PRXE_ID_BASE };
enum { PRXE_ATTR_MR_HANDLE = PRXE_ID_BASE, PRXE_ATTR_MR_COUNTERS };

#define PRXE_COUNTERS_ODP	(1U << 0)	/* the MR is on-demand; else all are 0 */
#define PRXE_COUNTERS_IMPLICIT	(1U << 1)	/* it covers the whole address space */

/*
 * page_faults and page_prefetch count for this MR, since it was registered. The others count for
 * its address space, since the first on-demand MR there was registered: the MRs of one address
 * space share translations.
 */
struct prxe_mr_counters {
	__u32 flags;
	__u32 reserved;
	__aligned_u64 page_faults;		/* times that a transfer found memory missing */
	__aligned_u64 page_faults_handled;	/* faults that ended successfully */
	__aligned_u64 page_invalidations;	/* notifications from the MM */
	__aligned_u64 page_invalidations_handled; /* those that removed a translation */
	__aligned_u64 page_prefetch;		/* pages asked for by ibv_advise_mr() */
};

/*
 * The doorbell, an object of its own. PRXE_METHOD_DOORBELL_OPEN creates a file that belongs to the
 * caller's context (PRXE_ATTR_DOORBELL_FD out). On this file, ioctl(fd, PRXE_DOORBELL_RING, n)
 * makes the kernel look at the queues of QP number n of that context. A POST_SEND command without
 * work requests does the same, but costs much more. EINVAL: the context has no such QP, or its
 * state does not allow sending. EIO: the device is gone. A kernel without doorbells refuses the
 * method.
 */
enum { PRXE_OBJECT_DOORBELL = PRXE_ID_BASE };
enum { PRXE_METHOD_DOORBELL_OPEN = PRXE_ID_BASE };
enum { PRXE_ATTR_DOORBELL_FD = PRXE_ID_BASE };
#define PRXE_DOORBELL_RING	_IO(0x52, 0x50)

#endif
