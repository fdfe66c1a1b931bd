/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The wire's responder: SEND, RDMA WRITE and datagrams. Everything is called under resp.lock, for
 * the request whose turn it is.
 */
#ifndef PRXE_WIRE_DATA_H
#define PRXE_WIRE_DATA_H

#include "carrier/wire_answer.h"

struct prxe_pkt;
struct prxe_qp;
struct sk_buff;

/* One packet of a SEND or RDMA WRITE. */
enum prxe_exec prxe_data_exec(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkt);
/* A datagram. */
enum prxe_exec prxe_ud_exec(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkt);
/*
 * UC lost a message to a fault, and will put the next one, which may be the same again, into the
 * same receive WQE: make that present now, so that it does not fault piece by piece.
 */
void prxe_data_prepare(struct prxe_qp *qp);

#endif
