/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The connection of an example, so that the examples themselves are about memory: rdma_cm, one RC
 * queue pair, one peer. When the server accepts, it tells the client about one piece of its memory;
 * the client reads and writes it. When the client disconnects, both are done.
 */
#ifndef CONN_H
#define CONN_H

#include <odp/odp.h>
#include <rdma/rdma_cma.h>
#include <stdbool.h>

struct memory { /* what the server tells the client */
	uint64_t addr, length;
	uint32_t rkey;
};

struct conn {
	struct rdma_cm_id *id, *listener;
	struct odp_domain *domain;
	struct memory remote; /* client: the server's memory */
	struct odp_reason why; /* of the last failed call; pass it to your own calls, too */
};

/*
 * The command line "odp-x [-m POLICY] [-p PORT] [-n NUMBER] [-f FILE] [HOST]". Without HOST the
 * program is the server.
 */
struct options {
	enum odp_policy policy;
	const char *port, *host, *file;
	uint64_t number;
};
void options_parse(struct options *o, int argc, char **argv, const char *about);

/* If one of these functions fails, it prints what is wrong and ends the program. */

/* Server: wait for a client. Sets c->domain. */
void conn_wait(struct conn *c, const char *port);
/* Server: accept the client, and tell it about this memory. */
void conn_accept(struct conn *c, const struct memory *memory);
/* Server: wait until the client disconnects. */
void conn_served(struct conn *c);
/* Client: connect, and learn about the server's memory (c->remote). */
void conn_connect(struct conn *c, const char *host, const char *port);
/*
 * Client: transfer length bytes between addr (in mr) and the server's memory at offset, and wait
 * for the completion.
 */
void conn_write(struct conn *c, const void *addr, uint32_t length, struct odp_mr *mr,
		uint64_t offset);
void conn_read(struct conn *c, void *addr, uint32_t length, struct odp_mr *mr, uint64_t offset);
/* Call it after the last odp_dereg(). */
void conn_close(struct conn *c);

/* Register by policy, and print how it was registered. */
struct odp_mr *must_register(struct conn *c, void *addr, size_t length, unsigned int access,
			     enum odp_policy policy);
/* Map anonymous memory. It uses none before it is touched. */
void *must_map(size_t length);
void die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Contents that depend on the position, so that a byte from a wrong place is noticed. */
void pattern_fill(void *p, size_t length, uint64_t position);
bool pattern_right(const void *p, size_t length, uint64_t position);

#endif
