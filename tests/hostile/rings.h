/* SPDX-License-Identifier: BSD-2-Clause */
/* The rings that the driver shares with this process, found in its memory map, and how to spoil them. */
#ifndef RINGS_H
#define RINGS_H

#include <stddef.h>
#include <stdint.h>

struct ring {
	uint8_t *base;
	size_t size;
	uint32_t elem, mask; /* as they were when the ring was found; 0 when it is no ring */
};

/* The published layout of a ring and of its work requests (rdma/rdma_user_rxe.h). */
enum { RING_LOG2 = 0, RING_MASK = 4, RING_PRODUCER = 128, RING_CONSUMER = 256, RING_DATA = 384 };

struct target { /* what a plausible WQE may name */
	uint64_t addr;
	uint32_t len, lkey, rkey;
};

#define MAX_RINGS 256
extern struct ring rings[MAX_RINGS];
extern unsigned n_rings;

void rings_find(void);
/* One act of sabotage; @level 0: fields of WQEs, 1: indices as well, 2: anything at all. */
void rings_spoil(uint64_t rnd, int level, const struct target *t, unsigned n);

#endif
