// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Messages as byte ranges over SGE lists: one walk, and what is done at each SGE.
 */
#include <linux/minmax.h>
#include "mem/mem.h"
#include "mem/sgl.h"
#include "transport/wqe.h"

/* What is done with the part of an SGE that @cur grants: as prxe_copy() returns. @done: bytes of the walk before it. */
typedef ssize_t (*sge_fn)(struct prxe_cursor *cur, u32 done, u32 len, u64 ahead, void *arg, struct prxe_miss *miss);

/*
 * Call @fn for each SGE that has a part of [pos, pos + len). @ahead: bytes of the message behind it. Only the bytes that are touched
 * are put before the gate: an SGE may be longer than the memory behind it as long as the message is not.
 */
static ssize_t sgl_walk(struct prxe_qp *qp, struct prxe_sgl sgl, u64 pos, u32 len, u64 ahead, int access, sge_fn fn,
			void *arg, struct prxe_miss *miss)
{
	u32 done = 0;
	u32 i;

	for (i = 0; i < sgl.num && done < len; i++) {
		const struct ib_sge *sge = &sgl.sge[i];
		struct prxe_cursor cur;
		u32 part;
		ssize_t n;

		if (pos >= sge->length) {
			pos -= sge->length;
			continue;
		}
		part = min_t(u64, len - done, sge->length - pos);
		n = -EACCES;
		if (pos <= U64_MAX - sge->addr)
			n = prxe_gate(qp, sge->lkey, false, sge->addr + pos, part, access, &cur);
		if (!n)
			n = fn(&cur, done, part, min_t(u64, ahead, sge->length - pos - part), arg, miss);
		if (n < 0)
			return done ? done : n;
		done += n;
		if (n < part)
			return done;
		pos = 0;
	}
	/* A list shorter than the message is found before; this is the last line of defence. */
	if (done < len && !done)
		return -EACCES;
	return done;
}

static struct prxe_sgl wqe_sgl(const struct prxe_wqe *wqe)
{
	return (struct prxe_sgl){ .sge = wqe->sge, .num = wqe->num_sge };
}

/* A last line: the carriers stay inside of a WQE by themselves, and inline data have no MR that would check. */
static bool inline_ok(const struct prxe_wqe *wqe, u32 pos, u32 len)
{
	return !WARN_ON_ONCE(pos > wqe->length || len > wqe->length - pos);
}

static ssize_t to_kernel(struct prxe_cursor *cur, u32 done, u32 len, u64 ahead, void *arg, struct prxe_miss *miss)
{
	return prxe_copy_out((u8 *)arg + done, cur, len, ahead, miss);
}

static ssize_t from_kernel(struct prxe_cursor *cur, u32 done, u32 len, u64 ahead, void *arg, struct prxe_miss *miss)
{
	return prxe_copy_in(cur, (const u8 *)arg + done, len, ahead, miss);
}

ssize_t prxe_wqe_gather(struct prxe_qp *qp, const struct prxe_wqe *wqe, u32 pos, void *dst, u32 len,
			struct prxe_miss *miss)
{
	if (wqe->flags & IB_SEND_INLINE) {
		if (!inline_ok(wqe, pos, len))
			return -EINVAL;
		memcpy(dst, wqe->inline_data + pos, len);
		return len;
	}
	return sgl_walk(qp, wqe_sgl(wqe), pos, len, wqe->length - pos - len, 0, to_kernel, dst, miss);
}

static ssize_t to_mr(struct prxe_cursor *cur, u32 done, u32 len, u64 ahead, void *arg, struct prxe_miss *miss)
{
	return prxe_copy(arg, cur, len, ahead, miss);
}

ssize_t prxe_wqe_gather_to(struct prxe_qp *qp, const struct prxe_wqe *wqe, u32 pos, struct prxe_cursor *dst, u32 len,
			   struct prxe_miss *miss)
{
	u64 ahead = wqe->length - pos - len;

	if (wqe->flags & IB_SEND_INLINE)
		return inline_ok(wqe, pos, len) ? prxe_copy_in(dst, wqe->inline_data + pos, len, ahead, miss) : -EINVAL;
	return sgl_walk(qp, wqe_sgl(wqe), pos, len, ahead, 0, to_mr, dst, miss);
}

struct gather_sgl {
	struct prxe_qp *qp;
	const struct prxe_wqe *wqe;
	u32 pos;
	bool source_failed;
};

static ssize_t from_wqe(struct prxe_cursor *cur, u32 done, u32 len, u64 ahead, void *arg, struct prxe_miss *miss)
{
	struct gather_sgl *g = arg;
	ssize_t n = prxe_wqe_gather_to(g->qp, g->wqe, g->pos + done, cur, len, miss);

	g->source_failed = n < 0;
	return n;
}

ssize_t prxe_wqe_gather_sgl(struct prxe_qp *qp, const struct prxe_wqe *wqe, u32 pos, struct prxe_qp *peer,
			    struct prxe_sgl dst, u32 shift, u32 len, struct prxe_miss *miss)
{
	struct gather_sgl g = { .qp = qp, .wqe = wqe, .pos = pos };
	ssize_t n = sgl_walk(peer, dst, (u64)pos + shift, len, wqe->length - pos - len, IB_ACCESS_LOCAL_WRITE, from_wqe,
			     &g, miss);

	return n == -EACCES && !g.source_failed ? -EPERM : n;
}

ssize_t prxe_sgl_scatter(struct prxe_qp *qp, struct prxe_sgl sgl, u64 pos, const void *src, u32 len,
			 struct prxe_miss *miss)
{
	return sgl_walk(qp, sgl, pos, len, 0, IB_ACCESS_LOCAL_WRITE, from_kernel, (void *)src, miss);
}

struct scatter_skb {
	const struct sk_buff *skb;
	int off;
};

static ssize_t from_skb(struct prxe_cursor *cur, u32 done, u32 len, u64 ahead, void *arg, struct prxe_miss *miss)
{
	struct scatter_skb *s = arg;

	return prxe_copy_skb(cur, s->skb, s->off + done, len, ahead, miss);
}

ssize_t prxe_sgl_scatter_skb(struct prxe_qp *qp, struct prxe_sgl sgl, u64 pos, const struct sk_buff *skb, int off,
			     u32 len, u64 ahead, struct prxe_miss *miss)
{
	struct scatter_skb s = { .skb = skb, .off = off };

	return sgl_walk(qp, sgl, pos, len, ahead, IB_ACCESS_LOCAL_WRITE, from_skb, &s, miss);
}

static ssize_t from_mr(struct prxe_cursor *cur, u32 done, u32 len, u64 ahead, void *arg, struct prxe_miss *miss)
{
	return prxe_copy(cur, arg, len, ahead, miss);
}

ssize_t prxe_sgl_scatter_from(struct prxe_qp *qp, struct prxe_sgl sgl, u64 pos, struct prxe_cursor *src, u32 len,
			      struct prxe_miss *miss)
{
	return sgl_walk(qp, sgl, pos, len, src->len - len, IB_ACCESS_LOCAL_WRITE, from_mr, src, miss);
}

static ssize_t probe(struct prxe_cursor *cur, u32 done, u32 len, u64 ahead, void *arg, struct prxe_miss *miss)
{
	return prxe_copy_probe(cur, arg != NULL, len, ahead, miss);
}

ssize_t prxe_sgl_probe(struct prxe_qp *qp, struct prxe_sgl sgl, u64 pos, u32 len, int access, struct prxe_miss *miss)
{
	bool write = access & IB_ACCESS_LOCAL_WRITE;

	return sgl_walk(qp, sgl, pos, len, 0, access, probe, write ? qp : NULL, miss);
}
