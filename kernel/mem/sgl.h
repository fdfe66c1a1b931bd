/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Messages as byte ranges over SGE lists. Positions are bytes from the message's beginning. All functions: inside prxe_mem_begin(); they
 * run the gate for each SGE that they enter (@access as in prxe_gate()), move at most PRXE_MEM_CHUNK bytes, and return bytes moved; fewer than
 * asked with *miss filled, or a negative error (-EACCES gate, -ESTALE, -EFAULT, -EHWPOISON) when nothing was moved before it.
 */
#ifndef PRXE_SGL_H
#define PRXE_SGL_H

#include <rdma/ib_verbs.h>
#include "mem/mem.h"

struct prxe_qp;
struct prxe_wqe;

struct prxe_sgl {
	const struct ib_sge *sge;
	u32 num;
};

/* Message bytes [pos, pos + len) into kernel memory: a WQE's SGEs or inline data. */
ssize_t prxe_wqe_gather(struct prxe_qp *qp, const struct prxe_wqe *wqe, u32 pos, void *dst, u32 len,
			struct prxe_miss *miss);
/* The same into an MR of another (or the same) QP's. miss->write tells whose memory was missing: the destination's. */
ssize_t prxe_wqe_gather_to(struct prxe_qp *qp, const struct prxe_wqe *wqe, u32 pos, struct prxe_cursor *dst, u32 len,
			   struct prxe_miss *miss);
/* The same into another QP's SGE list, at the same positions moved by @shift (40 for UD). A negative error of the list's gate is -EPERM. */
ssize_t prxe_wqe_gather_sgl(struct prxe_qp *qp, const struct prxe_wqe *wqe, u32 pos, struct prxe_qp *peer,
			    struct prxe_sgl dst, u32 shift, u32 len, struct prxe_miss *miss);
/* Into an SGE list (receive WQE, landing of a READ) from kernel memory, a packet's payload, an MR. */
ssize_t prxe_sgl_scatter(struct prxe_qp *qp, struct prxe_sgl sgl, u64 pos, const void *src, u32 len,
			 struct prxe_miss *miss);
ssize_t prxe_sgl_scatter_skb(struct prxe_qp *qp, struct prxe_sgl sgl, u64 pos, const struct sk_buff *skb, int off,
			     u32 len, u64 ahead, struct prxe_miss *miss);
ssize_t prxe_sgl_scatter_from(struct prxe_qp *qp, struct prxe_sgl sgl, u64 pos, struct prxe_cursor *src, u32 len,
			      struct prxe_miss *miss);
/* Are [pos, pos + len) of the list there, granted and (for @write) writable? */
ssize_t prxe_sgl_probe(struct prxe_qp *qp, struct prxe_sgl sgl, u64 pos, u32 len, int access, struct prxe_miss *miss);

#endif
