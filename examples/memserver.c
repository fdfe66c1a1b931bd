// SPDX-License-Identifier: BSD-2-Clause
/*
 * A memory server over userfaultfd: the client reads a huge memory that does not exist. When a
 * transfer touches a page, a thread of the server makes the page: it could also read it from a
 * disk, decompress it, or fetch it from another machine. The device waits for the page.
 *
 *   odp-memserver -n 64 &     odp-memserver HOST       -n GiB
 *
 * The kernel handles the faults of a device, so this needs CAP_SYS_PTRACE, or 1 in
 * /proc/sys/vm/unprivileged_userfaultfd.
 */
#define _GNU_SOURCE
#include "conn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define READS 128

static int uffd;
static uint64_t base;
static size_t page; /* its size: not 4 KiB everywhere */
static unsigned long made;

static void *pager(void *arg)
{
	char *buf = must_map(page);
	struct uffd_msg msg;

	(void)arg;
	while (read(uffd, &msg, sizeof(msg)) == (ssize_t)sizeof(msg)) {
		uint64_t at = msg.arg.pagefault.address & ~(page - 1);
		struct uffdio_copy copy = { .dst = at, .src = (uintptr_t)buf, .len = page };

		if (msg.event != UFFD_EVENT_PAGEFAULT)
			continue;
		pattern_fill(buf, page, at - base);
		if (!ioctl(uffd, UFFDIO_COPY, &copy))
			made++;
		else if (errno != EEXIST) /* two faults on one page: the other one was first */
			die("UFFDIO_COPY: %s", strerror(errno));
	}
	return NULL;
}

static void serve_faults(void *buf, size_t size)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .range = { .start = (uintptr_t)buf, .len = size },
				       .mode = UFFDIO_REGISTER_MODE_MISSING };
	pthread_t thread;

	uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) || ioctl(uffd, UFFDIO_REGISTER, &reg))
		die("userfaultfd: %s (privilege? see vm.unprivileged_userfaultfd)",
		    strerror(errno));
	base = (uintptr_t)buf;
	if (pthread_create(&thread, NULL, pager, NULL))
		die("no thread");
	pthread_detach(thread);
}

static void server(const struct options *o)
{
	size_t size = o->number << 30;
	void *buf = must_map(size);
	struct odp_mr *mr;
	struct conn c;

	serve_faults(buf, size);
	conn_wait(&c, o->port);
	mr = must_register(&c, buf, size, IBV_ACCESS_REMOTE_READ, ODP_REQUIRE);
	conn_accept(&c, &(struct memory){
				.addr = (uintptr_t)buf, .length = size, .rkey = odp_rkey(mr) });
	conn_served(&c);
	printf("made %lu pages of %zu GiB\n", made, size >> 30);
	odp_dereg(mr);
	conn_close(&c);
}

static void client(const struct options *o)
{
	uint8_t *buf = must_map(2 * page);
	struct odp_mr *mr;
	struct conn c;

	conn_connect(&c, o->host, o->port);
	mr = must_register(&c, buf, 2 * page, IBV_ACCESS_LOCAL_WRITE, ODP_AUTO);
	srand(1);
	for (int i = 0; i < READS; i++) {
		/* Any address, so most reads cross the end of a page. */
		uint64_t at = (((uint64_t)rand() << 31) + (uint64_t)rand()) %
			      (c.remote.length - page);

		conn_read(&c, buf, page, mr, at);
		if (!pattern_right(buf, page, at))
			die("wrong contents at %#llx", (unsigned long long)at);
	}
	printf("read %d times a page from %zu GiB, all right\n", READS,
	       (size_t)c.remote.length >> 30);
	odp_dereg(mr);
	conn_close(&c);
}

int main(int argc, char **argv)
{
	struct options o = { .number = 64 };

	page = (size_t)sysconf(_SC_PAGESIZE);
	options_parse(&o, argc, argv, "memory that is made when it is touched: -n GiB");
	if (o.host)
		client(&o);
	else
		server(&o);
	return 0;
}
