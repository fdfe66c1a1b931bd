/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The wire's responder: SEND, RDMA WRITE and datagrams. All functions: under resp.lock, in any
 * context but hardirq, for the request whose turn it is.
 */
#ifndef PRXE_WIRE_DATA_H
#define PRXE_WIRE_DATA_H

#include "carrier/wire_answer.h"

struct prxe_pkt;
struct prxe_qp;
struct sk_buff;

/* Execute one packet of a SEND or RDMA WRITE. */
enum prxe_exec prxe_data_exec(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkt);
/* Is @pkt, @num packets behind @first in a train, of its run: alike, and one after the other? */
bool prxe_data_follows(const struct prxe_qp *qp, const struct prxe_pkt *first,
		       const struct prxe_pkt *pkt, u32 num);
/*
 * Execute *@num packets of the middle of a message, a run, of which the first is at resp.psn.
 * *@num becomes how many were dealt with. PRXE_EXEC_WAIT: the next one waits for memory. Otherwise,
 * if that is fewer than asked for, the next one is to be executed alone. One that has failed counts
 * as dealt with.
 */
enum prxe_exec prxe_data_run(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkts,
			     u32 *num);
/* Execute a datagram. */
enum prxe_exec prxe_ud_exec(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkt);
/*
 * UC lost a message, because memory of the receive WQE was missing for too long. The next message
 * goes into the same WQE: make its memory present now, so that the next message does not fault page
 * by page and get lost as well.
 */
void prxe_data_prepare(struct prxe_qp *qp);

#endif
