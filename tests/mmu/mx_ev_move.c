// SPDX-License-Identifier: BSD-2-Clause
/* Physical pages that change under the same contents: KSM, compaction, migration. */
#define _GNU_SOURCE
#include "mx.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif
#define KSM "/sys/kernel/mm/ksm/"

static bool has_ksm(struct mx_subj *s)
{
	return !access(KSM "run", W_OK) || mx_why(s, "no KSM");
}

/*
 * Make a twin with the same contents, and let ksmd run until it has merged the two. It need not
 * succeed: the test is that nothing changes.
 */
static bool merge(struct mx_subj *s)
{
	double end;

	s->spare = mmap(NULL, s->m.len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (s->spare == MAP_FAILED) {
		s->spare = NULL;
		return mx_why(s, "mmap: %s", strerror(errno));
	}
	memcpy(s->spare, s->m.model, s->m.len);
	mx_put(KSM "smart_scan", "0"); /* would skip addresses that did not merge in other cells */
	if (madvise(s->m.va, s->m.len, MADV_MERGEABLE) ||
	    madvise(s->spare, s->m.len, MADV_MERGEABLE) || !mx_put(KSM "pages_to_scan", "2000") ||
	    !mx_put(KSM "sleep_millisecs", "1") || !mx_put(KSM "run", "1"))
		return mx_why(s, "KSM: %s", strerror(errno));
	for (end = t_now() + t_slow(0.3);
	     t_now() < end && mx_get("/proc/self/ksm_merging_pages") < (long)(2 * MX_PAGES);)
		usleep(500);
	s->effect += mx_get("/proc/self/ksm_merging_pages") > 0;
	return mx_put(KSM "run", "0") || mx_why(s, "KSM: %s", strerror(errno));
}

static bool twin_same(struct mx_subj *s)
{
	uint8_t want[MX_PAGES * T_PAGE];
	struct mx_mem twin = {
		.va = s->spare, .model = want, .len = s->m.len, .visible = s->m.len,
	};

	memcpy(want, s->twin, s->m.len);
	return mx_same(s, "the pages it was merged with", &twin);
}

static bool merged(struct mx_subj *s)
{
	memcpy(s->twin, s->m.model, s->m.len);
	return merge(s);
}

static bool unmerged(struct mx_subj *s)
{
	return merged(s) && mx_read_all(s) &&
	       (!madvise(s->m.va, s->m.len, MADV_UNMERGEABLE) ||
		mx_why(s, "MADV_UNMERGEABLE: %s", strerror(errno)));
}

static bool merged_cpu_write(struct mx_subj *s)
{
	return merged(s) && mx_read_all(s) && mx_cpu_write(s, s->at, T_PAGE);
}

static bool has_compaction(struct mx_subj *s)
{
	return !access("/proc/sys/vm/compact_memory", W_OK) || mx_why(s, "no compaction");
}

static bool compact(struct mx_subj *s)
{
	return mx_put("/proc/sys/vm/compact_memory", "1") ||
	       mx_why(s, "compact_memory: %s", strerror(errno));
}

/* A page in use is moved to another one before it goes offline: migration without a second node. */
static bool soft_offline(struct mx_subj *s)
{
	if (!madvise(s->m.va + (s->at & ~(T_PAGE - 1)), T_PAGE, MADV_SOFT_OFFLINE)) {
		s->effect++;
		return true;
	}
	return errno == EBUSY || errno == EAGAIN ||
	       mx_why(s, "MADV_SOFT_OFFLINE: %s", strerror(errno));
}

static bool can_offline(struct mx_subj *s)
{
	if (!access("/proc/sys/vm/enable_soft_offline", F_OK) &&
	    mx_get("/proc/sys/vm/enable_soft_offline") != 1)
		return mx_why(s, "soft offlining is off");
	return !access("/sys/devices/system/memory/soft_offline_page", W_OK) ||
	       mx_why(s, "no soft offlining");
}

static bool two_nodes(struct mx_subj *s)
{
	return !access("/sys/devices/system/node/node1", F_OK) ||
	       mx_why(s, "one NUMA node only (numa=fake=2 makes two)");
}

static bool migrate(struct mx_subj *s)
{
	void *page[MX_PAGES];
	int node[MX_PAGES], was[MX_PAGES];

	for (size_t i = 0; i < MX_PAGES; i++)
		page[i] = s->m.va + i * T_PAGE;
	if (syscall(SYS_move_pages, 0, MX_PAGES, page, NULL, was, 0))
		return mx_why(s, "move_pages: %s", strerror(errno));
	for (size_t i = 0; i < MX_PAGES; i++)
		node[i] = was[i] == 0;
	if (syscall(SYS_move_pages, 0, MX_PAGES, page, node, was, 2 /* MPOL_MF_MOVE */) < 0)
		return mx_why(s, "move_pages: %s", strerror(errno));
	for (size_t i = 0; i < MX_PAGES; i++)
		s->effect += was[i] == node[i];
	return true;
}

const struct mx_event mx_ev_move[] = {
	{ "KSM merge", "merged with a twin, which must not change",
	  &mx_anon, .effect = true, .probe = has_ksm, .fire = merged, .check = twin_same },
	{ "KSM merge, CPU write", "merged, and the CPU writes some",
	  &mx_anon, .probe = has_ksm, .fire = merged_cpu_write, .check = twin_same },
	{ "KSM unmerge", "merged, and then not any more",
	  &mx_anon, .probe = has_ksm, .fire = unmerged, .check = twin_same },
	{ "compaction", "compact_memory", &mx_anon, .probe = has_compaction, .fire = compact },
	{ "migration", "a page is moved: MADV_SOFT_OFFLINE",
	  &mx_anon, .effect = true, .probe = can_offline, .fire = soft_offline },
	{ "move_pages", "all pages move to another node",
	  &mx_anon, .effect = true, .probe = two_nodes, .fire = migrate },
	{ 0 },
};
