// SPDX-License-Identifier: BSD-2-Clause
/*
 * Messages over a network that loses or reorders packets (the caller sees to that): their data must
 * be right, and what was not lost must not be sent again.
 *
 * Both ends are in this process. Of RDMA WRITE and SEND the packets of the sender are counted, of
 * RDMA READ those of the responder: they send nothing but data. -x says how many more than needed
 * there may be; -k: the link keeps the order, so no packet need come early.
 * Each message has contents of its own, which are checked when it has completed.
 */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "t.h"

#define DEPTH 16 /* messages under way: at path MTU 4096, as many packets as the window has */

static struct t_dev *dev[2];
static struct t_ep ep[2];
static uint32_t len = 65536, mtu_bytes = 4096;

static const struct {
	const char *name;
	enum ibv_wr_opcode op;
} ops[] = {
	{ "write", IBV_WR_RDMA_WRITE },
	{ "send", IBV_WR_SEND },
	{ "read", IBV_WR_RDMA_READ },
};

struct room {
	uint8_t *p;
	struct ibv_mr *mr;
};

static struct room room_of(struct t_dev *d)
{
	struct room r = { .p = t_map((size_t)DEPTH * len) };

	r.mr = t_reg(d->pd, r.p, (size_t)DEPTH * len, T_ALL_ACCESS);
	return r;
}

static void start(const struct room r[2], enum ibv_wr_opcode op, uint64_t i)
{
	bool read = op == IBV_WR_RDMA_READ;
	uint8_t *a = r[0].p + i % DEPTH * len, *b = r[1].p + i % DEPTH * len;
	int err = 0;

	t_pat_fill(read ? b : a, len, i, 0);
	memset(read ? a : b, 0, len);
	if (op == IBV_WR_SEND)
		err = t_recv_one(&ep[1], b, len, r[1].mr->lkey, i);
	err = err ?: t_post_one(&ep[0], op, a, len, r[0].mr->lkey, (uintptr_t)b, r[1].mr->rkey, i);
	if (err)
		t_die("message %llu: post: %s", (unsigned long long)i, strerror(err));
}

static bool end(const struct room r[2], enum ibv_wr_opcode op, uint64_t i)
{
	const uint8_t *at = r[op != IBV_WR_RDMA_READ].p + i % DEPTH * len;
	struct ibv_wc wc;

	if (!t_expect("a message", ep[0].scq, IBV_WC_SUCCESS, &wc))
		return false;
	if (wc.wr_id != i)
		t_fail("message %llu completed instead of %llu", (unsigned long long)wc.wr_id,
		       (unsigned long long)i);
	if (op == IBV_WR_SEND && !t_expect("its receive", ep[1].rcq, IBV_WC_SUCCESS, &wc))
		return false;
	return t_pat_check("what arrived", at, len, i, 0);
}

/* How many packets came early, at both ends. A driver that does not count them: -1. */
static int64_t came_early(void)
{
	int64_t n = 0;

	for (int i = 0; i < 2; i++) {
		char path[160];

		snprintf(path, sizeof(path), "/sys/class/infiniband/%s/ports/1/hw_counters/%s",
			 dev[i]->name, "rcvd_early");
		if (access(path, R_OK))
			return -1;
		n += (int64_t)t_counter(dev[i]->name, "rcvd_early");
	}
	return n;
}

/*
 * @num messages; at most @more percent of their packets may be sent more often than once. Unless
 * the link is @ordered, some packets have to come early.
 */
static void run(int o, uint64_t num, double more, bool ordered)
{
	enum ibv_wr_opcode op = ops[o].op;
	const char *sender = dev[op == IBV_WR_RDMA_READ]->name;
	uint64_t need = num * ((len + mtu_bytes - 1) / mtu_bytes), sent, again;
	int64_t early;
	struct room r[2] = { room_of(dev[0]), room_of(dev[1]) };
	double from;

	t_context("%s", ops[o].name);
	sent = t_counter(sender, "sent_pkts");
	again = t_counter(dev[0]->name, "retransmits");
	early = came_early();
	from = t_now();
	for (uint64_t i = 0; i < num + DEPTH; i++) {
		if (i >= DEPTH && !end(r, op, i - DEPTH))
			return;
		if (i < num)
			start(r, op, i);
	}
	from = t_now() - from;
	sent = t_counter(sender, "sent_pkts") - sent;
	again = t_counter(dev[0]->name, "retransmits") - again;
	early = came_early() - early;
	t_note("%-5s %llu messages of %u bytes, %.2f s: %llu packets for %llu (+%.1f %%), went back"
	       " %llu times, %lld came early", ops[o].name, (unsigned long long)num, len, from,
	       (unsigned long long)sent, (unsigned long long)need,
	       100.0 * ((double)sent - (double)need) / (double)need, (unsigned long long)again,
	       (long long)early);
	if (sent < need)
		t_fail("%llu packets cannot carry that", (unsigned long long)sent);
	if ((double)sent > (double)need * (1 + more / 100))
		t_fail("more than %.1f %% of the packets were sent again", more);
	if (!ordered && !early && came_early() >= 0)
		t_fail("no packet came early: nothing was tested");
	for (int i = 0; i < 2; i++) {
		ibv_dereg_mr(r[i].mr);
		munmap(r[i].p, (size_t)DEPTH * len);
	}
}

int main(int argc, char **argv)
{
	const char *name[2] = { "wireA", "wireB" }, *list = NULL;
	struct t_opt o = { .depth = 2 * DEPTH, .rd_atomic = DEPTH, .timeout = 14 };
	int gid[2] = { 1, 1 }, c;
	uint64_t num = 200;
	bool ordered = false;
	double more = 1000;

	t_init();
	while ((c = getopt(argc, argv, "d:g:e:G:o:n:l:m:x:k")) != -1) {
		switch (c) {
		case 'd': name[0] = optarg; break;
		case 'g': gid[0] = atoi(optarg); break;
		case 'e': name[1] = optarg; break;
		case 'G': gid[1] = atoi(optarg); break;
		case 'o': list = optarg; break;
		case 'n': num = strtoull(optarg, NULL, 0); break;
		case 'l': len = (uint32_t)strtoul(optarg, NULL, 0); break;
		case 'm': mtu_bytes = (uint32_t)strtoul(optarg, NULL, 0); break;
		case 'x': more = atof(optarg); break;
		case 'k': ordered = true; break;
		default:
			printf("usage: %s [-d DEV] [-g GID] [-e DEV] [-G GID] [-o write,send,read]"
			       "\n  [-n MESSAGES] [-l BYTES] [-m PATH-MTU] [-x PERCENT] [-k]\n",
			       argv[0]);
			return 2;
		}
	}
	if (num < DEPTH || !len || mtu_bytes < 256 || mtu_bytes > 4096 ||
	    mtu_bytes & (mtu_bytes - 1))
		t_die("at least %d messages of at least one byte, and a path MTU of 256, 512, 1024,"
		      " 2048 or 4096", DEPTH);
	o.mtu = IBV_MTU_256 + (unsigned)__builtin_ctz(mtu_bytes) - 8;
	t_watchdog(200);
	for (int i = 0; i < 2; i++)
		dev[i] = t_dev_open(name[i], gid[i]);
	t_pair_open(&ep[0], dev[0], &ep[1], dev[1], &o);
	for (size_t i = 0; i < ARRAY_LEN(ops); i++)
		if (t_list_has(list, ops[i].name) && !t_fails)
			run((int)i, num, more, ordered);
	for (int i = 0; i < 2; i++) {
		t_ep_close(&ep[i]);
		t_dev_close(dev[i]);
	}
	return t_done("early");
}
