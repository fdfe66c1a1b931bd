/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef PRXE_AH_H
#define PRXE_AH_H
#include "base/prxe.h"
#include "obj/av.h"

struct prxe_ah_obj {			/* found by ah_num, freed by RCU */
	struct prxe_av av;
	struct ib_pd *pd;
	u32 num;
	struct rcu_head rcu;
};

struct prxe_ah {
	struct ib_ah ib;		/* first */
	struct prxe_ah_obj *obj;
	struct rdma_ah_attr attr;
	struct prxe_ucontext *uctx;	/* that it counts for; NULL: the kernel's */
};

int prxe_create_ah(struct ib_ah *ib, struct rdma_ah_init_attr *init, struct ib_udata *udata);
int prxe_modify_ah(struct ib_ah *ib, struct rdma_ah_attr *attr);
int prxe_query_ah(struct ib_ah *ib, struct rdma_ah_attr *attr);
int prxe_destroy_ah(struct ib_ah *ib, u32 flags);
/* The address behind a WQE's ah_num for a QP of @pd; inside RCU. 0 or -EINVAL. */
int prxe_ah_av(struct prxe_dev *dev, struct ib_pd *pd, u32 num, struct prxe_av *av);
#endif
