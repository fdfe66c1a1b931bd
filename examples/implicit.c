// SPDX-License-Identifier: BSD-2-Clause
/*
 * An implicit MR: one registration for all memory that a process has, now and later. No buffer is
 * registered by itself, so the client sends from its stack, from a literal and from a fresh
 * malloc(), and the server's mailbox is just a part of its heap.
 *
 *   odp-implicit &     odp-implicit HOST
 */
#include "conn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct mailbox {
	char letter[3][64];
};

static struct odp_mr *all_memory(struct conn *c, unsigned int access)
{
	struct odp_mr *mr = odp_implicit(c->domain, access, &c->why);

	if (!mr)
		die("%s", c->why.text);
	return mr;
}

static void server(const struct options *o)
{
	struct mailbox *box = calloc(1, sizeof(*box));
	struct odp_mr *mr;
	struct conn c;

	conn_wait(&c, o->port);
	/*
	 * This key gives the client all memory of this process: give such a key only to peers that
	 * you trust.
	 */
	mr = all_memory(&c, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
	conn_accept(&c, &(struct memory){ .addr = (uintptr_t)box,
					  .length = sizeof(*box),
					  .rkey = odp_rkey(mr) });
	conn_served(&c);
	for (int i = 0; i < 3; i++)
		printf("%s\n", box->letter[i]);
	odp_dereg(mr);
	conn_close(&c);
	free(box);
}

static void client(const struct options *o)
{
	static const char literal[64] = "from a constant";
	char stack[64] = "from the stack";
	struct odp_mr *mr;
	struct conn c;
	char *heap;

	conn_connect(&c, o->host, o->port);
	mr = all_memory(&c, 0);
	heap = calloc(1, 64);
	strcpy(heap, "from memory that did not exist when it was registered");
	conn_write(&c, stack, 64, mr, 0);
	conn_write(&c, literal, 64, mr, 64);
	conn_write(&c, heap, 64, mr, 128);
	free(heap);
	odp_dereg(mr);
	conn_close(&c);
}

int main(int argc, char **argv)
{
	struct options o = { 0 };

	options_parse(&o, argc, argv, "one registration for all memory");
	if (o.host)
		client(&o);
	else
		server(&o);
	return 0;
}
