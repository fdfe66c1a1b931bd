/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The VLAN that a datagram came by, for its completion. */
#ifndef PRXE_VLAN_H
#define PRXE_VLAN_H

#include <linux/if_vlan.h>
#include <rdma/ib_verbs.h>

struct prxe_dev;

/*
 * The VLAN whose netdev has the address @gid of @dev's host, with priority @prio, as a tag control
 * word; 0: none. Inside RCU. For a message that no netdev has received.
 */
u16 prxe_av_vlan(const struct prxe_dev *dev, const union ib_gid *gid, u32 prio);
/*
 * Of a UD or GSI receive: the VLAN that it came by, and its priority as SL. The core looks for the
 * GID of an answer on that VLAN only, and without it on none.
 */
static inline void prxe_wc_set_vlan(struct ib_wc *wc, u16 tci)
{
	wc->wc_flags |= IB_WC_WITH_VLAN;
	wc->vlan_id = tci & VLAN_VID_MASK;
	wc->sl = tci >> VLAN_PRIO_SHIFT;
}

#endif
