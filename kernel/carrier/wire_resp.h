/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The responder's half of the wire: the order in which requests are executed. */
#ifndef PRXE_WIRE_RESP_H
#define PRXE_WIRE_RESP_H

#include <linux/types.h>

struct prxe_pkt;
struct prxe_qp;
struct sk_buff;

/*
 * A request arrived with a good ICRC: execute it, park it or drop it. Consumes the skb. Softirq;
 * takes resp.lock.
 */
void prxe_wire_resp_rcv(struct prxe_qp *qp, struct sk_buff *skb, struct prxe_pkt *pkt);
/* The operations of struct prxe_carrier, which says how they are called. */
bool prxe_wire_resp_work(struct prxe_qp *qp);
void prxe_wire_resp_init(struct prxe_qp *qp);
void prxe_wire_resp_reset(struct prxe_qp *qp);

#endif
