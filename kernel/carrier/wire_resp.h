/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The responder's half of the wire: the order in which requests are executed. */
#ifndef PRXE_WIRE_RESP_H
#define PRXE_WIRE_RESP_H

#include <linux/types.h>

struct prxe_pkt;
struct prxe_qp;
struct sk_buff;

/*
 * @num requests arrived in @skb, with good ICRCs, in the order of @pkts: execute each, park a copy
 * of it or drop it. The caller keeps the skb. Softirq; takes resp.lock.
 */
void prxe_wire_resp_rcv(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkts,
			unsigned int num);
/* The operations of struct prxe_carrier, which says how they are called. */
bool prxe_wire_resp_work(struct prxe_qp *qp);
void prxe_wire_resp_init(struct prxe_qp *qp);
void prxe_wire_resp_reset(struct prxe_qp *qp);

#endif
