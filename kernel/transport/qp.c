// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Queue pairs as the transport sees them: references, lookup by number, scheduling, events, and the
 * change into error states. Verbs on QPs are in verbs/qp_verbs.c.
 *
 * Transport, its lowest file: calls no other file of the transport.
 */
#include <linux/memcontrol.h>
#include <linux/slab.h>
#include "base/prxe.h"
#include "transport/qp.h"

/* ---- life ---- */

void prxe_qp_put(struct prxe_qp *qp)
{
	if (!refcount_dec_and_test(&qp->ref))
		return;
	mem_cgroup_put(qp->memcg);
	kfree_rcu(qp, rcu);
}

struct prxe_qp *prxe_qp_get_ib(struct ib_qp *ib)
{
	struct prxe_qp *qp;

	rcu_read_lock();
	qp = READ_ONCE(container_of(ib, struct prxe_ibqp, ib)->qp);
	if (qp && !prxe_qp_tryget(qp))
		qp = NULL;
	rcu_read_unlock();
	return qp;
}

struct prxe_qp *prxe_qp_lookup(struct prxe_dev *dev, u32 qpn)
{
	struct prxe_qp *qp;

	rcu_read_lock();
	qp = xa_load(&dev->qps, qpn);
	if (qp && !prxe_qp_tryget(qp))
		qp = NULL;
	rcu_read_unlock();
	return qp;
}

void prxe_qp_schedule(struct prxe_qp *qp)
{
	/* The caller keeps the QP alive: by a reference, or because it is not destroyed yet. */
	refcount_inc(&qp->ref);
	if (!queue_work(prxe_wq, &qp->work))
		prxe_qp_put(qp);
}

/* ---- asynchronous events: from a work item, as the core promises kernel consumers ---- */

static void event_work(struct work_struct *work)
{
	struct prxe_qp *qp = container_of(work, struct prxe_qp, event_work);
	unsigned long events = xchg(&qp->events, 0);
	int event;

	for_each_set_bit(event, &events, BITS_PER_LONG) {
		struct ib_event ev = { .event = event };

		/*
		 * Destroy sets dead, then waits for this work. So while dead is not set, ibqp
		 * exists.
		 */
		if (READ_ONCE(qp->dead))
			break;
		ev.device = qp->ibqp->device;
		ev.element.qp = qp->ibqp;
		if (qp->ibqp->event_handler)
			qp->ibqp->event_handler(&ev, qp->ibqp->qp_context);
	}
	prxe_qp_put(qp);
}

void prxe_qp_init(struct prxe_qp *qp)
{
	refcount_set(&qp->ref, 1);
	spin_lock_init(&qp->state_lock);
	INIT_WORK(&qp->event_work, event_work);
}

void prxe_qp_event(struct prxe_qp *qp, int event)
{
	if (event < 0 || READ_ONCE(qp->dead))
		return;
	set_bit(event, &qp->events);
	refcount_inc(&qp->ref);
	if (!queue_work(prxe_wq, &qp->event_work))
		prxe_qp_put(qp);
}

void prxe_qp_comm_est(struct prxe_qp *qp)
{
	lockdep_assert_held(&qp->resp.lock);
	if (qp->comm_est_told || (qp->type != IB_QPT_RC && qp->type != IB_QPT_UC))
		return;
	qp->comm_est_told = true;
	prxe_qp_event(qp, IB_EVENT_COMM_EST);
}

/* ---- state ---- */

void prxe_qp_set_error(struct prxe_qp *qp, int event)
{
	bool changed = false;

	spin_lock_bh(&qp->state_lock);
	if (qp->state != IB_QPS_RESET && qp->state != IB_QPS_ERR && !qp->dead) {
		WRITE_ONCE(qp->state, IB_QPS_ERR);
		changed = true;
	}
	spin_unlock_bh(&qp->state_lock);
	if (!changed)
		return;
	prxe_qp_event(qp, event);
	prxe_qp_schedule(qp);
}

void prxe_qp_send_error(struct prxe_qp *qp)
{
	bool changed = false;

	if (qp->type == IB_QPT_RC) {
		prxe_qp_set_error(qp, -1);
		return;
	}
	spin_lock_bh(&qp->state_lock);
	if ((qp->state == IB_QPS_RTS || qp->state == IB_QPS_SQD) && !qp->dead) {
		WRITE_ONCE(qp->state, IB_QPS_SQE);
		changed = true;
	}
	spin_unlock_bh(&qp->state_lock);
	if (changed)
		prxe_qp_schedule(qp);
}

void prxe_qp_fail_end(struct prxe_qp *qp)
{
	if (atomic_dec_and_test(&qp->failing))
		prxe_qp_schedule(qp);
}
