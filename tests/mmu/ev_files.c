// SPDX-License-Identifier: BSD-2-Clause
/*
 * Files behind ODP memory: shared and private mappings, truncation, holes, writeback.
 * EV_DIR says where the files are made (/tmp without it).
 */
#define _GNU_SOURCE
#include "ev.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGES 16
#define ROOM (PAGES * T_PAGE)
#define LEN (9 * T_PAGE + 321)

static char path[300];

static int new_file(uint64_t seq)
{
	uint8_t *buf = malloc(ROOM);
	const char *dir = getenv("EV_DIR");
	int fd;

	snprintf(path, sizeof(path), "%s/prxe-events.XXXXXX", dir && *dir ? dir : "/tmp");
	fd = mkstemp(path);
	if (fd < 0 || !buf)
		t_die("%s: %s", path, strerror(errno));
	unlink(path);
	t_pat_fill(buf, ROOM, seq, 0);
	if (write(fd, buf, ROOM) != (ssize_t)ROOM)
		t_die("write to %s: %s", path, strerror(errno));
	free(buf);
	return fd;
}

static void file_is(const char *what, int fd, size_t at, size_t len, uint64_t seq, uint64_t pos)
{
	uint8_t *buf = malloc(len);

	if (!buf || pread(fd, buf, len, (off_t)at) != (ssize_t)len)
		t_fail("%s: pread: %s", what, strerror(errno));
	else
		t_pat_check(what, buf, len, seq, pos);
	free(buf);
}

static void file_shared(struct t_dev *d)
{
	uint8_t *src = t_map(ROOM), *p;
	struct ibv_mr *ms, *m;
	struct t_ep a, b;
	int fd = new_file(400);

	t_pair_open(&a, d, &b, d, NULL);
	ms = t_reg(d->pd, src, ROOM, ODP_ALL);
	p = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		t_die("mmap of a file: %s", strerror(errno));
	m = t_reg(d->pd, p, ROOM, ODP_ALL);
	memset(src, 0, ROOM);
	if (ev_read("READ of a shared mapping, cold", &a, src, LEN, ms, p + 55, m))
		t_pat_check("READ of a shared mapping, cold", src, LEN, 400, 55);
	for (uint64_t i = 0; i < 4; i++) {
		/* WRITE, writeback (cleans, write-protects), WRITE again: each is in the file. */
		t_pat_fill(src, LEN, 410 + i, 0);
		if (ev_write("WRITE to a shared mapping", &a, src, LEN, ms, p + 55 + i, m))
			t_pat_check("WRITE to a shared mapping", p + 55 + i, LEN, 410 + i, 0);
		file_is("the file after the WRITE", fd, 55 + i, LEN, 410 + i, 0);
		if (msync(p, ROOM, MS_SYNC) || fdatasync(fd))
			t_fail("msync: %s", strerror(errno));
		if (i & 1) {
			t_drop(p, ROOM);
			/* read it from the disk again, where there is one */
			posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		}
		file_is("the file after writeback", fd, 55 + i, LEN, 410 + i, 0);
		file_is("the file behind the WRITE", fd, 60 + LEN, ROOM - 60 - LEN, 400, 60 + LEN);
	}
	/* Writes by write(2) are seen at once. */
	t_pat_fill(src, LEN, 420, 0);
	if (pwrite(fd, src, LEN, 5000) != (ssize_t)LEN)
		t_die("pwrite: %s", strerror(errno));
	memset(src, 0, LEN);
	if (ev_read("READ after write(2)", &a, src, LEN, ms, p + 5000, m))
		t_pat_check("READ after write(2)", src, LEN, 420, 0);

	/* A hole: READ gives zeroes, WRITE fills it again. */
	if (!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2 * T_PAGE, 2 * T_PAGE)) {
		if (ev_read("READ of a punched hole", &a, src, LEN, ms, p, m))
			t_zero_check("READ of a punched hole", src + 2 * T_PAGE, 2 * T_PAGE);
		t_pat_fill(src, LEN, 421, 0);
		if (ev_write("WRITE into a punched hole", &a, src, LEN, ms, p + 1, m))
			t_pat_check("WRITE into a punched hole", p + 1, LEN, 421, 0);
		file_is("the file after the WRITE into a hole", fd, 1, LEN, 421, 0);
	}
	/* Truncation: an error behind the end, fine before it; and when the file grows, zeroes. */
	if (ftruncate(fd, 4 * T_PAGE))
		t_die("ftruncate: %s", strerror(errno));
	ev_must("WRITE behind the end of the file", &a, &b, IBV_WR_RDMA_WRITE, src, 100, ms,
		p + 5 * T_PAGE, m, IBV_WC_REM_ACCESS_ERR);
	ev_must("READ behind the end of the file", &a, &b, IBV_WR_RDMA_READ, src, 100, ms,
		p + 5 * T_PAGE, m, IBV_WC_REM_ACCESS_ERR);
	ev_must("WRITE from behind the end of the file", &a, &b, IBV_WR_RDMA_WRITE, p + 5 * T_PAGE,
		100, m, src, ms, IBV_WC_LOC_PROT_ERR);
	t_pat_fill(src, 2 * T_PAGE, 422, 0);
	if (ev_write("WRITE before the end of the file", &a, src, 2 * T_PAGE, ms, p + T_PAGE, m))
		file_is("the file after truncation", fd, T_PAGE, 2 * T_PAGE, 422, 0);
	if (ftruncate(fd, ROOM))
		t_die("ftruncate: %s", strerror(errno));
	if (ev_read("READ after the file has grown", &a, src, 2 * T_PAGE, ms, p + 5 * T_PAGE, m))
		t_zero_check("READ after the file has grown", src, 2 * T_PAGE);
	ibv_dereg_mr(m);
	ibv_dereg_mr(ms);
	munmap(p, ROOM);
	munmap(src, ROOM);
	close(fd);
	t_ep_close(&a);
	t_ep_close(&b);
}

static void file_private(struct t_dev *d)
{
	uint8_t *src = t_map(ROOM), *p;
	struct ibv_mr *ms, *m;
	struct t_ep a, b;
	int fd = new_file(430);

	t_pair_open(&a, d, &b, d, NULL);
	ms = t_reg(d->pd, src, ROOM, ODP_ALL);
	p = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		t_die("mmap of a file: %s", strerror(errno));
	m = t_reg(d->pd, p, ROOM, ODP_ALL);
	if (ev_read("READ of a private mapping, cold", &a, src, LEN, ms, p + 99, m))
		t_pat_check("READ of a private mapping, cold", src, LEN, 430, 99);
	t_pat_fill(src, LEN, 431, 0);
	if (ev_write("WRITE to a private mapping", &a, src, LEN, ms, p + 99, m))
		t_pat_check("WRITE to a private mapping", p + 99, LEN, 431, 0);
	file_is("the file, which must not change", fd, 0, ROOM, 430, 0);
	t_pat_check("the private pages behind", p + 99 + LEN, ROOM - 99 - LEN, 430, 99 + LEN);
	t_drop(p, ROOM); /* the file's contents come back */
	if (ev_read("READ after DONTNEED", &a, src, LEN, ms, p + 99, m))
		t_pat_check("READ after DONTNEED", src, LEN, 430, 99);
	ibv_dereg_mr(m);
	ibv_dereg_mr(ms);
	munmap(p, ROOM);
	munmap(src, ROOM);
	close(fd);
	t_ep_close(&a);
	t_ep_close(&b);
}

const struct t_test ev_files[] = {
	{ "file_shared", file_shared, "a shared file mapping: writeback, holes, truncation" },
	{ "file_private", file_private, "a private file mapping" },
	{ 0 },
};
