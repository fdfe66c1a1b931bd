/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What each CPU is copying now: hazard windows.
 *
 * A CPU that is about to touch registered memory publishes, in its own window, the MRs and the mirror leaves that
 * it will use, then checks that they are still good, then copies at most one page, then leaves. Whoever takes
 * memory away (an invalidation, a deregistration) first makes the entries or the MR unusable, then waits for every
 * window that names them to move on. Neither side takes a lock, and nobody waits for more than one page copy a CPU.
 *
 * Rules for users: BH and preemption are off from prxe_window_enter() to prxe_window_leave(), inside an RCU read-side
 * section; no sleeping, no user access, no more than one page between two calls of prxe_window_enter().
 */
#ifndef PRXE_WINDOW_H
#define PRXE_WINDOW_H

#include <linux/types.h>
#include <linux/percpu.h>

struct cpumask;
struct prxe_mr;
struct prxe_leaf;

struct prxe_window {
	const void *name[4];	/* up to two keys and two leaves, NULL when unused */
	unsigned int gen;	/* odd: open, with these names; grows whenever the window opens or closes */
} ____cacheline_aligned;

/* Publish; full barrier before it returns. Entering again moves the window on (a new generation). */
void prxe_window_enter(const struct prxe_mr *key0, const struct prxe_leaf *leaf0,
		       const struct prxe_mr *key1, const struct prxe_leaf *leaf1);
/* Everything done inside is visible before the window is seen empty. */
void prxe_window_leave(void);

/*
 * Wait until no CPU is inside a window that was entered before the call and names @what. The caller has made @what
 * unusable before; a full barrier is included. Process context or softirq; this CPU must not have a window open. Waits
 * for one page copy a CPU at most, because whoever is inside a window waits for nothing.
 */
void prxe_window_sync(const void *what);

/*
 * The same for leaves that only @cpus may have named, at the latest before their last full barrier
 * (in prxe_window_enter()). @what: one leaf, or NULL: every window with a leaf in it.
 */
void prxe_window_sync_leaves(const struct cpumask *cpus, const struct prxe_leaf *what);

#endif
