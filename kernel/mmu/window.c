// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Hazard windows: the memory that each CPU is copying from or to now.
 *
 * Why it is safe. The owner of a window does:		Who takes memory away does:
 *
 *	names = ...						make it unusable
 *	gen = odd						full barrier
 *	full barrier						read gen, then names
 *	is it usable?						odd, and named: wait for another gen
 *
 * With the two full barriers at least one of the two sees the other's store. Either the window's
 * owner finds the memory unusable; or the other side finds the window, and waits until its gen has
 * changed. The owner changes gen after its last byte, with release order. An owner that opens its
 * window while the other side waits finds the memory unusable, so it is enough to wait for one
 * change of gen. Names change only while gen is even, and the even gen is visible before they do.
 *
 * Calls nothing else of this driver.
 */
#include <linux/cpumask.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include "mmu/window.h"

static DEFINE_PER_CPU_ALIGNED(struct prxe_window, windows);

void prxe_window_enter(const struct prxe_mr *key0, const struct prxe_leaf *leaf0,
		       const struct prxe_mr *key1, const struct prxe_leaf *leaf1)
{
	struct prxe_window *w = this_cpu_ptr(&windows);
	unsigned int gen = w->gen;

	if (gen & 1) {
		/* Release: the copy in the old window is done before the window is seen closed. */
		smp_store_release(&w->gen, ++gen);
		/* The even gen is visible before the names change. */
		smp_wmb();
	}
	WRITE_ONCE(w->name[0], key0);
	WRITE_ONCE(w->name[1], leaf0);
	WRITE_ONCE(w->name[2], key1);
	WRITE_ONCE(w->name[3], leaf1);
	/* The names are visible before the odd gen. */
	smp_store_release(&w->gen, gen + 1);
	/* Full barrier: pairs with those in prxe_window_sync() and prxe_window_sync_leaves(). */
	smp_mb();
}

void prxe_window_leave(void)
{
	struct prxe_window *w = this_cpu_ptr(&windows);
	unsigned int gen = w->gen;

	if (gen & 1) {
		/* Release: the copy is done before the window is seen closed. */
		smp_store_release(&w->gen, gen + 1);
		/* The even gen is visible before the next window's names. */
		smp_wmb();
	}
}

/* Does an open window name @what? NULL: any leaf. */
static bool window_names(const struct prxe_window *w, const void *what)
{
	int i;

	if (!what)
		return READ_ONCE(w->name[1]) || READ_ONCE(w->name[3]);
	for (i = 0; i < ARRAY_SIZE(w->name); i++)
		if (READ_ONCE(w->name[i]) == what)
			return true;
	return false;
}

static void sync_cpus(const struct cpumask *cpus, const void *what)
{
	int cpu;

	for_each_cpu(cpu, cpus) {
		struct prxe_window *w = per_cpu_ptr(&windows, cpu);
		/* Acquire: the names that are read next are at least as new as gen. */
		unsigned int gen = smp_load_acquire(&w->gen);

		if (!(gen & 1) || !window_names(w, what))
			continue;
		/* Acquire: pairs with the release by which the owner closes its window. */
		while (smp_load_acquire(&w->gen) == gen)
			cpu_relax();
	}
	/* The copies that were waited for come before what the caller does to the memory next. */
	smp_mb();
}

void prxe_window_sync(const void *what)
{
	/* Full barrier: pairs with the one in prxe_window_enter(). */
	smp_mb();
	/*
	 * It is enough to look at CPUs that are online. A CPU that goes offline has closed its
	 * window, because preemption is off inside. A CPU that comes online is online before its
	 * window's full barrier: either it is seen here, or it sees that what it names is unusable.
	 */
	sync_cpus(cpu_online_mask, what);
}

void prxe_window_sync_leaves(const struct cpumask *cpus, const struct prxe_leaf *what)
{
	/* Full barrier: pairs with the one in prxe_window_enter(). The mask is read after it. */
	smp_mb();
	sync_cpus(cpus, what);
}
