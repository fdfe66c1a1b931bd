/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Received bytes that lie in one piece. */
#ifndef PRXE_PIECE_H
#define PRXE_PIECE_H

#include <linux/skbuff.h>
#include <linux/types.h>

/*
 * Where the @len bytes at @off of the skb's data are, if they are in one piece: in the linear part,
 * or in one fragment, which has an address, because there is no HIGHMEM (compat/supported.h). Else
 * NULL, also if there are not so many. Any context.
 */
static inline const void *prxe_skb_piece(const struct sk_buff *skb, u32 off, u32 len)
{
	u32 start = skb_headlen(skb), end;
	int i;

	if (off < start)
		return len <= start - off ? skb->data + off : NULL;
	for (i = 0; i < skb_shinfo(skb)->nr_frags; i++, start = end) {
		const skb_frag_t *frag = &skb_shinfo(skb)->frags[i];

		end = start + skb_frag_size(frag);
		if (off < end)
			return len <= end - off ? skb_frag_address(frag) + off - start : NULL;
	}
	return NULL;
}

#endif
