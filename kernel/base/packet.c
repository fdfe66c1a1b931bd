// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * RoCEv2 transport headers: conversion between wire format and host form.
 *
 * Each opcode is a set of flags, and the flags say which extended headers follow the BTH and in
 * which order (IBTA 9.3). So the parser, the builder and the lengths use one table.
 *
 * Base: pure, calls nothing, and is compiled for user space as well. The wire carrier builds and
 * parses its packets with it.
 */
#include "base/packet.h"

#define F_KNOWN	PRXE_OPF_KNOWN
#define F_REQ	(PRXE_OPF_KNOWN | PRXE_OPF_REQ)
#define F_FIRST	PRXE_OPF_FIRST
#define F_LAST	PRXE_OPF_LAST
#define F_ONLY	(PRXE_OPF_FIRST | PRXE_OPF_LAST)
#define F_SEND	(F_REQ | PRXE_OPF_SEND | PRXE_OPF_PAYLOAD)
#define F_WRITE	(F_REQ | PRXE_OPF_WRITE | PRXE_OPF_PAYLOAD)
#define F_RRESP	(F_KNOWN | PRXE_OPF_READ | PRXE_OPF_PAYLOAD)
#define F_IMM	PRXE_OPF_IMM
#define F_INV	PRXE_OPF_INV
#define F_RETH	PRXE_OPF_RETH
#define F_AETH	PRXE_OPF_AETH
#define F_DETH	PRXE_OPF_DETH
/* There are extended headers. (The 16 bytes of a CNP, which say nothing, count as one.) */
#define F_EXTENDED \
	(F_DETH | PRXE_OPF_FLUSH | PRXE_OPF_CNP | F_RETH | PRXE_OPF_ATOMIC | F_AETH | F_IMM | F_INV)

static const u32 op_flags[256] = {
#define CONNECTED(t) \
	[t | PRXE_SEND_FIRST]		= F_SEND | F_FIRST, \
	[t | PRXE_SEND_MIDDLE]		= F_SEND, \
	[t | PRXE_SEND_LAST]		= F_SEND | F_LAST, \
	[t | PRXE_SEND_LAST_IMM]	= F_SEND | F_LAST | F_IMM, \
	[t | PRXE_SEND_ONLY]		= F_SEND | F_ONLY, \
	[t | PRXE_SEND_ONLY_IMM]	= F_SEND | F_ONLY | F_IMM, \
	[t | PRXE_WRITE_FIRST]		= F_WRITE | F_FIRST | F_RETH, \
	[t | PRXE_WRITE_MIDDLE]		= F_WRITE, \
	[t | PRXE_WRITE_LAST]		= F_WRITE | F_LAST, \
	[t | PRXE_WRITE_LAST_IMM]	= F_WRITE | F_LAST | F_IMM, \
	[t | PRXE_WRITE_ONLY]		= F_WRITE | F_ONLY | F_RETH, \
	[t | PRXE_WRITE_ONLY_IMM]	= F_WRITE | F_ONLY | F_RETH | F_IMM
	CONNECTED(PRXE_RC),
	CONNECTED(PRXE_UC),
#undef CONNECTED
	[PRXE_READ_REQUEST]		= F_REQ | F_ONLY | PRXE_OPF_READ | F_RETH,
	[PRXE_READ_FIRST]		= F_RRESP | F_FIRST | F_AETH,
	[PRXE_READ_MIDDLE]		= F_RRESP,
	[PRXE_READ_LAST]		= F_RRESP | F_LAST | F_AETH,
	[PRXE_READ_ONLY]		= F_RRESP | F_ONLY | F_AETH,
	[PRXE_ACKNOWLEDGE]		= F_KNOWN | F_ONLY | PRXE_OPF_ACK | F_AETH,
	[PRXE_ATOMIC_ACKNOWLEDGE]	= F_KNOWN | F_ONLY | PRXE_OPF_ATOMIC | F_AETH,
	[PRXE_COMPARE_SWAP]		= F_REQ | F_ONLY | PRXE_OPF_ATOMIC,
	[PRXE_FETCH_ADD]		= F_REQ | F_ONLY | PRXE_OPF_ATOMIC,
	[PRXE_SEND_LAST_INV]		= F_SEND | F_LAST | F_INV,
	[PRXE_SEND_ONLY_INV]		= F_SEND | F_ONLY | F_INV,
	[PRXE_FLUSH]			= F_REQ | F_ONLY | PRXE_OPF_FLUSH | F_RETH,
	[PRXE_ATOMIC_WRITE_OP]		= F_REQ | F_ONLY | PRXE_OPF_ATOMIC_WRITE |
					  PRXE_OPF_PAYLOAD | F_RETH,
	[PRXE_CNP]			= F_KNOWN | F_ONLY | PRXE_OPF_CNP,
	[PRXE_UD | PRXE_SEND_ONLY]	= F_SEND | F_ONLY | F_DETH,
	[PRXE_UD | PRXE_SEND_ONLY_IMM]	= F_SEND | F_ONLY | F_DETH | F_IMM,
};

u32 prxe_op_flags(u8 opcode)
{
	return op_flags[opcode];
}

static bool is_atomic_req(u32 f)
{
	return (f & (PRXE_OPF_REQ | PRXE_OPF_ATOMIC)) == (PRXE_OPF_REQ | PRXE_OPF_ATOMIC);
}

static bool is_atomic_ack(u32 f)
{
	return (f & (PRXE_OPF_REQ | PRXE_OPF_ATOMIC)) == PRXE_OPF_ATOMIC;
}

unsigned int prxe_op_hdr_len(u8 opcode)
{
	u32 f = op_flags[opcode];

	/* First the packets that there are most of: they have nothing but a BTH. */
	if ((f & (F_KNOWN | F_EXTENDED)) == F_KNOWN)
		return PRXE_BTH_BYTES;
	if (!f)
		return 0;
	return PRXE_BTH_BYTES + (f & F_DETH ? 8 : 0) + (f & PRXE_OPF_FLUSH ? 4 : 0) +
	       (f & (F_RETH | PRXE_OPF_CNP) ? 16 : 0) +
	       (is_atomic_req(f) ? 28 : 0) + (f & F_AETH ? 4 : 0) + (is_atomic_ack(f) ? 8 : 0) +
	       (f & (F_IMM | F_INV) ? 4 : 0);
}

static u32 get32(const u8 *p)
{
	return (u32)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
}

static u64 get64(const u8 *p)
{
	return (u64)get32(p) << 32 | get32(p + 4);
}

static u8 *put32(u8 *p, u32 v)
{
	p[0] = v >> 24;
	p[1] = v >> 16;
	p[2] = v >> 8;
	p[3] = v;
	return p + 4;
}

static u8 *put64(u8 *p, u64 v)
{
	return put32(put32(p, v >> 32), v);
}

int prxe_pkt_parse(struct prxe_pkt *pkt, const u8 *hdr, u32 avail, u32 len)
{
	const u8 *p = hdr + PRXE_BTH_BYTES;
	unsigned int bytes;
	u32 f;

	if (avail < PRXE_BTH_BYTES || len < PRXE_BTH_BYTES + PRXE_ICRC_BYTES)
		return -EINVAL;
	bytes = prxe_op_hdr_len(hdr[0]);
	if (!bytes || avail < bytes || len < bytes + PRXE_ICRC_BYTES)
		return -EINVAL;
	/* Transport header version 0 is the only one. */
	if (hdr[1] & 0x0f)
		return -EINVAL;
	f = op_flags[hdr[0]];
	pkt->opcode = hdr[0];
	pkt->flags = f;
	pkt->se = hdr[1] >> 7;
	pkt->pad = (hdr[1] >> 4) & 3;
	pkt->pkey = hdr[2] << 8 | hdr[3];
	pkt->qpn = get32(hdr + 4) & 0xffffff;
	pkt->ackreq = hdr[8] >> 7;
	pkt->psn = get32(hdr + 8) & PRXE_PSN_MASK;

	if (!(f & F_EXTENDED))
		goto payload;
	if (f & F_DETH) {
		pkt->qkey = get32(p);
		pkt->src_qp = get32(p + 4) & 0xffffff;
		p += 8;
	}
	if (f & PRXE_OPF_FLUSH) {
		pkt->feth = get32(p);
		p += 4;
	}
	if (f & F_RETH) {
		pkt->va = get64(p);
		pkt->rkey = get32(p + 8);
		pkt->dma_len = get32(p + 12);
		p += 16;
	}
	if (is_atomic_req(f)) {
		pkt->va = get64(p);
		pkt->rkey = get32(p + 8);
		pkt->swap_add = get64(p + 12);
		pkt->compare = get64(p + 20);
		pkt->dma_len = 8;
		p += 28;
	}
	if (f & F_AETH) {
		pkt->syndrome = p[0];
		pkt->msn = get32(p) & 0xffffff;
		p += 4;
	}
	if (is_atomic_ack(f)) {
		pkt->orig = get64(p);
		p += 8;
	}
	if (f & F_IMM) {
		memcpy(&pkt->imm, p, 4);
		p += 4;
	} else if (f & F_INV) {
		pkt->ieth = get32(p);
		p += 4;
	}

payload:
	pkt->payload_off = bytes;
	len -= bytes + PRXE_ICRC_BYTES;
	if (pkt->pad > len || len & 3)
		return -EINVAL;
	pkt->payload_len = len - pkt->pad;
	if (pkt->payload_len && !(f & PRXE_OPF_PAYLOAD))
		return -EINVAL;
	return 0;
}

unsigned int prxe_pkt_build(struct prxe_pkt *pkt, u8 *hdr)
{
	u32 f = op_flags[pkt->opcode];
	u8 *p = hdr + PRXE_BTH_BYTES;

	pkt->flags = f;
	pkt->pad = -pkt->payload_len & 3;
	hdr[0] = pkt->opcode;
	hdr[1] = (pkt->se ? 0x80 : 0) | 0x40 /* MigReq: migrated */ | pkt->pad << 4;
	hdr[2] = 0xff;
	hdr[3] = 0xff;
	put32(hdr + 4, pkt->qpn & 0xffffff);
	put32(hdr + 8, (pkt->psn & PRXE_PSN_MASK) | (pkt->ackreq ? 0x80000000 : 0));

	if (f & F_DETH)
		p = put32(put32(p, pkt->qkey), pkt->src_qp & 0xffffff);
	if (f & PRXE_OPF_FLUSH)
		p = put32(p, pkt->feth);
	if (f & PRXE_OPF_CNP) {
		hdr[1] &= ~0x40;	/* it has no migration state */
		hdr[4] |= 0x40;	/* BECN */
		p = put64(put64(p, 0), 0);
	}
	if (f & F_RETH)
		p = put32(put32(put64(p, pkt->va), pkt->rkey), pkt->dma_len);
	if (is_atomic_req(f))
		p = put64(put64(put32(put64(p, pkt->va), pkt->rkey), pkt->swap_add), pkt->compare);
	if (f & F_AETH)
		p = put32(p, (u32)pkt->syndrome << 24 | (pkt->msn & 0xffffff));
	if (is_atomic_ack(f))
		p = put64(p, pkt->orig);
	if (f & F_IMM) {
		memcpy(p, &pkt->imm, 4);
		p += 4;
	} else if (f & F_INV) {
		p = put32(p, pkt->ieth);
	}
	pkt->payload_off = p - hdr;
	return p - hdr;
}

u64 prxe_rnr_ns(u8 code)
{
	/* IBTA table 45, in units of 10 us. */
	static const u32 t[32] = {
		65536, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192,
		256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288,
		16384, 24576, 32768, 49152,
	};

	return t[code & 31] * 10000ULL;
}
