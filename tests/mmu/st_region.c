// SPDX-License-Identifier: BSD-2-Clause
/* Regions: mapping, registration, and the judge of what they hold. */
#define _GNU_SOURCE
#include "st.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static unsigned ids;

void st_region_map(struct st_region *r, unsigned page, unsigned pages)
{
	uint8_t *at = r->win + page * T_PAGE;
	int how = r->shared ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;

	if (mmap(at, pages * T_PAGE, PROT_READ | PROT_WRITE, how | MAP_FIXED, r->fd,
		 r->shared ? at - r->base : 0) != at)
		t_die("mmap over %u pages: %s", pages, strerror(errno));
}

void st_region_reg(struct st_region *r)
{
	r->mr = t_reg(r->pd, r->win, ST_WINDOW, ST_ODP);
	atomic_store(&r->keys, (uint64_t)r->mr->lkey << 32 | r->mr->rkey);
}

void st_region_open(struct st_region *r, struct ibv_pd *pd, struct ibv_mr *implicit, bool shared)
{
	memset(r, 0, sizeof(*r));
	r->id = ++ids;
	r->pd = pd;
	r->fd = -1;
	r->shared = shared;
	r->raw = t_map(3 * ST_HUGE);
	r->base = (uint8_t *)(((uintptr_t)r->raw + ST_HUGE - 1) & ~(ST_HUGE - 1));
	/* One of the slots lies across the border of two leaves of the mirror. */
	r->win = r->base + ST_HUGE - ST_WINDOW / 2 + ST_SLOT_PAGES / 2 * T_PAGE;
	r->snap = t_map(ST_WINDOW);
	r->twin = t_map(ST_WINDOW);
	r->shadow = calloc(ST_PAGES * ST_PAGE_WORDS, sizeof(*r->shadow));
	if (!r->shadow || pthread_mutex_init(&r->cpu, NULL))
		t_die("out of memory");
	if (shared) {
		r->fd = memfd_create("stress", MFD_CLOEXEC);
		if (r->fd < 0 || ftruncate(r->fd, 2 * ST_HUGE))
			t_die("memfd: %s", strerror(errno));
		if (mmap(r->base, 2 * ST_HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			 r->fd, 0) != r->base)
			t_die("mmap of a memfd: %s", strerror(errno));
		r->watch = mmap(NULL, ST_WINDOW, PROT_READ, MAP_SHARED, r->fd, r->win - r->base);
		if (r->watch == MAP_FAILED)
			t_die("mmap of a memfd: %s", strerror(errno));
	}
	r->implicit = implicit;
	if (implicit)
		atomic_store(&r->keys, (uint64_t)implicit->lkey << 32 | implicit->rkey);
	else
		st_region_reg(r);
}

void st_region_close(struct st_region *r)
{
	int rc = r->mr ? ibv_dereg_mr(r->mr) : 0;

	if (rc)
		t_fail("ibv_dereg_mr: %s", strerror(rc));
	munmap(r->raw, 3 * ST_HUGE);
	munmap(r->snap, ST_WINDOW);
	munmap(r->twin, ST_WINDOW);
	if (r->shared) {
		munmap(r->watch, ST_WINDOW);
		close(r->fd);
	}
	pthread_mutex_destroy(&r->cpu);
	free(r->shadow);
}

void st_drop_begin(struct st_region *r, unsigned page, unsigned pages)
{
	while (pages--)
		atomic_fetch_add(&r->page[page++].begun, 1);
}

void st_drop_end(struct st_region *r, unsigned page, unsigned pages)
{
	while (pages--)
		atomic_fetch_add(&r->page[page++].ended, 1);
}

bool st_dropped(struct st_region *r, unsigned page, unsigned seen)
{
	return atomic_load(&r->page[page].begun) != seen;
}

void st_fill(struct st_region *src, const struct st_region *dst, struct st_msg *m)
{
	uint64_t *w = (uint64_t *)src->win + m->from;
	unsigned first = m->slot * ST_SLOT_PAGES;

	for (unsigned i = 0; i < ST_SLOT_PAGES; i++)
		m->from_seen[i] = atomic_load(&src->page[first + i].ended);
	for (unsigned i = 0; i < m->words; i++)
		w[i] = st_word(dst->id, m->to + i, m->gen);
}

static void wrong(struct st_region *dst, const struct st_msg *m, unsigned at, uint64_t got,
		  bool success, bool dropped)
{
	unsigned gen = (unsigned)(got >> 40);
	bool in = at - m->to < m->words;

	t_fail("region %u, slot %u, message %u (words %u to %u, %s): word %u (%s) is %#llx: %s%u; "
	       "before it was of message %u; the page was%s discarded meanwhile",
	       dst->id, m->slot, m->gen, m->to, m->to + m->words, success ? "done" : "failed", at,
	       in ? "in the message" : "not in the message", (unsigned long long)got,
	       got == st_word(dst->id, at, gen) ?
	       "of message " : "of no message that belongs here, generation ",
	       gen, dst->shadow[at], dropped ? "" : " not");
}

static void judge_page(struct st_region *dst, struct st_region *src, const struct st_msg *m,
		       bool success, unsigned page)
{
	unsigned ended = atomic_load(&dst->page[page].ended), bad = 0;
	uint64_t copy[ST_PAGE_WORDS];
	bool dropped;

	memcpy(copy, dst->win + page * T_PAGE, T_PAGE);
	atomic_thread_fence(memory_order_seq_cst);
	dropped = st_dropped(dst, page, dst->page[page].seen);
	for (unsigned i = 0; i < ST_PAGE_WORDS && !bad; i++) {
		unsigned at = page * ST_PAGE_WORDS + i;
		bool in = at - m->to < m->words;
		uint32_t *shadow = &dst->shadow[at];

		if (in && copy[i] == st_word(dst->id, at, m->gen)) {
			*shadow = m->gen;
		} else if ((!in || !success) && copy[i] == st_word(dst->id, at, *shadow)) {
			;
		} else {
			unsigned from = m->from + (at - m->to);
			bool zero = dropped;

			if (in && !zero) {
				unsigned source = from / ST_PAGE_WORDS;

				zero = st_dropped(src, source,
						  m->from_seen[source - m->slot * ST_SLOT_PAGES]);
			}
			if (copy[i] || !zero) {
				wrong(dst, m, at, copy[i], success, dropped);
				bad++;
			}
			*shadow = 0;
		}
	}
	dst->page[page].seen = ended;
}

/* Judge the pages that it touched and one on either side; now and then all pages of the slot. */
void st_judge(struct st_region *dst, struct st_region *src, const struct st_msg *m, bool success)
{
	unsigned first = m->slot * ST_SLOT_PAGES, end = first + ST_SLOT_PAGES;

	if (m->gen % 8) {
		unsigned from = m->to / ST_PAGE_WORDS;
		unsigned to = (m->to + m->words + ST_PAGE_WORDS - 1) / ST_PAGE_WORDS;

		first = from > first ? from - 1 : first;
		end = to < end ? to + 1 : end;
	}
	while (first < end)
		judge_page(dst, src, m, success, first++);
}

struct st_access st_access_now(struct st_region *r)
{
	struct st_access now;

	now.given = atomic_load(&r->given);
	now.give = atomic_load(&r->give);
	now.taken = atomic_load(&r->taken);
	return now;
}

bool st_error_is_right(struct st_region *r, struct st_access then)
{
	return atomic_load(&r->take) != then.given;
}

bool st_success_is_right(struct st_region *r, struct st_access then)
{
	return then.taken == then.give || atomic_load(&r->give) != then.give;
}
