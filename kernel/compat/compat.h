/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The differences between the kernels that prxe supports, behind one interface. Kbuild includes
 * this file before every source file. probe.sh finds out which PRXE_HAVE_* to define; only files in
 * this directory test them.
 */
#ifndef PRXE_COMPAT_H
#define PRXE_COMPAT_H

#ifndef pr_fmt
#define pr_fmt(fmt) "prxe: " fmt
#endif

#include "supported.h"
#include "prxe_compat_config.h"

#include <linux/crc32.h>
#include <linux/hrtimer.h>
#include <linux/mm.h>
#include <net/flow.h>
#include <net/inet_dscp.h>
#include <net/udp_tunnel.h>
#include <rdma/ib_umem.h>
#include <rdma/ib_verbs.h>

#ifndef PRXE_HAVE_SWAPIN_NOWAIT
#include <linux/swap.h>
#include <linux/swapops.h>
#endif

#ifdef PRXE_HAVE_LINUX_UNALIGNED
#include <linux/unaligned.h>
#else
#include <asm/unaligned.h>
#endif

#ifndef PRXE_HAVE_IB_FLUSH
#include "flush.h"
#endif

/* ---- timers ---- */
static inline void prxe_hrtimer_setup(struct hrtimer *timer,
				      enum hrtimer_restart (*fn)(struct hrtimer *),
				      clockid_t clock, enum hrtimer_mode mode)
{
#ifdef PRXE_HAVE_HRTIMER_SETUP
	hrtimer_setup(timer, fn, clock, mode);
#else
	hrtimer_init(timer, clock, mode);
	timer->function = fn;
#endif
}

/* ---- CRC-32: is crc32_le() fast by itself, or should icrc.c ask for the "crc32" shash? ---- */
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

static inline struct ib_umem *prxe_umem_get(struct ib_device *ib, unsigned long addr, size_t size,
					    int access)
{
#ifdef PRXE_HAVE_UMEM_GET
	return ib_umem_get(ib, addr, size, access);
#else
	return ib_umem_get_va(ib, addr, size, access);
#endif
}

static inline void prxe_vm_flags_mod(struct vm_area_struct *vma, unsigned long set,
				     unsigned long clear)
{
#ifdef PRXE_HAVE_VM_FLAGS_SET
	vm_flags_set(vma, set);
	vm_flags_clear(vma, clear);
#else
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
#endif
}

/* Does what mmap_write_trylock() does in older kernels (6.1); newer ones (6.12) do not have it. */
static inline bool prxe_mmap_write_trylock(struct mm_struct *mm)
{
	if (!down_write_trylock(&mm->mmap_lock))
		return false;
#ifdef PRXE_HAVE_MM_LOCK_SEQCOUNT
	mm_lock_seqcount_begin(mm);	/* mmap_write_unlock() ends it */
#endif
	return true;
}

/*
 * Would a fault of @addr wait for a swap device, with mmap_lock held, in spite of RETRY_NOWAIT?
 * Kernels before 6.6 do, for a page that they read alone. So the answer there is whether @addr has
 * been swapped out. Only a look: it may be swapped out at once. mmap_lock is held, which keeps the
 * tables.
 */
static inline bool prxe_swapin_waits(struct mm_struct *mm, unsigned long addr)
{
#ifndef PRXE_HAVE_SWAPIN_NOWAIT
	pgd_t *pgd = pgd_offset(mm, addr);
	p4d_t *p4d;
	pud_t *pud;
	pmd_t pmd;
	pte_t pte, *ptep;

	if (pgd_none(*pgd) || pgd_bad(*pgd))
		return false;
	p4d = p4d_offset(pgd, addr);
	if (p4d_none(*p4d) || p4d_bad(*p4d))
		return false;
	pud = pud_offset(p4d, addr);
	if (pud_none(*pud) || pud_bad(*pud))
		return false;
	pmd = READ_ONCE(*pmd_offset(pud, addr));
	if (!pmd_present(pmd) || pmd_trans_huge(pmd) || pmd_devmap(pmd) || pmd_bad(pmd))
		return false;
	ptep = pte_offset_map(&pmd, addr);
	pte = READ_ONCE(*ptep);
	pte_unmap(ptep);
	return is_swap_pte(pte) && !non_swap_entry(pte_to_swp_entry(pte));
#else
	return false;
#endif
}

/* ---- UDP and routes ---- */
static inline void prxe_udp_tunnel_setup(struct net *net, struct socket *sock,
					 struct udp_tunnel_sock_cfg *cfg)
{
#ifdef PRXE_HAVE_TUNNEL_SOCK_SK
	setup_udp_tunnel_sock(net, sock->sk, cfg);
#else
	setup_udp_tunnel_sock(net, sock, cfg);
#endif
}

/* Close the socket. When this returns, its receive callback does not run any more. Sleeps. */
static inline void prxe_udp_tunnel_release(struct socket *sock)
{
#ifdef PRXE_HAVE_TUNNEL_RELEASE_SK
	udp_tunnel_sock_release(sock->sk);
	synchronize_rcu();
#else
	udp_tunnel_sock_release(sock);
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

/* ---- the RDMA core ---- */
/* Tell udev not to rename the device, because the user chose its name in "rdma link add". */
static inline void prxe_mark_user_name(struct ib_device *ib)
{
#ifdef PRXE_HAVE_MARK_USER_NAME
	ib_mark_name_assigned_by_user(ib);
#endif
}

/* Cores that do not know FLUSH refuse its access flags, so there the capability is not reported. */
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
