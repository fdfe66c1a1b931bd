/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Faulting once: bringing pages into an address space, and publishing their translations in its
 * mirror.
 */
#ifndef PRXE_FAULT_H
#define PRXE_FAULT_H

#include <linux/bits.h>
#include <linux/types.h>

struct prxe_mirror;

/*
 * A miss: the translation that a copy lacked. The functions of mem/copy.h fill it, with a reference
 * on @mirror that the holder gives back by prxe_miss_drop(), or hands over to a queued fault. @va
 * is the missing byte; [va, va + len) is what the operation is known to need from there on,
 * PRXE_FAULT_MAX bytes at most.
 */
struct prxe_miss {
	struct prxe_mirror *mirror;
	unsigned long va;
	unsigned long len;
	bool write;
};

#define PRXE_FAULT_MAX		(2UL << 20)

/* Give the reference of @miss back; does nothing if it has none. Any context. */
void prxe_miss_drop(struct prxe_miss *miss);

/* How to fault. Tracepoints print these numbers. */
enum {
	FAULT_WRITE	= BIT(0),
	FAULT_STRICT	= BIT(1),	/* every page must be faulted in, not only the first */
	FAULT_NOWAIT	= BIT(2),	/* wait neither for memory nor for mmap_lock: -EAGAIN */
	FAULT_PRESENT	= BIT(3),	/* do not fault: publish what is present */
	FAULT_LOOK	= BIT(4),	/* with NOWAIT: publish what is present, else -EAGAIN */
	FAULT_QUICK	= BIT(5),	/* do not wait for userfaultfd, swap or files: -EAGAIN */
};

/*
 * Fault in the first page of [va, va + len), and those of the other pages for which no waiting is
 * needed, and publish their translations. Process context; no lock held, mm_users held by the
 * caller. May sleep for long, killably.
 *
 * 0: the first page's translation was published (an invalidation may have taken it away since).
 * -EFAULT: there is no memory, or it may not be used so (no VMA, no permission, VM_IO, VM_PFNMAP,
 *	secretmem, SIGBUS).
 * -EHWPOISON; -ESRCH: the mirror is dead.
 *
 * Not final: -EINTR: killed; -EAGAIN: it would have to wait (FAULT_QUICK, FAULT_NOWAIT); -ENOMEM;
 * -EBUSY: too many invalidations came between.
 */
int prxe_fault_once(struct prxe_mirror *mirror, unsigned long va, unsigned long len,
		    unsigned int flags);

/*
 * As prxe_fault_once() with FAULT_NOWAIT, for callers that do not hold mm_users. In the owner's own
 * context, memory is faulted in as far as that needs no waiting; elsewhere (another process, a
 * kthread) only what is present is published. Process context; does not sleep for long. 0; -EAGAIN:
 * a fault thread has to do it; or a final error.
 */
int prxe_fault_nowait(struct prxe_mirror *mirror, unsigned long va, unsigned long len,
		      unsigned int flags);

/*
 * As prxe_fault_nowait(), for a transfer's miss, in any context: -EAGAIN also where the caller may
 * not sleep. Counts the fault if it succeeds. The caller keeps @miss.
 */
int prxe_fault_try(const struct prxe_miss *miss);

#endif
