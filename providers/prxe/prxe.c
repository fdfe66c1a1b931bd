// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The provider for prxe, the software RoCEv2 device that does not pin memory: matching devices,
 * opening contexts, and queries of a device.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "compat.h"
#include "prxe.h"
#include "prxe-ioctl.h"

/* Does the caller's struct have this member? It may come from an older or newer libibverbs. */
#define attr_has(size, member)							\
	((size) >= offsetof(struct ibv_device_attr_ex, member) +		\
		   sizeof(((struct ibv_device_attr_ex *)0)->member))

static int prxe_query_device_ex(struct ibv_context *context,
				const struct ibv_query_device_ex_input *input,
				struct ibv_device_attr_ex *attr, size_t attr_size)
{
	struct ib_uverbs_ex_query_device_resp resp;
	size_t resp_size = sizeof(resp);
	uint64_t fw;
	int ret;

	ret = ibv_cmd_query_device_any(context, input, attr, attr_size, &resp, &resp_size);
	if (ret)
		return ret;

	fw = resp.base.fw_ver;
	snprintf(attr->orig_attr.fw_ver, sizeof(attr->orig_attr.fw_ver), "%u.%u.%u",
		 (unsigned int)(fw >> 32) & 0xffff, (unsigned int)(fw >> 16) & 0xffff,
		 (unsigned int)fw & 0xffff);

	if (to_prxe_ctx(context)->features & PRXE_FEAT_CQE_TIMESTAMP) {
		/* Timestamps are nanoseconds of the wall clock. */
		if (attr_has(attr_size, completion_timestamp_mask))
			attr->completion_timestamp_mask = UINT64_MAX;
		if (attr_has(attr_size, hca_core_clock))
			attr->hca_core_clock = 1000000;		/* kHz */
	}
	return 0;
}

static int prxe_query_port(struct ibv_context *context, uint8_t port, struct ibv_port_attr *attr)
{
	struct ibv_query_port cmd;

	return ibv_cmd_query_port(context, port, attr, &cmd, sizeof(cmd));
}

static int prxe_query_rt_values(struct ibv_context *context, struct ibv_values_ex *values)
{
	uint32_t asked = values->comp_mask;

	values->comp_mask = 0;
	if (!(asked & IBV_VALUES_MASK_RAW_CLOCK))
		return 0;
	if (!(to_prxe_ctx(context)->features & PRXE_FEAT_CQE_TIMESTAMP))
		return EOPNOTSUPP;
	if (clock_gettime(CLOCK_REALTIME, &values->raw_clock))
		return errno;
	values->comp_mask = IBV_VALUES_MASK_RAW_CLOCK;
	return 0;
}

static void prxe_free_context(struct ibv_context *context)
{
	struct prxe_context *ctx = to_prxe_ctx(context);

	prxe_doorbell_close(ctx);
	verbs_uninit_context(&ctx->vctx);
	free(ctx);
}

static const struct verbs_context_ops prxe_context_ops = {
	.advise_mr = ibv_cmd_advise_mr,
	.alloc_mw = prxe_alloc_mw,
	.alloc_parent_domain = prxe_alloc_parent_domain,
	.alloc_pd = prxe_alloc_pd,
	.alloc_td = prxe_alloc_td,
	.attach_mcast = ibv_cmd_attach_mcast,
	.bind_mw = prxe_bind_mw,
	.create_ah = prxe_create_ah,
	.create_cq = prxe_create_cq,
	.create_cq_ex = prxe_create_cq_ex,
	.create_qp = prxe_create_qp,
	.create_qp_ex = prxe_create_qp_ex,
	.create_srq = prxe_create_srq,
	.create_srq_ex = prxe_create_srq_ex,
	.dealloc_mw = prxe_dealloc_mw,
	.dealloc_pd = prxe_dealloc_pd,
	.dealloc_td = prxe_dealloc_td,
	.dereg_mr = prxe_dereg_mr,
	.destroy_ah = prxe_destroy_ah,
	.destroy_cq = prxe_destroy_cq,
	.destroy_qp = prxe_destroy_qp,
	.destroy_srq = prxe_destroy_srq,
	.detach_mcast = ibv_cmd_detach_mcast,
	.free_context = prxe_free_context,
	.get_srq_num = prxe_get_srq_num,
	.import_mr = prxe_import_mr,
	.import_pd = prxe_import_pd,
	.modify_cq = prxe_modify_cq,
	.modify_qp = prxe_modify_qp,
	.modify_srq = prxe_modify_srq,
	.poll_cq = prxe_poll_cq,
	.post_recv = prxe_post_recv,
	.post_send = prxe_post_send,
	.post_srq_recv = prxe_post_srq_recv,
	.query_device_ex = prxe_query_device_ex,
	.query_port = prxe_query_port,
	.query_qp = prxe_query_qp,
	.query_rt_values = prxe_query_rt_values,
	.query_srq = prxe_query_srq,
	.reg_dmabuf_mr = prxe_reg_dmabuf_mr,
	.reg_mr = prxe_reg_mr,
	.req_notify_cq = ibv_cmd_req_notify_cq,
	.rereg_mr = prxe_rereg_mr,
	.resize_cq = prxe_resize_cq,
	.unimport_mr = prxe_unimport_mr,
	.unimport_pd = prxe_unimport_pd,
};

/* Undo verbs_init_and_alloc_context(), which took over cmd_fd and closes it here. Sets errno. */
static void context_discard(struct prxe_context *ctx, int ret)
{
	verbs_uninit_context(&ctx->vctx);
	free(ctx);
	errno = ret;
}

/*
 * Open the context with one driver id. If the kernel refuses the id (EINVAL) and keep_fd is set,
 * the file stays open, to try another id; on any other failure it is closed.
 */
static struct prxe_context *context_open(struct ibv_device *ibdev, int cmd_fd, uint32_t driver_id,
					 bool keep_fd)
{
	struct prxe_get_context cmd = { .drv.want_features = PRXE_FEATURES };
	struct prxe_get_context_resp resp = {};
	struct prxe_context *ctx;
	int ret;

	ctx = verbs_init_and_alloc_context(ibdev, cmd_fd, ctx, vctx, driver_id);
	if (!ctx)
		return NULL;

	ret = compat_get_context(&ctx->vctx, &cmd.ibv_cmd, sizeof(cmd), &resp.ibv_resp,
				 sizeof(resp));
	if (ret) {
		if (keep_fd && ret == EINVAL)
			ctx->vctx.context.cmd_fd = -1;
		context_discard(ctx, ret);
		return NULL;
	}

	ctx->features = resp.drv.features & PRXE_FEATURES;
	return ctx;
}

static struct verbs_context *prxe_alloc_context(struct ibv_device *ibdev, int cmd_fd,
						void *private_data)
{
	uint32_t driver_id = to_prxe_dev(ibdev)->driver_id;
	struct prxe_context *ctx;

	(void)private_data;
	if (driver_id == RDMA_DRIVER_UNKNOWN) {
		/*
		 * The kernel did not tell its driver id, but accepts only the right one. With
		 * rxe_compat=1 that is RDMA_DRIVER_RXE. Otherwise only netlink was missing, and it
		 * is prxe's private id.
		 */
		ctx = context_open(ibdev, cmd_fd, RDMA_DRIVER_RXE, true);
		if (!ctx && errno == EINVAL)
			ctx = context_open(ibdev, cmd_fd, PRXE_DRIVER_ID, false);
	} else {
		ctx = context_open(ibdev, cmd_fd, driver_id, false);
	}
	if (!ctx)
		return NULL;

	prxe_doorbell_open(ctx);
	verbs_set_ops(&ctx->vctx, &prxe_context_ops);
	return &ctx->vctx;
}

/*
 * Import a context: a second one on the file of another process. Nobody tells which features the
 * kernel granted there, so none are used.
 */
static struct verbs_context *prxe_import_context(struct ibv_device *ibdev, int cmd_fd)
{
	uint32_t driver_id = to_prxe_dev(ibdev)->driver_id;
	struct prxe_context *ctx;
	int ret;

	if (driver_id == RDMA_DRIVER_UNKNOWN)
		driver_id = RDMA_DRIVER_RXE;
	ctx = verbs_init_and_alloc_context(ibdev, cmd_fd, ctx, vctx, driver_id);
	if (!ctx)
		return NULL;

	ret = ibv_cmd_query_context(&ctx->vctx.context, NULL);
	if (ret) {
		context_discard(ctx, ret);
		return NULL;
	}

	prxe_doorbell_open(ctx);
	verbs_set_ops(&ctx->vctx, &prxe_context_ops);
	return &ctx->vctx;
}

/*
 * A kernel driver that was loaded with rxe_compat=1 tells no driver id at all. Then the name of the
 * device decides.
 */
static const struct verbs_match_ent prxe_match_table[] = {
	VERBS_DRIVER_ID(PRXE_DRIVER_ID),
#ifdef PRXE_TEST_MATCH_RXE
	/* For tests of the ABI only: drive the kernel's own rdma_rxe. */
	VERBS_DRIVER_ID(RDMA_DRIVER_RXE),
#endif
	VERBS_NAME_MATCH("prxe", NULL),
	{},
};

/*
 * Accept a match by name only if the kernel tells no driver id, because a device of another driver
 * may be called prxe7 as well.
 */
static bool prxe_match_device(struct verbs_sysfs_dev *sysfs_dev)
{
	if (!sysfs_dev->match)
		return false;
	return sysfs_dev->match->kind == VERBS_MATCH_DRIVER_ID ||
	       sysfs_dev->driver_id == RDMA_DRIVER_UNKNOWN;
}

static struct verbs_device *prxe_alloc_device(struct verbs_sysfs_dev *sysfs_dev)
{
	struct prxe_device *dev;

	dev = calloc(1, sizeof(*dev));
	if (!dev)
		return NULL;
	dev->driver_id = sysfs_dev->driver_id;
	return &dev->vdev;
}

static void prxe_uninit_device(struct verbs_device *vdev)
{
	free(to_prxe_dev(&vdev->device));
}

static const struct verbs_device_ops prxe_device_ops = {
	.name = "prxe",
	.match_min_abi_version = PRXE_ABI_VERSION,
	.match_max_abi_version = PRXE_ABI_VERSION,
	.match_table = prxe_match_table,
	.match_device = prxe_match_device,
	.alloc_device = prxe_alloc_device,
	.uninit_device = prxe_uninit_device,
	.alloc_context = prxe_alloc_context,
	.import_context = prxe_import_context,
};
PROVIDER_DRIVER(prxe, prxe_device_ops);
