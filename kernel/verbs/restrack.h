/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What rdma(8) shows of an object besides what the core knows, for struct ib_device_ops. Process
 * context, called without a lock of ours; the functions do not sleep. Each appends attributes to
 * @msg, which belongs to the core. 0; -EMSGSIZE: @msg is full, and the core tries again with a
 * larger one or gives up.
 */
#ifndef PRXE_RESTRACK_H
#define PRXE_RESTRACK_H

#include <rdma/ib_verbs.h>

struct sk_buff;

/* "rdma resource show mr": for an ODP MR, whether it is explicit or implicit. */
int prxe_fill_res_mr_entry(struct sk_buff *msg, struct ib_mr *ibmr);
/* "rdma resource show qp": the carrier of a connected QP. */
int prxe_fill_res_qp_entry(struct sk_buff *msg, struct ib_qp *ibqp);
/* "rdma statistic show mr": the counters of an ODP MR. */
int prxe_fill_stat_mr_entry(struct sk_buff *msg, struct ib_mr *ibmr);

#endif
