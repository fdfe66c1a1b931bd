/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The wire's responder: what it says, and how a request fails. Everything is called under
 * resp.lock, in any context but hardirq.
 */
#ifndef PRXE_WIRE_ANSWER_H
#define PRXE_WIRE_ANSWER_H

#include <linux/types.h>
#include <rdma/ib_verbs.h>
#include "base/packet.h"
#include "transport/qp.h"

struct sk_buff;

enum prxe_exec {
	PRXE_EXEC_DONE,	/* the packet is used up */
	PRXE_EXEC_WAIT,	/* it waits for memory */
};

/*
 * Answers: queued, and sent when resp.lock is dropped. False: there was no memory for it, so it is
 * lost as on the way. @orig: of an atomic acknowledge.
 */
bool prxe_resp_send_aeth(struct prxe_qp *qp, u8 opcode, u8 syndrome, u32 psn, u64 orig);
bool prxe_resp_send_rnr(struct prxe_qp *qp, u32 psn, u8 code);
/*
 * The request at @psn fails, here with @status and @event (-1: none). UC tells nobody
 * but its own consumer, and drops the message.
 */
enum prxe_exec prxe_resp_refuse(struct prxe_qp *qp, u32 psn, enum prxe_nak code,
				enum ib_wc_status status, int event);
/* The request whose turn it is. */
enum prxe_exec prxe_resp_bad_request(struct prxe_qp *qp);
enum prxe_exec prxe_resp_no_access(struct prxe_qp *qp);
/* Queue a packet to be sent when resp.lock is dropped. */
void prxe_resp_out(struct prxe_qp *qp, struct sk_buff *skb);
/*
 * When everything that could be done was done: tell the requester what it is to hear, an ACK or the
 * NAK of a gap.
 */
void prxe_resp_acknowledge(struct prxe_qp *qp);
/*
 * Drop resp.lock, and send what was queued under it, in the order in which it was queued. One CPU
 * at a time sends for a QP, for a bounded time; what is left then, the worker sends.
 */
void prxe_resp_unlock(struct prxe_qp *qp) __releases(&qp->resp.lock);

/* May requests be executed? */
static inline bool prxe_resp_may_run(const struct prxe_qp *qp)
{
	return !qp->dead && prxe_qp_receives(qp);
}

#endif
