/* SPDX-License-Identifier: BSD-2-Clause */
/* cmocka, random numbers from a seed that SEED= may change, and position-dependent patterns. */
#ifndef TESTS_UNIT_COMMON_H
#define TESTS_UNIT_COMMON_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

/* What a failed test leaves behind is no leak to report. */
#define RUN_TESTS(tests) do { \
		int rc_; \
		cmocka_set_test_filter(getenv("TEST")); \
		rc_ = cmocka_run_group_tests(tests, NULL, NULL); \
		fflush(NULL); \
		if (rc_) \
			_exit(1); \
		return 0; \
	} while (0)

struct rnd { uint64_t s; };

static inline uint64_t rnd64(struct rnd *r)
{
	uint64_t z = r->s += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

static inline struct rnd rnd_start(uint64_t stream)
{
	const char *seed = getenv("SEED");
	uint64_t number = seed && *seed ? strtoull(seed, NULL, 0) : 1;
	struct rnd r = { number * 0x100000001b3ULL + stream };

	rnd64(&r);
	return r;
}

/* In [0, n). */
static inline uint32_t rnd_below(struct rnd *r, uint32_t n)
{
	return n ? rnd64(r) % n : 0;
}

static inline void rnd_fill(struct rnd *r, void *p, size_t n)
{
	uint8_t *b = p;

	while (n--)
		*b++ = rnd64(r) >> 32;
}

/* What stands at @pos of stream @id: neighbours, other streams and shifted copies all differ. */
static inline uint8_t pattern(uint64_t id, uint64_t pos)
{
	uint64_t z = (id * 0x9e3779b97f4a7c15ULL + pos + 1) * 0xbf58476d1ce4e5b9ULL;

	return (z ^ z >> 29) * 0x94d049bb133111ebULL >> 56;
}

#endif
