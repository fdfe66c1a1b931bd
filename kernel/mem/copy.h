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
 * Each moves up to @len bytes, advances the cursors and returns the number of bytes moved. The
 * caller bounds @len by PRXE_MEM_CHUNK and by both cursors.
 *
 * If fewer than @len were moved because a translation is missing, *miss is filled; else
 * miss->mirror is NULL. @ahead: so many more bytes of the same operation follow, for fault-around.
 * If nothing was moved because of an error, that is returned: -ESTALE the MR or memory window was
 * invalidated meanwhile (treat it as -EACCES), -EHWPOISON the source page is poisoned, -EFAULT. If
 * an error comes after some bytes, their number is returned, and the next call returns the error.
 *
 * Both cursors may be of ODP MRs with different mirrors. Ranges that overlap within a page are
 * copied as by memmove().
 */
ssize_t prxe_copy(struct prxe_cursor *dst, struct prxe_cursor *src, size_t len, u64 ahead,
		  struct prxe_miss *miss);
ssize_t prxe_copy_in(struct prxe_cursor *dst, const void *src, size_t len, u64 ahead,
		     struct prxe_miss *miss);
ssize_t prxe_copy_out(void *dst, struct prxe_cursor *src, size_t len, u64 ahead,
		      struct prxe_miss *miss);
/* From a received packet's payload (any skb layout) at @off. */
ssize_t prxe_copy_skb(struct prxe_cursor *dst, const struct sk_buff *skb, int off, size_t len,
		      u64 ahead, struct prxe_miss *miss);

enum prxe_atomic_op { PRXE_ATOMIC_CMP_SWP, PRXE_ATOMIC_FETCH_ADD, PRXE_ATOMIC_WRITE };
/*
 * An 8-byte atomic at the cursor: an atomic of the CPU on the page, in host order, as rdma_rxe's
 * (IB_ATOMIC_HCA). 0 with the old value in *orig; -EAGAIN with *miss filled; -EINVAL the address is
 * not aligned to 8 bytes; -EACCES the cursor has less than 8 bytes; -ESTALE.
 */
int prxe_copy_atomic(struct prxe_cursor *dst, enum prxe_atomic_op op, u64 compare, u64 swap_add,
		     u64 *orig, struct prxe_miss *miss);
/*
 * Are the next @len bytes of the cursor present, and for @write writable? Nothing moves, and the
 * cursor stays where it is; returns as prxe_copy().
 */
ssize_t prxe_copy_probe(struct prxe_cursor *cur, bool write, size_t len, u64 ahead,
			struct prxe_miss *miss);

#endif
