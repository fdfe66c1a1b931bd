/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* How a send side waits: for faults, and for the timer. "Owner": see requester.h. */
#ifndef PRXE_PARK_H
#define PRXE_PARK_H

#include "transport/qp.h"

struct prxe_miss;

/*
 * At creation. When a fault has ended, @wake is called to make the send side look again, in any
 * context but hardirq.
 */
void prxe_park_init(struct prxe_park *park, void (*wake)(struct prxe_qp *qp));

/* Wait @ns nanoseconds: start the timer, which kicks the send side when it ends. Owner. */
void prxe_req_wait(struct prxe_qp *qp, u64 ns);

/*
 * Memory is missing for the packet at @psn of the WQE at @index; @remote: it is the peer's. First
 * tries the fault at once, if this context allows it without waiting; otherwise queues it. A fault
 * of the same kind that was waited for is forgotten. Consumes @miss. Owner; outside
 * prxe_mem_begin().
 *
 * Returns true: go on at once; ask prxe_park_faulting() first, which has the result. Returns false:
 * the fault is queued, or there was no memory to queue it and the timer will kick.
 */
bool prxe_req_park(struct prxe_qp *qp, enum prxe_park_kind kind, u32 index, u32 psn,
		   struct prxe_miss *miss, bool remote);
/*
 * Is the fault that is waited for still going on? If not, *@error is its result: 0 if it succeeded
 * or none was waited for, else its negative errno. An error is reported once. Owner.
 */
static inline bool prxe_park_faulting(struct prxe_park *park, int *error)
{
	*error = 0;
	if (likely(!park->parked))
		return false;
	/* Read error after done: pairs with the release in req_fault_done(). */
	if (!smp_load_acquire(&park->done))
		return true;
	*error = park->error;
	/* If a fault was queued, it has ended, and its handler does not write here any more. */
	park->queued = false;
	WRITE_ONCE(park->parked, false);
	return false;
}

/* Has the fault that is waited for ended? Any context. */
static inline bool prxe_park_is_done(const struct prxe_park *park)
{
	return READ_ONCE(park->done);
}

/* Stop waiting for all faults; those that are still queued will be ignored when they end. Owner. */
void prxe_req_forget_faults(struct prxe_qp *qp);

#endif
