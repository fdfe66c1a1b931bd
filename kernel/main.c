// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * prxe: RoCEv2 in software, whose memory is never pinned unless the user asks.
 *
 * Module init and exit. Above all layers: it starts them from the lowest to the highest, and tells
 * transport which carriers there are, because transport may not call up to them.
 */
#include <linux/module.h>
#include <linux/workqueue.h>
#include "base/icrc.h"
#include "base/prxe.h"
#include "base/version.h"
#include "carrier/local.h"
#include "carrier/wire.h"
#include "mmu/mirror.h"
#include "mmu/pool.h"
#include "transport/carrier.h"
#include "verbs/link.h"

MODULE_DESCRIPTION("Soft-RoCE with pageable memory");
MODULE_LICENSE("Dual BSD/GPL");
MODULE_VERSION(PRXE_VERSION);

static int __init prxe_init(void)
{
	int err = -ENOMEM;

	/* Storage over RDMA destroys QPs and waits for completions while memory is reclaimed. */
	prxe_wq = alloc_workqueue("prxe", WQ_MEM_RECLAIM | WQ_UNBOUND, 0);
	if (!prxe_wq)
		return -ENOMEM;
	prxe_carriers_set(&prxe_local_carrier, &prxe_wire_carrier);
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
 * From the highest layer to the lowest. Faults whose QP was destroyed may hold the struct until
 * prxe_fault_exit(), and queue work for it; destroy_workqueue() drains that. rcu_barrier() waits
 * for our RCU callbacks.
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
