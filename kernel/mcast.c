// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Multicast: which UD QPs of a device listen to which group. The kernel's own membership (IGMP, MLD) is the business of who
 * attaches, as rdma_cm does it; here the Ethernet filter is opened.
 */
#include <linux/etherdevice.h>
#include <linux/slab.h>
#include <net/if_inet6.h>
#include <net/ipv6.h>
#include "mcast.h"
#include "qp.h"
#include "wire.h"

#define MAX_ATTACHED	4096	/* of a device, all groups together */

/* One QP in one group; a group is all entries of its GID. */
struct prxe_mcast {
	struct list_head node;		/* dev->mcast, under dev->mcast_lock */
	union ib_gid gid;
	struct prxe_qp *qp;		/* a reference */
};

static void gid_to_mac(const union ib_gid *gid, u8 mac[ETH_ALEN])
{
	const struct in6_addr *addr = (const struct in6_addr *)gid;

	if (ipv6_addr_v4mapped(addr))
		ip_eth_mc_map(addr->s6_addr32[3], mac);
	else
		ipv6_eth_mc_map(addr, mac);
}

static bool gid_is_group(const union ib_gid *gid)
{
	const struct in6_addr *addr = (const struct in6_addr *)gid;

	return ipv6_addr_v4mapped(addr) ? ipv4_is_multicast(addr->s6_addr32[3]) : ipv6_addr_is_multicast(addr);
}

static struct prxe_mcast *find(struct prxe_dev *dev, struct prxe_qp *qp, const union ib_gid *gid, u32 *count)
{
	struct prxe_mcast *m, *found = NULL;

	*count = 0;
	list_for_each_entry(m, &dev->mcast, node) {
		++*count;
		if (m->qp == qp && !memcmp(&m->gid, gid, sizeof(*gid)))
			found = m;
	}
	return found;
}

int prxe_attach_mcast(struct ib_qp *ib, union ib_gid *gid, u16 lid)
{
	struct prxe_qp *qp = to_prxe_qp(ib);
	struct prxe_dev *dev = qp->dev;
	struct prxe_mcast *m;
	u8 mac[ETH_ALEN];
	u32 count;
	int err;

	if (qp->type != IB_QPT_UD || !gid_is_group(gid))
		return -EINVAL;
	m = kzalloc(sizeof(*m), GFP_KERNEL_ACCOUNT);
	if (!m)
		return -ENOMEM;
	m->gid = *gid;
	m->qp = qp;
	gid_to_mac(gid, mac);
	/* dev_mc_add() counts, so each attachment has its own. */
	err = dev_mc_add(dev->ndev, mac);
	if (err)
		goto out;

	spin_lock_bh(&dev->mcast_lock);
	if (find(dev, qp, gid, &count))
		err = 1;	/* attached before: nothing to do */
	else if (count >= MAX_ATTACHED)
		err = -ENOMEM;
	else if (!prxe_qp_tryget(qp))
		err = -EINVAL;
	else
		list_add_tail(&m->node, &dev->mcast);
	spin_unlock_bh(&dev->mcast_lock);
	if (!err)
		return 0;
	dev_mc_del(dev->ndev, mac);
out:
	kfree(m);
	return err < 0 ? err : 0;
}

static void leave(struct prxe_dev *dev, struct prxe_mcast *m)
{
	u8 mac[ETH_ALEN];

	gid_to_mac(&m->gid, mac);
	dev_mc_del(dev->ndev, mac);
	prxe_qp_put(m->qp);
	kfree(m);
}

int prxe_detach_mcast(struct ib_qp *ib, union ib_gid *gid, u16 lid)
{
	struct prxe_qp *qp = to_prxe_qp(ib);
	struct prxe_dev *dev = qp->dev;
	struct prxe_mcast *m;
	u32 count;

	spin_lock_bh(&dev->mcast_lock);
	m = find(dev, qp, gid, &count);
	if (m)
		list_del(&m->node);
	spin_unlock_bh(&dev->mcast_lock);
	if (!m)
		return -EINVAL;
	leave(dev, m);
	return 0;
}

void prxe_mcast_leave_all(struct prxe_qp *qp)
{
	struct prxe_dev *dev = qp->dev;
	struct prxe_mcast *m, *next;
	LIST_HEAD(gone);

	if (qp->type != IB_QPT_UD)
		return;
	spin_lock_bh(&dev->mcast_lock);
	list_for_each_entry_safe(m, next, &dev->mcast, node)
		if (m->qp == qp)
			list_move(&m->node, &gone);
	spin_unlock_bh(&dev->mcast_lock);
	list_for_each_entry_safe(m, next, &gone, node)
		leave(dev, m);
}

void prxe_mcast_rcv(struct prxe_dev *dev, const union ib_gid *gid, struct sk_buff *skb, struct prxe_pkt *pkt)
{
	struct prxe_mcast *m;

	/* Lock order: mcast_lock, then a resp.lock. Nobody attaches from inside the latter. */
	spin_lock(&dev->mcast_lock);
	list_for_each_entry(m, &dev->mcast, node) {
		struct sk_buff *copy;

		if (memcmp(&m->gid, gid, sizeof(*gid)) || !prxe_qp_receives(m->qp) ||
		    pkt->qkey != READ_ONCE(m->qp->attr.qkey))
			continue;
		copy = skb_clone(skb, GFP_ATOMIC);
		if (copy)
			prxe_wire_resp_rcv(m->qp, copy, pkt);
	}
	spin_unlock(&dev->mcast_lock);
	kfree_skb(skb);
}
