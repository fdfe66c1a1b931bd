// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Counters: /sys/class/infiniband/NAME/ports/1/hw_counters, and "rdma statistic".
 */
#include "mirror.h"
#include "prxe.h"
#include "verbs.h"

static const struct rdma_stat_desc descs[] = {
#define X(n) [PRXE_STAT_##n] = { .name = #n },
	PRXE_STATS(X)
#undef X
};

struct rdma_hw_stats *prxe_alloc_hw_port_stats(struct ib_device *ib, u32 port)
{
	return rdma_alloc_hw_stats_struct(descs, ARRAY_SIZE(descs), RDMA_HW_STATS_DEFAULT_LIFESPAN);
}

int prxe_get_hw_stats(struct ib_device *ib, struct rdma_hw_stats *stats, u32 port, int index)
{
	struct prxe_dev *dev = to_prxe_dev(ib);
	struct prxe_mirror_counts counts;
	int cpu, i;

	if (!stats || port != PRXE_PORT)
		return -EINVAL;
	for (i = 0; i < PRXE_STAT_NUM; i++)
		stats->value[i] = 0;
	for_each_possible_cpu(cpu) {
		const struct prxe_stats *s = per_cpu_ptr(dev->stats, cpu);

		for (i = 0; i < PRXE_STAT_NUM; i++)
			stats->value[i] += READ_ONCE(s->v[i]);
	}
	/* Mirrors belong to processes, not to devices: these are the module's, the same on each of its devices. */
	prxe_mirror_counts(&counts);
	stats->value[PRXE_STAT_page_faults_handled] = counts.faults_handled;
	stats->value[PRXE_STAT_page_invalidations] = counts.invalidations;
	stats->value[PRXE_STAT_page_invalidations_handled] = counts.invalidations_handled;
	return PRXE_STAT_NUM;
}
