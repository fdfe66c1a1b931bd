// SPDX-License-Identifier: BSD-2-Clause
/*
 * kernel/carrier/wire_make.c: two sides make packets and trains of them in turn, on a few CPUs, one
 * by one and in runs, with memory that is short at times; the network frees the trains in any
 * order. A model says which packet may follow in a train, and has the bytes of each.
 */
#include "common.h"
#include "carrier/wire_make.h"
#include "carrier/wire_out.h"
#include "mem/copy.h"

#define SIDES		2
#define CPUS		3
#define NETWORK		24	/* trains in flight */
#define TRAIN_BYTES	65507	/* a datagram over IPv4 */

/* What a train is to be. */
struct model {
	struct sk_buff *skb;
	u32 pkts, total, size, last, next_psn;
	bool shorter, ask;
	enum prxe_account account;
	u8 bytes[TRAIN_BYTES];
};

static struct side {
	struct prxe_maker make;
	struct model *model;	/* of its train */
	/* The packets that it likes to make now. */
	u8 opcode;
	u32 payload_len;
	enum prxe_account account;
} sides[SIDES], *now;

static struct model *network[NETWORK];
static struct prxe_qp *qp;
static struct rnd r;
static u32 stream;		/* of the next payload */
static struct {
	u32 pkts, trains, runs, full, merged, no_memory, small_blocks, frags_used_up, waits, freed;
} seen;
static u32 counted, out;	/* prxe_wire_count() */

static void skb_gone(struct sk_buff *skb)
{
	out -= (unsigned long)skb_shinfo(skb)->destructor_arg;
}

void prxe_wire_count(struct prxe_qp *q, struct sk_buff *skb, bool resp, u32 pkts, u32 more)
{
	assert_ptr_equal(q, qp);
	assert_ptr_equal(skb, now->make.train);
	assert_int_equal(pkts, PRXE_TX(skb)->pkts);
	assert_int_equal(resp, PRXE_TX(skb)->account == PRXE_ACCOUNT_RESP);
	if (pkts == more)
		assert_null(skb->destructor);
	skb->destructor = skb_gone;
	skb_shinfo(skb)->destructor_arg = (void *)(unsigned long)pkts;
	out += more;
	counted += more;
}

/* ---- memory that is short ---- */

static u32 fail_for;		/* so many allocations fail; the first one after fail_at */
static u32 fail_at;
static u32 pages_asked;

static void on_alloc(gfp_t gfp)
{
	pages_asked += !!(gfp & GFP_NOWAIT);
	if (fail_at) {
		fail_at--;
	} else if (fail_for) {
		fail_for--;
		shim_alloc_fails = 1;
	}
}

static void maybe_short(void)
{
	fail_at = 0;
	fail_for = 0;
	if (!rnd_below(&r, 6)) {
		fail_at = rnd_below(&r, 3);
		fail_for = rnd_below(&r, 2) ? 1 : rnd_below(&r, 8);
	}
}

static void plenty(void)
{
	fail_at = 0;
	fail_for = 0;
}

/* ---- trains ---- */

static void is_as_modelled(const struct model *m)
{
	u8 *bytes = malloc(m->total);

	assert_int_equal(m->skb->len, m->total);
	assert_int_equal(skb_copy_bits(m->skb, 0, bytes, m->total), 0);
	assert_memory_equal(bytes, m->bytes, m->total);
	free(bytes);
}

static void check(const struct side *s)
{
	const struct model *m = s->model;
	const struct prxe_tx *tx;

	if (!m->pkts) {
		assert_null(s->make.train);
		assert_false(prxe_make_full(&s->make));
		return;
	}
	assert_ptr_equal(m->skb, s->make.train);
	tx = PRXE_TX(m->skb);
	assert_int_equal(tx->pkts, m->pkts);
	assert_int_equal(tx->total, m->total);
	assert_int_equal(tx->size, m->size);
	assert_int_equal(tx->next_psn, m->next_psn);
	assert_int_equal(tx->account, m->account);
	assert_int_equal(tx->closed, m->shorter);
	assert_int_equal(tx->ask, m->ask);
	assert_memory_equal(tx->last, m->bytes + m->last, m->total - m->last);
	assert_int_equal(prxe_make_full(&s->make), m->total + m->size > TRAIN_BYTES);
	seen.full += prxe_make_full(&s->make);
	/* The network puts its headers in front. */
	assert_true(m->skb->data - m->skb->head >= PRXE_HEADROOM);
}

static void network_frees(struct model **slot)
{
	if (!*slot)
		return;
	is_as_modelled(*slot);		/* nobody has written there since */
	kfree_skb((*slot)->skb);
	free(*slot);
	*slot = NULL;
	seen.freed++;
}

static void leave(struct side *s)
{
	struct model **slot = &network[rnd_below(&r, NETWORK)];
	struct sk_buff *skb = prxe_make_take(&s->make);

	assert_null(s->make.train);
	if (!s->model->pkts) {
		assert_null(skb);
		return;
	}
	assert_ptr_equal(skb, s->model->skb);
	is_as_modelled(s->model);
	seen.trains++;
	seen.merged += skb_shinfo(skb)->nr_frags && skb_shinfo(skb)->nr_frags < s->model->pkts;
	network_frees(slot);
	*slot = s->model;
	s->model = calloc(1, sizeof(*s->model));
}

static u32 hdr_len(u8 opcode)
{
	u8 buf[PRXE_MAX_HDR_BYTES];
	struct prxe_pkt pkt = { .opcode = opcode };

	return prxe_pkt_build(&pkt, buf);
}

static u32 pkt_bytes(const struct prxe_pkt *pkt)
{
	return hdr_len(pkt->opcode) + (pkt->payload_len + 3) / 4 * 4 + 4;
}

static bool may_follow(const struct model *m, const struct prxe_pkt *pkt,
		       enum prxe_account account, u32 max)
{
	u32 bytes = pkt_bytes(pkt);

	if (!m->pkts)
		return true;
	if (m->shorter || m->pkts >= max || bytes > m->size || m->account != account ||
	    m->next_psn != pkt->psn || m->total + bytes > TRAIN_BYTES)
		return false;
	/* It might, and there is no room. */
	if (skb_is_nonlinear(m->skb)) {
		seen.frags_used_up += m->skb->shared.nr_frags == MAX_SKB_FRAGS;
		return m->skb->shared.nr_frags < MAX_SKB_FRAGS;
	}
	return skb_tailroom(m->skb) >= (int)bytes;
}

/* The packet has become the last one of the train. Its payload is pattern(@id). */
static void model_add(struct side *s, const struct prxe_pkt *pkt, u32 id,
		      enum prxe_account account, bool ask)
{
	u32 bytes = pkt_bytes(pkt), n, i;
	struct prxe_pkt copy = *pkt;
	struct model *m = s->model;
	u8 *p = m->bytes + m->total, hdr[PRXE_MAX_HDR_BYTES];

	assert_true(m->total + bytes <= TRAIN_BYTES && m->pkts < PRXE_TRAIN_MAX && !m->shorter);
	n = prxe_pkt_build(&copy, hdr);
	memcpy(p, hdr, n);
	for (i = 0; i < pkt->payload_len; i++)
		p[n + i] = pattern(id, i);
	memset(p + n + i, 0, bytes - n - i);
	if (!m->pkts)
		m->size = bytes;
	m->skb = s->make.train;
	m->pkts++;
	m->last = m->total;
	m->total += bytes;
	m->next_psn = (pkt->psn + 1) & 0xffffff;
	m->shorter = bytes < m->size;
	m->account = account;
	m->ask = ask;
	seen.pkts++;
}

/* ---- packets ---- */

static const u8 opcodes[] = {
	PRXE_SEND_FIRST, PRXE_SEND_MIDDLE, PRXE_SEND_LAST, PRXE_SEND_LAST_IMM, PRXE_SEND_ONLY,
	PRXE_WRITE_FIRST, PRXE_WRITE_MIDDLE, PRXE_WRITE_ONLY_IMM, PRXE_READ_FIRST,
	PRXE_READ_MIDDLE, PRXE_READ_ONLY, PRXE_SEND_LAST_INV, PRXE_UC | PRXE_WRITE_ONLY,
	PRXE_UD | PRXE_SEND_ONLY_IMM,
};

static void like_something_else(struct side *s)
{
	s->opcode = opcodes[rnd_below(&r, ARRAY_SIZE(opcodes))];
	s->account = 1 + rnd_below(&r, 2);
	switch (rnd_below(&r, 8)) {
	case 0:
		s->opcode = PRXE_ACKNOWLEDGE;
		s->account = PRXE_ACCOUNT_NONE;
		s->payload_len = 0;
		break;
	case 1:
		s->payload_len = rnd_below(&r, PRXE_SMALL + 1);
		break;
	case 2:
		s->payload_len = 1 + rnd_below(&r, 4096);
		break;
	default:	/* an MTU */
		s->opcode = rnd_below(&r, 2) ? PRXE_SEND_MIDDLE : PRXE_READ_MIDDLE;
		s->payload_len = 256 << rnd_below(&r, 5);
	}
}

static struct prxe_pkt some_pkt(struct side *s)
{
	struct prxe_pkt pkt = {
		.opcode = s->opcode, .payload_len = s->payload_len,
		.se = rnd_below(&r, 2), .ackreq = rnd_below(&r, 2), .pkey = 0xffff,
		.qpn = rnd64(&r) & 0xffffff, .psn = s->model->next_psn,
		.va = rnd64(&r), .rkey = rnd64(&r), .dma_len = rnd64(&r), .compare = rnd64(&r),
		.swap_add = rnd64(&r), .syndrome = rnd64(&r), .msn = rnd64(&r) & 0xffffff,
		.orig = rnd64(&r), .imm = rnd64(&r), .ieth = rnd64(&r), .feth = 1,
		.qkey = rnd64(&r), .src_qp = rnd64(&r) & 0xffffff,
	};

	if (!rnd_below(&r, 60))		/* not the next one: a retransmission */
		pkt.psn = rnd_below(&r, 2) ? (pkt.psn - 1) & 0xffffff : rnd64(&r) & 0xffffff;
	if (!rnd_below(&r, 40))
		pkt.payload_len = rnd_below(&r, pkt.payload_len + 1);
	return pkt;
}

static enum prxe_account some_account(struct side *s)
{
	return rnd_below(&r, 60) ? s->account : 1 + rnd_below(&r, 2);
}

static u32 some_max(void)
{
	return rnd_below(&r, 8) ? PRXE_TRAIN_MAX : 1 + rnd_below(&r, PRXE_TRAIN_MAX);
}

/* Add a packet, whose payload, pattern(@id), is there; if it does not fit, the train leaves. */
static void add(struct side *s, struct prxe_pkt *pkt, u32 id, enum prxe_account account)
{
	bool ask = rnd_below(&r, 2), fits = may_follow(s->model, pkt, account, PRXE_TRAIN_MAX);
	u32 max = some_max();

	if (s->make.train)
		assert_int_equal(prxe_make_fits(s->make.train, pkt, account, max),
				 may_follow(s->model, pkt, account, max));
	if (!fits)
		leave(s);
	for (maybe_short();; plenty()) {
		now = s;
		if (prxe_make_add(qp, &s->make, pkt, account, ask))
			break;
		assert_true(s->model->pkts == 0 || s->model->skb == s->make.train);
		check(s);
		seen.no_memory++;
	}
	plenty();
	model_add(s, pkt, id, account, ask);
	check(s);
}

static void something(struct side *s, bool nested);

static void something_else(const struct side *s, bool nested)
{
	u32 other = s - sides ? 0 : 1;

	if (nested)
		return;
	if (!rnd_below(&r, 8))		/* the worker went on elsewhere */
		shim_cpu = rnd_below(&r, CPUS);
	if (!rnd_below(&r, 3))
		something(&sides[other], true);
}

/* An ACK, or what has no payload; also while another packet is being made. */
static void no_payload(struct side *s)
{
	struct prxe_pkt pkt = some_pkt(s);

	pkt.payload_len = 0;
	pkt.opcode = rnd_below(&r, 2) ? PRXE_ACKNOWLEDGE : PRXE_READ_REQUEST;
	add(s, &pkt, 0, rnd_below(&r, 4) ? PRXE_ACCOUNT_NONE : some_account(s));
}

static void one(struct side *s, bool nested)
{
	u32 id = stream++, len, done = 0, i;
	struct prxe_pkt pkt = some_pkt(s);

	len = pkt.payload_len;
	for (maybe_short(); !prxe_make_begin(&s->make, pkt.opcode, len); plenty()) {
		check(s);
		seen.no_memory++;
	}
	plenty();
	seen.small_blocks += s->make.own.page && s->make.own.page->order < 3;
	assert_int_equal(!s->make.at, !len);
	for (i = 0; len && i < 3; i++) {
		u32 upto = i == 2 ? len : done + rnd_below(&r, len - done + 1);

		for (; done < upto; done++)
			s->make.at[done] = pattern(id, done);
		if (!rnd_below(&r, 4)) {	/* a page is missing */
			bool moves = s->make.own.page;

			maybe_short();
			moves &= !fail_for;
			prxe_make_wait(&s->make, pkt.opcode, done);
			plenty();
			/* It keeps no block from being used again. */
			assert_true(!moves || s->make.own.page->order < 3);
			seen.waits++;
		}
		if (!rnd_below(&r, 20)) {	/* a rewind */
			prxe_make_forget(&s->make);
			assert_null(s->make.at);
			return;
		}
		if (!rnd_below(&r, 50))
			no_payload(s);
		something_else(s, nested);
		/* It is still that packet, and has what was written. */
		assert_true(prxe_make_begin(&s->make, pkt.opcode, len));
	}
	/* The ACK took the PSN. */
	if (rnd_below(&r, 60))
		pkt.psn = s->model->next_psn;
	add(s, &pkt, id, some_account(s));
	assert_null(s->make.at);
	assert_null(s->make.own.page);
}

static void run(struct side *s, bool nested)
{
	u8 opcode = rnd_below(&r, 2) ? PRXE_SEND_MIDDLE : PRXE_READ_MIDDLE;
	u32 bits = 8 + rnd_below(&r, 5), bytes, room, want, num, got, max = some_max(), i, k;
	enum prxe_account account = some_account(s);
	bool ask = rnd_below(&r, 2), before = s->make.train;
	struct prxe_pkt pkt = some_pkt(s);
	struct prxe_parts parts;
	struct prxe_cut cut;
	u32 id = stream;

	if (is_power_of_2(s->payload_len) && s->payload_len >= 256) {
		bits = order_base_2(s->payload_len);
		opcode = s->opcode == PRXE_READ_MIDDLE ? s->opcode : opcode;
	}
	pkt.opcode = opcode;
	pkt.ackreq = 0;		/* who asks is made alone */
	pkt.payload_len = 1 << bits;
	bytes = pkt_bytes(&pkt);

	want = min(max, TRAIN_BYTES / bytes);
	assert_int_equal(prxe_make_run_room(NULL, &pkt, account, max), want);
	if (before) {
		if (!may_follow(s->model, &pkt, account, max) || bytes != s->model->size)
			want = 0;
		else
			want = min(max - s->model->pkts, (TRAIN_BYTES - s->model->total) / bytes);
		room = prxe_make_run_room(s->make.train, &pkt, account, max);
		assert_int_equal(room, want);
		if (!room) {
			leave(s);
			want = prxe_make_run_room(NULL, &pkt, account, max);
		}
	}
	want = rnd_below(&r, 3) ? want : 1 + rnd_below(&r, want);

	maybe_short();
	num = prxe_make_run_begin(opcode, bits, want, &parts, &cut);
	plenty();
	if (!num) {
		seen.no_memory++;
		return;
	}
	assert_true(num <= want);
	assert_int_equal(parts.bits, bits);
	assert_int_equal(parts.step, bytes);
	for (i = 0; i < num; i++)	/* all of it may be written to */
		memset(parts.at + i * parts.step, 0x55, 1 << bits);
	/* A page is missing: some packets are complete. */
	got = rnd_below(&r, 3) ? num : rnd_below(&r, num + 1);
	for (i = 0; i < got; i++)
		for (k = 0; k < pkt.payload_len; k++)
			parts.at[i * parts.step + k] = pattern(id + i, k);
	stream += got;
	something_else(s, nested);

	maybe_short();
	now = s;
	if (!prxe_make_run_end(qp, &s->make, &pkt, got, &cut, account, ask)) {
		plenty();
		assert_true(got > 0 && !s->make.train);
		check(s);
		seen.no_memory++;
		return;
	}
	plenty();
	for (i = 0; i < got; i++) {
		model_add(s, &pkt, id + i, account, ask);
		pkt.psn = (pkt.psn + 1) & 0xffffff;
	}
	check(s);
	seen.runs += got > 1;
}

static void something(struct side *s, bool nested)
{
	if (!rnd_below(&r, 60))
		like_something_else(s);
	switch (rnd_below(&r, 40)) {
	case 0:
		no_payload(s);
		break;
	case 1 ... 6:
		if (!s->make.at) {
			run(s, nested);
			break;
		}
		fallthrough;
	default:
		if (!s->make.at)
			one(s, nested);
	}
	if (!rnd_below(&r, 50))
		leave(s);
	if (!rnd_below(&r, 8))
		network_frees(&network[rnd_below(&r, NETWORK)]);
}

static void trains(void **state)
{
	u32 i;

	r = rnd_start(140);
	shim_on_alloc = on_alloc;
	qp = calloc(1, sizeof(*qp));
	local_bh_disable();
	for (i = 0; i < SIDES; i++) {
		sides[i].model = calloc(1, sizeof(struct model));
		like_something_else(&sides[i]);
	}
	for (int round = 0; round < 60000; round++) {
		struct side *s = &sides[rnd_below(&r, SIDES)];

		if (!s->model->pkts)	/* around the end of the PSNs */
			s->model->next_psn = rnd_below(&r, 3) ? rnd64(&r) & 0xffffff :
								0xffffe0 + rnd_below(&r, 32);
		shim_cpu = rnd_below(&r, 8) ? shim_cpu : rnd_below(&r, CPUS);
		something(s, false);
	}
	for (i = 0; i < SIDES; i++) {
		leave(&sides[i]);
		free(sides[i].model);
		/* What was begun is dropped with the rest. */
		assert_true(prxe_make_begin(&sides[i].make, PRXE_SEND_MIDDLE, 1024));
		prxe_make_drop(&sides[i].make);
		assert_null(sides[i].make.own.page);
		prxe_make_drop(&sides[i].make);
	}
	for (i = 0; i < NETWORK; i++)
		network_frees(&network[i]);
	local_bh_enable();
	shim_on_alloc = NULL;
	shim_cpu = 0;
	free(qp);
	printf("%u packets in %u trains; %u runs, %u full, %u of few fragments, %u with as many as "
	       "there may be;\n%u without memory, %u in small blocks, %u waits\n", seen.pkts,
	       seen.trains, seen.runs, seen.full, seen.merged, seen.frags_used_up, seen.no_memory,
	       seen.small_blocks, seen.waits);
	assert_int_equal(out, 0);
	assert_true(counted > 10000 && seen.trains > 5000 && seen.runs > 3000 && seen.full > 100);
	assert_true(seen.frags_used_up > 10 && seen.no_memory > 500 && seen.small_blocks > 10);
}

/* A train that has been freed leaves its memory to others, so that little is needed. */
static void again(void **state)
{
	struct prxe_maker make = { .train = NULL };
	struct prxe_pkt pkt = { .opcode = PRXE_WRITE_MIDDLE, .payload_len = 4096 };
	struct sk_buff *held[3] = { NULL };

	r = rnd_start(141);
	qp = calloc(1, sizeof(*qp));
	shim_on_alloc = on_alloc;
	pages_asked = 0;
	local_bh_disable();
	for (int i = 0; i < 1000; i++) {
		u32 n = 1 + rnd_below(&r, 7), slot = i % ARRAY_SIZE(held), have, no;
		struct prxe_cut cut, unused;
		struct prxe_parts parts;

		/* No packet is complete: the memory is there for the next one. */
		prxe_make_run_begin(pkt.opcode, 12, 7, &parts, &unused);
		assert_true(prxe_make_run_end(qp, &make, &pkt, 0, &unused, PRXE_ACCOUNT_NONE,
					      false));
		assert_null(make.train);
		have = prxe_make_run_begin(pkt.opcode, 12, 7, &parts, &cut);
		assert_in_range(have, 1, 7);
		assert_ptr_equal(cut.page, unused.page);
		assert_int_equal(cut.off, unused.off);
		n = min(n, have);
		for (no = 0; no < n; no++)
			memset(parts.at + no * parts.step, i, 4096);
		/* No account, so that prxe_wire_count() is not called. */
		assert_true(prxe_make_run_end(qp, &make, &pkt, n, &cut, PRXE_ACCOUNT_NONE, false));
		kfree_skb(held[slot]);
		held[slot] = prxe_make_take(&make);
		assert_int_equal(held[slot]->len, n * (4096 + 16));
	}
	assert_in_range(pages_asked, 0, 8);
	for (u32 i = 0; i < ARRAY_SIZE(held); i++)
		kfree_skb(held[i]);
	local_bh_enable();
	shim_on_alloc = NULL;
	free(qp);
}

/* The last one: the module goes, and all memory with it. */
static void unload(void **state)
{
	prxe_make_exit();
	assert_int_equal(shim_pages_out, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(trains),
		cmocka_unit_test(again),
		cmocka_unit_test(unload),
	};

	RUN_TESTS(tests);
}
