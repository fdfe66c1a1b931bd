/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The secondary MMU of one address space.
 *
 * One mirror for each (process, module), found by address space. Its translations stand in
 * leaves of 2 MiB in an xarray; one interval notifier hears of every invalidation. docs/design.md,
 * "The mirror", has the protocol.
 */
#ifndef PRXE_MIRROR_H
#define PRXE_MIRROR_H

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
 * An entry is the kernel address of a page, or of the whole leaf's memory, with flags in its low bits; 0 when empty. Entries change
 * under the leaf's update lock (but ACCESSED: atomically, by anybody) and are read without one, inside a window.
 */
#define PRXE_ENTRY_VALID	BIT(0)
#define PRXE_ENTRY_WRITE	BIT(1)
#define PRXE_ENTRY_ACCESSED	BIT(PRXE_ENTRY_ACCESSED_NR)
#define PRXE_ENTRY_ACCESSED_NR	2
#define PRXE_ENTRY_FRESH	BIT(PRXE_ENTRY_FRESH_NR)	/* force_fault: faulted since it was used last */
#define PRXE_ENTRY_FRESH_NR	3
#define PRXE_ENTRY_ADDR(e)	((void *)((e) & PAGE_MASK))

struct prxe_leaf {
	struct prxe_mirror *mirror;
	unsigned long base;		/* first VA, a multiple of PRXE_LEAF_SIZE */
	spinlock_t lock;		/* the update lock: process context, BH on */
	unsigned int populated;		/* valid entries; under lock */
	atomic_t pins;			/* faults at work on it; raised under mirror->populate only */
	struct hlist_head walks;	/* struct prxe_leaf_walk, of faults at work; under lock */
	struct list_head idle;		/* on mirror->idle, under mirror->idle_lock; later on its remover's list */
	struct rcu_head rcu;
	unsigned long whole;		/* the one entry of all its memory, when the CPU has one (THP, hugetlb) */
	unsigned long *entry;		/* else one for each page, PRXE_LEAF_PAGES; NULL until the first is needed */
};

struct prxe_mirror {
	/* Read by every hit, and hardly ever written. */
	unsigned long removals;		/* a new number, never used before, after each removal */
	cpumask_var_t cpus;		/* that have looked a leaf up: no other has a window here */
	struct mm_struct *mm;		/* mm_count held; take mm_users with mmget_not_zero() to fault */
	bool dead;			/* the address space is gone, or the last user is: no new translation */
	bool closing;			/* the last user is gone: every leaf goes */
	struct prxe_fault_pool *pool;	/* threads for faults that may sleep; fault.c */

	struct xarray leaves ____cacheline_aligned_in_smp; /* va >> PRXE_LEAF_SHIFT -> leaf, RCU */
	struct mmu_interval_notifier ni; /* of the whole address space: invalidations start */
	struct mmu_notifier mn;		/* invalidations end; ageing; the end of the address space */
	bool ni_removed;		/* the reaper's */
	unsigned int lock_tries;	/* the reaper's: how often mmap_lock could not be had */
	struct hlist_node node;		/* in the table of mirrors while it has users */
	refcount_t ref;			/* memory of this structure and of its leaves' owner */
	atomic_t users;			/* ucontexts and MRs: at 0 faults end and the leaves go */
	struct prxe_inflight inflight;	/* invalidations between their start and their end */
	atomic_t syncing;		/* who clears entries, until no window uses them any more */
	/*
	 * What is pinned is not removed: taken to find and pin a leaf, to store and to remove one.
	 * Never held over an allocation that may wait, or over a fault.
	 */
	struct mutex populate;
	spinlock_t idle_lock;
	struct list_head idle;
	struct delayed_work reap;	/* removes idle leaves; holds a reference while pending */
	atomic64_t faults, faults_handled;		/* misses; misses that ended well */
	/* Leaves that the MM took something of; those where translations stood. */
	atomic64_t invalidations, invalidations_handled;
	struct work_struct free;
	struct rcu_head rcu;
};

/*
 * The mirror of current->mm, with one user counted. Process context, may sleep, no lock that our mmap() path takes may
 * be held. A pending signal that is not fatal is no error. ERR_PTR(-EINTR) for a fatal one, -ENOMEM, -EINVAL (no mm).
 */
struct prxe_mirror *prxe_mirror_get_current(void);
/* One more user of a mirror that the caller uses already. */
void prxe_mirror_use(struct prxe_mirror *mirror);
/* The user leaves; with the last one faults are forbidden and killed, and leaves are removed by a worker. Never waits
 * for a fault; process context. */
void prxe_mirror_unuse(struct prxe_mirror *mirror);

/* Memory references, independent of users: any context. */
static inline bool prxe_mirror_tryget(struct prxe_mirror *mirror)
{
	return refcount_inc_not_zero(&mirror->ref);
}
void prxe_mirror_put(struct prxe_mirror *mirror);

/* The leaf of @va, or NULL: inside RCU, or with populate held. */
static inline struct prxe_leaf *prxe_mirror_leaf(struct prxe_mirror *mirror, unsigned long va)
{
	return xa_load(&mirror->leaves, va >> PRXE_LEAF_SHIFT);
}

/*
 * Each CPU remembers the leaves that it found last: the table is five levels deep. What is
 * remembered is good as long as the mirror has had no leaf removed since, which mirror->removals
 * tells. A removal erases, gives the mirror a new number, and only then asks RCU to free: whoever
 * does not see the new number is inside an RCU section that the freeing waits for. No number is
 * used twice, by no mirror, so a mirror at the address of an old one finds nothing of that.
 */
#define PRXE_LEAF_CACHE		16	/* of each: leaves that are read from, leaves that are written */
struct prxe_leaf_cache {
	const struct prxe_mirror *mirror;
	unsigned long no;		/* va >> PRXE_LEAF_SHIFT */
	unsigned long removals;		/* mirror->removals when it was found */
	struct prxe_leaf *leaf;
};
DECLARE_PER_CPU_ALIGNED(struct prxe_leaf_cache[2][PRXE_LEAF_CACHE], prxe_leaf_caches);

struct prxe_leaf *prxe_mirror_find(struct prxe_mirror *mirror, unsigned long va, struct prxe_leaf_cache *c);

/*
 * As prxe_mirror_leaf(), for hits: from what this CPU found last. Inside RCU, preemption off. What a transfer reads and what it writes (@write) are
 * remembered apart, so that the two never take each other's place.
 */
static __always_inline struct prxe_leaf *prxe_mirror_hit(struct prxe_mirror *mirror, unsigned long va, bool write)
{
	struct prxe_leaf_cache *c = this_cpu_ptr(&prxe_leaf_caches[write][0]);
	unsigned long no = va >> PRXE_LEAF_SHIFT;

	c += (no ^ no >> 4 ^ (unsigned long)mirror >> 8) % PRXE_LEAF_CACHE;
	/* Acquire: what is looked up after it is at least as new as the number. */
	if (likely(c->no == no && c->mirror == mirror &&
		   c->removals == smp_load_acquire(&mirror->removals)))
		return c->leaf;
	return prxe_mirror_find(mirror, va, c);
}

/* Table arithmetic: the entry of @va in its leaf. */
static inline unsigned int prxe_leaf_index(unsigned long va)
{
	return (va & (PRXE_LEAF_SIZE - 1)) >> PAGE_SHIFT;
}

/*
 * Where a leaf's translations stand, and in *size the bytes that each is for: one for all of it (which is empty as long as there is none at all),
 * or one for each page. Inside RCU; whoever uses what they say has a window open.
 */
static inline unsigned long *prxe_leaf_table(struct prxe_leaf *leaf, unsigned long *size)
{
	unsigned long *entry = NULL;

	if (!(READ_ONCE(leaf->whole) & PRXE_ENTRY_VALID))
		entry = smp_load_acquire(&leaf->entry);	/* zeroed before it was made known */
	*size = entry ? PAGE_SIZE : PRXE_LEAF_SIZE;
	return entry ? entry : &leaf->whole;
}

/* The same for @va: its entry. */
static inline unsigned long *prxe_leaf_entry(struct prxe_leaf *leaf, unsigned long va, unsigned long *size)
{
	unsigned long *table = prxe_leaf_table(leaf, size);

	return *size == PAGE_SIZE ? &table[prxe_leaf_index(va)] : table;
}

/*
 * The leaf of @va, made when there is none, pinned: it stays where it is until prxe_leaf_unpin(). Process context; waits for nothing and nobody
 * unless @gfp may; mm_users held; never under mmap_lock. ERR_PTR(-ENOMEM), -ESRCH, and -EAGAIN where it would wait for others.
 */
struct prxe_leaf *prxe_leaf_pin(struct prxe_mirror *mirror, unsigned long va, gfp_t gfp);
void prxe_leaf_unpin(struct prxe_leaf *leaf);

/*
 * A fault's look at the page tables for [start, end) of a leaf, from before the snapshot until it
 * is published. Every invalidation that starts meanwhile, and touches those pages, makes it stale.
 */
struct prxe_leaf_walk {
	struct hlist_node node;		/* leaf->walks */
	unsigned long start, end;
	bool stale;			/* these pages were invalidated; under leaf->lock */
	bool leaf_stale;		/* or others of the leaf; under leaf->lock */
	bool leaf_busy;			/* others of the leaf were being invalidated when it began */
};

/*
 * Begin a walk of a pinned leaf. Never sleeps. 0; -EAGAIN: an invalidation of these pages is in
 * flight, and nothing has begun. Process context, BH on.
 */
int prxe_leaf_begin(struct prxe_leaf *leaf, struct prxe_leaf_walk *walk, unsigned long start,
		    unsigned long end);
/* Give a walk up. */
void prxe_leaf_end(struct prxe_leaf *leaf, struct prxe_leaf_walk *walk);

/*
 * Set entries from @pfns, a snapshot of [start, start + npages pages) that was taken in @walk, and
 * end the walk. Writable translations are published only for @write, and the page is dirty before.
 * Where the CPU maps the whole leaf by one entry, all of it is published, by one. The first page is
 * ACCESSED from the start: it is what somebody waits for. 0; -EAGAIN: the snapshot is stale, take
 * another; -ESRCH: no new translations any more; -ENOMEM. Process context, BH on; sleeps as @gfp
 * allows.
 */
int prxe_leaf_publish(struct prxe_leaf *leaf, struct prxe_leaf_walk *walk, unsigned long start,
		      unsigned int npages, const unsigned long *pfns, bool write, gfp_t gfp);

/*
 * A page of a snapshot that transfers can use: its struct page, or ERR_PTR(-EFAULT),
 * ERR_PTR(-EHWPOISON), NULL when there is none.
 */
static inline struct page *prxe_leaf_page(unsigned long pfn)
{
	struct page *page;

	if (pfn & HMM_PFN_ERROR)
		return ERR_PTR(-EFAULT);
	if (!(pfn & HMM_PFN_VALID))
		return NULL;
	page = hmm_pfn_to_page(pfn);
	/* No memory that the CPU can reach like its own. */
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

/* What all mirrors of the module have counted, for statistics of devices. */
struct prxe_mirror_counts {
	u64 faults, faults_handled, invalidations, invalidations_handled;
};
void prxe_mirror_counts(struct prxe_mirror_counts *counts);
void prxe_mirror_count_fault(struct prxe_mirror *mirror, bool handled);

int prxe_mirror_init(void);	/* module init: workqueue, caches */
void prxe_mirror_exit(void);	/* module exit: all mirrors are unused by now; flush, then mmu_notifier_synchronize() */

#endif
