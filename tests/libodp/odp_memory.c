// SPDX-License-Identifier: BSD-2-Clause
/* Prefetch, eviction, statistics. */
#define _GNU_SOURCE
#include "odp_test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t faults(struct odp_mr *mr)
{
	struct odp_reason why;
	struct odp_stats s;

	if (odp_mr_stats(mr, &s, &why))
		t_die("odp_mr_stats: %s", why.text);
	if (!(s.have & ODP_STAT_FAULTS))
		t_die("no page_faults in the MR's counters");
	return s.page_faults;
}

/*
 * t_pat_fill by the CPU would fault pages in; so the source is written once and the target is only
 * read at the end.
 */
static void prefetch(struct env *e)
{
	const size_t size = 8 * MIB, huge = 5UL << 30;
	uint8_t *src = t_map(size), *dst = t_map(size), *big;
	struct odp_mr *smr = need_mr(e, src, size, 0, ODP_NEVER),
		      *mr = need_mr(e, dst, size, T_ALL_ACCESS, ODP_REQUIRE), *bmr;
	size_t done = 0;
	double from, took;
	uint64_t n;
	int ret;

	t_pat_fill(src, size, 3, 0);
	OK(!odp_prefetch(mr, dst, size, ODP_PREFETCH_WRITE, 60000, &done, &e->why) && done == size,
	   "%zu: %s", done, e->why.text);
	n = faults(mr);
	OK(!xfer(e, IBV_WR_RDMA_WRITE, src, size, smr, dst, odp_rkey(mr)), "WRITE");
	OK(faults(mr) == n, "%llu faults after a prefetch", (unsigned long long)(faults(mr) - n));
	t_pat_check("prefetched", dst, size, 3, 0);
	/* The same without: or else the check above checks nothing. */
	OK(!madvise(dst, size, MADV_DONTNEED), "madvise");
	n = faults(mr);
	OK(!xfer(e, IBV_WR_RDMA_WRITE, src, size, smr, dst, odp_rkey(mr)), "WRITE");
	OK(faults(mr) > n, "no faults without a prefetch");
	t_pat_check("not prefetched", dst, size, 3, 0);

	/* A hole, to the page; read-only memory. */
	munmap(dst + 5 * MIB + 3 * T_PAGE, T_PAGE);
	OK(odp_prefetch(mr, dst + 10, size - 10, 0, -1, &done, &e->why) == -EFAULT, "%s",
	   e->why.text);
	OK(done == 5 * MIB + 3 * T_PAGE - 10, "%zu bytes were done", done);
	has("a hole", e->why.text, "nothing is mapped", "prxe", NULL);
	mprotect(dst + MIB, T_PAGE, PROT_READ);
	OK(odp_prefetch(mr, dst, 2 * MIB, ODP_PREFETCH_WRITE, -1, &done, &e->why) == -EFAULT &&
		   done == MIB,
	   "%zu: %s", done, e->why.text);
	has("read-only", e->why.text, "read-only", NULL);
	OK(!odp_prefetch(mr, dst, 2 * MIB, 0, -1, &done, &e->why) && done == 2 * MIB,
	   "for reading: %s", e->why.text);

	/*
	 * More than 32 bits long. What is not there is not looked for, so this takes little; with
	 * faults there is not the time for all of it.
	 */
	big = mmap(NULL, huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		   -1, 0);
	if (big == MAP_FAILED)
		t_die("mmap of 5 GiB: %s", strerror(errno));
	madvise(big, huge, MADV_NOHUGEPAGE);
	bmr = need_mr(e, big, huge, T_ALL_ACCESS, ODP_REQUIRE);
	from = t_now();
	ret = odp_prefetch(bmr, big, huge, ODP_PREFETCH_NO_FAULT, (int)(t_slow(8) * 1e3), &done,
			   &e->why);
	OK(!ret && done == huge, "%d, %zu bytes: %s", ret, done, e->why.text);
	took = t_now() - from;
	t_note("5 GiB that are not there: %.2f s", took);
	from = t_now();
	ret = odp_prefetch(bmr, big, huge, 0, 100, &done, &e->why);
	took = t_now() - from;
	t_note("%zu of %zu MiB in %.2f s", done / MIB, huge / MIB, took);
	OK(ret == -ETIMEDOUT && done && done < huge && took >= 0.099 && took < t_slow(2),
	   "%d, %zu bytes in %.2f s: %s", ret, done, took, e->why.text);
	has("deadline", e->why.text, "time was over", "5 GiB", NULL);
	OK(odp_prefetch(smr, src, size, 0, 0, &done, &e->why) == 0 && done == size, "pinned: %s",
	   e->why.text);
	odp_dereg(bmr);
	munmap(big, huge);
	odp_dereg(mr);
	odp_dereg(smr);
	munmap(src, size);
	munmap(dst, size);
}

static void evict(struct env *e)
{
	const size_t size = 4 * MIB;
	uint8_t *src = t_map(size), *dst = t_map(size);
	struct odp_mr *smr = need_mr(e, src, size, T_ALL_ACCESS, ODP_NEVER),
		      *mr = need_mr(e, dst, size, T_ALL_ACCESS, ODP_REQUIRE);
	struct odp_stats s0, s1;
	size_t gone = 0;
	uint64_t n;

	t_pat_fill(src, size, 11, 0);
	OK(!xfer(e, IBV_WR_RDMA_WRITE, src, size, smr, dst, odp_rkey(mr)), "WRITE");
	OK(!odp_mr_stats(mr, &s0, &e->why), "%s", e->why.text);
	/* The script says whether there is swap. */
	OK(!odp_evict(mr, dst, size, ODP_EVICT_PAGEOUT, &gone, &e->why), "%s", e->why.text);
	t_note("PAGEOUT: %zu of %zu KiB gone. %s", gone >> 10, size >> 10, e->why.text);
	if (getenv("ODP_SWAP"))
		OK(gone > size / 2, "%zu bytes are gone, with swap", gone);
	else
		has("no swap", e->why.text, "stay in memory", "no swap", NULL);
	OK(!odp_mr_stats(mr, &s1, &e->why), "%s", e->why.text);
	OK(!getenv("ODP_SWAP") || s1.page_invalidations > s0.page_invalidations,
	   "no invalidation was counted");
	/* The device brings them back. */
	memset(src, 0, size);
	OK(!xfer(e, IBV_WR_RDMA_READ, src, size, smr, dst, odp_rkey(mr)), "READ");
	t_pat_check("after PAGEOUT", src, size, 11, 0);

	n = faults(mr);
	OK(!odp_evict(mr, dst + MIB + 1, MIB, ODP_EVICT_DISCARD, &gone, &e->why) &&
		   gone == MIB - T_PAGE,
	   "%zu: %s", gone, e->why.text);
	OK(!xfer(e, IBV_WR_RDMA_READ, src, size, smr, dst, odp_rkey(mr)), "READ");
	OK(faults(mr) > n, "discarded pages were still there for the device");
	t_pat_check("before the discarded", src, MIB + T_PAGE, 11, 0);
	t_zero_check("discarded", src + MIB + T_PAGE, MIB - T_PAGE);
	t_pat_check("after the discarded", src + 2 * MIB, size - 2 * MIB, 11, 2 * MIB);

	OK(odp_evict(smr, src, size, ODP_EVICT_PAGEOUT, NULL, &e->why) == -EBUSY, "pinned");
	has("pinned", e->why.text, "pinned", NULL);
	odp_dereg(mr);
	mr = odp_implicit(e->dom, T_ALL_ACCESS, &e->why);
	if (!mr)
		t_die("implicit: %s", e->why.text);
	OK(odp_evict(mr, src, T_PAGE, ODP_EVICT_DISCARD, NULL, &e->why) == -EBUSY,
	   "pinned by another MR");
	OK(!odp_evict(mr, dst, size, ODP_EVICT_COLD, NULL, &e->why), "%s", e->why.text);
	odp_dereg(mr);
	odp_dereg(smr);
	munmap(src, size);
	munmap(dst, size);
}

/*
 * Without privilege. This driver tells who holds an MR its counters. By netlink, which is all that
 * other drivers have, the kernel hides keys: what can be told apart is told, what cannot is refused
 * with the reason.
 */
static void stats_unprivileged(struct env *e, struct odp_mr *alone, struct odp_mr *twin)
{
	int ret, status, fd = e->d->ctx->cmd_fd, before = t_fails;
	struct odp_stats s;
	pid_t pid = fork();

	if (!pid) {
		if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
			t_die("setresuid: %s", strerror(errno));
		OK(!odp_mr_stats(alone, &s, &e->why) && s.page_faults > 0, "%s", e->why.text);
		OK(!odp_mr_stats(twin, &s, &e->why) && s.page_faults == 0, "%s", e->why.text);
		/*
		 * No way to the driver: netlink. A fork is another process: the list names its
		 * parent's thread all the same.
		 */
		e->d->ctx->cmd_fd = -1;
		ret = odp_mr_stats(alone, &s, &e->why);
		t_note("unprivileged, netlink: %d %s", ret, ret ? e->why.text : "told");
		OK(!ret ? s.have & ODP_STAT_FAULTS && s.page_faults > 0
			: ret == -EPERM && e->why.text[0],
		   "%d: %s", ret, e->why.text);
		ret = odp_mr_stats(twin, &s, &e->why);
		OK(ret == -EPERM, "%d", ret);
		has("twins", e->why.text, "CAP_NET_ADMIN", "cannot be told", NULL);
		e->d->ctx->cmd_fd = fd;
		_exit(t_fails != before);
	}
	waitpid(pid, &status, 0);
	OK(!status, "status %#x", status);
}

/* Both ways to the counters must tell the same. */
static void stats_by_netlink(struct env *e, struct odp_mr *mr)
{
	int fd = e->d->ctx->cmd_fd;
	struct odp_stats s, n;

	OK(!odp_mr_stats(mr, &s, &e->why), "%s", e->why.text);
	e->d->ctx->cmd_fd = -1;
	OK(!odp_mr_stats(mr, &n, &e->why), "%s", e->why.text);
	OK(!odp_mr_stats(mr, &n, &e->why), "the second time: %s", e->why.text);
	e->d->ctx->cmd_fd = fd;
	OK(n.have == s.have && n.page_faults == s.page_faults && n.page_prefetch == s.page_prefetch,
	   "netlink: faults %llu, prefetched %llu; driver: %llu, %llu",
	   (unsigned long long)n.page_faults, (unsigned long long)n.page_prefetch,
	   (unsigned long long)s.page_faults, (unsigned long long)s.page_prefetch);
}

static void statistics(struct env *e)
{
	uint8_t *src = t_map(MIB), *p = t_map(64 * T_PAGE), *q = t_map(64 * T_PAGE),
		*r = t_map(32 * T_PAGE);
	struct odp_mr *smr = need_mr(e, src, MIB, 0, ODP_NEVER),
		      *a = need_mr(e, p, 64 * T_PAGE, T_ALL_ACCESS, ODP_REQUIRE);
	struct odp_mr *b = need_mr(e, q, 64 * T_PAGE, T_ALL_ACCESS, ODP_REQUIRE),
		      *c = need_mr(e, r, 32 * T_PAGE, T_ALL_ACCESS, ODP_REQUIRE);
	struct odp_stats d0, d1, s;

	OK(!odp_device_stats(e->d->ctx, &d0, &e->why), "%s", e->why.text);
	OK(d0.have & ODP_STAT_FAULTS && d0.have & ODP_STAT_INVALIDATIONS &&
		   d0.have & ODP_STAT_PREFETCH,
	   "have %#llx", (unsigned long long)d0.have);
	t_pat_fill(src, 32 * T_PAGE, 21, 0);
	for (int i = 0; i < 32; i++)
		OK(!xfer(e, IBV_WR_RDMA_WRITE, src + (size_t)i * T_PAGE, T_PAGE, smr,
			 r + (size_t)i * T_PAGE, odp_rkey(c)),
		   "WRITE");
	t_pat_check("contents", r, 32 * T_PAGE, 21, 0);
	/* Before this process, which may see keys, has found out (and kept) which MR is which. */
	stats_unprivileged(e, c, a);
	OK(faults(c) > 0 && !faults(a) && !faults(b), "faults: %llu, %llu, %llu",
	   (unsigned long long)faults(c), (unsigned long long)faults(a),
	   (unsigned long long)faults(b));
	OK(!odp_prefetch(b, q, 64 * T_PAGE, 0, -1, NULL, &e->why), "%s", e->why.text);
	OK(!odp_mr_stats(b, &s, &e->why) && s.page_prefetch == 64 && !faults(a), "prefetched %llu",
	   (unsigned long long)s.page_prefetch);
	stats_by_netlink(e, c);
	stats_by_netlink(e, b);
	/* The kernel keeps hw_counters for 10 ms. */
	usleep(20000);
	OK(!odp_device_stats(e->d->ctx, &d1, &e->why), "%s", e->why.text);
	OK(d1.page_faults >= d0.page_faults + faults(c) &&
		   d1.page_prefetch >= d0.page_prefetch + 64,
	   "device: faults %llu, then %llu; prefetched %llu, then %llu",
	   (unsigned long long)d0.page_faults, (unsigned long long)d1.page_faults,
	   (unsigned long long)d0.page_prefetch, (unsigned long long)d1.page_prefetch);
	OK(odp_mr_stats(smr, &s, &e->why) == -ENODATA, "pinned");
	odp_dereg(c);
	odp_dereg(b);
	odp_dereg(a);
	odp_dereg(smr);
}

const struct odp_case cases_memory[] = { { "prefetch", prefetch, false },
					 { "evict", evict, false },
					 { "statistics", statistics, false },
					 { 0 } };
