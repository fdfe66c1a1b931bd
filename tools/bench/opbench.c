// SPDX-License-Identifier: BSD-2-Clause
/*
 * What one operation costs its poster, from ibv_post_send() to the completion. Both ends are in one
 * process and one thread, so that only the operation is measured. Pinned and on-demand memory take
 * turns, after the first touch.
 *
 * Made for a clock that counts instructions (./run sh --icount): there it gives the same figures
 * every time.
 *
 * Output, tab separated: metric (op_write, op_read, op_send), size, variant (pinned, odp), pair,
 * unit, value.
 */
#define _GNU_SOURCE
#include "args.h"
#include "t.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define AREA (1UL << 20)

struct mem {
	uint8_t *p;
	struct ibv_mr *mr;
};

struct rig {
	struct t_ep a, b;
	struct mem src[2], dst[2]; /* pinned, on demand */
};

static const struct {
	const char *metric;
	enum ibv_wr_opcode op;
	uint32_t size;
} ops[] = {
	{ "op_write", IBV_WR_RDMA_WRITE, 8 },
	{ "op_write", IBV_WR_RDMA_WRITE, 4096 },
	{ "op_write", IBV_WR_RDMA_WRITE, 65536 },
	{ "op_write", IBV_WR_RDMA_WRITE, 1 << 20 },
	{ "op_read", IBV_WR_RDMA_READ, 8 },
	{ "op_read", IBV_WR_RDMA_READ, 65536 },
	{ "op_send", IBV_WR_SEND, 8 },
	{ "op_send", IBV_WR_SEND, 65536 },
};

static struct mem mem(struct t_dev *d, bool odp, uint64_t seq)
{
	struct mem m = { .p = t_map(AREA) };

	t_pat_fill(m.p, AREA, seq, 0);
	m.mr = t_reg(d->pd, m.p, AREA, T_ALL_ACCESS | (odp ? IBV_ACCESS_ON_DEMAND : 0));
	return m;
}

static void once(struct rig *r, enum ibv_wr_opcode op, uint32_t size, const struct mem *src,
		 const struct mem *dst)
{
	struct ibv_wc wc;
	int rc = 0;

	if (op == IBV_WR_SEND)
		rc = t_recv_one(&r->b, dst->p, size, dst->mr->lkey, 1);
	if (!rc)
		rc = t_post_one(&r->a, op, src->p, size, src->mr->lkey, (uintptr_t)dst->p,
				dst->mr->rkey, 2);
	if (rc)
		t_die("post: %s", strerror(rc));
	if (!t_wait(r->a.scq, &wc, t_slow(30)) || wc.status)
		t_die("an operation of %u bytes: %s", size, ibv_wc_status_str(wc.status));
	if (op == IBV_WR_SEND && (!t_wait(r->b.rcq, &wc, t_slow(30)) || wc.status))
		t_die("a receive of %u bytes: %s", size, ibv_wc_status_str(wc.status));
}

/* Microseconds for one operation. Also checks that the payload arrived. */
static double measure(struct rig *r, size_t i, bool odp, uint64_t seq)
{
	const struct mem *src = &r->src[odp], *dst = &r->dst[odp];
	int n = ops[i].size > 65536 ? 20 : 400;
	double t;

	/* The data of a READ arrive at its local side. */
	if (ops[i].op == IBV_WR_RDMA_READ) {
		src = &r->dst[odp];
		dst = &r->src[odp];
	}
	t_pat_fill(r->src[odp].p, ops[i].size, seq, 0);
	once(r, ops[i].op, ops[i].size, src, dst);
	t = t_now();
	for (int k = 0; k < n; k++)
		once(r, ops[i].op, ops[i].size, src, dst);
	t = (t_now() - t) / n;
	t_pat_check(ops[i].metric, r->dst[odp].p, ops[i].size, seq, 0);
	return t * 1e6;
}

int main(int argc, char **argv)
{
	const struct t_opt o = { .depth = 16 };
	struct bench_args args = { .gid = 1, .pairs = 3 };
	struct rig r;
	struct t_dev *d;

	t_init();
	bench_args(argc, argv, &args);
	t_watchdog(300);
	d = t_dev_open(args.dev, args.gid);
	t_pair_open(&r.a, d, &r.b, d, &o);
	for (int v = 0; v < 2; v++) {
		r.src[v] = mem(d, v, 1);
		r.dst[v] = mem(d, v, 2);
	}
	for (int pair = 1; pair <= args.pairs; pair++)
		for (size_t i = 0; i < ARRAY_LEN(ops); i++)
			for (int v = 0; v < 2; v++)
				printf("%s\t%u\t%s\t%d\tus\t%.3f\n", ops[i].metric, ops[i].size,
				       v ? "odp" : "pinned", pair,
				       measure(&r, i, v, (uint64_t)pair * 100 + i));
	for (int v = 0; v < 2; v++) {
		ibv_dereg_mr(r.src[v].mr);
		ibv_dereg_mr(r.dst[v].mr);
	}
	t_ep_close(&r.a);
	t_ep_close(&r.b);
	t_dev_close(d);
	return t_fails != 0;
}
