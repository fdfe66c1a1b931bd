// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Copying through what the gate has granted. It calls the MMU's tables and windows (mmu/) only.
 */
#include <linux/mm.h>
#include <linux/sizes.h>
#include <linux/skbuff.h>
#include <linux/uaccess.h>
#include "base/piece.h"
#include "base/prxe.h"
#include "mem/copy.h"
#include "mem/gate.h"
#include "mem/key.h"
#include "mmu/mirror.h"
#include "mmu/window.h"

/* ---- one side of a copy ---- */

/* The source or the destination of a copy. */
struct side {
	struct prxe_cursor *cur;
	bool write;
	/* ODP only: */
	unsigned long need;		/* flags that an entry needs for the fast path */
	struct prxe_leaf *leaf;		/* the leaf at the cursor's position, or NULL */
	unsigned long no;		/* addr >> PRXE_LEAF_SHIFT of that leaf */
	/* The leaf's table as last read: an entry for each page, or one for the whole leaf. */
	unsigned long *table;
	unsigned long pages, offset;	/* masks: index in the table, offset in an entry's memory */
	unsigned long *entry;		/* the entry that side_map() used */
};

#define SIDE(c, w)	{ .cur = (c), .write = (w), .no = ULONG_MAX, .need = side_need(w) }

static __always_inline unsigned long side_need(bool write)
{
	return PRXE_ENTRY_VALID | PRXE_ENTRY_ACCESSED | (write ? PRXE_ENTRY_WRITE : 0) |
	       (unlikely(READ_ONCE(prxe_force_fault)) ? PRXE_ENTRY_FRESH : 0);
}

/*
 * How many bytes are moved in one hazard window at most. On PREEMPT_RT it is also how many are
 * moved before the processor may be taken away, so a bigger page is moved in several parts.
 */
#define MOVE_PART \
	min_t(unsigned long, PAGE_SIZE, IS_ENABLED(CONFIG_PREEMPT_RT) ? SZ_4K : PAGE_SIZE)

/*
 * How many bytes one hazard window may move on this side: up to the end of the part. The pages of a
 * fast MR may be smaller.
 */
static __always_inline size_t side_room(const struct side *s)
{
	size_t unit = min(MOVE_PART, 1UL << s->cur->mr->page_shift);

	return unit - (s->cur->addr & (unit - 1));
}

/*
 * Read which table the leaf has. It may get another one at any time; what an entry says is valid
 * only inside a hazard window.
 */
static __always_inline void side_table(struct side *s)
{
	unsigned long size;

	s->table = prxe_leaf_table(s->leaf, &size);
	s->pages = PRXE_LEAF_SIZE / size - 1;
	s->offset = size - 1;
}

/*
 * Before the hazard window opens: find the leaf that it has to name. False: there is no leaf, so a
 * fault is needed.
 */
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
 * Slow path of side_map(), inside the hazard window: the table may have moved, or only ACCESSED is
 * missing (then set it). Returns the entry, or 0 if a fault is needed.
 */
static noinline unsigned long side_again(struct side *s)
{
	unsigned long need = s->need & ~PRXE_ENTRY_ACCESSED, e;

	side_table(s);
	s->entry = &s->table[s->cur->addr >> PAGE_SHIFT & s->pages];
	e = READ_ONCE(*s->entry);
	if ((e & need) != need)
		return 0;
	/*
	 * cmpxchg(): an entry that was cleared meanwhile stays empty. An entry with nothing but
	 * ACCESSED would never be cleared.
	 */
	if (!(e & PRXE_ENTRY_ACCESSED))
		cmpxchg(s->entry, e, e | PRXE_ENTRY_ACCESSED);
	return e;
}

/* Does the MR keep pages of its own, whatever becomes of them? */
static __always_inline bool mr_paged(const struct prxe_mr *mr)
{
	return mr->kind == PRXE_MR_PINNED || mr->kind == PRXE_MR_FAST;
}

/*
 * Is the page, which an MR keeps, known to have a memory error (HWPoison)? On-demand memory never
 * is: its translation goes when the error is found, and is not published again.
 */
static __always_inline bool known_poison(const void *p)
{
	return IS_ENABLED(CONFIG_MEMORY_FAILURE) && is_page_hwpoison(virt_to_page(p));
}

/*
 * Reading a poisoned page ends in an error instead of a crash, where the CPU can do that: in a copy
 * on x86-64 and 64-bit POWER. Elsewhere copy_mc_to_kernel() is a memcpy(), so do not begin it when
 * the error is known. (A struct page is a cache line more for each page, so the others do not ask.)
 */
static __always_inline bool must_not_read(const void *p)
{
	return !IS_ENABLED(CONFIG_ARCH_HAS_COPY_MC) && unlikely(known_poison(p));
}

/*
 * Inside the hazard window: the kernel address of the cursor's position. NULL: a fault is needed;
 * ERR_PTR(-ESTALE): the grant is void; ERR_PTR(-EHWPOISON): to be read, with a memory error.
 */
static __always_inline void *side_map(struct side *s)
{
	const struct prxe_cursor *cur = s->cur;
	const struct prxe_mr *mr = cur->mr;
	unsigned long e;
	void *p;

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
		p = (void *)(mr->page[cur->addr >> mr->page_shift] +
			     (cur->addr & ((1UL << mr->page_shift) - 1)));
		return !s->write && must_not_read(p) ? ERR_PTR(-EHWPOISON) : p;
	}
}

/*
 * Inside the hazard window, when every side has its address. With force_fault, FRESH is cleared
 * here, so that the next use of the entry is a fault again.
 */
static __always_inline void side_use(struct side *s)
{
	if (unlikely(s->need & PRXE_ENTRY_FRESH) && s->cur->mr->kind == PRXE_MR_ODP)
		clear_bit(PRXE_ENTRY_FRESH_NR, s->entry);
}

/* Forget the leaf: it was found on a CPU that this may be no more. */
static __always_inline void side_forget(struct side *s)
{
	s->no = ULONG_MAX;
}

static __always_inline void side_advance(struct side *s, size_t n)
{
	s->cur->addr += n;
	s->cur->len -= n;
}

/*
 * Fill *miss for a fault at the cursor. Outside the hazard window. @len: how many bytes this call
 * has still to move.
 */
static noinline void side_miss(const struct side *s, size_t len, u64 ahead, struct prxe_miss *miss)
{
	struct prxe_mr *mr = s->cur->mr;

	/*
	 * Without a mirror (address 0 of a DMA MR), or when the mirror is being freed, report no
	 * miss: the caller returns -ESTALE.
	 */
	if (!mr->mirror || !prxe_mirror_tryget(mr->mirror))
		return;
	miss->mirror = mr->mirror;
	miss->va = s->cur->addr;
	/* The other side bounds @ahead, but all that was granted on this side will be needed. */
	ahead = min_t(u64, ahead, PRXE_FAULT_MAX);
	miss->len = min_t(u64, max_t(u64, len + ahead, s->cur->len), PRXE_FAULT_MAX);
	miss->write = s->write;
	atomic64_inc(&mr->faults);
	prxe_mirror_count_fault(mr->mirror, false);
	prxe_count(mr->dev, page_faults);
}

/* ---- moving ---- */

/*
 * Move @n bytes. @d, @s: kernel addresses, NULL for a side that is not an MR; @done: how many bytes
 * of the call were moved before; @arg: what stands for the other side. 0 or an error.
 */
typedef int (*move_fn)(void *d, const void *s, size_t n, size_t done, const void *arg);

/*
 * PREEMPT_RT, between two parts: whoever is more urgent runs now. So preemption is off for one part
 * only, MOVE_PART bytes, however long the copy is. Elsewhere nothing happens here: the caller has
 * BH off, which keeps the processor in any case.
 *
 * Why it is safe: what comes next asks for everything again, as if prxe_copy() had ended after this
 * part and been called for the rest, which its callers do anyway when a page is missing. The window
 * is closed, so nobody waits for a task that does not run. The leaf is looked up again, because
 * this may be another CPU, which mirror->cpus must name before a window here names the leaf. The
 * entry and the key's number are read inside each window in any case. RCU, which the caller of
 * prxe_copy() holds, keeps the cursors' MRs.
 */
static __always_inline void move_pause(struct side *d, struct side *s)
{
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		return;
	prxe_window_leave();
	preempt_enable();
	side_forget(d);
	side_forget(s);
	preempt_disable();
}

/*
 * Move @len bytes with @fn, part by part, each in a hazard window of its own. @dst or @src is NULL
 * if that side is not an MR.
 */
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

		if (done)
			move_pause(&d, &s);
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

/* The source page may be poisoned: return an error instead of crashing, where the CPU can. */
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

struct in_parts {
	const struct prxe_parts *parts;
	u32 pos;
};

/* Where byte @pos is, in which part, and how many bytes of the part follow, up to @n of them. */
static __always_inline u32 part_of(const struct prxe_parts *p, u32 pos, u32 *n)
{
	u32 in = pos & ((1U << p->bits) - 1);

	*n = min(*n, (1U << p->bits) - in);
	return (pos >> p->bits) * p->step + in;
}

static __always_inline int move_out_parts(void *d, const void *s, size_t n, size_t done,
					  const void *arg)
{
	const struct in_parts *to = arg;
	int err = 0;
	u32 k;

	for (; n && !err; n -= k, s += k, done += k) {
		u32 at;

		k = n;
		at = part_of(to->parts, to->pos + done, &k);
		err = copy_from_page(to->parts->at + at, s, k);
	}
	return err;
}

ssize_t prxe_copy_out_parts(const struct prxe_parts *dst, u32 pos, struct prxe_cursor *src,
			    size_t len, u64 ahead, struct prxe_miss *miss)
{
	struct in_parts to = { .parts = dst, .pos = pos };

	return move(NULL, src, len, ahead, miss, move_out_parts, &to);
}

static __always_inline int move_in_parts(void *d, const void *s, size_t n, size_t done,
					 const void *arg)
{
	const struct in_parts *from = arg;
	const struct prxe_parts *parts = from->parts;
	const void *piece;
	int err = 0;
	u32 k;

	for (; n && !err; n -= k, d += k, done += k) {
		u32 at;

		k = n;
		at = parts->off + part_of(parts, from->pos + done, &k);
		piece = prxe_skb_piece(parts->skb, at, k);
		if (likely(piece))
			memcpy(d, piece, k);
		else
			err = skb_copy_bits(parts->skb, at, d, k);
	}
	return err;
}

ssize_t prxe_copy_in_parts(struct prxe_cursor *dst, const struct prxe_parts *src, u32 pos,
			   size_t len, u64 ahead, struct prxe_miss *miss)
{
	struct in_parts from = { .parts = src, .pos = pos };

	return move(dst, NULL, len, ahead, miss, move_in_parts, &from);
}

struct atomic_op {
	enum prxe_atomic_op op;
	u64 compare, swap_add;
	u64 *orig;
	bool paged;			/* the MR keeps pages, which may have an error: ask */
};

static __always_inline int move_atomic(void *d, const void *s, size_t n, size_t done,
				       const void *arg)
{
	const struct atomic_op *a = arg;

	/* An atomic instruction reads, and no CPU returns from an error there. */
	if (a->paged && unlikely(known_poison(d)))
		return -EHWPOISON;
	switch (a->op) {
	case PRXE_ATOMIC_CMP_SWP:
		*a->orig = atomic64_cmpxchg(d, a->compare, a->swap_add);
		break;
	case PRXE_ATOMIC_FETCH_ADD:
		*a->orig = atomic64_fetch_add(a->swap_add, d);
		break;
	case PRXE_ATOMIC_WRITE:
		/* One store of all 8 bytes, after everything that was written before. */
		smp_store_release((u64 *)d, a->swap_add);
		*a->orig = 0;
		break;
	}
	return 0;
}

int prxe_copy_atomic(struct prxe_cursor *dst, enum prxe_atomic_op op, u64 compare, u64 swap_add,
		     u64 *orig, struct prxe_miss *miss)
{
	struct atomic_op a = {
		.op = op, .compare = compare, .swap_add = swap_add, .orig = orig,
		.paged = dst->mr && mr_paged(dst->mr),
	};
	ssize_t n;

	miss->mirror = NULL;
	if (dst->len < sizeof(u64))
		return -EACCES;
	/*
	 * Pages are aligned: so an aligned cursor means an aligned kernel address, and all 8 bytes
	 * are in one page.
	 */
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
	/* No memory is touched, so no hazard window is needed; RCU keeps the leaf and its table. */
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
