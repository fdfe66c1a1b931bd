/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The few functions of libibverbs whose arguments changed between rdma-core 34, whose provider ABI
 * is that of all up to 56, and 65. Nothing else in the provider depends on the version.
 */
#ifndef PRXE_COMPAT_H
#define PRXE_COMPAT_H

#include <infiniband/driver.h>

static inline int compat_get_context(struct verbs_context *ctx, struct ibv_get_context *cmd,
				     size_t cmd_size, struct ib_uverbs_get_context_resp *resp,
				     size_t resp_size)
{
#if IBVERBS_PABI_VERSION >= 57
	return ibv_cmd_get_context(ctx, cmd, cmd_size, NULL, resp, resp_size);
#else
	return ibv_cmd_get_context(ctx, cmd, cmd_size, resp, resp_size);
#endif
}

static inline int compat_create_cq_ex(struct ibv_context *ctx,
				      const struct ibv_cq_init_attr_ex *attr, struct verbs_cq *cq,
				      struct ibv_create_cq_ex *cmd, size_t cmd_size,
				      struct ib_uverbs_ex_create_cq_resp *resp, size_t resp_size)
{
#if IBVERBS_PABI_VERSION >= 59
	return ibv_cmd_create_cq_ex(ctx, attr, NULL, cq, cmd, cmd_size, resp, resp_size, 0);
#else
	return ibv_cmd_create_cq_ex(ctx, attr, cq, cmd, cmd_size, resp, resp_size, 0);
#endif
}

static inline int compat_create_qp_ex(struct ibv_context *ctx, struct verbs_qp *qp,
				      struct ibv_qp_init_attr_ex *attr,
				      struct ibv_create_qp_ex *cmd, size_t cmd_size,
				      struct ib_uverbs_ex_create_qp_resp *resp, size_t resp_size)
{
#if IBVERBS_PABI_VERSION >= 64
	return ibv_cmd_create_qp_ex2(ctx, qp, attr, cmd, cmd_size, resp, resp_size, NULL);
#else
	return ibv_cmd_create_qp_ex2(ctx, qp, attr, cmd, cmd_size, resp, resp_size);
#endif
}

/*
 * The last argument came within ABI 34: rdma-core 50 does not have it, 56 does. So the headers do
 * not tell whether the libibverbs that is loaded reads it, and it is always given, by a declaration
 * of our own for the same symbol. A function that does not know the argument does not see it, by
 * the calling conventions of all processors here.
 */
int compat_reg_dmabuf_mr(struct ibv_pd *pd, uint64_t offset, size_t length, uint64_t iova, int fd,
			 int access, struct verbs_mr *vmr, void *driver)
	__asm__("ibv_cmd_reg_dmabuf_mr");
#define ibv_cmd_reg_dmabuf_mr compat_reg_dmabuf_mr

#endif
