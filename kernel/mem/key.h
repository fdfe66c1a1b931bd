/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Memory regions and memory windows, and the table that maps a key to one of them.
 *
 * A key is an index and, in its low 8 bits, a variant; prxe_dev.keys (xarray, RCU) maps the index
 * to a struct prxe_mr. MRs and the key part of memory windows are both struct prxe_mr, freed by
 * RCU. A lookup takes no reference: the caller is inside RCU, and names the MR in its hazard window
 * (mmu/window.h) before it touches memory.
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
	PRXE_MR_PINNED,		/* user memory, pinned by umem; page[] has its addresses */
	PRXE_MR_ODP,		/* bounds only; the translations are in a mirror */
	PRXE_MR_DMA,		/* all of kernel memory, by kernel address; kernel PDs only */
	PRXE_MR_FAST,		/* of alloc_mr: map_mr_sg sets page[], REG_MR makes it live */
	PRXE_MR_MW,		/* a window over another MR */
};

enum prxe_mr_state {
	PRXE_MR_DEAD,
	PRXE_MR_FREE,		/* exists, but is not bound or registered: not usable */
	PRXE_MR_LIVE,
};

struct prxe_mr {
	struct ib_mr ibmr;		/* first; unused by an MW */
	struct prxe_dev *dev;
	struct ib_pd *pd;		/* rereg changes it, after prxe_window_sync() */
	enum prxe_mr_kind kind;
	int state;			/* enum prxe_mr_state; under lock */
	/*
	 * Odd while the MR is LIVE. It grows when the MR becomes LIVE and when it ceases to be;
	 * each copy compares it inside its hazard window.
	 */
	unsigned int seq;
	int access;			/* IB_ACCESS_* */
	u32 index;			/* in dev->keys */
	u32 lkey, rkey;			/* current values, variants included */
	u64 iova, length;
	/*
	 * Where iova is. ODP: user VA; pinned, fast: offset in the first page; memory window:
	 * address in the iova range of the MR under it; DMA: 0.
	 */
	u64 va;
	struct prxe_mirror *mirror;	/* ODP */
	struct ib_umem *umem;		/* pinned */
	unsigned long *page;		/* pinned, fast: kernel addresses of its pages */
	unsigned int page_shift;	/* log2 of the bytes of a page in page[] */
	u32 npages, max_pages;		/* fast */
	struct prxe_mr *under;		/* MW: the MR that it is bound to */
	u32 mw_qpn;			/* type 2 MW: the QP that bound it; else 0 */
	bool mw_type2;
	atomic_t bound;			/* how many MWs are bound to this MR */
	spinlock_t lock;		/* guards state, keys and binding; BH off */
	/* Misses of transfers, and pages that advise_mr asked for, in this MR. */
	atomic64_t faults, prefetches;
	struct rcu_head rcu;
};

static inline struct prxe_mr *to_prxe_mr(struct ib_mr *ibmr)
{
	return container_of(ibmr, struct prxe_mr, ibmr);
}

/*
 * A new MR or memory window of @kind in state FREE. It has no keys before prxe_mr_publish().
 * Sleeps. NULL: no memory. The caller frees it.
 */
struct prxe_mr *prxe_mr_alloc(struct ib_pd *pd, enum prxe_mr_kind kind, int access);
/*
 * Give @mr its index and keys, and put it into the table: lookups find it from here on, but the
 * gate refuses it until it is LIVE. Process context; sleeps if @gfp allows it. 0; -ENOSPC: no index
 * is free; -ENOMEM.
 */
int prxe_mr_publish(struct prxe_mr *mr, gfp_t gfp);
/*
 * The MR or memory window at the index of @key, or NULL. The caller checks its state, and that the
 * variant is the right one. Inside RCU.
 */
static inline struct prxe_mr *prxe_mr_find(struct prxe_dev *dev, u32 key)
{
	return xa_load(&dev->keys, key >> 8);
}

/*
 * As prxe_mr_find(), but looks at what this CPU found last before it searches the table. Inside
 * RCU, BH off.
 */
struct prxe_mr *prxe_mr_hit(struct prxe_dev *dev, u32 key);
/* Set up an empty table for a new device, before anybody can find it. */
void prxe_mr_keys_init(struct prxe_dev *dev);
/*
 * Take @mr out of the table, so that no lookup that begins later finds it. A reader that has found
 * it may use it until its RCU section ends. Process context; does not sleep.
 */
void prxe_mr_unpublish(struct prxe_mr *mr);
/*
 * Change the state, under mr->lock. Before set_live() the description is complete. After
 * set_not_live() the caller calls prxe_window_sync(mr): when that returns, no byte moves through
 * @mr.
 */
static inline void prxe_mr_set_live(struct prxe_mr *mr)
{
	mr->state = PRXE_MR_LIVE;
	/* Release: whoever reads the odd seq reads the description that belongs to it. */
	smp_store_release(&mr->seq, mr->seq + 1);
}

static inline void prxe_mr_set_not_live(struct prxe_mr *mr, enum prxe_mr_state state)
{
	if (mr->state == PRXE_MR_LIVE)
		WRITE_ONCE(mr->seq, mr->seq + 1);
	mr->state = state;
}

#endif
