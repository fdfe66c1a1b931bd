// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * What "rdma resource show" and "rdma statistic show mr" show of our objects.
 *
 * Verbs: only reads, from mem, mmu and transport.
 */
#include <rdma/rdma_netlink.h>
#include <rdma/restrack.h>
#include <uapi/rdma/rdma_netlink.h>
#include "base/prxe.h"
#include "mem/key.h"
#include "mmu/mirror.h"
#include "transport/carrier.h"
#include "transport/qp.h"
#include "verbs/restrack.h"

static int put_string(struct sk_buff *msg, const char *name, const char *value)
{
	struct nlattr *nest = nla_nest_start(msg, RDMA_NLDEV_ATTR_DRIVER);

	if (!nest)
		return -EMSGSIZE;
	if (rdma_nl_put_driver_string(msg, name, value)) {
		nla_nest_cancel(msg, nest);
		return -EMSGSIZE;
	}
	nla_nest_end(msg, nest);
	return 0;
}

int prxe_fill_res_mr_entry(struct sk_buff *msg, struct ib_mr *ibmr)
{
	const struct prxe_mr *mr = to_prxe_mr(ibmr);

	if (mr->kind != PRXE_MR_ODP)
		return 0;
	return put_string(msg, "odp", mr->length == U64_MAX ? "implicit" : "explicit");
}

/*
 * The faults and prefetches are those of this MR. The other counters are those of its mirror: all
 * ODP MRs of an address space share its translations, and so they share these.
 */
int prxe_fill_stat_mr_entry(struct sk_buff *msg, struct ib_mr *ibmr)
{
	const struct prxe_mr *mr = to_prxe_mr(ibmr);
	struct prxe_mirror *mirror = mr->mirror;
	struct nlattr *nest;

	if (mr->kind != PRXE_MR_ODP)
		return 0;
	nest = nla_nest_start(msg, RDMA_NLDEV_ATTR_STAT_HWCOUNTERS);
	if (!nest)
		return -EMSGSIZE;
	if (rdma_nl_stat_hwcounter_entry(msg, "page_faults", atomic64_read(&mr->faults)) ||
	    rdma_nl_stat_hwcounter_entry(msg, "page_faults_handled",
					 atomic64_read(&mirror->faults_handled)) ||
	    rdma_nl_stat_hwcounter_entry(msg, "page_invalidations",
					 atomic64_read(&mirror->invalidations)) ||
	    rdma_nl_stat_hwcounter_entry(msg, "page_invalidations_handled",
					 atomic64_read(&mirror->invalidations_handled)) ||
	    rdma_nl_stat_hwcounter_entry(msg, "page_prefetch", atomic64_read(&mr->prefetches))) {
		nla_nest_cancel(msg, nest);
		return -EMSGSIZE;
	}
	nla_nest_end(msg, nest);
	return 0;
}

int prxe_fill_res_qp_entry(struct sk_buff *msg, struct ib_qp *ibqp)
{
	struct prxe_qp *qp = prxe_qp_get_ib(ibqp);
	const struct prxe_carrier *carrier;

	if (!qp)
		return 0;
	/* NULL: not connected, or UD, which chooses a carrier for each message. */
	carrier = READ_ONCE(qp->carrier);
	prxe_qp_put(qp);
	return carrier ? put_string(msg, "carrier", carrier->name) : 0;
}
