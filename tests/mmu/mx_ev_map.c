// SPDX-License-Identifier: BSD-2-Clause
/* Events of the mapping: it goes, moves, is replaced, loses rights; the registration goes. */
#define _GNU_SOURCE
#include "mx.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void unusable(struct mx_subj *s, size_t visible)
{
	s->read = s->write = false;
	s->m.visible = visible;
}

static bool usable(struct mx_subj *s)
{
	s->read = s->write = true;
	s->m.visible = s->m.len;
	return true;
}

static bool unmap(struct mx_subj *s)
{
	unusable(s, 0);
	return !munmap(s->m.va, s->m.len) || mx_why(s, "munmap: %s", strerror(errno));
}

static bool map_again(struct mx_subj *s)
{
	usable(s);
	return mx_subj_anon(s);
}

static bool remap(struct mx_subj *s)
{
	return !munmap(s->m.va, s->m.len) && mx_subj_anon(s) && mx_cpu_write(s, 0, 3 * T_PAGE + 99);
}

static bool mmap_over(struct mx_subj *s)
{
	s->fd = memfd_create("over", MFD_CLOEXEC);
	if (s->fd < 0 || ftruncate(s->fd, (off_t)s->m.len) ||
	    mmap(s->m.va, s->m.len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, s->fd,
		 0) != s->m.va)
		return mx_why(s, "a memfd: %s", strerror(errno));
	mx_zero(s, 0, s->m.len);
	mx_fill(s->m.model + T_PAGE, 2 * T_PAGE, s->seed + 5);
	return pwrite(s->fd, s->m.model + T_PAGE, 2 * T_PAGE, T_PAGE) == (ssize_t)(2 * T_PAGE) ||
	       mx_why(s, "pwrite: %s", strerror(errno));
}

static bool spare(struct mx_subj *s)
{
	void *p = mmap(NULL, s->m.len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return mx_why(s, "mmap: %s", strerror(errno));
	s->spare = p;
	return true;
}

static bool move(struct mx_subj *s, uint8_t *from, uint8_t *to)
{
	return mremap(from, s->m.len, s->m.len, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to ||
	       mx_why(s, "mremap: %s", strerror(errno));
}

/* Its bytes are looked at in the new place; at the old one nothing is left. */
static bool move_away(struct mx_subj *s)
{
	unusable(s, 0);
	return spare(s) && move(s, s->m.va, s->spare);
}

static bool move_back(struct mx_subj *s)
{
	uint8_t *p = s->spare;

	usable(s);
	s->spare = NULL;
	if (memcmp(p, s->m.model, s->m.len))
		mx_why(s, "the moved memory has changed");
	return move(s, p, s->m.va) && !s->why[0];
}

static bool move_in(struct mx_subj *s)
{
	uint8_t *p;

	if (!spare(s))
		return false;
	p = s->spare;
	s->spare = NULL;
	mx_fill(s->m.model, s->m.len, s->seed + 6);
	memcpy(p, s->m.model, s->m.len);
	return move(s, p, s->m.va);
}

static bool protect(struct mx_subj *s, int prot)
{
	return !mprotect(s->m.va, s->m.len, prot) || mx_why(s, "mprotect: %s", strerror(errno));
}

static bool read_only(struct mx_subj *s)
{
	s->write = false;
	return protect(s, PROT_READ);
}

static bool read_only_read(struct mx_subj *s)
{
	return read_only(s) && mx_read_all(s);
}

static bool no_access(struct mx_subj *s)
{
	unusable(s, 0);
	return protect(s, PROT_NONE);
}

/* What PROT_NONE hid from the comparison must not have changed. */
static bool all_access(struct mx_subj *s)
{
	usable(s);
	return protect(s, PROT_READ | PROT_WRITE) && mx_same(s, "subject after mprotect", &s->m);
}

static bool to_and_fro(struct mx_subj *s)
{
	return protect(s, PROT_READ) && protect(s, PROT_NONE) && protect(s, PROT_READ | PROT_WRITE);
}

static bool deregister(struct mx_subj *s)
{
	s->read = s->write = false;
	mx_subj_forget_keys(s);
	return true;
}

static bool register_again(struct mx_subj *s)
{
	return usable(s) && mx_subj_keys(s);
}

static bool fresh_keys(struct mx_subj *s)
{
	return deregister(s) && register_again(s);
}

const struct mx_event mx_ev_map[] = {
	{ "munmap", "munmap; then mapped again: zeroes",
	  &mx_anon, .fire = unmap, .mend = map_again },
	{ "munmap, mmap", "munmap and mmap at the same place, the CPU writes some of it",
	  &mx_anon, .fire = remap },
	{ "mmap over it", "a memfd with contents of its own is mapped over it",
	  &mx_anon, .fire = mmap_over },
	{ "mremap away", "mremap: nothing at the old place; then it moves back",
	  &mx_anon, .fire = move_away, .mend = move_back },
	{ "mremap onto it", "other memory is moved onto it", &mx_anon, .fire = move_in },
	{ "PROT_READ", "mprotect(PROT_READ); then writable again",
	  &mx_anon, .fire = read_only, .mend = all_access },
	{ "PROT_READ, RDMA read", "mprotect(PROT_READ), an RDMA READ of all of it",
	  &mx_anon, .fire = read_only_read, .mend = all_access },
	{ "PROT_NONE", "mprotect(PROT_NONE); then accessible again",
	  &mx_anon, .fire = no_access, .mend = all_access },
	{ "mprotect, and back", "PROT_READ, PROT_NONE, all rights", &mx_anon, .fire = to_and_fro },
	{ "dereg", "deregistration: the old keys; then registered again",
	  &mx_anon, .fire = deregister, .mend = register_again },
	{ "dereg, reg", "registered anew over memory that stays", &mx_anon, .fire = fresh_keys },
	{ 0 },
};
