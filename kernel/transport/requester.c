// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The send side: who owns it, what it executes next, and how it waits.
 *
 * Ownership is a count of kicks. Whoever raises it from zero owns the send side and serves it until it can subtract what it saw
 * and reach zero; all others have only told the owner to look again. An owner never sleeps and never waits: it leaves with
 * "parked" or "waiting" set, and the fault thread or the timer kicks. So every kick is either served or seen.
 */
#include <linux/delay.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include "carrier/local.h"
#include "carrier/wire.h"
#include "mem/mr.h"
#include "obj/ah.h"
#include "transport/late.h"
#include "transport/qp.h"

/* What a poster, a softirq or a fault thread does by itself before it hands over to the worker. */
#define INLINE_BYTES		(256U << 10)
#define INLINE_WQES		64
/* What the worker does before it lets others have the CPU. */
#define WORKER_BYTES		(8U << 20)
#define WORKER_WQES		4096

struct budget {
	unsigned int bytes, wqes;
};

static bool spend(struct budget *b, unsigned int bytes)
{
	b->bytes -= min(b->bytes, bytes);
	b->wqes -= min(b->wqes, 1U);
	return b->bytes && b->wqes;
}

/* ---- waiting ---- */

static enum hrtimer_restart req_timer(struct hrtimer *timer)
{
	struct prxe_qp *qp = container_of(timer, struct prxe_qp, req.timer);

	WRITE_ONCE(qp->req.timer_fired, true);
	if (READ_ONCE(qp->state) == IB_QPS_ERR)
		prxe_qp_schedule(qp);
	else
		prxe_req_kick(qp, true);
	return HRTIMER_NORESTART;
}

void prxe_req_wait(struct prxe_qp *qp, u64 ns)
{
	WRITE_ONCE(qp->req.timer_fired, false);
	qp->req.waiting = true;
	hrtimer_start(&qp->req.timer, ns_to_ktime(ns), HRTIMER_MODE_REL_SOFT);
}

/* ---- fetching ---- */

enum wr_kind {
	WR_SEND		= BIT(0),
	WR_RDMA		= BIT(1),	/* has a remote address */
	WR_ATOMIC	= BIT(2),	/* 8 bytes there and back */
	WR_READ		= BIT(3),
	WR_IMM		= BIT(4),
	WR_LOCAL	= BIT(5),	/* touches keys, no message */
	WR_INLINE	= BIT(6),
	WR_KERNEL	= BIT(7),	/* never from a user's queue */
	WR_RC		= BIT(8),
	WR_UC		= BIT(9),
	WR_UD		= BIT(10),
	WR_OPERAND	= BIT(11),	/* 8 bytes in the WQE itself */
	WR_FLUSH	= BIT(12),	/* names remote memory, carries nothing */
};

static const struct {
	u16 kind;
	u8 wc;
} wr_table[] = {
	[IB_WR_RDMA_WRITE]		= { WR_RDMA | WR_INLINE | WR_RC | WR_UC, IB_WC_RDMA_WRITE },
	[IB_WR_RDMA_WRITE_WITH_IMM]	= { WR_RDMA | WR_IMM | WR_INLINE | WR_RC | WR_UC, IB_WC_RDMA_WRITE },
	[IB_WR_SEND]			= { WR_SEND | WR_INLINE | WR_RC | WR_UC | WR_UD, IB_WC_SEND },
	[IB_WR_SEND_WITH_IMM]		= { WR_SEND | WR_IMM | WR_INLINE | WR_RC | WR_UC | WR_UD, IB_WC_SEND },
	[IB_WR_SEND_WITH_INV]		= { WR_SEND | WR_INLINE | WR_RC, IB_WC_SEND },
	[IB_WR_RDMA_READ]		= { WR_RDMA | WR_READ | WR_RC, IB_WC_RDMA_READ },
	[IB_WR_ATOMIC_CMP_AND_SWP]	= { WR_ATOMIC | WR_RC, IB_WC_COMP_SWAP },
	[IB_WR_ATOMIC_FETCH_AND_ADD]	= { WR_ATOMIC | WR_RC, IB_WC_FETCH_ADD },
	[IB_WR_FLUSH]			= { WR_FLUSH | WR_RC, IB_WC_FLUSH },
	[IB_WR_ATOMIC_WRITE]		= { WR_RDMA | WR_OPERAND | WR_RC, IB_WC_ATOMIC_WRITE },
	[IB_WR_LOCAL_INV]		= { WR_LOCAL | WR_RC | WR_UC, IB_WC_LOCAL_INV },
	[IB_WR_BIND_MW]			= { WR_LOCAL | WR_RC | WR_UC, IB_WC_BIND_MW },
	[IB_WR_REG_MR]			= { WR_LOCAL | WR_KERNEL | WR_RC, IB_WC_REG_MR },
};

static u16 wr_kind(const struct prxe_qp *qp, u32 opcode)
{
	u16 type, kind;

	if (opcode >= ARRAY_SIZE(wr_table))
		return 0;
	kind = wr_table[opcode].kind;
	type = qp->type == IB_QPT_RC ? WR_RC : qp->type == IB_QPT_UC ? WR_UC : WR_UD;
	if (!(kind & type) || (kind & WR_KERNEL && qp->user) || (kind & (WR_OPERAND | WR_FLUSH) && !qp->user))
		return 0;
	return kind;
}

/* SGEs or inline data from the copied header @w and the ring's tail @tail into the shadow. */
static enum ib_wc_status fetch_data(struct prxe_qp *qp, struct prxe_wqe *wqe, u16 kind, const struct rxe_send_wqe *w,
				    const void *tail)
{
	u64 sum = 0;
	u32 i;

	if (kind & WR_OPERAND) {
		wqe->flags &= ~IB_SEND_INLINE;
		wqe->length = sizeof(u64);
		memcpy(&wqe->compare_add, tail, sizeof(u64));
		return IB_WC_SUCCESS;
	}
	if (kind & WR_FLUSH) {
		wqe->flags &= ~IB_SEND_INLINE;
		/* Where rdma_rxe looks for it: librxe does not fill in the one beside the address. */
		wqe->flush.length = w->dma.length;
		return IB_WC_SUCCESS;
	}
	if (wqe->flags & IB_SEND_INLINE) {
		if (!(kind & WR_INLINE) || w->dma.length > qp->cap.max_inline_data)
			return IB_WC_LOC_QP_OP_ERR;
		wqe->num_sge = 0;
		wqe->length = w->dma.length;
		memcpy(wqe->inline_data, tail, wqe->length);
		return IB_WC_SUCCESS;
	}
	if (w->dma.num_sge > qp->cap.max_send_sge)
		return IB_WC_LOC_QP_OP_ERR;
	wqe->num_sge = w->dma.num_sge;
	memcpy(wqe->sge, tail, wqe->num_sge * sizeof(*wqe->sge));
	for (i = 0; i < wqe->num_sge; i++)
		sum += wqe->sge[i].length;
	if (sum > PRXE_MAX_MSG)
		return IB_WC_LOC_LEN_ERR;
	wqe->length = sum;
	return IB_WC_SUCCESS;
}

static enum ib_wc_status fetch_ud(struct prxe_qp *qp, struct prxe_wqe *wqe, const struct rxe_send_wr *wr)
{
	int err;

	wqe->ud.qpn = wr->wr.ud.remote_qpn & 0xffffff;
	wqe->ud.pkey_index = wr->wr.ud.pkey_index;
	/* IBTA 10.2.5: a Q_Key with the high bit set stands for the QP's own. */
	wqe->ud.qkey = wr->wr.ud.remote_qkey & BIT(31) ? qp->attr.qkey : wr->wr.ud.remote_qkey;
	rcu_read_lock();
	err = prxe_ah_av(qp->dev, qp->pd, wr->wr.ud.ah_num, &wqe->ud.av);
	rcu_read_unlock();
	if (err)
		return IB_WC_LOC_QP_OP_ERR;
	return wqe->length > 1U << qp->mtu_shift ? IB_WC_LOC_LEN_ERR : IB_WC_SUCCESS;
}

static enum ib_wc_status fetch_op(struct prxe_qp *qp, struct prxe_wqe *wqe, u16 kind, const struct rxe_send_wr *wr)
{
	if (kind & WR_RDMA) {
		wqe->remote_addr = wr->wr.rdma.remote_addr;
		wqe->rkey = wr->wr.rdma.rkey;
	}
	if (kind & WR_ATOMIC) {
		wqe->remote_addr = wr->wr.atomic.remote_addr;
		wqe->rkey = wr->wr.atomic.rkey;
		wqe->compare_add = wr->wr.atomic.compare_add;
		wqe->swap = wr->wr.atomic.swap;
		if (wqe->length < sizeof(u64))
			return IB_WC_LOC_LEN_ERR;
		wqe->length = sizeof(u64);
	}
	if (kind & WR_FLUSH) {
		wqe->remote_addr = wr->wr.flush.remote_addr;
		wqe->rkey = wr->wr.flush.rkey;
		wqe->flush.type = wr->wr.flush.type;
		wqe->flush.level = wr->wr.flush.level;
		if (!prxe_flush_known(wqe->flush.type, wqe->flush.level))
			return IB_WC_LOC_QP_OP_ERR;
	}
	/* With no responder resources it could never be sent. */
	if (kind & (WR_ATOMIC | WR_READ | WR_OPERAND | WR_FLUSH) && !qp->attr.max_rd_atomic)
		return IB_WC_LOC_QP_OP_ERR;
	if (qp->type == IB_QPT_UD || qp->type == IB_QPT_GSI)
		return fetch_ud(qp, wqe, wr);
	if (wqe->opcode == IB_WR_BIND_MW) {
		wqe->mw.addr = wr->wr.mw.addr;
		wqe->mw.length = wr->wr.mw.length;
		wqe->mw.mr_lkey = wr->wr.mw.mr_lkey;
		wqe->mw.mw_rkey = wr->wr.mw.mw_rkey;
		wqe->mw.rkey = wr->wr.mw.rkey;
		wqe->mw.access = wr->wr.mw.access;
	} else if (wqe->opcode == IB_WR_REG_MR) {
		wqe->mr = wr->wr.reg.mr;
		wqe->key = wr->wr.reg.key;
		wqe->access = wr->wr.reg.access;
	}
	return IB_WC_SUCCESS;
}

struct prxe_wqe *prxe_req_fetch(struct prxe_qp *qp)
{
	struct prxe_queue *q = qp->req.sq;
	u32 index = qp->req.fetch;
	struct prxe_wqe *wqe;
	struct rxe_send_wqe w;
	const u8 *slot;
	u16 kind;

	/*
	 * One slot stays empty, whatever the producer says: a producer that runs on around the ring would have what is not over yet fetched over,
	 * and a full shadow look like an empty one.
	 */
	if (!prxe_queue_pending_from(q, index) || prxe_queue_next(q, index) == q->index)
		return NULL;
	/* The one read of the shared slot's head; from here on only the copy counts. */
	slot = prxe_queue_at(q, index);
	memcpy(&w, slot, sizeof(w));
	barrier();

	wqe = prxe_req_wqe(qp, index);
	wqe->wr_id = w.wr.wr_id;
	wqe->opcode = w.wr.opcode;
	wqe->flags = w.wr.send_flags;
	wqe->state = PRXE_WQE_FETCHED;
	wqe->done_atomic = 0;
	wqe->carrier = PRXE_CARRIER_NONE;
	wqe->drop = 0;
	wqe->done = 0;
	wqe->fill = 0;
	wqe->rwqe_no = 0;
	wqe->length = 0;
	wqe->num_sge = 0;
	wqe->imm = w.wr.ex.imm_data;
	wqe->inv_rkey = w.wr.ex.invalidate_rkey;

	kind = wr_kind(qp, wqe->opcode);
	if (!kind) {
		wqe->status = IB_WC_LOC_QP_OP_ERR;
		wqe->flags &= ~IB_SEND_INLINE;
	} else {
		wqe->status = kind & WR_LOCAL ? IB_WC_SUCCESS :
			      fetch_data(qp, wqe, kind, &w, slot + sizeof(w));
		if (!wqe->status)
			wqe->status = fetch_op(qp, wqe, kind, &w.wr);
	}
	qp->req.fetch = prxe_queue_next(q, index);
	return wqe;
}

/* ---- completing ---- */

void prxe_req_complete(struct prxe_qp *qp, struct prxe_wqe *wqe, enum ib_wc_status status)
{
	bool why = unlikely(status != IB_WC_SUCCESS && status != IB_WC_WR_FLUSH_ERR);
	struct prxe_queue *q = qp->req.sq;

	/* The state first: who sees the completion finds the QP in error. */
	if (why) {
		prxe_qp_explain(qp);
		prxe_qp_send_error(qp);
	}
	/* The slot as well: who sees the completion may post another WR (IBTA 10.8.1). The shadow is the owner's until it fetches again. */
	prxe_queue_consume_to(q, prxe_queue_next(q, q->index));
	if (qp->sq_sig_all || wqe->flags & IB_SEND_SIGNALED || status != IB_WC_SUCCESS) {
		struct ib_wc wc = {
			.wr_id = wqe->wr_id,
			.status = status,
			.opcode = wqe->opcode < ARRAY_SIZE(wr_table) ? wr_table[wqe->opcode].wc : IB_WC_SEND,
			.byte_len = wqe->length,
			.qp = qp->ibqp,
			.port_num = PRXE_PORT,
		};

		if (prxe_cq_post(qp->scq, &wc, false))
			prxe_qp_set_error(qp, IB_EVENT_QP_FATAL);
	}
	if (why)
		prxe_qp_explained(qp);
}

enum ib_wc_status prxe_req_local_op(struct prxe_qp *qp, struct prxe_wqe *wqe)
{
	switch (wqe->opcode) {
	case IB_WR_LOCAL_INV:
		return prxe_key_invalidate(qp, wqe->inv_rkey, false) ? IB_WC_LOC_QP_OP_ERR : IB_WC_SUCCESS;
	case IB_WR_BIND_MW:
		return prxe_mw_bind(qp, wqe) ? IB_WC_MW_BIND_ERR : IB_WC_SUCCESS;
	case IB_WR_REG_MR:
		return prxe_mr_fast_reg(qp, wqe) ? IB_WC_LOC_QP_OP_ERR : IB_WC_SUCCESS;
	default:
		return IB_WC_LOC_QP_OP_ERR;
	}
}

/* The oldest WQE that has not completed, fetched if need be. */
static struct prxe_wqe *req_oldest(struct prxe_qp *qp)
{
	if (qp->req.sq->index != qp->req.fetch)
		return prxe_req_wqe(qp, qp->req.sq->index);
	return prxe_req_fetch(qp);
}

/* ---- serving ---- */

static enum prxe_step req_flush(struct prxe_qp *qp, struct budget *b)
{
	struct prxe_wqe *wqe;

	if (!qp->req.flushing) {
		qp->req.flushing = true;
		prxe_req_forget_faults(qp);
		prxe_wire_req_forget(qp);
		qp->req.waiting = false;
	}
	while ((wqe = req_oldest(qp))) {
		prxe_req_complete(qp, wqe, IB_WC_WR_FLUSH_ERR);
		if (!spend(b, 0))
			return PRXE_STEP_MORE;
	}
	return PRXE_STEP_BLOCKED;
}

/* May a new WQE start? In SQD none does, and the consumer hears when all that had begun is over. */
bool prxe_req_may_start(struct prxe_qp *qp)
{
	if (READ_ONCE(qp->state) != IB_QPS_SQD) {
		qp->req.sqd_told = false;
		return true;
	}
	if (!qp->req.sqd_told) {
		qp->req.sqd_told = true;
		if (qp->attr.en_sqd_async_notify)
			prxe_qp_event(qp, IB_EVENT_SQ_DRAINED);
	}
	return false;
}

/* One WQE after the other, each over before the next begins: fences and order need no more. */
static enum prxe_step req_serve_local(struct prxe_qp *qp, struct budget *b)
{
	while (READ_ONCE(qp->state) == IB_QPS_RTS || READ_ONCE(qp->state) == IB_QPS_SQD) {
		struct prxe_wqe *wqe = req_oldest(qp);
		enum prxe_step step;
		u32 before;

		/* An empty queue asks as well: in SQD it has drained. */
		if ((!wqe || wqe->state == PRXE_WQE_FETCHED) && (!prxe_req_may_start(qp) || !wqe))
			return PRXE_STEP_BLOCKED;
		before = wqe->done;
		if (wqe->status) {
			prxe_req_complete(qp, wqe, wqe->status);
			step = PRXE_STEP_DONE;
		} else if (wr_table[wqe->opcode].kind & WR_LOCAL) {
			prxe_req_complete(qp, wqe, prxe_req_local_op(qp, wqe));
			step = PRXE_STEP_DONE;
		} else {
			step = prxe_local_step(qp, wqe);
		}
		if (step == PRXE_STEP_BLOCKED)
			return step;
		if (!spend(b, wqe->done - min(before, wqe->done)) || READ_ONCE(qp->req.wanted))
			return PRXE_STEP_MORE;
	}
	return prxe_qp_send_over(qp) ? PRXE_STEP_MORE : PRXE_STEP_BLOCKED;
}

/*
 * UD and GSI: each message to where its own address leads. That is looked up once, when the message
 * starts: an address that comes or goes, or force_wire, changes the way of later messages only.
 */
static enum prxe_step ud_step(struct prxe_qp *qp, struct prxe_wqe *wqe)
{
	if (wqe->carrier == PRXE_CARRIER_NONE)
		wqe->carrier = prxe_local_reaches(qp, &wqe->ud.av) ? PRXE_CARRIER_LOCAL :
								     PRXE_CARRIER_WIRE;
	if (wqe->carrier == PRXE_CARRIER_LOCAL)
		return prxe_local_ud_step(qp, wqe);
	return prxe_wire_ud_step(qp, wqe);
}

static enum prxe_step req_serve_ud(struct prxe_qp *qp, struct budget *b)
{
	while (READ_ONCE(qp->state) == IB_QPS_RTS || READ_ONCE(qp->state) == IB_QPS_SQD) {
		struct prxe_wqe *wqe = req_oldest(qp);
		enum prxe_step step;

		/* An empty queue asks as well: in SQD it has drained. */
		if ((!wqe || wqe->state == PRXE_WQE_FETCHED) && (!prxe_req_may_start(qp) || !wqe))
			return PRXE_STEP_BLOCKED;
		if (wqe->status) {
			prxe_req_complete(qp, wqe, wqe->status);
			step = PRXE_STEP_DONE;
		} else {
			step = ud_step(qp, wqe);
		}
		if (step == PRXE_STEP_BLOCKED)
			return step;
		if (!spend(b, wqe->length) || READ_ONCE(qp->req.wanted))
			return PRXE_STEP_MORE;
	}
	return prxe_qp_send_over(qp) ? PRXE_STEP_MORE : PRXE_STEP_BLOCKED;
}

/*
 * UC and UD wait for a receiver's memory for a bounded time (park.c): then the message is lost, as
 * on the wire. The timer has just ended; true: go on.
 */
static bool drop_deadline(struct prxe_qp *qp)
{
	if (qp->type == IB_QPT_RC || !qp->req.park[PRXE_PARK_SEND].remote || !qp->req.deadline)
		return false;
	prxe_req_forget_faults(qp);
	if (qp->req.sq->index != qp->req.fetch)
		prxe_req_wqe(qp, qp->req.sq->index)->drop = 1;
	prxe_count(qp->dev, dropped_fault);
	return true;
}

/*
 * One WQE at a time: a wait for memory or for the timer stops everything. True: it is not over yet.
 */
static bool req_waits(struct prxe_qp *qp)
{
	const struct prxe_park *park = &qp->req.park[PRXE_PARK_SEND];

	if (qp->req.waiting) {
		/* A fault that ends before its deadline ends the wait. */
		if (!READ_ONCE(qp->req.timer_fired) &&
		    !(qp->req.deadline && prxe_park_is_done(park)))
			return true;
		qp->req.waiting = false;
	}
	return park->parked && !prxe_park_is_done(park) && !drop_deadline(qp);
}

static enum prxe_step req_serve(struct prxe_qp *qp, struct budget *b)
{
	enum ib_qp_state state = READ_ONCE(qp->state);
	enum prxe_step step;

	if (qp->dead)
		return PRXE_STEP_BLOCKED;
	if (prxe_qp_send_over(qp))
		return prxe_qp_send_flushes(qp) ? req_flush(qp, b) : PRXE_STEP_BLOCKED;
	if (state != IB_QPS_RTS && state != IB_QPS_SQD)
		return PRXE_STEP_BLOCKED;
	if (!qp->local && (qp->type == IB_QPT_RC || qp->type == IB_QPT_UC)) {
		step = prxe_wire_req_step(qp, &b->bytes);
	} else {
		if (req_waits(qp))
			return PRXE_STEP_BLOCKED;
		step = qp->local ? req_serve_local(qp, b) : req_serve_ud(qp, b);
	}
	if (prxe_qp_send_over(qp))
		return PRXE_STEP_MORE;
	return step;
}

/* The owner's loop. Ends without ownership, or with it handed to the worker. */
static void req_run(struct prxe_qp *qp, bool worker)
{
	struct budget b = {
		.bytes = worker ? WORKER_BYTES : INLINE_BYTES,
		.wqes = worker ? WORKER_WQES : INLINE_WQES,
	};

	for (;;) {
		/* Acquire: what is looked at below is at least as new as these kicks. */
		int seen = atomic_read_acquire(&qp->req.kicks);
		enum prxe_step step = req_serve(qp, &b);

		if (READ_ONCE(qp->req.wanted)) {
			/* prxe_req_own() takes over; whoever it disowns to looks at everything again. */
			atomic_set_release(&qp->req.kicks, 0);
			return;
		}
		if (step != PRXE_STEP_BLOCKED && !(b.bytes && b.wqes)) {
			/* What this owner did is visible to whoever takes over, by xchg: the worker, or prxe_req_own(). */
			smp_store_release(&qp->req.handed, true);
			prxe_qp_schedule(qp);
			return;
		}
		if (step == PRXE_STEP_BLOCKED && !atomic_sub_return(seen, &qp->req.kicks))
			return;
	}
}

void prxe_req_kick(struct prxe_qp *qp, bool budget)
{
	if (!budget) {
		prxe_qp_schedule(qp);
		return;
	}
	if (atomic_inc_return(&qp->req.kicks) == 1)
		req_run(qp, false);
}

void prxe_qp_work(struct work_struct *work)
{
	struct prxe_qp *qp = container_of(work, struct prxe_qp, work);
	bool again = false;

	if (!READ_ONCE(qp->dead)) {
		again = prxe_wire_resp_work(qp);
		if (xchg(&qp->req.handed, false) || atomic_inc_return(&qp->req.kicks) == 1)
			req_run(qp, true);
		if (prxe_qp_flushes(qp)) {
			prxe_resp_flush(qp);
			prxe_late_look(qp);
		}
	}
	if (again)
		prxe_qp_schedule(qp);
	prxe_qp_put(qp);
}

void prxe_req_own(struct prxe_qp *qp)
{
	WRITE_ONCE(qp->req.wanted, true);
	/* Pairs with the owner's release; it leaves after one step at most. */
	while (atomic_cmpxchg_acquire(&qp->req.kicks, 0, 1)) {
		/* An owner by hand-over leaves in the worker; if that is not running yet, nobody is serving: take it here. */
		if (xchg(&qp->req.handed, false))
			break;
		usleep_range(5, 50);
	}
	WRITE_ONCE(qp->req.wanted, false);
}

void prxe_req_disown(struct prxe_qp *qp)
{
	/* Kicks that came meanwhile are served by the worker, which looks at everything. */
	atomic_set_release(&qp->req.kicks, 0);
	prxe_qp_schedule(qp);
}

/* ---- life ---- */

void prxe_req_init(struct prxe_qp *qp)
{
	atomic_set(&qp->req.kicks, 0);
	spin_lock_init(&qp->req.post_lock);
	prxe_hrtimer_setup(&qp->req.timer, req_timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_SOFT);
	prxe_park_init(&qp->req.park[PRXE_PARK_SEND]);
	prxe_park_init(&qp->req.park[PRXE_PARK_LAND]);
	INIT_WORK(&qp->work, prxe_qp_work);
	prxe_wire_req_init(qp);
}

void prxe_req_reset(struct prxe_qp *qp)
{
	struct prxe_queue *q = qp->req.sq;

	hrtimer_cancel(&qp->req.timer);
	prxe_req_forget_faults(qp);
	if (qp->req.peer) {
		prxe_qp_put(qp->req.peer);
		qp->req.peer = NULL;
	}
	qp->req.waiting = false;
	qp->req.lost = false;
	qp->req.flushing = false;
	qp->req.sqd_told = false;
	if (q) {
		prxe_queue_consume_to(q, (q->index + prxe_queue_pending_from(q, q->index)) & q->mask);
		qp->req.fetch = q->index;
	}
	prxe_wire_req_reset(qp);
}

void prxe_req_start(struct prxe_qp *qp)
{
	qp->req.psn = qp->attr.sq_psn & PRXE_PSN_MASK;
	qp->req.retry = qp->attr.retry_cnt;
	qp->req.rnr_retry = qp->attr.rnr_retry;
	prxe_wire_req_start(qp);
}

void prxe_req_resume(struct prxe_qp *qp, enum ib_qp_state from)
{
	u32 left = qp->req.sq->mask;	/* no more than it holds, whatever is posted meanwhile */
	struct prxe_wqe *wqe;

	qp->req.sqd_told = false;
	if (from != IB_QPS_SQE)
		return;
	while (left-- && (wqe = req_oldest(qp))) {
		prxe_req_complete(qp, wqe, IB_WC_WR_FLUSH_ERR);
		cond_resched();
	}
	hrtimer_cancel(&qp->req.timer);
	prxe_req_forget_faults(qp);
	qp->req.waiting = false;
	qp->req.lost = false;
	qp->req.flushing = false;
	prxe_wire_req_reset(qp);
	prxe_wire_req_start(qp);
}

/* ---- posting ---- */

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
		return;
	} else if (wr->opcode == IB_WR_ATOMIC_CMP_AND_SWP || wr->opcode == IB_WR_ATOMIC_FETCH_AND_ADD) {
		w->wr.atomic.remote_addr = atomic_wr(wr)->remote_addr;
		w->wr.atomic.rkey = atomic_wr(wr)->rkey;
		w->wr.atomic.compare_add = atomic_wr(wr)->compare_add;
		w->wr.atomic.swap = atomic_wr(wr)->swap;
	} else if (wr->opcode == IB_WR_RDMA_WRITE || wr->opcode == IB_WR_RDMA_WRITE_WITH_IMM ||
		   wr->opcode == IB_WR_RDMA_READ) {
		w->wr.rdma.remote_addr = rdma_wr(wr)->remote_addr;
		w->wr.rdma.rkey = rdma_wr(wr)->rkey;
	}
	if (wr->send_flags & IB_SEND_INLINE) {
		u32 i, n = 0;

		for (i = 0; i < wr->num_sge; i++) {
			memcpy(wqe->dma.inline_data + n, (void *)(uintptr_t)wr->sg_list[i].addr, wr->sg_list[i].length);
			n += wr->sg_list[i].length;
		}
		wqe->dma.length = n;
		return;
	}
	wqe->dma.num_sge = wr->num_sge;
	memcpy(wqe->dma.sge, wr->sg_list, wr->num_sge * sizeof(*wr->sg_list));
}

static int post_check(struct prxe_qp *qp, const struct ib_send_wr *wr)
{
	u16 kind = wr_kind(qp, wr->opcode);
	u64 sum = 0;
	int i;

	if (!kind || wr->num_sge < 0 || (!(kind & WR_LOCAL) && wr->num_sge > qp->cap.max_send_sge))
		return -EINVAL;
	if (wr->send_flags & IB_SEND_INLINE) {
		for (i = 0; i < wr->num_sge; i++)
			sum += wr->sg_list[i].length;
		if (sum > qp->cap.max_inline_data)
			return -EINVAL;
	}
	return 0;
}

/* Kernel consumers: queued here, executed by the worker (core_locking.rst: no completion handler from inside a post). */
static int post_kernel(struct prxe_qp *qp, const struct ib_send_wr *wr, const struct ib_send_wr **bad)
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
		smp_store_release(&q->ring->producer, prxe_queue_next(q, prod));
	}
	spin_unlock_irqrestore(&qp->req.post_lock, flags);
	prxe_qp_schedule(qp);
	return err;
}

int prxe_req_doorbell(struct prxe_qp *qp)
{
	if (READ_ONCE(qp->state) < IB_QPS_RTS)
		return -EINVAL;
	prxe_req_kick(qp, true);
	/* In error it may be for a receive WQE. */
	if (READ_ONCE(qp->state) == IB_QPS_ERR)
		prxe_qp_schedule(qp);
	return 0;
}

int prxe_post_send(struct ib_qp *ib, const struct ib_send_wr *wr, const struct ib_send_wr **bad)
{
	struct prxe_qp *qp = to_prxe_qp(ib);

	*bad = wr;
	if (!qp->user)
		return READ_ONCE(qp->state) < IB_QPS_RTS ? -EINVAL : post_kernel(qp, wr, bad);
	/* The doorbell: WQEs stand in the ring already. One that lists WRs is not of this ABI. */
	return wr ? -EINVAL : prxe_req_doorbell(qp);
}
