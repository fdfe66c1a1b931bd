/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The VLAN by which a datagram came, for its completion. */
#ifndef PRXE_VLAN_H
#define PRXE_VLAN_H

#include <linux/if_vlan.h>
#include <rdma/ib_verbs.h>

struct prxe_dev;

/*
 * The tag control word of the VLAN whose netdev has the address @gid, in the namespace of @dev,
 * with priority @prio; 0: no VLAN has it. For a message of the local carrier, which no netdev has
 * received. Inside RCU.
 */
u16 prxe_av_vlan(const struct prxe_dev *dev, const union ib_gid *gid, u32 prio);
/*
 * Put the VLAN by which a UD or GSI message came into its completion, and its priority as the SL.
 * The core looks for the source GID of an answer on that VLAN only; if the completion names no
 * VLAN, it looks on none.
 */
static inline void prxe_wc_set_vlan(struct ib_wc *wc, u16 tci)
{
	wc->wc_flags |= IB_WC_WITH_VLAN;
	wc->vlan_id = tci & VLAN_VID_MASK;
	wc->sl = tci >> VLAN_PRIO_SHIFT;
}

#endif
