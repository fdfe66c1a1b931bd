// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Receive WQEs that user space posts to a QP in error: who notices them, and for how long.
 *
 * Our provider rings the doorbell when it has posted to a ring that says so (rq_doorbell). For
 * other providers a QP is looked at by time, ever more rarely, until LOOK_NS after the last WQE was
 * found. From then on it costs nothing: it is listed at its CQ, and is looked at when it is rung
 * for, modified or queried, and when the CQ's consumer asks for completion events.
 */
#include <linux/hrtimer.h>
#include <linux/jiffies.h>
#include <linux/ktime.h>
#include "base/prxe.h"
#include "obj/cq.h"
#include "transport/late.h"
#include "transport/qp.h"

#define LOOK_NS		(2 * NSEC_PER_SEC)
#define LOOK_MIN_NS	(2 * NSEC_PER_MSEC)
#define LOOK_MAX_NS	(256 * NSEC_PER_MSEC)
/* A consumer that asks for events all the time has its QPs looked at that often. */
#define ASK_JIFFIES	max(HZ / 50, 1)
#define ASK_STEP	64U	/* QPs in one section of the lock */

/* One section of the list: the first ASK_STEP of it go to its end. */
static void look_at_some(struct prxe_late_cq *late, unsigned int n)
{
	lockdep_assert_held(&late->lock);
	for (; n && !list_empty(&late->qps); n--) {
		struct prxe_qp *qp = list_first_entry(&late->qps, struct prxe_qp, late.node);
		struct prxe_queue *q = qp->resp.rq;

		list_move_tail(&qp->late.node, &late->qps);
		/* Listed, so it is not destroyed yet: its ring is there. */
		if (prxe_queue_pending_from(q, READ_ONCE(q->index)))
			prxe_qp_schedule(qp);
	}
}

static void look_work(struct work_struct *work)
{
	struct prxe_late_cq *late = container_of(to_delayed_work(work), struct prxe_late_cq, work);
	unsigned int left = READ_ONCE(late->num);

	WRITE_ONCE(late->next, jiffies + ASK_JIFFIES);
	while (left) {
		unsigned int n = min(left, ASK_STEP);

		spin_lock_bh(&late->lock);
		look_at_some(late, n);
		spin_unlock_bh(&late->lock);
		left -= n;
		cond_resched();
	}
}

void prxe_late_cq_init(struct prxe_cq *cq)
{
	struct prxe_late_cq *late = &cq->late;

	spin_lock_init(&late->lock);
	INIT_LIST_HEAD(&late->qps);
	INIT_DELAYED_WORK(&late->work, look_work);
	late->next = jiffies;
}

void prxe_late_cq_exit(struct prxe_cq *cq)
{
	cancel_delayed_work_sync(&cq->late.work);
	WARN_ON(!list_empty(&cq->late.qps));
}

void prxe_late_ask(struct prxe_cq *cq)
{
	struct prxe_late_cq *late = &cq->late;
	unsigned long now = jiffies, next = READ_ONCE(late->next);

	if (READ_ONCE(late->num))
		queue_delayed_work(prxe_wq, &late->work, time_before(now, next) ? next - now : 0);
}

static void unlist(struct prxe_qp *qp)
{
	struct prxe_late_cq *late = &qp->rcq->late;

	spin_lock_bh(&late->lock);
	if (!list_empty(&qp->late.node)) {
		list_del_init(&qp->late.node);
		late->num--;
	}
	spin_unlock_bh(&late->lock);
}

static void enlist(struct prxe_qp *qp)
{
	struct prxe_late_cq *late = &qp->rcq->late;

	spin_lock_bh(&late->lock);
	if (list_empty(&qp->late.node)) {
		list_add_tail(&qp->late.node, &late->qps);
		late->num++;
	}
	spin_unlock_bh(&late->lock);
}

/* Under resp.lock, so that nothing is started after destroy or reset has stopped it. */
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
		/* After as long as it has been quiet already. */
		quiet = clamp_t(u64, quiet, LOOK_MIN_NS, LOOK_MAX_NS);
		hrtimer_start(&qp->req.timer, ns_to_ktime(quiet), HRTIMER_MODE_REL_SOFT);
		unlist(qp);
	} else {
		enlist(qp);
	}
out:
	spin_unlock_bh(&qp->resp.lock);
}

void prxe_late_forget(struct prxe_qp *qp)
{
	spin_lock_bh(&qp->resp.lock);
	qp->late.since = 0;
	unlist(qp);
	spin_unlock_bh(&qp->resp.lock);
}
