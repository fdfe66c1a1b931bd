/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Memory regions: the verbs that make, change and end them.
 */
#ifndef PRXE_MR_H
#define PRXE_MR_H

#include <rdma/ib_verbs.h>

struct prxe_who;

/* As in struct ib_device_ops; where kernels differ, compat_ops.h wraps them. They sleep. */
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
/* REG_MR of @mr, which gets @key; as the work requests of mw.h. */
int prxe_mr_fast_reg(const struct prxe_who *who, struct ib_mr *mr, u32 key, int access);

#endif
