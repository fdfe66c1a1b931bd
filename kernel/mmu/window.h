/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What each CPU is copying now: hazard windows.
 *
 * A CPU that is about to touch registered memory publishes, in its own window, the MRs and the
 * mirror leaves that it will use. Then it checks that they are still good, copies at most one page,
 * and leaves. Whoever takes memory away (an invalidation, a deregistration) first makes the entries
 * or the MR unusable, and then waits for every window that names them to move on. Neither side
 * takes a lock, and nobody waits for more than one page copy on each CPU.
 *
 * Rules for users: from prxe_window_enter() to prxe_window_leave() BH and preemption are off, and
 * an RCU read-side section is open. No sleeping, no access to user memory, and no more than one
 * page between two calls of prxe_window_enter().
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
	unsigned int gen;	/* odd: open, with these names; grows when it opens or closes */
} ____cacheline_aligned;

/*
 * Open the window with these names, NULL where there is none; a full barrier is included. To enter
 * again moves the window on: what was copied so far is done.
 */
void prxe_window_enter(const struct prxe_mr *key0, const struct prxe_leaf *leaf0,
		       const struct prxe_mr *key1, const struct prxe_leaf *leaf1);
/* Close the window. Everything done inside is visible before the window is seen closed. */
void prxe_window_leave(void);

/*
 * Wait until no CPU is inside a window that was entered before the call and names @what. The caller
 * has made @what unusable before; a full barrier is included. Process context or softirq; this CPU
 * has no window open. Waits for one page copy on each CPU at most, because whoever is inside a
 * window waits for nothing.
 */
void prxe_window_sync(const void *what);

/*
 * The same for leaves that only @cpus may have named, at the latest before their last full barrier
 * (in prxe_window_enter()). @what: one leaf, or NULL: every window with a leaf in it.
 */
void prxe_window_sync_leaves(const struct cpumask *cpus, const struct prxe_leaf *what);

#endif
