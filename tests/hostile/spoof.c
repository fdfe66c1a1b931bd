// SPDX-License-Identifier: BSD-2-Clause
#define _GNU_SOURCE
#include "spoof.h"
#include "lib/t.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4 /* headers before Linux 6.2 */
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

#define PORT 4791
#define ETH_BYTES 14
#define IP_BYTES 20
#define UDP_BYTES 8
#define BTH_BYTES 12
#define ICRC_BYTES 4
#define DEFAULT_FRAG 1500

/* ---- headers ---- */

static uint8_t *put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
	return p + 2;
}

static uint8_t *put32(uint8_t *p, uint32_t v)
{
	return put16(put16(p, v >> 16), v & 0xffff);
}

static uint8_t *put64(uint8_t *p, uint64_t v)
{
	return put32(put32(p, (uint32_t)(v >> 32)), (uint32_t)v);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Extended headers of an opcode, in their order on the wire. */
enum { DETH = 1, FETH = 2, RETH = 4, ATOMIC = 8, AETH = 16, ORIG = 32, IMM = 64 };

static unsigned extended(uint8_t op)
{
	unsigned e = (op & 0xe0) == SP_UD ? DETH : 0;

	switch (op & 0x1f) {
	case SP_FLUSH:
		return e | FETH | RETH;
	case SP_WRITE_ONLY_IMM:
		return e | RETH | IMM;
	case SP_WRITE_FIRST:
	case SP_WRITE_ONLY:
	case SP_READ_REQ:
	case SP_ATOMIC_WRITE:
		return e | RETH;
	case SP_CMP_SWAP:
	case SP_FETCH_ADD:
		return e | ATOMIC;
	case SP_READ_FIRST:
	case SP_READ_LAST:
	case SP_READ_ONLY:
	case SP_ACK:
		return e | AETH;
	case SP_ATOMIC_ACK:
		return e | AETH | ORIG;
	case SP_SEND_LAST_IMM:
	case SP_SEND_ONLY_IMM:
	case SP_WRITE_LAST_IMM:
	case SP_SEND_LAST_INV:
	case SP_SEND_ONLY_INV:
		return e | IMM;
	default:
		return e;
	}
}

size_t sp_build(uint8_t *at, const struct sp_hdr *h, const void *payload, size_t len)
{
	unsigned e = extended(h->op), pad = -(unsigned)len & 3;
	uint8_t *p = at;

	*p++ = h->op;
	*p++ = (uint8_t)((h->se ? 0x80 : 0) | 0x40 | ((pad + (unsigned)h->more_pad) & 3) << 4 |
			 (h->ver & 15));
	p = put16(p, h->pkey ? h->pkey : 0xffff);
	p = put32(p, (h->fecn ? 0x80000000U : 0) | (h->becn ? 0x40000000U : 0) |
			     (h->qpn & SP_MASK));
	p = put32(p, (h->ackreq ? 0x80000000U : 0) | (h->psn & SP_MASK));
	if (e & DETH)
		p = put32(put32(p, h->qkey), h->src_qp);
	if (e & FETH)
		p = put32(p, h->feth);
	if (e & (RETH | ATOMIC))
		p = put32(put64(p, h->va), h->rkey);
	if (e & RETH)
		p = put32(p, h->dma_len);
	if (e & ATOMIC)
		p = put64(put64(p, h->swap), h->compare);
	if (e & AETH)
		p = put32(p, (uint32_t)h->syndrome << 24 | (h->msn & SP_MASK));
	if (e & ORIG)
		p = put64(p, h->orig);
	if (e & IMM)
		p = put32(p, h->imm);
	if (len)
		memcpy(p, payload, len);
	memset(p + len, 0, pad);
	return (size_t)(p - at) + len + pad;
}

/* False: it is too short for its opcode. */
static bool dissect(const uint8_t *b, size_t n, struct sp_hdr *h, const uint8_t **payload,
		    size_t *len)
{
	uint8_t head[64];
	const uint8_t *p = b + BTH_BYTES;
	unsigned e, pad;

	if (n < BTH_BYTES + ICRC_BYTES)
		return false;
	*h = (struct sp_hdr){ .op = b[0], .se = b[1] >> 7, .ver = b[1] & 15,
			      .pkey = (uint16_t)(b[2] << 8 | b[3]), .fecn = b[4] >> 7,
			      .becn = b[4] >> 6 & 1,
			      .qpn = get32(b + 4) & SP_MASK, .ackreq = b[8] >> 7,
			      .psn = get32(b + 8) & SP_MASK };
	pad = b[1] >> 4 & 3;
	if (n < sp_build(head, h, NULL, 0) + pad + ICRC_BYTES)
		return false;
	e = extended(h->op);
	p += (e & DETH ? 8 : 0) + (e & FETH ? 4 : 0);
	if (e & (RETH | ATOMIC)) {
		h->va = (uint64_t)get32(p) << 32 | get32(p + 4);
		h->rkey = get32(p + 8);
		p += 12;
	}
	if (e & RETH) {
		h->dma_len = get32(p);
		p += 4;
	}
	p += e & ATOMIC ? 16 : 0;
	if (e & AETH) {
		h->syndrome = p[0];
		h->msn = get32(p) & SP_MASK;
		p += 4;
	}
	if (e & ORIG) {
		h->orig = (uint64_t)get32(p) << 32 | get32(p + 4);
		p += 8;
	}
	p += e & IMM ? 4 : 0;
	*payload = p;
	*len = n - (size_t)(p - b) - pad - ICRC_BYTES;
	return true;
}

/* ---- ICRC ---- */

static uint32_t crc_table[256];

static void crc_init(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;

		for (int k = 0; k < 8; k++)
			c = c & 1 ? c >> 1 ^ 0xedb88320U : c >> 1;
		crc_table[i] = c;
	}
}

static uint32_t crc(uint32_t c, const uint8_t *p, size_t n)
{
	while (n--)
		c = c >> 8 ^ crc_table[(c ^ *p++) & 255];
	return c;
}

/*
 * The ICRC covers the headers, with ones in place of the fields that a router may change (IBTA
 * A17): TOS, TTL and checksum, the UDP checksum, and the eight reserved bits of the BTH. Eight
 * bytes of ones come first.
 */
static uint32_t icrc(const uint8_t *ip, const uint8_t *bth, size_t n)
{
	uint8_t h[8 + IP_BYTES + UDP_BYTES + BTH_BYTES];
	size_t head = n < BTH_BYTES ? n : BTH_BYTES;
	uint8_t *i = h + 8, *u = i + IP_BYTES, *b = u + UDP_BYTES;
	uint32_t c;

	memset(h, 0xff, 8);
	memcpy(i, ip, IP_BYTES + UDP_BYTES);
	memcpy(b, bth, head);
	i[1] = i[8] = i[10] = i[11] = 0xff;
	u[6] = u[7] = 0xff;
	b[4] = 0xff;
	c = crc(0xffffffffU, h, 8 + IP_BYTES + UDP_BYTES + head);
	return ~crc(c, bth + head, n - head);
}

/* ---- sockets ---- */

static int enter(const char *ns)
{
	int old = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), fd;
	char path[128];

	snprintf(path, sizeof(path), "/run/netns/%s", ns);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (old < 0 || fd < 0 || setns(fd, CLONE_NEWNET))
		t_die("network namespace %s: %s", ns, strerror(errno));
	close(fd);
	return old;
}

static int sniffer(const char *ifname)
{
	struct sockaddr_ll ll = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP),
				  .sll_ifindex = (int)if_nametoindex(ifname) };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_IP));
	int room = 64 << 20, one = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) ||
	    setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) ||
	    setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)) ||
	    bind(fd, (struct sockaddr *)&ll, sizeof(ll)))
		t_die("a packet socket on %s: %s", ifname, strerror(errno));
	return fd;
}

/* A socket that sends whole frames, each behind a struct virtio_net_hdr. Nothing comes to it. */
static int frame_socket(struct sp *s)
{
	struct sockaddr_ll ll = { .sll_family = AF_PACKET,
				  .sll_ifindex = (int)if_nametoindex(s->ifname) };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), one = 1;
	struct ifreq ifr = { 0 };

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", s->ifname);
	if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) ||
	    ioctl(fd, SIOCGIFHWADDR, &ifr) || bind(fd, (struct sockaddr *)&ll, sizeof(ll)))
		t_die("a packet socket for frames on %s: %s", s->ifname, strerror(errno));
	memcpy(s->own, ifr.ifr_hwaddr.sa_data, 6);
	return fd;
}

static void leave(int old)
{
	if (setns(old, CLONE_NEWNET))
		t_die("setns: %s", strerror(errno));
	close(old);
}

int sp_join(const char *ns, const char *ifname, uint32_t group)
{
	int old = enter(ns), fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ip_mreqn m = { .imr_multiaddr.s_addr = group,
			      .imr_ifindex = (int)if_nametoindex(ifname) };

	if (fd < 0 || setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof(m)))
		t_die("joining a group on %s: %s", ifname, strerror(errno));
	leave(old);
	return fd;
}

void sp_open(struct sp *s, const char *ns, const char *ifname, bool sniff)
{
	int old = enter(ns), room = 8 << 20;
	struct ip_mreqn m = { .imr_ifindex = (int)if_nametoindex(ifname) };

	crc_init();
	memset(s, 0, sizeof(*s));
	s->rx = -1;
	s->frag = DEFAULT_FRAG;
	s->id = 1;
	s->ifname = ifname;
	s->tx = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	if (s->tx < 0 || setsockopt(s->tx, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) ||
	    setsockopt(s->tx, IPPROTO_IP, IP_MULTICAST_IF, &m, sizeof(m)))
		t_die("a raw socket: %s", strerror(errno));
	s->frames = frame_socket(s);
	if (sniff)
		s->rx = sniffer(ifname);
	leave(old);
}

void sp_close(struct sp *s)
{
	close(s->tx);
	close(s->frames);
	if (s->rx >= 0)
		close(s->rx);
}

static void out(struct sp *s, const uint8_t *ip, size_t n)
{
	struct sockaddr_in to = { .sin_family = AF_INET };

	memcpy(&to.sin_addr, ip + 16, 4);
	if (sendto(s->tx, ip, n, 0, (struct sockaddr *)&to, sizeof(to)) != (ssize_t)n)
		t_die("sending %zu bytes raw: %s", n, strerror(errno));
	s->bytes += n;
}

/* Send the IP packet of @n bytes at @ip in fragments, each with a copy of its header. */
static void out_in_pieces(struct sp *s, const uint8_t *ip, size_t n, unsigned how)
{
	const size_t step = (s->frag - IP_BYTES) & ~(size_t)7, body = n - IP_BYTES;
	const size_t pieces = (body + step - 1) / step;
	uint8_t f[IP_BYTES + 65536];

	for (size_t k = 0; k < pieces; k++) {
		size_t at = (how & SP_SWAPPED ? pieces - 1 - k : k) * step;
		size_t len = body - at < step ? body - at : step;
		bool last = at + len == body;

		if (last && how & SP_HALF)
			continue;
		memcpy(f, ip, IP_BYTES);
		put16(f + 2, (uint32_t)(IP_BYTES + len));
		put16(f + 6, (uint32_t)(at / 8) | (last ? 0 : 0x2000));
		memcpy(f + IP_BYTES, ip + IP_BYTES + at, len);
		out(s, f, IP_BYTES + len);
	}
}

/* Write the IP and UDP headers at @ip. Returns the place of the UDP payload. */
static uint8_t *headers(uint8_t *ip, uint16_t id, uint32_t src, uint32_t dst, size_t payload)
{
	size_t total = IP_BYTES + UDP_BYTES + payload;

	memset(ip, 0, IP_BYTES + UDP_BYTES);
	ip[0] = 0x45;
	put16(ip + 2, (uint32_t)total);
	put16(ip + 4, id);
	ip[8] = 64;
	ip[9] = IPPROTO_UDP;
	memcpy(ip + 12, &src, 4);
	memcpy(ip + 16, &dst, 4);
	put16(ip + 20, 0xc001);
	put16(ip + 22, PORT);
	put16(ip + 24, (uint32_t)(UDP_BYTES + payload));
	return ip + IP_BYTES + UDP_BYTES;
}

static uint8_t *udp_packet(struct sp *s, uint8_t *ip, uint32_t src, uint32_t dst, size_t payload)
{
	/* For ID 0 the kernel chooses another one, and the ICRC would not match. */
	if (!++s->id)
		s->id = 1;
	headers(ip, s->id, src, dst, payload);
	ip[1] = s->tos;
	return ip + IP_BYTES + UDP_BYTES;
}

static void with_options(struct sp *s, const uint8_t *ip, size_t n)
{
	uint8_t o[IP_BYTES + 4 + 2048];

	if (n > IP_BYTES + 2048)
		t_die("IP options on %zu bytes", n);
	memcpy(o, ip, IP_BYTES);
	o[0] = 0x46;
	put16(o + 2, (uint32_t)n + 4);
	memset(o + IP_BYTES, 1, 4);	/* four times "no operation" */
	memcpy(o + IP_BYTES + 4, ip + IP_BYTES, n - IP_BYTES);
	out(s, o, n + 4);
}

/* The packet that this thread sent last. */
static __thread struct {
	uint8_t ip[IP_BYTES + UDP_BYTES + SP_MAX + ICRC_BYTES];
	size_t total;
	unsigned how;
} last;

/*
 * Change one or two bytes, or cut off the end. (A CRC finds every burst of 32 bits.) The byte that
 * the ICRC does not cover, with FECN and BECN, is left as it is.
 */
static size_t mutate(struct sp *s, uint8_t *ip, size_t total, unsigned how)
{
	uint8_t *p = ip + IP_BYTES + UDP_BYTES;
	size_t n = total - IP_BYTES - UDP_BYTES, at;
	uint64_t m = s->mutation;

	if (how & SP_CUT) {
		n = 1 + m % (n - 1);
		total = IP_BYTES + UDP_BYTES + n;
		put16(ip + 2, (uint32_t)total);
		put16(ip + 24, (uint32_t)(UDP_BYTES + n));
		return total;
	}
	/* Change headers more often than data. */
	at = (m >> 8) % (m & 1 && n > 32 ? 32 : n);
	at += at == 4;
	p[at] ^= (uint8_t)(1 + (m >> 32) % 255);
	if (m & 2 && at + 5 < n)
		p[at + 5] ^= (uint8_t)(m >> 48);
	return total;
}

void sp_send_raw(struct sp *s, uint32_t src, uint32_t dst, const uint8_t *bth, size_t n,
		 unsigned how)
{
	uint8_t *ip = last.ip, *p;
	uint32_t c;

	if (n > SP_MAX)
		t_die("a packet of %zu bytes", n);
	last.how = how;
	last.total = IP_BYTES + UDP_BYTES + n + ICRC_BYTES;
	p = udp_packet(s, ip, src, dst, n + ICRC_BYTES);
	memcpy(p, bth, n);
	c = icrc(ip, p, n);
	if (how & SP_BAD_ICRC)
		c ^= 1U << (s->id & 31);
	memcpy(p + n, &c, ICRC_BYTES);
	if (how & (SP_FLIP | SP_CUT))
		last.total = mutate(s, ip, last.total, how);
	sp_again(s);
}

void sp_again(struct sp *s)
{
	s->packets++;
	if (last.how & SP_OPTIONS)
		with_options(s, last.ip, last.total);
	else if (last.total <= s->frag)
		out(s, last.ip, last.total);
	else
		out_in_pieces(s, last.ip, last.total, last.how);
}

void sp_send(struct sp *s, uint32_t src, uint32_t dst, const struct sp_hdr *h,
	     const void *payload, size_t len)
{
	static __thread uint8_t bth[SP_MAX];

	sp_send_raw(s, src, dst, bth, sp_build(bth, h, payload, len), 0);
}

void sp_send_udp(struct sp *s, uint32_t src, uint32_t dst, const void *p, size_t n)
{
	uint8_t ip[IP_BYTES + UDP_BYTES + 2048];

	if (n > 2048)
		t_die("a UDP payload of %zu bytes", n);
	memcpy(udp_packet(s, ip, src, dst, n), p, n);
	s->packets++;
	out(s, ip, IP_BYTES + UDP_BYTES + n);
}

/* ---- super-packets ---- */

static __thread struct {
	uint32_t src, dst;
	uint16_t id;		/* of the first packet */
	unsigned packets;
	size_t first, bytes;	/* of the first packet; of all */
	size_t pieces;		/* of what was sent last */
	/* struct virtio_net_hdr, Ethernet, IP, UDP, and the packets */
	uint8_t frame[sizeof(struct virtio_net_hdr) + ETH_BYTES + 65536];
} super;

void sp_super(struct sp *s, uint32_t src, uint32_t dst)
{
	super.src = src;
	super.dst = dst;
	super.id = (uint16_t)(s->id + 1);
	super.packets = 0;
	super.bytes = 0;
}

bool sp_super_add(struct sp *s, const uint8_t *bth, size_t n, unsigned how)
{
	static __thread uint8_t ip[IP_BYTES + UDP_BYTES + SP_MAX + ICRC_BYTES];
	uint8_t *all = super.frame + sizeof(struct virtio_net_hdr) + ETH_BYTES, *p;
	size_t total = IP_BYTES + UDP_BYTES + n + ICRC_BYTES;
	uint32_t c;

	if (super.packets == SP_SUPER_MAX || super.bytes + total > 65500)
		return false;
	/* The kernel counts the IDs up from the first, over 0 too. */
	p = headers(ip, (uint16_t)(super.id + super.packets), super.src, super.dst, n + ICRC_BYTES);
	memcpy(p, bth, n);
	c = icrc(ip, p, n);
	if (how & SP_BAD_ICRC)
		c ^= 1U << (s->mutation & 31);
	memcpy(p + n, &c, ICRC_BYTES);
	if (how & (SP_FLIP | SP_CUT))
		total = mutate(s, ip, total, how);
	total -= IP_BYTES + UDP_BYTES;
	memcpy(all + IP_BYTES + UDP_BYTES + super.bytes, p, total);
	super.first = super.packets++ ? super.first : total;
	super.bytes += total;
	return true;
}

/* A sum for the headers' checksums, of bytes in network order. */
static uint32_t sum16(uint32_t sum, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i + 1 < n; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* Learn the MAC address of @ip. A packet there has the kernel ask for it. */
static void learn_mac(struct sp *s, uint32_t ip)
{
	uint8_t probe[IP_BYTES + UDP_BYTES];
	double end = t_now() + t_limit;

	s->mac_of = ip;
	if (IN_MULTICAST(ntohl(ip))) {
		put32(s->mac + 2, ntohl(ip) & 0x7fffff);
		memcpy(s->mac, "\x01\x00\x5e", 3);
		return;
	}
	for (;;) {
		struct arpreq r = { 0 };
		struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = ip };

		memcpy(&r.arp_pa, &in, sizeof(in));
		snprintf(r.arp_dev, sizeof(r.arp_dev), "%s", s->ifname);
		if (!ioctl(s->tx, SIOCGARP, &r) && r.arp_flags & ATF_COM) {
			memcpy(s->mac, r.arp_ha.sa_data, 6);
			return;
		}
		if (t_now() > end)
			t_die("nobody has address %#x on %s", ntohl(ip), s->ifname);
		headers(probe, 1, super.src, ip, 0);
		put16(probe + IP_BYTES + 2, 9);	/* not the port of RoCE */
		out(s, probe, sizeof(probe));
		usleep(10000);
	}
}

bool sp_super_send(struct sp *s, const struct sp_gso *g)
{
	uint8_t *eth = super.frame + sizeof(struct virtio_net_hdr);
	uint8_t *ip = eth + ETH_BYTES, *udp = ip + IP_BYTES;
	size_t udp_len = UDP_BYTES + super.bytes, total = ETH_BYTES + IP_BYTES + udp_len;
	size_t size = g->size ? g->size : super.first;
	size_t linear = g->linear ? g->linear : ETH_BYTES + IP_BYTES + UDP_BYTES;
	struct virtio_net_hdr v = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .gso_type = VIRTIO_NET_HDR_GSO_UDP_L4,
		.hdr_len = (uint16_t)(linear < total ? linear : total),
		.gso_size = (uint16_t)size,
		.csum_start = ETH_BYTES + IP_BYTES, .csum_offset = 6,
	};
	uint32_t sum;

	if (super.dst != s->mac_of)
		learn_mac(s, super.dst);
	s->id = (uint16_t)(super.id + super.packets - 1);
	super.pieces = (super.bytes + size - 1) / size;
	memcpy(super.frame, &v, sizeof(v));
	memcpy(eth, s->mac, 6);
	memcpy(eth + 6, s->own, 6);
	put16(eth + 12, ETH_P_IP);
	headers(ip, super.id, super.src, super.dst, super.bytes);
	put16(ip + 2, (uint32_t)((int)(IP_BYTES + udp_len) + g->ip_more));
	put16(udp + 4, (uint32_t)((int)udp_len + g->udp_more));
	put16(ip + 10, ~sum16(0, ip, IP_BYTES));
	/* Of the UDP checksum, what the pseudo header adds; the rest is whoever's that cuts. */
	sum = sum16((uint32_t)udp_len + IPPROTO_UDP, ip + 12, 8);
	put16(udp + 6, sum);
	if (send(s->frames, super.frame, sizeof(v) + total, 0) != (ssize_t)(sizeof(v) + total)) {
		if (errno == EINVAL)
			return false;
		t_die("sending a super-packet of %zu bytes: %s", total, strerror(errno));
	}
	s->packets += super.packets;
	s->bytes += total;
	return true;
}

size_t sp_super_pieces(void)
{
	return super.pieces;
}

/* ---- what arrives ---- */

/* The next RoCE packet, from the BTH to the ICRC. NULL: there is none. */
static const uint8_t *take(struct sp *s, size_t *n)
{
	const uint8_t *ip = s->got + sizeof(struct virtio_net_hdr) + ETH_BYTES, *bth;
	struct virtio_net_hdr v;
	size_t udp_len;
	ssize_t got;

	while (!s->left) {
		got = recv(s->rx, s->got, sizeof(s->got), MSG_DONTWAIT);
		if (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
			t_die("the packet socket: %s", strerror(errno));
		if (got < 0)
			return NULL;
		memcpy(&v, s->got, sizeof(v));
		got -= (ssize_t)(ip - s->got);
		if (got < IP_BYTES + UDP_BYTES || ip[0] != 0x45 || ip[9] != IPPROTO_UDP ||
		    (ip[22] << 8 | ip[23]) != PORT)
			continue;
		udp_len = (size_t)(ip[24] << 8 | ip[25]);
		if (udp_len <= UDP_BYTES || IP_BYTES + udp_len > (size_t)got)
			continue;
		s->at = (size_t)(ip - s->got) + IP_BYTES + UDP_BYTES;
		s->left = udp_len - UDP_BYTES;
		s->segment = v.gso_type == VIRTIO_NET_HDR_GSO_UDP_L4 ? v.gso_size : s->left;
	}
	bth = s->got + s->at;
	*n = s->left < s->segment ? s->left : s->segment;
	s->at += *n;
	s->left -= *n;
	return bth;
}

bool sp_next(struct sp *s, uint32_t qpn, struct sp_hdr *h, uint8_t *payload, size_t *len,
	     double seconds)
{
	double end = t_now() + seconds, left;
	const uint8_t *at, *bth;
	size_t n, bytes;

	for (;;) {
		while ((bth = take(s, &n)) != NULL) {
			if (!dissect(bth, n, h, &at, &bytes) || h->qpn != qpn)
				continue;
			if (payload)
				memcpy(payload, at, bytes);
			if (len)
				*len = bytes;
			return true;
		}
		left = end - t_now();
		if (left <= 0)
			return false;
		poll(&(struct pollfd){ .fd = s->rx, .events = POLLIN }, 1, (int)(left * 1e3) + 1);
	}
}
