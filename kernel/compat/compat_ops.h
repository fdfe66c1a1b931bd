/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * For device.c only: how to allocate an ib_device, and the operations whose arguments differ
 * between kernels.
 */
#ifndef PRXE_COMPAT_OPS_H
#define PRXE_COMPAT_OPS_H

#include <rdma/uverbs_ioctl.h>
#include "base/prxe.h"
#include "mem/mr.h"
#include "obj/cq.h"

/*
 * Allocate the device in the namespace of its netdev, if the core can do that (it matters in the
 * "netns exclusive" mode). Otherwise the device is in the initial namespace.
 */
static inline struct prxe_dev *prxe_alloc_device(struct net *net)
{
#ifdef PRXE_HAVE_ALLOC_WITH_NET
	return ib_alloc_device_with_net(prxe_dev, ib, net);
#else
	return ib_alloc_device(prxe_dev, ib);
#endif
}

/*
 * The entries of struct ib_device_ops whose arguments differ. PRXE_OPS_* are designated
 * initializers for device.c; the functions that they name have the same signature everywhere (mr.h,
 * cq.h).
 */

#ifdef PRXE_HAVE_DMAH
static struct ib_mr *compat_reg_user_mr(struct ib_pd *pd, u64 start, u64 length, u64 iova,
					int access, struct ib_dmah *dmah, struct ib_udata *udata)
{
	if (dmah)
		return ERR_PTR(-EOPNOTSUPP);
	return prxe_reg_user_mr(pd, start, length, iova, access, udata);
}

#define PRXE_OPS_REG_USER_MR	.reg_user_mr = compat_reg_user_mr
#elif !defined(PRXE_HAVE_REG_USER_MR)
#error "this kernel has an unknown form of reg_user_mr: add it here and to probe.sh"
#else
#define PRXE_OPS_REG_USER_MR	.reg_user_mr = prxe_reg_user_mr
#endif

#ifdef PRXE_HAVE_CREATE_CQ_ATTRS
static int compat_create_cq(struct ib_cq *ib, const struct ib_cq_init_attr *attr,
			    struct uverbs_attr_bundle *attrs)
{
	return prxe_create_cq(ib, attr, attrs ? &attrs->driver_udata : NULL);
}

#define PRXE_OPS_CREATE_CQ	.create_cq = compat_create_cq
#else
#define PRXE_OPS_CREATE_CQ	.create_cq = prxe_create_cq
#endif

#ifdef PRXE_HAVE_RESIZE_USER_CQ
static int compat_resize_cq(struct ib_cq *ib, unsigned int cqe, struct ib_udata *udata)
{
	return prxe_resize_cq(ib, cqe > INT_MAX ? INT_MAX : cqe, udata);
}

#define PRXE_OPS_RESIZE_CQ	.resize_user_cq = compat_resize_cq
#else
#define PRXE_OPS_RESIZE_CQ	.resize_cq = prxe_resize_cq
#endif

#endif
