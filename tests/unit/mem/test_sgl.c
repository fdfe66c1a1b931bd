// SPDX-License-Identifier: BSD-2-Clause
/*
 * kernel/mem/sgl.c and kernel/transport/gather.c over a gate and copy functions that are models:
 * random SGE lists, positions and lengths; kernel memory in parts; memory that is missing, poisoned
 * or taken away in the middle. What arrived is compared with a copy made byte by byte, all other
 * bytes with what was there.
 */
#include "packets.h"
#include "mem/copy.h"
#include "mem/gate.h"
#include "transport/wqe.h"
#include "mem/sgl.h"
#include "transport/gather.h"

#define KEYS 4
#define BYTES 400	/* of each region */
#define MAX_SGE 32

/* One side's memory: a few regions, one after another in one array. */
struct side {
	struct prxe_qp qp;
	u8 mem[KEYS * BYTES];
	u64 iova[KEYS];
	bool readonly[KEYS];
	struct ib_sge sge[MAX_SGE];
	u32 num, total;
};
static struct side *left, *right;

static struct {
	struct rnd r;
	u32 odds;		/* one in so many copies ends early; 0: none does */
	size_t moved;		/* bytes that the copy functions said they moved */
	int error;		/* the first error of any of them */
	bool missed;
	int access;		/* what the gate must be asked for */
	u64 max_ahead;
	u32 gated;
	struct prxe_parts parts;
} t;

static int mirror_stub;

static struct side *side_of(const struct prxe_who *who)
{
	return who == &left->qp.who ? left : right;
}

int prxe_gate(const struct prxe_who *who, u32 key, bool remote, u64 iova, u64 len, int access,
	      struct prxe_cursor *cur)
{
	struct side *s = side_of(who);
	u64 off;

	assert_false(remote);
	assert_int_equal(access, s == right ? t.access : 0);
	assert_true(len > 0);
	t.gated += len;
	if (key >= KEYS)
		return -EACCES;
	off = iova - s->iova[key];
	if (iova < s->iova[key] || off > BYTES || len > BYTES - off || (access && s->readonly[key]))
		return -EACCES;
	*cur = (struct prxe_cursor){
		.mr = (void *)s, .key = (void *)s, .addr = key * BYTES + off, .len = len,
	};
	return 0;
}

/* How many of @len bytes this copy moves, or its error. */
static ssize_t moves(size_t len, u64 ahead, struct prxe_miss *miss, bool write)
{
	size_t n = len;

	t.max_ahead = ahead > t.max_ahead ? ahead : t.max_ahead;
	miss->mirror = NULL;
	if (t.odds && !rnd_below(&t.r, t.odds)) {
		n = rnd_below(&t.r, len);
		if (!n && rnd_below(&t.r, 2)) {
			static const int errors[] = { -ESTALE, -EHWPOISON, -EFAULT };

			t.error = errors[rnd_below(&t.r, 3)];
			return t.error;
		}
		miss->mirror = (void *)&mirror_stub;
		miss->write = write;
		t.missed = true;
	}
	t.moved += n;
	return n;
}

static u8 *at(struct prxe_cursor *cur, size_t n)
{
	struct side *s = (void *)cur->mr;
	u8 *p = s->mem + cur->addr;

	assert_true(n <= cur->len && cur->addr + n <= sizeof(s->mem));
	cur->addr += n;
	cur->len -= n;
	return p;
}

ssize_t prxe_copy(struct prxe_cursor *dst, struct prxe_cursor *src, size_t len, u64 ahead,
		  struct prxe_miss *miss)
{
	ssize_t n = moves(len, ahead, miss, rnd_below(&t.r, 2));

	assert_true(len <= dst->len && len <= src->len);
	if (n > 0)
		memmove(at(dst, n), at(src, n), n);
	return n;
}

ssize_t prxe_copy_in(struct prxe_cursor *dst, const void *src, size_t len, u64 ahead,
		     struct prxe_miss *miss)
{
	ssize_t n = moves(len, ahead, miss, true);

	if (n > 0)
		memcpy(at(dst, n), src, n);
	return n;
}

/* Byte @pos of all parts: how far it is behind the beginning of the first. */
static u32 part_byte(const struct prxe_parts *p, u32 pos)
{
	u32 part = 1U << p->bits;

	return pos / part * p->step + pos % part;
}

ssize_t prxe_copy_out_parts(const struct prxe_parts *dst, u32 pos, struct prxe_cursor *src,
			    size_t len, u64 ahead, struct prxe_miss *miss)
{
	ssize_t n = moves(len, ahead, miss, false);

	assert_ptr_equal(dst, &t.parts);
	for (ssize_t i = 0; i < n; i++)
		dst->at[part_byte(dst, pos + i)] = *at(src, 1);
	return n;
}

ssize_t prxe_copy_in_parts(struct prxe_cursor *dst, const struct prxe_parts *src, u32 pos,
			   size_t len, u64 ahead, struct prxe_miss *miss)
{
	ssize_t n = moves(len, ahead, miss, true);

	assert_ptr_equal(src, &t.parts);
	for (ssize_t i = 0; i < n; i++)
		assert_int_equal(skb_copy_bits(src->skb, src->off + part_byte(src, pos + i),
					       at(dst, 1), 1), 0);
	return n;
}

ssize_t prxe_copy_probe(struct prxe_cursor *cur, bool write, size_t len, u64 ahead,
			struct prxe_miss *miss)
{
	assert_int_equal(write, !!(t.access & IB_ACCESS_LOCAL_WRITE));
	assert_true(len <= cur->len);
	return moves(len, ahead, miss, write);
}

/* ---- a case ---- */

static void side_make(struct side *s, bool dst)
{
	u32 i;

	for (i = 0; i < sizeof(s->mem); i++)
		s->mem[i] = pattern(dst ? 77 : rnd64(&t.r), i);
	for (i = 0; i < KEYS; i++) {
		/* The first region begins with the address space, the last one ends with it. */
		s->iova[i] = i == KEYS - 1 ? -(u64)BYTES : i ? rnd64(&t.r) >> 1 : 0;
		s->readonly[i] = !rnd_below(&t.r, 12);
	}
	s->num = rnd_below(&t.r, 8) ? rnd_below(&t.r, 6) : rnd_below(&t.r, MAX_SGE + 1);
	s->total = 0;
	for (i = 0; i < s->num; i++) {
		struct ib_sge *g = &s->sge[i];
		u32 room, start = rnd_below(&t.r, BYTES);

		g->lkey = rnd_below(&t.r, 60) ? rnd_below(&t.r, KEYS) : KEYS + rnd_below(&t.r, 3);
		g->addr = (g->lkey < KEYS ? s->iova[g->lkey] : 0) + start;
		room = BYTES - start;
		g->length = rnd_below(&t.r, 4) ? rnd_below(&t.r, room < 60 ? room + 1 : 60) : 0;
		/* Longer than the memory behind it, which matters when that is touched. */
		if (!rnd_below(&t.r, 60))
			g->length += BYTES;
		if (!rnd_below(&t.r, 60))
			g->addr -= BYTES;
		/* Around the end of the address space, into the first region. */
		if (!rnd_below(&t.r, 30)) {
			g->lkey = 0;
			g->addr = -(u64)rnd_below(&t.r, 30);
			g->length = rnd_below(&t.r, 90);
		}
		s->total += g->length;
	}
}

/* Byte @pos of the list: where it is in mem; -1: nowhere. */
static long byte_at(const struct side *s, u64 pos, bool write)
{
	u32 i;

	for (i = 0; i < s->num; i++) {
		const struct ib_sge *g = &s->sge[i];
		__uint128_t a = (__uint128_t)g->addr + pos;

		if (pos >= g->length) {
			pos -= g->length;
			continue;
		}
		if (g->lkey >= KEYS || (write && s->readonly[g->lkey]))
			return -1;
		if (a < s->iova[g->lkey] || a - s->iova[g->lkey] >= BYTES)
			return -1;
		return g->lkey * BYTES + (long)(a - s->iova[g->lkey]);
	}
	return -1;
}

/*
 * How much of [pos, pos + len) the gate grants: parts of SGEs, each whole or not at all.
 */
static u32 granted(const struct side *s, u64 pos, u32 len, bool write)
{
	u64 begin = 0;
	u32 n = 0, i;

	for (i = 0; i < s->num && n < len; i++) {
		u64 end = begin + s->sge[i].length;
		u64 upto = pos + len < end ? pos + len : end, p;

		for (p = pos + n; p < upto; p++)
			if (byte_at(s, p, write) < 0)
				return n;
		if (upto > pos + n)
			n = upto - pos;
		begin = end;
	}
	return n;
}

enum op {
	GATHER, GATHER_INLINE, GATHER_TO, GATHER_TO_INLINE, GATHER_SGL, GATHER_SGL_INLINE,
	SCATTER, SCATTER_PARTS, SCATTER_FROM, PROBE, OPS,
};

static void one_case(enum op op)
{
	bool in = op == GATHER_INLINE || op == GATHER_TO_INLINE || op == GATHER_SGL_INLINE;
	bool from_wqe = op <= GATHER_SGL_INLINE, src_list = from_wqe && !in;
	bool dst_list = op >= GATHER_SGL;
	struct prxe_sgl sgl;
	struct prxe_miss miss = { .mirror = (void *)&miss };
	struct prxe_cursor cursor;
	struct prxe_wqe *wqe;
	u8 *kernel = NULL, *want, *before, *model = malloc(sizeof(right->mem));
	u32 len, shift = 0, ok, i, cap, begin = 0, bytes;
	u64 pos, dst_pos;
	ssize_t n;

	side_make(left, false);
	side_make(right, true);
	t.access = IB_ACCESS_LOCAL_WRITE;
	if (op == PROBE && rnd_below(&t.r, 2))
		t.access = 0;

	wqe = malloc(sizeof(*wqe) + MAX_SGE * sizeof(struct ib_sge));
	if (src_list) {
		wqe->flags = 0;
		wqe->num_sge = left->num;
		wqe->length = left->total;
		memcpy(wqe->sge, left->sge, left->num * sizeof(left->sge[0]));
	} else {
		wqe->flags = IB_SEND_INLINE;
		wqe->num_sge = 0;
		wqe->length = rnd_below(&t.r, 300);
		for (i = 0; i < wqe->length; i++)
			wqe->inline_data[i] = pattern(5, i);
	}

	/* A range of the message; for a receive list also one that its SGEs do not have. */
	cap = from_wqe ? wqe->length : right->total + (rnd_below(&t.r, 10) ? 0 : 50);
	pos = rnd_below(&t.r, cap + 1);
	len = rnd_below(&t.r, cap - pos + 1);
	if (!rnd_below(&t.r, 3)) {
		pos = 0;
		len = cap;
	}
	if (op == GATHER_TO || op == GATHER_TO_INLINE || op == SCATTER_FROM)
		len = min_t(u32, len, BYTES);
	if (op == GATHER_SGL || op == GATHER_SGL_INLINE)
		shift = rnd_below(&t.r, 2) * 40;
	dst_pos = pos + shift;
	if (dst_list && !from_wqe && !rnd_below(&t.r, 500)) {
		pos = 0xffffffffffff0000ULL;	/* no list is as long */
		dst_pos = pos;
	}

	/* What the bytes are, and where they are to be afterwards. */
	want = malloc(len + 1);
	for (i = 0; i < len; i++) {
		long a = src_list ? byte_at(left, pos + i, false) : -1;

		if (src_list)
			want[i] = a < 0 ? 0 : left->mem[a];
		else
			want[i] = in ? wqe->inline_data[pos + i] : pattern(9, pos + i);
	}
	memcpy(model, right->mem, sizeof(right->mem));
	/* Kernel memory in parts, or in one piece; from byte @begin of all parts on. */
	t.parts = (struct prxe_parts){ .bits = PRXE_ONE_PART };
	if (op == GATHER || op == GATHER_INLINE || op == SCATTER_PARTS) {
		t.parts.off = op == SCATTER_PARTS ? rnd_below(&t.r, 50) : 0;
		t.parts.bits = rnd_below(&t.r, 8) ? rnd_below(&t.r, 9) : PRXE_ONE_PART;
		begin = rnd_below(&t.r, 2) ? rnd_below(&t.r, 600) : 0;
		if (op == GATHER_INLINE && begin + len > 1U << t.parts.bits)
			t.parts.bits = 10;	/* one packet */
		t.parts.step = (1U << t.parts.bits) + rnd_below(&t.r, 30);
	}
	bytes = len ? t.parts.off + part_byte(&t.parts, begin + len - 1) + 1 : 0;
	before = malloc(bytes);
	kernel = malloc(bytes);
	rnd_fill(&t.r, before, bytes);
	for (i = 0; i < len; i++)
		before[t.parts.off + part_byte(&t.parts, begin + i)] =
			from_wqe ? ~want[i] : want[i];
	if (bytes)
		memcpy(kernel, before, bytes);
	t.parts.at = kernel;

	t.moved = 0;
	t.gated = 0;
	t.error = 0;
	t.missed = false;
	t.max_ahead = 0;
	/* The destination or source that is not a list: region 0, its beginning. */
	cursor = (struct prxe_cursor){
		.mr = (void *)right, .key = (void *)right, .addr = 0, .len = BYTES,
	};
	sgl = (struct prxe_sgl){ .sge = right->sge, .num = right->num };
	switch (op) {
	case GATHER:
	case GATHER_INLINE:
		n = prxe_wqe_gather(&left->qp, wqe, pos, &t.parts, begin, len, &miss);
		break;
	case GATHER_TO:
	case GATHER_TO_INLINE:
		n = prxe_wqe_gather_to(&left->qp, wqe, pos, &cursor, len, &miss);
		break;
	case GATHER_SGL:
	case GATHER_SGL_INLINE:
		n = prxe_wqe_gather_sgl(&left->qp, wqe, pos, &right->qp, sgl, shift, len, &miss);
		break;
	case SCATTER:
		n = prxe_sgl_scatter(&right->qp.who, sgl, pos, kernel, len, &miss);
		break;
	case SCATTER_PARTS: {
		struct sk_buff *skb = some_skb(&t.r, kernel, bytes, -1, 1);

		t.parts.skb = skb;
		n = prxe_sgl_scatter_parts(&right->qp.who, sgl, pos, &t.parts, begin, len,
					   rnd_below(&t.r, 1000), &miss);
		some_skb_free(skb);
		break;
	}
	case SCATTER_FROM:
		cursor.mr = cursor.key = (void *)left;
		memcpy(left->mem, want, len);
		n = prxe_sgl_scatter_from(&right->qp.who, sgl, pos, &cursor, len, &miss);
		break;
	default:
		n = prxe_sgl_probe(&right->qp.who, sgl, pos, len, t.access, &miss);
		break;
	}

	/* How much must have moved. */
	if (op == GATHER_INLINE)
		t.moved = len;
	ok = len;
	if (src_list)
		ok = min(ok, granted(left, pos, len, false));
	if (dst_list) {
		u32 there = granted(right, dst_pos, len, t.access != 0);

		/* Only parts of the source that have a place are tried, each whole or not. */
		ok = there;
		if (src_list) {
			u32 done = 0;
			u64 begin = 0;

			for (i = 0; i < right->num && done < there; i++) {
				u64 end = begin + right->sge[i].length;
				u32 part, got;

				if (end > dst_pos + done) {
					part = min_t(u64, end - (dst_pos + done), there - done);
					got = granted(left, pos + done, part, false);
					done += got;
					if (got < part)
						break;
				}
				begin = end;
			}
			ok = done;
		}
	}
	if (n >= 0)
		assert_int_equal(n, t.moved);
	else
		assert_int_equal(t.moved, 0);
	if (!t.missed && !t.error) {
		if (ok || !len)
			assert_int_equal(n, ok);
		else if (op == GATHER_SGL || op == GATHER_SGL_INLINE)
			/* Whose fault it is: the list's, or the source's. */
			assert_int_equal(n, granted(right, dst_pos, len, true) ? -EACCES : -EPERM);
		else
			assert_int_equal(n, -EACCES);
	} else {
		assert_true(n <= (ssize_t)ok);
		if (n < 0)
			assert_int_equal(n, t.error);
		/* Who says that memory is missing says which. */
		if (t.missed && n < (ssize_t)len)
			assert_ptr_equal(miss.mirror, &mirror_stub);
	}
	if (len && n >= 0 && n < (ssize_t)len && !t.missed)
		assert_null(miss.mirror);	/* the next call says why */
	if (from_wqe)
		assert_true(t.max_ahead <= wqe->length - pos - len + (dst_list ? len : 0));

	/* The bytes. */
	if (n < 0)
		n = 0;
	if (op == GATHER || op == GATHER_INLINE) {
		for (i = 0; i < n; i++)
			before[part_byte(&t.parts, begin + i)] = want[i];
	} else if (op != PROBE) {
		for (i = 0; i < n; i++)
			model[dst_list ? byte_at(right, dst_pos + i, true) : i] = want[i];
	}
	assert_memory_equal(right->mem, model, sizeof(right->mem));
	assert_memory_equal(kernel, before, bytes);	/* between the parts, too */
	free(model);
	free(want);
	free(before);
	free(kernel);
	free(wqe);
}

static void run(u32 odds)
{
	left = calloc(1, sizeof(*left));
	right = calloc(1, sizeof(*right));
	t.odds = odds;
	t.r = rnd_start(40 + odds);
	for (int i = 0; i < 60000; i++)
		one_case(i % OPS);
	free(left);
	free(right);
}

static void all_there(void **state)
{
	run(0);
}

static void rarely_missing(void **state)
{
	run(20);
}

static void often_missing(void **state)
{
	run(3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_there),
		cmocka_unit_test(rarely_missing),
		cmocka_unit_test(often_missing),
	};

	RUN_TESTS(tests);
}
