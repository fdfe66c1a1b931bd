// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The secondary MMU of one address space: its life, its leaves, invalidation, ageing.
 *
 * Lock order: populate, then idle_lock, then leaf->lock; inflight.lock stands alone. The MM calls
 * us under its own locks, down to page table locks for ageing: callbacks take these three but
 * populate, ageing takes none. leaf->lock is never taken with BH off, because marking a page dirty
 * under it takes locks that are not safe against softirqs.
 */
#include <linux/completion.h>
#include <linux/hashtable.h>
#include <linux/kref.h>
#include <linux/memcontrol.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include "base/prxe.h"
#include "base/trace.h"
#include "mmu/fault.h"
#include "mmu/mirror.h"
#include "mmu/window.h"

/* Emptied leaves stay for a while: what was paged out is often wanted again. */
#define REAP_DELAY	HZ
/* Removed at a time: faults that want populate wait for no more. */
#define REAP_BATCH	64

/* How often and how long mmap_lock is asked for: see mmap_lock_try(). */
#define LOCK_TRIES	16
#define LOCK_PAUSES	4U	/* 1 ms .. 16 ms */
#define LOCK_WAITERS	16

static DEFINE_HASHTABLE(mirrors, 6);	/* by mm: those with users */
static DEFINE_SPINLOCK(mirrors_lock);	/* the table, and the step of users from 1 to 0 */
static atomic_t mirrors_live;		/* structures not freed yet */
static DECLARE_WAIT_QUEUE_HEAD(mirrors_gone);
static struct workqueue_struct *mirror_wq;
static atomic_t lock_waiters;		/* work that waits for the mmap_lock of some process */
static atomic_long_t removal_numbers;	/* what mirror->removals is drawn from */

/* ---- counters: those of mirrors that are gone, and of the others on demand ---- */
static struct prxe_mirror_counts gone_counts;	/* under mirrors_lock */

static void counts_add(struct prxe_mirror_counts *c, const struct prxe_mirror *m)
{
	c->faults += atomic64_read(&m->faults);
	c->faults_handled += atomic64_read(&m->faults_handled);
	c->invalidations += atomic64_read(&m->invalidations);
	c->invalidations_handled += atomic64_read(&m->invalidations_handled);
}

void prxe_mirror_counts(struct prxe_mirror_counts *counts)
{
	struct prxe_mirror *m;
	int i;

	spin_lock_bh(&mirrors_lock);
	*counts = gone_counts;
	hash_for_each(mirrors, i, m, node)
		counts_add(counts, m);
	spin_unlock_bh(&mirrors_lock);
}

void prxe_mirror_count_fault(struct prxe_mirror *mirror, bool handled)
{
	atomic64_inc(handled ? &mirror->faults_handled : &mirror->faults);
}

/* ---- memory of the structure ---- */

static void mirror_free_rcu(struct rcu_head *rcu)
{
	struct prxe_mirror *mirror = container_of(rcu, struct prxe_mirror, rcu);

	free_cpumask_var(mirror->cpus);
	kfree(mirror);
}

static void mirror_free(struct work_struct *work)
{
	struct prxe_mirror *mirror = container_of(work, struct prxe_mirror, free);
	unsigned long no = 0;

	WARN_ON_ONCE(xa_find(&mirror->leaves, &no, ULONG_MAX, XA_PRESENT));
	xa_destroy(&mirror->leaves);	/* a store that found no memory leaves empty nodes */
	prxe_fault_pool_destroy(mirror->pool);
	prxe_inflight_free(&mirror->inflight);
	mmdrop(mirror->mm);
	/* Hits that found a dying MR may still look into the table. */
	call_rcu(&mirror->rcu, mirror_free_rcu);
	if (atomic_dec_and_test(&mirrors_live))
		wake_up_all(&mirrors_gone);
}

void prxe_mirror_put(struct prxe_mirror *mirror)
{
	/* From a worker: the last mmdrop() of an address space is not for softirqs. */
	if (refcount_dec_and_test(&mirror->ref))
		queue_work(mirror_wq, &mirror->free);
}

static void reap_later(struct prxe_mirror *mirror, unsigned long delay)
{
	refcount_inc(&mirror->ref);
	if (delay ? !queue_delayed_work(mirror_wq, &mirror->reap, delay) :
		    mod_delayed_work(mirror_wq, &mirror->reap, 0))
		prxe_mirror_put(mirror);	/* the one that was pending has its own */
}

/*
 * mmap_lock for writing, for work in mirror_wq. The work of all processes shares the workqueue's
 * threads, and a process may hold its own lock for as long as it likes: so the lock is tried, and
 * the work comes back after mmap_lock_pause(). Where many threads take the lock all the time, a try
 * may never succeed: after LOCK_TRIES the work waits for the lock, but only LOCK_WAITERS works of
 * the module do that at a time.
 */
static bool mmap_lock_try(struct mm_struct *mm, unsigned int *tries)
{
	bool locked = prxe_mmap_write_trylock(mm);

	if (locked || ++*tries < LOCK_TRIES)
		return locked;
	if (atomic_inc_return(&lock_waiters) <= LOCK_WAITERS) {
		mmap_write_lock(mm);
		locked = true;
	}
	atomic_dec(&lock_waiters);
	return locked;
}

static unsigned long mmap_lock_pause(unsigned int tries)
{
	return msecs_to_jiffies(1U << min(tries - 1, LOCK_PAUSES));
}

/* ---- leaves ---- */

DEFINE_PER_CPU_ALIGNED(struct prxe_leaf_cache[2][PRXE_LEAF_CACHE], prxe_leaf_caches);

/* What prxe_mirror_hit() does not remember, to be remembered in @c. */
noinline struct prxe_leaf *prxe_mirror_find(struct prxe_mirror *mirror, unsigned long va, struct prxe_leaf_cache *c)
{
	/* Before the look: what is remembered is not older than the number. */
	unsigned long removals = smp_load_acquire(&mirror->removals);
	struct prxe_leaf *leaf = prxe_mirror_leaf(mirror, va);
	int cpu = smp_processor_id();

	/* Before a window with it opens, whose full barrier is between this and any use. */
	if (!cpumask_test_cpu(cpu, mirror->cpus))
		cpumask_set_cpu(cpu, mirror->cpus);
	/* That there is none is not worth remembering: a fault will change it. */
	if (leaf)
		*c = (struct prxe_leaf_cache){ .mirror = mirror, .no = va >> PRXE_LEAF_SHIFT, .removals = removals, .leaf = leaf };
	return leaf;
}

static void leaf_free_rcu(struct rcu_head *rcu)
{
	struct prxe_leaf *leaf = container_of(rcu, struct prxe_leaf, rcu);

	kfree(leaf->entry);
	kfree(leaf);
}

/*
 * Inside RCU: one that is being removed is on a list until it is freed, so it is not listed again.
 */
static void leaf_idle(struct prxe_leaf *leaf)
{
	struct prxe_mirror *mirror = leaf->mirror;

	spin_lock(&mirror->idle_lock);
	if (list_empty(&leaf->idle))
		list_add_tail(&leaf->idle, &mirror->idle);
	spin_unlock(&mirror->idle_lock);
	reap_later(mirror, READ_ONCE(mirror->closing) ? 0 : REAP_DELAY);
}

/* ---- invalidation ---- */

/*
 * Until no CPU uses what was cleared since mirror->syncing was raised. @what: in one leaf; NULL: in
 * any. Never sleeps, and waits for one page copy a CPU at most.
 */
static void sync_end(struct prxe_mirror *mirror, const struct prxe_leaf *what)
{
	prxe_window_sync_leaves(mirror->cpus, what);
	/* After all that was waited for: who finds the count lower relies on it. */
	atomic_dec_return_release(&mirror->syncing);
}

/* One call of the MM's. */
struct invalidation {
	struct prxe_mirror *mirror;
	unsigned long first, last;	/* bytes */
	bool syncing;			/* raised mirror->syncing */
	unsigned int leaves, handled;	/* that it touched; where it cleared something */
	unsigned int cleared;
	struct prxe_leaf *leaf;		/* the last one where it cleared something */
};

/* Faults at work are told that what they look at changes. */
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
	/* Before anything is cleared: who finds nothing there finds this. */
	if (!inv->syncing)
		atomic_inc(&inv->mirror->syncing);
	inv->syncing = true;
	WRITE_ONCE(*entry, 0);
}

/* The translations of [first, last] in the leaf; how many there were. */
static unsigned int entries_clear(struct prxe_leaf *leaf, unsigned long first, unsigned long last,
				  struct invalidation *inv)
{
	unsigned long *entry = READ_ONCE(leaf->entry);
	unsigned int cleared = 0;
	unsigned int i;

	lockdep_assert_held(&leaf->lock);
	if (READ_ONCE(leaf->whole) & PRXE_ENTRY_VALID) {
		/* Of a part of it, too: the MM is about to split what it was taken from, and the next fault finds what is left. */
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

/* Inside RCU. */
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
		leaf_idle(leaf);
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
 * One wait for all that was cleared. If there was nothing, somebody else who cleared it before us
 * may still wait for its windows: our caller may free the pages once we return, so we wait as well.
 * True: waited.
 */
static bool windows_wait(struct invalidation *inv)
{
	struct prxe_mirror *mirror = inv->mirror;
	const struct prxe_leaf *what = NULL;
	int syncing;

	/*
	 * Pairs with the lock under which entries were cleared, or with xa_erase() of their leaf.
	 */
	smp_mb();
	syncing = atomic_read(&mirror->syncing);
	if (!syncing) {
		smp_mb();	/* what the others waited for comes before what our caller does */
		return false;
	}
	if (!inv->syncing) {
		prxe_window_sync_leaves(mirror->cpus, NULL);
		return true;
	}
	/* Alone, and in one leaf: only those that copy there. */
	if (syncing == 1 && inv->handled == 1)
		what = inv->leaf;
	sync_end(mirror, what);
	return true;
}

/*
 * Does the end of this invalidation come to mirror_range_end()? Only of those that start after our
 * notifier was registered, which is under all locks of the address space, when none is in flight;
 * so this says the same for all of an invalidation. When the address space ends there is no end;
 * those that may not block may fail after us, and then there is none either.
 */
static bool has_end(const struct prxe_mirror *mirror, const struct mmu_notifier_range *range)
{
	return range->event != MMU_NOTIFY_RELEASE && mmu_notifier_range_blockable(range) &&
	       !hlist_unhashed_lockless(&mirror->mn.hlist);
}

/*
 * The MM takes pages away, or changes what may be done with them. When this returns no CPU uses the
 * old translations, and until the end none is published. Does not sleep for ranges that may not
 * block.
 */
static bool mirror_invalidate(struct mmu_interval_notifier *ni,
			      const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	struct prxe_mirror *mirror = container_of(ni, struct prxe_mirror, ni);
	struct invalidation inv = {
		.mirror = mirror,
		.first = range->start,
		.last = range->end - 1,
	};
	bool blockable = mmu_notifier_range_blockable(range);
	bool waited;

	if (has_end(mirror, range))
		prxe_inflight_start(&mirror->inflight, inv.first, inv.last);
	else if (!blockable || range->event == MMU_NOTIFY_RELEASE)
		/*
		 * The OOM killer reaps it, or it ends: either way no fault is to bring anything
		 * back. With a full barrier, as prxe_inflight_start() has one, before leaves are
		 * looked for: who makes one later finds this when it publishes.
		 */
		smp_store_mb(mirror->dead, true);
	leaves_invalidate(&inv, blockable);
	waited = windows_wait(&inv);
	if (inv.leaves) {
		atomic64_add(inv.leaves, &mirror->invalidations);
		atomic64_add(inv.handled, &mirror->invalidations_handled);
		trace_prxe_invalidate(mirror, inv.first, inv.last, range->event, inv.cleared,
				      waited);
	}
	return true;
}

static const struct mmu_interval_notifier_ops interval_ops = {
	.invalidate = mirror_invalidate,
};

static void mirror_range_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct prxe_mirror *mirror = container_of(mn, struct prxe_mirror, mn);

	if (has_end(mirror, range))
		prxe_inflight_end(&mirror->inflight, range->start, range->end - 1);
}

/* ---- faults: leaves, and what is published in them ---- */

/* Takes populate, or does not wait for it where @gfp may not block. */
static bool populate_lock(struct prxe_mirror *mirror, gfp_t gfp)
{
	if (!gfpflags_allow_blocking(gfp))
		return mutex_trylock(&mirror->populate);
	mutex_lock(&mirror->populate);
	return true;
}

/* The leaf of @va, pinned; NULL when there is none. */
static struct prxe_leaf *leaf_pin_locked(struct prxe_mirror *mirror, unsigned long va)
{
	struct prxe_leaf *leaf;

	lockdep_assert_held(&mirror->populate);
	if (READ_ONCE(mirror->dead))
		return ERR_PTR(-ESRCH);
	/* A removal takes populate: the leaf stays, and so does the removal number. */
	local_bh_disable();
	preempt_disable();
	leaf = prxe_mirror_hit(mirror, va, false);
	preempt_enable();
	local_bh_enable();
	if (leaf)
		atomic_inc(&leaf->pins);
	return leaf;
}

/* A leaf for @va that nobody can find yet, with one pin. */
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
 * One attempt to store @new: the leaf of @new's address, pinned, which is @new unless another
 * thread was faster. NULL: the table needs memory, which xas_nomem() allocates.
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
		 * The leaf is in the table before anybody looks for what is in flight, also before
		 * a thread does that finds it there: that one takes populate after us.
		 * prxe_leaf_begin() says why.
		 */
		smp_mb();
	}
	mutex_unlock(&mirror->populate);
	return leaf;
}

/*
 * The slow part of prxe_leaf_pin(): there was no leaf. Memory is allocated without populate: it may
 * be reclaimed for that, and faults on other leaves of the process would wait so long. It is
 * charged to the memory cgroup of @mirror's process, even when a thread of ours allocates it.
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

/* It may have to be removed, or listed to be. */
static noinline void leaf_unpin_idle(struct prxe_leaf *leaf)
{
	struct prxe_mirror *mirror = leaf->mirror;	/* the caller uses it */
	bool closing, listed = false;

	/* idle_lock makes it one step: who finds the leaf pinned leaves it to us, and it may be gone once we let go. */
	spin_lock(&mirror->idle_lock);
	closing = READ_ONCE(mirror->closing);
	spin_lock(&leaf->lock);
	if (atomic_dec_and_test(&leaf->pins) && (closing || !leaf->populated) && list_empty(&leaf->idle)) {
		list_add_tail(&leaf->idle, &mirror->idle);
		listed = true;
	}
	spin_unlock(&leaf->lock);
	spin_unlock(&mirror->idle_lock);
	if (listed)
		reap_later(mirror, closing ? 0 : REAP_DELAY);
}

void prxe_leaf_unpin(struct prxe_leaf *leaf)
{
	bool stays;

	/*
	 * With translations in it, it stays: who takes the last one lists it. Who removes leaves of
	 * a mirror that closes looks at this one under its lock: after us, or before, and then
	 * closing was set before that, and we see it.
	 */
	spin_lock(&leaf->lock);
	stays = leaf->populated && !READ_ONCE(leaf->mirror->closing);
	if (stays)
		atomic_dec(&leaf->pins);
	spin_unlock(&leaf->lock);
	if (!stays)
		leaf_unpin_idle(leaf);
}

/* Something is in flight: does it touch the leaf, or even our pages? */
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
 * Why none is missed. An invalidation counts itself as in flight, executes a full barrier, looks
 * for leaves in the table, and for walks under the lock of each. If it finds our leaf, one of us is
 * second to that lock and finds the other: it our walk, or we, who look only after we took the
 * lock, its count. If it does not, the leaf came into the table later, and a full barrier after
 * that: so all who pin it find the count. If it has ended by the time that we look, what it changed
 * in the page tables is what we read: the count falls by a release, and is read by an acquire.
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

/* Under the update lock. Nobody looks at @walk any more. */
static void walk_unlist(struct prxe_leaf_walk *walk)
{
	__hlist_del(&walk->node);
}

void prxe_leaf_end(struct prxe_leaf *leaf, struct prxe_leaf_walk *walk)
{
	spin_lock(&leaf->lock);
	walk_unlist(walk);
	spin_unlock(&leaf->lock);
}

/*
 * The first page of the leaf in which @pfn, which the CPU maps by one entry with all of it, is page number @index; NULL: not all of it can be
 * used. Under the update lock, the snapshot being good: what is mapped is not split meanwhile.
 */
static struct page *leaf_whole(unsigned long pfn, unsigned int index)
{
	struct page *page = prxe_leaf_page(pfn);
	struct folio *folio;

	if (IS_ERR_OR_NULL(page))
		return NULL;
	folio = page_folio(page);
	/* Poison somewhere in it: page by page, so that the rest can be used. */
	if (!folio_test_large(folio) || folio_test_hwpoison(folio) || folio_test_has_hwpoisoned(folio))
		return NULL;
	return pfn_to_page(page_to_pfn(page) - index);
}

/* Room for entries of pages. Sleeps as @gfp allows; two faults may be here at once. */
static int leaf_make_entries(struct prxe_leaf *leaf, gfp_t gfp)
{
	struct mem_cgroup *memcg, *old;
	unsigned long *entry;

	if (smp_load_acquire(&leaf->entry))
		return 0;
	memcg = get_mem_cgroup_from_mm(leaf->mirror->mm);
	old = set_active_memcg(memcg);
	entry = kcalloc(PRXE_LEAF_PAGES, sizeof(*entry), gfp);
	set_active_memcg(old);
	mem_cgroup_put(memcg);
	if (!entry)
		return -ENOMEM;
	/* Zeroed before it can be found. */
	if (cmpxchg(&leaf->entry, NULL, entry))
		kfree(entry);
	return 0;
}

/* Where a fault writes its entries to, and what it knows of them. */
struct publication {
	struct prxe_leaf *leaf;
	bool write, fresh;
	unsigned long used;		/* ACCESSED, for the first page: it is what a transfer waits for */
	struct folio *dirtied;		/* the last one */
	unsigned int count;
};

/* The translation of *@entry to the memory from @page on, of which the snapshot says @pfn. Under the update lock. */
static void publish_entry(struct publication *p, unsigned long *entry, struct page *page, unsigned long pfn)
{
	unsigned long old = READ_ONCE(*entry);
	unsigned long new = (unsigned long)page_address(page) | PRXE_ENTRY_VALID | p->used;

	if (p->write && (pfn & HMM_PFN_WRITE) && !WARN_ON_ONCE(page == ZERO_PAGE(0))) {
		/*
		 * Dirty before the translation can be used. The page cannot leave its mapping meanwhile: that starts with
		 * an invalidation, which waits for our lock, or came before it and was seen above.
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
		/* It keeps what it has: an invalidation would have cleared it. */
		new |= old & (PRXE_ENTRY_WRITE | PRXE_ENTRY_ACCESSED);
	WRITE_ONCE(*entry, new);
	p->count++;
}

int prxe_leaf_publish(struct prxe_leaf *leaf, struct prxe_leaf_walk *walk, unsigned long start,
		      unsigned int npages, const unsigned long *pfns, bool write, gfp_t gfp)
{
	struct publication p = { .leaf = leaf, .write = write, .fresh = READ_ONCE(prxe_force_fault), .used = PRXE_ENTRY_ACCESSED };
	struct prxe_mirror *mirror = leaf->mirror;
	unsigned int first = prxe_leaf_index(start);
	/* Of all of a leaf only when nothing of it changes; else the pages that were asked for. */
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
		whole = walk->leaf_stale ? NULL : leaf_whole(pfns[0], first);
		if (!whole) {
			spin_unlock(&leaf->lock);
			is_whole = false;
			goto again;
		}
		publish_entry(&p, &leaf->whole, whole, pfns[0]);
		goto out;
	}
	/* What was one entry is many now, which no longer have all the same rights: it must not hide them. */
	if (READ_ONCE(leaf->whole) & PRXE_ENTRY_VALID) {
		/*
		 * CPUs may still use it, and the next invalidation finds it gone: it waits, if it
		 * sees this.
		 */
		atomic_inc(&mirror->syncing);
		dropped = true;
		WRITE_ONCE(leaf->whole, 0);
		leaf->populated--;
	}
	entry = READ_ONCE(leaf->entry);	/* made above, and never changed again */
	for (i = 0; i < npages; i++) {
		struct page *page = prxe_leaf_page(pfns[i]);

		if (!IS_ERR_OR_NULL(page))
			publish_entry(&p, &entry[first + i], page, pfns[i]);
		p.used = 0;
	}
out:
	walk_unlist(walk);
	spin_unlock(&leaf->lock);
	if (dropped)
		sync_end(mirror, leaf);
traced:
	trace_prxe_publish(mirror, start, npages, p.count, write, ret);
	return ret;
}

/* Take @leaf out if nothing holds it: onto @gone. populate held, so that nobody pins it; else whoever unpins or empties it lists it again. */
static void reap_leaf(struct prxe_mirror *mirror, struct prxe_leaf *leaf, struct list_head *gone)
{
	bool remove;

	lockdep_assert_held(&mirror->populate);
	spin_lock(&mirror->idle_lock);
	spin_lock(&leaf->lock);
	remove = !atomic_read(&leaf->pins) && (READ_ONCE(mirror->closing) || !leaf->populated);
	spin_unlock(&leaf->lock);
	list_del_init(&leaf->idle);
	if (remove)
		list_add_tail(&leaf->idle, gone);	/* for good: nobody lists it again */
	spin_unlock(&mirror->idle_lock);
	if (remove)
		xa_erase(&mirror->leaves, leaf->base >> PRXE_LEAF_SHIFT);
}

static struct prxe_leaf *first_idle(struct prxe_mirror *mirror)
{
	struct prxe_leaf *leaf;

	spin_lock(&mirror->idle_lock);
	leaf = list_first_entry_or_null(&mirror->idle, struct prxe_leaf, idle);
	spin_unlock(&mirror->idle_lock);
	return leaf;	/* removal needs populate, which our caller holds */
}

/*
 * The next one to be removed: what is idle; then, when the mirror closes, every leaf from *@no on.
 */
static struct prxe_leaf *reap_next(struct prxe_mirror *mirror, unsigned long *no)
{
	struct prxe_leaf *leaf = first_idle(mirror);

	if (!leaf && READ_ONCE(mirror->closing)) {
		leaf = xa_find(&mirror->leaves, no, ULONG_MAX, XA_PRESENT);
		++*no;
	}
	return leaf;
}

/* Some leaves; false when there are no more. */
static bool reap_batch(struct prxe_mirror *mirror, unsigned long *no)
{
	struct prxe_leaf *leaf, *next;
	unsigned int n = 0;
	LIST_HEAD(gone);

	mutex_lock(&mirror->populate);
	while (n++ < REAP_BATCH && (leaf = reap_next(mirror, no)))
		reap_leaf(mirror, leaf, &gone);
	if (!list_empty(&gone))
		smp_store_release(&mirror->removals, atomic_long_inc_return(&removal_numbers));
	mutex_unlock(&mirror->populate);

	/* Hits, and invalidations, may look at them until their RCU section ends. */
	list_for_each_entry_safe(leaf, next, &gone, idle)
		call_rcu(&leaf->rcu, leaf_free_rcu);
	return n > REAP_BATCH;
}

/*
 * The interval notifier of a mirror that closes. The removal waits for a moment with nothing in
 * flight: who holds mmap_lock for writing lets what needs it end, and keeps the rest out. False:
 * try again later.
 */
static bool interval_remove(struct prxe_mirror *mirror)
{
	if (!mmap_lock_try(mirror->mm, &mirror->lock_tries))
		return false;
	mmu_interval_notifier_remove(&mirror->ni);
	mmap_write_unlock(mirror->mm);
	mirror->ni_removed = true;
	prxe_mirror_put(mirror);	/* the interval's */
	return true;
}

/*
 * Remove leaves that are empty, all of them when the mirror closes; and then the notifier. No key
 * reaches a closing mirror, so it is nobody's loss that what is still published is not invalidated
 * any more. Pinned leaves are left to who unpins them.
 */
static void mirror_reap(struct work_struct *work)
{
	struct prxe_mirror *mirror = container_of(to_delayed_work(work), struct prxe_mirror, reap);
	unsigned long no = 0;

	while (reap_batch(mirror, &no))
		cond_resched();
	if (READ_ONCE(mirror->closing) && !mirror->ni_removed && !interval_remove(mirror))
		reap_later(mirror, mmap_lock_pause(mirror->lock_tries));
	prxe_mirror_put(mirror);
}

/* ---- ageing: under the page table lock; RCU, atomic bits, no lock ---- */

static bool mirror_young(struct prxe_mirror *mirror, unsigned long start, unsigned long end, bool clear)
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

static prxe_young_t mirror_clear_young(struct mmu_notifier *mn, struct mm_struct *mm, unsigned long start,
				       unsigned long end)
{
	return mirror_young(container_of(mn, struct prxe_mirror, mn), start, end, true);
}

static prxe_young_t mirror_test_young(struct mmu_notifier *mn, struct mm_struct *mm, unsigned long address)
{
	return mirror_young(container_of(mn, struct prxe_mirror, mn), address, address + PAGE_SIZE, false);
}

/* ---- life ---- */

/* The address space goes; its leaves were invalidated just before, and nobody can fault any more. */
static void mirror_release(struct mmu_notifier *mn, struct mm_struct *mm)
{
	struct prxe_mirror *mirror = container_of(mn, struct prxe_mirror, mn);

	WRITE_ONCE(mirror->dead, true);
	prxe_fault_pool_orphan(mirror->pool);
}

static void mirror_free_notifier(struct mmu_notifier *mn)
{
	prxe_mirror_put(container_of(mn, struct prxe_mirror, mn));
}

static const struct mmu_notifier_ops mirror_ops = {
	.release = mirror_release,
	.invalidate_range_end = mirror_range_end,
	.clear_flush_young = mirror_clear_young,	/* a software mirror has no TLB to flush */
	.clear_young = mirror_clear_young,
	.test_young = mirror_test_young,
	.free_notifier = mirror_free_notifier,
};

static struct prxe_mirror *mirror_find(struct mm_struct *mm)
{
	struct prxe_mirror *m;

	spin_lock_bh(&mirrors_lock);
	hash_for_each_possible(mirrors, m, node, (unsigned long)mm)
		if (m->mm == mm && !READ_ONCE(m->dead)) {
			atomic_inc(&m->users);
			goto out;
		}
	m = NULL;
out:
	spin_unlock_bh(&mirrors_lock);
	return m;
}

/*
 * Both notifiers, in this order, so that the two halves of an invalidation always meet. While the
 * second is registered every lock of the address space is held, and no invalidation is in flight.
 * So each that the second hears the end of has started after that; the first heard its start,
 * because it is in the interval tree by then: the tree takes in late what is inserted while
 * invalidations are in flight, but not later than at the end of the last of them. What started
 * before, the first has seen without the second, which tells has_end(). If the second fails, the
 * first is left to the caller.
 */
static int mirror_register(struct prxe_mirror *mirror, struct mm_struct *mm)
{
	int ret;

	ret = mmu_interval_notifier_insert_locked(&mirror->ni, mm, 0, ULONG_MAX, &interval_ops);
	if (ret)
		return ret;
	refcount_inc(&mirror->ref);		/* the interval's */
	return __mmu_notifier_register(&mirror->mn, mm);
}

/* A mirror that nobody can find, with one reference and one user. */
static struct prxe_mirror *mirror_alloc(struct mm_struct *mm)
{
	struct prxe_mirror *mirror = kzalloc(sizeof(*mirror), GFP_KERNEL);

	if (!mirror)
		return NULL;
	if (!zalloc_cpumask_var(&mirror->cpus, GFP_KERNEL))
		goto err_free;
	mirror->pool = prxe_fault_pool_create(mirror);
	if (!mirror->pool)
		goto err_cpus;
	mirror->removals = atomic_long_inc_return(&removal_numbers);
	prxe_inflight_init(&mirror->inflight);
	mirror->mn.ops = &mirror_ops;
	mmgrab(mm);
	mirror->mm = mm;
	refcount_set(&mirror->ref, 1);		/* the notifier's */
	atomic_set(&mirror->users, 1);
	xa_init_flags(&mirror->leaves, XA_FLAGS_ACCOUNT);
	mutex_init(&mirror->populate);
	spin_lock_init(&mirror->idle_lock);
	INIT_LIST_HEAD(&mirror->idle);
	INIT_DELAYED_WORK(&mirror->reap, mirror_reap);
	INIT_WORK(&mirror->free, mirror_free);
	atomic_inc(&mirrors_live);
	return mirror;

err_cpus:
	free_cpumask_var(mirror->cpus);
err_free:
	kfree(mirror);
	return NULL;
}

/*
 * Make @mirror the one of its address space, unless there is one by now: that is returned then, or
 * an error. mmap_lock is held for writing, and dropped. The caller's reference becomes the
 * notifier's, or is given back.
 */
static struct prxe_mirror *mirror_publish(struct prxe_mirror *mirror)
{
	struct mm_struct *mm = mirror->mm;
	struct prxe_mirror *other;
	int ret;

	mmap_assert_write_locked(mm);
	other = mirror_find(mm);
	if (other) {
		mmap_write_unlock(mm);
		prxe_mirror_put(mirror);
		return other;
	}
	ret = mirror_register(mirror, mm);
	if (!ret) {
		spin_lock_bh(&mirrors_lock);
		hash_add(mirrors, &mirror->node, (unsigned long)mm);
		spin_unlock_bh(&mirrors_lock);
	}
	mmap_write_unlock(mm);
	if (!ret)
		return mirror;
	if (mirror->ni.mm) {
		mmu_interval_notifier_remove(&mirror->ni);
		prxe_mirror_put(mirror);
	}
	prxe_mirror_put(mirror);
	return ERR_PTR(ret);
}

/*
 * Set-up runs in a worker: taking all locks of an address space fails on any pending signal of the
 * caller, and an application whose timer ticks is not to see that.
 */
struct setup {
	struct delayed_work work;
	struct completion done;
	struct kref ref;
	struct mm_struct *mm;		/* mm_users held by the worker's half */
	struct prxe_mirror *mirror;	/* to be published, the worker's */
	unsigned int lock_tries;
	struct prxe_mirror *result;
	bool abandoned;			/* under mirrors_lock, with finished */
	bool finished;
};

static void setup_free(struct kref *ref)
{
	kfree(container_of(ref, struct setup, ref));
}

static void setup_finish(struct setup *s, struct prxe_mirror *result)
{
	bool abandoned;

	s->result = result;
	spin_lock_bh(&mirrors_lock);
	s->finished = true;
	abandoned = s->abandoned;
	spin_unlock_bh(&mirrors_lock);
	if (abandoned && !IS_ERR(result))
		prxe_mirror_unuse(result);
	mmput_async(s->mm);
	complete(&s->done);
	kref_put(&s->ref, setup_free);
}

static void setup_work(struct work_struct *work)
{
	struct setup *s = container_of(to_delayed_work(work), struct setup, work);

	if (!s->mirror)
		s->mirror = mirror_alloc(s->mm);
	if (!s->mirror) {
		setup_finish(s, ERR_PTR(-ENOMEM));
	} else if (READ_ONCE(s->abandoned)) {
		prxe_mirror_put(s->mirror);
		setup_finish(s, ERR_PTR(-EINTR));
	} else if (mmap_lock_try(s->mm, &s->lock_tries)) {
		setup_finish(s, mirror_publish(s->mirror));
	} else {
		queue_delayed_work(mirror_wq, &s->work, mmap_lock_pause(s->lock_tries));
	}
}

struct prxe_mirror *prxe_mirror_get_current(void)
{
	struct mm_struct *mm = current->mm;
	struct prxe_mirror *mirror;
	struct setup *s;
	bool finished;

	if (!mm || (current->flags & PF_KTHREAD))
		return ERR_PTR(-EINVAL);
	mirror = mirror_find(mm);
	if (mirror)
		return mirror;

	s = kzalloc(sizeof(*s), GFP_KERNEL);
	if (!s)
		return ERR_PTR(-ENOMEM);
	INIT_DELAYED_WORK(&s->work, setup_work);
	init_completion(&s->done);
	kref_init(&s->ref);
	kref_get(&s->ref);
	mmget(mm);
	s->mm = mm;
	queue_delayed_work(mirror_wq, &s->work, 0);

	if (!wait_for_completion_killable(&s->done)) {
		mirror = s->result;
	} else {
		/* A fatal signal. What the worker makes it unmakes, unless it was faster. */
		spin_lock_bh(&mirrors_lock);
		WRITE_ONCE(s->abandoned, true);
		finished = s->finished;
		spin_unlock_bh(&mirrors_lock);
		mirror = finished ? s->result : ERR_PTR(-EINTR);
	}
	kref_put(&s->ref, setup_free);
	return mirror;
}

void prxe_mirror_use(struct prxe_mirror *mirror)
{
	atomic_inc(&mirror->users);
}

void prxe_mirror_unuse(struct prxe_mirror *mirror)
{
	if (atomic_add_unless(&mirror->users, -1, 1))
		return;
	spin_lock_bh(&mirrors_lock);
	if (!atomic_dec_and_test(&mirror->users)) {
		spin_unlock_bh(&mirrors_lock);
		return;
	}
	hash_del(&mirror->node);
	counts_add(&gone_counts, mirror);
	spin_unlock_bh(&mirrors_lock);

	/* Dead: no new translation, no new leaf. Synchronised: no key reaches it any more, its MRs saw to that. Then free, in a worker. */
	WRITE_ONCE(mirror->dead, true);
	WRITE_ONCE(mirror->closing, true);
	prxe_fault_pool_kill(mirror->pool);
	reap_later(mirror, 0);
	mmu_notifier_put(&mirror->mn);
}

int prxe_mirror_init(void)
{
	mirror_wq = alloc_workqueue("prxe_mirror", WQ_UNBOUND, 0);
	return mirror_wq ? 0 : -ENOMEM;
}

void prxe_mirror_exit(void)
{
	mmu_notifier_synchronize();
	/* What is left are notifiers' references that are about to be dropped, and work. Our code may not go before it ran. */
	while (!wait_event_timeout(mirrors_gone, !atomic_read(&mirrors_live), 60 * HZ))
		pr_err("waiting for %d mirrored address spaces\n", atomic_read(&mirrors_live));
	destroy_workqueue(mirror_wq);
	mmu_notifier_synchronize();
	rcu_barrier();
}
