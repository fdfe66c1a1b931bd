/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What a key stands for: memory regions and memory windows, and the table from one to the other.
 *
 * A key is an index and, in its low 8 bits, a variant; prxe_dev.keys (xarray, RCU) maps the index
 * to a struct prxe_mr. MRs and the key part of memory windows are both struct prxe_mr, freed by
 * RCU. Who finds one takes no reference: it is inside RCU, and names the MR in its window
 * (mmu/window.h).
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

enum prxe_mr_state {
	PRXE_MR_DEAD,
	PRXE_MR_FREE,		/* not usable until it is bound or registered */
	PRXE_MR_LIVE,
};

struct prxe_mr {
	struct ib_mr ibmr;		/* first; unused by an MW */
	struct prxe_dev *dev;
	struct ib_pd *pd;		/* changes with rereg only, under window sync */
	enum prxe_mr_kind kind;
	int state;			/* enum prxe_mr_state; under lock */
	/* Odd: LIVE. Grows when the MR goes into LIVE or out of it; compared inside each window. */
	unsigned int seq;
	int access;			/* IB_ACCESS_* */
	u32 index;			/* in dev->keys */
	u32 lkey, rkey;			/* current values, variants included */
	u64 iova, length;
	u64 va;				/* of iova: ODP: user VA; else offset in the 1st page */
	struct prxe_mirror *mirror;	/* ODP */
	struct ib_umem *umem;		/* pinned */
	unsigned long *page;		/* pinned, fast: kernel addresses of its pages */
	unsigned int page_shift;
	u32 npages, max_pages;		/* fast */
	struct prxe_mr *under;		/* MW: the MR that it is bound to */
	u32 mw_qpn;			/* type 2 MW: the QP that bound it; else 0 */
	bool mw_type2;
	atomic_t bound;			/* MWs bound to this MR */
	spinlock_t lock;		/* changes of state, key and binding; BH off */
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

/* The same, from what this CPU found last; BH off too. */
struct prxe_mr *prxe_mr_hit(struct prxe_dev *dev, u32 key);
/* An empty table, at the device's birth. */
void prxe_mr_keys_init(struct prxe_dev *dev);
/* Out of the table: nobody new finds it. */
void prxe_mr_unpublish(struct prxe_mr *mr);
/*
 * Into LIVE: the description is complete. Out of it: then the caller calls prxe_window_sync(mr).
 * Under mr->lock.
 */
static inline void prxe_mr_set_live(struct prxe_mr *mr)
{
	mr->state = PRXE_MR_LIVE;
	/* After the description: who sees an odd number sees that. */
	smp_store_release(&mr->seq, mr->seq + 1);
}

static inline void prxe_mr_set_not_live(struct prxe_mr *mr, enum prxe_mr_state state)
{
	if (mr->state == PRXE_MR_LIVE)
		WRITE_ONCE(mr->seq, mr->seq + 1);
	mr->state = state;
}

#endif
