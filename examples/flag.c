// SPDX-License-Identifier: BSD-2-Clause
/*
 * Pinned or on demand, by one flag: the client writes into a buffer of the server.
 *
 *   odp-flag -m never &              odp-flag -m never HOST      pinned: as every RDMA program does
 *   odp-flag -m require &            odp-flag -m require HOST    on demand: no limit, no lock
 *
 * -n MiB (64). The two sides need not use the same policy.
 */
#include "conn.h"

#include <stdio.h>

#define CHUNK (1 << 20)

static void server(const struct options *o, size_t size)
{
	struct conn c;
	struct odp_mr *mr;
	void *buf = must_map(size);

	conn_wait(&c, o->port);
	mr = must_register(&c, buf, size, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE,
			   o->policy);
	conn_accept(&c, &(struct memory){
				.addr = (uintptr_t)buf, .length = size, .rkey = odp_rkey(mr) });
	conn_served(&c);
	if (!pattern_right(buf, size, 0))
		die("what arrived is not what was sent");
	printf("received %zu MiB, all right\n", size >> 20);
	odp_dereg(mr);
	conn_close(&c);
}

static void client(const struct options *o)
{
	struct conn c;
	struct odp_mr *mr;
	uint8_t *buf;

	conn_connect(&c, o->host, o->port);
	buf = must_map(c.remote.length);
	mr = must_register(&c, buf, c.remote.length, 0, o->policy);
	pattern_fill(buf, c.remote.length, 0);
	for (uint64_t at = 0; at < c.remote.length; at += CHUNK)
		conn_write(&c, buf + at, CHUNK, mr, at);
	printf("wrote %zu MiB\n", (size_t)c.remote.length >> 20);
	odp_dereg(mr);
	conn_close(&c);
}

int main(int argc, char **argv)
{
	struct options o = { .policy = ODP_AUTO, .number = 64 };

	options_parse(&o, argc, argv, "pinned or on demand: -m; size in MiB: -n");
	if (o.host)
		client(&o);
	else
		server(&o, o.number << 20);
	return 0;
}
