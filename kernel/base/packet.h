/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * RoCEv2 packets (IBTA vol. 1 chapter 9, annex A17): conversion of headers between wire format and
 * host form. Plain functions on memory, which call nothing, in any context: they are compiled for
 * user space too, for the unit tests.
 */
#ifndef PRXE_PACKET_H
#define PRXE_PACKET_H

#include "base/packet_types.h"

/* Opcodes are IB_OPCODE_* of <rdma/ib_pack.h>: transport in the top three bits, operation below. */
#define PRXE_OP(op)		((op) & 0x1f)
#define PRXE_TRANSPORT(op)	((op) & 0xe0)

enum prxe_op_flags {
	PRXE_OPF_KNOWN	= 1 << 0,
	PRXE_OPF_REQ	= 1 << 1,
	PRXE_OPF_FIRST	= 1 << 2,	/* an ONLY is FIRST and LAST */
	PRXE_OPF_LAST	= 1 << 3,
	PRXE_OPF_SEND	= 1 << 4,
	PRXE_OPF_WRITE	= 1 << 5,
	PRXE_OPF_READ	= 1 << 6,	/* request, or response */
	PRXE_OPF_ATOMIC	= 1 << 7,	/* request, or acknowledge */
	PRXE_OPF_ACK	= 1 << 8,
	PRXE_OPF_IMM	= 1 << 9,
	PRXE_OPF_INV	= 1 << 10,
	PRXE_OPF_PAYLOAD = 1 << 11,	/* may carry payload */
	PRXE_OPF_RETH	= 1 << 12,
	PRXE_OPF_AETH	= 1 << 13,
	PRXE_OPF_DETH	= 1 << 14,
	PRXE_OPF_ATOMIC_WRITE = 1 << 15,
	PRXE_OPF_FLUSH	= 1 << 16,
	PRXE_OPF_CNP	= 1 << 17,
};

/*
 * Opcodes, with the values of IB_OPCODE_RC_* (some kernels lack the last two). For UC and UD, add
 * PRXE_UC or PRXE_UD.
 */
enum prxe_opcode {
	PRXE_SEND_FIRST, PRXE_SEND_MIDDLE, PRXE_SEND_LAST, PRXE_SEND_LAST_IMM,
	PRXE_SEND_ONLY, PRXE_SEND_ONLY_IMM,
	PRXE_WRITE_FIRST, PRXE_WRITE_MIDDLE, PRXE_WRITE_LAST, PRXE_WRITE_LAST_IMM,
	PRXE_WRITE_ONLY, PRXE_WRITE_ONLY_IMM,
	PRXE_READ_REQUEST, PRXE_READ_FIRST, PRXE_READ_MIDDLE, PRXE_READ_LAST, PRXE_READ_ONLY,
	PRXE_ACKNOWLEDGE, PRXE_ATOMIC_ACKNOWLEDGE, PRXE_COMPARE_SWAP, PRXE_FETCH_ADD,
	PRXE_SEND_LAST_INV = 0x16, PRXE_SEND_ONLY_INV = 0x17,
	PRXE_FLUSH = 0x1c, PRXE_ATOMIC_WRITE_OP = 0x1d,
};

/*
 * A congestion notification packet (IBTA A17.9.3), which belongs to no transport: for the peer of
 * an RC or UC QP.
 */
#define PRXE_CNP	0x81

#define PRXE_RC	0x00
#define PRXE_UC	0x20
#define PRXE_UD	0x60

/* PRXE_OPF_* of an opcode; 0 for an opcode that this driver does not know. */
u32 prxe_op_flags(u8 opcode);
/* Length in bytes of all transport headers, BTH and extended; 0 for an unknown opcode. */
unsigned int prxe_op_hdr_len(u8 opcode);

/* AETH syndromes (IBTA 9.7.5.2.1) */
#define PRXE_AETH_ACK		0x00
#define PRXE_AETH_RNR		0x20	/* | 5-bit timer code */
#define PRXE_AETH_NAK		0x60	/* | code */
#define PRXE_AETH_TYPE(s)	((s) & 0xe0)
#define PRXE_AETH_VALUE(s)	((s) & 0x1f)
enum prxe_nak {
	PRXE_NAK_PSN_SEQ = 0,
	PRXE_NAK_INV_REQ = 1,
	PRXE_NAK_REM_ACC = 2,
	PRXE_NAK_REM_OP = 3,
	PRXE_NAK_RD_REQ = 4
};

#define PRXE_AETH_UNLIMITED	0x1f	/* credits: no end-to-end flow control */

/*
 * FLUSH (IBTA A19.4), in the FETH and in the work request. The types are flags, at least one of
 * them set.
 */
#define PRXE_FLUSH_GLOBAL	1U	/* make the bytes visible to all of the host */
#define PRXE_FLUSH_PERSISTENT	2U
#define PRXE_FLUSH_RANGE	0U	/* the bytes that the RETH names */
#define PRXE_FLUSH_WHOLE	1U	/* the whole MR or memory window of its R_Key */
#define PRXE_FETH(type, level)	((level) << 4 | (type))
#define PRXE_FETH_TYPE(feth)	((feth) & 0xf)
#define PRXE_FETH_LEVEL(feth)	((feth) >> 4 & 3)
static inline bool prxe_flush_known(u32 type, u32 level)
{
	return type && !(type & ~(PRXE_FLUSH_GLOBAL | PRXE_FLUSH_PERSISTENT)) &&
	       level <= PRXE_FLUSH_WHOLE;
}

/* A packet in host byte order. The opcode says which of the members after psn are valid. */
struct prxe_pkt {
	u8 opcode;
	u32 flags;		/* prxe_op_flags(opcode) */
	u8 se, ackreq, pad;
	u16 pkey;
	u32 qpn, psn;
	u64 va; u32 rkey, dma_len;		/* RETH; of the AtomicETH, va and rkey */
	u64 compare, swap_add;			/* AtomicETH */
	u8 syndrome; u32 msn;			/* AETH */
	u64 orig;				/* AtomicAckETH */
	u32 imm;				/* as on the wire: __be32 by cast */
	u32 ieth;
	u32 feth;				/* FLUSH: placement type and selectivity */
	u32 qkey, src_qp;			/* DETH */
	u32 payload_off, payload_len;		/* offset from the BTH; length without pad, ICRC */
};

#define PRXE_BTH_BYTES		12
#define PRXE_MAX_HDR_BYTES	64	/* room for BTH and extended headers of any opcode */
#define PRXE_ICRC_BYTES		4

/*
 * Parse a packet of @len bytes, which begin with the BTH and end with the ICRC. The first @avail of
 * them are at @hdr: at least all headers (prxe_op_hdr_len()). 0; -EINVAL: too short, an unknown
 * opcode, a bad version, a pad that is larger than the payload, or a payload where the opcode has
 * none.
 */
int prxe_pkt_parse(struct prxe_pkt *pkt, const u8 *hdr, u32 avail, u32 len);
/*
 * Write the BTH and extended headers of pkt->opcode at @hdr, which has room for PRXE_MAX_HDR_BYTES;
 * returns their length. Computes the flags, and the pad from payload_len.
 */
unsigned int prxe_pkt_build(struct prxe_pkt *pkt, u8 *hdr);

/* PSN arithmetic, modulo 2^24 (IBTA 9.7.1): < 0, 0 or > 0 when a is before, at or after b. */
#define PRXE_PSN_MASK 0xffffff
static inline s32 prxe_psn_cmp(u32 a, u32 b)
{
	return (s32)((a - b) << 8) >> 8;
}

static inline u32 prxe_psn_add(u32 psn, u32 n)
{
	return (psn + n) & PRXE_PSN_MASK;
}

/*
 * Nanoseconds for a 5-bit RNR timer code (IBTA table 45), and for a 5-bit ACK timeout t: 4.096 us *
 * 2^t; t = 0 means no timeout.
 */
u64 prxe_rnr_ns(u8 code);
static inline u64 prxe_timeout_ns(u8 t)
{
	return t ? 4096ULL << t : 0;
}

/* How many packets a message of @len bytes needs at this MTU; an empty one needs one. */
static inline u32 prxe_pkts(u32 len, u32 mtu_shift)
{
	return len ? ((len - 1) >> mtu_shift) + 1 : 1;
}

#endif
