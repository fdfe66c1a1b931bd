// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Faults that a send side waits for.
 *
 * The struct that stands for a queued fault is apart from its QP, because the QP may be reset or
 * destroyed before the fault ends. It carries the epoch of the wait that it belongs to; ending a
 * wait raises the epoch, so that a late fault says nothing to whoever waits by then.
 */
#include <linux/preempt.h>
#include <linux/slab.h>
#include "fault.h"
#include "park.h"
#include "qp.h"

/*
 * How long a UC or UD message waits for one fault of its receiver: long for an ordinary fault,
 * short for its sender.
 */
#define DROP_NS			(50 * NSEC_PER_MSEC)
/* When there is no memory to queue a fault. */
#define PARK_RETRY_NS		NSEC_PER_MSEC

struct req_fault {
	struct prxe_fault_req req;
	struct prxe_qp *qp;	/* a reference */
	struct prxe_park *park;	/* in qp */
	u32 epoch;
};

void prxe_park_init(struct prxe_park *park)
{
	spin_lock_init(&park->lock);
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
		WRITE_ONCE(park->done, true);
	}
	spin_unlock_bh(&park->lock);
	if (mine)
		prxe_req_kick(qp, true);
	kfree(f);
	prxe_qp_put(qp);
}

/* A new wait: what was queued before is nobody's. Returns its epoch. */
static u32 park_begin(struct prxe_park *park, bool done, int error)
{
	u32 epoch;

	spin_lock_bh(&park->lock);
	epoch = ++park->epoch;
	WRITE_ONCE(park->done, done);
	park->error = error;
	spin_unlock_bh(&park->lock);
	return epoch;
}

bool prxe_req_park(struct prxe_qp *qp, enum prxe_park_kind kind, u32 index, u32 psn,
		   struct prxe_miss *miss, bool remote)
{
	struct prxe_park *park = &qp->req.park[kind];
	struct req_fault *f;
	int err;

	park->remote = remote;
	park->index = index;
	park->psn = psn;
	WRITE_ONCE(park->parked, true);
	if (kind == PRXE_PARK_SEND)
		qp->req.deadline = false;
	if (in_task() && !in_interrupt()) {
		err = prxe_fault_try(miss);
		if (err != -EAGAIN) {
			prxe_miss_drop(miss);
			park_begin(park, true, err);
			return true;
		}
	}
	f = kmalloc(sizeof(*f), GFP_ATOMIC | __GFP_NOWARN);
	if (!f) {
		prxe_miss_drop(miss);
		/* As if the fault had ended: the next try finds the memory missing again. */
		park_begin(park, true, 0);
		prxe_req_wait(qp, PARK_RETRY_NS);
		return false;
	}
	refcount_inc(&qp->ref);
	f->qp = qp;
	f->park = park;
	f->req.done = req_fault_done;
	f->epoch = park_begin(park, false, 0);
	if (remote && qp->type != IB_QPT_RC) {
		qp->req.deadline = true;
		prxe_req_wait(qp, DROP_NS);
	}
	prxe_fault_queue(&f->req, miss);
	return false;
}

bool prxe_req_faulting(struct prxe_qp *qp, enum prxe_park_kind kind, int *error)
{
	struct prxe_park *park = &qp->req.park[kind];

	*error = 0;
	if (!park->parked)
		return false;
	if (!READ_ONCE(park->done))
		return true;
	spin_lock_bh(&park->lock);
	*error = park->error;
	spin_unlock_bh(&park->lock);
	WRITE_ONCE(park->parked, false);
	return false;
}

void prxe_req_forget_faults(struct prxe_qp *qp)
{
	int i;

	for (i = 0; i < PRXE_PARK_NUM; i++) {
		WRITE_ONCE(qp->req.park[i].parked, false);
		park_begin(&qp->req.park[i], false, 0);
	}
}
