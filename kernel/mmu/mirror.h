/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The life of a mirror: who may use it, from when and until when. What a mirror is, and its tables,
 * are in leaf.h, which this header includes for all users of mirrors.
 */
#ifndef PRXE_MIRROR_H
#define PRXE_MIRROR_H

#include "mmu/leaf.h"

/*
 * The mirror of current->mm, with one more user. Process context, may sleep; no lock that our
 * mmap() path takes may be held. A pending signal that does not kill is no error. ERR_PTR(-EINTR):
 * killed; -ENOMEM; -EINVAL: there is no address space.
 */
struct prxe_mirror *prxe_mirror_get_current(void);
/* One more user of a mirror that the caller uses already. Any context. */
void prxe_mirror_use(struct prxe_mirror *mirror);
/*
 * One user less. After the last one the mirror is dying: waits for faults are killed, and a worker
 * removes the leaves. Process context; never waits for a fault.
 */
void prxe_mirror_unuse(struct prxe_mirror *mirror);

/* What all mirrors of the module have counted, for the statistics of devices. */
struct prxe_mirror_counts {
	u64 faults, faults_handled, invalidations, invalidations_handled;
};

void prxe_mirror_counts(struct prxe_mirror_counts *counts);

int prxe_mirror_init(void);	/* module init */
void prxe_mirror_exit(void);	/* module exit: no mirror has a user; waits until all are gone */

#endif
