// SPDX-License-Identifier: BSD-2-Clause
/*
 * kernel/transport/requester.c and wqe.c: what they make of a ring that a hostile process fills,
 * and whether a send side ever has two owners or none. Posters, a worker, a timer and fault threads
 * all kick one send queue, and every WQE must complete once and in order.
 */
#include "common.h"
#include "mem/mr.h"
#include "mem/mw.h"
#include "mmu/request.h"
#include "obj/ah.h"
#include "transport/carrier.h"
#include "transport/late.h"
#include "transport/requester.h"
#include "transport/responder.h"

/* ---- a QP as qp.c makes it, with memory that ends where it must ---- */

static struct prxe_dev dev;

static const struct prxe_carrier carrier;

static struct prxe_qp *qp_make(enum ib_qp_type type, u32 slots, u32 max_sge, u32 max_inline)
{
	const u32 one = sizeof(struct ib_sge);
	u32 data = ALIGN(max(max(max_sge * one, max_inline), one), one);
	struct prxe_qp *qp = calloc(1, sizeof(*qp));
	struct prxe_queue *q = calloc(1, sizeof(*q));

	qp->dev = &dev;
	qp->type = type;
	qp->user = (void *)qp;	/* only compared */
	qp->carrier = &carrier;
	qp->state = IB_QPS_RTS;
	qp->mtu_shift = 10;
	qp->attr.max_rd_atomic = 1;
	qp->attr.qkey = 0x11111111;
	qp->cap.max_send_sge = data / sizeof(struct ib_sge);
	qp->cap.max_inline_data = data;
	refcount_set(&qp->ref, 1);
	spin_lock_init(&qp->state_lock);
	spin_lock_init(&qp->resp.lock);
	q->mask = slots - 1;
	q->shift = order_base_2(sizeof(struct rxe_send_wqe) + data);
	q->bytes = sizeof(struct prxe_ring) + ((size_t)slots << q->shift);
	q->ring = calloc(1, q->bytes);
	qp->req.sq = q;
	qp->req.wqe_size = ALIGN(sizeof(struct prxe_wqe) + data, sizeof(u64));
	qp->req.shadow = calloc(slots, qp->req.wqe_size);
	prxe_req_init(qp);
	return qp;
}

static void qp_free(struct prxe_qp *qp)
{
	free(qp->req.sq->ring);
	free(qp->req.sq);
	free(qp->req.shadow);
	free(qp);
}

/* ---- what the requester calls; the second half of this file has a world for it ---- */

static struct world {
	struct prxe_qp *qp;
	bool on;
	enum prxe_step (*step)(struct prxe_qp *qp, struct prxe_wqe *wqe);
	void (*done)(const struct ib_wc *wc);
} w;
static int errors_set;

int prxe_ah_av(struct prxe_dev *d, struct ib_pd *pd, u32 num, struct prxe_av *av)
{
	SHIM_ASSERT(shim_rcu_nest);
	if (num & 1)
		return -EINVAL;
	memset(av, 0x42, sizeof(*av));
	return 0;
}

int prxe_cq_post(struct prxe_cq *cq, const struct ib_wc *wc, bool solicited)
{
	if (w.done)
		w.done(wc);
	return 0;
}

static void world_fault(struct prxe_fault_req *req);
static void world_schedule(struct prxe_qp *qp);
void prxe_fault_queue(struct prxe_fault_req *req, const struct prxe_miss *miss)
{
	req->miss = *miss;
	world_fault(req);
}

static int try_result = -EAGAIN;
int prxe_fault_try(const struct prxe_miss *miss) { return try_result; }
int prxe_key_invalidate(const struct prxe_who *who, u32 key, bool remote) { return 0; }
int prxe_mr_fast_reg(const struct prxe_who *who, struct ib_mr *mr, u32 key, int access)
{
	return 0;
}

int prxe_mw_bind(const struct prxe_who *who, const struct prxe_mw_bind *b) { return 0; }
void prxe_miss_drop(struct prxe_miss *miss) { }
void prxe_qp_event(struct prxe_qp *qp, int event) { }
void prxe_qp_send_error(struct prxe_qp *qp)
{
	prxe_qp_set_error(qp, -1);
}

void prxe_late_look(struct prxe_qp *qp)
{
}

void prxe_resp_flush(struct prxe_qp *qp) { }

/* The one carrier: one WQE at a time, each executed by the world. */
static enum prxe_step carrier_step(struct prxe_qp *qp, struct prxe_wqe *wqe)
{
	return w.step(qp, wqe);
}

static enum prxe_step carrier_serve(struct prxe_qp *qp, struct prxe_budget *b)
{
	return prxe_req_waits(qp) ? PRXE_STEP_BLOCKED : prxe_req_serve_each(qp, b, carrier_step);
}

static const struct prxe_carrier carrier = { .serve = carrier_serve, .ud_send = carrier_step };

struct prxe_dev *prxe_av_local_dev(struct prxe_dev *d, const struct prxe_av *av) { return d; }
bool prxe_force_wire;
void prxe_qp_put(struct prxe_qp *qp) { SHIM_ASSERT(!refcount_dec_and_test(&qp->ref)); }
void prxe_qp_schedule(struct prxe_qp *qp)
{
	if (w.on)
		world_schedule(qp);
}
void prxe_qp_fail_end(struct prxe_qp *qp)
{
	if (atomic_dec_and_test(&qp->failing))
		prxe_qp_schedule(qp);
}
void prxe_qp_set_error(struct prxe_qp *qp, int event)
{
	errors_set++;
	WRITE_ONCE(qp->state, IB_QPS_ERR);
}

/* ---- fetching ---- */

enum { R = 1, C = 2, D = 4 };	/* RC, UC, UD and GSI */
static const struct { u8 types; bool inline_ok, atomic, read, local, optional; } legal[64] = {
	[IB_WR_RDMA_WRITE] = { R | C, .inline_ok = true },
	[IB_WR_RDMA_WRITE_WITH_IMM] = { R | C, .inline_ok = true },
	[IB_WR_SEND] = { R | C | D, .inline_ok = true },
	[IB_WR_SEND_WITH_IMM] = { R | C | D, .inline_ok = true },
	[IB_WR_SEND_WITH_INV] = { R, .inline_ok = true },
	[IB_WR_RDMA_READ] = { R, .read = true },
	[IB_WR_ATOMIC_CMP_AND_SWP] = { R, .atomic = true },
	[IB_WR_ATOMIC_FETCH_AND_ADD] = { R, .atomic = true },
	[IB_WR_LOCAL_INV] = { R | C, .local = true },
	[IB_WR_BIND_MW] = { R | C, .local = true },
	[IB_WR_FLUSH] = { R },
	[IB_WR_ATOMIC_WRITE] = { R, .optional = true },
};

static u8 type_bit(const struct prxe_qp *qp)
{
	return qp->type == IB_QPT_RC ? R : qp->type == IB_QPT_UC ? C : D;
}

/* What holds for every WQE that comes out, whatever stands in the ring by now. */
static void check_shadow(const struct prxe_qp *qp, const struct prxe_wqe *wqe)
{
	u64 sum = 0;

	assert_int_equal(wqe->state, PRXE_WQE_FETCHED);
	assert_int_equal(wqe->done, 0);
	assert_int_equal(wqe->done_atomic, 0);
	assert_true(qp->req.fetch <= qp->req.sq->mask);
	assert_true(wqe->num_sge <= qp->cap.max_send_sge);
	if (wqe->status)
		return;
	assert_true(wqe->opcode < ARRAY_SIZE(legal) && (legal[wqe->opcode].types & type_bit(qp)));
	assert_true(wqe->length <= PRXE_MAX_MSG);
	if (wqe->opcode == IB_WR_FLUSH) {
		assert_true(prxe_flush_known(wqe->flush.type, wqe->flush.level));
		assert_true(qp->attr.max_rd_atomic);
		assert_true(!wqe->length && !wqe->num_sge);
		return;
	}
	if (legal[wqe->opcode].local || legal[wqe->opcode].optional)
		return;
	if (wqe->flags & IB_SEND_INLINE) {
		assert_true(legal[wqe->opcode].inline_ok);
		assert_true(wqe->length <= qp->cap.max_inline_data);
		assert_int_equal(wqe->num_sge, 0);
	} else {
		for (u32 i = 0; i < wqe->num_sge; i++)
			sum += wqe->sge[i].length;
		if (legal[wqe->opcode].atomic)
			assert_true(sum >= 8 && wqe->length == 8);
		else
			assert_true(sum == wqe->length);
	}
	if (type_bit(qp) == D) {
		assert_true(wqe->length <= 1U << qp->mtu_shift);
		assert_true(wqe->ud.qpn < 1 << 24);
		assert_int_equal(wqe->ud.av.family, 0x42);
	}
	if (legal[wqe->opcode].atomic || legal[wqe->opcode].read)
		assert_true(qp->attr.max_rd_atomic);
}

/* The status that this WQE must get. -1: either. */
static int judge(const struct prxe_qp *qp, const struct rxe_send_wqe *s)
{
	u32 op = s->wr.opcode;
	u64 sum = 0;

	if (op >= ARRAY_SIZE(legal) || !(legal[op].types & type_bit(qp)))
		return IB_WC_LOC_QP_OP_ERR;
	if (legal[op].optional)
		return -1;
	if (legal[op].local)
		return 0;
	if (op == IB_WR_FLUSH) {
		bool known = s->wr.wr.flush.type && s->wr.wr.flush.type <= 3 &&
			     s->wr.wr.flush.level <= 1;

		return known && qp->attr.max_rd_atomic ? 0 : IB_WC_LOC_QP_OP_ERR;
	}
	if (s->wr.send_flags & IB_SEND_INLINE) {
		if (!legal[op].inline_ok || s->dma.length > qp->cap.max_inline_data)
			return IB_WC_LOC_QP_OP_ERR;
		sum = s->dma.length;
	} else {
		if (s->dma.num_sge > qp->cap.max_send_sge)
			return IB_WC_LOC_QP_OP_ERR;
		for (u32 i = 0; i < s->dma.num_sge; i++)
			sum += s->dma.sge[i].length;
		if (sum > PRXE_MAX_MSG)
			return IB_WC_LOC_LEN_ERR;
	}
	if (legal[op].atomic && sum < 8)
		return IB_WC_LOC_LEN_ERR;
	if ((legal[op].atomic || legal[op].read) && !qp->attr.max_rd_atomic)
		return IB_WC_LOC_QP_OP_ERR;
	if (type_bit(qp) == D) {
		if (s->wr.wr.ud.ah_num & 1)
			return IB_WC_LOC_QP_OP_ERR;
		if (sum > 1U << qp->mtu_shift)
			return IB_WC_LOC_LEN_ERR;
	}
	return 0;
}

#define SLOTS 8
static const enum ib_qp_type types[] = { IB_QPT_RC, IB_QPT_UC, IB_QPT_UD, IB_QPT_GSI };

static struct prxe_qp *some_qp(struct rnd *r)
{
	u32 max_sge = rnd_below(r, PRXE_MAX_SGE + 1);
	u32 max_inline = rnd_below(r, PRXE_MAX_INLINE + 1);
	struct prxe_qp *qp = qp_make(types[rnd_below(r, 4)], SLOTS, max_sge, max_inline);

	qp->attr.max_rd_atomic = rnd_below(r, 4);
	qp->mtu_shift = 8 + rnd_below(r, 5);
	return qp;
}

/* Half random bytes, half something that might be meant. */
static void some_wqe(struct rnd *r, struct prxe_qp *qp, u32 index)
{
	struct rxe_send_wqe *s = prxe_queue_at(qp->req.sq, index);
	u32 i;

	for (i = 0; i < 1U << qp->req.sq->shift; i += 8) {
		u64 v = rnd64(r);

		memcpy((u8 *)s + i, &v, 8);
	}
	if (!rnd_below(r, 4))
		return;
	do
		s->wr.opcode = rnd_below(r, 18);
	while (!(legal[s->wr.opcode].types & type_bit(qp)) && rnd_below(r, 16));
	if (type_bit(qp) == D && rnd_below(r, 4))
		s->wr.wr.ud.ah_num &= ~1U;
	if (s->wr.opcode == IB_WR_FLUSH) {
		s->wr.wr.flush.type = rnd_below(r, 5);
		s->wr.wr.flush.level = rnd_below(r, 3);
	}
	s->wr.send_flags = rnd_below(r, 32);
	s->dma.length = rnd_below(r, qp->cap.max_inline_data + 3);
	s->dma.num_sge = rnd_below(r, qp->cap.max_send_sge + 2);
	for (i = 0; i < s->dma.num_sge && i < qp->cap.max_send_sge; i++) {
		u64 length = rnd64(r) >> (32 + rnd_below(r, 32));

		s->dma.sge[i].length = type_bit(qp) == D ? length >> 20 : length;
	}
}

/* What was fetched is what stands in the ring. */
static void check_fetched(const struct prxe_qp *qp, const struct prxe_wqe *wqe,
			  const struct rxe_send_wqe *s)
{
	const u8 *tail = (const u8 *)(s + 1);

	if (wqe->flags & IB_SEND_INLINE)
		assert_memory_equal(wqe->inline_data, tail, wqe->length);
	else
		assert_memory_equal(wqe->sge, tail, wqe->num_sge * sizeof(struct ib_sge));
	if (type_bit(qp) == D) {
		u32 qkey = s->wr.wr.ud.remote_qkey;

		assert_int_equal(wqe->ud.qpn, s->wr.wr.ud.remote_qpn & 0xffffff);
		assert_int_equal(wqe->ud.qkey, qkey >> 31 ? 0x11111111 : qkey);
	} else if (legal[wqe->opcode].atomic) {
		assert_true(wqe->remote_addr == s->wr.wr.atomic.remote_addr);
		assert_true(wqe->compare_add == s->wr.wr.atomic.compare_add);
		assert_true(wqe->swap == s->wr.wr.atomic.swap);
		assert_int_equal(wqe->rkey, s->wr.wr.atomic.rkey);
	} else if (wqe->opcode == IB_WR_FLUSH) {
		assert_true(wqe->remote_addr == s->wr.wr.flush.remote_addr);
		assert_int_equal(wqe->rkey, s->wr.wr.flush.rkey);
		assert_int_equal(wqe->flush.length, s->dma.length);
	} else if (wqe->opcode <= IB_WR_RDMA_WRITE_WITH_IMM || legal[wqe->opcode].read) {
		assert_true(wqe->remote_addr == s->wr.wr.rdma.remote_addr);
		assert_int_equal(wqe->rkey, s->wr.wr.rdma.rkey);
	}
}

static void hostile_wqes(void **state)
{
	struct rnd r = rnd_start(60);
	u32 good[3] = { 0 }, bad = 0;

	for (int round = 0; round < 20000; round++) {
		struct prxe_qp *qp = some_qp(&r);
		u32 n, index = 0;

		for (n = 0; n < SLOTS; n++)
			some_wqe(&r, qp, n);
		qp->req.sq->ring->producer = rnd64(&r) | rnd_below(&r, 8);
		for (n = 0; n < SLOTS + 2; n++) {
			const struct rxe_send_wqe *s = prxe_queue_at(qp->req.sq, index);
			struct prxe_wqe *wqe = prxe_req_fetch(qp);
			int want;

			if (!wqe)
				break;
			check_shadow(qp, wqe);
			want = judge(qp, s);
			if (want >= 0)
				assert_int_equal(wqe->status, want);
			assert_true(wqe->wr_id == s->wr.wr_id);
			if (!wqe->status && !legal[wqe->opcode].local) {
				check_fetched(qp, wqe, s);
				good[type_bit(qp) / 2]++;
			} else {
				bad++;
			}
			index = (index + 1) % SLOTS;
			assert_int_equal(qp->req.fetch, index);
		}
		assert_int_equal(n, qp->req.sq->ring->producer % SLOTS);
		qp_free(qp);
	}
	printf("fetched well: %u RC, %u UC, %u UD; %u in error\n", good[0], good[1], good[2], bad);
	assert_true(good[0] > 1000 && good[1] > 1000 && good[2] > 1000 && bad > 1000);
}

/* A producer that laps the ring: nothing is fetched over a WQE that is not over yet. */
static void lapped(void **state)
{
	struct rnd r = rnd_start(62);

	for (int round = 0; round < 2000; round++) {
		struct prxe_qp *qp = qp_make(IB_QPT_RC, SLOTS, 2, 32);
		struct prxe_queue *q = qp->req.sq;
		u32 fetched = 0;

		for (int step = 0; step < 50; step++) {
			q->ring->producer = rnd64(&r);
			while (prxe_req_fetch(qp))
				assert_in_range(++fetched, 1, SLOTS - 1);
			if (fetched && rnd_below(&r, 2)) {
				prxe_queue_consume_to(q, prxe_queue_next(q, q->index));
				fetched--;
			}
			assert_int_equal((qp->req.fetch - q->index) & q->mask, fetched);
		}
		qp_free(qp);
	}
}

#ifndef __SANITIZE_THREAD__	/* that this races is the point of it */
/* A process that changes WQEs while they are fetched: each comes out as if it had stood still. */
static bool stop;
static void *scribbler(void *arg)
{
	struct rnd r = rnd_start(61);
	struct prxe_queue *q = arg;

	while (!READ_ONCE(stop)) {
		struct rxe_send_wqe *s = prxe_queue_at(q, rnd64(&r));
		u32 *at[] = {
			&s->wr.opcode, &s->wr.send_flags,
			&s->dma.num_sge, &s->dma.length, &s->dma.sge[0].length,
			&q->ring->producer, &q->ring->consumer, &q->ring->index_mask,
			&q->ring->log2_elem_size,
		};
		u32 v = rnd_below(&r, 4) ? rnd_below(&r, 40) : rnd64(&r);

		WRITE_ONCE(*at[rnd_below(&r, ARRAY_SIZE(at))], v);
	}
	return NULL;
}

static void changed_while_fetched(void **state)
{
	struct rnd r = rnd_start(62);
	u32 fetched = 0;

	for (int round = 0; round < 40; round++) {
		struct prxe_qp *qp = some_qp(&r);
		pthread_t t;

		stop = false;
		pthread_create(&t, NULL, scribbler, qp->req.sq);
		for (int i = 0; i < 20000; i++) {
			struct prxe_wqe *wqe;

			if (!rnd_below(&r, 4))
				WRITE_ONCE(qp->req.sq->ring->producer, qp->req.fetch + rnd64(&r));
			wqe = prxe_req_fetch(qp);
			if (wqe) {
				check_shadow(qp, wqe);
				fetched++;
				prxe_queue_consume_to(qp->req.sq, qp->req.fetch);
			}
		}
		WRITE_ONCE(stop, true);
		pthread_join(t, NULL);
		qp_free(qp);
	}
	assert_true(fetched > 10000);
}
#endif

/* Only the kernel's own consumers may ask for REG_MR. */
static void kernel_only(void **state)
{
	struct prxe_qp *qp = qp_make(IB_QPT_RC, SLOTS, 2, 0);
	struct rxe_send_wqe *s = prxe_queue_at(qp->req.sq, 0);

	s->wr.opcode = IB_WR_REG_MR;
	qp->req.sq->ring->producer = 1;
	assert_int_equal(prxe_req_fetch(qp)->status, IB_WC_LOC_QP_OP_ERR);
	qp->req.fetch = 0;
	qp->user = NULL;
	assert_int_equal(prxe_req_fetch(qp)->status, IB_WC_SUCCESS);
	assert_null(prxe_req_fetch(qp));
	qp_free(qp);
}

/* ---- the owner ---- */

#define WORLD_SLOTS 64
#define POSTERS 3
static struct {
	pthread_mutex_t m;
	bool scheduled;
	struct prxe_fault_req *fault[4];
	struct hrtimer *timer;
	bool stop;
} bg = { .m = PTHREAD_MUTEX_INITIALIZER };
/* Owners at work: written without atomics, so that two are a data race, too. */
static int inside;
static u64 completed, flushed, posted, faults, timers, broken;
static struct rnd step_rnd;
/* Each poster waits for its WQE, so that no later kick makes up for one that is lost. */
static bool lockstep;
static pthread_mutex_t post_lock = PTHREAD_MUTEX_INITIALIZER;

static void world_schedule(struct prxe_qp *qp)
{
	pthread_mutex_lock(&bg.m);
	if (!bg.scheduled) {
		bg.scheduled = true;
		refcount_inc(&qp->ref);
	}
	pthread_mutex_unlock(&bg.m);
}

static void world_fault(struct prxe_fault_req *req)
{
	int i;

	pthread_mutex_lock(&bg.m);
	for (i = 0; bg.fault[i]; i++)
		SHIM_ASSERT(i < 3);
	bg.fault[i] = req;
	pthread_mutex_unlock(&bg.m);
}

void shim_timer_start(struct hrtimer *timer, ktime_t when)
{
	pthread_mutex_lock(&bg.m);
	bg.timer = timer;
	pthread_mutex_unlock(&bg.m);
}

bool shim_timer_cancel(struct hrtimer *timer)
{
	bool was;

	pthread_mutex_lock(&bg.m);
	was = bg.timer == timer;
	bg.timer = NULL;
	pthread_mutex_unlock(&bg.m);
	return was;
}

/*
 * One chunk of the oldest WQE, as a carrier does it: it may need a fault, or to wait, or take
 * several steps.
 */
static enum prxe_step world_step(struct prxe_qp *qp, struct prxe_wqe *wqe)
{
	struct prxe_miss miss = { .len = 1 };
	enum prxe_step step = PRXE_STEP_MORE;
	int error;

	if (inside++)
		__atomic_fetch_add(&broken, 1, __ATOMIC_RELAXED);
	if (prxe_park_faulting(&qp->req.park[PRXE_PARK_SEND], &error)) {
		step = PRXE_STEP_BLOCKED;
		goto out;
	}
	wqe->state = PRXE_WQE_STARTED;
	switch (rnd_below(&step_rnd, 40)) {
	case 0:
		faults++;
		if (!prxe_req_park(qp, PRXE_PARK_SEND, qp->req.sq->index, 0, &miss, false))
			step = PRXE_STEP_BLOCKED;
		break;
	case 1:
		timers++;
		prxe_req_wait(qp, 1);
		step = PRXE_STEP_BLOCKED;
		break;
	case 2:
		wqe->done += 65536;
		break;
	default:
		prxe_req_complete(qp, wqe, IB_WC_SUCCESS);
		step = PRXE_STEP_DONE;
	}
out:
	inside--;
	return step;
}

static void world_done(const struct ib_wc *wc)
{
	/* In order, each once. */
	if (wc->wr_id != completed + flushed)
		__atomic_fetch_add(&broken, 1, __ATOMIC_RELAXED);
	if (wc->status == IB_WC_SUCCESS)
		WRITE_ONCE(completed, completed + 1);
	else
		WRITE_ONCE(flushed, flushed + 1);
}

static void *poster(void *arg)
{
	struct prxe_qp *qp = w.qp;
	struct prxe_queue *q = qp->req.sq;
	u64 limit = (uintptr_t)arg, mine = 0;
	u32 n = 0;

	for (;;) {
		pthread_mutex_lock(&post_lock);
		if (posted == limit) {
			pthread_mutex_unlock(&post_lock);
			return NULL;
		}
		if (prxe_queue_next(q, posted & q->mask) != READ_ONCE(q->ring->consumer)) {
			struct rxe_send_wqe *s = prxe_queue_at(q, posted);

			memset(s, 0, sizeof(*s));
			s->wr.wr_id = posted;
			s->wr.opcode = IB_WR_SEND;
			s->wr.send_flags = IB_SEND_SIGNALED;
			mine = ++posted;
			smp_store_release(&q->ring->producer, posted & q->mask);
		}
		pthread_mutex_unlock(&post_lock);
		prxe_req_kick(qp, true);
		while (lockstep && READ_ONCE(completed) < mine && !READ_ONCE(bg.stop))
			sched_yield();
		if (!(++n & 7))
			sched_yield();
	}
}

/* The worker. */
static void *worker(void *arg)
{
	while (!READ_ONCE(bg.stop)) {
		bool run;

		pthread_mutex_lock(&bg.m);
		run = bg.scheduled;
		bg.scheduled = false;
		pthread_mutex_unlock(&bg.m);
		if (run)
			prxe_qp_work(&w.qp->work);
		else
			sched_yield();
	}
	return NULL;
}

/* The timer's softirq and a fault thread. */
static void *events(void *arg)
{
	while (!READ_ONCE(bg.stop)) {
		struct prxe_fault_req *req;
		struct hrtimer *timer;
		int i;

		pthread_mutex_lock(&bg.m);
		timer = bg.timer;
		bg.timer = NULL;
		req = bg.fault[0];
		for (i = 0; i < 3; i++)
			bg.fault[i] = bg.fault[i + 1];
		bg.fault[3] = NULL;
		pthread_mutex_unlock(&bg.m);
		if (timer) {
			local_bh_disable();
			timer->function(timer);
			local_bh_enable();
		}
		if (req) {
			req->result = 0;
			req->done(req);
		}
		if (!timer && !req)
			sched_yield();
	}
	return NULL;
}

/* ---- faults that end after their wait ---- */

static bool park_one(struct prxe_qp *qp)
{
	struct prxe_miss miss = { .len = 1 };

	return prxe_req_park(qp, PRXE_PARK_SEND, qp->req.sq->index, 0, &miss, false);
}

static struct prxe_fault_req *queue_one(struct prxe_qp *qp)
{
	struct prxe_fault_req *req;

	assert_false(park_one(qp));
	req = bg.fault[0];
	assert_non_null(req);
	bg.fault[0] = NULL;
	return req;
}

static void end_one(struct prxe_fault_req *req, int result)
{
	req->result = result;
	req->done(req);
}

/* -1: it is waited for; else what it came to. */
static int wait_is_over(struct prxe_qp *qp)
{
	int error;

	return prxe_park_faulting(&qp->req.park[PRXE_PARK_SEND], &error) ? -1 : error;
}

static void late_faults(void **state)
{
	struct prxe_qp *qp = qp_make(IB_QPT_RC, WORLD_SLOTS, 1, 0);
	struct prxe_fault_req *late, *req;

	/* In its time. What it came to is told once. */
	req = queue_one(qp);
	assert_int_equal(wait_is_over(qp), -1);
	end_one(req, -EFAULT);
	assert_int_equal(wait_is_over(qp), -EFAULT);
	assert_int_equal(wait_is_over(qp), 0);

	/* Forgotten, as by a reset: it says nothing, neither now nor to the next wait. */
	late = queue_one(qp);
	prxe_req_forget_faults(qp);
	assert_int_equal(wait_is_over(qp), 0);
	req = queue_one(qp);
	end_one(late, -EFAULT);
	assert_int_equal(wait_is_over(qp), -1);
	end_one(req, 0);
	assert_int_equal(wait_is_over(qp), 0);

	/* Another wait in its place. */
	late = queue_one(qp);
	req = queue_one(qp);
	end_one(late, -EFAULT);
	assert_int_equal(wait_is_over(qp), -1);
	end_one(req, 0);
	assert_int_equal(wait_is_over(qp), 0);

	/* One that is over at once, and ends before the late one or after it. */
	for (int before = 0; before < 2; before++) {
		late = queue_one(qp);
		try_result = before ? -ESRCH : 0;
		assert_true(park_one(qp));
		try_result = -EAGAIN;
		if (before)
			assert_int_equal(wait_is_over(qp), -ESRCH);
		end_one(late, -EFAULT);
		assert_int_equal(wait_is_over(qp), 0);
	}

	/* It ended, and nobody has looked yet when the next wait begins. */
	req = queue_one(qp);
	end_one(req, -EFAULT);
	req = queue_one(qp);
	assert_int_equal(wait_is_over(qp), -1);
	end_one(req, 0);
	assert_int_equal(wait_is_over(qp), 0);
	assert_int_equal(refcount_read(&qp->ref), 1);
	qp_free(qp);
}

static void all_kick(u64 total, bool own, bool error)
{
	pthread_t t[POSTERS + 2];
	struct prxe_qp *qp = qp_make(IB_QPT_RC, WORLD_SLOTS, 1, 0);
	u64 last = 0, owned = 0;
	u32 idle = 0;
	int i;

	completed = flushed = posted = faults = timers = broken = 0;
	inside = 0;
	memset(bg.fault, 0, sizeof(bg.fault));
	bg.scheduled = bg.stop = false;
	bg.timer = NULL;
	step_rnd = rnd_start(63);
	w = (struct world){ .qp = qp, .on = true, .step = world_step, .done = world_done };
	for (i = 0; i < POSTERS; i++)
		pthread_create(&t[i], NULL, poster, (void *)(uintptr_t)total);
	pthread_create(&t[i], NULL, worker, NULL);
	pthread_create(&t[i + 1], NULL, events, NULL);

	/* Bounded: 20 s without any progress are a lost kick. */
	while (READ_ONCE(completed) + READ_ONCE(flushed) < total && idle < 20000) {
		u64 now = READ_ONCE(completed) + READ_ONCE(flushed);

		idle = now == last ? idle + 1 : 0;
		last = now;
		if (own) {
			prxe_req_own(qp);
			if (inside++)
				__atomic_fetch_add(&broken, 1, __ATOMIC_RELAXED);
			sched_yield();
			owned++;
			inside--;
			prxe_req_disown(qp);
		}
		if (error && now > total / 2) {
			error = false;
			prxe_qp_set_error(qp, -1);
			prxe_qp_schedule(qp);
		}
		usleep(1000);
	}
	SHIM_ASSERT(idle < 20000);	/* threads hang: nothing can go on */
	for (i = 0; i < POSTERS; i++)
		pthread_join(t[i], NULL);
	WRITE_ONCE(bg.stop, true);
	for (; i < POSTERS + 2; i++)
		pthread_join(t[i], NULL);
	printf("%llu completed, %llu flushed, %llu faults, %llu timers, owned %llu times\n",
	       completed, flushed, faults, timers, owned);
	assert_int_equal(broken, 0);
	assert_int_equal(completed + flushed, total);
	/* What is on its way is ended, for the memory. */
	w.on = false;
	for (i = 0; i < 4; i++)
		if (bg.fault[i])
			bg.fault[i]->done(bg.fault[i]);
	qp_free(qp);
}

static void no_kick_is_lost(void **state)
{
	all_kick(60000, false, false);
}

static void one_at_a_time(void **state)
{
	lockstep = true;
	all_kick(20000, false, false);
	lockstep = false;
}

static void owned_from_outside(void **state)
{
	all_kick(60000, true, false);
}

static void in_error(void **state)
{
	all_kick(60000, false, true);
	assert_true(flushed > 0 && completed > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hostile_wqes),
		cmocka_unit_test(lapped),
#ifndef __SANITIZE_THREAD__
		cmocka_unit_test(changed_while_fetched),
#endif
		cmocka_unit_test(kernel_only),
		cmocka_unit_test(late_faults),
		cmocka_unit_test(no_kick_is_lost),
		cmocka_unit_test(one_at_a_time),
		cmocka_unit_test(owned_from_outside),
		cmocka_unit_test(in_error),
	};

	dev.stats = shim_alloc_percpu(sizeof(struct prxe_stats));
	RUN_TESTS(tests);
}
