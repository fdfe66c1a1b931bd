// SPDX-License-Identifier: BSD-2-Clause
/* The counters that drivers have: their names, and their places in struct odp_stats. */
#define _GNU_SOURCE
#include <string.h>
#include "internal.h"

#define COUNTER(member, bit) { #member, bit, offsetof(struct odp_stats, member) }

/* mlx5 chose these names, and other drivers use the same. */
static const struct {
	const char *name;
	uint64_t bit;
	size_t offset;
} counters[] = {
	COUNTER(page_faults, ODP_STAT_FAULTS),
	COUNTER(page_faults_handled, ODP_STAT_FAULTS_HANDLED),
	COUNTER(page_invalidations, ODP_STAT_INVALIDATIONS),
	COUNTER(page_invalidations_handled, ODP_STAT_INVALIDATIONS_HANDLED),
	COUNTER(page_prefetch, ODP_STAT_PREFETCH),
};
#define COUNTERS (sizeof(counters) / sizeof(counters[0]))

const char *counter_name(size_t i)
{
	return i < COUNTERS ? counters[i].name : NULL;
}

void stats_put(struct odp_stats *stats, const char *name, uint64_t value)
{
	for (size_t i = 0; i < COUNTERS; i++) {
		if (!strcmp(name, counters[i].name)) {
			*(uint64_t *)((char *)stats + counters[i].offset) += value;
			stats->have |= counters[i].bit;
		}
	}
}
