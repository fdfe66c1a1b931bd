/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The invalidations of an address space that are in flight: the ranges between the notifiers' start
 * and end. While one covers a page, the page's entry in the page tables is about to change, and no
 * translation of the page may be published.
 *
 * The ranges are kept as they are, so that a fault waits only for those that cover its own pages.
 */
#ifndef PRXE_INFLIGHT_H
#define PRXE_INFLIGHT_H

#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>

#define PRXE_INFLIGHT_FEW	8	/* as many need no allocation */

struct prxe_inflight_range {
	unsigned long first, last;	/* bytes */
	u64 ticket;			/* of its start: they grow */
};

struct prxe_inflight {
	spinlock_t lock;		/* everything below but ended; process context, BH on */
	unsigned int num, room;
	unsigned int unlisted;		/* found no room in the table: each covers everything */
	u64 unlisted_ended;		/* how many of those have ended, ever */
	unsigned int active;		/* num + unlisted; also read without lock, by _any() */
	u64 ticket;			/* the latest one given out */
	struct prxe_inflight_range *range;
	struct prxe_inflight_range few[PRXE_INFLIGHT_FEW];
	wait_queue_head_t ended;
};

void prxe_inflight_init(struct prxe_inflight *in);
void prxe_inflight_free(struct prxe_inflight *in);

/*
 * From the notifiers' callbacks, in pairs with the same range. Never sleep. The start comes before
 * the caller clears translations, and ends with a full barrier: a fault that begins later finds the
 * range, and the caller finds those that began before. The end is a release.
 */
void prxe_inflight_start(struct prxe_inflight *in, unsigned long first, unsigned long last);
void prxe_inflight_end(struct prxe_inflight *in, unsigned long first, unsigned long last);

/*
 * Is anything in flight? Takes no lock. If not, then what is read from the page tables afterwards
 * is what those that have ended left there.
 */
static inline bool prxe_inflight_any(const struct prxe_inflight *in)
{
	/* Pairs with the release in prxe_inflight_end(). */
	return smp_load_acquire(&in->active);
}

enum prxe_inflight_how {
	PRXE_INFLIGHT_NONE,
	PRXE_INFLIGHT_NEAR,	/* one covers something around the range */
	PRXE_INFLIGHT_HERE,	/* one covers a byte of it */
};

/*
 * Is anything in flight for [first, last], or around it: in the blocks of @around bytes, a power of
 * two, that it lies in? One look answers both, so that they are of the same moment. Process
 * context, BH on.
 */
enum prxe_inflight_how prxe_inflight_look(struct prxe_inflight *in, unsigned long first,
					  unsigned long last, unsigned long around);

/*
 * Wait until those that cover a byte of [first, last] now have ended, not for later ones; or until
 * *@dead. The caller looks again, because one that it waits for may still be in flight: where an
 * unlisted one has the range of a listed one, the first of the two to end is taken for the listed
 * one; and the first unlisted ones to end are taken for those that were there when the wait began.
 * Process context, may sleep, no lock held. 0 or -EINTR (killed).
 */
int prxe_inflight_wait(struct prxe_inflight *in, unsigned long first, unsigned long last,
		       const bool *dead);

#endif
