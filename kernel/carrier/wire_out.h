/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Packets out. */
#ifndef PRXE_WIRE_OUT_H
#define PRXE_WIRE_OUT_H

#include <linux/skbuff.h>
#include <linux/udp.h>
#include "carrier/wire_state.h"

struct prxe_av;
struct prxe_pkt;
struct prxe_qp;

/*
 * An skb for @pkt (opcode, psn, qpn, extended headers and payload_len set) to @av; *payload is
 * where payload_len bytes go, contiguous kernel memory. NULL: no memory. Any context but hardirq.
 * @account: the skb counts in the skbs of that side of the QP until the network has let go of it.
 */
enum prxe_account { PRXE_ACCOUNT_NONE, PRXE_ACCOUNT_REQ, PRXE_ACCOUNT_RESP };
struct sk_buff *prxe_wire_alloc(struct prxe_qp *qp, const struct prxe_av *av, struct prxe_pkt *pkt,
				void **payload, enum prxe_account account);
/*
 * Add the ICRC and send; consumes the skb. @route: a cache that the caller owns. 0, or a negative
 * errno (the packet is as good as lost).
 */
int prxe_wire_xmit(struct prxe_qp *qp, const struct prxe_av *av, struct sk_buff *skb,
		   struct prxe_route *route);
/* Set AckReq on a packet that was not sent yet. */
static inline void prxe_wire_ask_ack(struct sk_buff *skb)
{
	skb_transport_header(skb)[sizeof(struct udphdr) + 8] |= 0x80;
}

void prxe_route_drop(struct prxe_route *route);
/* @qp has just died: as long as the network has packets of it, the module is not unloaded. */
void prxe_wire_linger(struct prxe_qp *qp);
#define PRXE_SKB_HIGH	128	/* skbs in flight a side of a QP */
#define PRXE_SKB_LOW	64
/*
 * Has the network too many skbs of one side of a QP? Then the last of them to go schedules the QP.
 */
static inline bool prxe_wire_skb_limit(struct prxe_wire_skbs *skbs)
{
	if (atomic_read(&skbs->out) < PRXE_SKB_HIGH)
		return false;
	WRITE_ONCE(skbs->need, true);
	/* Pairs with the barrier in the skb's destructor. */
	smp_mb();
	if (atomic_read(&skbs->out) >= PRXE_SKB_LOW)
		return true;
	WRITE_ONCE(skbs->need, false);
	return false;
}

/* The module ends, and no device is left: wait until the network has let go of all packets. */
void prxe_wire_wait_for_skbs(void);

#endif
