/* SPDX-License-Identifier: BSD-2-Clause */
/* What the tests of a mirror share: stand-ins for the pool, the address space, its pages. */
#ifndef TESTS_UNIT_MIRROR_COMMON_H
#define TESTS_UNIT_MIRROR_COMMON_H

#include "common.h"
#include "mem/copy.h"
#include "mem/gate.h"
#include "mmu/mirror.h"
#include "mem/key.h"
#include "base/prxe.h"
#include "transport/qp.h"
#include "mmu/window.h"

bool prxe_ageing = true, prxe_force_fault;
static u32 pools;
struct prxe_fault_pool *prxe_fault_pool_create(struct prxe_mirror *mirror)
{
	pools++;
	return (void *)&pools;
}
void prxe_fault_pool_kill(struct prxe_fault_pool *pool) { }
void prxe_fault_pool_orphan(struct prxe_fault_pool *pool) { }
void prxe_fault_pool_destroy(struct prxe_fault_pool *pool) { pools--; }

#define LEAVES 4
#define PAGES (LEAVES * 512)
#define BASE (0x7f0000000000UL + 17 * PRXE_LEAF_SIZE)
/* In a snapshot: the order of what the CPU maps the page with. */
#define ORDER(n) ((unsigned long)(n) << HMM_PFN_ORDER_SHIFT)

static struct mm_struct *mm;
static struct prxe_mirror *mirror;

/* The mirror has no user any more, and everything goes with it. */
static inline void mirror_gone(void)
{
	shim_work_run(true);
	shim_rcu_drain();
	shim_work_run(true);
	prxe_mirror_exit();
	shim_mm_free(mm);
}

static inline void mirror_end(void)
{
	prxe_mirror_unuse(mirror);
	mirror_gone();
}

/* ---- pages, and what the mirror has of them ---- */

static void *arena;
static u32 next_pfn;

static inline unsigned long va_of(u32 page)
{
	return BASE + ((unsigned long)page << PAGE_SHIFT);
}

static inline struct page *new_page(void)
{
	struct page *p;

	do {	/* never the zero page, page 0; tag: it is somewhere */
		next_pfn = next_pfn % (SHIM_PAGES - 1) + 1;
		p = &shim_pages[next_pfn];
	} while (p->tag);
	*p = (struct page){ .vaddr = arena + next_pfn * PAGE_SIZE, .tag = 1 };
	return p;
}

static inline struct prxe_leaf *leaf_at(u32 page)
{
	return prxe_mirror_leaf(mirror, va_of(page));
}

static inline unsigned long entry_at(u32 page)
{
	struct prxe_leaf *leaf = leaf_at(page);
	unsigned long size, *entry = leaf ? prxe_leaf_entry(leaf, va_of(page), &size) : NULL;

	if (!entry || !*entry)
		return 0;
	return size == PAGE_SIZE ? *entry : *entry + page % 512 * PAGE_SIZE;
}

/* A page is dirty before any writable translation of it stands anywhere. */
static inline void dirty_first(struct page *page)
{
	for (u32 i = 0; i < PAGES; i++) {
		unsigned long e = entry_at(i);

		if ((e & PRXE_ENTRY_WRITE) && PRXE_ENTRY_ADDR(e) == page->vaddr)
			assert_true(page->dirty);
	}
}

static inline void start_up(void)
{
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

static inline void shut_down(void)
{
	shim_on_dirty = NULL;
	mirror_end();
	free(arena);
	assert_int_equal(pools, 0);
}

/* ---- a leaf that the CPU maps by one entry ---- */

/* Leaf 1 becomes one large folio of pages 1024 on. */
static inline struct page *map_large(void)
{
	struct page *head = &shim_pages[1024];

	for (u32 i = 0; i < 512; i++)
		head[i] = (struct page){
			.vaddr = arena + (1024 + i) * PAGE_SIZE,
			.head = head,
			.tag = 1,
		};
	return head;
}

static inline int publish_at(u32 page, u32 n, unsigned long flags, bool write)
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

static inline void take(u32 a, u32 b)
{
	shim_mm_invalidate_start(mm, va_of(a), va_of(b));
	for (u32 i = a; i < b; i++)
		assert_false(entry_at(i) & PRXE_ENTRY_VALID);
	shim_mm_invalidate_end(mm);
}

/*
 * Each page of leaf 1 in [a, b) translates to its own memory with just these flags, ACCESSED apart;
 * the others do not.
 */
static inline void leaf1_is(u32 a, u32 b, unsigned long flags)
{
	for (u32 i = 0; i < 512; i++) {
		unsigned long e = entry_at(512 + i) & ~PRXE_ENTRY_ACCESSED;
		unsigned long at = (unsigned long)(arena + (1024 + i) * PAGE_SIZE);

		if (i < a || i >= b)
			assert_false(e & PRXE_ENTRY_VALID);
		else
			assert_int_equal(e, at | flags);
	}
}

/* ---- invalidations in flight ---- */

static inline struct mmu_notifier_range range_of(u32 a, u32 b)
{
	return (struct mmu_notifier_range){
		.mm = mm, .start = va_of(a), .end = va_of(b), .flags = MMU_NOTIFIER_RANGE_BLOCKABLE,
	};
}

static inline int begin_at(struct prxe_leaf *leaf, struct prxe_leaf_walk *walk, u32 a, u32 b)
{
	return prxe_leaf_begin(leaf, walk, va_of(a), va_of(b));
}

#endif
