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
	spinlock_t lock;	/* epoch, done, error; innermost, BH off */
	bool parked;		/* written by the owner: a fault was queued, and not looked at since */
	bool remote;		/* owner: the memory was the peer's (local carrier) */
	u32 index, psn;		/* owner: the WQE and the PSN that wait */
	u32 epoch;		/* of the fault that counts: an older one is nobody's any more */
	bool done;		/* the fault has ended, with error; READ_ONCE outside the lock */
	int error;
};

void prxe_park_init(struct prxe_park *park);

/*
 * Owner: memory is missing for the packet at @psn of the WQE at @index. Tries without waiting where
 * that is allowed. True: go on at once (with what prxe_req_faulting() says first). False: parked,
 * or waiting for the timer because there was no memory to queue the fault. Takes the miss over.
 * Outside prxe_mem_begin(). A fault of this kind that was waited for is forgotten.
 */
bool prxe_req_park(struct prxe_qp *qp, enum prxe_park_kind kind, u32 index, u32 psn,
		   struct prxe_miss *miss, bool remote);
/*
 * Owner: is a fault of this kind still queued? If not, *error is what the last one came to: 0 for
 * none or a good one, else its errno, reported once.
 */
bool prxe_req_faulting(struct prxe_qp *qp, enum prxe_park_kind kind, int *error);
/* Any context: has the fault that is waited for ended? */
static inline bool prxe_park_is_done(const struct prxe_park *park)
{
	return READ_ONCE(park->done);
}
/* Owner: whatever faults are on their way are nobody's from here on. */
void prxe_req_forget_faults(struct prxe_qp *qp);

#endif
