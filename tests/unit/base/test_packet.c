// SPDX-License-Identifier: BSD-2-Clause
/* kernel/base/packet.c and the arithmetic of packet.h, in plain user space. */
#include "common.h"
#include "base/packet.h"

/* IBTA 9.3 and table 38, written out once more: opcode, bytes of all headers, what may follow. */
enum {
	P = 1, RETH = 2, AETH = 4, DETH = 8, ATOMIC = 16, ORIG = 32, IMM = 64, IETH = 128,
	FETH = 256, REQ = 512,
};

static const struct op { u8 opcode; u8 hdr; u16 has; } ops[] = {
#define CONNECTED(t) \
	{ t + 0, 12, P | REQ }, { t + 1, 12, P | REQ }, { t + 2, 12, P | REQ }, \
	{ t + 3, 16, P | IMM | REQ }, { t + 4, 12, P | REQ }, { t + 5, 16, P | IMM | REQ }, \
	{ t + 6, 28, P | RETH | REQ }, { t + 7, 12, P | REQ }, { t + 8, 12, P | REQ }, \
	{ t + 9, 16, P | IMM | REQ }, { t + 10, 28, P | RETH | REQ }, \
	{ t + 11, 32, P | RETH | IMM | REQ }
	CONNECTED(0x00), CONNECTED(0x20),
	{ 0x0c, 28, RETH | REQ },				/* RDMA READ request */
	{ 0x0d, 16, P | AETH }, { 0x0e, 12, P }, { 0x0f, 16, P | AETH }, { 0x10, 16, P | AETH },
	{ 0x11, 16, AETH },					/* ACK */
	{ 0x12, 24, AETH | ORIG },				/* atomic ACK */
	{ 0x13, 40, ATOMIC | REQ }, { 0x14, 40, ATOMIC | REQ },
	{ 0x16, 16, P | IETH | REQ }, { 0x17, 16, P | IETH | REQ },
	{ 0x1c, 32, FETH | RETH | REQ },			/* FLUSH */
	{ 0x1d, 28, P | RETH | REQ },				/* ATOMIC WRITE */
	{ 0x81, 28, 0 },					/* CNP: 16 reserved bytes */
	{ 0x64, 20, P | DETH | REQ }, { 0x65, 24, P | DETH | IMM | REQ },
};
#define NUM (sizeof(ops) / sizeof(ops[0]))

static const struct op *find(u8 opcode)
{
	for (size_t i = 0; i < NUM; i++)
		if (ops[i].opcode == opcode)
			return &ops[i];
	return NULL;
}

static void opcodes(void **state)
{
	const u32 both = PRXE_OPF_FIRST | PRXE_OPF_LAST;

	for (int i = 0; i < 256; i++) {
		const struct op *op = find(i);

		assert_int_equal(prxe_op_hdr_len(i), op ? op->hdr : 0);
		assert_int_equal(!!prxe_op_flags(i), !!op);
		assert_true(prxe_op_hdr_len(i) <= PRXE_MAX_HDR_BYTES);
		if (!op)
			continue;
		assert_int_equal(!!(prxe_op_flags(i) & PRXE_OPF_REQ), !!(op->has & REQ));
		assert_int_equal(!!(prxe_op_flags(i) & PRXE_OPF_PAYLOAD), !!(op->has & P));
		assert_int_equal(!!(prxe_op_flags(i) & PRXE_OPF_RETH), !!(op->has & RETH));
		assert_int_equal(!!(prxe_op_flags(i) & PRXE_OPF_AETH), !!(op->has & AETH));
		assert_int_equal(!!(prxe_op_flags(i) & PRXE_OPF_IMM), !!(op->has & IMM));
		assert_int_equal(!!(prxe_op_flags(i) & PRXE_OPF_INV), !!(op->has & IETH));
	}
	/* First and last packets of messages. */
	assert_int_equal(prxe_op_flags(0x00) & both, PRXE_OPF_FIRST);
	assert_int_equal(prxe_op_flags(0x01) & both, 0);
	assert_int_equal(prxe_op_flags(0x09) & both, PRXE_OPF_LAST);
	assert_int_equal(prxe_op_flags(0x0a) & both, both);
	assert_int_equal(prxe_op_flags(0x0d) & both, PRXE_OPF_FIRST);
	assert_int_equal(prxe_op_flags(0x0e) & both, 0);
	assert_int_equal(prxe_op_flags(0x0f) & both, PRXE_OPF_LAST);
}

/* Every header that @has says: equal in @a and @b. */
static void same(const struct prxe_pkt *a, const struct prxe_pkt *b, u16 has)
{
	assert_int_equal(a->opcode, b->opcode);
	assert_int_equal(a->flags, b->flags);
	assert_int_equal(!!a->se, !!b->se);
	assert_int_equal(!!a->ackreq, !!b->ackreq);
	assert_int_equal(a->qpn, b->qpn);
	assert_int_equal(a->psn, b->psn);
	assert_int_equal(a->payload_len, b->payload_len);
	assert_int_equal(a->payload_off, b->payload_off);
	assert_int_equal(a->pad, b->pad);
	if (has & (RETH | ATOMIC)) {
		assert_true(a->va == b->va);
		assert_int_equal(a->rkey, b->rkey);
	}
	if (has & RETH)
		assert_int_equal(a->dma_len, b->dma_len);
	if (has & ATOMIC) {
		assert_true(a->compare == b->compare);
		assert_true(a->swap_add == b->swap_add);
	}
	if (has & AETH) {
		assert_int_equal(a->syndrome, b->syndrome);
		assert_int_equal(a->msn, b->msn);
	}
	if (has & ORIG)
		assert_true(a->orig == b->orig);
	if (has & IMM)
		assert_int_equal(a->imm, b->imm);
	if (has & IETH)
		assert_int_equal(a->ieth, b->ieth);
	if (has & FETH)
		assert_int_equal(a->feth, b->feth);
	if (has & DETH) {
		assert_int_equal(a->qkey, b->qkey);
		assert_int_equal(a->src_qp, b->src_qp);
	}
}

static struct prxe_pkt some_packet(struct rnd *r, const struct op *op)
{
	struct prxe_pkt pkt;

	rnd_fill(r, &pkt, sizeof(pkt));
	pkt.opcode = op->opcode;
	pkt.se = rnd_below(r, 2);
	pkt.ackreq = rnd_below(r, 2);
	pkt.qpn &= 0xffffff;
	pkt.psn &= 0xffffff;
	pkt.msn &= 0xffffff;
	pkt.src_qp &= 0xffffff;
	pkt.payload_len = op->has & P ? rnd_below(r, 4097) : 0;
	return pkt;
}

static void round_trip(void **state)
{
	struct rnd r = rnd_start(1);

	for (size_t i = 0; i < NUM; i++)
		for (int n = 0; n < 200; n++) {
			struct prxe_pkt in = some_packet(&r, &ops[i]), out;
			u32 len = ops[i].hdr + in.payload_len + (-in.payload_len & 3) + 4;
			/* Not one byte more may be written or read. */
			u8 *p = malloc(ops[i].hdr);

			assert_int_equal(prxe_pkt_build(&in, p), ops[i].hdr);
			rnd_fill(&r, &out, sizeof(out));
			out.flags = ~in.flags;
			assert_int_equal(prxe_pkt_parse(&out, p, ops[i].hdr, len), 0);
			same(&in, &out, ops[i].has);
			assert_int_equal(out.pkey, 0xffff);
			free(p);
		}
}

/* Bits beyond a field's width do not leak into its neighbours. */
static void wide_fields(void **state)
{
	struct prxe_pkt in = {
		.opcode = 0x64, .qpn = 0xff123456, .psn = 0xff654321, .src_qp = 0xffabcdef,
		.se = 2, .ackreq = 0,
	};
	struct prxe_pkt ack = { .opcode = 0x11, .msn = 0xff000001, .syndrome = 0x1f };
	struct prxe_pkt out;
	u8 p[64];

	prxe_pkt_build(&in, p);
	assert_int_equal(prxe_pkt_parse(&out, p, 20, 24), 0);
	assert_int_equal(out.qpn, 0x123456);
	assert_int_equal(out.psn, 0x654321);
	assert_int_equal(out.src_qp, 0xabcdef);
	assert_int_equal(out.ackreq, 0);
	assert_int_equal(out.se, 1);
	prxe_pkt_build(&ack, p);
	assert_int_equal(prxe_pkt_parse(&out, p, 16, 20), 0);
	assert_int_equal(out.syndrome, 0x1f);
	assert_int_equal(out.msn, 1);
}

/* Each length that is too short for its headers, with exactly that much memory. */
static void truncated(void **state)
{
	struct rnd r = rnd_start(2);

	for (size_t i = 0; i < NUM; i++) {
		struct prxe_pkt in = some_packet(&r, &ops[i]), out;
		u8 hdr[PRXE_MAX_HDR_BYTES];

		in.payload_len = 0;
		prxe_pkt_build(&in, hdr);
		for (u32 len = 0; len < ops[i].hdr + 4u; len++) {
			u32 avail = len < ops[i].hdr ? len : ops[i].hdr;
			u8 *p = malloc(avail + !avail);

			memcpy(p, hdr, avail);
			assert_int_equal(prxe_pkt_parse(&out, p, avail, len), -EINVAL);
			/* The packet is whole, but its head is not there. */
			if (avail < ops[i].hdr)
				assert_int_equal(prxe_pkt_parse(&out, p, avail, ops[i].hdr + 4),
						 -EINVAL);
			free(p);
		}
		assert_int_equal(prxe_pkt_parse(&out, hdr, ops[i].hdr, ops[i].hdr + 4), 0);
	}
}

static void malformed(void **state)
{
	struct prxe_pkt pkt = { .opcode = 0x0a, .payload_len = 5 }, out;
	u8 p[64];

	prxe_pkt_build(&pkt, p);
	assert_int_equal(p[1] >> 4 & 3, 3);
	assert_int_equal(prxe_pkt_parse(&out, p, 28, 28 + 8 + 4), 0);
	assert_int_equal(out.payload_len, 5);
	for (int v = 1; v < 16; v++) {		/* transport version */
		p[1] = (p[1] & 0xf0) | v;
		assert_int_equal(prxe_pkt_parse(&out, p, 28, 40), -EINVAL);
	}
	p[1] &= 0xf0;
	assert_int_equal(prxe_pkt_parse(&out, p, 28, 28 + 4), -EINVAL);	/* pad without payload */
	for (u32 odd = 1; odd < 4; odd++)	/* not a multiple of 4 */
		assert_int_equal(prxe_pkt_parse(&out, p, 28, 28 + 8 + 4 + odd), -EINVAL);
	/* Payload where none may be. */
	pkt = (struct prxe_pkt){ .opcode = 0x11 };
	prxe_pkt_build(&pkt, p);
	assert_int_equal(prxe_pkt_parse(&out, p, 16, 24), -EINVAL);
	pkt.opcode = 0x0c;
	prxe_pkt_build(&pkt, p);
	assert_int_equal(prxe_pkt_parse(&out, p, 28, 36), -EINVAL);
}

static void fuzz(void **state)
{
	struct rnd r = rnd_start(3);
	u32 good = 0;

	for (int n = 0; n < 1000000; n++) {
		u32 avail = rnd_below(&r, 65);
		u32 len = rnd_below(&r, 8) ? avail + rnd_below(&r, 64) : rnd64(&r);
		const struct op *op = &ops[rnd_below(&r, NUM)];
		struct prxe_pkt pkt;
		u8 *p = malloc(avail + !avail);
		int err;

		for (u32 i = 0; i < avail; i += 8) {
			u64 v = rnd64(&r);

			memcpy(p + i, &v, avail - i < 8 ? avail - i : 8);
		}
		/* Most opcodes are unknown: half of the packets have a known one. */
		if (avail > 1 && n & 1) {
			p[0] = op->opcode;
			p[1] &= 0xf0;
		}
		rnd_fill(&r, &pkt, sizeof(pkt));
		err = prxe_pkt_parse(&pkt, p, avail, len);
		if (err) {
			assert_int_equal(err, -EINVAL);
		} else {
			op = find(p[0]);
			good++;
			assert_non_null(op);
			assert_true(avail >= op->hdr);
			assert_int_equal(pkt.payload_off, op->hdr);
			/* All of the packet is headers, payload, pad and ICRC. */
			assert_true((u64)pkt.payload_off + pkt.payload_len + pkt.pad + 4 == len);
			assert_true(pkt.pad < 4);
			assert_int_equal(pkt.payload_len + pkt.pad, (pkt.payload_len + 3) & ~3u);
			assert_true(pkt.qpn < 1 << 24 && pkt.psn < 1 << 24);
			assert_true(!pkt.payload_len || op->has & P);
		}
		free(p);
	}
	assert_true(good > 10000);
}

/* ---- packets written by hand from IBTA's figures ---- */

static void golden(struct prxe_pkt pkt, const u8 *want, unsigned int n)
{
	u8 p[PRXE_MAX_HDR_BYTES];

	memset(p, 0xa5, sizeof(p));
	assert_int_equal(prxe_pkt_build(&pkt, p), n);
	assert_memory_equal(p, want, n);
	for (unsigned int i = n; i < sizeof(p); i++)
		assert_int_equal(p[i], 0xa5);
}

static void golden_headers(void **state)
{
	u32 imm;

	memcpy(&imm, "\xc0\xff\xee\x01", 4);
	/*
	 * RC RDMA WRITE Only: solicited, MigReq, 3 bytes of pad, P_Key 0xffff, QP 0x000012,
	 * AckReq, PSN 0xabcdef; RETH
	 */
	golden((struct prxe_pkt){
		.opcode = 0x0a, .se = 1, .ackreq = 1, .qpn = 0x12, .psn = 0xabcdef,
		.va = 0x0123456789abcdef, .rkey = 0xdeadbeef, .dma_len = 5, .payload_len = 5,
	}, (const u8[]){
		0x0a, 0xf0, 0xff, 0xff, 0x00, 0x00, 0x00, 0x12, 0x80, 0xab, 0xcd, 0xef,
		0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xde, 0xad, 0xbe, 0xef,
		0x00, 0x00, 0x00, 0x05,
	}, 28);
	/* RC Acknowledge: ACK, unlimited credits, MSN 0x010203 */
	golden((struct prxe_pkt){
		.opcode = 0x11, .qpn = 0xfedcba, .psn = 0x000001, .syndrome = 0x1f, .msn = 0x010203,
	}, (const u8[]){
		0x11, 0x40, 0xff, 0xff, 0x00, 0xfe, 0xdc, 0xba, 0x00, 0x00, 0x00, 0x01,
		0x1f, 0x01, 0x02, 0x03,
	}, 16);
	/* RC RDMA READ Request of 1 GiB + 1 */
	golden((struct prxe_pkt){
		.opcode = 0x0c, .qpn = 0x800001, .psn = 0xffffff, .va = 0xffff800000001000,
		.rkey = 0x00000100, .dma_len = 0x40000001,
	}, (const u8[]){
		0x0c, 0x40, 0xff, 0xff, 0x00, 0x80, 0x00, 0x01, 0x00, 0xff, 0xff, 0xff,
		0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x01, 0x00,
		0x40, 0x00, 0x00, 0x01,
	}, 28);
	/* RC CmpSwap: the swap (or add) value comes before the compare value */
	golden((struct prxe_pkt){
		.opcode = 0x13, .ackreq = 1, .qpn = 7, .psn = 0x10, .va = 0x1000,
		.rkey = 0x11223344, .swap_add = 0x0102030405060708, .compare = 0x1112131415161718,
	}, (const u8[]){
		0x13, 0x40, 0xff, 0xff, 0x00, 0x00, 0x00, 0x07, 0x80, 0x00, 0x00, 0x10,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x11, 0x22, 0x33, 0x44,
		0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x11, 0x12, 0x13, 0x14,
		0x15, 0x16, 0x17, 0x18,
	}, 40);
	/* RC ATOMIC Acknowledge */
	golden((struct prxe_pkt){
		.opcode = 0x12, .qpn = 7, .psn = 0x10, .syndrome = 0, .msn = 9,
		.orig = 0x2122232425262728,
	}, (const u8[]){
		0x12, 0x40, 0xff, 0xff, 0x00, 0x00, 0x00, 0x07, 0x00, 0x00, 0x00, 0x10,
		0x00, 0x00, 0x00, 0x09, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28,
	}, 24);
	/*
	 * UD SEND Only with immediate: Q_Key, reserved byte, source QP; the immediate is in
	 * network order already
	 */
	golden((struct prxe_pkt){
		.opcode = 0x65, .qpn = 1, .psn = 2, .qkey = 0x80010000, .src_qp = 0x000045,
		.imm = imm, .payload_len = 2,
	}, (const u8[]){
		0x65, 0x60, 0xff, 0xff, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x02,
		0x80, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x45, 0xc0, 0xff, 0xee, 0x01,
	}, 24);
	/* RC RDMA WRITE Only with immediate: RETH, then the immediate */
	golden((struct prxe_pkt){
		.opcode = 0x0b, .qpn = 1, .psn = 2, .va = 1, .rkey = 2, .dma_len = 0, .imm = imm,
	}, (const u8[]){
		0x0b, 0x40, 0xff, 0xff, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x02,
		0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2,
		0, 0, 0, 0, 0xc0, 0xff, 0xee, 0x01,
	}, 32);
	/* RC SEND Only with invalidate */
	golden((struct prxe_pkt){
		.opcode = 0x17, .qpn = 1, .psn = 2, .ieth = 0xaabbccdd,
	}, (const u8[]){
		0x17, 0x40, 0xff, 0xff, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x02,
		0xaa, 0xbb, 0xcc, 0xdd,
	}, 16);
	/*
	 * RC FLUSH: FETH (selectivity 1 in bits 4 and 5, placement type 2 in bits 0 to 3), then
	 * RETH
	 */
	golden((struct prxe_pkt){
		.opcode = 0x1c, .qpn = 1, .psn = 2, .feth = 0x12, .va = 3, .rkey = 4, .dma_len = 5,
	}, (const u8[]){
		0x1c, 0x40, 0xff, 0xff, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x02,
		0, 0, 0, 0x12, 0, 0, 0, 0, 0, 0, 0, 3,
		0, 0, 0, 4, 0, 0, 0, 5,
	}, 32);
	/* RC ATOMIC WRITE: RETH, 8 bytes of payload */
	golden((struct prxe_pkt){
		.opcode = 0x1d, .qpn = 1, .psn = 2, .va = 0x18, .rkey = 4, .dma_len = 8,
		.payload_len = 8,
	}, (const u8[]){
		0x1d, 0x40, 0xff, 0xff, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x02,
		0, 0, 0, 0, 0, 0, 0, 0x18, 0, 0, 0, 4,
		0, 0, 0, 8,
	}, 28);
	/* CNP (IBTA A17.9.3): BECN, no migration state, 16 bytes of zeros */
	golden((struct prxe_pkt){ .opcode = 0x81, .qpn = 0xabcdef }, (const u8[28]){
		0x81, 0x00, 0xff, 0xff, 0x40, 0xab, 0xcd, 0xef,
	}, 28);
}

/* ---- arithmetic ---- */

static void psn(void **state)
{
	struct rnd r = rnd_start(4);

	assert_int_equal(prxe_psn_cmp(5, 5), 0);
	assert_true(prxe_psn_cmp(0xffffff, 0) < 0);
	assert_true(prxe_psn_cmp(0, 0xffffff) > 0);
	assert_int_equal(prxe_psn_cmp(3, 0xfffffe), 5);
	assert_int_equal(prxe_psn_cmp(0xfffffe, 3), -5);
	assert_int_equal(prxe_psn_add(0xffffff, 1), 0);
	assert_int_equal(prxe_psn_add(0xffffff, 0x1000000), 0xffffff);
	assert_int_equal(prxe_psn_add(0, (u32)-1), 0xffffff);
	for (int i = 0; i < 1000000; i++) {
		u32 a = rnd64(&r) & PRXE_PSN_MASK, d = rnd64(&r) & 0x7fffff;
		u32 b = prxe_psn_add(a, d);

		assert_true(b <= PRXE_PSN_MASK);
		assert_int_equal(prxe_psn_cmp(b, a), d);
		assert_int_equal(prxe_psn_cmp(a, b), -(s32)d);
		assert_int_equal(prxe_psn_add(b, -d), a);
		/* What is above the 24 bits does not matter to a comparison. */
		assert_int_equal(prxe_psn_cmp(b | 0x5a000000, a), d);
		/* Half the space away: neither is before the other, but they are not equal. */
		assert_int_equal(prxe_psn_cmp(prxe_psn_add(a, 0x800000), a), -0x800000);
	}
}

static void packets_of_a_message(void **state)
{
	struct rnd r = rnd_start(5);

	for (u32 s = 8; s <= 12; s++) {
		u32 mtu = 1u << s;

		assert_int_equal(prxe_pkts(0, s), 1);
		assert_int_equal(prxe_pkts(1, s), 1);
		assert_int_equal(prxe_pkts(mtu, s), 1);
		assert_int_equal(prxe_pkts(mtu + 1, s), 2);
		assert_int_equal(prxe_pkts(0x80000000, s), 0x80000000 >> s);
		assert_int_equal(prxe_pkts(0xffffffff, s), (0xffffffffULL + mtu) / mtu);
		for (int i = 0; i < 100000; i++) {
			u32 len = rnd64(&r) >> rnd_below(&r, 32);

			assert_int_equal(prxe_pkts(len, s), len ? (len + (u64)mtu - 1) / mtu : 1);
		}
	}
}

/* IBTA table 45, in units of 0.01 ms as it is printed. */
static void rnr_timers(void **state)
{
	static const u32 table[32] = {
		65536, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192,
		256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 24576,
		32768, 49152,
	};

	for (int i = 0; i < 256; i++)
		assert_true(prxe_rnr_ns(i) == table[i & 31] * 10000ULL);
	/* From 5 on every second one doubles. */
	for (int i = 5; i + 2 < 32; i++)
		assert_true(prxe_rnr_ns(i + 2) == 2 * prxe_rnr_ns(i));
	assert_true(prxe_rnr_ns(0) == 2 * prxe_rnr_ns(30));
}

static void ack_timeouts(void **state)
{
	assert_true(prxe_timeout_ns(0) == 0);
	assert_true(prxe_timeout_ns(1) == 8192);		/* 4.096 us * 2 */
	assert_true(prxe_timeout_ns(14) == 67108864);		/* 67 ms, as most ask for */
	assert_true(prxe_timeout_ns(31) == 8796093022208ULL);	/* 2.4 hours: 64 bits */
	for (u8 t = 1; t < 31; t++)
		assert_true(prxe_timeout_ns(t + 1) == 2 * prxe_timeout_ns(t));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(opcodes),
		cmocka_unit_test(round_trip),
		cmocka_unit_test(wide_fields),
		cmocka_unit_test(truncated),
		cmocka_unit_test(malformed),
		cmocka_unit_test(fuzz),
		cmocka_unit_test(golden_headers),
		cmocka_unit_test(psn),
		cmocka_unit_test(packets_of_a_message),
		cmocka_unit_test(rnr_timers),
		cmocka_unit_test(ack_timeouts),
	};

	RUN_TESTS(tests);
}
