// SPDX-License-Identifier: BSD-2-Clause
/*
 * kernel/obj/queue.c and queue.h: sizes, indices, and receive WQEs out of a ring that a hostile
 * process writes to.
 */
#include "common.h"
#include "base/prxe.h"
#include "transport/qp.h"
#include "obj/queue.h"

static void sizes(void **state)
{
	static const u32 bad[][2] = {
		{ 0, 64 }, { 1 << 30, 64 }, { ~0U, 64 }, { 16, 0 }, { 16, PAGE_SIZE + 1 },
		{ 16, ~0U }, { (1 << 30) - 1, PAGE_SIZE },
	};
	struct rnd r = rnd_start(50);
	struct prxe_dev dev = {};
	u32 i, elems;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		elems = bad[i][0];
		assert_true(IS_ERR(prxe_queue_create(&dev, &elems, bad[i][1], NULL, NULL)));
	}
	for (i = 0; i < 3000; i++) {
		u32 want = 1 + rnd_below(&r, 1 << rnd_below(&r, 14));
		u32 size = 1 + rnd_below(&r, PAGE_SIZE), n;
		struct ib_ucontext uctx;
		struct mminfo mi;
		bool user = rnd_below(&r, 2);
		struct prxe_queue *q;

		if ((u64)want * size > 8 << 20)
			continue;
		elems = want;
		q = prxe_queue_create(&dev, &elems, size, user ? &uctx : NULL, &mi);
		assert_false(IS_ERR(q));
		assert_true(elems >= want && elems == q->mask);
		assert_true(is_power_of_2(q->mask + 1));
		assert_true(1U << q->shift >= size && q->shift >= 6);
		assert_true(IS_ALIGNED(q->bytes, PAGE_SIZE));
		assert_int_equal(q->ring->index_mask, q->mask);
		assert_int_equal(q->ring->log2_elem_size, q->shift);
		assert_int_equal(q->ring->producer, 0);
		assert_int_equal(q->ring->consumer, 0);
		assert_int_equal(q->index, 0);
		if (user)
			assert_int_equal(mi.size, q->bytes);
		/* Every slot, whatever the index, is inside. */
		for (n = 0; n < 20; n++) {
			u8 *p = prxe_queue_at(q, rnd64(&r)), *end = (u8 *)q->ring + q->bytes;

			assert_true(p >= q->ring->data && p + (1U << q->shift) <= end);
			assert_int_equal((p - q->ring->data) & ((1U << q->shift) - 1), 0);
		}
		memset(prxe_queue_at(q, q->mask), 0xff, 1U << q->shift);
		if (q->mmap)
			prxe_mmap_free(q->mmap);
		prxe_queue_destroy(q);
	}
	prxe_queue_destroy(NULL);
}

static void no_memory(void **state)
{
	struct prxe_dev dev = {};
	struct ib_ucontext uctx;
	struct mminfo mi;
	u32 elems = 100;

	for (int i = 1; i <= 3; i++) {
		shim_alloc_fails = i;
		assert_ptr_equal(prxe_queue_create(&dev, &elems, 64, &uctx, &mi), ERR_PTR(-ENOMEM));
		shim_alloc_fails = 0;
		assert_int_equal(elems, 100);
	}
}

static void indices(void **state)
{
	struct prxe_ring *ring = calloc(1, sizeof(*ring));
	struct prxe_queue q = { .ring = ring, .mask = 15, .shift = 6 };
	struct rnd r = rnd_start(51);

	assert_int_equal(prxe_queue_next(&q, 15), 0);
	for (int i = 0; i < 100000; i++) {
		u32 prod = rnd64(&r), index = rnd_below(&r, 16), n;

		ring->producer = prod;
		n = prxe_queue_pending_from(&q, index);
		assert_true(n <= q.mask);
		assert_int_equal((index + n) & q.mask, prod & q.mask);
		prxe_queue_consume_to(&q, (index + n) & q.mask);
		assert_int_equal(ring->consumer, prod & q.mask);
		assert_int_equal(q.index, prod & q.mask);
	}
	free(ring);
}

#define SLOTS 16
struct rq {
	struct prxe_queue q;
	size_t bytes;
	u32 max_sge;
};

/* A ring that ends where its memory ends. */
static void rq_make(struct rq *rq, u32 max_sge)
{
	size_t size = sizeof(struct rxe_recv_wqe) + max_sge * sizeof(struct rxe_sge);

	rq->max_sge = max_sge;
	rq->q.mask = SLOTS - 1;
	rq->q.shift = max_t(u32, order_base_2(size), 6);
	rq->q.index = 0;
	rq->bytes = sizeof(struct prxe_ring) + (SLOTS << rq->q.shift);
	rq->q.ring = calloc(1, rq->bytes);
}

static void check(const struct rq *rq, const struct prxe_rwqe *w, int err)
{
	u64 sum = 0;

	assert_true(err == 0 || err == -EINVAL);
	assert_true(w->num_sge <= rq->max_sge);
	if (err)
		assert_int_equal(w->num_sge, 0);
	for (u32 i = 0; i < w->num_sge; i++)
		sum += w->sge[i].length;
	assert_true(w->length == sum);
	assert_true(rq->q.index < SLOTS);
	assert_int_equal(READ_ONCE(rq->q.ring->consumer) < SLOTS, true);
}

static void receive_in_order(void **state)
{
	struct rnd r = rnd_start(52);
	struct prxe_rwqe *w = malloc(sizeof(*w));
	u64 posted = 0, taken = 0;
	struct rq rq = {};
	u32 num[SLOTS];
	bool too_many;

	rq_make(&rq, PRXE_MAX_SGE);
	while (taken < 20000) {
		if (rnd_below(&r, 2) && posted - taken < SLOTS - 1) {
			struct rxe_recv_wqe *e = prxe_queue_at(&rq.q, posted);
			u32 n = rnd_below(&r, PRXE_MAX_SGE + 2);

			num[posted % SLOTS] = n;
			e->wr_id = posted * 3;
			e->dma.num_sge = n;
			for (u32 i = 0; i < n && i < PRXE_MAX_SGE; i++)
				e->dma.sge[i] = (struct rxe_sge){
					.addr = posted + i,
					.length = ~(u32)posted,
					.lkey = i,
				};
			rq.q.ring->producer = ++posted;	/* not masked, which does not matter */
			continue;
		}
		if (posted == taken) {
			assert_int_equal(prxe_rq_take(&rq.q, rq.max_sge, w), -EAGAIN);
			continue;
		}
		too_many = num[taken % SLOTS] > PRXE_MAX_SGE;
		assert_int_equal(prxe_rq_take(&rq.q, rq.max_sge, w), too_many ? -EINVAL : 0);
		assert_true(w->wr_id == taken * 3);
		if (!too_many) {
			assert_int_equal(w->num_sge, num[taken % SLOTS]);
			/* Above 2^32 it does not wrap. */
			assert_true(w->length == (u64)w->num_sge * ~(u32)taken);
			for (u32 i = 0; i < w->num_sge; i++) {
				assert_true(w->sge[i].addr == taken + i);
				assert_int_equal(w->sge[i].lkey, i);
			}
		}
		taken++;
		assert_int_equal(rq.q.ring->consumer, taken % SLOTS);
	}
	free(rq.q.ring);
	free(w);
}

static void random_rings(void **state)
{
	struct rnd r = rnd_start(53);
	struct prxe_rwqe *w = malloc(sizeof(*w));

	for (int i = 0; i < 20000; i++) {
		struct rq rq = {};
		int n = 0, err;

		rq_make(&rq, rnd_below(&r, PRXE_MAX_SGE + 1));
		for (size_t at = 0; at < rq.bytes; at += 8) {
			u64 v = rnd64(&r);

			memcpy((u8 *)rq.q.ring + at, &v, 8);
		}
		if (i & 1)
			for (int s = 0; s < SLOTS; s++) {
				struct rxe_recv_wqe *e = prxe_queue_at(&rq.q, s);

				e->dma.num_sge = rnd_below(&r, PRXE_MAX_SGE + 4);
			}
		while ((err = prxe_rq_take(&rq.q, rq.max_sge, w)) != -EAGAIN) {
			check(&rq, w, err);
			assert_true(++n < SLOTS);	/* a ring gives no more than it has */
		}
		free(rq.q.ring);
	}
	free(w);
}

/* A process that writes to the ring while it is read. */
static bool stop;
static void *hostile(void *arg)
{
	struct rnd r = rnd_start(54);
	struct rq *rq = arg;

	while (!READ_ONCE(stop)) {
		struct rxe_recv_wqe *e = prxe_queue_at(&rq->q, rnd64(&r));
		u32 at = rnd_below(&r, rq->bytes / 8) * 8;
		u8 *ring = (u8 *)rq->q.ring;
		u32 *word;

		if (rnd_below(&r, 4) == 0)
			at = offsetof(struct prxe_ring, producer);
		else if (rnd_below(&r, 2))
			at = (u8 *)&e->dma.num_sge - ring;
		word = (u32 *)(ring + at);
		WRITE_ONCE(*word, rnd_below(&r, 3) ? rnd_below(&r, 40) : rnd64(&r));
	}
	return NULL;
}

static void written_while_read(void **state)
{
	struct prxe_rwqe *w = malloc(sizeof(*w));
	struct rq rq = {};
	pthread_t t;

	rq_make(&rq, 16);
	stop = false;
	pthread_create(&t, NULL, hostile, &rq);
	for (int i = 0; i < 500000; i++) {
		int err = prxe_rq_take(&rq.q, rq.max_sge, w);

		if (err != -EAGAIN) {
			u64 sum = 0;

			assert_true(err == 0 || err == -EINVAL);
			assert_true(w->num_sge <= rq.max_sge && rq.q.index < SLOTS);
			for (u32 s = 0; s < w->num_sge; s++)
				sum += w->sge[s].length;
			assert_true(w->length == sum);
		}
	}
	WRITE_ONCE(stop, true);
	pthread_join(t, NULL);
	free(rq.q.ring);
	free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes),
		cmocka_unit_test(no_memory),
		cmocka_unit_test(indices),
		cmocka_unit_test(receive_in_order),
		cmocka_unit_test(random_rings),
		cmocka_unit_test(written_while_read),
	};

	RUN_TESTS(tests);
}
