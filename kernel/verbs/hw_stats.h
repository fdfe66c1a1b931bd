/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The counters of a device's port, for struct ib_device_ops. Process context; called without a lock
 * of ours.
 */
#ifndef PRXE_HW_STATS_H
#define PRXE_HW_STATS_H

#include <rdma/ib_verbs.h>

/*
 * Allocate the names of the counters and room for their values; the core frees it. NULL: no memory.
 * Sleeps.
 */
struct rdma_hw_stats *prxe_alloc_hw_port_stats(struct ib_device *ib, u32 port);
/*
 * Fill in all of @stats->value, whatever @index is. Returns the number of counters; -EINVAL: @port
 * has none. Does not sleep.
 */
int prxe_get_hw_stats(struct ib_device *ib, struct rdma_hw_stats *stats, u32 port, int index);
/*
 * Answer a performance management MAD (IBTA 16.1.3) in @out, which belongs to the core. Returns a
 * mask of IB_MAD_RESULT_*; without IB_MAD_RESULT_REPLY, the MAD is not for us. Does not sleep.
 */
int prxe_process_mad(struct ib_device *ib, int flags, u32 port, const struct ib_wc *wc,
		     const struct ib_grh *grh, const struct ib_mad *in, struct ib_mad *out,
		     size_t *out_size, u16 *out_pkey_index);

#endif
