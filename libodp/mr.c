// SPDX-License-Identifier: BSD-2-Clause
/* What an MR tells about itself. While it exists, only its count of references changes. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include "internal.h"

ODP_PUBLIC int odp_mr_info(const struct odp_mr *mr, struct odp_mr_info *info)
{
	if (!mr || !info)
		return -EINVAL;
	memset(info, 0, sizeof(*info));
	info->addr = (void *)(uintptr_t)mr->addr;
	info->length = (size_t)mr->length;
	info->iova = mr->iova;
	info->lkey = mr->lkey;
	info->rkey = mr->rkey;
	info->access = mr->access;
	info->policy = mr->policy;
	info->on_demand = mr->on_demand;
	info->implicit = mr->implicit;
	info->fallback = mr->fallback;
	pthread_mutex_lock(&mr->domain->implicit_lock);
	info->references = mr->refs;
	pthread_mutex_unlock(&mr->domain->implicit_lock);
	return 0;
}

ODP_PUBLIC const char *odp_mr_reason(const struct odp_mr *mr)
{
	return mr ? mr->reason : "there is no MR";
}

ODP_PUBLIC struct ibv_mr *odp_mr_verbs(const struct odp_mr *mr)
{
	return mr->mr;
}

ODP_PUBLIC uint32_t odp_lkey(const struct odp_mr *mr)
{
	return mr->lkey;
}

ODP_PUBLIC uint32_t odp_rkey(const struct odp_mr *mr)
{
	return mr->rkey;
}
