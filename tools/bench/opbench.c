// SPDX-License-Identifier: BSD-2-Clause
/*
 * What one operation costs its poster, from ibv_post_send() to the completion. Both ends are in one
 * process and one thread, so that only the operation is measured. Pinned and on-demand memory take
 * turns, after the first touch.
 *
 * The other end is a QP of the same device, or with --peer one of another: then the operations go
 * over the wire between the two.
 *
 * A metric whose name ends with a number has lists: so many operations are posted by one
 * ibv_post_send(), the last of them signaled. The value is what each of them costs.
 *
 * Made for a clock that counts instructions (./run sh --icount): there it gives the same figures
 * every time.
 *
 * Output, tab separated: metric (op_write, op_read16, ...; behind --prefix), size, variant (pinned,
 * odp), pair, unit, value.
 */
#define _GNU_SOURCE
#include "args.h"
#include "t.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define AREA (1UL << 20)

#define MAX_LIST 64

struct mem {
	uint8_t *p;
	struct ibv_mr *near, *far; /* the same one, when both ends have one device */
};

struct rig {
	struct t_dev *da, *db;
	struct t_ep a, b;
	struct mem src[2], dst[2]; /* pinned, on demand */
};

static const struct row {
	const char *metric;
	enum ibv_wr_opcode op;
	uint32_t size;
	unsigned list; /* operations that one ibv_post_send() takes */
} ops[] = {
	{ "op_write", IBV_WR_RDMA_WRITE, 8, 1 },
	{ "op_write", IBV_WR_RDMA_WRITE, 4096, 1 },
	{ "op_write", IBV_WR_RDMA_WRITE, 65536, 1 },
	{ "op_write", IBV_WR_RDMA_WRITE, 1 << 20, 1 },
	{ "op_read", IBV_WR_RDMA_READ, 8, 1 },
	{ "op_read", IBV_WR_RDMA_READ, 65536, 1 },
	{ "op_read", IBV_WR_RDMA_READ, 1 << 20, 1 },
	{ "op_send", IBV_WR_SEND, 8, 1 },
	{ "op_send", IBV_WR_SEND, 65536, 1 },
	{ "op_send", IBV_WR_SEND, 1 << 20, 1 },
	{ "op_write16", IBV_WR_RDMA_WRITE, 8, 16 },
	{ "op_write64", IBV_WR_RDMA_WRITE, 8, 64 },
	{ "op_read16", IBV_WR_RDMA_READ, 8, 16 },
	{ "op_send16", IBV_WR_SEND, 8, 16 },
};

static struct mem mem(const struct rig *r, bool odp, uint64_t seq)
{
	unsigned access = T_ALL_ACCESS | (odp ? IBV_ACCESS_ON_DEMAND : 0);
	struct mem m = { .p = t_map(AREA) };

	t_pat_fill(m.p, AREA, seq, 0);
	m.near = m.far = t_reg(r->da->pd, m.p, AREA, access);
	if (r->db != r->da)
		m.far = t_reg(r->db->pd, m.p, AREA, access);
	return m;
}

static void mem_close(struct mem *m)
{
	if (m->far != m->near)
		ibv_dereg_mr(m->far);
	ibv_dereg_mr(m->near);
}

static void receive(struct rig *r, const struct row *o, const struct mem *dst)
{
	static struct ibv_recv_wr wr[MAX_LIST];
	static struct ibv_sge sg[MAX_LIST];
	struct ibv_recv_wr *bad;
	int rc;

	for (unsigned i = 0; i < o->list; i++) {
		sg[i] = t_sge(dst->p + i * o->size, o->size, dst->far->lkey);
		wr[i] = (struct ibv_recv_wr){ .wr_id = i, .sg_list = &sg[i], .num_sge = 1,
					      .next = i + 1 < o->list ? &wr[i + 1] : NULL };
	}
	rc = ibv_post_recv(r->b.qp, wr, &bad);
	if (rc)
		t_die("post of receives: %s", strerror(rc));
}

static void send_list(struct rig *r, const struct row *o, const struct mem *src,
		      const struct mem *dst)
{
	static struct ibv_send_wr wr[MAX_LIST];
	static struct ibv_sge sg[MAX_LIST];
	struct ibv_send_wr *bad;
	int rc;

	for (unsigned i = 0; i < o->list; i++) {
		bool last = i + 1 == o->list;

		sg[i] = t_sge(src->p + i * o->size, o->size, src->near->lkey);
		wr[i] = (struct ibv_send_wr){ .wr_id = i, .sg_list = &sg[i], .num_sge = 1,
					      .opcode = o->op, .next = last ? NULL : &wr[i + 1],
					      .send_flags = last ? IBV_SEND_SIGNALED : 0 };
		wr[i].wr.rdma.remote_addr = (uintptr_t)dst->p + i * o->size;
		wr[i].wr.rdma.rkey = dst->far->rkey;
	}
	rc = ibv_post_send(r->a.qp, wr, &bad);
	if (rc)
		t_die("post: %s", strerror(rc));
}

static void once(struct rig *r, const struct row *o, const struct mem *src, const struct mem *dst)
{
	struct ibv_wc wc;
	int rc = 0;

	if (o->list > 1) {
		if (o->op == IBV_WR_SEND)
			receive(r, o, dst);
		send_list(r, o, src, dst);
	} else {
		if (o->op == IBV_WR_SEND)
			rc = t_recv_one(&r->b, dst->p, o->size, dst->far->lkey, 1);
		if (!rc)
			rc = t_post_one(&r->a, o->op, src->p, o->size, src->near->lkey,
					(uintptr_t)dst->p, dst->far->rkey, 2);
		if (rc)
			t_die("post: %s", strerror(rc));
	}
	if (!t_wait(r->a.scq, &wc, t_slow(30)) || wc.status)
		t_die("an operation of %u bytes: %s", o->size, ibv_wc_status_str(wc.status));
	for (unsigned i = 0; o->op == IBV_WR_SEND && i < o->list; i++)
		if (!t_wait(r->b.rcq, &wc, t_slow(30)) || wc.status)
			t_die("a receive of %u bytes: %s", o->size, ibv_wc_status_str(wc.status));
}

/* Microseconds for one operation. Also checks that the payload arrived. */
static double measure(struct rig *r, const struct row *o, bool odp, uint64_t seq)
{
	const struct mem *src = &r->src[odp], *dst = &r->dst[odp];
	int n = o->size > 65536 ? 20 : o->list > 1 ? 100 : 400;
	double t;

	/* The data of a READ arrive at its local side. */
	if (o->op == IBV_WR_RDMA_READ) {
		src = &r->dst[odp];
		dst = &r->src[odp];
	}
	t_pat_fill(r->src[odp].p, o->list * o->size, seq, 0);
	once(r, o, src, dst);
	t = t_now();
	for (int k = 0; k < n; k++)
		once(r, o, src, dst);
	t = (t_now() - t) / n / o->list;
	t_pat_check(o->metric, r->dst[odp].p, o->list * o->size, seq, 0);
	return t * 1e6;
}

static bool wanted(const struct row *o, const char *only)
{
	char name[64];

	snprintf(name, sizeof(name), "%s/%u", o->metric, o->size);
	return !only || !strcmp(only, name);
}

int main(int argc, char **argv)
{
	struct bench_args args = { .gid = 1, .pairs = 3, .rows = true, .peer_gid = -1,
				   .prefix = "" };
	struct t_opt o = { .depth = MAX_LIST };
	unsigned rows = 0;
	struct rig r;

	t_init();
	bench_args(argc, argv, &args);
	for (size_t i = 0; i < ARRAY_LEN(ops); i++)
		rows += wanted(&ops[i], args.only);
	if (!rows)
		t_die("there is no row %s", args.only);
	t_watchdog(300);
	r.da = r.db = t_dev_open(args.dev, args.gid);
	if (args.peer)
		r.db = t_dev_open(args.peer, args.peer_gid >= 0 ? args.peer_gid : args.gid);
	o.mtu = r.db->port.active_mtu < r.da->port.active_mtu ? r.db->port.active_mtu :
								  r.da->port.active_mtu;
	t_pair_open(&r.a, r.da, &r.b, r.db, &o);
	for (int v = 0; v < 2; v++) {
		r.src[v] = mem(&r, v, 1);
		r.dst[v] = mem(&r, v, 2);
	}
	for (int pair = 1; pair <= args.pairs; pair++)
		for (size_t i = 0; i < ARRAY_LEN(ops); i++)
			for (int v = 0; v < 2 && wanted(&ops[i], args.only); v++)
				printf("%s%s\t%u\t%s\t%d\tus\t%.3f\n", args.prefix, ops[i].metric,
				       ops[i].size, v ? "odp" : "pinned", pair,
				       measure(&r, &ops[i], v, (uint64_t)pair * 100 + i));
	for (int v = 0; v < 2; v++) {
		mem_close(&r.src[v]);
		mem_close(&r.dst[v]);
	}
	t_ep_close(&r.a);
	t_ep_close(&r.b);
	if (r.db != r.da)
		t_dev_close(r.db);
	t_dev_close(r.da);
	return t_fails != 0;
}
