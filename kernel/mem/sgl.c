// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Messages as byte ranges over SGE lists: the functions that the walk of sgl.h calls for each SGE.
 * It uses only the gate and the copies; it does not know what a WQE is (transport/gather.c does).
 */
#include "mem/copy.h"
#include "mem/gate.h"
#include "mem/sgl.h"

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

struct scatter_parts {
	const struct prxe_parts *src;
	u32 at;
};

static ssize_t from_parts(struct prxe_cursor *cur, u32 done, u32 len, u64 ahead, void *arg,
			  struct prxe_miss *miss)
{
	struct scatter_parts *s = arg;

	return prxe_copy_in_parts(cur, s->src, s->at + done, len, ahead, miss);
}

ssize_t prxe_sgl_scatter_parts(const struct prxe_who *who, struct prxe_sgl sgl, u64 pos,
			       const struct prxe_parts *src, u32 at, u32 len, u64 ahead,
			       struct prxe_miss *miss)
{
	struct scatter_parts s = { .src = src, .at = at };

	return prxe_sgl_walk(who, sgl, pos, len, ahead, IB_ACCESS_LOCAL_WRITE, from_parts, &s,
			     miss);
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
