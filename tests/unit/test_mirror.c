// SPDX-License-Identifier: BSD-2-Clause
/*
 * kernel/mirror.c, and with threads mem.c and window.c too: the tables against a model of the address space.
 *
 * The MM is a table of virtual pages. It tells its notifiers before it takes a page away, write-protects or cleans it, and is free to reuse
 * the page as soon as they have returned: whatever translation outlives that is a bug.
 */
#include "common.h"
#include "mem.h"
#include "mirror.h"
#include "mr.h"
#include "prxe.h"
#include "qp.h"
#include "window.h"

bool prxe_force_fault;
static u32 pools;
struct prxe_fault_pool *prxe_fault_pool_create(struct prxe_mirror *mirror)
{
	pools++;
	return (void *)&pools;
}
void prxe_fault_pool_kill(struct prxe_fault_pool *pool) { }
void prxe_fault_pool_destroy(struct prxe_fault_pool *pool) { pools--; }

#ifdef MUTANT_NO_SYNC	/* linked with --wrap=prxe_window_sync */
void __wrap_prxe_window_sync(const void *what);
void __wrap_prxe_window_sync(const void *what) { }
#endif

/* ---- one thread: the tables ---- */

#define LEAVES 4
#define PAGES (LEAVES * 512)
#define BASE (0x7f0000000000UL + 17 * PRXE_LEAF_SIZE)

static struct vpage {
	u32 pfn;		/* 0: nothing there */
	bool writable;
	bool error;		/* a snapshot says ERROR (poison, swap) */
} vm[PAGES];
static unsigned long want[PAGES];	/* the entry that must stand there; ACCESSED included */
static struct mm_struct *mm;
static struct prxe_mirror *mirror;
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

	if (!entry || size == PAGE_SIZE)
		return entry ? *entry : 0;
	return *entry + page % 512 * PAGE_SIZE;
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
			assert_int_equal(l->syncing, 0);
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
	prxe_mirror_unuse(mirror);
	shim_work_run(true);
	shim_rcu_drain();
	shim_work_run(true);
	prxe_mirror_exit();
	shim_mm_free(mm);
	free(arena);
	assert_int_equal(pools, 0);
}

/* The MM takes, protects or replaces what stands in [a, b). */
static void invalidate(u32 a, u32 b)
{
	u32 i, how = rnd_below(&r, 5);
	unsigned long off = rnd_below(&r, 4) ? 0 : rnd_below(&r, PAGE_SIZE);	/* ranges need not be whole pages */

	shim_mm_invalidate_start(mm, va_of(a) + off, b == PAGES && rnd_below(&r, 2) ? ULONG_MAX : va_of(b) - (off ? rnd_below(&r, PAGE_SIZE) : 0));
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
	struct prxe_leaf *leaf = prxe_leaf_pin(mirror, va_of(a) + rnd_below(&r, PAGE_SIZE));
	unsigned long pfns[512], seq;
	bool spoiled = !rnd_below(&r, 5);
	u32 i;
	int ret;

	assert_false(IS_ERR(leaf));
	assert_true(atomic_read(&leaf->pins) == 1);
	seq = mmu_interval_read_begin(&leaf->ni);
	for (i = a; i < b; i++)
		pfns[i - a] = snapshot(i);
	if (spoiled) {
		u32 c = a / 512 * 512 + rnd_below(&r, 512), d = c + 1 + rnd_below(&r, 600);

		invalidate(c, min_t(u32, d, PAGES));
		shim_work_run(true);	/* it is pinned: it stays */
		assert_ptr_equal(leaf_at(a), leaf);
	}
	if (!rnd_below(&r, 3)) {	/* of another leaf: no reason to start over */
		u32 c = (a / 512 + 1) % LEAVES * 512;

		invalidate(c, c + 1 + rnd_below(&r, 512));
	}
	prxe_force_fault = !rnd_below(&r, 8);
	ret = prxe_leaf_publish(leaf, seq, va_of(a), b - a, pfns, write);
	assert_int_equal(ret, spoiled ? -EAGAIN : 0);
	for (i = a; i < b && !spoiled; i++) {
		unsigned long keeps = want[i] & PRXE_ENTRY_VALID ? want[i] & (PRXE_ENTRY_WRITE | PRXE_ENTRY_ACCESSED) : 0;

		if (!transferable(i)) {
			/* A page that turned bad keeps what it had until it is taken away. */
			continue;
		}
		want[i] = (unsigned long)shim_pages[vm[i].pfn].vaddr | PRXE_ENTRY_VALID | keeps |
			  (write && vm[i].writable ? PRXE_ENTRY_WRITE : 0) | (prxe_force_fault ? PRXE_ENTRY_FRESH : 0);
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

/* Empty leaves go, others stay, and with each its interval. */
static void reap(void)
{
	u32 leaf, i, n = 0;

	shim_work_run(true);
	shim_rcu_drain();
	for (leaf = 0; leaf < LEAVES; leaf++) {
		bool used = false;

		for (i = leaf * 512; i < (leaf + 1) * 512; i++)
			used |= want[i] & PRXE_ENTRY_VALID;
		assert_int_equal(leaf_at(leaf * 512) != NULL, used);
		n += used;
	}
	assert_int_equal(shim_mm_intervals(mm), n);
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
			invalidate(a, b);
		else if (what < 19)
			age(a, b);
		else
			reap();
		if (!(i % 16))
			check_all();
	}
	check_all();
	invalidate(0, PAGES);
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
			struct prxe_leaf *leaf = prxe_leaf_pin(mirror, va_of(i * 512));
			unsigned long seq = mmu_interval_read_begin(&leaf->ni);

			for (u32 p = 0; p < 512; p++)
				pfns[p] = snapshot(i * 512 + p);
			assert_int_equal(prxe_leaf_publish(leaf, seq, leaf->base, 512, pfns, true), 0);
			prxe_leaf_unpin(leaf);
		}
		shim_mm_invalidate_start(mm, BASE + cases[c].start, BASE + cases[c].end);
		for (i = 0; i < PAGES; i++)
			assert_int_equal(!(entry_at(i) & PRXE_ENTRY_VALID), i >= cases[c].first && i <= cases[c].last);
		shim_mm_invalidate_end(mm);
		invalidate(0, PAGES);
	}
	shut_down();
}

/* ---- one entry for a leaf that the CPU maps by one ---- */

#define ORDER(n)	((unsigned long)(n) << HMM_PFN_ORDER_SHIFT)

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
	struct prxe_leaf *leaf = prxe_leaf_pin(mirror, va_of(page));
	unsigned long pfns[512], seq = mmu_interval_read_begin(&leaf->ni);
	int ret;

	for (u32 i = 0; i < n; i++)
		pfns[i] = (1024 + page % 512 + i) | HMM_PFN_VALID | flags;
	ret = prxe_leaf_publish(leaf, seq, va_of(page), n, pfns, write);
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

/* Each page of leaf 1 translates to its own memory with just these flags; those in [a, b). */
static void leaf1_is(u32 a, u32 b, unsigned long flags)
{
	for (u32 i = 0; i < 512; i++) {
		unsigned long e = entry_at(512 + i);

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
	/* It is old or young as a whole. */
	assert_false(ops->test_young(mm->mn, mm, va_of(512)));
	set_bit(PRXE_ENTRY_ACCESSED_NR, &leaf_at(512)->whole);
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

/* What a CPU remembers of the table is never older than the table. */
static void remembered(void **state)
{
	struct prxe_leaf *leaf;

	start_up();
	map_large();
	for (int i = 0; i < 3; i++) {
		for (u32 page = 0; page < PAGES; page += 512)
			assert_null(prxe_mirror_hit(mirror, va_of(page)));
		assert_int_equal(publish_at(512, 1, HMM_PFN_WRITE, true), 0);
		leaf = leaf_at(512);
		assert_non_null(leaf);
		for (int k = 0; k < 2; k++) {
			assert_ptr_equal(prxe_mirror_hit(mirror, va_of(512 + k)), leaf);
			assert_ptr_equal(prxe_mirror_hit(mirror, va_of(1023)), leaf);
			/* 16 leaves on is the same place, with another number. */
			assert_null(prxe_mirror_hit(mirror, va_of(512) + 16 * PRXE_LEAF_SIZE));
			assert_null(prxe_mirror_hit(mirror, va_of(512) + 17 * 16 * PRXE_LEAF_SIZE));
		}
		assert_ptr_equal(prxe_mirror_hit(mirror, va_of(512)), leaf);
		take(512, 1024);
		shim_work_run(true);
		/* Not freed yet, and not found any more. */
		assert_null(prxe_mirror_hit(mirror, va_of(512)));
		shim_rcu_drain();
	}
	shut_down();
}

/* What fails leaves nothing behind. */
static void failures(void **state)
{
	struct prxe_mirror *other;
	struct prxe_leaf *leaf;
	unsigned long pfn;

	start_up();
	for (int i = 1; i <= 3; i++) {
		shim_alloc_fails = i;
		assert_ptr_equal(prxe_leaf_pin(mirror, BASE), ERR_PTR(-ENOMEM));
		shim_alloc_fails = 0;
		assert_int_equal(shim_mm_intervals(mm), 0);
		assert_null(leaf_at(0));
	}
	/* The same mirror for the same process. */
	other = prxe_mirror_get_current();
	assert_ptr_equal(other, mirror);
	prxe_mirror_unuse(other);
	leaf = prxe_leaf_pin(mirror, BASE);
	assert_ptr_equal(prxe_leaf_pin(mirror, BASE + PRXE_LEAF_SIZE - 1), leaf);
	prxe_leaf_unpin(leaf);
	assert_int_equal(atomic_read(&leaf->pins), 1);
	shim_work_run(true);
	assert_ptr_equal(leaf_at(0), leaf);
	/* The address space ends under a fault. */
	pfn = page_to_pfn(new_page()) | HMM_PFN_VALID;
	shim_mm_exit(mm);
	assert_int_equal(prxe_leaf_publish(leaf, mmu_interval_read_begin(&leaf->ni), BASE, 1, &pfn, false), -ESRCH);
	assert_false(entry_at(0) & PRXE_ENTRY_VALID);
	prxe_leaf_unpin(leaf);
	assert_ptr_equal(prxe_leaf_pin(mirror, BASE), ERR_PTR(-ESRCH));
	shut_down();
}

/* Set-up that fails, set-up of nobody. */
static void no_mirror(void **state)
{
	static const int errors[] = { 1, 2 };

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
	shim_alloc_fails = 2;
	assert_ptr_equal(prxe_mirror_get_current(), ERR_PTR(-ENOMEM));
	shim_alloc_fails = 0;
	/* Twice over: what is gone can come again. */
	for (int i = 0; i < 2; i++) {
		mirror = prxe_mirror_get_current();
		assert_false(IS_ERR(mirror));
		prxe_mirror_unuse(mirror);
		shim_work_run(true);
		shim_rcu_drain();
		assert_int_equal(pools, 0);
	}
	prxe_mirror_exit();
	shim_mm_free(mm);
}

/* ---- threads: the hit path of mem.c against the MM ---- */

#define T_PAGES 24		/* on both sides of a leaf's end */
#define T_BASE (BASE + PRXE_LEAF_SIZE - T_PAGES / 2 * PAGE_SIZE)
#define WORDS 32
static pthread_mutex_t pt_lock = PTHREAD_MUTEX_INITIALIZER;	/* the page tables */
static struct page t_page[T_PAGES];	/* what is mapped; vaddr NULL: nothing */
#define H_BASE (BASE + 2 * PRXE_LEAF_SIZE)	/* a leaf that is mapped by one entry, or not at all */
#define H_PFN(n) (SHIM_PAGES - 512 + (n))
static void *h_mem;		/* under pt_lock */
static bool stop, broken;
static unsigned long hits, misses, published, stale, taken, h_hits, h_published;
static struct prxe_dev dev;
static struct ib_pd pd;
static struct prxe_qp t_qp = { .dev = &dev, .pd = &pd };

static void t_failed(const char *what, u64 v)
{
	if (!__atomic_exchange_n(&broken, true, __ATOMIC_RELAXED))
		fprintf(stderr, "%s: %llx\n", what, (unsigned long long)v);
	WRITE_ONCE(stop, true);
}

/* A page tells where it is mapped; a word of it is for writers. */
static void fill(u64 *page, u32 no)
{
	page[0] = 0;
	for (u32 i = 1; i < WORDS; i++)
		page[i] = (u64)(no + 1) * 0x9e3779b97f4a7c15ULL + i;
}

static void *t_faulter(void *arg)
{
	struct rnd rr = rnd_start(80 + (uintptr_t)arg);
	unsigned long done = 0, again = 0;

	while (!READ_ONCE(stop)) {
		u32 i = rnd_below(&rr, T_PAGES), n = 1 + rnd_below(&rr, 3), k;
		unsigned long va = T_BASE + i * PAGE_SIZE, seq, pfns[3] = { 0 };
		struct prxe_leaf *leaf = prxe_leaf_pin(mirror, va);
		bool write = rnd_below(&rr, 2);
		int ret;

		SHIM_ASSERT(!IS_ERR(leaf));
		if (i + n > T_PAGES || prxe_leaf_index(va) + n > 512)
			n = 1;
		seq = mmu_interval_read_begin(&leaf->ni);
		pthread_mutex_lock(&pt_lock);
		for (k = 0; k < n; k++) {
			struct page *p = &t_page[i + k];

			/* The struct page of a snapshot is that of its time. */
			u32 pfn = 1 + i + k + T_PAGES * (p->tag % 300);	/* below H_PFN */

			if (!p->vaddr && rnd_below(&rr, 2)) {
				p->vaddr = aligned_alloc(PAGE_SIZE, PAGE_SIZE);
				fill(p->vaddr, i + k);
				shim_pages[pfn].vaddr = p->vaddr;
			}
			if (p->vaddr)
				pfns[k] = pfn | HMM_PFN_VALID | HMM_PFN_WRITE;
		}
		pthread_mutex_unlock(&pt_lock);
		if (!rnd_below(&rr, 4))
			sched_yield();
		ret = prxe_leaf_publish(leaf, seq, va, n, pfns, write);
		if (ret == -EAGAIN)
			again++;
		else if (ret)
			t_failed("publish", -ret);
		else
			done++;
		prxe_leaf_unpin(leaf);
	}
	__atomic_fetch_add(&published, done, __ATOMIC_RELAXED);
	__atomic_fetch_add(&stale, again, __ATOMIC_RELAXED);
	return NULL;
}

/* The same for the leaf that is one page of the MM's. */
static void *h_faulter(void *arg)
{
	struct rnd rr = rnd_start(120);
	unsigned long done = 0, again = 0;

	while (!READ_ONCE(stop)) {
		struct prxe_leaf *leaf = prxe_leaf_pin(mirror, H_BASE);
		u32 i = rnd_below(&rr, 512);
		unsigned long pfn = 0, seq;
		int ret;

		SHIM_ASSERT(!IS_ERR(leaf));
		seq = mmu_interval_read_begin(&leaf->ni);
		pthread_mutex_lock(&pt_lock);
		if (!h_mem && rnd_below(&rr, 2)) {
			h_mem = aligned_alloc(PAGE_SIZE, PRXE_LEAF_SIZE);
			for (u32 k = 0; k < 512; k++) {
				fill(h_mem + k * PAGE_SIZE, k);
				shim_pages[H_PFN(k)] = (struct page){ .vaddr = h_mem + k * PAGE_SIZE, .head = &shim_pages[H_PFN(0)] };
			}
		}
		if (h_mem)
			pfn = H_PFN(i) | HMM_PFN_VALID | HMM_PFN_WRITE | ORDER(9);
		pthread_mutex_unlock(&pt_lock);
		if (!rnd_below(&rr, 4))
			sched_yield();
		ret = prxe_leaf_publish(leaf, seq, H_BASE + i * PAGE_SIZE, 1, &pfn, rnd_below(&rr, 2));
		if (ret == -EAGAIN)
			again++;
		else if (ret)
			t_failed("publish a whole leaf", -ret);
		else
			done += pfn != 0;
		prxe_leaf_unpin(leaf);
	}
	__atomic_fetch_add(&h_published, done, __ATOMIC_RELAXED);
	__atomic_fetch_add(&stale, again, __ATOMIC_RELAXED);
	return NULL;
}

static void h_take(struct rnd *rr)
{
	u32 a = rnd_below(rr, 512);

	/* Any part of it takes all. */
	shim_mm_invalidate_start(mm, H_BASE + a * PAGE_SIZE, H_BASE + (a + 1 + rnd_below(rr, 512 - a)) * PAGE_SIZE);
	pthread_mutex_lock(&pt_lock);
	if (h_mem) {
		for (u32 k = 0; k < 512; k++)
			memset(h_mem + k * PAGE_SIZE, 0x5a, WORDS * 8);
		free(h_mem);
		h_mem = NULL;
	}
	pthread_mutex_unlock(&pt_lock);
	shim_mm_invalidate_end(mm);
}

static void *t_taker(void *arg)
{
	struct rnd rr = rnd_start(90 + (uintptr_t)arg);
	unsigned long n = 0;

	shim_cpu = (uintptr_t)arg;
	while (!READ_ONCE(stop)) {
		u32 a = rnd_below(&rr, T_PAGES), b = a + 1 + rnd_below(&rr, T_PAGES - a), i;

		shim_mm_invalidate_start(mm, T_BASE + a * PAGE_SIZE, T_BASE + b * PAGE_SIZE);
		pthread_mutex_lock(&pt_lock);
		for (i = a; i < b; i++) {
			if (!t_page[i].vaddr)
				continue;
			memset(t_page[i].vaddr, 0x5a, PAGE_SIZE);
			free(t_page[i].vaddr);
			t_page[i].vaddr = NULL;
			t_page[i].tag++;
			n++;
		}
		pthread_mutex_unlock(&pt_lock);
		shim_mm_invalidate_end(mm);
		if (!rnd_below(&rr, 4))
			h_take(&rr);
		if (rnd_below(&rr, 2))
			usleep(rnd_below(&rr, 200));
	}
	__atomic_fetch_add(&taken, n, __ATOMIC_RELAXED);
	return NULL;
}

static void *t_copier(void *arg)
{
	struct rnd rr = rnd_start(100 + (uintptr_t)arg);
	unsigned long hit = 0, h_hit = 0, miss_n = 0;
	u64 word[WORDS];

	shim_cpu = (uintptr_t)arg;
	while (!READ_ONCE(stop)) {
		u32 i = rnd_below(&rr, T_PAGES), first = 1 + rnd_below(&rr, WORDS - 1);
		u32 len = (WORDS - first) * 8, k, key = 1 << 8;
		struct prxe_miss miss = {};
		struct prxe_cursor cur;
		ssize_t n;
		u64 orig;
		int ret;

		if (rnd_below(&rr, 2)) {
			key = 2 << 8;
			i = rnd_below(&rr, 512);
		}
		prxe_mem_begin();
		ret = prxe_gate(&t_qp, key, true, i * PAGE_SIZE + first * 8, len, IB_ACCESS_REMOTE_READ, &cur);
		if (ret) {
			t_failed("gate", -ret);
		} else {
			n = prxe_copy_out(word, &cur, len, 0, &miss);
			if (n == len) {
				for (k = 0; k < len / 8; k++)
					if (word[k] != (u64)(i + 1) * 0x9e3779b97f4a7c15ULL + first + k)
						t_failed("read a page that was another's", word[k]);
				hit++;
				h_hit += key == 2 << 8;
			} else if (n || miss.mirror != mirror || miss.write) {
				t_failed("copy", n);
			} else {
				miss_n++;
				prxe_mirror_put(mirror);
			}
		}
		prxe_mem_end();

		/* Writes: only the word that is for them, atomically, so that two writers are no race. */
		prxe_mem_begin();
		ret = prxe_gate(&t_qp, key, true, i * PAGE_SIZE, 8, IB_ACCESS_REMOTE_ATOMIC, &cur);
		if (!ret)
			ret = prxe_copy_atomic(&cur, PRXE_ATOMIC_FETCH_ADD, 0, 1, &orig, &miss);
		prxe_mem_end();
		if (ret == -EAGAIN && miss.mirror == mirror && miss.write)
			prxe_mirror_put(mirror);
		else if (ret)
			t_failed("atomic", -ret);
		else if (orig >> 32)
			t_failed("counted in a page that was another's", orig);
	}
	__atomic_fetch_add(&hits, hit, __ATOMIC_RELAXED);
	__atomic_fetch_add(&h_hits, h_hit, __ATOMIC_RELAXED);
	__atomic_fetch_add(&misses, miss_n, __ATOMIC_RELAXED);
	return NULL;
}

static void *t_reaper(void *arg)
{
	while (!READ_ONCE(stop)) {
		shim_work_run(true);
		shim_rcu_drain();
		usleep(100);
	}
	return NULL;
}

static void threads(void **state)
{
	static void *(*const fn[])(void *) = { t_copier, t_copier, t_taker, t_taker, t_faulter, t_faulter, h_faulter,
						  t_reaper };
	pthread_t t[ARRAY_SIZE(fn)];
	struct prxe_mr mr = {
		.dev = &dev, .pd = &pd, .kind = PRXE_MR_ODP, .access = IB_ACCESS_REMOTE_READ | IB_ACCESS_REMOTE_ATOMIC,
		.rkey = 1 << 8, .lkey = 1 << 8, .length = T_PAGES * PAGE_SIZE, .va = T_BASE, .page_shift = PAGE_SHIFT,
	};
	struct prxe_mr huge = mr;
	uintptr_t i;

	stop = broken = false;
	hits = misses = published = stale = taken = h_hits = h_published = 0;
	assert_int_equal(prxe_mirror_init(), 0);
	mm = shim_mm_new();
	shim_task.mm = mm;
	mirror = prxe_mirror_get_current();
	assert_false(IS_ERR(mirror));
	mr.mirror = huge.mirror = mirror;
	huge.rkey = huge.lkey = 2 << 8;
	huge.va = H_BASE;
	huge.length = PRXE_LEAF_SIZE;
	spin_lock_init(&mr.lock);
	spin_lock_init(&huge.lock);
	prxe_mr_set_live(&mr);
	prxe_mr_set_live(&huge);
	xa_init(&dev.keys);
	xa_store(&dev.keys, 2, &huge, GFP_KERNEL);
	xa_store(&dev.keys, 1, &mr, GFP_KERNEL);

	for (i = 0; i < ARRAY_SIZE(fn); i++)
		pthread_create(&t[i], NULL, fn[i], (void *)(i + 1));
	for (i = 0; i < 250 && !READ_ONCE(stop); i++)
		usleep(10000);
	WRITE_ONCE(stop, true);
	for (i = 0; i < ARRAY_SIZE(fn); i++)
		pthread_join(t[i], NULL);
	printf("%lu hits (%lu of a whole leaf), %lu misses, %lu + %lu published, %lu stale, %lu pages taken away\n", hits, h_hits, misses,
	       published, h_published, stale, taken);
	assert_false(broken);
	assert_true(hits > 10 && h_hits > 10 && misses > 10 && published > 10 && h_published > 10 && taken > 10);

	prxe_mr_set_not_live(&mr, PRXE_MR_DEAD);
	prxe_mr_set_not_live(&huge, PRXE_MR_DEAD);
	xa_erase(&dev.keys, 1);
	xa_erase(&dev.keys, 2);
	prxe_window_sync(&mr);
	prxe_window_sync(&huge);
	prxe_mirror_unuse(mirror);
	shim_work_run(true);
	shim_rcu_drain();
	shim_work_run(true);
	prxe_mirror_exit();
	shim_mm_free(mm);
	xa_destroy(&dev.keys);
	for (i = 0; i < T_PAGES; i++) {
		free(t_page[i].vaddr);
		t_page[i].vaddr = NULL;
	}
	free(h_mem);
	h_mem = NULL;
	assert_int_equal(pools, 0);
}

/* The last user leaves while faults hold leaves and the reaper runs: every leaf goes, every interval, the mirror. */
static int closing_step;
static void *c_faulter(void *arg)
{
	struct rnd rr = rnd_start(110 + (uintptr_t)arg);
	unsigned long pfn = HMM_PFN_VALID | (uintptr_t)arg;

	while (!READ_ONCE(closing_step))
		sched_yield();
	for (;;) {
		unsigned long va = BASE + rnd_below(&rr, LEAVES) * PRXE_LEAF_SIZE;
		struct prxe_leaf *leaf = prxe_leaf_pin(mirror, va);

		if (IS_ERR(leaf))
			break;
		prxe_leaf_publish(leaf, mmu_interval_read_begin(&leaf->ni), va + (uintptr_t)arg * PAGE_SIZE, 1, &pfn, false);
		prxe_leaf_unpin(leaf);
	}
	prxe_mirror_put(mirror);
	return NULL;
}

static void closing(void **state)
{
	void *mem = aligned_alloc(PAGE_SIZE, 4 * PAGE_SIZE);

	for (int i = 1; i < 4; i++)
		shim_pages[i] = (struct page){ .vaddr = mem + i * PAGE_SIZE };
	assert_int_equal(prxe_mirror_init(), 0);
	for (int round = 0; round < 120; round++) {
		pthread_t t[4];
		uintptr_t i;

		mm = shim_mm_new();
		shim_task.mm = mm;
		mirror = prxe_mirror_get_current();
		assert_false(IS_ERR(mirror));
		closing_step = 0;
		stop = false;
		for (i = 1; i < 4; i++) {
			assert_true(prxe_mirror_tryget(mirror));
			pthread_create(&t[i], NULL, c_faulter, (void *)i);
		}
		pthread_create(&t[0], NULL, t_reaper, NULL);
		WRITE_ONCE(closing_step, 1);
		usleep(round % 8 * 30);
		if (round & 1) {
			shim_mm_invalidate_start(mm, BASE, BASE + PAGES * PAGE_SIZE);
			shim_mm_invalidate_end(mm);
		}
		prxe_mirror_unuse(mirror);
		for (i = 1; i < 4; i++)
			pthread_join(t[i], NULL);
		WRITE_ONCE(stop, true);
		pthread_join(t[0], NULL);
		shim_work_run(true);
		shim_rcu_drain();
		shim_work_run(true);
		assert_int_equal(shim_mm_intervals(mm), 0);
		assert_int_equal(pools, 0);
		shim_mm_free(mm);
	}
	prxe_mirror_exit();
	free(mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#if !defined(__SANITIZE_THREAD__) && !defined(MUTANT_NO_SYNC) && !defined(MUTANT_NO_RETRY)
		cmocka_unit_test(tables),
		cmocka_unit_test(edges),
		cmocka_unit_test(whole_leaf),
		cmocka_unit_test(remembered),
		cmocka_unit_test(failures),
		cmocka_unit_test(no_mirror),
#endif
		cmocka_unit_test(threads),
		cmocka_unit_test(closing),
	};

	(void)tables, (void)edges, (void)whole_leaf, (void)remembered, (void)failures, (void)no_mirror;
	dev.stats = shim_alloc_percpu(sizeof(struct prxe_stats));
	RUN_TESTS(tests);
}
