// SPDX-License-Identifier: BSD-2-Clause
/*
 * The subject of a cell: a mapping of some kind, its model, its registration and window. Cells use
 * a few places in turn, so that a cell finds what an earlier one left behind.
 */
#define _GNU_SOURCE
#include "mx.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SMALL (MX_PAGES * T_PAGE)
#define ROOM (MX_MOST + 2 * MX_HUGE) /* of a place: the subject between two inaccessible areas */
#define PLACES 3UL

static size_t length(const struct mx_back *b)
{
	return b->huge + b->pages * T_PAGE;
}

static bool map_at(struct mx_subj *s, uint8_t *at, size_t len, int flags, int fd)
{
	if (mmap(at, len, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0) != at)
		return mx_why(s, "mmap: %s", strerror(errno));
	return true;
}

static bool open_anon(struct mx_subj *s, uint8_t *at)
{
	return map_at(s, at, length(s->back), MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static bool open_shm(struct mx_subj *s, uint8_t *at)
{
	return map_at(s, at, length(s->back), MAP_SHARED | MAP_ANONYMOUS, -1);
}

static bool open_thp(struct mx_subj *s, uint8_t *at)
{
	if (!open_anon(s, at))
		return false;
	if (madvise(at, length(s->back), MADV_HUGEPAGE))
		return mx_why(s, "no transparent huge pages: %s", strerror(errno));
	return true;
}

/* As large as a huge page, of small ones. */
static bool open_small(struct mx_subj *s, uint8_t *at)
{
	if (!open_anon(s, at))
		return false;
	return !madvise(at, length(s->back), MADV_NOHUGEPAGE) ||
	       mx_why(s, "no transparent huge pages: %s", strerror(errno));
}

static bool open_hugetlb(struct mx_subj *s, uint8_t *at)
{
	static bool asked;

	if (!asked)
		mx_put(T_NR_HUGEPAGES, "8");
	asked = true;
	return map_at(s, at, length(s->back), MAP_PRIVATE | MAP_ANONYMOUS | T_MAP_HUGETLB, -1) ||
	       mx_why(s, "no huge pages to be had");
}

static bool open_file(struct mx_subj *s, uint8_t *at, int flags)
{
	const char *dir = s->back->dir;
	char path[300];

	if (dir && dir[0] != '/')
		dir = getenv(dir);
	if (s->back->dir && !dir)
		return mx_why(s, "no such file system (%s is not set)", s->back->dir);
	if (dir) {
		snprintf(path, sizeof(path), "%s/prxe-matrix.XXXXXX", dir);
		s->fd = mkostemp(path, O_CLOEXEC);
		if (s->fd >= 0)
			unlink(path);
	} else {
		s->fd = memfd_create("prxe-matrix", MFD_CLOEXEC);
	}
	if (s->fd < 0 || ftruncate(s->fd, (off_t)length(s->back)))
		return mx_why(s, "a file: %s", strerror(errno));
	return map_at(s, at, length(s->back), flags, s->fd);
}

static bool open_shared(struct mx_subj *s, uint8_t *at)
{
	return open_file(s, at, MAP_SHARED);
}

/* A private mapping of a file: both the file and the model are filled with contents of its own. */
static bool open_private(struct mx_subj *s, uint8_t *at)
{
	uint8_t buf[SMALL];

	mx_fill(buf, SMALL, s->seed + MX_FILE_SEED);
	if (!open_file(s, at, MAP_PRIVATE))
		return false;
	if (pwrite(s->fd, buf, SMALL, 0) != (ssize_t)SMALL)
		return mx_why(s, "pwrite: %s", strerror(errno));
	return true;
}

const struct mx_back mx_anon = { "anon", 0, MX_PAGES, open_anon, NULL };
const struct mx_back mx_thp = { "thp", MX_HUGE, MX_PAGES, open_thp, NULL };
const struct mx_back mx_small = { "small pages", MX_HUGE, MX_PAGES, open_small, NULL };
const struct mx_back mx_hugetlb = { "hugetlb", MX_MOST, 0, open_hugetlb, NULL };
const struct mx_back mx_shm = { "shm", 0, MX_PAGES, open_shm, NULL };
const struct mx_back mx_memfd = { "memfd", 0, MX_PAGES, open_shared, NULL };
const struct mx_back mx_tmpfs = { "tmpfs", 0, MX_PAGES, open_shared, "/dev/shm" };
const struct mx_back mx_ext4 = { "ext4", 0, MX_PAGES, open_shared, "MX_EXT4" };
const struct mx_back mx_xfs = { "xfs", 0, MX_PAGES, open_shared, "MX_XFS" };
const struct mx_back mx_private = { "private", 0, MX_PAGES, open_private, "/dev/shm" };
const struct mx_back mx_private_ext4 = { "private ext4", 0, MX_PAGES, open_private, "MX_EXT4" };

static uint8_t *place(uint64_t no)
{
	static uint8_t *all;
	uint8_t *p;

	if (!all) {
		p = mmap(NULL, PLACES * ROOM + MX_HUGE, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (p == MAP_FAILED)
			t_die("mmap: %s", strerror(errno));
		all = (uint8_t *)(((uintptr_t)p + MX_HUGE - 1) & ~(MX_HUGE - 1));
	}
	return all + no % PLACES * ROOM + MX_HUGE;
}

static uint8_t *model(void)
{
	static uint8_t *m;

	return m ? m : (m = t_map(MX_MOST));
}

static bool bind(struct mx_subj *s)
{
	struct ibv_send_wr wr = { .opcode = IBV_WR_BIND_MW, .send_flags = IBV_SEND_SIGNALED }, *bad;
	struct t_ep *b = &s->rig->b[0];
	struct ibv_wc wc;

	s->mw = ibv_alloc_mw(s->rig->d->pd, IBV_MW_TYPE_2);
	if (!s->mw)
		return mx_why(s, "ibv_alloc_mw: %s", strerror(errno));
	wr.bind_mw.mw = s->mw;
	wr.bind_mw.rkey = ibv_inc_rkey(s->mw->rkey);
	wr.bind_mw.bind_info = (struct ibv_mw_bind_info){
		s->mr, (uintptr_t)s->m.va, s->m.len,
		IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ
	};
	if (ibv_post_send(b->qp, &wr, &bad) || !t_wait(b->scq, &wc, t_limit) || wc.status)
		return mx_why(s, "BIND_MW failed");
	s->mw_key = wr.bind_mw.rkey;
	return true;
}

bool mx_subj_keys(struct mx_subj *s)
{
	struct mx_rig *r = s->rig;

	if (!s->mr) {
		if (s->implicit && !r->all)
			r->all = ibv_reg_mr(r->d->pd, NULL, SIZE_MAX,
					    mx_access(r) | IBV_ACCESS_ON_DEMAND);
		s->mr = s->implicit ? r->all : ibv_reg_mr(r->d->pd, s->m.va, s->m.len,
							  mx_access(r) | IBV_ACCESS_ON_DEMAND);
	}
	if (!s->mr)
		return mx_why(s, "ibv_reg_mr: %s", strerror(errno));
	s->lkey = s->mr->lkey;
	s->rkey = s->mr->rkey;
	return !s->op->mw || s->mw || bind(s);
}

/* The window goes first: an MR cannot be deregistered while a window is bound to it. */
void mx_subj_forget_window(struct mx_subj *s)
{
	if (s->mw && ibv_dealloc_mw(s->mw))
		t_die("ibv_dealloc_mw: %s", strerror(errno));
	s->mw = NULL;
}


void mx_subj_forget_keys(struct mx_subj *s)
{
	mx_subj_forget_window(s);
	if (!s->mr)
		return;
	if (ibv_dereg_mr(s->mr))
		t_die("ibv_dereg_mr: %s", strerror(errno));
	if (s->implicit)
		s->rig->all = NULL;
	s->mr = NULL;
}

bool mx_subj_open(struct mx_subj *s)
{
	size_t len = length(s->back);
	uint8_t *at = place(s->seed);

	/*
	 * Small subjects lie across the end of 2 MiB, where a leaf of the mirror ends. Large ones
	 * begin there.
	 */
	if (len == SMALL)
		at += MX_HUGE - SMALL / 2;
	s->fd = s->uffd = s->sock = -1;
	s->m = (struct mx_mem){ .va = at, .model = model(), .len = len };
	s->at = (len == SMALL ? 2 * T_PAGE : MX_HUGE - 2 * T_PAGE) + 1 +
		t_mix(s->seed) % (T_PAGE - 2);
	if (!s->back->open(s, at))
		return false;
	s->m.visible = len;
	s->read = s->write = true;
	if (s->back->open == open_private)
		mx_fill(s->m.model, len, s->seed + MX_FILE_SEED);
	else
		memset(s->m.model, 0, len);
	return true;
}

void mx_subj_close(struct mx_subj *s)
{
	mx_subj_forget_window(s);
	if (s->mr && !s->implicit)
		mx_subj_forget_keys(s);
	if (mmap(s->m.va, s->m.len, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != s->m.va)
		t_die("mmap: %s", strerror(errno));
	if (s->spare)
		munmap(s->spare, s->m.len);
	if (s->fd >= 0)
		close(s->fd);
}

bool mx_subj_anon(struct mx_subj *s)
{
	mx_zero(s, 0, s->m.len);
	return open_anon(s, s->m.va);
}

void mx_zero(struct mx_subj *s, size_t from, size_t len)
{
	memset(s->m.model + from, 0, len);
}

bool mx_cpu_write(struct mx_subj *s, size_t from, size_t len)
{
	mx_fill(s->m.model + from, len, s->seed + from + 5);
	memcpy(s->m.va + from, s->m.model + from, len);
	return true;
}

/* An entry of pagemap or of kpageflags; 0: unknown. */
static uint64_t entry(const char *path, uint64_t index)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t v = 0;

	if (fd >= 0 && pread(fd, &v, 8, (off_t)(index * 8)) != 8)
		v = 0;
	if (fd >= 0)
		close(fd);
	return v;
}

bool mx_swapped(struct mx_subj *s)
{
	return entry("/proc/self/pagemap", (uintptr_t)(s->m.va + s->at) / T_PAGE) >> 62 & 1;
}

bool mx_huge(struct mx_subj *s)
{
	uint64_t pfn = entry("/proc/self/pagemap", (uintptr_t)(s->m.va + s->at) / T_PAGE) &
		       ((1ULL << 55) - 1);

	return pfn && entry("/proc/kpageflags", pfn) >> 22 & 1;
}
