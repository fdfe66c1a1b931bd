/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Congestion: a network that can mark packets instead of dropping them (ECN) is told that it may,
 * and a requester whose packets were marked has fewer of them under way.
 *
 * Who gets a marked packet answers with a congestion notification packet, a CNP (IBTA A17.9), at
 * most one in a while; who gets a CNP, or marked READ responses, halves what it has under way, at
 * most once in a round trip. That grows again by a part of the whole window with each round trip. A
 * READ request is never cut for it: one may always be under way. docs/loss.md says more.
 */
#ifndef PRXE_WIRE_ECN_H
#define PRXE_WIRE_ECN_H

#include "carrier/wire_pos.h"
#include "carrier/wire_state.h"

/*
 * @pkts packets for @qp, which is RC or UC, came with the mark. @data: some of them are READ
 * responses, so it was our requester who asked for too much. Takes resp.lock; any context but
 * hardirq, with no lock held.
 */
void prxe_ecn_marked(struct prxe_qp *qp, u32 pkts, bool data);
/* A CNP came for @qp, from its peer's address. Any context. */
void prxe_ecn_notified(struct prxe_qp *qp);
/* By the owner of the send side: there was a mark or a CNP. */
void prxe_ecn_slow_down(struct prxe_qp *qp);
/* By the owner of the send side: @pkts packets more were acknowledged. */
void prxe_ecn_acknowledged(struct prxe_qp *qp, u32 pkts);
/* By the owner of the send side: nothing is under way, and that ends @now. */
void prxe_ecn_begin(struct prxe_qp *qp, ktime_t now);

/* How many packets may be under way. The owner of the send side asks. At least 1. */
static inline u32 prxe_ecn_window(const struct prxe_qp *qp)
{
	u32 cwnd = prxe_wire_req(qp)->cwnd;

	return likely(!cwnd) ? prxe_wire_window(qp) : cwnd;
}

#endif
