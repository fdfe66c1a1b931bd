/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Copying through the cursors that the gate has granted. All functions are called inside
 * prxe_mem_begin().
 */
#ifndef PRXE_COPY_H
#define PRXE_COPY_H

#include <linux/types.h>
#include "mmu/fault.h"

struct prxe_cursor;
struct sk_buff;

/*
 * Each function moves up to @len bytes, advances the cursors and returns the number of bytes moved.
 * The caller bounds @len by PRXE_MEM_CHUNK and by the length of each cursor. Preemption is off
 * inside; on PREEMPT_RT for 4 KiB at a time.
 *
 * If fewer than @len bytes were moved because a translation is missing, *miss is filled, with a
 * reference that the caller gives back (mmu/fault.h); else miss->mirror is NULL. @ahead: how many
 * more bytes of the same operation follow, so that a fault brings those in, too. If an error comes
 * before the first byte, it is returned: -ESTALE: the MR or memory window was invalidated meanwhile
 * (treat it as -EACCES); -EHWPOISON: the source page has a memory error; -EFAULT: the packet is
 * shorter than @len. If an error comes after some bytes, their number is returned, and the next
 * call returns the error.
 *
 * Both cursors may be of ODP MRs with different mirrors. Ranges that overlap within a page
 * (on PREEMPT_RT: within 4 KiB of it) are copied as by memmove().
 */
ssize_t prxe_copy(struct prxe_cursor *dst, struct prxe_cursor *src, size_t len, u64 ahead,
		  struct prxe_miss *miss);
ssize_t prxe_copy_in(struct prxe_cursor *dst, const void *src, size_t len, u64 ahead,
		     struct prxe_miss *miss);
ssize_t prxe_copy_out(void *dst, struct prxe_cursor *src, size_t len, u64 ahead,
		      struct prxe_miss *miss);

/*
 * Bytes that lie in equal parts, a payload each of a run of packets: 2^bits bytes each, and each
 * begins step bytes behind the beginning of the one before.
 */
struct prxe_parts {
	u8 *at;				/* the first: in kernel memory */
	const struct sk_buff *skb;	/* or: at byte off of a received skb of any shape */
	u32 off;
	u32 step;
	u8 bits;
};

#define PRXE_ONE_PART	31		/* bits, of bytes that lie in one piece */

/* As prxe_copy_out() and prxe_copy_in(); @pos: how many bytes of all parts to leave out. */
ssize_t prxe_copy_out_parts(const struct prxe_parts *dst, u32 pos, struct prxe_cursor *src,
			    size_t len, u64 ahead, struct prxe_miss *miss);
ssize_t prxe_copy_in_parts(struct prxe_cursor *dst, const struct prxe_parts *src, u32 pos,
			   size_t len, u64 ahead, struct prxe_miss *miss);

enum prxe_atomic_op { PRXE_ATOMIC_CMP_SWP, PRXE_ATOMIC_FETCH_ADD, PRXE_ATOMIC_WRITE };
/*
 * An 8-byte atomic operation at the cursor, by an atomic instruction of the CPU on the page, in
 * host byte order (IB_ATOMIC_HCA, as rdma_rxe). 0 with the old value in *orig (0 for
 * PRXE_ATOMIC_WRITE); -EAGAIN with *miss filled; -EINVAL: the address is not aligned to 8 bytes;
 * -EACCES: the cursor has fewer than 8 bytes left; -ESTALE; -EHWPOISON: a memory error.
 */
int prxe_copy_atomic(struct prxe_cursor *dst, enum prxe_atomic_op op, u64 compare, u64 swap_add,
		     u64 *orig, struct prxe_miss *miss);
/*
 * Are the next @len bytes of the cursor present and, with @write, writable? Moves no byte and does
 * not advance the cursor. Returns the number of bytes that are, and fills *miss, as prxe_copy()
 * does.
 */
ssize_t prxe_copy_probe(struct prxe_cursor *cur, bool write, size_t len, u64 ahead,
			struct prxe_miss *miss);

#endif
