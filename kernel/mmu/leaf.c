// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The leaves of a mirror: finding, pinning and publishing them, and removing those that are empty.
 *
 * Uses window.c (to wait for CPUs that copy) and inflight.c (to ask which ranges are being
 * invalidated), and calls nothing else of this driver. Its callers: copies (mem/), faults
 * (fault.c), invalidations (invalidate.c) and the mirror's life (mirror.c).
 *
 * Lock order: populate, then idle_lock, then leaf->lock; inflight.lock is taken alone. leaf->lock
 * is never taken with BH off, because marking a page dirty under it takes locks that are not safe
 * against softirqs.
 */
#include <linux/memcontrol.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include "base/prxe.h"
#include "base/trace.h"
#include "mmu/leaf.h"
#include "mmu/window.h"

/* Emptied leaves stay for a while: pages that were reclaimed are often wanted again. */
#define REAP_DELAY	HZ
/* How many leaves are removed before populate is dropped, so that faults wait no longer for it. */
#define REAP_BATCH	64

static atomic_long_t removal_numbers;	/* mirror->removals gets its numbers from here */

/* ---- references, and the works that free a mirror and remove its leaves ---- */

void prxe_mirror_put(struct prxe_mirror *mirror)
{
	/* A worker frees it: the last mmdrop() of an address space may not run in a softirq. */
	if (refcount_dec_and_test(&mirror->ref))
		queue_work(mirror->wq, &mirror->free);
}

void prxe_mirror_reap_later(struct prxe_mirror *mirror, unsigned long delay)
{
	refcount_inc(&mirror->ref);
	if (delay ? !queue_delayed_work(mirror->wq, &mirror->reap, delay) :
		    mod_delayed_work(mirror->wq, &mirror->reap, 0))
		prxe_mirror_put(mirror);	/* it was pending, and had a reference already */
}

void prxe_mirror_count_fault(struct prxe_mirror *mirror, bool handled)
{
	atomic64_inc(handled ? &mirror->faults_handled : &mirror->faults);
}

/* ---- the tables ---- */

void prxe_leaves_init(struct prxe_mirror *mirror)
{
	mirror->removals = atomic_long_inc_return(&removal_numbers);
	prxe_inflight_init(&mirror->inflight);
	xa_init_flags(&mirror->leaves, XA_FLAGS_ACCOUNT);
	mutex_init(&mirror->populate);
	spin_lock_init(&mirror->idle_lock);
	INIT_LIST_HEAD(&mirror->idle);
}

void prxe_leaves_free(struct prxe_mirror *mirror)
{
	unsigned long no = 0;

	WARN_ON_ONCE(xa_find(&mirror->leaves, &no, ULONG_MAX, XA_PRESENT));
	xa_destroy(&mirror->leaves);	/* empty nodes, left by a store that got no memory */
	prxe_inflight_free(&mirror->inflight);
}

DEFINE_PER_CPU_ALIGNED(struct prxe_leaf_cache[2][PRXE_LEAF_CACHE], prxe_leaf_caches);

noinline struct prxe_leaf *prxe_mirror_find(struct prxe_mirror *mirror, unsigned long va,
					    struct prxe_leaf_cache *c)
{
	/*
	 * Acquire: the number is read before the search, so the leaf is at least as new as the
	 * number.
	 */
	unsigned long removals = smp_load_acquire(&mirror->removals);
	struct prxe_leaf *leaf = prxe_mirror_leaf(mirror, va);
	int cpu = smp_processor_id();

	/*
	 * Set the bit before a hazard window with the leaf opens. The window's full barrier orders
	 * it before any use of the leaf, so prxe_window_sync_leaves() looks at this CPU.
	 */
	if (!cpumask_test_cpu(cpu, mirror->cpus))
		cpumask_set_cpu(cpu, mirror->cpus);
	/* Do not cache that there is none: a fault that makes one does not change the number. */
	if (leaf)
		*c = (struct prxe_leaf_cache){
			.mirror = mirror,
			.no = va >> PRXE_LEAF_SHIFT,
			.removals = removals,
			.leaf = leaf,
		};
	return leaf;
}

static void leaf_free_rcu(struct rcu_head *rcu)
{
	struct prxe_leaf *leaf = container_of(rcu, struct prxe_leaf, rcu);

	kfree(leaf->entry);
	kfree(leaf);
}

void prxe_leaf_idle(struct prxe_leaf *leaf)
{
	struct prxe_mirror *mirror = leaf->mirror;

	spin_lock(&mirror->idle_lock);
	if (list_empty(&leaf->idle))
		list_add_tail(&leaf->idle, &mirror->idle);
	spin_unlock(&mirror->idle_lock);
	prxe_mirror_reap_later(mirror, READ_ONCE(mirror->dying) ? 0 : REAP_DELAY);
}

void prxe_leaf_sync_end(struct prxe_mirror *mirror, const struct prxe_leaf *what)
{
	prxe_window_sync_leaves(mirror->cpus, what);
	/*
	 * Release: whoever reads the lower count knows that nobody uses those translations any
	 * more.
	 */
	atomic_dec_return_release(&mirror->syncing);
}

/* ---- pinning ---- */

/* Take populate. False: it is not free, and @gfp forbids to wait for it. */
static bool populate_lock(struct prxe_mirror *mirror, gfp_t gfp)
{
	if (!gfpflags_allow_blocking(gfp))
		return mutex_trylock(&mirror->populate);
	mutex_lock(&mirror->populate);
	return true;
}

/* Find the leaf of @va and pin it. NULL: there is none; ERR_PTR(-ESRCH). */
static struct prxe_leaf *leaf_pin_locked(struct prxe_mirror *mirror, unsigned long va)
{
	struct prxe_leaf *leaf;

	lockdep_assert_held(&mirror->populate);
	if (READ_ONCE(mirror->dead))
		return ERR_PTR(-ESRCH);
	/* A removal needs populate, which we hold: the leaf stays, and the cache stays valid. */
	local_bh_disable();
	preempt_disable();
	leaf = prxe_mirror_hit(mirror, va, false);
	preempt_enable();
	local_bh_enable();
	if (leaf)
		atomic_inc(&leaf->pins);
	return leaf;
}

/* A new leaf for @va, which nobody can find yet, with one pin. NULL: no memory. */
static struct prxe_leaf *leaf_alloc(struct prxe_mirror *mirror, unsigned long va, gfp_t gfp)
{
	struct prxe_leaf *leaf = kzalloc(sizeof(*leaf), gfp);

	if (!leaf)
		return NULL;
	leaf->mirror = mirror;
	leaf->base = va & ~(PRXE_LEAF_SIZE - 1);
	spin_lock_init(&leaf->lock);
	atomic_set(&leaf->pins, 1);
	INIT_LIST_HEAD(&leaf->idle);
	INIT_HLIST_HEAD(&leaf->walks);
	return leaf;
}

/*
 * Try once to store @new in the table. Returns the leaf of its address, pinned: @new, or the one
 * that another thread has stored meanwhile. NULL: the table needs memory, which xas_nomem()
 * allocates.
 */
static struct prxe_leaf *leaf_store(struct xa_state *xas, struct prxe_leaf *new, gfp_t gfp)
{
	struct prxe_mirror *mirror = new->mirror;
	struct prxe_leaf *leaf;

	if (!populate_lock(mirror, gfp))
		return ERR_PTR(-EAGAIN);
	leaf = leaf_pin_locked(mirror, new->base);
	if (!leaf) {
		xas_lock(xas);
		xas_store(xas, new);
		xas_unlock(xas);
		if (!xas_error(xas))
			leaf = new;
		/*
		 * The leaf is in the table before any fault looks for invalidations in flight:
		 * before we do, and before another thread that finds this leaf, because it takes
		 * populate after us. prxe_leaf_begin() says why this is needed.
		 */
		smp_mb();
	}
	mutex_unlock(&mirror->populate);
	return leaf;
}

/*
 * Slow path of prxe_leaf_pin(): create the leaf. Memory is allocated without populate, because the
 * allocation may wait for reclaim, and faults on other leaves of the process would wait for
 * populate as long. The memory is charged to the memory cgroup of the mirror's process, even when a
 * fault thread allocates it.
 */
static noinline struct prxe_leaf *leaf_create(struct prxe_mirror *mirror, unsigned long va,
					      gfp_t gfp)
{
	struct mem_cgroup *memcg = get_mem_cgroup_from_mm(mirror->mm);
	struct mem_cgroup *old = set_active_memcg(memcg);
	XA_STATE(xas, &mirror->leaves, va >> PRXE_LEAF_SHIFT);
	struct prxe_leaf *new, *leaf = NULL;

	new = leaf_alloc(mirror, va, gfp);
	if (new) {
		do {
			leaf = leaf_store(&xas, new, gfp);
		} while (xas_nomem(&xas, gfp));
		if (leaf != new)
			kfree(new);
	}
	set_active_memcg(old);
	mem_cgroup_put(memcg);
	return leaf ? leaf : ERR_PTR(-ENOMEM);
}

struct prxe_leaf *prxe_leaf_pin(struct prxe_mirror *mirror, unsigned long va, gfp_t gfp)
{
	struct prxe_leaf *leaf;

	if (!populate_lock(mirror, gfp))
		return ERR_PTR(-EAGAIN);
	leaf = leaf_pin_locked(mirror, va);
	mutex_unlock(&mirror->populate);
	return leaf ? leaf : leaf_create(mirror, va, gfp);
}

/* Unpin a leaf that may have to be removed. If this was the last pin, put it on the idle list. */
static noinline void leaf_unpin_idle(struct prxe_leaf *leaf)
{
	struct prxe_mirror *mirror = leaf->mirror;	/* the caller has a reference */
	bool dying, listed = false;

	/*
	 * With idle_lock held, unpinning and listing are one step for the remover: it finds the
	 * leaf either pinned, and leaves it to us, or listed. After the lock is dropped, the leaf
	 * may be freed.
	 */
	spin_lock(&mirror->idle_lock);
	dying = READ_ONCE(mirror->dying);
	spin_lock(&leaf->lock);
	if (atomic_dec_and_test(&leaf->pins) && (dying || !leaf->populated) &&
	    list_empty(&leaf->idle)) {
		list_add_tail(&leaf->idle, &mirror->idle);
		listed = true;
	}
	spin_unlock(&leaf->lock);
	spin_unlock(&mirror->idle_lock);
	if (listed)
		prxe_mirror_reap_later(mirror, dying ? 0 : REAP_DELAY);
}

void prxe_leaf_unpin(struct prxe_leaf *leaf)
{
	bool stays;

	/*
	 * A leaf with translations stays in the table, and whoever clears the last one lists it.
	 * Only a dying mirror loses such leaves, too. Its remover looks at this leaf under
	 * leaf->lock. If it did that before us, it found the leaf pinned, but dying was set
	 * earlier, so we see it; if it does that after us, it finds the leaf unpinned.
	 */
	spin_lock(&leaf->lock);
	stays = leaf->populated && !READ_ONCE(leaf->mirror->dying);
	if (stays)
		atomic_dec(&leaf->pins);
	spin_unlock(&leaf->lock);
	if (!stays)
		leaf_unpin_idle(leaf);
}

/* ---- walks, and what they publish ---- */

/*
 * Slow path of prxe_leaf_begin(): an invalidation is in flight, perhaps of these pages or of this
 * leaf.
 */
static noinline int leaf_begin_busy(struct prxe_leaf *leaf, struct prxe_leaf_walk *walk)
{
	switch (prxe_inflight_look(&leaf->mirror->inflight, walk->start, walk->end - 1,
				   PRXE_LEAF_SIZE)) {
	case PRXE_INFLIGHT_NONE:
		return 0;
	case PRXE_INFLIGHT_NEAR:
		walk->leaf_busy = true;
		return 0;
	default:
		prxe_leaf_end(leaf, walk);
		return -EAGAIN;
	}
}

/*
 * Why no invalidation is missed. An invalidation counts itself as in flight, executes a full
 * barrier, and then looks for leaves in the table, and for walks under the lock of each leaf.
 *
 * If it finds our leaf, then both of us take the leaf's lock, and the second one sees the first:
 * either it finds our walk, or we find its count, because we read the count after we took the lock.
 * If it does not find our leaf, then the leaf was stored later, with a full barrier after that, so
 * that whoever pins the leaf finds the count.
 *
 * If it has ended when we read the count, we find the page tables as it has left them: it lowers
 * the count by a release, and we read the count by an acquire.
 */
int prxe_leaf_begin(struct prxe_leaf *leaf, struct prxe_leaf_walk *walk, unsigned long start,
		    unsigned long end)
{
	walk->start = start;
	walk->end = end;
	walk->stale = false;
	walk->leaf_stale = false;
	walk->leaf_busy = false;
	spin_lock(&leaf->lock);
	hlist_add_head(&walk->node, &leaf->walks);
	spin_unlock(&leaf->lock);
	if (likely(!prxe_inflight_any(&leaf->mirror->inflight)))
		return 0;
	return leaf_begin_busy(leaf, walk);
}

/* From here on, no invalidation finds @walk. */
static void walk_unlist(struct prxe_leaf *leaf, struct prxe_leaf_walk *walk)
{
	lockdep_assert_held(&leaf->lock);
	__hlist_del(&walk->node);
}

void prxe_leaf_end(struct prxe_leaf *leaf, struct prxe_leaf_walk *walk)
{
	spin_lock(&leaf->lock);
	walk_unlist(leaf, walk);
	spin_unlock(&leaf->lock);
}

/*
 * The first page of a leaf's memory, all of which the CPU maps by one entry. @pfn: the snapshot's
 * entry of page number @index of the leaf. NULL: not all of the memory can be used. The walk is not
 * stale, and the leaf's lock is held, so the huge page cannot be split meanwhile.
 */
static struct page *leaf_whole(struct prxe_leaf *leaf, unsigned long pfn, unsigned int index)
{
	struct page *page = prxe_leaf_page(pfn);
	struct folio *folio;

	lockdep_assert_held(&leaf->lock);
	if (IS_ERR_OR_NULL(page))
		return NULL;
	folio = page_folio(page);
	/* If one page is poisoned, publish single pages, so that the others can be used. */
	if (!folio_test_large(folio) || folio_test_hwpoison(folio) ||
	    folio_test_has_hwpoisoned(folio))
		return NULL;
	return pfn_to_page(page_to_pfn(page) - index);
}

/*
 * Give the leaf its table of pages, unless it has one. Sleeps as @gfp allows. Two faults may do
 * this at the same time: the second one frees its table.
 */
static int leaf_make_entries(struct prxe_leaf *leaf, gfp_t gfp)
{
	struct mem_cgroup *memcg, *old;
	unsigned long *entry;

	/* Pairs with the cmpxchg() below. */
	if (smp_load_acquire(&leaf->entry))
		return 0;
	memcg = get_mem_cgroup_from_mm(leaf->mirror->mm);
	old = set_active_memcg(memcg);
	entry = kcalloc(PRXE_LEAF_PAGES, sizeof(*entry), gfp);
	set_active_memcg(old);
	mem_cgroup_put(memcg);
	if (!entry)
		return -ENOMEM;
	/* A full barrier: the table is zeroed before it can be found. */
	if (cmpxchg(&leaf->entry, NULL, entry))
		kfree(entry);
	return 0;
}

/* What one call of prxe_leaf_publish() does. */
struct publication {
	struct prxe_leaf *leaf;
	bool write, fresh;		/* new entries get WRITE; FRESH */
	unsigned long used;		/* ACCESSED for the first page; then 0 */
	struct folio *dirtied;		/* the last folio that was marked dirty */
	unsigned int count;		/* entries that were published */
};

/*
 * Let *@entry translate to the memory that starts with @page. @pfn: what the snapshot says of it.
 */
static void publish_entry(struct publication *p, unsigned long *entry, struct page *page,
			  unsigned long pfn)
{
	unsigned long old = READ_ONCE(*entry);
	unsigned long new = (unsigned long)page_address(page) | PRXE_ENTRY_VALID | p->used;

	lockdep_assert_held(&p->leaf->lock);
	if (p->write && (pfn & HMM_PFN_WRITE) && !WARN_ON_ONCE(page == ZERO_PAGE(0))) {
		/*
		 * Mark the page dirty before the translation can be used. The page cannot be taken
		 * out of its mapping meanwhile: that starts with an invalidation, which either
		 * waits for our lock, or came earlier, and then the walk is stale.
		 */
		if (!(old & PRXE_ENTRY_WRITE) && page_folio(page) != p->dirtied) {
			set_page_dirty(page);
			p->dirtied = page_folio(page);
		}
		new |= PRXE_ENTRY_WRITE;
	}
	if (p->fresh)
		new |= PRXE_ENTRY_FRESH;
	if (!(old & PRXE_ENTRY_VALID))
		p->leaf->populated++;
	else if (!WARN_ON_ONCE(PRXE_ENTRY_ADDR(old) != PRXE_ENTRY_ADDR(new)))
		/*
		 * The entry keeps its flags: if a right had been taken away, an invalidation would
		 * have cleared the entry.
		 */
		new |= old & (PRXE_ENTRY_WRITE | PRXE_ENTRY_ACCESSED);
	/*
	 * Release: whoever finds the entry finds in the page what the CPU that filled it and put it
	 * into the page tables, perhaps another one, has written there.
	 */
	smp_store_release(entry, new);
	p->count++;
}

int prxe_leaf_publish(struct prxe_leaf *leaf, struct prxe_leaf_walk *walk, unsigned long start,
		      unsigned int npages, const unsigned long *pfns, bool write, gfp_t gfp)
{
	struct publication p = {
		.leaf = leaf,
		.write = write,
		.fresh = READ_ONCE(prxe_force_fault),
		.used = PRXE_ENTRY_ACCESSED,
	};
	struct prxe_mirror *mirror = leaf->mirror;
	unsigned int first = prxe_leaf_index(start);
	/*
	 * Publish all of a leaf only if no invalidation of it is in flight; else only the pages
	 * that were asked for.
	 */
	bool is_whole = prxe_leaf_is_whole(pfns[0]) && !walk->leaf_busy;
	bool dropped = false;
	unsigned long *entry;
	struct page *whole;
	unsigned int i;
	int ret = 0;

again:
	if (!is_whole)
		ret = leaf_make_entries(leaf, gfp);
	if (ret) {
		prxe_leaf_end(leaf, walk);
		goto traced;
	}
	spin_lock(&leaf->lock);
	if (walk->stale) {
		ret = -EAGAIN;
		goto out;
	}
	if (READ_ONCE(mirror->dead)) {
		ret = -ESRCH;
		goto out;
	}
	if (is_whole) {
		whole = walk->leaf_stale ? NULL : leaf_whole(leaf, pfns[0], first);
		if (!whole) {
			spin_unlock(&leaf->lock);
			is_whole = false;
			goto again;
		}
		publish_entry(&p, &leaf->whole, whole, pfns[0]);
		goto out;
	}
	/*
	 * A valid entry for the whole leaf would hide the entries of pages, whose rights may differ
	 * now.
	 */
	if (READ_ONCE(leaf->whole) & PRXE_ENTRY_VALID) {
		/*
		 * CPUs may still use this entry, but the next invalidation does not find it any
		 * more. mirror->syncing makes that one wait for those CPUs.
		 */
		atomic_inc(&mirror->syncing);
		dropped = true;
		WRITE_ONCE(leaf->whole, 0);
		leaf->populated--;
	}
	entry = READ_ONCE(leaf->entry);	/* set above, and never changed after that */
	for (i = 0; i < npages; i++) {
		struct page *page = prxe_leaf_page(pfns[i]);

		if (!IS_ERR_OR_NULL(page))
			publish_entry(&p, &entry[first + i], page, pfns[i]);
		p.used = 0;
	}
out:
	walk_unlist(leaf, walk);
	spin_unlock(&leaf->lock);
	if (dropped)
		prxe_leaf_sync_end(mirror, leaf);
traced:
	trace_prxe_publish(mirror, start, npages, p.count, write, ret);
	return ret;
}

/* ---- removal ---- */

/*
 * Take @leaf out of the table and put it onto @gone, if it is to be removed and nobody has pinned
 * it; nobody can pin it now, because we hold populate. If it stays, whoever unpins or empties it
 * lists it again.
 */
static void reap_leaf(struct prxe_mirror *mirror, struct prxe_leaf *leaf, struct list_head *gone)
{
	bool remove;

	lockdep_assert_held(&mirror->populate);
	spin_lock(&mirror->idle_lock);
	spin_lock(&leaf->lock);
	remove = !atomic_read(&leaf->pins) && (READ_ONCE(mirror->dying) || !leaf->populated);
	spin_unlock(&leaf->lock);
	list_del_init(&leaf->idle);
	if (remove)
		list_add_tail(&leaf->idle, gone);	/* so nobody lists it again */
	spin_unlock(&mirror->idle_lock);
	if (remove)
		xa_erase(&mirror->leaves, leaf->base >> PRXE_LEAF_SHIFT);
}

static struct prxe_leaf *first_idle(struct prxe_mirror *mirror)
{
	struct prxe_leaf *leaf;

	lockdep_assert_held(&mirror->populate);	/* keeps the leaf: a removal needs it */
	spin_lock(&mirror->idle_lock);
	leaf = list_first_entry_or_null(&mirror->idle, struct prxe_leaf, idle);
	spin_unlock(&mirror->idle_lock);
	return leaf;
}

/*
 * The next leaf to be looked at: an idle one. If there is none and the mirror is dying, any leaf
 * from number *@no on.
 */
static struct prxe_leaf *reap_next(struct prxe_mirror *mirror, unsigned long *no)
{
	struct prxe_leaf *leaf = first_idle(mirror);

	if (!leaf && READ_ONCE(mirror->dying)) {
		leaf = xa_find(&mirror->leaves, no, ULONG_MAX, XA_PRESENT);
		++*no;
	}
	return leaf;
}

/* Look at up to REAP_BATCH leaves, and remove those that can go. False: there are no more. */
static bool reap_batch(struct prxe_mirror *mirror, unsigned long *no)
{
	struct prxe_leaf *leaf, *next;
	unsigned int n = 0;
	LIST_HEAD(gone);

	mutex_lock(&mirror->populate);
	while (n++ < REAP_BATCH && (leaf = reap_next(mirror, no)))
		reap_leaf(mirror, leaf, &gone);
	if (!list_empty(&gone)) {
		unsigned long number = atomic_long_inc_return(&removal_numbers);

		/*
		 * Release: after the leaves were erased. Pairs with the acquire in
		 * prxe_mirror_hit().
		 */
		smp_store_release(&mirror->removals, number);
	}
	mutex_unlock(&mirror->populate);

	/* Copies and invalidations may use the leaves until their RCU sections end. */
	list_for_each_entry_safe(leaf, next, &gone, idle)
		call_rcu(&leaf->rcu, leaf_free_rcu);
	return n > REAP_BATCH;
}

void prxe_leaves_reap(struct prxe_mirror *mirror)
{
	unsigned long no = 0;

	while (reap_batch(mirror, &no))
		cond_resched();
}
