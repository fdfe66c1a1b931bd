/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The invalidations of an address space that are in flight: the ranges between the notifiers' start
 * and end. While one covers a page, the page's entry in the page tables is about to change, and no
 * translation of the page may be published.
 *
 * Each range is kept by itself, so that a fault waits only for ranges that cover its own pages.
 */
#ifndef PRXE_INFLIGHT_H
#define PRXE_INFLIGHT_H

#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>

#define PRXE_INFLIGHT_FEW	8	/* so many ranges need no allocation */

struct prxe_inflight_range {
	unsigned long first, last;	/* bytes */
	u64 ticket;			/* order of the starts: a later one has a larger ticket */
};

struct prxe_inflight {
	spinlock_t lock;		/* guards all below but ended; process context, BH on */
	unsigned int num, room;
	unsigned int unlisted;		/* had no room in the table: each covers everything */
	u64 unlisted_ended;		/* how many unlisted ranges have ended so far */
	unsigned int active;		/* num + unlisted; _any() reads it without the lock */
	u64 ticket;			/* the last one that was given out */
	struct prxe_inflight_range *range;
	struct prxe_inflight_range few[PRXE_INFLIGHT_FEW];
	wait_queue_head_t ended;
};

/* Set up, and free, the table of a mirror; at its free nothing is in flight. Neither sleeps. */
void prxe_inflight_init(struct prxe_inflight *in);
void prxe_inflight_free(struct prxe_inflight *in);

/*
 * The notifiers' callbacks call these in pairs with the same range. Process context, BH on; they
 * never sleep. The start is called before translations are cleared, and ends with a full barrier: a
 * fault that begins later finds the range, and the caller finds the walk of one that began before.
 * The end is a release.
 */
void prxe_inflight_start(struct prxe_inflight *in, unsigned long first, unsigned long last);
void prxe_inflight_end(struct prxe_inflight *in, unsigned long first, unsigned long last);

/*
 * Is any invalidation in flight? Takes no lock. If not, then what is read from the page tables
 * afterwards is what the invalidations that have ended left there.
 */
static inline bool prxe_inflight_any(const struct prxe_inflight *in)
{
	/* Pairs with the release in prxe_inflight_end(). */
	return smp_load_acquire(&in->active);
}

enum prxe_inflight_how {
	PRXE_INFLIGHT_NONE,
	PRXE_INFLIGHT_NEAR,	/* one covers something around the range, but not the range */
	PRXE_INFLIGHT_HERE,	/* one covers a byte of the range */
};

/*
 * Is an invalidation in flight that covers a byte of [first, last], or of the blocks of @around
 * bytes (a power of two) in which the range lies? One call answers both questions for the same
 * moment. Process context, BH on.
 */
enum prxe_inflight_how prxe_inflight_look(struct prxe_inflight *in, unsigned long first,
					  unsigned long last, unsigned long around);

/*
 * Wait until the invalidations that cover a byte of [first, last] now have ended, but not for those
 * that start later; or until *@dead is set. The caller looks again, because one of them may still
 * be in flight when this returns. If an unlisted range equals a listed one, the first end of the
 * two is taken for that of the listed one; and of unlisted ranges, only the number of ends is
 * known. Process context, sleeps, no lock held. 0; -EINTR: killed.
 */
int prxe_inflight_wait(struct prxe_inflight *in, unsigned long first, unsigned long last,
		       const bool *dead);

#endif
