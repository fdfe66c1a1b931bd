/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* advise_mr: faulting memory in before it is used. Process context. */
#ifndef PRXE_PREFETCH_H
#define PRXE_PREFETCH_H

#include <linux/types.h>

struct prxe_dev;
struct prxe_mirror;

/*
 * Fault [va, va + len) in, and wait until that is done; @flags as for prxe_fault_once(). What needs
 * no waiting is done in the caller's context, the rest by the mirror's threads. Sleeps. 0; a final
 * error of prxe_fault_once(); -ENOMEM; -EINTR: killed; -EIO: the device is unregistering, and its
 * removal waits for callers inside verbs.
 */
int prxe_fault_advise(const struct prxe_dev *dev, struct prxe_mirror *mirror, unsigned long va,
		      u64 len, unsigned int flags);
/*
 * Have every caller of prxe_fault_advise() on @dev return. dev->users_removed is set. Does not
 * sleep.
 */
void prxe_fault_advise_end(const struct prxe_dev *dev);
/*
 * Have the mirror's threads fault in what they can of [va, va + len), and do not wait for that. May
 * sleep. 0; -ENOMEM; -EAGAIN: too many prefetches are under way, so only what needs no waiting was
 * done.
 */
int prxe_fault_prefetch(const struct prxe_dev *dev, struct prxe_mirror *mirror, unsigned long va,
			u64 len, bool write);

#endif
