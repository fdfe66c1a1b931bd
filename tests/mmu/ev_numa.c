// SPDX-License-Identifier: BSD-2-Clause
/*
 * The node of pages that transfers are the first to touch. A range's policy (mbind) decides,
 * whoever faults. The poster's own policy (set_mempolicy) decides where the poster faults: in
 * same-host transfers on its own memory, and in prefetches that it waits for.
 */
#define _GNU_SOURCE
#include "ev.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGES 8
#define ROOM (PAGES * T_PAGE)
#define NODES 2
#define MAX_NODE 64 /* bits of a mask */

static bool nodes(void)
{
	if (!access("/sys/devices/system/node/node1", F_OK))
		return true;
	t_note("one NUMA node only (numa=fake=2 makes two): not run");
	return false;
}

/* Every page is there, and on that node. */
static void on_node(const char *what, const uint8_t *p, int node)
{
	for (int i = 0; i < PAGES; i++) {
		void *page = (void *)(p + i * T_PAGE);
		int at = -1;

		/* move_pages(2) without nodes says where pages are, and faults none */
		if (syscall(SYS_move_pages, 0, 1UL, &page, NULL, &at, 0))
			t_die("move_pages: %s", strerror(errno));
		if (at != node) {
			t_fail("%s: page %d is on node %d, not on %d%s%s", what, i, at, node,
			       at < 0 ? ": " : "", at < 0 ? strerror(-at) : "");
			return;
		}
	}
}

struct ways {
	struct t_dev *d;
	struct t_ep a, b;
	uint8_t *src;
	struct ibv_mr *msrc;
};

static void ways_open(struct ways *w, struct t_dev *d)
{
	w->d = d;
	t_pair_open(&w->a, d, &w->b, d, NULL);
	w->src = t_map(ROOM);
	t_pat_fill(w->src, ROOM, 41, 0);
	w->msrc = t_reg(d->pd, w->src, ROOM, T_ALL_ACCESS);
}

static void ways_close(struct ways *w)
{
	t_ep_close(&w->a);
	t_ep_close(&w->b);
	ibv_dereg_mr(w->msrc);
	munmap(w->src, ROOM);
}

enum way { INTO_TARGET, INTO_LOCAL, PREFETCHED, WAYS };
static const char *const way_name[WAYS] = { "WRITE", "READ", "prefetch" };

/* Touch fresh memory in that way, bound to @node unless that is -1: it must be on node @want. */
static void touched(struct ways *w, enum way way, int node, int want)
{
	unsigned long mask = node < 0 ? 0 : 1UL << node;
	uint8_t *p = t_map(ROOM);
	struct ibv_mr *m = t_reg(w->d->pd, p, ROOM, ODP_ALL);
	struct ibv_sge sg = t_sge(p, ROOM, m->lkey);
	bool ok = false;
	int rc;

	if (node >= 0 && syscall(SYS_mbind, p, ROOM, MPOL_BIND, &mask, (unsigned long)MAX_NODE, 0))
		t_die("mbind: %s", strerror(errno));
	switch (way) {
	case INTO_TARGET:
		ok = ev_write("WRITE", &w->a, w->src, ROOM, w->msrc, p, m);
		break;
	case INTO_LOCAL:
		ok = ev_read("READ", &w->a, p, ROOM, m, w->src, w->msrc);
		break;
	default:
		rc = ibv_advise_mr(w->d->pd, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE,
				   IBV_ADVISE_MR_FLAG_FLUSH, &sg, 1);
		if (rc)
			t_fail("prefetch: %s", strerror(rc));
		else
			on_node(way_name[way], p, want);
		ok = !rc && ev_write("WRITE", &w->a, w->src, ROOM, w->msrc, p, m);
		break;
	}
	if (ok) {
		on_node(way_name[way], p, want);
		t_pat_check(way_name[way], p, ROOM, 41, 0);
	}
	ibv_dereg_mr(m);
	munmap(p, ROOM);
}

static void numa_range(struct t_dev *d)
{
	struct ways w;

	if (!nodes())
		return;
	ways_open(&w, d);
	for (int i = 0; i < 2 * NODES; i++)
		for (enum way way = 0; way < WAYS; way++)
			touched(&w, way, i % NODES, i % NODES);
	ways_close(&w);
}

static void numa_poster(struct t_dev *d)
{
	/* On the wire the receive path faults, not the poster: its policy counts for prefetches. */
	enum way first = t_param_get("force_wire") == 1 ? PREFETCHED : INTO_TARGET;
	struct ways w;

	if (!nodes())
		return;
	ways_open(&w, d);
	for (int i = 0; i < 2 * NODES; i++) {
		unsigned long mask = 1UL << i % NODES;

		if (syscall(SYS_set_mempolicy, MPOL_BIND, &mask, (unsigned long)MAX_NODE))
			t_die("set_mempolicy: %s", strerror(errno));
		for (enum way way = first; way < WAYS; way++) {
			touched(&w, way, -1, i % NODES);
			/* the range's own policy is stronger */
			touched(&w, way, !(i % NODES), !(i % NODES));
		}
	}
	if (syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0UL))
		t_die("set_mempolicy: %s", strerror(errno));
	ways_close(&w);
}

const struct t_test ev_numa[] = {
	{ "numa_range", numa_range, "a range's NUMA policy, whoever faults" },
	{ "numa_poster", numa_poster, "the poster's NUMA policy where the poster faults" },
	{ 0 },
};
