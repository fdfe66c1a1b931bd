/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The receive side of a QP: what both carriers do with receive WQEs, completions and failures. All
 * functions: under resp.lock, in any context but hardirq, and none sleeps, unless a comment says
 * otherwise.
 */
#ifndef PRXE_RESPONDER_H
#define PRXE_RESPONDER_H

#include <linux/lockdep.h>
#include "transport/qp.h"

/*
 * Take a receive WQE into resp.rwqe, unless one is there already. Returns 0; -EAGAIN: none is
 * posted; -EINVAL: a malformed one was taken, and only its wr_id is valid.
 */
int prxe_resp_take(struct prxe_qp *qp);
/*
 * A message wants to go on filling resp.rwqe, which must have been taken. *@fill is the number of
 * the message, 0 at first. Returns true if what the message has written so far is still there.
 * Returns false if it has written nothing yet, or another message has written since: then the
 * message gets a new number in *@fill and must start at its first byte again.
 */
static inline bool prxe_resp_claim(struct prxe_resp *r, u64 *fill)
{
	lockdep_assert_held(&r->lock);
	if (*fill && *fill == r->rwqe.fill)
		return true;
	r->rwqe.fill = ++r->fills;
	*fill = r->rwqe.fill;
	return false;
}

/*
 * Complete resp.rwqe with success. The caller sets opcode, byte_len, wc_flags, immediate data and
 * src_qp in @wc; this function sets status, wr_id, qp and port_num.
 */
void prxe_resp_complete(struct prxe_qp *qp, struct ib_wc *wc, bool solicited);
/*
 * The message failed: move the QP into error, raise @event (-1: none), and complete resp.rwqe, if
 * there is one, with @status.
 */
void prxe_resp_fail(struct prxe_qp *qp, enum ib_wc_status status, int event);
/*
 * In error: complete everything that is posted to the RQ with WR_FLUSH_ERR. The worker; takes
 * resp.lock, sleeps.
 */
void prxe_resp_flush(struct prxe_qp *qp);
/* At creation of a QP that nobody else sees yet. Any context. */
void prxe_resp_init(struct prxe_qp *qp);
/*
 * On the way to RESET: forget posted receive WQEs (IBTA 10.3.1), progress and protocol state. The
 * state of the QP already says that it does not receive. Takes resp.lock, sleeps.
 */
void prxe_resp_reset(struct prxe_qp *qp);
/*
 * Do the qp_access_flags allow an inbound operation that needs @access (IB_ACCESS_REMOTE_*)?
 * Lockless.
 */
static inline bool prxe_resp_allows(const struct prxe_qp *qp, int access)
{
	return (READ_ONCE(qp->attr.qp_access_flags) & access) == access;
}

/*
 * The rights (IB_ACCESS_FLUSH_*) that a FLUSH of placement @type and selectivity @level
 * (PRXE_FLUSH_*) needs; 0 if this QP does not allow it, or no such FLUSH exists. Lockless.
 */
static inline int prxe_resp_flush_access(const struct prxe_qp *qp, u32 type, u32 level)
{
	int access = (type & PRXE_FLUSH_GLOBAL ? IB_ACCESS_FLUSH_GLOBAL : 0) |
		     (type & PRXE_FLUSH_PERSISTENT ? IB_ACCESS_FLUSH_PERSISTENT : 0);

	return prxe_flush_known(type, level) && prxe_resp_allows(qp, access) ? access : 0;
}

#endif
