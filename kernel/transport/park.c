// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Faults that a send side waits for.
 *
 * A queued fault is allocated apart from its QP, because the QP may be reset or destroyed before
 * the fault ends. It records the epoch in which it was queued. Code that ends a wait before its
 * fault has ended raises the epoch, so that the late end of that fault is not taken for the end of
 * a newer wait. Only these two, raising the epoch and the end of a queued fault, take the lock. The
 * owner needs no lock otherwise: it knows whether a fault is queued, and while none is, only the
 * owner writes here.
 *
 * Transport: knows the QP, and whom to wake; calls the MMU.
 */
#include <linux/slab.h>
#include "mmu/request.h"
#include "transport/park.h"

/*
 * How long a UC or UD message waits for one fault of its receiver. Long enough for an ordinary
 * fault, short enough not to hold up the sender.
 */
#define DROP_NS			(50 * NSEC_PER_MSEC)
/* Wait this long when there was no memory to queue a fault. */
#define PARK_RETRY_NS		NSEC_PER_MSEC

struct req_fault {
	struct prxe_fault_req req;
	struct prxe_qp *qp;	/* a reference */
	struct prxe_park *park;	/* in qp */
	u32 epoch;
};

void prxe_park_init(struct prxe_park *park, void (*wake)(struct prxe_qp *qp))
{
	park->wake = wake;
	spin_lock_init(&park->lock);
}

void prxe_req_wait(struct prxe_qp *qp, u64 ns)
{
	WRITE_ONCE(qp->req.timer_fired, false);
	qp->req.waiting = true;
	hrtimer_start(&qp->req.timer, ns_to_ktime(ns), HRTIMER_MODE_REL_SOFT);
}

static void req_fault_done(struct prxe_fault_req *req)
{
	struct req_fault *f = container_of(req, struct req_fault, req);
	struct prxe_park *park = f->park;
	struct prxe_qp *qp = f->qp;
	bool mine;

	spin_lock_bh(&park->lock);
	mine = park->epoch == f->epoch;
	if (mine) {
		park->error = req->result;
		/*
		 * Release: error before done. From here on the owner may use the park for another
		 * wait.
		 */
		smp_store_release(&park->done, true);
	}
	spin_unlock_bh(&park->lock);
	if (mine)
		park->wake(qp);
	kfree(f);
	prxe_qp_put(qp);
}

/* If a fault is queued, make its end be ignored. Owner. */
static void park_disown(struct prxe_park *park)
{
	if (!park->queued)
		return;
	spin_lock_bh(&park->lock);
	park->epoch++;
	spin_unlock_bh(&park->lock);
	park->queued = false;
}

/* End a wait at once with @error. Takes no lock unless a fault is queued. Owner. */
static void park_over(struct prxe_park *park, int error)
{
	park_disown(park);
	park->error = error;
	WRITE_ONCE(park->done, true);
}

bool prxe_req_park(struct prxe_qp *qp, enum prxe_park_kind kind, u32 index, u32 psn,
		   struct prxe_miss *miss, bool remote)
{
	struct prxe_park *park = &qp->req.park[kind];
	struct req_fault *f;
	int err;

	prxe_req_assert_owner(qp);
	park->remote = remote;
	park->index = index;
	park->psn = psn;
	WRITE_ONCE(park->parked, true);
	if (kind == PRXE_PARK_SEND)
		qp->req.deadline = false;
	err = prxe_fault_try(miss);
	if (err != -EAGAIN) {
		prxe_miss_drop(miss);
		park_over(park, err);
		return true;
	}
	f = kmalloc(sizeof(*f), GFP_ATOMIC | __GFP_NOWARN);
	if (!f) {
		prxe_miss_drop(miss);
		/* Pretend that the fault has ended: the next try finds the memory missing again. */
		park_over(park, 0);
		prxe_req_wait(qp, PARK_RETRY_NS);
		return false;
	}
	refcount_inc(&qp->ref);
	f->qp = qp;
	f->park = park;
	f->req.done = req_fault_done;
	park_disown(park);
	WRITE_ONCE(park->done, false);
	park->queued = true;
	f->epoch = park->epoch;
	if (remote && qp->type != IB_QPT_RC) {
		qp->req.deadline = true;
		prxe_req_wait(qp, DROP_NS);
	}
	prxe_fault_queue(&f->req, miss);
	return false;
}

void prxe_req_forget_faults(struct prxe_qp *qp)
{
	int i;

	for (i = 0; i < PRXE_PARK_NUM; i++) {
		struct prxe_park *park = &qp->req.park[i];

		park_disown(park);
		WRITE_ONCE(park->parked, false);
		WRITE_ONCE(park->done, false);
	}
}
