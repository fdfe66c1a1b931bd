/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * All devices of this module, and the state of their ports, which their netdevs tell. A device is
 * in the list from its registration until its unregistration. Readers are inside RCU;
 * prxe_dev_unlist() waits for them, so a device that a reader has found stays until the reader
 * leaves its RCU section.
 */
#ifndef PRXE_REGISTRY_H
#define PRXE_REGISTRY_H

#include <rdma/ib_verbs.h>

struct list_head;
struct net_device;
struct prxe_dev;

/* The list head; devices are linked by prxe_dev.node. Read it inside RCU. */
struct list_head *prxe_devs(void);
/* The device over @ndev, inside RCU; NULL when there is none. */
struct prxe_dev *prxe_dev_find(const struct net_device *ndev);
/* Put @dev into the list. The caller holds RTNL, and calls this once for a device. */
void prxe_dev_list(struct prxe_dev *dev);
/*
 * Mark @dev as unregistering, take it out of the list, and wait until no reader can still hold it.
 * Does nothing for a device that was never listed. Sleeps.
 */
void prxe_dev_unlist(struct prxe_dev *dev);
/*
 * The first device of the list, with a reference (put_device()); NULL when the list is empty. Takes
 * no RCU: the caller's own lock, which is held around prxe_dev_unlist() as well, keeps the device
 * from being freed meanwhile.
 */
struct prxe_dev *prxe_dev_first(void);

/* Is the port's link up? Any context. */
bool prxe_port_up(const struct prxe_dev *dev);
/*
 * The netdev's link may have changed: if it has, tell the consumers (IB_EVENT_PORT_ACTIVE,
 * IB_EVENT_PORT_ERR). Under RTNL.
 */
void prxe_port_changed(struct prxe_dev *dev);
/* The largest path MTU that the netdev can carry. Any context. */
enum ib_mtu prxe_port_mtu(const struct prxe_dev *dev);

#endif
