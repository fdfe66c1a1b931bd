/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Faulting: bringing pages into the address space and their translations into its mirror.
 */
#ifndef PRXE_FAULT_H
#define PRXE_FAULT_H

#include <linux/list.h>
#include <linux/types.h>

struct prxe_mirror;

/*
 * What a copy lacked. Filled by the copy functions of mem.h with a memory reference on @mirror, which the holder
 * gives back with prxe_miss_drop() or hands to a fault request. @len covers at least the byte that was missing and as
 * much of the operation behind it as is known (fault-around), at most PRXE_FAULT_MAX.
 */
struct prxe_miss {
	struct prxe_mirror *mirror;
	unsigned long va;
	unsigned long len;
	bool write;
};

#define PRXE_FAULT_MAX		(2UL << 20)

void prxe_miss_drop(struct prxe_miss *miss);

/*
 * Fault the first page of [va, va + len) in, and what of the rest can be had, and publish. May sleep for long, killably; process
 * context; no lock held. 0: the first page's translation was published (it may be gone again at once). -EFAULT: no
 * memory there, or none that may be used so (no VMA, no permission, VM_IO, VM_PFNMAP, secretmem, SIGBUS);
 * -EHWPOISON; -ENOMEM; -EINTR (killed); -ESRCH: the address space is gone; -EBUSY: too much churn, try again.
 * @strict: every page of the range must have been published, for synchronous prefetch.
 */
int prxe_fault_range(struct prxe_mirror *mirror, unsigned long va, unsigned long len, bool write, bool strict);

/*
 * The same without waiting, from a context that may sleep: 0 or -EAGAIN (park), or an error as above that is final. In the owner's own context
 * memory is faulted in as far as that goes without waiting; elsewhere (another process, a kthread) only what is there is published.
 */
int prxe_fault_try(const struct prxe_miss *miss);

/*
 * A fault that may sleep, for an owner that must not. Embedded in the QP; @done is called once, in a fault thread
 * (process context, no lock held, may run transport work), or in the context of whoever ends the mirror's users,
 * with result set as prxe_fault_range() returns. The request takes the miss over (its reference is dropped before done).
 */
struct prxe_fault_req {
	struct list_head node;
	struct prxe_miss miss;
	int result;
	void (*done)(struct prxe_fault_req *req);
};

/* Any context but hardirq. Always ends in a call of done, perhaps before it returns is NOT allowed: done runs later. */
void prxe_fault_queue(struct prxe_fault_req *req, const struct prxe_miss *miss);

/*
 * The threads of a mirror that fault for those who must not sleep. They come when requests do and leave when idle. kill: the mirror's last user is
 * gone; requests end with -EINTR, threads are killed out of what they wait for and left to themselves. destroy: when the mirror's memory goes.
 */
struct prxe_fault_pool;
struct prxe_fault_pool *prxe_fault_pool_create(struct prxe_mirror *mirror);
void prxe_fault_pool_kill(struct prxe_fault_pool *pool);
void prxe_fault_pool_destroy(struct prxe_fault_pool *pool);

/* advise_mr: as prxe_fault_range(), without faulting (what is present is published). */
int prxe_fault_present(struct prxe_mirror *mirror, unsigned long va, unsigned long len, bool write);
/* advise_mr without waiting: fault [va, va + len) in by the mirror's threads, as far as it goes. 0 or -ENOMEM. */
int prxe_fault_prefetch(struct prxe_mirror *mirror, unsigned long va, u64 len, bool write);

int prxe_fault_init(void);
void prxe_fault_exit(void);	/* module exit: kills and joins every fault thread */

#endif
