// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Received packets that have to wait: for memory, for the owner of a send side, or for their turn.
 *
 * Who sends them need not be trusted, so what waits is bounded in bytes for each QP, each device
 * and the module, and it is paid for: the packet is copied into memory that is charged to the
 * memory cgroup of the process that made the QP. A packet for which there is no room is dropped;
 * its sender is told, or sends it again, as after a loss on the way.
 *
 * Carrier, wire: calls no other file of the wire; both halves of it call this one.
 */
#include <linux/memcontrol.h>
#include <linux/sched/mm.h>
#include <linux/skbuff.h>
#include "carrier/wire_hold.h"
#include "carrier/wire_state.h"
#include "transport/qp.h"

/*
 * In bytes of memory, not of payload. One requester's whole window of 4 KiB packets fits into a
 * QP's. A few packets of a QP may wait whatever others hold, so that they cannot stop it: these are
 * paid for all the same.
 */
#define HELD_FEW	(128 << 10)
#define HELD_QP		(3 << 20)
#define HELD_DEV	(32 << 20)
#define HELD_ALL	(64 << 20)
/* Beyond this not even a few: QPs are cheap, and there may be a million. */
#define HELD_END	(2 * HELD_ALL)

static atomic_t held_all;

static void uncount(struct prxe_qp *qp, int bytes)
{
	atomic_sub(bytes, &prxe_wire(qp)->held);
	atomic_sub(bytes, &qp->dev->held);
	atomic_sub(bytes, &held_all);
}

static bool may_hold(int mine, int devs, int all)
{
	if (mine <= HELD_FEW)
		return all <= HELD_END;
	return mine <= HELD_QP && devs <= HELD_DEV && all <= HELD_ALL;
}

static bool count(struct prxe_qp *qp, int bytes)
{
	int mine = atomic_add_return(bytes, &prxe_wire(qp)->held);
	int devs = atomic_add_return(bytes, &qp->dev->held);
	int all = atomic_add_return(bytes, &held_all);

	if (may_hold(mine, devs, all))
		return true;
	uncount(qp, bytes);
	return false;
}

/* The packet goes, wherever it was. Its QP is there: queues are emptied before a QP is freed. */
static void held_gone(struct sk_buff *skb)
{
	uncount(PRXE_RX(skb)->qp, skb->truesize);
}

static struct sk_buff *copy_charged(struct prxe_qp *qp, const struct sk_buff *skb)
{
	/*
	 * May exceed the limit of the memory cgroup, by what may wait at most, and that is charged:
	 * nothing can be reclaimed here, and a cgroup that is full (of page cache, say) must be
	 * able to communicate.
	 */
	gfp_t gfp = GFP_ATOMIC | __GFP_NOWARN | (qp->memcg ? __GFP_ACCOUNT : 0);
	struct mem_cgroup *old = set_active_memcg(qp->memcg);
	struct sk_buff *copy = skb_copy(skb, gfp);

	set_active_memcg(old);
	return copy;
}

struct sk_buff *prxe_wire_hold(struct prxe_qp *qp, struct sk_buff *skb)
{
	struct sk_buff *copy = NULL;

	if (skb->destructor == held_gone)
		return skb;
	/* Asked before, so that a flood costs no copies. */
	if (may_hold(atomic_read(&prxe_wire(qp)->held), atomic_read(&qp->dev->held),
		     atomic_read(&held_all)))
		copy = copy_charged(qp, skb);
	kfree_skb(skb);
	if (!copy)
		return NULL;
	if (!count(qp, copy->truesize)) {
		kfree_skb(copy);
		return NULL;
	}
	PRXE_RX(copy)->qp = qp;
	PRXE_RX(copy)->since = jiffies;
	copy->destructor = held_gone;
	return copy;
}
