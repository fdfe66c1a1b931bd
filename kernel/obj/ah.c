// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Address handles (AHs). A WQE names one by its number; the address behind the number is replaced
 * as a whole, and freed by RCU. Objects: uses av.h; the send side looks addresses up here.
 */
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/xarray.h>
#include <rdma/rdma_user_rxe.h>
#include "base/prxe.h"
#include "obj/ah.h"

/*
 * AH numbers of users and those of the kernel are in separate ranges: a user who takes all numbers
 * cannot keep the connection manager from answering. How many AHs a user has is limited for each
 * context, and by the rdma cgroup (hca_object) and the memory cgroup.
 */
#define USER_NUMBERS	XA_LIMIT(1, (1U << 24) - 1)
#define KERNEL_NUMBERS	XA_LIMIT(1U << 24, (1U << 25) - 1)

static struct prxe_ah *to_prxe_ah(struct ib_ah *ib)
{
	return container_of(ib, struct prxe_ah, ib);
}

/* Keep @attr for query_ah(), without sgid_attr: the reference on that is the core's. */
static void keep_attr(struct prxe_ah *ah, const struct rdma_ah_attr *attr)
{
	ah->attr = *attr;
	ah->attr.grh.sgid_attr = NULL;
}

static int ah_number(struct prxe_dev *dev, struct prxe_ah_obj *obj, bool user)
{
	unsigned long flags;
	int err;

	xa_lock_irqsave(&dev->ahs, flags);
	if (user)
		err = __xa_alloc_cyclic(&dev->ahs, &obj->num, obj, USER_NUMBERS, &dev->next_ah,
					GFP_ATOMIC);
	else
		err = __xa_alloc_cyclic(&dev->ahs, &obj->num, obj, KERNEL_NUMBERS,
					&dev->next_kernel_ah, GFP_ATOMIC);
	xa_unlock_irqrestore(&dev->ahs, flags);
	return err < 0 ? err : 0;
}

int prxe_create_ah(struct ib_ah *ib, struct rdma_ah_init_attr *init, struct ib_udata *udata)
{
	struct prxe_dev *dev = to_prxe_dev(ib->device);
	struct prxe_ah *ah = to_prxe_ah(ib);
	struct rxe_create_ah_resp resp = {};
	/* Kernel consumers create AHs in atomic context, too, under locks that interrupts take. */
	gfp_t gfp = init->flags & RDMA_CREATE_AH_SLEEPABLE ? GFP_KERNEL : GFP_ATOMIC;
	struct prxe_ah_obj *obj;
	int err = -ENOMEM;

	ah->uctx = udata ? rdma_udata_to_drv_context(udata, struct prxe_ucontext, ib) : NULL;
	if (ah->uctx && atomic_inc_return(&ah->uctx->num_ah) > PRXE_MAX_AH)
		goto err_count;
	obj = kzalloc(sizeof(*obj), gfp | (udata ? __GFP_ACCOUNT : 0));
	if (!obj)
		goto err_count;
	obj->pd = ib->pd;
	err = prxe_av_init(dev, &obj->av, init->ah_attr, get_random_u32());
	if (!err)
		err = ah_number(dev, obj, udata);
	if (err)
		goto err_free;
	ah->obj = obj;
	keep_attr(ah, init->ah_attr);
	if (udata && udata->outlen >= sizeof(resp)) {
		resp.ah_num = obj->num;
		err = ib_copy_to_udata(udata, &resp, sizeof(resp));
		if (err) {
			prxe_destroy_ah(ib, 0);
			return err;
		}
	}
	return 0;

err_free:
	kfree(obj);
err_count:
	if (ah->uctx)
		atomic_dec(&ah->uctx->num_ah);
	return err;
}

int prxe_modify_ah(struct ib_ah *ib, struct rdma_ah_attr *attr)
{
	struct prxe_dev *dev = to_prxe_dev(ib->device);
	struct prxe_ah *ah = to_prxe_ah(ib);
	struct prxe_ah_obj *obj, *old;
	unsigned long flags;
	int err;

	obj = kzalloc(sizeof(*obj), GFP_ATOMIC);
	if (!obj)
		return -ENOMEM;
	obj->pd = ib->pd;
	err = prxe_av_init(dev, &obj->av, attr, get_random_u32());
	if (err) {
		kfree(obj);
		return err;
	}
	xa_lock_irqsave(&dev->ahs, flags);
	old = ah->obj;
	obj->num = old->num;
	/* The slot exists already, so this allocates nothing and cannot fail. */
	__xa_store(&dev->ahs, obj->num, obj, GFP_ATOMIC);
	WRITE_ONCE(ah->obj, obj);
	xa_unlock_irqrestore(&dev->ahs, flags);
	keep_attr(ah, attr);
	kfree_rcu(old, rcu);
	return 0;
}

int prxe_query_ah(struct ib_ah *ib, struct rdma_ah_attr *attr)
{
	*attr = to_prxe_ah(ib)->attr;
	return 0;
}

int prxe_destroy_ah(struct ib_ah *ib, u32 flags)
{
	struct prxe_dev *dev = to_prxe_dev(ib->device);
	struct prxe_ah *ah = to_prxe_ah(ib);
	struct prxe_ah_obj *obj = ah->obj;
	unsigned long irq;

	xa_lock_irqsave(&dev->ahs, irq);
	__xa_erase(&dev->ahs, obj->num);
	xa_unlock_irqrestore(&dev->ahs, irq);
	if (ah->uctx)
		atomic_dec(&ah->uctx->num_ah);
	kfree_rcu(obj, rcu);
	return 0;
}

int prxe_ah_av(struct prxe_dev *dev, struct ib_pd *pd, u32 num, struct prxe_av *av)
{
	const struct prxe_ah_obj *obj = num ? xa_load(&dev->ahs, num) : NULL;

	if (!obj || obj->pd != pd)
		return -EINVAL;
	*av = obj->av;
	return 0;
}
