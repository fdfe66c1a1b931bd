/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A destination's address: what the choice of a carrier, the route and the packet headers need. */
#ifndef PRXE_AV_H
#define PRXE_AV_H

#include <linux/types.h>
#include <rdma/ib_verbs.h>

struct prxe_dev;

struct prxe_av {
	u8 family;			/* AF_INET, AF_INET6; 0: not set */
	u8 tclass, hop_limit;
	u32 flow_label;
	union ib_gid sgid, dgid;	/* IPv4 addresses are v4-mapped */
	u8 sgid_index;
	u16 sport;			/* UDP source port, host order */
};

/*
 * Fill @av from verbs attributes. @sport_hint: if there is no flow label, the UDP source port is a
 * hash of it. 0; -EINVAL: no GRH, another port than PRXE_PORT, no such source GID, or one end is
 * IPv4 and the other IPv6. Any context; does not sleep.
 */
int prxe_av_init(struct prxe_dev *dev, struct prxe_av *av, const struct rdma_ah_attr *attr,
		 u32 sport_hint);
/*
 * The device of this host, in the same namespace, that has the address @av->dgid; NULL if there is
 * none or it is unregistering. Inside RCU.
 */
struct prxe_dev *prxe_av_local_dev(struct prxe_dev *dev, const struct prxe_av *av);
/*
 * Write the 40 bytes that a UD receiver gets in front of a message of @len bytes that was sent with
 * @av. With IPv4 the header is in the last 20 of them. Any context.
 */
void prxe_av_grh(const struct prxe_av *av, u32 len, u8 grh[40]);

#endif
