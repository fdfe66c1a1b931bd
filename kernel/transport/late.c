// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Receive WQEs that user space posts to a QP in error: who notices them, and for how long.
 *
 * Our provider rings the doorbell after it has posted to a ring whose rq_doorbell is set. For other
 * providers a timer looks at the QP, ever more rarely, until LOOK_NS after the last WQE was found.
 * From then on the QP costs nothing: it is registered at its CQ, and is looked at when its doorbell
 * is rung, when it is modified or queried, and when the consumer of the CQ arms it for completion
 * events.
 *
 * Transport: knows the QP, and registers it at its CQ (obj/watch.h). The QP's worker and verbs call
 * it.
 */
#include <linux/hrtimer.h>
#include <linux/ktime.h>
#include "base/prxe.h"
#include "obj/cq.h"
#include "transport/late.h"

#define LOOK_NS		(2 * NSEC_PER_SEC)
#define LOOK_MIN_NS	(2 * NSEC_PER_MSEC)
#define LOOK_MAX_NS	(256 * NSEC_PER_MSEC)

/* The QP is registered at the CQ, so it is not destroyed yet, and its ring exists. */
static void look_now(struct prxe_watcher *w)
{
	struct prxe_qp *qp = container_of(w, struct prxe_qp, late.watcher);
	struct prxe_queue *q = qp->resp.rq;

	if (prxe_queue_pending_from(q, READ_ONCE(q->index)))
		prxe_qp_schedule(qp);
}

void prxe_late_init(struct prxe_qp *qp)
{
	prxe_watcher_init(&qp->late.watcher, look_now);
}

/*
 * Nobody looks from time to time any more: register the QP at its CQ. Then look once more, because
 * the CQ may have been armed just before, for a WQE that was posted after the worker's last look.
 */
static void look_when_armed(struct prxe_qp *qp)
{
	lockdep_assert_held(&qp->resp.lock);
	prxe_watch_add(&qp->rcq->watch, &qp->late.watcher);
	/* Registered before the look. Pairs with the full barrier in prxe_watch_ask(). */
	smp_mb();
	look_now(&qp->late.watcher);
}

/* Decides under resp.lock, so that it starts nothing after destroy or reset has stopped it. */
void prxe_late_look(struct prxe_qp *qp)
{
	u64 now = ktime_get_ns(), quiet;

	if (!qp->user || qp->srq)
		return;
	spin_lock_bh(&qp->resp.lock);
	if (qp->dead || READ_ONCE(qp->state) != IB_QPS_ERR)
		goto out;
	if (!qp->late.since)
		qp->late.since = now;
	quiet = now - qp->late.since;
	if (quiet < LOOK_NS) {
		/*
		 * Look again after as long as nothing has been posted already: each wait is longer.
		 */
		quiet = clamp_t(u64, quiet, LOOK_MIN_NS, LOOK_MAX_NS);
		hrtimer_start(&qp->req.timer, ns_to_ktime(quiet), HRTIMER_MODE_REL_SOFT);
		prxe_watch_remove(&qp->rcq->watch, &qp->late.watcher);
	} else {
		look_when_armed(qp);
	}
out:
	spin_unlock_bh(&qp->resp.lock);
}

void prxe_late_forget(struct prxe_qp *qp)
{
	spin_lock_bh(&qp->resp.lock);
	qp->late.since = 0;
	prxe_watch_remove(&qp->rcq->watch, &qp->late.watcher);
	spin_unlock_bh(&qp->resp.lock);
}
