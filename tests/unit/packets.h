/* SPDX-License-Identifier: BSD-2-Clause */
/* Received packets: the same bytes in an skb of any shape. Each piece is as long as its memory. */
#ifndef TESTS_UNIT_PACKETS_H
#define TESTS_UNIT_PACKETS_H

#include "common.h"

static inline u8 *some_copy(const u8 *p, u32 n)
{
	u8 *copy = malloc(n);

	if (n)
		memcpy(copy, p, n);
	return copy;
}

/*
 * @n bytes at @p, of which the head has @head, or with @head < 0 any number. The rest is in
 * fragments, and in skbs in a list, which have heads, fragments and (@depth) lists themselves.
 */
static inline struct sk_buff *some_skb(struct rnd *r, const u8 *p, u32 n, long head, int depth)
{
	struct sk_buff *skb = calloc(1, sizeof(*skb)), **last = &skb->shared.frag_list;
	u32 frags = rnd_below(r, 4) ? rnd_below(r, 6) : rnd_below(r, MAX_SKB_FRAGS + 1);
	u32 take = head, lists = depth ? rnd_below(r, 5) : 0;

	if (head < 0)
		take = rnd_below(r, 3) ? min(n, rnd_below(r, 80)) : rnd_below(r, n + 1);
	if (!frags && !lists)
		frags = 1;
	skb->data = some_copy(p, take);
	skb->len = n;
	skb->data_len = n - take;
	for (p += take, n -= take; n && (frags || lists); p += take, n -= take) {
		take = frags + lists == 1 ? n : 1 + rnd_below(r, rnd_below(r, 3) ? n :
							      min(n, 20U));
		if (frags) {
			skb_frag_t *f = &skb->shared.frags[skb->shared.nr_frags++];

			f->off = rnd_below(r, 3 * PAGE_SIZE);
			f->size = take;
			f->page = calloc(1, sizeof(*f->page));
			f->page->vaddr = some_copy(p, take) - f->off;
			frags--;
		} else {
			*last = some_skb(r, p, take, -1, depth - 1);
			last = &(*last)->next;
			lists--;
		}
	}
	return skb;
}

static inline void some_skb_free(struct sk_buff *skb)
{
	struct sk_buff *list, *next;

	for (list = skb->shared.frag_list; list; list = next) {
		next = list->next;
		some_skb_free(list);
	}
	for (u32 i = 0; i < skb->shared.nr_frags; i++) {
		free(skb_frag_address(&skb->shared.frags[i]));
		free(skb->shared.frags[i].page);
	}
	free(skb->data);
	free(skb);
}

/* Where byte @at is. */
static inline u8 *some_skb_byte(struct sk_buff *skb, u32 at)
{
	struct sk_buff *list;

	if (at < skb_headlen(skb))
		return skb->data + at;
	at -= skb_headlen(skb);
	for (u32 i = 0; i < skb->shared.nr_frags; i++) {
		if (at < skb->shared.frags[i].size)
			return (u8 *)skb_frag_address(&skb->shared.frags[i]) + at;
		at -= skb->shared.frags[i].size;
	}
	for (list = skb->shared.frag_list; list; list = list->next) {
		if (at < list->len)
			return some_skb_byte(list, at);
		at -= list->len;
	}
	abort();
}

static inline void some_skb_is(struct sk_buff *skb, const u8 *p, u32 n)
{
	u8 *now = malloc(n + 1);

	assert_int_equal(skb->len, n);
	assert_int_equal(skb_copy_bits(skb, 0, now, n), 0);
	assert_memory_equal(now, p, n);
	free(now);
}

#endif
