// SPDX-License-Identifier: BSD-2-Clause
/* Completion events and asynchronous events. */
#include "proto.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

static bool event_in(struct ibv_comp_channel *ch, int ms)
{
	struct pollfd pf = { .fd = ch->fd, .events = POLLIN };
	struct ibv_cq *cq;
	void *ctx;

	if (poll(&pf, 1, ms) < 1)
		return false;
	if (ibv_get_cq_event(ch, &cq, &ctx))
		t_die("ibv_get_cq_event: %s", strerror(errno));
	ibv_ack_cq_events(cq, 1);
	return true;
}

static void send_one(struct pr *w, unsigned flags)
{
	struct ibv_sge sg = t_sge(w->pa, 700, w->ma->lkey);
	struct t_wr wr = { .op = IBV_WR_SEND, .sg = &sg, .n = 1, .flags = flags };

	if (t_recv_one(&w->b, w->pb, 1000, w->mb->lkey, 1) || t_post(&w->a, &wr))
		t_die("post failed");
	t_expect("SEND", w->a.scq, IBV_WC_SUCCESS, NULL);
}

static void solicited(struct t_dev *d)
{
	const int wait = (int)(t_slow(3) * 1000), not = t_debug ? 200 : 60;
	struct ibv_comp_channel *ch = ibv_create_comp_channel(d->ctx);
	struct ibv_cq *scq = ibv_create_cq(d->ctx, 64, NULL, NULL, 0);
	struct ibv_cq *rcq = ibv_create_cq(d->ctx, 64, NULL, ch, 0);
	struct t_opt o = { .scq = scq, .rcq = rcq };
	struct pr w;

	pr_open(&w, d, &o);
	if (ibv_req_notify_cq(rcq, 1))
		t_die("ibv_req_notify_cq failed");
	send_one(&w, 0);
	if (event_in(ch, not))
		t_fail("an event for an unsolicited SEND, solicited only was asked for");
	send_one(&w, IBV_SEND_SOLICITED);
	if (!event_in(ch, wait))
		t_fail("no event for a solicited SEND");
	send_one(&w, IBV_SEND_SOLICITED);
	if (event_in(ch, not))
		t_fail("an event without having asked again");
	if (t_drain(rcq) != 3)
		t_fail("not 3 receives in the CQ");
	ibv_req_notify_cq(rcq, 0);
	send_one(&w, 0);
	if (!event_in(ch, wait))
		t_fail("no event for a SEND, any was asked for");
	t_drain(rcq);
	/* Many rounds of the usual way to sleep: ask, poll, wait. */
	for (int i = 0; i < (t_debug ? 10 : 100); i++) {
		ibv_req_notify_cq(rcq, 0);
		if (t_drain(rcq))
			t_fail("a completion from nowhere");
		send_one(&w, 0);
		if (!event_in(ch, wait)) {
			t_fail("no event in round %d", i);
			break;
		}
		if (t_drain(rcq) != 1)
			t_fail("not one completion behind the event of round %d", i);
	}
	/* An error raises an event also for those who asked for solicited events only. */
	ibv_req_notify_cq(rcq, 1);
	t_recv_one(&w.b, w.pb, 100, w.mb->lkey, 1);
	t_ep_state(&w.b, IBV_QPS_ERR);
	if (!event_in(ch, wait))
		t_fail("no event for a receive that was flushed");
	t_drain(rcq);
	pr_close(&w);
	ibv_destroy_cq(scq);
	ibv_destroy_cq(rcq);
	if (ibv_destroy_comp_channel(ch))
		t_fail("destroy of the channel: %s", strerror(errno));
}

/* More completions than the CQ holds raise an event; nothing crashes, all can be destroyed. */
static void cq_overflow(struct t_dev *d)
{
	struct ibv_cq *cq = ibv_create_cq(d->ctx, 4, NULL, NULL, 0);
	struct t_opt o = { .scq = cq, .depth = (unsigned)cq->cqe + 16 };
	struct pr w;
	int n = cq->cqe + 8;

	pr_open(&w, d, &o);
	pr_events_drain(d);
	for (int i = 0; i < n; i++)
		t_post_one(&w.a, IBV_WR_RDMA_WRITE, w.pa, 8, w.ma->lkey, (uintptr_t)w.pb,
			   w.mb->rkey, (uint64_t)i);
	pr_event_wait(d, "CQ overflow", IBV_EVENT_CQ_ERR, t_slow(5));
	n = t_drain(cq);
	if (n > cq->cqe)
		t_fail("%d completions came out of a CQ of %d", n, cq->cqe);
	pr_close(&w);
	pr_events_drain(d);
	if (ibv_destroy_cq(cq))
		t_fail("destroy of the CQ that overflowed: %s", strerror(errno));
	pr_open(&w, d, NULL);
	t_pair_works("afterwards", &w.a, &w.b);
	pr_close(&w);
}

static void cq_resize(struct t_dev *d)
{
	struct ibv_cq *cq = ibv_create_cq(d->ctx, 10, NULL, NULL, 0);
	struct t_opt o = { .scq = cq, .depth = 64 };
	struct ibv_wc wc;
	struct pr w;
	int rc;

	pr_open(&w, d, &o);
	for (uint64_t i = 0; i < 8; i++)
		t_post_one(&w.a, IBV_WR_RDMA_WRITE, w.pa, 8, w.ma->lkey, (uintptr_t)w.pb,
			   w.mb->rkey, i);
	usleep(t_debug ? 300000 : 50000);
	rc = ibv_resize_cq(cq, 3);
	if (!rc && cq->cqe < 8)
		t_fail("a CQ with 8 completions was made smaller, to %d", cq->cqe);
	rc = ibv_resize_cq(cq, 100);
	if (rc)
		t_fail("ibv_resize_cq to 100: %s", strerror(rc));
	if (cq->cqe < 100)
		t_fail("the CQ has %d entries after a resize to 100", cq->cqe);
	for (uint64_t i = 8; i < 50; i++)
		t_post_one(&w.a, IBV_WR_RDMA_WRITE, w.pa, 8, w.ma->lkey, (uintptr_t)w.pb,
			   w.mb->rkey, i);
	for (uint64_t i = 0; i < 50; i++)
		if (!t_expect("completions around a resize", cq, IBV_WC_SUCCESS, &wc) ||
		    wc.wr_id != i) {
			t_fail("completion of %llu, expected %llu", (unsigned long long)wc.wr_id,
			       (unsigned long long)i);
			break;
		}
	pr_close(&w);
	ibv_destroy_cq(cq);
}

static void srq(struct t_dev *d)
{
	struct ibv_srq_init_attr sa = { .attr = { .max_wr = 32, .max_sge = 2 } };
	struct ibv_srq *s = ibv_create_srq(d->pd, &sa);
	struct t_opt o = { .srq = s };
	struct ibv_srq_attr q;
	struct pr w[2];
	int rc, n = 0;

	if (!s) {
		t_fail("ibv_create_srq: %s", strerror(errno));
		return;
	}
	pr_open(&w[0], d, &o);
	pr_open(&w[1], d, &o);
	pr_events_drain(d);
	for (uint64_t i = 0; i < 8; i++)
		t_recv_one(&w[0].b, w[0].pb + i * 4096, 4096, w[0].mb->lkey, i);
	q = (struct ibv_srq_attr){ .srq_limit = 5 };
	rc = ibv_modify_srq(s, &q, IBV_SRQ_LIMIT);
	if (rc)
		t_fail("ibv_modify_srq of the limit: %s", strerror(rc));
	rc = ibv_query_srq(s, &q);
	if (rc || q.srq_limit != 5 || q.max_wr < 32 || q.max_sge < 2)
		t_fail("ibv_query_srq: %d, limit %u, %u WRs of %u SGEs", rc, q.srq_limit, q.max_wr,
		       q.max_sge);
	/* Both QPs take receives from it, in order. */
	for (uint64_t i = 0; i < 4; i++) {
		struct ibv_wc wc;
		struct pr *x = &w[i & 1];

		t_post_one(&x->a, IBV_WR_SEND, x->pa + i, 1000, x->ma->lkey, 0, 0, i);
		t_expect("SEND to a SRQ", x->a.scq, IBV_WC_SUCCESS, NULL);
		if (t_expect("receive from a SRQ", x->b.rcq, IBV_WC_SUCCESS, &wc)) {
			if (wc.wr_id != i || wc.qp_num != x->b.me.qpn)
				t_fail("receive %llu on QP %u, expected %llu on %u",
				       (unsigned long long)wc.wr_id, wc.qp_num,
				       (unsigned long long)i, x->b.me.qpn);
			t_pat_check("receive from a SRQ", w[0].pb + i * 4096, 1000, 1, i);
		}
	}
	pr_event_wait(d, "SRQ limit", IBV_EVENT_SRQ_LIMIT_REACHED, t_slow(3));
	/* A QP of an SRQ that goes to ERR reports when it has taken its last WQE. */
	t_ep_state(&w[0].b, IBV_QPS_ERR);
	pr_event_wait(d, "last WQE", IBV_EVENT_QP_LAST_WQE_REACHED, t_slow(3));
	/* The other QP still works. */
	t_post_one(&w[1].a, IBV_WR_SEND, w[1].pa + 9, 1000, w[1].ma->lkey, 0, 0, 9);
	t_expect("SEND to a SRQ whose other QP is in ERR", w[1].a.scq, IBV_WC_SUCCESS, NULL);
	t_expect("its receive", w[1].b.rcq, IBV_WC_SUCCESS, NULL);
	while (n < 70000 && !t_recv_one(&w[1].b, w[0].pb, 8, w[0].mb->lkey, 1))
		n++;
	if (n < 29 || n == 70000)
		t_fail("a SRQ of 32 with 3 inside took %d more", n);
	pr_close(&w[0]);
	pr_close(&w[1]);
	rc = ibv_destroy_srq(s);
	if (rc)
		t_fail("ibv_destroy_srq: %s", strerror(rc));
}

/* The responder's process gets an event when its peer makes an access error. */
static void qp_events(struct t_dev *d)
{
	struct pr w;

	pr_open(&w, d, NULL);
	pr_events_drain(d);
	t_post_one(&w.a, IBV_WR_RDMA_WRITE, w.pa, 100, w.ma->lkey, (uintptr_t)w.pb,
		   w.mb->rkey ^ 1, 1);
	t_expect("WRITE with a wrong key", w.a.scq, IBV_WC_REM_ACCESS_ERR, NULL);
	pr_event_wait(d, "access error", IBV_EVENT_QP_ACCESS_ERR, t_slow(3));
	if (t_ep_query_state(&w.b) != IBV_QPS_ERR)
		t_fail("the responder is in state %d after an access error, not ERR",
		       t_ep_query_state(&w.b));
	pr_close(&w);
}

const struct t_test pr_event[] = {
	{ "solicited", solicited, "completion events: solicited only, any, once" },
	{ "cq_overflow", cq_overflow, "more completions than the CQ holds" },
	{ "cq_resize", cq_resize, "resize of a CQ with completions inside" },
	{ "srq", srq, "SRQ: order, limit event, last WQE event, other QPs" },
	{ "qp_events", qp_events, "the responder's event of an access error" },
	{ 0 },
};
