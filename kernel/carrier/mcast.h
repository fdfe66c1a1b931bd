/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Multicast groups of UD QPs. */
#ifndef PRXE_MCAST_H
#define PRXE_MCAST_H

#include <rdma/ib_verbs.h>

/*
 * The first limits the memberships of one user context. When a device has as many groups as the
 * second says, users get no further one: enough for many contexts. Kernel consumers have no limit.
 */
#define PRXE_MAX_MCAST_GROUPS	8192
#define PRXE_USER_MCAST_GROUPS	(1U << 17)
#define PRXE_MAX_MCAST_QPS	56	/* QPs in one group */

struct prxe_dev;
struct prxe_pkt;
struct prxe_qp;
struct sk_buff;

/* Make the device's table of groups. Returns 0 or -ENOMEM. Sleeps. */
int prxe_mcast_init(struct prxe_dev *dev);
/*
 * Free the table; the device has no QP any more. Works also when prxe_mcast_init() failed or was
 * not called. Sleeps.
 */
void prxe_mcast_exit(struct prxe_dev *dev);
/*
 * The verbs: @ib joins, or leaves, the group @gid. -EINVAL: no UD QP, no multicast address, or (to
 * leave) no member; -ENOMEM: too many groups or members, or no memory. Process context; may sleep.
 */
int prxe_attach_mcast(struct ib_qp *ib, union ib_gid *gid, u16 lid);
int prxe_detach_mcast(struct ib_qp *ib, union ib_gid *gid, u16 lid);
/* At destroy: @qp leaves all groups that it is still in. Process context. */
void prxe_mcast_leave_all(struct prxe_qp *qp);
/*
 * Deliver a packet to the members of @gid. Everything is checked except each member's Q_Key.
 * The caller keeps the skb. Softirq, inside RCU.
 */
void prxe_mcast_rcv(struct prxe_dev *dev, const union ib_gid *gid, struct sk_buff *skb,
		    struct prxe_pkt *pkt);

#endif
