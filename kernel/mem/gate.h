/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * THE access gate: the one place that decides whether a key may be used.
 *
 * Whoever moves bytes calls prxe_mem_begin(), the gate, the functions of copy.h, prxe_mem_end().
 * Between begin and end RCU is held and BH are off: nothing sleeps, cursors stay valid, and at most
 * PRXE_MEM_CHUNK bytes are moved. A cursor is not used after prxe_mem_end(): after a wait the gate
 * is asked again.
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

/* What the gate has granted. */
struct prxe_cursor {
	struct prxe_mr *mr;	/* holds the memory; of a memory window, the MR under it */
	struct prxe_mr *key;	/* what the key stands for: mr itself, or the memory window */
	/* Position. ODP: user VA; pinned, fast: offset into the page table; DMA: kernel VA. */
	u64 addr;
	u64 len;		/* bytes left of what was granted */
	unsigned int seq;	/* key->seq when it was granted; if it differs, the grant is void */
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
 * May @who use @key for @len bytes at @iova with all rights of @access (IB_ACCESS_LOCAL_WRITE,
 * IB_ACCESS_REMOTE_*; 0: local read)? @remote: @key is an rkey, else an lkey. Memory windows have
 * rkeys only, and one of type 2 is for its own QP only. 0 with *cur filled; or -EACCES if the key,
 * its PD, its state, its rights or its bounds do not allow it. If @len is 0 the key is not looked
 * at: IBTA has no check of the R_Key for an RDMA of no bytes, and an SGE of no bytes needs none.
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
