// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * "rdma link add NAME type prxe netdev DEV", and what becomes of the netdev afterwards.
 */
#include <linux/if_arp.h>
#include <linux/if_vlan.h>
#include <linux/netdevice.h>
#include <rdma/rdma_netlink.h>
#include "base/prxe.h"
#include "base/registry.h"
#include "verbs/verbs.h"

static int newlink(const char *name, struct net_device *ndev)
{
	int err;

	if (is_vlan_dev(ndev)) {
		pr_info("%s: %s is a VLAN: add the device to the netdev below it, which carries the VLAN's addresses too\n",
			name, netdev_name(ndev));
		return -EPERM;
	}
	err = prxe_dev_add(name, ndev);
	if (!err) {
		pr_info("%s: added to netdev %s\n", name, netdev_name(ndev));
		if (ndev->type != ARPHRD_ETHER)
			pr_info("%s: %s is not Ethernet: verbs work there, rdma_cm does not\n",
				name, netdev_name(ndev));
	}
	else if (err != -EEXIST && err != -EADDRINUSE)	/* said already */
		pr_info("%s: cannot be added to netdev %s: error %d\n", name, netdev_name(ndev), err);
	return err;
}

static struct rdma_link_ops link_ops = {
	.type = "prxe",
	.newlink = newlink,
};

/* Under RTNL: the device is not freed meanwhile, because its unregistration waits for RCU. */
static int netdev_event(struct notifier_block *nb, unsigned long event, void *arg)
{
	struct net_device *ndev = netdev_notifier_info_to_dev(arg);
	struct prxe_dev *dev;

	rcu_read_lock();
	dev = prxe_dev_find(ndev);
	if (!dev || !ib_device_try_get(&dev->ib)) {
		rcu_read_unlock();
		return NOTIFY_OK;
	}
	rcu_read_unlock();
	switch (event) {
	case NETDEV_UNREGISTER:
		ib_unregister_device_queued(&dev->ib);
		break;
	case NETDEV_UP:
	case NETDEV_DOWN:
	case NETDEV_CHANGE:
		prxe_port_changed(dev);
		break;
	default:
		break;
	}
	ib_device_put(&dev->ib);
	return NOTIFY_OK;
}

static struct notifier_block netdev_nb = {
	.notifier_call = netdev_event,
};

int prxe_link_init(void)
{
	int err = prxe_dev_init();

	if (err)
		return err;
	err = register_netdevice_notifier(&netdev_nb);
	if (err)
		prxe_dev_exit();
	else
		rdma_link_register(&link_ops);
	return err;
}

void prxe_link_exit(void)
{
	rdma_link_unregister(&link_ops);	/* no new device */
	unregister_netdevice_notifier(&netdev_nb);
	prxe_dev_remove_all();
	prxe_dev_exit();
}

MODULE_ALIAS_RDMA_LINK("prxe");
