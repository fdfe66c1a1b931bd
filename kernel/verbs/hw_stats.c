// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The counters of a device's port: those in /sys/class/infiniband/NAME/ports/1/hw_counters and of
 * "rdma statistic"; and those of IBTA 16.1.3, which the core reads by performance management MADs
 * and shows in /sys/class/infiniband/NAME/ports/1/counters.
 *
 * Verbs: only reads. Every layer counts in prxe_dev.stats (base/stats.h), and mmu/ in its mirrors.
 */
#include <rdma/ib_mad.h>
#include <rdma/ib_pma.h>
#include "base/prxe.h"
#include "mmu/mirror.h"
#include "verbs/hw_stats.h"

static const struct rdma_stat_desc descs[] = {
#define X(n) [PRXE_STAT_##n] = { .name = #n },
	PRXE_STATS(X)
#undef X
};

struct rdma_hw_stats *prxe_alloc_hw_port_stats(struct ib_device *ib, u32 port)
{
	return rdma_alloc_hw_stats_struct(descs, ARRAY_SIZE(descs), RDMA_HW_STATS_DEFAULT_LIFESPAN);
}

static void sum_counts(struct prxe_dev *dev, u64 sum[PRXE_STAT_NUM])
{
	int cpu, i;

	for (i = 0; i < PRXE_STAT_NUM; i++)
		sum[i] = 0;
	for_each_possible_cpu(cpu)
		for (i = 0; i < PRXE_STAT_NUM; i++)
			sum[i] += READ_ONCE(per_cpu_ptr(dev->stats, cpu)->v[i]);
}

int prxe_get_hw_stats(struct ib_device *ib, struct rdma_hw_stats *stats, u32 port, int index)
{
	struct prxe_dev *dev = to_prxe_dev(ib);
	struct prxe_mirror_counts counts;

	if (!stats || port != PRXE_PORT)
		return -EINVAL;
	sum_counts(dev, stats->value);
	/* A mirror belongs to a process, not to a device: each device shows the module's sum. */
	prxe_mirror_counts(&counts);
	stats->value[PRXE_STAT_page_faults_handled] = counts.faults_handled;
	stats->value[PRXE_STAT_page_invalidations] = counts.invalidations;
	stats->value[PRXE_STAT_page_invalidations_handled] = counts.invalidations_handled;
	return PRXE_STAT_NUM;
}

/* ---- performance management ---- */

#define COUNT(sum, name)	((sum)[PRXE_STAT_##name])
/* A counter of 32, 16 or 8 bits stays at its largest value when it is full. */
#define UP_TO(type, n)		((type)min_t(u64, n, (type)~0ULL))

#define PMA_DATA_UNIT		4	/* bytes: the data counters count in this unit */

static void pma_counters(const u64 *sum, struct ib_pma_portcounters *c)
{
	u64 errors = COUNT(sum, rcvd_bad_icrc) + COUNT(sum, rcvd_malformed);

	c->link_downed_counter = UP_TO(u8, COUNT(sum, link_downed));
	c->port_rcv_errors = cpu_to_be16(UP_TO(u16, errors));
	c->port_xmit_discards = cpu_to_be16(UP_TO(u16, COUNT(sum, send_err)));
	c->port_xmit_data = cpu_to_be32(UP_TO(u32, COUNT(sum, sent_bytes) / PMA_DATA_UNIT));
	c->port_rcv_data = cpu_to_be32(UP_TO(u32, COUNT(sum, rcvd_bytes) / PMA_DATA_UNIT));
	c->port_xmit_packets = cpu_to_be32(UP_TO(u32, COUNT(sum, sent_pkts)));
	c->port_rcv_packets = cpu_to_be32(UP_TO(u32, COUNT(sum, rcvd_pkts)));
}

static void pma_counters_ext(const u64 *sum, struct ib_pma_portcounters_ext *c)
{
	c->port_xmit_data = cpu_to_be64(COUNT(sum, sent_bytes) / PMA_DATA_UNIT);
	c->port_rcv_data = cpu_to_be64(COUNT(sum, rcvd_bytes) / PMA_DATA_UNIT);
	c->port_xmit_packets = cpu_to_be64(COUNT(sum, sent_pkts));
	c->port_rcv_packets = cpu_to_be64(COUNT(sum, rcvd_pkts));
}

int prxe_process_mad(struct ib_device *ib, int flags, u32 port, const struct ib_wc *wc,
		     const struct ib_grh *grh, const struct ib_mad *in, struct ib_mad *out,
		     size_t *out_size, u16 *out_pkey_index)
{
	struct ib_pma_mad *reply = (struct ib_pma_mad *)out;
	struct ib_class_port_info info = {
		.base_version = IB_MGMT_BASE_VERSION,
		.class_version = 1,
		.capability_mask = IB_PMA_CLASS_CAP_EXT_WIDTH,
	};
	u64 sum[PRXE_STAT_NUM];

	/* Not for us: the core passes it to the agent that has registered for its class. */
	if (in->mad_hdr.mgmt_class != IB_MGMT_CLASS_PERF_MGMT ||
	    in->mad_hdr.method != IB_MGMT_METHOD_GET)
		return IB_MAD_RESULT_SUCCESS;
	memset(out, 0, sizeof(*out));
	reply->mad_hdr = in->mad_hdr;
	reply->mad_hdr.method = IB_MGMT_METHOD_GET_RESP;
	sum_counts(to_prxe_dev(ib), sum);
	switch (in->mad_hdr.attr_id) {
	case IB_PMA_CLASS_PORT_INFO:
		memcpy(reply->data, &info, sizeof(info));
		break;
	case IB_PMA_PORT_COUNTERS:
		pma_counters(sum, (struct ib_pma_portcounters *)reply->data);
		reply->data[1] = port;
		break;
	case IB_PMA_PORT_COUNTERS_EXT:
		pma_counters_ext(sum, (struct ib_pma_portcounters_ext *)reply->data);
		reply->data[1] = port;
		break;
	default:
		reply->mad_hdr.status = cpu_to_be16(IB_MGMT_MAD_STATUS_UNSUPPORTED_METHOD_ATTRIB);
		break;
	}
	return IB_MAD_RESULT_SUCCESS | IB_MAD_RESULT_REPLY;
}
