// SPDX-License-Identifier: BSD-2-Clause
/*
 * How much a process may pin: RLIMIT_MEMLOCK, how much of it is used, and whether the process may
 * exceed it.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "internal.h"

uint64_t page_size(void)
{
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t pin_bytes(uint64_t addr, uint64_t length)
{
	uint64_t page = page_size();
	uint64_t first = addr / page, last = (addr + (length - 1)) / page;

	return (last - first + 1) * page;
}

/*
 * With CAP_IPC_LOCK a process may exceed the limit, but only in the initial user namespace. The
 * capability bits do not tell in which namespace it has the capability: root in a container may
 * have the bit and still be refused. uid_map tells whether this is the initial namespace.
 */
static bool in_initial_user_namespace(void)
{
	unsigned long inside = 1, outside = 1, count = 0;
	FILE *f = fopen("/proc/self/uid_map", "re");
	bool whole = false;

	if (!f)
		return false;
	if (fscanf(f, "%lu %lu %lu", &inside, &outside, &count) == 3)
		whole = inside == 0 && outside == 0 && count == UINT32_MAX;
	fclose(f);
	return whole;
}

void pin_limit_read(struct pin_limit *limit)
{
	struct rlimit rl = { .rlim_cur = RLIM_INFINITY };
	uint64_t kib, caps = 0;
	char line[256];
	FILE *f;

	memset(limit, 0, sizeof(*limit));
	getrlimit(RLIMIT_MEMLOCK, &rl);
	limit->limit = rl.rlim_cur;
	f = fopen("/proc/self/status", "re");
	if (f) {
		while (fgets(line, sizeof(line), f)) {
			/*
			 * Drivers charge VmPin. VmLck (mlock) has the same limit, but is counted
			 * separately.
			 */
			if (sscanf(line, "VmPin: %" SCNu64, &kib) == 1)
				limit->used = kib * 1024;
			else
				sscanf(line, "CapEff: %" SCNx64, &caps);
		}
		fclose(f);
	}
	limit->unlimited = rl.rlim_cur == RLIM_INFINITY ||
			   ((caps >> CAP_IPC_LOCK & 1) && in_initial_user_namespace());
}

bool pin_fits(const struct pin_limit *limit, uint64_t bytes)
{
	return limit->unlimited ||
	       (limit->used <= limit->limit && bytes <= limit->limit - limit->used);
}
