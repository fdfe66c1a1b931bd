// SPDX-License-Identifier: BSD-2-Clause
#define _GNU_SOURCE
#include "two.h"

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct two two = { .time = 8, .seed = 1 };

static uint32_t ipv4(const struct t_dev *d)
{
	uint32_t ip;

	memcpy(&ip, d->gid.raw + 12, 4);
	return ip;
}

/*
 * Packets that one CPU sends arrive in order. If this process moved to another CPU between two
 * packets, the second could overtake the first, and nobody retransmits here.
 */
static void stay_on_this_cpu(void)
{
	int cpu = sched_getcpu();
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu < 0 ? 0 : cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		t_die("sched_setaffinity: %s", strerror(errno));
}

void two_open(int argc, char **argv, bool sniff)
{
	const char *dev[2] = { "wireA", "wireB" }, *ns[2] = { "wA", "wB" };
	const char *netdev[2] = { "vethA", "vethB" };
	int gid[2] = { 1, 1 }, c;

	while ((c = getopt(argc, argv, "d:g:e:G:n:N:i:I:t:s:")) != -1) {
		switch (c) {
		case 'd': dev[0] = optarg; break;
		case 'g': gid[0] = atoi(optarg); break;
		case 'e': dev[1] = optarg; break;
		case 'G': gid[1] = atoi(optarg); break;
		case 'n': ns[0] = optarg; break;
		case 'N': ns[1] = optarg; break;
		case 'i': netdev[0] = optarg; break;
		case 'I': netdev[1] = optarg; break;
		case 't': two.time = atof(optarg); break;
		case 's': two.seed = strtoull(optarg, NULL, 0); break;
		default:
			printf("usage: %s [-d DEV] [-g GID] [-e DEV] [-G GID] [-n NAMESPACE]"
			       " [-N NAMESPACE] [-i NETDEV] [-I NETDEV] [-t SECONDS] [-s SEED]"
			       " [TEST ...]\nThe first of each is A's, the second B's.\n", argv[0]);
			exit(2);
		}
	}
	if (sniff)
		stay_on_this_cpu();
	two.a = t_dev_open(dev[0], gid[0]);
	two.b = t_dev_open(dev[1], gid[1]);
	two.ipa = ipv4(two.a);
	two.ipb = ipv4(two.b);
	two.ns[0] = ns[0];
	two.ns[1] = ns[1];
	two.netdev[0] = netdev[0];
	two.netdev[1] = netdev[1];
	sp_open(&two.to_a, ns[1], netdev[1], sniff);
	sp_open(&two.to_b, ns[0], netdev[0], false);
}

void two_close(void)
{
	sp_close(&two.to_a);
	sp_close(&two.to_b);
	t_dev_close(two.a);
	t_dev_close(two.b);
}

int two_main(int argc, char **argv, const char *program, const struct two_test *tests, size_t n)
{
	t_init();
	t_watchdog(100);
	two_open(argc, argv, true);
	for (size_t i = 0; i < n; i++) {
		struct t_mark m;

		if (optind < argc ? !t_named(argc, argv, tests[i].name) : !t_shared((unsigned)i))
			continue;
		m = t_begin(tests[i].name);
		tests[i].run();
		t_end(&m);
	}
	two_close();
	return t_done(program);
}

struct two_mem two_mem_open(struct t_dev *d, size_t size, uint64_t seq)
{
	struct two_mem m = { .va = t_map_between(size), .size = size };

	m.mr = t_reg(d->pd, m.va, size, T_ALL_ACCESS);
	t_pat_fill(m.va, size, seq, 0);
	return m;
}

void two_mem_close(struct two_mem *m)
{
	ibv_dereg_mr(m->mr);
	munmap(m->va - T_PAGE, m->size + 2 * T_PAGE);
}

void two_must_stay(const char *what, struct t_ep *e, enum ibv_qp_state want)
{
	enum ibv_qp_state is = t_ep_query_state(e);

	if (is != want)
		t_fail("%s: QP state %d, expected %d", what, is, want);
}

static const struct t_addr *fake_addr(void)
{
	static struct t_addr addr;

	addr = (struct t_addr){ .qpn = FAKE_QPN, .psn = FAKE_PSN, .gid = two.b->gid };
	return &addr;
}

void fake_open(struct t_ep *e, const struct t_opt *o)
{
	t_ep_open(e, two.a, o);
	t_ep_connect(e, fake_addr());
}

void fake_again(struct t_ep *e)
{
	if (t_ep_state(e, IBV_QPS_RESET))
		t_die("QP to RESET failed");
	t_drain(e->scq);
	t_drain(e->rcq);
	t_ep_connect(e, fake_addr());
}

void fake_send(struct t_ep *e, struct sp_hdr h, const void *payload, size_t len)
{
	h.qpn = e->me.qpn;
	sp_send(&two.to_a, two.ipb, two.ipa, &h, payload, len);
}

bool fake_next(const char *what, struct sp_hdr *h, uint8_t *payload, size_t *len)
{
	if (sp_next(&two.to_a, FAKE_QPN, h, payload, len, t_limit))
		return true;
	t_fail("%s: no packet arrives at the peer", what);
	return false;
}

void fake_ack(struct t_ep *e, uint32_t psn, uint8_t syndrome)
{
	fake_send(e, (struct sp_hdr){ .op = SP_ACK, .psn = psn, .syndrome = syndrome }, NULL, 0);
}

void fake_forget(void)
{
	struct sp_hdr h;

	while (sp_next(&two.to_a, FAKE_QPN, &h, NULL, NULL, 0))
		;
}
