/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The message of a send WQE as a range of bytes: its SGEs, or its inline data. All functions:
 * inside prxe_mem_begin(), any context but hardirq; they return what the functions of mem/sgl.h
 * return (bytes, or a negative errno). @pos and @len must lie inside the message.
 */
#ifndef PRXE_GATHER_H
#define PRXE_GATHER_H

#include <linux/types.h>
#include "mem/sgl.h"

struct prxe_qp;
struct prxe_wqe;

/* Copy message bytes [pos, pos + len) to kernel memory: to byte @at and so on of all parts. */
ssize_t prxe_wqe_gather(struct prxe_qp *qp, const struct prxe_wqe *wqe, u32 pos,
			const struct prxe_parts *dst, u32 at, u32 len, struct prxe_miss *miss);
/*
 * Copy message bytes into an MR, of this or another QP. If a page is missing, miss->write is set
 * when it is the destination's, and clear when it is the source's.
 */
ssize_t prxe_wqe_gather_to(struct prxe_qp *qp, const struct prxe_wqe *wqe, u32 pos,
			   struct prxe_cursor *dst, u32 len, struct prxe_miss *miss);
/*
 * Copy message bytes into the SGE list @dst of the QP @peer, at the same positions plus @shift
 * bytes (40 for UD). Returns -EPERM if the gate refuses the destination, -EACCES if it refuses the
 * source.
 */
ssize_t prxe_wqe_gather_sgl(struct prxe_qp *qp, const struct prxe_wqe *wqe, u32 pos,
			    struct prxe_qp *peer, struct prxe_sgl dst, u32 shift, u32 len,
			    struct prxe_miss *miss);

#endif
