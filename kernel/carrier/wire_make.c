// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Packets in the making, and trains.
 *
 * The payload is copied from user memory, so no user page is ever attached to a packet. A long
 * payload goes straight into the memory that the network will have, a page fragment behind the head
 * of the skb; a short one first into the maker, because a page that is missing may interrupt the
 * copy, and then into the head. Packets that lie side by side in one block become one fragment.
 *
 * Carrier, wire: knows packets; calls wire_out.c only to count.
 */
#include <linux/local_lock.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/skbuff.h>
#include <net/ip.h>
#include <net/ipv6.h>
#include "base/prxe.h"
#include "carrier/wire_make.h"
#include "mem/copy.h"

#define BLOCK_ORDER	3
/* A datagram has at most 65535 bytes, with IPv4 and UDP headers. */
#define TRAIN_BYTES	(65535U - sizeof(struct iphdr) - sizeof(struct udphdr))
/* Room for packets in the head of a train: many small requests or READ responses, or some ACKs. */
#define HEAD_MANY	1536U
#define HEAD_FEW	256U

static u32 pkt_bytes(u8 opcode, u32 payload_len)
{
	return prxe_op_hdr_len(opcode) + ALIGN(payload_len, 4) + PRXE_ICRC_BYTES;
}

/* ---- memory ---- */

/*
 * Packets are cut from blocks, of which each CPU has a few, in turn. When all packets of a block
 * have been freed, nobody has it but us, and it is used again. So memory is neither allocated nor
 * cleared (init_on_alloc) for each train.
 */
#define BLOCKS	4U

struct blocks {
	local_lock_t lock;
	unsigned int now;
	u32 used;		/* bytes of block[now] */
	struct {
		struct page *page;	/* a reference; NULL: none */
		u32 size;
	} block[BLOCKS];
};

static DEFINE_PER_CPU(struct blocks, blocks) = {
	.lock = INIT_LOCAL_LOCK(lock),
};

#define FULL_SIZE	(PAGE_SIZE << FULL_ORDER)
#define FULL_ORDER	max_t(int, BLOCK_ORDER + 12 - PAGE_SHIFT, 0)

static struct page *get_pages(gfp_t gfp, unsigned int order)
{
	return alloc_pages(gfp | __GFP_NOWARN | __GFP_COMP | __GFP_NOMEMALLOC, order);
}

/* Go to the next block, and make it one with room for @bytes that nobody else uses. */
static bool next_block(struct blocks *b, u32 bytes)
{
	struct page *page, *old;
	u32 size;

	b->now = (b->now + 1) % BLOCKS;
	b->used = 0;
	old = b->block[b->now].page;
	size = b->block[b->now].size;
	if (old && page_ref_count(old) == 1) {
		/* Pairs with the barrier of put_page(): what readers read, they have read. */
		smp_acquire__after_ctrl_dep();
		if (size >= FULL_SIZE)
			return true;
	} else if (old) {
		put_page(old);
		old = NULL;
	}
	/* There is none, or a small one, from a time when there was no memory. */
	page = get_pages(GFP_NOWAIT, FULL_ORDER);
	if (!page && old && size >= bytes)
		return true;
	if (page) {
		size = FULL_SIZE;
	} else {
		page = get_pages(GFP_ATOMIC, get_order(bytes));
		size = PAGE_SIZE << get_order(bytes);
	}
	if (old)
		put_page(old);
	b->block[b->now].page = page;
	b->block[b->now].size = size;
	return page;
}

/*
 * Cut @bytes, or if that is more than what is left, at least @least of them, a multiple of it.
 * @least: one packet, at most a block (4096 bytes of payload).
 */
static bool cut(u32 least, u32 bytes, struct prxe_cut *c)
{
	struct blocks *b;
	u32 left = 0;
	bool ok = true;

	local_lock(&blocks.lock);
	b = this_cpu_ptr(&blocks);
	if (b->block[b->now].page)
		left = b->block[b->now].size - b->used;
	if (left < least) {
		ok = next_block(b, least);
		left = b->block[b->now].size;
	}
	if (likely(ok)) {
		bytes = min(bytes, left - left % least);
		get_page(b->block[b->now].page);
		*c = (struct prxe_cut){
			.page = b->block[b->now].page, .off = b->used, .bytes = bytes,
		};
		b->used += bytes;
	}
	local_unlock(&blocks.lock);
	return ok;
}

/* The cut was longer than needed: it ends after @bytes. Only if nobody has cut since. */
static void cut_back(struct prxe_cut *c, u32 bytes)
{
	struct blocks *b;

	local_lock(&blocks.lock);
	b = this_cpu_ptr(&blocks);
	if (b->block[b->now].page == c->page && b->used == c->off + c->bytes)
		b->used = c->off + bytes;
	local_unlock(&blocks.lock);
	c->bytes = bytes;
}

void prxe_make_exit(void)
{
	int cpu;
	u32 i;

	for_each_possible_cpu(cpu) {
		struct blocks *b = per_cpu_ptr(&blocks, cpu);

		for (i = 0; i < BLOCKS; i++)
			if (b->block[i].page)
				put_page(b->block[i].page);
	}
}

static u8 *cut_at(const struct prxe_cut *c)
{
	return page_address(c->page) + c->off;
}

void prxe_make_wait(struct prxe_maker *m, u8 opcode, u32 done)
{
	u32 hdr_len = prxe_op_hdr_len(opcode);
	struct prxe_cut c = { .bytes = m->own.bytes };
	u8 *at;

	if (!m->own.page || page_size(m->own.page) < FULL_SIZE ||
	    get_order(c.bytes) >= FULL_ORDER)
		return;
	c.page = get_pages(GFP_NOWAIT, get_order(c.bytes));
	if (!c.page)
		return;
	at = cut_at(&c) + hdr_len;
	memcpy(at, m->at, done);
	put_page(m->own.page);
	m->own = c;
	m->at = at;
}

void prxe_make_forget(struct prxe_maker *m)
{
	if (m->own.page)
		put_page(m->own.page);
	m->own.page = NULL;
	m->at = NULL;
}

void prxe_make_drop(struct prxe_maker *m)
{
	prxe_make_forget(m);
	kfree_skb(prxe_make_take(m));
}

bool prxe_make_begin(struct prxe_maker *m, u8 opcode, u32 payload_len)
{
	u32 bytes = pkt_bytes(opcode, payload_len);

	if (m->at) {
		if (likely(m->payload_len == payload_len))
			return true;
		/* A bug: another packet was begun and not forgotten. Do not write outside of it. */
		WARN_ON_ONCE(1);
		prxe_make_forget(m);
		return false;
	}
	m->payload_len = payload_len;
	if (payload_len > PRXE_SMALL) {
		if (unlikely(!cut(bytes, bytes, &m->own)))
			return false;
		m->at = cut_at(&m->own) + prxe_op_hdr_len(opcode);
	} else if (payload_len) {
		m->at = m->small;
	}
	return true;
}

/* ---- trains ---- */

static struct sk_buff *new_train(u32 room)
{
	unsigned int size = SKB_DATA_ALIGN(PRXE_HEADROOM + room) +
			    SKB_DATA_ALIGN(sizeof(struct skb_shared_info));
	void *buf = netdev_alloc_frag(size);
	struct sk_buff *skb;

	if (unlikely(!buf))
		return NULL;
	skb = build_skb(buf, size);
	if (unlikely(!skb)) {
		skb_free_frag(buf);
		return NULL;
	}
	skb_reserve(skb, PRXE_HEADROOM);
	memset(PRXE_TX(skb), 0, sizeof(struct prxe_tx));
	return skb;
}

bool prxe_make_fits(const struct sk_buff *skb, const struct prxe_pkt *pkt,
		    enum prxe_account account, u32 max)
{
	u32 bytes = pkt_bytes(pkt->opcode, pkt->payload_len);
	const struct prxe_tx *tx;

	if (!skb)
		return true;
	tx = PRXE_TX(skb);
	if (tx->closed || tx->pkts >= max || bytes > tx->size || tx->account != account ||
	    tx->next_psn != pkt->psn || tx->total + bytes > TRAIN_BYTES)
		return false;
	if (skb_is_nonlinear(skb))
		return skb_shinfo(skb)->nr_frags < MAX_SKB_FRAGS;
	return skb_tailroom(skb) >= bytes;
}

bool prxe_make_full(const struct prxe_maker *m)
{
	const struct sk_buff *skb = m->train;

	return skb && PRXE_TX(skb)->total + PRXE_TX(skb)->size > TRAIN_BYTES;
}

/* Hang memory that was cut from a block on the train, as its end; the reference goes along. */
static void hang(struct sk_buff *skb, const struct prxe_cut *c)
{
	int n = skb_shinfo(skb)->nr_frags;

	if (skb_can_coalesce(skb, n, c->page, c->off)) {
		skb_frag_size_add(&skb_shinfo(skb)->frags[n - 1], c->bytes);
		put_page(c->page);
	} else {
		skb_fill_page_desc(skb, n, c->page, c->off, c->bytes);
	}
	skb->len += c->bytes;
	skb->data_len += c->bytes;
	skb->truesize += c->bytes;
}

/* @num packets of @bytes, the last one at @last, were put at the end of the train. */
static void added(struct prxe_qp *qp, struct sk_buff *skb, u8 *last, u32 bytes, u32 psn, u32 num,
		  enum prxe_account account, bool ask)
{
	struct prxe_tx *tx = PRXE_TX(skb);

	if (!tx->pkts)
		tx->size = bytes;
	tx->account = account;
	tx->last = last;
	tx->next_psn = prxe_psn_add(psn, num);
	tx->total += num * bytes;
	tx->pkts += num;
	tx->closed = bytes < tx->size;
	tx->ask = ask;
	if (account != PRXE_ACCOUNT_NONE)
		prxe_wire_count(qp, skb, account == PRXE_ACCOUNT_RESP, tx->pkts, num);
}

bool prxe_make_add(struct prxe_qp *qp, struct prxe_maker *m, struct prxe_pkt *pkt,
		   enum prxe_account account, bool ask)
{
	u32 bytes = pkt_bytes(pkt->opcode, pkt->payload_len);
	bool fresh = !m->train, small = pkt->payload_len <= PRXE_SMALL;
	struct prxe_cut c = { .page = NULL };
	unsigned int hdr_len;
	struct sk_buff *skb;
	u8 *p;

	if (fresh) {
		bool few = account == PRXE_ACCOUNT_NONE && !pkt->payload_len;
		u32 room = !small ? 0 : few ? HEAD_FEW : HEAD_MANY;

		m->train = new_train(room);
		if (unlikely(!m->train))
			return false;
	}
	skb = m->train;
	if (!small) {
		c = m->own;
		m->own.page = NULL;
	} else if (skb_is_nonlinear(skb) && unlikely(!cut(bytes, bytes, &c))) {
		return false;
	}
	p = c.page ? cut_at(&c) : skb_put(skb, bytes);
	hdr_len = prxe_pkt_build(pkt, p);
	if (small && pkt->payload_len)
		memcpy(p + hdr_len, m->small, pkt->payload_len);
	memset(p + hdr_len + pkt->payload_len, 0, pkt->pad + PRXE_ICRC_BYTES);
	if (c.page)
		hang(skb, &c);
	if (pkt->payload_len)
		m->at = NULL;

	added(qp, skb, p, bytes, pkt->psn, 1, account, ask);
	return true;
}

/* ---- runs ---- */

u32 prxe_make_run_room(const struct sk_buff *skb, const struct prxe_pkt *pkt,
		       enum prxe_account account, u32 max)
{
	u32 bytes = pkt_bytes(pkt->opcode, pkt->payload_len), total = 0;

	if (skb) {
		if (!prxe_make_fits(skb, pkt, account, max) || PRXE_TX(skb)->size != bytes)
			return 0;
		max -= PRXE_TX(skb)->pkts;
		total = PRXE_TX(skb)->total;
	}
	return min_t(u32, max, (TRAIN_BYTES - total) / bytes);
}

u32 prxe_make_run_begin(u8 opcode, u32 bits, u32 want, struct prxe_parts *parts,
			struct prxe_cut *c)
{
	u32 bytes = pkt_bytes(opcode, 1U << bits);

	if (!cut(bytes, want * bytes, c))
		return 0;
	*parts = (struct prxe_parts){
		.at = cut_at(c) + PRXE_BTH_BYTES, .step = bytes, .bits = bits,
	};
	return c->bytes / bytes;
}

bool prxe_make_run_end(struct prxe_qp *qp, struct prxe_maker *m, struct prxe_pkt *pkt, u32 num,
		       struct prxe_cut *c, enum prxe_account account, bool ask)
{
	u32 bytes = pkt_bytes(pkt->opcode, pkt->payload_len), i;
	u8 *first = cut_at(c), *p = first;

	if (num && !m->train)
		m->train = new_train(0);
	if (!num || unlikely(!m->train)) {
		cut_back(c, 0);
		put_page(c->page);
		return !num;
	}
	prxe_pkt_build(pkt, first);
	for (i = 0; i < num; i++) {
		p = first + i * bytes;
		if (i) {
			memcpy(p, first, PRXE_BTH_BYTES);
			put_unaligned_be32(prxe_psn_add(pkt->psn, i), p + 8);
		}
		memset(p + bytes - PRXE_ICRC_BYTES, 0, PRXE_ICRC_BYTES);
	}
	cut_back(c, num * bytes);
	hang(m->train, c);
	added(qp, m->train, p, bytes, pkt->psn, num, account, ask);
	return true;
}
