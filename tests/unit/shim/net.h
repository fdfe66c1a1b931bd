/* SPDX-License-Identifier: BSD-2-Clause */
/* Packets. */
#ifndef SHIM_NET_H
#define SHIM_NET_H

#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <linux/if_ether.h>

struct net;
struct net_device;
struct socket;
struct dst_entry;

#define MAX_SKB_FRAGS	17
typedef struct { struct page *page; u32 off, size; } skb_frag_t;
struct skb_shared_info { u8 nr_frags; skb_frag_t frags[MAX_SKB_FRAGS]; };
struct sk_buff {
	struct sk_buff *next;
	u8 *data, *network, *transport;
	unsigned int len, data_len;
	struct skb_shared_info shared;
};
struct sk_buff_head { struct sk_buff *first; spinlock_t lock; u32 qlen; };
#define skb_queue_head_init(q)	do { \
		memset(q, 0, sizeof(*(q))); \
		spin_lock_init(&(q)->lock); \
	} while (0)
#define skb_headlen(s)		((s)->len - (s)->data_len)
#define skb_network_header(s)	((s)->network)
#define skb_transport_header(s)	((s)->transport)
#define udp_hdr(s)		((struct udphdr *)(s)->transport)
#define ip_hdr(s)		((struct iphdr *)(s)->network)
#define ipv6_hdr(s)		((struct ipv6hdr *)(s)->network)
#define skb_shinfo(s)		(&((struct sk_buff *)(s))->shared)
#define skb_frag_page(f)	((f)->page)
#define skb_frag_off(f)		((f)->off)
#define skb_frag_size(f)	((f)->size)
#define skb_frag_foreach_page(f, f_off, f_len, p, p_off, p_len, copied) \
	for ((p) = skb_frag_page(f) + ((f_off) >> PAGE_SHIFT), \
	     (p_off) = (f_off) & (PAGE_SIZE - 1), (copied) = 0, \
	     (p_len) = min_t(u32, f_len, PAGE_SIZE - (p_off)); \
	     (copied) < (f_len); \
	     (copied) += (p_len), (p)++, (p_off) = 0, \
	     (p_len) = min_t(u32, (f_len) - (copied), PAGE_SIZE))
int skb_copy_bits(const struct sk_buff *skb, int off, void *to, int len);

/* ---- CRC-32: what the kernel's library and the crypto API have ---- */
u32 crc32_le(u32 crc, const u8 *p, size_t len);
extern bool shim_crc32_fast;		/* prxe_crc32_le_is_fast() */
/* 0: there is none; 1: a good one; 2: one that keeps its state elsewhere. */
extern int shim_shash;
#define prxe_crc32_le_is_fast()	shim_crc32_fast
struct crypto_shash { int kind; };
struct shash_desc { struct crypto_shash *tfm; u32 state[4]; };
#define SHASH_DESC_ON_STACK(d, tfm) struct shash_desc d##_, *d = &d##_
#define shash_desc_ctx(d)	((void *)(d)->state)
#define crypto_shash_descsize(t) sizeof(u32)
struct crypto_shash *crypto_alloc_shash(const char *name, u32 type, u32 mask);
void crypto_free_shash(struct crypto_shash *tfm);
int crypto_shash_update(struct shash_desc *desc, const u8 *p, unsigned int len);

#endif
