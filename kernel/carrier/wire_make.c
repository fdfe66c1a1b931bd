// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Packets in the making, and trains.
 *
 * The payload is copied from user memory, so no user page is ever attached to a packet. A long
 * payload goes straight into the memory that the network will have, a page fragment behind the skb's
 * head; a short one first into the maker, because a page that is missing may interrupt the copy, and
 * then into the head. Packets that lie side by side in one block become one fragment.
 *
 * Carrier, wire: knows packets; calls wire_out.c only to count.
 */
#include <linux/mm.h>
#include <linux/skbuff.h>
#include <net/ip.h>
#include <net/ipv6.h>
#include "base/prxe.h"
#include "carrier/wire_make.h"
#include "carrier/wire_out.h"

#define BLOCK_ORDER	3
/* A datagram has at most 65535 bytes, with IPv4 and UDP headers. */
#define TRAIN_BYTES	(65535U - sizeof(struct iphdr) - sizeof(struct udphdr))
/* Room for packets in the head of a train: of many small requests or READ responses, of some ACKs. */
#define HEAD_MANY	1536U
#define HEAD_FEW	256U

static u32 pkt_bytes(u8 opcode, u32 payload_len)
{
	return prxe_op_hdr_len(opcode) + ALIGN(payload_len, 4) + PRXE_ICRC_BYTES;
}

/* ---- memory ---- */

static struct page *new_block(u32 bytes, u32 *size)
{
	unsigned int order = max_t(int, BLOCK_ORDER + 12 - PAGE_SHIFT, get_order(bytes));
	struct page *page = alloc_pages(GFP_NOWAIT | __GFP_NOWARN | __GFP_COMP, order);

	if (unlikely(!page)) {
		order = get_order(bytes);
		page = alloc_pages(GFP_ATOMIC | __GFP_NOWARN | __GFP_COMP, order);
	}
	*size = PAGE_SIZE << order;
	return page;
}

/* Cut @bytes from the block. */
static bool cut(struct prxe_maker *m, u32 bytes, struct prxe_cut *c)
{
	if (!m->block || m->block_used + bytes > m->block_size) {
		prxe_make_rest(m);
		m->block = new_block(bytes, &m->block_size);
		if (unlikely(!m->block))
			return false;
	}
	get_page(m->block);
	*c = (struct prxe_cut){ .page = m->block, .off = m->block_used, .bytes = bytes };
	m->block_used += bytes;
	return true;
}

static u8 *cut_at(const struct prxe_cut *c)
{
	return page_address(c->page) + c->off;
}

void prxe_make_rest(struct prxe_maker *m)
{
	if (m->block)
		put_page(m->block);
	m->block = NULL;
	m->block_used = 0;
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
	prxe_make_rest(m);
	kfree_skb(prxe_make_take(m));
}

bool prxe_make_begin(struct prxe_maker *m, u8 opcode, u32 payload_len)
{
	if (m->at) {
		if (likely(m->payload_len == payload_len))
			return true;
		/* Another packet was begun and not forgotten: a bug, but not one to write outside. */
		WARN_ON_ONCE(1);
		prxe_make_forget(m);
		return false;
	}
	m->payload_len = payload_len;
	if (payload_len > PRXE_SMALL) {
		if (unlikely(!cut(m, pkt_bytes(opcode, payload_len), &m->own)))
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

bool prxe_make_fits(const struct prxe_maker *m, const struct prxe_pkt *pkt,
		    enum prxe_account account, u32 max)
{
	const struct sk_buff *skb = m->train;
	u32 bytes = pkt_bytes(pkt->opcode, pkt->payload_len);
	const struct prxe_tx *tx = PRXE_TX(skb);

	if (!skb)
		return true;
	if (tx->closed || tx->pkts >= max || bytes > tx->size || tx->account != account ||
	    tx->next_psn != pkt->psn || tx->total + bytes > TRAIN_BYTES)
		return false;
	if (skb_is_nonlinear(skb))
		return skb_shinfo(skb)->nr_frags < MAX_SKB_FRAGS;
	return skb_tailroom(skb) >= bytes;
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

bool prxe_make_add(struct prxe_qp *qp, struct prxe_maker *m, struct prxe_pkt *pkt,
		   enum prxe_account account, bool ask)
{
	u32 bytes = pkt_bytes(pkt->opcode, pkt->payload_len);
	bool fresh = !m->train, small = pkt->payload_len <= PRXE_SMALL;
	struct prxe_cut c = { .page = NULL };
	unsigned int hdr_len;
	struct sk_buff *skb;
	struct prxe_tx *tx;
	u8 *p;

	if (fresh) {
		u32 room = !small ? 0 : account == PRXE_ACCOUNT_NONE ? HEAD_FEW : HEAD_MANY;

		m->train = new_train(room);
		if (unlikely(!m->train))
			return false;
	}
	skb = m->train;
	tx = PRXE_TX(skb);
	if (!small) {
		c = m->own;
		m->own.page = NULL;
	} else if (skb_is_nonlinear(skb) && unlikely(!cut(m, bytes, &c))) {
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

	if (fresh)
		tx->size = bytes;
	tx->account = account;
	tx->last = p;
	tx->next_psn = prxe_psn_add(pkt->psn, 1);
	tx->total += bytes;
	tx->pkts++;
	tx->closed = bytes < tx->size;
	tx->ask = ask;
	if (account != PRXE_ACCOUNT_NONE)
		prxe_wire_count(qp, skb, account == PRXE_ACCOUNT_RESP, tx->pkts);
	return true;
}
