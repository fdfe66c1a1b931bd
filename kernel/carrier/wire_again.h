/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The wire's requester: what is sent again when the peer, or a gap, says that packets are missing.
 * All functions: by the owner of the send side.
 */
#ifndef PRXE_WIRE_AGAIN_H
#define PRXE_WIRE_AGAIN_H

#include "carrier/wire_state.h"

/*
 * The packet at una is missing at the peer (a sequence NAK). Sends it again, with those that were
 * probably lost together with it, or everything from it on; that uses up one of the retries. What
 * comes too soon after the last such NAK, and too many of them for the same packet, do nothing.
 */
void prxe_wire_again_nak(struct prxe_qp *qp);
/*
 * Responses before the one at @end are missing, from una on: ask for them again. That uses up one
 * of the retries, unless one was for the packet at una.
 */
void prxe_wire_again_ask(struct prxe_qp *qp, u32 end);
/* una has moved: what does that say about the peer, and is what was sent again not needed now? */
void prxe_wire_again_heard(struct prxe_qp *qp);
/*
 * A peer that keeps nothing, and gets nothing more, says no more either, when it has what was sent
 * again: has una moved to there and no further? And if that stays so, prxe_wire_again_all() sends
 * the rest.
 */
bool prxe_wire_again_stands(const struct prxe_qp *qp);
void prxe_wire_again_all(struct prxe_qp *qp);
/* All that had to be sent again was sent: go on where sending was. */
void prxe_wire_again_end(struct prxe_qp *qp);
/* @pkts packets, the first at @psn, leave as one skb; so perhaps they are lost together. */
void prxe_wire_again_train(struct prxe_qp *qp, u32 psn, u32 pkts);

/* Has all that had to be sent again been sent? */
static inline bool prxe_wire_again_done(const struct prxe_qp *qp)
{
	const struct prxe_wire_req *w = prxe_wire_req(qp);

	return w->again && prxe_psn_cmp(qp->req.psn, w->again_end) >= 0;
}

/* How many PSNs, from the next one on, may be sent before sending goes on elsewhere? */
static inline u32 prxe_wire_again_left(const struct prxe_qp *qp)
{
	const struct prxe_wire_req *w = prxe_wire_req(qp);

	return w->again ? (w->again_end - qp->req.psn) & PRXE_PSN_MASK : PRXE_PSN_MASK;
}

#endif
