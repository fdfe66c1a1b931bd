// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Packets in, up to the QP that they are for. A packet changes nothing before its headers and its
 * ICRC were checked. Carrier, wire: calls both halves of the wire, and multicast.
 */
#include <linux/if_vlan.h>
#include <linux/inetdevice.h>
#include <linux/udp.h>
#include <net/addrconf.h>
#include <net/ipv6.h>
#include <net/udp.h>
#include <rdma/ib_mad.h>
#include <rdma/ib_verbs.h>
#include "base/icrc.h"
#include "base/packet.h"
#include "base/registry.h"
#include "carrier/mcast.h"
#include "carrier/wire_ack.h"
#include "carrier/wire_hold.h"
#include "carrier/wire_in.h"
#include "carrier/wire_resp.h"
#include "obj/vlan.h"
#include "transport/qp.h"

#define MCAST_QPN	0xffffff

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

/* Do the headers of this packet allow @qp to take it (IBTA 9.6)? */
static bool qp_accepts(struct prxe_qp *qp, const struct prxe_pkt *pkt, const struct sk_buff *skb,
		       bool v6)
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
	if (PRXE_TRANSPORT(pkt->opcode) != transport)
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
	skb_gids(skb, v6, &src, &dst);
	return !memcmp(&src, &qp->av.dgid, sizeof(src)) && !memcmp(&dst, &qp->av.sgid, sizeof(dst));
}

/*
 * Keep the VLAN of a datagram on the skb as a tag, for its completion, because skb->dev will be
 * cleared. A datagram over the loopback device came by no VLAN; it gets the one of its destination
 * address.
 */
static void keep_vlan(const struct prxe_dev *dev, struct sk_buff *skb, bool v6)
{
	const struct net_device *ndev = skb->dev;
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

/* Softirq, inside RCU; @skb starts at the UDP header. Consumes it. */
int prxe_wire_rcv(struct sock *sk, struct sk_buff *skb)
{
	struct prxe_net *pnet = rcu_dereference_sk_user_data(sk);
	bool v6 = sk->sk_family == AF_INET6;
	unsigned int hdr_len, len;
	struct prxe_qp *qp = NULL;
	struct prxe_dev *dev = NULL;
	struct prxe_pkt pkt;

	if (!pnet)
		goto drop_quiet;
	/* Find the device first: it has the counters for bad packets. */
	dev = find_dev(pnet, skb, v6);
	if (!dev)
		goto drop_quiet;
	if (!pskb_may_pull(skb, sizeof(struct udphdr) + PRXE_BTH_BYTES))
		goto malformed;
	/*
	 * RoCEv2 has no IP options and no extension headers, and no rule how the ICRC would cover
	 * them.
	 */
	if (skb_transport_offset(skb) - skb_network_offset(skb) !=
	    (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)))
		goto malformed;
	hdr_len = prxe_op_hdr_len(skb->data[sizeof(struct udphdr)]);
	len = ntohs(((struct udphdr *)skb->data)->len);
	if (!hdr_len || len < sizeof(struct udphdr) + hdr_len + PRXE_ICRC_BYTES || len > skb->len ||
	    !pskb_may_pull(skb, sizeof(struct udphdr) + hdr_len) || pskb_trim(skb, len))
		goto malformed;
	if (skb_has_frag_list(skb) && skb_linearize(skb))
		goto malformed;
	__skb_pull(skb, sizeof(struct udphdr));
	if (prxe_pkt_parse(&pkt, skb->data, skb_headlen(skb), skb->len))
		goto malformed;
	/* The only P_Key is the default one, of a full member: a limited member may talk to it. */
	if ((pkt.pkey & 0x7fff) != 0x7fff)
		goto drop;
	if (pkt.qpn != MCAST_QPN) {
		qp = prxe_qp_lookup(dev, pkt.qpn);
		if (!qp) {
			prxe_count(dev, rcvd_no_qp);
			goto drop;
		}
		if (!qp_accepts(qp, &pkt, skb, v6))
			goto drop;
	} else if (PRXE_TRANSPORT(pkt.opcode) != PRXE_UD) {
		goto malformed;
	}
	if (!prxe_icrc_good(skb, v6)) {
		prxe_count(dev, rcvd_bad_icrc);
		goto drop_quiet;
	}
	prxe_count(dev, rcvd_pkts);
	prxe_count_add(dev, rcvd_bytes, skb->len);	/* from the BTH to the ICRC */

	/* The packet may wait for long. Drop the references that the network must get back soon. */
	skb->protocol = v6 ? htons(ETH_P_IPV6) : htons(ETH_P_IP);
	skb_orphan(skb);
	skb_dst_drop(skb);
	nf_reset_ct(skb);
	if (PRXE_TRANSPORT(pkt.opcode) == PRXE_UD)
		keep_vlan(dev, skb, v6);
	skb->dev = NULL;
	memset(PRXE_RX(skb), 0, sizeof(struct prxe_rx));
	if (!qp) {
		union ib_gid src, dst;

		skb_gids(skb, v6, &src, &dst);
		prxe_mcast_rcv(dev, &dst, skb, &pkt);
		return 0;
	}
	if (pkt.flags & PRXE_OPF_REQ)
		prxe_wire_resp_rcv(qp, skb, &pkt);
	else
		prxe_wire_req_rcv(qp, skb, &pkt);
	prxe_qp_put(qp);
	return 0;

malformed:
	prxe_count(dev, rcvd_malformed);
	goto drop_quiet;
drop:
	prxe_count(dev, dropped);
drop_quiet:
	if (qp)
		prxe_qp_put(qp);
	kfree_skb(skb);
	return 0;
}
