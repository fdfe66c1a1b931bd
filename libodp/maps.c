// SPDX-License-Identifier: BSD-2-Clause
/*
 * What is mapped in a range of this process, read from /proc/self/maps. Nothing is touched, so
 * nothing is faulted in, and a wrong address leads to an answer instead of a signal.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "internal.h"

struct vma {
	uint64_t from, to, offset, inode;
	unsigned int major, minor;
	char perms[8];
	const char *name;
};

static bool parse(char *line, struct vma *v)
{
	int at = 0;
	size_t n;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %" SCNx64 " %x:%x %" SCNu64 " %n", &v->from,
		   &v->to, v->perms, &v->offset, &v->major, &v->minor, &v->inode, &at) < 7)
		return false;
	v->name = line + at;
	n = strlen(line);
	if (n && line[n - 1] == '\n')
		line[n - 1] = '\0';
	return true;
}

/*
 * The length of the mapped file. The link in map_files leads to the file itself, even if it was
 * deleted or is a memfd, but following it needs privilege. Otherwise use the file's name; another
 * file may have that name by now, so compare device and inode.
 */
static bool file_size(const struct vma *v, uint64_t *size)
{
	char path[80];
	struct stat st;

	if (!v->inode)
		return false;
	snprintf(path, sizeof(path), "/proc/self/map_files/%" PRIx64 "-%" PRIx64, v->from, v->to);
	if (stat(path, &st)) {
		if (v->name[0] != '/' || stat(v->name, &st) || st.st_ino != v->inode)
			return false;
		if (major(st.st_dev) != v->major || minor(st.st_dev) != v->minor)
			return false;
	}
	if (!S_ISREG(st.st_mode))
		return false;
	*size = (uint64_t)st.st_size;
	return true;
}

static void note(struct map_finding *f, enum map_kind kind, const struct vma *v, uint64_t addr)
{
	f->kind = kind;
	f->addr = addr;
	f->from = v->from;
	f->to = v->to;
	memcpy(f->perms, v->perms, sizeof(f->perms));
	snprintf(f->name, sizeof(f->name), "%s", v->name);
}

/*
 * Memory that a device cannot use because it has no ordinary pages. Names tell some of it;
 * smaps_check() finds the rest by flags.
 */
static bool special_name(const char *name)
{
	return !strcmp(name, "[vvar]") || !strcmp(name, "[vsyscall]") ||
	       !strncmp(name, "[vvar_", 6) || !strncmp(name, "/secretmem", 10);
}

/* Check one mapping, which overlaps [at, last]. If it is wrong, note that and return false. */
static bool vma_fine(const struct vma *v, uint64_t at, uint64_t last, bool write,
		     struct map_finding *f)
{
	uint64_t page = page_size(), size, end;

	if (special_name(v->name)) {
		note(f, MAP_SPECIAL, v, at);
		return false;
	}
	if (v->perms[0] != 'r') {
		note(f, MAP_NO_READ, v, at);
		return false;
	}
	if (write && v->perms[1] != 'w') {
		note(f, MAP_NO_WRITE, v, at);
		return false;
	}
	if (!file_size(v, &size))
		return true;
	/* The page with the last byte of the file can be used to its end. */
	size = (size + page - 1) / page * page;
	end = size > v->offset ? v->from + (size - v->offset) : v->from;
	if (end < v->to && (last < v->to - 1 ? last : v->to - 1) >= end) {
		note(f, MAP_FILE_END, v, at > end ? at : end);
		file_size(v, &f->file_size);
		return false;
	}
	return true;
}

/*
 * Only the flags in smaps tell device mappings, and smaps is slow. So read it only if the range
 * looks right otherwise, and stop behind the range.
 */
static void smaps_check(uint64_t at, uint64_t last, struct map_finding *f)
{
	struct vma v = { .name = "" };
	char *line = NULL, name[128];
	size_t cap = 0;
	FILE *file;

	file = fopen("/proc/self/smaps", "re");
	if (!file)
		return;
	while (getline(&line, &cap, file) > 0) {
		if (parse(line, &v)) {
			if (v.from > last)
				break;
			/* v.name points into the line, which the next getline() overwrites. */
			snprintf(name, sizeof(name), "%s", v.name);
			v.name = name;
		} else if (v.to > at && !strncmp(line, "VmFlags:", 8) &&
			   (strstr(line, " io") || strstr(line, " pf"))) {
			note(f, MAP_SPECIAL, &v, v.from > at ? v.from : at);
			break;
		}
	}
	free(line);
	fclose(file);
}

void maps_check(uint64_t addr, uint64_t length, bool write, struct map_finding *f)
{
	uint64_t at = addr, last = addr + (length ? length - 1 : 0), before = 0;
	char *line = NULL;
	bool done = false;
	struct vma v = { .name = "" };
	size_t cap = 0;
	FILE *file;

	memset(f, 0, sizeof(*f));
	file = fopen("/proc/self/maps", "re");
	if (!file) {
		f->kind = MAP_UNREADABLE;
		return;
	}
	while (!done && getline(&line, &cap, file) > 0) {
		if (!parse(line, &v))
			continue;
		if (v.to <= at) {
			before = v.to;
			continue;
		}
		if (v.from > at)
			break;
		if (!vma_fine(&v, at, last, write, f))
			goto out;
		before = v.to;
		if (v.to > last)
			done = true;
		else
			at = v.to;
	}
	if (!done) {
		struct vma gap = { .from = before,
				   .to = v.from > at ? v.from : UINT64_MAX,
				   .name = "" };

		note(f, MAP_NOTHING, &gap, at);
	}
out:
	free(line);
	fclose(file);
	if (f->kind == MAP_FINE)
		smaps_check(addr, last, f);
}

void maps_words(const struct map_finding *f, char *buf, size_t size)
{
	const char *name = f->name[0] ? f->name : "an anonymous mapping";
	struct size_text s;

	switch (f->kind) {
	case MAP_FINE:
		snprintf(buf, size, "all of it is mapped");
		break;
	case MAP_UNREADABLE:
		snprintf(buf, size, "/proc/self/maps cannot be read");
		break;
	case MAP_NOTHING:
		if (f->to == UINT64_MAX)
			snprintf(buf, size, "nothing is mapped at %#" PRIx64 " nor after it",
				 f->addr);
		else
			snprintf(buf, size,
				 "nothing is mapped at %#" PRIx64 " (there is a hole from %#" PRIx64
				 " to %#" PRIx64 ")",
				 f->addr, f->from, f->to);
		break;
	case MAP_NO_READ:
		snprintf(buf, size, "the memory at %#" PRIx64 " is not readable (%s of %s)",
			 f->addr, f->perms, name);
		break;
	case MAP_NO_WRITE:
		snprintf(buf, size, "the memory at %#" PRIx64 " is read-only (%s of %s)", f->addr,
			 f->perms, name);
		break;
	case MAP_FILE_END:
		snprintf(buf, size,
			 "the memory at %#" PRIx64 " lies beyond the end of its file (%s, %s long)",
			 f->addr, name, size_words(f->file_size, &s));
		break;
	case MAP_SPECIAL:
		snprintf(buf, size,
			 "the memory at %#" PRIx64
			 " is a device's or secret: it cannot be paged on demand (%s)",
			 f->addr, f->name[0] ? f->name : "a device mapping");
		break;
	}
}
