// SPDX-License-Identifier: BSD-2-Clause
/*
 * The counters of an MR by prxe's own method. It works for any process that has the MR, needs no
 * privilege, and need not search a list.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <rdma/ib_user_ioctl_cmds.h>
#include <rdma/rdma_user_ioctl_cmds.h>
#include <sys/ioctl.h>
#include "../kernel/uapi/prxe-ioctl.h"
#include "internal.h"

bool driver_mr_stats(struct odp_mr *mr, struct odp_stats *stats)
{
	struct prxe_mr_counters c = { 0 };
	struct {
		struct ib_uverbs_ioctl_hdr hdr;
		struct ib_uverbs_attr attr[2];
	} cmd = {
		.hdr = { .length = sizeof(cmd),
			 .object_id = UVERBS_OBJECT_MR,
			 .method_id = PRXE_METHOD_MR_COUNTERS,
			 .num_attrs = 2,
			 .driver_id = PRXE_DRIVER_ID },
		.attr = { { .attr_id = PRXE_ATTR_MR_HANDLE,
			    .flags = UVERBS_ATTR_F_MANDATORY,
			    .data = mr->mr->handle },
			  { .attr_id = PRXE_ATTR_MR_COUNTERS,
			    .flags = UVERBS_ATTR_F_MANDATORY,
			    .len = sizeof(c),
			    .data = (uintptr_t)&c } },
	};

	/*
	 * The ioctl fails with EINVAL if another driver refuses the driver id, and with
	 * EPROTONOSUPPORT if an older prxe does not have the method.
	 */
	if (ioctl(mr->mr->context->cmd_fd, RDMA_VERBS_IOCTL, &cmd) ||
	    !(c.flags & PRXE_COUNTERS_ODP))
		return false;
	stats_put(stats, "page_faults", c.page_faults);
	stats_put(stats, "page_faults_handled", c.page_faults_handled);
	stats_put(stats, "page_invalidations", c.page_invalidations);
	stats_put(stats, "page_invalidations_handled", c.page_invalidations_handled);
	stats_put(stats, "page_prefetch", c.page_prefetch);
	return true;
}
