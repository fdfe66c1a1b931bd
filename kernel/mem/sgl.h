/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Messages as byte ranges over SGE lists. Positions are bytes from the beginning of the message.
 *
 * All functions are called inside prxe_mem_begin(). They ask the gate for each SGE that they enter
 * (@access as for prxe_gate()) and move at most PRXE_MEM_CHUNK bytes. They return the number of
 * bytes moved: fewer than asked for with *miss filled; or a negative error, if it came before the
 * first byte (-EACCES from the gate, or an error of copy.h).
 */
#ifndef PRXE_SGL_H
#define PRXE_SGL_H

#include <linux/minmax.h>
#include <rdma/ib_verbs.h>
#include "mem/gate.h"

struct prxe_cursor;
struct prxe_miss;
struct prxe_parts;
struct prxe_who;

struct prxe_sgl {
	const struct ib_sge *sge;
	u32 num;
};

/*
 * Handle the part of an SGE that @cur grants, @len bytes; returns as prxe_copy(). @done: how many
 * bytes the walk has moved before; @ahead: how many of the SGE follow.
 */
typedef ssize_t (*prxe_sge_fn)(struct prxe_cursor *cur, u32 done, u32 len, u64 ahead, void *arg,
			       struct prxe_miss *miss);
/*
 * Call @fn for each SGE that has a part of [pos, pos + len). @ahead: how many bytes of the message
 * follow behind that. The gate is asked only for bytes that are touched: an SGE may be longer than
 * its MR, as long as the message is not.
 *
 * Inlined into its few callers, so that the call of @fn is a direct one: it runs for every message.
 */
static __always_inline ssize_t
prxe_sgl_walk(const struct prxe_who *who, struct prxe_sgl sgl, u64 pos, u32 len, u64 ahead,
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
	/* Callers refuse a list that is shorter than the message; this is a second check. */
	if (done < len && !done)
		return -EACCES;
	return done;
}

/*
 * Write @len bytes into an SGE list (of a receive WQE, or of the WQE of a READ), from kernel
 * memory; from received packets, beginning with byte @at of their payloads; or from an MR, whose
 * cursor @src advances.
 */
ssize_t prxe_sgl_scatter(const struct prxe_who *who, struct prxe_sgl sgl, u64 pos, const void *src,
			 u32 len, struct prxe_miss *miss);
ssize_t prxe_sgl_scatter_parts(const struct prxe_who *who, struct prxe_sgl sgl, u64 pos,
			       const struct prxe_parts *src, u32 at, u32 len, u64 ahead,
			       struct prxe_miss *miss);
ssize_t prxe_sgl_scatter_from(const struct prxe_who *who, struct prxe_sgl sgl, u64 pos,
			      struct prxe_cursor *src, u32 len, struct prxe_miss *miss);
/*
 * Are the bytes [pos, pos + len) of the list granted, present and, if @access has
 * IB_ACCESS_LOCAL_WRITE, writable? Moves no byte; returns how many of them are.
 */
ssize_t prxe_sgl_probe(const struct prxe_who *who, struct prxe_sgl sgl, u64 pos, u32 len,
		       int access, struct prxe_miss *miss);

#endif
