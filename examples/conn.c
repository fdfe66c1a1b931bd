// SPDX-License-Identifier: BSD-2-Clause
#define _GNU_SOURCE
#include "conn.h"

#include <errno.h>
#include <infiniband/verbs.h>
#include <rdma/rdma_verbs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

void options_parse(struct options *o, int argc, char **argv, const char *about)
{
	int c;

	while ((c = getopt(argc, argv, "m:p:n:f:h")) != -1) {
		switch (c) {
		case 'm':
			if (odp_policy_parse(optarg, &o->policy))
				die("-m: auto, prefer, require, pin-first or never");
			break;
		case 'p': o->port = optarg; break;
		case 'n': o->number = strtoull(optarg, NULL, 0); break;
		case 'f': o->file = optarg; break;
		default:
			die("%s\nusage: %s [-m POLICY] [-p PORT] [-n NUMBER] [-f FILE] [HOST]   "
			    "without HOST: the server",
			    about, argv[0]);
		}
	}
	o->host = argv[optind];
	o->port = o->port ? o->port : "7471";
	setvbuf(stdout, NULL, _IOLBF, 0);
}

static const struct rdma_conn_param params = {
	.responder_resources = 4, /* RDMA READs at a time */
	.initiator_depth = 4,
	.retry_count = 7,
	.rnr_retry_count = 7, /* no limit: a fault of the peer may take long */
};

static struct rdma_cm_id *endpoint(const char *host, const char *port)
{
	struct rdma_addrinfo hints = { .ai_port_space = RDMA_PS_TCP,
				       .ai_flags = host ? 0 : RAI_PASSIVE },
			     *res;
	struct ibv_qp_init_attr qp = {
		.cap = { .max_send_wr = 16,
			 .max_recv_wr = 1,
			 .max_send_sge = 1,
			 .max_recv_sge = 1 },
		.qp_type = IBV_QPT_RC,
		.sq_sig_all = 1,
	};
	struct rdma_cm_id *id;

	if (rdma_getaddrinfo(host, port, &hints, &res))
		die("%s port %s: %s", host ? host : "any address", port, strerror(errno));
	if (rdma_create_ep(&id, res, NULL, &qp))
		die("no RDMA device for %s: %s", host ? host : "any address", strerror(errno));
	rdma_freeaddrinfo(res);
	return id;
}

static void open_domain(struct conn *c)
{
	c->domain = odp_domain_open(c->id->pd, &c->why);
	if (!c->domain)
		die("%s", c->why.text);
}

void conn_wait(struct conn *c, const char *port)
{
	memset(c, 0, sizeof(*c));
	c->listener = endpoint(NULL, port);
	if (rdma_listen(c->listener, 1))
		die("listen: %s", strerror(errno));
	printf("waiting on port %s\n", port);
	if (rdma_get_request(c->listener, &c->id))
		die("request: %s", strerror(errno));
	open_domain(c);
}

void conn_accept(struct conn *c, const struct memory *memory)
{
	struct rdma_conn_param p = params;

	p.private_data = memory;
	p.private_data_len = sizeof(*memory);
	if (rdma_accept(c->id, &p))
		die("accept: %s", strerror(errno));
}

void conn_served(struct conn *c)
{
	struct rdma_cm_event *event;
	bool left = false;

	while (!left) {
		if (rdma_get_cm_event(c->id->channel, &event))
			die("event: %s", strerror(errno));
		left = event->event == RDMA_CM_EVENT_DISCONNECTED ||
		       event->event == RDMA_CM_EVENT_DEVICE_REMOVAL;
		rdma_ack_cm_event(event);
	}
}

void conn_connect(struct conn *c, const char *host, const char *port)
{
	struct rdma_conn_param p = params;

	memset(c, 0, sizeof(*c));
	c->id = endpoint(host, port);
	if (rdma_connect(c->id, &p))
		die("connecting to %s: %s", host, strerror(errno));
	if (c->id->event->param.conn.private_data_len < sizeof(c->remote))
		die("%s said nothing about its memory", host);
	memcpy(&c->remote, c->id->event->param.conn.private_data, sizeof(c->remote));
	open_domain(c);
}

static void transfer(struct conn *c, enum ibv_wr_opcode opcode, uint64_t addr, uint32_t length,
		     struct odp_mr *mr, uint64_t offset)
{
	struct ibv_sge sge = { .addr = addr, .length = length, .lkey = odp_lkey(mr) };
	struct ibv_send_wr wr = { .sg_list = &sge,
				  .num_sge = 1,
				  .opcode = opcode,
				  .send_flags = IBV_SEND_SIGNALED },
			   *bad;
	struct odp_explanation what;
	struct ibv_wc wc;
	int ret;

	wr.wr.rdma.remote_addr = c->remote.addr + offset;
	wr.wr.rdma.rkey = c->remote.rkey;
	ret = ibv_post_send(c->id->qp, &wr, &bad);
	if (ret)
		die("post: %s", strerror(ret));
	if (rdma_get_send_comp(c->id, &wc) < 1)
		die("no completion: %s", strerror(errno));
	if (wc.status == IBV_WC_SUCCESS)
		return;
	odp_explain_send(c->domain, &wc, &wr, 0, &what);
	die("%s", what.text);
}

void conn_write(struct conn *c, const void *addr, uint32_t length, struct odp_mr *mr,
		uint64_t offset)
{
	transfer(c, IBV_WR_RDMA_WRITE, (uintptr_t)addr, length, mr, offset);
}

void conn_read(struct conn *c, void *addr, uint32_t length, struct odp_mr *mr, uint64_t offset)
{
	transfer(c, IBV_WR_RDMA_READ, (uintptr_t)addr, length, mr, offset);
}

void conn_close(struct conn *c)
{
	rdma_disconnect(c->id);
	if (odp_domain_close(c->domain))
		die("an MR is left");
	rdma_destroy_ep(c->id);
	if (c->listener)
		rdma_destroy_ep(c->listener);
}

struct odp_mr *must_register(struct conn *c, void *addr, size_t length, unsigned int access,
			     enum odp_policy policy)
{
	struct odp_mr *mr = odp_reg(c->domain, addr, length, access, policy, &c->why);

	if (!mr)
		die("%s", c->why.text);
	printf("registered %s\n", odp_mr_reason(mr));
	return mr;
}

void *must_map(size_t length)
{
	void *p = mmap(NULL, length, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		die("mapping %zu bytes: %s", length, strerror(errno));
	return p;
}

static uint64_t pattern_word(uint64_t index)
{
	index = (index + 1) * 0x9e3779b97f4a7c15;
	return index ^ index >> 29;
}

static uint8_t pattern_byte(uint64_t position)
{
	return (uint8_t)(pattern_word(position / 8) >> position % 8 * 8);
}

/* Compare words where both are aligned, because this runs over hundreds of megabytes. */
void pattern_fill(void *p, size_t length, uint64_t position)
{
	uint8_t *b = p;
	size_t i = 0;

	while (i < length) {
		uint64_t word = pattern_word((position + i) / 8);

		if ((position + i) % 8 == 0 && length - i >= 8) {
			memcpy(b + i, &word, 8);
			i += 8;
		} else {
			b[i] = pattern_byte(position + i);
			i++;
		}
	}
}

bool pattern_right(const void *p, size_t length, uint64_t position)
{
	const uint8_t *b = p;
	size_t i = 0;

	while (i < length) {
		uint64_t word = pattern_word((position + i) / 8);

		if ((position + i) % 8 == 0 && length - i >= 8) {
			if (memcmp(b + i, &word, 8))
				return false;
			i += 8;
		} else {
			if (b[i] != pattern_byte(position + i))
				return false;
			i++;
		}
	}
	return true;
}
