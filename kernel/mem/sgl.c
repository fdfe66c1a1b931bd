// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Messages as byte ranges over SGE lists: one walk, and what is done at each SGE. It uses the gate
 * and the copies only; what a WQE is it does not know (transport/gather.c does).
 */
#include <linux/minmax.h>
#include "mem/copy.h"
#include "mem/gate.h"
#include "mem/sgl.h"

ssize_t prxe_sgl_walk(const struct prxe_who *who, struct prxe_sgl sgl, u64 pos, u32 len, u64 ahead,
		      int access, prxe_sge_fn fn, void *arg, struct prxe_miss *miss)
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
			n = prxe_gate(who, sge->lkey, false, sge->addr + pos, part, access, &cur);
		if (!n)
			n = fn(&cur, done, part, min_t(u64, ahead, sge->length - pos - part), arg,
			       miss);
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

static ssize_t from_kernel(struct prxe_cursor *cur, u32 done, u32 len, u64 ahead, void *arg,
			   struct prxe_miss *miss)
{
	return prxe_copy_in(cur, (const u8 *)arg + done, len, ahead, miss);
}

ssize_t prxe_sgl_scatter(const struct prxe_who *who, struct prxe_sgl sgl, u64 pos, const void *src,
			 u32 len, struct prxe_miss *miss)
{
	return prxe_sgl_walk(who, sgl, pos, len, 0, IB_ACCESS_LOCAL_WRITE, from_kernel, (void *)src,
			     miss);
}

struct scatter_skb {
	const struct sk_buff *skb;
	int off;
};

static ssize_t from_skb(struct prxe_cursor *cur, u32 done, u32 len, u64 ahead, void *arg,
			struct prxe_miss *miss)
{
	struct scatter_skb *s = arg;

	return prxe_copy_skb(cur, s->skb, s->off + done, len, ahead, miss);
}

ssize_t prxe_sgl_scatter_skb(const struct prxe_who *who, struct prxe_sgl sgl, u64 pos,
			     const struct sk_buff *skb, int off, u32 len, u64 ahead,
			     struct prxe_miss *miss)
{
	struct scatter_skb s = { .skb = skb, .off = off };

	return prxe_sgl_walk(who, sgl, pos, len, ahead, IB_ACCESS_LOCAL_WRITE, from_skb, &s, miss);
}

static ssize_t from_mr(struct prxe_cursor *cur, u32 done, u32 len, u64 ahead, void *arg,
		       struct prxe_miss *miss)
{
	return prxe_copy(cur, arg, len, ahead, miss);
}

ssize_t prxe_sgl_scatter_from(const struct prxe_who *who, struct prxe_sgl sgl, u64 pos,
			      struct prxe_cursor *src, u32 len, struct prxe_miss *miss)
{
	return prxe_sgl_walk(who, sgl, pos, len, src->len - len, IB_ACCESS_LOCAL_WRITE, from_mr,
			     src, miss);
}

static ssize_t probe(struct prxe_cursor *cur, u32 done, u32 len, u64 ahead, void *arg,
		     struct prxe_miss *miss)
{
	const bool *write = arg;

	return prxe_copy_probe(cur, *write, len, ahead, miss);
}

ssize_t prxe_sgl_probe(const struct prxe_who *who, struct prxe_sgl sgl, u64 pos, u32 len,
		       int access, struct prxe_miss *miss)
{
	bool write = access & IB_ACCESS_LOCAL_WRITE;

	return prxe_sgl_walk(who, sgl, pos, len, 0, access, probe, &write, miss);
}
