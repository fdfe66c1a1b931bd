// SPDX-License-Identifier: BSD-2-Clause
/*
 * kernel/mem/gate.c and copy.c: THE access gate against one written in 128-bit arithmetic, and
 * copies through what it grants against flat arrays; over on-demand memory with holes, pinned and
 * fast-registered pages of any size, memory windows, kernel memory. The payloads of packets have
 * test_parts.c.
 */
#include "mem/region.h"
#include "transport/responder.h"

#define REGIONS 6
#define WINDOWS 4
static struct region *reg[REGIONS + 1];		/* by index, from 1 */
static struct prxe_mr mw[WINDOWS];		/* indices behind them */

static void world_make(void)
{
	static const enum prxe_mr_kind kinds[] = {
		PRXE_MR_ODP, PRXE_MR_ODP, PRXE_MR_PINNED, PRXE_MR_FAST, PRXE_MR_DMA,
	};
	u32 i;

	xa_init(&dev.keys);
	for (i = 0; i < 2; i++) {
		qp[i].dev = &dev;
		qp[i].pd = &pds[0];
		qp[i].qpn = 17 + i;
	}
	for (i = 1; i <= REGIONS; i++) {
		reg[i] = region_new(kinds[rnd_below(&r, ARRAY_SIZE(kinds))], i);
		put(reg[i]);
		if (rnd_below(&r, 12))
			prxe_mr_set_live(&reg[i]->mr);
		xa_store(&dev.keys, i, &reg[i]->mr, 0);
	}
	for (i = 0; i < WINDOWS; i++) {
		struct region *under = reg[1 + rnd_below(&r, REGIONS)];
		u64 start = rnd_below(&r, under->bytes);

		mw[i] = (struct prxe_mr){
			.dev = &dev, .index = REGIONS + 1 + i, .kind = PRXE_MR_MW, .pd = &pds[0],
			.access = rnd_below(&r, 16),
			.rkey = (REGIONS + 1 + i) << 8 | rnd_below(&r, 256), .under = &under->mr,
			.length = rnd_below(&r, under->bytes - start + 1),
			.va = under->mr.iova + start,
			.mw_qpn = rnd_below(&r, 3) ? 0 : 17 + rnd_below(&r, 2),
		};
		mw[i].iova = rnd_below(&r, 3) ? mw[i].va : 0;	/* zero-based, too */
		spin_lock_init(&mw[i].lock);
		if (rnd_below(&r, 12))
			prxe_mr_set_live(&mw[i]);
		xa_store(&dev.keys, REGIONS + 1 + i, &mw[i], 0);
	}
}

static void world_free(void)
{
	for (u32 i = 1; i <= REGIONS; i++) {
		prxe_mr_unpublish(&reg[i]->mr);
		region_free(reg[i]);
	}
	for (u32 i = 0; i < WINDOWS; i++)
		prxe_mr_unpublish(&mw[i]);
	xa_destroy(&dev.keys);
}

struct ask {
	struct prxe_qp *qp;
	u32 key;
	bool remote;
	u64 iova, len;
	int access;
};

/* Where the bytes are: region and offset; NULL: refused. */
static struct region *oracle(const struct ask *a, u64 *off)
{
	u32 index = a->key >> 8;
	struct prxe_mr *mr;
	__int128 o;

	if (!index || index > REGIONS + WINDOWS)
		return NULL;
	mr = index <= REGIONS ? &reg[index]->mr : &mw[index - REGIONS - 1];
	if (mr->state != PRXE_MR_LIVE || mr->pd != a->qp->pd || (a->access & ~mr->access))
		return NULL;
	if (a->key != (a->remote ? mr->rkey : mr->lkey))
		return NULL;
	o = (__int128)a->iova - mr->iova;
	if (o < 0 || o + a->len > mr->length)
		return NULL;
	if (mr->kind == PRXE_MR_MW) {
		if (!a->remote || (mr->mw_qpn && mr->mw_qpn != a->qp->qpn))
			return NULL;
		o += (__int128)mr->va - mr->under->iova;
		if (o < 0 || o + a->len > mr->under->length)
			return NULL;
		mr = mr->under;
	}
	*off = o;
	return reg[mr->index];
}

/* The region or window with this index, of those that there are. */
static struct prxe_mr *mr_of(u32 index)
{
	return index <= REGIONS ? &reg[index]->mr : &mw[index - 1 - REGIONS];
}

static struct ask some_ask(void)
{
	u32 index = rnd_below(&r, 20) ? 1 + rnd_below(&r, REGIONS + WINDOWS) : rnd64(&r);
	struct prxe_mr *mr = index - 1 < REGIONS + WINDOWS ? mr_of(index) : NULL;
	struct ask a = { .qp = &qp[rnd_below(&r, 2)], .remote = rnd_below(&r, 4) };

	a.key = mr && rnd_below(&r, 20) ? mr->rkey : index << 8 | rnd_below(&r, 256);
	a.access = rnd_below(&r, 3) ? 0 : 1 << rnd_below(&r, 4);
	if (mr) {
		u64 off = rnd_below(&r, mr->length + 1);

		a.iova = mr->iova + off;
		a.len = 1 + rnd_below(&r, mr->length - off + 1);	/* one too long sometimes */
		if (!rnd_below(&r, 10))
			a.iova -= rnd_below(&r, 3 * PAGE_SIZE);
		if (!rnd_below(&r, 10))
			a.iova += rnd_below(&r, 3 * PAGE_SIZE);
	} else {
		a.iova = rnd64(&r);
	}
	if (!mr || !rnd_below(&r, 10)) {
		static const u64 odd[] = {
			1, U32_MAX, U64_MAX, U64_MAX - 4095, 1ULL << 63, 1ULL << 32,
		};

		a.len = odd[rnd_below(&r, ARRAY_SIZE(odd))];
	}
	return a;
}

static u32 granted, refused;

/* One granted access: some copy through it. */
static void use(struct prxe_cursor *cur, struct region *g, u64 off, u64 len)
{
	u64 ahead = rnd_below(&r, 3) ? 0 : rnd64(&r), n, want;
	struct prxe_miss miss = { .mirror = (void *)&miss };
	bool write = rnd_below(&r, 2);
	u8 *buf = malloc(len);
	u64 begin = cur->addr, had = cur->len;
	ssize_t ret;

	rnd_fill(&r, buf, len);
	len -= rnd_below(&r, 4) ? 0 : rnd_below(&r, len);
	want = present(g, off, len, write);
	switch (rnd_below(&r, 4)) {
	case 0:
		ret = prxe_copy_probe(cur, write, len, ahead, &miss);
		assert_int_equal(ret, want);
		assert_true(cur->addr == begin);
		break;
	default:
		if (write) {
			ret = prxe_copy_in(cur, buf, len, ahead, &miss);
			memcpy(g->flat + off, buf, want);
		} else {
			ret = prxe_copy_out(buf, cur, len, ahead, &miss);
			assert_memory_equal(buf, g->flat + off, want);
		}
	}
	n = want;
	assert_int_equal(ret, n);
	assert_true(cur->addr == begin || cur->addr == begin + n);
	check_miss(g, off, n, len, had, ahead, write, &miss);
	same(g);
	free(buf);
}

static void gate(void **state)
{
	r = rnd_start(120);
	for (int round = 0; round < 200; round++) {
		world_make();
		for (int i = 0; i < 150; i++) {
			struct ask a = some_ask();
			struct prxe_cursor cur;
			struct region *g;
			u64 off;
			int ret;

			prxe_mem_begin();
			ret = prxe_gate(&a.qp->who, a.key, a.remote, a.iova, a.len, a.access, &cur);
			g = oracle(&a, &off);
			assert_int_equal(ret, g ? 0 : -EACCES);
			if (g) {
				granted++;
				assert_true(cur.len == a.len);
				use(&cur, g, off, a.len);
			} else {
				refused++;
			}
			prxe_mem_end();
		}
		world_free();
	}
	printf("%u granted, %u refused\n", granted, refused);
	assert_true(granted > 5000 && refused > 5000);
}

/*
 * FLUSH: the gate's answer for the right to it, with the key checked for no bytes too; for a FLUSH
 * of all that the key names, its bounds and nothing else.
 */
static void flush(void **state)
{
	const int rights[] = { IB_ACCESS_FLUSH_GLOBAL, IB_ACCESS_FLUSH_PERSISTENT };
	u32 yes = 0, no = 0;

	r = rnd_start(123);
	for (int round = 0; round < 100; round++) {
		world_make();
		for (int i = 1; i <= REGIONS + WINDOWS; i++) {
			if (rnd_below(&r, 4))
				mr_of(i)->access |= IB_ACCESS_FLUSH_GLOBAL |
						    IB_ACCESS_FLUSH_PERSISTENT;
		}
		for (int i = 0; i < 150; i++) {
			struct ask a = some_ask(), whole;
			u32 type = rnd_below(&r, 6) ? PRXE_FLUSH_GLOBAL : rnd_below(&r, 8);
			u32 level = rnd_below(&r, 6) ? rnd_below(&r, 2) : rnd_below(&r, 4);
			u32 allowed = rnd_below(&r, 6) ? 3 : rnd_below(&r, 4);
			int want = -EACCES, access;
			u64 off;

			a.remote = true;
			a.access = IB_ACCESS_FLUSH_GLOBAL;
			if (!rnd_below(&r, 4))
				a.len = 0;
			whole = a;
			if (a.key >> 8 && a.key >> 8 <= REGIONS + WINDOWS) {
				whole.iova = mr_of(a.key >> 8)->iova;
				whole.len = 0;
			}
			a.qp->attr.qp_access_flags = (allowed & 1 ? rights[0] : 0) |
						     (allowed & 2 ? rights[1] : 0);
			if (!type || type > 3 || level > 1 || type & ~allowed)
				want = -EINVAL;
			else if (type == PRXE_FLUSH_GLOBAL && oracle(level ? &whole : &a, &off))
				want = 0;
			prxe_mem_begin();
			access = prxe_resp_flush_access(a.qp, type, level);
			if (want == -EINVAL)
				assert_int_equal(access, 0);
			else
				assert_int_equal(prxe_mem_flush(&a.qp->who, a.key, a.iova, a.len,
								access,
								level == PRXE_FLUSH_WHOLE),
						 want);
			prxe_mem_end();
			*(want ? &no : &yes) += 1;
		}
		world_free();
	}
	qp[0].attr.qp_access_flags = 0;
	qp[1].attr.qp_access_flags = 0;
	assert_true(yes > 2000 && no > 2000);
}

/* No bytes: no key is looked at. */
static void nothing(void **state)
{
	struct prxe_parts none = { .step = 20, .bits = 4 };
	struct prxe_miss miss;
	struct prxe_cursor cur;

	r = rnd_start(121);
	world_make();
	assert_int_equal(prxe_gate(&qp[0].who, 0xffffffff, true, U64_MAX, 0, 15, &cur), 0);
	assert_int_equal(prxe_copy_in(&cur, NULL, 0, 0, &miss), 0);
	assert_int_equal(prxe_copy_out(NULL, &cur, 0, 0, &miss), 0);
	assert_int_equal(prxe_copy_in_parts(&cur, &none, 5, 0, 0, &miss), 0);
	assert_int_equal(prxe_copy_out_parts(&none, 5, &cur, 0, 0, &miss), 0);
	assert_int_equal(prxe_copy_probe(&cur, true, 0, 0, &miss), 0);
	assert_null(miss.mirror);
	world_free();
}

/* From one MR to another, and within one. */
static void between(void **state)
{
	u32 moved = 0;

	r = rnd_start(122);
	for (int round = 0; round < 200; round++) {
		world_make();
		for (int i = 0; i < 60; i++) {
			struct region *d = reg[1 + rnd_below(&r, REGIONS)];
			struct region *s = reg[1 + rnd_below(&r, REGIONS)];
			struct prxe_miss miss = { .mirror = (void *)&miss };
			u64 so = rnd_below(&r, s->bytes), dof = rnd_below(&r, d->bytes), n, k;
			u64 len = 1 + rnd_below(&r, min(s->bytes - so, d->bytes - dof));
			u64 ahead = rnd_below(&r, 2) ? 0 : rnd_below(&r, 10 << 20);
			struct prxe_cursor dc, sc;
			ssize_t ret;

			if (s == d && so < dof + len && dof < so + len)
				continue;	/* an overlap may show the old or the new bytes */
			prxe_mem_begin();
			if (gate_local(&d->mr, dof, len, &dc) || gate_local(&s->mr, so, len, &sc)) {
				prxe_mem_end();
				continue;
			}
			ret = prxe_copy(&dc, &sc, len, ahead, &miss);
			/* Up to the first page of either that is missing; source first. */
			n = min(present(s, so, len, false), present(d, dof, len, true));
			assert_int_equal(ret, n);
			for (k = 0; k < n; k++)
				d->flat[dof + k] = s->flat[so + k];
			if (n == len)
				check_miss(d, dof, n, len, len, ahead, true, &miss);
			else if (present(s, so, len, false) <= n)
				check_miss(s, so, n, len, len, ahead, false, &miss);
			else
				check_miss(d, dof, n, len, len, ahead, true, &miss);
			prxe_mem_end();
			same(d);
			same(s);
			moved += n > 0;
		}
		world_free();
	}
	assert_true(moved > 500);
}

static void atomics(void **state)
{
	u32 done = 0;

	r = rnd_start(123);
	for (int round = 0; round < 150; round++) {
		world_make();
		for (int i = 0; i < 100; i++) {
			struct region *g = reg[1 + rnd_below(&r, REGIONS)];
			u64 off = rnd_below(&r, g->bytes), want, old = 0, orig = 42;
			u64 a = rnd64(&r), b = rnd64(&r);
			u64 len = min_t(u64, 8, g->bytes - off);
			enum prxe_atomic_op op = rnd_below(&r, 3);
			struct prxe_miss miss = { .mirror = (void *)&miss };
			struct prxe_cursor cur;
			int ret;

			if (rnd_below(&r, 8))	/* mostly aligned */
				off = min_t(u64, off + (-(g->mr.va + off) & 7), g->bytes - 1);
			len = min_t(u64, 8, g->bytes - off);
			prxe_mem_begin();
			if (gate_local(&g->mr, off, len, &cur)) {
				prxe_mem_end();
				continue;
			}
			if (len == 8)
				memcpy(&old, g->flat + off, 8);
			if (rnd_below(&r, 2))
				a = old;
			ret = prxe_copy_atomic(&cur, op, a, b, &orig, &miss);
			prxe_mem_end();
			if (len < 8) {
				assert_int_equal(ret, -EACCES);
			} else if ((g->mr.va + off) & 7) {
				assert_int_equal(ret, -EINVAL);
			} else if (!present(g, off, 8, true)) {
				assert_int_equal(ret, -EAGAIN);
				check_miss(g, off, 0, 8, 8, 0, true, &miss);
			} else {
				assert_int_equal(ret, 0);
				want = old == a ? b : old;
				if (op == PRXE_ATOMIC_FETCH_ADD)
					want = old + b;
				else if (op == PRXE_ATOMIC_WRITE)
					want = b;
				if (op != PRXE_ATOMIC_WRITE)
					assert_true(orig == old);
				memcpy(g->flat + off, &want, 8);
				done++;
			}
			same(g);
		}
		world_free();
	}
	assert_true(done > 500);
}

/* A grant is void when what it was granted on has changed; and it moves nothing. */
static void stale(void **state)
{
	u8 buf[16] = { 0 };
	struct sk_buff skb = { .data = buf, .len = sizeof(buf) };
	struct prxe_parts in = { .skb = &skb, .bits = PRXE_ONE_PART };
	struct prxe_parts out = { .at = buf, .bits = PRXE_ONE_PART };
	struct prxe_miss miss;

	r = rnd_start(124);
	for (int i = 0; i < 200; i++) {
		struct prxe_cursor cur;
		struct region *g;
		u64 orig;

		world_make();
		g = reg[1 + i % REGIONS];
		prxe_mem_begin();
		if (!prxe_gate(&qp[0].who, g->mr.lkey, false, g->mr.iova, 1, 0, &cur)) {
			prxe_mr_set_not_live(&g->mr, PRXE_MR_FREE);
			if (i & 1)	/* registered anew at once */
				prxe_mr_set_live(&g->mr);
			/* Missing memory may be told of first, but nothing moves. */
			assert_true(prxe_copy_in(&cur, buf, 1, 0, &miss) == -ESTALE);
			assert_true(prxe_copy_out(buf, &cur, 1, 0, &miss) == -ESTALE);
			assert_true(prxe_copy_in_parts(&cur, &in, 0, 1, 0, &miss) == -ESTALE);
			assert_true(prxe_copy_out_parts(&out, 0, &cur, 1, 0, &miss) == -ESTALE);
			assert_true(prxe_copy_probe(&cur, false, 1, 0, &miss) == -ESTALE);
			cur.len = 8;
			if (!(cur.addr & 7))
				assert_int_equal(prxe_copy_atomic(&cur, PRXE_ATOMIC_WRITE, 0, 0,
								  &orig, &miss), -ESTALE);
			same(g);
			if (!(i & 1))
				assert_int_equal(gate_local(&g->mr, 0, 1, &cur), -EACCES);
		}
		prxe_mem_end();
		world_free();
	}
}

/*
 * Transfers leave the mark that reclaim looks for; in force_fault mode each use needs a fault of
 * its own.
 */
static void clear_entry(void *p)
{
	shim_on_cmpxchg = NULL;
	WRITE_ONCE(*(unsigned long *)p, 0);
}

static void marks(void **state)
{
	unsigned long whole_entry;
	struct prxe_cursor cur;
	struct prxe_miss miss;
	struct prxe_leaf *leaf;
	struct region *g;
	unsigned long *e;
	u8 byte = 0;

	r = rnd_start(125);
	g = region_new(PRXE_MR_ODP, 1);
	g->mr.pd = &pds[0];
	qp[0] = (struct prxe_qp){ .dev = &dev, .pd = &pds[0] };
	g->there[0] = g->writable[0] = true;
	page_bits(g, 0);
	put(g);
	prxe_mr_set_live(&g->mr);
	xa_init(&dev.keys);
	xa_store(&dev.keys, 1, &g->mr, 0);
	leaf = xa_load(&g->mirror.leaves, g->mr.va >> PRXE_LEAF_SHIFT);
	e = &leaf->entry[prxe_leaf_index(g->mr.va)];
	for (int fresh = 0; fresh < 2; fresh++) {
		*e &= ~PRXE_ENTRY_ACCESSED;
		prxe_force_fault = fresh;
		prxe_mem_begin();
		if (fresh) {
			assert_int_equal(gate_local(&g->mr, 0, 1, &cur), 0);
			assert_int_equal(prxe_copy_out(&byte, &cur, 1, 0, &miss), 0);
			assert_ptr_equal(miss.mirror, &g->mirror);
			prxe_mirror_put(miss.mirror);
			assert_false(*e & PRXE_ENTRY_ACCESSED);
			*e |= PRXE_ENTRY_FRESH;
		}
		assert_int_equal(gate_local(&g->mr, 0, 1, &cur), 0);
		assert_int_equal(prxe_copy_out(&byte, &cur, 1, 0, &miss), 1);
		assert_int_equal(byte, g->flat[0]);
		assert_true(*e & PRXE_ENTRY_ACCESSED);
		assert_false(*e & PRXE_ENTRY_FRESH);
		prxe_mem_end();
	}
	prxe_force_fault = false;
	/*
	 * Cleared just before it is marked: what was copied was good, and no mark is left on
	 * nothing.
	 */
	whole_entry = *e;
	*e &= ~PRXE_ENTRY_ACCESSED;
	prxe_mem_begin();
	assert_int_equal(prxe_gate(&qp[0].who, g->mr.lkey, false, g->mr.iova, 1, 0, &cur), 0);
	shim_on_cmpxchg = clear_entry;
	assert_int_equal(prxe_copy_out(&byte, &cur, 1, 0, &miss), 1);
	prxe_mem_end();
	assert_null(shim_on_cmpxchg);
	assert_int_equal(*e, 0);
	*e = whole_entry;
	prxe_mr_unpublish(&g->mr);
	region_free(g);
	xa_destroy(&dev.keys);
}

/*
 * A page of a pinned MR is known to have a memory error: nothing reads it, also where the CPU does
 * not catch such errors. Writing to it is no harm.
 */
static const u8 *poison;

bool shim_is_poisoned(const void *p)
{
	return poison && ((unsigned long)p ^ (unsigned long)poison) < PAGE_SIZE;
}

static void poisoned(void **state)
{
	struct prxe_cursor cur, src;
	u64 old, orig = 7, value;
	u8 buf[16] = { 1, 2, 3 };
	struct prxe_parts out = { .at = buf, .step = 6, .bits = 2 };
	struct prxe_miss miss;
	struct region *g;

	r = rnd_start(126);
	g = region_new(PRXE_MR_PINNED, 1);
	while (g->bytes < 64) {
		region_free(g);
		g = region_new(PRXE_MR_PINNED, 1);
	}
	g->mr.pd = &pds[0];
	qp[0] = (struct prxe_qp){ .dev = &dev, .pd = &pds[0] };
	put(g);
	prxe_mr_set_live(&g->mr);
	xa_init(&dev.keys);
	xa_store(&dev.keys, 1, &g->mr, 0);
	prxe_mem_begin();
	assert_int_equal(gate_local(&g->mr, 0, 40, &cur), 0);
	cur.len -= -cur.addr & 7;
	cur.addr += -cur.addr & 7;
	poison = (u8 *)g->mr.page[cur.addr >> PAGE_SHIFT] + (cur.addr & ~PAGE_MASK);
	memcpy(&old, poison, sizeof(old));
	src = cur;
	assert_int_equal(prxe_copy_out(buf, &cur, 16, 0, &miss), -EHWPOISON);
	assert_int_equal(prxe_copy_out_parts(&out, 0, &cur, 8, 0, &miss), -EHWPOISON);
	assert_int_equal(buf[0], 1);
	assert_int_equal(prxe_copy(&cur, &src, 16, 0, &miss), -EHWPOISON);	/* onto itself */
	assert_int_equal(prxe_copy_atomic(&cur, PRXE_ATOMIC_FETCH_ADD, 0, 5, &orig, &miss),
			 -EHWPOISON);
	assert_null(miss.mirror);
	assert_int_equal(orig, 7);
	memcpy(&value, poison, sizeof(value));
	assert_int_equal(value, old);
	assert_int_equal(prxe_copy_in(&cur, buf, 16, 0, &miss), 16);
	assert_memory_equal(poison, buf, 16);
	prxe_mem_end();
	poison = NULL;
	prxe_mr_unpublish(&g->mr);
	region_free(g);
	xa_destroy(&dev.keys);
}

/*
 * With PREEMPT_RT the processor may be taken away after each page of a copy, and another one may go
 * on: until then no more than 4 KiB were moved, no window is left open, and the leaf is looked up
 * anew. Without, the processor is kept.
 */
static struct {
	const struct prxe_cursor *cur;
	u64 at, most;
	u32 times;
} taken;

static void take_away(void)
{
	taken.most = max_t(u64, taken.most, taken.cur->addr - taken.at);
	taken.at = taken.cur->addr;
	taken.times++;
	prxe_window_sync(taken.cur->key);	/* waits for ever if a window names it */
	shim_cpu = (shim_cpu + 1) % 4;
}

static void preempted(void **state)
{
	r = rnd_start(126);
	qp[0] = (struct prxe_qp){ .dev = &dev, .pd = &pds[0] };
	xa_init(&dev.keys);
	for (int i = 0; i < 200; i++) {
		struct region *g = region_new(i & 1 ? PRXE_MR_ODP : PRXE_MR_PINNED, 1);
		u64 pages = DIV_ROUND_UP(g->mr.va % PAGE_SIZE + g->bytes, PAGE_SIZE);
		struct prxe_cursor cur;
		struct prxe_miss miss;

		g->mr.pd = &pds[0];
		for (u32 p = 0; g->mr.kind == PRXE_MR_ODP && p < g->pages; p++) {
			g->there[p] = g->writable[p] = true;
			page_bits(g, p);
		}
		prxe_mr_set_live(&g->mr);
		xa_store(&dev.keys, 1, &g->mr, 0);
		shim_rt = i & 2;
		prxe_mem_begin();
		assert_int_equal(gate_local(&g->mr, 0, g->bytes, &cur), 0);
		memset(&taken, 0, sizeof(taken));
		taken.cur = &cur;
		taken.at = cur.addr;
		finds = 0;
		shim_on_preempt = take_away;
		assert_int_equal(prxe_copy_in(&cur, g->flat, g->bytes, 0, &miss), g->bytes);
		shim_on_preempt = NULL;
		prxe_mem_end();
		same(g);
		assert_int_equal(taken.times, shim_rt ? pages : 1);
		assert_true(shim_rt ? taken.most <= SZ_4K : taken.most == g->bytes);
		if (g->mr.kind == PRXE_MR_ODP && shim_rt)
			assert_int_equal(finds, pages);
		prxe_mr_unpublish(&g->mr);
		region_free(g);
	}
	shim_rt = false;
	shim_cpu = 0;
	xa_destroy(&dev.keys);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gate),
		cmocka_unit_test(flush),
		cmocka_unit_test(nothing),
		cmocka_unit_test(between),
		cmocka_unit_test(atomics),
		cmocka_unit_test(stale),
		cmocka_unit_test(marks),
		cmocka_unit_test(poisoned),
		cmocka_unit_test(preempted),
	};

	dev.stats = shim_alloc_percpu(sizeof(struct prxe_stats));
	RUN_TESTS(tests);
}
