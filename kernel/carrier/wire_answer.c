// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The wire's responder: what it answers, and how a request fails. Everything runs under resp.lock.
 *
 * Carrier, wire: the lowest file of the responder's half. Answers are queued under the lock and
 * sent by wire_out.c after it was dropped, because the network must not be called with it held.
 */
#include <linux/lockdep.h>
#include "base/packet.h"
#include "carrier/wire_make.h"
#include "carrier/wire_answer.h"
#include "carrier/wire_out.h"
#include "carrier/wire_state.h"
#include "transport/responder.h"

#define OUT_MAX		512U	/* trains that wait to be sent; further answers are lost */
#define OUT_ROUNDS	8

bool prxe_resp_send_aeth(struct prxe_qp *qp, u8 opcode, u8 syndrome, u32 psn, u64 orig)
{
	struct prxe_pkt pkt = {
		.opcode = opcode,
		.qpn = qp->attr.dest_qp_num,
		.psn = psn,
		.syndrome = syndrome,
		.msn = qp->resp.msn,
		.orig = orig,
	};

	/*
	 * Without memory the answer is lost, as if the network had lost it; the requester asks
	 * again.
	 */
	return prxe_resp_out(qp, &pkt, PRXE_ACCOUNT_NONE);
}

/* No further answer goes into this train. */
static void end_train(struct prxe_qp *qp)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct sk_buff *skb = prxe_make_take(&w->make);

	if (!skb)
		return;
	if (skb_queue_len(&w->out) < OUT_MAX)
		__skb_queue_tail(&w->out, skb);
	else
		kfree_skb(skb);
}

static u32 out_max(const struct prxe_qp *qp)
{
	return prxe_wire_resp(qp)->single ? 1 : READ_ONCE(prxe_train_pkts);
}

u32 prxe_resp_run_room(struct prxe_qp *qp, const struct prxe_pkt *pkt, enum prxe_account account)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	u32 max = out_max(qp), room;

	room = prxe_make_run_room(w->make.train, pkt, account, max);
	if (room >= 2 || !w->make.train)
		return room;
	end_train(qp);
	return prxe_make_run_room(NULL, pkt, account, max);
}

bool prxe_resp_out(struct prxe_qp *qp, struct prxe_pkt *pkt, enum prxe_account account)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);

	lockdep_assert_held(&qp->resp.lock);
	if (!prxe_make_fits(w->make.train, pkt, account, out_max(qp)))
		end_train(qp);
	return prxe_make_add(qp, &w->make, pkt, account, false);
}

/* The CPU that sends also sends what others queue meanwhile, so that the order is kept. */
void prxe_resp_unlock(struct prxe_qp *qp)
	__releases(&qp->resp.lock)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct prxe_resp *r = &qp->resp;
	struct sk_buff_head out;
	struct sk_buff *skb;
	int i;

	lockdep_assert_held(&qp->resp.lock);
	end_train(qp);
	if (likely(skb_queue_empty(&w->out)) || w->sending) {
		spin_unlock_bh(&r->lock);
		return;
	}
	w->sending = true;
	__skb_queue_head_init(&out);
	for (i = 0; i < OUT_ROUNDS && !skb_queue_empty(&w->out); i++) {
		skb_queue_splice_init(&w->out, &out);
		/*
		 * BH stay off, so that the softirq of a receiver on this host runs once for all of
		 * them.
		 */
		spin_unlock(&r->lock);
		while ((skb = __skb_dequeue(&out)))
			prxe_wire_xmit(qp, &qp->av, skb, &w->route);
		spin_lock(&r->lock);
	}
	w->sending = false;
	if (!skb_queue_empty(&w->out))
		prxe_qp_schedule(qp);
	spin_unlock_bh(&r->lock);
}

static void send_ack(struct prxe_qp *qp)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);

	w->aeth = PRXE_AETH_ACK | PRXE_AETH_UNLIMITED;
	prxe_resp_send_aeth(qp, PRXE_ACKNOWLEDGE, w->aeth, prxe_psn_add(qp->resp.psn, -1), 0);
}

bool prxe_resp_send_rnr(struct prxe_qp *qp, u32 psn, u8 code)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);

	prxe_count(qp->dev, send_rnr_err);
	w->aeth = PRXE_AETH_RNR | code;
	return prxe_resp_send_aeth(qp, PRXE_ACKNOWLEDGE, w->aeth, psn, 0);
}

void prxe_resp_acknowledge(struct prxe_qp *qp)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);
	struct prxe_resp *r = &qp->resp;

	lockdep_assert_held(&qp->resp.lock);
	/*
	 * Wait until the responses of a READ have left: an ACK of later requests would declare them
	 * lost.
	 */
	if (w->reading || !skb_queue_empty(&w->dups) || !prxe_qp_receives(qp))
		return;
	if (w->gap && skb_queue_empty(&w->parked)) {
		w->gap = false;
		w->ack_due = false;
		prxe_count(qp->dev, out_of_seq_request);
		w->aeth = PRXE_AETH_NAK | PRXE_NAK_PSN_SEQ;
		w->nak_sent = prxe_resp_send_aeth(qp, PRXE_ACKNOWLEDGE, w->aeth, r->psn, 0);
	} else if (w->ack_due) {
		w->ack_due = false;
		send_ack(qp);
	}
}

enum prxe_exec prxe_resp_refuse(struct prxe_qp *qp, u32 psn, enum prxe_nak code,
				enum ib_wc_status status, int event)
{
	struct prxe_wire_resp *w = prxe_wire_resp(qp);

	lockdep_assert_held(&qp->resp.lock);
	qp->resp.msg = 0;
	if (qp->type != IB_QPT_RC) {
		w->drop_msg = true;
		prxe_count(qp->dev, dropped);
		/* A receive WQE that cannot be used would fail for every later message, too. */
		if (code == PRXE_NAK_REM_OP)
			prxe_resp_fail(qp, status, event);
		return PRXE_EXEC_DONE;
	}
	w->aeth = PRXE_AETH_NAK | code;
	prxe_resp_send_aeth(qp, PRXE_ACKNOWLEDGE, w->aeth, psn, 0);
	prxe_resp_fail(qp, status, event);
	return PRXE_EXEC_DONE;
}

enum prxe_exec prxe_resp_bad_request(struct prxe_qp *qp)
{
	return prxe_resp_refuse(qp, qp->resp.psn, PRXE_NAK_INV_REQ, IB_WC_LOC_QP_OP_ERR,
				IB_EVENT_QP_REQ_ERR);
}

enum prxe_exec prxe_resp_no_access(struct prxe_qp *qp)
{
	return prxe_resp_refuse(qp, qp->resp.psn, PRXE_NAK_REM_ACC, IB_WC_LOC_ACCESS_ERR,
				IB_EVENT_QP_ACCESS_ERR);
}
