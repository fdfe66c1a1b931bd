// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Protection domains, thread domains, and parent domains, which join the two. The kernel knows only
 * protection domains: to the kernel, a parent domain is the protection domain in it.
 */
#include <errno.h>
#include <stdlib.h>
#include "prxe.h"

struct ibv_pd *prxe_alloc_pd(struct ibv_context *context)
{
	struct ibv_alloc_pd cmd;
	struct ib_uverbs_alloc_pd_resp resp;
	struct prxe_pd *pd;
	int ret;

	pd = calloc(1, sizeof(*pd));
	if (!pd)
		return NULL;

	ret = ibv_cmd_alloc_pd(context, &pd->pd, &cmd, sizeof(cmd), &resp, sizeof(resp));
	if (ret) {
		free(pd);
		errno = ret;
		return NULL;
	}
	return &pd->pd;
}

/*
 * The allocators in *attr are for buffers that a provider allocates. They are never called, because
 * here the kernel allocates all buffers.
 */
struct ibv_pd *prxe_alloc_parent_domain(struct ibv_context *context,
					struct ibv_parent_domain_init_attr *attr)
{
	struct prxe_pd *parent;

	(void)context;
	if (ibv_check_alloc_parent_domain(attr))
		return NULL;
	if (!check_comp_mask(attr->comp_mask, IBV_PARENT_DOMAIN_INIT_ATTR_ALLOCATORS |
			     IBV_PARENT_DOMAIN_INIT_ATTR_PD_CONTEXT)) {
		errno = EINVAL;
		return NULL;
	}

	parent = calloc(1, sizeof(*parent));
	if (!parent)
		return NULL;

	parent->parent_of = to_prxe_pd(attr->pd);
	atomic_fetch_add(&parent->parent_of->refs, 1);
	if (attr->td) {
		parent->td = to_prxe_td(attr->td);
		atomic_fetch_add(&parent->td->refs, 1);
	}
	ibv_initialize_parent_domain(&parent->pd, attr->pd);
	return &parent->pd;
}

struct ibv_pd *prxe_import_pd(struct ibv_context *context, uint32_t handle)
{
	struct prxe_pd *pd;

	pd = calloc(1, sizeof(*pd));
	if (!pd)
		return NULL;
	pd->pd.context = context;
	pd->pd.handle = handle;
	return &pd->pd;
}

void prxe_unimport_pd(struct ibv_pd *ibpd)
{
	free(to_prxe_pd(ibpd));
}

int prxe_dealloc_pd(struct ibv_pd *ibpd)
{
	struct prxe_pd *pd = to_prxe_pd(ibpd);
	int ret;

	if (atomic_load(&pd->refs))
		return EBUSY;

	if (pd->parent_of) {
		atomic_fetch_sub(&pd->parent_of->refs, 1);
		if (pd->td)
			atomic_fetch_sub(&pd->td->refs, 1);
	} else {
		ret = ibv_cmd_dealloc_pd(ibpd);
		if (ret)
			return ret;
	}
	free(pd);
	return 0;
}

struct ibv_td *prxe_alloc_td(struct ibv_context *context, struct ibv_td_init_attr *attr)
{
	struct prxe_td *td;

	if (attr->comp_mask) {
		errno = EINVAL;
		return NULL;
	}
	td = calloc(1, sizeof(*td));
	if (!td)
		return NULL;
	td->td.context = context;
	return &td->td;
}

int prxe_dealloc_td(struct ibv_td *ibtd)
{
	struct prxe_td *td = to_prxe_td(ibtd);

	if (atomic_load(&td->refs))
		return EBUSY;
	free(td);
	return 0;
}
