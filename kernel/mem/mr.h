/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Memory regions, memory windows and their keys.
 *
 * A key is index << 8 | variant; prxe_dev.keys (xarray, RCU) maps the index to a struct prxe_mr. MRs and the key part of MWs
 * are both struct prxe_mr, freed by RCU. A hit takes no reference: it is inside RCU and names the MR in its window.
 */
#ifndef PRXE_MR_H
#define PRXE_MR_H

#include <linux/mutex.h>
#include <linux/xarray.h>
#include <rdma/ib_umem.h>
#include <rdma/ib_verbs.h>
#include "base/prxe.h"

struct prxe_mirror;
struct prxe_qp;
struct prxe_wqe;

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

struct prxe_mw {
	struct ib_mw ib;		/* first; the core's object */
	struct prxe_mr *key;
};

static inline struct prxe_mw *to_prxe_mw(struct ib_mw *ib)
{
	return container_of(ib, struct prxe_mw, ib);
}

static inline struct prxe_mr *to_prxe_mr(struct ib_mr *ibmr)
{
	return container_of(ibmr, struct prxe_mr, ibmr);
}

/* Verbs entry points, as in struct ib_device_ops (version differences are wrapped in compat by the caller). */
struct ib_mr *prxe_get_dma_mr(struct ib_pd *pd, int access);
struct ib_mr *prxe_reg_user_mr(struct ib_pd *pd, u64 start, u64 length, u64 iova, int access, struct ib_udata *udata);
struct ib_mr *prxe_rereg_user_mr(struct ib_mr *mr, int flags, u64 start, u64 length, u64 iova, int access,
				 struct ib_pd *pd, struct ib_udata *udata);
int prxe_dereg_mr(struct ib_mr *mr, struct ib_udata *udata);
struct ib_mr *prxe_alloc_mr(struct ib_pd *pd, enum ib_mr_type type, u32 max_num_sg);
int prxe_map_mr_sg(struct ib_mr *mr, struct scatterlist *sg, int nents, unsigned int *offset);
int prxe_advise_mr(struct ib_pd *pd, enum ib_uverbs_advise_mr_advice advice, u32 flags, struct ib_sge *sg, u32 num_sge,
		   struct uverbs_attr_bundle *attrs);
int prxe_alloc_mw(struct ib_mw *mw, struct ib_udata *udata);
int prxe_dealloc_mw(struct ib_mw *mw);

/*
 * Work requests on keys; called by the requester and the responder, BH off or process context, never sleeping. 0, or
 * -EACCES/-EINVAL: the WR fails (local: IB_WC_MW_BIND_ERR or LOC_QP_OP_ERR; remote invalidate: REM_ACCESS / invalid
 * request). After prxe_key_invalidate() returns 0 no byte moves through the key.
 */
int prxe_key_invalidate(struct prxe_qp *qp, u32 key, bool remote);
int prxe_mw_bind(struct prxe_qp *qp, const struct prxe_wqe *wqe);
int prxe_mr_fast_reg(struct prxe_qp *qp, const struct prxe_wqe *wqe);

/* mr.c and mw.c between themselves. */
struct prxe_mr *prxe_mr_alloc(struct ib_pd *pd, enum prxe_mr_kind kind, int access);	/* FREE, with keys that nobody finds yet */
int prxe_mr_publish(struct prxe_mr *mr, gfp_t gfp);					/* allocate the index, so that keys are found */
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
