// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Verbs on QPs: creation, the state machine of IBTA 10.3.1, destruction; and flushing the QPs of a
 * device whose users are removed.
 *
 * Verbs: checks attributes, then calls transport, which has the two sides of a QP, and through it
 * the carriers. device.c calls this file.
 */
#include <linux/log2.h>
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/memcontrol.h>
#include <linux/slab.h>
#include "base/prxe.h"
#include "base/registry.h"
#include "obj/ah.h"
#include "obj/srq.h"
#include "transport/carrier.h"
#include "transport/late.h"
#include "transport/requester.h"
#include "transport/responder.h"
#include "verbs/qp_verbs.h"

#define MAX_TIMEOUT	31
#define MAX_RETRY	7
#define MAX_QPN		0xffffff
#define ABANDON_MAX	(5 * HZ)	/* the longest wait until a device's QPs are flushed */

/*
 * The first QP of a user with number *@index or higher, with a reference; NULL: there is none.
 * *@index becomes its number.
 */
static struct prxe_qp *next_user_qp(struct prxe_dev *dev, unsigned long *index)
{
	struct prxe_qp *qp;

	rcu_read_lock();
	qp = xa_find(&dev->qps, index, ULONG_MAX, XA_PRESENT);
	while (qp && (!qp->user || !prxe_qp_tryget(qp)))
		qp = xa_find_after(&dev->qps, index, ULONG_MAX, XA_PRESENT);
	rcu_read_unlock();
	return qp;
}

/*
 * Users may destroy QPs meanwhile: the reference keeps the structure, and of a dead QP nothing else
 * is used. A modify that holds the mutex ends before we get it; a later one sees
 * dev->users_removed, and leaves the QP in error. The wait is bounded by ABANDON_MAX, in case a
 * user keeps posting.
 */
void prxe_qp_abandon_all(struct prxe_dev *dev)
{
	unsigned long end = jiffies + ABANDON_MAX, i;
	struct prxe_qp *qp;

	/*
	 * Put all QPs into error before any is flushed, so that none reports an error only because
	 * its peer is in error already.
	 */
	for (i = 0; (qp = next_user_qp(dev, &i)); i++) {
		mutex_lock(&qp->mutex);
		prxe_qp_set_error(qp, -1);
		mutex_unlock(&qp->mutex);
		prxe_qp_put(qp);
	}
	for (i = 0; (qp = next_user_qp(dev, &i)); i++) {
		prxe_qp_schedule(qp);
		/*
		 * The work queues itself again while there is much to flush. While qp->failing is
		 * set, the completion with the reason is not in its CQ yet; prxe_qp_fail_end()
		 * queues the work after that.
		 */
		while ((work_busy(&qp->work) || atomic_read(&qp->failing)) &&
		       time_before(jiffies, end))
			usleep_range(50, 500);
		prxe_qp_put(qp);
	}
}

/* Called in RESET or INIT, where the QP neither sends nor receives. */
static void set_path_mtu(struct prxe_qp *qp, enum ib_mtu mtu)
{
	qp->attr.path_mtu = mtu;
	qp->mtu_shift = prxe_mtu_shift(mtu);
}

/* Change the state from @from to @to. False: the QP went into error first, or was destroyed. */
static bool qp_move(struct prxe_qp *qp, enum ib_qp_state from, enum ib_qp_state to)
{
	bool ok;

	spin_lock_bh(&qp->state_lock);
	ok = qp->state == from;
	if (ok)
		WRITE_ONCE(qp->state, to);
	spin_unlock_bh(&qp->state_lock);
	return ok;
}

/* ---- create ---- */

static int check_caps(const struct ib_qp_init_attr *init)
{
	const struct ib_qp_cap *cap = &init->cap;

	if (cap->max_send_wr > PRXE_MAX_QP_WR || cap->max_send_sge > PRXE_MAX_SGE ||
	    cap->max_inline_data > PRXE_MAX_INLINE)
		return -EINVAL;
	if (!init->srq && (cap->max_recv_wr > PRXE_MAX_QP_WR || cap->max_recv_sge > PRXE_MAX_SGE))
		return -EINVAL;
	return 0;
}

static int create_queues(struct prxe_qp *qp, struct ib_qp_init_attr *init, struct ib_ucontext *uctx,
			 struct rxe_create_qp_resp *resp)
{
	struct ib_qp_cap *cap = &init->cap;
	struct prxe_queue *q;
	u32 elems, data;

	/*
	 * SGEs, inline data and the operand of ATOMIC_WRITE share the tail of a WQE. The tail has
	 * at least the room of one SGE, for the operand.
	 */
	data = max3(cap->max_send_sge * (u32)sizeof(struct ib_sge),
		    ALIGN(cap->max_inline_data, sizeof(struct ib_sge)),
		    (u32)sizeof(struct ib_sge));
	elems = max(cap->max_send_wr, 1U);
	q = prxe_queue_create(qp->dev, &elems, sizeof(struct rxe_send_wqe) + data, uctx,
			      &resp->sq_mi);
	if (IS_ERR(q))
		return PTR_ERR(q);
	qp->req.sq = q;
	cap->max_send_wr = elems;
	cap->max_send_sge = data / sizeof(struct ib_sge);
	cap->max_inline_data = data;
	qp->req.wqe_size = ALIGN(sizeof(struct prxe_wqe) + data, sizeof(u64));
	qp->req.shadow = kvcalloc((size_t)q->mask + 1, qp->req.wqe_size,
				  GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!qp->req.shadow)
		return -ENOMEM;

	if (init->srq) {
		cap->max_recv_wr = 0;
		cap->max_recv_sge = 0;
		return 0;
	}
	elems = max(cap->max_recv_wr, 1U);
	cap->max_recv_sge = max(cap->max_recv_sge, 1U);
	q = prxe_queue_create(qp->dev, &elems,
			      sizeof(struct rxe_recv_wqe) +
			      cap->max_recv_sge * sizeof(struct ib_sge),
			      uctx, &resp->rq_mi);
	if (IS_ERR(q))
		return PTR_ERR(q);
	qp->resp.rq = q;
	cap->max_recv_wr = elems;
	return 0;
}

static void free_parts(struct prxe_qp *qp)
{
	prxe_queue_destroy(qp->req.sq);
	prxe_queue_destroy(qp->resp.rq);
	kvfree(qp->req.shadow);
	qp->req.sq = NULL;
	qp->resp.rq = NULL;
	qp->req.shadow = NULL;
}

/* Give the QP its number. From here on packets and peers find it. */
static int qp_publish(struct prxe_qp *qp)
{
	struct prxe_dev *dev = qp->dev;
	int err;

	if (qp->type == IB_QPT_GSI) {
		qp->qpn = 1;
		return xa_insert(&dev->qps, 1, qp, GFP_KERNEL);
	}
	err = xa_alloc_cyclic(&dev->qps, &qp->qpn, qp,
			      XA_LIMIT(PRXE_MIN_QPN, PRXE_MIN_QPN + PRXE_MAX_QP - 1),
			      &dev->next_qpn, GFP_KERNEL_ACCOUNT);
	return err < 0 ? err : 0;
}

int prxe_create_qp(struct ib_qp *ib, struct ib_qp_init_attr *init, struct ib_udata *udata)
{
	struct prxe_dev *dev = to_prxe_dev(ib->device);
	struct rxe_create_qp_resp resp = {};
	struct prxe_ucontext *uctx = NULL;
	struct prxe_qp *qp;
	int err;

	if (init->create_flags)
		return -EOPNOTSUPP;
	switch (init->qp_type) {
	case IB_QPT_RC:
	case IB_QPT_UC:
	case IB_QPT_UD:
		break;
	case IB_QPT_GSI:
		if (udata || init->srq || init->port_num != PRXE_PORT)
			return -EINVAL;
		break;
	default:
		return -EOPNOTSUPP;
	}
	err = check_caps(init);
	if (err)
		return err;
	if (udata) {
		uctx = rdma_udata_to_drv_context(udata, struct prxe_ucontext, ib);
		if (udata->outlen < sizeof(resp))
			return -EINVAL;
	}
	if (!init->send_cq || !init->recv_cq)
		return -EINVAL;

	/* kmalloc() aligns a power of two to its size. */
	qp = kzalloc(roundup_pow_of_two(max_t(size_t, PRXE_QP_ALIGN,
					      sizeof(*qp) + prxe_carriers_qp_bytes())),
		     GFP_KERNEL_ACCOUNT);
	if (!qp)
		return -ENOMEM;
	mutex_init(&qp->mutex);
	prxe_late_init(qp);
	prxe_qp_init(qp);
	qp->ibqp = ib;
	qp->dev = dev;
	qp->pd = ib->pd;
	qp->scq = to_prxe_cq(init->send_cq);
	qp->rcq = to_prxe_cq(init->recv_cq);
	qp->srq = init->srq ? to_prxe_srq(init->srq) : NULL;
	qp->type = init->qp_type;
	qp->user = uctx;
	qp->memcg = uctx ? get_mem_cgroup_from_mm(current->mm) : NULL;
	qp->sq_sig_all = init->sq_sig_type == IB_SIGNAL_ALL_WR;
	qp->state = IB_QPS_RESET;
	set_path_mtu(qp, prxe_port_mtu(dev));
	err = create_queues(qp, init, uctx ? &uctx->ib : NULL, &resp);
	if (err)
		goto err_parts;
	qp->cap = init->cap;
	prxe_req_init(qp);
	prxe_resp_init(qp);
	err = qp_publish(qp);
	if (err)
		goto err_parts;
	ib->qp_num = qp->qpn;
	container_of(ib, struct prxe_ibqp, ib)->qp = qp;
	if (uctx) {
		err = ib_copy_to_udata(udata, &resp, sizeof(resp));
		if (err) {
			prxe_destroy_qp(ib, udata);
			return err;
		}
	}
	return 0;

err_parts:
	free_parts(qp);
	prxe_qp_put(qp);
	return err;
}

/* ---- modify ---- */

static int check_attr(struct prxe_qp *qp, const struct ib_qp_attr *attr, int mask)
{
	if (mask & IB_QP_PORT && attr->port_num != PRXE_PORT)
		return -EINVAL;
	if (mask & IB_QP_PKEY_INDEX && attr->pkey_index)
		return -EINVAL;
	if (mask & IB_QP_CAP)
		return -EOPNOTSUPP;	/* queues are not resized */
	if (mask & IB_QP_ALT_PATH)
		return -EOPNOTSUPP;
	if (mask & IB_QP_PATH_MIG_STATE && attr->path_mig_state != IB_MIG_MIGRATED)
		return -EOPNOTSUPP;
	if (mask & IB_QP_PATH_MTU &&
	    (attr->path_mtu < IB_MTU_256 || attr->path_mtu > prxe_port_mtu(qp->dev)))
		return -EINVAL;
	if (mask & IB_QP_MAX_QP_RD_ATOMIC && attr->max_rd_atomic > PRXE_MAX_RD_ATOM)
		return -EINVAL;
	if (mask & IB_QP_MAX_DEST_RD_ATOMIC && attr->max_dest_rd_atomic > PRXE_MAX_RD_ATOM)
		return -EINVAL;
	if (mask & IB_QP_TIMEOUT && attr->timeout > MAX_TIMEOUT)
		return -EINVAL;
	if (mask & IB_QP_MIN_RNR_TIMER && attr->min_rnr_timer > MAX_TIMEOUT)
		return -EINVAL;
	if (mask & IB_QP_RETRY_CNT && attr->retry_cnt > MAX_RETRY)
		return -EINVAL;
	if (mask & IB_QP_RNR_RETRY && attr->rnr_retry > MAX_RETRY)
		return -EINVAL;
	if (mask & IB_QP_DEST_QPN && attr->dest_qp_num > MAX_QPN)
		return -EINVAL;
	return 0;
}

/* Store attributes that check_attr() has accepted; cannot fail. */
static void store_attr(struct prxe_qp *qp, const struct ib_qp_attr *attr, int mask)
{
	struct ib_qp_attr *a = &qp->attr;

	if (mask & IB_QP_EN_SQD_ASYNC_NOTIFY)
		a->en_sqd_async_notify = attr->en_sqd_async_notify;
	if (mask & IB_QP_ACCESS_FLAGS)
		WRITE_ONCE(a->qp_access_flags, attr->qp_access_flags);
	if (mask & IB_QP_PKEY_INDEX)
		a->pkey_index = attr->pkey_index;
	if (mask & IB_QP_PORT)
		a->port_num = attr->port_num;
	if (mask & IB_QP_QKEY)
		WRITE_ONCE(a->qkey, attr->qkey);
	if (mask & IB_QP_PATH_MTU)
		set_path_mtu(qp, attr->path_mtu);
	if (mask & IB_QP_TIMEOUT)
		a->timeout = attr->timeout;
	if (mask & IB_QP_RETRY_CNT)
		a->retry_cnt = attr->retry_cnt;
	if (mask & IB_QP_RNR_RETRY)
		a->rnr_retry = attr->rnr_retry;
	if (mask & IB_QP_MIN_RNR_TIMER)
		a->min_rnr_timer = attr->min_rnr_timer;
	if (mask & IB_QP_RQ_PSN)
		a->rq_psn = attr->rq_psn & PRXE_PSN_MASK;
	if (mask & IB_QP_SQ_PSN)
		a->sq_psn = attr->sq_psn & PRXE_PSN_MASK;
	if (mask & IB_QP_MAX_QP_RD_ATOMIC)
		a->max_rd_atomic = attr->max_rd_atomic;
	if (mask & IB_QP_MAX_DEST_RD_ATOMIC)
		WRITE_ONCE(a->max_dest_rd_atomic, attr->max_dest_rd_atomic);
	if (mask & IB_QP_DEST_QPN)
		a->dest_qp_num = attr->dest_qp_num;
	if (mask & IB_QP_PATH_MIG_STATE)
		a->path_mig_state = attr->path_mig_state;
}

static void store_av(struct prxe_qp *qp, const struct rdma_ah_attr *attr, const struct prxe_av *av)
{
	qp->av = *av;
	qp->attr.ah_attr = *attr;
	qp->attr.ah_attr.grh.sgid_attr = NULL;	/* the core has the reference on it */
}

static void to_reset(struct prxe_qp *qp)
{
	prxe_req_own(qp);
	/* Whoever takes resp.lock later sees this state, and leaves the receive side alone. */
	spin_lock_bh(&qp->resp.lock);
	spin_lock(&qp->state_lock);
	WRITE_ONCE(qp->state, IB_QPS_RESET);
	spin_unlock(&qp->state_lock);
	qp->comm_est_told = false;
	qp->last_wqe_told = false;
	spin_unlock_bh(&qp->resp.lock);
	prxe_late_forget(qp);
	prxe_req_reset(qp);
	prxe_resp_reset(qp);
	memset(&qp->attr, 0, sizeof(qp->attr));
	memset(&qp->av, 0, sizeof(qp->av));
	WRITE_ONCE(qp->carrier, NULL);
	set_path_mtu(qp, prxe_port_mtu(qp->dev));
	prxe_req_disown(qp);
}

static int to_rtr(struct prxe_qp *qp, enum ib_qp_state cur)
{
	if (qp->type == IB_QPT_RC || qp->type == IB_QPT_UC)
		WRITE_ONCE(qp->carrier, prxe_carrier_of(prxe_carrier_to(qp, &qp->av)));
	else
		set_path_mtu(qp, prxe_port_mtu(qp->dev));
	spin_lock_bh(&qp->resp.lock);
	qp->resp.psn = qp->attr.rq_psn;
	spin_unlock_bh(&qp->resp.lock);
	return qp_move(qp, cur, IB_QPS_RTR) ? 0 : -EINVAL;
}

static int to_rts(struct prxe_qp *qp, enum ib_qp_state cur)
{
	bool ok;

	if (cur == IB_QPS_RTR) {
		prxe_req_own(qp);
		prxe_req_start(qp);
		ok = qp_move(qp, cur, IB_QPS_RTS);
		prxe_req_disown(qp);	/* starts with the WQEs that were posted before */
	} else if (cur == IB_QPS_RTS) {
		ok = qp_move(qp, cur, IB_QPS_RTS);
	} else {
		prxe_req_own(qp);
		prxe_req_resume(qp, cur);
		ok = qp_move(qp, cur, IB_QPS_RTS);
		prxe_req_disown(qp);
	}
	return ok ? 0 : -EINVAL;
}

static int modify(struct prxe_qp *qp, struct ib_qp_attr *attr, int mask)
{
	enum ib_qp_state cur = READ_ONCE(qp->state), next;
	struct prxe_av av;
	int err;

	if (mask & IB_QP_CUR_STATE && attr->cur_qp_state != cur)
		return -EINVAL;
	next = mask & IB_QP_STATE ? attr->qp_state : cur;
	if (!ib_modify_qp_is_ok(cur, next, qp->type, mask))
		return -EINVAL;
	if (next != IB_QPS_RESET && next != IB_QPS_ERR &&
	    qp->user && READ_ONCE(qp->dev->users_removed))
		return -EIO;
	err = check_attr(qp, attr, mask);
	if (err)
		return err;
	if (next == IB_QPS_RESET) {
		to_reset(qp);
		return 0;
	}
	if (mask & IB_QP_AV) {
		u32 dest = mask & IB_QP_DEST_QPN ? attr->dest_qp_num : qp->attr.dest_qp_num;

		/*
		 * A connection has one UDP source port, so its packets stay on one path, in order.
		 */
		err = prxe_av_init(qp->dev, &av, &attr->ah_attr, qp->qpn * 31 + dest);
		if (err)
			return err;
	}
	if (mask & IB_QP_AV && cur >= IB_QPS_RTR) {
		/*
		 * The QP is connected, and in SQD. Traffic class, hop limit and flow label may
		 * change. The GIDs may not, because the carrier was chosen by them.
		 */
		if (memcmp(&av.sgid, &qp->av.sgid, sizeof(av.sgid)) ||
		    memcmp(&av.dgid, &qp->av.dgid, sizeof(av.dgid)))
			return -EOPNOTSUPP;
		prxe_req_own(qp);
		store_av(qp, &attr->ah_attr, &av);
		prxe_req_disown(qp);
	} else if (mask & IB_QP_AV) {
		store_av(qp, &attr->ah_attr, &av);
	}
	if (mask & IB_QP_MAX_DEST_RD_ATOMIC && cur >= IB_QPS_RTR) {
		err = prxe_carriers_set_dest_rd_atomic(qp, attr->max_dest_rd_atomic);
		if (err)
			return err;
	}
	store_attr(qp, attr, mask);
	if (!(mask & IB_QP_STATE))
		return 0;
	switch (next) {
	case IB_QPS_INIT:
		return cur == next || qp_move(qp, cur, next) ? 0 : -EINVAL;
	case IB_QPS_RTR:
		return to_rtr(qp, cur);
	case IB_QPS_RTS:
		return to_rts(qp, cur);
	case IB_QPS_SQD:
		/* The attribute is valid for this transition only. */
		if (cur != IB_QPS_SQD && !(mask & IB_QP_EN_SQD_ASYNC_NOTIFY))
			qp->attr.en_sqd_async_notify = 0;
		if (!qp_move(qp, cur, next))
			return -EINVAL;
		prxe_qp_schedule(qp);	/* raises IB_EVENT_SQ_DRAINED when the queue has drained */
		return 0;
	case IB_QPS_ERR:
		if (cur != IB_QPS_RESET || !qp_move(qp, cur, next))
			prxe_qp_set_error(qp, -1);
		return 0;
	default:
		return -EINVAL;
	}
}

/* A verb on a QP in error is a chance to flush receive WQEs that were posted late (late.c). */
static void look_if_in_error(struct prxe_qp *qp)
{
	if (READ_ONCE(qp->state) == IB_QPS_ERR)
		prxe_qp_schedule(qp);
}

int prxe_modify_qp(struct ib_qp *ib, struct ib_qp_attr *attr, int mask, struct ib_udata *udata)
{
	struct prxe_qp *qp = to_prxe_qp(ib);
	int err;

	if (mask & ~IB_QP_ATTR_STANDARD_BITS)
		return -EOPNOTSUPP;
	mutex_lock(&qp->mutex);
	err = modify(qp, attr, mask);
	mutex_unlock(&qp->mutex);
	look_if_in_error(qp);
	return err;
}

int prxe_query_qp(struct ib_qp *ib, struct ib_qp_attr *attr, int mask, struct ib_qp_init_attr *init)
{
	struct prxe_qp *qp = prxe_qp_get_ib(ib);

	/* To rdma netlink, -EAGAIN means "leave this one out"; nobody else can call so late. */
	if (!qp)
		return -EAGAIN;
	mutex_lock(&qp->mutex);
	*attr = qp->attr;
	attr->qp_state = READ_ONCE(qp->state);
	attr->cur_qp_state = attr->qp_state;
	attr->cap = qp->cap;
	attr->sq_draining = attr->qp_state == IB_QPS_SQD && !READ_ONCE(qp->req.sqd_told);
	if (attr->qp_state >= IB_QPS_RTR && (qp->type == IB_QPT_RC || qp->type == IB_QPT_UC))
		attr->path_mig_state = IB_MIG_MIGRATED;
	/* The next PSNs to send and to receive, as hardware reports them. */
	if (attr->qp_state >= IB_QPS_RTS)
		attr->sq_psn = READ_ONCE(qp->req.psn) & PRXE_PSN_MASK;
	if (attr->qp_state >= IB_QPS_RTR)
		attr->rq_psn = READ_ONCE(qp->resp.psn) & PRXE_PSN_MASK;
	mutex_unlock(&qp->mutex);
	look_if_in_error(qp);

	init->event_handler = ib->event_handler;
	init->qp_context = ib->qp_context;
	init->send_cq = ib->send_cq;
	init->recv_cq = ib->recv_cq;
	init->srq = ib->srq;
	init->cap = qp->cap;
	init->sq_sig_type = qp->sq_sig_all ? IB_SIGNAL_ALL_WR : IB_SIGNAL_REQ_WR;
	init->qp_type = qp->type;
	init->port_num = PRXE_PORT;
	prxe_qp_put(qp);
	return 0;
}

/* ---- destroy ---- */

/*
 * Own the send side, take the receive side's lock, set dead, and free the rings. The send side is
 * never given back, so a kick does nothing but count from here on; whoever takes resp.lock sees
 * dead. So nobody uses the rings, CQs, PD, SRQ or ibqp after this; a queued fault, a peer or a
 * packet may hold the struct for longer. Nothing here waits for a fault or a grace period.
 */
int prxe_destroy_qp(struct ib_qp *ib, struct ib_udata *udata)
{
	struct prxe_qp *qp = to_prxe_qp(ib);

	/* From here on, packets and peers do not find the QP. */
	xa_erase(&qp->dev->qps, qp->qpn);
	prxe_req_own(qp);
	spin_lock_bh(&qp->resp.lock);
	spin_lock(&qp->state_lock);
	WRITE_ONCE(qp->dead, true);
	WRITE_ONCE(qp->state, IB_QPS_RESET);
	spin_unlock(&qp->state_lock);
	spin_unlock_bh(&qp->resp.lock);
	prxe_late_forget(qp);
	prxe_req_reset(qp);
	prxe_resp_reset(qp);
	if (cancel_work_sync(&qp->work))
		prxe_qp_put(qp);
	if (cancel_work_sync(&qp->event_work))
		prxe_qp_put(qp);
	prxe_carriers_tell(qp, PRXE_LIFE_END);
	free_parts(qp);
	/* Before the reference is dropped, because prxe_qp_get_ib() relies on it. */
	WRITE_ONCE(container_of(ib, struct prxe_ibqp, ib)->qp, NULL);
	prxe_qp_put(qp);
	return 0;
}
