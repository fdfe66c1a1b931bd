// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The ib_device over a netdev: creation, its table of operations, the removal of its users, and its
 * end.
 *
 * Verbs: this layer checks what users ask for, then calls the object, which is in a lower layer. A
 * file here may call every lower layer; only main.c calls this one. Within the folder, device.c
 * knows the entry points of all other files, for device_ops, and only link.c calls device.c.
 */
#include <linux/random.h>
#include <linux/rtnetlink.h>
#include <linux/stringify.h>
#include <net/addrconf.h>
#include "base/prxe.h"
#include "base/registry.h"
#include "base/version.h"
#include "carrier/mcast.h"
#include "carrier/udp.h"
#include "compat/compat_ops.h"
#include "mem/key.h"
#include "mem/mr.h"
#include "mem/mw.h"
#include "mmu/prefetch.h"
#include "obj/ah.h"
#include "obj/cq.h"
#include "obj/queue.h"
#include "obj/srq.h"
#include "transport/qp.h"
#include "verbs/device.h"
#include "verbs/hw_stats.h"
#include "verbs/ioctl.h"
#include "verbs/post.h"
#include "verbs/qp_verbs.h"
#include "verbs/restrack.h"
#include "verbs/verbs.h"

static DEFINE_MUTEX(add_lock);		/* one device is created at a time */
static DEFINE_MUTEX(end_lock);		/* held in dealloc_driver(): module exit waits for it */

/*
 * The core manages the GIDs of a RoCE device only if the device has both operations. Carriers look
 * into the core's table, so there is nothing to do here.
 */
static int add_gid(const struct ib_gid_attr *attr, void **context)
{
	return 0;
}

static int del_gid(const struct ib_gid_attr *attr, void **context)
{
	return 0;
}

static void get_fw_str(struct ib_device *ib, char *str)
{
	strscpy(str, PRXE_VERSION, IB_FW_VERSION_NAME_MAX);
}

/*
 * The core calls this when nobody can reach the device through the core any more: its users are
 * removed, and user space's objects are destroyed. Carriers may still have found it in the list:
 * prxe_dev_unlist() waits for them. It also works for a device that was never registered.
 */
static void dealloc_driver(struct ib_device *ib)
{
	struct prxe_dev *dev = to_prxe_dev(ib);

	mutex_lock(&end_lock);
	prxe_dev_unlist(dev);
	if (dev->pnet)
		prxe_net_put(dev->pnet);
	WARN_ON(!xa_empty(&dev->keys) || !xa_empty(&dev->qps) || !xa_empty(&dev->ahs));
	xa_destroy(&dev->keys);
	xa_destroy(&dev->qps);
	xa_destroy(&dev->ahs);
	prxe_mcast_exit(dev);
	free_percpu(dev->stats);
	dev_put(dev->ndev);
	mutex_unlock(&end_lock);
}

static const struct ib_device_ops device_ops = {
	.owner = THIS_MODULE,
	.uverbs_abi_ver = PRXE_ABI_VERSION,

	PRXE_OPS_CREATE_CQ,
	PRXE_OPS_REG_USER_MR,
	PRXE_OPS_RESIZE_CQ,
	.add_gid = add_gid,
	.advise_mr = prxe_advise_mr,
	.alloc_hw_port_stats = prxe_alloc_hw_port_stats,
	.alloc_mr = prxe_alloc_mr,
	.alloc_mw = prxe_alloc_mw,
	.alloc_pd = prxe_alloc_pd,
	.alloc_ucontext = prxe_alloc_ucontext,
	.attach_mcast = prxe_attach_mcast,
	.create_ah = prxe_create_ah,
	.create_qp = prxe_create_qp,
	.create_srq = prxe_create_srq,
	.create_user_ah = prxe_create_ah,
	.dealloc_driver = dealloc_driver,
	.dealloc_mw = prxe_dealloc_mw,
	.dealloc_pd = prxe_dealloc_pd,
	.dealloc_ucontext = prxe_dealloc_ucontext,
	.del_gid = del_gid,
	.dereg_mr = prxe_dereg_mr,
	.destroy_ah = prxe_destroy_ah,
	.destroy_cq = prxe_destroy_cq,
	.destroy_qp = prxe_destroy_qp,
	.destroy_srq = prxe_destroy_srq,
	.detach_mcast = prxe_detach_mcast,
	.disassociate_ucontext = prxe_disassociate_ucontext,
	.fill_res_mr_entry = prxe_fill_res_mr_entry,
	.fill_res_qp_entry = prxe_fill_res_qp_entry,
	.fill_stat_mr_entry = prxe_fill_stat_mr_entry,
	.get_dev_fw_str = get_fw_str,
	.get_dma_mr = prxe_get_dma_mr,
	.get_hw_stats = prxe_get_hw_stats,
	.get_link_layer = prxe_get_link_layer,
	.get_netdev = prxe_get_netdev,
	.get_port_immutable = prxe_get_port_immutable,
	.map_mr_sg = prxe_map_mr_sg,
	.mmap = prxe_mmap,
	.mmap_free = prxe_mmap_free,
	.modify_ah = prxe_modify_ah,
	.modify_device = prxe_modify_device,
	.modify_port = prxe_modify_port,
	.modify_qp = prxe_modify_qp,
	.modify_srq = prxe_modify_srq,
	.peek_cq = prxe_peek_cq,
	.poll_cq = prxe_poll_cq,
	.post_recv = prxe_post_recv,
	.post_send = prxe_post_send,
	.post_srq_recv = prxe_post_srq_recv,
	.process_mad = prxe_process_mad,
	.query_ah = prxe_query_ah,
	.query_device = prxe_query_device,
	.query_pkey = prxe_query_pkey,
	.query_port = prxe_query_port,
	.query_qp = prxe_query_qp,
	.query_srq = prxe_query_srq,
	.query_ucontext = prxe_query_ucontext,
	.req_notify_cq = prxe_req_notify_cq,
	.rereg_user_mr = prxe_rereg_user_mr,

	INIT_RDMA_OBJ_SIZE(ib_ah, prxe_ah, ib),
	INIT_RDMA_OBJ_SIZE(ib_cq, prxe_cq, ib),
	INIT_RDMA_OBJ_SIZE(ib_mw, prxe_mw, ib),
	INIT_RDMA_OBJ_SIZE(ib_pd, prxe_pd, ib),
	INIT_RDMA_OBJ_SIZE(ib_qp, prxe_ibqp, ib),
	INIT_RDMA_OBJ_SIZE(ib_srq, prxe_srq, ib),
	INIT_RDMA_OBJ_SIZE(ib_ucontext, prxe_ucontext, ib),
};

/* ---- removing a device's users ---- */

/*
 * When a device is unregistered, uverbs raises IB_EVENT_DEVICE_FATAL and destroys user space's
 * objects. A program that only polls its CQs notices neither. So every WR that was posted completes
 * with WR_FLUSH_ERR before uverbs begins. Our ib_client is told first, because the core removes
 * clients in the reverse order of their registration, and uverbs is registered before us. The
 * program can poll afterwards, because a CQ's ring stays as long as it is mapped.
 */
static bool is_ours(const struct ib_device *ib)
{
	return ib->ops.dealloc_driver == dealloc_driver;
}

/* A device that moves to another network namespace loses its users, and is added again. */
static int add_client(struct ib_device *ib)
{
	if (is_ours(ib))
		WRITE_ONCE(to_prxe_dev(ib)->users_removed, false);
	return 0;
}

static void remove_client(struct ib_device *ib, void *data)
{
	if (is_ours(ib)) {
		WRITE_ONCE(to_prxe_dev(ib)->users_removed, true);
		prxe_fault_advise_end(to_prxe_dev(ib));
		prxe_qp_abandon_all(to_prxe_dev(ib));
	}
}

static struct ib_client client = {
	.name = "prxe",
	.add = add_client,
	.remove = remove_client,
};

int prxe_dev_init(void)
{
	return ib_register_client(&client);
}

void prxe_dev_exit(void)
{
	ib_unregister_client(&client);
}

/* uverbs registers its client before us: see above. */
MODULE_SOFTDEP("pre: ib_uverbs");

static const struct ib_device_ops private_id = {
	.driver_id = PRXE_DRIVER_ID,
};

/*
 * rxe_compat=1: an unmodified librxe matches a device by its name, which must begin with "rxe",
 * because user space is told no driver id.
 */
static const struct ib_device_ops rxe_id = {
	.driver_id = RDMA_DRIVER_RXE,
	.uverbs_no_driver_id_binding = 1,
};

static void make_guid(struct prxe_dev *dev)
{
	u8 eui[8];

	if (dev->ndev->addr_len == ETH_ALEN && !is_zero_ether_addr(dev->ndev->dev_addr))
		ether_addr_copy(dev->mac, dev->ndev->dev_addr);
	else
		eth_random_addr(dev->mac);	/* for example, loopback has none */
	addrconf_addr_eui48(eui, (const char *)dev->mac);
	memcpy(&dev->guid, eui, sizeof(eui));
}

int prxe_dev_add(const char *name, struct net_device *ndev)
{
	struct prxe_dev *dev;
	bool gone, taken;
	int err;

	mutex_lock(&add_lock);
	rcu_read_lock();
	taken = prxe_dev_find(ndev);
	rcu_read_unlock();
	if (taken) {
		pr_info("%s: netdev %s has a prxe device already\n", name, netdev_name(ndev));
		err = -EEXIST;
		goto out;
	}
	dev = prxe_alloc_device(dev_net(ndev));
	if (!dev) {
		err = -ENOMEM;
		goto out;
	}
	/*
	 * Once the operations are set, ib_dealloc_device() calls dealloc_driver(). Everything that
	 * dealloc_driver() reads is initialised here, so that any failure below may end there.
	 */
	INIT_LIST_HEAD(&dev->node);
	prxe_mr_keys_init(dev);
	xa_init_flags(&dev->qps, XA_FLAGS_ALLOC);
	xa_init_flags(&dev->ahs, XA_FLAGS_ALLOC1 | XA_FLAGS_LOCK_IRQ);
	dev->next_key = get_random_u32_below(PRXE_MAX_KEYS);
	dev->next_qpn = PRXE_MIN_QPN + get_random_u32_below(PRXE_MAX_QP / 2);
	spin_lock_init(&dev->mcast_lock);
	dev->ndev = ndev;
	dev_hold(ndev);
	ib_set_device_ops(&dev->ib, &device_ops);
	ib_set_device_ops(&dev->ib, prxe_rxe_compat ? &rxe_id : &private_id);
	dev->stats = alloc_percpu(struct prxe_stats);
	if (!dev->stats) {
		err = -ENOMEM;
		goto err_dealloc;
	}
	err = prxe_mcast_init(dev);
	if (err)
		goto err_dealloc;
	dev->pnet = prxe_net_get(dev_net(ndev));
	if (IS_ERR(dev->pnet)) {
		err = PTR_ERR(dev->pnet);
		dev->pnet = NULL;
		goto err_dealloc;
	}
	make_guid(dev);
	dev->was_up = prxe_port_up(dev);
	dev->ib.node_type = RDMA_NODE_IB_CA;
	dev->ib.phys_port_cnt = 1;
	dev->ib.num_comp_vectors = num_possible_cpus();
	dev->ib.local_dma_lkey = 0;
	/*
	 * rdma_rxe has no uverbs methods of its own, so a device that passes for rdma_rxe's has
	 * none.
	 */
	if (!prxe_rxe_compat)
		dev->ib.driver_def = prxe_uapi;
	dev->ib.node_guid = dev->guid;
	snprintf(dev->ib.node_desc, sizeof(dev->ib.node_desc), "prxe over %s", netdev_name(ndev));
	dev->ib.uverbs_cmd_mask |= BIT_ULL(IB_USER_VERBS_CMD_POST_SEND) |
				   BIT_ULL(IB_USER_VERBS_CMD_REQ_NOTIFY_CQ);
	prxe_mark_user_name(&dev->ib);

	/* Others may unregister the device once it is registered: this keeps its memory. */
	get_device(&dev->ib.dev);
	/* No DMA device: the DMA addresses of kernel consumers are kernel addresses. */
	err = ib_register_device(&dev->ib, name, NULL);
	if (err) {
		put_device(&dev->ib.dev);
		goto err_dealloc;
	}
	if (ib_device_try_get(&dev->ib)) {
		/*
		 * Put the device into the list, where the netdev's notifier and the carriers find
		 * it. Under RTNL: so either the notifier finds the device, or we find that the
		 * netdev is unregistering.
		 */
		rtnl_lock();
		gone = ndev->reg_state != NETREG_REGISTERED;
		if (!gone) {
			prxe_dev_list(dev);
			prxe_port_changed(dev);
		}
		rtnl_unlock();
		ib_device_put(&dev->ib);
		if (gone) {
			ib_unregister_device(&dev->ib);	/* calls dealloc_driver() */
			err = -ENODEV;
		}
	}
	put_device(&dev->ib.dev);
	goto out;

err_dealloc:
	ib_dealloc_device(&dev->ib);
out:
	mutex_unlock(&add_lock);
	return err;
}

void prxe_dev_remove_all(void)
{
	struct prxe_dev *dev;

	for (;;) {
		mutex_lock(&end_lock);
		dev = prxe_dev_first();
		mutex_unlock(&end_lock);
		if (!dev)
			break;
		/* If others are unregistering the device, this only waits until that has ended. */
		ib_unregister_device(&dev->ib);
		put_device(&dev->ib.dev);
	}
}
