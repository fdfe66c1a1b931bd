/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The mirror of an address space, and its tables.
 *
 * There is one mirror for each (process, module), found by address space. Its translations are kept
 * in leaves of 2 MiB, in an xarray. docs/design.md, "The mirror", has the protocol.
 */
#ifndef PRXE_LEAF_H
#define PRXE_LEAF_H

#include <linux/cpumask.h>
#include <linux/hmm.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/refcount.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>
#include "mmu/inflight.h"

#define PRXE_LEAF_SHIFT		21
#define PRXE_LEAF_SIZE		(1UL << PRXE_LEAF_SHIFT)
#define PRXE_LEAF_ORDER		(PRXE_LEAF_SHIFT - PAGE_SHIFT)
#define PRXE_LEAF_PAGES		(1U << PRXE_LEAF_ORDER)

/*
 * An entry is the kernel address of a page, or of the whole leaf's memory, with flags in its low
 * bits; an empty entry is 0. Entries change under the leaf's update lock, except ACCESSED, which
 * anybody changes atomically. They are read without a lock, inside a window.
 */
#define PRXE_ENTRY_VALID	BIT(0)
#define PRXE_ENTRY_WRITE	BIT(1)
#define PRXE_ENTRY_ACCESSED	BIT(PRXE_ENTRY_ACCESSED_NR)
#define PRXE_ENTRY_ACCESSED_NR	2
#define PRXE_ENTRY_FRESH	BIT(PRXE_ENTRY_FRESH_NR)	/* force_fault: not used yet */
#define PRXE_ENTRY_FRESH_NR	3
#define PRXE_ENTRY_ADDR(e)	((void *)((e) & PAGE_MASK))

struct prxe_leaf {
	struct prxe_mirror *mirror;
	unsigned long base;		/* first VA, a multiple of PRXE_LEAF_SIZE */
	spinlock_t lock;		/* the update lock: process context, BH on */
	unsigned int populated;		/* valid entries; under lock */
	atomic_t pins;			/* faults at work on it; raised under mirror->populate */
	struct hlist_head walks;	/* struct prxe_leaf_walk, of faults at work; under lock */
	/* On mirror->idle, under mirror->idle_lock; once removed, on a list of its remover. */
	struct list_head idle;
	struct rcu_head rcu;
	unsigned long whole;		/* one entry for all of it, where the CPU has one, too */
	unsigned long *entry;		/* else one for each page; NULL until one is needed */
};

/*
 * A mirror ends in two steps, which may come in any order or together:
 *
 * dead: the address space is gone, or the last user of the mirror is. No translation is published
 *	any more, and no leaf made.
 * dying: the last user is gone. All leaves are removed, then the notifiers, then the mirror.
 */
struct prxe_mirror {
	/* Every hit reads these, and hardly anything writes them. */
	unsigned long removals;		/* a new number, never used before, after each removal */
	cpumask_var_t cpus;		/* that have looked a leaf up: no other has a window here */
	struct mm_struct *mm;		/* mm_count is held; a fault takes mm_users as well */
	bool dead;
	bool dying;
	struct prxe_fault_pool *pool;	/* threads for faults that may sleep: pool.c */
	struct workqueue_struct *wq;	/* for reap and free */

	/* va >> PRXE_LEAF_SHIFT -> struct prxe_leaf; RCU */
	struct xarray leaves ____cacheline_aligned_in_smp;
	struct mmu_interval_notifier ni; /* of the whole address space: invalidations start */
	struct mmu_notifier mn;		/* invalidations end; ageing; the address space ends */
	bool ni_removed;		/* reap's own */
	unsigned int lock_tries;	/* reap's own: how often it could not have mmap_lock */
	bool keeps_module;		/* reap's own: a reference on it, until ni_removed */
	struct hlist_node node;		/* in mirror.c's table, while it has users */
	refcount_t ref;			/* to this structure; leaves have none of their own */
	atomic_t users;			/* ucontexts and MRs; at 0 the mirror is dying */
	struct prxe_inflight inflight;	/* invalidations between their start and their end */
	atomic_t syncing;		/* who clears entries and has not waited for windows yet */
	/*
	 * What is pinned is not removed: taken to find and pin a leaf, to store and to remove one.
	 * Never held over an allocation that may wait, or over a fault.
	 */
	struct mutex populate;
	spinlock_t idle_lock;		/* idle, and the same of its leaves */
	struct list_head idle;		/* leaves that may be removed */
	struct delayed_work reap;	/* removes them; holds a reference while pending */
	atomic64_t faults, faults_handled;	/* misses; misses that ended well */
	/* Leaves that an invalidation touched; those of them where it cleared something. */
	atomic64_t invalidations, invalidations_handled;
	struct work_struct free;
	struct rcu_head rcu;
};

/* ---- references to the memory of a mirror, independent of its users: any context ---- */

static inline bool prxe_mirror_tryget(struct prxe_mirror *mirror)
{
	return refcount_inc_not_zero(&mirror->ref);
}

void prxe_mirror_put(struct prxe_mirror *mirror);

/* Any context. @handled: the fault ended well; else it has just begun. */
void prxe_mirror_count_fault(struct prxe_mirror *mirror, bool handled);

/* ---- finding a leaf ---- */

/* The leaf of @va, or NULL. Inside RCU, or with populate held. */
static inline struct prxe_leaf *prxe_mirror_leaf(struct prxe_mirror *mirror, unsigned long va)
{
	return xa_load(&mirror->leaves, va >> PRXE_LEAF_SHIFT);
}

/*
 * Each CPU remembers the leaves that it found last, because the xarray is five levels deep. A
 * remembered pointer is valid if the number stored with it equals mirror->removals. Who removes
 * leaves unlinks them, stores a new number, and then calls call_rcu(). A reader that still sees the
 * old number therefore began its RCU section before the grace period, and the leaf outlives that
 * section. No number is used twice, by any mirror: so a mirror at the address of an old one does
 * not find the old one's leaves.
 */
#define PRXE_LEAF_CACHE		16	/* leaves that are read from, and as many to write to */
struct prxe_leaf_cache {
	const struct prxe_mirror *mirror;
	unsigned long no;		/* va >> PRXE_LEAF_SHIFT */
	unsigned long removals;		/* mirror->removals when it was found */
	struct prxe_leaf *leaf;
};

DECLARE_PER_CPU_ALIGNED(struct prxe_leaf_cache[2][PRXE_LEAF_CACHE], prxe_leaf_caches);

/* The slow path of prxe_mirror_hit(): search, and remember in @c what was found. */
struct prxe_leaf *prxe_mirror_find(struct prxe_mirror *mirror, unsigned long va,
				   struct prxe_leaf_cache *c);

/*
 * The leaf of @va for a hit: as prxe_mirror_leaf(), but from what this CPU remembers. Inside RCU,
 * preemption off. The leaves that transfers read from and those that they write to (@write) are
 * remembered apart, so that the two of one transfer never take each other's place.
 */
static __always_inline struct prxe_leaf *prxe_mirror_hit(struct prxe_mirror *mirror,
							 unsigned long va, bool write)
{
	struct prxe_leaf_cache *c = this_cpu_ptr(&prxe_leaf_caches[write][0]);
	unsigned long no = va >> PRXE_LEAF_SHIFT;

	c += (no ^ no >> 4 ^ (unsigned long)mirror >> 8) % PRXE_LEAF_CACHE;
	if (likely(c->no == no && c->mirror == mirror &&
		   /* Acquire: what is read from the leaf is at least as new as the number. */
		   c->removals == smp_load_acquire(&mirror->removals)))
		return c->leaf;
	return prxe_mirror_find(mirror, va, c);
}

/* ---- entries ---- */

/* The index of @va's entry in a leaf's table of pages. */
static inline unsigned int prxe_leaf_index(unsigned long va)
{
	return (va & (PRXE_LEAF_SIZE - 1)) >> PAGE_SHIFT;
}

/*
 * The table of a leaf's translations: either one entry for all of its memory, or one for each page.
 * *@size: how many bytes an entry is for. A leaf without any translation has the one entry, empty.
 * Inside RCU; who uses what the entries say has a window open.
 */
static inline unsigned long *prxe_leaf_table(struct prxe_leaf *leaf, unsigned long *size)
{
	unsigned long *entry = NULL;

	if (!(READ_ONCE(leaf->whole) & PRXE_ENTRY_VALID))
		/* Acquire: it was zeroed before it was published. */
		entry = smp_load_acquire(&leaf->entry);
	*size = entry ? PAGE_SIZE : PRXE_LEAF_SIZE;
	return entry ? entry : &leaf->whole;
}

/* The same, but the entry of @va in that table. */
static inline unsigned long *prxe_leaf_entry(struct prxe_leaf *leaf, unsigned long va,
					     unsigned long *size)
{
	unsigned long *table = prxe_leaf_table(leaf, size);

	return *size == PAGE_SIZE ? &table[prxe_leaf_index(va)] : table;
}

/* ---- faults: pin a leaf, walk, publish ---- */

/*
 * Find or make the leaf of @va, and pin it: it is not removed until prxe_leaf_unpin(). Process
 * context, mm_users held, mmap_lock not held; sleeps only if @gfp allows it. ERR_PTR(-ENOMEM);
 * ERR_PTR(-ESRCH): the mirror is dead; ERR_PTR(-EAGAIN): it would have to wait, and may not.
 */
struct prxe_leaf *prxe_leaf_pin(struct prxe_mirror *mirror, unsigned long va, gfp_t gfp);
void prxe_leaf_unpin(struct prxe_leaf *leaf);

/*
 * A fault's look at the page tables for [start, end) of a leaf, from before its snapshot until the
 * snapshot is published. An invalidation of these pages that starts meanwhile makes it stale.
 */
struct prxe_leaf_walk {
	struct hlist_node node;		/* leaf->walks */
	unsigned long start, end;
	bool stale;			/* these pages were invalidated; under leaf->lock */
	bool leaf_stale;		/* any page of the leaf was; under leaf->lock */
	bool leaf_busy;			/* another page of it was in flight when the walk began */
};

/*
 * Begin a walk of a pinned leaf. Never sleeps; process context, BH on. 0; or -EAGAIN: an
 * invalidation of these pages is in flight, and no walk has begun.
 */
int prxe_leaf_begin(struct prxe_leaf *leaf, struct prxe_leaf_walk *walk, unsigned long start,
		    unsigned long end);
/* Give up a walk that has begun. */
void prxe_leaf_end(struct prxe_leaf *leaf, struct prxe_leaf_walk *walk);

/*
 * Publish @pfns, a snapshot of the @npages pages from @start on that was taken in @walk, and end
 * the walk. Only with @write are writable translations published, and the page is dirty before.
 * Where the CPU maps all of the leaf by one entry, all of it is published, by one entry. The first
 * page is ACCESSED from the start, because somebody waits for it. Process context, BH on; sleeps
 * only if @gfp allows it. 0; -EAGAIN: the snapshot is stale, take another one; -ESRCH: the mirror
 * is dead; -ENOMEM.
 */
int prxe_leaf_publish(struct prxe_leaf *leaf, struct prxe_leaf_walk *walk, unsigned long start,
		      unsigned int npages, const unsigned long *pfns, bool write, gfp_t gfp);

/*
 * The page of a snapshot's entry, if transfers can use it; NULL: there is none; ERR_PTR(-EFAULT);
 * ERR_PTR(-EHWPOISON).
 */
static inline struct page *prxe_leaf_page(unsigned long pfn)
{
	struct page *page;

	if (pfn & HMM_PFN_ERROR)
		return ERR_PTR(-EFAULT);
	if (!(pfn & HMM_PFN_VALID))
		return NULL;
	page = hmm_pfn_to_page(pfn);
	/* The CPU cannot reach such memory as it does its own. */
	if (is_device_private_page(page) || is_pci_p2pdma_page(page))
		return ERR_PTR(-EFAULT);
	if (PageHWPoison(page))
		return ERR_PTR(-EHWPOISON);
	return page;
}

/*
 * Does the CPU map all of a leaf by the one entry (or a part of one) that @pfn of a snapshot is
 * from, and can transfers use that page?
 */
static inline bool prxe_leaf_is_whole(unsigned long pfn)
{
	return hmm_pfn_to_map_order(pfn) >= PRXE_LEAF_ORDER && !IS_ERR_OR_NULL(prxe_leaf_page(pfn));
}

/* ---- for invalidate.c and mirror.c ---- */

/* A new mirror's tables, empty; the tables of one that goes, after all leaves were removed. */
void prxe_leaves_init(struct prxe_mirror *mirror);
void prxe_leaves_free(struct prxe_mirror *mirror);

/* Have mirror->reap run in @delay at the latest. The caller has a reference. Any context. */
void prxe_mirror_reap_later(struct prxe_mirror *mirror, unsigned long delay);
/* Remove the leaves that are empty and not pinned; of a dying mirror all that are not pinned. */
void prxe_leaves_reap(struct prxe_mirror *mirror);

/*
 * @leaf was emptied: have it removed later. Inside RCU, process context, BH on; no lock held but
 * the MM's. A leaf that is being removed stays on a list until it is freed, so it is not listed
 * again.
 */
void prxe_leaf_idle(struct prxe_leaf *leaf);

/*
 * Wait until no CPU uses what was cleared since mirror->syncing was raised, and lower it. @what:
 * entries of this leaf only were cleared; NULL: of any. Never sleeps, and waits for one page copy
 * on each CPU at most.
 */
void prxe_leaf_sync_end(struct prxe_mirror *mirror, const struct prxe_leaf *what);

#endif
