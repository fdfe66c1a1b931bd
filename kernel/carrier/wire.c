// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * UDP port 4791: the sockets of a namespace, packets out, and packets in up to the QP that they are for.
 *
 * A packet that leaves is one contiguous buffer, headers in front, payload behind: a copy from user memory, one pass for the ICRC.
 * Nothing of a user's is ever attached to it.
 */
#include <linux/jiffies.h>
#include <linux/if_vlan.h>
#include <linux/inetdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/udp.h>
#include <net/addrconf.h>
#include <net/ip6_fib.h>
#include <net/ip6_route.h>
#include <net/ipv6.h>
#include <net/net_namespace.h>
#include <net/netns/generic.h>
#include <net/route.h>
#include <net/udp.h>
#include <rdma/ib_mad.h>
#include <rdma/ib_verbs.h>
#include "base/icrc.h"
#include "base/registry.h"
#include "carrier/mcast.h"
#include "carrier/wire.h"
#include "carrier/wire_state.h"
#include "obj/vlan.h"
#include "transport/qp.h"

#define MCAST_QPN	0xffffff
#define DEFAULT_TTL	64
/* Room for the link layer's header and what tunnels put in front. */
#define HEADROOM	ALIGN(LL_MAX_HEADER, 16)

/* ---- sockets ---- */

struct prxe_net {
	refcount_t ref;			/* the namespace, and each user */
	struct mutex lock;
	unsigned int users;
	bool gone;			/* the namespace is */
	struct net *net;		/* valid until gone */
	struct socket *sk4, *sk6;
	struct rcu_head rcu;
};

struct pernet {
	struct prxe_net *pnet;
};

static unsigned int pernet_id;

static int wire_rcv(struct sock *sk, struct sk_buff *skb);

static void pnet_put(struct prxe_net *pnet)
{
	if (refcount_dec_and_test(&pnet->ref))
		kfree_rcu(pnet, rcu);
}

static int open_one(struct prxe_net *pnet, struct udp_port_cfg *port, struct socket **sock)
{
	struct udp_tunnel_sock_cfg tunnel = {
		.sk_user_data = pnet,
		.encap_type = 1,
		.encap_rcv = wire_rcv,
	};
	int err = udp_sock_create(pnet->net, port, sock);

	if (err) {
		*sock = NULL;
		return err;
	}
	prxe_udp_tunnel_setup(pnet->net, *sock, &tunnel);
	return 0;
}

static void close_sockets(struct prxe_net *pnet)
{
	if (pnet->sk6)
		prxe_udp_tunnel_release(pnet->sk6);
	if (pnet->sk4)
		prxe_udp_tunnel_release(pnet->sk4);
	pnet->sk6 = NULL;
	pnet->sk4 = NULL;
}

static int open_sockets(struct prxe_net *pnet)
{
	struct udp_port_cfg port4 = { .family = AF_INET, .local_udp_port = htons(ROCE_V2_UDP_DPORT) };
	struct udp_port_cfg port6 = {
		.family = AF_INET6, .local_udp_port = htons(ROCE_V2_UDP_DPORT), .ipv6_v6only = 1,
	};
	int err;

	err = open_one(pnet, &port4, &pnet->sk4);
	if (err)
		return err;
	err = open_one(pnet, &port6, &pnet->sk6);
	/* A kernel without IPv6 has IPv4 all the same. */
	if (err == -EAFNOSUPPORT || err == -EPFNOSUPPORT)
		err = 0;
	if (err)
		close_sockets(pnet);
	return err;
}

struct prxe_net *prxe_net_get(struct net *net)
{
	struct prxe_net *pnet = ((struct pernet *)net_generic(net, pernet_id))->pnet;
	int err = 0;

	mutex_lock(&pnet->lock);
	if (pnet->gone)
		err = -ENODEV;
	else if (!pnet->users)
		err = open_sockets(pnet);
	if (!err) {
		pnet->users++;
		refcount_inc(&pnet->ref);
	}
	mutex_unlock(&pnet->lock);
	if (err == -EADDRINUSE)
		pr_err("UDP port %d, RoCEv2's, is already in use in this network namespace: is rdma_rxe loaded?\n",
		       ROCE_V2_UDP_DPORT);
	else if (err)
		pr_err("cannot open UDP port %d: error %d\n", ROCE_V2_UDP_DPORT, err);
	return err ? ERR_PTR(err) : pnet;
}

void prxe_net_put(struct prxe_net *pnet)
{
	mutex_lock(&pnet->lock);
	if (!--pnet->users)
		close_sockets(pnet);
	mutex_unlock(&pnet->lock);
	pnet_put(pnet);
}

static int __net_init pernet_init(struct net *net)
{
	struct prxe_net *pnet = kzalloc(sizeof(*pnet), GFP_KERNEL);

	if (!pnet)
		return -ENOMEM;
	refcount_set(&pnet->ref, 1);
	mutex_init(&pnet->lock);
	pnet->net = net;
	((struct pernet *)net_generic(net, pernet_id))->pnet = pnet;
	return 0;
}

/* Devices may still be on their way out: they find the sockets closed. */
static void __net_exit pernet_exit(struct net *net)
{
	struct prxe_net *pnet = ((struct pernet *)net_generic(net, pernet_id))->pnet;

	mutex_lock(&pnet->lock);
	pnet->gone = true;
	close_sockets(pnet);
	pnet->net = NULL;
	mutex_unlock(&pnet->lock);
	pnet_put(pnet);
}

static struct pernet_operations pernet_ops = {
	.init = pernet_init,
	.exit = pernet_exit,
	.id = &pernet_id,
	.size = sizeof(struct pernet),
};

/* ---- routes ---- */

static __be32 gid_v4(const union ib_gid *gid)
{
	return ((const struct in6_addr *)gid)->s6_addr32[3];
}

static struct dst_entry *route4(struct net *net, struct prxe_dev *dev, const struct prxe_av *av, u32 *cookie)
{
	struct flowi4 fl = {
		.saddr = gid_v4(&av->sgid),
		.daddr = gid_v4(&av->dgid),
		.flowi4_proto = IPPROTO_UDP,
		.fl4_sport = htons(av->sport),
		.fl4_dport = htons(ROCE_V2_UDP_DPORT),
	};
	struct net_device *ndev;
	struct rtable *rt;

	prxe_flowi4_set_tos(&fl, av->tclass);
	/* By the device that has the source address, unless the destination is this host. */
	if (inet_addr_type(net, fl.daddr) != RTN_LOCAL) {
		rcu_read_lock();
		ndev = __ip_dev_find(net, fl.saddr, false);
		fl.flowi4_oif = ndev ? ndev->ifindex : dev->ndev->ifindex;
		rcu_read_unlock();
	}
	rt = ip_route_output_flow(net, &fl, NULL);
	*cookie = 0;
	return IS_ERR(rt) ? ERR_CAST(rt) : &rt->dst;
}

static struct dst_entry *route6(struct net *net, struct prxe_dev *dev, const struct prxe_av *av, u32 *cookie)
{
#if IS_ENABLED(CONFIG_IPV6)
	struct flowi6 fl = {
		.saddr = *(const struct in6_addr *)&av->sgid,
		.daddr = *(const struct in6_addr *)&av->dgid,
		.flowi6_proto = IPPROTO_UDP,
		.flowlabel = ip6_make_flowinfo(av->tclass, htonl(av->flow_label & 0xfffff)),
		.fl6_sport = htons(av->sport),
		.fl6_dport = htons(ROCE_V2_UDP_DPORT),
	};
	struct net_device *ndev;
	struct dst_entry *dst;

	rcu_read_lock();
	if (!ipv6_chk_addr(net, &fl.daddr, NULL, 0)) {
		ndev = ipv6_dev_find(net, &fl.saddr, dev->ndev);
		fl.flowi6_oif = ndev ? ndev->ifindex : dev->ndev->ifindex;
	}
	rcu_read_unlock();
	dst = ip6_dst_lookup_flow(net, NULL, &fl, NULL);
	if (IS_ERR(dst))
		return dst;
	if (dst->error) {
		int err = dst->error;

		dst_release(dst);
		return ERR_PTR(err);
	}
	*cookie = rt6_get_cookie(container_of(dst, struct rt6_info, dst));
	return dst;
#else
	return ERR_PTR(-EAFNOSUPPORT);
#endif
}

void prxe_route_drop(struct prxe_route *route)
{
	dst_release(route->dst);
	route->dst = NULL;
}

/* The route to @av, from the cache when it is good. The cache keeps the reference. */
static struct dst_entry *route_get(struct prxe_qp *qp, const struct prxe_av *av, struct prxe_route *route)
{
	struct net *net = dev_net(qp->dev->ndev);
	struct dst_entry *dst = route->dst;

	if (likely(dst)) {
		if (likely(!memcmp(&route->dgid, &av->dgid, sizeof(av->dgid)) &&
			   !memcmp(&route->sgid, &av->sgid, sizeof(av->sgid)) && dst_check(dst, route->cookie)))
			return dst;
		prxe_route_drop(route);
	}
	dst = av->family == AF_INET6 ? route6(net, qp->dev, av, &route->cookie) :
				       route4(net, qp->dev, av, &route->cookie);
	if (IS_ERR(dst))
		return dst;
	route->dst = dst;
	route->dgid = av->dgid;
	route->sgid = av->sgid;
	return dst;
}

/* ---- out ---- */

/* Packets whose destructor is still to come: this module cannot go before it. Summed over CPUs. */
static DEFINE_PER_CPU(long, skbs_out);

static long skbs_out_sum(void)
{
	long sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(*per_cpu_ptr(&skbs_out, cpu));
	return sum;
}

static struct prxe_wire_skbs *side_skbs(struct prxe_qp *qp, bool resp)
{
	return resp ? &prxe_wire_resp(qp)->skbs : &prxe_wire_req(qp)->skbs;
}

/* With the last packet of a dead QP goes its reference to the module. Any context. */
static void unlinger(struct prxe_qp *qp)
{
	struct prxe_wire *wire = prxe_wire(qp);

	if (!READ_ONCE(wire->lingers) || atomic_read(&wire->req.skbs.out) ||
	    atomic_read(&wire->resp.skbs.out))
		return;
	if (xchg(&wire->lingers, false))
		module_put(THIS_MODULE);
}

/*
 * Packets of a dead QP may wait in a queue of the network for any time, and when they are freed,
 * code of this module runs. The module's exit cannot fail, so it would have to wait for them, and
 * no signal could end that. So until they have gone the module is in use, and is not unloaded.
 */
void prxe_wire_linger(struct prxe_qp *qp)
{
	__module_get(THIS_MODULE);
	WRITE_ONCE(prxe_wire(qp)->lingers, true);
	smp_mb();	/* pairs with the atomic_dec_return() of the skbs' destructor */
	unlinger(qp);
}

/* The network has let go of a packet. Any context: it only counts and schedules. The lowest bit of the pointer says which side. */
static void skb_gone(struct sk_buff *skb)
{
	unsigned long arg = (unsigned long)skb_shinfo(skb)->destructor_arg;
	struct prxe_qp *qp = (struct prxe_qp *)(arg & ~1UL);
	struct prxe_wire_skbs *skbs = side_skbs(qp, arg & 1);
	int out = atomic_dec_return(&skbs->out);

	/* atomic_dec_return() is a full barrier; it pairs with prxe_wire_skb_limit(). */
	if (out < PRXE_SKB_LOW && READ_ONCE(skbs->need) && xchg(&skbs->need, false))
		prxe_qp_schedule(qp);
	if (!out)
		unlinger(qp);
	prxe_qp_put(qp);
	this_cpu_dec(skbs_out);
}

/*
 * Room for @bytes in one piece. The network's page fragments are for a page at most: beyond, netdev_alloc_frag() may fail for as long as
 * its cache has less left (6.13 and later), so a packet of a large path MTU is from the slab.
 */
static struct sk_buff *alloc_linear(unsigned int bytes)
{
	unsigned int size = SKB_DATA_ALIGN(bytes) + SKB_DATA_ALIGN(sizeof(struct skb_shared_info));
	struct sk_buff *skb;
	void *buf;

	if (size > PAGE_SIZE)
		return alloc_skb(bytes, GFP_ATOMIC | __GFP_NOWARN);
	buf = netdev_alloc_frag(size);
	if (unlikely(!buf))
		return NULL;
	skb = build_skb(buf, size);
	if (unlikely(!skb))
		skb_free_frag(buf);
	return skb;
}

struct sk_buff *prxe_wire_alloc(struct prxe_qp *qp, const struct prxe_av *av, struct prxe_pkt *pkt, void **payload,
				enum prxe_account account)
{
	unsigned int ip_len = av->family == AF_INET6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	unsigned int hdr_len = prxe_op_hdr_len(pkt->opcode);
	unsigned int total = ip_len + sizeof(struct udphdr) + hdr_len + ALIGN(pkt->payload_len, 4) + PRXE_ICRC_BYTES;
	struct udphdr *udp;
	struct sk_buff *skb;
	u8 *p;

	skb = alloc_linear(HEADROOM + total);
	if (unlikely(!skb))
		return NULL;
	skb_reserve(skb, HEADROOM);
	p = skb_put(skb, total);
	skb_reset_network_header(skb);
	skb_set_transport_header(skb, ip_len);
	skb->priority = rt_tos2priority(av->tclass);

	if (av->family == AF_INET6) {
		struct ipv6hdr *ip = (struct ipv6hdr *)p;

		skb->protocol = htons(ETH_P_IPV6);
		ip6_flow_hdr(ip, av->tclass, htonl(av->flow_label & 0xfffff));
		ip->payload_len = htons(total - ip_len);
		ip->nexthdr = IPPROTO_UDP;
		ip->hop_limit = av->hop_limit ?: DEFAULT_TTL;
		memcpy(&ip->saddr, &av->sgid, sizeof(ip->saddr));
		memcpy(&ip->daddr, &av->dgid, sizeof(ip->daddr));
	} else {
		struct iphdr *ip = (struct iphdr *)p;

		skb->protocol = htons(ETH_P_IP);
		ip->version = 4;
		ip->ihl = 5;
		ip->tos = av->tclass;
		ip->tot_len = htons(total);
		/* The ICRC covers it, and ip_local_out() leaves it alone; never fragmented, it may be 0 (RFC 6864). */
		ip->id = 0;
		ip->frag_off = htons(IP_DF);
		ip->ttl = av->hop_limit ?: DEFAULT_TTL;
		ip->protocol = IPPROTO_UDP;
		ip->check = 0;	/* ip_local_out() */
		ip->saddr = gid_v4(&av->sgid);
		ip->daddr = gid_v4(&av->dgid);
	}
	p += ip_len;
	udp = (struct udphdr *)p;
	udp->source = htons(av->sport);
	udp->dest = htons(ROCE_V2_UDP_DPORT);
	udp->len = htons(total - ip_len);
	udp->check = 0;
	p += sizeof(*udp);
	p += prxe_pkt_build(pkt, p);
	*payload = p;
	memset(p + pkt->payload_len, 0, pkt->pad);

	if (account != PRXE_ACCOUNT_NONE) {
		/* The caller's QP is alive. */
		refcount_inc(&qp->ref);
		this_cpu_inc(skbs_out);
		atomic_inc(&side_skbs(qp, account == PRXE_ACCOUNT_RESP)->out);
		skb_shinfo(skb)->destructor_arg = (void *)((unsigned long)qp | (account == PRXE_ACCOUNT_RESP));
		skb->destructor = skb_gone;
	}
	return skb;
}

int prxe_wire_xmit(struct prxe_qp *qp, const struct prxe_av *av, struct sk_buff *skb, struct prxe_route *route)
{
	bool v6 = av->family == AF_INET6;
	struct net *net = dev_net(qp->dev->ndev);
	u8 *bth = skb_transport_header(skb) + sizeof(struct udphdr);
	unsigned int bytes = skb_tail_pointer(skb) - bth - PRXE_ICRC_BYTES;
	struct dst_entry *dst;
	int err;

	rcu_read_lock();
	dst = route_get(qp, av, route);
	if (IS_ERR(dst)) {
		rcu_read_unlock();
		kfree_skb(skb);
		prxe_count(qp->dev, send_err);
		return PTR_ERR(dst);
	}
	put_unaligned_le32(prxe_icrc(skb_network_header(skb), v6, bth, bytes), bth + bytes);
	/* The cache holds the route, and RCU keeps it until the packet is queued (which takes a reference where needed). */
	skb_dst_set_noref(skb, dst);
	skb->ip_summed = CHECKSUM_NONE;
	memset(skb->cb, 0, sizeof(skb->cb));
	if (v6) {
#if IS_ENABLED(CONFIG_IPV6)
		err = ip6_local_out(net, NULL, skb);
#else
		kfree_skb(skb);
		err = -EAFNOSUPPORT;
#endif
	} else {
		err = ip_local_out(net, NULL, skb);
	}
	rcu_read_unlock();
	err = net_xmit_eval(err);
	if (unlikely(err)) {
		prxe_count(qp->dev, send_err);
		return err < 0 ? err : -ENOBUFS;
	}
	prxe_count(qp->dev, sent_pkts);
	prxe_count_add(qp->dev, sent_bytes, bytes + PRXE_ICRC_BYTES);
	return 0;
}

/* ---- in ---- */

void prxe_wire_grh(const struct sk_buff *skb, u8 grh[40])
{
	if (skb->protocol == htons(ETH_P_IPV6)) {
		memcpy(grh, skb_network_header(skb), 40);
		return;
	}
	memset(grh, 0, 20);
	memcpy(grh + 20, skb_network_header(skb), 20);
}

/* The device that a packet is for: by where it came in, else (it came over the loopback device, say) by its address. RCU. */
static struct prxe_dev *find_dev(struct prxe_net *pnet, const struct sk_buff *skb, bool v6)
{
	struct net_device *ndev = skb->dev;
	struct net_device *real = is_vlan_dev(ndev) ? vlan_dev_real_dev(ndev) : ndev;
	struct prxe_dev *dev;
	int round;

	for (round = 0; round < 2; round++) {
		list_for_each_entry_rcu(dev, prxe_devs(), node)
			if (READ_ONCE(dev->pnet) == pnet && (dev->ndev == ndev || dev->ndev == real) && !READ_ONCE(dev->going))
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

/* May @qp have this packet, by its headers (IBTA 9.6)? */
static bool qp_accepts(struct prxe_qp *qp, const struct prxe_pkt *pkt, const struct sk_buff *skb, bool v6)
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
		return pkt->qkey == (qp->type == IB_QPT_GSI ? IB_QP1_QKEY : READ_ONCE(qp->attr.qkey));
	skb_gids(skb, v6, &src, &dst);
	return !memcmp(&src, &qp->av.dgid, sizeof(src)) && !memcmp(&dst, &qp->av.sgid, sizeof(dst));
}

/*
 * A datagram's VLAN, for its completion, stays on the skb as a tag: skb->dev does not. One over the
 * loopback device came by none; then it is that of its destination.
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

/* Softirq, under RCU; @skb is at the UDP header. Takes it. */
static int wire_rcv(struct sock *sk, struct sk_buff *skb)
{
	struct prxe_net *pnet = rcu_dereference_sk_user_data(sk);
	bool v6 = sk->sk_family == AF_INET6;
	unsigned int hdr_len, len;
	struct prxe_qp *qp = NULL;
	struct prxe_dev *dev = NULL;
	struct prxe_pkt pkt;

	if (!pnet)
		goto drop_quiet;
	/* The device first: what is wrong with a packet is counted there. */
	dev = find_dev(pnet, skb, v6);
	if (!dev)
		goto drop_quiet;
	if (!pskb_may_pull(skb, sizeof(struct udphdr) + PRXE_BTH_BYTES))
		goto malformed;
	/* IP options and extension headers have no place in RoCEv2, and the ICRC knows no way to cover them. */
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
	/* The one P_Key is the default one; a limited member may talk to this full one. */
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

	/* It may be kept: nothing of the network's that must not wait stays on it. */
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

/* ---- module ---- */

int prxe_wire_init(void)
{
	return register_pernet_subsys(&pernet_ops);
}

/*
 * Packets whose QP died before hold the module (prxe_wire_linger()): what is left here is those of
 * kernel consumers, the connection manager's datagrams for example, whose QPs have just gone with
 * their devices. The exit of a module cannot fail and cannot be put off, so no signal ends this.
 */
static void wait_for_skbs(void)
{
	unsigned long tell = jiffies + HZ;
	bool killed = false;
	long n;

	while ((n = skbs_out_sum())) {
		if (time_after(jiffies, tell)) {
			tell = jiffies + 10 * HZ;
			pr_info("unloading waits for %ld packets of removed devices\n", n);
			pr_info("a queueing discipline, ARP or a netdev that is not read has them\n");
		}
		if (!killed && fatal_signal_pending(current)) {
			killed = true;
			pr_info("unloading cannot be stopped: freeing them needs this module\n");
		}
		/* No load, no hung task. */
		__set_current_state(TASK_IDLE);
		schedule_timeout(max(HZ / 100, 1));
	}
}

/* No device is left. */
void prxe_wire_exit(void)
{
	unregister_pernet_subsys(&pernet_ops);
	wait_for_skbs();
	/* The last destructor returns, and what it freed is freed. */
	synchronize_rcu();
	rcu_barrier();
}
