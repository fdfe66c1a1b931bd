// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Copying through what the gate has granted. It calls the MMU's tables and windows (mmu/) only.
 */
#include <linux/mm.h>
#include <linux/skbuff.h>
#include <linux/uaccess.h>
#include "base/prxe.h"
#include "mem/copy.h"
#include "mem/gate.h"
#include "mem/key.h"
#include "mmu/mirror.h"
#include "mmu/window.h"

/* ---- one side of a copy ---- */

struct side {
	struct prxe_cursor *cur;
	bool write;
	/* ODP only: */
	unsigned long need;		/* bits of an entry that can be used at once */
	struct prxe_leaf *leaf;		/* of the cursor's position; NULL when there is none */
	unsigned long no;		/* its number */
	/* Its translations when it was looked at last: one for each page, or one for all of it. */
	unsigned long *table;
	unsigned long pages, offset;	/* masks: of an index, of a byte in an entry's memory */
	unsigned long *entry;		/* what side_map() found */
};

#define SIDE(c, w)	{ .cur = (c), .write = (w), .no = ULONG_MAX, .need = side_need(w) }

static __always_inline unsigned long side_need(bool write)
{
	return PRXE_ENTRY_VALID | PRXE_ENTRY_ACCESSED | (write ? PRXE_ENTRY_WRITE : 0) |
	       (unlikely(READ_ONCE(prxe_force_fault)) ? PRXE_ENTRY_FRESH : 0);
}

/* Bytes that one window may move here: to the end of the page. Those of a fast MR may be small. */
static __always_inline size_t side_room(const struct side *s)
{
	size_t unit = min(PAGE_SIZE, 1UL << s->cur->mr->page_shift);

	return unit - (s->cur->addr & (unit - 1));
}

/* The leaf may get another table at any time; what an entry says is valid inside a window only. */
static __always_inline void side_table(struct side *s)
{
	unsigned long size;

	s->table = prxe_leaf_table(s->leaf, &size);
	s->pages = PRXE_LEAF_SIZE / size - 1;
	s->offset = size - 1;
}

/* Before the window is opened: find what it has to name. False: nothing is there. */
static __always_inline bool side_find(struct side *s)
{
	unsigned long no;

	if (s->cur->mr->kind != PRXE_MR_ODP)
		return true;
	no = s->cur->addr >> PRXE_LEAF_SHIFT;
	if (no != s->no) {
		s->leaf = prxe_mirror_hit(s->cur->mr->mirror, s->cur->addr, s->write);
		s->no = no;
		if (s->leaf)
			side_table(s);
	}
	return s->leaf;
}

/*
 * Slow path, inside the window: the table may have moved, or only ACCESSED is missing (then set
 * it). Returns the entry, or 0 if a fault is needed.
 */
static noinline unsigned long side_again(struct side *s)
{
	unsigned long need = s->need & ~PRXE_ENTRY_ACCESSED, e;

	side_table(s);
	s->entry = &s->table[s->cur->addr >> PAGE_SHIFT & s->pages];
	e = READ_ONCE(*s->entry);
	if ((e & need) != need)
		return 0;
	/* Not on what was cleared meanwhile: a bit alone would be nobody's to clear. */
	if (!(e & PRXE_ENTRY_ACCESSED))
		cmpxchg(s->entry, e, e | PRXE_ENTRY_ACCESSED);
	return e;
}

/* Inside the window: where is it? NULL: a fault is needed; ERR_PTR(-ESTALE). */
static __always_inline void *side_map(struct side *s)
{
	const struct prxe_cursor *cur = s->cur;
	const struct prxe_mr *mr = cur->mr;
	unsigned long e;

	if (unlikely(READ_ONCE(cur->key->seq) != cur->seq))
		return ERR_PTR(-ESTALE);
	switch (mr->kind) {
	case PRXE_MR_ODP:
		s->entry = &s->table[cur->addr >> PAGE_SHIFT & s->pages];
		e = READ_ONCE(*s->entry);
		if (unlikely((e & s->need) != s->need)) {
			e = side_again(s);
			if (!e)
				return NULL;
		}
		return PRXE_ENTRY_ADDR(e) + (cur->addr & s->offset);
	case PRXE_MR_DMA:
		return (void *)(unsigned long)cur->addr;
	default:
		return (void *)(mr->page[cur->addr >> mr->page_shift] +
				(cur->addr & ((1UL << mr->page_shift) - 1)));
	}
}

/* Inside the window, when all sides are there: with force_fault the next use is a fault again. */
static __always_inline void side_use(struct side *s)
{
	if (unlikely(s->need & PRXE_ENTRY_FRESH) && s->cur->mr->kind == PRXE_MR_ODP)
		clear_bit(PRXE_ENTRY_FRESH_NR, s->entry);
}

static __always_inline void side_advance(struct side *s, size_t n)
{
	s->cur->addr += n;
	s->cur->len -= n;
}

/* Outside the window; @len of the operation are left from here on. */
static noinline void side_miss(const struct side *s, size_t len, u64 ahead, struct prxe_miss *miss)
{
	struct prxe_mr *mr = s->cur->mr;

	/* No mirror: a kernel consumer's address 0. No reference: the MR is going; see ESTALE. */
	if (!mr->mirror || !prxe_mirror_tryget(mr->mirror))
		return;
	miss->mirror = mr->mirror;
	miss->va = s->cur->addr;
	/* @ahead is bounded by the other side, too; all that was granted here will be wanted. */
	ahead = min_t(u64, ahead, PRXE_FAULT_MAX);
	miss->len = min_t(u64, max_t(u64, len + ahead, s->cur->len), PRXE_FAULT_MAX);
	miss->write = s->write;
	atomic64_inc(&mr->faults);
	prxe_mirror_count_fault(mr->mirror, false);
	prxe_count(mr->dev, page_faults);
}

/* ---- moving ---- */

/* @d, @s: kernel addresses of a side, NULL when it is not an MR's. 0 or -EHWPOISON. */
typedef int (*move_fn)(void *d, const void *s, size_t n, size_t done, const void *arg);

static __always_inline ssize_t move(struct prxe_cursor *dst, struct prxe_cursor *src, size_t len,
				    u64 ahead, struct prxe_miss *miss, move_fn fn, const void *arg)
{
	struct side d = SIDE(dst, true), s = SIDE(src, false);
	const struct side *missing = NULL;
	void *dp = NULL, *sp = NULL;
	size_t done = 0;
	int ret = 0;

	miss->mirror = NULL;
	if (!len)
		return 0;
	if (WARN_ON_ONCE((dst && len > dst->len) || (src && len > src->len)))
		return -EACCES;

	preempt_disable();	/* on PREEMPT_RT, disabling BH does not disable preemption */
	do {
		size_t n = len - done;

		if (src) {
			n = min(n, side_room(&s));
			if (!side_find(&s)) {
				missing = &s;
				break;
			}
		}
		if (dst) {
			n = min(n, side_room(&d));
			if (!side_find(&d)) {
				missing = &d;
				break;
			}
		}
		prxe_window_enter(dst ? dst->key : NULL, d.leaf, src ? src->key : NULL, s.leaf);
		if (src) {
			sp = side_map(&s);
			if (IS_ERR_OR_NULL(sp)) {
				ret = PTR_ERR(sp);
				missing = &s;
				break;
			}
		}
		if (dst) {
			dp = side_map(&d);
			if (IS_ERR_OR_NULL(dp)) {
				ret = PTR_ERR(dp);
				missing = &d;
				break;
			}
		}
		if (src)
			side_use(&s);
		if (dst)
			side_use(&d);
		ret = fn(dp, sp, n, done, arg);
		if (unlikely(ret))
			break;
		if (src)
			side_advance(&s, n);
		if (dst)
			side_advance(&d, n);
		done += n;
	} while (done < len);
	prxe_window_leave();
	preempt_enable();

	if (missing && !ret) {
		side_miss(missing, len - done, ahead, miss);
		if (!miss->mirror)
			ret = -ESTALE;
		else
			return done;
	}
	return done ? done : ret;
}

/* The page may be poisoned: say so instead of crashing, where the architecture can. */
static __always_inline int copy_from_page(void *d, const void *s, size_t n)
{
	return copy_mc_to_kernel(d, s, n) ? -EHWPOISON : 0;
}

static __always_inline int move_copy(void *d, const void *s, size_t n, size_t done, const void *arg)
{
	if (unlikely((size_t)(d - s) < n || (size_t)(s - d) < n)) {
		memmove(d, s, n);
		return 0;
	}
	return copy_from_page(d, s, n);
}

ssize_t prxe_copy(struct prxe_cursor *dst, struct prxe_cursor *src, size_t len, u64 ahead,
		  struct prxe_miss *miss)
{
	return move(dst, src, len, ahead, miss, move_copy, NULL);
}

static __always_inline int move_in(void *d, const void *s, size_t n, size_t done, const void *arg)
{
	memcpy(d, arg + done, n);
	return 0;
}

ssize_t prxe_copy_in(struct prxe_cursor *dst, const void *src, size_t len, u64 ahead,
		     struct prxe_miss *miss)
{
	return move(dst, NULL, len, ahead, miss, move_in, src);
}

static __always_inline int move_out(void *d, const void *s, size_t n, size_t done, const void *arg)
{
	return copy_from_page((void *)arg + done, s, n);
}

ssize_t prxe_copy_out(void *dst, struct prxe_cursor *src, size_t len, u64 ahead,
		      struct prxe_miss *miss)
{
	return move(NULL, src, len, ahead, miss, move_out, dst);
}

struct skb_source {
	const struct sk_buff *skb;
	int off;
};

static __always_inline int move_skb(void *d, const void *s, size_t n, size_t done, const void *arg)
{
	const struct skb_source *from = arg;

	return skb_copy_bits(from->skb, from->off + done, d, n);
}

ssize_t prxe_copy_skb(struct prxe_cursor *dst, const struct sk_buff *skb, int off, size_t len,
		      u64 ahead, struct prxe_miss *miss)
{
	struct skb_source from = { .skb = skb, .off = off };

	return move(dst, NULL, len, ahead, miss, move_skb, &from);
}

struct atomic_op {
	enum prxe_atomic_op op;
	u64 compare, swap_add;
	u64 *orig;
};

static __always_inline int move_atomic(void *d, const void *s, size_t n, size_t done,
				       const void *arg)
{
	const struct atomic_op *a = arg;

	switch (a->op) {
	case PRXE_ATOMIC_CMP_SWP:
		*a->orig = atomic64_cmpxchg(d, a->compare, a->swap_add);
		break;
	case PRXE_ATOMIC_FETCH_ADD:
		*a->orig = atomic64_fetch_add(a->swap_add, d);
		break;
	case PRXE_ATOMIC_WRITE:
		/* All 8 bytes at once, after what was written before. */
		smp_store_release((u64 *)d, a->swap_add);
		*a->orig = 0;
		break;
	}
	return 0;
}

int prxe_copy_atomic(struct prxe_cursor *dst, enum prxe_atomic_op op, u64 compare, u64 swap_add,
		     u64 *orig, struct prxe_miss *miss)
{
	struct atomic_op a = { .op = op, .compare = compare, .swap_add = swap_add, .orig = orig };
	ssize_t n;

	miss->mirror = NULL;
	if (dst->len < sizeof(u64))
		return -EACCES;
	/* Pages are aligned, so the bytes in the page are, too; and one word is in one page. */
	if (dst->addr & (sizeof(u64) - 1))
		return -EINVAL;
	n = move(dst, NULL, sizeof(u64), 0, miss, move_atomic, &a);
	if (n == sizeof(u64))
		return 0;
	return n < 0 ? n : -EAGAIN;
}

ssize_t prxe_copy_probe(struct prxe_cursor *cur, bool write, size_t len, u64 ahead,
			struct prxe_miss *miss)
{
	struct prxe_cursor at = *cur;
	struct side s = SIDE(&at, write);
	size_t done = 0;

	miss->mirror = NULL;
	if (!len)
		return 0;
	if (WARN_ON_ONCE(len > cur->len))
		return -EACCES;
	/* Nothing is touched, so that no window is needed: RCU keeps what is looked at. */
	if (READ_ONCE(at.key->seq) != at.seq)
		return -ESTALE;
	if (at.mr->kind != PRXE_MR_ODP)
		return len;
	while (done < len) {
		size_t n = min(len - done, side_room(&s));
		void *p;

		preempt_disable();
		p = side_find(&s) ? side_map(&s) : NULL;
		preempt_enable();
		if (IS_ERR(p))
			return done ? done : PTR_ERR(p);
		if (!p) {
			side_miss(&s, len - done, ahead, miss);
			return miss->mirror || done ? done : -ESTALE;
		}
		side_advance(&s, n);
		done += n;
	}
	return done;
}
