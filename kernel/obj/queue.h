/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Rings shared with user space, in rxe's published layout. User space may write anything to the
 * shared memory: so the kernel keeps its own indices, sizes and masks here, and reads no more than
 * a producer (or consumer) index from it, masked.
 */
#ifndef PRXE_QUEUE_H
#define PRXE_QUEUE_H

#include <linux/spinlock.h>
#include <linux/types.h>
#include <rdma/ib_verbs.h>
#include <rdma/rdma_user_rxe.h>
#include "base/prxe.h"
#include "uapi/prxe-abi.h"

/* A receive WQE taken from the RQ or SRQ, copied and checked. */
struct prxe_rwqe {
	bool valid;
	u64 no;				/* its own number: another one for each that is taken */
	u64 fill;			/* of the message whose bytes stand in it; 0: nobody's */
	u64 wr_id;
	u32 num_sge;
	u64 length;			/* of all SGEs */
	struct ib_sge sge[PRXE_MAX_SGE];
};

struct prxe_queue {
	struct prxe_ring *ring;		/* vmalloc memory, charged to its owner */
	size_t bytes;			/* of ring, page aligned */
	u32 mask;			/* slots - 1 */
	u32 shift;			/* log2 of the element size */
	u32 index;			/* the kernel's: consumer (SQ, RQ, SRQ), producer (CQ) */
	struct rdma_user_mmap_entry *mmap;	/* NULL for kernel queues */
};

/*
 * A queue for at least *elems elements of @size bytes; *elems becomes its capacity (slots - 1). If
 * @uctx is not NULL, its process can map the ring; the offset and size for mmap() are written to
 * *mi. Returns an ERR_PTR on failure. Sleeps.
 */
struct prxe_queue *prxe_queue_create(struct prxe_dev *dev, u32 *elems, u32 size,
				     struct ib_ucontext *uctx, struct mminfo *mi);
/* The kernel's mapping goes; a user's mapping keeps its pages. Sleeps. */
void prxe_queue_destroy(struct prxe_queue *q);
int prxe_mmap(struct ib_ucontext *uctx, struct vm_area_struct *vma);
void prxe_mmap_free(struct rdma_user_mmap_entry *entry);

/*
 * Take a receive WQE out of @q into kernel memory. 0; -EAGAIN there is none; -EINVAL it makes no
 * sense: it was taken, and only its wr_id is valid. Under the consumer's lock (resp.lock, or
 * srq->lock).
 */
int prxe_rq_take(struct prxe_queue *q, u32 max_sge, struct prxe_rwqe *out);

/*
 * Kernel consumers' receive WRs into @q, an RQ or SRQ; @lock serialises the posters. As
 * ib_post_recv(). Any context.
 */
int prxe_queue_post_recv(struct prxe_queue *q, spinlock_t *lock, u32 max_sge,
			 const struct ib_recv_wr *wr, const struct ib_recv_wr **bad);

/*
 * A resize: the elements of one ring, from index @from on, into another one from index 0 on. Both
 * rings have elements of the same size. Most are copied without a lock while the old ring is still
 * in use; only the last few, which came meanwhile, are copied under the lock that guards the ring:
 *
 *	do {
 *		prxe_queue_move_most(&move);
 *		lock
 *		err = prxe_queue_move_rest(&move, number of elements from move.from on);
 *		if (!err)
 *			put the new ring in the place of the old one
 *		unlock
 *	} while (err == -EAGAIN);
 *
 * What stands in the old ring from @from on must not change meanwhile; more may come.
 */
struct prxe_queue_move {
	struct prxe_queue *dst;
	const struct prxe_queue *src;
	u32 from;
	u32 found, copied;	/* elements; 0 in the beginning */
};

/* Copy what prxe_queue_move_rest() has found. Sleeps. */
void prxe_queue_move_most(struct prxe_queue_move *m);
/*
 * There are @n elements now. 0: all of them are in the new ring. -EAGAIN: too many are left to copy
 * them under a spinlock. -EINVAL: they do not fit, or there are fewer than before.
 */
int prxe_queue_move_rest(struct prxe_queue_move *m, u32 n);

/* The kernel's own view: addresses are inside the ring whatever user space wrote. */
static inline void *prxe_queue_at(const struct prxe_queue *q, u32 index)
{
	return q->ring->data + ((size_t)(index & q->mask) << q->shift);
}

static inline u32 prxe_queue_next(const struct prxe_queue *q, u32 index)
{
	return (index + 1) & q->mask;
}

/* Elements that the other side produced after @index. */
static inline u32 prxe_queue_pending_from(const struct prxe_queue *q, u32 index)
{
	/* Before the elements: pairs with the other side's release of the producer. */
	return (smp_load_acquire(&q->ring->producer) - index) & q->mask;
}

/* Give everything up to @index back to the producer. */
static inline void prxe_queue_consume_to(struct prxe_queue *q, u32 index)
{
	q->index = index;
	/* After the last look at the elements: the producer may overwrite them now. */
	smp_store_release(&q->ring->consumer, index);
}

/* Give back everything that was posted: it is forgotten. */
static inline void prxe_queue_consume_all(struct prxe_queue *q)
{
	prxe_queue_consume_to(q, (q->index + prxe_queue_pending_from(q, q->index)) & q->mask);
}

#endif
