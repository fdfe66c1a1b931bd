// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * advise_mr: faulting memory in before it is used. What needs no waiting is done in the caller's
 * context, the rest by the threads of the mirror.
 *
 * Uses fault.c for the caller's part and request.c for the threads' part; nothing in this folder
 * calls this file.
 */
#include <linux/completion.h>
#include <linux/refcount.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include "base/prxe.h"
#include "mmu/fault.h"
#include "mmu/leaf.h"
#include "mmu/prefetch.h"
#include "mmu/request.h"

#define PREFETCHES_MAX	256	/* under way for one mirror */

/* ---- prefetch without waiting ---- */

/* How many bytes of [va, va + len) are in va's leaf. */
static u64 leaf_part(unsigned long va, u64 len)
{
	return min_t(u64, len, PRXE_LEAF_SIZE - (va & (PRXE_LEAF_SIZE - 1)));
}

static void queue_part(struct prxe_fault_req *req, struct prxe_mirror *mirror, unsigned long va,
		       u64 len, unsigned int flags)
{
	struct prxe_miss miss = {
		.mirror = mirror,
		.va = va,
		.len = leaf_part(va, len),
		.write = flags & FAULT_WRITE,
	};

	refcount_inc(&mirror->ref);
	prxe_fault_queue_class(req, &miss, flags, FAULT_AHEAD);
}

/* A prefetch that is under way. Its request faults one leaf after the other. */
struct prefetch {
	struct prxe_fault_req req;
	struct prxe_mirror *mirror;	/* a reference */
	unsigned long va;
	u64 len;			/* bytes that are left, from va on */
	unsigned int flags;
};

static void prefetch_done(struct prxe_fault_req *req)
{
	struct prefetch *p = container_of(req, struct prefetch, req);
	u64 part = leaf_part(p->va, p->len);

	p->va += part;
	p->len -= part;
	/* Go on after a leaf that has no memory, but not in a dead mirror. */
	if (p->len && (!req->result || req->result == -EFAULT) && !READ_ONCE(p->mirror->dead)) {
		queue_part(&p->req, p->mirror, p->va, p->len, p->flags);
		return;
	}
	atomic_dec(&p->mirror->pool->prefetches);
	prxe_mirror_put(p->mirror);
	kfree(p);
}

/* Fault in what needs no waiting, in the caller's context. 0; -EAGAIN: something was left out. */
static int prefetch_here(const struct prxe_dev *dev, struct prxe_mirror *mirror, unsigned long va,
			 u64 len, bool write)
{
	int worst = 0;

	while (len) {
		u64 part = leaf_part(va, len);
		int ret = prxe_fault_nowait(mirror, va, part, write ? FAULT_WRITE : 0);

		if (ret == -ESRCH || fatal_signal_pending(current) || READ_ONCE(dev->users_removed))
			break;
		if (ret == -EAGAIN)
			worst = ret;
		va += part;
		len -= part;
		cond_resched();
	}
	return worst;
}

int prxe_fault_prefetch(const struct prxe_dev *dev, struct prxe_mirror *mirror, unsigned long va,
			u64 len, bool write)
{
	struct prefetch *p;

	if (atomic_inc_return(&mirror->pool->prefetches) > PREFETCHES_MAX) {
		atomic_dec(&mirror->pool->prefetches);
		return prefetch_here(dev, mirror, va, len, write);
	}
	p = kzalloc(sizeof(*p), GFP_KERNEL_ACCOUNT);
	if (!p) {
		atomic_dec(&mirror->pool->prefetches);
		return -ENOMEM;
	}
	refcount_inc(&mirror->ref);
	p->mirror = mirror;
	p->va = va;
	p->len = len;
	p->flags = write ? FAULT_WRITE : 0;
	p->req.done = prefetch_done;
	queue_part(&p->req, mirror, va, len, p->flags);
	return 0;
}

/* ---- advice that is waited for ---- */

/* A part of the advice that a thread serves. The caller may return before the request ends. */
struct advice {
	struct prxe_fault_req req;
	refcount_t ref;			/* the request's, and the caller's */
	struct completion done;
	struct list_head node;		/* in the list waiting, until the caller goes on */
	const struct prxe_dev *dev;
	bool users_removed;		/* the device's users are removed: the caller goes on */
};

static LIST_HEAD(waiting);
static DEFINE_SPINLOCK(waiting_lock);

static void advice_put(struct advice *a)
{
	if (refcount_dec_and_test(&a->ref))
		kfree(a);
}

static void advice_done(struct prxe_fault_req *req)
{
	struct advice *a = container_of(req, struct advice, req);

	complete(&a->done);
	advice_put(a);
}

void prxe_fault_advise_end(const struct prxe_dev *dev)
{
	struct advice *a;

	spin_lock(&waiting_lock);
	list_for_each_entry(a, &waiting, node)
		if (a->dev == dev) {
			a->users_removed = true;
			complete(&a->done);
		}
	spin_unlock(&waiting_lock);
}

/*
 * Put @a into the list. False: the device's users are being removed. prxe_fault_advise_end() takes
 * the lock after dev->users_removed was set: so either we see that, or it finds @a in the list.
 */
static bool advice_list(struct advice *a)
{
	bool stays;

	spin_lock(&waiting_lock);
	stays = !READ_ONCE(a->dev->users_removed);
	if (stays)
		list_add_tail(&a->node, &waiting);
	spin_unlock(&waiting_lock);
	return stays;
}

static int advice_wait(struct advice *a)
{
	bool killed = wait_for_completion_killable(&a->done);
	bool users_removed;

	spin_lock(&waiting_lock);
	list_del(&a->node);
	users_removed = a->users_removed;
	spin_unlock(&waiting_lock);
	if (!killed && !users_removed)
		return a->req.result;
	WRITE_ONCE(a->req.cancelled, true);
	return users_removed ? -EIO : -EINTR;
}

/*
 * Have a fault thread do it, and wait. The caller is inside a section of the core that the removal
 * of the device waits for. There it may wait for a thread, which prxe_fault_advise_end() can end,
 * but not for memory.
 */
static int advise_by_thread(const struct prxe_dev *dev, struct prxe_mirror *mirror,
			    unsigned long va, u64 len, unsigned int flags)
{
	struct advice *a = kzalloc(sizeof(*a), GFP_KERNEL_ACCOUNT);
	int ret = -EIO;

	if (!a)
		return -ENOMEM;
	a->dev = dev;
	init_completion(&a->done);
	a->req.done = advice_done;
	if (!advice_list(a)) {
		kfree(a);
		return ret;
	}
	refcount_set(&a->ref, 2);
	queue_part(&a->req, mirror, va, len, flags);
	ret = advice_wait(a);
	advice_put(a);
	return ret;
}

int prxe_fault_advise(const struct prxe_dev *dev, struct prxe_mirror *mirror, unsigned long va,
		      u64 len, unsigned int flags)
{
	bool first = true;

	might_sleep();
	while (len) {
		u64 part = leaf_part(va, len);
		int ret = prxe_fault_nowait(mirror, va, part, flags);

		if (ret == -EAGAIN)
			ret = advise_by_thread(dev, mirror, va, part, flags);
		/* FAULT_PRESENT: present memory may end before the range does; that is no error. */
		if (ret == -EFAULT && (flags & FAULT_PRESENT) && !first)
			return 0;
		if (ret)
			return ret;
		if (READ_ONCE(dev->users_removed))
			return -EIO;
		first = false;
		va += part;
		len -= part;
		cond_resched();
	}
	return 0;
}
