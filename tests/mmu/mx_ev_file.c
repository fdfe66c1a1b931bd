// SPDX-License-Identifier: BSD-2-Clause
/*
 * Files: shared mappings of memfd, tmpfs, ext4 and xfs files, and private ones. After each
 * operation the file must equal memory.
 */
#define _GNU_SOURCE
#include "mx.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define LEN (MX_PAGES * T_PAGE)

static bool sys(struct mx_subj *s, const char *what, long rc)
{
	return rc >= 0 || mx_why(s, "%s: %s", what, strerror(errno));
}

static bool file_is_model(struct mx_subj *s)
{
	uint8_t buf[LEN];
	struct mx_mem file = { .va = buf, .model = s->m.model, .len = LEN, .visible = LEN };

	if (pread(s->fd, buf, LEN, 0) != (ssize_t)LEN)
		return mx_why(s, "pread: %s", strerror(errno));
	return mx_same(s, "file", &file);
}

static bool cpu_writes(struct mx_subj *s)
{
	return mx_cpu_write(s, T_PAGE + 9, 3 * T_PAGE);
}

static bool write_file(struct mx_subj *s)
{
	mx_fill(s->m.model + T_PAGE - 3, 4 * T_PAGE, s->seed + 5);
	return sys(s, "pwrite", pwrite(s->fd, s->m.model + T_PAGE - 3, 4 * T_PAGE, T_PAGE - 3));
}

static bool other_mapping(struct mx_subj *s)
{
	uint8_t *p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, 0);

	if (p == MAP_FAILED)
		return mx_why(s, "mmap: %s", strerror(errno));
	mx_fill(s->m.model, LEN, s->seed + 5);
	memcpy(p, s->m.model, LEN);
	munmap(p, LEN);
	return true;
}

static bool writeback(struct mx_subj *s)
{
	return sys(s, "msync", msync(s->m.va, LEN, MS_SYNC));
}

/* Clean, unmapped, out of the page cache: what comes back is what the disk has. */
static bool reread(struct mx_subj *s)
{
	return writeback(s) && sys(s, "MADV_DONTNEED", madvise(s->m.va, LEN, MADV_DONTNEED)) &&
	       sys(s, "fdatasync", fdatasync(s->fd)) &&
	       sys(s, "fadvise", -posix_fadvise(s->fd, 0, 0, POSIX_FADV_DONTNEED));
}

static bool written_back(struct mx_subj *s)
{
	return reread(s) && mx_same(s, "subject, read again", &s->m) && file_is_model(s);
}

static bool pageout(struct mx_subj *s)
{
	return sys(s, "MADV_PAGEOUT", t_pageout(s->m.va, LEN));
}

static bool hole(struct mx_subj *s)
{
	mx_zero(s, 2 * T_PAGE, 3 * T_PAGE);
	return sys(s, "punch hole", fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					      2 * T_PAGE, 3 * T_PAGE));
}

static bool remove_some(struct mx_subj *s)
{
	mx_zero(s, 3 * T_PAGE, 4 * T_PAGE);
	return sys(s, "MADV_REMOVE", madvise(s->m.va + 3 * T_PAGE, 4 * T_PAGE, MADV_REMOVE));
}

/*
 * The file ends in the page before the first one that operations touch: the rest of that page must
 * be zero when the file grows again.
 */
static bool truncated(struct mx_subj *s)
{
	s->read = s->write = false;
	s->m.visible = T_PAGE + 77;
	return sys(s, "ftruncate", ftruncate(s->fd, T_PAGE + 77));
}

static bool grows(struct mx_subj *s)
{
	s->read = s->write = true;
	s->m.visible = LEN;
	mx_zero(s, T_PAGE + 77, LEN - T_PAGE - 77);
	return sys(s, "ftruncate", ftruncate(s->fd, LEN));
}

static bool truncate_grow(struct mx_subj *s)
{
	return truncated(s) && grows(s);
}

/*
 * A clone shares the file's blocks: what is written to the subject must get new blocks, even where
 * its pages were dirty before.
 */
static bool cloned(struct mx_subj *s)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/clone", getenv(s->back->dir));
	s->clone = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (s->clone < 0 || ioctl(s->clone, FICLONE, s->fd))
		return mx_why(s, "FICLONE: %s", strerror(errno));
	memcpy(s->twin, s->m.model, LEN);
	return true;
}

static bool clone_unchanged(struct mx_subj *s)
{
	uint8_t buf[LEN];
	struct mx_mem file = { .va = buf, .model = s->twin, .len = LEN, .visible = LEN };

	if (!written_back(s))
		return false;
	if (posix_fadvise(s->clone, 0, 0, POSIX_FADV_DONTNEED) ||
	    pread(s->clone, buf, LEN, 0) != (ssize_t)LEN)
		return mx_why(s, "the clone cannot be read");
	return mx_same(s, "the file's clone", &file);
}

static void clone_end(struct mx_subj *s)
{
	if (s->clone > 0)
		close(s->clone);
}

#define FILE_EVENTS(fs, back) \
	{ fs " CPU write", "the CPU writes", back, .fire = cpu_writes, .check = file_is_model }, \
	{ fs " write(2)", "write(2) into the file", \
	  back, .fire = write_file, .check = file_is_model }, \
	{ fs " other mapping", "the CPU writes through another mapping", \
	  back, .fire = other_mapping, .check = file_is_model }, \
	{ fs " writeback", "msync; after the operation again, and all is read anew", \
	  back, .fire = writeback, .check = written_back }, \
	{ fs " read anew", "written back, unmapped, out of the cache", \
	  back, .fire = reread, .check = written_back }, \
	{ fs " MADV_PAGEOUT", "reclaimed", back, .fire = pageout, .check = file_is_model }, \
	{ fs " hole", "FALLOC_FL_PUNCH_HOLE: zeroes, then new pages", \
	  back, .fire = hole, .check = file_is_model }, \
	{ fs " MADV_REMOVE", "MADV_REMOVE", back, .fire = remove_some, .check = file_is_model }, \
	{ fs " truncate", "truncated below what is used; then grown: zeroes", \
	  back, .fire = truncated, .mend = grows, .check = file_is_model }, \
	{ fs " truncate, grow", "truncated and grown again before the operation", \
	  back, .fire = truncate_grow, .check = file_is_model }

/* ---- private mappings: the file never changes ---- */

static void file_model(struct mx_subj *s, uint8_t *buf)
{
	mx_fill(buf, LEN, s->seed + MX_FILE_SEED);
}

static bool file_unchanged(struct mx_subj *s)
{
	uint8_t want[LEN], got[LEN];
	struct mx_mem file = { .va = got, .model = want, .len = LEN, .visible = LEN };

	file_model(s, want);
	if (pread(s->fd, got, LEN, 0) != (ssize_t)LEN)
		return mx_why(s, "pread: %s", strerror(errno));
	return mx_same(s, "file behind a private mapping", &file);
}

static bool nothing(struct mx_subj *s)
{
	(void)s;
	return true;
}

static bool private_cow(struct mx_subj *s)
{
	return mx_cpu_write(s, 3 * T_PAGE + 5, T_PAGE);
}

static bool private_drop(struct mx_subj *s)
{
	file_model(s, s->m.model);
	return sys(s, "MADV_DONTNEED", madvise(s->m.va, LEN, MADV_DONTNEED));
}

/*
 * Pages that the first operation wrote are private now. The others are still the file's, and change
 * with it.
 */
static bool private_write(struct mx_subj *s)
{
	uint8_t buf[LEN];

	mx_fill(buf, LEN, s->seed + 5);
	for (size_t off = 0; off < LEN; off += T_PAGE)
		if (!s->done_len || off >= s->done_at + s->done_len || off + T_PAGE <= s->done_at)
			memcpy(s->m.model + off, buf + off, T_PAGE);
	return sys(s, "pwrite", pwrite(s->fd, buf, LEN, 0));
}

static bool private_grows(struct mx_subj *s)
{
	return grows(s);
}

#define PRIVATE_EVENTS(fs, back) \
	{ "private " fs ", first touch", "nobody has touched it", \
	  back, .cold = true, .fire = nothing, .check = file_unchanged }, \
	{ "private " fs ", RDMA read", "an RDMA READ of all of it first", \
	  back, .cold = true, .fire = mx_read_all, .check = file_unchanged }, \
	{ "private " fs ", CPU COW", "the CPU writes a page of it", \
	  back, .unfilled = true, .fire = private_cow, .check = file_unchanged }, \
	{ "private " fs ", DONTNEED", "the file's contents are back", \
	  back, .fire = private_drop, .check = file_unchanged }, \
	{ "private " fs ", write(2)", "the file changes", \
	  back, .unfilled = true, .fire = private_write }, \
	{ "private " fs ", truncate", "truncated; then grown: zeroes, private pages too", \
	  back, .unfilled = true, .fire = truncated, .mend = private_grows }

const struct mx_event mx_ev_file[] = {
	FILE_EVENTS("memfd", &mx_memfd),
	FILE_EVENTS("tmpfs", &mx_tmpfs),
	FILE_EVENTS("ext4", &mx_ext4),
	FILE_EVENTS("xfs", &mx_xfs),
	{ "xfs clone", "a clone shares its blocks: FICLONE",
	  &mx_xfs, .fire = cloned, .check = clone_unchanged, .end = clone_end },
	PRIVATE_EVENTS("tmpfs", &mx_private),
	PRIVATE_EVENTS("ext4", &mx_private_ext4),
	{ "shmem CPU write", "MAP_SHARED and anonymous: the CPU writes",
	  &mx_shm, .fire = cpu_writes },
	{ "shmem MADV_REMOVE", "MAP_SHARED and anonymous: MADV_REMOVE",
	  &mx_shm, .fire = remove_some },
	{ "shmem MADV_PAGEOUT", "MAP_SHARED and anonymous: swapped out", &mx_shm, .fire = pageout },
	{ 0 },
};
