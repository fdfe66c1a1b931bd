/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The wire's responder: requests that are answered by a response packet instead of an ACK (READ,
 * atomics, FLUSH), and replaying that response when the requester asks again. Everything is called
 * under resp.lock, but what says otherwise.
 */
#ifndef PRXE_WIRE_READ_H
#define PRXE_WIRE_READ_H

#include "carrier/wire_answer.h"

struct prxe_pkt;
struct prxe_qp;
struct sk_buff;

enum prxe_exec prxe_read_exec(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkt);
enum prxe_exec prxe_atomic_exec(struct prxe_qp *qp, const struct sk_buff *skb,
				const struct prxe_pkt *pkt);
enum prxe_exec prxe_flush_exec(struct prxe_qp *qp, const struct prxe_pkt *pkt);
/*
 * One response of the READ that is going on. True: it left (or the READ is over); false: not now.
 */
bool prxe_read_respond(struct prxe_qp *qp);
void prxe_read_forget(struct prxe_qp *qp);
/*
 * A request that was executed before arrives again; takes the skb. What is not answered by an ACK
 * waits in resp.dups, ..
 */
void prxe_dup_rcv(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkt);
/* .. and this is its turn. */
void prxe_dup_exec(struct prxe_qp *qp, const struct prxe_pkt *pkt);

/*
 * max_dest_rd_atomic becomes @n: the newest remembered requests are kept. Sleeps, takes resp.lock.
 * -ENOMEM.
 */
int prxe_resource_resize(struct prxe_qp *qp, u32 n);

#endif
