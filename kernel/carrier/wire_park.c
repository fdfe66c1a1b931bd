// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The wire's responder: requests that wait for memory. Everything runs under resp.lock.
 *
 * RC requests may wait for faults as long as at least one of them is executed every park_ns(), and
 * as long as not too many wait. Otherwise the requester gets an RNR NAK and comes again later; the
 * parked requests are dropped, and the fault goes on. Packets of UC and UD are lost after WAIT_MAX.
 *
 * Carrier, wire: uses the answers (wire_answer.c). When a fault ends, the function that was given
 * to prxe_resp_park_init() executes what can go on.
 */
#include <linux/jiffies.h>
#include <linux/lockdep.h>
#include <linux/slab.h>
#include "base/packet.h"
#include "carrier/wire_hold.h"
#include "carrier/wire_park.h"
#include "carrier/wire_state.h"
#include "mmu/request.h"
#include "transport/qp.h"

#define PARK_MAX_MS	1000U		/* upper bound of the module parameter */
#define PARK_MIN_NS	NSEC_PER_MSEC
#define PARK_MAX_NS	(16 * NSEC_PER_MSEC)
#define WAIT_MAX	msecs_to_jiffies(50)	/* how long a UC or UD packet waits for memory */
#define LOOK_NS		(25 * NSEC_PER_MSEC)	/* how often their age is checked */

struct resp_fault {
	struct prxe_fault_req req;
	struct prxe_qp *qp;	/* a reference */
	u32 epoch;
};

static void resp_fault_done(struct prxe_fault_req *req)
{
	struct resp_fault *f = container_of(req, struct resp_fault, req);
	struct prxe_qp *qp = f->qp;
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	bool more = false;

	spin_lock_bh(&qp->resp.lock);
	if (w->faulting && f->epoch == w->fault_epoch) {
		w->faulting = false;
		w->fault_error = req->result;
		more = w->run(qp, PRXE_PASS_BYTES);
	}
	prxe_resp_unlock(qp);
	if (more)
		prxe_qp_schedule(qp);
	kfree(f);
	prxe_qp_put(qp);
}

/*
 * How long a parked request may wait: far less than the requester's ACK timeout. That timeout is
 * unknown here, but ours is a good estimate, since both ends are nearly always configured alike. If
 * the peer's is shorter, a slow fault costs one retransmission.
 */
static u64 park_ns(const struct prxe_qp *qp)
{
	u64 timeout = prxe_timeout_ns(READ_ONCE(qp->attr.timeout) & 31);
	u64 ns = min(READ_ONCE(prxe_park_ms), PARK_MAX_MS) * (u64)NSEC_PER_MSEC;

	if (qp->type != IB_QPT_RC)
		return LOOK_NS;
	/* attr.timeout is valid only from RTS on. */
	if (READ_ONCE(qp->state) < IB_QPS_RTS)
		return ns ? min_t(u64, ns, PARK_MAX_NS) : PARK_MIN_NS;
	/* The administrator's value, but never so long that the requester retransmits. */
	if (ns)
		return timeout ? min_t(u64, ns, max_t(u64, timeout / 2, PARK_MIN_NS)) : ns;
	return timeout ? clamp_t(u64, timeout / 8, PARK_MIN_NS, PARK_MAX_NS) : PARK_MAX_NS;
}

void prxe_resp_timer_start(struct prxe_qp *qp)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);

	lockdep_assert_held(&qp->resp.lock);
	if (w->park_timing)
		return;
	w->park_timing = true;
	w->park_psn = qp->resp.psn;
	hrtimer_start(&w->park_timer, ns_to_ktime(park_ns(qp)), HRTIMER_MODE_REL_SOFT);
}

int prxe_resp_fault(struct prxe_qp *qp, struct prxe_miss *miss, u64 key)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct resp_fault *f;

	lockdep_assert_held(&qp->resp.lock);
	if (w->faulting) {
		prxe_miss_drop(miss);
		return 0;
	}
	if (w->fault_error && w->fault_key == key) {
		int err = w->fault_error;

		w->fault_error = 0;
		prxe_miss_drop(miss);
		return err;
	}
	prxe_resp_timer_start(qp);
	f = kmalloc(sizeof(*f), GFP_ATOMIC | __GFP_NOWARN);
	if (!f) {
		/* The timer will make the requester try again. */
		prxe_miss_drop(miss);
		return 0;
	}
	refcount_inc(&qp->ref);
	f->qp = qp;
	f->epoch = w->fault_epoch;
	f->req.done = resp_fault_done;
	w->faulting = true;
	w->fault_error = 0;
	w->fault_key = key;
	prxe_fault_queue(&f->req, miss);
	return 0;
}

/*
 * The RNR NAK makes the requester resend what is dropped here. If the NAK cannot be allocated, the
 * requester's ACK timer does the same, later.
 */
void prxe_resp_rnr_for_fault(struct prxe_qp *qp, u32 more)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	u32 pkts = skb_queue_len(&w->parked) + more;
	u8 code = PRXE_RNR_FAULT_FIRST;

	lockdep_assert_held(&qp->resp.lock);
	if (w->rnr_psn == qp->resp.psn && w->rnr_code)
		code = min(w->rnr_code + 2, PRXE_RNR_FAULT_LAST);
	w->rnr_psn = qp->resp.psn;
	w->rnr_code = code;
	__skb_queue_purge(&w->parked);
	w->ack_due = false;
	w->gap = false;
	w->nak_sent = true;
	w->rnr_sent = true;
	if (prxe_resp_send_rnr(qp, qp->resp.psn, code))
		prxe_count_add(qp->dev, rnr_for_fault_pkts, pkts);
	else
		prxe_count_add(qp->dev, lost_to_fault, pkts);
}

void prxe_resp_lost_to_wait(struct prxe_qp *qp, struct sk_buff *skb)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);

	lockdep_assert_held(&qp->resp.lock);
	prxe_count(qp->dev, dropped_fault);
	kfree_skb(skb);
	if (qp->type == IB_QPT_UC && !w->preparing) {
		w->preparing = true;
		w->prepared = 0;
	}
}

/*
 * UC and UD: packets that have waited for too long are lost. The fault goes on, for later packets.
 * Returns true if some packets are left: check again later.
 */
static bool give_up_old(struct prxe_qp *qp)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct prxe_resp *r = &qp->resp;
	struct sk_buff *skb;

	lockdep_assert_held(&r->lock);
	while ((skb = skb_peek(&w->parked)) &&
	       time_after_eq(jiffies, PRXE_RX(skb)->since + WAIT_MAX)) {
		__skb_unlink(skb, &w->parked);
		prxe_resp_lost_to_wait(qp, skb);
	}
	return !skb_queue_empty(&w->parked);
}

/* The timer has ended. Returns true if it shall run for another park_ns(). */
static bool park_time_is_up(struct prxe_qp *qp)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct prxe_resp *r = &qp->resp;

	lockdep_assert_held(&r->lock);
	if (!prxe_resp_may_run(qp))
		return false;
	if (!w->faulting) {
		prxe_qp_schedule(qp);	/* there was no memory to queue a fault, or to send */
		return false;
	}
	if (qp->type != IB_QPT_RC)
		return give_up_old(qp);
	if (skb_queue_empty(&w->parked))
		return false;
	if (w->reading) {
		/*
		 * Drop what waits behind the READ; the gap is reported when the READ is over, and
		 * the requester sends it again.
		 */
		__skb_queue_purge(&w->parked);
		w->gap = true;
		return false;
	}
	if (r->psn == w->park_psn) {
		prxe_resp_rnr_for_fault(qp, 0);
		return false;
	}
	/*
	 * Requests are executed, one fault after the other. Send an ACK, so that the requester's
	 * ACK timer does not expire.
	 */
	w->park_psn = r->psn;
	w->ack_due = true;
	prxe_resp_acknowledge(qp);
	return true;
}

static enum hrtimer_restart park_timer(struct hrtimer *timer)
{
	struct prxe_wire *wire = container_of(timer, struct prxe_wire, resp.park_timer);
	struct prxe_qp *qp = prxe_wire_qp(wire);
	struct prxe_wire_resp *w = &wire->resp;
	bool again;

	spin_lock_bh(&qp->resp.lock);
	again = park_time_is_up(qp);
	if (again)
		hrtimer_forward_now(timer, ns_to_ktime(park_ns(qp)));
	else
		w->park_timing = false;	/* from here on it may be started again */
	prxe_resp_unlock(qp);
	return again ? HRTIMER_RESTART : HRTIMER_NORESTART;
}

void prxe_resp_park_init(struct prxe_qp *qp, bool (*run)(struct prxe_qp *qp, unsigned int budget))
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);

	w->run = run;
	prxe_hrtimer_setup(&w->park_timer, park_timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_SOFT);
}
