// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * What each CPU is copying now: hazard windows.
 *
 * Why it is safe. The owner of a window does:		Who takes memory away does:
 *
 *	names = ...						make it unusable
 *	gen = odd						full barrier
 *	full barrier						read gen, then names
 *	is it usable?						odd, and it is named: wait for another gen
 *
 * With the two full barriers at least one of the two sees the other's store: either the window's owner finds the memory
 * unusable, or the other side finds the window and waits until its gen moved, which it does with release order after
 * the last byte. A window that is opened while the other side waits finds the memory unusable, so one change of gen is all
 * that has to be waited for. Names change only while gen is even, and the even gen is visible before they do.
 */
#include <linux/cpumask.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include "mmu/window.h"

static DEFINE_PER_CPU_ALIGNED(struct prxe_window, windows);

void prxe_window_enter(const struct prxe_mr *key0, const struct prxe_leaf *leaf0, const struct prxe_mr *key1, const struct prxe_leaf *leaf1)
{
	struct prxe_window *w = this_cpu_ptr(&windows);
	unsigned int gen = w->gen;

	if (gen & 1) {
		/* What was copied in the old window is done before it is seen closed. */
		smp_store_release(&w->gen, ++gen);
		smp_wmb();
	}
	WRITE_ONCE(w->name[0], key0);
	WRITE_ONCE(w->name[1], leaf0);
	WRITE_ONCE(w->name[2], key1);
	WRITE_ONCE(w->name[3], leaf1);
	smp_store_release(&w->gen, gen + 1);
	smp_mb();	/* pairs with the one in prxe_window_sync() */
}

void prxe_window_leave(void)
{
	struct prxe_window *w = this_cpu_ptr(&windows);
	unsigned int gen = w->gen;

	if (gen & 1) {
		smp_store_release(&w->gen, gen + 1);
		/* The next window's names come after this, as in prxe_window_enter(). */
		smp_wmb();
	}
}

/* Is what a window that is open names what is waited for? NULL: any leaf. */
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
		unsigned int gen = smp_load_acquire(&w->gen);

		if (!(gen & 1) || !window_names(w, what))
			continue;
		while (smp_load_acquire(&w->gen) == gen)
			cpu_relax();
	}
	/* Whatever the caller does to the memory now comes after all that was waited for. */
	smp_mb();
}

void prxe_window_sync(const void *what)
{
	smp_mb();	/* pairs with the one in prxe_window_enter() */
	/*
	 * Those that are online are enough. A CPU that goes offline has closed its window, because
	 * preemption is off inside; one that comes is online before its window's full barrier, so
	 * either it is seen here, or it sees that what it names cannot be used any more.
	 */
	sync_cpus(cpu_online_mask, what);
}

void prxe_window_sync_leaves(const struct cpumask *cpus, const struct prxe_leaf *what)
{
	smp_mb();	/* pairs with the one in prxe_window_enter(): the mask is read after it */
	sync_cpus(cpus, what);
}
