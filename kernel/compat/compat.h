/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What differs between the kernels that prxe builds on, behind one face. Included before every source file. The
 * PRXE_HAVE_* come from probe.sh; only files in this directory look at them, but for features that a
 * kernel's published interface simply lacks.
 */
#ifndef PRXE_COMPAT_H
#define PRXE_COMPAT_H

#ifndef pr_fmt
#define pr_fmt(fmt) "prxe: " fmt
#endif

#include "prxe_compat_config.h"

#include <linux/crc32.h>
#include <linux/hrtimer.h>
#include <linux/mm.h>
#include <linux/timer.h>
#include <linux/workqueue.h>
#include <net/flow.h>
#include <net/inet_dscp.h>
#include <net/ip.h>
#include <net/udp_tunnel.h>
#include <rdma/ib_umem.h>
#include <rdma/ib_verbs.h>

#ifdef PRXE_HAVE_LINUX_UNALIGNED
#include <linux/unaligned.h>
#else
#include <asm/unaligned.h>
#endif

#ifndef PRXE_HAVE_IB_FLUSH
#include "flush.h"
#endif

/* ---- timers ---- */
static inline void prxe_hrtimer_setup(struct hrtimer *timer, enum hrtimer_restart (*fn)(struct hrtimer *),
				      clockid_t clock, enum hrtimer_mode mode)
{
#ifdef PRXE_HAVE_HRTIMER_SETUP
	hrtimer_setup(timer, fn, clock, mode);
#else
	hrtimer_init(timer, clock, mode);
	timer->function = fn;
#endif
}

#ifdef PRXE_HAVE_TIMER_CONTAINER_OF
#define prxe_from_timer(var, timer, field)	timer_container_of(var, timer, field)
#else
#define prxe_from_timer(var, timer, field)	from_timer(var, timer, field)
#endif

#ifdef PRXE_HAVE_TIMER_DELETE
#define prxe_timer_delete(t)		timer_delete(t)
#define prxe_timer_delete_sync(t)	timer_delete_sync(t)
#else
#define prxe_timer_delete(t)		del_timer(t)
#define prxe_timer_delete_sync(t)	del_timer_sync(t)
#endif

/* ---- workqueues ---- */
#ifdef PRXE_HAVE_WQ_PERCPU
#define PRXE_WQ_PERCPU	WQ_PERCPU
#else
#define PRXE_WQ_PERCPU	0
#endif

/* ---- CRC-32: is crc32_le() itself fast, or is the "crc32" shash to be asked for? icrc.c ---- */
#ifdef PRXE_HAVE_CRC32_OPTIMIZATIONS
static inline bool prxe_crc32_le_is_fast(void)
{
	return crc32_optimizations() & CRC32_LE_OPTIMIZATION;
}
#else
static inline bool prxe_crc32_le_is_fast(void)
{
	return false;
}
#endif

/* ---- memory ---- */
#ifndef VM_SHADOW_STACK
#define VM_SHADOW_STACK	VM_NONE
#endif

#ifdef PRXE_HAVE_YOUNG_BOOL
typedef bool prxe_young_t;	/* what the ageing callbacks of an mmu_notifier return */
#else
typedef int prxe_young_t;
#endif

static inline struct ib_umem *prxe_umem_get(struct ib_device *ib, unsigned long addr, size_t size, int access)
{
#ifdef PRXE_HAVE_UMEM_GET
	return ib_umem_get(ib, addr, size, access);
#else
	return ib_umem_get_va(ib, addr, size, access);
#endif
}

static inline void prxe_vm_flags_mod(struct vm_area_struct *vma, unsigned long set, unsigned long clear)
{
#ifdef PRXE_HAVE_VM_FLAGS_SET
	vm_flags_set(vma, set);
	vm_flags_clear(vma, clear);
#else
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
#endif
}

/* ---- UDP and routes ---- */
static inline void prxe_udp_tunnel_setup(struct net *net, struct socket *sock, struct udp_tunnel_sock_cfg *cfg)
{
#ifdef PRXE_HAVE_TUNNEL_SOCK_SK
	setup_udp_tunnel_sock(net, sock->sk, cfg);
#else
	setup_udp_tunnel_sock(net, sock, cfg);
#endif
}

/* No receive callback runs any more when it returns. Sleeps. */
static inline void prxe_udp_tunnel_release(struct socket *sock)
{
#ifdef PRXE_HAVE_TUNNEL_RELEASE_SK
	udp_tunnel_sock_release(sock->sk);
	synchronize_rcu();
#else
	udp_tunnel_sock_release(sock);
#endif
}

/* Consumes the skb and the route reference, as the kernel's. */
static inline void prxe_udp_tunnel_xmit(struct rtable *rt, struct sock *sk, struct sk_buff *skb, __be32 src,
					__be32 dst, u8 tos, u8 ttl, __be16 df, __be16 sport, __be16 dport,
					bool xnet, bool nocheck)
{
#ifdef PRXE_HAVE_TUNNEL_IPCB
	udp_tunnel_xmit_skb(rt, sk, skb, src, dst, tos, ttl, df, sport, dport, xnet, nocheck, 0);
#else
	udp_tunnel_xmit_skb(rt, sk, skb, src, dst, tos, ttl, df, sport, dport, xnet, nocheck);
#endif
}

static inline void prxe_udp_tunnel6_xmit(struct dst_entry *dst, struct sock *sk, struct sk_buff *skb,
					 struct net_device *dev, const struct in6_addr *saddr,
					 const struct in6_addr *daddr, u8 prio, u8 ttl, __be32 label,
					 __be16 sport, __be16 dport, bool nocheck)
{
#if !IS_ENABLED(CONFIG_IPV6)
	dst_release(dst);
	kfree_skb(skb);
#elif defined(PRXE_HAVE_TUNNEL6_IPCB)
	udp_tunnel6_xmit_skb(dst, sk, skb, dev, saddr, (struct in6_addr *)daddr, prio, ttl, label, sport, dport,
			     nocheck, 0);
#else
	udp_tunnel6_xmit_skb(dst, sk, skb, dev, (struct in6_addr *)saddr, (struct in6_addr *)daddr, prio, ttl, label,
			     sport, dport, nocheck);
#endif
}

static inline void prxe_flowi4_set_tos(struct flowi4 *fl4, u8 tos)
{
#ifdef PRXE_HAVE_FLOWI4_DSCP
	fl4->flowi4_dscp = inet_dsfield_to_dscp(tos);
#else
	fl4->flowi4_tos = tos & INET_DSCP_MASK;
#endif
}

/* The arguments of an encap_err_rcv callback after (sk, skb); all may be unused. */
#ifdef PRXE_HAVE_ENCAP_ERR_RCV_LONG
#define PRXE_ENCAP_ERR_RCV_ARGS	int err, __be16 port, u32 info, u8 *payload
#else
#define PRXE_ENCAP_ERR_RCV_ARGS	unsigned int udp_offset
#endif

/* ---- the RDMA core ---- */
/* The user chose the name in "rdma link add": udev is not to rename the device. */
static inline void prxe_mark_user_name(struct ib_device *ib)
{
#ifdef PRXE_HAVE_MARK_USER_NAME
	ib_mark_name_assigned_by_user(ib);
#endif
}

/* Cores that do not know FLUSH refuse its access flags: then there is no such capability. */
#ifdef PRXE_HAVE_IB_FLUSH
#define PRXE_DEVICE_CAP_FLUSH		IB_DEVICE_FLUSH_GLOBAL
#else
#define PRXE_DEVICE_CAP_FLUSH		0
#endif

/* ODP capability bits that older kernels do not publish. */
#ifdef PRXE_HAVE_ODP_FLUSH_CAPS
#define PRXE_ODP_CAP_FLUSH		IB_ODP_SUPPORT_FLUSH
#define PRXE_ODP_CAP_ATOMIC_WRITE	IB_ODP_SUPPORT_ATOMIC_WRITE
#else
#define PRXE_ODP_CAP_FLUSH		0
#define PRXE_ODP_CAP_ATOMIC_WRITE	0
#endif


#endif
