// SPDX-License-Identifier: BSD-2-Clause
/*
 * prxe-peers: a QP whose peer is this program, on a link that loses and reorders packets as each
 * test says.
 *
 * Congestion is reported by either side, and heeded.
 *
 * The requester must get along with a peer that keeps packets behind a gap, and with one that drops
 * them and speaks of the first only (go-back-N), without the help of its ACK timer, which takes
 * seconds here. The responder must keep what comes early, and ask for what is missing, once.
 */
#define _GNU_SOURCE
#include "lib/gap.h"
#include "two.h"

#include <string.h>

#define MTU 1024U
#define PKTS 20U
#define BYTES (PKTS * MTU)
/* An ACK timeout of 4 s, and what must be over long before. */
#define OPT { .mtu = IBV_MTU_1024, .timeout = 20, .retry_cnt = 7 }
#define SOON 1.5

static uint8_t payload[SP_MAX];

static struct two_mem room(uint64_t seq)
{
	return two_mem_open(two.a, BYTES + T_PAGE, seq);
}

static void forget_arrived(void)
{
	struct sp_hdr h;

	while (sp_next(&two.to_a, FAKE_QPN, &h, NULL, NULL, 0.02))
		;
}

/* ---- the QP sends ---- */

/* A responder, and which packets the network loses on their first way to it. */
struct peer {
	bool keeps;
	uint32_t lost; /* a bit for each */
	bool has[PKTS];
	unsigned next, packets;
	bool asked; /* for the packet at next */
};

static void arrives(struct t_ep *e, struct peer *p, const struct sp_hdr *h, size_t len)
{
	unsigned i = (h->psn - e->o.psn) & SP_MASK;

	if (i >= PKTS) {
		t_fail("PSN %#x was sent", h->psn);
		return;
	}
	p->packets++;
	t_pat_check("a packet", payload, len, 7, (uint64_t)i * MTU);
	if (p->lost >> i & 1) {
		p->lost &= ~(1U << i);
		return;
	}
	if (i > p->next) {
		if (p->keeps)
			p->has[i] = true;
		if (!p->asked)
			fake_ack(e, e->o.psn + p->next, SP_SYN_NAK);
		p->asked = true;
		return;
	}
	if (i == p->next) {
		p->asked = false;
		p->has[i] = true;
		while (p->next < PKTS && p->has[p->next])
			p->next++;
	}
	if (h->ackreq)
		fake_ack(e, e->o.psn + p->next - 1, SP_SYN_ACK);
	/* The next gap was seen already. */
	for (i = p->next + 1; p->keeps && !p->asked && i < PKTS; i++)
		if (p->has[i]) {
			fake_ack(e, e->o.psn + p->next, SP_SYN_NAK);
			p->asked = true;
		}
}

/* One WRITE, and nothing behind it. @most: packets that it may take. */
static void message(struct t_ep *e, struct two_mem *m, bool keeps, uint32_t lost, unsigned most)
{
	struct peer p = { .keeps = keeps, .lost = lost };
	double end = t_now() + t_slow(SOON);
	struct ibv_wc wc;
	struct sp_hdr h;
	size_t len;
	bool over;

	t_context("a peer that keeps %s, lost %#x", keeps ? "packets" : "nothing", lost);
	if (t_post_one(e, IBV_WR_RDMA_WRITE, m->va, BYTES, m->mr->lkey, 0x1000, 0x100, lost))
		t_die("ibv_post_send");
	while (!(over = t_wait(e->scq, &wc, 0)) && t_now() < end)
		if (sp_next(&two.to_a, FAKE_QPN, &h, payload, &len, 0.005))
			arrives(e, &p, &h, len);
	if (!over)
		t_fail("it does not complete; the peer has %u packets, and has got %u", p.next,
		       p.packets);
	else if (wc.status || wc.wr_id != lost)
		t_fail("WR %llu: '%s'", (unsigned long long)wc.wr_id, ibv_wc_status_str(wc.status));
	if (p.packets > most)
		t_fail("%u packets were sent, at most %u expected", p.packets, most);
	e->o.psn = (e->o.psn + PKTS) & SP_MASK; /* of the next message */
	forget_arrived();
	t_context("%s", "");
}

static void sends(void)
{
	static const uint32_t lost[] = { 1U << 10, 1U << 0, 1U << 18, 1U << 3 | 1U << 12,
					 1U << 5 | 1U << 6, 0x7c0, 1U << 7, 1U << 2 };
	static const struct t_opt o = OPT;
	struct two_mem m = room(7);
	struct t_ep e;

	for (int keeps = 0; keeps < 2; keeps++) {
		fake_open(&e, &o);
		for (size_t i = 0; i < ARRAY_LEN(lost); i++) {
			unsigned n = (unsigned)__builtin_popcount(lost[i]);

			/*
			 * Go-back-N: everything once more for each, and the trials. Else what was
			 * lost; but two packets side by side take more than one try.
			 */
			message(&e, &m, keeps, lost[i],
				keeps ? PKTS + n + (n > 1 ? PKTS : PKTS / 2) : PKTS * (n + 3));
		}
		t_ep_close(&e);
		forget_arrived();
	}
	two_mem_close(&m);
}

/* ---- the QP is sent to ---- */

static void send_part(struct t_ep *e, struct two_mem *m, unsigned i, uint64_t seq)
{
	t_pat_fill(payload, MTU, seq, (uint64_t)i * MTU);
	fake_send(e, (struct sp_hdr){ .op = i == 0	   ? SP_WRITE_FIRST :
					    i == PKTS - 1 ? SP_WRITE_LAST : SP_WRITE_MIDDLE,
				      .psn = FAKE_PSN + i, .va = (uintptr_t)m->va,
				      .rkey = m->mr->rkey, .dma_len = BYTES,
				      .ackreq = i == PKTS - 1 },
		  payload, MTU);
}

/* Those in [from, to). */
static void send_parts(struct t_ep *e, struct two_mem *m, unsigned from, unsigned to, uint64_t seq)
{
	for (unsigned i = from; i < to; i++)
		send_part(e, m, i, seq);
}

static bool is_nak(const struct sp_hdr *h)
{
	return h->op == SP_ACK && h->syndrome == SP_SYN_NAK;
}

/* The next packet is a NAK for that one; or else NAKs for those before it that came too late. */
static void is_asked_for(const char *what, unsigned i)
{
	struct sp_hdr h;
	bool got;

	do
		got = fake_next(what, &h, NULL, NULL);
	while (got && is_nak(&h) && h.psn >= FAKE_PSN && h.psn < FAKE_PSN + i);
	if (got && (!is_nak(&h) || h.psn != FAKE_PSN + i))
		t_fail("%s: syndrome %#x, PSN %#x instead of a sequence NAK for %#x", what,
		       h.syndrome, h.psn, FAKE_PSN + i);
}

static void nothing_is_said(const char *what, double seconds)
{
	struct sp_hdr h;

	if (sp_next(&two.to_a, FAKE_QPN, &h, NULL, NULL, seconds))
		t_fail("%s: syndrome %#x, PSN %#x", what, h.syndrome, h.psn);
}

/* All has come: it is acknowledged, and has the right bytes. */
static void all_came(struct t_ep *e, struct two_mem *m, uint64_t seq)
{
	double end = t_now() + t_slow(SOON);
	struct sp_hdr h = { .op = 0 };

	while (t_now() < end && (h.op != SP_ACK || h.syndrome != SP_SYN_ACK ||
				 h.psn != ((FAKE_PSN + PKTS - 1) & SP_MASK)))
		sp_next(&two.to_a, FAKE_QPN, &h, NULL, NULL, 0.01);
	if (t_now() >= end)
		t_fail("all has come: no ACK");
	t_pat_check("the WRITE", m->va, BYTES, seq, 0);
	t_pat_check("behind it", m->va + BYTES, T_PAGE, GUARD, BYTES);
	t_ep_close(e);
	two_mem_close(m);
	forget_arrived();
}

static void receives_reordered(void)
{
	static const struct t_opt o = OPT;
	struct two_mem m = room(GUARD);
	struct t_ep e;

	/* From the last to the first: each but the last one to arrive is early. */
	fake_open(&e, &o);
	for (unsigned i = PKTS; i--;)
		send_part(&e, &m, i, 11);
	all_came(&e, &m, 11);
}

static void receives_with_gap(void)
{
	static const struct t_opt o = OPT;
	struct two_mem m = room(GUARD);
	struct t_ep e;

	fake_open(&e, &o);
	send_parts(&e, &m, 0, 4, 12);
	send_parts(&e, &m, 5, 9, 12);
	send_parts(&e, &m, 10, PKTS, 12);
	is_asked_for("what is missing", 4);
	t_pat_check("behind the gap", m.va + 4 * MTU, BYTES + T_PAGE - 4 * MTU, GUARD, 4 * MTU);
	/* A second NAK for this gap would use up a retry of a peer that goes back. */
	nothing_is_said("it was asked for already", 0.1);
	send_parts(&e, &m, 4, 5, 12);
	is_asked_for("the next gap", 9);
	send_parts(&e, &m, 9, 10, 12);
	all_came(&e, &m, 12);
}

/* What is sent again to fill a gap is lost in part, too. */
static void receives_gap_in_gap(void)
{
	static const struct t_opt o = OPT;
	struct two_mem m = room(GUARD);
	struct t_ep e;

	fake_open(&e, &o);
	send_parts(&e, &m, 0, 5, 13);
	send_parts(&e, &m, 10, PKTS, 13);
	is_asked_for("what is missing", 5);
	send_parts(&e, &m, 5, 7, 13);
	send_parts(&e, &m, 8, 10, 13);
	is_asked_for("what is missing still", 7);
	send_parts(&e, &m, 7, 8, 13);
	all_came(&e, &m, 13);
}

/* A peer that sends only the packet that it was asked for: each of a long gap is asked for. */
static void receives_one_by_one(void)
{
	static const struct t_opt o = OPT;
	struct two_mem m = room(GUARD);
	struct t_ep e;

	fake_open(&e, &o);
	send_parts(&e, &m, 0, 3, 18);
	send_parts(&e, &m, 17, PKTS, 18);
	for (unsigned i = 3; i < 17; i++) {
		is_asked_for("the next packet of the gap", i);
		send_parts(&e, &m, i, i + 1, 18);
	}
	all_came(&e, &m, 18);
}

/*
 * A packet from nowhere comes early on an idle connection. What is missing before it never comes,
 * and is not asked for for ever. A packet that gets lost later is asked for all the same.
 */
static void receives_after_stray(void)
{
	static const struct t_opt o = OPT;
	struct two_mem m = room(GUARD);
	unsigned naks = 0;
	struct sp_hdr h;
	struct t_ep e;

	fake_open(&e, &o);
	send_parts(&e, &m, 9, 10, EVIL);
	while (sp_next(&two.to_a, FAKE_QPN, &h, NULL, NULL, t_slow(0.6)))
		naks++;
	if (naks != 1)
		t_fail("%u NAKs for a packet from nowhere", naks);
	send_parts(&e, &m, 1, PKTS, 19);
	is_asked_for("what is lost", 0);
	send_parts(&e, &m, 0, 1, 19);
	all_came(&e, &m, 19);
}

/*
 * A peer that goes back has sent some more packets when the NAK reaches it. It must not be taken
 * for one that sends only what is missing, which may be asked for the same packet more than once.
 */
static void receives_from_go_back(void)
{
	static const struct t_opt o = OPT;
	struct two_mem m = room(GUARD);
	struct t_ep e;

	fake_open(&e, &o);
	send_parts(&e, &m, 0, 5, 14);
	send_parts(&e, &m, 6, 10, 14);
	is_asked_for("what is missing", 5);
	send_parts(&e, &m, 10, 13, 14);
	send_parts(&e, &m, 5, 15, 14);
	send_parts(&e, &m, 16, PKTS, 14);
	is_asked_for("what is missing the next time", 15);
	nothing_is_said("it was asked for already", 0.3);
	send_parts(&e, &m, 15, PKTS, 14);
	all_came(&e, &m, 14);
}

/*
 * The second message has no receive. After the RNR NAK for it all comes again, so what is missing
 * behind it, which was seen while the first one waited for memory, is not asked for.
 */
static void receives_not_ready(void)
{
	static const struct t_opt o = OPT;
	bool rnr = false;
	struct sp_hdr h;
	struct t_gap g;
	struct t_ep e;

	t_gap_open(&g, two.a->pd, 1);
	fake_open(&e, &o);
	t_recv_one(&e, g.va, T_PAGE, g.mr->lkey, 1);
	t_pat_fill(payload, 100, 15, 0);
	for (unsigned i = 0; i < 3; i++)
		fake_send(&e, (struct sp_hdr){ .op = SP_SEND_ONLY, .ackreq = true,
					       .psn = FAKE_PSN + (i < 2 ? i : 1000) }, payload,
			  100);
	if (!t_gap_asked(&g, t_limit))
		t_fail("the receive buffer was not asked for");
	t_gap_serve(&g, 0, GUARD);
	while (sp_next(&two.to_a, FAKE_QPN, &h, NULL, NULL, t_slow(0.1))) {
		rnr |= (h.syndrome & 0xe0) == SP_SYN_RNR;
		if (h.syndrome == SP_SYN_NAK)
			t_fail("PSN %#x is asked for, but all comes again", h.psn);
	}
	if (!rnr)
		t_fail("no RNR NAK");
	t_ep_close(&e);
	t_gap_close(&g);
	forget_arrived();
}

/* Response @i to a READ request that asks for [first, last]. */
static void response(struct t_ep *e, uint32_t psn, unsigned i, unsigned first, unsigned last,
		     uint64_t seq)
{
	uint8_t op = i > first ? (i == last ? SP_READ_LAST : SP_READ_MIDDLE) :
				 (i == last ? SP_READ_ONLY : SP_READ_FIRST);

	t_pat_fill(payload, MTU, seq, (uint64_t)i * MTU);
	fake_send(e, (struct sp_hdr){ .op = op, .psn = psn + i, .syndrome = SP_SYN_ACK }, payload,
		  MTU);
}

/* Responses of a READ from the last to the first; then some only, and the others when asked. */
static void reads(void)
{
	static const struct t_opt o = OPT;
	struct two_mem m = room(GUARD);
	struct sp_hdr h;
	struct t_ep e;

	fake_open(&e, &o);
	for (int lost = 0; lost < 2; lost++) {
		uint32_t psn = (e.o.psn + (unsigned)lost * PKTS) & SP_MASK;
		uint64_t seq = 21 + (unsigned)lost;

		t_context("%s", lost ? "responses 3 to 5 are lost" : "the last one comes first");
		if (t_post_one(&e, IBV_WR_RDMA_READ, m.va, BYTES, m.mr->lkey, 0x1000, 0x100, seq))
			t_die("ibv_post_send");
		if (!fake_next("a READ", &h, NULL, NULL))
			break;
		if (h.op != SP_READ_REQ || h.psn != psn || h.dma_len != BYTES)
			t_fail("operation %#x, PSN %#x, %u bytes", h.op, h.psn, h.dma_len);
		for (unsigned i = 0; i < PKTS; i++)
			if (!lost)
				response(&e, psn, PKTS - 1 - i, 0, PKTS - 1, seq);
			else if (i < 3 || i > 5)
				response(&e, psn, i, 0, PKTS - 1, seq);
		if (lost && fake_next("what is missing is asked for", &h, NULL, NULL)) {
			if (h.op != SP_READ_REQ || h.psn != ((psn + 3) & SP_MASK) ||
			    h.va != 0x1000 + 3 * MTU || h.dma_len != 3 * MTU)
				t_fail("operation %#x, PSN %#x, address %#llx, %u bytes", h.op,
				       h.psn, (unsigned long long)h.va, h.dma_len);
			for (unsigned i = 3; i < 6; i++)
				response(&e, psn, i, 3, 5, seq);
		}
		t_expect("the READ", e.scq, IBV_WC_SUCCESS, NULL);
		t_pat_check("the READ", m.va, BYTES, seq, 0);
		t_pat_check("behind it", m.va + BYTES, T_PAGE, GUARD, BYTES);
		/* If sending them took more than a millisecond, they were asked for. */
		forget_arrived();
	}
	t_ep_close(&e);
	two_mem_close(&m);
}

/* Each time that responses are asked for, only the first of them arrives. */
static void reads_one_by_one(void)
{
	static const struct t_opt o = OPT;
	struct two_mem m = room(GUARD);
	struct sp_hdr h;
	struct t_ep e;
	bool got;

	fake_open(&e, &o);
	if (t_post_one(&e, IBV_WR_RDMA_READ, m.va, BYTES, m.mr->lkey, 0x1000, 0x100, 1))
		t_die("ibv_post_send");
	fake_next("a READ", &h, NULL, NULL);
	for (unsigned i = 0; i < PKTS; i++)
		if (i < 3 || i > 11)
			response(&e, e.o.psn, i, 0, PKTS - 1, 23);
	for (unsigned i = 3; i <= 11; i++) {
		/* If this is slow, it was asked more than once for what it has sent by now. */
		do
			got = fake_next("what is missing still is asked for", &h, NULL, NULL);
		while (got && ((e.o.psn + i - h.psn) & SP_MASK) - 1 < PKTS);
		if (!got)
			break;
		if (h.op != SP_READ_REQ || h.psn != ((e.o.psn + i) & SP_MASK) ||
		    h.dma_len != (12 - i) * MTU)
			t_fail("operation %#x, PSN %#x, %u bytes", h.op, h.psn, h.dma_len);
		response(&e, e.o.psn, i, i, 11, 23);
	}
	t_expect("the READ", e.scq, IBV_WC_SUCCESS, NULL);
	t_pat_check("the READ", m.va, BYTES, 23, 0);
	t_pat_check("behind it", m.va + BYTES, T_PAGE, GUARD, BYTES);
	t_ep_close(&e);
	two_mem_close(&m);
	forget_arrived();
}

/* ---- congestion ---- */

/* Packets of a message that arrive before one is acknowledged; @from: of the message. */
static unsigned under_way(struct t_ep *e, unsigned from)
{
	unsigned n = from;
	struct sp_hdr h;
	size_t len;

	while (sp_next(&two.to_a, FAKE_QPN, &h, payload, &len, t_slow(0.03)))
		t_pat_check("a packet", payload, len, 7, (uint64_t)n++ * MTU);
	if (n > from && h.psn != ((e->o.psn + n - 1) & SP_MASK))
		t_fail("PSN %#x, expected %#x", h.psn, (e->o.psn + n - 1) & SP_MASK);
	return n - from;
}

/*
 * Each notification halves what the requester has under way, and acknowledgments without one bring
 * it back: of the window of 512 packets, 8 for each round trip.
 */
static void slows_down(void)
{
	static const struct {
		unsigned pkts;	/* arrive; then they are acknowledged, */
		bool cnp;	/* and the network was congested */
	} step[] = {
		{ 20, true },
		{ 10, true }, { 5, true }, { 2, true }, { 1, true }, { 1, true }, { 1, true },
		{ 1, false }, { 9, false }, { 10, false },
		{ 17, false }, { 3, false },
		{ 20, false },
	};
	uint64_t before = t_counter(two.a->name, "rp_cnp_handled");
	static const struct t_opt o = OPT;
	struct two_mem m = room(7);
	unsigned at = 0, cnps = 0;
	struct t_ep e;

	fake_open(&e, &o);
	for (size_t i = 0; i < ARRAY_LEN(step); i++) {
		unsigned n;

		if (!at && t_post_one(&e, IBV_WR_RDMA_WRITE, m.va, BYTES, m.mr->lkey, 0x1000,
				      0x100, i))
			t_die("ibv_post_send");
		n = under_way(&e, at);
		if (n != step[i].pkts) {
			t_fail("step %zu: %u packets are under way, expected %u", i, n,
			       step[i].pkts);
			break;
		}
		at += n;
		cnps += step[i].cnp;
		if (step[i].cnp)
			fake_send(&e, (struct sp_hdr){ .op = SP_CNP, .becn = true }, payload, 16);
		fake_ack(&e, e.o.psn + at - 1, SP_SYN_ACK);
		if (at == PKTS) {
			t_expect("a WRITE", e.scq, IBV_WC_SUCCESS, NULL);
			e.o.psn = (e.o.psn + PKTS) & SP_MASK;
			at = 0;
		}
	}
	if (t_counter(two.a->name, "rp_cnp_handled") != before + cnps)
		t_fail("%u notifications were sent, %llu handled", cnps,
		       (unsigned long long)(t_counter(two.a->name, "rp_cnp_handled") - before));
	t_ep_close(&e);
	two_mem_close(&m);
	forget_arrived();
}

/* Marked requests and responses are answered by a notification, and are as good as others. */
static void notifies(void)
{
	static const struct t_opt o = OPT;
	struct two_mem m = room(GUARD);
	unsigned cnps = 0;
	struct sp_hdr h;
	struct t_ep e;

	fake_open(&e, &o);
	two.to_a.tos = SP_CE;
	send_parts(&e, &m, 0, PKTS, 16);
	two.to_a.tos = 0;
	while (sp_next(&two.to_a, FAKE_QPN, &h, NULL, NULL, 0.1))
		if (h.op == SP_CNP) {
			cnps++;
			if (!h.becn || h.psn || h.qpn != FAKE_QPN)
				t_fail("BECN %d, PSN %#x, QP %#x", h.becn, h.psn, h.qpn);
		}
	if (!cnps || cnps > PKTS)
		t_fail("%u notifications for %u marked packets", cnps, PKTS);
	t_pat_check("the WRITE", m.va, BYTES, 16, 0);
	if (t_post_one(&e, IBV_WR_RDMA_READ, m.va, MTU, m.mr->lkey, 0x1000, 0x100, 1))
		t_die("ibv_post_send");
	if (fake_next("a READ", &h, NULL, NULL)) {
		t_pat_fill(payload, MTU, 17, 0);
		two.to_a.tos = SP_CE;
		fake_send(&e, (struct sp_hdr){ .op = SP_READ_ONLY, .psn = h.psn,
					       .syndrome = SP_SYN_ACK }, payload, MTU);
		two.to_a.tos = 0;
		if (fake_next("a notification", &h, NULL, NULL) && h.op != SP_CNP)
			t_fail("operation %#x for a marked response", h.op);
		t_expect("the READ", e.scq, IBV_WC_SUCCESS, NULL);
		t_pat_check("the READ", m.va, MTU, 17, 0);
	}
	t_ep_close(&e);
	two_mem_close(&m);
	forget_arrived();
}

static const struct two_test tests[] = {
	{ "sends", sends },
	{ "receives_reordered", receives_reordered },
	{ "receives_with_gap", receives_with_gap },
	{ "receives_gap_in_gap", receives_gap_in_gap },
	{ "receives_one_by_one", receives_one_by_one },
	{ "receives_after_stray", receives_after_stray },
	{ "receives_from_go_back", receives_from_go_back },
	{ "receives_not_ready", receives_not_ready },
	{ "reads", reads },
	{ "reads_one_by_one", reads_one_by_one },
	{ "slows_down", slows_down },
	{ "notifies", notifies },
};

int main(int argc, char **argv)
{
	return two_main(argc, argv, "peers", tests, ARRAY_LEN(tests));
}
