/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * THE access gate, and copying through what it grants.
 *
 * Whatever moves bytes goes: prxe_mem_begin(); gate; copy...; prxe_mem_end(). Between begin and end RCU is held
 * and BH is off: nothing sleeps, cursors stay good, and at most PRXE_MEM_CHUNK bytes are moved. A cursor never survives
 * prxe_mem_end(): after a wait the gate runs again.
 */
#ifndef PRXE_MEM_H
#define PRXE_MEM_H

#include <linux/bottom_half.h>
#include <linux/rcupdate.h>
#include <rdma/ib_verbs.h>
#include "mmu/fault.h"

struct prxe_dev;
struct prxe_mr;
struct prxe_qp;

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
 * @remote: the key is an rkey (then MWs count; a type 2 MW only for its own QP), else an lkey. @pd: the QP's. 0, or
 * -EACCES for anything that is wrong (key, PD, state, access, bounds). len 0 is granted without looking at the key when
 * @remote (IBTA: a zero-length RDMA checks no R_Key) and for an SGE of no bytes.
 */
int prxe_gate(struct prxe_qp *qp, u32 key, bool remote, u64 iova, u64 len, int access, struct prxe_cursor *cur);

/*
 * FLUSH by @qp's peer: placement type and selectivity as in the FETH. The caller has executed in order, so what came before is
 * in memory, and memory is coherent: nothing is touched, nothing faults. 0; -EINVAL: not a request that this QP takes; -EACCES:
 * the key, its rights or its bounds (checked for no bytes, too). No memory is persistent here: no registration grants that.
 */
int prxe_mem_flush(struct prxe_qp *qp, u32 rkey, u64 iova, u64 len, u32 type, u32 level);

/*
 * Copying. Each moves up to @len bytes (the caller bounds it by PRXE_MEM_CHUNK and by both cursors), advances the cursors and returns
 * the bytes moved. Fewer than @len: *miss is filled (miss->mirror non-NULL; @ahead more bytes of the same operation will
 * follow behind len, used for fault-around) or a negative error is returned when nothing was moved: -ESTALE the MR or
 * MW died under us (treat as -EACCES), -EHWPOISON the source page is poisoned, -EFAULT.
 * A short count with miss->mirror NULL: an error stands behind those bytes, the next call returns it. Without a miss
 * miss->mirror is always NULL.
 * Both cursors may be ODP of different mirrors. Overlap within a page behaves like memmove.
 */
ssize_t prxe_copy(struct prxe_cursor *dst, struct prxe_cursor *src, size_t len, u64 ahead, struct prxe_miss *miss);
ssize_t prxe_copy_in(struct prxe_cursor *dst, const void *src, size_t len, u64 ahead, struct prxe_miss *miss);
ssize_t prxe_copy_out(void *dst, struct prxe_cursor *src, size_t len, u64 ahead, struct prxe_miss *miss);
/* From a received packet's payload (any skb layout) at @off. */
ssize_t prxe_copy_skb(struct prxe_cursor *dst, const struct sk_buff *skb, int off, size_t len, u64 ahead,
		      struct prxe_miss *miss);

enum prxe_atomic_op { PRXE_ATOMIC_CMP_SWP, PRXE_ATOMIC_FETCH_ADD, PRXE_ATOMIC_WRITE };
/*
 * An 8-byte atomic at the cursor (CPU atomic on the page; host order, as rdma_rxe and IB_ATOMIC_HCA). 0 with the old value in
 * *orig; -EAGAIN with *miss filled; -EINVAL not naturally aligned; -ESTALE.
 */
int prxe_copy_atomic(struct prxe_cursor *dst, enum prxe_atomic_op op, u64 compare, u64 swap_add, u64 *orig,
		     struct prxe_miss *miss);
/* Is [cursor, +len) present (and writable)? Nothing moves; the same returns as prxe_copy(): len, or less with *miss. */
ssize_t prxe_copy_probe(struct prxe_cursor *cur, bool write, size_t len, u64 ahead, struct prxe_miss *miss);

#endif
