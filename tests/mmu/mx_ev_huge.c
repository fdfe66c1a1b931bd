// SPDX-License-Identifier: BSD-2-Clause
/* Huge pages: transparent ones, whole, split and collapsed; hugetlb. */
#define _GNU_SOURCE
#include "mx.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* The page at the end of the huge one, in the middle of what operations touch. */
#define INSIDE (MX_HUGE - T_PAGE)

static bool nothing(struct mx_subj *s)
{
	(void)s;
	return true;
}

static bool cpu_writes(struct mx_subj *s)
{
	s->effect += mx_huge(s);
	return mx_cpu_write(s, INSIDE - 50, T_PAGE + 100);
}

static bool drop(struct mx_subj *s, size_t from, size_t len)
{
	mx_zero(s, from, len);
	return !madvise(s->m.va + from, len, MADV_DONTNEED) ||
	       mx_why(s, "MADV_DONTNEED: %s", strerror(errno));
}

static bool drop_inside(struct mx_subj *s)
{
	return drop(s, INSIDE, T_PAGE);
}

static bool drop_huge(struct mx_subj *s)
{
	return drop(s, 0, MX_HUGE);
}

static bool protect_inside(struct mx_subj *s)
{
	if (mprotect(s->m.va + INSIDE, T_PAGE, PROT_READ) ||
	    mprotect(s->m.va + INSIDE, T_PAGE, PROT_READ | PROT_WRITE))
		return mx_why(s, "mprotect: %s", strerror(errno));
	return true;
}

static bool can_split(struct mx_subj *s)
{
	return !access("/sys/kernel/debug/split_huge_pages", W_OK) ||
	       mx_why(s, "no split_huge_pages in debugfs");
}

static bool split(struct mx_subj *s)
{
	char text[100];

	snprintf(text, sizeof(text), "%d,%p,%p", getpid(), (void *)s->m.va,
		 (void *)(s->m.va + s->m.len));
	return mx_put("/sys/kernel/debug/split_huge_pages", text) ||
	       mx_why(s, "split_huge_pages: %s", strerror(errno));
}

static bool can_collapse(struct mx_subj *s)
{
	return t_can_collapse() || mx_why(s, "MADV_COLLAPSE makes no pages of this size");
}

static bool collapse(struct mx_subj *s)
{
	for (int i = 0; i < 20; i++) {
		if (!madvise(s->m.va, s->m.len, MADV_HUGEPAGE) &&
		    !madvise(s->m.va, MX_HUGE, MADV_COLLAPSE)) {
			s->effect++;
			return true;
		}
		if (errno != EAGAIN && errno != EBUSY)
			return mx_why(s, "MADV_COLLAPSE: %s", strerror(errno));
	}
	/* The pages are in use elsewhere: nothing was collapsed, and nothing may have changed. */
	return true;
}

/* Only its end: all of it would take a slow machine long, and this splits the huge page as well. */
static bool pageout(struct mx_subj *s)
{
	size_t from = MX_HUGE - 16 * T_PAGE;

	return !t_pageout(s->m.va + from, s->m.len - from) ||
	       mx_why(s, "MADV_PAGEOUT: %s", strerror(errno));
}

static bool spread(struct mx_subj *s) /* the first half of the huge page moves away, and back */
{
	uint8_t *to = mmap(NULL, MX_HUGE / 2, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (to == MAP_FAILED ||
	    mremap(s->m.va, MX_HUGE / 2, MX_HUGE / 2, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to ||
	    mremap(to, MX_HUGE / 2, MX_HUGE / 2, MREMAP_MAYMOVE | MREMAP_FIXED, s->m.va) != s->m.va)
		return mx_why(s, "mremap: %s", strerror(errno));
	return true;
}

static bool child(struct mx_subj *s)
{
	return mx_child_start(s) && mx_child_do(s, 'w', "the child cannot write");
}

static bool child_unchanged(struct mx_subj *s)
{
	return mx_child_do(s, '=', "the child's copy has changed");
}

static bool child_only(struct mx_subj *s)
{
	return mx_child_start(s);
}

const struct mx_event mx_ev_huge[] = {
	{ "THP first touch", "a huge page that nobody has touched",
	  &mx_thp, .cold = true, .fire = nothing },
	{ "THP CPU write", "the CPU writes across the end of a huge page",
	  &mx_thp, .effect = true, .fire = cpu_writes },
	{ "THP DONTNEED", "the whole huge page goes", &mx_thp, .fire = drop_huge },
	{ "THP DONTNEED inside", "one page of it goes: split by the mapping",
	  &mx_thp, .fire = drop_inside },
	{ "THP mprotect inside", "one page of it is read-only for a moment",
	  &mx_thp, .fire = protect_inside },
	{ "THP split", "debugfs split_huge_pages", &mx_thp, .probe = can_split, .fire = split },
	{ "THP collapse", "small pages become a huge one: MADV_COLLAPSE",
	  &mx_small, .effect = true, .probe = can_collapse, .fire = collapse },
	{ "THP mremap half", "half of it moves away, and back", &mx_thp, .fire = spread },
	{ "THP MADV_PAGEOUT", "the end of it is swapped out", &mx_thp, .fire = pageout },
	{ "THP fork", "a child has it too",
	  &mx_thp, .fire = child_only, .check = child_unchanged, .end = mx_child_end },
	{ "THP fork, child writes", "the child writes its copy",
	  &mx_thp, .fire = child, .check = child_unchanged, .end = mx_child_end },
	{ "hugetlb first touch", "hugetlb memory that nobody has touched",
	  &mx_hugetlb, .cold = true, .fire = nothing },
	{ "hugetlb CPU write", "the CPU writes across the end of a page",
	  &mx_hugetlb, .fire = cpu_writes },
	{ "hugetlb DONTNEED", "the first page goes", &mx_hugetlb, .fire = drop_huge },
	{ "hugetlb fork", "a child has it too, and writes its copy",
	  &mx_hugetlb, .fire = child, .check = child_unchanged, .end = mx_child_end },
	{ 0 },
};
