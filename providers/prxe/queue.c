// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Mapping the rings.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include "prxe.h"

static_assert(offsetof(struct rxe_queue_buf, producer_index) == 128 &&
	      offsetof(struct rxe_queue_buf, consumer_index) == 256 &&
	      sizeof(struct rxe_queue_buf) == 384, "the ring header is ABI");

int prxe_ring_map(struct prxe_ring *ring, int cmd_fd, const struct mminfo *mi, size_t elem_size)
{
	struct rxe_queue_buf *buf;
	uint32_t shift, mask;

	memset(ring, 0, sizeof(*ring));
	if (!mi->size)
		return 0;
	if (mi->size < sizeof(*buf))
		return EPROTO;

	buf = mmap(NULL, mi->size, PROT_READ | PROT_WRITE, MAP_SHARED, cmd_fd, mi->offset);
	if (buf == MAP_FAILED)
		return errno;

	shift = buf->log2_elem_size;
	mask = buf->index_mask;
	/* A kernel that describes something else than it maps must not make us write past the mapping. */
	if (shift > 20 || (mask & (mask + 1)) || elem_size > (1UL << shift) ||
	    ((uint64_t)mask + 1) << shift > mi->size - sizeof(*buf)) {
		munmap(buf, mi->size);
		return EPROTO;
	}

	ring->buf = buf;
	ring->data = buf->data;
	ring->shift = shift;
	ring->mask = mask;
	ring->map_size = mi->size;
	return 0;
}

void prxe_ring_unmap(struct prxe_ring *ring)
{
	if (ring->buf)
		munmap(ring->buf, ring->map_size);
	memset(ring, 0, sizeof(*ring));
}
