// SPDX-License-Identifier: BSD-2-Clause
/* Events of anonymous memory: contents are lost, come back, or stay where the kernel moved them. */
#define _GNU_SOURCE
#include "mx.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static bool advise(struct mx_subj *s, size_t from, size_t len, int advice, const char *name)
{
	if (madvise(s->m.va + from, len, advice))
		return mx_why(s, "%s: %s", name, strerror(errno));
	return true;
}

static bool out(struct mx_subj *s, size_t from)
{
	return !t_pageout(s->m.va + from, s->m.len - from) ||
	       mx_why(s, "MADV_PAGEOUT: %s", strerror(errno));
}

static bool nothing(struct mx_subj *s)
{
	(void)s;
	return true;
}

/* The CPU maps the zero page everywhere. */
static bool cpu_reads(struct mx_subj *s)
{
	return mx_same(s, "untouched memory", &s->m);
}

static bool cpu_writes(struct mx_subj *s)
{
	return mx_cpu_write(s, 0, s->m.len);
}

static bool drop_all(struct mx_subj *s)
{
	mx_zero(s, 0, s->m.len);
	return advise(s, 0, s->m.len, MADV_DONTNEED, "MADV_DONTNEED");
}

/* An RDMA READ makes read-only translations of the zero page; writes must not use them. */
static bool read_then(struct mx_subj *s)
{
	return drop_all(s) && mx_read_all(s);
}

static bool drop_odd(struct mx_subj *s)
{
	for (size_t off = T_PAGE; off < s->m.len; off += 2 * T_PAGE) {
		mx_zero(s, off, T_PAGE);
		if (!advise(s, off, T_PAGE, MADV_DONTNEED, "MADV_DONTNEED"))
			return false;
	}
	return true;
}

static bool drop_then_write(struct mx_subj *s)
{
	return drop_all(s) && mx_cpu_write(s, s->at & ~(T_PAGE - 1), T_PAGE);
}

static bool lazyfree(struct mx_subj *s)
{
	return advise(s, 0, s->m.len, MADV_FREE, "MADV_FREE");
}

static bool swapping(struct mx_subj *s)
{
	FILE *f = fopen("/proc/swaps", "re");
	char line[200];
	int lines = 0;

	while (f && fgets(line, sizeof(line), f))
		lines++;
	if (f)
		fclose(f);
	return lines > 1 || mx_why(s, "no swap");
}

static bool pageout(struct mx_subj *s)
{
	bool ok = out(s, 0);

	s->effect += mx_swapped(s);
	return ok;
}

static bool pageout_cpu_in(struct mx_subj *s)
{
	return pageout(s) && mx_same(s, "swapped in by the CPU", &s->m);
}

static bool pageout_rdma_in(struct mx_subj *s)
{
	return pageout(s) && mx_read_all(s);
}

static bool swap_half(struct mx_subj *s)
{
	return out(s, s->m.len / 2);
}

/* After MADV_FREE, reclaim drops pages that nobody wrote since. The operation's bytes must stay. */
static bool written_stays(struct mx_subj *s)
{
	static const uint8_t zero[T_PAGE_MAX];

	if (!pageout(s))
		return false;
	for (size_t off = 0; off < s->m.len; off += T_PAGE) {
		bool written = s->done_len && off < s->done_at + s->done_len &&
			       off + T_PAGE > s->done_at;

		if (!memcmp(s->m.va + off, s->m.model + off, T_PAGE) ||
		    (!written && !memcmp(s->m.va + off, zero, T_PAGE)))
			continue;
		return mx_why(s, "page %#zx, %s, is lost after reclaim", off,
			      written ? "written since MADV_FREE" : "freed");
	}
	return true;
}

static bool survives_reclaim(struct mx_subj *s)
{
	return pageout(s) && mx_same(s, "subject after reclaim", &s->m);
}

static bool cold(struct mx_subj *s)
{
	return advise(s, 0, s->m.len, MADV_COLD, "MADV_COLD");
}

static bool soft_dirty(struct mx_subj *s)
{
	return mx_put("/proc/self/clear_refs", "4") || mx_why(s, "clear_refs: %s", strerror(errno));
}

static bool clear_young(struct mx_subj *s)
{
	return mx_put("/proc/self/clear_refs", "1") || mx_why(s, "clear_refs: %s", strerror(errno));
}

static bool locked(struct mx_subj *s)
{
	if (mlock(s->m.va, s->m.len) || munlock(s->m.va, s->m.len))
		return mx_why(s, "mlock: %s", strerror(errno));
	return true;
}

const struct mx_event mx_ev_anon[] = {
	{ "first touch", "memory that nobody has touched",
	  &mx_anon, .cold = true, .fire = nothing },
	{ "CPU read, then use", "the zero page is mapped",
	  &mx_anon, .cold = true, .fire = cpu_reads },
	{ "CPU write", "the CPU writes all of it in between", &mx_anon, .fire = cpu_writes },
	{ "RDMA read, then use", "DONTNEED, an RDMA READ of the zero page, then the operation",
	  &mx_anon, .fire = read_then },
	{ "DONTNEED", "MADV_DONTNEED", &mx_anon, .fire = drop_all },
	{ "DONTNEED, odd pages", "MADV_DONTNEED of every other page", &mx_anon, .fire = drop_odd },
	{ "DONTNEED, CPU write", "MADV_DONTNEED, and the CPU makes one page anew",
	  &mx_anon, .fire = drop_then_write },
	{ "MADV_FREE", "MADV_FREE, the operation, then reclaim: what was written stays",
	  &mx_anon, .probe = swapping, .fire = lazyfree, .check = written_stays },
	{ "MADV_COLD", "MADV_COLD, the operation, then reclaim",
	  &mx_anon, .probe = swapping, .fire = cold, .check = survives_reclaim },
	{ "MADV_PAGEOUT", "swapped out",
	  &mx_anon, .effect = true, .probe = swapping, .fire = pageout },
	{ "swap, CPU in", "swapped out, and in by the CPU",
	  &mx_anon, .effect = true, .probe = swapping, .fire = pageout_cpu_in,
	  .check = survives_reclaim },
	{ "swap, RDMA in, out", "swapped out, in by an RDMA READ; after the operation out again",
	  &mx_anon, .probe = swapping, .fire = pageout_rdma_in, .check = survives_reclaim },
	{ "swap, half", "the second half swapped out",
	  &mx_anon, .probe = swapping, .fire = swap_half, .check = survives_reclaim },
	{ "soft-dirty", "clear_refs 4", &mx_anon, .fire = soft_dirty },
	{ "clear referenced", "clear_refs 1", &mx_anon, .fire = clear_young },
	{ "mlock, munlock", "mlock and munlock", &mx_anon, .fire = locked },
	{ 0 },
};
