// SPDX-License-Identifier: BSD-2-Clause
#define _GNU_SOURCE
#include "rings.h"
#include "lib/t.h"

#include <stdlib.h>
#include <string.h>

struct ring rings[MAX_RINGS];
unsigned n_rings;

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return v;
}

static void put32(uint8_t *p, uint32_t v)
{
	*(volatile uint32_t *)(void *)p = v;
}

static void put64(uint8_t *p, uint64_t v)
{
	*(volatile uint64_t *)(void *)p = v;
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

		if (!strstr(line, "/dev/infiniband/uverbs") ||
		    sscanf(line, "%lx-%lx %7s", &from, &to, perms) != 3 || perms[1] != 'w')
			continue;
		r->base = (uint8_t *)from;
		r->size = to - from;
		r->elem = r->mask = 0;
		if (get32(r->base + RING_LOG2) >= 4 && get32(r->base + RING_LOG2) <= 16) {
			r->elem = 1U << get32(r->base + RING_LOG2);
			r->mask = get32(r->base + RING_MASK);
			if (RING_DATA + (size_t)r->elem * ((size_t)r->mask + 1) > r->size)
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
	static const uint32_t v[] = { 0, 1, 2, 7, 8, 31, 32, 33, 255, 256, 4095, 4096, 65535, 1U << 20,
				      0x7ffffff8, 0x7fffffff, 0x80000000, 0x80000001, 0xfffffff0, 0xffffffff };

	return rnd & 0x100 ? (uint32_t)(rnd >> 32) : v[(rnd >> 9) % ARRAY_LEN(v)];
}

/* A send WQE that is right but for what the random number spoils. */
static void plausible_send(uint8_t *w, uint32_t elem, uint64_t rnd, const struct target *t)
{
	static const uint32_t ops[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
	uint32_t n = (uint32_t)(rnd >> 4) % 4, total = 0;
	uint32_t op = rnd & 0x80 ? ops[(rnd >> 12) % 6] : rnd & 0x40 ? ops[(rnd >> 12) % 16] : edge(rnd);

	put64(w, rnd);
	put32(w + 12, op);
	put32(w + 16, rnd & 0x10000 ? edge(rnd * 3) : 2 | ((uint32_t)(rnd >> 17) & 8)); /* flags */
	put64(w + 24, rnd & 0x300000 ? t->addr + ((rnd >> 24) & 0xfff) : rnd * 77);
	put32(w + 32, rnd & 0x400000 ? t->rkey : edge(rnd * 5));
	put64(w + 40, rnd * 11);
	put32(w + 48, t->rkey);
	put32(w + 144, edge(rnd * 7));
	put32(w + 148, (uint32_t)(rnd >> 40) % 6);
	for (uint32_t i = 0; i < n && 208 + 16 * (i + 1) <= elem; i++) {
		uint32_t len = (uint32_t)(t_mix(rnd + i) % 5000);

		put64(w + 208 + 16 * i, t->addr + i * 5000);
		put32(w + 216 + 16 * i, len);
		put32(w + 220 + 16 * i, rnd & 0x800000 ? t->lkey : edge(rnd * 13));
		total += len;
	}
	put64(w + 152, t->addr);
	put32(w + 184, rnd & 0x1000000 ? total : edge(rnd * 17)); /* length */
	put32(w + 188, rnd & 0x2000000 ? total : edge(rnd * 19)); /* resid */
	put32(w + 192, rnd & 0x4000000 ? 0 : edge(rnd * 23));	  /* cur_sge */
	put32(w + 196, rnd & 0x8000000 ? n : edge(rnd * 29));	  /* num_sge */
	put32(w + 200, rnd & 0x10000000 ? 0 : edge(rnd * 31));	  /* sge_offset */
}

static void plausible_recv(uint8_t *w, uint32_t elem, uint64_t rnd, const struct target *t)
{
	put64(w, rnd);
	put32(w + 16, rnd & 1 ? 5000 : edge(rnd));
	put32(w + 20, rnd & 2 ? 5000 : edge(rnd * 3));
	put32(w + 24, rnd & 4 ? 0 : edge(rnd * 5));
	put32(w + 28, rnd & 8 ? 1 : edge(rnd * 7));
	put32(w + 32, rnd & 16 ? 0 : edge(rnd * 9));
	if (elem >= 56) {
		put64(w + 40, t->addr);
		put32(w + 48, rnd & 32 ? 5000 : edge(rnd * 11));
		put32(w + 52, rnd & 64 ? t->lkey : edge(rnd * 13));
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
			put32(r->base + (x % (r->size / 4)) * 4, edge(x));
		return;
	}
	w = r->base + RING_DATA + (size_t)r->elem * ((uint32_t)(x >> 3) & r->mask);
	switch ((x >> 40) % (level ? 6 : 4)) {
	case 0:
	case 1:
		if (r->elem >= 208)
			plausible_send(w, r->elem, t_mix(x), &t[(x >> 16) % n]);
		else
			plausible_recv(w, r->elem, t_mix(x), &t[(x >> 16) % n]);
		break;
	case 2: /* one field of whatever is there: a race with its execution */
		put32(w + ((x >> 20) % (r->elem / 4)) * 4, edge(t_mix(x)));
		break;
	case 3:
		w[(x >> 20) % r->elem] ^= (uint8_t)(1U << (x & 7));
		break;
	case 4:
		put32(r->base + (x & 1 ? RING_PRODUCER : RING_CONSUMER),
		      x & 2 ? (uint32_t)(x >> 8) & r->mask : edge(t_mix(x)));
		break;
	default:
		if (level == 2)
			put32(r->base + (x & 1 ? RING_LOG2 : RING_MASK), edge(t_mix(x)));
		else
			put32(r->base + RING_PRODUCER, (uint32_t)(x >> 8) & r->mask);
	}
}
