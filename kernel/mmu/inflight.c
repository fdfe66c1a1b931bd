// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The invalidations of an address space that are in flight.
 *
 * There are as many as there are threads, of the process or of reclaim, inside an invalidation. The
 * table grows with them, by allocations that never wait, because reclaim itself may start an
 * invalidation. If an allocation fails, the range counts as covering everything: the only harm is
 * that faults wait for it without need.
 *
 * Calls nothing else of this driver. mirror.c starts and ends ranges, leaf.c and fault.c look for
 * them and wait.
 */
#include <linux/jiffies.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include "mmu/inflight.h"

void prxe_inflight_init(struct prxe_inflight *in)
{
	spin_lock_init(&in->lock);
	init_waitqueue_head(&in->ended);
	in->range = in->few;
	in->room = PRXE_INFLIGHT_FEW;
}

static void range_free(struct prxe_inflight *in, struct prxe_inflight_range *range)
{
	if (range != in->few)
		kfree(range);
}

void prxe_inflight_free(struct prxe_inflight *in)
{
	range_free(in, in->range);
}

/* The table was full, with @room ranges: double it, unless another thread has done so. */
static void inflight_grow(struct prxe_inflight *in, unsigned int room)
{
	struct prxe_inflight_range *new, *old;

	new = kmalloc_array(room * 2, sizeof(*new), GFP_NOWAIT | __GFP_NOWARN);
	if (!new)
		return;
	spin_lock(&in->lock);
	old = new;
	if (in->room == room) {
		memcpy(new, in->range, in->num * sizeof(*new));
		old = in->range;
		in->range = new;
		in->room = room * 2;
	}
	spin_unlock(&in->lock);
	range_free(in, old);
}

/* Add a range to the table. False: the table is full; *@room is its size. */
static bool inflight_add(struct prxe_inflight *in, unsigned long first, unsigned long last,
			 unsigned int *room)
{
	bool fits;

	spin_lock(&in->lock);
	*room = in->room;
	fits = in->num < in->room;
	if (fits) {
		in->range[in->num++] = (struct prxe_inflight_range){ first, last, ++in->ticket };
		WRITE_ONCE(in->active, in->num + in->unlisted);
	}
	spin_unlock(&in->lock);
	return fits;
}

static void inflight_list(struct prxe_inflight *in, unsigned long first, unsigned long last)
{
	unsigned int room;

	if (likely(inflight_add(in, first, last, &room)))
		return;
	inflight_grow(in, room);
	if (inflight_add(in, first, last, &room))
		return;
	spin_lock(&in->lock);
	in->unlisted++;
	WRITE_ONCE(in->active, in->num + in->unlisted);
	spin_unlock(&in->lock);
}

void prxe_inflight_start(struct prxe_inflight *in, unsigned long first, unsigned long last)
{
	inflight_list(in, first, last);
	/* Full barrier, before the caller looks for leaves. Pairs with the one in leaf_store(). */
	smp_mb();
}

/* The index of the oldest range that equals this one; in->num if there is none. */
static unsigned int inflight_find(const struct prxe_inflight *in, unsigned long first,
				  unsigned long last)
{
	unsigned int found = in->num, i;

	lockdep_assert_held(&in->lock);
	for (i = 0; i < in->num; i++) {
		const struct prxe_inflight_range *r = &in->range[i];

		if (r->first != first || r->last != last)
			continue;
		if (found == in->num || r->ticket < in->range[found].ticket)
			found = i;
	}
	return found;
}

void prxe_inflight_end(struct prxe_inflight *in, unsigned long first, unsigned long last)
{
	unsigned int i;

	spin_lock(&in->lock);
	i = inflight_find(in, first, last);
	if (i < in->num) {
		in->range[i] = in->range[--in->num];
	} else if (!WARN_ON_ONCE(!in->unlisted)) {
		in->unlisted--;
		in->unlisted_ended++;
	}
	/* Release: whoever reads the lower count finds the page tables as the MM has left them. */
	smp_store_release(&in->active, in->num + in->unlisted);
	spin_unlock(&in->lock);
	if (wq_has_sleeper(&in->ended))
		wake_up_all(&in->ended);
}

static bool touches(const struct prxe_inflight_range *r, unsigned long first, unsigned long last)
{
	return r->first <= last && r->last >= first;
}

/*
 * Is there a range, with @ticket or an older one, that covers a byte of [first, last]; or have
 * fewer than @unlisted unlisted ranges ended so far? It is not known which of the unlisted ranges
 * have ended, only how many. Counting the ends bounds the wait, even if unlisted ranges overlap
 * each other all the time.
 */
static bool covers(struct prxe_inflight *in, unsigned long first, unsigned long last, u64 ticket,
		   u64 unlisted)
{
	bool found;
	unsigned int i;

	spin_lock(&in->lock);
	found = in->unlisted_ended < unlisted;
	for (i = 0; i < in->num && !found; i++) {
		const struct prxe_inflight_range *r = &in->range[i];

		found = touches(r, first, last) && r->ticket <= ticket;
	}
	spin_unlock(&in->lock);
	return found;
}

enum prxe_inflight_how prxe_inflight_look(struct prxe_inflight *in, unsigned long first,
					  unsigned long last, unsigned long around)
{
	unsigned long near_first = first & ~(around - 1), near_last = last | (around - 1);
	enum prxe_inflight_how how;
	unsigned int i;

	spin_lock(&in->lock);
	how = in->unlisted ? PRXE_INFLIGHT_HERE : PRXE_INFLIGHT_NONE;
	for (i = 0; i < in->num && how != PRXE_INFLIGHT_HERE; i++) {
		if (touches(&in->range[i], first, last))
			how = PRXE_INFLIGHT_HERE;
		else if (touches(&in->range[i], near_first, near_last))
			how = PRXE_INFLIGHT_NEAR;
	}
	spin_unlock(&in->lock);
	return how;
}

int prxe_inflight_wait(struct prxe_inflight *in, unsigned long first, unsigned long last,
		       const bool *dead)
{
	u64 ticket, unlisted;
	long left;

	spin_lock(&in->lock);
	ticket = in->ticket;
	unlisted = in->unlisted_ended + in->unlisted;
	spin_unlock(&in->lock);
	do {
		/* With a timeout, so that a lost wakeup does no harm. */
		left = wait_event_killable_timeout(in->ended, READ_ONCE(*dead) ||
						   !covers(in, first, last, ticket, unlisted),
						   HZ);
	} while (!left);
	return left < 0 ? -EINTR : 0;
}
