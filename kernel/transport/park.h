/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* How a send side waits: for faults, and for the timer. */
#ifndef PRXE_PARK_H
#define PRXE_PARK_H

#include "transport/qp.h"

struct prxe_miss;

/*
 * At creation. @wake makes the send side look again when a fault has ended; any context but
 * hardirq.
 */
void prxe_park_init(struct prxe_park *park, void (*wake)(struct prxe_qp *qp));

/* Owner: wait @ns for the timer, then be kicked. */
void prxe_req_wait(struct prxe_qp *qp, u64 ns);

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
	/* Its error is read after it: pairs with the release at the end of the fault. */
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
