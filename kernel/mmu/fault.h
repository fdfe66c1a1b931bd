/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Faulting once: bringing pages into an address space, and their translations into its mirror. */
#ifndef PRXE_FAULT_H
#define PRXE_FAULT_H

#include <linux/bits.h>
#include <linux/types.h>

struct prxe_mirror;

/*
 * What a copy lacked. Filled by the copy functions of mem.h, with a reference on @mirror that the
 * holder gives back with prxe_miss_drop(), or hands over to a queued fault. [va, va + len) is the
 * byte that was missing and what is known of the operation behind it, PRXE_FAULT_MAX at most.
 */
struct prxe_miss {
	struct prxe_mirror *mirror;
	unsigned long va;
	unsigned long len;
	bool write;
};

#define PRXE_FAULT_MAX		(2UL << 20)

/* Any context; may be called again, and does nothing then. */
void prxe_miss_drop(struct prxe_miss *miss);

/* How to fault. (Tracepoints print these numbers.) */
enum {
	FAULT_WRITE	= BIT(0),
	FAULT_STRICT	= BIT(1),	/* every page, not only the first */
	FAULT_NOWAIT	= BIT(2),	/* never wait for memory or for mmap_lock: -EAGAIN */
	FAULT_PRESENT	= BIT(3),	/* do not fault at all: publish what is there */
	FAULT_LOOK	= BIT(4),	/* with NOWAIT: publish what is there, else -EAGAIN */
	FAULT_QUICK	= BIT(5),	/* wait for no userfaultfd, swap or file: -EAGAIN */
};

/*
 * Fault in the first page of [va, va + len), and of the rest what needs no waiting, and publish
 * them. Process context; no lock held, mm_users held by the caller. May sleep for long, killably.
 *
 * 0: the first page's translation was published (it may be gone again at once).
 * -EFAULT: there is no memory, or none that may be used so (no VMA, no permission, VM_IO,
 *	VM_PFNMAP, secretmem, SIGBUS).
 * -EHWPOISON; -ESRCH: the mirror is dead.
 *
 * Not final: -EINTR: killed; -EAGAIN: it would have to wait (FAULT_QUICK, FAULT_NOWAIT); -ENOMEM;
 * -EBUSY: invalidations came between too often.
 */
int prxe_fault_once(struct prxe_mirror *mirror, unsigned long va, unsigned long len,
		    unsigned int flags);

/*
 * The same with FAULT_NOWAIT, for callers that do not hold mm_users. In the owner's own context
 * memory is faulted in as far as that goes without waiting; elsewhere (another process, a kthread)
 * only what is there is published. 0; -EAGAIN: a thread has to do it; or a final error.
 */
int prxe_fault_nowait(struct prxe_mirror *mirror, unsigned long va, unsigned long len,
		      unsigned int flags);

/* The same for a transfer's miss, in any context. -EAGAIN where it may not sleep. */
int prxe_fault_try(const struct prxe_miss *miss);

#endif
