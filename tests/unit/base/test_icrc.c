// SPDX-License-Identifier: BSD-2-Clause
/*
 * kernel/base/icrc.c against a CRC computed bit by bit over the masked packet, as IBTA annex
 * A17.3.3 words it.
 */
#include "common.h"
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

/* ---- a packet in an skb of any shape ---- */

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

/*
 * Received packets, however the stack keeps them: the head holds @head bytes from the BTH on, the
 * rest is in fragments.
 */
static void received(void **state)
{
	struct rnd r = rnd_start(13);

	setup_paths(0);
	for (int round = 0; round < 3000; round++) {
		bool v6 = rnd_below(&r, 2);
		u32 payload = rnd_below(&r, 3) ? rnd_below(&r, 4200) : rnd_below(&r, 20);
		size_t h = v6 ? 48 : 28, n = some_packet(&r, v6, payload), left, pos;
		u32 head = 12 + rnd_below(&r, payload + 5);
		u8 *linear, *frag_mem[MAX_SKB_FRAGS] = { 0 };
		struct sk_buff *skb = calloc(1, sizeof(*skb));
		int page = 1, bad;

		put_unaligned_le32(reference(pkt, v6, n), pkt + n);
		n += 4;
		linear = malloc(h + head);
		memcpy(linear, pkt, h + head);
		skb->network = linear;
		skb->data = linear + h;
		skb->len = n - h;
		left = n - h - head;
		skb->data_len = left;
		for (pos = h + head; left; skb->shared.nr_frags++) {
			skb_frag_t *f = &skb->shared.frags[skb->shared.nr_frags];
			u32 size = 1 + rnd_below(&r, left), pages, i;

			if (skb->shared.nr_frags == 9)
				size = left;
			f->off = rnd_below(&r, PAGE_SIZE + 200);
			f->size = size;
			f->page = &shim_pages[page];
			pages = (f->off + size + PAGE_SIZE - 1) / PAGE_SIZE;
			frag_mem[skb->shared.nr_frags] = malloc(pages * PAGE_SIZE);
			for (i = 0; i < pages; i++)	/* not contiguous */
				shim_pages[page + i].vaddr = frag_mem[skb->shared.nr_frags] +
							     (pages - 1 - i) * PAGE_SIZE;
			for (i = 0; i < size; i++) {
				u32 at = f->off + i;
				u8 *mem = f->page[at / PAGE_SIZE].vaddr;

				mem[at % PAGE_SIZE] = pkt[pos + i];
			}
			page += pages;
			pos += size;
			left -= size;
		}
		assert_true(prxe_icrc_good(skb, v6));
		/* One bit of the ICRC or of the headers behind IP: it is not. */
		for (bad = 0; bad < 8; bad++) {
			u32 at = h + rnd_below(&r, head);

			if (at == h + 4)
				continue;
			linear[at] ^= 1 << bad;
			assert_false(prxe_icrc_good(skb, v6));
			linear[at] ^= 1 << bad;
		}
		if (skb->data_len) {
			skb_frag_t *f = &skb->shared.frags[skb->shared.nr_frags - 1];
			u32 at = f->off + f->size - 1;

			((u8 *)f->page[at / PAGE_SIZE].vaddr)[at % PAGE_SIZE] ^= 0x80;
			assert_false(prxe_icrc_good(skb, v6));
		}
		for (int i = 0; i < MAX_SKB_FRAGS; i++)
			free(frag_mem[i]);
		free(linear);
		free(skb);
	}
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
	};

	RUN_TESTS(tests);
}
