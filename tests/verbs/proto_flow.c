// SPDX-License-Identifier: BSD-2-Clause
/* Flow: RNR, retries, flush, fences, signalling, PSN wrap, depth of READs, many QPs, ordering. */
#include "proto.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void took(const char *what, double from, double min, double max)
{
	double t = t_now() - from;

	if (t < min || t > t_slow(max))
		t_fail("%s took %.0f ms, expected %.0f to %.0f ms", what, t * 1e3, min * 1e3,
		       t_slow(max) * 1e3);
}

/* No receive is posted: RNR_RETRY_EXC_ERR after rnr_retry times the peer's RNR timer. */
static void rnr_finite(struct t_dev *d)
{
	/* min_rnr 24: 40.96 ms */
	struct t_opt o = { .rnr_retry = 3, .min_rnr = 24 };
	struct pr w;
	double from;

	pr_open(&w, d, &o);
	from = t_now();
	t_post_one(&w.a, IBV_WR_SEND, w.pa, 100, w.ma->lkey, 0, 0, 1);
	if (t_expect("SEND without a receive, rnr_retry 3", w.a.scq,
		     IBV_WC_RNR_RETRY_EXC_ERR, NULL))
		took("RNR_RETRY_EXC_ERR after 3 retries of 41 ms", from, 0.08, 2);
	pr_close(&w);

	o.no_rnr_retry = true;
	o.rnr_retry = 0;
	pr_open(&w, d, &o);
	from = t_now();
	t_post_one(&w.a, IBV_WR_SEND, w.pa, 100, w.ma->lkey, 0, 0, 1);
	if (t_expect("SEND without a receive, rnr_retry 0", w.a.scq,
		     IBV_WC_RNR_RETRY_EXC_ERR, NULL))
		took("RNR_RETRY_EXC_ERR at once", from, 0, 1);
	pr_close(&w);

	/* Enough retries: the receive is posted after one and a half timers. */
	o = (struct t_opt){ .rnr_retry = 6, .min_rnr = 26 }; /* 82 ms */
	pr_open(&w, d, &o);
	t_post_one(&w.a, IBV_WR_SEND, w.pa, 5000, w.ma->lkey, 0, 0, 1);
	usleep(120000);
	t_recv_one(&w.b, w.pb + 10, 6000, w.mb->lkey, 2);
	t_expect("SEND with a late receive", w.a.scq, IBV_WC_SUCCESS, NULL);
	t_expect("the late receive", w.b.rcq, IBV_WC_SUCCESS, NULL);
	t_pat_check("the late receive", w.pb + 10, 5000, 1, 0);
	pr_close(&w);
}

static void rnr_infinite(struct t_dev *d)
{
	struct t_opt o = { .rnr_retry = 7, .min_rnr = 12, .timeout = 14, .retry_cnt = 2 };
	struct pr w;

	pr_open(&w, d, &o);
	/* A SEND, and behind it a WRITE, which must wait its turn. */
	t_post_one(&w.a, IBV_WR_SEND, w.pa, 9000, w.ma->lkey, 0, 0, 1);
	t_post_one(&w.a, IBV_WR_RDMA_WRITE, w.pa, 100, w.ma->lkey, (uintptr_t)w.pb + 20000,
		   w.mb->rkey, 2);
	if (t_none("SEND without a receive, rnr_retry 7", w.a.scq, t_slow(0.7))) {
		t_pat_check("WRITE behind a SEND that waits", w.pb, PR_ROOM, PR_GUARD_SEQ, 0);
		t_recv_one(&w.b, w.pb + 10, 9000, w.mb->lkey, 2);
		t_expect("SEND with a very late receive", w.a.scq, IBV_WC_SUCCESS, NULL);
		t_expect("the WRITE behind it", w.a.scq, IBV_WC_SUCCESS, NULL);
		t_expect("the very late receive", w.b.rcq, IBV_WC_SUCCESS, NULL);
		t_pat_check("the very late receive", w.pb + 10, 9000, 1, 0);
		t_pat_check("the WRITE behind it", w.pb + 20000, 100, 1, 0);
	}
	/* WRITE_WITH_IMM waits for a receive as well. */
	{
		struct ibv_sge sg = t_sge(w.pa, 6000, w.ma->lkey);
		struct t_wr wr = {
			.op = IBV_WR_RDMA_WRITE_WITH_IMM, .sg = &sg, .n = 1, .imm = 77,
			.raddr = (uintptr_t)w.pb, .rkey = w.mb->rkey,
		};

		t_post(&w.a, &wr);
		t_none("WRITE_WITH_IMM without a receive", w.a.scq, 0.1);
		t_recv(&w.b, NULL, 0, 3);
		t_expect("WRITE_WITH_IMM with a late receive", w.a.scq, IBV_WC_SUCCESS, NULL);
		t_expect("the late receive of an immediate", w.b.rcq, IBV_WC_SUCCESS, NULL);
		t_pat_check("WRITE_WITH_IMM with a late receive", w.pb, 6000, 1, 0);
	}
	pr_close(&w);
}

/* A peer that does not answer: RETRY_EXC_ERR after about (retry_cnt + 1) timeouts. */
static void no_peer(struct t_dev *d)
{
	static const enum ibv_qp_state states[] = { IBV_QPS_INIT, IBV_QPS_RESET, IBV_QPS_ERR };
	static const char *const name[] = { "a peer in INIT", "a peer in RESET", "a peer in ERR" };
	struct t_opt o = { .timeout = 14, .retry_cnt = 3 }; /* 67 ms */
	double from;
	struct pr w;

	for (size_t i = 0; i < ARRAY_LEN(states); i++) {
		struct ibv_wc wc;

		pr_open(&w, d, &o);
		t_ep_state(&w.b, states[i] == IBV_QPS_ERR ? IBV_QPS_ERR : IBV_QPS_RESET);
		if (states[i] == IBV_QPS_INIT)
			t_ep_init(&w.b);
		from = t_now();
		t_post_one(&w.a, IBV_WR_RDMA_WRITE, w.pa, 5000, w.ma->lkey, (uintptr_t)w.pb,
			   w.mb->rkey, 1);
		t_post_one(&w.a, IBV_WR_RDMA_WRITE, w.pa, 50, w.ma->lkey, (uintptr_t)w.pb,
			   w.mb->rkey, 2);
		if (t_expect(name[i], w.a.scq, IBV_WC_RETRY_EXC_ERR, &wc)) {
			took(name[i], from, 0.15, 4);
			if (wc.wr_id != 1)
				t_fail("%s: wr_id %llu", name[i], (unsigned long long)wc.wr_id);
			t_expect("the WR behind it", w.a.scq, IBV_WC_WR_FLUSH_ERR, NULL);
		}
		if (t_ep_query_state(&w.a) != IBV_QPS_ERR)
			t_fail("%s: the QP is in state %d, not ERR", name[i],
			       t_ep_query_state(&w.a));
		pr_unchanged(&w, name[i]);
		pr_again(&w);
		t_pair_works("afterwards", &w.a, &w.b);
		pr_close(&w);
	}
	/* A peer that comes late, but in time. */
	o.retry_cnt = 7;
	o.timeout = 15;
	pr_open(&w, d, &o);
	t_ep_state(&w.b, IBV_QPS_RESET);
	t_ep_init(&w.b);
	t_post_one(&w.a, IBV_WR_RDMA_WRITE, w.pa, 5000, w.ma->lkey, (uintptr_t)w.pb, w.mb->rkey, 1);
	usleep(100000);
	if (t_ep_rtr(&w.b, &w.a.me) || t_ep_rts(&w.b))
		t_fail("a late RTR failed");
	t_expect("a peer that is late", w.a.scq, IBV_WC_SUCCESS, NULL);
	t_pat_check("a peer that is late", w.pb, 5000, 1, 0);
	t_pair_works("a peer that is late", &w.a, &w.b);
	pr_close(&w);
}

/* An error flushes what is outstanding, in order, sends and receives; later posts flush too. */
static void flush(struct t_dev *d)
{
	struct ibv_wc wc;
	struct pr w;

	pr_open(&w, d, NULL);
	for (int i = 0; i < 5; i++)
		t_recv_one(&w.a, w.pa, 100, w.ma->lkey, 100 + (uint64_t)i);
	t_post_one(&w.a, IBV_WR_RDMA_WRITE, w.pa, 100, w.ma->lkey, (uintptr_t)w.pb, w.mb->rkey, 0);
	t_post_one(&w.a, IBV_WR_RDMA_WRITE, w.pa, 100, w.ma->lkey, (uintptr_t)w.pb,
		   w.mb->rkey ^ 1, 1);
	for (uint64_t i = 2; i < 7; i++)
		t_post_one(&w.a, IBV_WR_RDMA_WRITE, w.pa, 4000, w.ma->lkey, (uintptr_t)w.pb + 8192,
			   w.mb->rkey, i);
	t_expect("before the bad one", w.a.scq, IBV_WC_SUCCESS, NULL);
	t_expect("the bad one", w.a.scq, IBV_WC_REM_ACCESS_ERR, NULL);
	for (uint64_t i = 2; i < 7; i++)
		if (t_expect("behind the bad one", w.a.scq, IBV_WC_WR_FLUSH_ERR, &wc) &&
		    wc.wr_id != i)
			t_fail("flushed wr_id %llu, expected %llu", (unsigned long long)wc.wr_id,
			       (unsigned long long)i);
	for (uint64_t i = 100; i < 105; i++)
		if (t_expect("receives of the failed QP", w.a.rcq, IBV_WC_WR_FLUSH_ERR, &wc) &&
		    wc.wr_id != i)
			t_fail("flushed receive %llu, expected %llu", (unsigned long long)wc.wr_id,
			       (unsigned long long)i);
	t_pat_check("WRITEs behind a failed one", w.pb + 8192, 4000, PR_GUARD_SEQ, 8192);
	if (t_post_one(&w.a, IBV_WR_RDMA_WRITE, w.pa, 100, w.ma->lkey, (uintptr_t)w.pb,
		       w.mb->rkey, 50))
		t_fail("post in ERR was refused");
	else
		t_expect("send posted in ERR", w.a.scq, IBV_WC_WR_FLUSH_ERR, NULL);
	if (t_recv_one(&w.a, w.pa, 100, w.ma->lkey, 51))
		t_fail("post of a receive in ERR was refused");
	else
		t_expect("receive posted in ERR", w.a.rcq, IBV_WC_WR_FLUSH_ERR, NULL);
	pr_again(&w);
	t_pair_works("after RESET", &w.a, &w.b);

	/* By modify_qp, with sends that wait for a receive. */
	for (uint64_t i = 0; i < 4; i++)
		t_post_one(&w.a, IBV_WR_SEND, w.pa, 100, w.ma->lkey, 0, 0, i);
	t_recv_one(&w.a, w.pa, 100, w.ma->lkey, 9);
	if (t_ep_state(&w.a, IBV_QPS_ERR))
		t_fail("to ERR failed");
	for (int i = 0; i < 4; i++)
		t_expect("sends of a QP that is set to ERR", w.a.scq, IBV_WC_WR_FLUSH_ERR, NULL);
	t_expect("receive of a QP that is set to ERR", w.a.rcq, IBV_WC_WR_FLUSH_ERR, NULL);
	t_none("flushed once only", w.a.scq, 0.02);
	pr_again(&w);
	t_pair_works("after ERR and RESET", &w.a, &w.b);
	pr_close(&w);
}

/* A WRITE with a fence sends what the READ before it brought. */
static void fence(struct t_dev *d)
{
	const unsigned rounds = t_debug ? 10 : 60;
	struct pr w;

	pr_open(&w, d, NULL);
	for (unsigned i = 0; i < rounds; i++) {
		uint32_t len = 1 + (uint32_t)(t_mix(i) % 12000);
		struct ibv_sge sg = t_sge(w.pa, len, w.ma->lkey);
		struct t_wr r = {
			.op = IBV_WR_RDMA_READ, .sg = &sg, .n = 1,
			.raddr = (uintptr_t)w.pb, .rkey = w.mb->rkey,
			.flags = T_UNSIGNALED,
		};
		struct t_wr f = {
			.op = IBV_WR_RDMA_WRITE, .sg = &sg, .n = 1,
			.raddr = (uintptr_t)w.pb + 8 * T_PAGE, .rkey = w.mb->rkey,
			.flags = IBV_SEND_FENCE,
		};

		t_pat_fill(w.pb, len, 1000 + i, 0);
		memset(w.pa, 0, len);
		t_post(&w.a, &r);
		t_post(&w.a, &f);
		if (!t_expect("a fenced WRITE behind a READ", w.a.scq, IBV_WC_SUCCESS, NULL))
			break;
		if (!t_pat_check("a fenced WRITE behind a READ", w.pb + 8 * T_PAGE, len,
				 1000 + i, 0))
			break;
	}
	pr_close(&w);
}

static void signalling(struct t_dev *d)
{
	struct t_opt o = { .depth = 16 };
	struct ibv_wc wc;
	struct pr w;

	/* Every eighth is signalled. The queue wraps many times. */
	pr_open(&w, d, &o);
	for (uint64_t i = 0; i < 200; i++) {
		struct ibv_sge sg = t_sge(w.pa + i, 64, w.ma->lkey);
		struct t_wr wr = {
			.op = IBV_WR_RDMA_WRITE, .sg = &sg, .n = 1,
			.raddr = (uintptr_t)w.pb + 64 * i, .rkey = w.mb->rkey,
			.id = i, .flags = i % 8 == 7 ? 0 : T_UNSIGNALED,
		};
		int rc = t_post(&w.a, &wr);

		if (rc) {
			t_fail("post %llu of 200, every 8th signalled: %s",
			       (unsigned long long)i, strerror(rc));
			break;
		}
		if (i % 8 == 7 && (!t_expect("every 8th", w.a.scq, IBV_WC_SUCCESS, &wc) ||
				   wc.wr_id != i)) {
			t_fail("completion of %llu, expected %llu", (unsigned long long)wc.wr_id,
			       (unsigned long long)i);
			break;
		}
	}
	for (uint64_t i = 0; i < 200; i++)
		if (!t_pat_check("an unsignalled WRITE", w.pb + 64 * i, 64, 1, i))
			break;
	t_none("unsignalled WRs", w.a.scq, 0.02);
	/* An unsignalled WR that fails completes all the same. */
	t_post(&w.a, &(struct t_wr){
		.op = IBV_WR_RDMA_WRITE,
		.sg = &(struct ibv_sge){ (uintptr_t)w.pa, 8, w.ma->lkey }, .n = 1,
		.raddr = 8, .rkey = w.mb->rkey,
		.id = 5, .flags = T_UNSIGNALED,
	});
	t_expect("an unsignalled WR that fails", w.a.scq, IBV_WC_REM_ACCESS_ERR, NULL);
	pr_close(&w);

	o.sig_all = true;
	pr_open(&w, d, &o);
	for (uint64_t i = 0; i < 10; i++)
		t_post(&w.a, &(struct t_wr){
			.op = IBV_WR_RDMA_WRITE, .raddr = (uintptr_t)w.pb, .rkey = w.mb->rkey,
			.sg = &(struct ibv_sge){ (uintptr_t)w.pa, 8, w.ma->lkey }, .n = 1,
			.id = i, .flags = T_UNSIGNALED,
		});
	for (uint64_t i = 0; i < 10; i++)
		if (t_expect("sq_sig_all", w.a.scq, IBV_WC_SUCCESS, &wc) && wc.wr_id != i)
			t_fail("sq_sig_all: completion of %llu, expected %llu",
			       (unsigned long long)wc.wr_id, (unsigned long long)i);
	pr_close(&w);
}

/* A full send queue refuses posts with ENOMEM, and has room again after completions. */
static void sq_full(struct t_dev *d)
{
	struct t_opt o = { .depth = 8, .rnr_retry = 7 };
	struct pr w;
	int n = 0, rc = 0;

	pr_open(&w, d, &o);
	for (; n < 4096; n++) {
		rc = t_post_one(&w.a, IBV_WR_SEND, w.pa, 8, w.ma->lkey, 0, 0, (uint64_t)n);
		if (rc)
			break;
	}
	if (n < 8 || rc != ENOMEM)
		t_fail("a send queue of 8 took %d WRs, then %s", n, rc ? strerror(rc) : "more");
	for (int i = 0; i < n && i < 8; i++)
		t_recv_one(&w.b, w.pb, 8, w.mb->lkey, 1);
	for (int i = 0; i < n && i < 8; i++)
		t_expect("sends of a full queue", w.a.scq, IBV_WC_SUCCESS, NULL);
	rc = t_post_one(&w.a, IBV_WR_SEND, w.pa, 8, w.ma->lkey, 0, 0, 99);
	if (rc)
		t_fail("post after completions: %s", strerror(rc));
	pr_close(&w);
}

/* PSNs wrap at 2^24: every operation, at the smallest MTU. */
static void psn_wrap(struct t_dev *d)
{
	struct t_opt o = { .psn = 0xfffff0, .mtu = IBV_MTU_256, .depth = 16 };
	const uint32_t len = 5 * 256 + 100;
	struct pr w;

	pr_open(&w, d, &o);
	for (uint64_t i = 0; i < 24; i++) {
		uint8_t *to = w.pb + (i % 8) * 4096 + i;

		pr_fill(&w, 40 + i);
		switch (i % 4) {
		case 0:
			t_post_one(&w.a, IBV_WR_RDMA_WRITE, w.pa, len, w.ma->lkey, (uintptr_t)to,
				   w.mb->rkey, i);
			break;
		case 1:
			t_recv_one(&w.b, to, len, w.mb->lkey, i);
			t_post_one(&w.a, IBV_WR_SEND, w.pa, len, w.ma->lkey, 0, 0, i);
			break;
		case 2: /* READ: from B into A, compare there */
			t_post_one(&w.a, IBV_WR_RDMA_READ, w.pa, len, w.ma->lkey, (uintptr_t)to,
				   w.mb->rkey, i);
			break;
		default:
			memset(w.pb, 0, 8);
			t_post(&w.a, &(struct t_wr){
				.op = IBV_WR_ATOMIC_FETCH_AND_ADD, .n = 1, .compare = i,
				.sg = &(struct ibv_sge){ (uintptr_t)w.pa, 8, w.ma->lkey },
				.raddr = (uintptr_t)w.pb, .rkey = w.mb->rkey,
			});
		}
		if (!t_expect("around PSN 2^24", w.a.scq, IBV_WC_SUCCESS, NULL))
			break;
		if (i % 4 == 1)
			t_expect("receive around PSN 2^24", w.b.rcq, IBV_WC_SUCCESS, NULL);
		if (i % 4 < 2)
			t_pat_check("around PSN 2^24", to, len, 40 + i, 0);
		else if (i % 4 == 2)
			t_pat_check("READ around PSN 2^24", w.pa, len, PR_GUARD_SEQ,
				    (uint64_t)(to - w.pb));
		else if (*(uint64_t *)w.pb != i || *(uint64_t *)w.pa != 0)
			t_fail("FETCH_ADD around PSN 2^24: target %llu, returned %llu, "
			       "expected %llu and 0",
			       (unsigned long long)*(uint64_t *)w.pb,
			       (unsigned long long)*(uint64_t *)w.pa, (unsigned long long)i);
	}
	pr_close(&w);
}

/* Dozens of READs and atomics are posted, of which only one may be outstanding. */
static void rd_atomic(struct t_dev *d)
{
	struct t_opt o = { .rd_atomic = 1, .depth = 48 };
	struct ibv_wc wc;
	struct pr w;

	pr_open(&w, d, &o);
	for (uint64_t i = 0; i < 40; i++) {
		bool faa = i % 5 == 4;
		struct ibv_sge sg = t_sge(w.pa + i * 1000, faa ? 8 : 900, w.ma->lkey);
		struct t_wr wr = {
			.op = faa ? IBV_WR_ATOMIC_FETCH_AND_ADD : IBV_WR_RDMA_READ,
			.sg = &sg, .n = 1,
			.raddr = (uintptr_t)w.pb + (faa ? 60000 : i * 1000 + 1),
			.rkey = w.mb->rkey, .id = i, .compare = 1,
		};

		if (i == 0)
			memset(w.pb + 60000, 0, 8);
		if (t_post(&w.a, &wr))
			t_fail("post %llu failed", (unsigned long long)i);
	}
	for (uint64_t i = 0; i < 40; i++) {
		if (!t_expect("one READ at a time", w.a.scq, IBV_WC_SUCCESS, &wc))
			break;
		if (wc.wr_id != i)
			t_fail("completion of %llu, expected %llu", (unsigned long long)wc.wr_id,
			       (unsigned long long)i);
		if (i % 5 == 4) {
			uint64_t old;

			memcpy(&old, w.pa + i * 1000, 8);
			if (old != i / 5)
				t_fail("FETCH_ADD %llu returned %llu", (unsigned long long)(i / 5),
				       (unsigned long long)old);
			if (wc.opcode != IBV_WC_FETCH_ADD || wc.byte_len != 8)
				t_fail("FETCH_ADD: opcode %d byte_len %u", wc.opcode, wc.byte_len);
		} else {
			t_pat_check("one READ at a time", w.pa + i * 1000, 900, PR_GUARD_SEQ,
				    i * 1000 + 1);
			if (wc.opcode != IBV_WC_RDMA_READ)
				t_fail("READ: opcode %d", wc.opcode);
		}
	}
	pr_close(&w);
}

static void many_qps(struct t_dev *d)
{
	const unsigned n = t_debug ? 20 : 100;
	struct ibv_cq *cq = ibv_create_cq(d->ctx, (int)(n * 2 + 8), NULL, NULL, 0);
	struct t_opt o = { .scq = cq, .rcq = cq, .depth = 4 };
	struct t_ep *a = calloc(n, sizeof(*a)), *b = calloc(n, sizeof(*b));
	uint8_t *p = t_map((size_t)2 * n * T_PAGE);
	unsigned acc = T_ALL_ACCESS | (d->odp ? IBV_ACCESS_ON_DEMAND : 0);
	struct ibv_mr *m = t_reg(d->pd, p, (size_t)2 * n * T_PAGE, acc);
	struct ibv_wc wc;

	for (unsigned i = 0; i < n; i++)
		t_pair_open(&a[i], d, &b[i], d, &o);
	t_pat_fill(p, n * T_PAGE, 70, 0);
	for (unsigned i = 0; i < n; i++)
		t_post_one(&a[i], IBV_WR_RDMA_WRITE, p + i * T_PAGE, T_PAGE, m->lkey,
			   (uintptr_t)p + (2 * n - 1 - i) * T_PAGE, m->rkey, i);
	for (unsigned i = 0; i < n; i++)
		if (t_expect("one WRITE on each of many QPs", cq, IBV_WC_SUCCESS, &wc) &&
		    wc.qp_num != a[wc.wr_id].qp->qp_num)
			t_fail("completion %llu names QP %u, expected %u",
			       (unsigned long long)wc.wr_id, wc.qp_num, a[wc.wr_id].qp->qp_num);
	for (unsigned i = 0; i < n; i++)
		t_pat_check("one WRITE on each of many QPs", p + (2 * n - 1 - i) * T_PAGE, T_PAGE,
			    70, i * T_PAGE);
	for (unsigned i = 0; i < n; i++) {
		t_ep_close(&a[i]);
		t_ep_close(&b[i]);
	}
	ibv_destroy_cq(cq);
	ibv_dereg_mr(m);
}

/* When a receive has completed, the WRITEs before its SEND must be there. */
static void write_send(struct t_dev *d)
{
	const uint64_t rounds = t_debug ? 20 : 200;
	struct pr w;

	pr_open(&w, d, NULL);
	for (uint64_t i = 0; i < rounds; i++) {
		uint32_t len = 1 + (uint32_t)(t_mix(i) % 20000);

		t_pat_fill(w.pa, len, 2000 + i, 0);
		t_recv(&w.b, NULL, 0, i);
		t_post_one(&w.a, IBV_WR_RDMA_WRITE, w.pa, len, w.ma->lkey, (uintptr_t)w.pb + 3,
			   w.mb->rkey, i);
		t_post(&w.a, &(struct t_wr){ .op = IBV_WR_SEND, .id = i });
		if (!t_expect("receive behind a WRITE", w.b.rcq, IBV_WC_SUCCESS, NULL) ||
		    !t_pat_check("WRITE before a SEND", w.pb + 3, len, 2000 + i, 0))
			break;
		t_expect("WRITE", w.a.scq, IBV_WC_SUCCESS, NULL);
		t_expect("SEND", w.a.scq, IBV_WC_SUCCESS, NULL);
	}
	pr_close(&w);
}

struct adder {
	struct t_ep *e;
	struct ibv_mr *m, *mt;
	uint64_t *result, *target;
	unsigned n;
	pthread_t th;
};

static void *add(void *arg)
{
	struct adder *x = arg;

	for (unsigned i = 0; i < x->n; i++) {
		t_post(x->e, &(struct t_wr){
			.op = IBV_WR_ATOMIC_FETCH_AND_ADD, .n = 1, .compare = 1,
			.sg = &(struct ibv_sge){ (uintptr_t)x->result, 8, x->m->lkey },
			.raddr = (uintptr_t)x->target, .rkey = x->mt->rkey,
		});
		if (!t_expect("FETCH_ADD in competition", x->e->scq, IBV_WC_SUCCESS, NULL))
			break;
	}
	return NULL;
}

/* Atomics of several QPs, and of the CPU, on one word: none is lost. */
static void atomics_race(struct t_dev *d)
{
	enum { QPS = 4 };
	const unsigned n = t_debug ? 50 : 1000;
	struct pr w[QPS];
	struct adder x[QPS];
	uint64_t *target, want;

	for (int i = 0; i < QPS; i++)
		pr_open(&w[i], d, NULL);
	target = (uint64_t *)(void *)w[0].pb;
	*target = 0;
	for (int i = 0; i < QPS; i++) {
		x[i] = (struct adder){
			.e = &w[i].a, .m = w[i].ma, .mt = w[0].mb, .n = n,
			.result = (uint64_t *)(void *)w[i].pa, .target = target,
		};
		pthread_create(&x[i].th, NULL, add, &x[i]);
	}
	for (unsigned i = 0; i < n; i++)
		__atomic_add_fetch(target, 1, __ATOMIC_SEQ_CST);
	for (int i = 0; i < QPS; i++)
		pthread_join(x[i].th, NULL);
	want = (uint64_t)n * (QPS + 1);
	if (*target != want)
		t_fail("%d QPs and the CPU added 1 %u times each: %llu, expected %llu", QPS, n,
		       (unsigned long long)*target, (unsigned long long)want);
	for (int i = 0; i < QPS; i++)
		pr_close(&w[i]);
}

/* UD: a wrong Q_Key and a receive that is too small lose the datagram, not the QP. */
static void ud(struct t_dev *d)
{
	struct t_opt o = { .type = IBV_QPT_UD };
	struct ibv_wc wc;
	struct pr w;

	pr_open(&w, d, &o);
	t_recv_one(&w.b, w.pb, 1000, w.mb->lkey, 1);
	{
		struct ibv_sge sg = t_sge(w.pa, 100, w.ma->lkey);
		struct ibv_send_wr wr = { .sg_list = &sg, .num_sge = 1, .opcode = IBV_WR_SEND,
					  .send_flags = IBV_SEND_SIGNALED }, *bad;

		wr.wr.ud.ah = w.a.ah;
		wr.wr.ud.remote_qpn = w.b.me.qpn;
		wr.wr.ud.remote_qkey = T_QKEY + 1;
		ibv_post_send(w.a.qp, &wr, &bad);
	}
	t_expect("SEND with a wrong Q_Key", w.a.scq, IBV_WC_SUCCESS, NULL);
	t_none("receive of a datagram with a wrong Q_Key", w.b.rcq, 0.05);
	pr_unchanged(&w, "receive of a datagram with a wrong Q_Key");
	t_post_one(&w.a, IBV_WR_SEND, w.pa, 500, w.ma->lkey, 0, 0, 2);
	t_expect("SEND", w.a.scq, IBV_WC_SUCCESS, NULL);
	if (t_expect("receive", w.b.rcq, IBV_WC_SUCCESS, &wc)) {
		if (wc.byte_len != 540 || wc.src_qp != w.a.me.qpn)
			t_fail("datagram: byte_len %u src_qp %u", wc.byte_len, wc.src_qp);
		t_pat_check("datagram", w.pb + 40, 500, 1, 0);
		t_pat_check("behind the datagram", w.pb + 540, PR_ROOM - 540, PR_GUARD_SEQ, 540);
	}
	/* Longer than a packet is refused, by post or by status. */
	if (!t_post_one(&w.a, IBV_WR_SEND, w.pa, (128U << d->port.active_mtu) + 1, w.ma->lkey,
			0, 0, 3) &&
	    t_wait(w.a.scq, &wc, t_limit) && !wc.status)
		t_fail("a datagram longer than the MTU was sent");
	pr_close(&w);
}

/*
 * Two threads at a queue with one slot: the thread that sees the completion posts the next WR,
 * while the CPU that wrote the completion may still be working on it.
 */
#define RELAY_ROUNDS 4000

struct relay {
	struct pr w;
	uint64_t next;		/* belongs to the thread that holds the completion */
	double end;
	bool over;
};

static int relay_post(struct relay *r)
{
	uint64_t *src = (uint64_t *)r->w.pa;

	*src = t_mix(++r->next);
	return t_post_one(&r->w.a, IBV_WR_RDMA_WRITE, src, sizeof(*src), r->w.ma->lkey,
			  (uintptr_t)r->w.pb, r->w.mb->rkey, r->next);
}

static void *relay_run(void *arg)
{
	struct relay *r = arg;
	struct ibv_wc wc;
	int err = 0;

	while (!__atomic_load_n(&r->over, __ATOMIC_ACQUIRE)) {
		if (ibv_poll_cq(r->w.a.scq, 1, &wc) <= 0)
			continue;
		if (wc.status || *(uint64_t *)r->w.pb != t_mix(r->next))
			t_fail("a queue of one: WRITE %llu: status %d, or its data are not there",
			       (unsigned long long)r->next, wc.status);
		else if (r->next < RELAY_ROUNDS && t_now() < r->end)
			err = relay_post(r);
		else
			break;
		if (!err && !wc.status)
			continue;
		if (err)
			t_fail("a queue of one: WR %llu could not be posted after the completion "
			       "of the one before: %s", (unsigned long long)r->next, strerror(err));
		break;
	}
	__atomic_store_n(&r->over, true, __ATOMIC_RELEASE);
	return NULL;
}

static void one_slot(struct t_dev *d)
{
	static const struct t_opt o = { .depth = 1 };
	struct relay r = { .end = t_now() + 4 };
	pthread_t other;

	pr_open(&r.w, d, &o);
	if (relay_post(&r))
		t_die("ibv_post_send");
	if (pthread_create(&other, NULL, relay_run, &r))
		t_die("pthread_create");
	relay_run(&r);
	pthread_join(other, NULL);
	if (r.next < 20)
		t_fail("a queue of one: only %llu WRITEs in 4 s", (unsigned long long)r.next);
	pr_close(&r.w);
}

/*
 * The completion with the reason comes before the completions that are flushed because of it, those
 * of the other queue included.
 */
static void why_first(struct t_dev *d)
{
	struct t_opt oa = { .depth = 16, .rnr_retry = 7, .min_rnr = 1 }, ob = oa;
	uint8_t *p = t_map(T_PAGE);
	struct ibv_mr *m = t_reg(d->pd, p, T_PAGE, T_ALL_ACCESS);

	oa.scq = oa.rcq = ibv_create_cq(d->ctx, 64, NULL, NULL, 0);
	ob.scq = ob.rcq = ibv_create_cq(d->ctx, 64, NULL, NULL, 0);
	if (!oa.scq || !ob.scq)
		t_die("ibv_create_cq: %s", strerror(errno));
	for (int round = 0; round < (t_debug ? 60 : 200); round++) {
		const bool receiver = round & 1;
		struct t_ep a, b;
		struct ibv_wc wc;
		int fails = t_fails;

		t_ep_open(&a, d, &oa);
		t_ep_open(&b, d, &ob);
		t_ep_connect(&a, &b.me);
		t_ep_connect(&b, &a.me);
		for (int i = 0; i < 4 && !receiver; i++)
			t_recv_one(&a, p, 8, m->lkey, 100);
		/* Nobody receives these. */
		for (int i = 0; i < 4 && receiver; i++)
			t_post_one(&b, IBV_WR_SEND, p, 8, m->lkey, 0, 0, 100);
		if (receiver)
			t_recv_one(&b, p, 8, m->lkey, 1);
		t_post_one(&a, receiver ? IBV_WR_SEND : IBV_WR_RDMA_WRITE, p, 64, m->lkey,
			   (uintptr_t)p, m->rkey ^ 0x55, 1);
		if (receiver)
			t_expect("a SEND that is too long", b.rcq, IBV_WC_LOC_LEN_ERR, &wc);
		else
			t_expect("a WRITE with a wrong rkey", a.scq, IBV_WC_REM_ACCESS_ERR, &wc);
		for (int i = 0; i < 4 && t_fails == fails; i++)
			t_expect("what is flushed after it", receiver ? b.scq : a.rcq,
				 IBV_WC_WR_FLUSH_ERR, &wc);
		t_ep_close(&a);
		t_ep_close(&b);
		t_drain(oa.scq);
		t_drain(ob.scq);
		if (t_fails != fails) {
			t_note("round %d", round);
			break;
		}
	}
	ibv_destroy_cq(oa.scq);
	ibv_destroy_cq(ob.scq);
	ibv_dereg_mr(m);
	munmap(p, T_PAGE);
}

const struct t_test pr_flow[] = {
	{ "rnr_finite", rnr_finite, "rnr_retry runs out, or is just enough" },
	{ "rnr_infinite", rnr_infinite, "rnr_retry 7 and a very late receive" },
	{ "no_peer", no_peer, "a peer that is not in RTR: timeout and retry_cnt" },
	{ "flush", flush, "errors flush sends and receives in order" },
	{ "why_first", why_first, "the error that says why comes before what is flushed for it" },
	{ "fence", fence, "READ, then a fenced WRITE of what it brought" },
	{ "signalling", signalling, "selective signalling, and sq_sig_all" },
	{ "sq_full", sq_full, "a full send queue" },
	{ "one_slot", one_slot, "a completion gives its slot back" },
	{ "psn_wrap", psn_wrap, "PSNs across 2^24" },
	{ "rd_atomic", rd_atomic, "max_rd_atomic 1, dozens of READs and atomics" },
	{ "many_qps", many_qps, "many QPs on one CQ" },
	{ "write_send", write_send, "a SEND's receive shows the WRITEs before it" },
	{ "atomics_race", atomics_race, "atomics of QPs and of the CPU on one word" },
	{ "ud", ud, "UD: Q_Key, lengths" },
	{ 0 },
};
