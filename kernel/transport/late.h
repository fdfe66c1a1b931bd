/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Receive WQEs that user space posts to a QP in error. They must complete with WR_FLUSH_ERR (IBTA
 * 10.3.1), but posting a receive WQE is no system call.
 */
#ifndef PRXE_LATE_H
#define PRXE_LATE_H

#include <linux/list.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

struct prxe_cq;
struct prxe_qp;

/* Of a CQ: the QPs in error that complete receives to it and are not looked at by time any more. */
struct prxe_late_cq {
	spinlock_t lock;		/* BH off; inside resp.lock */
	struct list_head qps;
	unsigned int num;
	struct delayed_work work;
	unsigned long next;		/* jiffies: the work does not run before that */
};

/* Of a QP. */
struct prxe_late_qp {
	struct list_head node;		/* prxe_late_cq.qps, or empty */
	u64 since;			/* ns: last flush of a receive; 0: none. resp.lock */
};

void prxe_late_cq_init(struct prxe_cq *cq);
void prxe_late_cq_exit(struct prxe_cq *cq);	/* no QP uses the CQ any more; sleeps */
/* The CQ's consumer is about to wait for completions: look at its QPs soon. Any context. */
void prxe_late_ask(struct prxe_cq *cq);
/* The QP's receive WQEs were flushed: when to look again. Process context, not under resp.lock. */
void prxe_late_look(struct prxe_qp *qp);
/* The QP has left the error state or is dead. BH on, not under resp.lock. */
void prxe_late_forget(struct prxe_qp *qp);

#endif
