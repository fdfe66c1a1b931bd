// SPDX-License-Identifier: BSD-2-Clause
/*
 * A mirror's tables against a model of the address space. (With threads: test_mirror_mt.c.)
 *
 * The MM is a table of virtual pages. It tells its notifiers before it takes a page away,
 * write-protects or cleans it, and is free to reuse the page as soon as they have returned:
 * whatever translation outlives that is a bug.
 */
#include "mirror_common.h"

static struct vpage {
	u32 pfn;		/* 0: nothing there */
	bool writable;
	bool error;		/* a snapshot says ERROR (poison, swap) */
} vm[PAGES];
static unsigned long want[PAGES];	/* the entry that must stand there; ACCESSED included */
static struct rnd r;

static void check_all(void)
{
	u32 leaf, i;

	for (leaf = 0; leaf < LEAVES; leaf++) {
		struct prxe_leaf *l = leaf_at(leaf * 512);
		u32 valid = 0;

		for (i = leaf * 512; i < (leaf + 1) * 512; i++) {
			unsigned long e = entry_at(i);

			if (e != want[i] && !(!((e | want[i]) & PRXE_ENTRY_VALID)))
				fail_msg("page %u: %lx, not %lx", i, e, want[i]);
			if (!(e & PRXE_ENTRY_VALID))
				continue;
			valid++;
			/* What stands is what the MM has. */
			assert_ptr_equal(PRXE_ENTRY_ADDR(e), shim_pages[vm[i].pfn].vaddr);
			if (e & PRXE_ENTRY_WRITE) {
				assert_true(vm[i].writable);
				assert_true(shim_pages[vm[i].pfn].dirty);
			}
		}
		if (l) {
			assert_int_equal(l->populated, valid);
			assert_int_equal(l->base, va_of(leaf * 512));
			assert_true(hlist_empty(&l->walks));
		}
	}
}

static void model_start(void)
{
	r = rnd_start(70);
	memset(vm, 0, sizeof(vm));
	memset(want, 0, sizeof(want));
	start_up();
}

/* The MM takes, protects or replaces what stands in [a, b). Did it touch pages [c, d)? */
static bool invalidate(u32 a, u32 b, u32 c, u32 d)
{
	u32 i, how = rnd_below(&r, 5);
	/* Ranges need not be whole pages. */
	unsigned long off = rnd_below(&r, 4) ? 0 : rnd_below(&r, PAGE_SIZE);
	unsigned long start = va_of(a) + off;
	unsigned long end = va_of(b) - (off ? rnd_below(&r, PAGE_SIZE) : 0);

	if (b == PAGES && rnd_below(&r, 2))
		end = ULONG_MAX;
	if (end <= start)	/* within one page */
		end = start + 1;
	shim_mm_invalidate_start(mm, start, end);
	for (i = a; i < b; i++) {
		assert_false(entry_at(i) & PRXE_ENTRY_VALID);	/* not one survives */
		want[i] = 0;
		switch (how) {
		case 0:
			shim_pages[vm[i].pfn].tag = 0;
			vm[i].pfn = 0;
			break;
		case 1:
			vm[i].writable = false;
			break;
		case 2:
			shim_pages[vm[i].pfn].tag = 0;
			vm[i].pfn = rnd_below(&r, 3) ? page_to_pfn(new_page()) : 0;
			vm[i].writable = rnd_below(&r, 2);
			vm[i].error = !rnd_below(&r, 20);
			break;
		case 3:		/* written back: clean */
			shim_pages[vm[i].pfn].dirty = false;
			break;
		}
	}
	shim_mm_invalidate_end(mm);
	return start < va_of(d) && end > va_of(c);
}

/* What needs no notification: a page appears where none was, or becomes writable, or known. */
static void appear(u32 a, u32 b)
{
	for (u32 i = a; i < b; i++) {
		if (!vm[i].pfn) {
			struct page *p = new_page();

			vm[i] = (struct vpage){
				.pfn = page_to_pfn(p),
				.writable = rnd_below(&r, 2),
			};
			p->poisoned = !rnd_below(&r, 40);
			p->device_private = !rnd_below(&r, 60);
			p->p2p = !rnd_below(&r, 60);
		} else if (!rnd_below(&r, 3)) {
			vm[i].writable = true;
			vm[i].error = false;
		}
	}
}

static unsigned long snapshot(u32 i)
{
	if (!vm[i].pfn)
		return 0;
	if (vm[i].error)
		return HMM_PFN_ERROR;
	return vm[i].pfn | HMM_PFN_VALID | (vm[i].writable ? HMM_PFN_WRITE : 0);
}

static bool transferable(u32 i)
{
	const struct page *p = &shim_pages[vm[i].pfn];

	return vm[i].pfn && !vm[i].error && !p->poisoned && !p->device_private && !p->p2p;
}

/*
 * What must stand for a page after a fault that was published. @first: it is what was asked for.
 */
static unsigned long published(u32 i, bool write, bool first)
{
	unsigned long e = (unsigned long)shim_pages[vm[i].pfn].vaddr | PRXE_ENTRY_VALID;

	if (want[i] & PRXE_ENTRY_VALID)	/* it keeps what it had */
		e |= want[i] & (PRXE_ENTRY_WRITE | PRXE_ENTRY_ACCESSED);
	if (write && vm[i].writable)
		e |= PRXE_ENTRY_WRITE;
	if (prxe_force_fault)
		e |= PRXE_ENTRY_FRESH;
	if (first)
		e |= PRXE_ENTRY_ACCESSED;
	return e;
}

static bool writable_at(u32 i)
{
	return entry_at(i) & PRXE_ENTRY_WRITE;
}

/*
 * One round of a fault on [a, b), in one leaf; sometimes with an invalidation between snapshot and
 * publish.
 */
static void fault(u32 a, u32 b, bool write)
{
	unsigned long va = va_of(a) + rnd_below(&r, PAGE_SIZE);
	struct prxe_leaf *leaf = prxe_leaf_pin(mirror, va, GFP_KERNEL);
	bool spoiled = false;
	struct prxe_leaf_walk walk;
	unsigned long pfns[512];
	u32 i;
	int ret;

	assert_false(IS_ERR(leaf));
	assert_true(atomic_read(&leaf->pins) == 1);
	assert_int_equal(prxe_leaf_begin(leaf, &walk, va_of(a), va_of(b)), 0);
	for (i = a; i < b; i++)
		pfns[i - a] = snapshot(i);
	if (!rnd_below(&r, 4)) {
		u32 c = a / 512 * 512 + rnd_below(&r, 512), d = c + 1 + rnd_below(&r, 600);

		/* Other pages of the same leaf are no reason to start over; a byte of these is. */
		d = min_t(u32, d, PAGES);
		spoiled = invalidate(c, d, a, b);
		shim_work_run(true);	/* it is pinned: it stays */
		assert_ptr_equal(leaf_at(a), leaf);
	}
	if (!rnd_below(&r, 3)) {	/* of another leaf: no reason to start over */
		u32 c = (a / 512 + 1) % LEAVES * 512;

		invalidate(c, c + 1 + rnd_below(&r, 512), 0, 0);
	}
	prxe_force_fault = !rnd_below(&r, 8);
	ret = prxe_leaf_publish(leaf, &walk, va_of(a), b - a, pfns, write, GFP_KERNEL);
	assert_int_equal(ret, spoiled ? -EAGAIN : 0);
	/* A page that turned bad keeps what it had until it is taken away. */
	for (i = a; i < b && !spoiled; i++)
		if (transferable(i))
			want[i] = published(i, write, i == a);
	if (!write)
		/* Reading grants no right to write. */
		for (i = a; i < b && !spoiled; i++)
			assert_int_equal(writable_at(i), !!(want[i] & PRXE_ENTRY_WRITE));
	prxe_force_fault = false;
	prxe_leaf_unpin(leaf);
}

/* Transfers set the accessed bit; reclaim asks for it. */
static void age(u32 a, u32 b)
{
	const struct mmu_notifier_ops *ops = mm->mn->ops;
	bool young = false, first;
	u32 i;

	for (i = a; i < b; i++)
		if ((want[i] & PRXE_ENTRY_VALID) && !rnd_below(&r, 8)) {
			set_bit(PRXE_ENTRY_ACCESSED_NR, &leaf_at(i)->entry[i % 512]);
			want[i] |= PRXE_ENTRY_ACCESSED;
		}
	a += rnd_below(&r, b - a);
	for (i = a; i < b; i++)
		young |= (want[i] & PRXE_ENTRY_ACCESSED) != 0;
	first = want[a] & PRXE_ENTRY_ACCESSED;
	switch (rnd_below(&r, 3)) {
	case 0:
		assert_int_equal(ops->test_young(mm->mn, mm, va_of(a)), first);
		return;
	case 1:
		assert_int_equal(ops->clear_young(mm->mn, mm, va_of(a), va_of(b)), young);
		break;
	default:
		assert_int_equal(ops->clear_flush_young(mm->mn, mm, va_of(a), va_of(b)), young);
	}
	for (i = a; i < b; i++)
		want[i] &= ~PRXE_ENTRY_ACCESSED;
}

/* Empty leaves go, others stay. */
static void reap(void)
{
	u32 leaf, i;

	shim_work_run(true);
	shim_rcu_drain();
	for (leaf = 0; leaf < LEAVES; leaf++) {
		bool used = false;

		for (i = leaf * 512; i < (leaf + 1) * 512; i++)
			used |= want[i] & PRXE_ENTRY_VALID;
		assert_int_equal(leaf_at(leaf * 512) != NULL, used);
	}
	assert_int_equal(shim_mm_intervals(mm), 1);
	assert_int_equal(mirror->inflight.num, 0);
	assert_int_equal(atomic_read(&mirror->syncing), 0);
}

static void some_range(u32 *a, u32 *b, bool one_leaf)
{
	static const u32 edges[] = {
		0, 1, 510, 511, 512, 513, 1023, 1024, 1535, 1536, PAGES - 2, PAGES - 1,
	};
	u32 limit;

	*a = rnd_below(&r, 3) ? rnd_below(&r, PAGES) : edges[rnd_below(&r, ARRAY_SIZE(edges))];
	limit = one_leaf ? (*a / 512 + 1) * 512 : PAGES;
	*b = *a + 1 + rnd_below(&r, rnd_below(&r, 4) ? min_t(u32, 20, limit - *a) : limit - *a);
	if (!rnd_below(&r, 4))
		*b = limit;
}

static void tables(void **state)
{
	u32 a, b;

	model_start();
	for (int i = 0; i < 12000; i++) {
		u32 what = rnd_below(&r, 20);

		some_range(&a, &b, what < 10);
		if (what < 10)
			fault(a, b, rnd_below(&r, 2));
		else if (what < 14)
			appear(a, b);
		else if (what < 17)
			invalidate(a, b, 0, 0);
		else if (what < 19)
			age(a, b);
		else
			reap();
		if (!(i % 16))
			check_all();
	}
	check_all();
	invalidate(0, PAGES, 0, 0);
	check_all();
	reap();
	shut_down();
}

/* Bounds of invalidations to the byte, at both ends of a leaf. */
static void edges(void **state)
{
	enum { LEAF = PRXE_LEAF_SIZE };
	static const struct { long start, end; u32 first, last; } cases[] = {
		{ 0, 1, 0, 0 }, { 0, 4096, 0, 0 }, { 4095, 4096, 0, 0 }, { 4095, 4097, 0, 1 },
		{ 4096, 8192, 1, 1 }, { LEAF - 1, LEAF, 511, 511 },
		{ LEAF - 4096, LEAF + 1, 511, 512 }, { LEAF, LEAF + 4096, 512, 512 },
		{ -4096, 1, 0, 0 }, { 0, LEAF, 0, 511 }, { 4096, 2 * LEAF - 4096, 1, 1022 },
	};
	u32 c, i;

	model_start();
	for (c = 0; c < ARRAY_SIZE(cases); c++) {
		unsigned long pfns[512];

		for (i = 0; i < PAGES; i++) {
			vm[i] = (struct vpage){ .pfn = 1 + i, .writable = true };
			shim_pages[1 + i] = (struct page){ .vaddr = arena + (1 + i) * PAGE_SIZE };
		}
		for (i = 0; i < LEAVES; i++) {
			struct prxe_leaf *leaf = prxe_leaf_pin(mirror, va_of(i * 512), GFP_KERNEL);
			struct prxe_leaf_walk walk;

			assert_int_equal(prxe_leaf_begin(leaf, &walk, leaf->base,
							 leaf->base + PRXE_LEAF_SIZE), 0);
			for (u32 p = 0; p < 512; p++)
				pfns[p] = snapshot(i * 512 + p);
			assert_int_equal(prxe_leaf_publish(leaf, &walk, leaf->base, 512, pfns, true,
							   GFP_KERNEL), 0);
			prxe_leaf_unpin(leaf);
		}
		shim_mm_invalidate_start(mm, BASE + cases[c].start, BASE + cases[c].end);
		for (i = 0; i < PAGES; i++)
			assert_int_equal(!(entry_at(i) & PRXE_ENTRY_VALID),
					 i >= cases[c].first && i <= cases[c].last);
		shim_mm_invalidate_end(mm);
		invalidate(0, PAGES, 0, 0);
	}
	shut_down();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables),
		cmocka_unit_test(edges),
	};

	RUN_TESTS(tests);
}
