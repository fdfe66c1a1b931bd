// SPDX-License-Identifier: BSD-2-Clause
/*
 * prxe-flood: packets that wait for memory use bounded memory, and the owner of the QP pays for it,
 * whoever sent them.
 */
#define _GNU_SOURCE
#include "lib/gap.h"
#include "two.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint8_t scratch[SP_MAX];

static long meminfo(const char *key)
{
	char line[128];
	long kb = -1;
	FILE *f = fopen("/proc/meminfo", "re");

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, strlen(key)))
			kb = atol(line + strlen(key) + 1);
	if (kb < 0)
		t_die("/proc/meminfo has no %s", key);
	fclose(f);
	return kb;
}

/*
 * What waits in the network's queues is not held by the device. It is there when softirqs are a
 * thread's work, which was so before Linux 6.4 whenever that thread was running.
 */
static void all_received(void)
{
	uint64_t was, now = t_counter(two.a->name, "rcvd_pkts");

	do {
		was = now;
		now = t_counter(two.a->name, "rcvd_pkts");
	} while (now != was);
}

/* How many KiB less are available than @before. */
static long held(long before)
{
	all_received();
	return before - meminfo("MemAvailable");
}

/* What KASAN does not give back at once when it is freed: some MiB, whoever held them. */
#define QUARANTINE_MB (t_debug ? 24 : 0)

static void held_less(const char *what, long before, long limit_mb)
{
	long kb = held(before);

	t_note("%s: %ld KiB of memory", what, kb);
	if (kb > (limit_mb + QUARANTINE_MB) << 10)
		t_fail("%s: %ld MiB of memory are held, at most %ld are right", what, kb >> 10,
		       limit_mb);
}

/* KiB charged to this process's memory cgroup; the script gives it a cgroup of its own. */
static long charged(void)
{
	char line[512] = "", path[600];
	long long bytes = -1;
	FILE *f = fopen("/proc/self/cgroup", "re");

	while (f && fgets(line, sizeof(line), f) && strncmp(line, "0::", 3))
		;
	if (!f || strncmp(line, "0::", 3))
		t_die("this process has no cgroup");
	fclose(f);
	line[strcspn(line, "\n")] = 0;
	snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.current", line + 3);
	f = fopen(path, "re");
	if (!f || fscanf(f, "%lld", &bytes) != 1)
		t_die("%s: %s", path, strerror(errno));
	fclose(f);
	return (long)(bytes >> 10);
}

/*
 * Send @n packets of @len bytes to @qpn that differ only in their PSNs, or not at all if @psn_step
 * is 0. The payload is @seq.
 */
static void flood(struct sp_hdr h, uint32_t qpn, size_t len, uint64_t seq, unsigned n,
		  uint32_t psn_step)
{
	const unsigned frag = two.to_a.frag;

	h.qpn = qpn;
	t_pat_fill(scratch, len, seq, 0);
	two.to_a.frag = 9000;
	for (unsigned i = 0; i < n; i++) {
		if (!i || psn_step)
			sp_send(&two.to_a, two.ipb, two.ipa, &h, scratch, len);
		else
			sp_again(&two.to_a);
		h.psn += psn_step;
	}
	two.to_a.frag = frag;
}

/* A READ of two packets, whose landing is missing when the first response comes. */
struct landing {
	struct t_gap g;
	struct t_ep e;
	uint32_t mtu;
	unsigned pages;
};

static void landing_open(struct landing *l, uint64_t seq)
{
	const struct t_opt o = { .timeout = 20 };
	struct sp_hdr h;

	l->mtu = 128U << two.a->port.active_mtu;
	l->pages = (unsigned)((2 * l->mtu + T_PAGE - 1) / T_PAGE);
	t_gap_open(&l->g, two.a->pd, l->pages);
	for (unsigned i = 0; i < l->pages; i++)
		t_gap_serve(&l->g, i, GUARD);
	fake_open(&l->e, &o);
	if (t_post_one(&l->e, IBV_WR_RDMA_READ, l->g.va, 2 * l->mtu, l->g.mr->lkey, 0x1000, 0x100,
		       1))
		t_die("ibv_post_send");
	fake_next("a READ", &h, NULL, NULL);
	t_drop(l->g.va, l->pages * T_PAGE);
	t_pat_fill(scratch, l->mtu, seq, 0);
	fake_send(&l->e, (struct sp_hdr){ .op = SP_READ_FIRST, .psn = l->e.o.psn,
					  .syndrome = SP_SYN_ACK }, scratch, l->mtu);
	if (!t_gap_asked(&l->g, t_limit))
		t_fail("the landing was not asked for");
}

static struct sp_hdr landing_last(const struct landing *l)
{
	return (struct sp_hdr){ .op = SP_READ_LAST, .psn = l->e.o.psn + 1,
				.syndrome = SP_SYN_ACK };
}

/* Serve it: the READ must complete as if nothing else had come. */
static void landing_close(struct landing *l, uint64_t seq)
{
	for (unsigned i = 0; i < l->pages; i++)
		t_gap_serve(&l->g, i, GUARD);
	t_expect("the READ", l->e.scq, IBV_WC_SUCCESS, NULL);
	t_pat_check("the first response", l->g.va, l->mtu, seq, 0);
	t_pat_check("the last response", l->g.va + l->mtu, l->mtu, seq + 1, 0);
	t_ep_close(&l->e);
	t_gap_close(&l->g);
	fake_forget();
}

/* Responses to a requester that waits for its own memory: far more than may wait. */
static void flood_responses(void)
{
	struct landing l;
	long before;

	landing_open(&l, 10);
	before = meminfo("MemAvailable");
	flood(landing_last(&l), l.e.me.qpn, l.mtu, 11, 3000, 0);
	flood(landing_last(&l), l.e.me.qpn, TWO_BIG, EVIL, 100, 0);
	flood((struct sp_hdr){ .op = SP_READ_MIDDLE, .psn = l.e.o.psn + 7 }, l.e.me.qpn, l.mtu,
	      EVIL, 300, 7919);
	held_less("one RC requester", before, 8);
	landing_close(&l, 10);
}

#define OWNED 6U	/* QPs */
#define OWNED_PKTS 200U

/*
 * Packets that wait are charged to who created the QP. The charge is some 100 KiB late or early,
 * because each CPU keeps some for later: so there must be MiB of it.
 */
static void owner_pays(void)
{
	struct landing l[OWNED];
	long before, want, kb;

	for (unsigned i = 0; i < OWNED; i++)
		landing_open(&l[i], 20 + i);
	before = charged();
	for (unsigned i = 0; i < OWNED; i++)
		flood(landing_last(&l[i]), l[i].e.me.qpn, l[i].mtu, 21 + i, OWNED_PKTS, 0);
	all_received();
	kb = charged() - before;
	want = OWNED * OWNED_PKTS * (long)l[0].mtu >> 10;
	t_note("%ld KiB of payload wait: the owner is charged %ld KiB", want, kb);
	if (kb < want * 3 / 4)
		t_fail("the owner is charged %ld KiB of %ld", kb, want);
	for (unsigned i = 0; i < OWNED; i++)
		landing_close(&l[i], 20 + i);
	kb = charged() - before;
	if (kb > want / 4)
		t_fail("nothing waits any more: the owner is charged %ld KiB", kb);
}

/* Requests to a responder that waits for its receive buffer: with the next PSNs, and stale ones. */
static void flood_requests(void)
{
	const uint32_t mtu = 128U << two.a->port.active_mtu;
	const struct t_opt o = { .timeout = 20 };
	struct t_gap g;
	struct t_ep e;
	long before;

	t_gap_open(&g, two.a->pd, 2);
	fake_open(&e, &o);
	t_recv_one(&e, g.va, T_PAGE, g.mr->lkey, 1);
	fake_send(&e, (struct sp_hdr){ .op = SP_SEND_ONLY, .psn = FAKE_PSN, .ackreq = true },
		  scratch, 100);
	if (!t_gap_asked(&g, t_limit))
		t_fail("the receive buffer was not asked for");
	before = meminfo("MemAvailable");
	/* Those that follow, as many as nobody has under way, and too long ones. */
	flood((struct sp_hdr){ .op = SP_SEND_MIDDLE, .psn = FAKE_PSN + 1 }, e.me.qpn, mtu, EVIL,
	      1500, 1);
	flood((struct sp_hdr){ .op = SP_SEND_MIDDLE, .psn = FAKE_PSN + 1 }, e.me.qpn, TWO_BIG, EVIL,
	      100, 1);
	/* Those that came early, each twice. */
	for (unsigned i = 0; i < 2; i++)
		flood((struct sp_hdr){ .op = SP_SEND_MIDDLE, .psn = FAKE_PSN + 300 }, e.me.qpn, mtu,
		      EVIL, 300, 1);
	flood((struct sp_hdr){ .op = SP_SEND_MIDDLE, .psn = FAKE_PSN + 7 }, e.me.qpn, mtu, EVIL,
	      150, 7919);
	flood((struct sp_hdr){ .op = SP_READ_REQ, .psn = FAKE_PSN - 200 }, e.me.qpn, 0, EVIL, 300,
	      1);
	held_less("one RC responder", before, 8);
	t_gap_serve(&g, 0, GUARD);
	t_ep_close(&e);
	t_gap_close(&g);
	fake_forget();
}

#define FLOODED 24	/* UD QPs */

/* Datagrams for buffers that nobody serves: after about a second they are dropped, and counted. */
static void flood_datagrams(void)
{
	const uint32_t mtu = 128U << two.a->port.active_mtu;
	const struct sp_hdr h = { .op = SP_UD | SP_SEND_ONLY, .qkey = T_QKEY, .src_qp = 5 };
	const unsigned small = 150, big = 40;
	struct t_addr peer = { .qpn = 5, .gid = two.b->gid };
	const struct t_opt o = { .type = IBV_QPT_UD, .depth = 4 };
	uint64_t lost = t_counter(two.a->name, "dropped_fault");
	struct two_mem land = two_mem_open(two.a, 2 * T_PAGE, GUARD);
	struct t_ep e[FLOODED];
	long before, kb, max_kb = 0;
	struct t_gap g;
	struct ibv_wc wc;
	double end;

	t_gap_open(&g, two.a->pd, 2 * FLOODED);
	for (unsigned i = 0; i < FLOODED; i++) {
		t_ep_open(&e[i], two.a, &o);
		t_ep_connect(&e[i], &peer);
		t_recv_one(&e[i], g.va + 2 * i * T_PAGE, 2 * T_PAGE, g.mr->lkey, 1);
		t_recv_one(&e[i], land.va, 2 * T_PAGE, land.mr->lkey, 2);
	}
	before = meminfo("MemAvailable");
	for (unsigned i = 0; i < FLOODED; i++) {
		flood(h, e[i].me.qpn, mtu, EVIL, small, 0);
		flood(h, e[i].me.qpn, TWO_BIG, EVIL, big, 0);
		kb = held(before);
		if (kb > max_kb)
			max_kb = kb;
	}
	t_note("UD receivers: %ld KiB of memory", max_kb);
	if (max_kb > (64 + QUARANTINE_MB) << 10)
		t_fail("UD receivers: %ld MiB of memory are held", max_kb >> 10);
	/* At least one datagram of each QP has waited, and is dropped. */
	for (end = t_now() + t_slow(3); t_now() < end; usleep(50000))
		if (t_counter(two.a->name, "dropped_fault") >= lost + FLOODED &&
		    held(before) < (8 + QUARANTINE_MB) << 10)
			break;
	if (t_counter(two.a->name, "dropped_fault") < lost + FLOODED)
		t_fail("%llu datagrams were given up and counted, %u wait at least",
		       (unsigned long long)(t_counter(two.a->name, "dropped_fault") - lost),
		       FLOODED);
	held_less("UD receivers, later", before, 8);
	for (unsigned i = 0; i < 2 * FLOODED; i++)
		t_gap_serve(&g, i, GUARD);
	/* Datagrams that were not dropped may be received now. A QP without any must still work. */
	usleep(100000);
	for (unsigned i = 0; i < FLOODED; i++) {
		struct sp_hdr good = h;
		const uint8_t *at;

		if (t_drain(e[i].rcq))
			continue;
		good.qpn = e[i].me.qpn;
		t_pat_fill(scratch, 500, 20 + i, 0);
		sp_send(&two.to_a, two.ipb, two.ipa, &good, scratch, 500);
		if (!t_expect("a datagram after it", e[i].rcq, IBV_WC_SUCCESS, &wc))
			break;
		at = wc.wr_id == 1 ? g.va + 2 * i * T_PAGE : land.va;
		t_pat_check("a datagram after it", at + GRH, 500, 20 + i, 0);
		two_must_stay("a UD receiver", &e[i], IBV_QPS_RTS);
	}
	for (unsigned i = 0; i < FLOODED; i++)
		t_ep_close(&e[i]);
	t_gap_close(&g);
	two_mem_close(&land);
}

static const struct two_test tests[] = {
	{ "flood_responses", flood_responses },
	{ "owner_pays", owner_pays },
	{ "flood_requests", flood_requests },
	{ "flood_datagrams", flood_datagrams },
};

int main(int argc, char **argv)
{
	return two_main(argc, argv, "flood", tests, ARRAY_LEN(tests));
}
