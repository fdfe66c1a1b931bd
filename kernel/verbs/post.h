/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Posting work requests (WRs), for struct ib_device_ops. Neither function sleeps. A kernel consumer
 * calls them in any context; uverbs calls them in process context for a user's QP. The caller keeps
 * the QP from being destroyed. @wr and its SGEs are copied. On an error, *@bad is the first WR that
 * was not posted; those before it were.
 */
#ifndef PRXE_POST_H
#define PRXE_POST_H

#include <rdma/ib_verbs.h>

/*
 * 0; -EINVAL: the QP's state, or a WR that the QP's type or its capabilities forbid; -ENOMEM: the
 * send queue is full. For a user's QP, @wr must be NULL (else -EINVAL): the call is then the slow
 * doorbell, for WQEs that user space has written itself.
 */
int prxe_post_send(struct ib_qp *ib, const struct ib_send_wr *wr, const struct ib_send_wr **bad);
/*
 * For kernel consumers only, because user space writes receive WQEs itself. 0; -EINVAL: a user's
 * QP, a QP with an SRQ or in RESET, or too many SGEs; -ENOMEM: the receive queue is full.
 */
int prxe_post_recv(struct ib_qp *ib, const struct ib_recv_wr *wr, const struct ib_recv_wr **bad);

#endif
