/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The wire's responder: requests that are answered by a response packet instead of an ACK (READ,
 * atomics, FLUSH), and replaying that response when the requester asks again. All functions: under
 * resp.lock, in any context but hardirq, unless a comment says otherwise.
 */
#ifndef PRXE_WIRE_READ_H
#define PRXE_WIRE_READ_H

#include "carrier/wire_answer.h"

struct prxe_pkt;
struct prxe_qp;
struct sk_buff;

/*
 * Execute the READ, the atomic or ATOMIC WRITE, the FLUSH whose turn it is. A READ is done when its
 * responses can be sent; prxe_read_respond() sends them.
 */
enum prxe_exec prxe_read_exec(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkt);
enum prxe_exec prxe_atomic_exec(struct prxe_qp *qp, const struct sk_buff *skb,
				const struct prxe_pkt *pkt);
enum prxe_exec prxe_flush_exec(struct prxe_qp *qp, const struct prxe_pkt *pkt);
/*
 * Send the next responses of the READ that is being answered. Returns how many packets were queued
 * (1 also when the READ has failed and is over); 0: not now, somebody will call again.
 */
u32 prxe_read_respond(struct prxe_qp *qp);
/* Stop answering the current READ. */
void prxe_read_forget(struct prxe_qp *qp);
/*
 * A request that was executed before has arrived again. A SEND or WRITE is acknowledged again, if
 * it asks for that. For the others the response is replayed, now or, if another response is being
 * sent, later: then a copy of the request waits in "dups".
 */
void prxe_dup_rcv(struct prxe_qp *qp, const struct sk_buff *skb, const struct prxe_pkt *pkt);
/* Replay the response to a repeated request, whose turn it is. */
void prxe_dup_exec(struct prxe_qp *qp, const struct prxe_pkt *pkt);

/*
 * max_dest_rd_atomic becomes @n: allocate room to remember that many requests, and keep the newest
 * of the old ones. Returns 0 or -ENOMEM. Takes resp.lock; sleeps.
 */
int prxe_resource_resize(struct prxe_qp *qp, u32 n);

#endif
