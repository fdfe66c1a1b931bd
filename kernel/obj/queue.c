// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Rings shared with user space: their memory, its charge, and how a process maps it.
 *
 * Objects: the lowest file of obj/. User space may write anything to the shared memory (queue.h).
 */
#include <linux/log2.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include "base/prxe.h"
#include "obj/queue.h"

static_assert(offsetof(struct prxe_ring, producer) ==
	      offsetof(struct rxe_queue_buf, producer_index));
static_assert(offsetof(struct prxe_ring, consumer) ==
	      offsetof(struct rxe_queue_buf, consumer_index));
static_assert(offsetof(struct prxe_ring, data) == offsetof(struct rxe_queue_buf, data));
static_assert(sizeof(struct rxe_sge) == sizeof(struct ib_sge));

#define MIN_ELEM_SHIFT	6	/* an element has at least 64 bytes: rxe's ABI */

/* A ring that a user may map. If an mmap() of it is under way, it outlives the queue. */
struct ring_mmap {
	struct rdma_user_mmap_entry entry;	/* first */
	struct prxe_ring *ring;
	size_t bytes;
};

struct prxe_queue *prxe_queue_create(struct prxe_dev *dev, u32 *elems, u32 size,
				     struct ib_ucontext *uctx, struct mminfo *mi)
{
	struct prxe_queue *q;
	struct ring_mmap *m;
	int err = -ENOMEM;
	u64 bytes;

	if (!*elems || *elems >= (1U << 30) || !size || size > PAGE_SIZE)
		return ERR_PTR(-EINVAL);
	q = kzalloc(sizeof(*q), GFP_KERNEL_ACCOUNT);
	if (!q)
		return ERR_PTR(-ENOMEM);
	/* One slot stays empty, so that a full ring does not look like an empty one. */
	q->mask = roundup_pow_of_two(*elems + 1) - 1;
	q->shift = max_t(u32, ilog2(roundup_pow_of_two(size)), MIN_ELEM_SHIFT);
	bytes = PAGE_ALIGN(sizeof(struct prxe_ring) + ((u64)(q->mask + 1) << q->shift));
	if (bytes > U32_MAX)	/* the size in struct mminfo has 32 bits */
		goto err_free;
	q->bytes = bytes;
	/* Single pages, so that each can be mapped; charged to the caller's memory cgroup. */
	q->ring = __vmalloc(q->bytes, GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_NOWARN);
	if (!q->ring)
		goto err_free;
	q->ring->log2_elem_size = q->shift;
	q->ring->index_mask = q->mask;
	if (uctx) {
		m = kzalloc(sizeof(*m), GFP_KERNEL_ACCOUNT);
		if (!m)
			goto err_ring;
		m->ring = q->ring;
		m->bytes = q->bytes;
		err = rdma_user_mmap_entry_insert(uctx, &m->entry, q->bytes);
		if (err) {
			kfree(m);
			goto err_ring;
		}
		q->mmap = &m->entry;
		memset(mi, 0, sizeof(*mi));
		mi->offset = rdma_user_mmap_get_offset(&m->entry);
		mi->size = q->bytes;
	}
	*elems = q->mask;
	return q;

err_ring:
	vfree(q->ring);
err_free:
	kfree(q);
	return ERR_PTR(err);
}

void prxe_queue_destroy(struct prxe_queue *q)
{
	if (!q)
		return;
	if (q->mmap)
		rdma_user_mmap_entry_remove(q->mmap);	/* prxe_mmap_free() frees the ring */
	else
		vfree(q->ring);
	kfree(q);
}

void prxe_mmap_free(struct rdma_user_mmap_entry *entry)
{
	struct ring_mmap *m = container_of(entry, struct ring_mmap, entry);

	vfree(m->ring);	/* a mapping keeps its pages */
	kfree(m);
}

/*
 * The pages are inserted one by one, and the mapping has a reference on each. So it does not depend
 * on the queue, the device or this module: they may all go before it.
 */
int prxe_mmap(struct ib_ucontext *uctx, struct vm_area_struct *vma)
{
	struct rdma_user_mmap_entry *entry;
	unsigned long addr, off = 0;
	struct ring_mmap *m;
	int err = -EINVAL;

	if (!(vma->vm_flags & VM_SHARED) || (vma->vm_flags & VM_EXEC))
		return -EINVAL;
	entry = rdma_user_mmap_entry_get(uctx, vma);
	if (!entry)
		return -EINVAL;
	m = container_of(entry, struct ring_mmap, entry);
	if (vma->vm_end - vma->vm_start != m->bytes)
		goto out;
	prxe_vm_flags_mod(vma, VM_DONTEXPAND | VM_DONTDUMP, VM_MAYEXEC);
	for (addr = vma->vm_start; addr < vma->vm_end; addr += PAGE_SIZE, off += PAGE_SIZE) {
		err = vm_insert_page(vma, addr, vmalloc_to_page((void *)m->ring + off));
		if (err)
			break;
		cond_resched();	/* there may be half a million of them */
	}
out:
	rdma_user_mmap_entry_put(entry);
	return err;
}

/* ---- resizing ---- */

/* How many elements may be copied with a spinlock held: 16 KiB at most. */
#define COPY_STEP	16U

static void copy_elems(const struct prxe_queue_move *m, u32 at, u32 n)
{
	for (; n; n--, at++)
		memcpy(prxe_queue_at(m->dst, at), prxe_queue_at(m->src, m->from + at),
		       1UL << m->src->shift);
}

void prxe_queue_move_most(struct prxe_queue_move *m)
{
	while (m->copied < m->found) {
		u32 n = min(m->found - m->copied, COPY_STEP);

		copy_elems(m, m->copied, n);
		m->copied += n;
		cond_resched();
	}
}

int prxe_queue_move_rest(struct prxe_queue_move *m, u32 n)
{
	if (n > m->dst->mask || n < m->copied)
		return -EINVAL;
	m->found = n;
	if (n - m->copied > COPY_STEP)
		return -EAGAIN;
	copy_elems(m, m->copied, n - m->copied);
	m->copied = n;
	return 0;
}

/* ---- receive WQEs ---- */

/*
 * User space may write to the element while it is read here. So each member is read once, into
 * @out, and checked there.
 */
int prxe_rq_take(struct prxe_queue *q, u32 max_sge, struct prxe_rwqe *out)
{
	const struct rxe_recv_wqe *wqe;
	u32 num, i;

	if (!prxe_queue_pending_from(q, q->index))
		return -EAGAIN;
	wqe = prxe_queue_at(q, q->index);
	out->wr_id = READ_ONCE(wqe->wr_id);
	out->length = 0;
	num = READ_ONCE(wqe->dma.num_sge);
	if (num > max_sge || num > PRXE_MAX_SGE)
		num = U32_MAX;
	else
		memcpy(out->sge, wqe->dma.sge, num * sizeof(out->sge[0]));
	barrier();
	prxe_queue_consume_to(q, prxe_queue_next(q, q->index));
	if (num == U32_MAX) {
		out->num_sge = 0;
		return -EINVAL;
	}
	out->num_sge = num;
	for (i = 0; i < num; i++)
		out->length += out->sge[i].length;
	return 0;
}

/* Writes to a kernel consumer's ring what user space writes to its own. */
int prxe_queue_post_recv(struct prxe_queue *q, spinlock_t *lock, u32 max_sge,
			 const struct ib_recv_wr *wr, const struct ib_recv_wr **bad)
{
	unsigned long flags;
	int err = 0;

	spin_lock_irqsave(lock, flags);
	for (; wr; wr = wr->next) {
		u32 prod = q->ring->producer & q->mask;
		struct rxe_recv_wqe *wqe = prxe_queue_at(q, prod);

		if (wr->num_sge > max_sge)
			err = -EINVAL;
		else if (prxe_queue_next(q, prod) == (READ_ONCE(q->ring->consumer) & q->mask))
			err = -ENOMEM;
		if (err) {
			*bad = wr;
			break;
		}
		memset(wqe, 0, sizeof(*wqe));
		wqe->wr_id = wr->wr_id;
		wqe->dma.num_sge = wr->num_sge;
		memcpy(wqe->dma.sge, wr->sg_list, wr->num_sge * sizeof(*wr->sg_list));
		/* Release, after the WQE: pairs with prxe_queue_pending_from(). */
		smp_store_release(&q->ring->producer, prxe_queue_next(q, prod));
	}
	spin_unlock_irqrestore(lock, flags);
	return err;
}
