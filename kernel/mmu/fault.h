/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Faulting: bringing pages into the address space and their translations into its mirror. fault.c
 * does it once, in its caller's context; pool.c has the threads that do it for those who must not
 * sleep.
 */
#ifndef PRXE_FAULT_H
#define PRXE_FAULT_H

#include <linux/list.h>
#include <linux/types.h>

struct prxe_dev;
struct prxe_mirror;

/*
 * What a copy lacked. Filled by the copy functions of mem.h with a memory reference on @mirror,
 * which the holder gives back with prxe_miss_drop() or hands to a fault request. @len covers at
 * least the byte that was missing and as much of the operation behind it as is known
 * (fault-around), at most PRXE_FAULT_MAX.
 */
struct prxe_miss {
	struct prxe_mirror *mirror;
	unsigned long va;
	unsigned long len;
	bool write;
};

#define PRXE_FAULT_MAX		(2UL << 20)

void prxe_miss_drop(struct prxe_miss *miss);

/* ---- fault.c ---- */

/* How to fault. (trace.h prints them.) */
enum {
	FAULT_WRITE	= BIT(0),
	FAULT_STRICT	= BIT(1),	/* every page, not only the first */
	FAULT_NOWAIT	= BIT(2),	/* never wait for memory or for mmap_lock: -EAGAIN */
	FAULT_PRESENT	= BIT(3),	/* do not fault at all: publish what is there */
	FAULT_LOOK	= BIT(4),	/* with NOWAIT: publish what is there, else -EAGAIN */
	FAULT_QUICK	= BIT(5),	/* wait for no userfaultfd, swap or file: -EAGAIN */
};

/*
 * Fault the first page of [va, va + len) in, and what of the rest can be had, and publish. May
 * sleep for long, killably; process context; no lock held; the caller holds mm_users. 0: the first
 * page's translation was published (it may be gone again at once). -EFAULT: no memory there, or
 * none that may be used so (no VMA, no permission, VM_IO, VM_PFNMAP, secretmem, SIGBUS);
 * -EHWPOISON; -ESRCH: the address space is gone. Not final: -EINTR (a fatal signal), -EAGAIN
 * (FAULT_QUICK, FAULT_NOWAIT), -ENOMEM, -EBUSY: too much churn.
 */
int prxe_fault_once(struct prxe_mirror *mirror, unsigned long va, unsigned long len,
		    unsigned int flags);

/*
 * The same with FAULT_NOWAIT, without mm_users: 0, -EAGAIN (a thread is to do it), or an error that
 * is final. In the owner's own context memory is faulted in as far as that goes without waiting;
 * elsewhere (another process, a kthread) only what is there is published.
 */
int prxe_fault_nowait(struct prxe_mirror *mirror, unsigned long va, unsigned long len,
		      unsigned int flags);

/* For a transfer, from any context: where it may not sleep, -EAGAIN. */
int prxe_fault_try(const struct prxe_miss *miss);

/* ---- pool.c ---- */

/*
 * One fault that may take long, for an owner that must not wait. Allocated by the caller, because
 * its QP may be reset or destroyed before the fault ends; kept until @done.
 */
struct prxe_fault_req {
	struct prxe_miss miss;
	int result;
	/*
	 * Called once, in process context without locks, with @result set: 0 or a final error of
	 * prxe_fault_once(), -EINTR when the last user of the mirror has gone. For a transfer never
	 * -EAGAIN, -EBUSY or -ENOMEM: those are tried again, as a CPU would, as long as the owner
	 * lives.
	 */
	void (*done)(struct prxe_fault_req *req);
	/* pool.c's own, under the pool's lock */
	struct list_head node;		/* where it is queued, or sleeps */
	struct list_head want;		/* among those that need a thread to wait in */
	unsigned long due;		/* when it is tried again */
	unsigned long announce;		/* when it may want a thread to wait in */
	unsigned int flags;		/* FAULT_* */
	u8 class, level, announced;
	bool asleep;
	bool cancelled;			/* by its owner, without the lock: let it end soon */
};

/*
 * A transfer's. Any context but hardirq. Takes the miss over; done runs later, never before it
 * returns.
 */
void prxe_fault_queue(struct prxe_fault_req *req, const struct prxe_miss *miss);

/*
 * The threads of a mirror. They come when requests do and leave when idle. kill: the mirror's last
 * user is gone; requests end with -EINTR, threads are killed out of what they wait for and left to
 * themselves. orphan: the address space is gone (mirror->dead); requests end with -ESRCH. destroy:
 * when the mirror's memory goes.
 */
struct prxe_fault_pool;
struct prxe_fault_pool *prxe_fault_pool_create(struct prxe_mirror *mirror);
void prxe_fault_pool_kill(struct prxe_fault_pool *pool);
void prxe_fault_pool_orphan(struct prxe_fault_pool *pool);
void prxe_fault_pool_destroy(struct prxe_fault_pool *pool);

/*
 * advise_mr that its caller waits for: @flags as for prxe_fault_once(). Without waiting in the
 * caller's context, the rest by the mirror's threads. The wait ends also with -EINTR (a fatal
 * signal), and with -EIO when the device begins to go: the core waits for its callers before it
 * takes their objects.
 */
int prxe_fault_advise(const struct prxe_dev *dev, struct prxe_mirror *mirror, unsigned long va,
		      u64 len, unsigned int flags);
/* dev->leaving is set: every caller of prxe_fault_advise() on @dev comes back. */
void prxe_fault_advise_end(const struct prxe_dev *dev);
/*
 * advise_mr without waiting: fault [va, va + len) in by the mirror's threads, as far as it goes. 0,
 * -ENOMEM, or -EAGAIN: so many are under way that only what needs no waiting was done.
 */
int prxe_fault_prefetch(const struct prxe_dev *dev, struct prxe_mirror *mirror, unsigned long va,
			u64 len, bool write);

int prxe_fault_init(void);
void prxe_fault_exit(void);	/* module exit: kills and joins every fault thread */

#endif
