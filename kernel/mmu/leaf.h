/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The mirror of an address space, and its tables.
 *
 * A mirror holds the translations that transfers to and from ODP memory use: from a user VA to the
 * kernel address of its page. The module has one mirror for each address space with ODP memory. The
 * translations are in leaves of 2 MiB, which are in an xarray. docs/design.md, "The mirror", has
 * the protocol.
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
 * An entry is the kernel address of a page, or of all of a leaf's memory, with flags in its low
 * bits; an empty entry is 0. Entries change under the leaf's lock, except for ACCESSED, which
 * anybody may change atomically. They are read without a lock, inside a hazard window.
 */
#define PRXE_ENTRY_VALID	BIT(0)
#define PRXE_ENTRY_WRITE	BIT(1)
#define PRXE_ENTRY_ACCESSED	BIT(PRXE_ENTRY_ACCESSED_NR)
#define PRXE_ENTRY_ACCESSED_NR	2
#define PRXE_ENTRY_FRESH	BIT(PRXE_ENTRY_FRESH_NR)	/* force_fault: unused so far */
#define PRXE_ENTRY_FRESH_NR	3
#define PRXE_ENTRY_ADDR(e)	((void *)((e) & PAGE_MASK))

struct prxe_leaf {
	struct prxe_mirror *mirror;
	unsigned long base;		/* first VA, a multiple of PRXE_LEAF_SIZE */
	spinlock_t lock;		/* guards entries; process context, BH on */
	unsigned int populated;		/* number of valid entries; under lock */
	atomic_t pins;			/* faults that work on it; raised under mirror->populate */
	struct hlist_head walks;	/* walks that have begun (prxe_leaf_walk); under lock */
	/*
	 * On mirror->idle, under mirror->idle_lock; once the leaf is removed, on a list of the
	 * remover.
	 */
	struct list_head idle;
	struct rcu_head rcu;
	unsigned long whole;		/* one entry for all of it, where the CPU has one, too */
	unsigned long *entry;		/* else an entry for each page; NULL until one is needed */
};

/*
 * A mirror ends in two steps, which may come in any order or together:
 *
 * dead: the address space is gone, or the last user of the mirror is. No translation is published
 *	any more, and no leaf is made.
 * dying: the last user is gone. All leaves are removed, then the notifiers, then the mirror.
 */
struct prxe_mirror {
	/* Read for each page that a transfer uses, and hardly ever written. */
	unsigned long removals;		/* changes, to a never-used number, with each removal */
	cpumask_var_t cpus;		/* that have looked up a leaf: no other CPU names one */
	struct mm_struct *mm;		/* mm_count is held; a fault holds mm_users as well */
	bool dead;
	bool dying;
	struct prxe_fault_pool *pool;	/* threads for faults that may sleep: pool.c */
	struct workqueue_struct *wq;	/* where reap and free are queued */

	/* va >> PRXE_LEAF_SHIFT -> struct prxe_leaf; RCU */
	struct xarray leaves ____cacheline_aligned_in_smp;
	struct mmu_interval_notifier ni; /* whole address space; an invalidation starts */
	struct mmu_notifier mn;		/* an invalidation ends; ageing; the address space ends */
	bool ni_removed;		/* only reap uses it */
	unsigned int lock_tries;	/* only reap uses it: how often it did not get mmap_lock */
	bool keeps_module;		/* only reap uses it: it holds a reference on the module */
	struct hlist_node node;		/* in mirror.c's table, while it has users */
	refcount_t ref;			/* to this structure; a leaf has no count of its own */
	atomic_t users;			/* contexts and MRs; at 0 the mirror is dying */
	struct prxe_inflight inflight;	/* invalidations between their start and their end */
	/* How many callers have cleared entries and not yet waited for hazard windows. */
	atomic_t syncing;
	/*
	 * Held to find and pin a leaf, to store one, and to remove one: so a pinned leaf is not
	 * removed. Never held over an allocation that may wait, or over a fault.
	 */
	struct mutex populate;
	spinlock_t idle_lock;		/* guards idle, and leaf->idle of its leaves */
	struct list_head idle;		/* leaves to be removed, unless they are in use again */
	struct delayed_work reap;	/* removes leaves; holds a reference while pending */
	atomic64_t faults, faults_handled;	/* misses; those whose fault succeeded */
	/* How many leaves invalidations touched; in how many of them a translation was cleared. */
	atomic64_t invalidations, invalidations_handled;
	struct work_struct free;
	struct rcu_head rcu;
};

/* ---- references to a mirror's memory, independent of its users: any context ---- */

/* False: the memory is about to be freed. The caller is inside RCU, or has a user. */
static inline bool prxe_mirror_tryget(struct prxe_mirror *mirror)
{
	return refcount_inc_not_zero(&mirror->ref);
}

/* After the last reference, a worker frees the mirror. */
void prxe_mirror_put(struct prxe_mirror *mirror);

/* Count a transfer's miss or, with @handled, that its fault has succeeded. Any context. */
void prxe_mirror_count_fault(struct prxe_mirror *mirror, bool handled);

/* ---- finding a leaf ---- */

/* The leaf of @va, or NULL. Inside RCU, or with populate held. */
static inline struct prxe_leaf *prxe_mirror_leaf(struct prxe_mirror *mirror, unsigned long va)
{
	return xa_load(&mirror->leaves, va >> PRXE_LEAF_SHIFT);
}

/*
 * Each CPU caches the leaves that it found last, because the xarray is five levels deep. A cached
 * pointer is valid if the number stored with it equals mirror->removals. Whoever removes leaves
 * erases them from the xarray, stores a new number, and then calls call_rcu(). A reader that still
 * sees the old number therefore began its RCU section before the grace period, and the leaf
 * outlives that section. No number is used twice, by any mirror: so a mirror at the address of a
 * freed one does not find the old one's leaves.
 */
#define PRXE_LEAF_CACHE		16	/* leaves to read from, and as many to write to */
struct prxe_leaf_cache {
	const struct prxe_mirror *mirror;
	unsigned long no;		/* va >> PRXE_LEAF_SHIFT */
	unsigned long removals;		/* mirror->removals when it was found */
	struct prxe_leaf *leaf;
};

DECLARE_PER_CPU_ALIGNED(struct prxe_leaf_cache[2][PRXE_LEAF_CACHE], prxe_leaf_caches);

/* Slow path of prxe_mirror_hit(): search the xarray, and cache the leaf in @c. NULL: none. */
struct prxe_leaf *prxe_mirror_find(struct prxe_mirror *mirror, unsigned long va,
				   struct prxe_leaf_cache *c);

/*
 * As prxe_mirror_leaf(), but looks at this CPU's cache first. Inside RCU, preemption off. Leaves
 * that transfers read from and leaves that they write to (@write) are cached apart, so that the
 * source and the destination of a transfer never evict each other.
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
 * *@size: how many bytes an entry is for. A leaf that has no table of pages has a single entry,
 * which may be empty. Inside RCU; whoever uses an entry has a hazard window open.
 */
static inline unsigned long *prxe_leaf_table(struct prxe_leaf *leaf, unsigned long *size)
{
	unsigned long *entry = NULL;

	if (!(READ_ONCE(leaf->whole) & PRXE_ENTRY_VALID))
		/* Acquire: the table was zeroed before it was published. */
		entry = smp_load_acquire(&leaf->entry);
	*size = entry ? PAGE_SIZE : PRXE_LEAF_SIZE;
	return entry ? entry : &leaf->whole;
}

/* As prxe_leaf_table(), but returns the entry of @va in that table. */
static inline unsigned long *prxe_leaf_entry(struct prxe_leaf *leaf, unsigned long va,
					     unsigned long *size)
{
	unsigned long *table = prxe_leaf_table(leaf, size);

	return *size == PAGE_SIZE ? &table[prxe_leaf_index(va)] : table;
}

/* ---- faults: pin a leaf, walk, publish ---- */

/*
 * Find or create the leaf of @va, and pin it: it is not removed until prxe_leaf_unpin(). Process
 * context, with mm_users held and mmap_lock not held; sleeps only if @gfp allows it.
 * ERR_PTR(-ENOMEM); ERR_PTR(-ESRCH): the mirror is dead; ERR_PTR(-EAGAIN): it would have to wait
 * for populate, and @gfp forbids that.
 */
struct prxe_leaf *prxe_leaf_pin(struct prxe_mirror *mirror, unsigned long va, gfp_t gfp);
void prxe_leaf_unpin(struct prxe_leaf *leaf);

/*
 * A walk: a fault's look at the page tables for [start, end) of a leaf. It begins before the fault
 * takes its snapshot, and ends when the snapshot is published. An invalidation of these pages that
 * starts meanwhile makes the walk stale.
 */
struct prxe_leaf_walk {
	struct hlist_node node;		/* leaf->walks */
	unsigned long start, end;
	bool stale;			/* an invalidation of these pages came; under leaf->lock */
	bool leaf_stale;		/* one of any page of the leaf came; under leaf->lock */
	bool leaf_busy;			/* one of another page was in flight when the walk began */
};

/*
 * Begin a walk of a pinned leaf. Process context, BH on; never sleeps. 0; -EAGAIN: an invalidation
 * of these pages is in flight, and no walk has begun.
 */
int prxe_leaf_begin(struct prxe_leaf *leaf, struct prxe_leaf_walk *walk, unsigned long start,
		    unsigned long end);
/* End a walk that has begun, without publishing anything. Process context, BH on; never sleeps. */
void prxe_leaf_end(struct prxe_leaf *leaf, struct prxe_leaf_walk *walk);

/*
 * Publish @pfns, the snapshot that was taken in @walk of the @npages pages from @start on, and end
 * the walk in every case. Writable translations are published only with @write, after their pages
 * were marked dirty. Where the CPU maps all of the leaf by one entry, this publishes one entry for
 * all of it. The first page is ACCESSED from the start, because a transfer waits for it. Process
 * context, BH on; sleeps only if @gfp allows it. 0; -EAGAIN: the snapshot is stale: take another
 * one; -ESRCH: the mirror is dead; -ENOMEM.
 */
int prxe_leaf_publish(struct prxe_leaf *leaf, struct prxe_leaf_walk *walk, unsigned long start,
		      unsigned int npages, const unsigned long *pfns, bool write, gfp_t gfp);

/*
 * The page of one entry of a snapshot. NULL: there is none; ERR_PTR(-EFAULT) and
 * ERR_PTR(-EHWPOISON): transfers cannot use it.
 */
static inline struct page *prxe_leaf_page(unsigned long pfn)
{
	struct page *page;

	if (pfn & HMM_PFN_ERROR)
		return ERR_PTR(-EFAULT);
	if (!(pfn & HMM_PFN_VALID))
		return NULL;
	page = hmm_pfn_to_page(pfn);
	/* The CPU cannot copy from or to such memory as it does with its own. */
	if (is_device_private_page(page) || is_pci_p2pdma_page(page))
		return ERR_PTR(-EFAULT);
	if (PageHWPoison(page))
		return ERR_PTR(-EHWPOISON);
	return page;
}

/*
 * @pfn is an entry of a snapshot. Does it come from a single CPU entry, or a part of one, that maps
 * at least a whole leaf, and can transfers use the page?
 */
static inline bool prxe_leaf_is_whole(unsigned long pfn)
{
	return hmm_pfn_to_map_order(pfn) >= PRXE_LEAF_ORDER && !IS_ERR_OR_NULL(prxe_leaf_page(pfn));
}

/* ---- for invalidate.c and mirror.c ---- */

/*
 * prxe_leaves_init() sets up the empty tables of a new mirror; prxe_leaves_free() frees those of a
 * mirror from which all leaves were removed.
 */
void prxe_leaves_init(struct prxe_mirror *mirror);
void prxe_leaves_free(struct prxe_mirror *mirror);

/*
 * Have mirror->reap run after @delay (in jiffies) or earlier. The caller has a reference on the
 * mirror. Any context.
 */
void prxe_mirror_reap_later(struct prxe_mirror *mirror, unsigned long delay);
/*
 * Remove the leaves that are empty and not pinned; of a dying mirror, all that are not pinned.
 * Sleeps; only the reap work calls it.
 */
void prxe_leaves_reap(struct prxe_mirror *mirror);

/*
 * @leaf was emptied: have it removed later, unless a fault fills it again. Inside RCU, process
 * context, BH on, holding no lock but the MM's. Does nothing if the leaf is on a list already, as
 * it is from its removal until it is freed.
 */
void prxe_leaf_idle(struct prxe_leaf *leaf);

/*
 * Wait until no CPU uses the translations that were cleared since the caller raised
 * mirror->syncing, and lower it again. @what: only entries of this leaf were cleared; NULL: of any.
 * Never sleeps; waits for one page copy on each CPU at most.
 */
void prxe_leaf_sync_end(struct prxe_mirror *mirror, const struct prxe_leaf *what);

#endif
