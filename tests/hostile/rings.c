// SPDX-License-Identifier: BSD-2-Clause
#define _GNU_SOURCE
#include "rings.h"
#include "lib/t.h"

#include <stdlib.h>
#include <string.h>

struct ring rings[MAX_RINGS];
unsigned n_rings;

static void put32(void *p, uint32_t v)
{
	*(volatile uint32_t *)p = v;
}

static void put64(void *p, uint64_t v)
{
	*(volatile uint64_t *)p = v;
}

void rings_find(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512];

	n_rings = 0;
	while (f && fgets(line, sizeof(line), f) && n_rings < MAX_RINGS) {
		unsigned long from, to;
		char perms[8];
		struct ring *r = &rings[n_rings];
		uint32_t log2;

		if (!strstr(line, "/dev/infiniband/uverbs") ||
		    sscanf(line, "%lx-%lx %7s", &from, &to, perms) != 3 || perms[1] != 'w')
			continue;
		r->shared = (struct prxe_ring *)from;
		r->size = to - from;
		r->elem = r->mask = 0;
		log2 = r->shared->log2_elem_size;
		if (log2 >= 4 && log2 <= 16) {
			r->elem = 1U << log2;
			r->mask = r->shared->index_mask;
			if (sizeof(*r->shared) + (size_t)r->elem * ((size_t)r->mask + 1) > r->size)
				r->elem = r->mask = 0;
		}
		n_rings++;
	}
	if (f)
		fclose(f);
}

/* Values that lie at the edges of what code checks. */
static uint32_t edge(uint64_t rnd)
{
	static const uint32_t v[] = {
		0, 1, 2, 7, 8, 31, 32, 33, 255, 256, 4095, 4096, 65535, 1U << 20, 0x7ffffff8,
		0x7fffffff, 0x80000000, 0x80000001, 0xfffffff0, 0xffffffff
	};

	return rnd & 0x100 ? (uint32_t)(rnd >> 32) : v[(rnd >> 9) % ARRAY_LEN(v)];
}

/* A send WQE that is right but for what the random number spoils. */
static void plausible_send(struct rxe_send_wqe *w, uint32_t elem, uint64_t rnd,
			   const struct target *t)
{
	static const uint32_t ops[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
	uint32_t n = (uint32_t)(rnd >> 4) % 4, total = 0;
	uint32_t op = rnd & 0x80 ? ops[(rnd >> 12) % 6] :
		      rnd & 0x40 ? ops[(rnd >> 12) % 16] : edge(rnd);

	put64(&w->wr.wr_id, rnd);
	put32(&w->wr.opcode, op);
	put32(&w->wr.send_flags, rnd & 0x10000 ? edge(rnd * 3) : 2 | ((uint32_t)(rnd >> 17) & 8));
	put64(&w->wr.wr.rdma.remote_addr,
	      rnd & 0x300000 ? t->addr + ((rnd >> 24) & 0xfff) : rnd * 77);
	put32(&w->wr.wr.rdma.rkey, rnd & 0x400000 ? t->rkey : edge(rnd * 5));
	put64(&w->wr.wr.atomic.swap, rnd * 11);
	put32(&w->wr.wr.atomic.rkey, t->rkey);
	put32(&w->status, edge(rnd * 7));
	put32(&w->state, (uint32_t)(rnd >> 40) % 6);
	for (uint32_t i = 0; i < n && sizeof(*w) + sizeof(w->dma.sge[0]) * (i + 1) <= elem; i++) {
		uint32_t len = (uint32_t)(t_mix(rnd + i) % 5000);

		put64(&w->dma.sge[i].addr, t->addr + i * 5000);
		put32(&w->dma.sge[i].length, len);
		put32(&w->dma.sge[i].lkey, rnd & 0x800000 ? t->lkey : edge(rnd * 13));
		total += len;
	}
	put64(&w->iova, t->addr);
	put32(&w->dma.length, rnd & 0x1000000 ? total : edge(rnd * 17));
	put32(&w->dma.resid, rnd & 0x2000000 ? total : edge(rnd * 19));
	put32(&w->dma.cur_sge, rnd & 0x4000000 ? 0 : edge(rnd * 23));
	put32(&w->dma.num_sge, rnd & 0x8000000 ? n : edge(rnd * 29));
	put32(&w->dma.sge_offset, rnd & 0x10000000 ? 0 : edge(rnd * 31));
}

static void plausible_recv(struct rxe_recv_wqe *w, uint32_t elem, uint64_t rnd,
			   const struct target *t)
{
	put64(&w->wr_id, rnd);
	put32(&w->dma.length, rnd & 1 ? 5000 : edge(rnd));
	put32(&w->dma.resid, rnd & 2 ? 5000 : edge(rnd * 3));
	put32(&w->dma.cur_sge, rnd & 4 ? 0 : edge(rnd * 5));
	put32(&w->dma.num_sge, rnd & 8 ? 1 : edge(rnd * 7));
	put32(&w->dma.sge_offset, rnd & 16 ? 0 : edge(rnd * 9));
	if (elem >= sizeof(*w) + sizeof(w->dma.sge[0])) {
		put64(&w->dma.sge[0].addr, t->addr);
		put32(&w->dma.sge[0].length, rnd & 32 ? 5000 : edge(rnd * 11));
		put32(&w->dma.sge[0].lkey, rnd & 64 ? t->lkey : edge(rnd * 13));
	}
}

void rings_spoil(uint64_t rnd, int level, const struct target *t, unsigned n)
{
	struct ring *r = &rings[rnd % n_rings];
	uint64_t x = t_mix(rnd);
	uint8_t *w;

	if (!r->elem || (level == 2 && (x & 15) == 0)) { /* anything, anywhere in the mapping */
		if (level < 2)
			return;
		for (unsigned i = 0; i < 64; i++, x = t_mix(x))
			put32((uint32_t *)r->shared + x % (r->size / 4), edge(x));
		return;
	}
	w = ring_element(r, (uint32_t)(x >> 3) & r->mask);
	switch ((x >> 40) % (level ? 6 : 4)) {
	case 0:
	case 1:
		if (r->elem >= sizeof(struct rxe_send_wqe))
			plausible_send((void *)w, r->elem, t_mix(x), &t[(x >> 16) % n]);
		else
			plausible_recv((void *)w, r->elem, t_mix(x), &t[(x >> 16) % n]);
		break;
	case 2: /* one field of whatever is there: a race with its execution */
		put32(w + ((x >> 20) % (r->elem / 4)) * 4, edge(t_mix(x)));
		break;
	case 3:
		w[(x >> 20) % r->elem] ^= (uint8_t)(1U << (x & 7));
		break;
	case 4:
		put32(x & 1 ? &r->shared->producer : &r->shared->consumer,
		      x & 2 ? (uint32_t)(x >> 8) & r->mask : edge(t_mix(x)));
		break;
	default:
		if (level == 2)
			put32(x & 1 ? &r->shared->log2_elem_size : &r->shared->index_mask,
			      edge(t_mix(x)));
		else
			put32(&r->shared->producer, (uint32_t)(x >> 8) & r->mask);
	}
}
