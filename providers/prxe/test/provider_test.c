// SPDX-License-Identifier: BSD-2-Clause
/*
 * Tests of what the provider itself decides: queues, locks, doorbells, refusals, both posting and
 * both polling interfaces. All transfers run between two QPs of this process.
 *
 * provider_test DEVICE GID_INDEX [TEST]
 *
 * Exit status 0: all passed; 1: a line "not ok ..." names the test that failed.
 *
 * Build: cc -Wall -Wextra -o provider_test provider_test.c -libverbs -lpthread
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <infiniband/verbs.h>

#define BUF	(1 << 16)
#define HALF	(BUF / 2)
#define DEPTH	64

static struct ibv_context *ctx;
static struct ibv_pd *pd;
static struct ibv_mr *mr;
static uint8_t *buf;
static int gid_index;
static union ibv_gid gid;
static enum ibv_mtu mtu;
static int failed;

#define CHECK(cond, ...) do {								\
	if (!(cond)) {									\
		printf("not ok line %d: %s: ", __LINE__, #cond);			\
		printf(__VA_ARGS__);							\
		printf("\n");								\
		failed++;								\
		return;									\
	}										\
} while (0)

static void fatal(const char *what)
{
	printf("not ok %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Every byte depends on its position and on the transfer. */
static uint8_t pattern(size_t offset, unsigned int seq)
{
	return (uint8_t)(offset * 31 + (offset >> 8) * 7 + seq * 101 + 13);
}

static void fill(uint8_t *p, size_t len, unsigned int seq)
{
	for (size_t i = 0; i < len; i++)
		p[i] = pattern(i, seq);
}

static size_t wrong(const uint8_t *p, size_t len, unsigned int seq)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] != pattern(i, seq))
			return i + 1;
	return 0;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec * 1e-9;
}

/* Poll n completions within ten seconds; returns how many came. */
static int poll_n(struct ibv_cq *cq, struct ibv_wc *wc, int n)
{
	double end = now() + 10;
	int got = 0, r;

	while (got < n && now() < end) {
		r = ibv_poll_cq(cq, n - got, wc + got);
		if (r < 0)
			return r;
		got += r;
	}
	return got;
}

struct pair {
	enum ibv_qp_type type;
	struct ibv_cq *cq;		/* of the sender; the receiver has its own */
	struct ibv_cq_ex *cq_ex;	/* the same, if it is extended */
	struct ibv_cq *rcq;
	struct ibv_qp *s, *r;
	struct ibv_qp_ex *sx;
	struct ibv_qp_cap cap;
};

static int to_init(struct ibv_qp *qp)
{
	struct ibv_qp_attr a = { .qp_state = IBV_QPS_INIT, .port_num = 1, .qkey = 0x1234 };
	int mask = IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT;

	if (qp->qp_type == IBV_QPT_UD) {
		mask |= IBV_QP_QKEY;
	} else {
		a.qp_access_flags = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE;
		if (qp->qp_type == IBV_QPT_RC)
			a.qp_access_flags |= IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC;
		mask |= IBV_QP_ACCESS_FLAGS;
	}
	return ibv_modify_qp(qp, &a, mask);
}

static int to_rts(struct ibv_qp *qp, uint32_t dest)
{
	struct ibv_qp_attr a = {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = mtu,
		.dest_qp_num = dest,
		.max_dest_rd_atomic = 4,
		.min_rnr_timer = 1,
		.ah_attr = { .is_global = 1,
			     .port_num = 1,
			     .grh = { .dgid = gid, .sgid_index = gid_index, .hop_limit = 4 } },
	};
	int mask = IBV_QP_STATE;

	if (qp->qp_type != IBV_QPT_UD)
		mask |= IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN;
	if (qp->qp_type == IBV_QPT_RC)
		mask |= IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER;
	if (ibv_modify_qp(qp, &a, mask))
		return -1;
	memset(&a, 0, sizeof(a));
	a.qp_state = IBV_QPS_RTS;
	a.timeout = 14;
	a.retry_cnt = 7;
	a.rnr_retry = 7;
	a.max_rd_atomic = 4;
	mask = IBV_QP_STATE | IBV_QP_SQ_PSN;
	if (qp->qp_type == IBV_QPT_RC)
		mask |= IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
			IBV_QP_MAX_QP_RD_ATOMIC;
	return ibv_modify_qp(qp, &a, mask);
}

/* Create two QPs in RESET. If pd is in a thread domain, they take no locks. */
static void pair_create(struct pair *p, enum ibv_qp_type type, struct ibv_pd *on, uint64_t send_ops,
			int ex_cq)
{
	struct ibv_qp_init_attr_ex a = {
		.cap = { .max_send_wr = DEPTH,
			 .max_recv_wr = DEPTH,
			 .max_send_sge = 4,
			 .max_recv_sge = 4,
			 .max_inline_data = 64 },
		.qp_type = type,
		.comp_mask = IBV_QP_INIT_ATTR_PD,
		.pd = on,
	};
	struct ibv_cq_init_attr_ex ca = { .cqe = 4 * DEPTH, .wc_flags = IBV_WC_STANDARD_FLAGS };

	memset(p, 0, sizeof(*p));
	p->type = type;
	if (ex_cq) {
		p->cq_ex = ibv_create_cq_ex(ctx, &ca);
		p->cq = p->cq_ex ? ibv_cq_ex_to_cq(p->cq_ex) : NULL;
	} else {
		p->cq = ibv_create_cq(ctx, 4 * DEPTH, NULL, NULL, 0);
	}
	p->rcq = ibv_create_cq(ctx, 4 * DEPTH, NULL, NULL, 0);
	if (!p->cq || !p->rcq)
		fatal("create_cq");
	a.send_cq = p->cq;
	a.recv_cq = p->rcq;
	p->r = ibv_create_qp_ex(ctx, &a);
	if (send_ops) {
		a.comp_mask |= IBV_QP_INIT_ATTR_SEND_OPS_FLAGS;
		a.send_ops_flags = send_ops;
	}
	p->s = ibv_create_qp_ex(ctx, &a);
	if (!p->r || !p->s)
		fatal("create_qp_ex");
	p->cap = a.cap;
	if (send_ops)
		p->sx = ibv_qp_to_qp_ex(p->s);
}

static void pair_connect(struct pair *p)
{
	if (to_init(p->s) || to_init(p->r) || to_rts(p->s, p->r->qp_num) ||
	    to_rts(p->r, p->s->qp_num))
		fatal("modify_qp");
}

static void pair_destroy(struct pair *p)
{
	if (ibv_destroy_qp(p->s) || ibv_destroy_qp(p->r) || ibv_destroy_cq(p->cq) ||
	    ibv_destroy_cq(p->rcq))
		fatal("destroy");
}

static struct ibv_sge local(size_t offset, uint32_t len)
{
	return (struct ibv_sge){ .addr = (uintptr_t)buf + offset, .length = len, .lkey = mr->lkey };
}

static int recv_one(struct ibv_qp *qp, size_t offset, uint32_t len)
{
	struct ibv_sge sge = local(offset, len);
	struct ibv_recv_wr wr = { .wr_id = 77, .sg_list = &sge, .num_sge = 1 }, *bad;

	return ibv_post_recv(qp, &wr, &bad);
}

static void test_states(void)
{
	struct ibv_sge sge = local(0, 8);
	struct ibv_send_wr wr = { .opcode = IBV_WR_SEND, .sg_list = &sge, .num_sge = 1 },
			   *bad = NULL;
	struct ibv_recv_wr rwr = { .sg_list = &sge, .num_sge = 1 }, *rbad = NULL;
	struct pair p;

	pair_create(&p, IBV_QPT_RC, pd, IBV_QP_EX_WITH_SEND, 0);
	CHECK(ibv_post_send(p.s, &wr, &bad) == EINVAL && bad == &wr, "send in RESET");
	CHECK(ibv_post_recv(p.s, &rwr, &rbad) == EINVAL && rbad == &rwr, "receive in RESET");
	ibv_wr_start(p.sx);
	p.sx->wr_flags = 0;
	ibv_wr_send(p.sx);
	CHECK(ibv_wr_complete(p.sx) == EINVAL, "wr in RESET");
	if (to_init(p.s))
		fatal("modify_qp");
	CHECK(ibv_post_send(p.s, &wr, &bad) == EINVAL, "send in INIT");
	CHECK(!ibv_post_recv(p.s, &rwr, &rbad), "receive in INIT");
	pair_destroy(&p);
}

static void test_refusals(void)
{
	struct ibv_sge sge[40];
	struct ibv_send_wr wr = { .wr_id = 1, .opcode = IBV_WR_SEND, .sg_list = sge, .num_sge = 1 },
			   *bad = NULL;
	struct pair rc, uc, ud;
	int i;

	for (i = 0; i < 40; i++)
		sge[i] = local(0, 8);
	pair_create(&rc, IBV_QPT_RC, pd, 0, 0);
	pair_create(&uc, IBV_QPT_UC, pd, 0, 0);
	pair_create(&ud, IBV_QPT_UD, pd, 0, 0);
	pair_connect(&rc);
	pair_connect(&uc);
	pair_connect(&ud);

	wr.num_sge = rc.cap.max_send_sge + 1;
	CHECK(ibv_post_send(rc.s, &wr, &bad) == EINVAL && bad == &wr, "too many SGEs");
	wr.num_sge = -1;
	CHECK(ibv_post_send(rc.s, &wr, &bad) == EINVAL, "negative num_sge");
	wr.num_sge = 1;
	sge[0].length = rc.cap.max_inline_data + 1;
	wr.send_flags = IBV_SEND_INLINE;
	CHECK(ibv_post_send(rc.s, &wr, &bad) == EINVAL, "too much inline");
	sge[0].length = 8;
	wr.opcode = IBV_WR_RDMA_READ;
	CHECK(ibv_post_send(rc.s, &wr, &bad) == EINVAL, "inline READ");
	wr.send_flags = 0;
	CHECK(ibv_post_send(uc.s, &wr, &bad) == EINVAL, "READ on UC");
	wr.opcode = IBV_WR_RDMA_WRITE;
	CHECK(ibv_post_send(ud.s, &wr, &bad) == EINVAL, "WRITE on UD");
	wr.opcode = IBV_WR_SEND;
	CHECK(ibv_post_send(ud.s, &wr, &bad) == EINVAL, "UD without AH");
	wr.opcode = (enum ibv_wr_opcode)57;
	CHECK(ibv_post_send(rc.s, &wr, &bad) == EINVAL, "no opcode");
	wr.opcode = IBV_WR_TSO;
	CHECK(ibv_post_send(rc.s, &wr, &bad) == EINVAL, "TSO");
	CHECK(ibv_poll_cq(rc.cq, 1, &(struct ibv_wc){}) == 0, "a refused request completed");
	pair_destroy(&rc);
	pair_destroy(&uc);
	pair_destroy(&ud);
}

/* A list is executed up to its first bad member, to which bad_wr points. */
static void test_partial_list(void)
{
	struct ibv_sge s[3] = { local(0, 100), local(1000, 100), local(2000, 100) };
	struct ibv_send_wr wr[3] = {}, *bad = NULL;
	struct ibv_wc wc[4];
	struct pair p;
	int i;

	pair_create(&p, IBV_QPT_RC, pd, 0, 0);
	pair_connect(&p);
	memset(buf + HALF, 0, HALF);
	for (i = 0; i < 3; i++) {
		fill(buf + i * 1000, 100, i);
		wr[i] = (struct ibv_send_wr){ .wr_id = i,
					      .sg_list = &s[i],
					      .num_sge = 1,
					      .opcode = IBV_WR_RDMA_WRITE,
					      .send_flags = IBV_SEND_SIGNALED,
					      .next = i < 2 ? &wr[i + 1] : NULL };
		wr[i].wr.rdma.remote_addr = (uintptr_t)buf + HALF + i * 1000;
		wr[i].wr.rdma.rkey = mr->rkey;
	}
	wr[1].num_sge = 99;
	CHECK(ibv_post_send(p.s, wr, &bad) == EINVAL && bad == &wr[1], "bad_wr");
	CHECK(poll_n(p.cq, wc, 1) == 1 && !wc[0].status && wc[0].wr_id == 0, "the first one");
	CHECK(!wrong(buf + HALF, 100, 0), "data at %zu", wrong(buf + HALF, 100, 0));
	CHECK(!buf[HALF + 1000] && !buf[HALF + 2000], "the others moved data");
	usleep(20000);
	CHECK(ibv_poll_cq(p.cq, 1, wc) == 0, "the others completed");
	pair_destroy(&p);
}

static void test_receive_queue_full(void)
{
	struct pair p;
	unsigned int n, i;

	pair_create(&p, IBV_QPT_RC, pd, 0, 0);
	pair_connect(&p);
	for (n = 0; n < 100000 && !recv_one(p.r, HALF, 256); n++)
		;
	CHECK(recv_one(p.r, HALF, 256) == ENOMEM, "a full receive queue");
	CHECK(n >= p.cap.max_recv_wr && n < 100000, "%u fit, %u promised", n, p.cap.max_recv_wr);
	/* Consumed slots are free again: go around the ring more than once. */
	for (i = 0; i < 3 * n; i++) {
		struct ibv_sge sge = local(0, 64 + i % 100);
		struct ibv_send_wr wr = { .sg_list = &sge,
					  .num_sge = 1,
					  .opcode = IBV_WR_SEND,
					  .send_flags = IBV_SEND_SIGNALED },
				   *bad;
		struct ibv_wc wc;

		fill(buf, sge.length, i);
		CHECK(!ibv_post_send(p.s, &wr, &bad), "send %u", i);
		CHECK(poll_n(p.rcq, &wc, 1) == 1 && !wc.status && wc.byte_len == sge.length,
		      "receive %u", i);
		CHECK(!wrong(buf + HALF, sge.length, i), "data of %u at %zu", i,
		      wrong(buf + HALF, sge.length, i));
		CHECK(poll_n(p.cq, &wc, 1) == 1 && !wc.status, "completion %u", i);
		CHECK(!recv_one(p.r, HALF, 256), "receive again %u", i);
	}
	pair_destroy(&p);
}

static void test_wr_api(void)
{
	struct ibv_data_buf bufs[2] = { { buf, 20 }, { buf + 20, 30 } };
	struct ibv_sge s[3] = { local(0, 10), local(10, 300), local(310, 7) };
	struct ibv_wc wc[8];
	struct pair p;
	int i;

	pair_create(&p, IBV_QPT_RC, pd,
		    IBV_QP_EX_WITH_SEND | IBV_QP_EX_WITH_SEND_WITH_IMM | IBV_QP_EX_WITH_RDMA_WRITE |
			    IBV_QP_EX_WITH_RDMA_READ,
		    0);
	pair_connect(&p);
	fill(buf, 4096, 5);
	memset(buf + HALF, 0, HALF);
	for (i = 0; i < 4; i++)
		CHECK(!recv_one(p.r, HALF + i * 1000, 500), "post_recv");

	/* Aborted: nothing of it may be sent later. */
	ibv_wr_start(p.sx);
	p.sx->wr_id = 1;
	p.sx->wr_flags = IBV_SEND_SIGNALED;
	ibv_wr_send(p.sx);
	ibv_wr_set_sge(p.sx, mr->lkey, (uintptr_t)buf, 77);
	ibv_wr_abort(p.sx);

	/* An error drops the whole batch. */
	ibv_wr_start(p.sx);
	ibv_wr_send(p.sx);
	ibv_wr_set_sge(p.sx, mr->lkey, (uintptr_t)buf, 77);
	ibv_wr_send(p.sx);
	ibv_wr_set_inline_data(p.sx, buf, p.cap.max_inline_data + 1);
	CHECK(ibv_wr_complete(p.sx), "too much inline data");

	ibv_wr_start(p.sx);
	/* wr_flags without IBV_SEND_INLINE: the setter itself makes the data inline. */
	p.sx->wr_id = 2;
	ibv_wr_send(p.sx);
	ibv_wr_set_inline_data(p.sx, buf, 33);
	p.sx->wr_id = 3;
	ibv_wr_send_imm(p.sx, htobe32(0xabcd));
	ibv_wr_set_inline_data_list(p.sx, 2, bufs);
	p.sx->wr_id = 4;
	ibv_wr_send(p.sx);
	ibv_wr_set_sge_list(p.sx, 3, s);
	p.sx->wr_id = 5;
	ibv_wr_send(p.sx);			/* no data at all */
	p.sx->wr_id = 6;
	ibv_wr_rdma_read(p.sx, mr->rkey, (uintptr_t)buf);
	ibv_wr_set_sge(p.sx, mr->lkey, (uintptr_t)buf + HALF + 8000, 4000);
	CHECK(!ibv_wr_complete(p.sx), "wr_complete");

	CHECK(poll_n(p.cq, wc, 5) == 5, "completions");
	for (i = 0; i < 5; i++)
		CHECK(!wc[i].status && wc[i].wr_id == 2u + i, "completion %d: status %d wr_id %d",
		      i, wc[i].status, (int)wc[i].wr_id);
	CHECK(poll_n(p.rcq, wc, 4) == 4, "receives");
	CHECK(wc[0].byte_len == 33 && wc[1].byte_len == 50 && wc[2].byte_len == 317 &&
		      wc[3].byte_len == 0,
	      "lengths %u %u %u %u", wc[0].byte_len, wc[1].byte_len, wc[2].byte_len,
	      wc[3].byte_len);
	CHECK((wc[1].wc_flags & IBV_WC_WITH_IMM) && wc[1].imm_data == htobe32(0xabcd),
	      "immediate data");
	CHECK(!wrong(buf + HALF, 33, 5) && !wrong(buf + HALF + 1000, 50, 5) &&
		      !wrong(buf + HALF + 2000, 317, 5) && !wrong(buf + HALF + 8000, 4000, 5),
	      "data");
	CHECK(!buf[HALF + 33] && !buf[HALF + 1050] && !buf[HALF + 2317] && !buf[HALF + 3000],
	      "data beyond its end");
	usleep(20000);
	CHECK(ibv_poll_cq(p.cq, 1, wc) == 0, "something of a dropped batch completed");

	/* More than the ring holds: the batch is refused as a whole. */
	ibv_wr_start(p.sx);
	for (i = 0; i < 100000; i++)
		ibv_wr_rdma_write(p.sx, mr->rkey, (uintptr_t)buf + HALF);
	CHECK(ibv_wr_complete(p.sx) == ENOMEM, "more than the ring holds");
	usleep(20000);
	CHECK(ibv_poll_cq(p.cq, 1, wc) == 0, "and some of it completed");
	pair_destroy(&p);
}

static void *poll_empty(void *cq)
{
	struct ibv_wc wc;

	return (void *)(intptr_t)ibv_poll_cq(cq, 1, &wc);
}

static void test_cq_ex(void)
{
	struct ibv_poll_cq_attr none = {};
	double end = now() + 10;
	int seen = 0, i, ret;
	pthread_t thread;
	struct pair p;
	void *empty;

	pair_create(&p, IBV_QPT_RC, pd, IBV_QP_EX_WITH_RDMA_WRITE, 1);
	pair_connect(&p);
	CHECK(ibv_start_poll(p.cq_ex, &none) == ENOENT, "an empty CQ");
	CHECK(ibv_start_poll(p.cq_ex, &none) == ENOENT, "an empty CQ again: the lock was kept");
	ibv_wr_start(p.sx);
	p.sx->wr_flags = IBV_SEND_SIGNALED;
	for (i = 0; i < 20; i++) {
		p.sx->wr_id = 100 + i;
		ibv_wr_rdma_write(p.sx, mr->rkey, (uintptr_t)buf + HALF);
		ibv_wr_set_sge(p.sx, mr->lkey, (uintptr_t)buf, 8);
	}
	CHECK(!ibv_wr_complete(p.sx), "wr_complete");
	while (seen < 20 && now() < end) {
		ret = ibv_start_poll(p.cq_ex, &none);
		if (ret == ENOENT)
			continue;
		CHECK(!ret, "start_poll: %d", ret);
		do {
			CHECK(!p.cq_ex->status && p.cq_ex->wr_id == 100u + seen, "wr_id %d at %d",
			      (int)p.cq_ex->wr_id, seen);
			CHECK(ibv_wc_read_opcode(p.cq_ex) == IBV_WC_RDMA_WRITE &&
				      ibv_wc_read_qp_num(p.cq_ex) == p.s->qp_num,
			      "fields");
			seen++;
		} while (!ibv_next_poll(p.cq_ex));
		ibv_end_poll(p.cq_ex);
	}
	CHECK(seen == 20, "saw %d", seen);
	/* No thread holds the lock any more, and no completion was counted twice. */
	pthread_create(&thread, NULL, poll_empty, p.cq);
	pthread_join(thread, &empty);
	CHECK(!empty, "the old interface sees completions again");
	pair_destroy(&p);
}

/* The time in a CQE is wall-clock time, between post and poll, and does not go backwards. */
static void test_timestamps(void)
{
	struct ibv_cq_init_attr_ex ca = {
		.cqe = 64,
		.wc_flags = IBV_WC_EX_WITH_COMPLETION_TIMESTAMP |
			    IBV_WC_EX_WITH_COMPLETION_TIMESTAMP_WALLCLOCK
	};
	struct ibv_qp_init_attr a = {
		.cap = { .max_send_wr = 8, .max_recv_wr = 8, .max_send_sge = 1, .max_recv_sge = 1 },
		.qp_type = IBV_QPT_RC
	};
	struct ibv_sge sge = local(0, 8);
	struct ibv_send_wr wr = { .sg_list = &sge,
				  .num_sge = 1,
				  .opcode = IBV_WR_RDMA_WRITE,
				  .send_flags = IBV_SEND_SIGNALED },
			   *bad;
	struct ibv_values_ex values = { .comp_mask = IBV_VALUES_MASK_RAW_CLOCK };
	struct ibv_poll_cq_attr none = {};
	struct ibv_device_attr_ex attr;
	struct timespec before, after;
	uint64_t ns, last = 0;
	double end = now() + 10;
	struct ibv_cq_ex *cq;
	struct ibv_qp *qp;
	int i, ret;

	CHECK(!ibv_query_device_ex(ctx, NULL, &attr), "query_device_ex");
	cq = ibv_create_cq_ex(ctx, &ca);
	if (!attr.completion_timestamp_mask) {
		CHECK(!cq && errno == EOPNOTSUPP, "timestamps that the device does not have");
		printf("# the device has no timestamps\n");
		return;
	}
	CHECK(cq, "create_cq_ex: %s", strerror(errno));
	CHECK(!ibv_query_rt_values_ex(ctx, &values) &&
		      values.comp_mask == IBV_VALUES_MASK_RAW_CLOCK,
	      "query_rt_values_ex");
	a.send_cq = a.recv_cq = ibv_cq_ex_to_cq(cq);
	qp = ibv_create_qp(pd, &a);
	CHECK(qp && !to_init(qp) && !to_rts(qp, qp->qp_num), "QP: %s", strerror(errno));
	wr.wr.rdma.remote_addr = (uintptr_t)buf + HALF;
	wr.wr.rdma.rkey = mr->rkey;
	for (i = 0; i < 5; i++) {
		clock_gettime(CLOCK_REALTIME, &before);
		CHECK(!ibv_post_send(qp, &wr, &bad), "post_send");
		do {
			ret = ibv_start_poll(cq, &none);
		} while (ret == ENOENT && now() < end);
		CHECK(!ret && !cq->status, "poll: %d", ret);
		ns = ibv_wc_read_completion_wallclock_ns(cq);
		clock_gettime(CLOCK_REALTIME, &after);
		CHECK(ibv_wc_read_completion_ts(cq) == ns, "two clocks");
		ibv_end_poll(cq);
		CHECK(ns >= last && ns >= before.tv_sec * 1000000000ull + before.tv_nsec &&
			      ns <= after.tv_sec * 1000000000ull + after.tv_nsec,
		      "%llu", (unsigned long long)ns);
		last = ns;
	}
	CHECK(!ibv_destroy_qp(qp) && !ibv_destroy_cq(ibv_cq_ex_to_cq(cq)), "destroy");
}

/* The receiver is told which key was invalidated, by user space's flag values. */
static void test_send_with_invalidate(void)
{
	struct ibv_mw_bind_info info = { .mr = NULL, .addr = 0, .length = 4096,
					 .mw_access_flags = IBV_ACCESS_REMOTE_WRITE };
	struct ibv_mr *bindable = ibv_reg_mr(pd, buf + HALF, 8192,
					     IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |
						     IBV_ACCESS_MW_BIND);
	struct ibv_mw *mw = ibv_alloc_mw(pd, IBV_MW_TYPE_2);
	struct ibv_send_wr bind = { .opcode = IBV_WR_BIND_MW, .send_flags = IBV_SEND_SIGNALED },
			   *bad;
	struct ibv_sge sge = local(0, 100);
	struct ibv_send_wr write = { .sg_list = &sge,
				     .num_sge = 1,
				     .opcode = IBV_WR_RDMA_WRITE,
				     .send_flags = IBV_SEND_SIGNALED };
	struct ibv_send_wr send = { .sg_list = &sge,
				    .num_sge = 1,
				    .opcode = IBV_WR_SEND_WITH_INV,
				    .send_flags = IBV_SEND_SIGNALED };
	struct ibv_wc wc;
	struct pair p;
	int i;

	CHECK(bindable && mw, "reg_mr or alloc_mw: %s", strerror(errno));
	pair_create(&p, IBV_QPT_RC, pd, 0, 0);
	pair_connect(&p);
	info.mr = bindable;
	info.addr = (uintptr_t)buf + HALF;
	bind.bind_mw.mw = mw;
	bind.bind_mw.bind_info = info;
	bind.bind_mw.rkey = mw->rkey;
	for (i = 0; i < 2; i++) {		/* bind again after the invalidation */
		bind.bind_mw.rkey = ibv_inc_rkey(bind.bind_mw.rkey);
		CHECK(!ibv_post_send(p.r, &bind, &bad), "post of a bind");
		CHECK(poll_n(p.cq, &wc, 1) == 1 && !wc.status && wc.opcode == IBV_WC_BIND_MW,
		      "bind %d: status %d", i, wc.status);
		fill(buf, 100, 60 + i);
		write.wr.rdma.remote_addr = (uintptr_t)buf + HALF;
		write.wr.rdma.rkey = bind.bind_mw.rkey;
		CHECK(!ibv_post_send(p.s, &write, &bad) && poll_n(p.cq, &wc, 1) == 1 && !wc.status,
		      "write %d: status %d", i, wc.status);
		CHECK(!wrong(buf + HALF, 100, 60 + i), "data");
		send.invalidate_rkey = bind.bind_mw.rkey;
		CHECK(!recv_one(p.r, HALF + 1000, 100) && !ibv_post_send(p.s, &send, &bad), "post");
		CHECK(poll_n(p.rcq, &wc, 1) == 1 && !wc.status, "receive: status %d", wc.status);
		CHECK((wc.wc_flags & IBV_WC_WITH_INV) && !(wc.wc_flags & IBV_WC_WITH_IMM) &&
			      wc.invalidated_rkey == bind.bind_mw.rkey,
		      "flags %x rkey %x", wc.wc_flags, wc.invalidated_rkey);
		CHECK(poll_n(p.cq, &wc, 1) == 1 && !wc.status, "completion");
		if (!strncmp(ibv_get_device_name(ctx->device), "rxe", 3))
			/* With rdma_rxe the caller must update ibv_mw's key itself. */
			break;
	}
	CHECK(!ibv_dealloc_mw(mw) && !ibv_dereg_mr(bindable), "dealloc");
	pair_destroy(&p);
}

static void test_reset_drops_cqes(void)
{
	struct ibv_qp_attr a = { .qp_state = IBV_QPS_RESET };
	struct ibv_sge sge = local(0, 8);
	struct ibv_send_wr wr = { .sg_list = &sge,
				  .num_sge = 1,
				  .opcode = IBV_WR_RDMA_WRITE,
				  .send_flags = IBV_SEND_SIGNALED },
			   *bad;
	struct ibv_wc wc[DEPTH];
	struct pair p;
	int i;

	pair_create(&p, IBV_QPT_RC, pd, 0, 0);
	pair_connect(&p);
	wr.wr.rdma.remote_addr = (uintptr_t)buf + HALF;
	wr.wr.rdma.rkey = mr->rkey;
	for (i = 0; i < 10; i++) {		/* both QPs in turn: they share the send CQ */
		wr.wr_id = i;
		CHECK(!ibv_post_send(i % 2 ? p.r : p.s, &wr, &bad), "post_send");
		usleep(2000);
	}
	usleep(100000);
	CHECK(!ibv_modify_qp(p.s, &a, IBV_QP_STATE), "to RESET");
	CHECK(poll_n(p.cq, wc, 5) == 5, "the other QP's completions");
	for (i = 0; i < 5; i++)
		CHECK(wc[i].qp_num == p.r->qp_num && wc[i].wr_id == 2u * i + 1,
		      "completion %d: wr_id %d", i, (int)wc[i].wr_id);
	CHECK(ibv_poll_cq(p.cq, 1, wc) == 0, "too many");
	pair_destroy(&p);
}

/* No completion is lost or doubled while the CQ is resized during polling. */
struct poller {
	struct ibv_cq *cq;
	unsigned int want, seen;
	int error;
};

static void *poller_run(void *arg)
{
	struct poller *p = arg;
	double end = now() + 30;
	struct ibv_wc wc[8];
	int n, i;

	while (__atomic_load_n(&p->seen, __ATOMIC_RELAXED) < p->want && now() < end) {
		n = ibv_poll_cq(p->cq, 8, wc);
		if (n < 0)
			p->error = n;
		for (i = 0; i < n; i++) {
			if (wc[i].status || wc[i].wr_id != p->seen)
				p->error = 1;
			__atomic_fetch_add(&p->seen, 1, __ATOMIC_RELEASE);
		}
	}
	return NULL;
}

static void test_resize(void)
{
	struct ibv_sge sge = local(0, 8);
	struct ibv_send_wr wr = { .sg_list = &sge,
				  .num_sge = 1,
				  .opcode = IBV_WR_RDMA_WRITE,
				  .send_flags = IBV_SEND_SIGNALED },
			   *bad;
	struct poller poller = { .want = 400 };
	double end = now() + 30;
	pthread_t thread;
	struct pair p;
	unsigned int i;

	pair_create(&p, IBV_QPT_RC, pd, 0, 0);
	pair_connect(&p);
	wr.wr.rdma.remote_addr = (uintptr_t)buf + HALF;
	wr.wr.rdma.rkey = mr->rkey;
	poller.cq = p.cq;
	pthread_create(&thread, NULL, poller_run, &poller);
	for (i = 0; i < poller.want; i++) {
		while (i - __atomic_load_n(&poller.seen, __ATOMIC_ACQUIRE) > DEPTH / 2 &&
		       now() < end)
			;
		wr.wr_id = i;
		if (ibv_post_send(p.s, &wr, &bad) ||
		    (i % 5 == 0 && ibv_resize_cq(p.cq, i % 10 ? 100 : 1000)))
			break;
	}
	pthread_join(thread, NULL);
	CHECK(i == poller.want, "stopped at %u: %s", i, strerror(errno));
	CHECK(!poller.error && poller.seen == poller.want, "saw %u, error %d", poller.seen,
	      poller.error);
	pair_destroy(&p);
}

/* Two threads post on one QP. */
struct poster {
	struct pair *p;
	int posted;
};

static void *poster_run(void *arg)
{
	struct poster *me = arg;
	struct ibv_sge sge = local(0, 8);
	struct ibv_send_wr wr = { .sg_list = &sge,
				  .num_sge = 1,
				  .opcode = IBV_WR_RDMA_WRITE,
				  .send_flags = IBV_SEND_SIGNALED },
			   *bad;
	double end = now() + 20;
	int ret;

	wr.wr.rdma.remote_addr = (uintptr_t)buf + HALF;
	wr.wr.rdma.rkey = mr->rkey;
	while (me->posted < 300 && now() < end) {
		ret = ibv_post_send(me->p->s, &wr, &bad);
		if (!ret)
			me->posted++;
		else if (ret != ENOMEM)
			break;
	}
	return NULL;
}

static void test_threads(void)
{
	struct pair p;
	struct poster a = { .p = &p }, b = { .p = &p };
	struct poller poller = { .want = 600 };
	pthread_t t[3];

	pair_create(&p, IBV_QPT_RC, pd, 0, 0);
	pair_connect(&p);
	poller.cq = p.cq;
	pthread_create(&t[0], NULL, poster_run, &a);
	pthread_create(&t[1], NULL, poster_run, &b);
	pthread_create(&t[2], NULL, poller_run, &poller);
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
	pthread_join(t[2], NULL);
	CHECK(a.posted == 300 && b.posted == 300, "posted %d and %d", a.posted, b.posted);
	CHECK(poller.seen == 600, "completed %u", poller.seen);
	pair_destroy(&p);
}

static void test_thread_domain(void)
{
	struct ibv_td_init_attr ta = {};
	struct ibv_td *td = ibv_alloc_td(ctx, &ta);
	struct ibv_parent_domain_init_attr pa = { .pd = pd, .td = td };
	struct ibv_send_wr wr = { .num_sge = 1,
				  .opcode = IBV_WR_SEND,
				  .send_flags = IBV_SEND_SIGNALED },
			   *bad;
	struct ibv_sge sge = local(0, 3000);
	struct ibv_pd *parent;
	struct ibv_wc wc;
	struct pair p;

	CHECK(td, "alloc_td: %s", strerror(errno));
	parent = ibv_alloc_parent_domain(ctx, &pa);
	CHECK(parent, "alloc_parent_domain: %s", strerror(errno));
	pair_create(&p, IBV_QPT_RC, parent, 0, 0);
	pair_connect(&p);
	fill(buf, 3000, 9);
	memset(buf + HALF, 0, 3000);
	wr.sg_list = &sge;
	CHECK(!recv_one(p.r, HALF, 3000) && !ibv_post_send(p.s, &wr, &bad), "post");
	CHECK(poll_n(p.rcq, &wc, 1) == 1 && !wc.status, "receive");
	CHECK(!wrong(buf + HALF, 3000, 9), "data");
	CHECK(ibv_dealloc_td(td) == EBUSY, "the parent domain uses it");
	CHECK(ibv_dealloc_pd(pd) == EBUSY, "the parent domain uses it");
	pair_destroy(&p);
	CHECK(!ibv_dealloc_pd(parent) && !ibv_dealloc_td(td), "dealloc");
}

static void test_ud(void)
{
	struct ibv_ah_attr aa = { .is_global = 1,
				  .port_num = 1,
				  .grh = { .dgid = gid, .sgid_index = gid_index, .hop_limit = 4 } };
	struct ibv_sge s[2] = { local(0, 100), local(100, 600) };
	struct ibv_send_wr wr = { .sg_list = s,
				  .num_sge = 2,
				  .opcode = IBV_WR_SEND_WITH_IMM,
				  .imm_data = htobe32(99),
				  .send_flags = IBV_SEND_SIGNALED },
			   *bad;
	struct ibv_wc wc;
	struct pair p;
	int i;

	pair_create(&p, IBV_QPT_UD, pd, IBV_QP_EX_WITH_SEND, 0);
	pair_connect(&p);
	wr.wr.ud.ah = ibv_create_ah(pd, &aa);
	CHECK(wr.wr.ud.ah, "create_ah: %s", strerror(errno));
	wr.wr.ud.remote_qpn = p.r->qp_num;
	wr.wr.ud.remote_qkey = 0x1234;
	for (i = 0; i < 2; i++) {
		fill(buf, 700, 20 + i);
		memset(buf + HALF, 0, 1000);
		CHECK(!recv_one(p.r, HALF, 1000), "post_recv");
		if (!i) {
			CHECK(!ibv_post_send(p.s, &wr, &bad), "post_send");
		} else {
			ibv_wr_start(p.sx);
			p.sx->wr_flags = IBV_SEND_SIGNALED;
			ibv_wr_send(p.sx);
			ibv_wr_set_ud_addr(p.sx, wr.wr.ud.ah, p.r->qp_num, 0x1234);
			ibv_wr_set_sge_list(p.sx, 2, s);
			CHECK(!ibv_wr_complete(p.sx), "wr_complete");
		}
		CHECK(poll_n(p.rcq, &wc, 1) == 1 && !wc.status && wc.byte_len == 740 &&
			      wc.src_qp == p.s->qp_num,
		      "receive %d", i);
		CHECK(!wrong(buf + HALF + 40, 700, 20 + i), "data");
		CHECK(poll_n(p.cq, &wc, 1) == 1 && !wc.status, "completion");
	}
	CHECK(!ibv_destroy_ah(wr.wr.ud.ah), "destroy_ah");
	pair_destroy(&p);
}

/*
 * A daemon opened the device and then gave up its privileges: the kernel refuses its write(). Runs
 * last.
 */
static void test_credentials(void)
{
	struct ibv_sge sge = local(0, 2000);
	struct ibv_send_wr wr = { .sg_list = &sge,
				  .num_sge = 1,
				  .opcode = IBV_WR_RDMA_WRITE,
				  .send_flags = IBV_SEND_SIGNALED },
			   *bad;
	struct ibv_wc wc;
	struct pair p;
	int i;

	pair_create(&p, IBV_QPT_RC, pd, 0, 0);
	pair_connect(&p);
	if (getuid() == 0 && setresuid(65534, 65534, 65534))
		fatal("setresuid");
	wr.wr.rdma.remote_addr = (uintptr_t)buf + HALF;
	wr.wr.rdma.rkey = mr->rkey;
	for (i = 0; i < 3; i++) {
		fill(buf, 2000, 40 + i);
		CHECK(!ibv_post_send(p.s, &wr, &bad), "post_send");
		CHECK(poll_n(p.cq, &wc, 1) == 1 && !wc.status, "completion");
		CHECK(!wrong(buf + HALF, 2000, 40 + i), "data");
	}
	pair_destroy(&p);
}

static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {
	{ "states", test_states },
	{ "refusals", test_refusals },
	{ "partial-list", test_partial_list },
	{ "receive-queue-full", test_receive_queue_full },
	{ "wr-api", test_wr_api },
	{ "cq-ex", test_cq_ex },
	{ "timestamps", test_timestamps },
	{ "send-with-invalidate", test_send_with_invalidate },
	{ "reset-drops-cqes", test_reset_drops_cqes },
	{ "resize", test_resize },
	{ "threads", test_threads },
	{ "thread-domain", test_thread_domain },
	{ "ud", test_ud },
	{ "credentials", test_credentials },
};

int main(int argc, char **argv)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	struct ibv_port_attr port;
	unsigned int t, ran = 0;
	int i, before;

	if (argc < 3 || argc > 4 || !list) {
		fprintf(stderr, "usage: provider_test DEVICE GID_INDEX [TEST]\n");
		return 2;
	}
	for (i = 0; list[i] && strcmp(ibv_get_device_name(list[i]), argv[1]); i++)
		;
	if (!list[i]) {
		fprintf(stderr, "provider_test: there is no device %s\n", argv[1]);
		return 2;
	}
	gid_index = atoi(argv[2]);
	ctx = ibv_open_device(list[i]);
	ibv_free_device_list(list);
	if (!ctx || ibv_query_port(ctx, 1, &port) || ibv_query_gid(ctx, 1, gid_index, &gid))
		fatal("open_device");
	mtu = port.active_mtu;
	pd = ibv_alloc_pd(ctx);
	if (posix_memalign((void **)&buf, 4096, BUF))
		fatal("memory");
	memset(buf, 0, BUF);
	mr = pd ? ibv_reg_mr(pd, buf, BUF,
			     IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |
				     IBV_ACCESS_REMOTE_READ)
		: NULL;
	if (!mr)
		fatal("reg_mr");

	for (t = 0; t < sizeof(tests) / sizeof(tests[0]); t++) {
		if (argc == 4 && strcmp(argv[3], tests[t].name))
			continue;
		before = failed;
		tests[t].run();
		printf("%s %s\n", failed == before ? "ok" : "not ok", tests[t].name);
		fflush(stdout);
		ran++;
	}
	if (!ran) {
		fprintf(stderr, "provider_test: there is no test %s\n", argv[3]);
		return 2;
	}
	return failed ? 1 : 0;
}
