/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Where the wire's requester stands: which PSNs are outstanding, what is sent next, how many
 * retries are left, and since when nothing was heard. Everything is the owner's of the send side.
 */
#ifndef PRXE_WIRE_POS_H
#define PRXE_WIRE_POS_H

#include "base/packet.h"
#include "carrier/wire_state.h"
#include "transport/requester.h"

static inline bool prxe_wire_is_atomic(const struct prxe_wqe *wqe)
{
	return wqe->kind & PRXE_WR_ATOMIC;
}

/* Is it answered by a response of its own, not by an ACK? */
static inline bool prxe_wire_is_rd(const struct prxe_wqe *wqe)
{
	return wqe->kind & PRXE_WR_RESPONSE;
}

/* The oldest WQE that was fetched and is not over; NULL: there is none. */
static inline struct prxe_wqe *prxe_wire_oldest(struct prxe_qp *qp)
{
	return qp->req.sq->index == qp->req.fetch ? NULL : prxe_req_wqe(qp, qp->req.sq->index);
}

static inline bool prxe_wire_outstanding(const struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	return prxe_psn_cmp(qp->req.psn, w->una) > 0;
}

/* Requests under way that a response of their own answers. */
static inline u32 prxe_wire_rd_count(const struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	return w->rd_head - w->rd_tail;
}

/* una moves on; softirqs look at it. */
static inline void prxe_wire_progress(struct prxe_qp *qp, u32 una)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	WRITE_ONCE(w->una, una);
	w->rewound_set = false;
	qp->req.retry = qp->attr.retry_cnt;
	qp->req.rnr_retry = qp->attr.rnr_retry;
	w->rnr_wait = false;
	while (prxe_wire_rd_count(qp) &&
	       prxe_psn_cmp(w->rd_last[w->rd_tail % PRXE_MAX_RD_ATOM], una) < 0)
		w->rd_tail++;
}

static inline void prxe_wire_finish(struct prxe_qp *qp, struct prxe_wqe *wqe,
				    enum ib_wc_status status)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	wqe->state = PRXE_WQE_DONE;
	w->land_done = 0;
	prxe_req_complete(qp, wqe, status);
}

/* What is half made of the next packet is made again. */
void prxe_wire_forget_pend(struct prxe_qp *qp);
/* Send again from una on, which lies in the oldest WQE. */
void prxe_wire_rewind(struct prxe_qp *qp);
/* Use up one retry. False: none was left, and the oldest WQE has failed. */
bool prxe_wire_take_retry(struct prxe_qp *qp);
/* What the ACK or RNR timer, if it has ended, means now. False: the QP failed. */
bool prxe_wire_look_at_clock(struct prxe_qp *qp);
/* Something may be outstanding: run the ACK timer. */
void prxe_wire_arm_timer(struct prxe_qp *qp);

#endif
