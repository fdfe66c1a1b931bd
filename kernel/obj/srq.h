/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Shared receive queues. */
#ifndef PRXE_SRQ_H
#define PRXE_SRQ_H
#include <linux/mutex.h>
#include <rdma/ib_verbs.h>

struct prxe_queue;
struct prxe_rwqe;

struct prxe_srq {
	struct ib_srq ib;		/* first */
	struct prxe_queue *rq;
	u32 max_wr, max_sge;
	u32 limit;			/* 0: not armed */
	spinlock_t lock;		/* consumer side and limit; BH off; inside resp.lock */
	spinlock_t post_lock;		/* serialises kernel consumers that post */
	struct mutex resize_mutex;	/* one resize at a time: the core does not serialise them */
	bool user;
	u32 num;
};

static inline struct prxe_srq *to_prxe_srq(struct ib_srq *ib)
{
	return container_of(ib, struct prxe_srq, ib);
}

/*
 * As in struct ib_device_ops. Create, modify and destroy sleep; query takes srq->lock; post is for
 * kernel consumers only (else -EINVAL), in any context. 0; -EOPNOTSUPP: the type, or resizing a
 * kernel SRQ; -EINVAL: a value out of range; -ENOMEM; -EFAULT.
 */
int prxe_create_srq(struct ib_srq *ib, struct ib_srq_init_attr *init, struct ib_udata *udata);
int prxe_modify_srq(struct ib_srq *ib, struct ib_srq_attr *attr, enum ib_srq_attr_mask mask,
		    struct ib_udata *udata);
int prxe_query_srq(struct ib_srq *ib, struct ib_srq_attr *attr);
int prxe_destroy_srq(struct ib_srq *ib, struct ib_udata *udata);
int prxe_post_srq_recv(struct ib_srq *ib, const struct ib_recv_wr *wr,
		       const struct ib_recv_wr **bad);
/*
 * As prxe_rq_take(), but raises IB_EVENT_SRQ_LIMIT_REACHED when fewer WQEs than the limit are left.
 * Under the resp.lock of a QP that uses the SRQ; takes srq->lock, and may call the consumer's event
 * handler.
 */
int prxe_srq_take(struct prxe_srq *srq, struct prxe_rwqe *out);
#endif
