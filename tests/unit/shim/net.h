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
struct skb_shared_info {
	u8 nr_frags;
	u16 gso_size;
	void *destructor_arg;
	struct sk_buff *frag_list;
	skb_frag_t frags[MAX_SKB_FRAGS];
};
struct sk_buff {
	struct sk_buff *next;
	u8 *head, *data, *network, *transport;
	unsigned int len, data_len, truesize;
	unsigned int room, size;	/* behind head: to write to; all of it */
	void (*destructor)(struct sk_buff *skb);
	char cb[48] __attribute__((aligned(8)));
	struct skb_shared_info shared;	/* the kernel has it behind the room */
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
#define skb_frag_address(f)	((void *)((u8 *)page_address(skb_frag_page(f)) + (f)->off))
#define skb_frag_size_add(f, n)	((void)((f)->size += (n)))
#define skb_walk_frags(s, l)	for ((l) = skb_shinfo(s)->frag_list; (l); (l) = (l)->next)
#define skb_is_nonlinear(s)	((s)->data_len != 0)
int skb_copy_bits(const struct sk_buff *skb, int off, void *to, int len);
static inline void *skb_header_pointer(const struct sk_buff *skb, int off, int len, void *buf)
{
	if (off >= 0 && len <= (int)skb_headlen(skb) - off)
		return skb->data + off;
	return skb_copy_bits(skb, off, buf, len) ? NULL : buf;
}

/* ---- packets in the making ---- */
#define LL_MAX_HEADER		128
#define SKB_DATA_ALIGN(x)	ALIGN(x, 64)
void *netdev_alloc_frag(unsigned int size);
#define skb_free_frag(p)	free(p)
struct sk_buff *build_skb(void *data, unsigned int size);
/* NULL, too; nobody has written behind the room. */
void kfree_skb(struct sk_buff *skb);
void skb_reserve(struct sk_buff *skb, int len);
int skb_tailroom(const struct sk_buff *skb);
void *skb_put(struct sk_buff *skb, unsigned int len);
bool skb_can_coalesce(struct sk_buff *skb, int i, const struct page *page, int off);
void skb_fill_page_desc(struct sk_buff *skb, int i, struct page *page, int off, int size);

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
