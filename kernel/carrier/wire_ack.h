/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The wire's requester: responses become completions. */
#ifndef PRXE_WIRE_ACK_H
#define PRXE_WIRE_ACK_H

#include "transport/requester.h"

struct prxe_pkt;
struct prxe_qp;
struct sk_buff;

/*
 * A response arrived with a good ICRC. If it may say something new, queue it and kick the send
 * side; otherwise drop it. Consumes the skb. Softirq.
 */
void prxe_wire_req_rcv(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkt);
/*
 * Handle the responses that have arrived. Returns PRXE_STEP_DONE: go on and send, even if a
 * response still waits for the memory that it is written to; PRXE_STEP_MORE: the state of the QP
 * has changed, look at it again. Owner of the send side.
 */
enum prxe_step prxe_wire_serve_responses(struct prxe_qp *qp);

#endif
