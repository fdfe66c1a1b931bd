/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Completion queues. */
#ifndef PRXE_CQ_H
#define PRXE_CQ_H

#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>
#include <rdma/ib_verbs.h>
#include "obj/watch.h"

struct prxe_queue;

struct prxe_cq {
	struct ib_cq ib;		/* first */
	struct prxe_queue *queue;	/* of struct prxe_cqe (user) or struct ib_wc (kernel) */
	spinlock_t lock;		/* guards queue, notify and overflowed; irqsave */
	u8 notify;			/* enum ib_cq_notify_flags; 0: not armed */
	bool user;
	bool timestamp;			/* its CQEs have one: PRXE_FEAT_CQE_TIMESTAMP */
	bool overflowed;		/* a CQE was lost: no more are posted */
	bool dying;			/* it is being destroyed: the handler is not called */
	struct mutex resize_mutex;	/* one resize at a time: the core does not serialise them */
	struct prxe_watch watch;	/* told when the consumer asks for an event */
	/* Calls a kernel consumer's comp_handler: so never inside post_send, nor twice at once. */
	struct work_struct work;
};

static inline struct prxe_cq *to_prxe_cq(struct ib_cq *ib)
{
	return container_of(ib, struct prxe_cq, ib);
}

/*
 * Add a completion. @wc is as a kernel consumer gets it (wr_id or wr_cqe, qp, status ..); for a
 * user's CQ it is converted. @solicited: it raises an event also when only IB_CQ_SOLICITED is
 * armed; an error always does that. The caller owns the send side, or holds the resp.lock, of a QP
 * that uses the CQ. Any context but hardirq; takes cq->lock, and may call the handlers of
 * consumers.
 *
 * 0; -EOVERFLOW: the CQ is or was full, and the caller puts its QP into error. The first time, this
 * raises IB_EVENT_CQ_ERR.
 */
int prxe_cq_post(struct prxe_cq *cq, const struct ib_wc *wc, bool solicited);

/*
 * As in struct ib_device_ops. Create, resize and destroy sleep: 0; -EINVAL: a size or a vector out
 * of range; -EOPNOTSUPP: flags, or resizing a kernel CQ; -ENOMEM; -EFAULT. The others run in any
 * context: prxe_poll_cq() is for kernel CQs only (else -EINVAL); prxe_req_notify_cq() returns 1 if
 * the caller asked about missed events, and the CQ is not empty.
 */
int prxe_create_cq(struct ib_cq *ib, const struct ib_cq_init_attr *attr, struct ib_udata *udata);
int prxe_destroy_cq(struct ib_cq *ib, struct ib_udata *udata);
int prxe_resize_cq(struct ib_cq *ib, int cqe, struct ib_udata *udata);
int prxe_poll_cq(struct ib_cq *ib, int num, struct ib_wc *wc);
int prxe_peek_cq(struct ib_cq *ib, int cnt);
int prxe_req_notify_cq(struct ib_cq *ib, enum ib_cq_notify_flags flags);

#endif
