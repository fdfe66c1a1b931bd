// SPDX-License-Identifier: BSD-2-Clause
/* States, attributes, limits, and destroying what is in use. */
#include "proto.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void refuse(const char *what, struct ibv_qp *qp, struct ibv_qp_attr *a, int mask)
{
	if (!ibv_modify_qp(qp, a, mask))
		t_fail("modify_qp allowed: %s", what);
}

static void transitions(struct t_dev *d)
{
	struct ibv_qp_attr a = { .port_num = 1, .ah_attr = { .is_global = 1, .port_num = 1 } };
	const int init = IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS;
	const int rtr = IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
			IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER;
	const int rts = IBV_QP_STATE | IBV_QP_SQ_PSN | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
			IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC;
	struct t_ep e, f;

	t_ep_open(&e, d, NULL);
	t_ep_open(&f, d, NULL);
	a.ah_attr.grh = (struct ibv_global_route){
		.dgid = d->gid, .sgid_index = (uint8_t)d->gidx, .hop_limit = 9
	};
	a.path_mtu = d->port.active_mtu;
	a.dest_qp_num = f.me.qpn;
	a.max_dest_rd_atomic = a.max_rd_atomic = 1;
	a.min_rnr_timer = 12;
	a.timeout = 14;
	a.retry_cnt = a.rnr_retry = 7;

	a.qp_state = IBV_QPS_RTR;
	refuse("RESET to RTR", e.qp, &a, rtr);
	a.qp_state = IBV_QPS_RTS;
	refuse("RESET to RTS", e.qp, &a, rts);
	a.qp_state = IBV_QPS_SQD;
	refuse("RESET to SQD", e.qp, &a, IBV_QP_STATE);
	a.qp_state = IBV_QPS_INIT;
	refuse("RESET to INIT without attributes", e.qp, &a, IBV_QP_STATE);
	a.port_num = 2;
	refuse("port 2", e.qp, &a, init);
	a.port_num = 1;
	a.pkey_index = 5000;
	refuse("P_Key index 5000", e.qp, &a, init);
	a.pkey_index = 0;
	if (t_ep_init(&e) || t_ep_query_state(&e) != IBV_QPS_INIT)
		t_fail("RESET to INIT");
	if (t_ep_init(&e))
		t_fail("INIT to INIT");
	a.qp_state = IBV_QPS_RTS;
	refuse("INIT to RTS", e.qp, &a, rts);
	a.qp_state = IBV_QPS_RTR;
	refuse("INIT to RTR without a destination", e.qp, &a, rtr & ~IBV_QP_DEST_QPN);
	refuse("INIT to RTR with a timeout", e.qp, &a, rtr | IBV_QP_TIMEOUT);
	a.path_mtu = (enum ibv_mtu)7;
	refuse("path MTU 7", e.qp, &a, rtr);
	a.path_mtu = d->port.active_mtu;
	a.ah_attr.grh.sgid_index = 250;
	refuse("a GID index that has no GID", e.qp, &a, rtr);
	a.ah_attr.grh.sgid_index = (uint8_t)d->gidx;
	if (d->attr.orig_attr.max_qp_rd_atom < 255) {
		a.max_dest_rd_atomic = 255;
		refuse("max_dest_rd_atomic 255", e.qp, &a, rtr);
		a.max_dest_rd_atomic = 1;
	}
	if (t_ep_query_state(&e) != IBV_QPS_INIT)
		t_fail("refused transitions changed the state to %d", t_ep_query_state(&e));
	if (t_ep_rtr(&e, &f.me) || t_ep_query_state(&e) != IBV_QPS_RTR)
		t_fail("INIT to RTR");
	a.qp_state = IBV_QPS_INIT;
	refuse("RTR to INIT", e.qp, &a, init);
	if (d->attr.orig_attr.max_qp_init_rd_atom < 255) {
		a.qp_state = IBV_QPS_RTS;
		a.max_rd_atomic = 255;
		refuse("max_rd_atomic 255", e.qp, &a, rts);
		a.max_rd_atomic = 1;
	}
	if (t_ep_rts(&e) || t_ep_query_state(&e) != IBV_QPS_RTS)
		t_fail("RTR to RTS");
	a.qp_state = IBV_QPS_RTR;
	refuse("RTS to RTR", e.qp, &a, rtr);
	a.qp_state = IBV_QPS_INIT;
	refuse("RTS to INIT", e.qp, &a, init);
	a.cur_qp_state = IBV_QPS_INIT;
	a.qp_state = IBV_QPS_RTS;
	refuse("a wrong current state", e.qp, &a, IBV_QP_STATE | IBV_QP_CUR_STATE);
	if (t_ep_state(&e, IBV_QPS_ERR) || t_ep_query_state(&e) != IBV_QPS_ERR)
		t_fail("RTS to ERR");
	a.qp_state = IBV_QPS_RTS;
	refuse("ERR to RTS", e.qp, &a, rts);
	if (t_ep_state(&e, IBV_QPS_RESET) || t_ep_query_state(&e) != IBV_QPS_RESET)
		t_fail("ERR to RESET");
	/* Round and round: every life of the QP works. */
	for (int i = 0; i < 5; i++) {
		t_pair_again(&e, &f);
		if (!t_pair_works("a QP that was reset", &e, &f))
			break;
		if (i & 1)
			t_ep_state(&e, IBV_QPS_ERR);
	}
	t_ep_close(&e);
	t_ep_close(&f);
}

#define SAME(field, want)                                                                          \
	do {                                                                                       \
		if ((unsigned long long)(field) != (unsigned long long)(want))                     \
			t_fail("query_qp: " #field " is %llu, expected %llu",                      \
			       (unsigned long long)(field), (unsigned long long)(want));           \
	} while (0)

static void query(struct t_dev *d)
{
	struct t_opt o = {
		.mtu = IBV_MTU_1024, .timeout = 15, .retry_cnt = 5, .rnr_retry = 4, .min_rnr = 9,
		.rd_atomic = 4, .psn = 0x123456, .access = IBV_ACCESS_REMOTE_READ,
		.depth = 20, .sge = 3, .inl = 40, .sig_all = true,
	};
	struct ibv_port_attr pa;
	struct ibv_qp_init_attr ia;
	struct ibv_qp_attr a;
	struct t_ep e, f;
	int rc;

	t_pair_open(&e, d, &f, d, &o);
	memset(&a, 0xee, sizeof(a));
	rc = ibv_query_qp(e.qp, &a, IBV_QP_STATE | IBV_QP_AV | IBV_QP_CAP | IBV_QP_TIMEOUT, &ia);
	if (rc)
		t_die("ibv_query_qp: %s", strerror(rc));
	SAME(a.qp_state, IBV_QPS_RTS);
	SAME(a.path_mtu, IBV_MTU_1024);
	SAME(a.timeout, 15);
	SAME(a.retry_cnt, 5);
	SAME(a.rnr_retry, 4);
	SAME(a.min_rnr_timer, 9);
	SAME(a.max_rd_atomic, 4);
	SAME(a.max_dest_rd_atomic, 4);
	SAME(a.sq_psn, 0x123456);
	SAME(a.rq_psn, 0x123456);
	SAME(a.dest_qp_num, f.me.qpn);
	SAME(a.qp_access_flags, IBV_ACCESS_REMOTE_READ);
	SAME(a.port_num, 1);
	SAME(a.pkey_index, 0);
	SAME(a.ah_attr.is_global, 1);
	SAME(a.ah_attr.grh.sgid_index, d->gidx);
	SAME(a.ah_attr.grh.hop_limit, 64);
	SAME(ia.qp_type, IBV_QPT_RC);
	SAME(ia.sq_sig_all, 1);
	if (memcmp(&a.ah_attr.grh.dgid, &d->gid, sizeof(d->gid)))
		t_fail("query_qp: another dgid");
	if (a.cap.max_send_wr < 20 || a.cap.max_recv_wr < 20 || a.cap.max_send_sge < 3 ||
	    a.cap.max_recv_sge < 3 || a.cap.max_inline_data < 40)
		t_fail("query_qp: caps %u %u WRs, %u %u SGEs, inline %u are less than was "
		       "asked for",
		       a.cap.max_send_wr, a.cap.max_recv_wr, a.cap.max_send_sge,
		       a.cap.max_recv_sge, a.cap.max_inline_data);
	/* Changes in RTS. */
	memset(&a, 0, sizeof(a));
	a.min_rnr_timer = 20;
	a.qp_access_flags = IBV_ACCESS_REMOTE_WRITE;
	rc = ibv_modify_qp(e.qp, &a, IBV_QP_MIN_RNR_TIMER | IBV_QP_ACCESS_FLAGS);
	if (rc)
		t_fail("modify_qp of the RNR timer and rights in RTS: %s", strerror(rc));
	rc = ibv_query_qp(e.qp, &a, IBV_QP_STATE, &ia);
	SAME(a.min_rnr_timer, 20);
	SAME(a.qp_access_flags, IBV_ACCESS_REMOTE_WRITE);
	t_ep_close(&e);
	t_ep_close(&f);

	rc = ibv_query_port(d->ctx, 1, &pa);
	if (rc || pa.state != IBV_PORT_ACTIVE || pa.link_layer != IBV_LINK_LAYER_ETHERNET)
		t_fail("query_port: %d, state %d, link layer %d", rc, pa.state, pa.link_layer);
	if (pa.active_mtu > pa.max_mtu || pa.gid_tbl_len < 2 || !pa.max_msg_sz ||
	    pa.pkey_tbl_len < 1)
		t_fail("query_port: active_mtu %d max_mtu %d gids %d max_msg %u pkeys %d",
		       pa.active_mtu, pa.max_mtu, pa.gid_tbl_len, pa.max_msg_sz, pa.pkey_tbl_len);
	if (!ibv_query_port(d->ctx, 2, &pa))
		t_fail("query_port of port 2 succeeds");
}

/* In SQD nothing new starts; back in RTS, what was posted is sent. */
static void sqd(struct t_dev *d)
{
	struct ibv_qp_attr a = { .qp_state = IBV_QPS_SQD, .en_sqd_async_notify = 1 };
	struct pr w;
	int rc;

	pr_open(&w, d, NULL);
	pr_events_drain(d);
	rc = ibv_modify_qp(w.a.qp, &a, IBV_QP_STATE | IBV_QP_EN_SQD_ASYNC_NOTIFY);
	if (rc) {
		t_fail("to SQD: %s", strerror(rc));
		pr_close(&w);
		return;
	}
	pr_event_wait(d, "SQD", IBV_EVENT_SQ_DRAINED, t_slow(3));
	if (t_ep_query_state(&w.a) != IBV_QPS_SQD)
		t_fail("the QP is in state %d", t_ep_query_state(&w.a));
	rc = t_post_one(&w.a, IBV_WR_RDMA_WRITE, w.pa, 5000, w.ma->lkey, (uintptr_t)w.pb,
			w.mb->rkey, 1);
	if (rc)
		t_fail("post in SQD: %s", strerror(rc));
	t_none("WRITE posted in SQD", w.a.scq, 0.1);
	pr_unchanged(&w, "WRITE posted in SQD");
	rc = t_ep_state(&w.a, IBV_QPS_RTS);
	if (rc)
		t_fail("SQD to RTS: %s", strerror(rc));
	t_expect("WRITE posted in SQD, after RTS", w.a.scq, IBV_WC_SUCCESS, NULL);
	t_pat_check("WRITE posted in SQD, after RTS", w.pb, 5000, 1, 0);
	pr_close(&w);
}

static void limits(struct t_dev *d)
{
	struct ibv_device_attr *l = &d->attr.orig_attr;
	struct ibv_cq *cq = ibv_create_cq(d->ctx, 10, NULL, NULL, 0), *c2;
	struct ibv_srq_init_attr sa = { .attr = { .max_wr = 10, .max_sge = 1 } };
	struct ibv_qp_init_attr ia;
	struct ibv_srq *srq;
	struct ibv_qp *qp;

	t_note("limits: %d QPs of %d WRs and %d SGEs, %d CQEs, %d MRs, %d SRQ WRs of %d SGEs",
	       l->max_qp, l->max_qp_wr, l->max_sge, l->max_cqe, l->max_mr, l->max_srq_wr,
	       l->max_srq_sge);
#define REFUSE_QP(what, field, value)                                                              \
	do {                                                                                       \
		ia = (struct ibv_qp_init_attr){                                            \
			.send_cq = cq, .recv_cq = cq, .qp_type = IBV_QPT_RC,               \
			.cap = { 4, 4, 1, 1, 0 }                                           \
		};                                                                         \
		ia.field = value;                                                                  \
		qp = ibv_create_qp(d->pd, &ia);                                                    \
		if (qp) {                                                                          \
			t_fail("create_qp took %s", what);                                         \
			ibv_destroy_qp(qp);                                                        \
		}                                                                                  \
	} while (0)
	REFUSE_QP("too many send WRs", cap.max_send_wr, (uint32_t)l->max_qp_wr + 1);
	REFUSE_QP("2^32 - 1 send WRs", cap.max_send_wr, UINT32_MAX);
	REFUSE_QP("too many receive WRs", cap.max_recv_wr, (uint32_t)l->max_qp_wr + 1);
	REFUSE_QP("too many send SGEs", cap.max_send_sge, (uint32_t)l->max_sge + 1);
	REFUSE_QP("2^32 - 1 send SGEs", cap.max_send_sge, UINT32_MAX);
	REFUSE_QP("too many receive SGEs", cap.max_recv_sge, (uint32_t)l->max_sge + 1);
	REFUSE_QP("2^20 bytes of inline data", cap.max_inline_data, 1 << 20);
	REFUSE_QP("2^32 - 1 bytes of inline data", cap.max_inline_data, UINT32_MAX);
	REFUSE_QP("type 77", qp_type, (enum ibv_qp_type)77);
	REFUSE_QP("raw packets", qp_type, IBV_QPT_RAW_PACKET);
	c2 = ibv_create_cq(d->ctx, 0, NULL, NULL, 0);
	if (c2)
		t_fail("create_cq took 0 entries");
	c2 = ibv_create_cq(d->ctx, l->max_cqe + 1, NULL, NULL, 0);
	if (c2)
		t_fail("create_cq took more entries than max_cqe");
	c2 = ibv_create_cq(d->ctx, 10, NULL, NULL, 9999);
	if (c2)
		t_fail("create_cq took completion vector 9999");
	sa.attr.max_wr = (uint32_t)l->max_srq_wr + 1;
	srq = ibv_create_srq(d->pd, &sa);
	if (srq)
		t_fail("create_srq took more WRs than max_srq_wr");
	sa.attr.max_wr = 10;
	sa.attr.max_sge = (uint32_t)l->max_srq_sge + 1;
	srq = ibv_create_srq(d->pd, &sa);
	if (srq)
		t_fail("create_srq took more SGEs than max_srq_sge");
	/* The largest that the device reports can be made (where it is not absurdly large). */
	ia = (struct ibv_qp_init_attr){
		.send_cq = cq, .recv_cq = cq, .qp_type = IBV_QPT_RC,
		.cap = { 64, 64, (uint32_t)l->max_sge, (uint32_t)l->max_sge, 512 }
	};
	qp = ibv_create_qp(d->pd, &ia);
	if (!qp)
		t_fail("create_qp with %d SGEs and 512 bytes inline: %s", l->max_sge,
		       strerror(errno));
	else
		ibv_destroy_qp(qp);
	c2 = ibv_create_cq(d->ctx, l->max_cqe < 32767 ? l->max_cqe : 32767, NULL, NULL, 0);
	if (!c2)
		t_fail("create_cq of max_cqe: %s", strerror(errno));
	else
		ibv_destroy_cq(c2);
	ibv_destroy_cq(cq);
}

/* Objects in use cannot be destroyed; a QP can, whatever is posted on it. */
static void destroy(struct t_dev *d)
{
	struct t_opt o = { .timeout = 18, .retry_cnt = 7, .rnr_retry = 7 };
	struct pr w;
	int rc;

	for (int round = 0; round < 6; round++) {
		struct ibv_pd *pd = ibv_alloc_pd(d->ctx);
		struct t_ep a, b;
		uint8_t *p = t_map(64 * T_PAGE);
		unsigned odp = d->odp && round & 1 ? IBV_ACCESS_ON_DEMAND : 0;
		struct ibv_mr *m = t_reg(pd, p, 64 * T_PAGE, T_ALL_ACCESS | odp);

		o.pd = pd;
		t_pair_open(&a, d, &b, d, &o);
		rc = ibv_destroy_cq(a.scq);
		if (rc != EBUSY)
			t_fail("destroy of a CQ in use: %s, expected EBUSY",
			       rc ? strerror(rc) : "success");
		rc = ibv_dealloc_pd(pd);
		if (rc != EBUSY)
			t_fail("dealloc of a PD in use: %s, expected EBUSY",
			       rc ? strerror(rc) : "success");
		for (int i = 0; i < 20; i++) {
			t_recv_one(&b, p, 100, m->lkey, 1);
			if (round % 3 == 0)	 /* WRITEs in flight */
				t_post_one(&a, IBV_WR_RDMA_WRITE, p, 60000, m->lkey,
					   (uintptr_t)p + 90000, m->rkey, 1);
			else if (round % 3 == 1) /* SENDs that wait in vain */
				t_post_one(&b, IBV_WR_SEND, p, 60000, m->lkey, 0, 0, 1);
			else			 /* READs */
				t_post_one(&a, IBV_WR_RDMA_READ, p, 60000, m->lkey,
					   (uintptr_t)p + 90000, m->rkey, 1);
		}
		if (round & 1)
			ibv_dereg_mr(m);
		t_ep_close(round & 2 ? &a : &b);
		t_ep_close(round & 2 ? &b : &a);
		if (!(round & 1))
			ibv_dereg_mr(m);
		rc = ibv_dealloc_pd(pd);
		if (rc)
			t_fail("dealloc of a PD: %s", strerror(rc));
		munmap(p, 64 * T_PAGE);
	}
	pr_open(&w, d, NULL);
	t_pair_works("afterwards", &w.a, &w.b);
	pr_close(&w);
}

/*
 * An MR is registered again with other rights or for another PD: what is allowed now succeeds, what
 * is not allowed any more fails.
 */
static void rereg(struct t_dev *d)
{
	struct ibv_pd *pd;
	struct ibv_sge sg;
	struct ibv_mr *m;
	struct t_wr wr;
	struct pr w;
	int rc;

	pr_open(&w, d, NULL);
	for (int odp = 0; odp <= (int)d->odp; odp++) {
		unsigned more = odp ? IBV_ACCESS_ON_DEMAND : 0;

		pr_fill(&w, 1);
		m = t_reg(d->pd, w.pb, PR_ROOM, T_ALL_ACCESS | more);
		sg = t_sge(w.pa, 3000, w.ma->lkey);
		wr = (struct t_wr){
			.op = IBV_WR_RDMA_WRITE, .sg = &sg, .n = 1,
			.raddr = (uintptr_t)w.pb, .rkey = m->rkey,
		};
		pr_try(&w, "before rereg_mr", &wr, IBV_WC_SUCCESS);
		rc = ibv_rereg_mr(m, IBV_REREG_MR_CHANGE_ACCESS, NULL, NULL, 0,
				  (int)(IBV_ACCESS_REMOTE_READ | more));
		if (rc) {
			t_note("rereg: ibv_rereg_mr of rights: %d (%s)", rc, strerror(errno));
			ibv_dereg_mr(m);
			continue;
		}
		pr_fill(&w, 1);
		wr.rkey = m->rkey;
		pr_try(&w, "WRITE after its right was taken", &wr, IBV_WC_REM_ACCESS_ERR);
		pr_unchanged(&w, "WRITE after its right was taken");
		wr.op = IBV_WR_RDMA_READ;
		pr_try(&w, "READ, which is still allowed", &wr, IBV_WC_SUCCESS);
		t_pat_check("READ, which is still allowed", w.pa, 3000, PR_GUARD_SEQ, 0);
		pd = ibv_alloc_pd(d->ctx);
		rc = ibv_rereg_mr(m, IBV_REREG_MR_CHANGE_PD, pd, NULL, 0, 0);
		if (rc) {
			t_fail("ibv_rereg_mr of the PD: %d (%s)", rc, strerror(errno));
		} else {
			wr.rkey = m->rkey;
			pr_try(&w, "READ after the MR went to another PD", &wr,
			       IBV_WC_REM_ACCESS_ERR);
		}
		ibv_dereg_mr(m);
		ibv_dealloc_pd(pd);
	}
	pr_close(&w);
}

const struct t_test pr_state[] = {
	{ "transitions", transitions, "valid and invalid state transitions, many lives of a QP" },
	{ "query", query, "query_qp and query_port return what is" },
	{ "sqd", sqd, "SQD holds the send queue" },
	{ "limits", limits, "what create refuses" },
	{ "destroy", destroy, "destroying QPs with outstanding WRs; objects in use" },
	{ "rereg", rereg, "rereg_mr: rights and PD" },
	{ 0 },
};
