/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The wire's responder: what it answers, and how a request fails. All functions: under resp.lock,
 * in any context but hardirq.
 */
#ifndef PRXE_WIRE_ANSWER_H
#define PRXE_WIRE_ANSWER_H

#include <linux/types.h>
#include <rdma/ib_verbs.h>
#include "base/packet.h"
#include "carrier/wire_out.h"
#include "transport/qp.h"

enum prxe_exec {
	PRXE_EXEC_DONE,	/* the packet is used up */
	PRXE_EXEC_WAIT,	/* it waits for memory */
};

/*
 * Build an answer and queue it; it is sent when resp.lock is dropped. @orig: the old value, for an
 * atomic acknowledge. Returns false if there was no memory: then the answer is lost, as if the
 * network had lost it.
 */
bool prxe_resp_send_aeth(struct prxe_qp *qp, u8 opcode, u8 syndrome, u32 psn, u64 orig);
bool prxe_resp_send_rnr(struct prxe_qp *qp, u32 psn, u8 code);
/*
 * The request at @psn fails. RC: send a NAK with @code, and move the QP into error with @status and
 * @event (-1: none). UC, UD: send nothing and drop the message; only a receive WQE that cannot be
 * used (@code PRXE_NAK_REM_OP) moves the QP into error. Returns PRXE_EXEC_DONE.
 */
enum prxe_exec prxe_resp_refuse(struct prxe_qp *qp, u32 psn, enum prxe_nak code,
				enum ib_wc_status status, int event);
/* The same for the request whose turn it is: it is invalid, or memory access was refused. */
enum prxe_exec prxe_resp_bad_request(struct prxe_qp *qp);
enum prxe_exec prxe_resp_no_access(struct prxe_qp *qp);
/*
 * The payload of an answer is complete (prxe_make_begin()): queue it, to be sent when resp.lock is
 * dropped. False: no memory; nothing has changed.
 */
bool prxe_resp_out(struct prxe_qp *qp, struct prxe_pkt *pkt, enum prxe_account account);
/* How many answers like @pkt the train takes (prxe_make_run_room()); ends it if that is too few. */
u32 prxe_resp_run_room(struct prxe_qp *qp, const struct prxe_pkt *pkt, enum prxe_account account);
/*
 * Send the ACK that is due, or the NAK for a gap. Call it when everything that can be executed now
 * was executed.
 */
void prxe_resp_acknowledge(struct prxe_qp *qp);
/*
 * Drop resp.lock, and send what was queued under it, in order. Only one CPU at a time sends for a
 * QP, and only for a bounded time; the worker sends what is left then.
 */
void prxe_resp_unlock(struct prxe_qp *qp) __releases(&qp->resp.lock);

/* May requests of this QP be executed? */
static inline bool prxe_resp_may_run(const struct prxe_qp *qp)
{
	return !qp->dead && prxe_qp_receives(qp);
}

#endif
