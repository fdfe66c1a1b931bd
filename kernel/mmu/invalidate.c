// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * What the MM tells a mirror about pages: that it takes them away, and the question whether they
 * were used.
 *
 * Uses leaf.c, and window.c below it; mirror.c, which has the notifiers, calls this file. The MM
 * calls us under its own locks, for ageing even under page table locks: an invalidation takes
 * idle_lock and leaf->lock, never populate; ageing takes no lock.
 */
#include <linux/mmu_notifier.h>
#include "base/prxe.h"
#include "base/trace.h"
#include "mmu/invalidate.h"
#include "mmu/leaf.h"
#include "mmu/window.h"

/* ---- invalidation ---- */

struct invalidation {
	struct prxe_mirror *mirror;
	unsigned long first, last;	/* bytes */
	bool syncing;			/* this invalidation has raised mirror->syncing */
	unsigned int leaves, handled;	/* leaves in the range; leaves where it cleared something */
	unsigned int cleared;		/* entries */
	struct prxe_leaf *leaf;		/* the last leaf where it cleared something */
};

/*
 * Tell every walk of this leaf that the leaf is being invalidated; those that look at a page of
 * [first, last] become stale.
 */
static void walks_spoil(struct prxe_leaf *leaf, unsigned long first, unsigned long last)
{
	struct prxe_leaf_walk *walk;

	lockdep_assert_held(&leaf->lock);
	hlist_for_each_entry(walk, &leaf->walks, node) {
		walk->leaf_stale = true;
		walk->stale |= walk->start <= last && walk->end > first;
	}
}

static void entry_clear(unsigned long *entry, struct invalidation *inv)
{
	/* Raise the count first: whoever finds the entry empty then finds the count. */
	if (!inv->syncing)
		atomic_inc(&inv->mirror->syncing);
	inv->syncing = true;
	WRITE_ONCE(*entry, 0);
}

/* Clear the translations of [first, last] in the leaf; returns how many were cleared. */
static unsigned int entries_clear(struct prxe_leaf *leaf, unsigned long first, unsigned long last,
				  struct invalidation *inv)
{
	unsigned long *entry = READ_ONCE(leaf->entry);
	unsigned int cleared = 0;
	unsigned int i;

	lockdep_assert_held(&leaf->lock);
	if (READ_ONCE(leaf->whole) & PRXE_ENTRY_VALID) {
		/*
		 * Clear the one entry also if only a part of its memory is invalidated: the MM is
		 * about to split the huge page, and the next fault finds what is left.
		 */
		entry_clear(&leaf->whole, inv);
		cleared++;
	}
	if (leaf->populated > cleared)
		for (i = prxe_leaf_index(first); i <= prxe_leaf_index(last); i++) {
			if (!(READ_ONCE(entry[i]) & PRXE_ENTRY_VALID))
				continue;
			entry_clear(&entry[i], inv);
			cleared++;
		}
	leaf->populated -= cleared;
	return cleared;
}

/* Invalidate one leaf's part of the range. Inside RCU, so that the leaf is not freed. */
static void leaf_invalidate(struct prxe_leaf *leaf, struct invalidation *inv)
{
	unsigned long first = max(inv->first, leaf->base);
	unsigned long last = min(inv->last, leaf->base + PRXE_LEAF_SIZE - 1);
	unsigned int cleared = 0;
	bool empty;

	spin_lock(&leaf->lock);
	walks_spoil(leaf, first, last);
	if (leaf->populated)
		cleared = entries_clear(leaf, first, last, inv);
	empty = cleared && !leaf->populated;
	spin_unlock(&leaf->lock);

	inv->leaves++;
	if (!cleared)
		return;
	inv->handled++;
	inv->cleared += cleared;
	inv->leaf = leaf;
	if (empty)
		prxe_leaf_idle(leaf);
}

static void leaves_invalidate(struct invalidation *inv, bool may_sleep)
{
	XA_STATE(xas, &inv->mirror->leaves, inv->first >> PRXE_LEAF_SHIFT);
	unsigned long last = inv->last >> PRXE_LEAF_SHIFT;
	struct prxe_leaf *leaf;

	rcu_read_lock();
	xas_for_each(&xas, leaf, last) {
		if (xas_retry(&xas, leaf))
			continue;
		leaf_invalidate(leaf, inv);
		if (may_sleep && need_resched()) {
			xas_pause(&xas);
			rcu_read_unlock();
			cond_resched();
			rcu_read_lock();
		}
	}
	rcu_read_unlock();
}

/*
 * Wait once, for the hazard windows in which CPUs use what was cleared. If we cleared nothing,
 * another caller may have cleared the same entries before us and still be waiting: our own caller
 * may free the pages as soon as we return, so we wait as well. Returns true if it waited.
 */
static bool windows_wait(struct invalidation *inv)
{
	struct prxe_mirror *mirror = inv->mirror;
	const struct prxe_leaf *what = NULL;
	int syncing;

	/* Pairs with the leaf's lock, under which entries are cleared, or with xa_erase(). */
	smp_mb();
	syncing = atomic_read(&mirror->syncing);
	if (!syncing) {
		/* The copies that the others waited for come before what our caller does next. */
		smp_mb();
		return false;
	}
	if (!inv->syncing) {
		prxe_window_sync_leaves(mirror->cpus, NULL);
		return true;
	}
	/*
	 * Nobody else is clearing, and we cleared in one leaf: wait for windows that name it only.
	 */
	if (syncing == 1 && inv->handled == 1)
		what = inv->leaf;
	prxe_leaf_sync_end(mirror, what);
	return true;
}

void prxe_leaves_invalidate(struct prxe_mirror *mirror, unsigned long first, unsigned long last,
			    unsigned int event, bool may_sleep)
{
	struct invalidation inv = { .mirror = mirror, .first = first, .last = last };
	bool waited;

	leaves_invalidate(&inv, may_sleep);
	waited = windows_wait(&inv);
	if (!inv.leaves)
		return;
	atomic64_add(inv.leaves, &mirror->invalidations);
	atomic64_add(inv.handled, &mirror->invalidations_handled);
	trace_prxe_invalidate(mirror, first, last, event, inv.cleared, waited);
}

/* ---- ageing ---- */

bool prxe_leaves_young(struct prxe_mirror *mirror, unsigned long start, unsigned long end,
		       bool clear)
{
	unsigned long last = (end - 1) >> PRXE_LEAF_SHIFT;
	unsigned long no = start >> PRXE_LEAF_SHIFT;
	struct prxe_leaf *leaf;
	bool young = false;

	if (!READ_ONCE(prxe_ageing))
		return false;
	rcu_read_lock();
	xa_for_each_range(&mirror->leaves, no, leaf, no, last) {
		unsigned long first = max(start, leaf->base);
		unsigned long stop = min(end, leaf->base + PRXE_LEAF_SIZE);
		unsigned long size;

		for (; first < stop; first = (first & ~(size - 1)) + size) {
			unsigned long *entry = prxe_leaf_entry(leaf, first, &size);
			unsigned long need = PRXE_ENTRY_VALID | PRXE_ENTRY_ACCESSED;

			if ((READ_ONCE(*entry) & need) != need)
				continue;
			young = true;
			if (!clear)
				goto out;
			clear_bit(PRXE_ENTRY_ACCESSED_NR, entry);
		}
	}
out:
	rcu_read_unlock();
	return young;
}
