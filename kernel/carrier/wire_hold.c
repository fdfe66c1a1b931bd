// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Received packets that have to wait: for memory, for the owner of a send side, or for their turn.
 *
 * Their sender need not be trusted. So the bytes that wait are limited for each QP, each device and
 * the module, and somebody pays: the packet is copied into memory that is charged to the memory
 * cgroup of the process that created the QP. A packet for which there is no room is dropped; the
 * requester is told, or its timer makes it send again, as if the network had lost the packet.
 *
 * Carrier, wire: calls no other file of the wire; both halves of the wire call this one.
 */
#include <linux/if_vlan.h>
#include <linux/memcontrol.h>
#include <linux/sched/mm.h>
#include <linux/skbuff.h>
#include <linux/udp.h>
#include <net/ip.h>
#include "base/icrc.h"
#include "base/packet.h"
#include "base/piece.h"
#include "carrier/wire_hold.h"
#include "carrier/wire_state.h"
#include "transport/qp.h"

/*
 * The limits, in bytes of memory (truesize), not of payload. HELD_QP holds one requester's whole
 * window of 4 KiB packets. HELD_FEW bytes of a QP may wait even when others have used up the limits
 * of the device and the module, so that they cannot stop this QP. These bytes are charged, too.
 */
#define HELD_FEW	(128 << 10)
#define HELD_QP		(3 << 20)
#define HELD_DEV	(32 << 20)
#define HELD_ALL	(64 << 20)
/*
 * Beyond this limit a QP may not even hold a few packets: QPs are cheap, and there may be a
 * million.
 */
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

/*
 * The destructor of a held packet. Its QP still exists: the queues are emptied before a QP is
 * freed.
 */
static void held_gone(struct sk_buff *skb)
{
	uncount(PRXE_RX(skb)->qp, skb->truesize);
}

bool prxe_wire_is_held(const struct sk_buff *skb)
{
	return skb->destructor == held_gone;
}

int prxe_rx_parse(const struct sk_buff *skb, u32 off, u32 len, struct prxe_pkt *pkt)
{
	u8 buf[PRXE_MAX_HDR_BYTES];
	const u8 *hdr = prxe_skb_piece(skb, off, len);
	u32 avail = len;
	int err;

	if (unlikely(!hdr)) {
		avail = min_t(u32, len, sizeof(buf));
		if (skb_copy_bits(skb, off, buf, avail))
			return -EINVAL;
		hdr = buf;
	}
	err = prxe_pkt_parse(pkt, hdr, avail, len);
	if (!err)
		pkt->payload_off += off;
	return err;
}

struct sk_buff *prxe_rx_copy(const struct sk_buff *skb, u32 off, u32 len, gfp_t gfp)
{
	u32 hdr_len = skb->data - skb_network_header(skb);	/* IP and UDP */
	struct sk_buff *copy = alloc_skb(hdr_len + len, gfp);

	if (!copy)
		return NULL;
	skb_put_data(copy, skb_network_header(skb), hdr_len);
	skb_reset_network_header(copy);
	skb_set_transport_header(copy, hdr_len - sizeof(struct udphdr));
	if (len != skb->len) {
		bool v6 = skb->protocol == htons(ETH_P_IPV6);

		prxe_icrc_set_len(copy->data, v6, len);
		if (!v6)
			ip_send_check(ip_hdr(copy));
	}
	__skb_pull(copy, hdr_len);
	if (skb_copy_bits(skb, off, skb_put(copy, len), len)) {
		kfree_skb(copy);
		return NULL;
	}
	copy->protocol = skb->protocol;
	copy->priority = skb->priority;
	if (skb_vlan_tag_present(skb))
		__vlan_hwaccel_put_tag(copy, skb->vlan_proto, skb_vlan_tag_get(skb));
	memset(PRXE_RX(copy), 0, sizeof(struct prxe_rx));
	return copy;
}

static struct sk_buff *copy_charged(struct prxe_qp *qp, const struct sk_buff *skb, u32 off, u32 len)
{
	/*
	 * With GFP_ATOMIC the charge may exceed the limit of the memory cgroup, at most by what may
	 * wait. That is intended: nothing can be reclaimed here, and a cgroup that is full (of page
	 * cache, say) must still be able to communicate.
	 */
	gfp_t gfp = GFP_ATOMIC | __GFP_NOWARN | (qp->memcg ? __GFP_ACCOUNT : 0);
	struct mem_cgroup *old = set_active_memcg(qp->memcg);
	struct sk_buff *copy = prxe_rx_copy(skb, off, len, gfp);

	set_active_memcg(old);
	return copy;
}

struct sk_buff *prxe_wire_hold(struct prxe_qp *qp, const struct sk_buff *skb,
			       const struct prxe_pkt *pkt)
{
	u32 hdr_len = prxe_op_hdr_len(pkt->opcode);
	u32 len = hdr_len + pkt->payload_len + pkt->pad + PRXE_ICRC_BYTES;
	struct sk_buff *copy;

	/* Check before copying, so that a flood of packets costs no copies. */
	if (!may_hold(atomic_read(&prxe_wire(qp)->held), atomic_read(&qp->dev->held),
		      atomic_read(&held_all)))
		return NULL;
	copy = copy_charged(qp, skb, pkt->payload_off - hdr_len, len);
	if (!copy)
		return NULL;
	if (!count(qp, copy->truesize)) {
		kfree_skb(copy);
		return NULL;
	}
	PRXE_RX(copy)->fill = PRXE_RX(skb)->fill;
	PRXE_RX(copy)->done = PRXE_RX(skb)->done;
	PRXE_RX(copy)->qp = qp;
	PRXE_RX(copy)->since = jiffies;
	copy->destructor = held_gone;
	return copy;
}
