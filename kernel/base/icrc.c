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

bool prxe_icrc_good(const struct sk_buff *skb, bool v6)
{
	unsigned int left = skb->len - PRXE_BTH_BYTES - PRXE_ICRC_BYTES;
	u32 crc = icrc_headers(skb_network_header(skb), v6, skb->data);
	unsigned int n = min(left, skb_headlen(skb) - PRXE_BTH_BYTES);
	u8 wire[PRXE_ICRC_BYTES];
	int i;

	crc = prxe_crc32(crc, skb->data + PRXE_BTH_BYTES, n);
	left -= n;
	for (i = 0; left && i < skb_shinfo(skb)->nr_frags; i++) {
		const skb_frag_t *frag = &skb_shinfo(skb)->frags[i];
		unsigned int size = skb_frag_size(frag), copied;
		struct page *page;
		u32 off, len;

		n = min(left, size);
		skb_frag_foreach_page(frag, skb_frag_off(frag), n, page, off, len, copied) {
			u8 *addr = kmap_local_page(page);

			crc = prxe_crc32(crc, addr + off, len);
			kunmap_local(addr);
		}
		left -= n;
	}
	if (left || skb_copy_bits(skb, skb->len - PRXE_ICRC_BYTES, wire, sizeof(wire)))
		return false;
	return ~crc == get_unaligned_le32(wire);
}
