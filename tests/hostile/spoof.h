/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RoCEv2 packets by hand: built, given an ICRC and sent through a raw IPv4 socket of a network
 * namespace, from any source address; and the packets that arrive there. So a test can be a
 * connection's peer, an attacker who pretends to be the peer, or a stranger.
 */
#ifndef SPOOF_H
#define SPOOF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Operations: the low five bits of an opcode; the transport is added. */
enum {
	SP_SEND_FIRST, SP_SEND_MIDDLE, SP_SEND_LAST, SP_SEND_LAST_IMM, SP_SEND_ONLY,
	SP_SEND_ONLY_IMM, SP_WRITE_FIRST, SP_WRITE_MIDDLE, SP_WRITE_LAST, SP_WRITE_LAST_IMM,
	SP_WRITE_ONLY, SP_WRITE_ONLY_IMM, SP_READ_REQ, SP_READ_FIRST, SP_READ_MIDDLE, SP_READ_LAST,
	SP_READ_ONLY, SP_ACK, SP_ATOMIC_ACK, SP_CMP_SWAP, SP_FETCH_ADD,
	SP_SEND_LAST_INV = 0x16, SP_SEND_ONLY_INV, SP_FLUSH = 0x1c, SP_ATOMIC_WRITE,
	SP_OPS = 0x20,
};
#define SP_RC 0x00
#define SP_UC 0x20
#define SP_UD 0x60
#define SP_CNP 0x81 /* a congestion notification; its 16 bytes are its payload here */

#define SP_SYN_ACK 0x1f
#define SP_SYN_RNR 0x20
#define SP_SYN_NAK 0x60

#define SP_MASK 0xffffffU /* of PSNs and QP numbers */
#define SP_MAX 65000	  /* bytes from the BTH on, without the ICRC */

struct sp_hdr {
	uint8_t op, ver, syndrome;
	bool se, ackreq, fecn, becn;
	uint16_t pkey;		/* 0: the default one */
	uint32_t qpn, psn;
	uint64_t va, compare, swap, orig;
	uint32_t rkey, dma_len, msn, imm, feth, qkey, src_qp;
	int more_pad;		/* added to the pad count that the payload needs */
};

#define SP_CE 3

/* How a packet is sent. */
#define SP_BAD_ICRC	1	/* one bit of it is wrong */
#define SP_HALF		2	/* the last IP fragment is left out: never put together */
#define SP_SWAPPED	4	/* IP fragments from the last to the first */
#define SP_OPTIONS	8	/* the IP header has options */
/* Changes after the ICRC was computed (chosen by .mutation), so that it is wrong: */
#define SP_FLIP		16	/* some bits of one or two bytes */
#define SP_CUT		32	/* the end is missing */

struct sp {
	int tx, rx;		/* rx: -1 without sniffing */
	int frames;		/* super-packets are sent here */
	unsigned frag;		/* larger IP packets are sent in fragments of this size */
	uint8_t tos;		/* of the IP header; SP_CE: the network is congested */
	uint16_t id;
	uint64_t mutation;	/* of SP_FLIP and SP_CUT */
	unsigned long long packets, bytes;
	const char *ifname;
	uint32_t mac_of;	/* the address whose MAC address is in mac */
	uint8_t mac[6], own[6];
	uint8_t got[65600];	/* what arrived last: some of it may be packets still to be read */
	size_t at, left, segment;
};

/*
 * Opens a sender in network namespace @ns, with the netdev @ifname. With @sniff, sp_next() can read
 * what arrives there. Dies on failure.
 */
void sp_open(struct sp *s, const char *ns, const char *ifname, bool sniff);
/* The host joins a multicast group there, until the socket that is returned is closed. */
int sp_join(const char *ns, const char *ifname, uint32_t group);
void sp_close(struct sp *s);
/* Writes BTH, extended headers, payload and padding to @at. Returns their number of bytes. */
size_t sp_build(uint8_t *at, const struct sp_hdr *h, const void *payload, size_t len);
/* Sends @n such bytes, in fragments if they are many. Addresses in network order. */
void sp_send_raw(struct sp *s, uint32_t src, uint32_t dst, const uint8_t *bth, size_t n,
		 unsigned how);
/* Sends the last packet once more; nothing is computed again. */
void sp_again(struct sp *s);
void sp_send(struct sp *s, uint32_t src, uint32_t dst, const struct sp_hdr *h,
	     const void *payload, size_t len);
/* Sends @n bytes as a whole UDP payload, without headers or ICRC of RoCE. */
void sp_send_udp(struct sp *s, uint32_t src, uint32_t dst, const void *p, size_t n);
/*
 * Super-packets: many packets behind one IP and UDP header, as Linux passes them through its
 * network stack (UDP GSO). Who takes them apart gives each packet headers of its own: lengths, and
 * the IP ID of the first and its number. So each has the ICRC of those headers.
 *
 * sp_super() begins one, sp_super_add() adds packets as sp_send_raw() sends them (@how:
 * SP_BAD_ICRC, SP_FLIP, SP_CUT). False: no room. They are cut from it in pieces of .size bytes, so
 * all but the last must have that size, ICRC included, to arrive as they are.
 */
#define SP_SUPER_MAX 64
struct sp_gso {
	unsigned size;		/* 0: of the first packet */
	int udp_more, ip_more;	/* added to the lengths in the headers: wrong ones */
	unsigned linear;	/* bytes in the first piece of memory; 0: all headers */
};
void sp_super(struct sp *s, uint32_t src, uint32_t dst);
bool sp_super_add(struct sp *s, const uint8_t *bth, size_t n, unsigned how);
/* False: the kernel does not take such a thing. sp_super_pieces(): into how many it is cut. */
bool sp_super_send(struct sp *s, const struct sp_gso *g);
size_t sp_super_pieces(void);
/*
 * The next packet that arrives for QP @qpn, alone or in a super-packet. False: none came within
 * @seconds. @payload (room for SP_MAX) may be NULL.
 */
bool sp_next(struct sp *s, uint32_t qpn, struct sp_hdr *h, uint8_t *payload, size_t *len,
	     double seconds);

#endif
