/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Packets out. */
#ifndef PRXE_WIRE_OUT_H
#define PRXE_WIRE_OUT_H

#include <linux/mm.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include "carrier/wire_state.h"

struct prxe_av;
struct prxe_qp;

#define PRXE_TRAIN_MAX	64U	/* packets; the destructor's argument counts that far */

/* Which side of the QP an skb counts for, until the network frees it. */
enum prxe_account { PRXE_ACCOUNT_NONE, PRXE_ACCOUNT_REQ, PRXE_ACCOUNT_RESP };

/* What is known of a train, in skb->cb until it leaves. */
struct prxe_tx {
	u8 *last;		/* BTH of the last packet */
	u32 next_psn;
	u32 total;		/* bytes of all packets, from the BTH to the ICRC */
	u16 size;		/* of each packet but the last */
	u8 pkts;
	u8 account;		/* enum prxe_account */
	bool closed;		/* its last packet is shorter: no other may follow */
	bool ask;		/* the last packet may ask for an ACK */
};

#define PRXE_TX(skb)	((struct prxe_tx *)(skb)->cb)

/* Room for the header of the link layer, those that tunnels add, and ours in front of the BTH. */
#define PRXE_HEADROOM	(ALIGN(LL_MAX_HEADER, 16) + 48)

/*
 * The train @skb has @pkts packets now, @more of them new: they count for one side of the QP, until
 * the network frees the train. Any context but hardirq; the caller keeps the QP alive.
 */
void prxe_wire_count(struct prxe_qp *qp, struct sk_buff *skb, bool resp, u32 pkts, u32 more);
/*
 * Write the IP and UDP headers and the ICRCs of a train (wire_make.h), and send it; consumes the
 * skb. @route: a cache; the caller has it for itself (by lock or ownership). Returns 0, or a
 * negative errno: then the packets are lost. BH off.
 */
int prxe_wire_xmit(struct prxe_qp *qp, const struct prxe_av *av, struct sk_buff *skb,
		   struct prxe_route *route);

/* Empty the route cache. Its user's lock or ownership, as for prxe_wire_xmit(). */
void prxe_route_drop(struct prxe_route *route);
/*
 * @qp has just died: keep the module loaded as long as the network has packets of this QP. Process
 * context.
 */
void prxe_wire_linger(struct prxe_qp *qp);
#define PRXE_OUT_HIGH	192	/* packets in flight for each side of a QP: stop sending */
#define PRXE_OUT_LOW	128	/* and go on when fewer are left */
/*
 * Does the network have too many packets of one side of a QP? If so, the destructor that brings the
 * count below PRXE_OUT_LOW schedules the QP.
 */
static inline bool prxe_wire_skb_limit(struct prxe_wire_skbs *skbs)
{
	if (atomic_read(&skbs->out) < PRXE_OUT_HIGH)
		return false;
	WRITE_ONCE(skbs->need, true);
	/* Pairs with atomic_sub_return() in skb_gone(), the destructor of the skbs. */
	smp_mb();
	if (atomic_read(&skbs->out) >= PRXE_OUT_LOW)
		return true;
	WRITE_ONCE(skbs->need, false);
	return false;
}

/*
 * At module unload, when no device is left: wait until the network has freed all packets. Sleeps.
 */
void prxe_wire_wait_for_skbs(void);

#endif
