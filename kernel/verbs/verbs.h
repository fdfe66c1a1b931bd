/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Verbs on the device, its port, contexts and PDs, for struct ib_device_ops. The core calls them in
 * process context, without a lock of ours. Unless a comment says otherwise, they do not sleep and
 * always return 0.
 */
#ifndef PRXE_VERBS_H
#define PRXE_VERBS_H

#include <rdma/ib_verbs.h>

struct uverbs_attr_bundle;

/* The capabilities and limits of the device. -EINVAL: @udata is not empty. */
int prxe_query_device(struct ib_device *ib, struct ib_device_attr *attr, struct ib_udata *udata);
/* Sets the system image GUID and the node description. -EOPNOTSUPP: anything else. */
int prxe_modify_device(struct ib_device *ib, int mask, struct ib_device_modify *attr);
/* State, MTU and speed of the port, from its netdev. Sleeps, takes RTNL. -EINVAL: no such port. */
int prxe_query_port(struct ib_device *ib, u32 port, struct ib_port_attr *attr);
/* Changes nothing. -EINVAL: no such port or attribute; -EOPNOTSUPP: IB_PORT_SHUTDOWN. */
int prxe_modify_port(struct ib_device *ib, u32 port, int mask, struct ib_port_modify *attr);
/* The properties of the port that the core reads once, when the device is registered. */
int prxe_get_port_immutable(struct ib_device *ib, u32 port, struct ib_port_immutable *imm);
/* Always Ethernet. Any context. */
enum rdma_link_layer prxe_get_link_layer(struct ib_device *ib, u32 port);
/*
 * The netdev, with a reference for the caller. NULL: it is unregistering, or there is no such port.
 * Any context.
 */
struct net_device *prxe_get_netdev(struct ib_device *ib, u32 port);
/* The P_Key table has one entry, the default P_Key. -EINVAL: any other @index. */
int prxe_query_pkey(struct ib_device *ib, u32 port, u16 index, u16 *pkey);
/* Set up a context, and agree on features with the provider. Sleeps. -EFAULT. */
int prxe_alloc_ucontext(struct ib_ucontext *ib, struct ib_udata *udata);
/* Another process imports a context: we have nothing to tell it. */
int prxe_query_ucontext(struct ib_ucontext *ib, struct uverbs_attr_bundle *attrs);
/*
 * Called after all objects of the context are gone: gives up the use of its mirror. Never waits for
 * a fault.
 */
void prxe_dealloc_ucontext(struct ib_ucontext *ib);
/* The device is removed before the context: nothing to do, because mapped rings own their pages. */
void prxe_disassociate_ucontext(struct ib_ucontext *ib);
/* Nothing to do: a PD has no state of ours. */
int prxe_alloc_pd(struct ib_pd *ib, struct ib_udata *udata);
int prxe_dealloc_pd(struct ib_pd *ib, struct ib_udata *udata);

#endif
