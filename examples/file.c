// SPDX-License-Identifier: BSD-2-Clause
/*
 * A file is served by RDMA without reading it first. It is mapped and registered at once, however
 * long it is, and its pages come from the disk as clients ask for them. The page cache is the only
 * cache.
 *
 *   odp-file -f FILE &     odp-file -f COPY HOST       -n BYTES: only the last BYTES of the file
 */
#define _GNU_SOURCE
#include "conn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK (1 << 20)

static size_t pages_of(size_t length)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (length + page - 1) / page;
}

static size_t pages_in_memory(void *p, size_t length)
{
	size_t pages = pages_of(length), n = 0;
	unsigned char *vec = malloc(pages);

	if (vec && !mincore(p, length, vec))
		for (size_t i = 0; i < pages; i++)
			n += vec[i] & 1;
	free(vec);
	return n;
}

static void server(const struct options *o)
{
	int fd = open(o->file ? o->file : "", O_RDONLY | O_CLOEXEC);
	struct odp_mr *mr;
	struct conn c;
	struct stat st;
	void *p;

	if (fd < 0 || fstat(fd, &st) || !st.st_size)
		die("-f: no such file, or an empty one");
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	posix_madvise(p, (size_t)st.st_size, POSIX_MADV_RANDOM); /* read only what is asked for */
	conn_wait(&c, o->port);
	mr = must_register(&c, p, (size_t)st.st_size, IBV_ACCESS_REMOTE_READ, ODP_REQUIRE);
	printf("in memory before: %zu pages\n", pages_in_memory(p, (size_t)st.st_size));
	conn_accept(&c, &(struct memory){ .addr = (uintptr_t)p,
					  .length = (uint64_t)st.st_size,
					  .rkey = odp_rkey(mr) });
	conn_served(&c);
	printf("in memory after: %zu pages of %zu\n", pages_in_memory(p, (size_t)st.st_size),
	       pages_of((size_t)st.st_size));
	odp_dereg(mr);
	conn_close(&c);
}

static void client(const struct options *o)
{
	int fd = open(o->file ? o->file : "", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	char *buf = must_map(CHUNK);
	struct odp_mr *mr;
	uint64_t left;
	struct conn c;

	if (fd < 0)
		die("-f: cannot write there");
	conn_connect(&c, o->host, o->port);
	mr = must_register(&c, buf, CHUNK, IBV_ACCESS_LOCAL_WRITE, ODP_AUTO);
	left = o->number && o->number < c.remote.length ? o->number : c.remote.length;
	while (left) {
		uint32_t n = left < CHUNK ? (uint32_t)left : CHUNK;

		conn_read(&c, buf, n, mr, c.remote.length - left);
		if (write(fd, buf, n) != (ssize_t)n)
			die("write: %s", strerror(errno));
		left -= n;
	}
	close(fd);
	odp_dereg(mr);
	conn_close(&c);
}

int main(int argc, char **argv)
{
	struct options o = { 0 };

	options_parse(&o, argc, argv, "a file: -f");
	if (o.host)
		client(&o);
	else
		server(&o);
	return 0;
}
