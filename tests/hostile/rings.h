/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rings that the driver shares with this process: how to find them in its memory map, and how
 * to spoil them.
 */
#ifndef RINGS_H
#define RINGS_H

#include "../../kernel/uapi/prxe-abi.h"

#include <rdma/rdma_user_rxe.h>
#include <stddef.h>
#include <stdint.h>

struct ring {
	struct prxe_ring *shared;
	size_t size; /* of the mapping, in bytes */
	uint32_t elem, mask; /* as they were when the ring was found; 0 when it is no ring */
};

struct target { /* what a plausible WQE may name */
	uint64_t addr;
	uint32_t len, lkey, rkey;
};

#define MAX_RINGS 256
extern struct ring rings[MAX_RINGS];
extern unsigned n_rings;

/* Where element @index of a ring is, which is no more than its mask. */
static inline uint8_t *ring_element(const struct ring *r, uint32_t index)
{
	return r->shared->data + (size_t)r->elem * index;
}

/* Fill rings[]. */
void rings_find(void);
/* One act of sabotage; @level 0: fields of WQEs, 1: indices as well, 2: anything at all. */
void rings_spoil(uint64_t rnd, int level, const struct target *t, unsigned n);

#endif
