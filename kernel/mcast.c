// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Multicast: which UD QPs of a device listen to which group. The kernel's own membership (IGMP, MLD) is the business of who
 * attaches, as rdma_cm does it; here the Ethernet filter is opened.
 */
#include <linux/etherdevice.h>
#include <linux/jhash.h>
#include <linux/once.h>
#include <linux/slab.h>
#include <net/if_inet6.h>
#include <net/ipv6.h>
#include "mcast.h"
#include "qp.h"
#include "wire.h"

/* All under dev->mcast_lock. A group is there as long as it has members. */
struct prxe_mcast_group {
	struct hlist_node node;		/* dev->mcast, by GID */
	union ib_gid gid;
	struct list_head members;
	unsigned int count;
};

struct prxe_mcast_member {
	struct list_head node;		/* group->members */
	struct list_head qp_node;	/* qp->mcast */
	struct prxe_mcast_group *group;
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

/* Users choose the GIDs: not so that all fall into one bucket. */
static u32 gid_hash(const union ib_gid *gid)
{
	static u32 seed __read_mostly;

	get_random_once(&seed, sizeof(seed));
	return jhash2((const u32 *)gid->raw, sizeof(*gid) / sizeof(u32), seed);
}

static struct prxe_mcast_group *group_find(struct prxe_dev *dev, const union ib_gid *gid, u32 hash)
{
	struct prxe_mcast_group *g;

	hash_for_each_possible(dev->mcast, g, node, hash)
		if (!memcmp(&g->gid, gid, sizeof(*gid)))
			return g;
	return NULL;
}

static struct prxe_mcast_member *member_find(const struct prxe_mcast_group *g, const struct prxe_qp *qp)
{
	struct prxe_mcast_member *m;

	list_for_each_entry(m, &g->members, node)
		if (m->qp == qp)
			return m;
	return NULL;
}

/*
 * Make @m a member; of *@fresh, which is taken then, when its group is not there yet. 0; 1: the QP is one already; -ENOMEM: there are
 * too many; -EINVAL: the QP ends.
 */
static int join(struct prxe_dev *dev, struct prxe_mcast_member *m, struct prxe_mcast_group **fresh)
{
	u32 hash = gid_hash(&m->gid);
	struct prxe_mcast_group *g = group_find(dev, &m->gid, hash);

	if (g && member_find(g, m->qp))
		return 1;
	if (g ? g->count >= PRXE_MAX_MCAST_QPS : dev->mcast_groups >= PRXE_MAX_MCAST_GROUPS)
		return -ENOMEM;
	if (!prxe_qp_tryget(m->qp))
		return -EINVAL;
	if (!g) {
		g = *fresh;
		*fresh = NULL;
		hash_add(dev->mcast, &g->node, hash);
		dev->mcast_groups++;
	}
	m->group = g;
	g->count++;
	list_add_tail(&m->node, &g->members);
	list_add_tail(&m->qp_node, &m->qp->mcast);
	return 0;
}

/* Take @m out, under the lock; a group whose last member it was goes with it. */
static void part(struct prxe_dev *dev, struct prxe_mcast_member *m)
{
	list_del(&m->node);
	list_del(&m->qp_node);
	if (--m->group->count) {
		m->group = NULL;	/* the others' */
		return;
	}
	hash_del(&m->group->node);
	dev->mcast_groups--;
}

/* The rest of it, without the lock. */
static void member_free(struct prxe_dev *dev, struct prxe_mcast_member *m)
{
	u8 mac[ETH_ALEN];

	gid_to_mac(&m->gid, mac);
	dev_mc_del(dev->ndev, mac);
	prxe_qp_put(m->qp);
	kfree(m->group);
	kfree(m);
}

int prxe_attach_mcast(struct ib_qp *ib, union ib_gid *gid, u16 lid)
{
	struct prxe_qp *qp = to_prxe_qp(ib);
	struct prxe_dev *dev = qp->dev;
	struct prxe_mcast_group *fresh;
	struct prxe_mcast_member *m;
	u8 mac[ETH_ALEN];
	int err = -ENOMEM;

	if (qp->type != IB_QPT_UD || !gid_is_group(gid))
		return -EINVAL;
	m = kzalloc(sizeof(*m), GFP_KERNEL_ACCOUNT);
	fresh = kzalloc(sizeof(*fresh), GFP_KERNEL_ACCOUNT);
	if (!m || !fresh)
		goto out;
	m->qp = qp;
	m->gid = *gid;
	fresh->gid = *gid;
	INIT_LIST_HEAD(&fresh->members);
	gid_to_mac(gid, mac);
	/* dev_mc_add() counts, so each member has its own. */
	err = dev_mc_add(dev->ndev, mac);
	if (err)
		goto out;

	spin_lock_bh(&dev->mcast_lock);
	err = join(dev, m, &fresh);
	spin_unlock_bh(&dev->mcast_lock);
	if (!err)
		m = NULL;
	else
		dev_mc_del(dev->ndev, mac);
out:
	kfree(fresh);
	kfree(m);
	return err < 0 ? err : 0;	/* attached before: nothing to do */
}

int prxe_detach_mcast(struct ib_qp *ib, union ib_gid *gid, u16 lid)
{
	struct prxe_qp *qp = to_prxe_qp(ib);
	struct prxe_dev *dev = qp->dev;
	struct prxe_mcast_member *m = NULL;
	struct prxe_mcast_group *g;

	spin_lock_bh(&dev->mcast_lock);
	g = group_find(dev, gid, gid_hash(gid));
	if (g)
		m = member_find(g, qp);
	if (m)
		part(dev, m);
	spin_unlock_bh(&dev->mcast_lock);
	if (!m)
		return -EINVAL;
	member_free(dev, m);
	return 0;
}

void prxe_mcast_leave_all(struct prxe_qp *qp)
{
	struct prxe_dev *dev = qp->dev;
	struct prxe_mcast_member *m;

	do {
		spin_lock_bh(&dev->mcast_lock);
		m = list_first_entry_or_null(&qp->mcast, struct prxe_mcast_member, qp_node);
		if (m)
			part(dev, m);
		spin_unlock_bh(&dev->mcast_lock);
		if (m)
			member_free(dev, m);
	} while (m);
}

void prxe_mcast_rcv(struct prxe_dev *dev, const union ib_gid *gid, struct sk_buff *skb, struct prxe_pkt *pkt)
{
	u32 hash = gid_hash(gid);
	struct prxe_mcast_group *g;
	struct prxe_mcast_member *m;

	/* Lock order: mcast_lock, then a resp.lock. Nobody attaches from inside the latter. */
	spin_lock(&dev->mcast_lock);
	g = group_find(dev, gid, hash);
	if (!g)
		goto out;
	list_for_each_entry(m, &g->members, node) {
		struct sk_buff *copy;

		if (!prxe_qp_receives(m->qp) || pkt->qkey != READ_ONCE(m->qp->attr.qkey))
			continue;
		copy = skb_clone(skb, GFP_ATOMIC);
		if (copy)
			prxe_wire_resp_rcv(m->qp, copy, pkt);
	}
out:
	spin_unlock(&dev->mcast_lock);
	kfree_skb(skb);
}
