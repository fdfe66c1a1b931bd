// SPDX-License-Identifier: BSD-2-Clause
/*
 * prxe-watch: the RoCEv2 packets that arrive at netdevs, each by itself, super-packets (UDP GSO)
 * taken apart.
 *
 * Of each packet it checks the lengths, the ICRC, that its PSN is the next one of its QP, and that
 * its operation may follow the one before. It shares no code with the driver or its tests. Runs
 * until SIGTERM, then says what it saw.
 */
#define _GNU_SOURCE
#include "lib/t.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORT 4791
#define ETH 14
#define UDP 8
#define BTH 12
#define ICRC 4
#define MAX_TAPS 4
#define MASK 0xffffffU

static struct tap {
	const char *ns, *ifname;
	int fd;
	unsigned long long v4, v6, supers, in_supers, naks, again;
	unsigned longest;
} tap[MAX_TAPS];
static unsigned taps, most = 64;
static bool resends;	/* what was sent may come again */
static bool zero, joined;	/* the ICRCs are 0 */
static const char *want;	/* must there be super-packets: yes or no */
static volatile sig_atomic_t ending;

/* ---- ICRC ---- */

static uint32_t table[8][256];

static void crc_init(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;

		for (int k = 0; k < 8; k++)
			c = c & 1 ? c >> 1 ^ 0xedb88320U : c >> 1;
		table[0][i] = c;
	}
	for (uint32_t i = 0; i < 256; i++)
		for (int k = 1; k < 8; k++)
			table[k][i] = table[k - 1][i] >> 8 ^ table[0][table[k - 1][i] & 255];
}

static uint32_t crc(uint32_t c, const uint8_t *p, size_t n)
{
	for (; n >= 8; n -= 8, p += 8) {
		c ^= (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
		     (uint32_t)p[3] << 24;
		c = table[7][c & 255] ^ table[6][c >> 8 & 255] ^ table[5][c >> 16 & 255] ^
		    table[4][c >> 24] ^ table[3][p[4]] ^ table[2][p[5]] ^ table[1][p[6]] ^
		    table[0][p[7]];
	}
	while (n--)
		c = c >> 8 ^ table[0][(c ^ *p++) & 255];
	return c;
}

/*
 * Of the packet @b of @n bytes, with the ICRC, behind the IP header @ip and its UDP header: ones in
 * place of all that a router may change (IBTA A17), and eight bytes of ones in front.
 */
static uint32_t icrc(const uint8_t *ip, bool v6, const uint8_t *b, size_t n)
{
	size_t len = v6 ? 40 : 20;
	uint8_t h[8 + 40 + UDP + BTH], *p = h + 8;

	memset(h, 0xff, 8);
	memcpy(p, ip, len + UDP);
	memcpy(p + len + UDP, b, BTH);
	if (v6) {
		p[0] |= 0x0f;
		p[1] = p[2] = p[3] = p[7] = 0xff;
	} else {
		p[1] = p[8] = p[10] = p[11] = 0xff;
	}
	p[len + 6] = p[len + 7] = 0xff;
	p[len + UDP + 4] = 0xff;
	return ~crc(crc(0xffffffffU, h, 8 + len + UDP + BTH), b + BTH, n - BTH - ICRC);
}

/* ---- what follows what ---- */

enum { NONE, SEND, WRITE, READ, ANY }; /* of which message is the next packet to be a part? */
enum { FIRST = 1, LAST = 2, READ_REQ = 4, RESPONSE = 8, ANSWER = 16 };

static const struct {
	uint8_t msg, flags, extended; /* bytes between BTH and payload */
} ops[32] = {
	[0x00] = { SEND, FIRST, 0 },
	[0x01] = { SEND, 0, 0 },
	[0x02] = { SEND, LAST, 0 },
	[0x03] = { SEND, LAST, 4 },
	[0x04] = { SEND, FIRST | LAST, 0 },
	[0x05] = { SEND, FIRST | LAST, 4 },
	[0x06] = { WRITE, FIRST, 16 },
	[0x07] = { WRITE, 0, 0 },
	[0x08] = { WRITE, LAST, 0 },
	[0x09] = { WRITE, LAST, 4 },
	[0x0a] = { WRITE, FIRST | LAST, 16 },
	[0x0b] = { WRITE, FIRST | LAST, 20 },
	[0x0c] = { ANY, FIRST | LAST | READ_REQ, 16 },
	[0x0d] = { READ, FIRST | RESPONSE | ANSWER, 4 },
	[0x0e] = { READ, RESPONSE, 0 },
	[0x0f] = { READ, LAST | RESPONSE, 4 },
	[0x10] = { READ, FIRST | LAST | RESPONSE | ANSWER, 4 },
	[0x11] = { ANY, FIRST | LAST | RESPONSE, 4 },		/* ACK */
	[0x12] = { ANY, FIRST | LAST | RESPONSE | ANSWER, 12 },	/* of an atomic */
	[0x13] = { ANY, FIRST | LAST, 28 },
	[0x14] = { ANY, FIRST | LAST, 28 },
	[0x16] = { SEND, LAST, 4 },
	[0x17] = { SEND, FIRST | LAST, 4 },
	[0x1c] = { ANY, FIRST | LAST, 20 },			/* FLUSH */
	[0x1d] = { ANY, FIRST | LAST, 24 },			/* ATOMIC WRITE */
};

static struct flow {
	uint8_t addr[32];
	uint32_t qpn, src_qp;
	bool response;
	uint32_t next, high;	/* the PSN that is due; the largest that may have been */
	uint32_t read;		/* bytes that the last READ asked for */
	bool reading;		/* it was the last request: so the PSN that is due follows */
	unsigned mtus;		/* that it may have: a bit for each of 256 .. 4096 */
	int msg;
} flows[512];
static unsigned n_flows;

static int32_t ahead(uint32_t psn, uint32_t of)
{
	return (int32_t)((psn - of) << 8) >> 8;
}

static struct flow *find(const struct flow *k, uint32_t psn)
{
	struct flow *f;

	for (f = flows; f < flows + n_flows; f++)
		if (f->qpn == k->qpn && f->src_qp == k->src_qp && f->response == k->response &&
		    !memcmp(f->addr, k->addr, sizeof(f->addr)))
			return f;
	if (n_flows == ARRAY_LEN(flows))
		t_die("more than %u connections", n_flows);
	n_flows++;
	*f = *k;
	f->next = f->high = psn;
	f->mtus = 31;
	return f;
}

/* Is it the PSN that is due? After a READ it is that of the last packet of the answer, and one. */
static bool due(struct flow *f, uint32_t psn)
{
	unsigned may = 0;

	if (!f->reading)
		return psn == f->next;
	for (unsigned m = 0; m < 5; m++)
		if (f->mtus >> m & 1 &&
		    psn == ((f->next + (f->read ? (f->read - 1) >> (8 + m) : 0)) & MASK))
			may |= 1U << m;
	if (may)
		f->mtus = may;
	return may;
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* A packet has the right ICRC: does it follow the last one of its QP? */
static void follow(struct tap *t, const uint8_t *addr, const uint8_t *b, size_t n, bool ud)
{
	unsigned op = b[0] & 31, flags = ops[op].flags;
	size_t head = BTH + (ud ? 8U : 0) + ops[op].extended, payload = n - head - ICRC;
	uint32_t psn = get32(b + 8) & MASK, high;
	struct flow k = { .qpn = get32(b + 4) & MASK, .src_qp = ud ? get32(b + 16) & MASK : 0,
			  .response = flags & RESPONSE }, *f;
	bool fits;

	if (n < head + ICRC || !ops[op].msg) {
		t_fail("%s: opcode %#x of %zu bytes", t->ifname, b[0], n);
		return;
	}
	memcpy(k.addr, addr, sizeof(k.addr));
	f = find(&k, psn);
	t_context("%s, QP %#x, opcode %#x, PSN %#x (expected %#x%s), %zu bytes, inside %d",
		  t->ifname, k.qpn, b[0], psn, f->next, f->reading ? " and more" : "", n, f->msg);
	/* An ACK may leave some out, and what is no ACK is answered a second time. */
	if (op == 0x11 && b[BTH] >> 5) {
		t->naks++;
		if (!resends)
			t_fail("a NAK, syndrome %#x", b[BTH]);
	}
	if (f->response && flags & FIRST)
		fits = ahead(psn, f->next) >= (flags & ANSWER ? 0 : -1);
	else
		fits = due(f, psn);
	if (!fits && resends && ahead(psn, f->high) <= 0) {
		t->again++;
		f->msg = ANY;
	} else if (!fits) {
		t_fail("the PSN is not the next one");
	}
	if (f->msg != ANY && (flags & FIRST ? f->msg != NONE : f->msg != ops[op].msg))
		t_fail("this does not follow the packet before");
	f->msg = flags & LAST ? NONE : ops[op].msg;
	f->next = high = (psn + 1) & MASK;
	f->reading = flags & READ_REQ;
	if (f->reading) {
		f->read = get32(b + BTH + 12);
		high = (high + (f->read >> (8 + __builtin_ctz(f->mtus)))) & MASK;
	}
	if (ahead(high, f->high) > 0)
		f->high = high;
	/* All packets of a message but the last are full. */
	if (!(flags & LAST)) {
		unsigned may = 0;

		for (unsigned m = 0; m < 5; m++)
			if (payload == 256U << m)
				may = f->mtus & 1U << m;
		if (may)
			f->mtus = may;
		else
			t_fail("%zu bytes of payload are no path MTU of this QP (%#x)", payload,
			       f->mtus);
	}
	t_context("%s", "");
}

/* ---- packets ---- */

static void put16(uint8_t *p, size_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* Packet number @k of a super-packet, or the only one: @b, of @n bytes. */
static void packet(struct tap *t, const uint8_t *ip, bool v6, unsigned k, const uint8_t *b,
		   size_t n)
{
	size_t len = v6 ? 40 : 20;
	uint8_t head[40 + UDP], addr[32] = { 0 };
	bool ud = n > BTH && (b[0] & 0xe0) == 0x60;
	uint32_t is, should;

	*(v6 ? &t->v6 : &t->v4) += 1;
	if (n < BTH + ICRC) {
		t_fail("%s: a packet of %zu bytes", t->ifname, n);
		return;
	}
	memcpy(head, ip, len + UDP);
	if (v6) {
		put16(head + 4, UDP + n);
		memcpy(addr, ip + 8, 32);
	} else {
		put16(head + 2, len + UDP + n);
		put16(head + 4, (((size_t)ip[4] << 8 | ip[5]) + k) & 0xffff);
		memcpy(addr, ip + 12, 8);
	}
	put16(head + len + 4, UDP + n);
	memcpy(&is, b + n - ICRC, ICRC);
	should = zero ? 0 : icrc(head, v6, b, n);
	if (joined && k && is != should && !zero && !v6) {
		/* Which ID the packet had is not to be seen; prxe's is in its PSN. */
		put16(head + 4, get32(b + 8) & 0xffff);
		should = icrc(head, v6, b, n);
	}
	if (is != should) {
		t_fail("%s: packet %u of a train, opcode %#x PSN %#x, %zu bytes: the ICRC is %#x,"
		       " expected %#x", t->ifname, k, b[0], get32(b + 8) & MASK, n, is, should);
		return;
	}
	follow(t, addr, b, n, ud);
}

/* What a socket gave: IP header and all behind it. */
static void arrived(struct tap *t, const struct virtio_net_hdr *v, const uint8_t *ip, size_t got)
{
	bool v6 = got && ip[0] >> 4 == 6;
	size_t len = v6 ? 40 : 20, udp_len, ip_len, n, piece;
	const uint8_t *udp = ip + len, *b;
	unsigned k = 0;

	if (got < len + UDP || (!v6 && ip[0] != 0x45) || ip[v6 ? 6 : 9] != IPPROTO_UDP ||
	    (udp[2] << 8 | udp[3]) != PORT)
		return;
	udp_len = (size_t)udp[4] << 8 | udp[5];
	ip_len = v6 ? 40 + ((size_t)ip[4] << 8 | ip[5]) : (size_t)ip[2] << 8 | ip[3];
	if (ip_len > got || len + udp_len != ip_len || udp_len < UDP) {
		t_fail("%s: %zu bytes, %zu by the IP header, %zu by the UDP header", t->ifname, got,
		       ip_len, udp_len);
		return;
	}
	b = udp + UDP;
	n = piece = udp_len - UDP;
	if (v->gso_type == VIRTIO_NET_HDR_GSO_UDP_L4)
		piece = v->gso_size;
	else if (v->gso_type)
		t_fail("%s: a super-packet of type %u", t->ifname, v->gso_type);
	if (!piece) {
		t_fail("%s: a packet without contents", t->ifname);
		return;
	}
	for (; n; k++, b += piece) {
		piece = n < piece ? n : piece;
		n -= piece;
		if (k && memcmp(b + 5, udp + UDP + 5, 3) && (b[0] & 0xe0) != 0x60)
			t_fail("%s: a super-packet for more than one QP", t->ifname);
		packet(t, ip, v6, k, b, piece);
	}
	if (k < 2)
		return;
	t->supers++;
	t->in_supers += k;
	if (k > t->longest)
		t->longest = k;
	if (k > most)
		t_fail("%s: %u packets in one", t->ifname, k);
}

static bool take(struct tap *t)
{
	static uint8_t buf[sizeof(struct virtio_net_hdr) + ETH + 65536 + 64];
	const size_t before = sizeof(struct virtio_net_hdr) + ETH;
	struct virtio_net_hdr v;
	ssize_t got = recv(t->fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
		return false;
	if (got < (ssize_t)before)
		t_die("the packet socket on %s: %s", t->ifname, strerror(errno));
	memcpy(&v, buf, sizeof(v));
	arrived(t, &v, buf + before, (size_t)got - before);
	return true;
}

static void tap_open(struct tap *t)
{
	int old = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), ns, one = 1, room = 256 << 20;
	struct sockaddr_ll ll = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	char path[128];

	snprintf(path, sizeof(path), "/run/netns/%s", t->ns);
	ns = open(path, O_RDONLY | O_CLOEXEC);
	if (old < 0 || ns < 0 || setns(ns, CLONE_NEWNET))
		t_die("network namespace %s: %s", t->ns, strerror(errno));
	close(ns);
	ll.sll_ifindex = (int)if_nametoindex(t->ifname);
	/* Protocol 0: nothing comes before it is bound to its netdev. */
	t->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (!ll.sll_ifindex || t->fd < 0 ||
	    setsockopt(t->fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) ||
	    setsockopt(t->fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) ||
	    setsockopt(t->fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)) ||
	    bind(t->fd, (struct sockaddr *)&ll, sizeof(ll)))
		t_die("a packet socket on %s: %s", t->ifname, strerror(errno));
	if (setns(old, CLONE_NEWNET))
		t_die("setns: %s", strerror(errno));
	close(old);
}

static void tap_close(struct tap *t)
{
	struct tpacket_stats s = { 0 };
	socklen_t size = sizeof(s);

	if (getsockopt(t->fd, SOL_PACKET, PACKET_STATISTICS, &s, &size))
		t_die("PACKET_STATISTICS: %s", strerror(errno));
	close(t->fd);
	t_note("%s: %llu packets by IPv4, %llu by IPv6; %llu of them in %llu super-packets of at"
	       " most %u; %llu NAKs, %llu sent again", t->ifname, t->v4, t->v6, t->in_supers,
	       t->supers, t->longest, t->naks, t->again);
	if (s.tp_drops)
		t_fail("%s: %u packets were not seen, the socket was full", t->ifname, s.tp_drops);
	if (!t->v4 && !t->v6)
		t_fail("%s: no packets", t->ifname);
	if (want && (!strcmp(want, "yes") ? !t->supers : t->supers))
		t_fail("%s: %llu super-packets, expected: %s", t->ifname, t->supers, want);
}

static void end(int sig)
{
	(void)sig;
	ending = 1;
}

int main(int argc, char **argv)
{
	struct pollfd p[MAX_TAPS];
	const char *ns = NULL;
	int c;

	t_init();
	while ((c = getopt(argc, argv, "n:i:m:rs:zj")) != -1) {
		switch (c) {
		case 'n': ns = optarg; break;
		case 'i':
			if (taps == MAX_TAPS || !ns)
				t_die("-n NAMESPACE -i NETDEV, at most %u times", MAX_TAPS);
			tap[taps++] = (struct tap){ .ns = ns, .ifname = optarg };
			break;
		case 'm': most = (unsigned)atoi(optarg); break;
		case 'r': resends = true; break;
		case 's': want = optarg; break;
		case 'z': zero = true; break;
		case 'j': joined = true; break;
		default: taps = 0; optind = argc + 1; break;
		}
	}
	if (!taps || optind != argc || (want && strcmp(want, "yes") && strcmp(want, "no"))) {
		printf("usage: %s -n NAMESPACE -i NETDEV ... [-j] [-m MOST] [-r] [-s yes|no] [-z]\n"
		       "-m: packets in a super-packet; -r: packets may come again; -s: there must"
		       " be super-packets, or none; -z: the ICRCs are 0;\n-j: the network may have"
		       " joined packets to super-packets again\n", argv[0]);
		return 2;
	}
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	signal(SIGTERM, end);
	signal(SIGINT, end);
	t_watchdog(300);
	crc_init();
	for (unsigned i = 0; i < taps; i++) {
		tap_open(&tap[i]);
		p[i] = (struct pollfd){ .fd = tap[i].fd, .events = POLLIN };
	}
	t_note("watching");
	while (!ending) {
		poll(p, taps, 50);
		for (unsigned i = 0; i < taps; i++)
			while (take(&tap[i]))
				;
	}
	for (unsigned i = 0; i < taps; i++) {
		while (take(&tap[i]))
			;
		tap_close(&tap[i]);
	}
	return t_done("watch");
}
