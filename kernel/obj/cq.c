// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Completion queues.
 *
 * Objects: uses rings (queue.c), and calls the watchers that layers above have registered
 * (watch.c). Transport posts completions here; of a QP, this file knows only the number in them.
 */
#include <linux/timekeeping.h>
#include "base/prxe.h"
#include "obj/cq.h"
#include "obj/queue.h"

static_assert(sizeof(struct prxe_cqe) == 64);
static_assert(offsetof(struct prxe_cqe, timestamp) == 48);

/* Calls a kernel consumer's completion handler. */
static void cq_work(struct work_struct *work)
{
	struct prxe_cq *cq = container_of(work, struct prxe_cq, work);

	if (!READ_ONCE(cq->dying) && cq->ib.comp_handler)
		cq->ib.comp_handler(&cq->ib, cq->ib.cq_context);
}

int prxe_create_cq(struct ib_cq *ib, const struct ib_cq_init_attr *attr, struct ib_udata *udata)
{
	struct prxe_dev *dev = to_prxe_dev(ib->device);
	struct rxe_create_cq_resp resp = {};
	struct prxe_cq *cq = to_prxe_cq(ib);
	struct prxe_ucontext *uctx = NULL;
	u32 elems = attr->cqe;
	int err;

	if (attr->flags & ~IB_UVERBS_CQ_FLAGS_TIMESTAMP_COMPLETION)
		return -EOPNOTSUPP;
	if (attr->cqe < 1 || attr->cqe > PRXE_MAX_CQE ||
	    attr->comp_vector >= dev->ib.num_comp_vectors)
		return -EINVAL;
	if (udata) {
		uctx = rdma_udata_to_drv_context(udata, struct prxe_ucontext, ib);
		if (udata->outlen < sizeof(resp))
			return -EINVAL;
	}
	if (attr->flags && !(uctx && uctx->features & PRXE_FEAT_CQE_TIMESTAMP))
		return -EOPNOTSUPP;
	spin_lock_init(&cq->lock);
	mutex_init(&cq->resize_mutex);
	INIT_WORK(&cq->work, cq_work);
	prxe_watch_init(&cq->watch);
	cq->user = uctx;
	cq->timestamp = attr->flags & IB_UVERBS_CQ_FLAGS_TIMESTAMP_COMPLETION;
	cq->queue = prxe_queue_create(dev, &elems,
				      uctx ? sizeof(struct prxe_cqe) : sizeof(struct ib_wc),
				      uctx ? &uctx->ib : NULL, &resp.mi);
	if (IS_ERR(cq->queue))
		return PTR_ERR(cq->queue);
	cq->ib.cqe = elems;
	if (uctx) {
		err = ib_copy_to_udata(udata, &resp, sizeof(resp));
		if (err) {
			prxe_queue_destroy(cq->queue);
			return err;
		}
	}
	atomic_inc(&dev->num_cq);
	return 0;
}

int prxe_destroy_cq(struct ib_cq *ib, struct ib_udata *udata)
{
	struct prxe_cq *cq = to_prxe_cq(ib);

	/*
	 * No QP uses the CQ any more (the core counts them), so no completion is posted; only the
	 * work that calls the handler may still be queued.
	 */
	WRITE_ONCE(cq->dying, true);
	cancel_work_sync(&cq->work);
	prxe_watch_exit(&cq->watch);
	prxe_queue_destroy(cq->queue);
	atomic_dec(&to_prxe_dev(ib->device)->num_cq);
	return 0;
}

/* The consumer index, read from shared memory, and masked so that it is inside the ring. */
static u32 cq_consumer(const struct prxe_queue *q)
{
	/* Acquire: the consumer has read a CQE before we write to its slot again. */
	return smp_load_acquire(&q->ring->consumer) & q->mask;
}

/*
 * Copy the CQEs that user space has not yet consumed from the present ring to @q, and put @q in its
 * place. CQEs between consumer and producer index do not change, so most of them are copied without
 * the lock; only the few that were added meanwhile are copied under it. If user space moves the
 * consumer index meanwhile, it finds CQEs a second time, or the resize fails; all indices stay
 * inside the rings.
 */
static int cq_replace(struct prxe_cq *cq, struct prxe_queue *q)
{
	struct prxe_queue *old = cq->queue;	/* only a resize changes it, under resize_mutex */
	struct prxe_queue_move move = { .dst = q, .src = old, .from = cq_consumer(old) };
	int err;

	lockdep_assert_held(&cq->resize_mutex);
	do {
		prxe_queue_move_most(&move);
		spin_lock_irq(&cq->lock);
		err = prxe_queue_move_rest(&move, (old->index - move.from) & old->mask);
		if (!err) {
			q->index = move.copied;
			/* Release: the CQEs are visible before their index. */
			smp_store_release(&q->ring->producer, move.copied);
			cq->queue = q;
			cq->ib.cqe = q->mask;
		}
		spin_unlock_irq(&cq->lock);
	} while (err == -EAGAIN);
	if (!err)
		prxe_queue_destroy(old);
	return err;
}

int prxe_resize_cq(struct ib_cq *ib, int cqe, struct ib_udata *udata)
{
	struct prxe_cq *cq = to_prxe_cq(ib);
	struct rxe_resize_cq_resp resp = {};
	struct prxe_ucontext *uctx;
	struct prxe_queue *q;
	u32 elems = cqe;
	int err;

	if (!udata || !cq->user)
		return -EOPNOTSUPP;
	if (udata->outlen < sizeof(resp) || cqe < 1 || cqe > PRXE_MAX_CQE)
		return -EINVAL;
	uctx = rdma_udata_to_drv_context(udata, struct prxe_ucontext, ib);
	q = prxe_queue_create(to_prxe_dev(ib->device), &elems, sizeof(struct prxe_cqe), &uctx->ib,
			      &resp.mi);
	if (IS_ERR(q))
		return PTR_ERR(q);
	err = ib_copy_to_udata(udata, &resp, sizeof(resp));
	if (!err) {
		mutex_lock(&cq->resize_mutex);
		err = cq_replace(cq, q);
		mutex_unlock(&cq->resize_mutex);
		prxe_watch_ask(&cq->watch);
	}
	if (err)
		prxe_queue_destroy(q);
	return err;
}

/* The kernel's and user space's names for the same flag have different values. */
#define USER_WC_WITH_INV	BIT(3)

static u32 user_flags(int flags)
{
	u32 user = flags & (IB_WC_GRH | IB_WC_WITH_IMM);

	return flags & IB_WC_WITH_INVALIDATE ? user | USER_WC_WITH_INV : user;
}

/*
 * The sl of a user's CQE. That of a datagram says whether it came by IPv4 or IPv6. The completion
 * has to say so (IBTA A17.4.5.1), but libibverbs has no field for it. On Ethernet a service level
 * has no meaning, so mlx5 uses sl: 8 for RoCE v2 (UDP), plus 1 for IPv6 or 2 for IPv4. UCX needs
 * that to find its own address in the GRH.
 */
#define USER_SL_ROCE_V2		8
#define USER_SL_IPV6		1
#define USER_SL_IPV4		2

static u8 user_sl(const struct ib_wc *wc)
{
	if (!(wc->wc_flags & IB_WC_WITH_NETWORK_HDR_TYPE))
		return wc->sl;
	return USER_SL_ROCE_V2 |
	       (wc->network_hdr_type == RDMA_NETWORK_IPV4 ? USER_SL_IPV4 : USER_SL_IPV6);
}

static void fill_user(const struct prxe_cq *cq, struct prxe_cqe *e, const struct ib_wc *wc)
{
	e->wc.wr_id = wc->wr_id;
	e->wc.status = wc->status;
	e->wc.opcode = wc->opcode;
	e->wc.vendor_err = wc->vendor_err;
	e->wc.byte_len = wc->byte_len;
	e->wc.ex.imm_data = wc->ex.imm_data;	/* the same word holds an invalidated rkey */
	e->wc.qp_num = wc->qp->qp_num;
	e->wc.src_qp = wc->src_qp;
	e->wc.wc_flags = user_flags(wc->wc_flags);
	e->wc.pkey_index = wc->pkey_index;
	e->wc.slid = 0;
	e->wc.sl = user_sl(wc);
	e->wc.dlid_path_bits = 0;
	e->wc.port_num = wc->port_num;
	e->wc.reserved = 0;
	if (cq->timestamp)
		e->timestamp = ktime_get_real_ns();
}

int prxe_cq_post(struct prxe_cq *cq, const struct ib_wc *wc, bool solicited)
{
	bool event = false, lost = false;
	struct prxe_queue *q;
	unsigned long flags;
	u32 next;

	spin_lock_irqsave(&cq->lock, flags);
	if (cq->overflowed) {
		spin_unlock_irqrestore(&cq->lock, flags);
		return -EOVERFLOW;
	}
	q = cq->queue;
	next = prxe_queue_next(q, q->index);
	if (next == cq_consumer(q)) {
		cq->overflowed = true;
		lost = true;
	} else {
		if (cq->user)
			fill_user(cq, prxe_queue_at(q, q->index), wc);
		else
			memcpy(prxe_queue_at(q, q->index), wc, sizeof(*wc));
		q->index = next;
		smp_store_release(&q->ring->producer, next);	/* after the CQE */
		if (cq->notify & IB_CQ_NEXT_COMP ||
		    (cq->notify & IB_CQ_SOLICITED && (solicited || wc->status != IB_WC_SUCCESS))) {
			cq->notify = 0;
			event = true;
		}
	}
	spin_unlock_irqrestore(&cq->lock, flags);

	/*
	 * The CQ cannot be destroyed here: the caller owns the send side, or holds the resp.lock,
	 * of a QP that uses it.
	 */
	if (lost) {
		struct ib_event ev = {
			.device = cq->ib.device,
			.event = IB_EVENT_CQ_ERR,
			.element.cq = &cq->ib,
		};

		if (cq->ib.event_handler)
			cq->ib.event_handler(&ev, cq->ib.cq_context);
		return -EOVERFLOW;
	}
	if (event) {
		if (cq->user)
			cq->ib.comp_handler(&cq->ib, cq->ib.cq_context);
		else
			queue_work(prxe_wq, &cq->work);
	}
	return 0;
}

/* For kernel consumers only: a user polls its CQ in the shared ring. */
int prxe_poll_cq(struct ib_cq *ib, int num, struct ib_wc *wc)
{
	struct prxe_cq *cq = to_prxe_cq(ib);
	struct prxe_queue *q;
	unsigned long flags;
	u32 cons;
	int n;

	if (cq->user)
		return -EINVAL;
	spin_lock_irqsave(&cq->lock, flags);
	q = cq->queue;
	cons = q->ring->consumer & q->mask;
	for (n = 0; n < num && cons != q->index; n++, cons = prxe_queue_next(q, cons))
		memcpy(wc++, prxe_queue_at(q, cons), sizeof(*wc));
	smp_store_release(&q->ring->consumer, cons);	/* release: the CQEs were read before */
	spin_unlock_irqrestore(&cq->lock, flags);
	return n;
}

static u32 cq_count(const struct prxe_queue *q)
{
	return (q->index - cq_consumer(q)) & q->mask;
}

int prxe_peek_cq(struct ib_cq *ib, int cnt)
{
	struct prxe_cq *cq = to_prxe_cq(ib);
	unsigned long flags;
	int n;

	spin_lock_irqsave(&cq->lock, flags);
	n = min_t(u32, cq_count(cq->queue), max(cnt, 0));
	spin_unlock_irqrestore(&cq->lock, flags);
	return n;
}

int prxe_req_notify_cq(struct ib_cq *ib, enum ib_cq_notify_flags flags)
{
	struct prxe_cq *cq = to_prxe_cq(ib);
	unsigned long irq;
	int missed;

	spin_lock_irqsave(&cq->lock, irq);
	/*
	 * A CQ that is armed for every completion stays armed for that, if it is now armed for
	 * solicited ones, too (IBTA 11.4.2.2).
	 */
	cq->notify |= flags & IB_CQ_SOLICITED_MASK;
	missed = flags & IB_CQ_REPORT_MISSED_EVENTS && cq_count(cq->queue);
	spin_unlock_irqrestore(&cq->lock, irq);
	prxe_watch_ask(&cq->watch);
	return missed;
}
