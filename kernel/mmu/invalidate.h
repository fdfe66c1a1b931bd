/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the MM tells a mirror about pages: it takes them away, or asks whether they were used. */
#ifndef PRXE_INVALIDATE_H
#define PRXE_INVALIDATE_H

#include <linux/types.h>

struct prxe_mirror;

/*
 * Clear the translations of the bytes [first, last]. When it returns, no CPU uses the old ones. The
 * caller has put the range in flight, or has set mirror->dead, with a full barrier after it: so no
 * fault publishes a new translation meanwhile. Process context, BH on; sleeps only with @may_sleep.
 * @event: an enum mmu_notifier_event, for the tracepoint.
 */
void prxe_leaves_invalidate(struct prxe_mirror *mirror, unsigned long first, unsigned long last,
			    unsigned int event, bool may_sleep);

/*
 * Was any page of [start, end) used since the last call with @clear? Takes no lock: it may be
 * called under a page table lock.
 */
bool prxe_leaves_young(struct prxe_mirror *mirror, unsigned long start, unsigned long end,
		       bool clear);

#endif
