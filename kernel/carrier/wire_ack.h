/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The wire's requester: responses become completions. */
#ifndef PRXE_WIRE_ACK_H
#define PRXE_WIRE_ACK_H

#include "transport/requester.h"

struct prxe_pkt;
struct prxe_qp;
struct sk_buff;

/*
 * A response arrived, its ICRC is good. If it may say something new it is queued, and the send side
 * is kicked. Takes the skb. Softirq.
 */
void prxe_wire_req_rcv(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkt);
/*
 * Owner: take what has come. PRXE_STEP_DONE: go on to send, whether or not the rest waits for
 * memory to land in. PRXE_STEP_MORE: look at the QP again.
 */
enum prxe_step prxe_wire_serve_responses(struct prxe_qp *qp);

#endif
