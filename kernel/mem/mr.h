/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Memory regions: the verbs that create, change and destroy them. */
#ifndef PRXE_MR_H
#define PRXE_MR_H

#include <rdma/ib_verbs.h>

struct prxe_who;

/*
 * As in struct ib_device_ops; where kernels differ, compat_ops.h wraps them. Process context; all
 * but prxe_map_mr_sg() sleep. Errors: -EOPNOTSUPP: a flag or an advice that this device does not
 * know; -EINVAL: arguments; -ENOMEM; -ENOSPC: no key is free; and those of pinning (PRXE_MR_PINNED)
 * or of prxe_mirror_get_current() (ODP). prxe_rereg_user_mr() and prxe_dereg_mr() return -EBUSY
 * while a memory window is bound to the MR. When prxe_dereg_mr() has returned 0, no byte moves
 * through the MR. prxe_advise_mr() has the errors of ibv_advise_mr(3) and of mmu/prefetch.h.
 */
struct ib_mr *prxe_get_dma_mr(struct ib_pd *pd, int access);
struct ib_mr *prxe_reg_user_mr(struct ib_pd *pd, u64 start, u64 length, u64 iova, int access,
			       struct ib_udata *udata);
struct ib_mr *prxe_rereg_user_mr(struct ib_mr *mr, int flags, u64 start, u64 length, u64 iova,
				 int access, struct ib_pd *pd, struct ib_udata *udata);
int prxe_dereg_mr(struct ib_mr *mr, struct ib_udata *udata);
struct ib_mr *prxe_alloc_mr(struct ib_pd *pd, enum ib_mr_type type, u32 max_num_sg);
int prxe_map_mr_sg(struct ib_mr *mr, struct scatterlist *sg, int nents, unsigned int *offset);
int prxe_advise_mr(struct ib_pd *pd, enum ib_uverbs_advise_mr_advice advice, u32 flags,
		   struct ib_sge *sg, u32 num_sge, struct uverbs_attr_bundle *attrs);
/*
 * Execute the work request REG_MR: @mr gets @key and @access, and becomes live. Context as for the
 * work requests of mw.h. 0; -EINVAL: the MR, its state, its PD, its page list or @key.
 */
int prxe_mr_fast_reg(const struct prxe_who *who, struct ib_mr *mr, u32 key, int access);

#endif
