// SPDX-License-Identifier: BSD-2-Clause
/*
 * prxe-blind: what single packets can do to a QP. Packets with the wrong PSN, key, length or
 * syndrome must change nothing; packets that wait for memory must wait for a bounded time (and use
 * bounded memory: flood.c); the peer's ACKs must be processed whatever the QP waits for.
 */
#define _GNU_SOURCE
#include "lib/gap.h"
#include "two.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>


static uint8_t scratch[SP_MAX];

/* ---- stale responses ---- */

#define GHOST_OPT { .timeout = 14, .retry_cnt = 2 }

/* Send a stale packet of @kind. @una: the PSN of the only request that is outstanding. */
static bool ghost(struct t_ep *e, int kind, uint32_t una, unsigned n)
{
	static const uint8_t rnr = SP_SYN_RNR | 20;
	static const struct {
		const char *what;
		uint8_t op, syndrome;
		int32_t off;
	} g[] = {
		{ "old ACKs", SP_ACK, SP_SYN_ACK, -1 },
		{ "very old ACKs", SP_ACK, SP_SYN_ACK, -1000000 },
		{ "ACKs of what was not sent", SP_ACK, SP_SYN_ACK, 1 },
		{ "ACKs half the space away", SP_ACK, SP_SYN_ACK, 0x800000 },
		{ "old sequence NAKs", SP_ACK, SP_SYN_NAK, -3 },
		{ "old RNR NAKs", SP_ACK, rnr, -2 },
		{ "RNR NAKs of what was not sent", SP_ACK, rnr, 5 },
		{ "fatal NAKs of what was not sent", SP_ACK, SP_SYN_NAK | 2, 7 },
		{ "old READ responses", SP_READ_ONLY, SP_SYN_ACK, -1 },
		{ "READ responses in the middle", SP_READ_MIDDLE, 0, 9 },
		{ "old atomic acknowledges", SP_ATOMIC_ACK, SP_SYN_ACK, -9 },
		{ "a reserved syndrome", SP_ACK, 0x40, 0 },
	};
	struct sp_hdr h;

	if (kind >= (int)ARRAY_LEN(g))
		return false;
	t_context("%s", g[kind].what);
	h = (struct sp_hdr){ .op = g[kind].op, .syndrome = g[kind].syndrome,
			     .psn = una + (uint32_t)g[kind].off };
	if (g[kind].off < -1)
		h.psn -= n % 50;
	fake_send(e, h, NULL, 0);
	return true;
}

/* How long it takes until the QP's only WRITE completes, with packets of @kind (-1: none). */
static double ghosts_until(int kind, double limit)
{
	const struct t_opt o = GHOST_OPT;
	struct two_mem m = two_mem_open(two.a, T_PAGE, 1);
	double from, took;
	struct ibv_wc wc;
	struct t_ep e;
	bool got;

	fake_open(&e, &o);
	from = t_now();
	if (t_post_one(&e, IBV_WR_RDMA_WRITE, m.va, 64, m.mr->lkey, 0x1000, 0x100, 1))
		t_die("ibv_post_send");
	for (unsigned n = 0; !(got = t_wait(e.scq, &wc, 0.008)) && t_now() - from < limit; n++)
		if (kind >= 0)
			ghost(&e, kind, e.o.psn, n);
	took = t_now() - from;
	if (got && wc.status != IBV_WC_RETRY_EXC_ERR)
		t_fail("'%s', expected '%s'", ibv_wc_status_str(wc.status),
		       ibv_wc_status_str(IBV_WC_RETRY_EXC_ERR));
	t_ep_close(&e);
	two_mem_close(&m);
	fake_forget();
	return got ? took : -1;
}

static void ghosts(void)
{
	double quiet = ghosts_until(-1, t_limit), limit = quiet * 2 + t_slow(0.2), took;
	struct t_ep none = { .me.qpn = FAKE_QPN };

	if (quiet < 0) {
		t_fail("a peer that says nothing: no completion");
		return;
	}
	/* On debug each takes a second: only every other one. */
	for (int kind = 0; ghost(&none, kind, 0, 0); kind += t_debug ? 2 : 1) {
		took = ghosts_until(kind, limit);
		if (took < 0)
			t_fail("no completion within %.2f s, %.2f s without them", limit, quiet);
	}
}

/* ---- responses with a syndrome that no such response can have ---- */

static void one_syndrome(bool atomic, uint8_t syndrome)
{
	const struct t_opt o = { .timeout = 18 };
	struct two_mem land = two_mem_open(two.a, T_PAGE, GUARD);
	struct sp_hdr req, resp = { .syndrome = syndrome, .orig = 0x1111111111111111 };
	const uint32_t len = atomic ? 8 : 100;
	uint64_t orig = 0x0807060504030201;
	struct ibv_wc wc;
	struct t_ep e;

	t_context("%s with syndrome %#x", atomic ? "an atomic acknowledge" : "a READ response",
		  syndrome);
	fake_open(&e, &o);
	if (t_post_one(&e, atomic ? IBV_WR_ATOMIC_FETCH_AND_ADD : IBV_WR_RDMA_READ, land.va, len,
		       land.mr->lkey, 0x1000, 0x100, 1))
		t_die("ibv_post_send");
	if (!fake_next("a request", &req, NULL, NULL))
		goto out;
	t_pat_fill(scratch, len, EVIL, 0);
	resp.op = atomic ? SP_ATOMIC_ACK : SP_READ_ONLY;
	resp.psn = req.psn;
	fake_send(&e, resp, scratch, atomic ? 0 : len);
	if (t_wait(e.scq, &wc, 0.03)) {
		if (!wc.status)
			t_fail("it completes the WR");
		t_pat_check("its landing", land.va, T_PAGE, GUARD, 0);
		goto out;
	}
	t_pat_check("its landing", land.va, T_PAGE, GUARD, 0);
	/* If it was dropped, the right response must be accepted now. */
	t_pat_fill(scratch, len, 5, 0);
	resp.syndrome = SP_SYN_ACK;
	resp.orig = orig;
	fake_send(&e, resp, scratch, atomic ? 0 : len);
	if (!t_expect("the right one", e.scq, IBV_WC_SUCCESS, NULL))
		goto out;
	if (!atomic)
		t_pat_check("the right one", land.va, len, 5, 0);
	else if (memcmp(land.va, &orig, 8))
		t_fail("the right one: %#llx", *(unsigned long long *)(void *)land.va);
	t_pat_check("behind it", land.va + len, T_PAGE - len, GUARD, len);
out:
	t_ep_close(&e);
	two_mem_close(&land);
	fake_forget();
}

static void syndromes(void)
{
	static const uint8_t all[] = { 0x20, 0x34, 0x40, 0x5f, 0x60, 0x61, 0x62, 0x63, 0x64, 0x7f,
				       0x80, 0x9f, 0xe0 };

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		for (int atomic = 0; atomic < 2; atomic++)
			one_syndrome(atomic, all[i]);
}

/* ---- responses that no request asked for ---- */

/*
 * A response acknowledges the requests before it. It must be dropped if its PSN is that of a WRITE,
 * or that of a READ which expects a response of another kind or length.
 */
static void no_answers(void)
{
	const struct t_opt o = { .timeout = 18 };
	const struct {
		uint8_t op;
		uint32_t psn; /* 0, 1: WRITEs, 2: a READ */
		size_t len;
	} wrong[] = {
		{ SP_READ_ONLY, 1, 1 }, { SP_READ_ONLY, 1, 0 }, { SP_ATOMIC_ACK, 1, 0 },
		{ SP_READ_ONLY, 2, 99 }, { SP_READ_MIDDLE, 2, 256 }, { SP_ATOMIC_ACK, 2, 0 },
	};
	struct two_mem land = two_mem_open(two.a, T_PAGE, GUARD);
	struct two_mem m = two_mem_open(two.a, T_PAGE, 3);
	struct ibv_wc wc;
	struct sp_hdr h;
	struct t_ep e;

	fake_open(&e, &o);
	for (uint64_t id = 1; id <= 2; id++)
		if (t_post_one(&e, IBV_WR_RDMA_WRITE, m.va, 300, m.mr->lkey, 0x1000, 0x100, id))
			t_die("ibv_post_send");
	if (t_post_one(&e, IBV_WR_RDMA_READ, land.va, 100, land.mr->lkey, 0x1000, 0x100, 3))
		t_die("ibv_post_send");
	for (int i = 0; i < 3; i++)
		fake_next("two WRITEs and a READ", &h, NULL, NULL);
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		t_pat_fill(scratch, wrong[i].len, EVIL, 0);
		fake_send(&e, (struct sp_hdr){ .op = wrong[i].op, .psn = e.o.psn + wrong[i].psn,
					       .syndrome = SP_SYN_ACK }, scratch, wrong[i].len);
		if (t_wait(e.scq, &wc, 0.03))
			t_fail("response %zu completes WR %llu: '%s'", i,
			       (unsigned long long)wc.wr_id, ibv_wc_status_str(wc.status));
	}
	t_pat_check("the READ's landing", land.va, T_PAGE, GUARD, 0);
	t_pat_fill(scratch, 100, 5, 0);
	fake_send(&e, (struct sp_hdr){ .op = SP_READ_ONLY, .psn = e.o.psn + 2,
				       .syndrome = SP_SYN_ACK }, scratch, 100);
	for (uint64_t id = 1; id <= 3; id++)
		if (t_expect("the right one", e.scq, IBV_WC_SUCCESS, &wc) && wc.wr_id != id)
			t_fail("WR %llu in the place of %llu", (unsigned long long)wc.wr_id,
			       (unsigned long long)id);
	t_pat_check("the READ's landing", land.va, 100, 5, 0);
	t_pat_check("behind it", land.va + 100, T_PAGE - 100, GUARD, 100);
	t_ep_close(&e);
	two_mem_close(&m);
	two_mem_close(&land);
	fake_forget();
}

/* ---- a peer that asks for a retransmission again and again ---- */

static void nak_storm(void)
{
	const struct t_opt o = GHOST_OPT;
	struct two_mem m = two_mem_open(two.a, 8 * T_PAGE, 1);

	for (int unasked = 0; unasked < 2; unasked++) {
		double from, limit = t_slow(2);
		unsigned packets = 0;
		struct ibv_wc wc;
		struct sp_hdr h;
		struct t_ep e;
		bool got;

		t_context("%s", unasked ? "a sequence NAK every 3 ms" : "one for each packet");
		fake_open(&e, &o);
		from = t_now();
		if (t_post_one(&e, IBV_WR_RDMA_WRITE, m.va, 3 * T_PAGE, m.mr->lkey, 0, 1, 1))
			t_die("ibv_post_send");
		while (!(got = t_wait(e.scq, &wc, 0)) && t_now() - from < limit) {
			if (sp_next(&two.to_a, FAKE_QPN, &h, NULL, NULL, 0.003)) {
				packets++;
				if (!unasked)
					fake_ack(&e, e.o.psn, SP_SYN_NAK);
			}
			if (unasked)
				fake_ack(&e, e.o.psn, SP_SYN_NAK);
		}
		if (!got)
			t_fail("no completion within %.1f s", limit);
		else if (wc.status != IBV_WC_RETRY_EXC_ERR)
			t_fail("'%s'", ibv_wc_status_str(wc.status));
		/* Three or more packets for each time that it retransmits. */
		if (packets > 100)
			t_fail("%u packets were sent", packets);
		t_ep_close(&e);
		fake_forget();
	}
	two_mem_close(&m);
}

/* ---- malformed packets ---- */

static void malformed(void)
{
	enum { EACH = 5 };
	static const uint8_t unknown[] = { 0x15, 0x1f, 0x18, 0x3f, 0x40, 0x61, 0x7f, 0x80,
					   0xc0, 0xff };
	uint64_t sent = 0, before = t_counter(two.a->name, "rcvd_malformed"), now;
	uint8_t bytes[64] = { 0 };
	struct t_ep e;

	t_ep_open(&e, two.a, NULL);
	for (int k = 0; k < EACH; k++) {
		/* Too short for a BTH, for its opcode's headers, or for the ICRC. */
		for (size_t n = 1; n < 12; n += 2, sent++)
			sp_send_udp(&two.to_a, two.ipb, two.ipa, bytes, n);
		for (size_t n = 12; n < 32; n += 4, sent++) {
			bytes[0] = SP_RC | SP_WRITE_ONLY;
			sp_send_udp(&two.to_a, two.ipb, two.ipa, bytes, n);
		}
		bytes[0] = SP_RC | SP_SEND_ONLY;
		sp_send_udp(&two.to_a, two.ipb, two.ipa, bytes, 12);
		sent++;
		for (size_t i = 0; i < ARRAY_LEN(unknown); i++, sent++) {
			struct sp_hdr h = { .op = unknown[i], .qpn = e.me.qpn };

			sp_send(&two.to_a, two.ipb, two.ipa, &h, NULL, 0);
		}
		for (unsigned v = 1; v < 16; v += 7, sent++) {
			struct sp_hdr h = { .op = SP_RC | SP_SEND_ONLY, .qpn = e.me.qpn,
					    .ver = (uint8_t)v };

			sp_send(&two.to_a, two.ipb, two.ipa, &h, NULL, 0);
		}
		for (unsigned i = 0; i < 2; i++, sent++) {
			/* More padding than payload; an RC packet to the multicast QP. */
			struct sp_hdr h = { .op = SP_RC | SP_SEND_ONLY,
					    .qpn = i ? SP_MASK : e.me.qpn, .more_pad = i ? 0 : 3 };

			sp_send(&two.to_a, two.ipb, two.ipa, &h, NULL, 0);
		}
		bytes[0] = SP_RC | SP_SEND_ONLY;
		sp_send_raw(&two.to_a, two.ipb, two.ipa, bytes, 12, SP_OPTIONS);
		sent++;
	}
	now = t_counter(two.a->name, "rcvd_malformed");
	if (now - before != sent)
		t_fail("%llu malformed packets, %llu counted", (unsigned long long)sent,
		       (unsigned long long)(now - before));
	t_ep_close(&e);
}

/* ---- stale requests beside a READ that is being answered ---- */

/*
 * The responder looks at the first 256 KiB of the READ's memory before it answers. The missing page
 * comes after these, so the response stops in the middle.
 */
#define READ_PAGES 80
#define MISSING 70	/* nobody has this page yet */

struct stale {
	const char *what;
	uint8_t op;
	int32_t off;	/* from the READ's first PSN */
};

/* Count the READ's responses that arrive, from PSN @first on; the data of all must be right. */
static unsigned responses(const struct t_ep *e, uint32_t first, uint32_t mtu, bool *seen,
			  double seconds)
{
	double end = t_now() + seconds;
	unsigned n = 0, all = (unsigned)(READ_PAGES * T_PAGE / mtu);
	struct sp_hdr h;
	size_t len;

	while (n < all && sp_next(&two.to_a, FAKE_QPN, &h, scratch, &len, end - t_now())) {
		uint32_t k = (h.psn - first) & SP_MASK;

		if (h.op < SP_READ_FIRST || h.op > SP_READ_ONLY || k >= all)
			continue;
		if (h.op != SP_READ_MIDDLE && h.syndrome >> 5)
			continue;
		if (len != mtu || t_pat_diff(scratch, len, 7, (uint64_t)k * mtu) >= 0)
			t_fail("response %u of QP %u has wrong data", k, e->me.qpn);
		n += !seen[k];
		seen[k] = true;
	}
	return n;
}

static void one_stale(const struct stale *s, struct two_mem *other)
{
	const struct t_opt o = { .mtu = IBV_MTU_1024, .timeout = 18 };
	const unsigned mtu = 1024, all = (unsigned)(READ_PAGES * T_PAGE / mtu);
	bool seen[READ_PAGES * T_PAGE_MAX / 1024] = { 0 };
	struct sp_hdr h = { .op = SP_READ_REQ, .psn = FAKE_PSN + 1 }, bad;
	const struct sp_hdr before = {
		.op = SP_WRITE_ONLY, .psn = FAKE_PSN, .dma_len = 16,
		.va = (uintptr_t)other->va, .rkey = other->mr->rkey
	};
	const uint32_t first = FAKE_PSN + 1;
	bool asked = false;
	struct t_gap g;
	struct t_ep e;
	unsigned n;

	t_context("%s", s->what);
	t_gap_open(&g, two.a->pd, READ_PAGES);
	for (unsigned i = 0; i < READ_PAGES; i++)
		if (i != MISSING)
			t_gap_serve(&g, i, 7);
	fake_open(&e, &o);
	h.va = (uintptr_t)g.va;
	h.rkey = g.mr->rkey;
	h.dma_len = READ_PAGES * T_PAGE;
	/*
	 * If the page takes long, the responder asks the requester to retransmit (RNR NAK), so this
	 * one does.
	 */
	for (unsigned i = 0; i < 20 && !asked; i++) {
		/* A WRITE that is complete before the READ. */
		fake_send(&e, before, scratch, 16);
		fake_send(&e, h, NULL, 0);
		asked = t_gap_asked(&g, t_slow(0.5));
	}
	if (!asked)
		t_fail("the READ's page was not asked for");
	bad = (struct sp_hdr){ .op = s->op, .psn = first + (uint32_t)s->off, .va = 0x1000,
			       .rkey = g.mr->rkey ^ 0x5500, .dma_len = 8, .feth = 1 };
	t_pat_fill(scratch, 8, EVIL, 0);
	fake_send(&e, bad, scratch, s->op == SP_ATOMIC_WRITE ? 8 : 0);
	t_gap_serve(&g, MISSING, 7);
	n = responses(&e, first, mtu, seen, t_slow(2));
	if (n != all)
		t_fail("%u of %u responses came", n, all);
	two_must_stay("the responder", &e, IBV_QPS_RTS);
	t_ep_close(&e);
	t_gap_close(&g);
	fake_forget();
}

static void stale_requests(void)
{
	static const struct stale all[] = {
		{ "nothing stale", SP_ACK, -100 },
		{ "an old READ", SP_READ_REQ, -50 },
		{ "a very old READ", SP_READ_REQ, -0x7ff000 },
		{ "an old FLUSH", SP_FLUSH, -2 },
		{ "an old FETCH_ADD", SP_FETCH_ADD, -1 },
		{ "an old CMP_SWAP", SP_CMP_SWAP, -3000 },
		{ "an old ATOMIC WRITE", SP_ATOMIC_WRITE, -7 },
		{ "a READ at this PSN with another key", SP_READ_REQ, 0 },
		{ "a READ in the middle with another key", SP_READ_REQ, 60 },
		{ "a FLUSH at this PSN", SP_FLUSH, 0 },
		{ "a FETCH_ADD in the middle", SP_FETCH_ADD, 30 },
	};
	struct two_mem other = two_mem_open(two.a, T_PAGE, GUARD);

	for (size_t i = 0; i < ARRAY_LEN(all); i += t_debug ? 2 : 1)
		one_stale(&all[i], &other);
	two_mem_close(&other);
}

/* ---- datagrams above the path MTU ---- */

static uint64_t refused(void)
{
	return t_counter(two.a->name, "dropped") + t_counter(two.a->name, "rcvd_malformed");
}

static void ud_mtu(void)
{
	const uint32_t mtu = 128U << two.a->port.active_mtu;
	const uint32_t len[] = { mtu + 1, mtu + 4, 2 * mtu, TWO_BIG };
	struct two_mem land = two_mem_open(two.a, TWO_BIG + T_PAGE, GUARD);
	struct sp_hdr h = { .op = SP_UD | SP_SEND_ONLY, .qkey = T_QKEY, .src_qp = 5 };
	struct t_addr peer = { .qpn = 5, .gid = two.b->gid };
	uint64_t before = refused();
	struct ibv_wc wc;
	struct t_ep e;

	t_ep_open(&e, two.a, &(struct t_opt){ .type = IBV_QPT_UD });
	t_ep_connect(&e, &peer);
	t_recv_one(&e, land.va, (uint32_t)land.size, land.mr->lkey, 1);
	h.qpn = e.me.qpn;
	for (size_t i = 0; i < ARRAY_LEN(len); i++) {
		t_pat_fill(scratch, len[i], EVIL, 0);
		sp_send(&two.to_a, two.ipb, two.ipa, &h, scratch, len[i]);
	}
	if (!t_none("datagrams above the path MTU", e.rcq, t_slow(0.05)))
		goto out;
	t_pat_check("the receive buffer", land.va, land.size, GUARD, 0);
	if (refused() - before != ARRAY_LEN(len))
		t_fail("%zu were refused, %llu counted", ARRAY_LEN(len),
		       (unsigned long long)(refused() - before));
	t_pat_fill(scratch, mtu, 9, 0);
	sp_send(&two.to_a, two.ipb, two.ipa, &h, scratch, mtu);
	if (t_expect("one of the path MTU", e.rcq, IBV_WC_SUCCESS, &wc) &&
	    (wc.byte_len != mtu + GRH || wc.src_qp != 5))
		t_fail("byte_len %u, src_qp %u", wc.byte_len, wc.src_qp);
	t_pat_check("one of the path MTU", land.va + GRH, mtu, 9, 0);
out:
	two_must_stay("the receiver", &e, IBV_QPS_RTS);
	t_ep_close(&e);
	two_mem_close(&land);
}

/* ---- ACKs are processed, and silence is noticed, while the send side waits for memory ---- */

/* Post two WRITEs: one whose source is there, and one whose source page nobody has yet. */
static void two_writes(struct t_ep *e, struct t_gap *g, struct two_mem *m, const struct t_opt *o)
{
	struct ibv_sge sg[2];
	struct ibv_send_wr wr[2] = { 0 }, *bad;

	t_gap_open(g, two.a->pd, 1);
	*m = two_mem_open(two.a, T_PAGE, 3);
	fake_open(e, o);
	sg[0] = t_sge(m->va, 700, m->mr->lkey);
	sg[1] = t_sge(g->va, 900, g->mr->lkey);
	for (unsigned i = 0; i < 2; i++) {
		wr[i].wr_id = i + 1;
		wr[i].sg_list = &sg[i];
		wr[i].num_sge = 1;
		wr[i].opcode = IBV_WR_RDMA_WRITE;
		wr[i].send_flags = IBV_SEND_SIGNALED;
		wr[i].wr.rdma.remote_addr = 0x1000;
		wr[i].wr.rdma.rkey = 0x100;
	}
	wr[0].next = &wr[1];
	if (ibv_post_send(e->qp, wr, &bad))
		t_die("ibv_post_send: %s", strerror(errno));
	if (!t_gap_asked(g, t_limit))
		t_fail("the second one's source was not asked for");
}

static bool is_write(const char *what, const struct sp_hdr *h, size_t len, uint32_t psn,
		     uint32_t want, uint64_t seq)
{
	if (h->op != SP_WRITE_ONLY || h->psn != (psn & SP_MASK) || len != want) {
		t_fail("%s: opcode %#x PSN %u with %zu bytes, expected PSN %u with %u", what, h->op,
		       h->psn, len, psn & SP_MASK, want);
		return false;
	}
	return t_pat_check(what, scratch, want, seq, 0);
}

static void lost_meanwhile(void)
{
	const struct t_opt o = { .timeout = 14, .retry_cnt = 7 };
	struct ibv_wc wc;
	struct sp_hdr h;
	struct t_gap g;
	struct t_ep e;
	struct two_mem m;
	size_t len;

	two_writes(&e, &g, &m, &o);
	/* The first packet is taken to be lost: the ACK timer must retransmit it. */
	if (fake_next("the first WRITE", &h, scratch, &len))
		is_write("the first WRITE", &h, len, e.o.psn, 700, 3);
	if (sp_next(&two.to_a, FAKE_QPN, &h, scratch, &len, t_slow(0.5)))
		is_write("its repetition", &h, len, e.o.psn, 700, 3);
	else
		t_fail("what got lost is not sent again while the next one waits for memory");
	fake_ack(&e, e.o.psn, SP_SYN_ACK);
	if (!t_wait(e.scq, &wc, t_slow(0.1)))
		t_fail("what was acknowledged does not complete");
	else if (wc.status || wc.wr_id != 1)
		t_fail("WR %llu: '%s'", (unsigned long long)wc.wr_id, ibv_wc_status_str(wc.status));
	fake_forget();
	t_gap_serve(&g, 0, 4);
	if (fake_next("the second WRITE", &h, scratch, &len))
		is_write("the second WRITE", &h, len, e.o.psn + 1, 900, 4);
	fake_ack(&e, e.o.psn + 1, SP_SYN_ACK);
	t_expect("the second WRITE", e.scq, IBV_WC_SUCCESS, NULL);
	t_ep_close(&e);
	t_gap_close(&g);
	two_mem_close(&m);
	fake_forget();
}

/* A peer that does not answer any more is noticed although the next WR waits for memory. */
static void silence_meanwhile(void)
{
	const struct t_opt o = GHOST_OPT;
	struct ibv_wc wc;
	struct t_gap g;
	struct t_ep e;
	struct two_mem m;

	two_writes(&e, &g, &m, &o);
	if (!t_wait(e.scq, &wc, t_slow(2)))
		t_fail("a silent peer is not found out while a WR waits for memory");
	else if (wc.wr_id != 1 || wc.status != IBV_WC_RETRY_EXC_ERR)
		t_fail("WR %llu: '%s'", (unsigned long long)wc.wr_id, ibv_wc_status_str(wc.status));
	else
		t_expect("the second WRITE", e.scq, IBV_WC_WR_FLUSH_ERR, NULL);
	t_gap_serve(&g, 0, 4);
	fake_again(&e);
	t_ep_close(&e);
	t_gap_close(&g);
	two_mem_close(&m);
	fake_forget();
}

/*
 * The buffer of a READ is missing when the response comes: the response waits, longer than all
 * retries take. The peer is not silent, so that is no error. The WRITE after the READ completes
 * after it.
 */
static void landing_meanwhile(void)
{
	const struct t_opt o = { .timeout = 14, .retry_cnt = 6 };
	struct two_mem m = two_mem_open(two.a, T_PAGE, 3);
	struct ibv_wc wc;
	struct sp_hdr h;
	struct t_gap g;
	struct t_ep e;

	t_gap_open(&g, two.a->pd, 1);
	t_gap_serve(&g, 0, GUARD);
	fake_open(&e, &o);
	if (t_post_one(&e, IBV_WR_RDMA_READ, g.va, 800, g.mr->lkey, 0x1000, 0x100, 1) ||
	    t_post_one(&e, IBV_WR_RDMA_WRITE, m.va, 700, m.mr->lkey, 0x1000, 0x100, 2))
		t_die("ibv_post_send");
	for (int i = 0; i < 2; i++)
		fake_next("a READ and a WRITE", &h, NULL, NULL);
	t_drop(g.va, T_PAGE);
	t_pat_fill(scratch, 800, 11, 0);
	fake_send(&e, (struct sp_hdr){ .op = SP_READ_ONLY, .psn = e.o.psn,
				       .syndrome = SP_SYN_ACK }, scratch, 800);
	fake_ack(&e, e.o.psn + 1, SP_SYN_ACK);
	if (!t_gap_asked(&g, t_limit))
		t_fail("the landing was not asked for");
	t_none("a READ whose landing is missing", e.scq, 0.6);
	t_gap_serve(&g, 0, GUARD);
	for (uint64_t id = 1; id <= 2; id++)
		if (t_expect("served", e.scq, IBV_WC_SUCCESS, &wc) && wc.wr_id != id)
			t_fail("WR %llu in the place of %llu", (unsigned long long)wc.wr_id,
			       (unsigned long long)id);
	t_pat_check("the READ's landing", g.va, 800, 11, 0);
	t_pat_check("behind it", g.va + 800, T_PAGE - 800, GUARD, 800);
	t_ep_close(&e);
	t_gap_close(&g);
	two_mem_close(&m);
	fake_forget();
}

/* A UC message whose receive buffer nobody serves is dropped too, and the next one arrives. */
static void uc_given_up(void)
{
	const struct t_opt o = { .type = IBV_QPT_UC, .mtu = IBV_MTU_1024 };
	uint64_t lost = t_counter(two.a->name, "dropped_fault");
	struct ibv_wc wc;
	struct t_gap g;
	struct t_ep e;
	double end;

	t_gap_open(&g, two.a->pd, 2);
	fake_open(&e, &o);
	t_recv_one(&e, g.va, 2 * T_PAGE, g.mr->lkey, 1);
	t_pat_fill(scratch, 500, EVIL, 0);
	fake_send(&e, (struct sp_hdr){ .op = SP_UC | SP_SEND_ONLY, .psn = FAKE_PSN }, scratch, 500);
	if (!t_gap_asked(&g, t_limit))
		t_fail("the receive buffer was not asked for");
	for (end = t_now() + t_slow(3); t_now() < end; usleep(50000))
		if (t_counter(two.a->name, "dropped_fault") > lost)
			break;
	if (t_counter(two.a->name, "dropped_fault") == lost)
		t_fail("a message was not given up, or not counted");
	for (unsigned i = 0; i < 2; i++)
		t_gap_serve(&g, i, GUARD);
	usleep(100000);
	if (!t_drain(e.rcq)) {
		t_pat_fill(scratch, 1000, 31, 0);
		fake_send(&e, (struct sp_hdr){ .op = SP_UC | SP_SEND_ONLY, .psn = FAKE_PSN + 1 },
			  scratch, 1000);
		if (t_expect("the next message", e.rcq, IBV_WC_SUCCESS, &wc) && wc.byte_len != 1000)
			t_fail("byte_len %u", wc.byte_len);
		t_pat_check("the next message", g.va, 1000, 31, 0);
	}
	t_ep_close(&e);
	t_gap_close(&g);
}

static const struct two_test tests[] = {
	{ "malformed", malformed },
	{ "ghosts", ghosts },
	{ "syndromes", syndromes },
	{ "no_answers", no_answers },
	{ "nak_storm", nak_storm },
	{ "stale_requests", stale_requests },
	{ "ud_mtu", ud_mtu },
	{ "lost_meanwhile", lost_meanwhile },
	{ "silence_meanwhile", silence_meanwhile },
	{ "landing_meanwhile", landing_meanwhile },
	{ "uc_given_up", uc_given_up },
};

int main(int argc, char **argv)
{
	return two_main(argc, argv, "blind", tests, ARRAY_LEN(tests));
}
