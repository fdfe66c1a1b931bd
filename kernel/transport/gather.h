/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The message of a send WQE as a range of bytes: its SGEs, or its inline data. All functions:
 * inside prxe_mem_begin(); they return as those of mem/sgl.h.
 */
#ifndef PRXE_GATHER_H
#define PRXE_GATHER_H

#include <linux/types.h>
#include "mem/sgl.h"

struct prxe_qp;
struct prxe_wqe;

/* Message bytes [pos, pos + len) into kernel memory: a WQE's SGEs or inline data. */
ssize_t prxe_wqe_gather(struct prxe_qp *qp, const struct prxe_wqe *wqe, u32 pos, void *dst, u32 len,
			struct prxe_miss *miss);
/*
 * The same into an MR of another (or the same) QP's. miss->write tells whose memory was missing:
 * the destination's.
 */
ssize_t prxe_wqe_gather_to(struct prxe_qp *qp, const struct prxe_wqe *wqe, u32 pos,
			   struct prxe_cursor *dst, u32 len, struct prxe_miss *miss);
/*
 * The same into another QP's SGE list, at the same positions moved by @shift (40 for UD). A
 * negative error of the list's gate is -EPERM.
 */
ssize_t prxe_wqe_gather_sgl(struct prxe_qp *qp, const struct prxe_wqe *wqe, u32 pos,
			    struct prxe_qp *peer, struct prxe_sgl dst, u32 shift, u32 len,
			    struct prxe_miss *miss);

#endif
