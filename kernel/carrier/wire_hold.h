/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Received packets that wait. */
#ifndef PRXE_WIRE_HOLD_H
#define PRXE_WIRE_HOLD_H

#include <linux/skbuff.h>
#include <linux/types.h>

struct prxe_qp;

/* What is known of a received packet; in skb->cb, zeroed when it comes in. */
struct prxe_rx {
	u64 fill;		/* SEND, UD: its number in the receive WQE; prxe_resp_claim() */
	u32 done;		/* bytes of its payload that have landed; READ: that are ready */
	unsigned long since;	/* jiffies when it began to wait */
	struct prxe_qp *qp;	/* that it waits on */
	bool overuse;		/* of max_dest_rd_atomic, when it began to wait */
};

#define PRXE_RX(skb)	((struct prxe_rx *)(skb)->cb)

/*
 * The packet has to wait on @qp. Takes it; returns what to queue instead, a copy that is counted
 * and charged to the QP's owner until it is freed, or NULL: there is no room, it was dropped. One
 * that is held already is returned. Any context but hardirq.
 */
struct sk_buff *prxe_wire_hold(struct prxe_qp *qp, struct sk_buff *skb);

#endif
