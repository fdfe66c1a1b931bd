/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What a key stands for: memory regions and memory windows, and the table from one to the other.
 *
 * A key is index << 8 | variant; prxe_dev.keys (xarray, RCU) maps the index to a struct prxe_mr. MRs and the key part of MWs
 * are both struct prxe_mr, freed by RCU. A hit takes no reference: it is inside RCU and names the MR in its window.
 */
#ifndef PRXE_KEY_H
#define PRXE_KEY_H

#include <linux/spinlock.h>
#include <linux/xarray.h>
#include <rdma/ib_verbs.h>
#include "base/prxe.h"

struct ib_umem;
struct prxe_mirror;

enum prxe_mr_kind {
	PRXE_MR_PINNED,		/* umem, page[] of kernel addresses */
	PRXE_MR_ODP,		/* bounds over a mirror */
	PRXE_MR_DMA,		/* everything, kernel addresses: kernel PDs only */
	PRXE_MR_FAST,		/* alloc_mr: page[] set by map_mr_sg, enabled by REG_MR */
	PRXE_MR_MW,		/* a window over another MR */
};

enum prxe_mr_state { PRXE_MR_DEAD, PRXE_MR_FREE /* not usable until bound or registered */, PRXE_MR_LIVE };

struct prxe_mr {
	struct ib_mr ibmr;		/* first; unused by an MW */
	struct prxe_dev *dev;
	struct ib_pd *pd;		/* changes with rereg only, under window sync */
	enum prxe_mr_kind kind;
	int state;			/* enum prxe_mr_state; under lock */
	unsigned int seq;		/* odd: usable (LIVE). Grows with every change of state; the hit path's check, inside a window */
	int access;			/* IB_ACCESS_* */
	u32 index;			/* in dev->keys */
	u32 lkey, rkey;			/* current values, variants included */
	u64 iova, length;
	u64 va;				/* ODP: user VA of iova; pinned: iova's offset in the first page */
	struct prxe_mirror *mirror;	/* ODP */
	struct ib_umem *umem;		/* pinned */
	unsigned long *page;		/* pinned, fast: kernel addresses of pages of 1 << page_shift */
	unsigned int page_shift;
	u32 npages, max_pages;		/* fast */
	struct prxe_mr *under;		/* MW: the MR it is bound to; a bound MR refuses deregistration (EBUSY) */
	u32 mw_qpn;			/* type 2 MW: the QP that bound it; else 0 */
	bool mw_type2;
	atomic_t bound;			/* MWs bound to this MR */
	spinlock_t lock;		/* state, key and binding changes; BH off (WRs change them) */
	atomic64_t faults, prefetches;	/* of this MR: pages missed, pages asked for by advise_mr */
	struct rcu_head rcu;
};

static inline struct prxe_mr *to_prxe_mr(struct ib_mr *ibmr)
{
	return container_of(ibmr, struct prxe_mr, ibmr);
}

/* FREE, with keys that nobody finds yet. */
struct prxe_mr *prxe_mr_alloc(struct ib_pd *pd, enum prxe_mr_kind kind, int access);
/* Allocate the index, so that keys are found. */
int prxe_mr_publish(struct prxe_mr *mr, gfp_t gfp);
/* Inside RCU; any state, any variant. */
static inline struct prxe_mr *prxe_mr_find(struct prxe_dev *dev, u32 key)
{
	return xa_load(&dev->keys, key >> 8);
}
/* key.c: the same for hits, from what this CPU found last; BH off. And out of the table: nobody new finds it. */
struct prxe_mr *prxe_mr_hit(struct prxe_dev *dev, u32 key);
void prxe_mr_keys_init(struct prxe_dev *dev);
void prxe_mr_unpublish(struct prxe_mr *mr);
/* Under mr->lock: into LIVE (the description is complete), or out of it; the latter then needs prxe_window_sync(mr). */
static inline void prxe_mr_set_live(struct prxe_mr *mr)
{
	mr->state = PRXE_MR_LIVE;
	smp_store_release(&mr->seq, mr->seq + 1);
}

static inline void prxe_mr_set_not_live(struct prxe_mr *mr, enum prxe_mr_state state)
{
	if (mr->state == PRXE_MR_LIVE)
		WRITE_ONCE(mr->seq, mr->seq + 1);
	mr->state = state;
}

#endif
