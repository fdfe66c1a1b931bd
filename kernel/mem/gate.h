/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * THE access gate: the one place that decides whether a key may be used.
 *
 * Code that moves bytes calls, in this order: prxe_mem_begin(), prxe_gate(), functions of copy.h,
 * and prxe_mem_end(). Between begin and end the caller is in an RCU read-side section with BH off:
 * nothing sleeps, cursors stay valid, and at most PRXE_MEM_CHUNK bytes are moved. A cursor must not
 * be used after prxe_mem_end(): whoever has waited asks the gate again.
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
	/* The MR that holds the memory; for a memory window, the MR under it. */
	struct prxe_mr *mr;
	struct prxe_mr *key;	/* what the key names: mr itself, or the memory window */
	/*
	 * Position. ODP: user VA; pinned, fast: byte offset in the memory of page[]; DMA: kernel
	 * VA.
	 */
	u64 addr;
	u64 len;		/* bytes of the grant that are left */
	/* key->seq at the time of the grant; once that has changed, the grant is void. */
	unsigned int seq;
};

/* Enter and leave the section that the head of this file describes. Any context but hardirq. */
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
 * IB_ACCESS_REMOTE_*; 0: local read)? @remote: @key is an rkey, else an lkey. A memory window has
 * an rkey only, and one of type 2 may be used by the QP that bound it only. Inside
 * prxe_mem_begin().
 *
 * 0 with *cur filled; -EACCES if the key, its PD, its state, its rights or its bounds forbid the
 * access. If @len is 0, @key is not checked: IBTA has no R_Key check for an RDMA of no bytes, and
 * an SGE of no bytes needs no memory.
 */
int prxe_gate(const struct prxe_who *who, u32 key, bool remote, u64 iova, u64 len, int access,
	      struct prxe_cursor *cur);

/*
 * Execute a FLUSH that the peer of a QP has requested, for @len bytes at @iova or, with @whole, for
 * the whole MR or memory window of @rkey. @access: IB_ACCESS_FLUSH_GLOBAL,
 * IB_ACCESS_FLUSH_PERSISTENT; the caller has checked that the QP accepts such requests. Inside
 * prxe_mem_begin().
 *
 * Everything before the FLUSH has been executed, so its bytes are in memory, and memory is
 * coherent: no page is touched, and no fault happens. 0; -EACCES for the key, its rights or its
 * bounds. Unlike prxe_gate(), this checks them for no bytes, too. No registration grants
 * IB_ACCESS_FLUSH_PERSISTENT, because no memory here is persistent.
 */
int prxe_mem_flush(const struct prxe_who *who, u32 rkey, u64 iova, u64 len, int access, bool whole);

#endif
