// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The responder's half of the wire: the order in which requests are executed. Everything runs under
 * resp.lock, most of it in softirq.
 *
 * A request is executed when it is its turn: no request waits before it, and its memory is present.
 * Otherwise it is parked, in order. Three things make requests wait: a READ whose responses are
 * being sent (they must leave before the ACKs of later requests), a fault, and the end of the
 * budget of one pass. run() executes whatever can be executed now. Whoever may have ended a wait
 * calls it: the receiver of the next packet, the worker, the end of a fault. resp.psn is the oldest
 * PSN that was not executed, recv_psn the next one to be parked.
 *
 * Carrier, wire: the top of the responder's half. It calls wire_data.c and wire_read.c, which
 * execute, wire_park.c, where requests wait for memory, and wire_answer.c.
 */
#include <linux/delay.h>
#include <linux/lockdep.h>
#include <linux/slab.h>
#include "base/packet.h"
#include "carrier/wire_data.h"
#include "carrier/wire_early.h"
#include "carrier/wire_make.h"
#include "carrier/wire_hold.h"
#include "carrier/wire_out.h"
#include "carrier/wire_park.h"
#include "carrier/wire_pos.h"
#include "carrier/wire_read.h"
#include "carrier/wire_resp.h"
#include "carrier/wire_state.h"
#include "transport/responder.h"

#define WORK_PASSES	4		/* of the worker; it drops the lock between them */
#define AHEAD_MAX	4096		/* PSNs; our requester is never further ahead */

static void forget_packets(struct prxe_qp *qp)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);

	prxe_read_forget(qp);
	__skb_queue_purge(&w->dups);
	__skb_queue_purge(&w->parked);
	prxe_early_forget(&w->early);
	w->ack_due = false;
	w->gap = false;
}

static enum prxe_exec exec_uc(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkt)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct prxe_resp *r = &qp->resp;

	/*
	 * A gap, or a new message before the old one has ended: drop what was begun, and use its
	 * receive WQE again.
	 */
	if (pkt->psn != r->psn || (pkt->flags & PRXE_OPF_FIRST && r->msg)) {
		if (r->msg)
			w->drop_msg = true;
		r->msg = 0;
		r->psn = pkt->psn;
	}
	if (pkt->flags & PRXE_OPF_FIRST)
		w->drop_msg = false;
	if (w->drop_msg || (!r->msg && !(pkt->flags & PRXE_OPF_FIRST))) {
		w->drop_msg = true;
		r->psn = prxe_psn_add(pkt->psn, 1);
		return PRXE_EXEC_DONE;
	}
	if (prxe_data_exec(qp, skb, pkt) == PRXE_EXEC_WAIT)
		return PRXE_EXEC_WAIT;
	r->psn = prxe_psn_add(pkt->psn, 1);
	return PRXE_EXEC_DONE;
}

/* Execute a packet: on RC the one at resp.psn, else the next one. */
static enum prxe_exec exec(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkt)
{
	switch (qp->type) {
	case IB_QPT_RC:
		if (pkt->flags & (PRXE_OPF_SEND | PRXE_OPF_WRITE))
			return prxe_data_exec(qp, skb, pkt);
		if (pkt->flags & PRXE_OPF_READ)
			return prxe_read_exec(qp, skb, pkt);
		if (pkt->flags & (PRXE_OPF_ATOMIC | PRXE_OPF_ATOMIC_WRITE))
			return prxe_atomic_exec(qp, skb, pkt);
		if (pkt->flags & PRXE_OPF_FLUSH)
			return prxe_flush_exec(qp, pkt);
		return prxe_resp_bad_request(qp);
	case IB_QPT_UC:
		return exec_uc(qp, skb, pkt);
	default:
		return prxe_ud_exec(qp, skb, pkt);
	}
}

/*
 * A sender on this host with the same address, by the local carrier, may have used this PSN while
 * the packet waited: then the packet is a repetition, or ahead.
 */
static bool is_turn(const struct prxe_qp *qp, const struct prxe_pkt *pkt)
{
	if (qp->type != IB_QPT_RC || pkt->psn == qp->resp.psn)
		return true;
	prxe_count(qp->dev, dropped);
	return false;
}

#define OP_RD	(PRXE_OPF_READ | PRXE_OPF_ATOMIC)

/*
 * RC: count a READ or atomic that waits. If the requester has more of them under way than
 * max_dest_rd_atomic, it gets a NAK (invalid request) when the turn of the surplus request comes.
 */
static void count_rd(struct prxe_qp *qp, struct sk_buff *skb)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);

	w->rd_parked++;
	if (w->rd_parked + (w->reading && w->read_counts) > READ_ONCE(qp->attr.max_dest_rd_atomic))
		PRXE_RX(skb)->overuse = true;
}

/* Execute a packet that has waited. Returns true if it is used up. */
static bool exec_parked(struct prxe_qp *qp, struct sk_buff *skb)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct prxe_pkt pkt;

	if (prxe_pkt_parse(&pkt, skb->data, skb_headlen(skb), skb->len))
		return true;
	if (is_turn(qp, &pkt)) {
		if (PRXE_RX(skb)->overuse)
			prxe_resp_bad_request(qp);
		else if (exec(qp, skb, &pkt) == PRXE_EXEC_WAIT)
			return false;
	}
	if (qp->type == IB_QPT_RC && pkt.flags & OP_RD)
		w->rd_parked--;
	return true;
}

static bool waits(const struct prxe_wire_resp *w)
{
	return w->reading || w->faulting || !skb_queue_empty(&w->parked) ||
	       !skb_queue_empty(&w->dups);
}

/* RC: the packet that was missing has come. */
static void next_came(struct prxe_wire_resp *w)
{
	w->nak_sent = false;
	w->rnr_sent = false;
	w->gap = false;
}

/* The number of PSNs that a request takes. */
static u32 request_psns(const struct prxe_qp *qp, const struct prxe_pkt *pkt)
{
	if (!(pkt->flags & PRXE_OPF_READ))
		return 1;
	return prxe_pkts(min(pkt->dma_len, PRXE_MAX_MSG), qp->mtu_shift);
}

/* The PSN of the next packet that is to be received in order. */
static u32 next_psn(const struct prxe_qp *qp)
{
	const struct prxe_wire_resp *w = prxe_wire_resp(qp);

	return skb_queue_empty(&w->parked) ? qp->resp.psn : w->recv_psn;
}

/* @held, a copy of @pkt, waits behind those that wait already; it is the next in order. */
static void park_held(struct prxe_qp *qp, struct sk_buff *held, const struct prxe_pkt *pkt)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);

	/* Packets that were given up and come again must not be counted twice. */
	if (skb_queue_empty(&w->parked))
		w->rd_parked = 0;
	if (qp->type == IB_QPT_RC && pkt->flags & OP_RD)
		count_rd(qp, held);
	__skb_queue_tail(&w->parked, held);
	w->recv_psn = prxe_psn_add(pkt->psn, request_psns(qp, pkt));
}

/* What came early, and is next in order now, has its turn behind those that are parked. */
static void take_early(struct prxe_qp *qp)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct sk_buff *skb;
	struct prxe_pkt pkt;

	while (prxe_early_any(&w->early)) {
		u32 psn = next_psn(qp);

		/* Some came again, and were executed: the requester sends everything again. */
		if (prxe_early_before(&w->early, psn)) {
			w->early.whole = true;
			w->early.alone = false;
		}
		skb = prxe_early_first(&w->early, psn);
		if (!skb || PRXE_RX(skb)->psn != psn)
			break;
		prxe_early_take(&w->early, skb);
		if (prxe_pkt_parse(&pkt, skb->data, skb_headlen(skb), skb->len)) {
			kfree_skb(skb);		/* cannot be: it was parsed when it came */
			break;
		}
		next_came(w);
		prxe_early_closed(&w->early, psn);
		if (w->faulting)
			prxe_resp_timer_start(qp);
		park_held(qp, skb, &pkt);
	}
}

/* Packets are kept that came early: is it time to ask for what is missing before them? */
static void look_for_gap(struct prxe_qp *qp)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);

	if (w->rnr_sent)
		prxe_early_forget(&w->early);	/* the requester sends them again */
	if (!prxe_early_any(&w->early))
		return;
	if (prxe_early_ask(&w->early, next_psn(qp), false))
		w->gap = true;
	/* A NAK can leave only if nothing waits to be executed. The end of that calls run(). */
	if (!waits(w))
		prxe_early_start(&w->early, 0);
}

/*
 * Execute what can be executed now, about @budget bytes of it. Returns true if there is more to do
 * at once.
 */
static bool run(struct prxe_qp *qp, unsigned int budget)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct prxe_resp *r = &qp->resp;
	bool more = false;

	lockdep_assert_held(&r->lock);
	while (prxe_resp_may_run(qp)) {
		struct prxe_pkt pkt;
		struct sk_buff *skb;
		u32 sent;

		take_early(qp);
		if (!w->reading && skb_queue_empty(&w->dups) &&
		    (w->faulting || skb_queue_empty(&w->parked)))
			break;
		if (!budget) {
			more = true;
			break;
		}
		if (w->reading) {
			sent = prxe_read_respond(qp);
			if (!sent)
				break;
			budget -= min(budget, sent << qp->mtu_shift);
			continue;
		}
		budget -= min(budget, 1U << qp->mtu_shift);
		skb = __skb_dequeue(&w->dups);
		if (skb) {
			if (!prxe_pkt_parse(&pkt, skb->data, skb_headlen(skb), skb->len))
				prxe_dup_exec(qp, &pkt);
			consume_skb(skb);
			continue;
		}
		skb = __skb_dequeue(&w->parked);
		if (!exec_parked(qp, skb)) {
			__skb_queue_head(&w->parked, skb);
			break;
		}
		consume_skb(skb);
		/*
		 * An RNR NAK was sent: the requester resends everything from this packet on, so
		 * drop the rest.
		 */
		if (qp->type == IB_QPT_RC && w->rnr_sent && !skb_queue_empty(&w->parked))
			__skb_queue_purge(&w->parked);
	}
	look_for_gap(qp);
	if (!prxe_resp_may_run(qp))
		forget_packets(qp);
	else if (qp->type == IB_QPT_RC)
		prxe_resp_acknowledge(qp);
	else if (w->preparing && skb_queue_empty(&w->parked))
		prxe_data_prepare(qp);
	return more;
}

/*
 * RC: packets before this one are missing. Keep it, or ask for them at once. (But after an RNR NAK
 * the requester sends this one again in any case.)
 */
static void came_early(struct prxe_qp *qp, const struct sk_buff *skb, const struct prxe_pkt *pkt)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	u32 ahead = (pkt->psn - w->recv_psn) & PRXE_PSN_MASK;

	if (w->rnr_sent)
		return;
	if (ahead < prxe_wire_window(qp) && pkt->payload_len <= 1U << qp->mtu_shift &&
	    prxe_early_keep(qp, &w->early, skb, pkt))
		return;
	if (!w->nak_sent)
		w->gap = true;
}

/* RC: is it the next packet? If not, it was handled here. */
static bool rcv_in_order(struct prxe_qp *qp, const struct sk_buff *skb, const struct prxe_pkt *pkt)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct prxe_resp *r = &qp->resp;
	s32 diff = prxe_psn_cmp(pkt->psn, r->psn);

	if (skb_queue_empty(&w->parked))
		w->recv_psn = r->psn;
	prxe_early_learn(&w->early, pkt->psn);
	if (pkt->psn == w->recv_psn)
		return true;
	if (diff < 0) {
		prxe_dup_rcv(qp, skb, pkt);
		return false;
	}
	/* It is parked already, or ahead of the expected PSN. */
	if (diff > AHEAD_MAX)
		prxe_count(qp->dev, dropped);
	else if (prxe_psn_cmp(pkt->psn, w->recv_psn) > 0)
		came_early(qp, skb, pkt);
	return false;
}

/*
 * A packet cannot be parked: too many are, or there is no memory. On RC its requester is told and
 * sends it again.
 */
static void no_room(struct prxe_qp *qp)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);

	if (qp->type != IB_QPT_RC)
		prxe_resp_lost_to_wait(qp, NULL);
	else if (w->faulting && !w->reading)
		prxe_resp_rnr_for_fault(qp, 1);
	else
		w->gap = true;
}

/* Queue a copy of the packet behind those that wait already. */
static void park(struct prxe_qp *qp, const struct sk_buff *skb, const struct prxe_pkt *pkt)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	u32 max = prxe_wire_window(qp);	/* our requester has no more under way */
	struct sk_buff *held = NULL;

	if (qp->type == IB_QPT_RC && (w->reading || !w->faulting))
		max *= 2;
	/* A packet that is too long would be refused in its turn anyway, so do not keep it. */
	if (skb_queue_len(&w->parked) < max && pkt->payload_len <= 1U << qp->mtu_shift)
		held = prxe_wire_hold(qp, skb, pkt);
	if (!held) {
		no_room(qp);
		return;
	}
	if (w->faulting)
		prxe_resp_timer_start(qp);
	park_held(qp, held, pkt);
}

/* Returns true if run() has something to do that cannot wait for the next packet of the train. */
static bool rcv_one(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkt)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);

	memset(PRXE_RX(skb), 0, sizeof(struct prxe_rx));
	if (qp->type == IB_QPT_RC) {
		if (!rcv_in_order(qp, skb, pkt))
			return w->gap || waits(w);
		next_came(w);
	} else if (pkt->payload_len > 1U << qp->mtu_shift) {
		/*
		 * A UD message or a UC packet is never longer than the MTU. This one came in IP
		 * fragments, or over a link with a larger MTU.
		 */
		prxe_count(qp->dev, rcvd_malformed);
		return false;
	}
	prxe_qp_established(qp);
	if (waits(w) || exec(qp, skb, pkt) != PRXE_EXEC_DONE)
		park(qp, skb, pkt);
	return waits(w) || prxe_early_any(&w->early);
}

/*
 * The middle of a WRITE or SEND comes in many packets of a train: execute those that follow each
 * other together. Returns how many were dealt with; 0: look at the first one alone.
 */
static u32 rcv_run(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkts, u32 num)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	u32 n = 1, done;

	if (qp->type != IB_QPT_RC || pkts->psn != qp->resp.psn || waits(w))
		return 0;
	while (n < num && prxe_data_follows(qp, &pkts[0], &pkts[n], n))
		n++;
	if (n < 2)
		return 0;
	memset(PRXE_RX(skb), 0, sizeof(struct prxe_rx));
	next_came(w);
	prxe_qp_established(qp);
	done = n;
	if (prxe_data_run(qp, skb, pkts, &done) == PRXE_EXEC_WAIT) {
		w->recv_psn = qp->resp.psn;
		park(qp, skb, &pkts[done++]);
	}
	return done;
}

void prxe_wire_resp_rcv(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkts,
			unsigned int num)
{
	bool more = false;
	unsigned int i;
	u32 done;

	spin_lock_bh(&qp->resp.lock);
	if (!prxe_resp_may_run(qp))
		goto out;
	/*
	 * A READ is answered before the next request is looked at, or that request would be parked;
	 * but when the budget of a pass is used up, it is.
	 */
	for (i = 0; i < num && prxe_resp_may_run(qp); i += done) {
		done = rcv_run(qp, skb, &pkts[i], num - i);
		if (done)
			continue;
		done = 1;
		if (rcv_one(qp, skb, &pkts[i]) && i + 1 < num && !more)
			more = run(qp, PRXE_PASS_BYTES);
	}
	if (!more)
		more = run(qp, PRXE_PASS_BYTES);
out:
	prxe_resp_unlock(qp);
	if (more)
		prxe_qp_schedule(qp);
}

bool prxe_wire_resp_work(struct prxe_qp *qp)
{
	bool more = true;
	int i;

	for (i = 0; i < WORK_PASSES && more; i++) {
		spin_lock_bh(&qp->resp.lock);
		more = run(qp, PRXE_PASS_BYTES);
		prxe_resp_unlock(qp);
		cond_resched();
	}
	return more;
}

/*
 * A requester that goes back expects one NAK for each packet that is missing; each may use up one
 * of its retries. One that sends only what is missing is like ours (wire_again.c), and may be asked
 * for one packet so often.
 */
#define ASK_MAX_ALONE	8U
/*
 * After so many waits (about 300 ms) what came early is dropped. The requester is gone, or its ACK
 * timer is to find out.
 */
#define WAIT_TIMES	9U

/* What was missing when the timer was started may have been lost. */
static void early_time_is_up(struct prxe_qp *qp)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct prxe_early *early = &w->early;
	u32 timed = early->timed;	/* run() may start it again */

	if (!prxe_resp_may_run(qp))
		return;
	if (run(qp, PRXE_PASS_BYTES))
		prxe_qp_schedule(qp);
	if (!prxe_resp_may_run(qp) || !prxe_early_any(early))
		return;
	if (waits(w) || !prxe_early_late(early, timed, next_psn(qp)))
		return;
	prxe_early_ask(early, early->psn, true);
	if (early->asked > WAIT_TIMES) {
		prxe_early_forget(early);
		w->nak_sent = false;	/* that may have been a stranger's gap: ask for the next */
		return;
	}
	if (!w->nak_sent || (early->alone && early->asked <= ASK_MAX_ALONE)) {
		w->gap = true;
		prxe_resp_acknowledge(qp);
	}
	early->timing = false;
	prxe_early_start(early, 0);
}

static enum hrtimer_restart early_timer(struct hrtimer *timer)
{
	struct prxe_wire *wire = container_of(timer, struct prxe_wire, resp.early.timer);
	struct prxe_qp *qp = prxe_wire_qp(wire);

	spin_lock_bh(&qp->resp.lock);
	/* If it was started again while this waited for the lock, it has not ended. */
	if (!hrtimer_is_queued(timer)) {
		wire->resp.early.timing = false;
		early_time_is_up(qp);
	}
	prxe_resp_unlock(qp);
	return HRTIMER_NORESTART;
}

/* ---- life ---- */

void prxe_wire_resp_init(struct prxe_qp *qp)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);

	__skb_queue_head_init(&w->parked);
	__skb_queue_head_init(&w->dups);
	__skb_queue_head_init(&w->out);
	prxe_resp_park_init(qp, run);
	prxe_early_init(&w->early, WAIT_TIMES, early_timer);
}

/*
 * The state already says that the QP does not receive. So once the lock was held here, later calls
 * do nothing.
 */
void prxe_wire_resp_reset(struct prxe_qp *qp)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct prxe_resp *r = &qp->resp;

	spin_lock_bh(&r->lock);
	forget_packets(qp);
	/*
	 * Wait for the CPU that sends, because it uses the route. It does not wait for anything,
	 * and a last NAK still leaves.
	 */
	while (w->sending) {
		spin_unlock_bh(&r->lock);
		usleep_range(5, 50);
		spin_lock_bh(&r->lock);
	}
	prxe_make_drop(&w->make);
	__skb_queue_purge(&w->out);
	w->fault_epoch++;
	w->faulting = false;
	w->fault_error = 0;
	w->rnr_code = 0;
	r->msg = 0;
	w->done = 0;
	w->aeth = PRXE_AETH_ACK | PRXE_AETH_UNLIMITED;
	w->drop_msg = false;
	w->preparing = false;
	w->nak_sent = false;
	w->rnr_sent = false;
	w->single = false;
	w->no_run = U32_MAX;
	w->skbs.need = false;
	prxe_route_drop(&w->route);
	kfree(w->res);
	w->res = NULL;
	spin_unlock_bh(&r->lock);
	prxe_early_reset(&w->early);
	hrtimer_cancel(&w->park_timer);
	w->park_timing = false;	/* nothing is received any more, so nobody starts it again */
}
