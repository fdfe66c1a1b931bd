/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The pool of a mirror: the fault threads that serve its queued faults. This header is for mirror.c
 * and the module's init and exit.
 */
#ifndef PRXE_POOL_H
#define PRXE_POOL_H

struct prxe_fault_pool;
struct prxe_mirror;

/*
 * Create a mirror's pool, which lives as long as the mirror's memory. Threads are started when
 * there are requests, and end when they are idle. NULL: no memory. Process context; sleeps.
 */
struct prxe_fault_pool *prxe_fault_pool_create(struct prxe_mirror *mirror);
/*
 * The mirror is dying: its requests end with -EINTR, its threads are killed out of what they wait
 * for, and end. Waits for nothing; any context but hardirq.
 */
void prxe_fault_pool_kill(struct prxe_fault_pool *pool);
/* The mirror is dead: its requests end with -ESRCH. Waits for nothing; any context but hardirq. */
void prxe_fault_pool_orphan(struct prxe_fault_pool *pool);
/* Free a pool, with its mirror. It has neither a thread nor work any more. */
void prxe_fault_pool_destroy(struct prxe_fault_pool *pool);

/*
 * Module init and exit; both sleep. prxe_fault_init(): 0 or -ENOMEM. prxe_fault_exit() kills every
 * fault thread, and waits for its end.
 */
int prxe_fault_init(void);
void prxe_fault_exit(void);

#endif
