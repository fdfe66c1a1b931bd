// SPDX-License-Identifier: BSD-2-Clause
/* Rings that change under traffic, and receive WQEs that come late. */
#define _GNU_SOURCE
#include "proto.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* ---- resizes while messages arrive ---- */

#define MSG 200U
#define SLOTS 512U

static struct {
	struct t_ep a, b;
	bool stop;
	bool closed; /* sent is final */
	uint64_t sent;
} live;

/* Send inline messages, each with its own contents, as fast as they are received. */
static void *sender(void *arg)
{
	uint8_t msg[MSG];
	struct ibv_sge sg = t_sge(msg, MSG, 0);
	const struct t_wr wr = { .op = IBV_WR_SEND, .sg = &sg, .n = 1, .flags = IBV_SEND_INLINE };
	unsigned open = 0;

	(void)arg;
	while (!live.closed || open) {
		struct ibv_wc wc;

		if (__atomic_load_n(&live.stop, __ATOMIC_RELAXED))
			__atomic_store_n(&live.closed, true, __ATOMIC_RELEASE);
		if (open < 32 && !live.closed) {
			t_pat_fill(msg, MSG, 5000 + live.sent, 0);
			if (t_post(&live.a, &wr))
				t_die("post: %s", strerror(errno));
			__atomic_store_n(&live.sent, live.sent + 1, __ATOMIC_RELEASE);
			open++;
			continue;
		}
		if (ibv_poll_cq(live.a.scq, 1, &wc) == 1) {
			if (wc.status)
				t_die("a SEND under resizes: %s", ibv_wc_status_str(wc.status));
			open--;
		} else {
			sched_yield();
		}
	}
	return NULL;
}

/* Take what has arrived: receive number @*next must hold message number @*next. */
static unsigned take(const uint8_t *land, uint64_t *next)
{
	struct ibv_wc wc;
	unsigned n = 0;

	for (; ibv_poll_cq(live.b.rcq, 1, &wc) == 1; n++, ++*next) {
		if (wc.status || wc.wr_id != *next || wc.byte_len != MSG)
			t_die("receive %llu: %s, %u bytes, expected number %llu",
			      (unsigned long long)wc.wr_id, ibv_wc_status_str(wc.status),
			      wc.byte_len, (unsigned long long)*next);
		if (!t_pat_check("a message under resizes", land + *next % SLOTS * 256, MSG,
				 5000 + *next, 0))
			t_die("message %llu", (unsigned long long)*next);
	}
	return n;
}

static void resize_live(struct t_dev *d)
{
	struct ibv_srq_init_attr sa = { .attr = { .max_wr = 64, .max_sge = 1 } };
	struct t_opt o = { .srq = ibv_create_srq(d->pd, &sa), .inl = MSG, .depth = 64, .min_rnr = 1,
			   .rcq = ibv_create_cq(d->ctx, 600, NULL, NULL, 0) };
	uint8_t *land = t_map(SLOTS * 256);
	struct ibv_mr *m = t_reg(d->pd, land, SLOTS * 256, T_ALL_ACCESS);
	uint64_t posted = 0, next = 0, rounds = 0;
	double end = t_now() + (t_debug ? 3 : 0.8);
	bool stop = false;
	pthread_t th;

	if (!o.srq || !o.rcq)
		t_die("SRQ or CQ: %s", strerror(errno));
	live.stop = false;
	live.closed = false;
	live.sent = 0;
	t_pair_open(&live.a, d, &live.b, d, &o);
	pthread_create(&th, NULL, sender, NULL);
	/* Post receives until the sender has closed: one more message may be on its way. */
	while (!__atomic_load_n(&live.closed, __ATOMIC_ACQUIRE) ||
	       next < __atomic_load_n(&live.sent, __ATOMIC_ACQUIRE)) {
		uint64_t x = t_mix(rounds++);
		struct ibv_srq_attr at = { .max_wr = 64U << (x >> 8) % 4 };

		while (posted - next < (x & 1 ? 60 : 12)) {
			if (t_recv_one(&live.b, land + posted % SLOTS * 256, 256, m->lkey, posted))
				t_die("post of receive %llu", (unsigned long long)posted);
			posted++;
		}
		if (ibv_modify_srq(o.srq, &at, IBV_SRQ_MAX_WR))
			t_die("resize of the SRQ to %u: %s", at.max_wr, strerror(errno));
		if (!(x & 6) && ibv_resize_cq(o.rcq, 100 << (x >> 16) % 4))
			t_die("resize of the CQ: %s", strerror(errno));
		take(land, &next);
		if (!stop && t_now() > end) {
			__atomic_store_n(&live.stop, true, __ATOMIC_RELAXED);
			stop = true;
		}
		if (t_now() > end + t_slow(8))
			t_die("%llu of %llu messages came", (unsigned long long)next,
			      (unsigned long long)live.sent);
	}
	pthread_join(th, NULL);
	t_none("more messages than were sent", o.rcq, 0.05);
	t_note("%llu messages, %llu resizes of the SRQ", (unsigned long long)next,
	       (unsigned long long)rounds);
	if (next < 200 || rounds < 50)
		t_fail("%llu messages and %llu resizes only", (unsigned long long)next,
		       (unsigned long long)rounds);
	t_ep_close(&live.a);
	t_ep_close(&live.b);
	ibv_destroy_cq(o.rcq);
	ibv_destroy_srq(o.srq);
	ibv_dereg_mr(m);
	munmap(land, SLOTS * 256);
}

/* ---- how long a resize holds up other work on its CPU ---- */

static volatile double gap;
static volatile bool tick;

static void on_cpu0(void)
{
	cpu_set_t s;

	CPU_ZERO(&s);
	CPU_SET(0, &s);
	sched_setaffinity(0, sizeof(s), &s);
}

/* Has real-time priority, so only code that cannot be preempted delays it. */
static void *ticker(void *arg)
{
	const struct sched_param sp = { .sched_priority = 50 };
	double last = t_now(), now;

	(void)arg;
	pthread_setschedparam(pthread_self(), SCHED_FIFO, &sp);
	on_cpu0();
	for (; tick; last = now) {
		nanosleep(&(struct timespec){ .tv_nsec = 500000 }, NULL);
		now = t_now();
		if (now - last > gap)
			gap = now - last;
	}
	return NULL;
}

/* The best of some tries counts: other work can spoil one of them, a spinlock spoils all. */
#define GAP_TRIES 4
#define RESIZED(best, what, call)                                                                  \
	do {                                                                                       \
		for (int i_ = 0; i_ < GAP_TRIES; i_++) {                                           \
			gap = 0;                                                                   \
			if (call)                                                                  \
				t_fail("%s: %s", what, strerror(errno));                           \
			usleep(2000);                                                              \
			if (gap < (best))                                                          \
				(best) = gap;                                                      \
		}                                                                                  \
		t_note("%s: others waited for %.1f ms at worst, in the best of %d", what,          \
		       (best)*1e3, GAP_TRIES);                                                     \
		if ((best) > limit)                                                                \
			t_fail("%s: others waited for %.1f ms, bounded work takes less than %.0f", \
			       what, (best)*1e3, limit * 1e3);                                     \
	} while (0)

static void resize_gap(struct t_dev *d)
{
	/* KASAN marks the memory of a new ring in one go, which takes long for a large one. */
	const unsigned wrs = t_debug ? 1 << 15 : 1 << 17, cqes = t_debug ? 1 << 17 : 1 << 19;
	const double limit = t_debug ? 0.08 : 0.025;
	struct ibv_srq_init_attr sa = { .attr = { .max_wr = wrs - 1, .max_sge = 27 } };
	struct ibv_cq *cq;
	struct ibv_srq *s;
	struct ibv_srq_attr at = { .max_wr = wrs - 1 };
	struct ibv_sge sg[27] = { 0 };
	struct ibv_recv_wr wr = { .sg_list = sg, .num_sge = 27 }, *bad;
	double best = 1e9;
	cpu_set_t was;
	pthread_t th;

	if (t_param_get("force_wire") > 0)
		return; /* the carrier makes no difference */
	sched_getaffinity(0, sizeof(was), &was);
	s = ibv_create_srq(d->pd, &sa);
	cq = ibv_create_cq(d->ctx, (int)cqes - 1, NULL, NULL, 0);
	if (!s || !cq)
		t_die("a large SRQ and CQ: %s", strerror(errno));
	for (unsigned i = 0; i < wrs - 1; i++)
		if (ibv_post_srq_recv(s, &wr, &bad))
			t_die("post %u to the SRQ", i);
	tick = true;
	pthread_create(&th, NULL, ticker, NULL);
	on_cpu0();
	RESIZED(best, "a full SRQ", ibv_modify_srq(s, &at, IBV_SRQ_MAX_WR));
	best = 1e9;
	/* The consumer index is user space's: it may say that the CQ is full. */
	RESIZED(best, "a CQ that is said to be full",
		(pr_ring_find(cqes - 1)->consumer = 1,
		 ibv_resize_cq(cq, (int)cqes - 1)));
	tick = false;
	pthread_join(th, NULL);
	sched_setaffinity(0, sizeof(was), &was);
	ibv_destroy_srq(s);
	ibv_destroy_cq(cq);
}

/* ---- late receives ---- */

/* Post like a provider that ignores the word in the header: store the WQE and the index only. */
static void post_by_hand(volatile struct prxe_ring *ring, uint64_t id)
{
	uint32_t p = ring->producer, shift = ring->log2_elem_size;
	uint8_t *wqe = (uint8_t *)ring->data + ((size_t)p << shift);

	memset(wqe, 0, 1UL << shift);
	memcpy(wqe, &id, sizeof(id)); /* its wr_id; without SGEs */
	__atomic_store_n(&ring->producer, (p + 1) & ring->index_mask, __ATOMIC_RELEASE);
}

static uint64_t hrtimers(void)
{
	FILE *f = fopen("/proc/softirqs", "re");
	char line[4096], *p = line;
	uint64_t sum = 0;

	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, "HRTIMER:"))
			for (p = strchr(line, ':') + 1; *p && *p != '\n';)
				sum += strtoull(p, &p, 10);
	if (f)
		fclose(f);
	return sum;
}

static void flushed(const char *what, struct t_ep *e, uint64_t id)
{
	struct ibv_wc wc;

	if (t_expect(what, e->rcq, IBV_WC_WR_FLUSH_ERR, &wc) && wc.wr_id != id)
		t_fail("%s: receive %llu, expected %llu", what, (unsigned long long)wc.wr_id,
		       (unsigned long long)id);
}

/* The timers have stopped polling the ring: three ways to make the driver look at it again. */
enum { BY_EVENT, BY_QUERY, BY_POST, WAYS };

static void late(struct t_dev *d)
{
	const unsigned n = t_debug ? 100 : 300;
	const uint32_t mask[WAYS] = { 1023, 2047, 4095 };
	struct ibv_comp_channel *ch = ibv_create_comp_channel(d->ctx);
	struct t_opt o = { .depth = 1, .rdepth = 1 };
	struct t_ep *idle = calloc(n, sizeof(*idle)), e[WAYS];
	volatile struct prxe_ring *ring[WAYS];
	uint64_t before, fired;
	double end;

	if (t_param_get("force_wire") > 0)
		return; /* the carrier makes no difference */
	o.scq = o.rcq = ibv_create_cq(d->ctx, 100, NULL, ch, 0);
	for (unsigned i = 0; i < n; i++) {
		t_ep_open(&idle[i], d, &o);
		if (t_ep_init(&idle[i]) || t_ep_state(&idle[i], IBV_QPS_ERR))
			t_die("to ERR failed");
	}
	for (int i = 0; i < WAYS; i++) {
		o.rdepth = mask[i];
		t_ep_open(&e[i], d, &o);
		ring[i] = pr_ring_find(mask[i]);
		if (t_ep_init(&e[i]) || t_recv_one(&e[i], NULL, 0, 0, 1) ||
		    t_ep_state(&e[i], IBV_QPS_ERR))
			t_die("to ERR failed");
		flushed("posted before", &e[i], 1);
		post_by_hand(ring[i], 2);
		flushed("posted soon after", &e[i], 2);
	}

	/* Timers poll the rings at first, and stop after a time. */
	for (end = t_now() + t_slow(5), fired = n; fired > n / 10 && t_now() < end;) {
		before = hrtimers();
		usleep(300000);
		fired = hrtimers() - before;
	}
	if (fired > n / 10)
		t_fail("%u idle QPs in error: %llu timers in 0.3 s", n, (unsigned long long)fired);

	post_by_hand(ring[BY_QUERY], 30);
	t_ep_query_state(&e[BY_QUERY]);
	flushed("posted by hand, then the QP was queried", &e[BY_QUERY], 30);
	if (t_recv_one(&e[BY_POST], NULL, 0, 0, 31))
		t_fail("post of a receive in ERR was refused");
	flushed("posted, and only polled", &e[BY_POST], 31);
	post_by_hand(ring[BY_EVENT], 32);
	if (ibv_req_notify_cq(e[BY_EVENT].rcq, 0))
		t_fail("ibv_req_notify_cq");
	flushed("posted by hand, then events were asked for", &e[BY_EVENT], 32);
	for (int i = 0; i < WAYS; i++)
		t_ep_close(&e[i]);
	for (unsigned i = 0; i < n; i++)
		t_ep_close(&idle[i]);
	free(idle);
	ibv_destroy_cq(o.rcq);
	ibv_destroy_comp_channel(ch);
}

const struct t_test pr_ring[] = {
	{ "resize_live", resize_live, "SRQ and CQ resized while messages arrive" },
	{ "resize_gap", resize_gap, "a resize of large rings does not hold up its processor" },
	{ "late", late, "receives that are posted late to a QP in error" },
	{ 0 },
};
