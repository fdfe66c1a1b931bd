// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Shared receive queues.
 *
 * Objects: uses rings (queue.c). The receive side of a QP takes WQEs here; this file knows no QP.
 */
#include "base/prxe.h"
#include "obj/queue.h"
#include "obj/srq.h"

static atomic_t next_num = ATOMIC_INIT(0);

static u32 rwqe_size(u32 max_sge)
{
	return sizeof(struct rxe_recv_wqe) + max_sge * sizeof(struct ib_sge);
}

int prxe_create_srq(struct ib_srq *ib, struct ib_srq_init_attr *init, struct ib_udata *udata)
{
	struct prxe_dev *dev = to_prxe_dev(ib->device);
	struct rxe_create_srq_resp resp = {};
	struct prxe_srq *srq = to_prxe_srq(ib);
	struct prxe_ucontext *uctx = NULL;
	struct ib_srq_attr *attr = &init->attr;
	u32 elems = attr->max_wr;
	int err;

	if (init->srq_type != IB_SRQT_BASIC)
		return -EOPNOTSUPP;
	if (!attr->max_wr || attr->max_wr > PRXE_MAX_QP_WR || attr->max_sge > PRXE_MAX_SRQ_SGE)
		return -EINVAL;
	if (udata) {
		uctx = rdma_udata_to_drv_context(udata, struct prxe_ucontext, ib);
		if (udata->outlen < sizeof(resp))
			return -EINVAL;
	}
	spin_lock_init(&srq->lock);
	spin_lock_init(&srq->post_lock);
	mutex_init(&srq->resize_mutex);
	srq->user = uctx;
	srq->max_sge = max(attr->max_sge, 1U);
	srq->limit = attr->srq_limit;
	srq->num = atomic_inc_return(&next_num) & 0xffffff;
	srq->rq = prxe_queue_create(dev, &elems, rwqe_size(srq->max_sge), uctx ? &uctx->ib : NULL,
				    &resp.mi);
	if (IS_ERR(srq->rq))
		return PTR_ERR(srq->rq);
	srq->max_wr = elems;
	attr->max_wr = elems;
	attr->max_sge = srq->max_sge;
	if (uctx) {
		resp.srq_num = srq->num;
		err = ib_copy_to_udata(udata, &resp, sizeof(resp));
		if (err) {
			prxe_queue_destroy(srq->rq);
			return err;
		}
	}
	atomic_inc(&dev->num_srq);
	return 0;
}

/*
 * Copy the receive WQEs from the present ring to @q, and put @q in its place. QPs go on taking
 * receive WQEs meanwhile. Taking one does not change its slot: so every WQE from the first index on
 * is copied without the lock, and then the new ring's consumer index skips those that were taken
 * meanwhile. Only the few that were posted late are copied under the lock. The producer index is
 * user space's: it is read again each time, and bounded.
 */
static int srq_replace(struct prxe_srq *srq, struct prxe_queue *q)
{
	struct prxe_queue *old = srq->rq;	/* only a resize changes it, under resize_mutex */
	struct prxe_queue_move move = { .dst = q, .src = old, .from = READ_ONCE(old->index) };
	int err;

	lockdep_assert_held(&srq->resize_mutex);
	do {
		prxe_queue_move_most(&move);
		spin_lock_bh(&srq->lock);
		err = prxe_queue_move_rest(&move, prxe_queue_pending_from(old, move.from));
		if (!err) {
			u32 taken = (old->index - move.from) & old->mask;

			prxe_queue_consume_to(q, min(taken, move.copied));
			/* Release: the WQEs are visible before their index. */
			smp_store_release(&q->ring->producer, move.copied);
			srq->rq = q;
			srq->max_wr = q->mask;
		}
		spin_unlock_bh(&srq->lock);
	} while (err == -EAGAIN);
	if (!err)
		prxe_queue_destroy(old);
	return err;
}

static int srq_resize(struct prxe_srq *srq, u32 elems, struct ib_udata *udata)
{
	struct rxe_modify_srq_cmd cmd;
	struct prxe_ucontext *uctx;
	struct prxe_queue *q;
	struct mminfo mi;
	int err;

	if (!srq->user || !udata)
		return -EOPNOTSUPP;
	if (udata->inlen < sizeof(cmd))
		return -EINVAL;
	err = ib_copy_from_udata(&cmd, udata, sizeof(cmd));
	if (err)
		return err;
	uctx = rdma_udata_to_drv_context(udata, struct prxe_ucontext, ib);
	q = prxe_queue_create(to_prxe_dev(srq->ib.device), &elems, rwqe_size(srq->max_sge),
			      &uctx->ib, &mi);
	if (IS_ERR(q))
		return PTR_ERR(q);
	if (copy_to_user(u64_to_user_ptr(cmd.mmap_info_addr), &mi, sizeof(mi))) {
		err = -EFAULT;
	} else {
		mutex_lock(&srq->resize_mutex);
		err = srq_replace(srq, q);
		mutex_unlock(&srq->resize_mutex);
	}
	if (err)
		prxe_queue_destroy(q);
	return err;
}

int prxe_modify_srq(struct ib_srq *ib, struct ib_srq_attr *attr, enum ib_srq_attr_mask mask,
		    struct ib_udata *udata)
{
	struct prxe_srq *srq = to_prxe_srq(ib);
	int err;

	if (mask & ~(IB_SRQ_MAX_WR | IB_SRQ_LIMIT))
		return -EINVAL;
	if (mask & IB_SRQ_MAX_WR && (!attr->max_wr || attr->max_wr > PRXE_MAX_QP_WR))
		return -EINVAL;
	if (mask & IB_SRQ_LIMIT &&
	    attr->srq_limit > (mask & IB_SRQ_MAX_WR ? attr->max_wr : READ_ONCE(srq->max_wr)))
		return -EINVAL;
	if (mask & IB_SRQ_MAX_WR) {
		err = srq_resize(srq, attr->max_wr, udata);
		if (err)
			return err;
	}
	spin_lock_bh(&srq->lock);
	if (mask & IB_SRQ_LIMIT)
		srq->limit = attr->srq_limit;
	else if (srq->limit > srq->max_wr)
		srq->limit = srq->max_wr;
	spin_unlock_bh(&srq->lock);
	return 0;
}

int prxe_query_srq(struct ib_srq *ib, struct ib_srq_attr *attr)
{
	struct prxe_srq *srq = to_prxe_srq(ib);

	spin_lock_bh(&srq->lock);
	attr->max_wr = srq->max_wr;
	attr->max_sge = srq->max_sge;
	attr->srq_limit = srq->limit;
	spin_unlock_bh(&srq->lock);
	return 0;
}

int prxe_destroy_srq(struct ib_srq *ib, struct ib_udata *udata)
{
	struct prxe_srq *srq = to_prxe_srq(ib);

	/* No QP uses it any more: the core counts them. */
	prxe_queue_destroy(srq->rq);
	atomic_dec(&to_prxe_dev(ib->device)->num_srq);
	return 0;
}

int prxe_post_srq_recv(struct ib_srq *ib, const struct ib_recv_wr *wr,
		       const struct ib_recv_wr **bad)
{
	struct prxe_srq *srq = to_prxe_srq(ib);

	*bad = wr;
	if (srq->user)
		return -EINVAL;
	return prxe_queue_post_recv(srq->rq, &srq->post_lock, srq->max_sge, wr, bad);
}

int prxe_srq_take(struct prxe_srq *srq, struct prxe_rwqe *out)
{
	bool event = false;
	int err;

	spin_lock_bh(&srq->lock);
	err = prxe_rq_take(srq->rq, srq->max_sge, out);
	if (err != -EAGAIN && srq->limit &&
	    prxe_queue_pending_from(srq->rq, srq->rq->index) < srq->limit) {
		srq->limit = 0;	/* one event only, until the limit is set again */
		event = true;
	}
	spin_unlock_bh(&srq->lock);
	/* The SRQ cannot be destroyed here: the caller holds the resp.lock of a QP that uses it. */
	if (event && srq->ib.event_handler) {
		struct ib_event ev = {
			.device = srq->ib.device,
			.event = IB_EVENT_SRQ_LIMIT_REACHED,
			.element.srq = &srq->ib,
		};

		srq->ib.event_handler(&ev, srq->ib.srq_context);
	}
	return err;
}
