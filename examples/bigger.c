// SPDX-License-Identifier: BSD-2-Clause
/*
 * A buffer larger than memory: the client fills all of it and reads all of it back, while the
 * kernel swaps the server's pages out and in, as it does for any program. Such a buffer cannot be
 * registered if it is pinned. The server needs swap.
 *
 *   odp-bigger -n 65536 &     odp-bigger HOST        -n MiB
 */
#include "conn.h"

#include <stdio.h>
#include <sys/resource.h>

#define CHUNK (1 << 20)

static void server(const struct options *o)
{
	size_t size = o->number << 20, gone;
	char *buf = must_map(size);
	struct rusage use;
	struct odp_mr *mr;
	struct conn c;

	conn_wait(&c, o->port);
	mr = must_register(&c, buf, size,
			   IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |
				   IBV_ACCESS_REMOTE_READ,
			   ODP_REQUIRE);
	conn_accept(&c, &(struct memory){
				.addr = (uintptr_t)buf, .length = size, .rkey = odp_rkey(mr) });
	conn_served(&c);
	getrusage(RUSAGE_SELF, &use);
	printf("served %zu MiB, with at most %ld MiB in memory\n", size >> 20, use.ru_maxrss >> 10);
	/*
	 * A program can evict memory that it will not need soon, before memory becomes scarce.
	 * Transfers to it may go on.
	 */
	if (!odp_evict(mr, buf, size, ODP_EVICT_PAGEOUT, &gone, &c.why))
		printf("%zu MiB are out of memory now. %s\n", gone >> 20, c.why.text);
	odp_dereg(mr);
	conn_close(&c);
}

static void client(const struct options *o)
{
	uint8_t *buf = must_map(CHUNK);
	struct odp_mr *mr;
	struct conn c;

	conn_connect(&c, o->host, o->port);
	mr = must_register(&c, buf, CHUNK, IBV_ACCESS_LOCAL_WRITE, ODP_PIN_FIRST);
	for (uint64_t at = 0; at < c.remote.length; at += CHUNK) {
		pattern_fill(buf, CHUNK, at);
		conn_write(&c, buf, CHUNK, mr, at);
	}
	for (uint64_t at = 0; at < c.remote.length; at += CHUNK) {
		conn_read(&c, buf, CHUNK, mr, at);
		if (!pattern_right(buf, CHUNK, at))
			die("wrong contents in MiB %llu", (unsigned long long)at >> 20);
	}
	printf("wrote and read back %zu MiB, all right\n", (size_t)c.remote.length >> 20);
	odp_dereg(mr);
	conn_close(&c);
}

int main(int argc, char **argv)
{
	struct options o = { .number = 1024 };

	options_parse(&o, argc, argv, "a buffer bigger than memory: -n MiB");
	if (o.host)
		client(&o);
	else
		server(&o);
	return 0;
}
