/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The threads of a mirror, which serve its queued faults: from mirror.c's side. */
#ifndef PRXE_POOL_H
#define PRXE_POOL_H

struct prxe_fault_pool;
struct prxe_mirror;

/*
 * A pool lives as long as its mirror's memory. Threads come when there are requests, and go when
 * they are idle. NULL: no memory. Process context.
 */
struct prxe_fault_pool *prxe_fault_pool_create(struct prxe_mirror *mirror);
/*
 * The mirror is dying: requests end with -EINTR, threads are killed out of what they wait for, and
 * end by themselves. Waits for nothing; any context but hardirq.
 */
void prxe_fault_pool_kill(struct prxe_fault_pool *pool);
/* The mirror is dead: requests end with -ESRCH. Waits for nothing; any context but hardirq. */
void prxe_fault_pool_orphan(struct prxe_fault_pool *pool);
/* The mirror's memory goes; neither a thread nor work of the pool is left. */
void prxe_fault_pool_destroy(struct prxe_fault_pool *pool);

int prxe_fault_init(void);	/* module init */
void prxe_fault_exit(void);	/* module exit: kills every fault thread, and waits for its end */

#endif
