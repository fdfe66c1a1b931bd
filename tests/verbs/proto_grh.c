// SPDX-License-Identifier: BSD-2-Clause
/*
 * What the receiver of a datagram learns about its sender, for IPv4 and IPv6: from the 40 bytes
 * before the payload and from the completion (IBTA Annex A17.4.5); and the way back that follows
 * from it.
 */
#include "proto.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <string.h>
#include <sys/mman.h>

#define GRH 40
#define LEN 99

static bool is_v4(const union ibv_gid *g)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	return !memcmp(g->raw, mapped, sizeof(mapped));
}

static void check_header(const char *what, const uint8_t *at, const struct t_dev *d,
			 const struct ibv_wc *wc)
{
	/* UDP, BTH, DETH, the payload and its pad, ICRC */
	const unsigned udp = 8 + 12 + 8 + LEN + 1 + 4;
	struct ip6_hdr six;
	struct iphdr four;

	memcpy(&six, at, sizeof(six));
	memcpy(&four, at + GRH - sizeof(four), sizeof(four));
	if (is_v4(&d->gid)) {
		if (at[0] >> 4 == 6)
			t_fail("%s: IPv4 looks like IPv6", what);
		if (four.version != 4 || four.ihl != 5 || four.protocol != IPPROTO_UDP)
			t_fail("%s: version %u, header %u, protocol %u", what, four.version,
			       four.ihl, four.protocol);
		if (ntohs(four.tot_len) != sizeof(four) + udp)
			t_fail("%s: IPv4 length %u, expected %zu", what, ntohs(four.tot_len),
			       sizeof(four) + udp);
		if (memcmp(&four.saddr, d->gid.raw + 12, 4) ||
		    memcmp(&four.daddr, d->gid.raw + 12, 4))
			t_fail("%s: IPv4 from %#x to %#x", what, ntohl(four.saddr),
			       ntohl(four.daddr));
	} else {
		if (at[0] >> 4 != 6 || six.ip6_nxt != IPPROTO_UDP)
			t_fail("%s: version %u, next header %u", what, at[0] >> 4, six.ip6_nxt);
		if (ntohs(six.ip6_plen) != udp)
			t_fail("%s: IPv6 length %u, expected %u", what, ntohs(six.ip6_plen), udp);
		if (memcmp(&six.ip6_src, d->gid.raw, 16) || memcmp(&six.ip6_dst, d->gid.raw, 16))
			t_fail("%s: an IPv6 address is wrong", what);
	}
	/* As with mlx5, the service level says which of the two it is: UCX looks there. */
	if (wc->sl != (is_v4(&d->gid) ? 10 : 9))
		t_fail("%s: sl %u", what, wc->sl);
}

static void one_gid(struct t_dev *like, int gidx, bool v4)
{
	const struct t_opt o = { .type = IBV_QPT_UD };
	struct t_dev *d = t_dev_open(like->name, gidx);
	const char *what = is_v4(&d->gid) ? "IPv4" : "IPv6";
	struct ibv_send_wr *bad, wr = {
		.opcode = IBV_WR_SEND,
		.send_flags = IBV_SEND_SIGNALED,
		.num_sge = 1,
	};
	uint8_t *p = t_map(4 * T_PAGE), *in = p + T_PAGE, *back = p + 2 * T_PAGE;
	struct ibv_mr *m = t_reg(d->pd, p, 4 * T_PAGE, T_ALL_ACCESS);
	struct ibv_sge sg = t_sge(in + GRH, LEN, m->lkey);
	struct ibv_ah *ah = NULL;
	struct t_ep a, b;
	struct ibv_wc wc;

	if (is_v4(&d->gid) != v4)
		t_fail("GID %d is %s", gidx, what);
	t_pair_open(&a, d, &b, d, &o);
	t_pat_fill(p, LEN, 61, 0);
	t_recv_one(&b, in, GRH + LEN, m->lkey, 1);
	t_recv_one(&a, back, GRH + LEN, m->lkey, 2);
	if (t_post_one(&a, IBV_WR_SEND, p, LEN, m->lkey, 0, 0, 3))
		t_die("post");
	t_expect(what, a.scq, IBV_WC_SUCCESS, NULL);
	if (t_expect(what, b.rcq, IBV_WC_SUCCESS, &wc)) {
		if (wc.byte_len != GRH + LEN || !(wc.wc_flags & IBV_WC_GRH) ||
		    wc.src_qp != a.me.qpn)
			t_fail("%s: %u bytes, flags %#x, from QP %#x", what, wc.byte_len,
			       wc.wc_flags, wc.src_qp);
		t_pat_check(what, in + GRH, LEN, 61, 0);
		check_header(what, in, d, &wc);
		ah = ibv_create_ah_from_wc(d->pd, &wc, (struct ibv_grh *)in, 1);
		if (!ah)
			t_fail("%s: ibv_create_ah_from_wc: %s", what, strerror(errno));
	}
	if (ah) {
		wr.sg_list = &sg;
		wr.wr.ud.ah = ah;
		wr.wr.ud.remote_qpn = wc.src_qp;
		wr.wr.ud.remote_qkey = T_QKEY;
		if (ibv_post_send(b.qp, &wr, &bad))
			t_die("post of the answer: %s", strerror(errno));
		t_expect("the answer", b.scq, IBV_WC_SUCCESS, NULL);
		if (t_expect("the answer", a.rcq, IBV_WC_SUCCESS, &wc))
			t_pat_check("the answer", back + GRH, LEN, 61, 0);
		ibv_destroy_ah(ah);
	}
	t_ep_close(&a);
	t_ep_close(&b);
	ibv_dereg_mr(m);
	munmap(p, 4 * T_PAGE);
	t_dev_close(d);
}

static void ud_header(struct t_dev *d)
{
	one_gid(d, 0, false);
	one_gid(d, d->gidx, true);
}

const struct t_test pr_grh[] = {
	{ "ud_header", ud_header,
	  "what a datagram says about its sender, IPv4 and IPv6, and an answer to it" },
	{ 0 },
};
