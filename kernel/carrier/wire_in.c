// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Packets in, up to the QP that they are for. A packet changes nothing before its headers and its
 * ICRC were checked.
 *
 * A train (wire_make.h) arrives whole if nobody on the way has cut it, or if the network has joined
 * its packets again (GRO). It is walked in place. Its packets may be for several QPs, and of both
 * directions: GRO joins what has the same addresses and ports. Packets side by side for the same
 * half of a QP are handed over together. Carrier, wire: calls both halves of the wire, and
 * multicast.
 */
#include <linux/if_vlan.h>
#include <linux/inetdevice.h>
#include <linux/udp.h>
#include <net/addrconf.h>
#include <net/dsfield.h>
#include <net/inet_ecn.h>
#include <net/ipv6.h>
#include <net/udp.h>
#include <rdma/ib_mad.h>
#include <rdma/ib_verbs.h>
#include "base/icrc.h"
#include "base/packet.h"
#include "base/registry.h"
#include "carrier/mcast.h"
#include "carrier/wire_ack.h"
#include "carrier/wire_ecn.h"
#include "carrier/wire_hold.h"
#include "carrier/wire_in.h"
#include "carrier/wire_resp.h"
#include "mem/gate.h"
#include "obj/vlan.h"
#include "transport/qp.h"

#define MCAST_QPN	0xffffff
/* Requests that are handed over, and executed with the QP's lock held, at a time. */
#define GROUP_MAX	8U

/*
 * The device that a packet is for: the one of the netdev by which it came, or else (after the
 * loopback device, say) the one that has its destination address. Inside RCU.
 */
static struct prxe_dev *find_dev(struct prxe_net *pnet, const struct sk_buff *skb, bool v6)
{
	struct net_device *ndev = skb->dev;
	struct net_device *real = is_vlan_dev(ndev) ? vlan_dev_real_dev(ndev) : ndev;
	struct prxe_dev *dev;
	int round;

	for (round = 0; round < 2; round++) {
		list_for_each_entry_rcu(dev, prxe_devs(), node)
			if (READ_ONCE(dev->pnet) == pnet &&
			    (dev->ndev == ndev || dev->ndev == real) &&
			    !READ_ONCE(dev->unregistering))
				return dev;
		if (round)
			break;
#if IS_ENABLED(CONFIG_IPV6)
		if (v6)
			ndev = ipv6_dev_find(dev_net(skb->dev), &ipv6_hdr(skb)->daddr, NULL);
		else
#endif
			ndev = __ip_dev_find(dev_net(skb->dev), ip_hdr(skb)->daddr, false);
		if (!ndev)
			break;
		real = is_vlan_dev(ndev) ? vlan_dev_real_dev(ndev) : ndev;
	}
	return NULL;
}

static void skb_gids(const struct sk_buff *skb, bool v6, union ib_gid *src, union ib_gid *dst)
{
	if (v6) {
		memcpy(src, &ipv6_hdr(skb)->saddr, sizeof(*src));
		memcpy(dst, &ipv6_hdr(skb)->daddr, sizeof(*dst));
	} else {
		ipv6_addr_set_v4mapped(ip_hdr(skb)->saddr, (struct in6_addr *)src);
		ipv6_addr_set_v4mapped(ip_hdr(skb)->daddr, (struct in6_addr *)dst);
	}
}

/*
 * Do the headers of this packet allow @qp to take it (IBTA 9.6)? @same: it has accepted a packet of
 * the same skb, so the addresses are right.
 */
static bool qp_accepts(struct prxe_qp *qp, const struct prxe_pkt *pkt, const struct sk_buff *skb,
		       bool v6, bool same)
{
	enum ib_qp_state state = READ_ONCE(qp->state);
	union ib_gid src, dst;
	u8 transport;

	switch (qp->type) {
	case IB_QPT_RC:
		transport = PRXE_RC;
		break;
	case IB_QPT_UC:
		transport = PRXE_UC;
		break;
	default:
		transport = PRXE_UD;
		break;
	}
	if (pkt->flags & PRXE_OPF_CNP ? transport == PRXE_UD :
					PRXE_TRANSPORT(pkt->opcode) != transport)
		return false;
	if (pkt->flags & PRXE_OPF_REQ) {
		if (!prxe_qp_receives(qp))
			return false;
	} else if (state != IB_QPS_RTS && state != IB_QPS_SQD) {
		return false;
	}
	if (transport == PRXE_UD)
		return pkt->qkey == (qp->type == IB_QPT_GSI ? IB_QP1_QKEY :
							      READ_ONCE(qp->attr.qkey));
	if (same)
		return true;
	skb_gids(skb, v6, &src, &dst);
	return !memcmp(&src, &qp->av.dgid, sizeof(src)) && !memcmp(&dst, &qp->av.sgid, sizeof(dst));
}

/*
 * Keep the VLAN of a datagram, which came by @ndev, on the skb as a tag, for its completion:
 * skb->dev is cleared. A datagram over the loopback device came by no VLAN; it gets the one of its
 * destination address.
 */
static void keep_vlan(const struct prxe_dev *dev, const struct net_device *ndev,
		      struct sk_buff *skb, bool v6)
{
	union ib_gid src, dst;
	u16 tci = 0;

	__vlan_hwaccel_clear_tag(skb);
	if (ndev->flags & IFF_LOOPBACK) {
		skb_gids(skb, v6, &src, &dst);
		tci = prxe_av_vlan(dev, &dst, skb->priority);
	} else if (is_vlan_dev(ndev)) {
		tci = vlan_dev_vlan_id(ndev) | (skb->priority << VLAN_PRIO_SHIFT & VLAN_PRIO_MASK);
	}
	if (tci)
		__vlan_hwaccel_put_tag(skb, htons(ETH_P_8021Q), tci);
}

static_assert(GROUP_MAX * 4096U <= PRXE_MEM_CHUNK);	/* a run is landed at once; wire_data.c */

/* An skb from the network, and the group of packets, side by side, that was found in it last. */
struct arrival {
	struct prxe_dev *dev;
	struct net_device *ndev; /* by which it came */
	struct sk_buff *skb;	/* its data begin at the first BTH */
	bool v6;
	bool marked;		/* the network says that it is congested */
	u32 size;		/* of each packet, but the last may be shorter */
	enum prxe_id_rule rule;	/* what the ICRCs of this skb have said of IPv4 IDs */
	struct prxe_qp *qp;	/* all packets of the group are for it; a reference. NULL: empty */
	bool req;		/* they are requests, pkts[0 .. num) */
	bool data;		/* some of them are responses with data */
	u32 from, to;		/* the group is the bytes [from, to) of the skb */
	unsigned int num;
	struct prxe_pkt pkts[GROUP_MAX];
};

/* Responses are queued with their skb. If that is used otherwise, too, they get copies. */
static void hand_over_responses(struct arrival *a)
{
	u32 off, n;

	if (a->from == 0 && a->to == a->skb->len) {
		memset(PRXE_RX(a->skb), 0, sizeof(struct prxe_rx));
		PRXE_RX(a->skb)->size = a->size;
		prxe_wire_req_rcv(a->qp, a->skb, a->num);
		a->skb = NULL;
		return;
	}
	for (off = a->from; off < a->to; off += n) {
		struct sk_buff *copy;

		n = min(a->size, a->to - off);
		copy = prxe_rx_copy(a->skb, off, n, GFP_ATOMIC | __GFP_NOWARN);
		if (!copy) {
			prxe_count(a->dev, dropped);
			continue;
		}
		PRXE_RX(copy)->size = n;
		prxe_wire_req_rcv(a->qp, copy, 1);
	}
}

static void hand_over(struct arrival *a)
{
	if (!a->qp)
		return;
	/* Before the packets are acknowledged: then who sent them slows down at once. */
	if (unlikely(a->marked))
		prxe_ecn_marked(a->qp, a->num, a->data);
	if (a->req)
		prxe_wire_resp_rcv(a->qp, a->skb, a->pkts, a->num);
	else
		hand_over_responses(a);
	prxe_qp_put(a->qp);
	a->qp = NULL;
	a->num = 0;
}

/*
 * The packet @pkt, @len bytes at @off: check everything. Returns its QP, with a reference unless it
 * is the group's, or NULL: it was counted and is over; *mcast: it is for a multicast group.
 */
static struct prxe_qp *judge(struct arrival *a, const struct prxe_pkt *pkt, u32 off, u32 len,
			     bool *mcast)
{
	struct prxe_qp *qp = NULL;

	*mcast = false;
	/* The only P_Key is the default one, of a full member: a limited member may talk to it. */
	if ((pkt->pkey & 0x7fff) != 0x7fff)
		goto drop;
	if (pkt->qpn != MCAST_QPN) {
		qp = a->qp && a->qp->qpn == pkt->qpn ? a->qp : prxe_qp_lookup(a->dev, pkt->qpn);
		if (!qp) {
			prxe_count(a->dev, rcvd_no_qp);
			goto drop;
		}
		if (!qp_accepts(qp, pkt, a->skb, a->v6, qp == a->qp))
			goto drop;
	} else if (PRXE_TRANSPORT(pkt->opcode) != PRXE_UD) {
		prxe_count(a->dev, rcvd_malformed);
		return NULL;
	}
	if (likely(READ_ONCE(prxe_icrc_on)) && !prxe_icrc_good(a->skb, a->v6, off, len, &a->rule)) {
		prxe_count(a->dev, rcvd_bad_icrc);
		goto out;
	}
	prxe_count(a->dev, rcvd_pkts);
	prxe_count_add(a->dev, rcvd_bytes, len);	/* from the BTH to the ICRC */
	if (qp && !(pkt->flags & (PRXE_OPF_REQ | PRXE_OPF_CNP)) && !prxe_wire_req_wants(qp, pkt))
		goto out;
	*mcast = !qp;
	return qp;
drop:
	prxe_count(a->dev, dropped);
out:
	if (qp && qp != a->qp)
		prxe_qp_put(qp);
	return NULL;
}

/* Add a packet to the group, or begin a new one. @qp: with a reference unless it is the group's. */
static void join(struct arrival *a, struct prxe_qp *qp, const struct prxe_pkt *pkt, u32 off,
		 u32 len)
{
	bool req = pkt->flags & PRXE_OPF_REQ;

	if (a->qp && (a->qp != qp || a->req != req || a->to != off ||
		      (req && a->num == GROUP_MAX))) {
		if (qp == a->qp)
			refcount_inc(&qp->ref);	/* the group's reference goes with the group */
		hand_over(a);
	}
	if (!a->qp) {
		a->qp = qp;
		a->req = req;
		a->data = false;
		a->from = off;
	}
	if (req)
		a->pkts[a->num] = *pkt;
	else
		a->data |= pkt->flags & PRXE_OPF_PAYLOAD;
	a->num++;
	a->to = off + len;
}

/*
 * A datagram, which was judged, for @qp or (NULL) a multicast group. It is delivered with the IP
 * header that it came with, and a train has only that of its first packet.
 */
static void datagram(struct arrival *a, struct prxe_qp *qp, const struct prxe_pkt *pkt, u32 off,
		     u32 len)
{
	struct sk_buff *copy = NULL, *skb = a->skb;
	struct prxe_pkt own = *pkt;
	union ib_gid src, dst;

	keep_vlan(a->dev, a->ndev, skb, a->v6);
	if (len != skb->len) {
		copy = prxe_rx_copy(skb, off, len, GFP_ATOMIC | __GFP_NOWARN);
		if (!copy) {
			prxe_count(a->dev, dropped);
			return;
		}
		own.payload_off -= off;
		skb = copy;
	}
	if (qp) {
		prxe_wire_resp_rcv(qp, skb, &own, 1);
	} else {
		skb_gids(skb, a->v6, &src, &dst);
		prxe_mcast_rcv(a->dev, &dst, skb, &own);
	}
	consume_skb(copy);
}

static void walk(struct arrival *a)
{
	u32 total = a->skb->len, off, len;

	for (off = 0; off < total; off += len) {
		struct prxe_pkt pkt;
		struct prxe_qp *qp;
		bool mcast;

		len = min(a->size, total - off);
		if (prxe_rx_parse(a->skb, off, len, &pkt)) {
			prxe_count(a->dev, rcvd_malformed);
			continue;
		}
		qp = judge(a, &pkt, off, len, &mcast);
		if (unlikely(pkt.flags & PRXE_OPF_CNP)) {
			if (qp)
				prxe_ecn_notified(qp);
			if (qp && qp != a->qp)
				prxe_qp_put(qp);
		} else if (PRXE_TRANSPORT(pkt.opcode) != PRXE_UD) {
			if (qp)
				join(a, qp, &pkt, off, len);
		} else if (qp || mcast) {
			hand_over(a);
			datagram(a, qp, &pkt, off, len);
			if (qp)
				prxe_qp_put(qp);
		}
	}
	hand_over(a);
	consume_skb(a->skb);
}

/* Softirq, inside RCU; @skb starts at the UDP header. Consumes it. */
int prxe_wire_rcv(struct sock *sk, struct sk_buff *skb)
{
	struct prxe_net *pnet = rcu_dereference_sk_user_data(sk);
	bool v6 = sk->sk_family == AF_INET6;
	struct arrival a;
	u32 len;

	/* Not the whole struct, which is large. */
	a.v6 = v6;
	a.rule = PRXE_ID_UNKNOWN;
	a.marked = false;
	a.qp = NULL;
	a.num = 0;
	if (!pnet)
		goto drop;
	/* Find the device first: it has the counters for bad packets. */
	a.dev = find_dev(pnet, skb, v6);
	if (!a.dev)
		goto drop;
	if (!pskb_may_pull(skb, sizeof(struct udphdr)))
		goto malformed;
	/*
	 * RoCEv2 has no IP options and no extension headers, and no rule how the ICRC would cover
	 * them.
	 */
	if (skb_transport_offset(skb) - skb_network_offset(skb) !=
	    (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)))
		goto malformed;
	len = ntohs(udp_hdr(skb)->len);
	if (len < sizeof(struct udphdr) + PRXE_BTH_BYTES + PRXE_ICRC_BYTES || len > skb->len ||
	    pskb_trim(skb, len))
		goto malformed;
	__skb_pull(skb, sizeof(struct udphdr));
	a.size = skb->len;
	if (skb_is_gso(skb) && skb_shinfo(skb)->gso_type & SKB_GSO_UDP_L4 &&
	    skb_shinfo(skb)->gso_size < skb->len) {
		a.size = skb_shinfo(skb)->gso_size;
		if (a.size < PRXE_BTH_BYTES + PRXE_ICRC_BYTES)
			goto malformed;
		prxe_count(a.dev, rcvd_trains);
	}

	if (READ_ONCE(prxe_ecn_on))
		a.marked = INET_ECN_is_ce(v6 ? ipv6_get_dsfield(ipv6_hdr(skb)) :
					       ipv4_get_dsfield(ip_hdr(skb)));
	/* The packet may wait for long. Drop the references that the network must get back soon. */
	skb->protocol = v6 ? htons(ETH_P_IPV6) : htons(ETH_P_IP);
	skb_orphan(skb);
	skb_dst_drop(skb);
	nf_reset_ct(skb);
	a.ndev = skb->dev;
	skb->dev = NULL;
	a.skb = skb;
	walk(&a);
	return 0;

malformed:
	prxe_count(a.dev, rcvd_malformed);
drop:
	kfree_skb(skb);
	return 0;
}
