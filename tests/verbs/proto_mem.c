// SPDX-License-Identifier: BSD-2-Clause
/*
 * Keys, bounds, rights: what must be refused is refused, with the right status, and no data move.
 */
#include "proto.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

static const enum ibv_wr_opcode remote_ops[] = { IBV_WR_RDMA_WRITE, IBV_WR_RDMA_READ,
						 IBV_WR_ATOMIC_FETCH_AND_ADD,
						 IBV_WR_ATOMIC_CMP_AND_SWP };

static const char *op_str(enum ibv_wr_opcode op)
{
	return op == IBV_WR_RDMA_WRITE ? "WRITE" : op == IBV_WR_RDMA_READ ? "READ" :
	       op == IBV_WR_ATOMIC_FETCH_AND_ADD ? "FETCH_ADD" : op == IBV_WR_ATOMIC_CMP_AND_SWP ?
	       "CMP_SWP" : op == IBV_WR_SEND ? "SEND" : "?";
}

/* Each remote operation of @len bytes (atomics: 8) must fail like that, and change nothing at B. */
static void all_refused(struct pr *w, const char *what, uint64_t raddr, uint32_t rkey, size_t len,
			enum ibv_wc_status want, enum ibv_wc_status or_else)
{
	for (size_t i = 0; i < ARRAY_LEN(remote_ops); i++) {
		enum ibv_wr_opcode op = remote_ops[i];
		struct ibv_sge sg = t_sge(w->pa, i > 1 ? 8 : len, w->ma->lkey);
		struct t_wr wr = { .op = op, .sg = &sg, .n = 1, .raddr = raddr, .rkey = rkey };
		char s[160];

		snprintf(s, sizeof(s), "%s: %s of %u bytes at %#llx rkey %#x", what, op_str(op),
			 sg.length, (unsigned long long)raddr, rkey);
		pr_try2(w, s, &wr, want, or_else);
		t_pat_check(s, w->pa, PR_ROOM, 1, 0); /* nothing landed */
		pr_unchanged(w, s);
	}
}

static void rkeys(struct t_dev *d)
{
	struct pr w;
	struct ibv_pd *pd = ibv_alloc_pd(d->ctx);
	struct ibv_mr *other, *gone;
	uint32_t old;

	pr_open(&w, d, NULL);
	all_refused(&w, "rkey that never was", (uintptr_t)w.pb, 0xdeadbe00, 100,
		    IBV_WC_REM_ACCESS_ERR, IBV_WC_REM_ACCESS_ERR);
	all_refused(&w, "rkey 0", (uintptr_t)w.pb, 0, 100, IBV_WC_REM_ACCESS_ERR,
		    IBV_WC_REM_ACCESS_ERR);
	all_refused(&w, "wrong variant of a key", (uintptr_t)w.pb, w.mb->rkey ^ 1, 100,
		    IBV_WC_REM_ACCESS_ERR, IBV_WC_REM_ACCESS_ERR);
	all_refused(&w, "wrong index of a key", (uintptr_t)w.pb, w.mb->rkey ^ 0x40000000, 100,
		    IBV_WC_REM_ACCESS_ERR, IBV_WC_REM_ACCESS_ERR);
	other = t_reg(pd, w.pb, PR_ROOM, T_ALL_ACCESS);
	all_refused(&w, "rkey of another PD", (uintptr_t)w.pb, other->rkey, 100,
		    IBV_WC_REM_ACCESS_ERR, IBV_WC_REM_ACCESS_ERR);
	ibv_dereg_mr(other);
	gone = t_reg(d->pd, w.pb, PR_ROOM, T_ALL_ACCESS);
	old = gone->rkey;
	ibv_dereg_mr(gone);
	all_refused(&w, "rkey of a MR that is gone", (uintptr_t)w.pb, old, 100,
		    IBV_WC_REM_ACCESS_ERR, IBV_WC_REM_ACCESS_ERR);
	t_pair_works("afterwards", &w.a, &w.b);
	pr_close(&w);
	ibv_dealloc_pd(pd);
}

static void bounds_of(struct t_dev *d, unsigned more)
{
	const char *kind = more ? "ODP" : "pinned";
	struct pr w;
	struct ibv_mr *m;
	uint64_t from, to;
	char s[100];
	struct { const char *what; uint64_t at; size_t len; } bad[9];

	pr_open(&w, d, NULL);
	m = t_reg(d->pd, w.pb + 1000, 5000, T_ALL_ACCESS | more);
	from = (uintptr_t)w.pb + 1000;
	to = from + 5000;
	bad[0].what = "one byte before the MR", bad[0].at = from - 1, bad[0].len = 100;
	bad[1].what = "one byte behind the MR", bad[1].at = to - 99, bad[1].len = 100;
	bad[2].what = "longer than the MR", bad[2].at = from, bad[2].len = 5001;
	bad[3].what = "at its end", bad[3].at = to, bad[3].len = 8;
	bad[4].what = "far behind", bad[4].at = to + (1ULL << 40), bad[4].len = 8;
	bad[5].what = "at address 0", bad[5].at = 0, bad[5].len = 8;
	bad[6].what = "at the top of the address space", bad[6].at = UINT64_MAX - 7, bad[6].len = 8;
	bad[7].what = "wrapping around 2^64", bad[7].at = UINT64_MAX - 63, bad[7].len = 4096;
	bad[8].what = "wrapping around into the MR", bad[8].at = from - 40000, bad[8].len = 44000;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		snprintf(s, sizeof(s), "%s, %s", kind, bad[i].what);
		/* An atomic has an aligned address and 8 bytes, which lie outside. */
		for (size_t k = 0; k < ARRAY_LEN(remote_ops); k++) {
			uint64_t at = bad[i].at;
			struct ibv_sge sg = t_sge(w.pa, bad[i].len, w.ma->lkey);
			struct t_wr wr = { .op = remote_ops[k], .sg = &sg, .n = 1,
					  .rkey = m->rkey };
			char t[200];

			if (k > 1) {
				sg.length = 8;
				at = i == 1 || i == 2 ? (to - 7 + 7) & ~7ULL : at & ~7ULL;
			}
			wr.raddr = at;
			snprintf(t, sizeof(t), "%s: %s of %u bytes", s, op_str(wr.op), sg.length);
			pr_try(&w, t, &wr, IBV_WC_REM_ACCESS_ERR);
			t_pat_check(t, w.pa, PR_ROOM, 1, 0);
			pr_unchanged(&w, t);
		}
	}
	/* Exactly the whole MR is allowed, and so is nothing at its end. */
	{
		struct ibv_sge sg = t_sge(w.pa, 5000, w.ma->lkey), no = t_sge(w.pa, 0, w.ma->lkey);
		struct t_wr wr = {
			.op = IBV_WR_RDMA_WRITE, .sg = &sg, .n = 1,
			.raddr = from, .rkey = m->rkey,
		};

		pr_try(&w, "the whole MR", &wr, IBV_WC_SUCCESS);
		t_pat_check("the whole MR", w.pb + 1000, 5000, 1, 0);
		t_pat_check("before it", w.pb, 1000, PR_GUARD_SEQ, 0);
		t_pat_check("behind it", w.pb + 6000, PR_ROOM - 6000, PR_GUARD_SEQ, 6000);
		wr.sg = &no;
		wr.raddr = to;
		pr_try(&w, "no bytes at the end of the MR", &wr, IBV_WC_SUCCESS);
	}
	ibv_dereg_mr(m);
	pr_close(&w);
}

static void bounds(struct t_dev *d)
{
	bounds_of(d, 0);
	if (d->odp)
		bounds_of(d, IBV_ACCESS_ON_DEMAND);
}

/* Rights of the MR, then of the QP. */
static void rights(struct t_dev *d)
{
	static const unsigned need[] = { IBV_ACCESS_REMOTE_WRITE, IBV_ACCESS_REMOTE_READ,
					 IBV_ACCESS_REMOTE_ATOMIC, IBV_ACCESS_REMOTE_ATOMIC };
	struct pr w;

	pr_open(&w, d, NULL);
	for (int odp = 0; odp <= (int)d->odp; odp++) {
		for (size_t i = 0; i < ARRAY_LEN(remote_ops); i++) {
			unsigned access =
				(T_ALL_ACCESS & ~need[i]) | (odp ? IBV_ACCESS_ON_DEMAND : 0);
			struct ibv_mr *m = t_reg(d->pd, w.pb, PR_ROOM, access);
			struct ibv_sge sg = t_sge(w.pa, i > 1 ? 8 : 3000, w.ma->lkey);
			struct t_wr wr = {
				.op = remote_ops[i], .sg = &sg, .n = 1,
				.raddr = (uintptr_t)w.pb, .rkey = m->rkey,
			};
			char s[100];

			snprintf(s, sizeof(s), "%s without the right (%s MR)", op_str(wr.op),
				 odp ? "ODP" : "pinned");
			pr_try(&w, s, &wr, IBV_WC_REM_ACCESS_ERR);
			t_pat_check(s, w.pa, PR_ROOM, 1, 0);
			pr_unchanged(&w, s);
			ibv_dereg_mr(m);
		}
	}
	pr_close(&w);

	for (size_t i = 0; i < ARRAY_LEN(remote_ops); i++) {
		struct t_opt o = { .access = T_ALL_ACCESS & ~need[i] };
		struct ibv_sge sg;
		struct t_wr wr = { .op = remote_ops[i], .sg = &sg, .n = 1 };
		char s[100];

		pr_open(&w, d, &o);
		sg = t_sge(w.pa, i > 1 ? 8 : 3000, w.ma->lkey);
		wr.raddr = (uintptr_t)w.pb;
		wr.rkey = w.mb->rkey;
		snprintf(s, sizeof(s), "%s without the right of the QP", op_str(wr.op));
		pr_try2(&w, s, &wr, IBV_WC_REM_ACCESS_ERR, IBV_WC_REM_INV_REQ_ERR);
		t_pat_check(s, w.pa, PR_ROOM, 1, 0);
		pr_unchanged(&w, s);
		pr_close(&w);
	}
}

/* The local side: keys, bounds and rights of the SGEs. */
static void lkeys(struct t_dev *d)
{
	static const enum ibv_wr_opcode ops[] = { IBV_WR_RDMA_WRITE, IBV_WR_RDMA_READ, IBV_WR_SEND,
						  IBV_WR_ATOMIC_FETCH_AND_ADD };
	struct ibv_pd *pd = ibv_alloc_pd(d->ctx);
	struct ibv_mr *other, *ro, *part;
	struct pr w;

	pr_open(&w, d, NULL);
	other = t_reg(pd, w.pa, PR_ROOM, T_ALL_ACCESS);
	ro = t_reg(d->pd, w.pa, PR_ROOM, 0);
	part = t_reg(d->pd, w.pa + T_PAGE, T_PAGE, T_ALL_ACCESS);
	for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
		bool atomic = ops[i] == IBV_WR_ATOMIC_FETCH_AND_ADD;
		size_t len = atomic ? 8 : 200;
		struct { const char *what; const uint8_t *p; uint32_t lkey; } bad[] = {
			{ "lkey that never was", w.pa, 0xfeedf000 },
			{ "lkey 0", w.pa, 0 },
			{ "lkey with a wrong variant", w.pa, w.ma->lkey ^ 3 },
			{ "lkey of another PD", w.pa, other->lkey },
			{ "SGE before its MR", w.pa + T_PAGE - 1, part->lkey },
			{ "SGE behind its MR", w.pa + 2 * T_PAGE - len + 1, part->lkey },
			{ "SGE without LOCAL_WRITE", w.pa, ro->lkey },
		};

		for (size_t k = 0; k < ARRAY_LEN(bad); k++) {
			struct ibv_sge sg[2] = { t_sge(w.pa + 5000, 100, w.ma->lkey),
						 t_sge(bad[k].p, len, bad[k].lkey) };
			struct t_wr wr = {
				.op = ops[i], .sg = atomic ? sg + 1 : sg, .n = atomic ? 1 : 2,
				.raddr = (uintptr_t)w.pb, .rkey = w.mb->rkey,
			};
			char s[120];

			if (k == 6 && ops[i] != IBV_WR_RDMA_READ && !atomic)
				continue; /* reading is allowed */
			pr_fill(&w, 1);
			snprintf(s, sizeof(s), "%s, %s", op_str(ops[i]), bad[k].what);
			if (ops[i] == IBV_WR_SEND && t_recv_one(&w.b, w.pb, 1000, w.mb->lkey, 1))
				t_die("post of a receive failed");
			pr_try(&w, s, &wr, IBV_WC_LOC_PROT_ERR);
			/* (The good first SGE of a READ may have been written.) */
			t_pat_check(s, w.pa, 5000, 1, 0);
			if (ops[i] != IBV_WR_RDMA_WRITE && ops[i] != IBV_WR_SEND && !atomic)
				pr_unchanged(&w, s);
		}
	}
	t_pair_works("afterwards", &w.a, &w.b);
	ibv_dereg_mr(other);
	ibv_dereg_mr(ro);
	ibv_dereg_mr(part);
	pr_close(&w);
	ibv_dealloc_pd(pd);
}

/* Receives that cannot hold what arrives. */
static void bad_recv(struct t_dev *d)
{
	static const enum ibv_wc_status prot[] = { IBV_WC_LOC_PROT_ERR, IBV_WC_LOC_QP_OP_ERR };
	struct pr w;
	struct ibv_mr *ro;

	pr_open(&w, d, NULL);
	/* too small, by one byte, and by far */
	for (unsigned len = 101; len < 20000; len = len * 10 + 7) {
		pr_fill(&w, 1);
		if (t_recv_one(&w.b, w.pb + 2000, 100, w.mb->lkey, 9) ||
		    t_post_one(&w.a, IBV_WR_SEND, w.pa, len, w.ma->lkey, 0, 0, 1))
			t_die("post failed");
		t_expect("SEND into a receive that is too small", w.a.scq,
			 IBV_WC_REM_INV_REQ_ERR, NULL);
		t_expect("receive that is too small", w.b.rcq, IBV_WC_LOC_LEN_ERR, NULL);
		t_pat_check("before a receive that is too small", w.pb, 2000, PR_GUARD_SEQ, 0);
		t_pat_check("behind a receive that is too small", w.pb + 2100, PR_ROOM - 2100,
			    PR_GUARD_SEQ, 2100);
		pr_again(&w);
	}
	pr_fill(&w, 1);
	ro = t_reg(d->pd, w.pb, PR_ROOM, 0);
	for (int k = 0; k < 3; k++) {
		static const char *const name[] = {
			"wrong lkey", "no LOCAL_WRITE", "SGE out of bounds"
		};
		struct ibv_sge sg = k == 0 ? t_sge(w.pb, 1000, 0xabcdef00) :
				    k == 1 ? t_sge(w.pb, 1000, ro->lkey) :
					     t_sge(w.pb + PR_ROOM - 500, 1000, w.mb->lkey);
		char s[80];

		snprintf(s, sizeof(s), "SEND into a receive with %s", name[k]);
		if (t_recv(&w.b, &sg, 1, 9) || t_post_one(&w.a, IBV_WR_SEND, w.pa, 800, w.ma->lkey,
							  0, 0, 1))
			t_die("post failed");
		t_expect(s, w.a.scq, IBV_WC_REM_OP_ERR, NULL);
		t_expect_any(s, w.b.rcq, prot, 2, NULL);
		if (k < 2)
			pr_unchanged(&w, s);
		pr_again(&w);
	}
	ibv_dereg_mr(ro);
	/* A receive whose MR was deregistered after it was posted. */
	pr_fill(&w, 1);
	ro = t_reg(d->pd, w.pb, PR_ROOM, T_ALL_ACCESS);
	if (t_recv_one(&w.b, w.pb, 1000, ro->lkey, 9))
		t_die("post failed");
	ibv_dereg_mr(ro);
	if (t_post_one(&w.a, IBV_WR_SEND, w.pa, 800, w.ma->lkey, 0, 0, 1))
		t_die("post failed");
	t_expect("SEND into a receive whose MR is gone", w.a.scq, IBV_WC_REM_OP_ERR, NULL);
	t_expect_any("receive whose MR is gone", w.b.rcq, prot, 2, NULL);
	pr_unchanged(&w, "receive whose MR is gone");
	pr_again(&w);
	t_pair_works("afterwards", &w.a, &w.b);
	pr_close(&w);
}

static void misaligned(struct t_dev *d)
{
	struct pr w;

	pr_open(&w, d, NULL);
	for (unsigned off = 1; off < 8; off += 3) {
		for (int k = 0; k < 2; k++) {
			struct ibv_sge sg = t_sge(w.pa, 8, w.ma->lkey);
			struct t_wr wr = {
				.op = k ? IBV_WR_ATOMIC_CMP_AND_SWP : IBV_WR_ATOMIC_FETCH_AND_ADD,
				.sg = &sg, .n = 1,
				.raddr = (uintptr_t)w.pb + 64 + off, .rkey = w.mb->rkey,
				.compare = 5,
			};
			char s[80];

			snprintf(s, sizeof(s), "%s at an address of 8n + %u", op_str(wr.op), off);
			/* The provider may refuse it, else the responder does. */
			if (t_post(&w.a, &wr) != EINVAL) {
				static const enum ibv_wc_status st[] = { IBV_WC_REM_INV_REQ_ERR,
									 IBV_WC_REM_ACCESS_ERR };

				t_expect_any(s, w.a.scq, st, 2, NULL);
				pr_again(&w);
			}
			pr_unchanged(&w, s);
		}
	}
	pr_close(&w);
}

/* What post_send and post_recv themselves must refuse. */
static void bad_posts(struct t_dev *d)
{
	struct t_opt o = { .sge = 2, .depth = 8, .inl = 64 };
	struct ibv_sge sg[64];
	struct t_wr wr = { .op = IBV_WR_RDMA_WRITE, .sg = sg };
	struct ibv_qp_init_attr ia;
	struct ibv_qp_attr qa;
	struct ibv_wc wc;
	struct t_ep e;
	struct pr w;
	int rc, n = 0;

	pr_open(&w, d, &o);
	for (size_t i = 0; i < ARRAY_LEN(sg); i++)
		sg[i] = t_sge(w.pa, 8, w.ma->lkey);
	wr.raddr = (uintptr_t)w.pb;
	wr.rkey = w.mb->rkey;
	if (ibv_query_qp(w.a.qp, &qa, IBV_QP_CAP, &ia))
		t_die("ibv_query_qp failed");
	if (ia.cap.max_send_sge >= 40)
		t_note("bad_posts: max_send_sge is %u", ia.cap.max_send_sge);
	wr.n = (int)ia.cap.max_send_sge + 1;
	if (wr.n < 64 && !t_post(&w.a, &wr))
		t_fail("a WR with %d SGEs was taken, the QP has room for %u", wr.n,
		       ia.cap.max_send_sge);
	rc = t_recv(&w.b, sg, (int)ia.cap.max_recv_sge + 1, 1);
	if (!rc)
		t_fail("a receive with %u SGEs was taken, the QP has room for %u",
		       ia.cap.max_recv_sge + 1, ia.cap.max_recv_sge);
	wr.n = 1;
	wr.flags = IBV_SEND_INLINE;
	sg[0].length = ia.cap.max_inline_data + 1;
	if (!t_post(&w.a, &wr))
		t_fail("inline data of %u bytes was taken, the limit is %u", sg[0].length,
		       ia.cap.max_inline_data);
	t_none("refused posts", w.a.scq, 0.02);
	wr.flags = 0;
	sg[0].length = 8;
	/* A full receive queue refuses posts. */
	while (n < 70000 && !t_recv(&w.b, sg, 0, (uint64_t)n))
		n++;
	if (n < 8 || n == 70000)
		t_fail("%d receives were taken by a queue of %u", n, ia.cap.max_recv_wr);
	pr_close(&w);

	/* No posts before INIT (receive) or RTS (send). */
	t_ep_open(&e, d, &o);
	w.pa = t_map(T_PAGE);
	w.ma = t_reg(d->pd, w.pa, T_PAGE, T_ALL_ACCESS);
	sg[0] = t_sge(w.pa, 8, w.ma->lkey);
	if (!t_recv(&e, sg, 1, 1))
		t_fail("a receive was taken in RESET");
	if (!t_post(&e, &wr))
		t_fail("a send was taken in RESET");
	if (t_ep_init(&e))
		t_fail("to INIT failed");
	if (t_recv(&e, sg, 1, 1))
		t_fail("a receive was refused in INIT");
	if (!t_post(&e, &wr))
		t_fail("a send was taken in INIT");
	if (t_wait(e.scq, &wc, 0.02))
		t_fail("a completion in INIT");
	t_ep_close(&e);
	ibv_dereg_mr(w.ma);
	munmap(w.pa, T_PAGE);
}

const struct t_test pr_mem[] = {
	{ "rkeys", rkeys, "rkeys that never were, are gone, or belong to another PD" },
	{ "bounds", bounds, "out of bounds on each side, with overflow; pinned and ODP" },
	{ "rights", rights, "missing rights of the MR and of the QP" },
	{ "lkeys", lkeys, "lkeys, bounds and rights of SGEs" },
	{ "bad_recv", bad_recv, "receives that are too small, or whose memory cannot be used" },
	{ "misaligned", misaligned, "atomics at odd addresses" },
	{ "bad_posts", bad_posts, "what post_send and post_recv refuse" },
	{ 0 },
};
