// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Memory windows, and the work requests that change keys.
 *
 * An MR does not change while a memory window is bound to it: its deregistration, reregistration
 * and invalidation are refused. So a CPU that copies through a memory window names only that in its
 * hazard window, and compares only its seq, not the MR's. Lock order: the memory window's lock,
 * then the MR's.
 */
#include <linux/random.h>
#include <linux/slab.h>
#include "base/prxe.h"
#include "mem/key.h"
#include "mem/mw.h"
#include "mem/who.h"
#include "mmu/window.h"

#define ACCESS_MW	(IB_ACCESS_REMOTE_WRITE | IB_ACCESS_REMOTE_READ | \
			 IB_ACCESS_REMOTE_ATOMIC | IB_ZERO_BASED | IB_ACCESS_FLUSH_GLOBAL)

int prxe_alloc_mw(struct ib_mw *ib, struct ib_udata *udata)
{
	struct prxe_mr *mw;
	int ret;

	if (ib->type != IB_MW_TYPE_1 && ib->type != IB_MW_TYPE_2)
		return -EINVAL;
	mw = prxe_mr_alloc(ib->pd, PRXE_MR_MW, 0);
	if (!mw)
		return -ENOMEM;
	mw->mw_type2 = ib->type == IB_MW_TYPE_2;
	ret = prxe_mr_publish(mw, GFP_KERNEL_ACCOUNT);
	if (ret) {
		kfree(mw);
		return ret;
	}
	to_prxe_mw(ib)->key = mw;
	ib->rkey = mw->rkey;
	return 0;
}

/* When this returns, no byte moves through the memory window, and it is not bound any more. */
static void mw_unbind(struct prxe_mr *mw, enum prxe_mr_state state)
{
	lockdep_assert_held(&mw->lock);
	prxe_mr_set_not_live(mw, state);
	/*
	 * A CPU inside a hazard window waits for nothing, so waiting for it with our lock held
	 * cannot deadlock.
	 */
	prxe_window_sync(mw);
	if (mw->under) {
		atomic_dec(&mw->under->bound);
		WRITE_ONCE(mw->under, NULL);
	}
}

int prxe_dealloc_mw(struct ib_mw *ib)
{
	struct prxe_mr *mw = to_prxe_mw(ib)->key;

	spin_lock_bh(&mw->lock);
	mw_unbind(mw, PRXE_MR_DEAD);
	spin_unlock_bh(&mw->lock);
	prxe_mr_unpublish(mw);
	kfree_rcu(mw, rcu);
	return 0;
}

/* May the memory window of @b be bound to @mr? Under mr->lock. 0; -EINVAL; -EACCES. */
static int bind_check(const struct prxe_who *who, const struct prxe_mw_bind *b,
		      const struct prxe_mr *mr)
{
	u64 off;

	if (mr->state != PRXE_MR_LIVE || mr->kind == PRXE_MR_MW || mr->lkey != b->mr_lkey ||
	    mr->pd != who->pd)
		return -EINVAL;
	if (!(mr->access & IB_ACCESS_MW_BIND))
		return -EACCES;
	if ((b->access & (IB_ACCESS_REMOTE_WRITE | IB_ACCESS_REMOTE_ATOMIC)) &&
	    !(mr->access & IB_ACCESS_LOCAL_WRITE))
		return -EACCES;
	off = b->addr - mr->iova;
	if (b->addr < mr->iova || off > mr->length || b->length > mr->length - off)
		return -EINVAL;
	return 0;
}

int prxe_mw_bind(const struct prxe_who *who, const struct prxe_mw_bind *b)
{
	struct prxe_mr *mw, *mr = NULL;
	/*
	 * Applications pass the flags of their MR, too: local access and optional flags mean
	 * nothing for a window, so they are ignored.
	 */
	int access = b->access & ~(IB_ACCESS_LOCAL_WRITE | IB_ACCESS_OPTIONAL);
	int ret = -EINVAL;

	if (access & ~ACCESS_MW)
		return -EINVAL;

	rcu_read_lock();
	mw = prxe_mr_find(who->dev, b->mw_rkey);
	if (!mw || mw->kind != PRXE_MR_MW)
		goto unlock_rcu;
	if (b->length) {
		mr = prxe_mr_find(who->dev, b->mr_lkey);
		if (!mr || mr == mw)
			goto unlock_rcu;
	}

	spin_lock_bh(&mw->lock);
	if (mw->state == PRXE_MR_DEAD || mw->pd != who->pd)
		goto unlock;
	/*
	 * A type 2 window is named by any key with its index: an application may still have the
	 * window's first key in its ibv_mw, although the window was bound with others since.
	 */
	if (!mw->mw_type2 && mw->rkey != b->mw_rkey)
		goto unlock;
	/*
	 * The new key has the window's index; its variant is the application's choice. With a new
	 * variant, a peer that knows only the old key is refused.
	 */
	if (b->rkey >> 8 != mw->index)
		goto unlock;
	if (mw->mw_type2) {
		if (mw->state != PRXE_MR_FREE || !b->length)
			goto unlock;
	} else if (access & IB_ZERO_BASED) {
		goto unlock;
	}
	if (mr) {
		spin_lock_nested(&mr->lock, SINGLE_DEPTH_NESTING);
		ret = bind_check(who, b, mr);
		if (!ret)
			/* Under mr->lock: the MR does not change from here on. */
			atomic_inc(&mr->bound);
		spin_unlock(&mr->lock);
		if (ret)
			goto unlock;
	}

	mw_unbind(mw, PRXE_MR_FREE);
	mw->rkey = b->rkey;
	mw->access = access & ~IB_ZERO_BASED;
	mw->iova = access & IB_ZERO_BASED ? 0 : b->addr;
	mw->va = b->addr;		/* in the MR's iova range */
	mw->length = b->length;
	mw->mw_qpn = mw->mw_type2 ? who->qpn : 0;
	if (mr) {
		mw->under = mr;
		prxe_mr_set_live(mw);
	}
	ret = 0;
unlock:
	spin_unlock_bh(&mw->lock);
unlock_rcu:
	rcu_read_unlock();
	return ret;
}

int prxe_key_invalidate(const struct prxe_who *who, u32 key, bool remote)
{
	struct prxe_mr *mr;
	int ret = -EINVAL;

	rcu_read_lock();
	mr = prxe_mr_find(who->dev, key);
	if (!mr)
		goto unlock_rcu;

	spin_lock_bh(&mr->lock);
	if (mr->pd != who->pd || mr->rkey != key)
		goto unlock;
	switch (mr->kind) {
	case PRXE_MR_MW:
		/* A type 1 window is unbound by binding it with length 0. */
		if (!mr->mw_type2 || mr->state != PRXE_MR_LIVE || mr->mw_qpn != who->qpn)
			goto unlock;
		mw_unbind(mr, PRXE_MR_FREE);
		ret = 0;
		break;
	case PRXE_MR_FAST:
		if (mr->state == PRXE_MR_DEAD || atomic_read(&mr->bound))
			goto unlock;
		if (remote && !(mr->access & (IB_ACCESS_REMOTE_READ | IB_ACCESS_REMOTE_WRITE |
					      IB_ACCESS_REMOTE_ATOMIC)))
			goto unlock;
		prxe_mr_set_not_live(mr, PRXE_MR_FREE);
		prxe_window_sync(mr);
		ret = 0;
		break;
	default:	/* registered by a verb: only a verb can end it */
		break;
	}
unlock:
	spin_unlock_bh(&mr->lock);
unlock_rcu:
	rcu_read_unlock();
	return ret;
}
