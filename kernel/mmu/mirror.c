// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The life of a mirror: set-up, users, the notifiers of its address space, its end.
 *
 * The top of this folder: uses leaf.c and invalidate.c for the tables, inflight.c for the ranges
 * that are being invalidated, and pool.c for a mirror's fault threads; none of them calls this
 * file.
 */
#include <linux/completion.h>
#include <linux/hashtable.h>
#include <linux/kref.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include "mmu/invalidate.h"
#include "mmu/mirror.h"
#include "mmu/pool.h"

/* How often mmap_lock is tried, and the pauses between two tries: see mmap_lock_try(). */
#define LOCK_TRIES	16
#define LOCK_PAUSES	4U	/* 1 ms .. 16 ms */
#define LOCK_WAITERS	16

static DEFINE_HASHTABLE(mirrors, 6);	/* mirrors that have users, by mm */
static DEFINE_SPINLOCK(mirrors_lock);	/* guards mirrors, and the step of users from 1 to 0 */
static atomic_t mirrors_live;		/* mirrors that were not freed yet */
static DECLARE_WAIT_QUEUE_HEAD(mirrors_gone);
static struct workqueue_struct *mirror_wq;
static atomic_t lock_waiters;		/* works that sleep until they get an mmap_lock */

/* ---- counters: a sum for mirrors without users; the others are added when asked ---- */
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

/* ---- memory of a mirror ---- */

static void mirror_free_rcu(struct rcu_head *rcu)
{
	struct prxe_mirror *mirror = container_of(rcu, struct prxe_mirror, rcu);

	free_cpumask_var(mirror->cpus);
	kfree(mirror);
}

static void mirror_free(struct work_struct *work)
{
	struct prxe_mirror *mirror = container_of(work, struct prxe_mirror, free);

	prxe_leaves_free(mirror);
	prxe_fault_pool_destroy(mirror->pool);
	mmdrop(mirror->mm);
	/* A copy that found an MR before it died may still look into the table. */
	call_rcu(&mirror->rcu, mirror_free_rcu);
	if (atomic_dec_and_test(&mirrors_live))
		wake_up_all(&mirrors_gone);
}

/* ---- what the MM calls ---- */

/*
 * Will mirror_range_end() be called for this invalidation? Only if it starts after our plain
 * notifier was registered. The registration happens under all locks of the address space, when no
 * invalidation is in flight, so the answer is the same at the start and at the end of an
 * invalidation. The invalidation at the end of the address space has no end. One that may not block
 * may be refused by a notifier after ours, and then has no end either.
 */
static bool has_end(const struct prxe_mirror *mirror, const struct mmu_notifier_range *range)
{
	return range->event != MMU_NOTIFY_RELEASE && mmu_notifier_range_blockable(range) &&
	       !hlist_unhashed_lockless(&mirror->mn.hlist);
}

/*
 * The MM takes pages away, or changes their protection. When this returns, no CPU uses the old
 * translations, and none is published until the invalidation ends. Does not sleep for ranges that
 * may not block.
 */
static bool mirror_invalidate(struct mmu_interval_notifier *ni,
			      const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	struct prxe_mirror *mirror = container_of(ni, struct prxe_mirror, ni);
	bool blockable = mmu_notifier_range_blockable(range);

	if (has_end(mirror, range))
		prxe_inflight_start(&mirror->inflight, range->start, range->end - 1);
	else if (!blockable || range->event == MMU_NOTIFY_RELEASE)
		/*
		 * The OOM killer reaps the address space, or the address space ends: in both cases
		 * no fault may bring anything back. The full barrier, like the one of
		 * prxe_inflight_start(), comes before we look for leaves: whoever stores a leaf
		 * later finds the mirror dead when it publishes.
		 */
		smp_store_mb(mirror->dead, true);
	prxe_leaves_invalidate(mirror, range->start, range->end - 1, range->event, blockable);
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

static prxe_young_t mirror_clear_young(struct mmu_notifier *mn, struct mm_struct *mm,
				       unsigned long start, unsigned long end)
{
	return prxe_leaves_young(container_of(mn, struct prxe_mirror, mn), start, end, true);
}

static prxe_young_t mirror_test_young(struct mmu_notifier *mn, struct mm_struct *mm,
				      unsigned long address)
{
	struct prxe_mirror *mirror = container_of(mn, struct prxe_mirror, mn);

	return prxe_leaves_young(mirror, address, address + PAGE_SIZE, false);
}

/* The address space ends. All of it was invalidated just before, and nobody can fault any more. */
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
	.clear_flush_young = mirror_clear_young,	/* nothing to flush: a mirror has no TLB */
	.clear_young = mirror_clear_young,
	.test_young = mirror_test_young,
	.free_notifier = mirror_free_notifier,
};

/* ---- removal of leaves, and of the interval notifier ---- */

/*
 * Take mmap_lock for writing, for a work of mirror_wq. The works for all processes share the
 * threads of the workqueue, and a process may hold its own lock for as long as it likes. So the
 * lock is only tried, and the work runs again after mmap_lock_pause(). Where many threads take the
 * lock all the time, a try may never succeed: after LOCK_TRIES the work sleeps until it gets the
 * lock, but at most LOCK_WAITERS works of the module do that at a time.
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

/*
 * Remove the interval notifier of a dying mirror. The MM's function for that sleeps until no
 * invalidation is in flight. So it is called with mmap_lock held: every invalidation that needs
 * that lock has ended, and no other of that kind starts. False: try again later.
 */
static bool interval_remove(struct prxe_mirror *mirror)
{
	/*
	 * The next try may sleep for as long as a living process holds the lock, and the module's
	 * exit would then sleep as long, unkillably. With a reference on the module, rmmod says "in
	 * use" instead. (If the exit has begun, there is no reference to be had.)
	 */
	if (mirror->lock_tries + 1 >= LOCK_TRIES && !mirror->keeps_module)
		mirror->keeps_module = try_module_get(THIS_MODULE);
	if (!mmap_lock_try(mirror->mm, &mirror->lock_tries))
		return false;
	mmu_interval_notifier_remove(&mirror->ni);
	mmap_write_unlock(mirror->mm);
	mirror->ni_removed = true;
	prxe_mirror_put(mirror);	/* the interval notifier's */
	return true;
}

/* Have the reap work run after @delay, also if it was to run later or earlier. */
static void reap_again(struct prxe_mirror *mirror, unsigned long delay)
{
	refcount_inc(&mirror->ref);
	if (mod_delayed_work(mirror_wq, &mirror->reap, delay))
		prxe_mirror_put(mirror);	/* it was pending, and had a reference already */
}

/*
 * Remove the leaves that are empty; of a dying mirror remove all, and then the interval notifier.
 * After that no invalidation is seen, which does no harm, because no key leads to a dying mirror.
 * Pinned leaves are left to whoever unpins them.
 */
static void mirror_reap(struct work_struct *work)
{
	struct prxe_mirror *mirror = container_of(to_delayed_work(work), struct prxe_mirror, reap);
	bool kept;

	prxe_leaves_reap(mirror);
	if (READ_ONCE(mirror->dying) && !mirror->ni_removed && !interval_remove(mirror))
		reap_again(mirror, mmap_lock_pause(mirror->lock_tries));
	kept = mirror->ni_removed && mirror->keeps_module;
	if (kept)
		mirror->keeps_module = false;
	prxe_mirror_put(mirror);
	/* The last statement, as in setup_finish(). */
	if (kept)
		module_put(THIS_MODULE);
}

/* ---- set-up ---- */

/* The mirror of @mm, with one more user; NULL: there is none, or it is dead. */
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
 * Register both notifiers, the interval notifier first: so if mirror_range_end() is called for an
 * invalidation, mirror_invalidate() was called for its start. While the second notifier is
 * registered, every lock of the address space is held and no invalidation is in flight. So an
 * invalidation whose end the second notifier hears has started later. Its start reached the first
 * notifier, which is in the interval tree by then: the MM puts an insertion off while invalidations
 * are in flight, but only until the last of them has ended. An invalidation that started earlier
 * found the second notifier unregistered, which is what has_end() checks. If the second
 * registration fails, the caller removes the first notifier.
 */
static int mirror_register(struct prxe_mirror *mirror, struct mm_struct *mm)
{
	int ret;

	mmap_assert_write_locked(mm);
	ret = mmu_interval_notifier_insert_locked(&mirror->ni, mm, 0, ULONG_MAX, &interval_ops);
	if (ret)
		return ret;
	refcount_inc(&mirror->ref);		/* the interval notifier's */
	return __mmu_notifier_register(&mirror->mn, mm);
}

/* A new mirror, which nobody can find yet, with one reference and one user. NULL: no memory. */
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
	prxe_leaves_init(mirror);
	mirror->wq = mirror_wq;
	mirror->mn.ops = &mirror_ops;
	mmgrab(mm);
	mirror->mm = mm;
	refcount_set(&mirror->ref, 1);		/* the plain notifier's */
	atomic_set(&mirror->users, 1);
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
 * Make @mirror the mirror of its address space. Returns it; the one that the address space has got
 * meanwhile; or an error. mmap_lock is held for writing, and is dropped. The caller's reference
 * becomes the plain notifier's, or is given back.
 */
static struct prxe_mirror *mirror_publish(struct prxe_mirror *mirror)
{
	struct mm_struct *mm = mirror->mm;
	struct prxe_mirror *other;
	int ret;

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
 * Set-up runs in a worker. Registration takes all locks of the address space, and fails if the
 * caller has any signal pending; an application with a ticking timer should not see that.
 */
struct setup {
	struct delayed_work work;
	struct completion done;
	struct kref ref;
	struct mm_struct *mm;		/* mm_users is held until the worker has finished */
	struct prxe_mirror *mirror;	/* to be published; only the worker uses it */
	unsigned int lock_tries;
	struct prxe_mirror *result;
	bool abandoned;			/* the caller was killed and has left; under mirrors_lock */
	bool finished;			/* @result is set; under mirrors_lock */
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
	/*
	 * The last statement: from here on only destroy_workqueue(mirror_wq), which waits for the
	 * return of this work, keeps the module's text.
	 */
	module_put(THIS_MODULE);
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
	/*
	 * The worker may run longer than a caller that is killed. It then ends a mirror, which
	 * queues work in the workqueue that prxe_fault_exit() destroys. So until the worker has
	 * finished, a reference makes rmmod say "in use". A caller may come after the module's exit
	 * has begun, because contexts do not hold the module.
	 */
	if (!try_module_get(THIS_MODULE)) {
		kfree(s);
		return ERR_PTR(-ENODEV);
	}
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
		/* A fatal signal. The worker undoes what it has done, unless it has finished. */
		spin_lock_bh(&mirrors_lock);
		WRITE_ONCE(s->abandoned, true);
		finished = s->finished;
		spin_unlock_bh(&mirrors_lock);
		mirror = finished ? s->result : ERR_PTR(-EINTR);
	}
	kref_put(&s->ref, setup_free);
	return mirror;
}

/* ---- users, and the last one's end ---- */

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

	/* No key leads to the mirror any more: each MR waited for that before it was freed. */
	WRITE_ONCE(mirror->dead, true);
	WRITE_ONCE(mirror->dying, true);
	prxe_fault_pool_kill(mirror->pool);
	prxe_mirror_reap_later(mirror, 0);
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
	/*
	 * References that notifiers are about to drop, and work, may be left. The module may not go
	 * before both have ended.
	 */
	while (!wait_event_timeout(mirrors_gone, !atomic_read(&mirrors_live), 60 * HZ))
		pr_err("waiting for %d mirrored address spaces\n", atomic_read(&mirrors_live));
	destroy_workqueue(mirror_wq);
	mmu_notifier_synchronize();
	rcu_barrier();
}
