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
/* Execute a datagram. */
enum prxe_exec prxe_ud_exec(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkt);
/*
 * UC lost a message, because memory of the receive WQE was missing for too long. The next message
 * goes into the same WQE: make its memory present now, so that the next message does not fault page
 * by page and get lost as well.
 */
void prxe_data_prepare(struct prxe_qp *qp);

#endif
