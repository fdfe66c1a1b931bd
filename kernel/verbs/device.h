/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A device of this module: its creation over a netdev, and its removal. Process context; all
 * functions sleep. The caller holds neither RTNL nor a lock that verbs take.
 */
#ifndef PRXE_DEVICE_H
#define PRXE_DEVICE_H

struct net_device;

/*
 * Register the ib_client through which we learn that the core removes a device's users. Before the
 * first device is created. 0 or an errno of ib_register_client().
 */
int prxe_dev_init(void);
/* Unregister the ib_client, after the last device is gone. */
void prxe_dev_exit(void);
/*
 * Create and register an ib_device named @name (which may have a %d) over @ndev, which the device
 * holds until it is freed. 0; -EEXIST: @ndev has a device; -ENODEV: @ndev is unregistering;
 * -ENOMEM; or an errno of the core or of the UDP sockets.
 */
int prxe_dev_add(const char *name, struct net_device *ndev);
/*
 * Unregister every device, and return when all of them are freed, including those whose
 * unregistration has begun elsewhere. Nobody may create one meanwhile.
 */
void prxe_dev_remove_all(void);

#endif
