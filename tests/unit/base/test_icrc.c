// SPDX-License-Identifier: BSD-2-Clause
/*
 * kernel/base/icrc.c against a CRC computed bit by bit over the masked packet, as IBTA annex
 * A17.3.3 words it.
 */
#include "packets.h"
#include "base/icrc.h"

/*
 * The polynomial is 0x04c11db7. Bits of a byte come least significant first; it begins with ones;
 * the result is inverted, and sent least significant byte first.
 */
static u32 bits;
static void crc_bit(bool b)
{
	bool out = bits >> 31 != b;

	bits = bits << 1 ^ (out ? 0x04c11db7 : 0);
}

static void crc_bytes(const u8 *p, size_t n)
{
	for (; n--; p++)
		for (int i = 0; i < 8; i++)
			crc_bit(*p >> i & 1);
}

/*
 * @ip: IP header, UDP header, BTH and what follows it up to the ICRC; @n bytes. What routers change
 * counts as ones.
 */
static u32 reference(const u8 *ip, bool v6, size_t n)
{
	static const u8 ones[8] = { 255, 255, 255, 255, 255, 255, 255, 255 };
	size_t h = v6 ? 40 : 20;
	u8 *p = malloc(n);
	u32 out = 0;

	memcpy(p, ip, n);
	if (v6) {
		p[0] |= 0x0f;				/* traffic class and flow label */
		p[1] = p[2] = p[3] = 0xff;
		p[7] = 0xff;				/* hop limit */
	} else {
		p[1] = 0xff;				/* type of service */
		p[8] = 0xff;				/* time to live */
		p[10] = p[11] = 0xff;			/* header checksum */
	}
	p[h + 6] = p[h + 7] = 0xff;			/* UDP checksum */
	p[h + 8 + 4] = 0xff;				/* BTH resv8a */
	bits = 0xffffffff;
	crc_bytes(ones, 8);				/* the LRH that is not there */
	crc_bytes(p, n);
	/* The first bit sent is the least significant of the first byte. */
	for (int i = 0; i < 32; i++)
		out |= (~bits >> (31 - i) & 1) << i;
	free(p);
	return out;
}

#define MAX_PKT 9216
static u8 pkt[MAX_PKT];		/* from the IP header on */

static void setup_paths(int shash)
{
	shim_shash = shash;
	shim_crc32_fast = false;
	assert_int_equal(prxe_icrc_init(), 0);
}

static size_t some_packet(struct rnd *r, bool v6, u32 payload)
{
	size_t n = (v6 ? 40 : 20) + 8 + 12 + payload;

	for (size_t i = 0; i < n; i++)
		pkt[i] = pattern(payload * 2 + v6, i);
	pkt[0] = v6 ? 0x65 : 0x45;
	(void)r;
	return n;
}

static void against_reference(void **state)
{
	struct rnd r = rnd_start(10);

	for (int shash = 0; shash < 3; shash++) {
		setup_paths(shash);
		for (u32 len = 0; len < 5000; len += len < 200 ? 1 : 1 + rnd_below(&r, 200))
			for (int v6 = 0; v6 < 2; v6++) {
				size_t n = some_packet(&r, v6, len), h = v6 ? 48 : 28;
				u8 *copy = malloc(n);	/* exactly */
				u32 icrc;

				memcpy(copy, pkt, n);
				icrc = prxe_icrc(copy, v6, copy + h, n - h);
				assert_int_equal(icrc, reference(pkt, v6, n));
				assert_memory_equal(copy, pkt, n);
				free(copy);
			}
		prxe_icrc_exit();
	}
}

/* The CRC itself, at every alignment, whichever way it is computed. */
static void crc(void **state)
{
	struct rnd r = rnd_start(11);
	u8 buf[600];

	setup_paths(0);
	/* The check value of CRC-32: "123456789" gives 0xcbf43926. */
	assert_int_equal(~prxe_crc32(0xffffffff, "123456789", 9), 0xcbf43926);
	assert_int_equal(prxe_crc32(0x12345678, NULL, 0), 0x12345678);
	rnd_fill(&r, buf, sizeof(buf));
	for (int i = 0; i < 20000; i++) {
		u32 off = rnd_below(&r, 16), len = rnd_below(&r, sizeof(buf) - 15);
		u32 cut = rnd_below(&r, len + 1);
		u32 begin = rnd64(&r), whole = prxe_crc32(begin, buf + off, len);
		u32 part = prxe_crc32(begin, buf + off, cut);

		assert_int_equal(whole, crc32_le(begin, buf + off, len));
		assert_int_equal(whole, prxe_crc32(part, buf + off + cut, len - cut));
	}
	prxe_icrc_exit();
}

/*
 * Captured on hardware (ConnectX-4 Lx, a congestion notification; IPv4, with BECN set in the byte
 * that counts as ones).
 */
static void captured(void **state)
{
	static const u8 cnp[] = {
		0x45, 0xc2, 0x00, 0x3c, 0x71, 0x8c, 0x40, 0x00, 0x40, 0x11, 0x91, 0x61,
		0x0a, 0x00, 0x11, 0x01, 0x0a, 0x00, 0x12, 0x01, 0x00, 0x00, 0x12, 0xb7,
		0x00, 0x28, 0x00, 0x00, 0x81, 0x00, 0xff, 0xff, 0x40, 0x00, 0x01, 0x18,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x82, 0xfd, 0x00, 0x2a,
	};
	u8 wire[4];

	setup_paths(0);
	put_unaligned_le32(prxe_icrc(cnp, false, cnp + 28, 28), wire);
	assert_memory_equal(wire, cnp + 56, 4);
	put_unaligned_le32(reference(cnp, false, 56), wire);
	assert_memory_equal(wire, cnp + 56, 4);
	prxe_icrc_exit();
}

/* What routers may change does not change the ICRC; any other bit does. */
static void which_bits_count(void **state)
{
	struct rnd r = rnd_start(12);

	setup_paths(0);
	for (int v6 = 0; v6 < 2; v6++) {
		size_t n = some_packet(&r, v6, 40), h = v6 ? 48 : 28;
		u32 good = prxe_icrc(pkt, v6, pkt + h, n - h);

		for (size_t bit = 0; bit < n * 8; bit++) {
			size_t at = bit / 8;
			bool masked = at == h - 2 || at == h - 1 || at == h + 4;

			if (v6)
				masked |= (at == 0 && bit % 8 < 4) || (at >= 1 && at <= 3) ||
					  at == 7;
			else
				masked |= at == 1 || at == 8 || at == 10 || at == 11;
			pkt[at] ^= 1 << bit % 8;
			assert_int_equal(prxe_icrc(pkt, v6, pkt + h, n - h) == good, masked);
			pkt[at] ^= 1 << bit % 8;
		}
	}
	prxe_icrc_exit();
}

/* The only packet of its skb. */
static bool good(const struct sk_buff *skb, bool v6)
{
	enum prxe_id_rule rule = PRXE_ID_UNKNOWN;
	bool ok = prxe_icrc_good(skb, v6, 0, skb->len, &rule);

	assert_int_equal(rule, PRXE_ID_UNKNOWN);	/* nothing to learn from it */
	return ok;
}

/* Received packets, however the stack keeps them. */
static void received(void **state)
{
	struct rnd r = rnd_start(13);

	setup_paths(0);
	for (int round = 0; round < 3000; round++) {
		bool v6 = rnd_below(&r, 2);
		u32 payload = rnd_below(&r, 3) ? rnd_below(&r, 4200) : rnd_below(&r, 20);
		size_t h = v6 ? 48 : 28, n = some_packet(&r, v6, payload);
		struct sk_buff *skb;
		u8 *linear;

		put_unaligned_le32(reference(pkt, v6, n), pkt + n);
		n += 4;
		linear = some_copy(pkt, h);
		skb = some_skb(&r, pkt + h, n - h, -1, rnd_below(&r, 3));
		skb->network = linear;
		assert_true(good(skb, v6));
		/* One bit of the ICRC or of what is behind IP: it is not. */
		for (int bad = 0; bad < 8; bad++) {
			u32 at = bad ? rnd_below(&r, n - h) : n - h - 1;
			u8 *byte = some_skb_byte(skb, at);

			if (at == 4)
				continue;
			*byte ^= 1 << bad;
			assert_false(good(skb, v6));
			*byte ^= 1 << bad;
		}
		/* The IPv4 ID is the header's, and its lengths count as well. */
		linear[v6 ? 5 : 2 + rnd_below(&r, 4)] ^= 4;
		assert_false(good(skb, v6));
		some_skb_is(skb, pkt + h, n - h);
		some_skb_free(skb);
		free(linear);
	}
	prxe_icrc_exit();
}

/* The lengths are written, each where it belongs, and nothing else. */
static void lengths(void **state)
{
	struct rnd r = rnd_start(14);

	for (int round = 0; round < 2000; round++) {
		bool v6 = round & 1;
		u32 h = v6 ? 40 : 20, bytes = 16 + rnd_below(&r, 65507 - 15);
		u8 want[48], *now;

		rnd_fill(&r, want, sizeof(want));
		now = some_copy(want, h + 8);
		prxe_icrc_set_len(now, v6, bytes);
		want[v6 ? 4 : 2] = (bytes + (v6 ? 8 : 28)) >> 8;
		want[v6 ? 5 : 3] = bytes + (v6 ? 8 : 28);
		want[h + 4] = (bytes + 8) >> 8;
		want[h + 5] = bytes + 8;
		assert_memory_equal(now, want, h + 8);
		free(now);
	}
}

/* ---- trains: an skb of several packets, with the header of the first, but for the lengths ---- */

#define TRAIN_MAX	64
static struct train {
	bool v6;
	u32 num, size, total;
	u32 begin[TRAIN_MAX + 1];	/* of each packet, and the end */
	u32 psn[TRAIN_MAX];
	u16 id[TRAIN_MAX];		/* of each packet when it was made */
	u8 all[65536];
	u8 *header;
	struct sk_buff *skb;
} t;

static u16 id_by_rule(enum prxe_id_rule rule, u32 i)
{
	return rule == PRXE_ID_PSN ? t.psn[i] : rule == PRXE_ID_SAME ? t.id[0] : t.id[0] + i;
}

/* @rule: PRXE_ID_UNKNOWN for each packet another one. */
static void train_make(struct rnd *r, bool v6, enum prxe_id_rule rule, u32 stream)
{
	u32 h = v6 ? 48 : 28, most = rnd_below(r, 10) ? 300 : 4200, last, i;

	t.v6 = v6;
	t.size = 16 + rnd_below(r, most);
	t.num = min(1 + rnd_below(r, rnd_below(r, 3) ? 8 : TRAIN_MAX), 65507 / t.size);
	last = rnd_below(r, 2) ? t.size : 16 + rnd_below(r, t.size - 15);
	t.total = (t.num - 1) * t.size + last;

	/* At the end of what the ID counts, or of what the PSN counts; PSNs that jump. */
	t.psn[0] = rnd64(r) & 0xffffff;
	if (rnd_below(r, 2))
		t.psn[0] = (t.psn[0] | (rnd_below(r, 2) ? 0xfff8 : 0xfffff8)) & 0xffffff;
	for (i = 1; i < t.num; i++)
		t.psn[i] = (t.psn[i - 1] + 1) & 0xffffff;
	if (!rnd_below(r, 4))
		t.psn[rnd_below(r, t.num)] = rnd64(r) & 0xffffff;
	t.id[0] = rnd_below(r, 2) ? rnd64(r) : 0xfff8 + rnd_below(r, 8);
	/* Far from the PSNs, so that it is clear which of the rules made an ID. */
	for (i = 0; i < t.num; i++)
		while ((u16)(t.psn[i] - t.id[0]) < 2 * TRAIN_MAX)
			t.psn[i] = (t.psn[i] + 5 * TRAIN_MAX) & 0xffffff;
	if (rule == PRXE_ID_PSN)
		t.id[0] = t.psn[0];
	for (i = 1; i < t.num; i++)
		t.id[i] = id_by_rule(rule ? rule : 1 + rnd_below(r, 3), i);

	for (i = 0; i < h; i++)
		pkt[i] = pattern(stream, i);
	pkt[0] = v6 ? 0x65 : 0x45;
	for (i = 0; i < t.num; i++) {
		u32 n = i == t.num - 1 ? last : t.size, b;

		t.begin[i] = i * t.size;
		pkt[v6 ? 4 : 2] = (n + (v6 ? 8 : 28)) >> 8;
		pkt[v6 ? 5 : 3] = n + (v6 ? 8 : 28);
		pkt[h - 4] = (n + 8) >> 8;
		pkt[h - 3] = n + 8;
		if (!v6) {
			pkt[4] = t.id[i] >> 8;
			pkt[5] = t.id[i];
		}
		for (b = 0; b < n - 4; b++)
			pkt[h + b] = pattern(stream, 100 + t.begin[i] + b);
		put_unaligned_be32(t.psn[i] | (u32)pkt[h + 8] << 24, pkt + h + 8);
		put_unaligned_le32(reference(pkt, v6, h + n - 4), pkt + h + n - 4);
		memcpy(t.all + t.begin[i], pkt + h, n);
	}
	t.begin[t.num] = t.total;

	/* The lengths of all of it, as the stack leaves them. */
	pkt[v6 ? 4 : 2] = (t.total + (v6 ? 8 : 28)) >> 8;
	pkt[v6 ? 5 : 3] = t.total + (v6 ? 8 : 28);
	pkt[h - 4] = (t.total + 8) >> 8;
	pkt[h - 3] = t.total + 8;
	if (!v6) {
		pkt[4] = t.id[0] >> 8;
		pkt[5] = t.id[0];
	}
	t.header = some_copy(pkt, h);
	t.skb = some_skb(r, t.all, t.total, -1, rnd_below(r, 3));
	t.skb->network = t.header;
	t.skb->shared.gso_size = t.num > 1 ? t.size : 0;
}

static void train_free(void)
{
	some_skb_is(t.skb, t.all, t.total);
	some_skb_free(t.skb);
	free(t.header);
}

/* Which packets are right: a bit each. Leaves the rule that was learnt. */
static u64 which_are_good(enum prxe_id_rule *rule)
{
	u64 ok = 0;

	*rule = PRXE_ID_UNKNOWN;
	for (u32 i = 0; i < t.num; i++) {
		enum prxe_id_rule before = *rule;

		if (prxe_icrc_good(t.skb, t.v6, t.begin[i], t.begin[i + 1] - t.begin[i], rule))
			ok |= 1ULL << i;
		if (before || !i || t.v6)
			assert_int_equal(*rule, before);	/* it is learnt once */
		else
			assert_int_not_equal(*rule, PRXE_ID_UNKNOWN);
	}
	return ok;
}

static u64 all_of_them(void)
{
	return ~0ULL >> (64 - t.num);
}

/* Each rule: all packets are right. A bit that is not makes its packet wrong, and no other. */
static void trains(void **state)
{
	struct rnd r = rnd_start(15);
	u32 wrapped[4] = { 0 };

	setup_paths(0);
	for (int round = 0; round < 2000; round++) {
		enum prxe_id_rule rule = 1 + round % 3, learnt;
		bool v6 = !rnd_below(&r, 4);

		train_make(&r, v6, rule, round);
		assert_true(which_are_good(&learnt) == all_of_them());
		assert_int_equal(learnt, v6 || t.num == 1 ? PRXE_ID_UNKNOWN : rule);
		if (!v6 && t.id[t.num - 1] < t.id[0])
			wrapped[rule]++;
		for (int bad = 0; bad < 12; bad++) {
			u32 i = rnd_below(&r, t.num), n = t.begin[i + 1] - t.begin[i], at;
			u64 want = all_of_them() & ~(1ULL << i);
			u8 bit = 1 << rnd_below(&r, 8), *byte;
			bool unlearnt = false;

			at = rnd_below(&r, n);		/* any, or the last, the first, the PSN */
			if (bad < 3)
				at = bad == 0 ? n - 1 : bad == 1 ? 0 : 8 + rnd_below(&r, 4);
			byte = some_skb_byte(t.skb, t.begin[i] + at);
			if (at == 4)			/* routers change it */
				want = all_of_them();
			else if (i == 1 && !v6 && rule != PRXE_ID_PSN)
				unlearnt = true;	/* not all are tried again */
			if (unlearnt)
				want = 1;
			*byte ^= bit;
			assert_true(which_are_good(&learnt) == want);
			*byte ^= bit;
			if (unlearnt)
				assert_int_equal(learnt, PRXE_ID_PSN);
		}
		train_free();
	}
	assert_true(wrapped[PRXE_ID_PSN] > 50 && wrapped[PRXE_ID_COUNTED] > 50);
	prxe_icrc_exit();
}

/*
 * Of the header, what routers change and the lengths do not count. The ID is the first packet's,
 * and not of those that have their PSNs. All else counts for all of them.
 */
static void train_headers(void **state)
{
	struct rnd r = rnd_start(16);

	setup_paths(0);
	for (int round = 0; round < 60; round++) {
		enum prxe_id_rule rule = 1 + round % 3, learnt;
		bool v6 = round & 1, id;
		u32 h = v6 ? 48 : 28;

		do {
			train_make(&r, v6, rule, round);
			if (t.num == 1 || t.num > 8)
				train_free();
		} while (t.num == 1 || t.num > 8);
		for (u32 bit = 0; bit < h * 8; bit++) {
			u32 at = bit / 8;
			u64 want = 0;

			id = !v6 && (at == 4 || at == 5);
			if (at >= h - 4 || (v6 ? at < 6 || at == 7 : at < 4 || at == 8))
				want = all_of_them();
			if (!v6 && (at == 10 || at == 11))
				want = all_of_them();
			if (id && rule == PRXE_ID_PSN)
				want = all_of_them() & ~1ULL;
			if (at == 0 && (!v6 || bit % 8 >= 4))	/* version; IPv4: length, too */
				want = 0;
			t.header[at] ^= 1 << bit % 8;
			/* Another first ID, and another rule: that may fit some of them. */
			if (id && rule != PRXE_ID_PSN)
				assert_false(which_are_good(&learnt) & 1);
			else
				assert_true(which_are_good(&learnt) == want);
			t.header[at] ^= 1 << bit % 8;
		}
		train_free();
	}
	prxe_icrc_exit();
}

/*
 * Each packet's ID by another rule: the first one behind the first packet says which of them holds,
 * and the others are refused where theirs makes another ID.
 */
static void one_rule(void **state)
{
	u32 refused = 0, learnt_as[4] = { 0 };
	struct rnd r = rnd_start(17);

	setup_paths(0);
	for (int round = 0; round < 2000; round++) {
		enum prxe_id_rule learnt, holds = PRXE_ID_PSN;
		u64 want = 1;
		u32 i;

		train_make(&r, false, PRXE_ID_UNKNOWN, round);
		while (holds < PRXE_ID_SAME && t.num > 1 && id_by_rule(holds, 1) != t.id[1])
			holds++;
		for (i = 1; i < t.num; i++) {
			if (id_by_rule(holds, i) == t.id[i])
				want |= 1ULL << i;
			else
				refused++;
		}
		assert_true(which_are_good(&learnt) == want);
		if (t.num > 1) {
			assert_int_equal(learnt, holds);
			learnt_as[holds]++;
		}
		/* Known from before: for any packet, in any order. */
		for (holds = PRXE_ID_PSN; holds <= PRXE_ID_SAME; holds++) {
			i = rnd_below(&r, t.num);
			learnt = holds;
			assert_int_equal(prxe_icrc_good(t.skb, false, t.begin[i],
							t.begin[i + 1] - t.begin[i], &learnt),
					 !i || id_by_rule(holds, i) == t.id[i]);
			assert_int_equal(learnt, holds);
		}
		train_free();
	}
	assert_true(refused > 1000);
	assert_true(learnt_as[1] > 200 && learnt_as[2] > 200 && learnt_as[3] > 200);
	prxe_icrc_exit();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crc),
		cmocka_unit_test(against_reference),
		cmocka_unit_test(captured),
		cmocka_unit_test(which_bits_count),
		cmocka_unit_test(received),
		cmocka_unit_test(lengths),
		cmocka_unit_test(trains),
		cmocka_unit_test(train_headers),
		cmocka_unit_test(one_rule),
	};

	RUN_TESTS(tests);
}
