/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Multicast groups of UD QPs. */
#ifndef PRXE_MCAST_H
#define PRXE_MCAST_H

#include <rdma/ib_verbs.h>

/* Memberships of a user's context. A device has room for many contexts; the kernel has no limit. */
#define PRXE_MAX_MCAST_GROUPS	8192
#define PRXE_USER_MCAST_GROUPS	(1U << 17)
#define PRXE_MAX_MCAST_QPS	56	/* of a group */

struct prxe_dev;
struct prxe_pkt;
struct prxe_qp;
struct sk_buff;

int prxe_mcast_init(struct prxe_dev *dev);
/* There is no QP any more. Copes with an init that failed or was not called. Sleeps. */
void prxe_mcast_exit(struct prxe_dev *dev);
int prxe_attach_mcast(struct ib_qp *ib, union ib_gid *gid, u16 lid);
int prxe_detach_mcast(struct ib_qp *ib, union ib_gid *gid, u16 lid);
/* Destroy: the QP leaves whatever groups it is still in. Process context. */
void prxe_mcast_leave_all(struct prxe_qp *qp);
/* A packet to a group, checked but for Q_Keys; takes the skb. Softirq, inside RCU. */
void prxe_mcast_rcv(struct prxe_dev *dev, const union ib_gid *gid, struct sk_buff *skb,
		    struct prxe_pkt *pkt);

#endif
