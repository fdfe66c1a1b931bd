/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
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
	struct prxe_queue *queue;	/* of struct ib_uverbs_wc (user) or struct ib_wc (kernel) */
	spinlock_t lock;		/* of all below; irqsave: consumers poll from anywhere */
	u8 notify;			/* enum ib_cq_notify_flags armed, 0 when not */
	bool user;
	bool timestamp;			/* CQEs carry one: PRXE_FEAT_CQE_TIMESTAMP */
	bool overflowed;		/* a CQE was lost: nothing is posted any more */
	bool dying;
	struct mutex resize_mutex;	/* one resize at a time: the core does not serialise them */
	struct prxe_watch watch;	/* called when the consumer is about to wait */
	/* Kernel consumers' comp_handler: never called inside post_send, never twice at once. */
	struct work_struct work;
};

static inline struct prxe_cq *to_prxe_cq(struct ib_cq *ib)
{
	return container_of(ib, struct prxe_cq, ib);
}

/*
 * Add a completion. @wc is as a kernel consumer gets it (wr_id or wr_cqe, qp, status ..); it is
 * converted for a user's CQ. @solicited: it counts if IB_CQ_SOLICITED is armed; an error always
 * does. Raises the completion event and, when the CQ is full, IB_EVENT_CQ_ERR once. -EOVERFLOW when
 * it is full: the caller puts its QP into error. Any context but hardirq; takes cq->lock.
 */
int prxe_cq_post(struct prxe_cq *cq, const struct ib_wc *wc, bool solicited);

int prxe_create_cq(struct ib_cq *ib, const struct ib_cq_init_attr *attr, struct ib_udata *udata);
int prxe_destroy_cq(struct ib_cq *ib, struct ib_udata *udata);
int prxe_resize_cq(struct ib_cq *ib, int cqe, struct ib_udata *udata);
int prxe_poll_cq(struct ib_cq *ib, int num, struct ib_wc *wc);
int prxe_peek_cq(struct ib_cq *ib, int cnt);
int prxe_req_notify_cq(struct ib_cq *ib, enum ib_cq_notify_flags flags);

#endif
