/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The device, its limits, and declarations that every layer uses. */
#ifndef PRXE_H
#define PRXE_H

#include <linux/list.h>
#include <linux/netdevice.h>
#include <linux/percpu.h>
#include <linux/xarray.h>
#include <rdma/ib_verbs.h>
#include <rdma/uverbs_ioctl.h>
#include "base/stats.h"
#include "uapi/prxe-abi.h"
#include "uapi/prxe-ioctl.h"

#define PRXE_PORT		1
#define PRXE_MIN_QPN		16
#define PRXE_MAX_QP		((1 << 20) - 16)
#define PRXE_MAX_QP_WR		(1 << 20)
#define PRXE_MAX_SGE		32
#define PRXE_MAX_SRQ_SGE	27
#define PRXE_MAX_INLINE		512
#define PRXE_MAX_CQE		((1 << 20) - 1)
#define PRXE_MAX_RD_ATOM	128
#define PRXE_MAX_MSG		(1U << 31)
#define PRXE_MAX_FAST_PAGES	512
#define PRXE_GID_TABLE		1024
#define PRXE_MAX_AH		32767	/* for each user context */
#define PRXE_MAX_KEYS		(1U << 24)	/* indices of keys: MRs and MWs together */

struct prxe_net;
struct rhashtable;

struct prxe_dev {
	struct ib_device ib;		/* first */
	struct net_device *ndev;	/* held until dealloc_driver */
	struct prxe_net *pnet;		/* the UDP sockets of its namespace; a reference */
	struct list_head node;		/* all devices; registry.c */
	/* Read for every message. It gets a new number after each removal of a key: mem/key.c. */
	unsigned long key_removals ____cacheline_aligned_in_smp;
	struct prxe_stats __percpu *stats;
	/* index -> struct prxe_mr; XA_FLAGS_ALLOC1, RCU reads */
	struct xarray keys ____cacheline_aligned_in_smp;
	u32 next_key;
	struct xarray qps;		/* qpn -> struct prxe_qp; RCU, then prxe_qp_tryget() */
	u32 next_qpn;
	struct xarray ahs;		/* ah_num -> struct prxe_ah; RCU reads */
	u32 next_ah, next_kernel_ah;
	bool was_up;			/* the port state that consumers were told last */
	bool unregistering;		/* it leaves the list, or has left it: no new work */
	bool users_removed;		/* the core removes its users: user QPs stay in ERR */
	u8 mac[ETH_ALEN];
	__be64 guid;
	spinlock_t mcast_lock;		/* for changes of groups and members; mcast.c */
	struct rhashtable *mcast;	/* groups by GID; RCU reads */
	unsigned int mcast_groups;
	atomic_t num_srq, num_cq;
	atomic_t held;			/* bytes of received packets that wait; wire_hold.c */
};

static inline struct prxe_dev *to_prxe_dev(struct ib_device *ib)
{
	return container_of(ib, struct prxe_dev, ib);
}

struct prxe_ucontext {
	struct ib_ucontext ib;		/* first */
	struct prxe_dev *dev;
	struct mutex lock;		/* guards mirror; never taken inside mmap() */
	/*
	 * Of the first process that registered ODP memory; kept until the context is closed, or
	 * until another mirror takes the place of a dead one.
	 */
	struct prxe_mirror *mirror;
	u64 features;
	atomic_t num_ah, num_mcast;	/* AHs and multicast memberships, which are limited */
};

struct prxe_pd {
	struct ib_pd ib;		/* first */
};

static inline struct prxe_ucontext *to_prxe_ucontext(struct ib_ucontext *ib)
{
	return container_of(ib, struct prxe_ucontext, ib);
}

/* Module parameters (params.c) */
extern bool prxe_force_wire;		/* read when a QP goes to RTR */
extern bool prxe_rxe_compat;
extern bool prxe_ageing;		/* the MM is told which pages transfers have used */
extern unsigned int prxe_park_ms;	/* how long a wire request waits for a fault */
extern bool prxe_icrc_on;		/* ICRCs are made and checked */
extern bool prxe_ecn_on;		/* congestion marks are asked for, and heeded */
extern unsigned int prxe_train_pkts;	/* packets that leave as one skb at most */
extern bool prxe_force_fault;		/* tests: every access to ODP memory faults first */

extern struct workqueue_struct *prxe_wq;	/* WQ_MEM_RECLAIM | WQ_UNBOUND; of all layers */

#endif
