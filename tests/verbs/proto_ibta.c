// SPDX-License-Identifier: BSD-2-Clause
/* Small print of the architecture: events, the SQE state, responder resources, counters, quotas. */
#define _GNU_SOURCE
#include "proto.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static bool on_wire(void)
{
	return t_param_get("force_wire") > 0;
}

/* The number of events of @type that are there, or come within a short time. */
static int events_of(struct t_dev *d, enum ibv_event_type type)
{
	struct pollfd pf = { .fd = d->ctx->async_fd, .events = POLLIN };
	struct ibv_async_event ev;
	int n = 0;

	while (poll(&pf, 1, t_debug ? 300 : 60) == 1 && !ibv_get_async_event(d->ctx, &ev)) {
		n += ev.event_type == type;
		ibv_ack_async_event(&ev);
	}
	return n;
}

/* The first message that reaches a QP in RTR raises COMM_EST, and no other message does. */
static void comm_est(struct t_dev *d)
{
	static const enum ibv_qp_type types[] = { IBV_QPT_RC, IBV_QPT_UC };

	for (size_t k = 0; k < ARRAY_LEN(types); k++) {
		const struct t_opt o = { .type = types[k] };
		struct pr w;
		int n;

		pr_open(&w, d, &o);
		for (int life = 0; life < 2; life++) {
			if (t_ep_state(&w.a, IBV_QPS_RESET) || t_ep_state(&w.b, IBV_QPS_RESET) ||
			    t_ep_init(&w.b) || t_ep_rtr(&w.b, &w.a.me))
				t_die("to RTR failed");
			t_ep_connect(&w.a, &w.b.me);
			pr_events_drain(d);
			for (int i = 0; i < 3; i++) {
				t_post_one(&w.a, IBV_WR_RDMA_WRITE, w.pa, 3000, w.ma->lkey,
					   (uintptr_t)w.pb, w.mb->rkey, 1);
				t_expect("WRITE to a QP in RTR", w.a.scq, IBV_WC_SUCCESS, NULL);
			}
			n = events_of(d, IBV_EVENT_COMM_EST);
			if (n != 1)
				t_fail("QP type %d, life %d: %d events of communication "
				       "established, not 1",
				       types[k], life, n);
			t_pat_check("WRITE to a QP in RTR", w.pb, 3000, 1, 0);
		}
		/* In RTS a message raises no such event. */
		if (t_ep_rts(&w.b))
			t_die("to RTS failed");
		t_post_one(&w.a, IBV_WR_RDMA_WRITE, w.pa, 10, w.ma->lkey, (uintptr_t)w.pb,
			   w.mb->rkey, 1);
		t_expect("WRITE to a QP in RTS", w.a.scq, IBV_WC_SUCCESS, NULL);
		n = events_of(d, IBV_EVENT_COMM_EST);
		if (n)
			t_fail("an event of communication established in RTS");
		pr_close(&w);
	}
}

static void state_is(const char *what, struct t_ep *e, enum ibv_qp_state want)
{
	enum ibv_qp_state s = t_ep_query_state(e);

	if (s != want)
		t_fail("%s: the QP is in state %d, expected %d", what, s, want);
}

/* A SEND of 900 bytes from one QP must arrive at the other (on UD behind the GRH). */
static void message(const char *what, struct pr *w, struct t_ep *from, struct t_ep *to,
		    uint64_t seq)
{
	bool up = from == &w->a;
	uint8_t *src = up ? w->pa : w->pb, *dst = (up ? w->pb : w->pa) + 8 * T_PAGE;
	uint32_t lsrc = up ? w->ma->lkey : w->mb->lkey, ldst = up ? w->mb->lkey : w->ma->lkey;
	const size_t grh = from->o.type == IBV_QPT_UD ? 40 : 0;

	t_pat_fill(src, 900, seq, 0);
	memset(dst, 0, 2000);
	if (t_recv_one(to, dst, 2000, ldst, seq) ||
	    t_post_one(from, IBV_WR_SEND, src, 900, lsrc, 0, 0, seq))
		t_die("%s: post", what);
	t_expect(what, from->scq, IBV_WC_SUCCESS, NULL);
	if (t_expect(what, to->rcq, IBV_WC_SUCCESS, NULL))
		t_pat_check(what, dst + grh, 900, seq, 0);
}

/* A failed send of UC or UD stops the send side only: the QP goes to SQE. */
static void sqe(struct t_dev *d)
{
	static const enum ibv_qp_type types[] = { IBV_QPT_UC, IBV_QPT_UD };

	for (size_t k = 0; k < ARRAY_LEN(types); k++) {
		const struct t_opt o = { .type = types[k] };
		struct ibv_wc wc;
		struct pr w;

		pr_open(&w, d, &o);
		for (int round = 0; round < 2; round++) {
			struct ibv_sge bad = t_sge(w.pa, 500, w.ma->lkey ^ 0x10),
				       ok = t_sge(w.pa, 500, w.ma->lkey);
			struct ibv_send_wr wr[3];
			struct ibv_send_wr *bad_wr;

			for (int i = 0; i < 3; i++) {
				wr[i] = (struct ibv_send_wr){ .wr_id = 20 + (uint64_t)i,
							      .opcode = IBV_WR_SEND,
							      .sg_list = i ? &ok : &bad,
							      .num_sge = 1,
							      .send_flags = IBV_SEND_SIGNALED,
							      .next = i < 2 ? &wr[i + 1] : NULL };
				if (types[k] == IBV_QPT_UD) {
					wr[i].wr.ud.ah = w.a.ah;
					wr[i].wr.ud.remote_qpn = w.b.me.qpn;
					wr[i].wr.ud.remote_qkey = T_QKEY;
				}
			}
			t_recv_one(&w.b, w.pb, 2000, w.mb->lkey, 50);
			if (ibv_post_send(w.a.qp, wr, &bad_wr))
				t_die("post");
			t_expect("a SEND with a bad key", w.a.scq, IBV_WC_LOC_PROT_ERR, NULL);
			for (uint64_t i = 21; i < 23; i++)
				if (t_expect("behind it", w.a.scq, IBV_WC_WR_FLUSH_ERR, &wc) &&
				    wc.wr_id != i)
					t_fail("flushed %llu", (unsigned long long)wc.wr_id);
			state_is("after a failed send", &w.a, IBV_QPS_SQE);
			t_none("a receive of what was not sent", w.b.rcq, 0.05);
			/* The receive side still works. */
			message("to a QP in SQE", &w, &w.b, &w.a, 600 + (uint64_t)round);
			/* Sends posted in SQE are flushed, and not sent after SQE either. */
			t_post_one(&w.a, IBV_WR_SEND, w.pa, 10, w.ma->lkey, 0, 0, 30);
			if (t_expect("posted in SQE", w.a.scq, IBV_WC_WR_FLUSH_ERR, &wc) &&
			    wc.wr_id != 30)
				t_fail("flushed %llu", (unsigned long long)wc.wr_id);
			if (t_ep_state(&w.a, IBV_QPS_RTS))
				t_fail("SQE to RTS: %s", strerror(errno));
			state_is("taken back", &w.a, IBV_QPS_RTS);
			/* One receive is still posted (wr_id 50): it is used first. */
			t_pat_fill(w.pa, 900, 700, 0);
			t_post_one(&w.a, IBV_WR_SEND, w.pa, 900, w.ma->lkey, 0, 0, 31);
			t_expect("after SQE", w.a.scq, IBV_WC_SUCCESS, NULL);
			if (t_expect("after SQE", w.b.rcq, IBV_WC_SUCCESS, &wc)) {
				if (wc.wr_id != 50)
					t_fail("receive %llu", (unsigned long long)wc.wr_id);
				t_pat_check("after SQE", w.pb + (types[k] == IBV_QPT_UD ? 40 : 0),
					    900, 700, 0);
			}
			message("after SQE, the other way", &w, &w.b, &w.a, 800);
		}
		pr_close(&w);
	}
}

/* A request for the SQ_DRAINED event counts for one transition to SQD, not for later ones. */
static void sqd_notify(struct t_dev *d)
{
	struct ibv_qp_attr with = { .qp_state = IBV_QPS_SQD, .en_sqd_async_notify = 1 };
	struct pr w;

	pr_open(&w, d, NULL);
	for (int i = 0; i < 3; i++) {
		int n;

		pr_events_drain(d);
		if (i == 1 ? t_ep_state(&w.a, IBV_QPS_SQD)
			   : ibv_modify_qp(w.a.qp, &with,
					   IBV_QP_STATE | IBV_QP_EN_SQD_ASYNC_NOTIFY))
			t_die("to SQD");
		n = events_of(d, IBV_EVENT_SQ_DRAINED);
		if (n != (i != 1))
			t_fail("transition %d to SQD: %d events", i, n);
		if (t_ep_state(&w.a, IBV_QPS_RTS))
			t_die("to RTS");
		t_pair_works("after SQD", &w.a, &w.b);
	}
	pr_close(&w);
}

#define BIG (1UL << 20)

static int in_sqd(struct t_ep *e, struct ibv_qp_attr *a, int mask)
{
	a->qp_state = IBV_QPS_SQD;
	if (t_ep_state(e, IBV_QPS_SQD) || ibv_modify_qp(e->qp, a, IBV_QP_STATE | mask))
		return errno;
	return t_ep_state(e, IBV_QPS_RTS);
}

/* Post READs of BIG bytes, each from another address. */
static void reads(struct t_ep *e, uint8_t *to, uint32_t lkey, const uint8_t *from, uint32_t rkey,
		  int n)
{
	for (int i = 0; i < n; i++)
		if (t_post_one(e, IBV_WR_RDMA_READ, to + (size_t)i * BIG, BIG, lkey,
			       (uintptr_t)from + (size_t)i * BIG, rkey, (uint64_t)i))
			t_die("post of a READ");
}

/* Responder resources can be changed in SQD, to more and to fewer. */
static void rd_atomic(struct t_dev *d)
{
	const int n = 6;
	const struct t_opt o = { .rd_atomic = 1 };
	uint8_t *from = t_map((size_t)n * BIG), *to = t_map((size_t)n * BIG);
	struct ibv_mr *mf = t_reg(d->pd, from, (size_t)n * BIG, T_ALL_ACCESS);
	struct ibv_mr *mt = t_reg(d->pd, to, (size_t)n * BIG, T_ALL_ACCESS);
	struct t_ep a, b;

	t_pat_fill(from, (size_t)n * BIG, 41, 0);
	t_pair_open(&a, d, &b, d, &o);
	reads(&a, to, mt->lkey, from, mf->rkey, 1); /* makes the responder allocate its resources */
	t_expect("READ", a.scq, IBV_WC_SUCCESS, NULL);
	if (in_sqd(&b, &(struct ibv_qp_attr){ .max_dest_rd_atomic = 6 },
		   IBV_QP_MAX_DEST_RD_ATOMIC) ||
	    in_sqd(&a, &(struct ibv_qp_attr){ .max_rd_atomic = 6 }, IBV_QP_MAX_QP_RD_ATOMIC))
		t_die("more resources in SQD: %s", strerror(errno));
	memset(to, 0, (size_t)n * BIG);
	reads(&a, to, mt->lkey, from, mf->rkey, n);
	for (int i = 0; i < n; i++)
		t_expect("READs with more resources", a.scq, IBV_WC_SUCCESS, NULL);
	t_pat_check("READs with more resources", to, (size_t)n * BIG, 41, 0);
	/* Fewer: the READs take turns. */
	if (in_sqd(&a, &(struct ibv_qp_attr){ .max_rd_atomic = 1 }, IBV_QP_MAX_QP_RD_ATOMIC) ||
	    in_sqd(&b, &(struct ibv_qp_attr){ .max_dest_rd_atomic = 1 }, IBV_QP_MAX_DEST_RD_ATOMIC))
		t_die("fewer resources in SQD: %s", strerror(errno));
	memset(to, 0, (size_t)n * BIG);
	reads(&a, to, mt->lkey, from, mf->rkey, n);
	for (int i = 0; i < n; i++)
		t_expect("READs with one resource", a.scq, IBV_WC_SUCCESS, NULL);
	t_pat_check("READs with one resource", to, (size_t)n * BIG, 41, 0);
	t_ep_close(&a);
	t_ep_close(&b);
	ibv_dereg_mr(mf);
	ibv_dereg_mr(mt);
	munmap(from, (size_t)n * BIG);
	munmap(to, (size_t)n * BIG);
}

static uint64_t port_counter(struct t_dev *d, const char *name)
{
	char path[200];
	unsigned long long v = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/class/infiniband/%s/ports/1/counters/%s", d->name, name);
	f = fopen(path, "re");
	if (!f || fscanf(f, "%llu", &v) != 1)
		t_fail("%s cannot be read", path);
	if (f)
		fclose(f);
	return v;
}

/* The port counters of performance management, which sysfs reads by MAD. */
static void pma(struct t_dev *d)
{
	static const char *const name[] = { "port_xmit_packets", "port_rcv_packets",
					    "port_xmit_data", "port_rcv_data" };
	uint64_t was[ARRAY_LEN(name)], more;
	struct pr w;

	pr_open(&w, d, NULL);
	for (size_t i = 0; i < ARRAY_LEN(name); i++)
		was[i] = port_counter(d, name[i]);
	t_post_one(&w.a, IBV_WR_RDMA_WRITE, w.pa, 60000, w.ma->lkey, (uintptr_t)w.pb, w.mb->rkey,
		   1);
	t_expect("WRITE", w.a.scq, IBV_WC_SUCCESS, NULL);
	/* On the wire: the packets, and the data with headers in units of four bytes. */
	for (size_t i = 0; i < ARRAY_LEN(name); i++) {
		more = port_counter(d, name[i]) - was[i];
		if (on_wire() ? more < (i < 2 ? 10 : 15000) || more > (i < 2 ? 1000 : 20000)
			      : more > 100)
			t_fail("%s has grown by %llu", name[i], (unsigned long long)more);
	}
	port_counter(d, "link_downed");
	port_counter(d, "port_rcv_errors");
	pr_close(&w);
}

/* The doorbell is refused: bad_wr is the first WR, and none of them is sent later. */
static void bad_wr(struct t_dev *d)
{
	struct ibv_send_wr wr[3], *bad = NULL;
	struct ibv_sge sg;
	struct pr w;
	int rc;

	pr_open(&w, d, NULL);
	sg = t_sge(w.pa, 1000, w.ma->lkey);
	for (int i = 0; i < 3; i++)
		wr[i] = (struct ibv_send_wr){ .wr_id = (uint64_t)i,
					      .opcode = i < 2 ? IBV_WR_RDMA_WRITE : 77,
					      .sg_list = &sg,
					      .num_sge = 1,
					      .send_flags = IBV_SEND_SIGNALED,
					      .next = i < 2 ? &wr[i + 1] : NULL,
					      .wr.rdma = { .remote_addr = (uintptr_t)w.pb,
							   .rkey = w.mb->rkey } };
	/* As if another process had taken the QP to RESET: the library believes it is in RTS. */
	if (t_ep_state(&w.a, IBV_QPS_RESET) || t_ep_state(&w.b, IBV_QPS_RESET))
		t_die("to RESET");
	w.a.qp->state = IBV_QPS_RTS;
	rc = ibv_post_send(w.a.qp, wr, &bad);
	if (!rc || bad != &wr[0])
		t_fail("a list whose third is bad, with no doorbell: %s, number %d", strerror(rc),
		       bad ? (int)(bad - wr) : -1);
	wr[1].next = NULL;
	rc = ibv_post_send(w.a.qp, wr, &bad);
	if (!rc || bad != &wr[0])
		t_fail("a good list, with no doorbell: %s, number %d", strerror(rc),
		       bad ? (int)(bad - wr) : -1);
	w.a.qp->state = IBV_QPS_RESET;
	t_ep_connect(&w.a, &w.b.me);
	t_ep_connect(&w.b, &w.a.me);
	t_none("what was refused", w.a.scq, 0.1);
	pr_unchanged(&w, "what was refused");
	t_pair_works("afterwards", &w.a, &w.b);
	pr_close(&w);
}

/* A window of type 1 cannot be bound by a work request. */
static void bind_type(struct t_dev *d)
{
	const struct t_opt o = { .ops = IBV_QP_EX_WITH_BIND_MW | IBV_QP_EX_WITH_RDMA_WRITE };
	struct ibv_qp_ex *x;
	struct ibv_mw *mw;
	struct pr w;
	int rc;

	pr_open(&w, d, &o);
	x = ibv_qp_to_qp_ex(w.a.qp);
	for (int type = 1; type <= 2; type++) {
		mw = ibv_alloc_mw(d->pd, type == 1 ? IBV_MW_TYPE_1 : IBV_MW_TYPE_2);
		if (!mw)
			t_die("ibv_alloc_mw: %s", strerror(errno));
		ibv_wr_start(x);
		x->wr_id = 5;
		x->wr_flags = IBV_SEND_SIGNALED;
		ibv_wr_bind_mw(
			x, mw, ibv_inc_rkey(mw->rkey),
			&(struct ibv_mw_bind_info){ .mr = w.ma,
						    .addr = (uintptr_t)w.pa,
						    .length = 100,
						    .mw_access_flags = IBV_ACCESS_REMOTE_READ });
		rc = ibv_wr_complete(x);
		if (rc != (type == 1 ? EINVAL : 0))
			t_fail("binding a window of type %d by a work request: %s", type,
			       strerror(rc));
		if (!rc)
			t_expect("bind", w.a.scq, IBV_WC_SUCCESS, NULL);
		t_none("no more", w.a.scq, 0.02);
		ibv_dealloc_mw(mw);
	}
	pr_close(&w);
}

/* ---- rnr_retry 0 ---- */

static struct {
	int fd;
	uint8_t *page, *contents;
	unsigned ms;
} served;

static void *serve_late(void *arg)
{
	struct pollfd pf = { .fd = served.fd, .events = POLLIN };
	struct uffdio_copy c = { .dst = (uintptr_t)served.page,
				 .src = (uintptr_t)served.contents,
				 .len = T_PAGE };

	(void)arg;
	if (poll(&pf, 1, (int)(t_slow(10) * 1000)) == 1)
		usleep(served.ms * 1000);
	ioctl(served.fd, UFFDIO_COPY, &c);
	return NULL;
}

/*
 * The target page comes after 60 ms, and the requester must not get an RNR NAK: its rnr_retry is 0.
 * It succeeds only if the packet is parked.
 */
static void rnr_zero(struct t_dev *d)
{
	const struct t_opt o = { .no_rnr_retry = true, .timeout = 19 }; /* 2.1 s */
	struct pr w;

	if (!d->odp || !on_wire())
		return;
	for (int park = 0; park < 2; park++) {
		uint8_t *page = t_map(T_PAGE);
		struct ibv_mr *m = t_reg(d->pd, page, T_PAGE, T_ALL_ACCESS | IBV_ACCESS_ON_DEMAND);
		pthread_t th;

		pr_open(&w, d, &o);
		served.fd = t_uffd(page, T_PAGE);
		served.page = page;
		served.contents = t_map(T_PAGE);
		served.ms = 60;
		if (t_param_set("park_ms", park ? 1000 : 0))
			t_fail("park_ms cannot be set");
		pthread_create(&th, NULL, serve_late, NULL);
		t_post_one(&w.a, IBV_WR_RDMA_WRITE, w.pa, 2000, w.ma->lkey, (uintptr_t)page + 100,
			   m->rkey, 1);
		t_expect(park ? "rnr_retry 0, park_ms 1000" : "rnr_retry 0, park_ms 0", w.a.scq,
			 park ? IBV_WC_SUCCESS : IBV_WC_RNR_RETRY_EXC_ERR, NULL);
		pthread_join(th, NULL);
		if (park)
			t_pat_check("rnr_retry 0, park_ms 1000", page + 100, 2000, 1, 0);
		t_param_set("park_ms", 0);
		pr_close(&w);
		close(served.fd);
		ibv_dereg_mr(m);
		munmap(page, T_PAGE);
		munmap(served.contents, T_PAGE);
	}
}

/*
 * A requester that has more READs in flight than its peer has resources. The first READ waits for
 * its source page, so the second is one too many. (Only on the wire: the local carrier executes
 * READs one after the other.)
 */
static void overuse(struct t_dev *d)
{
	const struct t_opt one = { .rd_atomic = 1, .timeout = 19 };
	const struct t_opt more = { .rd_atomic = 4, .timeout = 19 };
	uint8_t *page;
	struct ibv_mr *m;
	struct t_ep a, b;
	struct ibv_wc wc;
	struct pr w;
	pthread_t th;

	if (!d->odp || !on_wire())
		return;
	page = t_map(T_PAGE);
	m = t_reg(d->pd, page, T_PAGE, T_ALL_ACCESS | IBV_ACCESS_ON_DEMAND);
	pr_open(&w, d, NULL);
	t_ep_open(&a, d, &more);
	t_ep_open(&b, d, &one);
	t_ep_connect(&a, &b.me);
	t_ep_connect(&b, &a.me);
	served.fd = t_uffd(page, T_PAGE);
	served.page = page;
	served.contents = t_map(T_PAGE);
	served.ms = 60;
	t_pat_fill(served.contents, T_PAGE, 77, 0);
	if (t_param_set("park_ms", 1000))
		t_fail("park_ms cannot be set");
	pr_events_drain(d);
	pthread_create(&th, NULL, serve_late, NULL);
	for (uint64_t i = 0; i < 3; i++)
		if (t_post_one(&a, IBV_WR_RDMA_READ, w.pa + i * T_PAGE, 1000, w.ma->lkey,
			       (uintptr_t)page + 1000 * i, m->rkey, i))
			t_die("post of a READ");
	t_expect("the READ that there is a resource for", a.scq, IBV_WC_SUCCESS, NULL);
	t_pat_check("the READ that there is a resource for", w.pa, 1000, 77, 0);
	if (t_expect("the surplus READ", a.scq, IBV_WC_REM_INV_REQ_ERR, &wc) && wc.wr_id != 1)
		t_fail("READ %llu failed", (unsigned long long)wc.wr_id);
	t_pat_check("the landing of the surplus READ", w.pa + T_PAGE, 1000, 1, T_PAGE);
	t_expect("the READ behind it", a.scq, IBV_WC_WR_FLUSH_ERR, NULL);
	pr_event_wait(d, "overuse", IBV_EVENT_QP_REQ_ERR, t_slow(3));
	pthread_join(th, NULL);
	t_param_set("park_ms", 0);
	close(served.fd);
	t_ep_close(&a);
	t_ep_close(&b);
	pr_close(&w);
	ibv_dereg_mr(m);
	munmap(page, T_PAGE);
	munmap(served.contents, T_PAGE);
}

/*
 * A packet that waits too long for a fault is dropped with an RNR NAK, and the requester sends it
 * again: a READ that comes after it must not count as one too many.
 */
static void given_up(struct t_dev *d)
{
	const struct t_opt o = { .rd_atomic = 1, .timeout = 19 };
	uint64_t pkts = t_counter(d->name, "rnr_for_fault_pkts");
	uint8_t *page;
	struct ibv_mr *m;
	pthread_t th;
	struct pr w;

	if (!d->odp)
		return;
	page = t_map(T_PAGE);
	m = t_reg(d->pd, page, T_PAGE, T_ALL_ACCESS | IBV_ACCESS_ON_DEMAND);
	pr_open(&w, d, &o);
	served.fd = t_uffd(page, T_PAGE);
	served.page = page;
	served.contents = t_map(T_PAGE);
	/* The WRITE is parked for 0.3 s, dropped, sent again and parked: then the page comes. */
	served.ms = 450;
	if (t_param_set("park_ms", 300))
		t_fail("park_ms cannot be set");
	pthread_create(&th, NULL, serve_late, NULL);
	t_pat_fill(w.pb, 2000, 78, 0);
	if (t_post_one(&w.a, IBV_WR_RDMA_WRITE, w.pa, 1000, w.ma->lkey, (uintptr_t)page + 100,
		       m->rkey, 1) ||
	    t_post_one(&w.a, IBV_WR_RDMA_READ, w.pa + T_PAGE, 2000, w.ma->lkey, (uintptr_t)w.pb,
		       w.mb->rkey, 2))
		t_die("ibv_post_send");
	t_expect("a WRITE that waits", w.a.scq, IBV_WC_SUCCESS, NULL);
	t_expect("a READ behind it", w.a.scq, IBV_WC_SUCCESS, NULL);
	pthread_join(th, NULL);
	t_param_set("park_ms", 0);
	t_pat_check("a WRITE that waits", page + 100, 1000, 1, 0);
	t_pat_check("a READ behind it", w.pa + T_PAGE, 2000, 78, 0);
	if (on_wire() && t_counter(d->name, "rnr_for_fault_pkts") < pkts + 2)
		t_fail("nothing was given up");
	close(served.fd);
	pr_close(&w);
	ibv_dereg_mr(m);
	munmap(page, T_PAGE);
	munmap(served.contents, T_PAGE);
}

/* ---- quotas ---- */

static bool ah_works(struct t_dev *d)
{
	struct ibv_ah_attr at = {
		.is_global = 1,
		.port_num = 1,
		.grh = { .dgid = d->gid, .sgid_index = (uint8_t)d->gidx, .hop_limit = 2 }
	};
	struct ibv_ah *ah = ibv_create_ah(d->pd, &at);

	if (ah)
		ibv_destroy_ah(ah);
	return ah;
}

/*
 * One context creates AHs until it is refused: other contexts can still create theirs, and so can
 * the connection manager.
 */
static void ah_quota(struct t_dev *d)
{
	const unsigned max = (unsigned)d->attr.orig_attr.max_ah + 10;
	struct ibv_ah_attr at = {
		.is_global = 1,
		.port_num = 1,
		.grh = { .dgid = d->gid, .sgid_index = (uint8_t)d->gidx, .hop_limit = 2 }
	};
	struct ibv_ah **ah = calloc(max, sizeof(*ah));
	struct t_dev *other;
	char cmd[400], ip[64];
	unsigned n = 0;

	if (t_debug || on_wire())
		return; /* would take long there, and the carrier makes no difference */
	/* A multicast address: its Ethernet address is known without asking the network. */
	memcpy(at.grh.dgid.raw + 12, (uint8_t[]){ 239, 9, 9, 9 }, 4);
	while (n < max && (ah[n] = ibv_create_ah(d->pd, &at)))
		n++;
	if (n == max || errno != ENOMEM)
		t_fail("%u AHs: %s", n, n == max ? "no limit" : strerror(errno));
	other = t_dev_open(d->name, d->gidx);
	if (!ah_works(other))
		t_fail("beside %u AHs of one context, another context has none: %s", n,
		       strerror(errno));
	t_dev_close(other);
	inet_ntop(AF_INET, d->gid.raw + 12, ip, sizeof(ip));
	/* The client is rejected until the server listens. */
	snprintf(cmd, sizeof(cmd),
		 "timeout 40 rping -s -a %s -p 7471 -C 3 -V >/dev/null & "
		 "for i in $(seq 30); do "
		 "timeout 20 rping -c -a %s -p 7471 -C 3 -V >/dev/null 2>&1 && wait $! && exit 0; "
		 "kill -0 $! 2>/dev/null || exit 1; sleep 0.5; done; exit 1",
		 ip, ip);
	if (system(cmd))
		t_fail("beside %u AHs of one context, the connection manager does not work", n);
	while (n--)
		ibv_destroy_ah(ah[n]);
	if (!ah_works(d))
		t_fail("no AH after all were destroyed: %s", strerror(errno));
	free(ah);
}

/* 32 of these multicast groups have the same Ethernet address. */
static union ibv_gid group_gid(unsigned no)
{
	struct in_addr a = { htonl(0xe05d0000 + no / 32 + (no % 32 << 23)) };
	union ibv_gid g = { .raw = { [10] = 0xff, [11] = 0xff } };

	memcpy(g.raw + 12, &a, 4);
	return g;
}

/* The same as ah_quota, for multicast groups. */
static void mcast_quota(struct t_dev *d)
{
	const unsigned max = (unsigned)d->attr.orig_attr.max_mcast_grp + 10;
	const struct t_opt o = { .type = IBV_QPT_UD };
	union ibv_gid g = group_gid(0);
	struct t_dev *other;
	struct t_ep e, f;
	unsigned n = 0;

	if (t_debug || on_wire())
		return; /* would take long there, and the carrier makes no difference */
	t_ep_open(&e, d, &o);
	while (n < max && !ibv_attach_mcast(e.qp, &g, 0))
		g = group_gid(++n);
	if (n == max)
		t_fail("%u groups, and no limit", n);
	other = t_dev_open(d->name, d->gidx);
	t_ep_open(&f, other, &o);
	if (ibv_attach_mcast(f.qp, &g, 0) || ibv_detach_mcast(f.qp, &g, 0))
		t_fail("beside %u groups of one context, another context has none", n);
	t_ep_close(&f);
	t_dev_close(other);
	while (n--) {
		g = group_gid(n);
		if (ibv_detach_mcast(e.qp, &g, 0))
			t_fail("leaving group %u", n);
	}
	t_ep_close(&e);
}

const struct t_test pr_ibta[] = {
	{ "comm_est", comm_est, "the event of communication established, once" },
	{ "sqe", sqe, "a failed send of UC or UD: SQE, and back" },
	{ "sqd_notify", sqd_notify, "the event of SQD, for those who asked this time" },
	{ "rd_atomic", rd_atomic, "responder resources: resized" },
	{ "given_up", given_up, "a READ behind a WRITE that is given up for a fault" },
	{ "overuse", overuse, "more READs at once than there are resources" },
	{ "pma", pma, "port counters by performance management" },
	{ "bad_wr", bad_wr, "a doorbell that is refused" },
	{ "bind_type", bind_type, "windows of type 1 and ibv_wr_bind_mw()" },
	{ "rnr_zero", rnr_zero, "rnr_retry 0 and a slow page: park_ms" },
	{ "ah_quota", ah_quota, "AHs: one context cannot take all" },
	{ "mcast_quota", mcast_quota, "multicast groups: one context cannot take all" },
	{ 0 },
};
