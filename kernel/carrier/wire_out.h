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
 * Allocate an skb for a packet to @av and write its headers. The caller has set opcode, psn, qpn,
 * payload_len and the fields of the extended headers in @pkt, and then writes payload_len bytes to
 * *@payload, which is contiguous kernel memory. @account: the side of the QP that the skb counts
 * for, until the network frees it. Returns NULL if there is no memory. Any context but hardirq.
 */
enum prxe_account { PRXE_ACCOUNT_NONE, PRXE_ACCOUNT_REQ, PRXE_ACCOUNT_RESP };
struct sk_buff *prxe_wire_alloc(struct prxe_qp *qp, const struct prxe_av *av, struct prxe_pkt *pkt,
				void **payload, enum prxe_account account);
/*
 * Add the ICRC and send; consumes the skb. @route: a cache; the caller has it for itself (by lock
 * or ownership). Returns 0, or a negative errno: then the packet is lost. BH off.
 */
int prxe_wire_xmit(struct prxe_qp *qp, const struct prxe_av *av, struct sk_buff *skb,
		   struct prxe_route *route);
/* Set AckReq in a packet that was not sent yet. */
static inline void prxe_wire_ask_ack(struct sk_buff *skb)
{
	skb_transport_header(skb)[sizeof(struct udphdr) + 8] |= 0x80;
}

/* Empty the route cache. Its user's lock or ownership, as for prxe_wire_xmit(). */
void prxe_route_drop(struct prxe_route *route);
/*
 * @qp has just died: keep the module loaded as long as the network has packets of this QP. Process
 * context.
 */
void prxe_wire_linger(struct prxe_qp *qp);
#define PRXE_SKB_HIGH	128	/* skbs in flight for each side of a QP: stop sending */
#define PRXE_SKB_LOW	64	/* and go on when fewer are left */
/*
 * Does the network have too many skbs of one side of a QP? If so, the destructor that brings the
 * count below PRXE_SKB_LOW schedules the QP.
 */
static inline bool prxe_wire_skb_limit(struct prxe_wire_skbs *skbs)
{
	if (atomic_read(&skbs->out) < PRXE_SKB_HIGH)
		return false;
	WRITE_ONCE(skbs->need, true);
	/* Pairs with atomic_dec_return() in skb_gone(), the destructor of the skbs. */
	smp_mb();
	if (atomic_read(&skbs->out) >= PRXE_SKB_LOW)
		return true;
	WRITE_ONCE(skbs->need, false);
	return false;
}

/*
 * At module unload, when no device is left: wait until the network has freed all packets. Sleeps.
 */
void prxe_wire_wait_for_skbs(void);

#endif
