// SPDX-License-Identifier: BSD-2-Clause
/* Multicast groups: who gets a datagram, and what the limits are. */
#define _GNU_SOURCE
#include "proto.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define GRH 40
#define QPS 3
#define LAND (QPS * 2 * T_PAGE)
#define LEN 700

/*
 * 32 groups have the same Ethernet address, so that it does not tell them apart, and so that the
 * multicast filter of the netdev stays short: a long one is slow.
 */
static union ibv_gid group_gid(unsigned no)
{
	struct in_addr a = { htonl(0xe04d0000 + no / 32 + (no % 32 << 23)) };
	union ibv_gid g = { .raw = { [10] = 0xff, [11] = 0xff } };

	memcpy(g.raw + 12, &a, 4);
	return g;
}

/* The host joins as rdma_cm would: then the network stack hands it the packets. */
static int join_host(const struct t_dev *d, const union ibv_gid *g)
{
	struct ip_mreqn m = { 0 };
	char path[200], name[IF_NAMESIZE + 1] = "";
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	FILE *f;

	snprintf(path, sizeof(path), "/sys/class/infiniband/%s/ports/1/gid_attrs/ndevs/%d", d->name,
		 d->gidx);
	f = fopen(path, "re");
	if (!f || fscanf(f, "%16s", name) != 1)
		t_die("%s: %s", path, strerror(errno));
	fclose(f);
	memcpy(&m.imr_multiaddr, g->raw + 12, 4);
	m.imr_ifindex = (int)if_nametoindex(name);
	if (fd < 0 || setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof(m)))
		t_die("IP_ADD_MEMBERSHIP on %s: %s", name, strerror(errno));
	return fd;
}

struct mc {
	struct t_dev *d;
	struct t_ep from, to[QPS];
	uint8_t *src, *land;
	struct ibv_mr *ms, *ml;
	uint64_t seq;
};

static void open_all(struct mc *w, struct t_dev *d, const union ibv_gid *g)
{
	const struct t_opt o = { .type = IBV_QPT_UD };
	const struct t_addr group = { .qpn = 0xffffff, .gid = *g };

	*w = (struct mc){ .d = d, .src = t_map(T_PAGE), .land = t_map(LAND), .seq = 800 };
	w->ms = t_reg(d->pd, w->src, T_PAGE, T_ALL_ACCESS);
	w->ml = t_reg(d->pd, w->land, LAND, T_ALL_ACCESS);
	for (int i = 0; i < QPS; i++) {
		t_ep_open(&w->to[i], d, &o);
		t_ep_connect(&w->to[i], &w->to[i].me);
	}
	t_ep_open(&w->from, d, &o);
	t_ep_connect(&w->from, &group);
}

static void close_all(struct mc *w)
{
	t_ep_close(&w->from);
	for (int i = 0; i < QPS; i++)
		t_ep_close(&w->to[i]);
	ibv_dereg_mr(w->ms);
	ibv_dereg_mr(w->ml);
	munmap(w->src, T_PAGE);
	munmap(w->land, LAND);
}

/* Send one datagram: the QPs in @who (bits) must get it, the others must not. */
static void cast(struct mc *w, const char *what, unsigned who)
{
	struct ibv_wc wc;

	t_pat_fill(w->src, LEN, ++w->seq, 0);
	t_pat_fill(w->land, LAND, 1, 0);
	for (int i = 0; i < QPS; i++)
		t_recv_one(&w->to[i], w->land + (size_t)i * 2 * T_PAGE + 8, T_PAGE, w->ml->lkey,
			   (uint64_t)i);
	if (t_post_one(&w->from, IBV_WR_SEND, w->src, LEN, w->ms->lkey, 0, 0, 9))
		t_die("post: %s", strerror(errno));
	t_expect(what, w->from.scq, IBV_WC_SUCCESS, NULL);
	for (int i = 0; i < QPS; i++) {
		uint8_t *at = w->land + (size_t)i * 2 * T_PAGE;

		if (!(who & 1U << i)) {
			t_none(what, w->to[i].rcq, 0.1);
			t_pat_check(what, at, 2 * T_PAGE, 1, (uint64_t)i * 2 * T_PAGE);
		} else if (t_expect(what, w->to[i].rcq, IBV_WC_SUCCESS, &wc)) {
			if (wc.byte_len != GRH + LEN || wc.src_qp != w->from.me.qpn ||
			    !(wc.wc_flags & IBV_WC_GRH))
				t_fail("%s: %u bytes from QP %#x, flags %#x", what, wc.byte_len,
				       wc.src_qp, wc.wc_flags);
			t_pat_check(what, at + 8 + GRH, LEN, w->seq, 0);
			t_pat_check(what, at + 8 + GRH + LEN, T_PAGE, 1,
				    (uint64_t)i * 2 * T_PAGE + 8 + GRH + LEN);
		}
		/* Receives that were not used must not be there in the next round. */
		t_ep_state(&w->to[i], IBV_QPS_RESET);
		t_drain(w->to[i].rcq);
		t_ep_connect(&w->to[i], &w->to[i].me);
	}
}

static void mcast(struct t_dev *d)
{
	union ibv_gid g = group_gid(1), other = group_gid(2);
	int fd = join_host(d, &g);
	struct mc w;

	open_all(&w, d, &g);
	cast(&w, "a group without members", 0);
	for (int i = 0; i < QPS; i++)
		if (ibv_attach_mcast(w.to[i].qp, i == 2 ? &other : &g, 0))
			t_fail("attaching: %s", strerror(errno));
	cast(&w, "a group of two", 3);
	if (ibv_detach_mcast(w.to[0].qp, &g, 0))
		t_fail("detaching: %s", strerror(errno));
	cast(&w, "a group of one", 2);
	if (!ibv_detach_mcast(w.to[0].qp, &g, 0))
		t_fail("detached twice");
	/* A receiver whose Q_Key is not the sender's gets nothing. */
	ibv_modify_qp(w.to[1].qp, &(struct ibv_qp_attr){ .qkey = T_QKEY + 1 }, IBV_QP_QKEY);
	cast(&w, "a member with another Q_Key", 0);
	if (ibv_detach_mcast(w.to[1].qp, &g, 0) || ibv_detach_mcast(w.to[2].qp, &other, 0))
		t_fail("detaching at the end: %s", strerror(errno));
	close_all(&w);
	close(fd);
}

/* As many members and groups as the device reports are accepted, one more is refused. */
static void mcast_limits(struct t_dev *d)
{
	const struct ibv_device_attr *at = &d->attr.orig_attr;
	unsigned n = (unsigned)at->max_mcast_qp_attach, groups = t_debug ? 500 : 5000, i;
	union ibv_gid g = group_gid(1);
	struct t_ep *e = calloc(n + 1, sizeof(*e));
	struct t_ep rc;

	if (!e || !n || n > 1000 || (unsigned)at->max_mcast_grp < groups)
		t_die("%u members of %d groups", n, at->max_mcast_grp);
	for (i = 0; i <= n; i++) {
		int err;

		t_ep_open(&e[i], d, &(struct t_opt){ .type = IBV_QPT_UD, .depth = 1, .rdepth = 1 });
		err = ibv_attach_mcast(e[i].qp, &g, 0);
		if (i < n ? err : err != ENOMEM)
			t_fail("member %u of %u: %s", i + 1, n, strerror(err));
	}
	/* When one leaves, another can join. A member's QP stays (ibv_attach_mcast(3)). */
	if (ibv_detach_mcast(e[0].qp, &g, 0))
		t_fail("detaching: %s", strerror(errno));
	if (ibv_attach_mcast(e[n].qp, &g, 0))
		t_fail("attaching where one has left: %s", strerror(errno));
	if (ibv_destroy_qp(e[1].qp) != EBUSY)
		t_die("the QP of a member was destroyed");
	for (i = 1; i <= n; i++)
		if (ibv_detach_mcast(e[i].qp, &g, 0))
			t_fail("detaching member %u: %s", i, strerror(errno));
	/* As many groups, and their members are still found. */
	for (i = 0; i < groups; i++) {
		g = group_gid(i);
		if (ibv_attach_mcast(e[i % n].qp, &g, 0)) {
			t_fail("group %u: %s", i, strerror(errno));
			break;
		}
	}
	while (i--) {
		g = group_gid(i);
		if (ibv_detach_mcast(e[i % n].qp, &g, 0))
			t_fail("leaving group %u: %s", i, strerror(errno));
	}
	for (i = 0; i <= n; i++)
		t_ep_close(&e[i]);
	free(e);
	/* Only UD QPs can be members, and only of multicast groups. */
	t_ep_open(&rc, d, NULL);
	if (!ibv_attach_mcast(rc.qp, &g, 0))
		t_fail("an RC QP was attached");
	t_ep_close(&rc);
	t_ep_open(&rc, d, &(struct t_opt){ .type = IBV_QPT_UD });
	if (!ibv_attach_mcast(rc.qp, &d->gid, 0))
		t_fail("attached to what is no group");
	t_ep_close(&rc);
}

const struct t_test pr_mcast[] = {
	{ "mcast", mcast, "a group's datagrams go to its members, and to no other" },
	{ "mcast_limits", mcast_limits, "as many members and groups as the device says" },
	{ 0 },
};
