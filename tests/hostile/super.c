// SPDX-License-Identifier: BSD-2-Clause
/*
 * Super-packets of known contents: each packet in them must do what it would do alone, in their
 * order, and be counted as one.
 */
#define _GNU_SOURCE
#include "super.h"
#include "two.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#define SLOT (4 * T_PAGE)
#define SLOTS 16
#define ROOM (SLOTS * SLOT)
#define MTU 1024U

bool super_known(void)
{
	unsigned major = 0, minor = 0;
	struct utsname u;

	uname(&u);
	sscanf(u.release, "%u.%u", &major, &minor);
	return major > 6 || (major == 6 && minor >= 2);
}

struct mem {
	uint8_t *va;
	struct ibv_mr *mr;
};

static struct mem mem_open(unsigned more_access)
{
	struct mem m = { .va = t_map_between(ROOM) };

	m.mr = t_reg(two.a->pd, m.va, ROOM, T_ALL_ACCESS | more_access);
	t_pat_fill(m.va, ROOM, GUARD, 0);
	return m;
}

static void mem_close(struct mem *m)
{
	ibv_dereg_mr(m->mr);
	munmap(m->va - T_PAGE, ROOM + 2 * T_PAGE);
}

/* ---- counters ---- */

enum { RCVD, BAD_ICRC, MALFORMED, DROPPED, OUT_OF_SEQ, COUNTERS };
static const char *const counter[] = { "rcvd_pkts", "rcvd_bad_icrc", "rcvd_malformed", "dropped",
				       "out_of_seq_request" };
static uint64_t was[COUNTERS];

static void counters_begin(void)
{
	for (int i = 0; i < COUNTERS; i++)
		was[i] = t_counter(two.a->name, counter[i]);
}

static void grown(int which, uint64_t by)
{
	uint64_t is = t_counter(two.a->name, counter[which]) - was[which];

	if (is != by)
		t_fail("%s grew by %llu, expected %llu", counter[which], (unsigned long long)is,
		       (unsigned long long)by);
}

/* ---- super-packets of B's address, for QPs of A ---- */

static void begin(void)
{
	sp_super(&two.to_a, two.ipb, two.ipa);
}

static void add(const struct t_ep *e, struct sp_hdr h, uint64_t seq, size_t len, unsigned how)
{
	static uint8_t bth[4096], data[4096];

	h.qpn = e->me.qpn;
	t_pat_fill(data, len, seq, 0);
	two.to_a.mutation = seq;
	if (!sp_super_add(&two.to_a, bth, sp_build(bth, &h, data, len), how))
		t_die("no room in a super-packet");
}

static void go(const struct sp_gso *g)
{
	static const struct sp_gso plain;

	if (!sp_super_send(&two.to_a, g ? g : &plain))
		t_die("the kernel does not take a super-packet");
}

/* ---- tests ---- */

/* Datagrams: number @bad has a wrong ICRC (none: -1), the last is shorter. */
static void datagrams(int bad, unsigned linear)
{
	enum { LEN = 300, LAST = 101 };
	struct mem m = mem_open(bad & 4 ? IBV_ACCESS_ON_DEMAND : 0);
	struct t_ep ud;
	struct ibv_wc wc;
	unsigned at = 0;

	t_context("a super-packet of %d datagrams, number %d spoilt, %u bytes linear", SLOTS, bad,
		  linear);
	t_ep_open(&ud, two.a, &(struct t_opt){ .type = IBV_QPT_UD });
	t_ep_connect(&ud, &ud.me);
	for (unsigned i = 0; i < SLOTS; i++)
		t_recv_one(&ud, m.va + i * SLOT, SLOT, m.mr->lkey, i);
	counters_begin();
	begin();
	for (int i = 0; i < SLOTS; i++)
		add(&ud, (struct sp_hdr){ .op = SP_UD | SP_SEND_ONLY, .qkey = T_QKEY, .src_qp = 3,
					  .psn = (uint32_t)i }, 200U + (unsigned)i,
		    i + 1 < SLOTS ? LEN : LAST, i == bad ? SP_BAD_ICRC : 0);
	go(&(struct sp_gso){ .linear = linear });
	for (int i = 0; i < SLOTS; i++) {
		size_t len = i + 1 < SLOTS ? LEN : LAST;
		uint8_t *p = m.va + at * SLOT;

		if (i == bad)
			continue;
		if (!t_expect("a datagram", ud.rcq, IBV_WC_SUCCESS, &wc))
			break;
		if (wc.wr_id != at || wc.byte_len != GRH + len || wc.src_qp != 3)
			t_fail("datagram %d: wr_id %llu byte_len %u src_qp %u", i,
			       (unsigned long long)wc.wr_id, wc.byte_len, wc.src_qp);
		t_pat_check("a datagram", p + GRH, len, 200U + (unsigned)i, 0);
		t_pat_check("behind a datagram", p + GRH + len, SLOT - GRH - len, GUARD,
			    at * SLOT + GRH + len);
		at++;
	}
	t_none("datagrams", ud.rcq, 0.01);
	grown(RCVD, SLOTS - (bad >= 0));
	grown(BAD_ICRC, bad >= 0);
	grown(MALFORMED, 0);
	grown(DROPPED, 0);
	t_ep_close(&ud);
	mem_close(&m);
}

static bool arrives(const uint8_t *p, size_t len, uint64_t seq)
{
	for (double end = t_now() + t_limit; t_now() < end; usleep(1000))
		if (t_pat_diff(p, len, seq, 0) < 0)
			return true;
	return t_pat_check("a WRITE", p, len, seq, 0);
}

/* WRITEs: those behind one that is spoilt must not be executed. */
static void writes(int bad)
{
	enum { N = 20, LEN = 64, STEP = 100 };
	struct mem m = mem_open(bad & 1 ? IBV_ACCESS_ON_DEMAND : 0);
	const int good = bad < 0 ? N : bad;
	struct t_ep rc;

	t_context("a super-packet of %d WRITEs, number %d spoilt", N, bad);
	fake_open(&rc, &(struct t_opt){ .mtu = IBV_MTU_1024 });
	counters_begin();
	begin();
	for (int i = 0; i < N; i++)
		add(&rc, (struct sp_hdr){ .op = SP_WRITE_ONLY, .psn = FAKE_PSN + (uint32_t)i,
					  .va = (uintptr_t)m.va + (unsigned)i * STEP,
					  .rkey = m.mr->rkey, .dma_len = LEN },
		    300U + (unsigned)i, LEN, i == bad ? SP_BAD_ICRC : 0);
	go(NULL);
	for (int i = 0; i < good; i++)
		if (!arrives(m.va + i * STEP, LEN, 300U + (unsigned)i))
			break;
	grown(BAD_ICRC, bad >= 0);
	grown(OUT_OF_SEQ, bad >= 0 && bad + 1 < N);
	for (int i = 0; i < good; i++)
		t_pat_check("behind a WRITE", m.va + i * STEP + LEN, STEP - LEN, GUARD,
			    (unsigned)i * STEP + LEN);
	t_pat_check("what is not written", m.va + good * STEP, ROOM - (size_t)good * STEP, GUARD,
		    (size_t)good * STEP);
	t_ep_close(&rc);
	mem_close(&m);
}

static void received(struct t_ep *e, const uint8_t *p, unsigned id, size_t len, uint64_t seq)
{
	struct ibv_wc wc;

	if (!t_expect("a SEND", e->rcq, IBV_WC_SUCCESS, &wc))
		return;
	if (wc.wr_id != id || wc.byte_len != len)
		t_fail("SEND %u: wr_id %llu byte_len %u, expected %zu", id,
		       (unsigned long long)wc.wr_id, wc.byte_len, len);
	t_pat_check("a SEND", p, len, seq, 0);
}

/* Requests of several kinds. A READ takes a PSN for each packet of its answer. */
static void gaps(unsigned linear)
{
	struct mem m = mem_open(0);
	uint8_t *from = m.va + 8 * SLOT, *word = m.va + 15 * SLOT;
	struct sp_hdr send = { .op = SP_SEND_ONLY, .psn = FAKE_PSN }, req = { .rkey = m.mr->rkey };
	uint64_t sum = 0;
	struct t_ep rc;

	t_context("requests of several kinds in super-packets, %u bytes linear", linear);
	fake_open(&rc, &(struct t_opt){ .mtu = IBV_MTU_1024 });
	memset(word, 0, 8);
	for (unsigned i = 0; i < 6; i++)
		t_recv_one(&rc, m.va + i * SLOT, SLOT, m.mr->lkey, i);
	counters_begin();
	/* Each has 28 bytes: SEND READ(64 K) SEND READ(8) SEND SEND. */
	begin();
	add(&rc, send, 400, 16, 0);
	req.op = SP_READ_REQ;
	req.va = (uintptr_t)from;
	req.psn = send.psn + 1;
	req.dma_len = 64 * MTU;
	add(&rc, req, 0, 0, 0);
	send.psn += 1 + 64;
	add(&rc, send, 401, 16, 0);
	req.psn = send.psn + 1;
	req.dma_len = 8;
	add(&rc, req, 0, 0, 0);
	send.psn += 2;
	add(&rc, send, 402, 16, 0);
	send.psn++;
	add(&rc, send, 403, 5, 0);
	go(&(struct sp_gso){ .linear = linear });
	/* Each has 40 bytes, but the last: FETCH_ADD SEND FETCH_ADD WRITE READ(3000). */
	begin();
	req.op = SP_FETCH_ADD;
	req.va = (uintptr_t)word;
	req.swap = 5;
	req.psn = send.psn + 1;
	add(&rc, req, 0, 0, 0);
	send.psn += 2;
	add(&rc, send, 404, 28, 0);
	req.psn = send.psn + 1;
	add(&rc, req, 0, 0, 0);
	req = (struct sp_hdr){ .op = SP_WRITE_ONLY, .psn = req.psn + 1, .rkey = m.mr->rkey,
			       .va = (uintptr_t)word + 64, .dma_len = 12 };
	add(&rc, req, 500, 12, 0);
	req.op = SP_READ_REQ;
	req.psn++;
	req.dma_len = 3000;
	add(&rc, req, 0, 0, 0);
	send.psn = req.psn + 3;
	go(&(struct sp_gso){ .linear = linear });
	/* And one packet alone. */
	begin();
	add(&rc, send, 405, 700, 0);
	go(NULL);
	for (unsigned i = 0; i < 6; i++)
		received(&rc, m.va + i * SLOT, i, i < 3 ? 16 : i == 3 ? 5 : i == 4 ? 28 : 700,
			 400 + i);
	arrives(word + 64, 12, 500);
	memcpy(&sum, word, 8);
	if (sum != 10)
		t_fail("two FETCH_ADDs of 5 made %llu", (unsigned long long)sum);
	grown(RCVD, 12);
	grown(OUT_OF_SEQ, 0);
	grown(BAD_ICRC, 0);
	t_ep_close(&rc);
	mem_close(&m);
}

/*
 * A SEND whose packets do not lie side by side: between them is one of the same length that is not
 * for it. Each byte must be that of its own packet.
 */
static void between(int what)
{
	static const char *const name[] = { "a wrong ICRC", "another QP", "an old READ response" };
	enum { N = 8, AT = 3 };
	struct mem m = mem_open(what & 1 ? IBV_ACCESS_ON_DEMAND : 0);
	struct sp_hdr junk = { .op = SP_SEND_MIDDLE, .psn = FAKE_PSN + AT };
	struct t_ep rc, to;
	struct ibv_wc wc;

	t_context("a super-packet of a SEND, and in it %s", name[what]);
	fake_open(&rc, &(struct t_opt){ .mtu = IBV_MTU_1024 });
	t_recv_one(&rc, m.va, SLOT, m.mr->lkey, 7);
	to = rc;
	if (what == 1)
		to.me.qpn ^= 0x155500;
	if (what == 2)
		junk = (struct sp_hdr){ .op = SP_READ_MIDDLE, .psn = FAKE_PSN - 100 };
	begin();
	for (unsigned i = 0; i < N; i++) {
		if (i == AT)
			add(&to, junk, 790, MTU, what ? 0 : SP_BAD_ICRC);
		add(&rc, (struct sp_hdr){ .op = i == 0	   ? SP_SEND_FIRST :
						i == N - 1 ? SP_SEND_LAST :
							     SP_SEND_MIDDLE,
					  .psn = FAKE_PSN + i },
		    700 + i, MTU, 0);
	}
	go(NULL);
	if (t_expect("the SEND", rc.rcq, IBV_WC_SUCCESS, &wc) &&
	    (wc.wr_id != 7 || wc.byte_len != N * MTU))
		t_fail("wr_id %llu byte_len %u", (unsigned long long)wc.wr_id, wc.byte_len);
	for (unsigned i = 0; i < N; i++)
		t_pat_check("a packet of the SEND", m.va + i * MTU, MTU, 700 + i, 0);
	t_pat_check("behind the SEND", m.va + N * MTU, ROOM - N * MTU, GUARD, N * MTU);
	t_ep_close(&rc);
	mem_close(&m);
}

/* Pieces of a wrong size: none of them is a packet, but for the first. */
static void shifted(unsigned size)
{
	struct mem m = mem_open(0);
	size_t pieces;
	struct t_ep ud;

	t_context("a super-packet cut into pieces of %u bytes", size);
	t_ep_open(&ud, two.a, &(struct t_opt){ .type = IBV_QPT_UD });
	t_ep_connect(&ud, &ud.me);
	t_recv_one(&ud, m.va, SLOT, m.mr->lkey, 0);
	counters_begin();
	begin();
	for (unsigned i = 0; i < 12; i++)
		add(&ud, (struct sp_hdr){ .op = SP_UD | SP_SEND_ONLY, .qkey = T_QKEY }, 600 + i, 80,
		    0);
	go(&(struct sp_gso){ .size = size });
	pieces = sp_super_pieces();
	t_none("shifted packets", ud.rcq, 0.01);
	t_pat_check("the receive buffer", m.va, ROOM, GUARD, 0);
	grown(RCVD, 0);
	for (int i = BAD_ICRC; i <= DROPPED; i++)
		pieces -= t_counter(two.a->name, counter[i]) - was[i];
	if (pieces)
		t_fail("%zd pieces were not counted", (ssize_t)pieces);
	t_ep_close(&ud);
	mem_close(&m);
}

void super_tests(void)
{
	static const unsigned sizes[] = { 24, 50, 100, 103, 105, 108, 200, 500, 1263 };

	for (int bad = -1; bad < SLOTS; bad += 4)
		datagrams(bad, bad & 8 ? 1500 : 0);
	writes(-1);
	writes(9);
	writes(0);
	writes(19);
	gaps(0);
	gaps(1 << 16);
	for (int what = 0; what < 3; what++)
		between(what);
	for (unsigned i = 0; i < ARRAY_LEN(sizes); i++)
		shifted(sizes[i]);
	t_context("%s", "");
}
