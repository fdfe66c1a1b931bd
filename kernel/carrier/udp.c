// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * UDP port 4791: the sockets of each network namespace that has a device. Carrier, lowest file of
 * the wire: knows no QP and no packet; prxe_udp_init() tells it which function takes the packets.
 *
 * A datagram that is to be cut into packets (GSO), a train, should arrive whole. The stack cuts it
 * before a socket with encap_rcv sees it, unless it is marked as tunnelled, because UDP tunnels
 * would take its packets for one. We know better, so a netfilter hook marks it, just before the
 * stack looks for the socket. On a kernel without netfilter trains are cut: slower, not wrong.
 */
#include <linux/mutex.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netfilter_ipv6.h>
#include <linux/slab.h>
#include <net/ip.h>
#include <net/ipv6.h>
#include <net/net_namespace.h>
#include <net/netns/generic.h>
#include <net/udp.h>
#include <net/udp_tunnel.h>
#include <rdma/ib_verbs.h>
#include "carrier/udp.h"

struct prxe_net {
	refcount_t ref;			/* held by the namespace and by each user */
	struct mutex lock;
	unsigned int users;
	bool gone;			/* the namespace was deleted */
	struct net *net;		/* not valid when gone */
	struct socket *sk4, *sk6;
	bool hooked;			/* the hooks are registered */
	struct rcu_head rcu;
};

struct pernet {
	struct prxe_net *pnet;
};

static unsigned int pernet_id;

/* The function that takes the packets; set before the first socket exists. */
static int (*receive)(struct sock *sk, struct sk_buff *skb);

static void pnet_put(struct prxe_net *pnet)
{
	if (refcount_dec_and_test(&pnet->ref))
		kfree_rcu(pnet, rcu);
}

#ifdef CONFIG_NETFILTER
/*
 * Softirq. The mark is on data that copies of the skb share, of a packet capture, say; they do not
 * mind it.
 */
static unsigned int mark_train(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)
{
	bool v6 = state->pf == NFPROTO_IPV6;
	const struct udphdr *udp;
	struct udphdr buf;

	if (likely(!skb_is_gso(skb)) || !(skb_shinfo(skb)->gso_type & SKB_GSO_UDP_L4) ||
	    skb_shinfo(skb)->gso_type & SKB_GSO_FRAGLIST)
		return NF_ACCEPT;
	if (v6 ? ipv6_hdr(skb)->nexthdr != IPPROTO_UDP : ip_hdr(skb)->protocol != IPPROTO_UDP)
		return NF_ACCEPT;
	udp = skb_header_pointer(skb, v6 ? sizeof(struct ipv6hdr) : ip_hdrlen(skb), sizeof(buf),
				 &buf);
	if (udp && udp->dest == htons(ROCE_V2_UDP_DPORT))
		skb_shinfo(skb)->gso_type |= SKB_GSO_UDP_TUNNEL;
	return NF_ACCEPT;
}

static const struct nf_hook_ops hooks[] = {
	{
		.hook = mark_train,
		.pf = NFPROTO_IPV4,
		.hooknum = NF_INET_LOCAL_IN,
		.priority = NF_IP_PRI_LAST,
	},
#if IS_ENABLED(CONFIG_IPV6)
	{
		.hook = mark_train,
		.pf = NFPROTO_IPV6,
		.hooknum = NF_INET_LOCAL_IN,
		.priority = NF_IP6_PRI_LAST,
	},
#endif
};

/* If it fails, trains are cut. */
static void hook(struct prxe_net *pnet)
{
	pnet->hooked = !nf_register_net_hooks(pnet->net, hooks, ARRAY_SIZE(hooks));
}

static void unhook(struct prxe_net *pnet)
{
	if (pnet->hooked)
		nf_unregister_net_hooks(pnet->net, hooks, ARRAY_SIZE(hooks));
	pnet->hooked = false;
}
#else
static void hook(struct prxe_net *pnet)
{
}

static void unhook(struct prxe_net *pnet)
{
}
#endif

static int open_one(struct prxe_net *pnet, struct udp_port_cfg *port, struct socket **sock)
{
	struct udp_tunnel_sock_cfg tunnel = {
		.sk_user_data = pnet,
		.encap_type = 1,
		.encap_rcv = receive,
	};
	int on = 1, err;

	err = udp_sock_create(pnet->net, port, sock);
	if (err) {
		*sock = NULL;
		return err;
	}
	/* Take trains, and let the network join packets to trains again. */
	err = (*sock)->ops->setsockopt(*sock, SOL_UDP, UDP_GRO, KERNEL_SOCKPTR(&on), sizeof(on));
	if (err) {
		prxe_udp_tunnel_release(*sock);
		*sock = NULL;
		return err;
	}
	prxe_udp_tunnel_setup(pnet->net, *sock, &tunnel);
	return 0;
}

static void close_sockets(struct prxe_net *pnet)
{
	unhook(pnet);
	if (pnet->sk6)
		prxe_udp_tunnel_release(pnet->sk6);
	if (pnet->sk4)
		prxe_udp_tunnel_release(pnet->sk4);
	pnet->sk6 = NULL;
	pnet->sk4 = NULL;
}

static int open_sockets(struct prxe_net *pnet)
{
	struct udp_port_cfg port4 = {
		.family = AF_INET, .local_udp_port = htons(ROCE_V2_UDP_DPORT),
	};
	struct udp_port_cfg port6 = {
		.family = AF_INET6, .local_udp_port = htons(ROCE_V2_UDP_DPORT), .ipv6_v6only = 1,
	};
	int err;

	err = open_one(pnet, &port4, &pnet->sk4);
	if (err)
		return err;
	err = open_one(pnet, &port6, &pnet->sk6);
	/* A kernel without IPv6 still has IPv4. */
	if (err == -EAFNOSUPPORT || err == -EPFNOSUPPORT)
		err = 0;
	if (err)
		close_sockets(pnet);
	else
		hook(pnet);
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
		pr_err("UDP port %d (RoCEv2) is in use in this namespace: is rdma_rxe loaded?\n",
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

/* Devices of the namespace may not have gone yet: they find the sockets closed. */
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

int prxe_udp_init(int (*rcv)(struct sock *sk, struct sk_buff *skb))
{
	receive = rcv;
	return register_pernet_subsys(&pernet_ops);
}

void prxe_udp_exit(void)
{
	unregister_pernet_subsys(&pernet_ops);
}
