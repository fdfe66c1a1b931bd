// SPDX-License-Identifier: BSD-2-Clause
/*
 * Eviction: advise the kernel about the memory of the process. The device follows by itself,
 * because the kernel tells its driver when pages go.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include "internal.h"

/* Since Linux 5.4; some C libraries are older. */
#ifndef MADV_COLD
#define MADV_COLD 20
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

#define EAGAIN_TRIES 100

static uint64_t bytes_resident(uint64_t from, uint64_t to)
{
	uint64_t page = page_size(), count = 0;
	unsigned char vec[4096];

	while (from < to) {
		uint64_t n = (to - from) / page;

		n = n < sizeof(vec) ? n : sizeof(vec);
		if (mincore((void *)(uintptr_t)from, n * page, vec))
			return count * page; /* a hole: nothing is resident there */
		for (uint64_t i = 0; i < n; i++)
			count += vec[i] & 1;
		from += n * page;
	}
	return count * page;
}

static int refused(int err, uint64_t from, uint64_t to, struct odp_reason *why)
{
	struct map_finding found;
	struct err_text et;
	char words[256];

	if (err == ENOMEM) {
		maps_check(from, to - from, false, &found);
		if (found.kind == MAP_NOTHING) {
			maps_words(&found, words, sizeof(words));
			return reason_set(why, err, "cannot evict: %s", words);
		}
	}
	if (err == EINVAL)
		return reason_set(why, err,
				  "cannot evict: memory between %#" PRIx64 " and %#" PRIx64
				  " is locked (mlock), of huge pages or a device's, or this kernel "
				  "is older than 5.4",
				  from, to);
	return reason_set(why, err, "cannot evict: %s", err_words(err, &et));
}

static int advise(uint64_t from, uint64_t to, int advice)
{
	int err = 0;

	for (int i = 0; i < EAGAIN_TRIES; i++) {
		err = madvise((void *)(uintptr_t)from, to - from, advice) ? errno : 0;
		if (err != EAGAIN)
			break;
	}
	return err;
}

/* Say why pages stayed. The kernel does not tell; usually the machine has no swap. */
static void say_what_stays(uint64_t stays, uint64_t all, struct odp_reason *why)
{
	struct size_text s1, s2;
	struct sysinfo si;

	if (!stays || !why)
		return;
	if (!sysinfo(&si) && !si.totalswap)
		reason_set(why, 0,
			   "%s of %s stay in memory: there is no swap, and only pages of files can "
			   "leave",
			   size_words(stays, &s1), size_words(all, &s2));
	else
		reason_set(why, 0,
			   "%s of %s stay in memory: they are shared, in use, or there was no room "
			   "to write them to",
			   size_words(stays, &s1), size_words(all, &s2));
}

ODP_PUBLIC int odp_evict(struct odp_mr *mr, void *addr, size_t length, enum odp_evict_how how,
			 size_t *gone, struct odp_reason *why)
{
	uint64_t page = page_size(), from = (uintptr_t)addr, to, stays;
	struct size_text size;
	int advice, err;

	reason_clear(why);
	if (gone)
		*gone = 0;
	if (!mr)
		return reason_set(why, EINVAL, "there is no MR");
	switch (how) {
	case ODP_EVICT_PAGEOUT: advice = MADV_PAGEOUT; break;
	case ODP_EVICT_COLD: advice = MADV_COLD; break;
	case ODP_EVICT_DISCARD: advice = MADV_DONTNEED; break;
	default: return reason_set(why, EINVAL, "there is no way %d to evict", (int)how);
	}
	if (from - mr->addr > mr->length || length > mr->length - (from - mr->addr) ||
	    length > UINT64_MAX - page - from)
		return reason_set(why, EINVAL, "%s at %p are not all in the MR",
				  size_words(length, &size), addr);
	to = from + length;
	if (how == ODP_EVICT_DISCARD) { /* keep the bytes of neighbours in the same pages */
		from = (from + page - 1) / page * page;
		to = to / page * page;
	} else {
		from = from / page * page;
		to = (to + page - 1) / page * page;
	}
	if (from >= to)
		return 0;
	if (!mr->on_demand)
		return reason_set(why, EBUSY,
				  "the MR is pinned: it cannot leave memory while it is registered "
				  "(%.200s)",
				  mr->reason);
	/*
	 * Other MRs may pin the same pages. Their device would keep using those while the process
	 * gets new ones, and the two would no longer see the same memory.
	 */
	if (pinned_anywhere(from, to - from))
		return reason_set(why, EBUSY, "another MR of this process pins a part of these %s",
				  size_words(to - from, &size));

	err = advise(from, to, advice);
	if (err)
		return refused(err, from, to, why);
	stays = bytes_resident(from, to);
	/*
	 * Before Linux 6.9, pages that the device has used stay once: reclaim asks who used them,
	 * and the device's driver forgets when it answers.
	 */
	if (how == ODP_EVICT_PAGEOUT && stays && !advise(from, to, advice))
		stays = bytes_resident(from, to);
	if (gone)
		*gone = (size_t)(to - from - stays);
	if (how == ODP_EVICT_PAGEOUT)
		say_what_stays(stays, to - from, why);
	if (how != ODP_EVICT_COLD) {
		pthread_mutex_lock(&mr->domain->lock);
		mr->domain->usage.bytes_evicted += to - from - stays;
		pthread_mutex_unlock(&mr->domain->lock);
	}
	return 0;
}
