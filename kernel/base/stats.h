/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The counters of a device. Each is one word for each CPU; verbs/hw_stats.c sums them. They are in
 * the lowest layer because every layer counts. docs/counters.md says what each one counts.
 */
#ifndef PRXE_STATS_H
#define PRXE_STATS_H

#include <linux/percpu.h>
#include <linux/types.h>

#define PRXE_STATS(X) \
	X(sent_pkts) X(rcvd_pkts) X(duplicate_request) X(out_of_seq_request) X(rcvd_rnr_err) \
	X(send_rnr_err) X(rcvd_seq_err) X(retry_exceeded_err) X(rnr_retry_exceeded_err) \
	X(retransmits) X(completer_retry_err) X(send_err) X(rcvd_bad_icrc) X(rcvd_malformed) \
	X(rcvd_no_qp) X(dropped) X(dropped_fault) X(local_messages) X(local_bytes) \
	X(wire_messages) X(rnr_for_fault_pkts) X(lost_to_fault) X(page_faults) \
	X(page_faults_handled) X(page_invalidations) X(page_invalidations_handled) \
	X(page_prefetch) X(link_downed) X(sent_bytes) X(rcvd_bytes) \
	X(sent_trains) X(rcvd_trains) X(rcvd_early) X(np_ecn_marked_roce_packets) \
	X(np_cnp_sent) X(rp_cnp_handled) X(rp_cnp_ignored)

enum prxe_stat {
#define X(name) PRXE_STAT_##name,
	PRXE_STATS(X)
#undef X
	PRXE_STAT_NUM
};

struct prxe_stats {
	u64 v[PRXE_STAT_NUM];
};

/* Add 1, or @n, to the counter @name (of PRXE_STATS) of @dev (a struct prxe_dev *). Any context. */
#define prxe_count(dev, name)		this_cpu_inc((dev)->stats->v[PRXE_STAT_##name])
#define prxe_count_add(dev, name, n)	this_cpu_add((dev)->stats->v[PRXE_STAT_##name], (n))

#endif
