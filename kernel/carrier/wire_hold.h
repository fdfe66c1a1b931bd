/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Received packets that have to wait. */
#ifndef PRXE_WIRE_HOLD_H
#define PRXE_WIRE_HOLD_H

#include <linux/skbuff.h>
#include <linux/types.h>

struct prxe_pkt;
struct prxe_qp;

/* What we keep about a received packet, in skb->cb; zeroed when the packet is received. */
struct prxe_rx {
	u64 fill;		/* SEND, UD: number of its message; prxe_resp_claim() */
	u32 done;		/* payload bytes written to memory; READ: bytes made present */
	u32 psn;		/* kept because it came early: its PSN */
	unsigned long since;	/* jiffies when it began to wait */
	struct prxe_qp *qp;	/* the QP that it waits for */
	/*
	 * A train of responses whose turn has not come: [off, skb->len) is left of it, in packets
	 * of size bytes.
	 */
	u32 off;
	u16 size;
	bool ack;		/* kept because it came early: it is an ACK or NAK */
	bool overuse;		/* exceeded max_dest_rd_atomic when it began to wait */
};

#define PRXE_RX(skb)	((struct prxe_rx *)(skb)->cb)

/*
 * Parse the packet in the @len bytes at @off of the skb's data (prxe_pkt_parse()), whether it is
 * in one piece or not. pkt->payload_off then counts from the beginning of the skb's data.
 */
int prxe_rx_parse(const struct sk_buff *skb, u32 off, u32 len, struct prxe_pkt *pkt);
/* A copy of that packet, with the headers that it has, or would have, alone; NULL: no memory. */
struct sk_buff *prxe_rx_copy(const struct sk_buff *skb, u32 off, u32 len, gfp_t gfp);

/*
 * The packet @pkt, all of @skb or one of a train, has to wait for @qp. Returns the skb to queue: a
 * copy that is counted for @qp and charged to its owner until it is freed. The caller keeps @skb.
 * Returns NULL if there is no room. Any context but hardirq.
 */
struct sk_buff *prxe_wire_hold(struct prxe_qp *qp, const struct sk_buff *skb,
			       const struct prxe_pkt *pkt);
/* Is it such a copy? */
bool prxe_wire_is_held(const struct sk_buff *skb);

#endif
