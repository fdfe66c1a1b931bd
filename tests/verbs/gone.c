// SPDX-License-Identifier: BSD-2-Clause
/*
 * A program that only polls while somebody else removes its device: everything that it has posted
 * completes with a flush error, in order; later posts are refused or flushed; what it then destroys
 * goes without waiting. Prints "ready" when it has posted.
 */
#include "lib/t.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SENDS 20
#define RECVS 7

/* All @n posts must complete in their order, from wr_id @first on, with a flush error. */
static void drained(const char *what, struct ibv_cq *cq, uint32_t qpn, uint64_t first, unsigned n,
		    double end)
{
	struct ibv_wc wc;

	for (unsigned i = 0; i < n; i++) {
		double left = end - t_now();

		if (!t_wait(cq, &wc, left > 0 ? left : 0)) {
			t_fail("%s: %u of %u completed", what, i, n);
			return;
		}
		if (wc.status != IBV_WC_WR_FLUSH_ERR || wc.wr_id != first + i || wc.qp_num != qpn)
			t_fail("%s: completion %u: '%s', wr_id %llu (expected %llu), "
			       "QP %u (expected %u)", what, i,
			       ibv_wc_status_str(wc.status), (unsigned long long)wc.wr_id,
			       (unsigned long long)(first + i), wc.qp_num, qpn);
	}
	if (ibv_poll_cq(cq, 1, &wc))
		t_fail("%s: one more completion than posts", what);
}

static bool fatal_event(struct t_dev *d)
{
	struct pollfd pf = { .fd = d->ctx->async_fd, .events = POLLIN };
	struct ibv_async_event ev;

	while (poll(&pf, 1, 5000) == 1 && !ibv_get_async_event(d->ctx, &ev)) {
		enum ibv_event_type type = ev.event_type;

		if (type == IBV_EVENT_DEVICE_FATAL)
			return true;
		ibv_ack_async_event(&ev);
	}
	return false;
}

int main(int argc, char **argv)
{
	const char *dev = NULL;
	struct t_opt o = { .depth = 64, .rdepth = 16, .min_rnr = 1 };
	uint8_t *p = t_map(T_PAGE), *q = t_map(T_PAGE);
	struct t_ep a, b, idle;
	struct ibv_mr *m, *mq;
	bool refused = false;
	int gid = 1, c;
	struct t_dev *d;
	double end;

	t_init();
	while ((c = getopt(argc, argv, "d:g:")) != -1) {
		if (c == 'd')
			dev = optarg;
		else if (c == 'g')
			gid = atoi(optarg);
		else
			return 2;
	}
	t_watchdog(120);
	d = t_dev_open(dev, gid);
	m = t_reg(d->pd, p, T_PAGE, T_ALL_ACCESS);
	mq = t_reg(d->pd, q, T_PAGE, T_ALL_ACCESS);
	t_pair_open(&a, d, &b, d, &o);
	t_ep_open(&idle, d, &o);
	if (t_ep_init(&idle))
		t_die("to INIT failed");
	t_pat_fill(p, T_PAGE, 1, 0);
	t_pat_fill(q, T_PAGE, 2, 0);
	for (uint64_t i = 0; i < RECVS; i++)
		if (t_recv_one(&a, q, 100, mq->lkey, 100 + i) ||
		    t_recv_one(&idle, q, 100, mq->lkey, 200 + i))
			t_die("post of a receive failed");
	/* Nobody receives these: they are retried on and on. Every third asks for no completion. */
	for (uint64_t i = 0; i < SENDS; i++) {
		struct ibv_sge sg = t_sge(p, 100 * i, m->lkey);
		struct t_wr wr = {
			.op = i & 1 ? IBV_WR_RDMA_WRITE_WITH_IMM : IBV_WR_SEND,
			.sg = &sg, .n = 1, .id = i,
			.raddr = (uintptr_t)q, .rkey = 0,
			.flags = i % 3 ? 0 : T_UNSIGNALED,
		};

		if (wr.op == IBV_WR_RDMA_WRITE_WITH_IMM)
			sg.length = 0;
		if (t_post(&a, &wr))
			t_die("post of a send failed");
	}
	t_note("ready");
	fflush(stdout);

	end = t_now() + t_slow(20);
	drained("sends", a.scq, a.qp->qp_num, 0, SENDS, end);
	drained("receives", a.rcq, a.qp->qp_num, 100, RECVS, end);
	drained("receives of a QP in INIT", idle.rcq, idle.qp->qp_num, 200, RECVS, end);
	t_pat_check("memory of receives", q, T_PAGE, 2, 0);
	if (t_fails)
		return t_done("gone");

	end = t_now() + t_slow(10);
	for (uint64_t i = 1000; !refused && t_now() < end; i++) {
		struct t_wr wr = { .op = IBV_WR_SEND, .id = i };
		struct ibv_wc wc;

		refused = t_post(&a, &wr);
		if (!refused && (!t_wait(a.scq, &wc, t_slow(5)) ||
				 wc.status != IBV_WC_WR_FLUSH_ERR || wc.wr_id != i)) {
			/*
			 * The device may have gone between the WQE and its doorbell; then the next
			 * one is refused.
			 */
			if (t_post(&a, &wr))
				break;
			t_fail("a send that was posted afterwards was neither refused nor flushed");
			break;
		}
		usleep(1000);
	}
	if (!refused && t_now() >= end)
		t_fail("sends are never refused");
	if (!fatal_event(d))
		t_fail("no event 'device fatal'");

	/* They may return any error for a device that has gone, but they must return. */
	ibv_destroy_qp(a.qp);
	ibv_destroy_qp(b.qp);
	ibv_destroy_qp(idle.qp);
	ibv_dereg_mr(m);
	ibv_dereg_mr(mq);
	return t_done("gone");
}
