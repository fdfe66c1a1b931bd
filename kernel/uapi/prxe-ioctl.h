/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR BSD-2-Clause */
/*
 * What prxe adds to the uverbs ioctl (RDMA_VERBS_IOCTL, rdma/rdma_user_ioctl_cmds.h): methods of objects that verbs knows. Only on devices
 * whose driver id is prxe's own, that is without rxe_compat.
 */
#ifndef PRXE_IOCTL_H
#define PRXE_IOCTL_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* ib_uverbs_ioctl_hdr.driver_id: prxe's private one, not in enum rdma_driver_id on purpose (docs/design.md, "User ABI"). */
#define PRXE_DRIVER_ID	0x5052

/* Methods and attributes of a driver are numbered from here (1 << UVERBS_ID_NS_SHIFT). */
#define PRXE_ID_BASE	0x1000U

/*
 * Of UVERBS_OBJECT_MR: the counters of one MR, for whoever holds it; no privilege is needed, unlike for what rdma netlink tells of
 * other processes' objects. PRXE_ATTR_MR_HANDLE in: ibv_mr.handle. PRXE_ATTR_MR_COUNTERS out: struct prxe_mr_counters; what a
 * caller's buffer has beyond what this kernel knows is set to 0.
 */
enum { PRXE_METHOD_MR_COUNTERS = PRXE_ID_BASE };
enum { PRXE_ATTR_MR_HANDLE = PRXE_ID_BASE, PRXE_ATTR_MR_COUNTERS };

#define PRXE_COUNTERS_ODP	(1U << 0)	/* the MR is on-demand; else every counter is 0 */
#define PRXE_COUNTERS_IMPLICIT	(1U << 1)	/* it covers the whole address space */

/*
 * All in events since the MR (page_faults, page_prefetch) or the first on-demand MR of its address space (the others: MRs of one
 * address space share translations) was registered.
 */
struct prxe_mr_counters {
	__u32 flags;
	__u32 reserved;
	__aligned_u64 page_faults;			/* times that a transfer through this MR found memory missing */
	__aligned_u64 page_faults_handled;		/* of such times, in the address space: those that ended well */
	__aligned_u64 page_invalidations;		/* notifications of the VM */
	__aligned_u64 page_invalidations_handled;	/* those that took a translation away */
	__aligned_u64 page_prefetch;			/* pages asked for by ibv_advise_mr */
};

/*
 * The doorbell, an object of its own. PRXE_METHOD_DOORBELL_OPEN makes a file of the caller's context (PRXE_ATTR_DOORBELL_FD out). On
 * that, ioctl(fd, PRXE_DOORBELL_RING, number of a QP of that context) says "look at its send queue", for much less than a POST_SEND command
 * without work requests. EINVAL: there is no such QP, or it is not in a state to send. EIO: the device has gone.
 */
enum { PRXE_OBJECT_DOORBELL = PRXE_ID_BASE };
enum { PRXE_METHOD_DOORBELL_OPEN = PRXE_ID_BASE };
enum { PRXE_ATTR_DOORBELL_FD = PRXE_ID_BASE };
#define PRXE_DOORBELL_RING	_IO(0x52, 0x50)

#endif
