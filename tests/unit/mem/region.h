/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory regions of all kinds, which the gate and the copy functions know, and their bytes in flat
 * arrays. For one file of a program: it has what the kernel's files need from others.
 */
#ifndef TESTS_UNIT_MEM_REGION_H
#define TESTS_UNIT_MEM_REGION_H

#include "common.h"
#include "mem/copy.h"
#include "mem/gate.h"
#include "mmu/mirror.h"
#include "mem/key.h"
#include "mmu/window.h"
#include "transport/qp.h"

bool prxe_force_fault;
void prxe_mirror_put(struct prxe_mirror *m) { SHIM_ASSERT(!refcount_dec_and_test(&m->ref)); }
void prxe_mirror_count_fault(struct prxe_mirror *m, bool handled) { }
static u32 finds;
struct prxe_leaf *prxe_mirror_find(struct prxe_mirror *m, unsigned long va,
				   struct prxe_leaf_cache *c)
{
	finds++;
	return prxe_mirror_leaf(m, va);
}

DEFINE_PER_CPU_ALIGNED(struct prxe_leaf_cache[2][PRXE_LEAF_CACHE], prxe_leaf_caches);

static struct prxe_dev dev;
static struct ib_pd pds[2];
static struct prxe_qp qp[2];
static struct rnd r;

/* An MR and its bytes as the user sees them: flat[0] is at iova. */
struct region {
	struct prxe_mr mr;
	struct prxe_mirror mirror;
	u8 *flat;
	u64 bytes;
	u32 pages;
	bool *there, *writable;		/* of each page; ODP */
};

static void page_bits(struct region *g, u32 i)
{
	unsigned long va = (g->mr.va & PAGE_MASK) + i * PAGE_SIZE;
	struct prxe_leaf *leaf = xa_load(&g->mirror.leaves, va >> PRXE_LEAF_SHIFT);
	unsigned long *e = &leaf->entry[prxe_leaf_index(va)];

	*e &= PAGE_MASK;
	if (g->there[i])
		*e |= PRXE_ENTRY_VALID | (g->writable[i] ? PRXE_ENTRY_WRITE : 0);
}

static struct region *region_new(enum prxe_mr_kind kind, u32 index)
{
	struct region *g = calloc(1, sizeof(*g));
	struct prxe_mr *mr = &g->mr;
	u32 i, unit, off;

	mr->dev = &dev;
	mr->kind = kind;
	mr->pd = &pds[rnd_below(&r, 8) == 0];
	mr->access = rnd_below(&r, 4) ? 15 : rnd_below(&r, 16);
	mr->index = index;
	mr->lkey = mr->rkey = index << 8 | rnd_below(&r, 256);
	mr->page_shift = kind == PRXE_MR_FAST ? 8 + rnd_below(&r, 7) : PAGE_SHIFT;
	spin_lock_init(&mr->lock);
	unit = 1 << mr->page_shift;
	g->pages = 1 + rnd_below(&r, 5);
	off = rnd_below(&r, unit);
	g->bytes = 1 + rnd_below(&r, g->pages * unit - off);
	mr->length = g->bytes;
	/*
	 * iova and va have the offset in a page in common, and nothing else; some end with the
	 * address space.
	 */
	mr->iova = (rnd64(&r) & ~(u64)(unit - 1)) + off;
	if (!rnd_below(&r, 4))
		mr->iova = -(u64)g->bytes;
	g->flat = malloc(g->bytes);
	for (u64 b = 0; b < g->bytes; b++)
		g->flat[b] = pattern(index, b);

	switch (kind) {
	case PRXE_MR_ODP:
		mr->va = (rnd64(&r) >> 17 & PAGE_MASK) + off;
		if (rnd_below(&r, 2))	/* over a leaf's end */
			mr->va = (mr->va | (PRXE_LEAF_SIZE - 1)) + 1 - PAGE_SIZE + off;
		mr->mirror = &g->mirror;
		xa_init(&g->mirror.leaves);
		refcount_set(&g->mirror.ref, 1);
		g->there = calloc(g->pages, sizeof(bool));
		g->writable = calloc(g->pages, sizeof(bool));
		for (i = 0; i < g->pages; i++) {
			unsigned long va = (mr->va & PAGE_MASK) + i * PAGE_SIZE;
			struct prxe_leaf *leaf = xa_load(&g->mirror.leaves, va >> PRXE_LEAF_SHIFT);

			if (!leaf) {
				leaf = calloc(1, sizeof(*leaf));
				leaf->entry = calloc(512, sizeof(long));
				xa_store(&g->mirror.leaves, va >> PRXE_LEAF_SHIFT, leaf, 0);
			}
			leaf->entry[prxe_leaf_index(va)] =
				(unsigned long)aligned_alloc(PAGE_SIZE, PAGE_SIZE);
			g->there[i] = rnd_below(&r, 4);
			g->writable[i] = rnd_below(&r, 4);
			page_bits(g, i);
		}
		break;
	case PRXE_MR_DMA:
		mr->va = (unsigned long)malloc(g->bytes);
		break;
	default:
		mr->va = off;
		mr->page = calloc(g->pages, sizeof(long));
		for (i = 0; i < g->pages; i++)
			mr->page[i] = (unsigned long)malloc(unit);
	}
	return g;
}

/* The byte of memory behind flat[b]. */
static u8 *byte_at(const struct region *g, u64 b)
{
	u64 addr = g->mr.va + b;

	if (g->mr.kind == PRXE_MR_DMA)
		return (u8 *)(unsigned long)addr;
	if (g->mr.kind == PRXE_MR_ODP) {
		struct xarray *leaves = (struct xarray *)&g->mirror.leaves;
		struct prxe_leaf *leaf = xa_load(leaves, addr >> PRXE_LEAF_SHIFT);

		return (u8 *)PRXE_ENTRY_ADDR(leaf->entry[prxe_leaf_index(addr)]) + addr % PAGE_SIZE;
	}
	return (u8 *)g->mr.page[addr >> g->mr.page_shift] +
	       (addr & ((1UL << g->mr.page_shift) - 1));
}

/* Bytes from flat[b] on that are together in memory. */
static u64 together(const struct region *g, u64 b)
{
	u64 unit = g->mr.kind == PRXE_MR_DMA ? g->bytes : 1UL << g->mr.page_shift;
	u64 addr = g->mr.kind == PRXE_MR_DMA ? b : g->mr.va + b;

	return min(unit - addr % unit, g->bytes - b);
}

static void put(struct region *g)
{
	for (u64 b = 0; b < g->bytes; b += together(g, b))
		memcpy(byte_at(g, b), g->flat + b, together(g, b));
}

static void region_free(struct region *g)
{
	struct prxe_leaf *leaf;
	unsigned long no;

	if (g->mr.kind == PRXE_MR_ODP) {
		for (u32 i = 0; i < g->pages; i++) {
			unsigned long va = (g->mr.va & PAGE_MASK) + i * PAGE_SIZE;

			leaf = xa_load(&g->mirror.leaves, va >> PRXE_LEAF_SHIFT);
			free(PRXE_ENTRY_ADDR(leaf->entry[prxe_leaf_index(va)]));
		}
		xa_for_each(&g->mirror.leaves, no, leaf) {
			free(leaf->entry);
			free(leaf);
		}
		xa_destroy(&g->mirror.leaves);
		/* Every miss gave its reference back. */
		assert_int_equal(refcount_read(&g->mirror.ref), 1);
	} else if (g->mr.kind == PRXE_MR_DMA) {
		free((void *)(unsigned long)g->mr.va);
	} else {
		for (u32 i = 0; i < g->pages; i++)
			free((void *)g->mr.page[i]);
		free(g->mr.page);
	}
	free(g->there);
	free(g->writable);
	free(g->flat);
	free(g);
}

/* Bytes of [off, off + len) that can be moved at once. */
static u64 present(const struct region *g, u64 off, u64 len, bool write)
{
	u64 n = 0;

	if (g->mr.kind != PRXE_MR_ODP)
		return len;
	while (n < len) {
		u64 at = (g->mr.va & ~PAGE_MASK) + off + n;
		u32 p = at >> PAGE_SHIFT;

		if (!g->there[p] || (write && !g->writable[p]))
			break;
		n += PAGE_SIZE - at % PAGE_SIZE;
	}
	return min(n, len);
}

/* The gate for local memory: @len bytes from byte @off of an MR. */
static int gate_local(const struct prxe_mr *mr, u64 off, u64 len, struct prxe_cursor *cur)
{
	return prxe_gate(&qp[0].who, mr->lkey, false, mr->iova + off, len, 0, cur);
}

/*
 * What a short count must come with. @granted: what the cursor had; the fault asks for what may
 * still come of it.
 */
static void check_miss(struct region *g, u64 off, u64 n, u64 len, u64 granted, u64 ahead,
		       bool write, struct prxe_miss *miss)
{
	u64 around = min_t(u64, ahead, PRXE_FAULT_MAX);

	if (n == len) {
		assert_null(miss->mirror);
		return;
	}
	assert_ptr_equal(miss->mirror, &g->mirror);
	assert_true(miss->va == g->mr.va + off + n);
	around = max_t(u64, len - n + around, granted - n);
	assert_true(miss->len == min_t(u64, around, PRXE_FAULT_MAX));
	assert_int_equal(miss->write, write);
	prxe_mirror_put(miss->mirror);
}

static void same(const struct region *g)
{
	for (u64 b = 0; b < g->bytes; b += together(g, b))
		if (memcmp(byte_at(g, b), g->flat + b, together(g, b)))
			fail_msg("byte %llu of %llu, kind %d, is not what was put there", b,
				 g->bytes, g->mr.kind);
}

#endif
