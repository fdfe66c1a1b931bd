// SPDX-License-Identifier: BSD-2-Clause
/* Endpoints: device, CQs, QP, its transitions, posts and completions. */
#define _GNU_SOURCE
#include "t.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>

double t_limit = 10;

/* PRXE_PROVIDER=NAME: the provider that serves the device must be libNAME, by whose code polls. */
static void check_provider(struct t_dev *d)
{
	const char *want = getenv("PRXE_PROVIDER"), *base;
	char start[64];
	Dl_info info;

	if (!want)
		return;
	if (!dladdr((void *)d->ctx->ops.poll_cq, &info))
		t_die("%s: nobody knows whose poll_cq it has", d->name);
	base = strrchr(info.dli_fname, '/');
	base = base ? base + 1 : info.dli_fname;
	snprintf(start, sizeof(start), "lib%s-rdmav", want);
	if (strncmp(base, start, strlen(start)))
		t_die("%s is served by %s, not by lib%s", d->name, info.dli_fname, want);
	t_note("%s is served by %s", d->name, base);
}

struct t_dev *t_dev_open(const char *name, int gidx)
{
	struct t_dev *d = calloc(1, sizeof(*d));
	struct ibv_device **list;
	int n = 0;

	if (!d)
		t_die("out of memory");
	list = ibv_get_device_list(&n);
	for (int i = 0; list && i < n; i++) {
		if (name && strcmp(name, ibv_get_device_name(list[i])))
			continue;
		snprintf(d->name, sizeof(d->name), "%s", ibv_get_device_name(list[i]));
		d->ctx = ibv_open_device(list[i]);
		if (!d->ctx)
			t_die("ibv_open_device(%s): %s", d->name, strerror(errno));
		break;
	}
	if (list)
		ibv_free_device_list(list);
	if (!d->ctx)
		t_die("no verbs device %s (%d listed)", name ? name : "at all", n);
	check_provider(d);
	if (ibv_query_device_ex(d->ctx, NULL, &d->attr))
		t_die("%s: ibv_query_device_ex: %s", d->name, strerror(errno));
	if (ibv_query_port(d->ctx, 1, &d->port))
		t_die("%s: ibv_query_port: %s", d->name, strerror(errno));
	if (ibv_query_gid(d->ctx, 1, gidx, &d->gid))
		t_die("%s: ibv_query_gid(%d): %s", d->name, gidx, strerror(errno));
	d->gidx = gidx;
	d->odp = d->attr.odp_caps.general_caps & IBV_ODP_SUPPORT;
	d->flush = d->attr.device_cap_flags_ex & T_CAP_FLUSH_GLOBAL;
	d->odp_uc = d->odp &&
		    (d->attr.odp_caps.per_transport_caps.uc_odp_caps & IBV_ODP_SUPPORT_SEND);
	d->pd = ibv_alloc_pd(d->ctx);
	if (!d->pd)
		t_die("%s: ibv_alloc_pd: %s", d->name, strerror(errno));
	return d;
}

void t_dev_close(struct t_dev *d)
{
	if (ibv_dealloc_pd(d->pd))
		t_fail("%s: ibv_dealloc_pd: %s", d->name, strerror(errno));
	if (ibv_close_device(d->ctx))
		t_fail("%s: ibv_close_device: %s", d->name, strerror(errno));
	free(d);
}

static struct ibv_cq *new_cq(struct t_dev *d, unsigned cqe, struct ibv_comp_channel *chan)
{
	struct ibv_cq *cq = ibv_create_cq(d->ctx, (int)cqe, NULL, chan, 0);

	if (!cq)
		t_die("%s: ibv_create_cq(%u): %s", d->name, cqe, strerror(errno));
	return cq;
}

void t_ep_open(struct t_ep *e, struct t_dev *d, const struct t_opt *opt)
{
	struct ibv_qp_init_attr ia = { 0 };
	struct t_opt o = opt ? *opt : (struct t_opt){ 0 };

	o.type = o.type ? o.type : IBV_QPT_RC;
	o.pd = o.pd ? o.pd : d->pd;
	o.mtu = o.mtu ? o.mtu : d->port.active_mtu;
	o.sge = o.sge ? o.sge : 4;
	o.depth = o.depth ? o.depth : 64;
	o.rdepth = o.rdepth ? o.rdepth : o.depth;
	if (!o.access && !o.no_access)
		o.access = T_ALL_ACCESS | IBV_ACCESS_MW_BIND;
	o.timeout = o.timeout ? o.timeout : 17; /* half a second: this may be an emulated machine */
	o.retry_cnt = o.no_retry ? 0 : o.retry_cnt ? o.retry_cnt : 7;
	o.rnr_retry = o.no_rnr_retry ? 0 : o.rnr_retry ? o.rnr_retry : 7;
	o.min_rnr = o.min_rnr ? o.min_rnr : 12;
	o.rd_atomic = o.rd_atomic ? o.rd_atomic : 16;

	memset(e, 0, sizeof(*e));
	e->d = d;
	e->scq = o.scq;
	e->rcq = o.rcq;
	if (!e->scq) {
		e->scq = new_cq(d, o.depth + 4, o.chan);
		e->own_scq = true;
	}
	if (!e->rcq) {
		e->rcq = new_cq(d, o.rdepth + 4, o.chan);
		e->own_rcq = true;
	}
	ia.send_cq = e->scq;
	ia.recv_cq = e->rcq;
	ia.srq = o.srq;
	ia.qp_type = o.type;
	ia.sq_sig_all = o.sig_all;
	ia.cap.max_send_wr = o.depth;
	ia.cap.max_recv_wr = o.srq ? 0 : o.rdepth;
	ia.cap.max_send_sge = o.sge;
	ia.cap.max_recv_sge = o.srq ? 0 : o.sge;
	ia.cap.max_inline_data = o.inl;
	if (o.ops) {
		struct ibv_qp_init_attr_ex ax = {
			.send_cq = ia.send_cq, .recv_cq = ia.recv_cq, .srq = ia.srq, .cap = ia.cap,
			.qp_type = ia.qp_type, .sq_sig_all = ia.sq_sig_all, .pd = o.pd,
			.send_ops_flags = o.ops,
			.comp_mask = IBV_QP_INIT_ATTR_PD | IBV_QP_INIT_ATTR_SEND_OPS_FLAGS,
		};

		e->qp = ibv_create_qp_ex(d->ctx, &ax);
		ia.cap = ax.cap;
	} else {
		e->qp = ibv_create_qp(o.pd, &ia);
	}
	if (!e->qp)
		t_die("%s: ibv_create_qp(type %d, depth %u, sge %u, inline %u): %s", d->name,
		      o.type, o.depth, o.sge, o.inl, strerror(errno));
	if (ia.cap.max_inline_data > o.inl)
		o.inl = ia.cap.max_inline_data;
	if (!o.psn)
		o.psn = (uint32_t)t_mix(e->qp->qp_num) & 0xffffff;
	e->o = o;
	e->me.qpn = e->qp->qp_num;
	e->me.psn = o.psn;
	e->me.gid = d->gid;
	e->me.lid = d->port.lid;
}

int t_ep_init(struct t_ep *e)
{
	struct ibv_qp_attr a = { .qp_state = IBV_QPS_INIT, .port_num = 1 };
	int mask = IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT;

	if (e->o.type == IBV_QPT_UD) {
		a.qkey = T_QKEY;
		mask |= IBV_QP_QKEY;
	} else {
		a.qp_access_flags = e->o.access;
		mask |= IBV_QP_ACCESS_FLAGS;
	}
	return ibv_modify_qp(e->qp, &a, mask);
}

static struct ibv_ah_attr path_to(struct t_ep *e, const struct t_addr *peer)
{
	return (struct ibv_ah_attr){
		.is_global = 1,
		.port_num = 1,
		.dlid = (uint16_t)peer->lid,
		.grh = { .dgid = peer->gid, .sgid_index = (uint8_t)e->d->gidx, .hop_limit = 64 },
	};
}

int t_ep_rtr(struct t_ep *e, const struct t_addr *peer)
{
	struct ibv_qp_attr a = { .qp_state = IBV_QPS_RTR };
	int mask = IBV_QP_STATE;

	e->peer = *peer;
	if (e->o.type != IBV_QPT_UD) {
		a.ah_attr = path_to(e, peer);
		a.path_mtu = e->o.mtu;
		a.dest_qp_num = peer->qpn;
		a.rq_psn = peer->psn;
		mask |= IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN;
	}
	if (e->o.type == IBV_QPT_RC) {
		a.max_dest_rd_atomic = e->o.rd_atomic;
		a.min_rnr_timer = e->o.min_rnr;
		mask |= IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER;
	}
	return ibv_modify_qp(e->qp, &a, mask);
}

int t_ep_rts(struct t_ep *e)
{
	struct ibv_qp_attr a = { .qp_state = IBV_QPS_RTS, .sq_psn = e->o.psn };
	int mask = IBV_QP_STATE | IBV_QP_SQ_PSN;

	if (e->o.type == IBV_QPT_RC) {
		a.timeout = e->o.timeout;
		a.retry_cnt = e->o.retry_cnt;
		a.rnr_retry = e->o.rnr_retry;
		a.max_rd_atomic = e->o.rd_atomic;
		mask |= IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
			IBV_QP_MAX_QP_RD_ATOMIC;
	}
	return ibv_modify_qp(e->qp, &a, mask);
}

int t_ep_state(struct t_ep *e, enum ibv_qp_state s)
{
	struct ibv_qp_attr a = { .qp_state = s };

	return ibv_modify_qp(e->qp, &a, IBV_QP_STATE);
}

enum ibv_qp_state t_ep_query_state(struct t_ep *e)
{
	struct ibv_qp_attr a;
	struct ibv_qp_init_attr ia;
	int rc = ibv_query_qp(e->qp, &a, IBV_QP_STATE, &ia);

	if (rc)
		t_die("%s: ibv_query_qp: %s", e->d->name, strerror(rc));
	return a.qp_state;
}

void t_ep_connect(struct t_ep *e, const struct t_addr *peer)
{
	int rc = t_ep_init(e);

	if (rc)
		t_die("%s: QP %u to INIT: %s", e->d->name, e->me.qpn, strerror(rc));
	rc = t_ep_rtr(e, peer);
	if (rc)
		t_die("%s: QP %u to RTR (peer %u): %s", e->d->name, e->me.qpn, peer->qpn,
		      strerror(rc));
	rc = t_ep_rts(e);
	if (rc)
		t_die("%s: QP %u to RTS: %s", e->d->name, e->me.qpn, strerror(rc));
	if (e->o.type == IBV_QPT_UD && !e->ah) {
		struct ibv_ah_attr aa = path_to(e, peer);

		e->ah = ibv_create_ah(e->o.pd, &aa);
		if (!e->ah)
			t_die("%s: ibv_create_ah: %s", e->d->name, strerror(errno));
	}
}

void t_pair_open(struct t_ep *a, struct t_dev *da, struct t_ep *b, struct t_dev *db,
		 const struct t_opt *o)
{
	t_ep_open(a, da, o);
	t_ep_open(b, db, o);
	t_ep_connect(a, &b->me);
	t_ep_connect(b, &a->me);
}

void t_pair_again(struct t_ep *a, struct t_ep *b)
{
	if (t_ep_state(a, IBV_QPS_RESET) || t_ep_state(b, IBV_QPS_RESET))
		t_die("QP to RESET failed");
	t_drain(a->scq);
	t_drain(a->rcq);
	t_drain(b->scq);
	t_drain(b->rcq);
	t_ep_connect(a, &b->me);
	t_ep_connect(b, &a->me);
}

void t_ep_close(struct t_ep *e)
{
	int rc;

	if (e->ah)
		ibv_destroy_ah(e->ah);
	rc = ibv_destroy_qp(e->qp);
	if (rc)
		t_fail("ibv_destroy_qp: %s", strerror(rc));
	if (e->own_scq && (rc = ibv_destroy_cq(e->scq)))
		t_fail("ibv_destroy_cq: %s", strerror(rc));
	if (e->own_rcq && (rc = ibv_destroy_cq(e->rcq)))
		t_fail("ibv_destroy_cq: %s", strerror(rc));
}

int t_post(struct t_ep *e, const struct t_wr *w)
{
	struct ibv_send_wr wr = { 0 }, *bad;

	wr.wr_id = w->id;
	wr.sg_list = (struct ibv_sge *)(uintptr_t)w->sg;
	wr.num_sge = w->n;
	wr.opcode = w->op;
	wr.send_flags = w->flags & T_UNSIGNALED ? w->flags & ~T_UNSIGNALED :
						  w->flags | IBV_SEND_SIGNALED;
	if (w->op == IBV_WR_SEND_WITH_INV)
		wr.invalidate_rkey = w->imm;
	else
		wr.imm_data = w->imm;
	if (w->op == IBV_WR_ATOMIC_CMP_AND_SWP || w->op == IBV_WR_ATOMIC_FETCH_AND_ADD) {
		wr.wr.atomic.remote_addr = w->raddr;
		wr.wr.atomic.rkey = w->rkey;
		wr.wr.atomic.compare_add = w->compare;
		wr.wr.atomic.swap = w->swap;
	} else if (e->o.type == IBV_QPT_UD) {
		wr.wr.ud.ah = e->ah;
		wr.wr.ud.remote_qpn = e->peer.qpn;
		wr.wr.ud.remote_qkey = T_QKEY;
	} else {
		wr.wr.rdma.remote_addr = w->raddr;
		wr.wr.rdma.rkey = w->rkey;
	}
	e->last_wr_id = w->id;
	return ibv_post_send(e->qp, &wr, &bad);
}

int t_post_one(struct t_ep *e, enum ibv_wr_opcode op, const void *p, uint32_t len, uint32_t lkey,
	       uint64_t raddr, uint32_t rkey, uint64_t id)
{
	struct ibv_sge sg = t_sge(p, len, lkey);
	struct t_wr w = { .op = op, .sg = &sg, .n = 1, .raddr = raddr, .rkey = rkey, .id = id };

	return t_post(e, &w);
}

int t_flush(struct t_ep *e, uint64_t raddr, uint32_t rkey, size_t len, uint8_t type, uint8_t level,
	    uint64_t id)
{
	struct ibv_qp_ex *qpx = ibv_qp_to_qp_ex(e->qp);

	ibv_wr_start(qpx);
	qpx->wr_id = id;
	qpx->wr_flags = IBV_SEND_SIGNALED;
	ibv_wr_flush(qpx, rkey, raddr, len, type, level);
	e->last_wr_id = id;
	return ibv_wr_complete(qpx);
}

int t_atomic_write(struct t_ep *e, uint64_t raddr, uint32_t rkey, const void *val, uint64_t id)
{
	struct ibv_qp_ex *qpx = ibv_qp_to_qp_ex(e->qp);

	ibv_wr_start(qpx);
	qpx->wr_id = id;
	qpx->wr_flags = IBV_SEND_SIGNALED;
	ibv_wr_atomic_write(qpx, rkey, raddr, val);
	e->last_wr_id = id;
	return ibv_wr_complete(qpx);
}

int t_recv(struct t_ep *e, const struct ibv_sge *sg, int n, uint64_t id)
{
	struct ibv_recv_wr wr = { .wr_id = id, .num_sge = n }, *bad;

	wr.sg_list = (struct ibv_sge *)(uintptr_t)sg;
	return e->o.srq ? ibv_post_srq_recv(e->o.srq, &wr, &bad) : ibv_post_recv(e->qp, &wr, &bad);
}

int t_recv_one(struct t_ep *e, void *p, uint32_t len, uint32_t lkey, uint64_t id)
{
	struct ibv_sge sg = t_sge(p, len, lkey);

	return t_recv(e, &sg, 1, id);
}

int t_wait(struct ibv_cq *cq, struct ibv_wc *wc, double seconds)
{
	double end = t_now() + seconds;
	int n;

	do {
		for (int i = 0; i < 200; i++) {
			n = ibv_poll_cq(cq, 1, wc);
			if (n < 0)
				t_die("ibv_poll_cq: %d", n);
			if (n)
				return 1;
		}
		sched_yield();
	} while (t_now() < end);
	return ibv_poll_cq(cq, 1, wc) == 1;
}

bool t_expect_any(const char *what, struct ibv_cq *cq, const enum ibv_wc_status *st, int n,
		  struct ibv_wc *out)
{
	struct ibv_wc local, *wc = out ? out : &local;
	char names[256] = "";

	for (int i = 0; i < n; i++)
		snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s",
			 i ? " or " : "", ibv_wc_status_str(st[i]));
	if (!t_wait(cq, wc, t_limit)) {
		memset(wc, 0, sizeof(*wc));
		wc->status = IBV_WC_GENERAL_ERR;
		t_fail("%s: no completion within %.0f s, expected '%s'", what, t_limit, names);
		return false;
	}
	for (int i = 0; i < n; i++)
		if (wc->status == st[i])
			return true;
	t_fail("%s: completed with '%s' (wr_id %llu, QP %u), expected '%s'", what,
	       ibv_wc_status_str(wc->status), (unsigned long long)wc->wr_id, wc->qp_num, names);
	return false;
}

bool t_expect(const char *what, struct ibv_cq *cq, enum ibv_wc_status st, struct ibv_wc *out)
{
	return t_expect_any(what, cq, &st, 1, out);
}

bool t_none(const char *what, struct ibv_cq *cq, double seconds)
{
	struct ibv_wc wc;

	if (!t_wait(cq, &wc, seconds))
		return true;
	t_fail("%s: a completion that should not be ('%s', wr_id %llu)", what,
	       ibv_wc_status_str(wc.status), (unsigned long long)wc.wr_id);
	return false;
}

int t_drain(struct ibv_cq *cq)
{
	struct ibv_wc wc;
	int n = 0;

	while (ibv_poll_cq(cq, 1, &wc) == 1)
		n++;
	return n;
}

static bool one_way(const char *what, struct t_ep *a, uint8_t *p, struct ibv_mr *ma,
		    struct ibv_mr *mb, uint64_t seq)
{
	const size_t half = 4 * T_PAGE, len = 5001;
	bool ok;

	t_pat_fill(p, len, seq, 0);
	memset(p + half, 0, half);
	if (t_post_one(a, IBV_WR_RDMA_WRITE, p, len, ma->lkey, (uintptr_t)(p + half) + 7, mb->rkey,
		       seq)) {
		t_fail("%s: post of a WRITE failed", what);
		return false;
	}
	ok = t_expect(what, a->scq, IBV_WC_SUCCESS, NULL);
	return ok && t_pat_check(what, p + half + 7, len, seq, 0);
}

bool t_pair_works(const char *what, struct t_ep *a, struct t_ep *b)
{
	static uint64_t seq = 0x700;
	uint8_t *p = t_map_between(8 * T_PAGE);
	struct ibv_mr *ma = t_reg(a->o.pd, p, 8 * T_PAGE, T_ALL_ACCESS);
	struct ibv_mr *mb = t_reg(b->o.pd, p, 8 * T_PAGE, T_ALL_ACCESS);
	bool ok;

	seq += 2;
	ok = one_way(what, a, p, ma, mb, seq);
	ok = one_way(what, b, p, mb, ma, seq + 1) && ok;
	ibv_dereg_mr(ma);
	ibv_dereg_mr(mb);
	munmap(p - T_PAGE, 10 * T_PAGE);
	return ok;
}
