// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The list of all devices, and the state and MTU of their ports. It is in the lowest layer because
 * addresses (obj), QPs (transport) and received packets (carrier) all look for a device here.
 * verbs/device.c fills the list. This file calls nothing above it: it reports a link change by an
 * event of the core.
 */
#include <linux/netdevice.h>
#include <linux/rculist.h>
#include <linux/spinlock.h>
#include "base/prxe.h"
#include "base/registry.h"

/* Bytes of IPv6, UDP, BTH, the longest extended headers and ICRC around a packet's payload. */
#define HEADER_ROOM	80

static LIST_HEAD(devs);
static DEFINE_SPINLOCK(devs_lock);	/* for changes of devs; readers are inside RCU */

struct list_head *prxe_devs(void)
{
	return &devs;
}

struct prxe_dev *prxe_dev_find(const struct net_device *ndev)
{
	struct prxe_dev *dev;

	list_for_each_entry_rcu(dev, &devs, node)
		if (dev->ndev == ndev)
			return dev;
	return NULL;
}

void prxe_dev_list(struct prxe_dev *dev)
{
	spin_lock(&devs_lock);
	list_add_tail_rcu(&dev->node, &devs);
	spin_unlock(&devs_lock);
}

void prxe_dev_unlist(struct prxe_dev *dev)
{
	if (list_empty(&dev->node))
		return;
	WRITE_ONCE(dev->unregistering, true);
	spin_lock(&devs_lock);
	list_del_rcu(&dev->node);
	spin_unlock(&devs_lock);
	synchronize_rcu();
}

struct prxe_dev *prxe_dev_first(void)
{
	struct prxe_dev *dev = list_first_entry_or_null(&devs, struct prxe_dev, node);

	if (dev)
		get_device(&dev->ib.dev);
	return dev;
}

bool prxe_port_up(const struct prxe_dev *dev)
{
	return netif_running(dev->ndev) && netif_carrier_ok(dev->ndev);
}

void prxe_port_changed(struct prxe_dev *dev)
{
	struct ib_event ev = { .device = &dev->ib, .element.port_num = PRXE_PORT };
	bool up = prxe_port_up(dev);

	if (xchg(&dev->was_up, up) == up)
		return;
	ev.event = up ? IB_EVENT_PORT_ACTIVE : IB_EVENT_PORT_ERR;
	if (!up)
		prxe_count(dev, link_downed);
	ib_dispatch_event(&ev);
}

enum ib_mtu prxe_port_mtu(const struct prxe_dev *dev)
{
	unsigned int mtu = READ_ONCE(dev->ndev->mtu);

	mtu = mtu > HEADER_ROOM ? mtu - HEADER_ROOM : 0;
	if (mtu >= 4096)
		return IB_MTU_4096;
	if (mtu >= 2048)
		return IB_MTU_2048;
	if (mtu >= 1024)
		return IB_MTU_1024;
	return mtu >= 512 ? IB_MTU_512 : IB_MTU_256;
}
