// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The message of a send WQE as a range of bytes: its SGEs, or its inline data.
 *
 * Transport: uses the SGE lists, the gate and the copies of mem/. Both carriers call it.
 */
#include "mem/copy.h"
#include "mem/gate.h"
#include "mem/sgl.h"
#include "transport/gather.h"
#include "transport/wqe.h"

static struct prxe_sgl wqe_sgl(const struct prxe_wqe *wqe)
{
	return (struct prxe_sgl){ .sge = wqe->sge, .num = wqe->num_sge };
}

/*
 * A last check. The carriers stay within the message anyway; but unlike SGEs, inline data have no
 * MR behind them that would check bounds.
 */
static bool inline_ok(const struct prxe_wqe *wqe, u32 pos, u32 len)
{
	return !WARN_ON_ONCE(pos > wqe->length || len > wqe->length - pos);
}

struct gather_parts {
	const struct prxe_parts *dst;
	u32 at;
};

static ssize_t to_parts(struct prxe_cursor *cur, u32 done, u32 len, u64 ahead, void *arg,
			struct prxe_miss *miss)
{
	const struct gather_parts *g = arg;

	return prxe_copy_out_parts(g->dst, g->at + done, cur, len, ahead, miss);
}

ssize_t prxe_wqe_gather(struct prxe_qp *qp, const struct prxe_wqe *wqe, u32 pos,
			const struct prxe_parts *dst, u32 at, u32 len, struct prxe_miss *miss)
{
	struct gather_parts g = { .dst = dst, .at = at };

	if (wqe->flags & IB_SEND_INLINE) {
		/* Inline data are short: one packet. */
		if (!inline_ok(wqe, pos, len) || WARN_ON_ONCE(at + len > 1U << dst->bits))
			return -EINVAL;
		memcpy(dst->at + at, wqe->inline_data + pos, len);
		return len;
	}
	return prxe_sgl_walk(&qp->who, wqe_sgl(wqe), pos, len, wqe->length - pos - len, 0,
			     to_parts, &g, miss);
}

static ssize_t to_mr(struct prxe_cursor *cur, u32 done, u32 len, u64 ahead, void *arg,
		     struct prxe_miss *miss)
{
	return prxe_copy(arg, cur, len, ahead, miss);
}

ssize_t prxe_wqe_gather_to(struct prxe_qp *qp, const struct prxe_wqe *wqe, u32 pos,
			   struct prxe_cursor *dst, u32 len, struct prxe_miss *miss)
{
	u64 ahead = wqe->length - pos - len;

	if (wqe->flags & IB_SEND_INLINE) {
		if (!inline_ok(wqe, pos, len))
			return -EINVAL;
		return prxe_copy_in(dst, wqe->inline_data + pos, len, ahead, miss);
	}
	return prxe_sgl_walk(&qp->who, wqe_sgl(wqe), pos, len, ahead, 0, to_mr, dst, miss);
}

struct gather_sgl {
	struct prxe_qp *qp;
	const struct prxe_wqe *wqe;
	u32 pos;
	bool source_failed;
};

static ssize_t from_wqe(struct prxe_cursor *cur, u32 done, u32 len, u64 ahead, void *arg,
			struct prxe_miss *miss)
{
	struct gather_sgl *g = arg;
	ssize_t n = prxe_wqe_gather_to(g->qp, g->wqe, g->pos + done, cur, len, miss);

	g->source_failed = n < 0;
	return n;
}

ssize_t prxe_wqe_gather_sgl(struct prxe_qp *qp, const struct prxe_wqe *wqe, u32 pos,
			    struct prxe_qp *peer, struct prxe_sgl dst, u32 shift, u32 len,
			    struct prxe_miss *miss)
{
	struct gather_sgl g = { .qp = qp, .wqe = wqe, .pos = pos };
	ssize_t n = prxe_sgl_walk(&peer->who, dst, (u64)pos + shift, len, wqe->length - pos - len,
				  IB_ACCESS_LOCAL_WRITE, from_wqe, &g, miss);

	return n == -EACCES && !g.source_failed ? -EPERM : n;
}
