// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Addresses: converted from verbs attributes to what a packet needs; and whether they are addresses
 * of this host.
 *
 * Objects: asks the core for GIDs and base/ for the list of devices. AHs, QPs and both carriers
 * call it.
 */
#include <linux/hash.h>
#include <linux/inetdevice.h>
#include <linux/ip.h>
#include <net/addrconf.h>
#include <net/ip.h>
#include <net/ipv6.h>
#include <rdma/ib_cache.h>
#include "base/packet.h"
#include "base/prxe.h"
#include "base/registry.h"
#include "obj/av.h"
#include "obj/vlan.h"

#define DEFAULT_HOPS	64
#define DETH_BYTES	8

static bool is_v4(const union ib_gid *gid)
{
	return ipv6_addr_v4mapped((const struct in6_addr *)gid->raw);
}

static __be32 v4(const union ib_gid *gid)
{
	__be32 addr;

	memcpy(&addr, gid->raw + 12, sizeof(addr));
	return addr;
}

int prxe_av_init(struct prxe_dev *dev, struct prxe_av *av, const struct rdma_ah_attr *attr,
		 u32 sport_hint)
{
	const struct ib_global_route *grh = rdma_ah_read_grh(attr);
	const struct ib_gid_attr *sgid = grh->sgid_attr, *held = NULL;
	int err = 0;

	if (!(rdma_ah_get_ah_flags(attr) & IB_AH_GRH) || rdma_ah_get_port_num(attr) != PRXE_PORT)
		return -EINVAL;
	if (!sgid) {
		held = rdma_get_gid_attr(&dev->ib, PRXE_PORT, grh->sgid_index);
		if (IS_ERR(held))
			return -EINVAL;
		sgid = held;
	}
	memset(av, 0, sizeof(*av));
	av->sgid = sgid->gid;
	av->dgid = grh->dgid;
	/* Both ends are IPv4, or both are IPv6. */
	if (sgid->gid_type != IB_GID_TYPE_ROCE_UDP_ENCAP || is_v4(&av->sgid) != is_v4(&av->dgid)) {
		err = -EINVAL;
		goto out;
	}
	av->family = is_v4(&av->dgid) ? AF_INET : AF_INET6;
	av->sgid_index = sgid->index;
	av->tclass = grh->traffic_class;
	av->hop_limit = grh->hop_limit ? : DEFAULT_HOPS;
	av->flow_label = grh->flow_label & IB_GRH_FLOWLABEL_MASK;
	/*
	 * The source port spreads flows over paths and queues; it comes from the flow label if the
	 * user gave one (annex A17.9.2).
	 */
	if (av->flow_label)
		av->sport = rdma_flow_label_to_udp_sport(av->flow_label);
	else
		av->sport = IB_ROCE_UDP_ENCAP_VALID_PORT_MIN | hash_32(sport_hint, 14);
out:
	if (held)
		rdma_put_gid_attr(held);
	return err;
}

/*
 * Is av->dgid an address of this namespace? *ndev: the netdev that has it, or NULL if that is not
 * known. Inside RCU.
 */
static bool addr_is_local(struct net *net, const struct prxe_av *av, const struct prxe_dev *dev,
			  const struct net_device **ndev)
{
	const struct in6_addr *in6;

	*ndev = NULL;
	if (av->family == AF_INET) {
		*ndev = __ip_dev_find(net, v4(&av->dgid), false);
		return *ndev;
	}
	if (!IS_ENABLED(CONFIG_IPV6))
		return false;
	in6 = (const struct in6_addr *)av->dgid.raw;
	/* A link-local address is valid on its own link only. */
	if (ipv6_addr_type(in6) & IPV6_ADDR_LINKLOCAL) {
		*ndev = dev->ndev;
		return ipv6_chk_addr(net, in6, dev->ndev, 1);
	}
	return ipv6_chk_addr(net, in6, NULL, 0);
}

struct prxe_dev *prxe_av_local_dev(struct prxe_dev *dev, const struct prxe_av *av)
{
	struct net *net = dev_net(dev->ndev);
	const struct net_device *ndev;
	struct prxe_dev *d;

	if (!addr_is_local(net, av, dev, &ndev))
		return NULL;
	if (ndev) {
		list_for_each_entry_rcu(d, prxe_devs(), node)
			if (d->ndev == ndev)
				return READ_ONCE(d->unregistering) ? NULL : d;
		if (av->family == AF_INET6)
			return NULL;
	}
	/*
	 * The address is that of a VLAN or of another upper netdev: find the device that has it as
	 * a GID.
	 */
	list_for_each_entry_rcu(d, prxe_devs(), node) {
		const struct ib_gid_attr *gid;

		if (READ_ONCE(d->unregistering) || !net_eq(dev_net(d->ndev), net))
			continue;
		gid = rdma_find_gid_by_port(&d->ib, &av->dgid, IB_GID_TYPE_ROCE_UDP_ENCAP,
					    PRXE_PORT, NULL);
		if (!IS_ERR(gid)) {
			rdma_put_gid_attr(gid);
			return d;
		}
	}
	return NULL;
}

#if IS_ENABLED(CONFIG_VLAN_8021Q)
u16 prxe_av_vlan(const struct prxe_dev *dev, const union ib_gid *gid, u32 prio)
{
	const struct net_device *ndev = NULL;
	struct net *net = dev_net(dev->ndev);

	/* The usual case: this netdev has no VLANs. */
	if (likely(!rcu_access_pointer(dev->ndev->vlan_info)))
		return 0;
	if (is_v4(gid))
		ndev = __ip_dev_find(net, v4(gid), false);
#if IS_ENABLED(CONFIG_IPV6)
	else
		ndev = ipv6_dev_find(net, (const struct in6_addr *)gid->raw, NULL);
#endif
	if (!ndev || !is_vlan_dev(ndev))
		return 0;
	return vlan_dev_vlan_id(ndev) | (prio << VLAN_PRIO_SHIFT & VLAN_PRIO_MASK);
}
#else
u16 prxe_av_vlan(const struct prxe_dev *dev, const union ib_gid *gid, u32 prio)
{
	return 0;
}
#endif

void prxe_av_grh(const struct prxe_av *av, u32 len, u8 grh[40])
{
	u32 udp_len = sizeof(struct udphdr) + PRXE_BTH_BYTES + DETH_BYTES + len + (-len & 3) +
		      PRXE_ICRC_BYTES;

	memset(grh, 0, 40);
	if (av->family == AF_INET) {
		struct iphdr *ip = (struct iphdr *)(grh + 20);

		ip->version = 4;
		ip->ihl = 5;
		ip->tos = av->tclass;
		ip->tot_len = cpu_to_be16(min_t(u32, sizeof(*ip) + udp_len, U16_MAX));
		ip->frag_off = cpu_to_be16(IP_DF);
		ip->ttl = av->hop_limit;
		ip->protocol = IPPROTO_UDP;
		ip->saddr = v4(&av->sgid);
		ip->daddr = v4(&av->dgid);
		ip->check = ip_fast_csum(ip, ip->ihl);
	} else {
		struct ipv6hdr *ip = (struct ipv6hdr *)grh;

		ip6_flow_hdr(ip, av->tclass, cpu_to_be32(av->flow_label));
		ip->payload_len = cpu_to_be16(min_t(u32, udp_len, U16_MAX));
		ip->nexthdr = IPPROTO_UDP;
		ip->hop_limit = av->hop_limit;
		memcpy(&ip->saddr, av->sgid.raw, sizeof(ip->saddr));
		memcpy(&ip->daddr, av->dgid.raw, sizeof(ip->daddr));
	}
}
