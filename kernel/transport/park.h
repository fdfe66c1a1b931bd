/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Faults that a send side waits for.
 *
 * A QP waits for at most one fault of each kind: memory that it sends from (or that a local peer
 * lacks), and memory that a response lands in. They are apart, because responses are taken and
 * messages complete whatever the next message lacks.
 */
#ifndef PRXE_PARK_H
#define PRXE_PARK_H

#include <linux/spinlock.h>
#include <linux/types.h>

struct prxe_miss;
struct prxe_qp;

enum prxe_park_kind { PRXE_PARK_SEND, PRXE_PARK_LAND, PRXE_PARK_NUM };

struct prxe_park {
	spinlock_t lock;	/* the end of a queued fault, and who raises epoch; innermost, BH off */
	bool parked;		/* written by the owner: a fault was queued, and not looked at since */
	bool remote;		/* owner: the memory was the peer's (local carrier) */
	bool queued;		/* owner: a fault of this epoch is queued, or was and not looked at */
	bool done;		/* the wait is over, with error; release and acquire */
	u32 index, psn;		/* owner: the WQE and the PSN that wait */
	u32 epoch;		/* a queued fault of an older one is nobody's; written by the owner */
	int error;		/* valid with done */
};

void prxe_park_init(struct prxe_park *park);

/*
 * Owner: memory is missing for the packet at @psn of the WQE at @index. Tries without waiting where
 * that is allowed. True: go on at once (with what prxe_park_faulting() says first). False: parked,
 * or waiting for the timer because there was no memory to queue the fault. Takes the miss over.
 * Outside prxe_mem_begin(). A fault of this kind that was waited for is forgotten.
 */
bool prxe_req_park(struct prxe_qp *qp, enum prxe_park_kind kind, u32 index, u32 psn,
		   struct prxe_miss *miss, bool remote);
/*
 * Owner: is the fault that is waited for still queued? If not, *error is what it came to: 0 for
 * none or a good one, else its errno, reported once.
 */
static inline bool prxe_park_faulting(struct prxe_park *park, int *error)
{
	*error = 0;
	if (likely(!park->parked))
		return false;
	if (!smp_load_acquire(&park->done))
		return true;
	*error = park->error;
	/* If one was queued, it has ended, and its handler writes here no more. */
	park->queued = false;
	WRITE_ONCE(park->parked, false);
	return false;
}
/* Any context: has the fault that is waited for ended? */
static inline bool prxe_park_is_done(const struct prxe_park *park)
{
	return READ_ONCE(park->done);
}
/* Owner: whatever faults are on their way are nobody's from here on. */
void prxe_req_forget_faults(struct prxe_qp *qp);

#endif
