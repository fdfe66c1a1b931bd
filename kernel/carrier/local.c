// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The carrier between two QPs of this host.
 *
 * The owner of a send side executes the peer's half itself, under the peer's resp.lock. It makes
 * the same checks as the wire, in the same order, copies from MR to MR, posts the peer's
 * completion, then its own. What the peer's own send side must do (flush) is left to the peer's
 * worker. A message is carried in chunks; between two chunks nothing is held, and the next one
 * passes the gate again.
 *
 * Carrier, local: uses the transport (both QPs' sides), and mem/ for gate and copies; knows nothing
 * of the wire. The transport calls it through its table.
 */
#include <net/route.h>
#include <rdma/ib_mad.h>
#include "carrier/local.h"
#include "mem/copy.h"
#include "mem/gate.h"
#include "mem/mw.h"
#include "mem/sgl.h"
#include "obj/srq.h"
#include "obj/vlan.h"
#include "transport/carrier.h"
#include "transport/gather.h"
#include "transport/requester.h"
#include "transport/responder.h"

/* The result of a step under the peer's resp.lock. */
enum verdict {
	V_DONE,		/* the message is over, status in the attempt */
	V_MORE,
	V_MISS,
	V_RNR,		/* the receiver has no WQE */
	V_LOST,		/* nobody answers */
};

struct attempt {
	struct prxe_qp *qp, *peer;
	struct prxe_wqe *wqe;
	struct prxe_miss miss;
	bool miss_remote;
	enum ib_wc_status status;
	u8 rnr_code;
};

/* ---- the peer ---- */

/* The QP at the other end, cached with a reference until it dies; NULL if there is none. */
static struct prxe_qp *local_peer(struct prxe_qp *qp)
{
	struct prxe_qp *peer = qp->req.peer;
	struct prxe_dev *dev;

	if (likely(peer && !READ_ONCE(peer->dead)))
		return peer;
	if (peer)
		prxe_qp_put(peer);
	rcu_read_lock();
	dev = prxe_av_local_dev(qp->dev, &qp->av);
	peer = dev ? prxe_qp_lookup(dev, qp->attr.dest_qp_num) : NULL;
	rcu_read_unlock();
	qp->req.peer = peer;
	return peer;
}

/* Would the peer accept a packet of this message from us? Under the peer's resp.lock. */
static bool peer_answers(const struct prxe_qp *qp, const struct prxe_qp *peer,
			 const struct prxe_wqe *wqe)
{
	if (peer->dead || peer->type != qp->type || !prxe_qp_receives(peer))
		return false;
	if (peer->attr.dest_qp_num != qp->qpn ||
	    memcmp(&peer->av.dgid, &qp->av.sgid, sizeof(union ib_gid)))
		return false;
	/* On UC the receiver follows the sender's PSN; on RC both ends must have agreed. */
	return qp->type == IB_QPT_UC || peer->resp.psn == wqe->first_psn;
}

static void peer_advance(struct attempt *a)
{
	struct prxe_resp *resp = &a->peer->resp;

	resp->psn = prxe_psn_add(a->wqe->last_psn, 1);
	resp->msn = (resp->msn + 1) & PRXE_PSN_MASK;
}

/* ---- failures ---- */

/* UC: the message is lost, and its sender completes with success. */
static enum verdict drop_uc(struct attempt *a)
{
	a->status = IB_WC_SUCCESS;
	peer_advance(a);
	return V_DONE;
}

/*
 * Where the wire would send a NAK: the peer's QP goes into error, as its consumer expects, and our
 * WQE fails with @status. On UC nobody is told, with one exception: a receive WQE that cannot be
 * used would fail for every later message, so it is an error of the peer's QP.
 */
static enum verdict refuse(struct attempt *a, enum ib_wc_status status,
			   enum ib_wc_status peer_status, int event)
{
	if (a->qp->type == IB_QPT_UC) {
		if (status == IB_WC_REM_OP_ERR)
			prxe_resp_fail(a->peer, peer_status, event);
		return drop_uc(a);
	}
	prxe_resp_fail(a->peer, peer_status, event);
	a->status = status;
	return V_DONE;
}

static enum verdict refuse_request(struct attempt *a)
{
	return refuse(a, IB_WC_REM_INV_REQ_ERR, IB_WC_LOC_QP_OP_ERR, IB_EVENT_QP_REQ_ERR);
}

static enum verdict refuse_access(struct attempt *a)
{
	return refuse(a, IB_WC_REM_ACCESS_ERR, IB_WC_LOC_ACCESS_ERR, IB_EVENT_QP_ACCESS_ERR);
}

static enum verdict own_error(struct attempt *a, enum ib_wc_status status)
{
	a->status = status;
	return V_DONE;
}

/* The peer's memory has an error: no fault of the request, so this is no access error. */
static enum verdict refuse_broken(struct attempt *a)
{
	return refuse(a, IB_WC_REM_OP_ERR, IB_WC_LOC_QP_OP_ERR, -1);
}

/*
 * A copy stopped with @n: a translation is missing, an MR has died (the next try at the gate says
 * which), or our own memory is at fault.
 */
static enum verdict stopped(struct attempt *a, ssize_t n)
{
	if (a->miss.mirror)
		return V_MISS;
	if (n == -ESTALE || n >= 0)
		return V_MORE;
	return own_error(a, IB_WC_LOC_PROT_ERR);
}

/* ---- operations; under the peer's resp.lock, inside prxe_mem_begin() ---- */

static u32 chunk(const struct prxe_wqe *wqe)
{
	return min_t(u32, wqe->length - wqe->done, PRXE_MEM_CHUNK);
}

/* Take the receive WQE for a SEND, or for a WRITE with immediate data. */
static enum verdict take_rwqe(struct attempt *a)
{
	switch (prxe_resp_take(a->peer)) {
	case 0:
		return V_MORE;
	case -EAGAIN:
		if (a->qp->type == IB_QPT_UC)
			return drop_uc(a);
		a->rnr_code = a->peer->attr.min_rnr_timer;
		return V_RNR;
	default:
		return refuse(a, IB_WC_REM_OP_ERR, IB_WC_LOC_QP_OP_ERR, IB_EVENT_QP_FATAL);
	}
}

static enum verdict received(struct attempt *a, struct ib_wc *wc)
{
	const struct prxe_wqe *wqe = a->wqe;

	wc->byte_len = wqe->length;
	wc->src_qp = a->qp->qpn;
	if (wqe->opcode == IB_WR_SEND_WITH_IMM || wqe->opcode == IB_WR_RDMA_WRITE_WITH_IMM) {
		wc->wc_flags |= IB_WC_WITH_IMM;
		wc->ex.imm_data = wqe->imm;
	} else if (wqe->opcode == IB_WR_SEND_WITH_INV) {
		wc->wc_flags |= IB_WC_WITH_INVALIDATE;
		wc->ex.invalidate_rkey = wqe->inv_rkey;
	}
	peer_advance(a);
	prxe_resp_complete(a->peer, wc, wqe->flags & IB_SEND_SOLICITED);
	a->status = IB_WC_SUCCESS;
	return V_DONE;
}

static enum verdict do_send(struct attempt *a)
{
	struct prxe_wqe *wqe = a->wqe;
	struct prxe_rwqe *rwqe = &a->peer->resp.rwqe;
	struct ib_wc wc = { .opcode = IB_WC_RECV };
	enum verdict v = take_rwqe(a);

	if (v != V_MORE)
		return v;
	if (wqe->length > rwqe->length)
		return refuse(a, IB_WC_REM_INV_REQ_ERR, IB_WC_LOC_LEN_ERR, -1);
	/*
	 * Between two chunks the wire may have used up the receive WQE, or begun to write into it:
	 * then start at the first byte again.
	 */
	if (!prxe_resp_claim(&a->peer->resp, &wqe->fill))
		wqe->done = 0;
	wqe->rwqe_no = rwqe->no;
	if (wqe->done < wqe->length) {
		struct prxe_sgl sgl = { .sge = rwqe->sge, .num = rwqe->num_sge };
		u32 want = chunk(wqe);
		ssize_t n = prxe_wqe_gather_sgl(a->qp, wqe, wqe->done, a->peer, sgl, 0, want,
						&a->miss);

		if (n == -EPERM)
			return refuse(a, IB_WC_REM_OP_ERR, IB_WC_LOC_PROT_ERR, -1);
		if (n > 0)
			wqe->done += n;
		a->miss_remote = a->miss.write;
		if (n < (ssize_t)want)
			return stopped(a, n);
		if (wqe->done < wqe->length)
			return V_MORE;
	}
	if (wqe->opcode == IB_WR_SEND_WITH_INV &&
	    prxe_key_invalidate(&a->peer->who, wqe->inv_rkey, true))
		return refuse_access(a);
	return received(a, &wc);
}

/* The peer's memory that an RDMA operation names, from the current position on. */
static int remote_cursor(struct attempt *a, int access, struct prxe_cursor *cur)
{
	struct prxe_wqe *wqe = a->wqe;
	int err = prxe_gate(&a->peer->who, wqe->rkey, true, wqe->remote_addr, wqe->length, access,
			    cur);

	if (!err) {
		cur->addr += wqe->done;
		cur->len -= wqe->done;
	}
	return err;
}

static enum verdict do_write(struct attempt *a)
{
	struct prxe_wqe *wqe = a->wqe;
	struct ib_wc wc = { .opcode = IB_WC_RECV_RDMA_WITH_IMM };
	struct prxe_cursor dst;
	enum verdict v;

	if (!prxe_resp_allows(a->peer, IB_ACCESS_REMOTE_WRITE))
		return refuse_request(a);
	if (wqe->done < wqe->length) {
		u32 want = chunk(wqe);
		ssize_t n;

		if (remote_cursor(a, IB_ACCESS_REMOTE_WRITE, &dst))
			return refuse_access(a);
		n = prxe_wqe_gather_to(a->qp, wqe, wqe->done, &dst, want, &a->miss);
		if (n > 0)
			wqe->done += n;
		a->miss_remote = a->miss.write;
		if (n < (ssize_t)want)
			return stopped(a, n);
		if (wqe->done < wqe->length)
			return V_MORE;
	}
	if (wqe->opcode == IB_WR_RDMA_WRITE) {
		peer_advance(a);
		a->status = IB_WC_SUCCESS;
		return V_DONE;
	}
	v = take_rwqe(a);
	return v == V_MORE ? received(a, &wc) : v;
}

static enum verdict do_read(struct attempt *a)
{
	struct prxe_wqe *wqe = a->wqe;
	struct prxe_sgl sgl = { .sge = wqe->sge, .num = wqe->num_sge };
	struct prxe_cursor src;

	if (!prxe_resp_allows(a->peer, IB_ACCESS_REMOTE_READ) || !a->peer->attr.max_dest_rd_atomic)
		return refuse_request(a);
	if (wqe->done < wqe->length) {
		u32 want = chunk(wqe);
		ssize_t n;

		if (remote_cursor(a, IB_ACCESS_REMOTE_READ, &src))
			return refuse_access(a);
		n = prxe_sgl_scatter_from(&a->qp->who, sgl, wqe->done, &src, want, &a->miss);
		if (n > 0)
			wqe->done += n;
		a->miss_remote = a->miss.mirror && !a->miss.write;
		if (n == -EHWPOISON)
			return refuse_broken(a);
		if (n < (ssize_t)want)
			return stopped(a, n);
		if (wqe->done < wqe->length)
			return V_MORE;
	}
	peer_advance(a);
	a->status = IB_WC_SUCCESS;
	return V_DONE;
}

/* prxe_copy_atomic() on the peer's memory did nothing, and returned @err. */
static enum verdict atomic_stopped(struct attempt *a, int err)
{
	if (err == -EINVAL)
		return refuse_request(a);
	if (err == -EHWPOISON)
		return refuse_broken(a);
	a->miss_remote = true;
	return stopped(a, err == -EAGAIN ? 0 : err);
}

/*
 * Write the result of an executed atomic to where the WQE says. This needs only our own memory: the
 * peer may have died meanwhile. Inside prxe_mem_begin().
 */
static enum verdict land_atomic(struct attempt *a)
{
	struct prxe_wqe *wqe = a->wqe;
	struct prxe_sgl sgl = { .sge = wqe->sge, .num = wqe->num_sge };
	const u8 *result = (const u8 *)&wqe->orig;
	ssize_t n;

	n = prxe_sgl_scatter(&a->qp->who, sgl, wqe->done, result + wqe->done,
			     sizeof(u64) - wqe->done, &a->miss);
	if (n > 0)
		wqe->done += n;
	if (wqe->done < sizeof(u64))
		return stopped(a, n);
	a->status = IB_WC_SUCCESS;
	return V_DONE;
}

/*
 * First check that the destination of the result is present, then execute the atomic once, then
 * write its result. If the destination goes missing in between, the result is kept in the WQE until
 * it is back.
 */
static enum verdict do_atomic(struct attempt *a)
{
	struct prxe_wqe *wqe = a->wqe;
	struct prxe_sgl sgl = { .sge = wqe->sge, .num = wqe->num_sge };
	struct prxe_cursor cur;
	ssize_t n;
	int err;

	if (!prxe_resp_allows(a->peer, IB_ACCESS_REMOTE_ATOMIC) ||
	    !a->peer->attr.max_dest_rd_atomic || wqe->remote_addr & 7)
		return refuse_request(a);
	n = prxe_sgl_probe(&a->qp->who, sgl, 0, sizeof(u64), IB_ACCESS_LOCAL_WRITE, &a->miss);
	if (n < (ssize_t)sizeof(u64))
		return stopped(a, n);
	if (prxe_gate(&a->peer->who, wqe->rkey, true, wqe->remote_addr, sizeof(u64),
		      IB_ACCESS_REMOTE_ATOMIC, &cur))
		return refuse_access(a);
	if (wqe->opcode == IB_WR_ATOMIC_CMP_AND_SWP)
		err = prxe_copy_atomic(&cur, PRXE_ATOMIC_CMP_SWP, wqe->compare_add, wqe->swap,
				       &wqe->orig, &a->miss);
	else
		err = prxe_copy_atomic(&cur, PRXE_ATOMIC_FETCH_ADD, 0, wqe->compare_add,
				       &wqe->orig, &a->miss);
	if (err)
		return atomic_stopped(a, err);
	wqe->done_atomic = 1;
	peer_advance(a);
	return land_atomic(a);
}

static enum verdict do_atomic_write(struct attempt *a)
{
	struct prxe_wqe *wqe = a->wqe;
	struct prxe_cursor cur;
	int err;

	if (!prxe_resp_allows(a->peer, IB_ACCESS_REMOTE_WRITE) ||
	    !a->peer->attr.max_dest_rd_atomic || wqe->remote_addr & 7)
		return refuse_request(a);
	if (prxe_gate(&a->peer->who, wqe->rkey, true, wqe->remote_addr, sizeof(u64),
		      IB_ACCESS_REMOTE_WRITE, &cur))
		return refuse_access(a);
	err = prxe_copy_atomic(&cur, PRXE_ATOMIC_WRITE, 0, wqe->compare_add, &wqe->orig, &a->miss);
	if (err)
		return atomic_stopped(a, err);
	peer_advance(a);
	a->status = IB_WC_SUCCESS;
	return V_DONE;
}

static enum verdict do_flush(struct attempt *a)
{
	struct prxe_wqe *wqe = a->wqe;
	int access = prxe_resp_flush_access(a->peer, wqe->flush.type, wqe->flush.level);

	if (!a->peer->attr.max_dest_rd_atomic || !access)
		return refuse_request(a);
	if (prxe_mem_flush(&a->peer->who, wqe->rkey, wqe->remote_addr, wqe->flush.length, access,
			   wqe->flush.level == PRXE_FLUSH_WHOLE))
		return refuse_access(a);
	peer_advance(a);
	a->status = IB_WC_SUCCESS;
	return V_DONE;
}

static bool is_send(const struct prxe_wqe *wqe)
{
	return wqe->opcode == IB_WR_SEND || wqe->opcode == IB_WR_SEND_WITH_IMM ||
	       wqe->opcode == IB_WR_SEND_WITH_INV;
}

/* Is the receive WQE that the fault was for still in use? */
static bool still_there(const struct attempt *a)
{
	const struct prxe_rwqe *rwqe = &a->peer->resp.rwqe;

	return rwqe->valid && rwqe->no == a->wqe->rwqe_no;
}

/*
 * A fault has failed: what does that mean for the operation that needed the memory? Returns V_MORE
 * if the memory belonged to a receive WQE that is not in use any more.
 */
static enum verdict fault_failed(struct attempt *a, bool remote)
{
	if (!remote)
		return own_error(a, IB_WC_LOC_PROT_ERR);
	if (!is_send(a->wqe))
		return refuse_access(a);
	return still_there(a) ? refuse(a, IB_WC_REM_OP_ERR, IB_WC_LOC_QP_OP_ERR, -1) : V_MORE;
}

static enum verdict execute(struct attempt *a, int fault_error, bool fault_remote)
{
	struct prxe_wqe *wqe = a->wqe;

	if (!peer_answers(a->qp, a->peer, wqe))
		return V_LOST;
	prxe_qp_established(a->peer);
	if (fault_error)
		return fault_failed(a, fault_remote);
	if (wqe->drop)
		return drop_uc(a);
	if (a->peer->resp.msg) {
		/*
		 * The peer is inside a message that came by the wire. On RC this is an invalid
		 * request; on UC the new message ends the old one.
		 */
		if (a->qp->type == IB_QPT_RC)
			return refuse_request(a);
		a->peer->resp.msg = 0;
	}
	switch (wqe->opcode) {
	case IB_WR_RDMA_WRITE:
	case IB_WR_RDMA_WRITE_WITH_IMM:
		return do_write(a);
	case IB_WR_SEND:
	case IB_WR_SEND_WITH_IMM:
	case IB_WR_SEND_WITH_INV:
		return do_send(a);
	case IB_WR_RDMA_READ:
		return do_read(a);
	case IB_WR_ATOMIC_CMP_AND_SWP:
	case IB_WR_ATOMIC_FETCH_AND_ADD:
		return do_atomic(a);
	case IB_WR_ATOMIC_WRITE:
		return do_atomic_write(a);
	case IB_WR_FLUSH:
		return do_flush(a);
	default:
		return own_error(a, IB_WC_LOC_QP_OP_ERR);
	}
}

/* ---- waiting, as the wire would ---- */

static enum prxe_step wait_rnr(struct attempt *a)
{
	struct prxe_qp *qp = a->qp;

	prxe_count(qp->dev, rcvd_rnr_err);
	if (!qp->req.rnr_retry) {
		prxe_count(qp->dev, rnr_retry_exceeded_err);
		prxe_req_complete(qp, a->wqe, IB_WC_RNR_RETRY_EXC_ERR);
		return PRXE_STEP_DONE;
	}
	if (qp->attr.rnr_retry != 7)
		qp->req.rnr_retry--;
	prxe_req_wait(qp, prxe_rnr_ns(a->rnr_code));
	return PRXE_STEP_BLOCKED;
}

/*
 * The request or its acknowledge got lost: wait for the ACK timer and try again. Without a timeout
 * there is no timer, and the next doorbell tries again.
 */
static enum prxe_step wait_lost(struct attempt *a)
{
	struct prxe_qp *qp = a->qp;
	u64 ns = prxe_timeout_ns(qp->attr.timeout);

	if (qp->type == IB_QPT_UC) {
		prxe_req_complete(qp, a->wqe, IB_WC_SUCCESS);
		return PRXE_STEP_DONE;
	}
	if (!ns)
		return PRXE_STEP_BLOCKED;
	if (qp->req.lost) {
		if (!qp->req.retry) {
			qp->req.lost = false;
			prxe_count(qp->dev, retry_exceeded_err);
			prxe_req_complete(qp, a->wqe, IB_WC_RETRY_EXC_ERR);
			return PRXE_STEP_DONE;
		}
		qp->req.retry--;
		prxe_count(qp->dev, completer_retry_err);
	}
	qp->req.lost = true;
	prxe_req_wait(qp, ns);
	return PRXE_STEP_BLOCKED;
}

static enum prxe_step conclude(struct attempt *a, enum verdict v)
{
	struct prxe_qp *qp = a->qp;
	struct prxe_wqe *wqe = a->wqe;

	if (v != V_LOST && v != V_MISS)
		qp->req.lost = false;
	switch (v) {
	case V_DONE:
		if (likely(a->status == IB_WC_SUCCESS)) {
			qp->req.retry = qp->attr.retry_cnt;
			qp->req.rnr_retry = qp->attr.rnr_retry;
			prxe_count(qp->dev, local_messages);
			prxe_count_add(qp->dev, local_bytes, wqe->length);
		}
		wqe->done = wqe->length;
		prxe_req_complete(qp, wqe, a->status);
		return PRXE_STEP_DONE;
	case V_MORE:
		return PRXE_STEP_MORE;
	case V_MISS:
		return prxe_req_park(qp, PRXE_PARK_SEND, qp->req.sq->index, wqe->first_psn,
				     &a->miss, a->miss_remote) ? PRXE_STEP_MORE : PRXE_STEP_BLOCKED;
	case V_RNR:
		return wait_rnr(a);
	case V_LOST:
		return wait_lost(a);
	}
	return PRXE_STEP_BLOCKED;
}

static void begin(struct prxe_qp *qp, struct prxe_wqe *wqe)
{
	wqe->first_psn = qp->req.psn;
	wqe->last_psn = prxe_psn_add(wqe->first_psn, prxe_pkts(wqe->length, qp->mtu_shift) - 1);
	qp->req.psn = prxe_psn_add(wqe->last_psn, 1);
	wqe->state = PRXE_WQE_SENT;
}

static enum prxe_step local_step(struct prxe_qp *qp, struct prxe_wqe *wqe)
{
	struct attempt a = { .qp = qp, .wqe = wqe };
	enum verdict v = V_LOST;
	int fault_error;

	if (prxe_park_faulting(&qp->req.park[PRXE_PARK_SEND], &fault_error))
		return PRXE_STEP_BLOCKED;
	if (wqe->state == PRXE_WQE_FETCHED)
		begin(qp, wqe);
	if (wqe->done_atomic) {
		prxe_mem_begin();
		v = fault_error ? own_error(&a, IB_WC_LOC_PROT_ERR) : land_atomic(&a);
		prxe_mem_end();
		return conclude(&a, v);
	}
	a.peer = local_peer(qp);
	if (a.peer) {
		prxe_mem_begin();
		spin_lock(&a.peer->resp.lock);
		v = execute(&a, fault_error, qp->req.park[PRXE_PARK_SEND].remote);
		spin_unlock(&a.peer->resp.lock);
		prxe_mem_end();
	}
	return conclude(&a, v);
}

/* ---- UD ---- */

/*
 * The receiver does not take this datagram, or has no room for it: it is lost. UD promises nothing.
 */
static enum verdict drop_ud(struct attempt *a)
{
	/*
	 * If the peer is dead its device may be gone, too; only the memory of the QP is still
	 * valid.
	 */
	if (!a->peer->dead)
		prxe_count(a->peer->dev, dropped);
	return V_DONE;
}

/* The receive WQE cannot be used: that is an error of the receiver's QP. */
static enum verdict fail_ud(struct attempt *a, enum ib_wc_status status)
{
	prxe_resp_fail(a->peer, status, -1);
	return V_DONE;
}

/*
 * Check type, state and Q_Key, as for a packet. Another QP may have got this number by now; it
 * must not be touched unless the message is for it.
 */
static bool takes_ud(const struct attempt *a)
{
	const struct prxe_qp *peer = a->peer;
	u32 qkey;

	if (peer->dead || !prxe_qp_receives(peer))
		return false;
	if (peer->type != IB_QPT_UD && peer->type != IB_QPT_GSI)
		return false;
	qkey = peer->type == IB_QPT_GSI ? IB_QP1_QKEY : READ_ONCE(peer->attr.qkey);
	return qkey == a->wqe->ud.qkey;
}

/*
 * Deliver GRH and message, or nothing. @fault_error: the result of the fault for the receiver's
 * memory that was waited for. Under the receiver's resp.lock.
 */
static enum verdict deliver_ud(struct attempt *a, int fault_error)
{
	struct prxe_wqe *wqe = a->wqe;
	struct prxe_qp *peer = a->peer;
	struct prxe_rwqe *rwqe = &peer->resp.rwqe;
	struct prxe_sgl sgl = { .sge = rwqe->sge };
	struct ib_wc wc = {
		.opcode = IB_WC_RECV,
		.byte_len = wqe->length + sizeof(struct ib_grh),
		.src_qp = a->qp->qpn,
		.wc_flags = IB_WC_GRH | IB_WC_WITH_NETWORK_HDR_TYPE,
		.network_hdr_type = wqe->ud.av.family == AF_INET ? RDMA_NETWORK_IPV4 :
								   RDMA_NETWORK_IPV6,
	};
	u8 grh[sizeof(struct ib_grh)];
	ssize_t n;
	int err;
	u16 tci;

	/* The wire does not carry longer datagrams to this receiver. */
	if (!takes_ud(a) || wqe->length > 1U << peer->mtu_shift)
		return drop_ud(a);
	if (fault_error && still_there(a))
		return fail_ud(a, IB_WC_LOC_QP_OP_ERR);
	err = prxe_resp_take(peer);
	if (err && err != -EAGAIN)
		return fail_ud(a, IB_WC_LOC_QP_OP_ERR);
	if (err || rwqe->length < wc.byte_len)
		return drop_ud(a);
	/*
	 * Always start at the first byte, so that all that another datagram wrote there is
	 * overwritten.
	 */
	wqe->fill = 0;
	prxe_resp_claim(&peer->resp, &wqe->fill);
	wqe->rwqe_no = rwqe->no;
	sgl.num = rwqe->num_sge;
	prxe_av_grh(&wqe->ud.av, wqe->length, grh);
	n = prxe_sgl_scatter(&peer->who, sgl, 0, grh, sizeof(grh), &a->miss);
	if (n < (ssize_t)sizeof(grh)) {
		a->miss_remote = true;
		if (n < 0 && n != -ESTALE)
			return fail_ud(a, IB_WC_LOC_PROT_ERR);
		return stopped(a, n);
	}
	if (wqe->length) {
		n = prxe_wqe_gather_sgl(a->qp, wqe, 0, peer, sgl, sizeof(grh), wqe->length,
					&a->miss);
		if (n == -EPERM)
			return fail_ud(a, IB_WC_LOC_PROT_ERR);
		a->miss_remote = a->miss.write;
		if (n < (ssize_t)wqe->length)
			return stopped(a, n);
	}
	if (wqe->opcode == IB_WR_SEND_WITH_IMM) {
		wc.wc_flags |= IB_WC_WITH_IMM;
		wc.ex.imm_data = wqe->imm;
	}
	wc.pkey_index = 0;
	tci = prxe_av_vlan(peer->dev, &wqe->ud.av.dgid, rt_tos2priority(wqe->ud.av.tclass));
	if (tci)
		prxe_wc_set_vlan(&wc, tci);
	prxe_resp_complete(peer, &wc, wqe->flags & IB_SEND_SOLICITED);
	return V_DONE;
}

/* The receiver, with a reference. NULL: no QP has the number, or the address has left this host. */
static struct prxe_qp *ud_peer(struct prxe_qp *qp, const struct prxe_wqe *wqe)
{
	struct prxe_qp *peer = NULL;
	struct prxe_dev *dev;

	rcu_read_lock();
	dev = prxe_av_local_dev(qp->dev, &wqe->ud.av);
	if (dev)
		peer = prxe_qp_lookup(dev, wqe->ud.qpn);
	rcu_read_unlock();
	return peer;
}

static enum prxe_step local_ud_send(struct prxe_qp *qp, struct prxe_wqe *wqe)
{
	struct attempt a = { .qp = qp, .wqe = wqe, .status = IB_WC_SUCCESS };
	bool remote = qp->req.park[PRXE_PARK_SEND].remote;
	enum verdict v = V_DONE;
	int fault_error;

	if (prxe_park_faulting(&qp->req.park[PRXE_PARK_SEND], &fault_error))
		return PRXE_STEP_BLOCKED;
	wqe->state = PRXE_WQE_SENT;
	if (fault_error && !remote) {
		a.status = IB_WC_LOC_PROT_ERR;
	} else if (!wqe->drop) {
		a.peer = ud_peer(qp, wqe);
		if (a.peer) {
			prxe_mem_begin();
			spin_lock(&a.peer->resp.lock);
			v = deliver_ud(&a, fault_error);
			spin_unlock(&a.peer->resp.lock);
			prxe_mem_end();
			prxe_qp_put(a.peer);
		}
	}
	return conclude(&a, v);
}

/* ---- the carrier ---- */

static enum prxe_step local_serve(struct prxe_qp *qp, struct prxe_budget *b)
{
	return prxe_req_waits(qp) ? PRXE_STEP_BLOCKED : prxe_req_serve_each(qp, b, local_step);
}

static void local_reset_send(struct prxe_qp *qp)
{
	if (qp->req.peer) {
		prxe_qp_put(qp->req.peer);
		qp->req.peer = NULL;
	}
	qp->req.lost = false;
}

const struct prxe_carrier prxe_local_carrier = {
	.name = "local",
	.serve = local_serve,
	.ud_send = local_ud_send,
	.life = { [PRXE_LIFE_RESET_SEND] = local_reset_send },
};
