/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Rings shared with user space, in rxe's published layout. User space may write anything to the
 * shared memory. So the kernel keeps its own indices, sizes and masks here; of the header, it reads
 * only the index that the other side writes, and masks it.
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
	u64 no;				/* unique: a new number for each WQE that is taken */
	u64 fill;			/* number of the message that has written to it; 0: none */
	u64 wr_id;
	u32 num_sge;
	u64 length;			/* of all SGEs */
	struct ib_sge sge[PRXE_MAX_SGE];
};

/* A ring, of a kernel consumer or of a user. */
struct prxe_queue {
	struct prxe_ring *ring;		/* vmalloc memory, charged to its owner */
	size_t bytes;			/* of ring, page aligned */
	u32 mask;			/* slots - 1 */
	u32 shift;			/* log2 of the element size */
	u32 index;			/* the kernel's: consumer (SQ, RQ, SRQ), producer (CQ) */
	struct rdma_user_mmap_entry *mmap;	/* NULL for kernel queues */
};

/*
 * Create a queue for at least *elems elements of @size bytes; *elems becomes its capacity (slots -
 * 1). If @uctx is not NULL, its process can map the ring: *mi gets the offset and size for mmap().
 * Sleeps. ERR_PTR(-EINVAL): a size out of range; ERR_PTR(-ENOMEM).
 */
struct prxe_queue *prxe_queue_create(struct prxe_dev *dev, u32 *elems, u32 size,
				     struct ib_ucontext *uctx, struct mminfo *mi);
/*
 * Free the queue (NULL: nothing to do). If a process has mapped the ring, its mapping keeps the
 * pages. Sleeps.
 */
void prxe_queue_destroy(struct prxe_queue *q);
/*
 * As in struct ib_device_ops; process context, under mmap_lock. prxe_mmap() sleeps: 0; -EINVAL: no
 * such ring, or a mapping that is private, executable or of another size; -ENOMEM. prxe_mmap_free()
 * frees the ring.
 */
int prxe_mmap(struct ib_ucontext *uctx, struct vm_area_struct *vma);
void prxe_mmap_free(struct rdma_user_mmap_entry *entry);

/*
 * Copy the next receive WQE of @q into kernel memory, and consume it. 0; -EAGAIN: there is none;
 * -EINVAL: it has too many SGEs. It is consumed then, too, but only its wr_id is valid. Under the
 * consumer's lock (resp.lock, or srq->lock).
 */
int prxe_rq_take(struct prxe_queue *q, u32 max_sge, struct prxe_rwqe *out);

/*
 * Write a kernel consumer's receive WRs into @q, an RQ or SRQ; @lock serialises the posters. 0;
 * -EINVAL: too many SGEs; -ENOMEM: the ring is full; *@bad is then the first WR that was not
 * posted. Any context.
 */
int prxe_queue_post_recv(struct prxe_queue *q, spinlock_t *lock, u32 max_sge,
			 const struct ib_recv_wr *wr, const struct ib_recv_wr **bad);

/*
 * A resize: copy the elements of one ring, from index @from on, to another ring, from index 0 on.
 * Both rings have elements of the same size. Most elements are copied without a lock while the old
 * ring is still in use; only the last few, which were added meanwhile, are copied under the lock
 * that guards the ring:
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
 * Meanwhile the elements of the old ring from @from on must not change; new ones may be added.
 */
struct prxe_queue_move {
	struct prxe_queue *dst;
	const struct prxe_queue *src;
	u32 from;
	u32 found, copied;	/* numbers of elements; both 0 before the first call */
};

/* Copy the elements that prxe_queue_move_rest() has found. Sleeps. */
void prxe_queue_move_most(struct prxe_queue_move *m);
/*
 * There are @n elements now: copy the rest. Under the lock; does not sleep. 0: all are in the new
 * ring. -EAGAIN: too many are left to be copied under a spinlock. -EINVAL: they do not fit, or
 * there are fewer than before.
 */
int prxe_queue_move_rest(struct prxe_queue_move *m, u32 n);

/* The element at @index. Its address is inside the ring whatever user space wrote. */
static inline void *prxe_queue_at(const struct prxe_queue *q, u32 index)
{
	return q->ring->data + ((size_t)(index & q->mask) << q->shift);
}

static inline u32 prxe_queue_next(const struct prxe_queue *q, u32 index)
{
	return (index + 1) & q->mask;
}

/* How many elements the other side has produced from @index on. */
static inline u32 prxe_queue_pending_from(const struct prxe_queue *q, u32 index)
{
	/* Acquire, before the elements are read: pairs with the other side's release. */
	return (smp_load_acquire(&q->ring->producer) - index) & q->mask;
}

/* Give the slots in front of @index back to the producer. Under the consumer's lock. */
static inline void prxe_queue_consume_to(struct prxe_queue *q, u32 index)
{
	q->index = index;
	/* Release, after the elements were read: the producer may overwrite them now. */
	smp_store_release(&q->ring->consumer, index);
}

/* Discard everything that was posted. Under the consumer's lock. */
static inline void prxe_queue_consume_all(struct prxe_queue *q)
{
	prxe_queue_consume_to(q, (q->index + prxe_queue_pending_from(q, q->index)) & q->mask);
}

#endif
