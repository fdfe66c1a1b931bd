/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the MM tells a mirror about pages: that it takes them away, and the question whether they
 * were used.
 */
#ifndef PRXE_INVALIDATE_H
#define PRXE_INVALIDATE_H

#include <linux/types.h>

struct prxe_mirror;

/*
 * Clear the translations of the bytes [first, last]. When this returns, no CPU uses the old ones.
 * Before, the caller has put the range in flight or has set mirror->dead, and has executed a full
 * barrier: so no fault publishes a new translation meanwhile. Process context, BH on; sleeps only
 * with @may_sleep. @event: an enum mmu_notifier_event, for the tracepoint.
 */
void prxe_leaves_invalidate(struct prxe_mirror *mirror, unsigned long first, unsigned long last,
			    unsigned int event, bool may_sleep);

/*
 * Has a transfer used any page of [start, end) since the last call with @clear? With @clear, forget
 * that. Always false if the module parameter ageing is off. Takes no lock, so it may be called
 * under a page table lock.
 */
bool prxe_leaves_young(struct prxe_mirror *mirror, unsigned long start, unsigned long end,
		       bool clear);

#endif
