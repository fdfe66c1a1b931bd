// SPDX-License-Identifier: BSD-2-Clause
/*
 * RDMA FLUSH: when it completes, what was sent before it is in place; what must be refused is
 * refused, with the right status.
 */
#include "proto.h"

#include <errno.h>
#include <string.h>

#define OPS (IBV_QP_EX_WITH_RDMA_WRITE | IBV_QP_EX_WITH_FLUSH | IBV_QP_EX_WITH_ATOMIC_WRITE | \
	     IBV_QP_EX_WITH_BIND_MW)
#define QP_ACCESS (T_ALL_ACCESS | IBV_ACCESS_MW_BIND | IBV_ACCESS_FLUSH_GLOBAL)
#define MR_ACCESS (T_ALL_ACCESS | IBV_ACCESS_MW_BIND | IBV_ACCESS_FLUSH_GLOBAL)

/* Without the capability no MR can be registered for it: then there is nothing to test. */
static bool has_flush(struct t_dev *d)
{
	void *p = t_map(T_PAGE);
	struct ibv_mr *m = ibv_reg_mr(d->pd, p, T_PAGE, MR_ACCESS);

	if (m && !d->flush)
		t_fail("an MR for FLUSH, and no such capability");
	if (!m && d->flush)
		t_fail("the capability, and no MR for FLUSH: %s", strerror(errno));
	if (m)
		ibv_dereg_mr(m);
	if (!m)
		t_note("flush: not on this kernel");
	return m;
}

static void open_pair(struct pr *w, struct t_dev *d, unsigned access)
{
	struct t_opt o = { .ops = OPS, .access = access };

	pr_open(w, d, &o);
}

static bool try_flush(struct pr *w, const char *what, uint64_t at, uint32_t rkey, size_t len,
		      unsigned type, unsigned level, enum ibv_wc_status want)
{
	struct ibv_wc wc;
	int rc = t_flush(&w->a, at, rkey, len, (uint8_t)type, (uint8_t)level, 77);
	bool ok;

	if (rc) {
		t_fail("%s: ibv_wr_flush: %s", what, strerror(rc));
		return false;
	}
	ok = t_expect(what, w->a.scq, want, &wc);
	if (ok && !wc.status && (wc.opcode != IBV_WC_FLUSH || wc.wr_id != 77))
		t_fail("%s: completed with opcode %d, wr_id %llu", what, wc.opcode,
		       (unsigned long long)wc.wr_id);
	if (wc.status)
		pr_again(w);
	return ok;
}

/*
 * Unsignalled WRITEs, each with a FLUSH after it whose completion says that the data are there.
 * Then many at once, with an ATOMIC WRITE of a flag after each FLUSH.
 */
static void order_on(struct t_dev *d, unsigned more)
{
	static const size_t lens[] = { 1, 100, 4096, 9000, 40000 };
	struct ibv_mr *m;
	struct ibv_wc wc;
	struct pr w;

	open_pair(&w, d, QP_ACCESS);
	m = t_reg(d->pd, w.pb, PR_ROOM, MR_ACCESS | more);
	for (uint64_t i = 0; i < 60; i++) {
		size_t len = lens[i % ARRAY_LEN(lens)], off = 3 * i;
		struct ibv_sge sg = t_sge(w.pa, len, w.ma->lkey);
		struct t_wr wr = {
			.op = IBV_WR_RDMA_WRITE, .sg = &sg, .n = 1,
			.raddr = (uintptr_t)w.pb + off, .rkey = m->rkey,
			.flags = T_UNSIGNALED,
		};
		char s[100];

		snprintf(s, sizeof(s), "%s, WRITE of %zu bytes and FLUSH no. %llu",
			 more ? "ODP" : "pinned", len, (unsigned long long)i);
		pr_fill(&w, i + 10);
		if (more && i % 3 == 0) /* the WRITE faults, and the FLUSH waits for it */
			t_drop(w.pb, PR_ROOM);
		if (t_post(&w.a, &wr))
			t_die("%s: post failed", s);
		if (!try_flush(&w, s, wr.raddr, m->rkey, len, IBV_FLUSH_GLOBAL, i & 1,
			       IBV_WC_SUCCESS))
			break;
		t_pat_check(s, w.pb + off, len, i + 10, 0);
		if (more && i % 3 == 0)
			t_zero_check(s, w.pb + off + len, T_PAGE);
		else
			t_pat_check(s, w.pb + off + len, T_PAGE, PR_GUARD_SEQ, off + len);
	}
	/* More at once than the responder has resources for. */
	for (uint64_t i = 0; i < 20; i++) {
		uint64_t flag = t_mix(i);
		struct ibv_sge sg = t_sge(w.pa + 16 * i, 1000, w.ma->lkey);
		struct t_wr wr = {
			.op = IBV_WR_RDMA_WRITE, .sg = &sg, .n = 1,
			.raddr = (uintptr_t)w.pb + 1024 * i, .rkey = m->rkey,
			.flags = T_UNSIGNALED,
		};

		if (!i)
			pr_fill(&w, 5);
		if (t_post(&w.a, &wr) ||
		    t_flush(&w.a, wr.raddr, m->rkey, 1000, IBV_FLUSH_GLOBAL, IBV_FLUSH_RANGE, i) ||
		    t_atomic_write(&w.a, (uintptr_t)w.pb + 50000 / 8 * 8 + 8 * i, m->rkey, &flag,
				   1000 + i))
			t_die("post of WRITE, FLUSH and ATOMIC WRITE failed");
	}
	for (uint64_t i = 0; i < 20; i++) {
		uint64_t flag;

		if (!t_expect("FLUSH of many", w.a.scq, IBV_WC_SUCCESS, &wc) || wc.wr_id != i)
			t_die("FLUSH of many: wr_id %llu, expected %llu",
			      (unsigned long long)wc.wr_id, (unsigned long long)i);
		t_pat_check("FLUSH of many", w.pb + 1024 * i, 1000, 5, 16 * i);
		if (!t_expect("ATOMIC WRITE of many", w.a.scq, IBV_WC_SUCCESS, &wc) ||
		    wc.wr_id != 1000 + i)
			t_die("ATOMIC WRITE of many: wr_id %llu", (unsigned long long)wc.wr_id);
		memcpy(&flag, w.pb + 50000 / 8 * 8 + 8 * i, 8);
		if (flag != t_mix(i))
			t_fail("flag %llu is %#llx", (unsigned long long)i,
			       (unsigned long long)flag);
	}
	ibv_dereg_mr(m);
	pr_close(&w);
}

static void flush_order(struct t_dev *d)
{
	if (!has_flush(d))
		return;
	order_on(d, 0);
	if (d->odp)
		order_on(d, IBV_ACCESS_ON_DEMAND);
}

static void bounds_on(struct t_dev *d, unsigned more)
{
	struct pr w;
	struct ibv_mr *m;
	uint64_t from, to;

	open_pair(&w, d, QP_ACCESS);
	m = t_reg(d->pd, w.pb + 1000, 5000, MR_ACCESS | more);
	from = (uintptr_t)w.pb + 1000;
	to = from + 5000;
	const struct { const char *what; uint64_t at; size_t len; bool good; } range[] = {
		{ "the whole MR", from, 5000, true },
		{ "its last byte", to - 1, 1, true },
		{ "no bytes at its end", to, 0, true },
		{ "one byte before", from - 1, 100, false },
		{ "one byte behind", to - 99, 100, false },
		{ "longer than the MR", from, 5001, false },
		{ "at its end", to, 1, false },
		{ "no bytes behind its end", to + 1, 0, false },
		{ "wrapping around 2^64", UINT64_MAX - 63, 4096, false },
		{ "as long as can be", from, UINT32_MAX, false },
	};

	for (size_t i = 0; i < ARRAY_LEN(range); i++) {
		char s[100];

		snprintf(s, sizeof(s), "%s MR: FLUSH of %s", more ? "ODP" : "pinned",
			 range[i].what);
		try_flush(&w, s, range[i].at, m->rkey, range[i].len, IBV_FLUSH_GLOBAL,
			  IBV_FLUSH_RANGE, range[i].good ? IBV_WC_SUCCESS : IBV_WC_REM_ACCESS_ERR);
			/* A FLUSH of the MR: the address and the length mean nothing. */
			strcat(s, ", and of the MR");
			try_flush(&w, s, range[i].at, m->rkey, range[i].len, IBV_FLUSH_GLOBAL,
				  IBV_FLUSH_MR, IBV_WC_SUCCESS);
	}
	ibv_dereg_mr(m);
	pr_close(&w);
}

static void flush_refused(struct t_dev *d)
{
	struct ibv_pd *pd = ibv_alloc_pd(d->ctx);
	struct ibv_mr *m, *no, *other, *odp = NULL;
	uint64_t at;
	uint32_t old;
	struct pr w;

	if (!has_flush(d))
		goto out;
	bounds_on(d, 0);
	if (d->odp)
		bounds_on(d, IBV_ACCESS_ON_DEMAND);

	open_pair(&w, d, QP_ACCESS | IBV_ACCESS_FLUSH_PERSISTENT);
	at = (uintptr_t)w.pb;
	m = t_reg(d->pd, w.pb, PR_ROOM, MR_ACCESS);
	no = t_reg(d->pd, w.pb, PR_ROOM, T_ALL_ACCESS);
	other = t_reg(pd, w.pb, PR_ROOM, MR_ACCESS);
	old = other->rkey;
	for (unsigned level = IBV_FLUSH_RANGE; level <= IBV_FLUSH_MR; level++) {
		try_flush(&w, "FLUSH with an rkey that never was", at, 0xdeadbe00, 100,
			  IBV_FLUSH_GLOBAL, level, IBV_WC_REM_ACCESS_ERR);
		try_flush(&w, "FLUSH of no bytes with such a key", at, 0xdeadbe00, 0,
			  IBV_FLUSH_GLOBAL, level, IBV_WC_REM_ACCESS_ERR);
		try_flush(&w, "FLUSH with a wrong variant", at, m->rkey ^ 1, 100, IBV_FLUSH_GLOBAL,
			  level, IBV_WC_REM_ACCESS_ERR);
		try_flush(&w, "FLUSH with an rkey of another PD", at, old, 100, IBV_FLUSH_GLOBAL,
			  level, IBV_WC_REM_ACCESS_ERR);
		try_flush(&w, "FLUSH without the right of the MR", at, no->rkey, 100,
			  IBV_FLUSH_GLOBAL, level, IBV_WC_REM_ACCESS_ERR);
		/* Ordinary memory is not persistent, whatever the QP allows. */
		try_flush(&w, "persistent FLUSH", at, m->rkey, 100, IBV_FLUSH_PERSISTENT, level,
			  IBV_WC_REM_ACCESS_ERR);
		try_flush(&w, "global and persistent FLUSH", at, m->rkey, 100,
			  IBV_FLUSH_GLOBAL | IBV_FLUSH_PERSISTENT, level, IBV_WC_REM_ACCESS_ERR);
		try_flush(&w, "FLUSH to nowhere", at, m->rkey, 100, 0, level, IBV_WC_LOC_QP_OP_ERR);
		try_flush(&w, "FLUSH to an unknown place", at, m->rkey, 100, 4, level,
			  IBV_WC_LOC_QP_OP_ERR);
	}
	try_flush(&w, "FLUSH of an unknown extent", at, m->rkey, 100, IBV_FLUSH_GLOBAL, 2,
		  IBV_WC_LOC_QP_OP_ERR);
	/* The responder gets an access error event, and its QP goes to the error state. */
	pr_events_drain(d);
	if (t_flush(&w.a, at, no->rkey, 100, IBV_FLUSH_GLOBAL, IBV_FLUSH_RANGE, 1))
		t_die("post failed");
	t_expect("FLUSH without the right", w.a.scq, IBV_WC_REM_ACCESS_ERR, NULL);
	pr_event_wait(d, "FLUSH without the right", IBV_EVENT_QP_ACCESS_ERR, t_slow(3));
	if (t_ep_query_state(&w.b) != IBV_QPS_ERR)
		t_fail("the responder is in state %d after a refused FLUSH",
		       t_ep_query_state(&w.b));
	pr_again(&w);
	ibv_dereg_mr(other);
	try_flush(&w, "FLUSH with the rkey of an MR that is gone", at, old, 100, IBV_FLUSH_GLOBAL,
		  IBV_FLUSH_MR, IBV_WC_REM_ACCESS_ERR);
	pr_unchanged(&w, "FLUSHes");
	t_pair_works("afterwards", &w.a, &w.b);
	ibv_dereg_mr(m);
	ibv_dereg_mr(no);
	pr_close(&w);

	/* The QP's rights. */
	open_pair(&w, d, T_ALL_ACCESS | IBV_ACCESS_FLUSH_PERSISTENT);
	m = t_reg(d->pd, w.pb, PR_ROOM, MR_ACCESS);
	try_flush(&w, "FLUSH without the right of the QP", (uintptr_t)w.pb, m->rkey, 100,
		  IBV_FLUSH_GLOBAL, IBV_FLUSH_RANGE, IBV_WC_REM_INV_REQ_ERR);
	ibv_dereg_mr(m);
	pr_close(&w);
	open_pair(&w, d, QP_ACCESS);
	m = t_reg(d->pd, w.pb, PR_ROOM, MR_ACCESS);
	try_flush(&w, "persistent FLUSH without the right of the QP", (uintptr_t)w.pb, m->rkey, 100,
		  IBV_FLUSH_PERSISTENT, IBV_FLUSH_RANGE, IBV_WC_REM_INV_REQ_ERR);
	ibv_dereg_mr(m);

	/* Registration for persistent FLUSH is refused, for any memory. */
	errno = 0;
	m = ibv_reg_mr(d->pd, w.pb, PR_ROOM, T_ALL_ACCESS | IBV_ACCESS_FLUSH_PERSISTENT);
	if (m || (errno != EOPNOTSUPP && errno != EINVAL))
		t_fail("an MR for persistent FLUSH: %s", m ? "granted" : strerror(errno));
	if (d->odp)
		odp = ibv_reg_mr(d->pd, w.pb, PR_ROOM, T_ALL_ACCESS | IBV_ACCESS_FLUSH_PERSISTENT |
				 IBV_ACCESS_ON_DEMAND);
	if (odp)
		t_fail("an ODP MR for persistent FLUSH was granted");
	pr_close(&w);
out:
	ibv_dealloc_pd(pd);
}

/* Through a window: its bounds and its rights count, not the MR's. */
static void flush_window(struct t_dev *d)
{
	struct ibv_mw *mw;
	struct ibv_mr *m;
	struct pr w;

	if (!has_flush(d))
		return;
	mw = ibv_alloc_mw(d->pd, IBV_MW_TYPE_2);
	open_pair(&w, d, QP_ACCESS);
	m = t_reg(d->pd, w.pb, PR_ROOM, MR_ACCESS);
	for (int right = 0; mw && right < 2; right++) {
		struct ibv_send_wr *bad, wr = {
			.opcode = IBV_WR_BIND_MW,
			.send_flags = IBV_SEND_SIGNALED,
		};
		uint64_t at = (uintptr_t)w.pb + 3000;

		wr.bind_mw.mw = mw;
		wr.bind_mw.rkey = ibv_inc_rkey(mw->rkey);
		wr.bind_mw.bind_info = (struct ibv_mw_bind_info){
			.mr = m, .addr = at, .length = 7000,
			.mw_access_flags = IBV_ACCESS_REMOTE_WRITE |
					   (right ? IBV_ACCESS_FLUSH_GLOBAL : 0),
		};
		if (ibv_post_send(w.b.qp, &wr, &bad) ||
		    !t_expect("BIND_MW", w.b.scq, IBV_WC_SUCCESS, NULL))
			t_die("BIND_MW failed");
		mw->rkey = wr.bind_mw.rkey;
		if (right) {
			try_flush(&w, "FLUSH through a window", at, mw->rkey, 7000,
				  IBV_FLUSH_GLOBAL, IBV_FLUSH_RANGE, IBV_WC_SUCCESS);
			try_flush(&w, "FLUSH of a window", 0, mw->rkey, 0, IBV_FLUSH_GLOBAL,
				  IBV_FLUSH_MR, IBV_WC_SUCCESS);
			try_flush(&w, "FLUSH behind a window", at + 6901, mw->rkey, 100,
				  IBV_FLUSH_GLOBAL, IBV_FLUSH_RANGE, IBV_WC_REM_ACCESS_ERR);
		} else {
			try_flush(&w, "FLUSH through a window without the right", at, mw->rkey, 100,
				  IBV_FLUSH_GLOBAL, IBV_FLUSH_RANGE, IBV_WC_REM_ACCESS_ERR);
			wr = (struct ibv_send_wr){
				.opcode = IBV_WR_LOCAL_INV,
				.send_flags = IBV_SEND_SIGNALED,
				.invalidate_rkey = mw->rkey,
			};
			if (ibv_post_send(w.b.qp, &wr, &bad) ||
			    !t_expect("LOCAL_INV", w.b.scq, IBV_WC_SUCCESS, NULL))
				t_die("LOCAL_INV failed");
		}
	}
	if (!mw)
		t_fail("ibv_alloc_mw: %s", strerror(errno));
	else
		ibv_dealloc_mw(mw);
	ibv_dereg_mr(m);
	pr_close(&w);
}

const struct t_test pr_flush[] = {
	{ "flush_order", flush_order,
	  "FLUSH completes after what came before it, and ATOMIC WRITE after it" },
	{ "flush_refused", flush_refused, "FLUSH out of bounds, without rights, to persistence" },
	{ "flush_window", flush_window, "FLUSH through a memory window" },
	{ 0 },
};
