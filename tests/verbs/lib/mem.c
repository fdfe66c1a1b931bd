// SPDX-License-Identifier: BSD-2-Clause
/* Memory of each kind, and its registrations. */
#define _GNU_SOURCE
#include "t.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

const char *const t_kind_name[K_N] = { "pin", "odp", "shm" };

void *t_map(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		t_die("mmap of %zu bytes: %s", size, strerror(errno));
	return p;
}

void *t_map_between(size_t size)
{
	uint8_t *p;

	size = (size + T_PAGE - 1) & ~(T_PAGE - 1);
	p = t_map(size + 2 * T_PAGE);
	if (mprotect(p, T_PAGE, PROT_NONE) || mprotect(p + T_PAGE + size, T_PAGE, PROT_NONE))
		t_die("mprotect: %s", strerror(errno));
	return p + T_PAGE;
}

bool t_can_collapse(void)
{
	FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "r");
	unsigned long size = 0;

	if (f && fscanf(f, "%lu", &size) != 1)
		size = 0;
	if (f)
		fclose(f);
	return size == T_HUGE;
}

int t_uffd(void *p, size_t len)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { (uintptr_t)p, len },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg))
		t_die("userfaultfd: %s", strerror(errno));
	return fd;
}

struct ibv_mr *t_reg(struct ibv_pd *pd, void *p, size_t len, unsigned access)
{
	struct ibv_mr *mr = ibv_reg_mr(pd, p, len, access);

	if (!mr)
		t_die("ibv_reg_mr(%p, %zu, access %#x): %s", p, len, access, strerror(errno));
	return mr;
}

void t_arena_open(struct t_arena *a, enum t_kind kind, size_t size, struct ibv_pd *pd,
		  uint64_t other_iova, unsigned more_access)
{
	unsigned access = T_ALL_ACCESS | more_access | (kind == K_PIN ? 0 : IBV_ACCESS_ON_DEMAND);

	memset(a, 0, sizeof(*a));
	a->kind = kind;
	a->size = size;
	a->fd = -1;
	if (kind == K_SHM) {
		a->fd = memfd_create("arena", MFD_CLOEXEC);
		if (a->fd < 0 || ftruncate(a->fd, (off_t)size))
			t_die("memfd of %zu bytes: %s", size, strerror(errno));
		a->va = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, a->fd, 0);
		if (a->va == MAP_FAILED)
			t_die("mmap of a memfd: %s", strerror(errno));
	} else {
		a->va = t_map(size);
	}
	a->iova[0] = (uintptr_t)a->va;
	a->iova[1] = other_iova;
	a->mr[0] = t_reg(pd, a->va, size, access);
	a->mr[1] = ibv_reg_mr_iova(pd, a->va, size, other_iova, access);
	if (!a->mr[1])
		t_die("ibv_reg_mr_iova(%p, %zu, iova %#llx): %s", (void *)a->va, size,
		      (unsigned long long)other_iova, strerror(errno));
}

void t_arena_close(struct t_arena *a)
{
	for (int i = 0; i < 2; i++)
		if (a->mr[i] && ibv_dereg_mr(a->mr[i]))
			t_fail("ibv_dereg_mr: %s", strerror(errno));
	munmap(a->va, a->size);
	if (a->fd >= 0)
		close(a->fd);
}

void t_drop(void *p, size_t len)
{
	uintptr_t from = (uintptr_t)p & ~(T_PAGE - 1);
	uintptr_t to = ((uintptr_t)p + len + T_PAGE - 1) & ~(T_PAGE - 1);

	if (madvise((void *)from, to - from, MADV_DONTNEED))
		t_die("madvise(DONTNEED, %#lx, %lu): %s", from, to - from, strerror(errno));
}

int t_pageout(void *p, size_t len)
{
	return madvise(p, len, MADV_PAGEOUT) || madvise(p, len, MADV_PAGEOUT) ? -1 : 0;
}
