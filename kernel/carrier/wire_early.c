// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Packets that came before their turn. The header says what for.
 *
 * A stranger who knows the addresses, the QP number and about where the PSNs are can put a packet
 * here that is taken for the real one when its turn comes. He could as well send the one whose turn
 * it is; but here he need not guess the PSN exactly. So only what is less than a window ahead is
 * kept. Carrier, wire: calls wire_hold.c only; both halves of the wire call this one.
 */
#include "base/packet.h"
#include "carrier/wire_early.h"
#include "carrier/wire_pos.h"

/*
 * The timer. Packets that another CPU has are rarely later than this, even if a host has taken the
 * CPU from its guest for a moment; and no ACK timeout is so short. It doubles with each time that
 * the same packet is asked for.
 */
#define EARLY_NS	NSEC_PER_MSEC
#define EARLY_DOUBLE	6U

static u32 skb_psn(const struct sk_buff *skb)
{
	return PRXE_RX(skb)->psn;
}

/*
 * The order of a kept packet and @pkt: < 0, 0 (the same), > 0. Of one PSN, there may be a response
 * with data and an ACK or NAK, which says less, and comes behind it.
 */
static s32 order(const struct sk_buff *skb, const struct prxe_pkt *pkt)
{
	s32 diff = prxe_psn_cmp(skb_psn(skb), pkt->psn);

	return diff ?: (s32)PRXE_RX(skb)->ack - !!(pkt->flags & PRXE_OPF_ACK);
}

bool prxe_early_keep(struct prxe_qp *qp, struct prxe_early *early, const struct sk_buff *skb,
		     const struct prxe_pkt *pkt)
{
	struct sk_buff *at, *held;

	/* Nearly always it is behind all others. */
	skb_queue_reverse_walk(&early->pkts, at) {
		s32 diff = order(at, pkt);

		if (!diff && !PRXE_RX(at)->ack)
			return true;
		if (diff <= 0)
			break;
	}
	if (skb_queue_len(&early->pkts) >= prxe_wire_window(qp))
		return false;
	held = prxe_wire_hold(qp, skb, pkt);
	if (!held)
		return false;
	PRXE_RX(held)->psn = pkt->psn;
	PRXE_RX(held)->ack = !!(pkt->flags & PRXE_OPF_ACK);
	PRXE_RX(held)->size = held->len;
	__skb_queue_after(&early->pkts, at, held);
	prxe_count(qp->dev, rcvd_early);
	/* Of two answers without data, to one PSN, the later one counts. */
	if (at != (struct sk_buff *)&early->pkts && !order(at, pkt)) {
		__skb_unlink(at, &early->pkts);
		kfree_skb(at);
	}
	return true;
}

void prxe_early_take(struct prxe_early *early, struct sk_buff *skb)
{
	__skb_unlink(skb, &early->pkts);
	if (skb_queue_empty(&early->pkts))
		early->gap = false;
}

bool prxe_early_before(const struct prxe_early *early, u32 psn)
{
	const struct sk_buff *skb = skb_peek(&early->pkts);

	return skb && prxe_psn_cmp(skb_psn(skb), psn) < 0;
}

struct sk_buff *prxe_early_first(struct prxe_early *early, u32 psn)
{
	struct sk_buff *skb;

	while ((skb = skb_peek(&early->pkts))) {
		if (prxe_psn_cmp(skb_psn(skb), psn) >= 0)
			return skb;
		prxe_early_take(early, skb);
		kfree_skb(skb);
	}
	return NULL;
}

void prxe_early_forget(struct prxe_early *early)
{
	__skb_queue_purge(&early->pkts);
	early->gap = false;
	early->closed = false;
}

void prxe_early_reset(struct prxe_early *early)
{
	hrtimer_cancel(&early->timer);
	early->timing = false;
	early->whole = false;
	early->alone = false;
}

bool prxe_early_ask(struct prxe_early *early, u32 psn, bool late)
{
	u32 first = skb_psn(skb_peek(&early->pkts));
	bool ask = late;

	if (!early->gap) {
		early->gap = true;
		early->asked = 0;
		early->hole = first;
	} else if (prxe_psn_cmp(psn, early->hole) > 0) {
		/* Another gap. */
		ask |= early->asked && !early->whole && prxe_psn_cmp(first, early->end) < 0;
		early->asked = 0;
		early->hole = first;
	}
	/*
	 * If only a part of a gap was filled, the rest is probably under way. It is a packet of its
	 * own: those before it may have used up the times, and it is asked for all the same.
	 */
	if (early->psn != psn)
		early->asked = min(early->asked, early->ask_max - 1);
	early->psn = psn;
	if (!ask)
		return false;
	early->asked++;
	early->hole = first;
	early->end = prxe_psn_add(skb_psn(skb_peek_tail(&early->pkts)), 1);
	return true;
}

void prxe_early_start(struct prxe_early *early, u64 min_ns)
{
	u64 ns = EARLY_NS << min_t(u32, early->asked, EARLY_DOUBLE);

	if (early->timing && early->timed == early->psn)
		return;
	early->timing = true;
	early->timed = early->psn;
	hrtimer_start(&early->timer, ns_to_ktime(max(ns, min_ns)), HRTIMER_MODE_REL_SOFT);
}

void prxe_early_init(struct prxe_early *early, u32 ask_max,
		     enum hrtimer_restart (*fn)(struct hrtimer *timer))
{
	early->ask_max = ask_max;
	__skb_queue_head_init(&early->pkts);
	prxe_hrtimer_setup(&early->timer, fn, CLOCK_MONOTONIC, HRTIMER_MODE_REL_SOFT);
}
