/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Entry points of struct ib_device_ops that have no object file of their own. */
#ifndef PRXE_VERBS_H
#define PRXE_VERBS_H

#include <rdma/ib_verbs.h>

struct prxe_dev;
struct uverbs_attr_bundle;

/* verbs.c */
int prxe_query_device(struct ib_device *ib, struct ib_device_attr *attr, struct ib_udata *udata);
int prxe_modify_device(struct ib_device *ib, int mask, struct ib_device_modify *attr);
int prxe_query_port(struct ib_device *ib, u32 port, struct ib_port_attr *attr);
int prxe_modify_port(struct ib_device *ib, u32 port, int mask, struct ib_port_modify *attr);
int prxe_get_port_immutable(struct ib_device *ib, u32 port, struct ib_port_immutable *imm);
enum rdma_link_layer prxe_get_link_layer(struct ib_device *ib, u32 port);
struct net_device *prxe_get_netdev(struct ib_device *ib, u32 port);
int prxe_query_pkey(struct ib_device *ib, u32 port, u16 index, u16 *pkey);
int prxe_alloc_ucontext(struct ib_ucontext *ib, struct ib_udata *udata);
int prxe_query_ucontext(struct ib_ucontext *ib, struct uverbs_attr_bundle *attrs);
void prxe_dealloc_ucontext(struct ib_ucontext *ib);
void prxe_disassociate_ucontext(struct ib_ucontext *ib);
int prxe_alloc_pd(struct ib_pd *ib, struct ib_udata *udata);
int prxe_dealloc_pd(struct ib_pd *ib, struct ib_udata *udata);

/* qp_verbs.c */
int prxe_create_qp(struct ib_qp *ib, struct ib_qp_init_attr *init, struct ib_udata *udata);
int prxe_modify_qp(struct ib_qp *ib, struct ib_qp_attr *attr, int mask, struct ib_udata *udata);
int prxe_query_qp(struct ib_qp *ib, struct ib_qp_attr *attr, int mask,
		  struct ib_qp_init_attr *init);
int prxe_destroy_qp(struct ib_qp *ib, struct ib_udata *udata);
/*
 * The device is being taken from its users (dev->users_removed is set): all their QPs into error,
 * and what was posted to them completes before this returns. Sleeps.
 */
void prxe_qp_abandon_all(struct prxe_dev *dev);

/* post.c */
int prxe_post_send(struct ib_qp *ib, const struct ib_send_wr *wr, const struct ib_send_wr **bad);
int prxe_post_recv(struct ib_qp *ib, const struct ib_recv_wr *wr, const struct ib_recv_wr **bad);

/* device.c */
void prxe_dealloc_driver(struct ib_device *ib);
int prxe_dev_init(void);
void prxe_dev_exit(void);	/* there is no device any more */
/* An ib_device over @ndev, registered as @name (which may have a %d): 0 or an errno. Sleeps. */
int prxe_dev_add(const char *name, struct net_device *ndev);
/* Unregister every device, wherever its unregistration stands already. Sleeps. */
void prxe_dev_remove_all(void);

/* link.c */
int prxe_link_init(void);
void prxe_link_exit(void);

/* stats.c */
struct rdma_hw_stats *prxe_alloc_hw_port_stats(struct ib_device *ib, u32 port);
int prxe_get_hw_stats(struct ib_device *ib, struct rdma_hw_stats *stats, u32 port, int index);

int prxe_process_mad(struct ib_device *ib, int flags, u32 port, const struct ib_wc *wc,
		     const struct ib_grh *grh, const struct ib_mad *in, struct ib_mad *out,
		     size_t *out_size, u16 *out_pkey_index);

/* ioctl.c */
struct uapi_definition;
extern const struct uapi_definition prxe_uapi[];

/* restrack.c */
int prxe_fill_res_mr_entry(struct sk_buff *msg, struct ib_mr *ibmr);
int prxe_fill_res_qp_entry(struct sk_buff *msg, struct ib_qp *ibqp);
int prxe_fill_stat_mr_entry(struct sk_buff *msg, struct ib_mr *ibmr);

#endif
