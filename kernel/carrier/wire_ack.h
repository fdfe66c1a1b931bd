/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The wire's requester: responses become completions. */
#ifndef PRXE_WIRE_ACK_H
#define PRXE_WIRE_ACK_H

#include "transport/requester.h"

struct prxe_pkt;
struct prxe_qp;
struct sk_buff;

/*
 * May this response, whose ICRC is good, say something new? If not, it is counted, and the caller
 * drops it. Softirq.
 */
bool prxe_wire_req_wants(struct prxe_qp *qp, const struct prxe_pkt *pkt);
/*
 * Such responses arrived, @pkts of them, all of the data of @skb (struct prxe_rx): queue them and
 * kick the send side. Consumes the skb. Softirq.
 */
void prxe_wire_req_rcv(struct prxe_qp *qp, struct sk_buff *skb, u32 pkts);
/*
 * Handle the responses that have arrived. Returns PRXE_STEP_DONE: go on and send, even if a
 * response still waits for the memory that it is written to; PRXE_STEP_MORE: the state of the QP
 * has changed, look at it again. Owner of the send side.
 */
enum prxe_step prxe_wire_serve_responses(struct prxe_qp *qp);

#endif
