/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The carrier over UDP port 4791: sockets, packets out and in, the wire halves of requester and responder.
 */
#ifndef PRXE_WIRE_H
#define PRXE_WIRE_H

#include <linux/skbuff.h>
#include <linux/udp.h>
#include "base/packet.h"
#include "carrier/wire_state.h"

struct net;
struct prxe_av;
struct prxe_dev;
struct prxe_net;
struct prxe_qp;
struct prxe_route;
struct prxe_wqe;

/* ---- wire.c ---- */
int prxe_wire_init(void);	/* pernet operations */
void prxe_wire_exit(void);
/* Bind the namespace's sockets with its first device; ERR_PTR(-EADDRINUSE) with one sentence in the log when another owner has UDP
 * 4791. Sleeps; not under RTNL-dependent locks of its caller. */
struct prxe_net *prxe_net_get(struct net *net);
void prxe_net_put(struct prxe_net *pnet);

/*
 * An skb for @pkt (opcode, psn, qpn, extended headers and payload_len set) to @av; *payload is where payload_len bytes go, contiguous kernel
 * memory. NULL: no memory. Any context but hardirq. @account: the skb counts in the skbs of that
 * side of the QP until the network has let go of it.
 */
enum prxe_account { PRXE_ACCOUNT_NONE, PRXE_ACCOUNT_REQ, PRXE_ACCOUNT_RESP };
struct sk_buff *prxe_wire_alloc(struct prxe_qp *qp, const struct prxe_av *av, struct prxe_pkt *pkt, void **payload,
				enum prxe_account account);
/* Add the ICRC and send; consumes the skb. @route: a cache that the caller owns. 0, or a negative errno (the packet is as good as lost). */
int prxe_wire_xmit(struct prxe_qp *qp, const struct prxe_av *av, struct sk_buff *skb, struct prxe_route *route);
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
/* Has the network too many skbs of one side of a QP? Then the last of them to go schedules the QP. */
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
/* The 40 bytes in front of a UD message. */
void prxe_wire_grh(const struct sk_buff *skb, u8 grh[40]);

/* What is known of a received packet; in skb->cb, zeroed when it comes in. */
struct prxe_rx {
	u64 fill;		/* SEND, datagram: its number in the receive WQE; prxe_resp_claim() */
	u32 done;		/* bytes of its payload that have landed; of a READ, that are ready */
	unsigned long since;	/* jiffies when it began to wait */
	struct prxe_qp *qp;	/* that it waits on */
	bool overuse;		/* of max_dest_rd_atomic, when it began to wait */
};
#define PRXE_RX(skb)	((struct prxe_rx *)(skb)->cb)

/* ---- wire_hold.c ---- */
/*
 * The packet has to wait on @qp. Takes it; returns what to queue instead, a copy that is counted
 * and charged to the QP's owner until it is freed, or NULL: there is no room, it was dropped. One
 * that is held already is returned. Any context but hardirq.
 */
struct sk_buff *prxe_wire_hold(struct prxe_qp *qp, struct sk_buff *skb);

/* ---- wire_req.c ---- */
/*
 * Owner: take responses, look at the time, and send what the window allows. Blocked: kicks come
 * from responses, the timer, faults and the network's skbs.
 */
int /* enum prxe_step */ prxe_wire_req_step(struct prxe_qp *qp, unsigned int *budget);
void prxe_wire_req_init(struct prxe_qp *qp);
void prxe_wire_req_reset(struct prxe_qp *qp);	/* the send queue is empty */
/* Owner: nothing more is sent or taken of what is under way; the QP is in error. */
void prxe_wire_req_forget(struct prxe_qp *qp);
void prxe_wire_req_start(struct prxe_qp *qp);
/*
 * Softirq: a response arrived; if it may say something new it is queued and the send side kicked.
 * Takes the skb.
 */
void prxe_wire_req_rcv(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkt);
/* UD, GSI: one message in one packet; owner. enum prxe_step. */
int prxe_wire_ud_step(struct prxe_qp *qp, struct prxe_wqe *wqe);

/* ---- wire_resp.c ---- */
/* Softirq: a request arrived, its ICRC is good. Takes the skb. */
void prxe_wire_resp_rcv(struct prxe_qp *qp, struct sk_buff *skb, struct prxe_pkt *pkt);
/* Worker: go on with parked requests, READ responses; true when there is more to do at once. resp.lock not held. */
bool prxe_wire_resp_work(struct prxe_qp *qp);
/* max_dest_rd_atomic becomes @n: the newest remembered requests are kept. Sleeps. -ENOMEM. */
int prxe_resource_resize(struct prxe_qp *qp, u32 n);
void prxe_wire_resp_init(struct prxe_qp *qp);
void prxe_wire_resp_reset(struct prxe_qp *qp);	/* drops what is parked; sleeps */

#endif
