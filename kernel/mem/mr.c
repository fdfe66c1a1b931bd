// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Memory regions: the verbs that create, change and destroy them, and advice. It uses the table of
 * keys (key.h) and an address space's mirror (mmu/), which holds the translations of ODP MRs.
 *
 * An MR is destroyed in three steps. Dead: its state and seq change under its lock, and its index
 * is erased. Synchronised: prxe_window_sync() has seen every CPU leave the hazard windows that name
 * it; from then on no byte moves through it. Freed: what it holds is given back, and its own memory
 * is freed by RCU, because the gate looks at it without a reference.
 */
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <rdma/ib_umem.h>
#include "base/prxe.h"
#include "base/trace.h"
#include "mem/key.h"
#include "mem/mr.h"
#include "mem/who.h"
#include "mmu/fault.h"
#include "mmu/mirror.h"
#include "mmu/prefetch.h"
#include "mmu/window.h"

#define ACCESS_MR	(IB_ACCESS_LOCAL_WRITE | IB_ACCESS_REMOTE_WRITE | IB_ACCESS_REMOTE_READ | \
			 IB_ACCESS_REMOTE_ATOMIC | IB_ACCESS_MW_BIND | IB_ACCESS_ON_DEMAND | \
			 IB_ACCESS_HUGETLB | IB_ACCESS_FLUSH_GLOBAL)

/* @mr is complete: give it its keys, and let the gate grant them. */
static int mr_go_live(struct prxe_mr *mr)
{
	int ret = prxe_mr_publish(mr, GFP_KERNEL_ACCOUNT);

	if (ret)
		return ret;
	spin_lock_bh(&mr->lock);
	prxe_mr_set_live(mr);
	spin_unlock_bh(&mr->lock);
	return 0;
}

/* Free the MR and what it holds. No byte can move through it any more. */
static void mr_free(struct prxe_mr *mr)
{
	if (mr->umem)
		ib_umem_release(mr->umem);
	kvfree(mr->page);
	if (mr->kind == PRXE_MR_ODP && mr->mirror)
		prxe_mirror_unuse(mr->mirror);	/* the mirror is freed by RCU, as the MR is */
	kfree_rcu(mr, rcu);
}

int prxe_dereg_mr(struct ib_mr *ibmr, struct ib_udata *udata)
{
	struct prxe_mr *mr = to_prxe_mr(ibmr);

	spin_lock_bh(&mr->lock);
	if (atomic_read(&mr->bound)) {
		spin_unlock_bh(&mr->lock);
		return -EBUSY;
	}
	prxe_mr_set_not_live(mr, PRXE_MR_DEAD);
	spin_unlock_bh(&mr->lock);
	prxe_mr_unpublish(mr);

	prxe_window_sync(mr);

	mr_free(mr);
	return 0;
}

/* ---- DMA MRs: all of kernel memory, for kernel PDs ---- */

struct ib_mr *prxe_get_dma_mr(struct ib_pd *pd, int access)
{
	struct prxe_mr *mr = prxe_mr_alloc(pd, PRXE_MR_DMA, access & ~IB_ACCESS_OPTIONAL);
	int ret;

	if (!mr)
		return ERR_PTR(-ENOMEM);
	mr->length = U64_MAX;
	ret = mr_go_live(mr);
	if (ret) {
		kfree(mr);
		return ERR_PTR(ret);
	}
	return &mr->ibmr;
}

/* ---- user memory ---- */

/*
 * The mirror of current->mm, with one more user: the MR. The context is a user of it, too, so that
 * a program that registers and deregisters in a loop does not have it built each time.
 */
static struct prxe_mirror *context_mirror(struct ib_pd *pd)
{
	struct prxe_mirror *mirror, *old = NULL;
	struct prxe_ucontext *uctx;

	if (!pd->uobject)
		/* A kernel consumer registers memory of its caller. */
		return prxe_mirror_get_current();

	uctx = to_prxe_ucontext(pd->uobject->context);
	if (mutex_lock_killable(&uctx->lock))
		return ERR_PTR(-EINTR);
	mirror = uctx->mirror;
	if (mirror && !READ_ONCE(mirror->dead) && mirror->mm == current->mm) {
		prxe_mirror_use(mirror);
		goto out;
	}
	mirror = prxe_mirror_get_current();
	if (IS_ERR(mirror))
		goto out;
	/*
	 * A process that inherited the context has a mirror of its own, which the context does not
	 * keep. But if the process of the context called exec(), its old mirror is dead, and the
	 * context keeps the new one.
	 */
	if (!uctx->mirror || READ_ONCE(uctx->mirror->dead)) {
		old = uctx->mirror;
		prxe_mirror_use(mirror);
		uctx->mirror = mirror;
	}
out:
	mutex_unlock(&uctx->lock);
	if (old)
		prxe_mirror_unuse(old);
	return mirror;
}

static int mr_init_odp(struct prxe_mr *mr, u64 start, u64 length, u64 iova)
{
	struct prxe_mirror *mirror;
	u64 va = untagged_addr(start);

	if (!start && length == U64_MAX) {
		/* An implicit MR: the whole address space. A fault finds out what memory it has. */
		if (iova || (mr->access & IB_ACCESS_HUGETLB))
			return -EINVAL;
	} else if (!length || va >= TASK_SIZE || length > TASK_SIZE - va) {
		return -EINVAL;
	}
	if (!current->mm)
		return -EINVAL;
	mirror = context_mirror(mr->pd);
	if (IS_ERR(mirror))
		return PTR_ERR(mirror);
	mr->mirror = mirror;
	mr->va = va;
	return 0;
}

static int mr_init_pinned(struct prxe_mr *mr, u64 start, u64 length)
{
	struct sg_page_iter it;
	struct ib_umem *umem;
	size_t n, i = 0;

	if (mr->access & IB_ACCESS_HUGETLB)
		return -EINVAL;
	if (start > ULONG_MAX || length > ULONG_MAX)
		return -EINVAL;
	umem = prxe_umem_get(&mr->dev->ib, start, length, mr->access);
	if (IS_ERR(umem))
		return PTR_ERR(umem);
	mr->umem = umem;
	n = ib_umem_num_pages(umem);
	mr->page = kvmalloc_array(n, sizeof(*mr->page), GFP_KERNEL_ACCOUNT);
	if (!mr->page)
		return -ENOMEM;
	for_each_sgtable_page(&umem->sgt_append.sgt, &it, 0) {
		if (WARN_ON_ONCE(i == n))
			return -EINVAL;
		mr->page[i++] = (unsigned long)page_address(sg_page_iter_page(&it));
		if (!(i & 0xfff))
			cond_resched();
	}
	if (WARN_ON_ONCE(i != n))
		return -EINVAL;
	mr->va = ib_umem_offset(umem);
	return 0;
}

struct ib_mr *prxe_reg_user_mr(struct ib_pd *pd, u64 start, u64 length, u64 iova, int access,
			       struct ib_udata *udata)
{
	struct prxe_mr *mr;
	int ret;

	access &= ~IB_ACCESS_OPTIONAL;
	if (access & ~ACCESS_MR)
		return ERR_PTR(-EOPNOTSUPP);
	if ((access & (IB_ACCESS_REMOTE_WRITE | IB_ACCESS_REMOTE_ATOMIC)) &&
	    !(access & IB_ACCESS_LOCAL_WRITE))
		return ERR_PTR(-EINVAL);
	if (length && iova > U64_MAX - (length - 1))
		return ERR_PTR(-EINVAL);

	mr = prxe_mr_alloc(pd, access & IB_ACCESS_ON_DEMAND ? PRXE_MR_ODP : PRXE_MR_PINNED, access);
	if (!mr)
		return ERR_PTR(-ENOMEM);
	mr->iova = iova;
	mr->length = length;
	mr->ibmr.iova = iova;
	mr->ibmr.length = length;
	if (mr->kind == PRXE_MR_ODP)
		ret = mr_init_odp(mr, start, length, iova);
	else
		ret = mr_init_pinned(mr, start, length);
	if (!ret)
		ret = mr_go_live(mr);
	if (ret) {
		mr_free(mr);
		return ERR_PTR(ret);
	}
	return &mr->ibmr;
}

/*
 * A change of PD or access is made in place: the MR is made unusable, synchronised, and made live
 * again with the same keys; accesses meanwhile are refused. New translations, another kind of
 * memory, or write access to pages that were pinned for reading need a new MR, which the core puts
 * in the place of the old one.
 */
struct ib_mr *prxe_rereg_user_mr(struct ib_mr *ibmr, int flags, u64 start, u64 length, u64 iova,
				 int access, struct ib_pd *pd, struct ib_udata *udata)
{
	struct prxe_mr *mr = to_prxe_mr(ibmr);
	bool odp = mr->kind == PRXE_MR_ODP;

	if (flags & ~(IB_MR_REREG_TRANS | IB_MR_REREG_PD | IB_MR_REREG_ACCESS))
		return ERR_PTR(-EOPNOTSUPP);
	if (!odp && mr->kind != PRXE_MR_PINNED)
		return ERR_PTR(-EINVAL);
	access = flags & IB_MR_REREG_ACCESS ? access & ~IB_ACCESS_OPTIONAL : mr->access;
	if (access & ~ACCESS_MR)
		return ERR_PTR(-EOPNOTSUPP);
	if ((access & (IB_ACCESS_REMOTE_WRITE | IB_ACCESS_REMOTE_ATOMIC)) &&
	    !(access & IB_ACCESS_LOCAL_WRITE))
		return ERR_PTR(-EINVAL);
	if (!(flags & IB_MR_REREG_PD))
		pd = mr->pd;
	if (atomic_read(&mr->bound))
		return ERR_PTR(-EBUSY);

	if (flags & IB_MR_REREG_TRANS)
		return prxe_reg_user_mr(pd, start, length, iova, access, udata);
	if (odp != !!(access & IB_ACCESS_ON_DEMAND) ||
	    ((access ^ mr->access) & IB_ACCESS_HUGETLB) ||
	    (!odp && ib_access_writable(access) && !mr->umem->writable))
		return prxe_reg_user_mr(pd, odp ? mr->va : mr->umem->address, mr->length, mr->iova,
					access, udata);

	spin_lock_bh(&mr->lock);
	if (atomic_read(&mr->bound)) {
		spin_unlock_bh(&mr->lock);
		return ERR_PTR(-EBUSY);
	}
	prxe_mr_set_not_live(mr, PRXE_MR_FREE);
	/*
	 * A CPU inside a hazard window waits for nothing, so waiting for it with our lock held
	 * cannot deadlock.
	 */
	prxe_window_sync(mr);
	WRITE_ONCE(mr->pd, pd);
	WRITE_ONCE(mr->access, access);
	prxe_mr_set_live(mr);
	spin_unlock_bh(&mr->lock);
	return NULL;
}

/* ---- fast registration: kernel consumers ---- */

struct ib_mr *prxe_alloc_mr(struct ib_pd *pd, enum ib_mr_type type, u32 max_num_sg)
{
	struct prxe_mr *mr;
	int ret;

	if (type != IB_MR_TYPE_MEM_REG || !max_num_sg || max_num_sg > PRXE_MAX_FAST_PAGES)
		return ERR_PTR(-EINVAL);
	mr = prxe_mr_alloc(pd, PRXE_MR_FAST, 0);
	if (!mr)
		return ERR_PTR(-ENOMEM);
	mr->ibmr.type = type;
	mr->max_pages = max_num_sg;
	mr->page = kvcalloc(max_num_sg, sizeof(*mr->page), GFP_KERNEL);
	ret = mr->page ? prxe_mr_publish(mr, GFP_KERNEL) : -ENOMEM;
	if (ret) {
		mr_free(mr);
		return ERR_PTR(ret);
	}
	return &mr->ibmr;
}

static int set_page_fast(struct ib_mr *ibmr, u64 addr)
{
	struct prxe_mr *mr = to_prxe_mr(ibmr);

	if (mr->npages == mr->max_pages)
		return -ENOMEM;
	/* There is no DMA device: the core's DMA addresses are kernel addresses. */
	mr->page[mr->npages++] = addr;
	return 0;
}

int prxe_map_mr_sg(struct ib_mr *ibmr, struct scatterlist *sg, int nents, unsigned int *offset)
{
	struct prxe_mr *mr = to_prxe_mr(ibmr);

	if (mr->kind != PRXE_MR_FAST)
		return -EINVAL;
	mr->npages = 0;
	return ib_sg_to_pages(ibmr, sg, nents, offset, set_page_fast);
}

int prxe_mr_fast_reg(const struct prxe_who *who, struct ib_mr *ibmr, u32 key, int access)
{
	struct prxe_mr *mr = to_prxe_mr(ibmr);
	u64 offset;
	int ret = -EINVAL;

	if (mr->kind != PRXE_MR_FAST || key >> 8 != mr->index)
		return -EINVAL;
	if (!is_power_of_2(mr->ibmr.page_size) || mr->ibmr.page_size < 4096)
		return -EINVAL;
	offset = mr->ibmr.iova & (mr->ibmr.page_size - 1);

	spin_lock_bh(&mr->lock);
	if (mr->state != PRXE_MR_FREE || mr->pd != who->pd)
		goto out;
	if (mr->ibmr.length > ((u64)mr->npages << ilog2(mr->ibmr.page_size)) - offset ||
	    !mr->npages)
		goto out;
	mr->lkey = key;
	mr->rkey = key;
	mr->access = access & ~IB_ACCESS_OPTIONAL;
	mr->iova = mr->ibmr.iova;
	mr->length = mr->ibmr.length;
	mr->va = offset;
	mr->page_shift = ilog2(mr->ibmr.page_size);
	prxe_mr_set_live(mr);
	ret = 0;
out:
	spin_unlock_bh(&mr->lock);
	return ret;
}

/* ---- advice ---- */

/*
 * Check one SGE of advise_mr; the errors are those of ibv_advise_mr(3), and -ESRCH: the mirror is
 * being freed. If @mirror is not NULL, count the prefetch, and return the mirror, with a reference,
 * and the VA.
 */
static int advise_find(struct ib_pd *pd, const struct ib_sge *sge, bool write,
		       struct prxe_mirror **mirror, u64 *va)
{
	struct prxe_mr *mr;
	u64 off;
	int ret;

	rcu_read_lock();
	ret = -EFAULT;
	mr = prxe_mr_find(to_prxe_dev(pd->device), sge->lkey);
	/* Odd: the MR is live, and its description can be read. */
	if (!mr || !(smp_load_acquire(&mr->seq) & 1))
		goto out;
	ret = -EINVAL;
	if (mr->kind == PRXE_MR_MW)
		goto out;
	ret = -EFAULT;
	if (mr->lkey != sge->lkey)
		goto out;
	ret = -EPERM;
	if (mr->pd != pd)
		goto out;
	ret = -EINVAL;
	if (mr->kind != PRXE_MR_ODP)
		goto out;
	ret = -EPERM;
	if (write && !(mr->access & IB_ACCESS_LOCAL_WRITE))
		goto out;
	ret = -EFAULT;
	off = sge->addr - mr->iova;
	if (sge->addr < mr->iova || off > mr->length || sge->length > mr->length - off)
		goto out;
	if (mirror) {
		u64 pages = DIV_ROUND_UP((sge->addr & ~PAGE_MASK) + sge->length, PAGE_SIZE);

		ret = -ESRCH;
		if (!prxe_mirror_tryget(mr->mirror))
			goto out;
		*mirror = mr->mirror;
		*va = mr->va + off;
		atomic64_add(pages, &mr->prefetches);
		prxe_count_add(mr->dev, page_prefetch, pages);
	}
	ret = 0;
out:
	rcu_read_unlock();
	return ret;
}

int prxe_advise_mr(struct ib_pd *pd, enum ib_uverbs_advise_mr_advice advice, u32 flags,
		   struct ib_sge *sg, u32 num_sge, struct uverbs_attr_bundle *attrs)
{
	bool write = advice == IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH_WRITE;
	const struct prxe_dev *dev = to_prxe_dev(pd->device);
	unsigned int how = FAULT_STRICT | (write ? FAULT_WRITE : 0);
	u32 i;
	int ret;

	if (advice != IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH && !write &&
	    advice != IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH_NO_FAULT)
		return -EOPNOTSUPP;
	if (flags & ~IB_UVERBS_ADVISE_MR_FLAG_FLUSH)
		return -EINVAL;

	if (advice == IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH_NO_FAULT)
		how = FAULT_PRESENT;
	/* Check every SGE before the first one is faulted in, so that a wrong one has no effect. */
	for (i = 0; i < num_sge; i++) {
		ret = advise_find(pd, &sg[i], write, NULL, NULL);
		if (ret)
			return ret;
	}
	for (i = 0; i < num_sge; i++) {
		struct prxe_mirror *mirror;
		u64 va;

		if (!sg[i].length)
			continue;
		ret = advise_find(pd, &sg[i], write, &mirror, &va);
		if (ret)
			return ret;
		trace_prxe_prefetch(mirror, va, sg[i].length, advice, flags);
		/* The core holds a lock that device removal waits for: see prefetch.h. */
		if (how == FAULT_PRESENT || (flags & IB_UVERBS_ADVISE_MR_FLAG_FLUSH))
			ret = prxe_fault_advise(dev, mirror, va, sg[i].length, how);
		else
			ret = prxe_fault_prefetch(dev, mirror, va, sg[i].length, write);
		prxe_mirror_put(mirror);
		if (ret)
			return ret;
	}
	return 0;
}
