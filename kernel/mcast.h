/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Multicast groups of UD QPs. */
#ifndef PRXE_MCAST_H
#define PRXE_MCAST_H

#include <rdma/ib_verbs.h>

#define PRXE_MAX_MCAST_GROUPS	8192	/* of a device */
#define PRXE_MAX_MCAST_QPS	56	/* of a group */

struct prxe_dev;
struct prxe_pkt;
struct prxe_qp;
struct sk_buff;

int prxe_attach_mcast(struct ib_qp *ib, union ib_gid *gid, u16 lid);
int prxe_detach_mcast(struct ib_qp *ib, union ib_gid *gid, u16 lid);
/* Destroy: the QP leaves whatever groups it is still in. Process context. */
void prxe_mcast_leave_all(struct prxe_qp *qp);
/* A packet to a group, checked but for Q_Keys; takes the skb. Softirq. */
void prxe_mcast_rcv(struct prxe_dev *dev, const union ib_gid *gid, struct sk_buff *skb, struct prxe_pkt *pkt);

#endif
