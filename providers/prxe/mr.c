// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Memory regions and windows. Binding a window is a send work request: see post.c and wr_api.c.
 */
#include <errno.h>
#include <stdlib.h>
#include "compat.h"
#include "prxe.h"

/* Finish a registration. Returns the MR, or NULL with errno set; then vmr is freed. */
static struct ibv_mr *mr_done(struct verbs_mr *vmr, int ret)
{
	if (!ret)
		return &vmr->ibv_mr;
	free(vmr);
	errno = ret;
	return NULL;
}

struct ibv_mr *prxe_reg_mr(struct ibv_pd *pd, void *addr, size_t length, uint64_t iova, int access)
{
	struct ibv_reg_mr cmd;
	struct ib_uverbs_reg_mr_resp resp;
	struct verbs_mr *vmr;

	vmr = calloc(1, sizeof(*vmr));
	if (!vmr)
		return NULL;
	return mr_done(vmr, ibv_cmd_reg_mr(pd, addr, length, iova, access, vmr, &cmd, sizeof(cmd),
					   &resp, sizeof(resp)));
}

struct ibv_mr *prxe_reg_dmabuf_mr(struct ibv_pd *pd, uint64_t offset, size_t length, uint64_t iova,
				  int fd, int access)
{
	struct verbs_mr *vmr;

	vmr = calloc(1, sizeof(*vmr));
	if (!vmr)
		return NULL;
	return mr_done(vmr, ibv_cmd_reg_dmabuf_mr(pd, offset, length, iova, fd, access, vmr, NULL));
}

struct ibv_mr *prxe_import_mr(struct ibv_pd *pd, uint32_t handle)
{
	struct verbs_mr *vmr;

	vmr = calloc(1, sizeof(*vmr));
	if (!vmr)
		return NULL;
	return mr_done(vmr, ibv_cmd_query_mr(pd, vmr, handle));
}

void prxe_unimport_mr(struct ibv_mr *mr)
{
	free(verbs_get_mr(mr));
}

int prxe_rereg_mr(struct verbs_mr *vmr, int flags, struct ibv_pd *pd, void *addr, size_t length,
		  int access)
{
	struct ibv_rereg_mr cmd;
	struct ib_uverbs_rereg_mr_resp resp;

	return ibv_cmd_rereg_mr(vmr, flags, addr, length, (uintptr_t)addr, access, pd, &cmd,
				sizeof(cmd), &resp, sizeof(resp));
}

int prxe_dereg_mr(struct verbs_mr *vmr)
{
	int ret;

	ret = ibv_cmd_dereg_mr(vmr);
	if (ret)
		return ret;
	free(vmr);
	return 0;
}

struct ibv_mw *prxe_alloc_mw(struct ibv_pd *pd, enum ibv_mw_type type)
{
	struct ibv_alloc_mw cmd;
	struct ib_uverbs_alloc_mw_resp resp;
	struct ibv_mw *mw;
	int ret;

	mw = calloc(1, sizeof(*mw));
	if (!mw)
		return NULL;
	ret = ibv_cmd_alloc_mw(pd, type, mw, &cmd, sizeof(cmd), &resp, sizeof(resp));
	if (ret) {
		free(mw);
		errno = ret;
		return NULL;
	}
	return mw;
}

int prxe_dealloc_mw(struct ibv_mw *mw)
{
	int ret;

	ret = ibv_cmd_dealloc_mw(mw);
	if (ret)
		return ret;
	free(mw);
	return 0;
}
