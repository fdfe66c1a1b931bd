/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* advise_mr: memory is faulted in before it is used. Process context. */
#ifndef PRXE_PREFETCH_H
#define PRXE_PREFETCH_H

#include <linux/types.h>

struct prxe_dev;
struct prxe_mirror;

/*
 * Fault [va, va + len) in, and wait for it; @flags as for prxe_fault_once(). What needs no waiting
 * is done in the caller's context, the rest by the mirror's threads. 0 or a final error of
 * prxe_fault_once(); -ENOMEM; -EINTR: killed; -EIO: the device is unregistering, and the core waits
 * for its callers before it takes their objects.
 */
int prxe_fault_advise(const struct prxe_dev *dev, struct prxe_mirror *mirror, unsigned long va,
		      u64 len, unsigned int flags);
/* dev->users_removed is set: have every caller of prxe_fault_advise() on @dev return. */
void prxe_fault_advise_end(const struct prxe_dev *dev);
/*
 * Have the mirror's threads fault [va, va + len) in, as far as that goes, and do not wait for it.
 * 0; -ENOMEM; -EAGAIN: so many prefetches are under way that only what needs no waiting was done.
 */
int prxe_fault_prefetch(const struct prxe_dev *dev, struct prxe_mirror *mirror, unsigned long va,
			u64 len, bool write);

#endif
