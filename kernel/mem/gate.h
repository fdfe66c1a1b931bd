/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * THE access gate.
 *
 * Whatever moves bytes goes: prxe_mem_begin(); gate; copy...; prxe_mem_end(). Between begin and end RCU is held
 * and BH is off: nothing sleeps, cursors stay good, and at most PRXE_MEM_CHUNK bytes are moved. A cursor never survives
 * prxe_mem_end(): after a wait the gate runs again.
 */
#ifndef PRXE_GATE_H
#define PRXE_GATE_H

#include <linux/bottom_half.h>
#include <linux/rcupdate.h>
#include <rdma/ib_verbs.h>

struct prxe_dev;
struct prxe_mr;
struct prxe_who;

#define PRXE_MEM_CHUNK	(64U << 10)

struct prxe_cursor {
	struct prxe_mr *mr;	/* the MR that holds the memory (an MW's cursor names the MR under it) */
	struct prxe_mr *key;	/* what the key named: mr itself, or the MW; both are named in the window */
	u64 addr;		/* position: user VA for ODP, offset into the page table for pinned, kernel VA for DMA */
	u64 len;		/* bytes left that were granted */
	unsigned int seq;	/* key->seq when it was granted: another one means that the grant is void */
};

static inline void prxe_mem_begin(void)
{
	rcu_read_lock();
	local_bh_disable();
}

static inline void prxe_mem_end(void)
{
	local_bh_enable();
	rcu_read_unlock();
}

/*
 * May @key be used for @len bytes at @iova with all of @access (IB_ACCESS_LOCAL_WRITE, IB_ACCESS_REMOTE_*; 0: local read)?
 * @remote: the key is an rkey (then MWs count; a type 2 MW only for its own QP), else an lkey. 0, or
 * -EACCES for anything that is wrong (key, PD, state, access, bounds). len 0 is granted without looking at the key when
 * @remote (IBTA: a zero-length RDMA checks no R_Key) and for an SGE of no bytes.
 */
int prxe_gate(const struct prxe_who *who, u32 key, bool remote, u64 iova, u64 len, int access,
	      struct prxe_cursor *cur);

/*
 * A FLUSH that a QP's peer asks for, of @len bytes at @iova or, with @whole, of all that @rkey
 * names. @access: IB_ACCESS_FLUSH_GLOBAL, IB_ACCESS_FLUSH_PERSISTENT; the caller has checked that
 * the QP takes such requests. Everything before the FLUSH has been executed, so it is in memory,
 * and memory is coherent: nothing is touched, and nothing faults. 0; or -EACCES for the key, its
 * rights or its bounds, which are checked for no bytes, too. No memory here is persistent: no
 * registration grants that.
 */
int prxe_mem_flush(const struct prxe_who *who, u32 rkey, u64 iova, u64 len, int access, bool whole);

#endif
