/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Received packets that have to wait. */
#ifndef PRXE_WIRE_HOLD_H
#define PRXE_WIRE_HOLD_H

#include <linux/skbuff.h>
#include <linux/types.h>

struct prxe_qp;

/* What we keep about a received packet, in skb->cb; zeroed when the packet is received. */
struct prxe_rx {
	u64 fill;		/* SEND, UD: number of its message; prxe_resp_claim() */
	u32 done;		/* payload bytes written to memory; READ: bytes made present */
	unsigned long since;	/* jiffies when it began to wait */
	struct prxe_qp *qp;	/* the QP that it waits for */
	bool overuse;		/* exceeded max_dest_rd_atomic when it began to wait */
};

#define PRXE_RX(skb)	((struct prxe_rx *)(skb)->cb)

/*
 * The packet has to wait for @qp. Consumes @skb. Returns the skb to queue in its place: a copy that
 * is counted for @qp and charged to its owner until it is freed; or @skb itself if it is such a
 * copy already. Returns NULL if there is no room: the packet was dropped. Any context but hardirq.
 */
struct sk_buff *prxe_wire_hold(struct prxe_qp *qp, struct sk_buff *skb);

#endif
