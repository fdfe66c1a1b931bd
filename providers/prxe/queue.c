// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Mapping the rings.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include "prxe.h"

static_assert(offsetof(struct prxe_ring, producer) ==
	      offsetof(struct rxe_queue_buf, producer_index) &&
	      offsetof(struct prxe_ring, consumer) ==
	      offsetof(struct rxe_queue_buf, consumer_index) &&
	      sizeof(struct prxe_ring) == sizeof(struct rxe_queue_buf), "the ring header is ABI");

int prxe_queue_map(struct prxe_queue *q, int cmd_fd, const struct mminfo *mi, size_t elem_size)
{
	struct prxe_ring *ring;
	uint32_t shift, mask;

	memset(q, 0, sizeof(*q));
	if (!mi->size)
		return 0;
	if (mi->size < sizeof(*ring))
		return EPROTO;

	ring = mmap(NULL, mi->size, PROT_READ | PROT_WRITE, MAP_SHARED, cmd_fd, mi->offset);
	if (ring == MAP_FAILED)
		return errno;

	shift = ring->log2_elem_size;
	mask = ring->index_mask;
	/*
	 * Check the geometry: if the kernel described a larger ring than it maps, we must not write
	 * past the mapping.
	 */
	if (shift > 20 || (mask & (mask + 1)) || elem_size > (1UL << shift) ||
	    ((uint64_t)mask + 1) << shift > mi->size - sizeof(*ring)) {
		munmap(ring, mi->size);
		return EPROTO;
	}

	q->ring = ring;
	q->data = ring->data;
	q->shift = shift;
	q->mask = mask;
	q->map_size = mi->size;
	return 0;
}

void prxe_queue_unmap(struct prxe_queue *q)
{
	if (q->ring)
		munmap(q->ring, q->map_size);
	memset(q, 0, sizeof(*q));
}
