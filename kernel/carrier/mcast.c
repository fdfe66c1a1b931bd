// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Multicast: which UD QPs of a device listen to which group. The program that attaches must itself
 * make the host a member of the IP group (IGMP, MLD), as rdma_cm does; here only the Ethernet
 * filter is opened.
 *
 * Carrier, wire: gives each member its copy of a packet (wire_resp.c). wire_in.c calls it, verbs/
 * joins and leaves.
 */
#include <linux/etherdevice.h>
#include <linux/lockdep.h>
#include <linux/rculist.h>
#include <linux/rhashtable.h>
#include <linux/slab.h>
#include <net/if_inet6.h>
#include <net/ipv6.h>
#include "carrier/mcast.h"
#include "carrier/wire_resp.h"
#include "carrier/wire_state.h"
#include "transport/qp.h"

/* Written under dev->mcast_lock, read inside RCU. A group exists as long as it has members. */
struct prxe_mcast_group {
	struct rhash_head node;		/* dev->mcast, by GID */
	union ib_gid gid;
	struct list_head members;
	unsigned int count;
	struct rcu_head rcu;
};

struct prxe_mcast_member {
	struct list_head node;		/* group->members */
	struct list_head qp_node;	/* in the list of its QP's groups */
	struct prxe_mcast_group *group;
	union ib_gid gid;
	struct prxe_qp *qp;		/* a reference */
	struct prxe_ucontext *uctx;	/* counts for its limit; NULL: kernel consumer */
	struct rcu_head rcu;
};

/* Users choose the GIDs, so the table hashes with a random seed of its own; and it grows. */
static const struct rhashtable_params group_params = {
	.key_len = sizeof(union ib_gid),
	.key_offset = offsetof(struct prxe_mcast_group, gid),
	.head_offset = offsetof(struct prxe_mcast_group, node),
	.automatic_shrinking = true,
};

int prxe_mcast_init(struct prxe_dev *dev)
{
	struct rhashtable *table = kzalloc(sizeof(*table), GFP_KERNEL);
	int err;

	if (!table)
		return -ENOMEM;
	err = rhashtable_init(table, &group_params);
	if (err)
		kfree(table);
	else
		dev->mcast = table;
	return err;
}

void prxe_mcast_exit(struct prxe_dev *dev)
{
	if (!dev->mcast)
		return;
	rhashtable_destroy(dev->mcast);
	kfree(dev->mcast);
}

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

	if (ipv6_addr_v4mapped(addr))
		return ipv4_is_multicast(addr->s6_addr32[3]);
	return ipv6_addr_is_multicast(addr);
}

static struct prxe_mcast_member *member_find(const struct prxe_mcast_group *g,
					     const struct prxe_qp *qp)
{
	struct prxe_mcast_member *m;

	list_for_each_entry(m, &g->members, node)
		if (m->qp == qp)
			return m;
	return NULL;
}

/*
 * The group of @gid. If there is none yet, *@fresh becomes it, and *@fresh is set to NULL. ERR_PTR
 * on failure.
 */
static struct prxe_mcast_group *group_get(struct prxe_dev *dev, const union ib_gid *gid, bool user,
					  struct prxe_mcast_group **fresh)
{
	struct prxe_mcast_group *g = rhashtable_lookup_fast(dev->mcast, gid, group_params);
	int err;

	lockdep_assert_held(&dev->mcast_lock);
	if (g)
		return g;
	if (user && dev->mcast_groups >= PRXE_USER_MCAST_GROUPS)
		return ERR_PTR(-ENOMEM);
	g = *fresh;
	err = rhashtable_insert_fast(dev->mcast, &g->node, group_params);
	if (err)
		return ERR_PTR(-ENOMEM);
	*fresh = NULL;
	dev->mcast_groups++;
	return g;
}

static void group_drop(struct prxe_dev *dev, struct prxe_mcast_group *g)
{
	rhashtable_remove_fast(dev->mcast, &g->node, group_params);
	dev->mcast_groups--;
	kfree_rcu(g, rcu);
}

/*
 * Make @m a member of its group. Returns 0; 1: its QP is a member already; -ENOMEM: there are too
 * many groups or members; -EINVAL: the QP is being destroyed.
 */
static int join(struct prxe_dev *dev, struct prxe_mcast_member *m, struct prxe_mcast_group **fresh)
{
	struct prxe_mcast_group *g = group_get(dev, &m->gid, m->uctx, fresh);
	int err = 0;

	if (IS_ERR(g))
		return PTR_ERR(g);
	if (member_find(g, m->qp))
		return 1;
	if (g->count >= PRXE_MAX_MCAST_QPS)
		err = -ENOMEM;
	else if (!prxe_qp_tryget(m->qp))
		err = -EINVAL;
	if (err) {
		if (!g->count)
			group_drop(dev, g);
		return err;
	}
	m->group = g;
	g->count++;
	list_add_tail_rcu(&m->node, &g->members);
	list_add_tail(&m->qp_node, &prxe_wire(m->qp)->groups);
	return 0;
}

/* Take @m out of its group, and free the group if it was the last member. Under the lock. */
static void leave_locked(struct prxe_dev *dev, struct prxe_mcast_member *m)
{
	lockdep_assert_held(&dev->mcast_lock);
	list_del_rcu(&m->node);
	list_del(&m->qp_node);
	if (!--m->group->count)
		group_drop(dev, m->group);
}

/*
 * Second half of leaving: free the member, lock not held. RCU, because a datagram may still be on
 * its way through it.
 */
static void member_free(struct prxe_dev *dev, struct prxe_mcast_member *m)
{
	u8 mac[ETH_ALEN];

	gid_to_mac(&m->gid, mac);
	dev_mc_del(dev->ndev, mac);
	if (m->uctx)
		atomic_dec(&m->uctx->num_mcast);
	prxe_qp_put(m->qp);
	kfree_rcu(m, rcu);
}

int prxe_attach_mcast(struct ib_qp *ib, union ib_gid *gid, u16 lid)
{
	struct prxe_qp *qp = to_prxe_qp(ib);
	struct prxe_dev *dev = qp->dev;
	struct prxe_mcast_group *fresh;
	struct prxe_mcast_member *m;
	struct prxe_ucontext *uctx = qp->user;
	u8 mac[ETH_ALEN];
	int err = -ENOMEM;

	if (qp->type != IB_QPT_UD || !gid_is_group(gid))
		return -EINVAL;
	if (uctx && atomic_inc_return(&uctx->num_mcast) > PRXE_MAX_MCAST_GROUPS)
		goto out_count;
	m = kzalloc(sizeof(*m), GFP_KERNEL_ACCOUNT);
	fresh = kzalloc(sizeof(*fresh), GFP_KERNEL_ACCOUNT);
	if (!m || !fresh)
		goto out;
	m->qp = qp;
	m->uctx = uctx;
	m->gid = *gid;
	fresh->gid = *gid;
	INIT_LIST_HEAD(&fresh->members);
	gid_to_mac(gid, mac);
	/* dev_mc_add() counts, so each member adds and removes the address. */
	err = dev_mc_add(dev->ndev, mac);
	if (err)
		goto out;

	spin_lock_bh(&dev->mcast_lock);
	err = join(dev, m, &fresh);
	spin_unlock_bh(&dev->mcast_lock);
	if (err)
		dev_mc_del(dev->ndev, mac);
out:
	kfree(fresh);
	if (err)
		kfree(m);
out_count:
	if (err && uctx)
		atomic_dec(&uctx->num_mcast);
	return err < 0 ? err : 0;	/* 1: it was attached before, nothing to do */
}

int prxe_detach_mcast(struct ib_qp *ib, union ib_gid *gid, u16 lid)
{
	struct prxe_qp *qp = to_prxe_qp(ib);
	struct prxe_dev *dev = qp->dev;
	struct prxe_mcast_member *m = NULL;
	struct prxe_mcast_group *g;

	spin_lock_bh(&dev->mcast_lock);
	g = rhashtable_lookup_fast(dev->mcast, gid, group_params);
	if (g)
		m = member_find(g, qp);
	if (m)
		leave_locked(dev, m);
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
		m = list_first_entry_or_null(&prxe_wire(qp)->groups, struct prxe_mcast_member,
					     qp_node);
		if (m)
			leave_locked(dev, m);
		spin_unlock_bh(&dev->mcast_lock);
		if (m)
			member_free(dev, m);
	} while (m);
}

/* No lock is held during a delivery: members may come and go, and their QPs may be dead. */
void prxe_mcast_rcv(struct prxe_dev *dev, const union ib_gid *gid, struct sk_buff *skb,
		    struct prxe_pkt *pkt)
{
	struct prxe_mcast_group *g = rhashtable_lookup(dev->mcast, gid, group_params);
	unsigned int left = PRXE_MAX_MCAST_QPS;	/* bounds the loop when QPs keep joining */
	struct prxe_mcast_member *m;

	if (!g)
		return;
	list_for_each_entry_rcu(m, &g->members, node) {
		if (!left--)
			break;
		if (!prxe_qp_receives(m->qp) || pkt->qkey != READ_ONCE(m->qp->attr.qkey))
			continue;
		if (!prxe_qp_tryget(m->qp))
			continue;
		prxe_wire_resp_rcv(m->qp, skb, pkt, 1);
		prxe_qp_put(m->qp);
	}
}
