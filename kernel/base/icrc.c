// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The ICRC. Which CRC-32 is the fastest depends on the kernel (whether its library is accelerated,
 * whether the crypto API is) and on the machine (carry-less multiplication is slow where it is
 * emulated). So they are measured once, and the fastest is used.
 *
 * Base: of this driver it uses only the lengths of packet.h; carrier/wire_in.c and wire_out.c call
 * it.
 */
#include <crypto/hash.h>
#include <linux/crc32.h>
#include <linux/ktime.h>
#include <linux/skbuff.h>
#include <net/ip.h>
#include <net/ipv6.h>
#include "base/icrc.h"
#include "base/packet.h"
#include "base/piece.h"

#define POLY	0xedb88320

/*
 * The CRC-32 of 8 bytes of ones, started with ones: they stand for the LRH, which RoCEv2 does not
 * have.
 */
#define SEED	0xdebb20e3

static u32 table[16][256];	/* table[k][b]: CRC of byte b with k zero bytes behind it */
static struct crypto_shash *shash;
static u32 (*crc32_best)(u32 crc, const void *p, size_t len);

static void table_init(void)
{
	u32 i, k;

	for (i = 0; i < 256; i++) {
		u32 c = i;

		for (k = 0; k < 8; k++)
			c = c >> 1 ^ (c & 1 ? POLY : 0);
		table[0][i] = c;
	}
	for (k = 1; k < 16; k++)
		for (i = 0; i < 256; i++)
			table[k][i] = table[k - 1][i] >> 8 ^ table[0][table[k - 1][i] & 0xff];
}

static u32 crc32_table(u32 crc, const void *data, size_t len)
{
	const u8 *p = data;

	for (; len >= 16; len -= 16, p += 16) {
		u64 a = get_unaligned_le64(p) ^ crc;
		u64 b = get_unaligned_le64(p + 8);

		crc = table[15][a & 0xff] ^ table[14][a >> 8 & 0xff] ^
		      table[13][a >> 16 & 0xff] ^ table[12][a >> 24 & 0xff] ^
		      table[11][a >> 32 & 0xff] ^ table[10][a >> 40 & 0xff] ^
		      table[9][a >> 48 & 0xff] ^ table[8][a >> 56] ^
		      table[7][b & 0xff] ^ table[6][b >> 8 & 0xff] ^
		      table[5][b >> 16 & 0xff] ^ table[4][b >> 24 & 0xff] ^
		      table[3][b >> 32 & 0xff] ^ table[2][b >> 40 & 0xff] ^
		      table[1][b >> 48 & 0xff] ^ table[0][b >> 56];
	}
	while (len--)
		crc = crc >> 8 ^ table[0][(crc ^ *p++) & 0xff];
	return crc;
}

static u32 crc32_lib(u32 crc, const void *p, size_t len)
{
	return crc32_le(crc, p, len);
}

/*
 * The crypto API's "crc32" keeps its running value in the first word of its state. The driver
 * relies on that only after shash_works() has checked it.
 */
static u32 crc32_shash(u32 crc, const void *p, size_t len)
{
	SHASH_DESC_ON_STACK(desc, shash);
	u32 *state = shash_desc_ctx(desc);

	desc->tfm = shash;
	*state = crc;
	if (crypto_shash_update(desc, p, len))
		return crc32_le(crc, p, len);
	return *state;
}

static bool shash_works(const u8 *buf, size_t len)
{
	return crypto_shash_descsize(shash) == sizeof(u32) &&
	       crc32_shash(0x12345678, buf, len) == crc32_le(0x12345678, buf, len);
}

static u64 measure(u32 (*fn)(u32 crc, const void *p, size_t len), const u8 *buf, size_t len)
{
	u64 best = U64_MAX;
	int i;

	for (i = 0; i < 8; i++) {
		u64 start = ktime_get_ns();

		fn(SEED, buf, len);
		best = min(best, ktime_get_ns() - start);
	}
	return best;
}

int prxe_icrc_init(void)
{
	size_t len = 4096;
	u64 best, t;
	u8 *buf;
	size_t i;

	buf = kmalloc(len, GFP_KERNEL);
	if (!buf)
		return -ENOMEM;
	for (i = 0; i < len; i++)
		buf[i] = i * 7 + (i >> 8);
	table_init();

	crc32_best = crc32_lib;
	best = measure(crc32_lib, buf, len);
	t = measure(crc32_table, buf, len);
	if (t < best) {
		best = t;
		crc32_best = crc32_table;
	}
	if (!prxe_crc32_le_is_fast()) {
		shash = crypto_alloc_shash("crc32", 0, 0);
		if (IS_ERR(shash)) {
			shash = NULL;
		} else if (!shash_works(buf, len) || measure(crc32_shash, buf, len) >= best) {
			crypto_free_shash(shash);
			shash = NULL;
		} else {
			crc32_best = crc32_shash;
		}
	}
	pr_debug("ICRC by %s, %llu ns for 4 KiB\n",
		 crc32_best == crc32_lib ? "crc32_le" :
		 crc32_best == crc32_table ? "table" : "shash",
		 measure(crc32_best, buf, len));
	kfree(buf);
	return 0;
}

void prxe_icrc_exit(void)
{
	if (shash)
		crypto_free_shash(shash);
}

u32 prxe_crc32(u32 crc, const void *p, size_t len)
{
	/* For a few bytes the table is faster, because it needs no set-up. */
	return len < 64 ? crc32_table(crc, p, len) : crc32_best(crc, p, len);
}

/*
 * The CRC of the headers up to the end of the BTH, with every field that a router may change set to
 * ones.
 */
static u32 icrc_headers(const void *ip, bool v6, const void *bth)
{
	u8 buf[sizeof(struct ipv6hdr) + sizeof(struct udphdr) + PRXE_BTH_BYTES];
	size_t ip_len = v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	struct udphdr *udp = (struct udphdr *)(buf + ip_len);

	memcpy(buf, ip, ip_len + sizeof(*udp));
	if (v6) {
		struct ipv6hdr *h = (struct ipv6hdr *)buf;

		h->priority = 0xf;
		memset(h->flow_lbl, 0xff, sizeof(h->flow_lbl));
		h->hop_limit = 0xff;
	} else {
		struct iphdr *h = (struct iphdr *)buf;

		h->tos = 0xff;
		h->ttl = 0xff;
		h->check = (__force __sum16)0xffff;
	}
	udp->check = (__force __sum16)0xffff;
	memcpy(udp + 1, bth, PRXE_BTH_BYTES);
	((u8 *)(udp + 1))[4] = 0xff;	/* resv8a: FECN, BECN */
	return crc32_table(SEED, buf, ip_len + sizeof(*udp) + PRXE_BTH_BYTES);
}

u32 prxe_icrc(const void *ip, bool v6, const void *bth, size_t bytes)
{
	u32 crc = icrc_headers(ip, v6, bth);

	return ~prxe_crc32(crc, bth + PRXE_BTH_BYTES, bytes - PRXE_BTH_BYTES);
}

void prxe_icrc_set_len(void *ip, bool v6, u32 bytes)
{
	unsigned int ip_len = v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	u32 udp_len = sizeof(struct udphdr) + bytes;

	((struct udphdr *)(ip + ip_len))->len = htons(udp_len);
	if (v6)
		((struct ipv6hdr *)ip)->payload_len = htons(udp_len);
	else
		((struct iphdr *)ip)->tot_len = htons(ip_len + udp_len);
}

/* Continue the CRC over @len bytes at @off of the skb's data. */
static u32 crc_skb(u32 crc, const struct sk_buff *skb, u32 off, u32 len)
{
	u32 start = skb_headlen(skb), n;
	struct sk_buff *list;
	int i;

	if (off < start) {
		n = min(len, start - off);
		crc = prxe_crc32(crc, skb->data + off, n);
		off += n;
		len -= n;
	}
	for (i = 0; len && i < skb_shinfo(skb)->nr_frags; i++) {
		const skb_frag_t *frag = &skb_shinfo(skb)->frags[i];
		u32 end = start + skb_frag_size(frag);

		if (off < end) {
			n = min(len, end - off);
			/* No HIGHMEM (compat/supported.h), so the fragment has an address. */
			crc = prxe_crc32(crc, skb_frag_address(frag) + off - start, n);
			off += n;
			len -= n;
		}
		start = end;
	}
	skb_walk_frags(skb, list) {
		u32 end = start + list->len;

		if (!len)
			break;
		if (off < end) {
			n = min(len, end - off);
			crc = crc_skb(crc, list, off - start, n);
			off += n;
			len -= n;
		}
		start = end;
	}
	return crc;
}

static u16 id_by(enum prxe_id_rule rule, u16 first, u32 no, u32 psn)
{
	switch (rule) {
	case PRXE_ID_COUNTED:
		return first + no;
	case PRXE_ID_SAME:
		return first;
	default:
		return psn;
	}
}

bool prxe_icrc_good(const struct sk_buff *skb, bool v6, u32 off, u32 bytes,
		    enum prxe_id_rule *rule)
{
	u8 ip[sizeof(struct ipv6hdr) + sizeof(struct udphdr)], bth_copy[PRXE_BTH_BYTES];
	unsigned int ip_len = v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	u32 left = bytes - PRXE_BTH_BYTES - PRXE_ICRC_BYTES, psn, crc;
	enum prxe_id_rule try = *rule ?: PRXE_ID_PSN, end = *rule ?: PRXE_ID_SAME;
	u8 wire[PRXE_ICRC_BYTES];
	const u8 *bth;
	u16 first;

	bth = prxe_skb_piece(skb, off, bytes);
	if (likely(bth)) {
		memcpy(wire, bth + bytes - PRXE_ICRC_BYTES, sizeof(wire));
	} else {
		bth = bth_copy;
		if (skb_copy_bits(skb, off, bth_copy, sizeof(bth_copy)) ||
		    skb_copy_bits(skb, off + bytes - PRXE_ICRC_BYTES, wire, sizeof(wire)))
			return false;
	}
	memcpy(ip, skb_network_header(skb), ip_len + sizeof(struct udphdr));
	if (bytes != skb->len)
		prxe_icrc_set_len(ip, v6, bytes);
	if (!off || v6) {
		/* It has the header that is there, but for the lengths. */
		crc = crc_skb(icrc_headers(ip, v6, bth), skb, off + PRXE_BTH_BYTES, left);
		return ~crc == get_unaligned_le32(wire);
	}
	first = ntohs(((struct iphdr *)ip)->id);
	psn = get_unaligned_be32(bth + 8);
	for (; try <= end; try++) {
		u16 id = id_by(try, first, off / skb_shinfo(skb)->gso_size, psn);

		((struct iphdr *)ip)->id = htons(id);
		crc = crc_skb(icrc_headers(ip, v6, bth), skb, off + PRXE_BTH_BYTES, left);
		if (~crc == get_unaligned_le32(wire)) {
			*rule = try;
			return true;
		}
	}
	*rule = *rule ?: PRXE_ID_PSN;	/* do not try all of them for each bad packet */
	return false;
}
