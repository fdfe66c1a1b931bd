/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Hazard windows: the memory that each CPU is copying from or to now.
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
 * Open this CPU's window with these names, NULL where there is none. Includes a full barrier. If
 * the window is open already, it is closed and opened again: whoever waits for the old names goes
 * on.
 */
void prxe_window_enter(const struct prxe_mr *key0, const struct prxe_leaf *leaf0,
		       const struct prxe_mr *key1, const struct prxe_leaf *leaf1);
/*
 * Close this CPU's window; does nothing if it is closed. Whoever sees it closed also sees what was
 * done inside.
 */
void prxe_window_leave(void);

/*
 * Wait until no CPU is inside a window that was entered before the call and names @what: an MR, a
 * memory window or a leaf. The caller has made @what unusable before; a full barrier is included.
 * Process context or softirq, with no window open on this CPU; spinlocks may be held. This waits
 * for one page copy on each CPU at most, because a CPU inside a window waits for nothing.
 */
void prxe_window_sync(const void *what);

/*
 * As prxe_window_sync(), for leaves, but looks only at the windows of @cpus. A CPU is set there
 * before the full barrier of the first prxe_window_enter() in which it names one of the leaves.
 * @what: one leaf; or NULL: wait for every window that names any leaf.
 */
void prxe_window_sync_leaves(const struct cpumask *cpus, const struct prxe_leaf *what);

#endif
