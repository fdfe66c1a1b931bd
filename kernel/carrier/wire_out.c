// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Packets out: routes, the headers and ICRCs of trains, transmission, and the count of packets that
 * the network still has.
 *
 * wire_make.c makes the packets, from the BTH to the ICRC. How long their train has become is known
 * when it leaves, so the headers in front and the ICRCs, which cover them, are written here.
 * Carrier, wire: knows QPs and packets, and calls no other file of the wire.
 */
#include <linux/inetdevice.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/udp.h>
#include <net/addrconf.h>
#include <net/inet_ecn.h>
#include <net/ip6_checksum.h>
#include <net/ip6_fib.h>
#include <net/ip6_route.h>
#include <net/ipv6.h>
#include <net/route.h>
#include <rdma/ib_verbs.h>
#include "base/icrc.h"
#include "base/packet.h"
#include "carrier/wire_out.h"
#include "transport/qp.h"

#define DEFAULT_TTL	64

/* ---- routes ---- */

static __be32 gid_v4(const union ib_gid *gid)
{
	return ((const struct in6_addr *)gid)->s6_addr32[3];
}

static struct dst_entry *route4(struct net *net, struct prxe_dev *dev, const struct prxe_av *av,
				u32 *cookie)
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
	/* Route by the netdev that has the source address, unless the destination is this host. */
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

static struct dst_entry *route6(struct net *net, struct prxe_dev *dev, const struct prxe_av *av,
				u32 *cookie)
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

/* The route to @av, from the cache if it is still valid. The cache keeps the reference. */
static struct dst_entry *route_get(struct prxe_qp *qp, const struct prxe_av *av,
				   struct prxe_route *route)
{
	struct net *net = dev_net(qp->dev->ndev);
	struct dst_entry *dst = route->dst;

	if (likely(dst)) {
		if (likely(!memcmp(&route->dgid, &av->dgid, sizeof(av->dgid)) &&
			   !memcmp(&route->sgid, &av->sgid, sizeof(av->sgid)) &&
			   dst_check(dst, route->cookie)))
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

/*
 * Trains of the module that the network has not freed yet, summed over CPUs. The module must not be
 * unloaded before them, because freeing them calls skb_gone().
 */
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

/*
 * When a dead QP has no packet left in the network, drop its reference to the module. Any context.
 */
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
 * A queue of the network may keep packets of a dead QP for any length of time, and freeing them
 * runs code of this module. If only the module's exit waited for them, no signal could end that
 * wait, because the exit cannot fail. So a dead QP with such packets holds a reference to the
 * module, which then cannot be unloaded.
 */
void prxe_wire_linger(struct prxe_qp *qp)
{
	__module_get(THIS_MODULE);
	WRITE_ONCE(prxe_wire(qp)->lingers, true);
	smp_mb();	/* pairs with atomic_sub_return() in skb_gone() */
	unlinger(qp);
}

/*
 * What the destructor is told: the QP, with the number of packets and the side of the QP that sent
 * them in the low bits, which PRXE_QP_ALIGN keeps clear.
 */
#define ARG_RESP	1UL
#define ARG_PKTS_SHIFT	1

static_assert((PRXE_TRAIN_MAX - 1) << ARG_PKTS_SHIFT < PRXE_QP_ALIGN);

/* The destructor: the network frees a train. Any context, so it only counts and schedules. */
static void skb_gone(struct sk_buff *skb)
{
	unsigned long arg = (unsigned long)skb_shinfo(skb)->destructor_arg;
	unsigned long low = arg & (PRXE_QP_ALIGN - 1);
	struct prxe_qp *qp = (struct prxe_qp *)(arg - low);
	struct prxe_wire_skbs *skbs = side_skbs(qp, low & ARG_RESP);
	int out = atomic_sub_return((low >> ARG_PKTS_SHIFT) + 1, &skbs->out);

	/* atomic_sub_return() is a full barrier; it pairs with prxe_wire_skb_limit(). */
	if (out < PRXE_OUT_LOW && READ_ONCE(skbs->need) && xchg(&skbs->need, false))
		prxe_qp_schedule(qp);
	if (!out)
		unlinger(qp);
	prxe_qp_put(qp);
	this_cpu_dec(skbs_out);
}

void prxe_wire_count(struct prxe_qp *qp, struct sk_buff *skb, bool resp, u32 pkts, u32 more)
{
	unsigned long low = (unsigned long)(pkts - 1) << ARG_PKTS_SHIFT | (resp ? ARG_RESP : 0);

	if (pkts == more) {	/* the first */
		refcount_inc(&qp->ref);
		this_cpu_inc(skbs_out);
		skb->destructor = skb_gone;
	}
	atomic_add(more, &side_skbs(qp, resp)->out);
	skb_shinfo(skb)->destructor_arg = (void *)((unsigned long)qp | low);
}

/* The IPv4 ID, which the ICRC covers. It may be anything, because DF is set (RFC 6864). */
static u16 pkt_id(u32 psn)
{
	return psn & 0xffff;
}

/*
 * The traffic class on the wire. Only what a requester can slow down may be marked: requests and
 * the responses to them, but neither datagrams nor ACKs and notifications.
 */
static u8 traffic_class(const struct prxe_qp *qp, const struct prxe_av *av,
			const struct prxe_tx *tx)
{
	bool answer = tx->account == PRXE_ACCOUNT_NONE;

	if (!READ_ONCE(prxe_ecn_on) || (qp->type != IB_QPT_RC && !answer))
		return av->tclass;
	return (av->tclass & ~INET_ECN_MASK) | (answer ? INET_ECN_NOT_ECT : INET_ECN_ECT_0);
}

/* Write the headers in front of the first BTH. Returns where they are. */
static void *put_headers(struct sk_buff *skb, const struct prxe_av *av, u8 tclass, u32 total,
			 u32 psn)
{
	bool v6 = av->family == AF_INET6;
	unsigned int ip_len = v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	unsigned int udp_len = sizeof(struct udphdr) + total;
	u8 *p = skb_push(skb, ip_len + sizeof(struct udphdr));
	struct udphdr *udp = (struct udphdr *)(p + ip_len);

	skb_reset_network_header(skb);
	skb_set_transport_header(skb, ip_len);
	skb->priority = rt_tos2priority(av->tclass);
	if (v6) {
		struct ipv6hdr *ip = (struct ipv6hdr *)p;

		skb->protocol = htons(ETH_P_IPV6);
		ip6_flow_hdr(ip, tclass, htonl(av->flow_label & 0xfffff));
		ip->payload_len = htons(udp_len);
		ip->nexthdr = IPPROTO_UDP;
		ip->hop_limit = av->hop_limit ?: DEFAULT_TTL;
		memcpy(&ip->saddr, &av->sgid, sizeof(ip->saddr));
		memcpy(&ip->daddr, &av->dgid, sizeof(ip->daddr));
	} else {
		struct iphdr *ip = (struct iphdr *)p;

		skb->protocol = htons(ETH_P_IP);
		ip->version = 4;
		ip->ihl = 5;
		ip->tos = tclass;
		ip->tot_len = htons(ip_len + udp_len);
		ip->id = htons(pkt_id(psn));	/* ip_local_out() does not change it */
		ip->frag_off = htons(IP_DF);
		ip->ttl = av->hop_limit ?: DEFAULT_TTL;
		ip->protocol = IPPROTO_UDP;
		ip->check = 0;	/* filled in by ip_local_out() */
		ip->saddr = gid_v4(&av->sgid);
		ip->daddr = gid_v4(&av->dgid);
	}
	udp->source = htons(av->sport);
	udp->dest = htons(ROCE_V2_UDP_DPORT);
	udp->len = htons(udp_len);
	udp->check = 0;
	return p;
}

/*
 * Whoever cuts the train, or the network card, makes UDP checksums from the sum of the pseudo
 * header. A packet that leaves alone has one, too: GRO joins only packets with a checksum, and one
 * without would overtake those that it is joining.
 */
static void put_checksum(struct sk_buff *skb, const struct prxe_av *av, const struct prxe_tx *tx)
{
	struct udphdr *udp = udp_hdr(skb);
	u32 len = sizeof(*udp) + tx->total;
	__sum16 sum;

	if (av->family == AF_INET6)
		sum = csum_ipv6_magic(&ipv6_hdr(skb)->saddr, &ipv6_hdr(skb)->daddr, len,
				      IPPROTO_UDP, 0);
	else
		sum = csum_tcpudp_magic(ip_hdr(skb)->saddr, ip_hdr(skb)->daddr, len, IPPROTO_UDP,
					0);
	udp->check = ~sum;
	skb->ip_summed = CHECKSUM_PARTIAL;
	skb->csum_start = skb_transport_header(skb) - skb->head;
	skb->csum_offset = offsetof(struct udphdr, check);
}

/* A train of more than one packet: tell the network where to cut it. */
static void make_gso(struct sk_buff *skb, const struct prxe_tx *tx)
{
	skb_shinfo(skb)->gso_size = tx->size;
	skb_shinfo(skb)->gso_segs = tx->pkts;
	skb_shinfo(skb)->gso_type = SKB_GSO_UDP_L4;
}

/* Write the ICRCs of the packets in one piece of memory, for the headers that each will have. */
static void put_icrcs(void *ip, bool v6, u8 *p, u32 len, u32 size)
{
	u32 done, n;

	for (done = 0; done < len; done += n) {
		u8 *bth = p + done;

		n = min(size, len - done);
		prxe_icrc_set_len(ip, v6, n);
		if (!v6)
			((struct iphdr *)ip)->id = htons(pkt_id(get_unaligned_be32(bth + 8)));
		n -= PRXE_ICRC_BYTES;
		put_unaligned_le32(prxe_icrc(ip, v6, bth, n), bth + n);
		n += PRXE_ICRC_BYTES;
	}
}

static void add_icrcs(struct sk_buff *skb, bool v6, const struct prxe_tx *tx)
{
	u8 ip[sizeof(struct ipv6hdr) + sizeof(struct udphdr)];
	unsigned int hdr_len = (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)) +
			       sizeof(struct udphdr);
	int i;

	memcpy(ip, skb_network_header(skb), hdr_len);
	put_icrcs(ip, v6, skb->data + hdr_len, skb_headlen(skb) - hdr_len, tx->size);
	/* A packet never begins in one piece and ends in the next. */
	for (i = 0; i < skb_shinfo(skb)->nr_frags; i++) {
		const skb_frag_t *frag = &skb_shinfo(skb)->frags[i];

		put_icrcs(ip, v6, skb_frag_address(frag), skb_frag_size(frag), tx->size);
	}
}

int prxe_wire_xmit(struct prxe_qp *qp, const struct prxe_av *av, struct sk_buff *skb,
		   struct prxe_route *route)
{
	bool v6 = av->family == AF_INET6;
	struct net *net = dev_net(qp->dev->ndev);
	const struct prxe_tx tx = *PRXE_TX(skb);
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
	put_headers(skb, av, traffic_class(qp, av, &tx), tx.total,
		    prxe_psn_add(tx.next_psn, -tx.pkts));
	if (likely(READ_ONCE(prxe_icrc_on)))
		add_icrcs(skb, v6, &tx);
	put_checksum(skb, av, &tx);
	if (tx.pkts > 1)
		make_gso(skb, &tx);
	/*
	 * The cache holds a reference to the route, and RCU keeps the route until the packet is
	 * queued, which takes a reference of its own where necessary.
	 */
	skb_dst_set_noref(skb, dst);
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
	prxe_count_add(qp->dev, sent_pkts, tx.pkts);
	prxe_count_add(qp->dev, sent_bytes, tx.total);
	if (tx.pkts > 1)
		prxe_count(qp->dev, sent_trains);
	return 0;
}

/* ---- the end ---- */

/*
 * Wait for the packets of kernel consumers, for example the connection manager's datagrams, whose
 * QPs were destroyed with their devices just now. All other packets of dead QPs hold the module, so
 * there are none (prxe_wire_linger()). The exit of a module cannot fail and cannot be postponed, so
 * no signal ends this wait.
 */
void prxe_wire_wait_for_skbs(void)
{
	unsigned long tell = jiffies + HZ;
	bool killed = false;
	long n;

	while ((n = skbs_out_sum())) {
		if (time_after(jiffies, tell)) {
			tell = jiffies + 10 * HZ;
			pr_info("unloading waits for %ld packets of removed devices\n", n);
			pr_info("a queueing discipline, ARP or an unread netdev has them\n");
		}
		if (!killed && fatal_signal_pending(current)) {
			killed = true;
			pr_info("unloading cannot be stopped: freeing them needs this module\n");
		}
		/* TASK_IDLE: neither counts as load nor is reported as a hung task. */
		__set_current_state(TASK_IDLE);
		schedule_timeout(max(HZ / 100, 1));
	}
}
