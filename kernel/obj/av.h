/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Addresses: what a route, the headers and the choice of a carrier need to know of a destination.
 */
#ifndef PRXE_AV_H
#define PRXE_AV_H

#include <linux/types.h>
#include <rdma/ib_verbs.h>

struct prxe_dev;

struct prxe_av {
	u8 family;			/* AF_INET, AF_INET6; 0: not set */
	u8 tclass, hop_limit;
	u32 flow_label;
	union ib_gid sgid, dgid;	/* IPv4 ones are v4-mapped */
	u8 sgid_index;
	u16 sport;			/* UDP source port, host order */
};

/*
 * Fill @av from verbs attributes. @sport_hint: chooses the UDP source port when there is no flow
 * label. -EINVAL when there is no GRH or no such source GID. Any context: it does not sleep.
 */
int prxe_av_init(struct prxe_dev *dev, struct prxe_av *av, const struct rdma_ah_attr *attr,
		 u32 sport_hint);
/* The local device (same namespace) that owns @av->dgid, or NULL; inside RCU. */
struct prxe_dev *prxe_av_local_dev(struct prxe_dev *dev, const struct prxe_av *av);
/*
 * The 40 bytes that a UD receiver gets in front of a message of @len bytes from @av. With IPv4 the
 * header is the last 20 of them.
 */
void prxe_av_grh(const struct prxe_av *av, u32 len, u8 grh[40]);

#endif
