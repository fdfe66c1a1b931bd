// SPDX-License-Identifier: BSD-2-Clause
/* What happens to the memory under transfers, announced to the judge; and what must hold then. */
#define _GNU_SOURCE
#include "st.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

struct range {
	unsigned page, pages;
	uint8_t *at;
	size_t len;
};

/* Mostly a few pages; one time in eight the whole window. */
static struct range some(struct st_region *r, uint64_t rnd)
{
	struct range g = { .page = 0, .pages = ST_PAGES };

	if (rnd % 8) {
		g.pages = 1 + (unsigned)(rnd >> 4) % 8;
		g.page = (unsigned)(rnd >> 8) % (ST_PAGES - g.pages + 1);
	}
	g.at = r->win + g.page * T_PAGE;
	g.len = g.pages * T_PAGE;
	return g;
}

static void advise(struct range g, int advice, const char *name)
{
	if (madvise(g.at, g.len, advice) && errno != EAGAIN)
		t_die("%s: %s", name, strerror(errno));
}

static unsigned a_while(uint64_t rnd)
{
	return (t_debug ? 10000 : 1000) + (unsigned)(rnd >> 32) % 2000;
}

static size_t first_diff(const uint8_t *a, const uint8_t *b, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (a[i] != b[i])
			return i;
	return len;
}

/* From now on not one byte may change in @now, while transfers go on trying. */
static void hold_still(struct st_region *r, const char *what, const uint8_t *now, uint64_t rnd)
{
	size_t at;

	memcpy(r->snap, now, ST_WINDOW);
	usleep(a_while(rnd));
	if (!memcmp(r->snap, now, ST_WINDOW))
		return;
	at = first_diff(r->snap, now, ST_WINDOW);
	t_fail("region %u changed after %s had returned, first at byte %zu: %#x, was %#x", r->id,
	       what, at, now[at], r->snap[at]);
}

/* ---- discards ---- */

static void drop(struct st_region *r, uint64_t rnd)
{
	struct range g = some(r, rnd);

	st_drop_begin(r, g.page, g.pages);
	advise(g, r->shared ? MADV_REMOVE : MADV_DONTNEED, "MADV_DONTNEED or MADV_REMOVE");
	st_drop_end(r, g.page, g.pages);
}

static void remap(struct st_region *r, uint64_t rnd)
{
	struct range g = some(r, rnd);

	st_drop_begin(r, g.page, g.pages);
	st_region_map(r, g.page, g.pages);
	st_drop_end(r, g.page, g.pages);
}

/* ---- access goes, and comes back ---- */

static void take(struct st_region *r)
{
	atomic_fetch_add(&r->take, 1);
}

/* Access is gone. If it is gone from @all of the window, nothing can succeed until give(). */
static void taken(struct st_region *r, bool all)
{
	if (all)
		atomic_fetch_add(&r->taken, 1);
}

static void give(struct st_region *r, bool all)
{
	if (all)
		atomic_fetch_add(&r->give, 1);
}

static void given(struct st_region *r)
{
	atomic_fetch_add(&r->given, 1);
}

static void unmap(struct st_region *r, uint64_t rnd)
{
	struct range g = some(r, rnd);
	bool all = g.pages == ST_PAGES;

	pthread_mutex_lock(&r->cpu);
	take(r);
	if (!r->shared)
		st_drop_begin(r, g.page, g.pages);
	if (munmap(g.at, g.len))
		t_die("munmap: %s", strerror(errno));
	taken(r, all);
	if (r->shared && all)
		hold_still(r, "munmap (the file's pages)", r->watch, rnd);
	else if (rnd & 0x3000)
		usleep(a_while(rnd) / 4);
	give(r, all);
	st_region_map(r, g.page, g.pages);
	if (!r->shared)
		st_drop_end(r, g.page, g.pages);
	given(r);
	pthread_mutex_unlock(&r->cpu);
}

static void protect(struct st_region *r, uint64_t rnd)
{
	struct range g = some(r, rnd);
	bool all = g.pages == ST_PAGES, none = all && !(rnd & 0x30000);
	/*
	 * Without the lock while it is read-only: the lane may read it then, and holding the lock
	 * would keep the lane from looking, and from going on.
	 */
	bool lock = none || r->cpu_writes;

	if (lock)
		pthread_mutex_lock(&r->cpu);
	take(r);
	if (mprotect(g.at, g.len, none ? PROT_NONE : PROT_READ))
		t_die("mprotect: %s", strerror(errno));
	/* A source may still be read. */
	taken(r, all && (none || !r->cpu_writes));
	if (all && !none)
		hold_still(r, "mprotect(PROT_READ)", r->win, rnd);
	else
		usleep(a_while(rnd) / 8);
	give(r, all && (none || !r->cpu_writes));
	if (mprotect(g.at, g.len, PROT_READ | PROT_WRITE))
		t_die("mprotect: %s", strerror(errno));
	given(r);
	if (lock)
		pthread_mutex_unlock(&r->cpu);
}

static void dereg(struct st_region *r, uint64_t rnd)
{
	int rc;

	if (r->implicit) {
		protect(r, rnd);
		return;
	}
	take(r);
	rc = ibv_dereg_mr(r->mr);
	if (rc)
		t_fail("ibv_dereg_mr: %s", strerror(rc));
	taken(r, true);
	if (!r->cpu_writes)
		hold_still(r, "ibv_dereg_mr", r->win, rnd);
	give(r, true);
	st_region_reg(r);
	given(r);
	usleep(a_while(rnd));
}

/* ---- contents stay ---- */

/* The child: neither what it inherited changes, nor what it writes then. */
static void child(struct st_region *r, uint64_t rnd)
{
	int rc = 0;

	for (int writes = 0; writes < 2 && !rc; writes++) {
		if (writes)
			memset(r->win, 0xc1, ST_WINDOW);
		memcpy(r->snap, r->win, ST_WINDOW);
		usleep(a_while(rnd));
		rc = memcmp(r->snap, r->win, ST_WINDOW) ? 2 + writes : 0;
		if (rnd & 1)
			break;
	}
	_exit(rc);
}

static void fork_child(struct st_region *r, uint64_t rnd)
{
	pid_t pid = fork();
	int st;

	if (pid < 0)
		t_die("fork: %s", strerror(errno));
	if (!pid)
		child(r, rnd);
	if (waitpid(pid, &st, 0) != pid || st)
		t_fail("region %u: the forked child saw memory change that it has alone "
		       "(status %#x)", r->id, st);
}

static int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), rc = -1;

	if (fd >= 0) {
		rc = write(fd, text, strlen(text)) < 0 ? -1 : 0;
		close(fd);
	}
	return rc;
}

static long value_of(const char *path, const char *field)
{
	char line[128];
	long v = -1;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	FILE *f = fd >= 0 ? fdopen(fd, "r") : NULL;
	size_t n = strlen(field);

	while (f && v < 0 && fgets(line, sizeof(line), f))
		if (!n || (!strncmp(line, field, n) && line[n] == ' '))
			sscanf(line + n, "%ld", &v);
	if (f)
		fclose(f);
	return v;
}

#define KSM "/sys/kernel/mm/ksm/"
#define OFFLINE_MAX 100 /* in one phase */
static atomic_ulong merged, collapsed, refused, paged_out, offlined, moved;

static bool ksm_start(void)
{
	merged = 0;
	return !put(KSM "pages_to_scan", "4000") && !put(KSM "sleep_millisecs", "2") &&
	       !put(KSM "run", "1");
}

static bool ksm_stop(void)
{
	put(KSM "run", "2");
	put(KSM "run", "0");
	t_note("   ksm: %lu pages were seen shared", (unsigned long)merged);
	return merged;
}

/* Make a twin for ksmd to merge with. A write into the one must not be seen in the other. */
static void ksm(struct st_region *r, uint64_t rnd)
{
	struct range g = some(r, rnd), twin = g;
	long sharing;
	size_t at;

	g.at = r->win;
	g.len = ST_WINDOW;
	advise(g, MADV_MERGEABLE, "MADV_MERGEABLE");
	twin.at = r->twin;
	twin.len = ST_WINDOW;
	advise(twin, MADV_MERGEABLE, "MADV_MERGEABLE");
	memcpy(r->twin, r->win, ST_WINDOW);
	memcpy(r->snap, r->twin, ST_WINDOW);
	usleep(20 * a_while(rnd));
	at = first_diff(r->twin, r->snap, ST_WINDOW);
	if (at != ST_WINDOW)
		t_fail("region %u: a WRITE into a merged page changed the other, at byte %zu",
		       r->id, at);
	sharing = value_of(KSM "pages_sharing", "");
	if (sharing > 0)
		atomic_fetch_add(&merged, (unsigned long)sharing);
}

static bool thp_start(void)
{
	collapsed = refused = 0;
	return t_can_collapse();
}

static bool thp_stop(void)
{
	t_note("   thp: %lu collapsed, %lu not", (unsigned long)collapsed, (unsigned long)refused);
	return collapsed;
}

/* The window lies across the border of two huge pages. Collapse them, and split them again. */
static void thp(struct st_region *r, uint64_t rnd)
{
	struct range g = some(r, rnd | 1);

	if (rnd & 0x100000) {
		if (madvise(r->base, 2 * ST_HUGE, MADV_COLLAPSE))
			atomic_fetch_add(&refused, 1);
		else
			atomic_fetch_add(&collapsed, 1);
		return;
	}
	/* Another VMA: the huge page's entry is split. The writers may go on. */
	if (mprotect(g.at, g.len, PROT_READ | PROT_WRITE | PROT_EXEC))
		t_die("mprotect: %s", strerror(errno));
	if (rnd & 0x200000) {
		advise(g, MADV_PAGEOUT, "MADV_PAGEOUT");
	} else {
		st_drop_begin(r, g.page, g.pages);
		advise(g, MADV_DONTNEED, "MADV_DONTNEED");
		st_drop_end(r, g.page, g.pages);
	}
	if (mprotect(g.at, g.len, PROT_READ | PROT_WRITE))
		t_die("mprotect: %s", strerror(errno));
}

static bool swap_start(void)
{
	paged_out = 0;
	return value_of("/proc/meminfo", "SwapTotal:") > 0;
}

static bool swap_stop(void)
{
	t_note("   swap: %lu KiB were seen in it, all looks together", (unsigned long)paged_out);
	return paged_out;
}

/* Look each time at what is in swap: not every kernel counts the pages that it writes there. */
static void pageout(struct st_region *r, uint64_t rnd)
{
	advise(some(r, rnd), MADV_PAGEOUT, "MADV_PAGEOUT");
	atomic_fetch_add(&paged_out, t_status_kb("VmSwap"));
}

static bool migrate_start(void)
{
	offlined = moved = 0;
	return !access("/proc/sys/vm/compact_memory", W_OK);
}

static bool migrate_stop(void)
{
	t_note("   migrate: %lu pages were taken offline and had to move", (unsigned long)moved);
	return moved;
}

/*
 * Compaction, with holes for it to fill: every other page of the twin. It moves the pages that it
 * likes, which need not be ours. A page that is taken offline must move, but the machine does not
 * get it back, so there are few.
 */
static void migrate(struct st_region *r, uint64_t rnd)
{
	memset(r->twin, 1, ST_WINDOW);
	for (unsigned i = 0; i < ST_PAGES; i += 2)
		madvise(r->twin + i * T_PAGE, T_PAGE, MADV_DONTNEED);
	put("/proc/sys/vm/compact_memory", "1");
	if (atomic_fetch_add(&offlined, 1) < OFFLINE_MAX &&
	    !madvise(r->win + rnd % ST_PAGES * T_PAGE, T_PAGE, MADV_SOFT_OFFLINE))
		atomic_fetch_add(&moved, 1);
	usleep(a_while(rnd));
}

/* A shared mapping: DONTNEED and PAGEOUT lose no data, a hole does. */
static void file(struct st_region *r, uint64_t rnd)
{
	switch (rnd >> 50 & 7) {
	case 0: unmap(r, rnd & ~7ULL); break;
	case 1: protect(r, rnd); break;
	case 2: drop(r, rnd); break;
	case 3: pageout(r, rnd); break;
	default: advise(some(r, rnd), MADV_DONTNEED, "MADV_DONTNEED");
	}
}

static void mixed(struct st_region *r, uint64_t rnd)
{
	static void (*const all[])(struct st_region *, uint64_t) = {
		drop, remap, unmap, protect, dereg, pageout, thp, drop
	};

	if (rnd >> 56)
		all[rnd >> 50 & 7](r, rnd);
	else
		fork_child(r, rnd);
}

static void keep(struct st_region *r, uint64_t rnd)
{
	(rnd & 0x1000000 ? protect : pageout)(r, rnd);
}

static void land(struct st_region *r, uint64_t rnd)
{
	(rnd & 0x1000000 ? drop : pageout)(r, rnd);
}

const struct st_churn st_churn_land = { .name = "land", .step = land, .drops = true };
const struct st_churn st_churn_keep = { .name = "keep", .step = keep, .takes = true };

const struct st_churn st_churns[] = {
	{ .name = "dontneed", .what = "MADV_DONTNEED", .step = drop, .drops = true, .more = 2 },
	{ .name = "remap", .what = "mmap(MAP_FIXED) over it", .step = remap, .drops = true },
	{ .name = "unmap", .what = "munmap, and mmap again",
	  .step = unmap, .drops = true, .takes = true },
	{ .name = "protect", .what = "mprotect: read-only, none, and back",
	  .step = protect, .takes = true },
	{ .name = "dereg", .what = "ibv_dereg_mr, and ibv_reg_mr again",
	  .step = dereg, .takes = true },
	{ .name = "fork", .what = "fork; the child exits or writes", .step = fork_child },
	{ .name = "ksm", .what = "merging by ksmd",
	  .step = ksm, .start = ksm_start, .stop = ksm_stop, .effect = &merged },
	{ .name = "thp", .what = "MADV_COLLAPSE, and splits",
	  .step = thp, .start = thp_start, .stop = thp_stop, .effect = &collapsed, .drops = true },
	{ .name = "swap", .what = "MADV_PAGEOUT",
	  .step = pageout, .start = swap_start, .stop = swap_stop, .effect = &paged_out },
	{ .name = "migrate", .what = "compaction",
	  .step = migrate, .start = migrate_start, .stop = migrate_stop, .effect = &moved },
	{ .name = "file", .what = "a shared mapping: dropped, unmapped, holes",
	  .step = file, .shared = true, .drops = true, .takes = true },
	{ .name = "mixed", .what = "all of that", .step = mixed, .drops = true, .takes = true },
	{ 0 },
};
