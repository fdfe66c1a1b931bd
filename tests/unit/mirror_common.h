/* SPDX-License-Identifier: BSD-2-Clause */
/* What the tests of kernel/mmu/mirror.c share: its kernel's other half, and the address space. */
#ifndef TESTS_UNIT_MIRROR_COMMON_H
#define TESTS_UNIT_MIRROR_COMMON_H

#include "common.h"
#include "mem/mem.h"
#include "mmu/mirror.h"
#include "mem/mr.h"
#include "base/prxe.h"
#include "transport/qp.h"
#include "mmu/window.h"

bool prxe_ageing = true, prxe_force_fault;
static u32 pools;
struct prxe_fault_pool *prxe_fault_pool_create(struct prxe_mirror *mirror)
{
	pools++;
	return (void *)&pools;
}
void prxe_fault_pool_kill(struct prxe_fault_pool *pool) { }
void prxe_fault_pool_orphan(struct prxe_fault_pool *pool) { }
void prxe_fault_pool_destroy(struct prxe_fault_pool *pool) { pools--; }

#define LEAVES 4
#define PAGES (LEAVES * 512)
#define BASE (0x7f0000000000UL + 17 * PRXE_LEAF_SIZE)
#define ORDER(n) ((unsigned long)(n) << HMM_PFN_ORDER_SHIFT)	/* of a snapshot's page: what the CPU maps it with */

static struct mm_struct *mm;
static struct prxe_mirror *mirror;

/* The mirror has no user any more, and everything goes with it. */
static void mirror_gone(void)
{
	shim_work_run(true);
	shim_rcu_drain();
	shim_work_run(true);
	prxe_mirror_exit();
	shim_mm_free(mm);
}

static void mirror_end(void)
{
	prxe_mirror_unuse(mirror);
	mirror_gone();
}

#endif
