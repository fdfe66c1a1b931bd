// SPDX-License-Identifier: BSD-2-Clause
/*
 * kernel/mem/copy.c: copies between memory regions and the payloads of packets, which lie in parts,
 * against flat arrays. Pages that are missing or poisoned, packets that end too early, and what is
 * not payload: it is not touched.
 */
#include "packets.h"
#include "mem/region.h"

/* ---- bytes in parts ---- */

/*
 * Parts for @len bytes from byte @pos of all of them on, at all[off]. What is before, between and
 * behind them is not theirs.
 */
struct some_parts {
	struct prxe_parts parts;
	u32 pos, bytes;
	u8 *all, *was;
};

/* Byte @b of those that are asked for: where it is, as the packets lie. */
static u32 part_byte(const struct some_parts *p, u32 b)
{
	u32 no = 0;

	for (b += p->pos; b >> p->parts.bits; b -= 1U << p->parts.bits)
		no++;
	return p->parts.off + no * p->parts.step + b;
}

static void parts_make(struct some_parts *p, u64 len)
{
	u32 bits = rnd_below(&r, 14), num;

	while (len >> bits > 100)
		bits++;
	if (!rnd_below(&r, 8))
		bits = PRXE_ONE_PART;
	*p = (struct some_parts){ .parts.bits = bits, .parts.off = rnd_below(&r, 100) };
	p->pos = rnd_below(&r, 2) ? 0 : rnd_below(&r, 2 << min(bits, 13U));
	/* A header in front of the next one, mostly. */
	p->parts.step = bits == PRXE_ONE_PART ? rnd64(&r) :
			(1U << bits) + (rnd_below(&r, 5) ? rnd_below(&r, 50) : 0);
	num = ((p->pos + len - 1) >> bits) + 1;
	if (bits == PRXE_ONE_PART)
		p->bytes = p->parts.off + p->pos + len;
	else	/* the last one is shorter, or followed by more */
		p->bytes = p->parts.off + (num - 1) * p->parts.step + (1U << bits);
	p->bytes = rnd_below(&r, 2) ? part_byte(p, len - 1) + 1 : p->bytes;
	p->all = malloc(p->bytes);
	rnd_fill(&r, p->all, p->bytes);
	p->was = some_copy(p->all, p->bytes);
}

static void parts_free(struct some_parts *p)
{
	free(p->all);
	free(p->was);
}

static ssize_t copy_in_parts(struct prxe_cursor *cur, u8 *flat, u64 len, u64 want, u64 ahead,
			     struct prxe_miss *miss)
{
	struct some_parts p;
	struct sk_buff *skb;
	ssize_t ret;

	parts_make(&p, len);
	skb = some_skb(&r, p.all, p.bytes, -1, rnd_below(&r, 2));
	p.parts.skb = skb;
	ret = prxe_copy_in_parts(cur, &p.parts, p.pos, len, ahead, miss);
	for (u64 b = 0; b < want; b++)
		flat[b] = p.all[part_byte(&p, b)];
	some_skb_is(skb, p.all, p.bytes);
	some_skb_free(skb);
	parts_free(&p);
	return ret;
}

static ssize_t copy_out_parts(struct prxe_cursor *cur, const u8 *flat, u64 len, u64 want,
			      u64 ahead, struct prxe_miss *miss)
{
	struct some_parts p;
	ssize_t ret;

	parts_make(&p, len);
	p.parts.at = p.all + p.parts.off;
	ret = prxe_copy_out_parts(&p.parts, p.pos, cur, len, ahead, miss);
	for (u64 b = 0; b < want; b++)
		p.was[part_byte(&p, b)] = flat[b];
	assert_memory_equal(p.all, p.was, p.bytes);
	parts_free(&p);
	return ret;
}

/* A region that is all there is, live. */
static struct region *only_region(enum prxe_mr_kind kind)
{
	struct region *g = region_new(kind, 1);

	g->mr.pd = &pds[0];
	put(g);
	prxe_mr_set_live(&g->mr);
	qp[0] = (struct prxe_qp){ .dev = &dev, .pd = &pds[0] };
	xa_init(&dev.keys);
	xa_store(&dev.keys, 1, &g->mr, 0);
	return g;
}

static void gone(struct region *g)
{
	prxe_mr_unpublish(&g->mr);
	region_free(g);
	xa_destroy(&dev.keys);
}

static void copies(void **state)
{
	static const enum prxe_mr_kind kinds[] = {
		PRXE_MR_ODP, PRXE_MR_ODP, PRXE_MR_PINNED, PRXE_MR_FAST, PRXE_MR_DMA,
	};
	u32 all = 0, some = 0, none = 0;

	r = rnd_start(127);
	for (int i = 0; i < 4000; i++) {
		struct region *g = only_region(kinds[rnd_below(&r, ARRAY_SIZE(kinds))]);

		for (int k = 0; k < 4; k++) {
			u64 off = rnd_below(&r, g->bytes) / (1 + rnd_below(&r, 8));
			u64 had = 1 + rnd_below(&r, g->bytes - off), want;
			u64 len = had - (rnd_below(&r, 4) ? 0 : rnd_below(&r, had));
			u64 ahead = rnd_below(&r, 3) ? 0 : rnd64(&r);
			struct prxe_miss miss = { .mirror = (void *)&miss };
			bool write = rnd_below(&r, 2);
			struct prxe_cursor cur;
			u64 begin;

			prxe_mem_begin();
			assert_int_equal(gate_local(&g->mr, off, had, &cur), 0);
			begin = cur.addr;
			want = present(g, off, len, write);
			if (write)
				assert_int_equal(copy_in_parts(&cur, g->flat + off, len, want,
							       ahead, &miss), want);
			else
				assert_int_equal(copy_out_parts(&cur, g->flat + off, len, want,
								ahead, &miss), want);
			prxe_mem_end();
			assert_true(cur.addr == begin + want && cur.len == had - want);
			check_miss(g, off, want, len, had, ahead, write, &miss);
			same(g);
			*(want == len ? &all : want ? &some : &none) += 1;
		}
		gone(g);
	}
	printf("%u copies whole, %u up to a page that is missing, %u not begun\n", all, some, none);
	assert_true(all > 5000 && some > 300 && none > 1000);
}

/*
 * A page has a memory error: what was asked for in front of it comes, and the next call fails.
 * Where the CPU catches the error while it copies, some bytes of the page may have come, too; but
 * nothing was written between the parts.
 */
static const u8 *poison, *mc;

bool shim_is_poisoned(const void *p)
{
	return poison && ((unsigned long)p ^ (unsigned long)poison) < PAGE_SIZE;
}

unsigned long copy_mc_to_kernel(void *dst, const void *src, unsigned int len)
{
	const u8 *s = src;
	unsigned int n = mc >= s && mc < s + len ? mc - s : len;

	memcpy(dst, src, n);
	return len - n;
}

static void poisoned_parts(void **state)
{
	u32 begun = 0, caught = 0;

	r = rnd_start(128);
	for (int i = 0; i < 2000; i++) {
		struct region *g = only_region(i & 1 ? PRXE_MR_PINNED : PRXE_MR_FAST);
		u64 off = rnd_below(&r, g->bytes) / 4, len = 1 + rnd_below(&r, g->bytes - off);
		u64 bad = rnd_below(&r, len), know = 0, b = 0;
		u64 unit = min_t(u64, PAGE_SIZE, 1UL << g->mr.page_shift);
		struct prxe_cursor cur;
		struct prxe_miss miss;
		struct some_parts p;

		parts_make(&p, len);
		p.parts.at = p.all + p.parts.off;
		/* Known, or found by the copy. What is moved at once ends with the page. */
		if (i & 2)
			mc = byte_at(g, off + bad);
		else
			poison = byte_at(g, off + bad -
					 min(bad, (g->mr.va + off + bad) & (unit - 1)));
		for (; know <= bad; know = b) {
			const u8 *from = byte_at(g, off + know);

			b = know + unit - ((g->mr.va + off + know) & (unit - 1));
			if (shim_is_poisoned(from) || (mc >= from && mc < from + (b - know)))
				break;
		}
		assert_true(know <= bad);
		prxe_mem_begin();
		assert_int_equal(gate_local(&g->mr, off, len, &cur), 0);
		if (know) {
			begun++;
			assert_int_equal(prxe_copy_out_parts(&p.parts, p.pos, &cur, len, 0, &miss),
					 know);
			assert_true(cur.len == len - know);
		}
		assert_int_equal(prxe_copy_out_parts(&p.parts, p.pos + know, &cur, len - know, 0,
						     &miss), -EHWPOISON);
		assert_null(miss.mirror);
		assert_true(cur.len == len - know);
		prxe_mem_end();
		for (b = 0; b < know; b++)
			p.was[part_byte(&p, b)] = g->flat[off + b];
		/* What the copy came to before the error; bad itself never comes. */
		for (; mc && b < bad && p.all[part_byte(&p, b)] == g->flat[off + b]; b++) {
			p.was[part_byte(&p, b)] = g->flat[off + b];
			caught++;
		}
		assert_memory_equal(p.all, p.was, p.bytes);
		poison = NULL;
		mc = NULL;
		same(g);
		parts_free(&p);
		gone(g);
	}
	assert_true(begun > 300 && caught > 10000);
}

/* A packet that ends too early: what it has may come, and nothing behind its end is read. */
static void short_packet(void **state)
{
	r = rnd_start(129);
	for (int i = 0; i < 500; i++) {
		struct region *g = only_region(PRXE_MR_PINNED);
		u64 len = 1 + rnd_below(&r, g->bytes), b;
		struct prxe_cursor cur;
		struct prxe_miss miss;
		struct some_parts p;
		struct sk_buff *skb;
		ssize_t ret;
		u32 cut;

		parts_make(&p, len);
		cut = rnd_below(&r, part_byte(&p, len - 1) + 1);
		skb = some_skb(&r, p.all, cut, -1, 1);
		p.parts.skb = skb;
		prxe_mem_begin();
		assert_int_equal(gate_local(&g->mr, 0, g->bytes, &cur), 0);
		ret = prxe_copy_in_parts(&cur, &p.parts, p.pos, len, 0, &miss);
		assert_true(ret < (ssize_t)len);
		for (b = 0; ret > 0 && b < ret; b++) {
			assert_true(part_byte(&p, b) < cut);
			g->flat[b] = p.all[part_byte(&p, b)];
		}
		if (ret <= 0)
			assert_int_equal(ret, -EFAULT);
		assert_true(cur.len == g->bytes - b);
		prxe_mem_end();
		/* Of the page that it failed in, some may have come; nothing else has changed. */
		for (; b < len && part_byte(&p, b) < cut; b++) {
			u8 came = *byte_at(g, b);

			assert_true(came == g->flat[b] || came == p.all[part_byte(&p, b)]);
			g->flat[b] = came;
		}
		same(g);
		some_skb_free(skb);
		parts_free(&p);
		gone(g);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(copies),
		cmocka_unit_test(poisoned_parts),
		cmocka_unit_test(short_packet),
	};

	dev.stats = shim_alloc_percpu(sizeof(struct prxe_stats));
	RUN_TESTS(tests);
}
