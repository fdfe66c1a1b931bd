/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Address handles, and how a WQE's AH number becomes an address. */
#ifndef PRXE_AH_H
#define PRXE_AH_H
#include "base/prxe.h"
#include "obj/av.h"

struct prxe_ah_obj {			/* what an AH number leads to; freed by RCU */
	struct prxe_av av;
	struct ib_pd *pd;
	u32 num;
	struct rcu_head rcu;
};

struct prxe_ah {
	struct ib_ah ib;		/* first */
	struct prxe_ah_obj *obj;
	struct rdma_ah_attr attr;
	struct prxe_ucontext *uctx;	/* its num_ah counts this AH; NULL: a kernel AH */
};

/*
 * As in struct ib_device_ops, in any context. Only prxe_create_ah() may sleep, if the flags of
 * @init allow it. prxe_create_ah(): 0; -EINVAL: no GRH or no such source GID; -ENOMEM, also at the
 * context's limit; -EBUSY: no number is free; -EFAULT. prxe_modify_ah(): 0; -EINVAL; -ENOMEM. The
 * others always return 0.
 */
int prxe_create_ah(struct ib_ah *ib, struct rdma_ah_init_attr *init, struct ib_udata *udata);
int prxe_modify_ah(struct ib_ah *ib, struct rdma_ah_attr *attr);
int prxe_query_ah(struct ib_ah *ib, struct rdma_ah_attr *attr);
int prxe_destroy_ah(struct ib_ah *ib, u32 flags);
/*
 * Copy the address of AH number @num into @av, for a QP of @pd. 0; -EINVAL: there is no such AH, or
 * it is of another PD. Inside RCU.
 */
int prxe_ah_av(struct prxe_dev *dev, struct ib_pd *pd, u32 num, struct prxe_av *av);
#endif
