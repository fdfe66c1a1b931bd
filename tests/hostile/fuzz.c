// SPDX-License-Identifier: BSD-2-Clause
/*
 * prxe-fuzz: random packets from everywhere, beside a transfer that must not be disturbed.
 *
 * One RC connection between the two devices, the lane, transfers and checks data all the time. Its
 * QPs get packets from a sender who does not know the connection: the PSN is outside of the range
 * in flight and the rkey is wrong, or the packet is malformed, comes from another address, or has a
 * wrong ICRC or P_Key. Victims, QPs of all types, get every kind of packet, usually with the right
 * PSN, key and peer address; they may go to the error state, but must work again after RESET. Many
 * of the packets come in super-packets, each for another QP, in pieces of a right or a wrong size.
 * All choices follow from a seed.
 */
#define _GNU_SOURCE
#include "super.h"
#include "two.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MTU 1024U
#define GSI_QKEY 0x80010000U
#define ROOM (64 * T_PAGE)

struct mem {
	uint8_t *va;
	struct ibv_mr *mr;
};

static struct mem mem_open(struct t_dev *d, unsigned more_access)
{
	struct mem m = { .va = t_map_between(ROOM) };

	m.mr = t_reg(d->pd, m.va, ROOM, T_ALL_ACCESS | more_access);
	return m;
}

static void mem_close(struct mem *m)
{
	ibv_dereg_mr(m->mr);
	munmap(m->va - T_PAGE, ROOM + 2 * T_PAGE);
}

/* ---- the lane ---- */

#define MAX_LEN 8000U
#define WRITE_AT (8 * T_PAGE)	/* offsets in the memory of the responder */
#define RECV_AT (24 * T_PAGE)
#define READ_AT (40 * T_PAGE)
#define ADD_AT (56 * T_PAGE)

static struct lane {
	struct t_ep e;
	struct mem src, far;	/* src: sent from and read into; far: the target, at its peer */
	uint32_t lo, hi;	/* PSNs: before lo all is complete; hi and later are not used yet */
	uint64_t adds;
} lane[2];

static volatile bool stop;
static unsigned long long rounds;
static double slowest;

static void lane_open(void)
{
	const struct t_opt o = { .mtu = IBV_MTU_1024, .depth = 16 };

	for (int i = 0; i < 2; i++) {
		struct t_dev *d = i ? two.b : two.a;

		t_ep_open(&lane[i].e, d, &o);
		lane[i].src = mem_open(d, 0);
		/* In one direction the target is on-demand memory. */
		lane[!i].far = mem_open(d, i ? IBV_ACCESS_ON_DEMAND : 0);
	}
	for (int i = 0; i < 2; i++) {
		t_ep_connect(&lane[i].e, &lane[!i].e.me);
		lane[i].lo = lane[i].hi = lane[i].e.o.psn;
		t_pat_fill(lane[i].far.va, ROOM, GUARD, 0);
		t_pat_fill(lane[i].far.va + READ_AT, MAX_LEN, 77, 0);
		memset(lane[i].far.va + ADD_AT, 0, 8);
	}
}

static void lane_close(void)
{
	for (int i = 0; i < 2; i++)
		t_ep_close(&lane[i].e);
	for (int i = 0; i < 2; i++) {
		mem_close(&lane[i].src);
		mem_close(&lane[i].far);
	}
}

static uint32_t pkts(uint32_t len)
{
	return len ? (len - 1) / MTU + 1 : 1;
}

/* One WRITE, SEND, READ and FETCH_ADD in the order of @op. */
struct round {
	uint32_t len[4];
	uint64_t seq;
	enum ibv_wr_opcode op[4];
};

static struct round choose(uint64_t rnd)
{
	static const enum ibv_wr_opcode ops[] = { IBV_WR_RDMA_WRITE, IBV_WR_SEND, IBV_WR_RDMA_READ,
						  IBV_WR_ATOMIC_FETCH_AND_ADD };
	struct round r = { .seq = 1000 + (rnd >> 40) };

	for (unsigned i = 0; i < 4; i++) {
		r.op[i] = ops[(i + (rnd & 3)) & 3];
		r.len[i] = (uint32_t)(t_mix(rnd + i) % (i & 1 ? MAX_LEN : 2 * MTU)) + 1;
		if (r.op[i] == IBV_WR_ATOMIC_FETCH_AND_ADD)
			r.len[i] = 8;
	}
	return r;
}

static void lane_post(struct lane *l, struct lane *to, const struct round *r)
{
	uint32_t psns = 0, at = 0;

	for (unsigned i = 0; i < 4; i++)
		psns += pkts(r->len[i]);
	__atomic_store_n(&l->hi, (l->hi + psns) & SP_MASK, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < 4; i++) {
		struct ibv_sge sg = t_sge(l->src.va + at, r->len[i], l->src.mr->lkey);
		struct t_wr w = { .op = r->op[i], .sg = &sg, .n = 1, .rkey = l->far.mr->rkey,
				  .id = i, .compare = 1 };

		w.raddr = (uintptr_t)l->far.va + WRITE_AT;
		if (r->op[i] == IBV_WR_SEND)
			t_recv_one(&to->e, l->far.va + RECV_AT, MAX_LEN, l->far.mr->lkey, r->seq);
		else if (r->op[i] == IBV_WR_RDMA_READ)
			w.raddr = (uintptr_t)l->far.va + READ_AT;
		else if (r->op[i] == IBV_WR_ATOMIC_FETCH_AND_ADD)
			w.raddr = (uintptr_t)l->far.va + ADD_AT;
		if (r->op[i] == IBV_WR_RDMA_WRITE || r->op[i] == IBV_WR_SEND)
			t_pat_fill(l->src.va + at, r->len[i], r->seq, i);
		if (t_post(&l->e, &w))
			t_die("ibv_post_send");
		at += (MAX_LEN + 7) & ~7U;
	}
}

/* Take the completions. Each must be what it would be if nobody else sent anything. */
static bool lane_take(struct lane *l, struct lane *to, const struct round *r)
{
	static const enum ibv_wc_opcode of[] = {
		[IBV_WR_RDMA_WRITE] = IBV_WC_RDMA_WRITE, [IBV_WR_SEND] = IBV_WC_SEND,
		[IBV_WR_RDMA_READ] = IBV_WC_RDMA_READ,
		[IBV_WR_ATOMIC_FETCH_AND_ADD] = IBV_WC_FETCH_ADD,
	};
	struct ibv_wc wc;

	for (unsigned i = 0; i < 4; i++) {
		bool reads = r->op[i] == IBV_WR_RDMA_READ ||
			     r->op[i] == IBV_WR_ATOMIC_FETCH_AND_ADD;

		if (!t_expect("the lane", l->e.scq, IBV_WC_SUCCESS, &wc))
			return false;
		if (wc.wr_id != i || wc.opcode != of[r->op[i]] ||
		    (reads && wc.byte_len != r->len[i]))
			t_fail("the lane: WR %llu opcode %d byte_len %u, expected %u %d %u",
			       (unsigned long long)wc.wr_id, wc.opcode, wc.byte_len, i,
			       of[r->op[i]], r->len[i]);
		if (r->op[i] != IBV_WR_SEND)
			continue;
		if (!t_expect("the lane's receive", to->e.rcq, IBV_WC_SUCCESS, &wc))
			return false;
		if (wc.wr_id != r->seq || wc.byte_len != r->len[i] || wc.opcode != IBV_WC_RECV)
			t_fail("the lane's receive: wr_id %llu byte_len %u opcode %d,"
			       " expected %llu %u",
			       (unsigned long long)wc.wr_id, wc.byte_len, wc.opcode,
			       (unsigned long long)r->seq, r->len[i]);
	}
	__atomic_store_n(&l->lo, l->hi, __ATOMIC_SEQ_CST);
	return true;
}

static void lane_check(struct lane *l, const struct round *r)
{
	uint32_t at = 0, len = 0;
	uint64_t orig;

	for (unsigned i = 0; i < 4; i++, at += (MAX_LEN + 7) & ~7U) {
		switch (r->op[i]) {
		case IBV_WR_RDMA_WRITE:
			t_pat_check("the lane's WRITE", l->far.va + WRITE_AT, r->len[i], r->seq, i);
			len = r->len[i];
			t_pat_fill(l->far.va + WRITE_AT, len, GUARD, WRITE_AT);
			break;
		case IBV_WR_SEND:
			t_pat_check("the lane's SEND", l->far.va + RECV_AT, r->len[i], r->seq, i);
			t_pat_fill(l->far.va + RECV_AT, r->len[i], GUARD, RECV_AT);
			break;
		case IBV_WR_RDMA_READ:
			t_pat_check("the lane's READ", l->src.va + at, r->len[i], 77, 0);
			break;
		default:
			memcpy(&orig, l->src.va + at, 8);
			if (orig != l->adds++)
				t_fail("the lane's FETCH_ADD: %llu, expected %llu",
				       (unsigned long long)orig, (unsigned long long)l->adds - 1);
		}
	}
}

/* Check the memory that no transfer writes to, and the memory that the READs read. */
static void lane_guards(struct lane *l)
{
	t_pat_check("the lane's guard", l->far.va, READ_AT, GUARD, 0);
	t_pat_check("what the lane reads", l->far.va + READ_AT, MAX_LEN, 77, 0);
	t_pat_check("the lane's guard", l->far.va + ADD_AT + 8, ROOM - ADD_AT - 8, GUARD,
		    ADD_AT + 8);
}

static void *transfer(void *arg)
{
	(void)arg;
	for (uint64_t n = 0; !stop && t_fails < 5; n++) {
		struct lane *l = &lane[n & 1], *to = &lane[~n & 1];
		struct round r = choose(t_mix(two.seed * 77 + n));
		double from = t_now();

		lane_post(l, to, &r);
		if (!lane_take(l, to, &r))
			break;
		lane_check(l, &r);
		if (n % 64 < 2)
			lane_guards(l);
		if (t_now() - from > slowest)
			slowest = t_now() - from;
		rounds++;
		usleep(1000);	/* let the others run */
	}
	return NULL;
}

/* ---- victims ---- */

enum { LANE, V_RC, V_UC, V_UD, V_GSI, V_MCAST, V_NOBODY, VICTIMS };
static const char *const victim_name[] = { "lane", "RC", "UC", "UD", "GSI", "multicast", "nobody" };

static struct victim {
	struct t_ep e[2];	/* on A, on B */
	uint32_t rq[2], sq[2];	/* their PSNs when they were queried last */
	struct mem mem[2];
} victim[VICTIMS];

static unsigned long long resets;

static void victim_open(int kind)
{
	const struct t_opt o = { .type = kind == V_RC ? IBV_QPT_RC : kind == V_UC ? IBV_QPT_UC :
								     IBV_QPT_UD,
				 .mtu = IBV_MTU_1024, .depth = 16, .timeout = 14, .retry_cnt = 2,
				 .rnr_retry = 2 };
	struct victim *v = &victim[kind];

	t_pair_open(&v->e[0], two.a, &v->e[1], two.b, &o);
	v->mem[0] = mem_open(two.a, IBV_ACCESS_ON_DEMAND);
	v->mem[1] = mem_open(two.b, 0);
}

static void victim_close(int kind)
{
	for (int i = 0; i < 2; i++) {
		t_ep_close(&victim[kind].e[i]);
		mem_close(&victim[kind].mem[i]);
	}
}

/* Query the PSNs; if a QP is in error, take both through RESET. */
static void victim_look(struct victim *v)
{
	struct ibv_qp_init_attr ia;
	struct ibv_qp_attr a;
	bool bad = false;

	for (int i = 0; i < 2; i++) {
		if (ibv_query_qp(v->e[i].qp, &a, IBV_QP_STATE | IBV_QP_SQ_PSN | IBV_QP_RQ_PSN, &ia))
			t_die("ibv_query_qp");
		v->rq[i] = a.rq_psn;
		v->sq[i] = a.sq_psn;
		bad |= a.qp_state != IBV_QPS_RTS;
	}
	if (!bad)
		return;
	t_pair_again(&v->e[0], &v->e[1]);
	resets++;
}

/* Post receives, and one request that is in flight while packets arrive. */
static void victim_feed(int kind, uint64_t rnd)
{
	static const enum ibv_wr_opcode ops[] = { IBV_WR_RDMA_WRITE, IBV_WR_SEND, IBV_WR_RDMA_READ,
						  IBV_WR_ATOMIC_FETCH_AND_ADD };
	struct victim *v = &victim[kind];

	for (int i = 0; i < 2; i++) {
		struct t_ep *e = &v->e[i];
		unsigned n = kind == V_RC ? (rnd >> 8) & 3 : kind == V_UC ? (rnd >> 8) & 1 : 1;
		struct ibv_sge sg = t_sge(v->mem[i].va, n == 3 ? 8 : 2 * MTU, v->mem[i].mr->lkey);
		struct t_wr w = { .op = ops[n], .sg = &sg, .n = 1, .rkey = v->mem[!i].mr->rkey,
				  .raddr = (uintptr_t)v->mem[!i].va + 8 * T_PAGE };

		t_drain(e->scq);
		t_drain(e->rcq);
		if (kind >= V_UD)
			sg.length = 100;
		/* Full queues refuse posts, and QPs in error flush: the result does not matter. */
		t_post(e, &w);
		for (int k = 0; k < 4; k++)
			t_recv_one(e, v->mem[i].va + 16 * T_PAGE, 8 * T_PAGE,
				   v->mem[i].mr->lkey, 0);
		if (!i && !(rnd & 0xf00000))
			t_drop(v->mem[i].va, ROOM);
	}
}

/* ---- packets ---- */

static struct counts {
	unsigned long long sent, blind, stranger, icrc, mutated, fragments, twice;
	unsigned long long supers, in_supers, uneven, wrong, refused;
	unsigned long long by_victim[VICTIMS];
	unsigned long long whole[2];	/* that device A, B should receive */
} count;
static uint32_t group;
static uint8_t payload[SP_MAX], mad[256];

static uint32_t pick(uint64_t rnd, const int32_t *from, size_t n)
{
	return (uint32_t)from[rnd % n];
}

static size_t pick_len(uint64_t rnd)
{
	static const int32_t l[] = { 0, 0, 0, 1, 4, 8, 8, 8, 63, MTU - 1, MTU, MTU, MTU + 1 };
	static const int32_t large[] = { 2 * MTU, 4096, 9000, 60000 };

	/* Large packets take long to build: few of them, so that there are many others. */
	if (rnd % 64 == 0)
		return pick(rnd >> 6, large, ARRAY_LEN(large) - !!(rnd >> 10 & 7));
	return rnd & 3 ? pick(rnd >> 2, l, ARRAY_LEN(l)) : (rnd >> 8) % 256;
}

static uint8_t pick_op(uint64_t rnd, uint8_t transport)
{
	if (rnd % 8 == 0)
		return (uint8_t)(rnd >> 8);
	if (transport == SP_UD)
		return SP_UD | (rnd & 256 ? SP_SEND_ONLY : SP_SEND_ONLY_IMM);
	return transport | (rnd >> 8) % (transport == SP_UC ? 12 : SP_OPS);
}

static uint8_t pick_syndrome(uint64_t rnd)
{
	static const uint8_t s[] = { 0x00, 0x1f, 0x1f, 0x20, 0x2e, 0x40, 0x60, 0x61, 0x62, 0x63,
				     0x64, 0x7f, 0x80, 0xff };

	return s[rnd % ARRAY_LEN(s)];
}

static bool is_response(uint8_t op)
{
	return op >= SP_READ_FIRST && op <= SP_ATOMIC_ACK;
}

/* A random header, without PSN and rkey. */
static struct sp_hdr any_header(uint64_t rnd, uint8_t transport, size_t len)
{
	static const int32_t more[] = { 0, 0, 0, 1, -1, MTU, 100000, INT32_MIN, -2 };
	uint64_t r = t_mix(rnd);
	struct sp_hdr h = {
		.op = pick_op(rnd, transport),
		.syndrome = pick_syndrome(r),
		.se = r >> 8 & 1, .ackreq = r >> 9 & 1, .fecn = !(r >> 10 & 7),
		.ver = r >> 13 & 31 ? 0 : r >> 18 & 15,
		.pkey = r >> 22 & 31 ? 0 : (r >> 27 & 1 ? 0x7fff : 0x1234),
		.more_pad = r >> 28 & 15 ? 0 : r >> 32 & 3,
		.dma_len = (uint32_t)len + pick(r >> 34, more, ARRAY_LEN(more)),
		.imm = (uint32_t)r, .feth = (uint32_t)(r >> 40) & 0x3f, .msn = (uint32_t)(r >> 30),
		.compare = r, .swap = rnd, .orig = rnd ^ r,
		.qkey = r >> 45 & 7 ? T_QKEY : (uint32_t)r, .src_qp = (uint32_t)(r >> 20) & SP_MASK,
	};

	return h;
}

static bool well_formed_header(const struct sp_hdr *h)
{
	return !h->ver && h->pkey != 0x1234;
}

/*
 * A PSN and an rkey for a packet to the lane, from a sender who does not know the connection. True:
 * the PSN or the header is enough to have it dropped, so the rest of the packet may be right.
 * False: the caller must spoil it otherwise (address or ICRC).
 */
static bool blind_psn(struct sp_hdr *h, int side, uint64_t rnd)
{
	static const int32_t old[] = { -1, -2, -3, -20, -257, -5000, -70000, -0x3fffff, -0x7e0000 };
	static const int32_t ahead[] = { 0x12000, 0x40000, 0x3fffff, 0x7e0000 };
	struct lane *l = is_response(h->op) ? &lane[side] : &lane[!side];
	uint32_t lo = __atomic_load_n(&l->lo, __ATOMIC_SEQ_CST);
	uint32_t hi = __atomic_load_n(&l->hi, __ATOMIC_SEQ_CST);

	h->rkey = lane[!side].far.mr->rkey ^ 0x5a00;
	h->va = (uintptr_t)lane[!side].far.va + (rnd >> 20) % ROOM;
	switch (rnd & 7) {
	case 0:
	case 1:
		h->psn = lo + (uint32_t)((rnd >> 8) % 40);	/* may be in flight */
		return !well_formed_header(h);
	case 2:
		h->psn = hi + pick(rnd >> 8, ahead, ARRAY_LEN(ahead));
		return true;
	default:
		h->psn = lo + pick(rnd >> 8, old, ARRAY_LEN(old));
		return true;
	}
}

static void victim_psn(struct sp_hdr *h, const struct victim *v, int side, uint64_t rnd)
{
	static const int32_t off[] = { 0, 0, 0, 0, 0, 1, 2, -1, -1, -2, -40, 5, 200, 255, 256, 600,
				       -5000, 5000, 0x7fffff, -0x800000 };
	/* The PSN of a response is near those of the requests that the QP sent last. */
	uint32_t base = is_response(h->op) ? v->sq[side] - 2 : v->rq[side];

	h->psn = base + pick(rnd, off, ARRAY_LEN(off)) + (uint32_t)(rnd >> 16 & 1);
	h->rkey = v->mem[side].mr->rkey ^ (rnd >> 17 & 3 ? 0 : 0x300);
	h->va = (uintptr_t)v->mem[side].va + (rnd >> 20 & 7 ? (rnd >> 23) % (ROOM / 2) & ~7ULL :
					     rnd >> 23);
}

/* Base version 1, since the core logs each MAD with another one; the rest at random. */
static void make_mad(uint64_t rnd)
{
	static const uint8_t classes[] = { 0x03, 0x04, 0x07, 0x07, 0x07, 0x06, 0x30, 0x81 };

	for (unsigned i = 0; i < sizeof(mad); i++)
		mad[i] = i < 64 || rnd & 1 ? (uint8_t)t_mix(rnd + i) : 0;
	mad[0] = 1;
	mad[1] = classes[rnd >> 8 & 7];
	mad[2] = rnd >> 11 & 7 ? (mad[1] == 0x03 || mad[1] == 0x07 ? 2 : 1) : mad[2];
	mad[3] = rnd >> 14 & 1 ? 0x03 : mad[3];	/* SEND */
}

static const uint8_t kinds[] = { LANE, LANE, LANE, LANE, LANE, V_RC, V_RC, V_RC, V_RC, V_UC,
				 V_UC, V_UD, V_UD, V_GSI, V_MCAST, V_NOBODY };

static uint8_t transport_of(int kind)
{
	return kind == LANE || kind == V_RC ? SP_RC : kind == V_UC ? SP_UC : SP_UD;
}

/*
 * Who gets the packet: QP number, PSN, key, address. False: it is for the lane, and must be spoilt
 * by its address or its ICRC.
 */
static bool aim(struct sp_hdr *h, int kind, int side, uint64_t rnd, uint64_t r)
{
	struct victim *v = &victim[kind == V_MCAST ? V_UD : kind];

	if (kind == LANE) {
		h->qpn = lane[side].e.me.qpn;
		return blind_psn(h, side, t_mix(rnd + 4));
	}
	if (kind == V_NOBODY) {
		h->qpn = (uint32_t)(r >> 20) | 0x700000;
	} else if (kind == V_GSI) {
		h->qpn = 1;
		h->qkey = GSI_QKEY;
	} else {
		victim_psn(h, v, side, t_mix(rnd + 5));
		h->qpn = kind == V_MCAST && r & 0x7000 ? SP_MASK : v->e[side].me.qpn;
	}
	return true;
}

static void one_packet(uint64_t rnd)
{
	static uint8_t bth[SP_MAX];
	const int side = rnd & 1, kind = kinds[rnd >> 1 & 15];
	struct sp *s = side ? &two.to_b : &two.to_a;
	uint32_t src = side ? two.ipa : two.ipb, dst = side ? two.ipb : two.ipa;
	size_t len = pick_len(t_mix(rnd + 1)), n;
	struct sp_hdr h = any_header(t_mix(rnd + 2), transport_of(kind), len);
	uint64_t r = t_mix(rnd + 3);
	const uint8_t *body = payload;
	unsigned how = 0;
	bool stranger = !(r & 15), again = !(r >> 4 & 7);

	if (!(r >> 7 & 15))
		how |= SP_BAD_ICRC;
	if (!aim(&h, kind, side, rnd, r) && !(how & SP_BAD_ICRC))
		stranger = true;
	else if (kind == LANE && !stranger && !how)
		count.blind++;
	if (kind == V_GSI) {
		len = 256;
		make_mad(t_mix(rnd + 7));
		body = mad;
	}
	if (kind == V_MCAST)
		dst = group;
	if (stranger)
		src = htonl(ntohl(src) ^ 0x40);
	/* Not both SP_BAD_ICRC and a mutation: one might undo the other. */
	if (!how && !(r >> 30 & 63))
		how |= SP_FLIP;
	else if (!how && !(r >> 36 & 63))
		how |= SP_CUT;
	s->mutation = t_mix(rnd + 6);
	s->frag = r >> 42 & 1 ? 1500 : 600;
	if (len > s->frag && !(r >> 43 & 7))
		how |= r >> 46 & 31 ? SP_SWAPPED : SP_HALF;
	s->tos = r >> 50 & 3;
	/* It has no PSN to miss, and may reach the lane: that gets slower. */
	if (kind <= V_UC && !(r >> 52 & 31)) {
		h.op = SP_CNP;
		len = 16;
	}
	n = sp_build(bth, &h, body, len);
	for (int k = 0; k < 1 + again; k++) {
		sp_send_raw(s, src, dst, bth, n, how);
		count.sent++;
		count.by_victim[kind]++;
		count.whole[side] += !(how & SP_HALF);
	}
	count.twice += again;
	count.stranger += stranger;
	count.icrc += !!(how & SP_BAD_ICRC);
	count.mutated += !!(how & (SP_FLIP | SP_CUT));
	count.fragments += len > s->frag;
}

/* ---- super-packets ---- */

/*
 * One packet of a super-packet, of @want bytes before the ICRC where its opcode allows that. Its
 * address is that of the others, so for the lane it may have to have a bad ICRC.
 */
static size_t part(uint8_t *bth, int side, size_t want, bool stranger, uint64_t rnd, unsigned *how)
{
	const int kind = kinds[rnd >> 1 & 15];
	uint64_t r = t_mix(rnd + 3);
	const uint8_t *body = payload;
	struct sp_hdr h;
	size_t head, len;

	for (int i = 0;; i++) {
		h = any_header(t_mix(rnd + 2 + 100 * (unsigned)i), transport_of(kind), want);
		h.more_pad = 0;
		head = sp_build(bth, &h, NULL, 0);
		if (head <= want || i == 8)
			break;
	}
	len = head < want ? want - head : 0;
	if (r >> 48 & 1)
		h.dma_len = (uint32_t)len;
	*how = r >> 7 & 15 ? 0 : SP_BAD_ICRC;
	if (!aim(&h, kind, side, rnd, r) && !stranger)
		*how = SP_BAD_ICRC;
	else if (kind == LANE && !stranger && !*how)
		count.blind++;
	/* The core logs a MAD that is none. */
	if (kind == V_GSI && len == sizeof(mad)) {
		make_mad(t_mix(rnd + 7));
		body = mad;
	} else if (kind == V_GSI) {
		h.qkey++;
	}
	if (!*how && !(r >> 30 & 63))
		*how = SP_FLIP;
	count.by_victim[kind]++;
	count.icrc += !!(*how & SP_BAD_ICRC);
	count.mutated += !!(*how & SP_FLIP);
	return sp_build(bth, &h, body, len);
}

static void super_packet(uint64_t rnd)
{
	static const int32_t sizes[] = { 12, 16, 20, 24, 28, 28, 28, 32, 36, 40, 64, 100, 276, 276,
					 500, MTU + 12, MTU + 28, 4096 + 28 };
	static const int32_t numbers[] = { 1, 2, 2, 3, 3, 4, 5, 7, 8, 16, 17, 31, 32, 63, 64 };
	static const int32_t off[] = { -4, -3, -1, 1, 2, 3, 4, 8, 1000 };
	static const int32_t linear[] = { 0, 0, 0, 54, 60, 70, 128, 1500, 65535 };
	static const int32_t lengths[] = { -1, -4, -9, -100, -2000, 1, 4, 40 };
	static uint8_t bth[SP_MAX];
	const int side = rnd & 1;
	struct sp *s = side ? &two.to_b : &two.to_a;
	uint32_t src = side ? two.ipa : two.ipb, dst = side ? two.ipb : two.ipa;
	uint64_t r = t_mix(rnd + 8);
	size_t want = pick(r, sizes, ARRAY_LEN(sizes)), n;
	unsigned packets = pick(r >> 8, numbers, ARRAY_LEN(numbers)), how, k;
	bool stranger = !(r >> 16 & 15), uneven = !(r >> 20 & 7), wrong = !(r >> 24 & 15);
	bool again = !(r >> 28 & 7);
	struct sp_gso g = { .linear = pick(r >> 32, linear, ARRAY_LEN(linear)) };

	if (stranger)
		src = htonl(ntohl(src) ^ 0x40);
	if (!(r >> 36 & 15))
		dst = group;
	sp_super(s, src, dst);
	for (k = 0; k < packets; k++) {
		uint64_t rk = t_mix(rnd + 1000 + k);
		size_t this = want;

		/* Some are of another size, so those behind them are cut in wrong places. */
		if (uneven && !(rk >> 50 & 3))
			this = pick(rk >> 52, sizes, ARRAY_LEN(sizes));
		/* The last one may be shorter, or larger. */
		if (k + 1 == packets && !(r >> 40 & 3))
			this = r >> 42 & 3 ? 12 + (r >> 44) % (want - 11) : want + 12;
		s->mutation = t_mix(rk + 6);
		n = part(bth, side, this, stranger, rk, &how);
		if (k + 1 == packets && !how && !(r >> 48 & 7)) {
			how = SP_CUT;
			count.mutated++;
		}
		if (!sp_super_add(s, bth, n, how))
			break;
	}
	g.size = (unsigned)want + 4;
	if (!(r >> 52 & 7))
		g.size += pick(r >> 55, off, ARRAY_LEN(off));
	if (wrong && r >> 59 & 1)
		g.udp_more = (int)pick(r >> 60, lengths, ARRAY_LEN(lengths));
	else if (wrong)
		g.ip_more = (int)pick(r >> 60, lengths, ARRAY_LEN(lengths));
	for (int i = 0; i < 1 + again; i++) {
		if (!sp_super_send(s, &g)) {
			count.refused++;
			continue;
		}
		count.sent += k;
		count.in_supers += k;
		count.supers++;
		count.whole[side] += wrong ? 0 : sp_super_pieces();
	}
	count.twice += again;
	count.stranger += stranger;
	count.uneven += uneven;
	count.wrong += wrong;
}

/* ---- counters ---- */

/*
 * Each packet that arrives is counted in exactly one of these (a packet for a QP that does not
 * exist in "dropped", too).
 */
static const char *const taken[] = { "rcvd_pkts", "rcvd_malformed", "rcvd_bad_icrc", "dropped" };

static void counters(const struct t_dev *d, uint64_t v[ARRAY_LEN(taken)])
{
	for (size_t i = 0; i < ARRAY_LEN(taken); i++)
		v[i] = t_counter(d->name, taken[i]);
}

static uint64_t sum(const uint64_t v[ARRAY_LEN(taken)])
{
	uint64_t s = 0;

	for (size_t i = 0; i < ARRAY_LEN(taken); i++)
		s += v[i];
	return s;
}

/* Send @n packets: all must be counted in @name, and each once in the counters above. */
static void account(const char *what, const char *name, unsigned n, const struct sp_hdr *h,
		    uint32_t src, unsigned how)
{
	uint64_t before[ARRAY_LEN(taken)], now[ARRAY_LEN(taken)];
	uint64_t was = t_counter(two.a->name, name), is;
	uint8_t bth[256];
	size_t bytes = sp_build(bth, h, payload, 64);

	counters(two.a, before);
	for (unsigned i = 0; i < n; i++) {
		two.to_a.mutation = t_mix(two.seed * 1000 + i);
		sp_send_raw(&two.to_a, src, two.ipa, bth, bytes, how);
	}
	counters(two.a, now);
	is = t_counter(two.a->name, name);
	if (is - was != n)
		t_fail("%u %s: %llu counted in %s", n, what, (unsigned long long)(is - was), name);
	if (sum(now) - sum(before) != n)
		t_fail("%u %s: %llu counted in all", n, what,
		       (unsigned long long)(sum(now) - sum(before)));
}

/* Nothing else sends now: the counters must be exact for each kind of packet. */
static void accounts(void)
{
	const uint32_t a = two.ipb, stranger = htonl(ntohl(two.ipb) ^ 0x40);
	struct sp_hdr h = { .op = SP_UD | SP_SEND_ONLY, .qkey = T_QKEY };
	struct t_ep ud, rc;

	t_ep_open(&ud, two.a, &(struct t_opt){ .type = IBV_QPT_UD });
	t_ep_connect(&ud, &ud.me);
	fake_open(&rc, &(struct t_opt){ .mtu = IBV_MTU_1024 });
	h.qpn = ud.me.qpn;
	account("packets with a wrong ICRC", "rcvd_bad_icrc", 40, &h, a, SP_BAD_ICRC);
	h.qkey++;
	account("datagrams with a wrong Q_Key", "dropped", 40, &h, a, 0);
	h.qkey--;
	h.pkey = 0x1234;
	account("packets with a wrong P_Key", "dropped", 40, &h, a, 0);
	h.pkey = 0;
	h.ver = 3;
	account("packets of another version", "rcvd_malformed", 40, &h, a, 0);
	h.ver = 0;
	h.qpn = FAKE_QPN;
	account("packets for nobody", "rcvd_no_qp", 40, &h, a, 0);
	h = (struct sp_hdr){ .op = SP_SEND_ONLY, .qpn = rc.me.qpn, .psn = FAKE_PSN };
	account("packets from a stranger", "dropped", 40, &h, stranger, 0);
	h.op = SP_UC | SP_SEND_ONLY;
	account("packets of another transport", "dropped", 40, &h, a, 0);
	t_ep_close(&rc);
	fake_open(&rc, &(struct t_opt){ .mtu = IBV_MTU_1024 });
	h = (struct sp_hdr){ .op = SP_SEND_ONLY, .qpn = rc.me.qpn, .psn = FAKE_PSN - 9 };
	{
		uint64_t was = t_counter(two.a->name, "duplicate_request");

		account("repeated requests", "rcvd_pkts", 40, &h, a, 0);
		if (t_counter(two.a->name, "duplicate_request") - was != 40)
			t_fail("40 repeated requests were not counted as such");
	}
	t_ep_close(&rc);
	t_ep_close(&ud);
}

/* Good datagrams with flipped bits, or without their end: none may be received. */
static void spoilt(void)
{
	const unsigned n = t_debug ? 1500 : 5000;
	struct sp_hdr h = { .op = SP_UD | SP_SEND_ONLY, .qkey = T_QKEY, .src_qp = 3 };
	uint64_t before[ARRAY_LEN(taken)], now[ARRAY_LEN(taken)];
	struct mem m = mem_open(two.a, 0);
	struct ibv_wc wc;
	uint8_t bth[2048];
	struct t_ep ud;
	size_t bytes;

	t_context("%s", "packets with flipped bits or without their end");
	t_ep_open(&ud, two.a, &(struct t_opt){ .type = IBV_QPT_UD });
	t_ep_connect(&ud, &ud.me);
	t_pat_fill(m.va, ROOM, GUARD, 0);
	for (int i = 0; i < 4; i++)
		t_recv_one(&ud, m.va + i * 4 * T_PAGE, 4 * T_PAGE, m.mr->lkey, 0);
	h.qpn = ud.me.qpn;
	counters(two.a, before);
	for (unsigned i = 0; i < n; i++) {
		uint64_t r = t_mix(two.seed * 5000 + i);

		h.psn = i;
		two.to_a.mutation = t_mix(r);
		bytes = sp_build(bth, &h, payload, r >> 8 & 1 ? r % 900 : r % 20);
		sp_send_raw(&two.to_a, two.ipb, two.ipa, bth, bytes, r & 512 ? SP_FLIP : SP_CUT);
	}
	counters(two.a, now);
	if (now[0] != before[0])
		t_fail("%llu of %u spoilt packets were taken for good ones",
		       (unsigned long long)(now[0] - before[0]), n);
	if (sum(now) - sum(before) != n)
		t_fail("%u spoilt packets, %llu counted", n,
		       (unsigned long long)(sum(now) - sum(before)));
	t_none("spoilt packets", ud.rcq, 0.01);
	t_pat_check("the receive buffers", m.va, ROOM, GUARD, 0);
	t_pat_fill(payload, 700, 44, 0);
	sp_send(&two.to_a, two.ipb, two.ipa, &h, payload, 700);
	if (t_expect("a good one", ud.rcq, IBV_WC_SUCCESS, &wc))
		t_pat_check("a good one", m.va + GRH, 700, 44, 0);
	t_ep_close(&ud);
	mem_close(&m);
}

/* ---- all of it ---- */

static void ud_works(struct t_ep *a, struct t_ep *b, struct mem *from, struct mem *to)
{
	struct ibv_wc wc;

	t_pat_fill(from->va, 800, 51, 0);
	t_recv_one(b, to->va, T_PAGE, to->mr->lkey, 1);
	t_post_one(a, IBV_WR_SEND, from->va, 800, from->mr->lkey, 0, 0, 1);
	t_expect("a UD victim", a->scq, IBV_WC_SUCCESS, NULL);
	if (t_expect("a UD victim", b->rcq, IBV_WC_SUCCESS, &wc) && wc.src_qp != a->me.qpn)
		t_fail("a UD victim: src_qp %u", wc.src_qp);
	t_pat_check("a UD victim", to->va + GRH, 800, 51, 0);
}

static void victims_work(void)
{
	for (int kind = V_RC; kind <= V_UD; kind++) {
		struct victim *v = &victim[kind];

		t_context("the %s victims, when all is over", victim_name[kind]);
		t_pair_again(&v->e[0], &v->e[1]);
		if (kind == V_UD) {
			ud_works(&v->e[0], &v->e[1], &v->mem[0], &v->mem[1]);
			ud_works(&v->e[1], &v->e[0], &v->mem[1], &v->mem[0]);
		} else {
			t_pair_works("after RESET", &v->e[0], &v->e[1]);
		}
	}
}

static void attack(void)
{
	uint64_t before[2][ARRAY_LEN(taken)], now[2][ARRAY_LEN(taken)], rnd = t_mix(two.seed);
	struct t_dev *d[2] = { two.a, two.b };
	double from = t_now(), end = from + two.time, took;
	pthread_t th;

	t_context("the attack, seed %llu", (unsigned long long)two.seed);
	for (int i = 0; i < 2; i++)
		counters(d[i], before[i]);
	if (pthread_create(&th, NULL, transfer, NULL))
		t_die("pthread_create");
	for (unsigned long long n = 0; t_now() < end && t_fails < 5; n++) {
		if (n % 64 == 0) {
			int kind = V_RC + (int)(n / 64 % 3);

			victim_look(&victim[kind]);
			victim_feed(kind, rnd);
		}
		rnd = t_mix(rnd);
		if (super_known() && !(t_mix(rnd + 9) & 7))
			super_packet(rnd);
		else
			one_packet(rnd);
	}
	took = t_now() - from;
	stop = true;
	pthread_join(th, NULL);
	for (int i = 0; i < 2; i++) {
		if (t_ep_query_state(&lane[i].e) != IBV_QPS_RTS)
			t_fail("the lane's QP on %s is in state %d", d[i]->name,
			       t_ep_query_state(&lane[i].e));
		t_none("the lane", lane[i].e.scq, 0.01);
		t_none("the lane's receives", lane[i].e.rcq, 0.01);
		lane_guards(&lane[i]);
		counters(d[i], now[i]);
		if (sum(now[i]) - sum(before[i]) < count.whole[i])
			t_fail("%s: %llu packets were sent to it, it counted %llu", d[i]->name,
			       count.whole[i], (unsigned long long)(sum(now[i]) - sum(before[i])));
	}
	t_note("seed %llu: %llu packets in %.1f s; %llu blind, %llu of strangers, %llu with a bad"
	       " ICRC, %llu spoilt, %llu in fragments, %llu twice; victims were reset %llu times",
	       (unsigned long long)two.seed, count.sent, took, count.blind, count.stranger,
	       count.icrc, count.mutated, count.fragments, count.twice, resets);
	t_note("  %llu of them in %llu super-packets: %llu of these uneven, %llu with wrong"
	       " lengths; the kernel refused %llu", count.in_supers, count.supers, count.uneven,
	       count.wrong, count.refused);
	if (super_known() && count.supers < 8)
		t_fail("%llu super-packets only", count.supers);
	for (int k = 0; k < VICTIMS; k++)
		t_note("  %-10s %llu", victim_name[k], count.by_victim[k]);
	for (int i = 0; i < 2; i++)
		for (size_t k = 0; k < ARRAY_LEN(taken); k++)
			t_note("  %s %-15s %llu", d[i]->name, taken[k],
			       (unsigned long long)(now[i][k] - before[i][k]));
	t_note("the lane: %llu rounds, the slowest %.3f s", rounds, slowest);
	if (rounds < 8)
		t_fail("the lane made %llu rounds only", rounds);
}

int main(int argc, char **argv)
{
	int joined[2];

	t_init();
	two_open(argc, argv, false);
	t_watchdog((unsigned)two.time + 60);
	t_note("seed %llu", (unsigned long long)two.seed);
	t_pat_fill(payload, sizeof(payload), 66, 0);
	lane_open();
	for (int kind = V_RC; kind <= V_UD; kind++)
		victim_open(kind);
	group = htonl(0xe04d0001);
	for (int i = 0; i < 2; i++) {
		union ibv_gid g = { .raw = { [10] = 0xff, [11] = 0xff } };

		memcpy(g.raw + 12, &group, 4);
		joined[i] = sp_join(two.ns[i], two.netdev[i], group);
		if (ibv_attach_mcast(victim[V_UD].e[i].qp, &g, 0))
			t_die("ibv_attach_mcast: %s", strerror(errno));
	}
	attack();
	victims_work();
	t_context("%s", "counters");
	accounts();
	spoilt();
	if (super_known())
		super_tests();
	t_context("%s", "");
	for (int i = 0; i < 2; i++) {
		union ibv_gid g = { .raw = { [10] = 0xff, [11] = 0xff } };

		memcpy(g.raw + 12, &group, 4);
		if (ibv_detach_mcast(victim[V_UD].e[i].qp, &g, 0))
			t_fail("ibv_detach_mcast: %s", strerror(errno));
		close(joined[i]);
	}
	for (int kind = V_RC; kind <= V_UD; kind++)
		victim_close(kind);
	lane_close();
	two_close();
	return t_done("fuzz");
}
