// SPDX-License-Identifier: BSD-2-Clause
/* What a device can do with on-demand memory, and why it cannot do more. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include "internal.h"

ODP_PUBLIC int odp_query(struct ibv_context *context, struct odp_caps *caps, struct odp_reason *why)
{
	struct ibv_device_attr_ex attr;
	struct err_text err;
	const char *name;
	int ret;

	reason_clear(why);
	if (!context || !caps)
		return reason_set(why, EINVAL,
				  "no device context, or nowhere to put its capabilities");

	memset(caps, 0, sizeof(*caps));
	memset(&attr, 0, sizeof(attr));
	name = ibv_get_device_name(context->device);
	snprintf(caps->device, sizeof(caps->device), "%s", name ? name : "?");
	ret = ibv_query_device_ex(context, NULL, &attr);
	if (ret) {
		ret = ret < 0 ? -ret : ret;
		return reason_set(why, ret, "%s cannot be asked for its capabilities: %s",
				  caps->device, err_words(ret, &err));
	}

	caps->max_mr_size = attr.orig_attr.max_mr_size;
	caps->on_demand = !!(attr.odp_caps.general_caps & IBV_ODP_SUPPORT);
	/* Without this bit the others mean nothing; some drivers leave them set. */
	if (!caps->on_demand)
		return 0;
	caps->implicit = !!(attr.odp_caps.general_caps & IBV_ODP_SUPPORT_IMPLICIT);
	caps->rc_ops = attr.odp_caps.per_transport_caps.rc_odp_caps;
	caps->uc_ops = attr.odp_caps.per_transport_caps.uc_odp_caps;
	caps->ud_ops = attr.odp_caps.per_transport_caps.ud_odp_caps;
	caps->xrc_ops = attr.xrc_odp_caps;
	return 0;
}

static const char *op_names(uint32_t ops, char *buf, size_t size)
{
	static const char *const name[] = {
		"SEND", "RECV", "RDMA WRITE", "RDMA READ", "atomics", "receives from an SRQ",
		"FLUSH", "ATOMIC WRITE"
	};
	const char *sep = "";

	buf[0] = '\0';
	for (unsigned int i = 0; i < 32; i++) {
		if (!(ops >> i & 1))
			continue;
		if (i < sizeof(name) / sizeof(name[0]))
			text_add(buf, size, "%s%s", sep, name[i]);
		else
			text_add(buf, size, "%soperation bit %u", sep, i);
		sep = ", ";
	}
	return buf;
}

/*
 * Why there is no on-demand paging. Which part should provide it depends on the driver, and so does
 * what a user can do.
 */
static int no_odp(const struct odp_caps *caps, struct odp_reason *why)
{
	struct utsname uts = { 0 };

	uname(&uts);
	if (!strncmp(caps->device, "rxe", 3))
		return reason_set(why, EOPNOTSUPP,
				  "%s has no on-demand paging: rdma_rxe has it from Linux 6.15 on, "
				  "this is %s",
				  caps->device, uts.release);
	if (!strncmp(caps->device, "mlx5", 4))
		return reason_set(why, EOPNOTSUPP,
				  "%s has no on-demand paging here: its firmware, or the kernel "
				  "(%s, CONFIG_INFINIBAND_ON_DEMAND_PAGING), lacks it; virtual "
				  "functions may have it turned off",
				  caps->device, uts.release);
	return reason_set(why, EOPNOTSUPP,
			  "%s has no on-demand paging: neither the device nor its driver (of Linux "
			  "%s) offers it",
			  caps->device, uts.release);
}

ODP_PUBLIC int odp_can(const struct odp_caps *caps, enum ibv_qp_type qp_type, uint32_t ops,
		       struct odp_reason *why)
{
	char missing[160];
	const char *qp;
	uint32_t can;

	reason_clear(why);
	if (!caps)
		return reason_set(why, EINVAL, "no capabilities to look at");
	if (!caps->on_demand)
		return no_odp(caps, why);
	switch ((int)qp_type) {
	case IBV_QPT_RC: can = caps->rc_ops; qp = "RC"; break;
	case IBV_QPT_UC: can = caps->uc_ops; qp = "UC"; break;
	case IBV_QPT_UD: can = caps->ud_ops; qp = "UD"; break;
	case IBV_QPT_XRC_SEND:
	case IBV_QPT_XRC_RECV: can = caps->xrc_ops; qp = "XRC"; break;
	default:
		if (!ops)
			return 0;
		return reason_set(why, EOPNOTSUPP,
				  "%s says nothing about on-demand memory on QPs of type %d",
				  caps->device, (int)qp_type);
	}
	if ((ops & can) == ops)
		return 0;
	return reason_set(why, EOPNOTSUPP, "%s cannot use on-demand memory on %s QPs for: %s%s",
			  caps->device, qp, op_names(ops & ~can, missing, sizeof(missing)),
			  can ? "" : " (nor for anything else there)");
}
