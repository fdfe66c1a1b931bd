/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RoCEv2 packets by hand: built, given an ICRC and sent through a raw IPv4 socket of a network
 * namespace, under any source address; and what arrives there, as a peer would see it. So a test
 * can be a connection's peer, an attacker who pretends to be it, or a stranger.
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

#define SP_SYN_ACK 0x1f
#define SP_SYN_RNR 0x20
#define SP_SYN_NAK 0x60

#define SP_MASK 0xffffffU /* of PSNs and QP numbers */
#define SP_MAX 65000	  /* bytes from the BTH on, without the ICRC */

struct sp_hdr {
	uint8_t op, ver, syndrome;
	bool se, ackreq, fecn;
	uint16_t pkey;		/* 0: the default one */
	uint32_t qpn, psn;
	uint64_t va, compare, swap, orig;
	uint32_t rkey, dma_len, msn, imm, feth, qkey, src_qp;
	int more_pad;		/* added to the pad count that the payload needs */
};

/* How a packet is sent. */
#define SP_BAD_ICRC	1	/* one bit of it is wrong */
#define SP_HALF		2	/* the last IP fragment is left out: never put together */
#define SP_SWAPPED	4	/* IP fragments from the last to the first */
#define SP_OPTIONS	8	/* the IP header has options */
/* After the ICRC was computed, as .mutation says, so that it is wrong: */
#define SP_FLIP		16	/* some bits of one or two bytes */
#define SP_CUT		32	/* the end is missing */

struct sp {
	int tx, rx;		/* rx: -1 without sniffing */
	unsigned frag;		/* larger IP packets go in fragments of that */
	uint16_t id;
	uint64_t mutation;	/* of SP_FLIP and SP_CUT */
	unsigned long long packets, bytes;
};

/*
 * A sender in network namespace @ns, whose netdev @ifname is; with @sniff it sees what arrives
 * there as well. Dies on failure.
 */
void sp_open(struct sp *s, const char *ns, const char *ifname, bool sniff);
/* The host joins a multicast group there; until the socket is closed. */
int sp_join(const char *ns, const char *ifname, uint32_t group);
void sp_close(struct sp *s);
/* The bytes of BTH, extended headers, payload and padding; returns their number. */
size_t sp_build(uint8_t *at, const struct sp_hdr *h, const void *payload, size_t len);
/* Sends @n such bytes, in whole or not. Addresses in network order. */
void sp_send_raw(struct sp *s, uint32_t src, uint32_t dst, const uint8_t *bth, size_t n,
		 unsigned how);
/* The last one once more: nothing is computed again. */
void sp_again(struct sp *s);
void sp_send(struct sp *s, uint32_t src, uint32_t dst, const struct sp_hdr *h,
	     const void *payload, size_t len);
/* A whole UDP payload, with nothing of RoCE added. */
void sp_send_udp(struct sp *s, uint32_t src, uint32_t dst, const void *p, size_t n);
/*
 * The next packet that arrives for QP @qpn; false: none within that time. @payload (room for
 * SP_MAX) may be NULL.
 */
bool sp_next(struct sp *s, uint32_t qpn, struct sp_hdr *h, uint8_t *payload, size_t *len,
	     double seconds);

#endif
