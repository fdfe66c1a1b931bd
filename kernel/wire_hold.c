// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Received packets that have to wait: for memory, for the owner of a send side, or for their turn.
 *
 * Who sends them need not be trusted, so what waits is bounded in bytes for each QP, each device and the module, and it is
 * paid for: the packet is copied into memory that is charged to the memory cgroup of the process that made the QP. A packet
 * for which there is no room is dropped; its sender is told, or sends it again, as after a loss on the way.
 */
#include <linux/memcontrol.h>
#include <linux/sched/mm.h>
#include <linux/skbuff.h>
#include "qp.h"
#include "wire.h"

/* In bytes of memory, not of payload. One requester's whole window of 4 KiB packets fits into a QP's. */
#define HELD_QP		(3 << 20)
#define HELD_DEV	(32 << 20)
#define HELD_ALL	(64 << 20)

static atomic_t held_all;

static void uncount(struct prxe_qp *qp, int bytes)
{
	atomic_sub(bytes, &qp->held);
	atomic_sub(bytes, &qp->dev->held);
	atomic_sub(bytes, &held_all);
}

static bool count(struct prxe_qp *qp, int bytes)
{
	int mine = atomic_add_return(bytes, &qp->held);
	int devs = atomic_add_return(bytes, &qp->dev->held);
	int all = atomic_add_return(bytes, &held_all);

	if (mine <= HELD_QP && devs <= HELD_DEV && all <= HELD_ALL)
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
	/* Not GFP_ATOMIC, which may exceed the limit of a memory cgroup. */
	gfp_t gfp = GFP_NOWAIT | __GFP_NOWARN | (qp->memcg ? __GFP_ACCOUNT : 0);
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
	if (atomic_read(&qp->held) < HELD_QP && atomic_read(&qp->dev->held) < HELD_DEV && atomic_read(&held_all) < HELD_ALL)
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
