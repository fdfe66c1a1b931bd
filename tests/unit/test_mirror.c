// SPDX-License-Identifier: BSD-2-Clause
/*
 * kernel/mmu/mirror.c: the tables against a model of the address space. (With threads: test_mirror_mt.c.)
 *
 * The MM is a table of virtual pages. It tells its notifiers before it takes a page away, write-protects or cleans it, and is free to reuse
 * the page as soon as they have returned: whatever translation outlives that is a bug.
 */
#include "mirror_common.h"

static struct vpage {
	u32 pfn;		/* 0: nothing there */
	bool writable;
	bool error;		/* a snapshot says ERROR (poison, swap) */
} vm[PAGES];
static unsigned long want[PAGES];	/* the entry that must stand there; ACCESSED included */
static struct rnd r;
static void *arena;
static u32 next_pfn;

static unsigned long va_of(u32 page)
{
	return BASE + ((unsigned long)page << PAGE_SHIFT);
}

static struct page *new_page(void)
{
	struct page *p;

	do {	/* never the zero page, page 0; tag: it is somewhere */
		next_pfn = next_pfn % (SHIM_PAGES - 1) + 1;
		p = &shim_pages[next_pfn];
	} while (p->tag);
	*p = (struct page){ .vaddr = arena + next_pfn * PAGE_SIZE, .tag = 1 };
	return p;
}

static struct prxe_leaf *leaf_at(u32 page)
{
	return prxe_mirror_leaf(mirror, va_of(page));
}

static unsigned long entry_at(u32 page)
{
	struct prxe_leaf *leaf = leaf_at(page);
	unsigned long size, *entry = leaf ? prxe_leaf_entry(leaf, va_of(page), &size) : NULL;

	if (!entry || !*entry)
		return 0;
	return size == PAGE_SIZE ? *entry : *entry + page % 512 * PAGE_SIZE;
}

/* A page is dirty before any writable translation of it stands anywhere. */
static void dirty_first(struct page *page)
{
	for (u32 i = 0; i < PAGES; i++) {
		unsigned long e = entry_at(i);

		if ((e & PRXE_ENTRY_WRITE) && PRXE_ENTRY_ADDR(e) == page->vaddr)
			assert_true(page->dirty);
	}
}

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

static void start_up(void)
{
	r = rnd_start(70);
	memset(vm, 0, sizeof(vm));
	memset(want, 0, sizeof(want));
	memset(shim_pages, 0, sizeof(shim_pages));
	arena = aligned_alloc(PAGE_SIZE, SHIM_PAGES * PAGE_SIZE);
	shim_pages[0] = (struct page){ .vaddr = arena };
	next_pfn = 0;
	shim_on_dirty = dirty_first;
	assert_int_equal(prxe_mirror_init(), 0);
	mm = shim_mm_new();
	shim_task.mm = mm;
	mirror = prxe_mirror_get_current();
	assert_false(IS_ERR(mirror));
}

static void shut_down(void)
{
	shim_on_dirty = NULL;
	mirror_end();
	free(arena);
	assert_int_equal(pools, 0);
}

/* The MM takes, protects or replaces what stands in [a, b). Did it touch pages [c, d)? */
static bool invalidate(u32 a, u32 b, u32 c, u32 d)
{
	u32 i, how = rnd_below(&r, 5);
	unsigned long off = rnd_below(&r, 4) ? 0 : rnd_below(&r, PAGE_SIZE);	/* ranges need not be whole pages */
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

			vm[i] = (struct vpage){ .pfn = page_to_pfn(p), .writable = rnd_below(&r, 2) };
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

/* One round of a fault on [a, b), in one leaf; with an invalidation between snapshot and publish sometimes. */
static void fault(u32 a, u32 b, bool write)
{
	struct prxe_leaf *leaf = prxe_leaf_pin(mirror, va_of(a) + rnd_below(&r, PAGE_SIZE), GFP_KERNEL);
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
	for (i = a; i < b && !spoiled; i++) {
		unsigned long keeps = want[i] & PRXE_ENTRY_VALID ? want[i] & (PRXE_ENTRY_WRITE | PRXE_ENTRY_ACCESSED) : 0;

		if (!transferable(i)) {
			/* A page that turned bad keeps what it had until it is taken away. */
			continue;
		}
		want[i] = (unsigned long)shim_pages[vm[i].pfn].vaddr | PRXE_ENTRY_VALID | keeps |
			  (write && vm[i].writable ? PRXE_ENTRY_WRITE : 0) | (prxe_force_fault ? PRXE_ENTRY_FRESH : 0) |
			  (i == a ? PRXE_ENTRY_ACCESSED : 0);	/* it is what was asked for */
	}
	if (!write)
		/* Reading grants no right to write. */
		for (i = a; i < b && !spoiled; i++)
			assert_int_equal(!!(entry_at(i) & PRXE_ENTRY_WRITE), !!(want[i] & PRXE_ENTRY_WRITE));
	prxe_force_fault = false;
	prxe_leaf_unpin(leaf);
}

/* Transfers set the accessed bit; reclaim asks for it. */
static void age(u32 a, u32 b)
{
	const struct mmu_notifier_ops *ops = mm->mn->ops;
	bool young = false;
	u32 i;

	for (i = a; i < b; i++)
		if ((want[i] & PRXE_ENTRY_VALID) && !rnd_below(&r, 8)) {
			set_bit(PRXE_ENTRY_ACCESSED_NR, &leaf_at(i)->entry[i % 512]);
			want[i] |= PRXE_ENTRY_ACCESSED;
		}
	a += rnd_below(&r, b - a);
	for (i = a; i < b; i++)
		young |= (want[i] & PRXE_ENTRY_ACCESSED) != 0;
	switch (rnd_below(&r, 3)) {
	case 0:
		assert_int_equal(ops->test_young(mm->mn, mm, va_of(a)), !!(want[a] & PRXE_ENTRY_ACCESSED));
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
	static const u32 edges[] = { 0, 1, 510, 511, 512, 513, 1023, 1024, 1535, 1536, PAGES - 2, PAGES - 1 };
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

	start_up();
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
	static const struct { long start, end; u32 first, last; } cases[] = {
		{ 0, 1, 0, 0 }, { 0, 4096, 0, 0 }, { 4095, 4096, 0, 0 }, { 4095, 4097, 0, 1 }, { 4096, 8192, 1, 1 },
		{ PRXE_LEAF_SIZE - 1, PRXE_LEAF_SIZE, 511, 511 }, { PRXE_LEAF_SIZE - 4096, PRXE_LEAF_SIZE + 1, 511, 512 },
		{ PRXE_LEAF_SIZE, PRXE_LEAF_SIZE + 4096, 512, 512 }, { -4096, 1, 0, 0 }, { 0, PRXE_LEAF_SIZE, 0, 511 },
		{ 4096, 2 * PRXE_LEAF_SIZE - 4096, 1, 1022 },
	};
	u32 c, i;

	start_up();
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
			assert_int_equal(!(entry_at(i) & PRXE_ENTRY_VALID), i >= cases[c].first && i <= cases[c].last);
		shim_mm_invalidate_end(mm);
		invalidate(0, PAGES, 0, 0);
	}
	shut_down();
}

/* ---- one entry for a leaf that the CPU maps by one ---- */

/* Leaf 1 becomes one large folio of pages 1024 on. */
static struct page *map_large(void)
{
	struct page *head = &shim_pages[1024];

	for (u32 i = 0; i < 512; i++)
		head[i] = (struct page){ .vaddr = arena + (1024 + i) * PAGE_SIZE, .head = head, .tag = 1 };
	return head;
}

static int publish_at(u32 page, u32 n, unsigned long flags, bool write)
{
	struct prxe_leaf *leaf = prxe_leaf_pin(mirror, va_of(page), GFP_KERNEL);
	struct prxe_leaf_walk walk;
	unsigned long pfns[512];
	int ret;

	assert_int_equal(prxe_leaf_begin(leaf, &walk, va_of(page), va_of(page + n)), 0);
	for (u32 i = 0; i < n; i++)
		pfns[i] = (1024 + page % 512 + i) | HMM_PFN_VALID | flags;
	ret = prxe_leaf_publish(leaf, &walk, va_of(page), n, pfns, write, GFP_KERNEL);
	prxe_leaf_unpin(leaf);
	return ret;
}

static void take(u32 a, u32 b)
{
	shim_mm_invalidate_start(mm, va_of(a), va_of(b));
	for (u32 i = a; i < b; i++)
		assert_false(entry_at(i) & PRXE_ENTRY_VALID);
	shim_mm_invalidate_end(mm);
}

/* Each page of leaf 1 translates to its own memory with just these flags, ACCESSED apart; those in [a, b). */
static void leaf1_is(u32 a, u32 b, unsigned long flags)
{
	for (u32 i = 0; i < 512; i++) {
		unsigned long e = entry_at(512 + i) & ~PRXE_ENTRY_ACCESSED;

		if (i < a || i >= b)
			assert_false(e & PRXE_ENTRY_VALID);
		else
			assert_int_equal(e, (unsigned long)(arena + (1024 + i) * PAGE_SIZE) | flags);
	}
}

static void whole_leaf(void **state)
{
	const struct mmu_notifier_ops *ops;
	const unsigned long v = PRXE_ENTRY_VALID, vw = v | PRXE_ENTRY_WRITE;
	struct page *head;

	start_up();
	head = map_large();
	ops = mm->mn->ops;
	/* One page was asked for, read-only; all are there, and no table was made for them. */
	assert_int_equal(publish_at(512 + 77, 1, HMM_PFN_WRITE | ORDER(9), false), 0);
	leaf1_is(0, 512, v);
	assert_null(leaf_at(512)->entry);
	assert_int_equal(leaf_at(512)->populated, 1);
	assert_false(head->dirty);
	/* For writing what the CPU maps read-only: no right. */
	assert_int_equal(publish_at(512, 512, ORDER(9), true), 0);
	leaf1_is(0, 512, v);
	/* Larger than a leaf (a hugetlb page of 1 GiB) is the same. */
	assert_int_equal(publish_at(512 + 511, 1, HMM_PFN_WRITE | ORDER(18), true), 0);
	leaf1_is(0, 512, vw);
	assert_true(head->dirty);
	/* Reading takes no right away. */
	assert_int_equal(publish_at(512, 1, HMM_PFN_WRITE | ORDER(9), false), 0);
	leaf1_is(0, 512, vw);
	/* It is old or young as a whole, and young at first. */
	assert_true(ops->test_young(mm->mn, mm, va_of(1023)));
	assert_true(ops->clear_young(mm->mn, mm, va_of(600), va_of(601)));
	assert_false(ops->clear_flush_young(mm->mn, mm, va_of(512), va_of(1024)));
	assert_false(ops->test_young(mm->mn, mm, va_of(511)));
	leaf1_is(0, 512, vw);
	/* A part of it goes: all of it has to be asked for again. */
	take(512 + 100, 512 + 101);
	leaf1_is(0, 0, 0);
	assert_int_equal(leaf_at(512)->populated, 0);
	/* It was split. */
	head->dirty = false;
	assert_int_equal(publish_at(512 + 10, 20, HMM_PFN_WRITE, true), 0);
	leaf1_is(10, 30, vw);
	assert_true(entry_at(512 + 10) & PRXE_ENTRY_ACCESSED);
	assert_false(ops->test_young(mm->mn, mm, va_of(512 + 11)));
	assert_int_equal(leaf_at(512)->populated, 20);
	assert_true(head->dirty);
	/* Collapsed; nothing of the old stays when a part is taken then. */
	take(512, 1024);
	assert_int_equal(publish_at(512, 1, HMM_PFN_WRITE | ORDER(9), true), 0);
	leaf1_is(0, 512, vw);
	take(512 + 15, 512 + 16);
	leaf1_is(0, 0, 0);
	/* Whole over single ones: a part taken leaves of the single ones those that it does not name. */
	assert_int_equal(publish_at(512, 8, HMM_PFN_WRITE, false), 0);
	assert_int_equal(publish_at(512, 1, HMM_PFN_WRITE | ORDER(9), true), 0);
	leaf1_is(0, 512, vw);
	assert_int_equal(leaf_at(512)->populated, 9);
	take(512 + 4, 1024);
	leaf1_is(0, 4, v);
	assert_int_equal(leaf_at(512)->populated, 4);
	take(512, 1024);
	/* A single one that the whole has less rights than must not stay hidden behind it. */
	assert_int_equal(publish_at(512, 1, ORDER(9), true), 0);
	assert_int_equal(publish_at(512 + 3, 1, HMM_PFN_WRITE, true), 0);
	leaf1_is(3, 4, vw);
	assert_int_equal(leaf_at(512)->populated, 1);
	take(512, 1024);
	/* Poison in one page of it: the others work, it does not. */
	head->has_poison = true;
	head[5].poisoned = true;
	assert_int_equal(publish_at(512, 6, HMM_PFN_WRITE | ORDER(9), true), 0);
	leaf1_is(0, 5, vw);
	take(512, 1024);
	head = map_large();
	/* force_fault: fresh until it is used. */
	prxe_force_fault = true;
	assert_int_equal(publish_at(512, 1, HMM_PFN_WRITE | ORDER(9), true), 0);
	prxe_force_fault = false;
	leaf1_is(0, 512, vw | PRXE_ENTRY_FRESH);
	take(512, 1024);
	shim_work_run(true);
	shim_rcu_drain();
	assert_null(leaf_at(512));
	/* No memory for single entries: nothing happened. One for all needs none. */
	assert_int_equal(publish_at(512, 1, HMM_PFN_WRITE | ORDER(9), true), 0);
	shim_alloc_fails = 1;
	assert_int_equal(publish_at(512, 1, HMM_PFN_WRITE, true), -ENOMEM);
	shim_alloc_fails = 0;
	leaf1_is(0, 512, vw);
	shut_down();
}

/* From one leaf to the next for which a CPU has the same place. */
#define SAME_PLACE	(256 * PRXE_LEAF_SIZE)

/* What a CPU remembers of the table is never older than the table. */
static void remembered(void **state)
{
	struct prxe_leaf *leaf;

	start_up();
	map_large();
	for (int i = 0; i < 3; i++) {
		for (u32 page = 0; page < PAGES; page += 512)
			assert_null(prxe_mirror_hit(mirror, va_of(page), i & 1));
		assert_int_equal(publish_at(512, 1, HMM_PFN_WRITE, true), 0);
		leaf = leaf_at(512);
		assert_non_null(leaf);
		for (int k = 0; k < 2; k++) {
			assert_ptr_equal(prxe_mirror_hit(mirror, va_of(512 + k), i & 1), leaf);
			assert_ptr_equal(prxe_mirror_hit(mirror, va_of(1023), i & 1), leaf);
			assert_null(prxe_mirror_hit(mirror, va_of(512) + SAME_PLACE, i & 1));
		}
		assert_ptr_equal(prxe_mirror_hit(mirror, va_of(512), i & 1), leaf);
		take(512, 1024);
		shim_work_run(true);
		/* Not freed yet, and not found any more. */
		assert_null(prxe_mirror_hit(mirror, va_of(512), i & 1));
		shim_rcu_drain();
	}
	shut_down();
}

/* What a transfer reads does not make a CPU forget what it writes. */
static void remembered_apart(void **state)
{
	struct prxe_leaf_cache (*caches)[PRXE_LEAF_CACHE] = this_cpu_ptr(&prxe_leaf_caches[0]);
	struct prxe_leaf *from, *to;

	start_up();
	memset(caches, 0, sizeof(prxe_leaf_caches));
	from = prxe_leaf_pin(mirror, BASE, GFP_KERNEL);
	to = prxe_leaf_pin(mirror, BASE + SAME_PLACE, GFP_KERNEL);
	assert_false(IS_ERR(from) || IS_ERR(to));
	for (int k = 0; k < 3; k++) {
		int places = 0;

		assert_ptr_equal(prxe_mirror_hit(mirror, BASE, false), from);
		assert_ptr_equal(prxe_mirror_hit(mirror, BASE + SAME_PLACE, true), to);
		/* Nor does a look at what is not there. */
		assert_null(prxe_mirror_hit(mirror, BASE + 2 * SAME_PLACE, k & 1));
		for (int i = 0; i < PRXE_LEAF_CACHE; i++) {
			places += caches[0][i].leaf == from && caches[1][i].leaf == to;
		}
		assert_int_equal(places, 1);	/* the same one: it is what they would fight for */
	}
	prxe_leaf_unpin(from);
	prxe_leaf_unpin(to);
	shut_down();
}

/* What another thread does while memory for a leaf is allocated. */
static struct prxe_leaf *rival;
static int rival_at;
static void other_thread(gfp_t gfp)
{
	/* Faults of the same process do not wait for our memory. */
	assert_true(mutex_trylock(&mirror->populate));
	mutex_unlock(&mirror->populate);
	if (!rival_at || --rival_at)
		return;
	shim_on_alloc = NULL;
	rival = prxe_leaf_pin(mirror, BASE + PAGE_SIZE, GFP_KERNEL);
	shim_on_alloc = other_thread;
}

/* While a leaf is made, nobody waits for that; and two threads that make the same leaf make one. */
static void make_leaf(void **state)
{
	struct prxe_leaf *leaf;

	start_up();
	for (int at = 0; at < 3; at++) {	/* at the leaf's memory, at the table's */
		rival = NULL;
		rival_at = at;
		shim_on_alloc = other_thread;
		leaf = prxe_leaf_pin(mirror, BASE, GFP_KERNEL);
		shim_on_alloc = NULL;
		assert_false(IS_ERR(leaf));
		assert_ptr_equal(leaf_at(0), leaf);
		assert_int_equal(atomic_read(&leaf->pins), 1 + !!at);
		if (at) {
			assert_ptr_equal(rival, leaf);
			prxe_leaf_unpin(rival);
		}
		prxe_leaf_unpin(leaf);
		shim_work_run(true);
		shim_rcu_drain();
		assert_null(leaf_at(0));
	}
	shut_down();
}

/* What fails leaves nothing behind. */
static void failures(void **state)
{
	struct prxe_mirror *other;
	struct prxe_leaf_walk walk;
	struct prxe_leaf *leaf;
	unsigned long pfn;

	start_up();
	for (int i = 1; i <= 2; i++) {
		shim_alloc_fails = i;
		assert_ptr_equal(prxe_leaf_pin(mirror, BASE, GFP_KERNEL), ERR_PTR(-ENOMEM));
		shim_alloc_fails = 0;
		assert_null(leaf_at(0));
	}
	/* Who may not wait does not: neither for the lock, nor for memory. */
	mutex_lock(&mirror->populate);
	assert_ptr_equal(prxe_leaf_pin(mirror, BASE, GFP_NOWAIT), ERR_PTR(-EAGAIN));
	mutex_unlock(&mirror->populate);
	/* The same mirror for the same process. */
	other = prxe_mirror_get_current();
	assert_ptr_equal(other, mirror);
	prxe_mirror_unuse(other);
	leaf = prxe_leaf_pin(mirror, BASE, GFP_KERNEL);
	assert_ptr_equal(prxe_leaf_pin(mirror, BASE + PRXE_LEAF_SIZE - 1, GFP_KERNEL), leaf);
	prxe_leaf_unpin(leaf);
	assert_int_equal(atomic_read(&leaf->pins), 1);
	shim_work_run(true);
	assert_ptr_equal(leaf_at(0), leaf);
	/* The address space ends under a fault. */
	pfn = page_to_pfn(new_page()) | HMM_PFN_VALID;
	shim_mm_exit(mm);
	assert_int_equal(prxe_leaf_begin(leaf, &walk, BASE, BASE + PAGE_SIZE), 0);
	assert_int_equal(prxe_leaf_publish(leaf, &walk, BASE, 1, &pfn, false, GFP_KERNEL), -ESRCH);
	assert_false(entry_at(0) & PRXE_ENTRY_VALID);
	prxe_leaf_unpin(leaf);
	assert_ptr_equal(prxe_leaf_pin(mirror, BASE, GFP_KERNEL), ERR_PTR(-ESRCH));
	shut_down();
}

/* Set-up that fails, set-up of nobody. */
static void no_mirror(void **state)
{
	static const int errors[] = { 1, 2 };
	unsigned long removals = 0;

	assert_int_equal(prxe_mirror_init(), 0);
	mm = shim_mm_new();
	shim_task.mm = NULL;
	assert_ptr_equal(prxe_mirror_get_current(), ERR_PTR(-EINVAL));
	shim_task.mm = mm;
	for (u32 i = 0; i < ARRAY_SIZE(errors); i++) {
		mm->register_error = errors[i];
		assert_ptr_equal(prxe_mirror_get_current(), ERR_PTR(-EINTR));
		shim_work_run(true);
		shim_rcu_drain();
		assert_int_equal(pools, 0);
	}
	shim_alloc_fails = 1;
	assert_ptr_equal(prxe_mirror_get_current(), ERR_PTR(-ENOMEM));
	for (int i = 2; i <= 3; i++) {
		shim_alloc_fails = i;
		assert_ptr_equal(prxe_mirror_get_current(), ERR_PTR(-ENOMEM));
	}
	shim_alloc_fails = 0;
	/* Twice over: what is gone can come again, and remembers nothing. */
	for (int i = 0; i < 2; i++) {
		mirror = prxe_mirror_get_current();
		assert_false(IS_ERR(mirror));
		assert_int_not_equal(mirror->removals, removals);
		removals = mirror->removals;
		prxe_mirror_unuse(mirror);
		shim_work_run(true);
		shim_rcu_drain();
		shim_work_run(true);
		shim_rcu_drain();
		assert_int_equal(pools, 0);
	}
	prxe_mirror_exit();
	shim_mm_free(mm);
}

/* What processes that hold their own mmap_lock cost others. */
static void lock_held(void **state)
{
	assert_int_equal(prxe_mirror_init(), 0);
	mm = shim_mm_new();
	shim_task.mm = mm;
	/* Nobody waits for a lock that is held for a moment, neither to set up nor to end. */
	mm->held = 5;
	mirror = prxe_mirror_get_current();
	assert_false(IS_ERR(mirror));
	assert_int_equal(mm->held, 0);
	mm->held = 5;
	prxe_mirror_unuse(mirror);
	shim_work_run(true);
	shim_rcu_drain();
	shim_work_run(true);
	assert_int_equal(shim_mm_intervals(mm), 0);
	assert_int_equal(mm->held, 0);
	assert_int_equal(mm->waited, 0);
	/* Who has tried often enough waits, so that others do not overtake it for ever. */
	mm->held = INT_MAX;
	mirror = prxe_mirror_get_current();
	assert_false(IS_ERR(mirror));
	assert_int_equal(mm->waited, 1);
	prxe_mirror_unuse(mirror);
	shim_work_run(true);
	shim_rcu_drain();
	shim_work_run(true);
	/* The caller is killed: nothing waits any more, and nothing stays. */
	mm->waited = 0;
	mm->held = INT_MAX;
	shim_killed = 1;
	assert_ptr_equal(prxe_mirror_get_current(), ERR_PTR(-EINTR));
	shim_work_run(true);
	shim_rcu_drain();
	assert_int_equal(mm->waited, 0);
	mm->held = 0;
	assert_int_equal(pools, 0);
	assert_int_equal(atomic_read(&mm->users), 1);
	prxe_mirror_exit();
	shim_mm_free(mm);
}

/* ---- invalidations in flight: every order of start, end and the steps of a fault ---- */

static struct mmu_notifier_range range_of(u32 a, u32 b)
{
	return (struct mmu_notifier_range){
		.mm = mm, .start = va_of(a), .end = va_of(b), .flags = MMU_NOTIFIER_RANGE_BLOCKABLE,
	};
}

static int begin_at(struct prxe_leaf *leaf, struct prxe_leaf_walk *walk, u32 a, u32 b)
{
	return prxe_leaf_begin(leaf, walk, va_of(a), va_of(b));
}

/* Leaf 1, pages of map_large(): end the walk with [a, b). */
static int publish_walk(struct prxe_leaf *leaf, struct prxe_leaf_walk *walk, u32 a, u32 b,
			unsigned long flags)
{
	unsigned long pfns[512];

	for (u32 i = a; i < b; i++)
		pfns[i - a] = (512 + i) | HMM_PFN_VALID | flags;
	return prxe_leaf_publish(leaf, walk, va_of(a), b - a, pfns, true, GFP_KERNEL);
}

static void orders(void **state)
{
	struct mmu_notifier_range one, two;
	struct prxe_leaf_walk walk, other;
	struct prxe_leaf *leaf;

	start_up();
	map_large();
	leaf = prxe_leaf_pin(mirror, va_of(512), GFP_KERNEL);
	/* It starts before the walk: none of its pages begins before its end, any other does. */
	one = range_of(520, 530);
	shim_mm_range_start(&one);
	assert_int_equal(begin_at(leaf, &walk, 520, 521), -EAGAIN);
	assert_int_equal(begin_at(leaf, &walk, 512, 521), -EAGAIN);
	assert_int_equal(begin_at(leaf, &walk, 529, 540), -EAGAIN);
	assert_int_equal(begin_at(leaf, &walk, 530, 532), 0);
	assert_int_equal(publish_walk(leaf, &walk, 530, 532, HMM_PFN_WRITE), 0);
	assert_int_equal(begin_at(leaf, &walk, 518, 520), 0);
	/* Its end between begin and publish changes nothing. */
	shim_mm_range_end(&one);
	assert_int_equal(publish_walk(leaf, &walk, 518, 520, HMM_PFN_WRITE), 0);
	assert_int_equal(begin_at(leaf, &walk, 520, 521), 0);
	assert_int_equal(publish_walk(leaf, &walk, 520, 521, HMM_PFN_WRITE), 0);
	assert_int_equal(leaf->populated, 5);
	take(512, 1024);

	/* It starts between begin and publish, and ends before or after that. */
	for (int ends = 0; ends < 2; ends++) {
		assert_int_equal(begin_at(leaf, &walk, 512, 522), 0);
		assert_int_equal(begin_at(leaf, &other, 530, 540), 0);
		shim_mm_range_start(&one);
		if (ends)
			shim_mm_range_end(&one);
		assert_int_equal(publish_walk(leaf, &walk, 512, 522, HMM_PFN_WRITE), -EAGAIN);
		assert_int_equal(publish_walk(leaf, &other, 530, 540, HMM_PFN_WRITE), 0);
		if (!ends)
			shim_mm_range_end(&one);
		leaf1_is(18, 28, PRXE_ENTRY_VALID | PRXE_ENTRY_WRITE);
		take(512, 1024);
	}

	/* Of two at once, also of the same range, the later end counts. */
	two = one;
	shim_mm_range_start(&one);
	shim_mm_range_start(&two);
	shim_mm_range_end(&one);
	assert_int_equal(begin_at(leaf, &walk, 525, 526), -EAGAIN);
	shim_mm_range_end(&two);
	assert_int_equal(begin_at(leaf, &walk, 525, 526), 0);
	/* Given up: nobody finds it any more. */
	prxe_leaf_end(leaf, &walk);
	take(512, 1024);

	/*
	 * All of the leaf by one entry: only when nothing of it changes; else what was asked for.
	 */
	shim_mm_range_start(&one);
	assert_int_equal(begin_at(leaf, &walk, 600, 602), 0);
	assert_int_equal(publish_walk(leaf, &walk, 600, 602, HMM_PFN_WRITE | ORDER(9)), 0);
	leaf1_is(88, 90, PRXE_ENTRY_VALID | PRXE_ENTRY_WRITE);
	shim_mm_range_end(&one);
	take(512, 1024);
	assert_int_equal(begin_at(leaf, &walk, 600, 602), 0);
	shim_mm_range_start(&one);
	shim_mm_range_end(&one);
	assert_int_equal(publish_walk(leaf, &walk, 600, 602, HMM_PFN_WRITE | ORDER(9)), 0);
	leaf1_is(88, 90, PRXE_ENTRY_VALID | PRXE_ENTRY_WRITE);
	take(512, 1024);
	prxe_leaf_unpin(leaf);

	/*
	 * A leaf that is made while one is in flight: that one has walked by, and counts all the
	 * same.
	 */
	shim_work_run(true);
	shim_rcu_drain();
	assert_null(leaf_at(512));
	shim_mm_range_start(&one);
	leaf = prxe_leaf_pin(mirror, va_of(512), GFP_KERNEL);
	assert_int_equal(begin_at(leaf, &walk, 512, 1024), -EAGAIN);
	assert_int_equal(begin_at(leaf, &walk, 512, 520), 0);
	assert_int_equal(publish_walk(leaf, &walk, 512, 520, HMM_PFN_WRITE), 0);
	shim_mm_range_end(&one);
	assert_int_equal(begin_at(leaf, &walk, 512, 1024), 0);
	prxe_leaf_end(leaf, &walk);
	leaf1_is(0, 8, PRXE_ENTRY_VALID | PRXE_ENTRY_WRITE);

	/*
	 * One that may not block, and fails at another notifier, has no end. It is the end of this
	 * mirror.
	 */
	assert_int_equal(begin_at(leaf, &walk, 700, 701), 0);
	one = range_of(512, 513);
	one.flags = 0;
	shim_mm_range_start(&one);
	leaf1_is(1, 8, PRXE_ENTRY_VALID | PRXE_ENTRY_WRITE);
	assert_int_equal(mirror->inflight.num, 0);
	assert_int_equal(publish_walk(leaf, &walk, 700, 701, HMM_PFN_WRITE), -ESRCH);
	assert_ptr_equal(prxe_leaf_pin(mirror, va_of(0), GFP_KERNEL), ERR_PTR(-ESRCH));
	shim_mm_range_end(&one);	/* where it did not fail */
	prxe_leaf_unpin(leaf);
	shut_down();
}

/* As many as there are threads; and where there is no memory to list them, all faults wait. */
static void many_in_flight(void **state)
{
	struct mmu_notifier_range range[100];
	struct prxe_leaf_walk walk;
	struct prxe_leaf *leaf;

	start_up();
	leaf = prxe_leaf_pin(mirror, va_of(512), GFP_KERNEL);
	for (int no_memory = 0; no_memory < 2; no_memory++) {
		u32 n = no_memory ? mirror->inflight.room + 3 : ARRAY_SIZE(range), i;

		n = min_t(u32, n, ARRAY_SIZE(range));
		if (no_memory) {	/* a new mirror's table */
			prxe_leaf_unpin(leaf);
			shut_down();
			start_up();
			leaf = prxe_leaf_pin(mirror, va_of(512), GFP_KERNEL);
			n = mirror->inflight.room + 3;
		}
		for (i = 0; i < n; i++) {
			range[i] = range_of(512 + i, 513 + i);
			shim_alloc_fails = no_memory;
			shim_mm_range_start(&range[i]);
			shim_alloc_fails = 0;
		}
		for (i = 0; i < n; i++)
			assert_int_equal(begin_at(leaf, &walk, 512 + i, 513 + i), -EAGAIN);
		if (no_memory) {
			assert_int_equal(mirror->inflight.unlisted, 3);
			assert_true(prxe_inflight_any(&mirror->inflight));
			assert_int_equal(begin_at(leaf, &walk, 900, 901), -EAGAIN);
		} else {
			assert_int_equal(begin_at(leaf, &walk, 900, 901), 0);
			prxe_leaf_end(leaf, &walk);
		}
		/* In any order. */
		for (i = n - 1; i > 0; i--) {
			u32 k = rnd_below(&r, i + 1);

			swap(range[i], range[k]);
		}
		for (i = 0; i < n; i++)
			shim_mm_range_end(&range[i]);
		assert_int_equal(mirror->inflight.num + mirror->inflight.unlisted, 0);
		assert_false(prxe_inflight_any(&mirror->inflight));
		assert_int_equal(begin_at(leaf, &walk, 512, 1024), 0);
		prxe_leaf_end(leaf, &walk);
	}
	prxe_leaf_unpin(leaf);
	shut_down();
}

/*
 * Invalidations that are in flight while a mirror is made: each is counted from start to end, or
 * not at all. An end alone, and a start alone, would end this program (WARN_ON in inflight.c), or
 * be found below.
 */
static struct mmu_notifier_range first_leaf(struct mm_struct *m)
{
	return (struct mmu_notifier_range){
		.mm = m, .start = BASE, .end = BASE + PRXE_LEAF_SIZE,
		.flags = MMU_NOTIFIER_RANGE_BLOCKABLE,
	};
}

static int early;
static struct mmu_notifier_range early_range;
static void *ends_soon(void *arg)
{
	usleep(20000);
	shim_mm_range_end(&early_range);
	return NULL;
}

static pthread_t early_thread;
static void starts_between(struct mm_struct *m)
{
	/* The interval notifier is in the tree, the plain one is not registered yet. */
	m->on_register = NULL;
	early_range = first_leaf(m);
	if (early)
		shim_mm_range_start(&early_range);
	pthread_create(&early_thread, NULL, ends_soon, NULL);
}

static void in_flight_at_set_up(void **state)
{
	struct prxe_leaf_walk walk;
	struct prxe_leaf *leaf;

	for (early = 0; early < 2; early++) {
		assert_int_equal(prxe_mirror_init(), 0);
		mm = shim_mm_new();
		shim_task.mm = mm;
		early_range = first_leaf(mm);
		/* Before both of the notifiers: the first is inserted late. */
		if (!early)
			shim_mm_range_start(&early_range);
		mm->on_register = starts_between;
		mirror = prxe_mirror_get_current();
		assert_false(IS_ERR(mirror));
		pthread_join(early_thread, NULL);
		assert_int_equal(mirror->inflight.num, 0);
		assert_int_equal(shim_mm_intervals(mm), 1);
		leaf = prxe_leaf_pin(mirror, BASE, GFP_KERNEL);
		assert_int_equal(begin_at(leaf, &walk, 0, 512), 0);
		prxe_leaf_end(leaf, &walk);
		/* From now on it hears of each. */
		shim_mm_range_start(&early_range);
		assert_int_equal(begin_at(leaf, &walk, 0, 512), -EAGAIN);
		shim_mm_range_end(&early_range);
		assert_int_equal(begin_at(leaf, &walk, 0, 512), 0);
		prxe_leaf_end(leaf, &walk);
		prxe_leaf_unpin(leaf);
		/* The last user leaves between a start and its end. */
		shim_mm_range_start(&early_range);
		prxe_mirror_unuse(mirror);
		shim_mm_range_end(&early_range);
		mirror_gone();
	}
}

/* ---- who waits for whom, and how often ---- */

struct waiter {
	pthread_t t;
	struct mmu_notifier_range range;
	int publishes;		/* page @publishes of leaf 1, else the range is invalidated */
};

static void *waiter_run(void *arg)
{
	struct waiter *w = arg;

	shim_cpu = 9;
	if (w->publishes) {
		assert_int_equal(publish_at(w->publishes, 1, HMM_PFN_WRITE, true), 0);
	} else {
		shim_mm_range_start(&w->range);
		shim_mm_range_end(&w->range);
	}
	return NULL;
}

static void waiter_start(struct waiter *w)
{
	pthread_create(&w->t, NULL, waiter_run, w);
}

/* Is it over within @ms? Then it was joined. */
static bool waiter_over(struct waiter *w, u64 ms)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += ms / 1000;
	ts.tv_nsec += ms % 1000 * NSEC_PER_MSEC;
	if (ts.tv_nsec >= NSEC_PER_SEC) {
		ts.tv_sec++;
		ts.tv_nsec -= NSEC_PER_SEC;
	}
	return !pthread_timedjoin_np(w->t, NULL, &ts);
}

/*
 * What a publication drops may still be in use: the next invalidation, which finds nothing of it,
 * waits for that; also when its leaf has no table entry at all.
 */
static void dropped_by_publication(void **state)
{
	struct waiter w = { .publishes = 512 + 3 }, inv = { .range = { } };
	struct prxe_leaf *leaf;

	start_up();
	map_large();
	inv.range = range_of(600, 601);
	assert_int_equal(publish_at(512, 1, HMM_PFN_WRITE | ORDER(9), true), 0);
	leaf = leaf_at(512);
	shim_cpu = 3;
	assert_ptr_equal(prxe_mirror_hit(mirror, va_of(600), false), leaf);
	local_bh_disable();
	prxe_window_enter(NULL, leaf, NULL, NULL);
	assert_true(entry_at(600) & PRXE_ENTRY_VALID);
	/* We copy from page 600; a fault finds that what is there is many pages now. */
	waiter_start(&w);
	while (READ_ONCE(leaf->whole) & PRXE_ENTRY_VALID)
		sched_yield();
	waiter_start(&inv);
	assert_false(waiter_over(&inv, 60));
	prxe_window_leave();
	local_bh_enable();
	pthread_join(inv.t, NULL);
	pthread_join(w.t, NULL);
	leaf1_is(3, 4, PRXE_ENTRY_VALID | PRXE_ENTRY_WRITE);
	assert_int_equal(atomic_read(&mirror->syncing), 0);
	shim_cpu = 0;
	shut_down();
}

/*
 * Only processors that have looked a leaf up are waited for; and those that name another leaf are
 * not.
 */
static void whose_windows(void **state)
{
	struct waiter w;
	struct prxe_leaf *leaf, *other;

	start_up();
	map_large();
	other = prxe_leaf_pin(mirror, va_of(1024), GFP_KERNEL);
	for (int used = 0; used < 3; used++) {
		assert_int_equal(publish_at(512, 2, HMM_PFN_WRITE, true), 0);
		leaf = leaf_at(512);
		w = (struct waiter){ .range = range_of(512, 513) };
		shim_cpu = 4;
		if (used)
			prxe_mirror_hit(mirror, va_of(512), false);
		local_bh_disable();
		prxe_window_enter(NULL, used == 1 ? other : leaf, NULL, NULL);
		waiter_start(&w);
		if (used < 2) {
			assert_true(waiter_over(&w, 20000));
		} else {
			assert_false(waiter_over(&w, 60));
		}
		prxe_window_leave();
		local_bh_enable();
		if (used == 2)
			pthread_join(w.t, NULL);
		shim_cpu = 0;
		take(512, 1024);
	}
	/* Who finds nothing waits for who has cleared it, whatever the leaf. */
	assert_int_equal(publish_at(512, 1, HMM_PFN_WRITE, true), 0);
	leaf = leaf_at(512);
	shim_cpu = 4;
	local_bh_disable();
	prxe_window_enter(NULL, leaf, NULL, NULL);
	w = (struct waiter){ .range = range_of(512, 513) };
	waiter_start(&w);
	while (!atomic_read(&mirror->syncing) || entry_at(512) & PRXE_ENTRY_VALID)
		sched_yield();
	{
		struct waiter second = { .range = range_of(512, 513) };

		waiter_start(&second);
		assert_false(waiter_over(&second, 60));
		prxe_window_leave();
		local_bh_enable();
		pthread_join(second.t, NULL);
	}
	pthread_join(w.t, NULL);
	shim_cpu = 0;
	prxe_leaf_unpin(other);
	shut_down();
}

/*
 * However many leaves go: one wait. What a leaf costs does not depend on how many processors there
 * are.
 */
static void one_wait(void **state)
{
	static const int cpus[] = { 1, 4, 16, 64 };
	const u32 leaves = 1024;
	struct page *page;

	start_up();
	page = new_page();
	for (u32 c = 0; c < ARRAY_SIZE(cpus); c++) {
		struct mmu_notifier_range range = {
			.mm = mm, .start = BASE, .end = BASE + leaves * PRXE_LEAF_SIZE,
			.flags = MMU_NOTIFIER_RANGE_BLOCKABLE,
		};
		unsigned long pfn = page_to_pfn(page) | HMM_PFN_VALID;
		int barriers;
		u64 ns;

		for (u32 i = 0; i < leaves; i++) {
			unsigned long va = BASE + i * PRXE_LEAF_SIZE;
			struct prxe_leaf *leaf = prxe_leaf_pin(mirror, va, GFP_KERNEL);
			struct prxe_leaf_walk walk;

			assert_int_equal(prxe_leaf_begin(leaf, &walk, va, va + PAGE_SIZE), 0);
			assert_int_equal(prxe_leaf_publish(leaf, &walk, va, 1, &pfn, false,
							   GFP_KERNEL), 0);
			prxe_leaf_unpin(leaf);
		}
		for (int i = 0; i < cpus[c]; i++) {
			shim_cpu = i;
			prxe_mirror_hit(mirror, BASE, false);
		}
		shim_cpu = 0;
		barriers = READ_ONCE(shim_barrier_word);
		ns = ktime_get_ns();
		shim_mm_range_start(&range);
		ns = ktime_get_ns() - ns;
		barriers = READ_ONCE(shim_barrier_word) - barriers;
		shim_mm_range_end(&range);
		printf("%2d processors: %u leaves, %llu ns each, %d barriers\n", cpus[c], leaves,
		       (unsigned long long)ns / leaves, barriers);
		assert_true(barriers < 10);	/* each wait has two */
	}
	shut_down();
}

/* A mark on an entry that is not valid says nothing. */
static void mark_on_nothing(void **state)
{
	struct prxe_leaf *leaf;

	start_up();
	map_large();
	assert_int_equal(publish_at(512, 1, HMM_PFN_WRITE, true), 0);
	leaf = leaf_at(512);
	leaf->entry[7] = PRXE_ENTRY_ACCESSED;
	assert_true(mm->mn->ops->test_young(mm->mn, mm, va_of(512)));
	assert_false(mm->mn->ops->test_young(mm->mn, mm, va_of(519)));
	shut_down();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables),
		cmocka_unit_test(edges),
		cmocka_unit_test(whole_leaf),
		cmocka_unit_test(remembered),
		cmocka_unit_test(remembered_apart),
		cmocka_unit_test(orders),
		cmocka_unit_test(many_in_flight),
		cmocka_unit_test(in_flight_at_set_up),
		cmocka_unit_test(dropped_by_publication),
		cmocka_unit_test(whose_windows),
		cmocka_unit_test(one_wait),
		cmocka_unit_test(mark_on_nothing),
		cmocka_unit_test(make_leaf),
		cmocka_unit_test(failures),
		cmocka_unit_test(no_mirror),
		cmocka_unit_test(lock_held),
	};

	RUN_TESTS(tests);
}
