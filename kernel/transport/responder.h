/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The receive side of a QP: what all carriers do with receive WQEs, completions and failures. Under
 * resp.lock, in any context but hardirq, but what says otherwise.
 */
#ifndef PRXE_RESPONDER_H
#define PRXE_RESPONDER_H

#include <linux/lockdep.h>
#include "transport/qp.h"

/*
 * Take a receive WQE into resp.rwqe unless one is there: 0; -EAGAIN none is posted; -EINVAL a
 * malformed one was taken.
 */
int prxe_resp_take(struct prxe_qp *qp);
/*
 * The message whose number is *@fill wants to go on filling resp.rwqe, which was taken. True: what
 * it wrote before stands there. False: it has written nothing there yet, or somebody else did
 * since: it has a new number now, and starts at its first byte.
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
 * Complete resp.rwqe. @wc has opcode, byte_len, flags, imm, src_qp .. set; wr_id, qp and port are
 * filled in here.
 */
void prxe_resp_complete(struct prxe_qp *qp, struct ib_wc *wc, bool solicited);
/*
 * The message failed: complete resp.rwqe (if any) with @status, QP into error with @event (or -1).
 */
void prxe_resp_fail(struct prxe_qp *qp, enum ib_wc_status status, int event);
/* Worker: complete everything posted with WR_FLUSH_ERR (resp.lock not held). */
void prxe_resp_flush(struct prxe_qp *qp);
void prxe_resp_init(struct prxe_qp *qp);
void prxe_resp_reset(struct prxe_qp *qp);
/*
 * QP access check for an inbound operation (IB_ACCESS_REMOTE_*): true when qp_access_flags allow
 * it.
 */
static inline bool prxe_resp_allows(const struct prxe_qp *qp, int access)
{
	return (READ_ONCE(qp->attr.qp_access_flags) & access) == access;
}

/*
 * What a FLUSH of placement @type and selectivity @level (PRXE_FLUSH_*) asks for, as
 * IB_ACCESS_FLUSH_*; 0: it is no request that this QP takes.
 */
static inline int prxe_resp_flush_access(const struct prxe_qp *qp, u32 type, u32 level)
{
	int access = (type & PRXE_FLUSH_GLOBAL ? IB_ACCESS_FLUSH_GLOBAL : 0) |
		     (type & PRXE_FLUSH_PERSISTENT ? IB_ACCESS_FLUSH_PERSISTENT : 0);

	return prxe_flush_known(type, level) && prxe_resp_allows(qp, access) ? access : 0;
}

#endif
