/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Verbs on the device, its port, contexts and PDs, for struct ib_device_ops. Called by the core in
 * process context, without a lock of ours. They do not sleep and always return 0, where nothing
 * else is said.
 */
#ifndef PRXE_VERBS_H
#define PRXE_VERBS_H

#include <rdma/ib_verbs.h>

struct uverbs_attr_bundle;

/* What the device can do. -EINVAL: @udata has anything in it. */
int prxe_query_device(struct ib_device *ib, struct ib_device_attr *attr, struct ib_udata *udata);
/* The system image GUID and the node description. -EOPNOTSUPP: anything else. */
int prxe_modify_device(struct ib_device *ib, int mask, struct ib_device_modify *attr);
/* State, MTU and speed of the netdev. Sleeps, takes RTNL. -EINVAL: no such port. */
int prxe_query_port(struct ib_device *ib, u32 port, struct ib_port_attr *attr);
/* -EINVAL: no such port or attribute; -EOPNOTSUPP: IB_PORT_SHUTDOWN. */
int prxe_modify_port(struct ib_device *ib, u32 port, int mask, struct ib_port_modify *attr);
/* What the core asks once, when the device is registered. */
int prxe_get_port_immutable(struct ib_device *ib, u32 port, struct ib_port_immutable *imm);
/* Any context. */
enum rdma_link_layer prxe_get_link_layer(struct ib_device *ib, u32 port);
/* The netdev, and a reference to it for the caller. NULL: it is unregistering. Any context. */
struct net_device *prxe_get_netdev(struct ib_device *ib, u32 port);
/* The P_Key table has one entry, the default P_Key. -EINVAL: any other @index. */
int prxe_query_pkey(struct ib_device *ib, u32 port, u16 index, u16 *pkey);
/* Agree on features with the provider. Sleeps. -EFAULT. */
int prxe_alloc_ucontext(struct ib_ucontext *ib, struct ib_udata *udata);
/* A context that another process imports: there is nothing of ours to tell. */
int prxe_query_ucontext(struct ib_ucontext *ib, struct uverbs_attr_bundle *attrs);
/* After all objects of the context are gone. Gives its mirror back; never waits for a fault. */
void prxe_dealloc_ucontext(struct ib_ucontext *ib);
/* The device goes before the context: nothing to do, mapped rings own their pages. */
void prxe_disassociate_ucontext(struct ib_ucontext *ib);
/* There is nothing in a PD but the core's. */
int prxe_alloc_pd(struct ib_pd *ib, struct ib_udata *udata);
int prxe_dealloc_pd(struct ib_pd *ib, struct ib_udata *udata);

#endif
