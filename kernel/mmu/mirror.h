/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The life of a mirror: how it is found or created, its users, and its end. leaf.h, which this
 * header includes for all users of mirrors, says what a mirror is, and has its tables.
 */
#ifndef PRXE_MIRROR_H
#define PRXE_MIRROR_H

#include "mmu/leaf.h"

/*
 * The mirror of current->mm, created if there is none, with one more user. Process context, sleeps;
 * the caller holds no lock that our mmap() path takes. A pending signal is no error unless it
 * kills. ERR_PTR(-EINTR): killed; ERR_PTR(-EINVAL): there is no address space; ERR_PTR(-ENODEV):
 * the module is being unloaded; ERR_PTR(-ENOMEM).
 */
struct prxe_mirror *prxe_mirror_get_current(void);
/* Add a user to a mirror of which the caller is a user already. Any context. */
void prxe_mirror_use(struct prxe_mirror *mirror);
/*
 * Remove a user. After the last one the mirror is dying: fault threads that wait are killed, and a
 * worker removes the leaves. Process context; never waits for a fault.
 */
void prxe_mirror_unuse(struct prxe_mirror *mirror);

/* The sums over all mirrors that the module has or had, for the statistics of devices. */
struct prxe_mirror_counts {
	u64 faults, faults_handled, invalidations, invalidations_handled;
};

/* Process context or softirq; does not sleep. */
void prxe_mirror_counts(struct prxe_mirror_counts *counts);

/*
 * Module init and exit; both sleep. prxe_mirror_init(): 0 or -ENOMEM. When prxe_mirror_exit() is
 * called, no mirror has a user; it waits until all are freed.
 */
int prxe_mirror_init(void);
void prxe_mirror_exit(void);

#endif
