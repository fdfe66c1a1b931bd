/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The position of the wire's requester: which PSNs are outstanding, what is sent next, how many
 * retries are left, and how long ago the peer was heard. All functions: by the owner of the send
 * side.
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

/* Is it answered by a response of its own (READ, atomics, FLUSH) and not by an ACK? */
static inline bool prxe_wire_is_rd(const struct prxe_wqe *wqe)
{
	return wqe->kind & PRXE_WR_RESPONSE;
}

/*
 * Bytes that one READ request asks for. The responder sends them all at once, in softirq; a longer
 * READ becomes several requests.
 */
#define PRXE_READ_BYTES	(64U << 10)

/*
 * The window: packets that a requester has under way at most. 1 MiB of them; but never so few that
 * trains do not pay, nor so many that one QP alone overflows a receiver whose network queues single
 * packets (net.core.netdev_max_backlog is 1000).
 */
#define PRXE_WINDOW_MAX	512U

static inline u32 prxe_wire_window(const struct prxe_qp *qp)
{
	return clamp_t(u32, (1U << 20) >> qp->mtu_shift, 256, PRXE_WINDOW_MAX);
}

/* The oldest fetched WQE that is not over; NULL if there is none. */
static inline struct prxe_wqe *prxe_wire_oldest(struct prxe_qp *qp)
{
	return qp->req.sq->index == qp->req.fetch ? NULL : prxe_req_wqe(qp, qp->req.sq->index);
}

/* Is any PSN sent and not acknowledged? */
static inline bool prxe_wire_outstanding(const struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	return prxe_psn_cmp(qp->req.psn, w->una) > 0;
}

/* How many requests are under way that get a response of their own. */
static inline u32 prxe_wire_rd_count(const struct prxe_qp *qp)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	return w->rd_head - w->rd_tail;
}

/*
 * Everything before @una is acknowledged. Written with WRITE_ONCE(), because softirqs read it
 * (prxe_wire_req_rcv()).
 */
static inline void prxe_wire_progress(struct prxe_qp *qp, u32 una)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	WRITE_ONCE(w->una, una);
	w->rewound_set = false;
	w->retried = false;
	w->backoff = 0;
	qp->req.retry = qp->attr.retry_cnt;
	qp->req.rnr_retry = qp->attr.rnr_retry;
	w->rnr_wait = false;
	while (prxe_wire_rd_count(qp) &&
	       prxe_psn_cmp(w->rd_last[w->rd_tail % PRXE_MAX_RD_ATOM], una) < 0)
		w->rd_tail++;
}

/* Complete the oldest WQE with @status; an error moves the QP into an error state. */
static inline void prxe_wire_finish(struct prxe_qp *qp, struct prxe_wqe *wqe,
				    enum ib_wc_status status)
{
	struct prxe_wire_req *w = prxe_wire_req(qp);

	wqe->state = PRXE_WQE_DONE;
	w->land_done = 0;
	prxe_req_complete(qp, wqe, status);
}

/* Drop the packet that is half made; it will be made again. */
void prxe_wire_forget_pend(struct prxe_qp *qp);
/*
 * Go back to una, the oldest unacknowledged PSN, which lies in the oldest WQE, and send again from
 * there.
 */
void prxe_wire_rewind(struct prxe_qp *qp);
/* Use up one retry. Returns false if none was left: then the oldest WQE has failed. */
bool prxe_wire_take_retry(struct prxe_qp *qp);
/* If the ACK or RNR timer has ended, do what that means now. Returns false if the QP failed. */
bool prxe_wire_look_at_clock(struct prxe_qp *qp);
/* Start the ACK timer if something is outstanding and it does not run yet. */
void prxe_wire_arm_timer(struct prxe_qp *qp);

#endif
