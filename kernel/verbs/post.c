// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * ib_post_send() and ib_post_recv(). The work requests of a kernel consumer become WQEs in rings
 * like those that user space fills itself; for user space, ib_post_send() is the slow doorbell.
 *
 * Verbs: checks a work request, writes it into the ring (obj/queue.h), and then has transport look
 * at the ring.
 */
#include <linux/slab.h>
#include "obj/ah.h"
#include "transport/requester.h"
#include "transport/responder.h"
#include "verbs/post.h"

/* Write @wr, which post_check() has accepted, into the slot @wqe. */
static void post_one(struct prxe_qp *qp, struct rxe_send_wqe *wqe, const struct ib_send_wr *wr)
{
	struct rxe_send_wr *w = &wqe->wr;

	memset(wqe, 0, sizeof(*wqe));
	w->wr_id = wr->wr_id;
	w->opcode = wr->opcode;
	w->send_flags = wr->send_flags;
	switch (wr->opcode) {
	case IB_WR_LOCAL_INV:
	case IB_WR_SEND_WITH_INV:
		w->ex.invalidate_rkey = wr->ex.invalidate_rkey;
		break;
	case IB_WR_RDMA_WRITE_WITH_IMM:
	case IB_WR_SEND_WITH_IMM:
		w->ex.imm_data = wr->ex.imm_data;
		break;
	default:
		break;
	}
	if (qp->type == IB_QPT_UD || qp->type == IB_QPT_GSI) {
		w->wr.ud.remote_qpn = ud_wr(wr)->remote_qpn;
		w->wr.ud.remote_qkey = ud_wr(wr)->remote_qkey;
		w->wr.ud.pkey_index = qp->type == IB_QPT_GSI ? ud_wr(wr)->pkey_index : 0;
		w->wr.ud.ah_num = container_of(ud_wr(wr)->ah, struct prxe_ah, ib)->obj->num;
	} else if (wr->opcode == IB_WR_REG_MR) {
		w->wr.reg.mr = reg_wr(wr)->mr;
		w->wr.reg.key = reg_wr(wr)->key;
		w->wr.reg.access = reg_wr(wr)->access;
	} else if (wr->opcode == IB_WR_ATOMIC_CMP_AND_SWP ||
		   wr->opcode == IB_WR_ATOMIC_FETCH_AND_ADD) {
		w->wr.atomic.remote_addr = atomic_wr(wr)->remote_addr;
		w->wr.atomic.rkey = atomic_wr(wr)->rkey;
		w->wr.atomic.compare_add = atomic_wr(wr)->compare_add;
		w->wr.atomic.swap = atomic_wr(wr)->swap;
	} else if (wr->opcode == IB_WR_RDMA_WRITE || wr->opcode == IB_WR_RDMA_WRITE_WITH_IMM ||
		   wr->opcode == IB_WR_RDMA_READ) {
		w->wr.rdma.remote_addr = rdma_wr(wr)->remote_addr;
		w->wr.rdma.rkey = rdma_wr(wr)->rkey;
	}
	if (prxe_wr_kind(qp, wr->opcode) & PRXE_WR_LOCAL)
		return;
	if (wr->send_flags & IB_SEND_INLINE) {
		u32 i, n = 0;

		for (i = 0; i < wr->num_sge; i++) {
			const struct ib_sge *sge = &wr->sg_list[i];

			memcpy(wqe->dma.inline_data + n, (void *)(uintptr_t)sge->addr, sge->length);
			n += sge->length;
		}
		wqe->dma.length = n;
		return;
	}
	wqe->dma.num_sge = wr->num_sge;
	memcpy(wqe->dma.sge, wr->sg_list, wr->num_sge * sizeof(*wr->sg_list));
}

static int post_check(struct prxe_qp *qp, const struct ib_send_wr *wr)
{
	u16 kind = prxe_wr_kind(qp, wr->opcode);
	u64 sum = 0;
	int i;

	if (!kind)
		return -EINVAL;
	if (kind & PRXE_WR_LOCAL)
		return 0;	/* no data: post_one() ignores its SGEs */
	if (wr->num_sge < 0 || wr->num_sge > qp->cap.max_send_sge)
		return -EINVAL;
	if (wr->send_flags & IB_SEND_INLINE) {
		for (i = 0; i < wr->num_sge; i++)
			sum += wr->sg_list[i].length;
		if (sum > qp->cap.max_inline_data)
			return -EINVAL;
	}
	return 0;
}

/*
 * A kernel consumer's WRs are only queued here, and a worker executes them, because a post must not
 * call a completion handler (Documentation/infiniband/core_locking.rst).
 */
static int post_kernel(struct prxe_qp *qp, const struct ib_send_wr *wr,
		       const struct ib_send_wr **bad)
{
	struct prxe_queue *q = qp->req.sq;
	unsigned long flags;
	int err = 0;

	spin_lock_irqsave(&qp->req.post_lock, flags);
	for (; wr; wr = wr->next) {
		u32 prod = q->ring->producer & q->mask;

		err = post_check(qp, wr);
		if (!err && prxe_queue_next(q, prod) == (READ_ONCE(q->ring->consumer) & q->mask))
			err = -ENOMEM;
		if (err) {
			*bad = wr;
			break;
		}
		post_one(qp, prxe_queue_at(q, prod), wr);
		/* Release: the WQE before its index. Pairs with prxe_queue_pending_from(). */
		smp_store_release(&q->ring->producer, prxe_queue_next(q, prod));
	}
	spin_unlock_irqrestore(&qp->req.post_lock, flags);
	prxe_qp_schedule(qp);
	return err;
}

int prxe_post_send(struct ib_qp *ib, const struct ib_send_wr *wr, const struct ib_send_wr **bad)
{
	struct prxe_qp *qp = to_prxe_qp(ib);

	*bad = wr;
	if (!qp->user)
		return READ_ONCE(qp->state) < IB_QPS_RTS ? -EINVAL : post_kernel(qp, wr, bad);
	/* The doorbell: user space has written the WQEs into the ring, so there are no WRs here. */
	return wr ? -EINVAL : prxe_req_doorbell(qp);
}

int prxe_post_recv(struct ib_qp *ib, const struct ib_recv_wr *wr, const struct ib_recv_wr **bad)
{
	struct prxe_qp *qp = to_prxe_qp(ib);
	int err;

	*bad = wr;
	if (qp->user || qp->srq || READ_ONCE(qp->state) == IB_QPS_RESET)
		return -EINVAL;
	err = prxe_queue_post_recv(qp->resp.rq, &qp->resp.post_lock, qp->cap.max_recv_sge, wr, bad);
	if (READ_ONCE(qp->state) == IB_QPS_ERR)
		prxe_qp_schedule(qp);
	return err;
}
