// SPDX-License-Identifier: BSD-2-Clause
/*
 * prxe-carrier: the carrier changes between the messages of a QP while one of them waits for
 * memory; and messages that wait for memory beside messages that do not.
 *
 * Each datagram chooses its carrier, so a change of force_wire, a new address or a new device may
 * change the carrier after one datagram has begun. Each receive must still be exactly one datagram,
 * whole.
 */
#define _GNU_SOURCE
#include "lib/gap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define GRH 40
#define ROOM (4 * T_PAGE)
#define GUARD 0xbbbb

static const char *const carrier_name[] = { "local", "wire" };

/* Choose the carrier of messages from now on. 0: local, 1: on the wire. */
static void carrier(int wire)
{
	int rc = t_param_set("force_wire", wire);

	if (rc)
		t_die("force_wire cannot be set: %s", strerror(rc));
}

struct mem {
	uint8_t *va;
	struct ibv_mr *mr;
};

static struct mem mem_open(struct t_dev *d)
{
	struct mem m = { .va = t_map_between(ROOM) };

	m.mr = t_reg(d->pd, m.va, ROOM, T_ALL_ACCESS);
	t_pat_fill(m.va, ROOM, GUARD, 0);
	return m;
}

static void mem_close(struct mem *m)
{
	ibv_dereg_mr(m->mr);
	munmap(m->va - T_PAGE, ROOM + 2 * T_PAGE);
}

static void send_imm(struct t_ep *e, const void *p, uint32_t len, uint32_t lkey, uint32_t imm)
{
	struct ibv_sge sg = t_sge(p, len, lkey);
	int rc = t_post(e, &(struct t_wr){ .op = IBV_WR_SEND_WITH_IMM, .sg = &sg, .n = 1,
					   .imm = imm, .id = imm });

	if (rc)
		t_die("ibv_post_send: %s", strerror(rc));
}

static void must_stay(const char *what, struct t_ep *e, enum ibv_qp_state want)
{
	enum ibv_qp_state is = t_ep_query_state(e);

	if (is != want)
		t_fail("%s: QP state %d, expected %d", what, is, want);
}

/* ---- a datagram that waits for its source while its destination changes the carrier ---- */

/* Exactly one datagram must have arrived in @m: whole, and nothing written behind it. */
static void one_datagram(const char *what, struct t_ep *to, struct t_ep *from, struct mem *m,
			 uint32_t imm, uint32_t len, uint64_t seq, uint64_t pos)
{
	struct ibv_wc wc;

	if (!t_expect(what, to->rcq, IBV_WC_SUCCESS, &wc))
		return;
	if (wc.byte_len != len + GRH || wc.src_qp != from->me.qpn || wc.imm_data != imm)
		t_fail("%s: byte_len %u src_qp %u imm %u, expected %u %u %u", what, wc.byte_len,
		       wc.src_qp, wc.imm_data, len + GRH, from->me.qpn, imm);
	t_pat_check(what, m->va + GRH, len, seq, pos);
	t_pat_check("behind it", m->va + GRH + len, ROOM - GRH - len, GUARD, GRH + len);
	t_none(what, to->rcq, 0.01);
}

static void change_one(struct t_dev *d, int first, uint32_t len1, uint32_t len2)
{
	const struct t_opt o = { .type = IBV_QPT_UD, .depth = 8 };
	struct mem land[2] = { mem_open(d), mem_open(d) }, src = mem_open(d);
	const uint32_t part = (len1 + 1) / 2;
	struct t_ep a, to[2];
	struct t_gap g;

	t_context("%s first, %u and %u bytes", carrier_name[first], len1, len2);
	t_ep_open(&a, d, &o);
	for (int i = 0; i < 2; i++) {
		t_ep_open(&to[i], d, &o);
		t_ep_connect(&to[i], &to[i].me);
		t_recv_one(&to[i], land[i].va, ROOM, land[i].mr->lkey, 1);
	}
	t_ep_connect(&a, &to[0].me);
	t_gap_open(&g, d->pd, 2);
	t_gap_serve(&g, 0, 50);
	t_pat_fill(src.va, ROOM, 60, 0);

	carrier(first);
	send_imm(&a, g.va + T_PAGE - part, len1, g.mr->lkey, 1);
	if (!t_gap_asked(&g, t_limit))
		t_fail("the source was not asked for");
	carrier(!first);
	t_gap_serve(&g, 1, 50);
	t_expect("the datagram that waited", a.scq, IBV_WC_SUCCESS, NULL);
	/* The next datagram goes by the first carrier, to another QP. */
	carrier(first);
	a.peer.qpn = to[1].me.qpn;
	send_imm(&a, src.va, len2, src.mr->lkey, 2);
	t_expect("the datagram behind it", a.scq, IBV_WC_SUCCESS, NULL);
	one_datagram("the datagram that waited", &to[0], &a, &land[0], 1, len1, 50, T_PAGE - part);
	one_datagram("the datagram behind it", &to[1], &a, &land[1], 2, len2, 60, 0);

	t_ep_close(&a);
	t_gap_close(&g);
	mem_close(&src);
	for (int i = 0; i < 2; i++) {
		t_ep_close(&to[i]);
		mem_close(&land[i]);
	}
}

static void ud_source(struct t_dev *d)
{
	const uint32_t mtu = 128U << d->port.active_mtu;
	const uint32_t len[][2] = { { mtu, 16 }, { 1000, 1500 }, { 300, mtu }, { 2, mtu } };

	for (size_t i = 0; i < ARRAY_LEN(len); i++)
		for (int first = 0; first < 2; first++)
			change_one(d, first, len[i][0] < mtu ? len[i][0] : mtu,
				   len[i][1] < mtu ? len[i][1] : mtu);
}

/* ---- messages from both carriers for a receive that waits for its buffer ---- */

#define MSGS 5	/* told apart by their immediates, 1 to MSGS */

struct half {
	struct t_dev *d;
	struct t_gap g;
	struct mem land[MSGS], src;
	struct t_ep a[2], b;
	unsigned posted;	/* receives */
	uint32_t len[MSGS + 1];	/* of the message with that immediate */
	bool got[MSGS + 1];
	uint32_t head;		/* bytes in front of a payload: the GRH of a datagram */
};

static uint8_t *half_first(struct half *h)
{
	return h->g.va + T_PAGE - 300;
}

/* The first receive buffer begins 300 bytes before a missing page; the others are pinned. */
static void half_open(struct half *h, struct t_dev *d, const struct t_opt *o)
{
	memset(h, 0, sizeof(*h));
	h->d = d;
	h->head = o->type == IBV_QPT_UD ? GRH : 0;
	t_gap_open(&h->g, d->pd, 2);
	t_gap_serve(&h->g, 0, GUARD);
	h->src = mem_open(d);
	for (int i = 0; i < MSGS; i++)
		h->land[i] = mem_open(d);
	t_ep_open(&h->b, d, o);
	for (int i = 0; i < 2; i++)
		t_ep_open(&h->a[i], d, o);
}

static void half_receive(struct half *h)
{
	int rc = t_recv_one(&h->b, half_first(h), T_PAGE + 300, h->g.mr->lkey, 0);

	for (int i = 1; i < MSGS && !rc; i++)
		rc = t_recv_one(&h->b, h->land[i].va, ROOM, h->land[i].mr->lkey, (uint64_t)i);
	if (rc)
		t_die("ibv_post_recv: %s", strerror(rc));
}

static void half_close(struct half *h)
{
	t_ep_close(&h->b);
	for (int i = 0; i < 2; i++)
		t_ep_close(&h->a[i]);
	t_gap_close(&h->g);
	mem_close(&h->src);
	for (int i = 0; i < MSGS; i++)
		mem_close(&h->land[i]);
}

static void half_send(struct half *h, int from, uint32_t imm, uint32_t len)
{
	h->len[imm] = len;
	t_pat_fill(h->src.va, len, 100 + imm, 0);
	send_imm(&h->a[from], h->src.va, len, h->src.mr->lkey, imm);
}

/*
 * Take completions of receives for @seconds, or until @want have come. Each must be one message,
 * whole. Returns how many came.
 */
static int half_take(struct half *h, int want, double seconds)
{
	double end = t_now() + seconds;
	struct ibv_wc wc;
	int n = 0;

	while (n < want && t_wait(h->b.rcq, &wc, end - t_now())) {
		const uint8_t *at = wc.wr_id ? h->land[wc.wr_id].va : half_first(h);
		uint32_t imm = wc.imm_data;

		n++;
		if (wc.status) {
			t_fail("a receive: '%s'", ibv_wc_status_str(wc.status));
			continue;
		}
		if (imm < 1 || imm > MSGS || h->got[imm]) {
			t_fail("message %u was received, which was not sent, or twice", imm);
			continue;
		}
		h->got[imm] = true;
		if (wc.byte_len != h->len[imm] + h->head)
			t_fail("message %u: byte_len %u, expected %u", imm, wc.byte_len,
			       h->len[imm] + h->head);
		else
			t_pat_check("a message", at + h->head, h->len[imm], 100 + imm, 0);
	}
	return n;
}

/* A message that is sent after all pages are there must arrive. */
static void half_goes_on(struct half *h, int from, uint32_t imm, uint32_t len)
{
	t_drain(h->a[from].scq);
	half_send(h, from, imm, len);
	t_expect("a message after it", h->a[from].scq, IBV_WC_SUCCESS, NULL);
	half_take(h, 1, t_limit);
	if (!h->got[imm])
		t_fail("a message after it does not arrive");
}

/*
 * Seconds. A datagram is kept for at least twice as long until the memory of its receive buffer is
 * there; the other half is for threads that run late on a busy machine.
 */
#define KEPT 0.025

/* @len: of the second datagram; with its GRH it ends before the missing page, or behind it. */
static void ud_half_one(struct t_dev *d, int first, bool same, uint32_t len)
{
	const struct t_opt o = { .type = IBV_QPT_UD, .depth = 8 };
	const int other = same ? 0 : 1;
	double from, waited;
	struct half h;

	t_context("%s first, from %s, then %u bytes", carrier_name[first],
		  same ? "one QP" : "two QPs", len);
	half_open(&h, d, &o);
	t_ep_connect(&h.b, &h.a[0].me);
	half_receive(&h);
	for (int i = 0; i < 2; i++)
		t_ep_connect(&h.a[i], &h.b.me);
	carrier(first);
	from = t_now();
	half_send(&h, 0, 1, 1000);
	if (!t_gap_asked(&h.g, t_limit))
		t_fail("the receive buffer was not asked for");
	/* On the local carrier the source of the first is read again: give the second its own. */
	if (first) {
		t_expect("the first datagram", h.a[0].scq, IBV_WC_SUCCESS, NULL);
	} else {
		mem_close(&h.land[0]);
		h.land[0] = h.src;
		h.src = mem_open(d);
	}
	carrier(!first);
	half_send(&h, other, 2, len);
	usleep(2000);
	t_gap_serve(&h.g, 1, GUARD);
	waited = t_now() - from;
	if (!half_take(&h, 2, t_slow(0.3)) && waited < KEPT)
		t_fail("neither of two datagrams arrived");
	if (first && !h.got[1] && waited < KEPT)
		t_fail("the datagram that waited for %.0f ms is lost", waited * 1e3);
	else if (waited >= KEPT)
		t_note("a busy machine: the datagram waited for %.0f ms, and may be lost",
		       waited * 1e3);
	for (int i = 0; i < 2; i++) {
		carrier(i);
		half_goes_on(&h, 0, 3 + (uint32_t)i, 1200);
	}
	must_stay("the receiver", &h.b, IBV_QPS_RTS);
	half_close(&h);
}

static void ud_landing(struct t_dev *d)
{
	for (int i = 0; i < 8; i++)
		ud_half_one(d, i & 1, i & 2, i & 4 ? 700 : 200);
}

/*
 * The sender is reset and connected again on the other carrier while half of its message has been
 * written and the rest waits for memory. On RC its new PSN is the one that the receiver expects, so
 * that the receiver accepts what follows.
 */
static void reconnect_one(struct t_dev *d, enum ibv_qp_type type, int first, uint32_t len)
{
	const struct t_opt o = { .type = type, .depth = 8, .mtu = IBV_MTU_1024 };
	struct t_ep *a;
	struct half h;

	t_context("%s, %s first, then %u bytes", type == IBV_QPT_RC ? "RC" : "UC",
		  carrier_name[first], len);
	half_open(&h, d, &o);
	a = &h.a[0];
	carrier(first);
	t_ep_connect(a, &h.b.me);
	t_ep_connect(&h.b, &a->me);
	half_receive(&h);
	half_send(&h, 0, 1, type == IBV_QPT_RC ? 900 : 3000);
	if (!t_gap_asked(&h.g, t_limit))
		t_fail("the receive buffer was not asked for");
	if (t_ep_state(a, IBV_QPS_RESET))
		t_die("the sender cannot be reset");
	t_drain(a->scq);
	carrier(!first);
	if (type == IBV_QPT_UC)
		a->o.psn = (a->o.psn + 1000) & 0xffffff;
	t_ep_connect(a, &h.b.me);
	half_send(&h, 0, 2, len);
	usleep(2000);
	t_gap_serve(&h.g, 1, GUARD);
	half_take(&h, 2, t_slow(0.1));
	/* Only on UC: an RC sender that was reset may not agree with the receiver on the PSN. */
	if (type == IBV_QPT_UC)
		half_goes_on(&h, 0, 3, 2500);
	must_stay("the receiver", &h.b, IBV_QPS_RTS);
	half_close(&h);
}

static void reconnect(struct t_dev *d)
{
	for (int i = 0; i < 8; i++)
		reconnect_one(d, i & 2 ? IBV_QPT_RC : IBV_QPT_UC, i & 1, i & 4 ? 800 : 200);
}

/* ---- what a datagram may not do to its receiver ---- */

static void ud_long(struct t_dev *d)
{
	const struct t_opt o = { .type = IBV_QPT_UD, .depth = 8 };

	for (int wire = 0; wire < 2; wire++) {
		struct mem src = mem_open(d), land = mem_open(d);
		uint64_t before;
		struct t_ep a, b;

		t_context("%s", carrier_name[wire]);
		carrier(wire);
		t_pair_open(&a, d, &b, d, &o);
		t_pat_fill(src.va, ROOM, 70, 0);
		t_recv_one(&b, land.va, 100, land.mr->lkey, 1);
		before = t_counter(d->name, "dropped");
		for (uint32_t i = 0; i < 3; i++) {
			/* The last one is one byte too long, the others much more. */
			send_imm(&a, src.va, i < 2 ? 200 : 100 - GRH + 1, src.mr->lkey, i);
			t_expect("a datagram that is too long", a.scq, IBV_WC_SUCCESS, NULL);
		}
		t_none("a datagram that is too long", b.rcq, t_slow(0.02));
		t_pat_check("its receive buffer's end", land.va + 100, ROOM - 100, GUARD, 100);
		if (t_counter(d->name, "dropped") < before + 3)
			t_fail("three datagrams too long for their buffer were not counted");
		must_stay("after datagrams that are too long", &b, IBV_QPS_RTS);
		send_imm(&a, src.va, 100 - GRH, src.mr->lkey, 9);
		t_expect("one that just fits", a.scq, IBV_WC_SUCCESS, NULL);
		if (t_ep_query_state(&b) == IBV_QPS_RTS) {
			struct ibv_wc wc;

			if (t_expect("one that just fits", b.rcq, IBV_WC_SUCCESS, &wc) &&
			    (wc.imm_data != 9 || wc.wr_id != 1 || wc.byte_len != 100))
				t_fail("received: imm %u wr_id %llu byte_len %u", wc.imm_data,
				       (unsigned long long)wc.wr_id, wc.byte_len);
			t_pat_check("one that just fits", land.va + GRH, 100 - GRH, 70, 0);
		}
		t_ep_close(&a);
		t_ep_close(&b);
		mem_close(&src);
		mem_close(&land);
	}
}

/*
 * A datagram waits for the receiver's buffer, which is then unmapped. Meanwhile the receiver has
 * got another Q_Key, or was reset: the datagram must not change the receiver's state any more.
 */
static void ud_stranger(struct t_dev *d)
{
	const struct t_opt o = { .type = IBV_QPT_UD, .depth = 8 };

	for (int how = 0; how < 2; how++) {
		struct ibv_qp_attr attr = { .qkey = T_QKEY + 1 };
		const enum ibv_qp_state want = how ? IBV_QPS_INIT : IBV_QPS_RTS;
		struct mem src = mem_open(d);
		struct t_ep a, b;
		struct t_gap g;

		t_context("%s", how ? "reset" : "another Q_Key");
		carrier(0);
		t_pair_open(&a, d, &b, d, &o);
		t_gap_open(&g, d->pd, 2);
		t_recv_one(&b, g.va, T_PAGE, g.mr->lkey, 1);
		send_imm(&a, src.va, 100, src.mr->lkey, 1);
		if (!t_gap_asked(&g, t_limit))
			t_fail("the receive buffer was not asked for");
		if (how ? t_ep_state(&b, IBV_QPS_RESET) || t_ep_init(&b) :
			  ibv_modify_qp(b.qp, &attr, IBV_QP_QKEY))
			t_die("the receiver cannot be modified: %s", strerror(errno));
		/* The fault fails: the memory is unmapped, and nobody serves it. */
		munmap(g.va - T_PAGE, (g.pages + 2) * T_PAGE);
		close(g.fd);
		t_expect("the datagram", a.scq, IBV_WC_SUCCESS, NULL);
		usleep(20000);
		must_stay("a receiver that the datagram is not for", &b, want);
		t_ep_close(&a);
		t_ep_close(&b);
		ibv_dereg_mr(g.mr);
		mem_close(&src);
	}
}

/* A payload larger than the path MTU is an error of the sender. */
static void ud_mtu(struct t_dev *d)
{
	const uint32_t mtu = 128U << d->port.active_mtu;
	const struct t_opt o = { .type = IBV_QPT_UD, .depth = 8 };

	for (int wire = 0; wire < 2; wire++) {
		struct mem src = mem_open(d), land = mem_open(d);
		struct t_ep a, b;

		t_context("%s", carrier_name[wire]);
		carrier(wire);
		t_pair_open(&a, d, &b, d, &o);
		t_pat_fill(src.va, ROOM, 80, 0);
		t_recv_one(&b, land.va, ROOM, land.mr->lkey, 1);
		send_imm(&a, src.va, mtu, src.mr->lkey, 1);
		t_expect("a datagram of the path MTU", a.scq, IBV_WC_SUCCESS, NULL);
		one_datagram("a datagram of the path MTU", &b, &a, &land, 1, mtu, 80, 0);
		t_recv_one(&b, land.va, ROOM, land.mr->lkey, 2);
		if (!t_post_one(&a, IBV_WR_SEND, src.va, mtu + 1, src.mr->lkey, 0, 0, 2))
			t_expect("a byte more", a.scq, IBV_WC_LOC_LEN_ERR, NULL);
		t_none("a byte more", b.rcq, 0.01);
		t_ep_close(&a);
		t_ep_close(&b);
		mem_close(&src);
		mem_close(&land);
	}
}

/* ---- a WR that is done completes, even if the next one waits for memory ---- */

enum { WRITE, SEND, READ, ADD, KINDS };
static const char *const kind_name[] = { "WRITE", "SEND", "READ", "FETCH_ADD" };
#define BIG 10000U
#define SMALL 3000U

static struct ibv_send_wr request(int kind, struct ibv_sge *sg, const struct mem *far, size_t at)
{
	static const enum ibv_wr_opcode op[] = { IBV_WR_RDMA_WRITE, IBV_WR_SEND, IBV_WR_RDMA_READ,
						 IBV_WR_ATOMIC_FETCH_AND_ADD };
	struct ibv_send_wr wr = { .sg_list = sg, .num_sge = 1, .opcode = op[kind],
				  .send_flags = IBV_SEND_SIGNALED };

	if (kind == ADD) {
		sg->length = 8;
		wr.wr.atomic.remote_addr = (uintptr_t)far->va + at;
		wr.wr.atomic.rkey = far->mr->rkey;
		wr.wr.atomic.compare_add = 5;
	} else {
		wr.wr.rdma.remote_addr = (uintptr_t)far->va + at;
		wr.wr.rdma.rkey = far->mr->rkey;
	}
	return wr;
}

/* Check the data: @far was filled with pattern 81, the sources with pattern 82. */
static void arrived(int kind, const char *what, const uint8_t *near, uint64_t near_pos,
		    const uint8_t *far, uint64_t far_pos, uint32_t len)
{
	if (kind == READ)
		t_pat_check(what, near, len, 81, far_pos);
	else if (kind == ADD)
		t_pat_check(what, near, 8, 81, far_pos);
	else
		t_pat_check(what, far, len, 82, near_pos);
}

static void beside_one(struct t_dev *d, int wire, int k1, int k2)
{
	struct mem near = mem_open(d), far = mem_open(d);
	const size_t at1 = 0, at2 = 3 * T_PAGE;
	struct ibv_send_wr wr[2], *bad;
	struct ibv_sge sg[2];
	struct ibv_wc wc;
	struct t_ep a, b;
	struct t_gap g;
	int early;

	t_context("%s: a %s, then a %s without its memory", carrier_name[wire], kind_name[k1],
		  kind_name[k2]);
	t_pair_open(&a, d, &b, d, NULL);
	t_gap_open(&g, d->pd, 2);
	t_pat_fill(near.va, ROOM, 82, 0);
	t_pat_fill(far.va, ROOM, 81, 0);
	if (k1 == SEND)
		t_recv_one(&b, far.va + at1, BIG, far.mr->lkey, 1);
	if (k2 == SEND)
		t_recv_one(&b, far.va + at2, SMALL, far.mr->lkey, 2);
	sg[0] = t_sge(near.va, BIG, near.mr->lkey);
	sg[1] = t_sge(g.va, SMALL, g.mr->lkey);
	wr[0] = request(k1, &sg[0], &far, at1);
	wr[1] = request(k2, &sg[1], &far, at2);
	wr[0].wr_id = 1;
	wr[1].wr_id = 2;
	wr[0].next = &wr[1];
	if (ibv_post_send(a.qp, &wr[0], &bad))
		t_die("ibv_post_send: %s", strerror(errno));
	early = t_wait(a.scq, &wc, t_slow(0.1));
	if (!early)
		t_fail("what is done does not complete while the next one waits");
	if (!t_gap_asked(&g, t_limit))
		t_fail("the second one's memory was not asked for");
	t_gap_serve(&g, 0, 82);
	if (!early)
		t_expect("the first", a.scq, IBV_WC_SUCCESS, &wc);
	if (wc.wr_id != 1 || wc.status)
		t_fail("WR %llu: '%s'", (unsigned long long)wc.wr_id, ibv_wc_status_str(wc.status));
	arrived(k1, "the first", near.va, 0, far.va + at1, at1, BIG);
	t_expect("the second", a.scq, IBV_WC_SUCCESS, &wc);
	arrived(k2, "the second", g.va, 0, far.va + at2, at2, SMALL);
	t_ep_close(&a);
	t_ep_close(&b);
	t_gap_close(&g);
	mem_close(&near);
	mem_close(&far);
}

static void beside_fault(struct t_dev *d)
{
	for (int wire = 0; wire < 2; wire++) {
		carrier(wire);
		for (int k1 = 0; k1 < KINDS; k1++)
			for (int k2 = 0; k2 < KINDS; k2++)
				beside_one(d, wire, k1, k2);
	}
}

/* The other way round: the first WR waits for its memory, and the next must not overtake it. */
static void behind_fault(struct t_dev *d)
{
	for (int i = 0; i < 2 * KINDS; i++) {
		const int wire = i & 1, kind = i / 2;
		struct mem near = mem_open(d), far = mem_open(d);
		struct ibv_send_wr wr[2], *bad;
		struct ibv_sge sg[2];
		struct ibv_wc wc;
		struct t_ep a, b;
		struct t_gap g;

		t_context("%s: a %s without its memory", carrier_name[wire], kind_name[kind]);
		carrier(wire);
		t_pair_open(&a, d, &b, d, &(struct t_opt){ .timeout = 14, .retry_cnt = 2 });
		t_gap_open(&g, d->pd, 1);
		t_pat_fill(near.va, ROOM, 82, 0);
		t_pat_fill(far.va, ROOM, 81, 0);
		if (kind == SEND)
			t_recv_one(&b, far.va, SMALL, far.mr->lkey, 1);
		sg[0] = t_sge(g.va, SMALL, g.mr->lkey);
		sg[1] = t_sge(near.va, BIG, near.mr->lkey);
		wr[0] = request(kind, &sg[0], &far, 0);
		wr[1] = request(WRITE, &sg[1], &far, T_PAGE);
		wr[0].wr_id = 1;
		wr[1].wr_id = 2;
		wr[0].next = &wr[1];
		if (ibv_post_send(a.qp, &wr[0], &bad))
			t_die("ibv_post_send: %s", strerror(errno));
		if (!t_gap_asked(&g, t_limit))
			t_fail("the memory was not asked for");
		/* Waits longer than all retries take: the peer is not to blame, so no error. */
		t_none("what waits, or is behind it", a.scq, 0.25);
		t_gap_serve(&g, 0, 82);
		for (uint64_t id = 1; id <= 2; id++)
			if (t_expect("served", a.scq, IBV_WC_SUCCESS, &wc) && wc.wr_id != id)
				t_fail("WR %llu came in the place of %llu",
				       (unsigned long long)wc.wr_id, (unsigned long long)id);
		arrived(kind, "the first", g.va, 0, far.va, 0, SMALL);
		t_pat_check("the second", far.va + T_PAGE, BIG, 82, 0);
		t_ep_close(&a);
		t_ep_close(&b);
		t_gap_close(&g);
		mem_close(&near);
		mem_close(&far);
	}
}

static const struct t_test all[] = {
	{ "ud_long", ud_long, "UD: longer than the receive buffer" },
	{ "ud_mtu", ud_mtu, "UD: longer than the path MTU" },
	{ "ud_stranger", ud_stranger, "UD: what waited for a receiver that is another now" },
	{ "beside_fault", beside_fault, "what is done completes while the next waits for memory" },
	{ "behind_fault", behind_fault, "a fault of ours is no silence of the peer's" },
	{ "reconnect", reconnect, "half landed, and the sender comes on the other carrier" },
	{ "ud_landing", ud_landing, "UD: half landed, then a datagram by the other carrier" },
	{ "ud_source", ud_source, "UD: the carrier changes while the source is missing" },
	{ 0 },
};

static int was;

/* Undo what a test chose. */
static void after(struct t_dev *d)
{
	(void)d;
	carrier(was);
}

int main(int argc, char **argv)
{
	static const struct t_test *const groups[] = { all, NULL };

	t_init();
	was = t_param_get("force_wire");
	return t_main(argc, argv, &(struct t_program){ .name = "carrier", .tests = groups,
						       .seconds = 90, .odp = true,
						       .after = after });
}
