/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Posting, for struct ib_device_ops. Neither function sleeps. A kernel consumer calls them in any
 * context; for a user's QP, uverbs calls them in process context. The caller keeps the QP from
 * being destroyed. @wr and its SGEs are copied. On an error, *@bad is the WR that was not posted;
 * those before it are.
 */
#ifndef PRXE_POST_H
#define PRXE_POST_H

#include <rdma/ib_verbs.h>

/*
 * 0; -EINVAL: the QP's state, or a WR that the QP's type or its capabilities forbid; -ENOMEM: the
 * send queue is full. For a user's QP @wr must be NULL: it is the slow doorbell.
 */
int prxe_post_send(struct ib_qp *ib, const struct ib_send_wr *wr, const struct ib_send_wr **bad);
/*
 * Kernel consumers only: user space writes receive WQEs itself. 0; -EINVAL: a user's QP, one with
 * an SRQ, one in RESET, or too many SGEs; -ENOMEM: the receive queue is full.
 */
int prxe_post_recv(struct ib_qp *ib, const struct ib_recv_wr *wr, const struct ib_recv_wr **bad);

#endif
