// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * How devices are created and removed: "rdma link add NAME type prxe netdev DEV" creates one; the
 * notifier of netdevs unregisters it with its netdev, and reports link changes to its users.
 *
 * Verbs: decides when, and calls device.c, which does it. main.c calls this file.
 */
#include <linux/if_arp.h>
#include <linux/if_vlan.h>
#include <linux/netdevice.h>
#include <rdma/rdma_netlink.h>
#include "base/prxe.h"
#include "base/registry.h"
#include "verbs/device.h"
#include "verbs/link.h"

static int newlink(const char *name, struct net_device *ndev)
{
	int err;

	if (is_vlan_dev(ndev)) {
		pr_info("%s: %s is a VLAN: use the netdev below it, it has the VLAN's GIDs too\n",
			name, netdev_name(ndev));
		return -EPERM;
	}
	err = prxe_dev_add(name, ndev);
	if (!err) {
		pr_info("%s: added to netdev %s\n", name, netdev_name(ndev));
		if (ndev->type != ARPHRD_ETHER)
			pr_info("%s: %s is not Ethernet: verbs work there, rdma_cm does not\n",
				name, netdev_name(ndev));
	} else if (err != -EEXIST && err != -EADDRINUSE) {	/* these were logged already */
		pr_info("%s: cannot be added to netdev %s: error %d\n",
			name, netdev_name(ndev), err);
	}
	return err;
}

static struct rdma_link_ops link_ops = {
	.type = "prxe",
	.newlink = newlink,
};

/*
 * The notifier, called under RTNL. A device that is found inside RCU is not freed before the end of
 * the RCU section, because prxe_dev_unlist() waits for RCU; after that, the reference keeps it
 * registered.
 */
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
	rdma_link_unregister(&link_ops);	/* no device is created from here on */
	unregister_netdevice_notifier(&netdev_nb);
	prxe_dev_remove_all();
	prxe_dev_exit();
}

MODULE_ALIAS_RDMA_LINK("prxe");
