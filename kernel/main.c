// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * prxe: RoCEv2 in software, whose memory is never pinned unless the user asks.
 */
#include <linux/module.h>
#include <linux/workqueue.h>
#include "base/icrc.h"
#include "base/prxe.h"
#include "carrier/wire.h"
#include "mmu/fault.h"
#include "mmu/mirror.h"
#include "verbs/verbs.h"

MODULE_DESCRIPTION("Soft-RoCE with pageable memory");
MODULE_LICENSE("Dual BSD/GPL");

bool prxe_force_wire;
module_param_named(force_wire, prxe_force_wire, bool, 0644);
MODULE_PARM_DESC(force_wire, "QPs that go to RTR use UDP even between two QPs of this host");

bool prxe_rxe_compat;
module_param_named(rxe_compat, prxe_rxe_compat, bool, 0444);
MODULE_PARM_DESC(rxe_compat, "say RDMA_DRIVER_RXE, so that an unmodified librxe drives devices named rxe*");

bool prxe_force_fault;
module_param_named(force_fault, prxe_force_fault, bool, 0644);
MODULE_PARM_DESC(force_fault, "every access to ODP memory takes a page fault first; for tests");

unsigned int prxe_park_ms;
module_param_named(park_ms, prxe_park_ms, uint, 0644);
MODULE_PARM_DESC(park_ms,
		 "ms that a wire request waits for a fault before an RNR NAK: 1 to 1000, "
		 "at most half the ACK timeout; 0: an eighth of it, 1 to 16");

bool prxe_ageing = true;
module_param_named(ageing, prxe_ageing, bool, 0644);
MODULE_PARM_DESC(ageing, "reclaim is told which pages transfers have used; off: to compare");

struct workqueue_struct *prxe_wq;

static int __init prxe_init(void)
{
	int err = -ENOMEM;

	/* Storage destroys QPs and waits for completions while memory is reclaimed. */
	prxe_wq = alloc_workqueue("prxe", WQ_MEM_RECLAIM | WQ_UNBOUND, 0);
	if (!prxe_wq)
		return -ENOMEM;
	err = prxe_icrc_init();
	if (err)
		goto err_wq;
	err = prxe_mirror_init();
	if (err)
		goto err_icrc;
	err = prxe_fault_init();
	if (err)
		goto err_mirror;
	err = prxe_wire_init();
	if (err)
		goto err_fault;
	err = prxe_link_init();
	if (err)
		goto err_wire;
	return 0;

err_wire:
	prxe_wire_exit();
err_fault:
	prxe_fault_exit();
err_mirror:
	prxe_mirror_exit();
err_icrc:
	prxe_icrc_exit();
err_wq:
	destroy_workqueue(prxe_wq);
	return err;
}

/*
 * From the outside in. Orphaned faults may hold QPs until prxe_fault_exit(); work that a dead QP queues then is drained here.
 */
static void __exit prxe_exit(void)
{
	prxe_link_exit();
	prxe_wire_exit();
	prxe_fault_exit();
	prxe_mirror_exit();
	destroy_workqueue(prxe_wq);
	prxe_icrc_exit();
	rcu_barrier();
}

module_init(prxe_init);
module_exit(prxe_exit);
