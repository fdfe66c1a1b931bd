// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Module parameters, and the workqueue that all layers share, declared in prxe.h. They are in the
 * lowest layer because every layer reads them; this file calls nothing. main.c creates and destroys
 * the workqueue.
 */
#include <linux/module.h>
#include <linux/workqueue.h>
#include "base/prxe.h"

bool prxe_force_wire;
module_param_named(force_wire, prxe_force_wire, bool, 0644);
MODULE_PARM_DESC(force_wire, "QPs that go to RTR use UDP even between two QPs of this host");

bool prxe_rxe_compat;
module_param_named(rxe_compat, prxe_rxe_compat, bool, 0444);
MODULE_PARM_DESC(rxe_compat,
		 "say RDMA_DRIVER_RXE, so that an unmodified librxe drives devices named rxe*");

bool prxe_force_fault;
module_param_named(force_fault, prxe_force_fault, bool, 0644);
MODULE_PARM_DESC(force_fault, "every access to ODP memory takes a page fault first; for tests");

/*
 * From 1 to 1000 ms, at most half the ACK timeout. 0: an eighth of the ACK timeout, from 1 to 16
 * ms. carrier/wire_park.c has the exact rule.
 */
unsigned int prxe_park_ms;
module_param_named(park_ms, prxe_park_ms, uint, 0644);
MODULE_PARM_DESC(park_ms,
		 "ms a wire request waits for a fault before an RNR NAK; 0: by the ACK timeout");

bool prxe_ageing = true;
module_param_named(ageing, prxe_ageing, bool, 0644);
MODULE_PARM_DESC(ageing, "reclaim is told which pages transfers have used; off: to compare");

bool prxe_icrc_on = true;
module_param_named(icrc, prxe_icrc_on, bool, 0644);
MODULE_PARM_DESC(icrc,
		 "make and check ICRCs; off, not RoCEv2: for a virtual link between two prxe");

bool prxe_ecn_on = true;
module_param_named(ecn, prxe_ecn_on, bool, 0644);
MODULE_PARM_DESC(ecn, "the network may mark RC packets (ECN), and marks slow their sender down");

static int set_train_pkts(const char *val, const struct kernel_param *kp)
{
	return param_set_uint_minmax(val, kp, 1, 64);
}

static const struct kernel_param_ops train_pkts_ops = {
	.set = set_train_pkts,
	.get = param_get_uint,
};

unsigned int prxe_train_pkts = 64;
module_param_cb(train_pkts, &train_pkts_ops, &prxe_train_pkts, 0644);
MODULE_PARM_DESC(train_pkts, "packets that leave as one skb at most, 1 to 64");

struct workqueue_struct *prxe_wq;
