/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Copying through the cursors that the gate has granted. All functions: inside prxe_mem_begin().
 */
#ifndef PRXE_COPY_H
#define PRXE_COPY_H

#include <linux/types.h>
#include "mmu/fault.h"

struct prxe_cursor;
struct sk_buff;

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
