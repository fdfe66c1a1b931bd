// SPDX-License-Identifier: BSD-2-Clause
/* Memory windows, both types: bounds, rights, invalidation. */
#include "proto.h"

#include <errno.h>
#include <string.h>

static bool write_through(struct pr *w, const char *what, uint64_t at, size_t len, uint32_t rkey,
			  enum ibv_wc_status want)
{
	struct ibv_sge sg = t_sge(w->pa, len, w->ma->lkey);
	struct t_wr wr = { .op = IBV_WR_RDMA_WRITE, .sg = &sg, .n = 1, .raddr = at, .rkey = rkey };

	return pr_try(w, what, &wr, want);
}

static bool local_inv(struct t_ep *e, uint32_t rkey, enum ibv_wc_status want)
{
	struct ibv_send_wr wr = { .opcode = IBV_WR_LOCAL_INV, .send_flags = IBV_SEND_SIGNALED,
				  .invalidate_rkey = rkey }, *bad;

	if (ibv_post_send(e->qp, &wr, &bad)) {
		t_fail("post of LOCAL_INV failed");
		return false;
	}
	return t_expect("LOCAL_INV", e->scq, want, NULL);
}

static bool bind2(struct t_ep *e, struct ibv_mw *mw, struct ibv_mr *mr, void *p, size_t len,
		  unsigned access)
{
	struct ibv_send_wr wr = { .opcode = IBV_WR_BIND_MW, .send_flags = IBV_SEND_SIGNALED }, *bad;
	int rc;

	wr.bind_mw.mw = mw;
	wr.bind_mw.rkey = ibv_inc_rkey(mw->rkey);
	wr.bind_mw.bind_info = (struct ibv_mw_bind_info){ mr, (uintptr_t)p, len, access };
	rc = ibv_post_send(e->qp, &wr, &bad);
	if (rc) {
		t_fail("post of BIND_MW: %s", strerror(rc));
		return false;
	}
	mw->rkey = wr.bind_mw.rkey;
	return t_expect("BIND_MW", e->scq, IBV_WC_SUCCESS, NULL);
}

static void type2_on(struct t_dev *d, unsigned more)
{
	struct ibv_mw *mw = ibv_alloc_mw(d->pd, IBV_MW_TYPE_2);
	struct ibv_mr *mr;
	uint64_t at;
	uint32_t old;
	struct pr w, x;

	if (!mw) {
		t_fail("ibv_alloc_mw(type 2): %s", strerror(errno));
		return;
	}
	pr_open(&w, d, NULL);
	pr_open(&x, d, NULL);
	mr = t_reg(d->pd, w.pb, PR_ROOM, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_MW_BIND | more);
	at = (uintptr_t)w.pb + 3000;
	if (bind2(&w.b, mw, mr, w.pb + 3000, 7000, IBV_ACCESS_REMOTE_WRITE)) {
		write_through(&w, "through a window", at, 7000, mw->rkey, IBV_WC_SUCCESS);
		t_pat_check("through a window", w.pb + 3000, 7000, 1, 0);
		t_pat_check("before the window", w.pb, 3000, PR_GUARD_SEQ, 0);
		t_pat_check("behind the window", w.pb + 10000, PR_ROOM - 10000,
			    PR_GUARD_SEQ, 10000);
		pr_fill(&x, 1);
		/* Through another QP than the one that it was bound on. */
		{
			struct ibv_sge sg = t_sge(x.pa, 100, x.ma->lkey);
			struct t_wr wr = { .op = IBV_WR_RDMA_WRITE, .sg = &sg, .n = 1, .raddr = at,
					   .rkey = mw->rkey };

			pr_try(&x, "a window of another QP", &wr, IBV_WC_REM_ACCESS_ERR);
		}
		pr_fill(&w, 1);
		write_through(&w, "before a window", at - 1, 10, mw->rkey, IBV_WC_REM_ACCESS_ERR);
		pr_unchanged(&w, "before a window");
		write_through(&w, "behind a window", at + 6991, 10, mw->rkey,
			      IBV_WC_REM_ACCESS_ERR);
		pr_unchanged(&w, "behind a window");
		{
			struct ibv_sge sg = t_sge(w.pa, 100, w.ma->lkey);
			struct t_wr wr = { .op = IBV_WR_RDMA_READ, .sg = &sg, .n = 1, .raddr = at,
					   .rkey = mw->rkey };

			pr_try(&w, "READ through a window without the right", &wr,
			       IBV_WC_REM_ACCESS_ERR);
		}
	}
	/* pr_try went through RESET after each error; that may free the window, or may not. */
	ibv_dealloc_mw(mw);
	mw = ibv_alloc_mw(d->pd, IBV_MW_TYPE_2);
	if (mw && bind2(&w.b, mw, mr, w.pb + 3000, 7000, IBV_ACCESS_REMOTE_WRITE)) {
		old = mw->rkey;
		local_inv(&w.b, mw->rkey, IBV_WC_SUCCESS);
		pr_fill(&w, 1);
		write_through(&w, "an invalidated window", at, 100, old, IBV_WC_REM_ACCESS_ERR);
		pr_unchanged(&w, "an invalidated window");
		if (bind2(&w.b, mw, mr, w.pb + 3000, 7000, IBV_ACCESS_REMOTE_WRITE)) {
			struct t_wr wr = { .op = IBV_WR_SEND_WITH_INV, .imm = mw->rkey };
			struct ibv_wc wc;

			if (old == mw->rkey)
				t_fail("a window has the same key after it was bound again");
			write_through(&w, "a window bound again", at, 100, mw->rkey,
				      IBV_WC_SUCCESS);
			if (t_recv(&w.b, NULL, 0, 3))
				t_die("post of a receive failed");
			pr_try(&w, "SEND_WITH_INV", &wr, IBV_WC_SUCCESS);
			if (t_expect("receive of SEND_WITH_INV", w.b.rcq, IBV_WC_SUCCESS, &wc) &&
			    (!(wc.wc_flags & IBV_WC_WITH_INV) || wc.invalidated_rkey != mw->rkey))
				t_fail("SEND_WITH_INV: flags %#x, key %#x, expected %#x and %#x",
				       wc.wc_flags, wc.invalidated_rkey, IBV_WC_WITH_INV, mw->rkey);
			pr_fill(&w, 1);
			write_through(&w, "a window that SEND_WITH_INV has invalidated", at, 100,
				      mw->rkey, IBV_WC_REM_ACCESS_ERR);
			pr_unchanged(&w, "a window that SEND_WITH_INV has invalidated");
		}
	}
	if (mw)
		ibv_dealloc_mw(mw);
	ibv_dereg_mr(mr);
	pr_close(&w);
	pr_close(&x);
}

static void type2(struct t_dev *d)
{
	type2_on(d, 0);
	if (d->odp)
		type2_on(d, IBV_ACCESS_ON_DEMAND);
}

static void type1(struct t_dev *d)
{
	struct ibv_mw *mw = ibv_alloc_mw(d->pd, IBV_MW_TYPE_1);
	struct ibv_mw_bind b = { .wr_id = 1, .send_flags = IBV_SEND_SIGNALED };
	struct pr w;
	uint32_t old;
	int rc;

	if (!mw) {
		t_fail("ibv_alloc_mw(type 1): %s", strerror(errno));
		return;
	}
	pr_open(&w, d, NULL);
	b.bind_info = (struct ibv_mw_bind_info){
		.mr = w.mb, .addr = (uintptr_t)w.pb + 100, .length = 5000,
		.mw_access_flags = IBV_ACCESS_REMOTE_WRITE,
	};
	rc = ibv_bind_mw(w.b.qp, mw, &b);
	if (rc) {
		t_fail("ibv_bind_mw: %s", strerror(rc));
	} else {
		t_expect("BIND_MW (type 1)", w.b.scq, IBV_WC_SUCCESS, NULL);
		write_through(&w, "through a type 1 window", (uintptr_t)w.pb + 100, 5000, mw->rkey,
			      IBV_WC_SUCCESS);
		t_pat_check("through a type 1 window", w.pb + 100, 5000, 1, 0);
		pr_fill(&w, 1);
		write_through(&w, "behind a type 1 window", (uintptr_t)w.pb + 100, 5001, mw->rkey,
			      IBV_WC_REM_ACCESS_ERR);
		pr_unchanged(&w, "behind a type 1 window");
		/* Binding it again moves it; binding it with length 0 frees it. */
		old = mw->rkey;
		b.bind_info.length = 0;
		rc = ibv_bind_mw(w.b.qp, mw, &b);
		if (rc) {
			t_fail("ibv_bind_mw of length 0: %s", strerror(rc));
		} else {
			t_expect("BIND_MW of length 0", w.b.scq, IBV_WC_SUCCESS, NULL);
			write_through(&w, "a window of length 0", (uintptr_t)w.pb + 100, 10,
				      mw->rkey, IBV_WC_REM_ACCESS_ERR);
			write_through(&w, "the old key of a window", (uintptr_t)w.pb + 100, 10, old,
				      IBV_WC_REM_ACCESS_ERR);
			pr_unchanged(&w, "a window of length 0");
		}
	}
	ibv_dealloc_mw(mw);
	pr_close(&w);
}

const struct t_test pr_window[] = {
	{ "mw_type2", type2, "type 2 windows: bounds, rights, QP, LOCAL_INV, SEND_WITH_INV" },
	{ "mw_type1", type1, "type 1 windows: bind, bounds, bind of nothing" },
	{ 0 },
};
