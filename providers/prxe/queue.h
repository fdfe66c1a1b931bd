/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Locks, and the rings shared with the kernel.
 *
 * A ring has a power of two of slots, and is full when one slot is left. Its indices are always
 * below the number of slots. Each index is written by one side only: user space writes the producer
 * of a work queue and the consumer of a completion queue.
 */
#ifndef PRXE_QUEUE_H
#define PRXE_QUEUE_H

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <rdma/rdma_user_rxe.h>
#include "prxe-abi.h"

#define prxe_unlikely(x)	__builtin_expect(!!(x), 0)

/*
 * A lock that costs nothing where the application promised to use one thread at a time. It can also
 * be closed: then the other threads wait without the spinlock, so the thread that closed it may
 * make a system call.
 */
struct prxe_lock {
	pthread_spinlock_t spin;
	bool single;		/* thread domain or single-threaded CQ: no locking */
	bool closed;		/* protected by spin */
};

static inline void prxe_lock_init(struct prxe_lock *l, bool single)
{
	pthread_spin_init(&l->spin, PTHREAD_PROCESS_PRIVATE);
	l->single = single;
	l->closed = false;
}

static inline void prxe_lock_destroy(struct prxe_lock *l)
{
	pthread_spin_destroy(&l->spin);
}

static inline void prxe_lock(struct prxe_lock *l)
{
	if (l->single)
		return;
	pthread_spin_lock(&l->spin);
	while (prxe_unlikely(l->closed)) {
		pthread_spin_unlock(&l->spin);
		sched_yield();
		pthread_spin_lock(&l->spin);
	}
}

static inline void prxe_unlock(struct prxe_lock *l)
{
	if (!l->single)
		pthread_spin_unlock(&l->spin);
}

/* Keep all other threads out until prxe_lock_open(), without holding the spinlock. */
static inline void prxe_lock_close(struct prxe_lock *l)
{
	prxe_lock(l);
	l->closed = true;
	prxe_unlock(l);
}

static inline void prxe_lock_open(struct prxe_lock *l)
{
	if (!l->single)
		pthread_spin_lock(&l->spin);
	l->closed = false;
	prxe_unlock(l);
}

/* A mapped ring. Its geometry is read once, when it is mapped, and checked then. */
struct prxe_queue {
	struct prxe_ring *ring;		/* NULL: no ring */
	uint8_t *data;
	uint32_t mask;			/* slots - 1 */
	uint32_t shift;			/* log2 of a slot's size */
	size_t map_size;
};

/*
 * Map the ring that the kernel described in *mi, for elements of at least elem_size bytes. If
 * mi->size is 0, there is no ring, which is no error. Returns an errno.
 */
int prxe_queue_map(struct prxe_queue *q, int cmd_fd, const struct mminfo *mi, size_t elem_size);
/* Unmap the ring, if there is one. */
void prxe_queue_unmap(struct prxe_queue *q);

/*
 * Must the doorbell be rung for this receive queue (a QP in error, see prxe-abi.h)? The kernel sets
 * rq_doorbell well before it stops looking at the queue. So it is enough to read the word, without
 * a barrier, after the producer was stored.
 */
static inline bool prxe_queue_wants_doorbell(const struct prxe_queue *q)
{
	return q->ring && __atomic_load_n(&q->ring->rq_doorbell, __ATOMIC_RELAXED);
}

static inline void *prxe_queue_slot(const struct prxe_queue *q, uint32_t index)
{
	return q->data + ((size_t)index << q->shift);
}

static inline uint32_t prxe_queue_next(const struct prxe_queue *q, uint32_t index)
{
	return (index + 1) & q->mask;
}

/* The index that this side writes: nobody else changes it. */
static inline uint32_t prxe_ring_own(const __u32 *index)
{
	return __atomic_load_n(index, __ATOMIC_RELAXED);
}

/*
 * The index that the kernel writes. Acquire: what the kernel wrote before it may be read after
 * this.
 */
static inline uint32_t prxe_ring_peer(const __u32 *index)
{
	return __atomic_load_n(index, __ATOMIC_ACQUIRE);
}

/* Release: the kernel sees what was written before, when it sees the index. */
static inline void prxe_ring_publish(__u32 *index, uint32_t value)
{
	__atomic_store_n(index, value, __ATOMIC_RELEASE);
}

/*
 * Fills a work queue: takes slots one after another, and publishes them together by one store.
 * Under the lock of the queue.
 */
struct prxe_batch {
	struct prxe_queue *queue;
	uint32_t first, next;		/* producer: as published, and after this batch */
	uint32_t consumer;
};

static inline void prxe_batch_start(struct prxe_batch *b, struct prxe_queue *q)
{
	b->queue = q;
	b->first = prxe_ring_own(&q->ring->producer) & q->mask;
	b->next = b->first;
	b->consumer = prxe_ring_peer(&q->ring->consumer) & q->mask;
}

/*
 * The next free slot, or NULL if the ring is full. It belongs to the batch only after
 * prxe_batch_add().
 */
static inline void *prxe_batch_slot(struct prxe_batch *b)
{
	struct prxe_queue *q = b->queue;

	if (prxe_unlikely(prxe_queue_next(q, b->next) == b->consumer)) {
		b->consumer = prxe_ring_peer(&q->ring->consumer) & q->mask;
		if (prxe_queue_next(q, b->next) == b->consumer)
			return NULL;
	}
	return prxe_queue_slot(q, b->next);
}

static inline void prxe_batch_add(struct prxe_batch *b)
{
	b->next = prxe_queue_next(b->queue, b->next);
}

/* Returns true if there was something to publish. */
static inline bool prxe_batch_publish(struct prxe_batch *b)
{
	if (b->next == b->first)
		return false;
	prxe_ring_publish(&b->queue->ring->producer, b->next);
	return true;
}

/*
 * Take a published batch back, unless another batch was published behind it. Only while the kernel
 * does not look at the queue.
 */
static inline void prxe_batch_withdraw(struct prxe_batch *b)
{
	if (prxe_ring_own(&b->queue->ring->producer) == b->next)
		prxe_ring_publish(&b->queue->ring->producer, b->first);
}

#endif
