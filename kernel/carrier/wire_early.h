/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Packets that came before their turn: others before them are missing.
 *
 * Mostly those were only overtaken. A network with several queues (each CPU of a veth pair has one)
 * keeps no order among them. So what comes early is kept, and what is missing is asked for when a
 * timer has ended, or when there is no room to keep more. If it was lost, it is then all that has
 * to be sent again.
 *
 * Each half of a QP has such a queue: requests under resp.lock, responses by the owner of the send
 * side. All functions: so protected, in any context but hardirq.
 */
#ifndef PRXE_WIRE_EARLY_H
#define PRXE_WIRE_EARLY_H

#include "base/packet.h"
#include "carrier/wire_hold.h"
#include "carrier/wire_state.h"

struct prxe_pkt;

/* At creation. @ask_max: times that one packet is asked for; @fn: what the timer calls. */
void prxe_early_init(struct prxe_early *early, u32 ask_max,
		     enum hrtimer_restart (*fn)(struct hrtimer *timer));
/*
 * Keep a copy of @pkt, which is in @skb, for @qp; it is counted and charged (prxe_wire_hold()).
 * True: it is kept, or one like it was already. False: there is no room.
 */
bool prxe_early_keep(struct prxe_qp *qp, struct prxe_early *early, const struct sk_buff *skb,
		     const struct prxe_pkt *pkt);
/* Are any kept that are before @psn? */
bool prxe_early_before(const struct prxe_early *early, u32 psn);
/* The first one that is not before @psn; it stays in the queue. Those before are dropped. */
struct sk_buff *prxe_early_first(struct prxe_early *early, u32 psn);
/* Take that one, which has its turn now. */
void prxe_early_take(struct prxe_early *early, struct sk_buff *skb);
/* Drop all. The timer may still run. */
void prxe_early_forget(struct prxe_early *early);
/*
 * The QP is reset, all was dropped, and nothing is kept any more: end the timer. Without the lock
 * that its function takes; sleeps.
 */
void prxe_early_reset(struct prxe_early *early);
/*
 * Packets are kept, and the one at @psn is missing. Is it time to ask for it? Yes, if the wait for
 * it is over (@late), or if packets behind it were here already when the gap before was asked for,
 * unless who was asked then sends this one as well. Told once for each gap, unless @late.
 */
bool prxe_early_ask(struct prxe_early *early, u32 psn, bool late);
/*
 * The timer has ended, which was started for the packet at @timed: is that the one at @psn, which
 * is missing?
 */
static inline bool prxe_early_late(const struct prxe_early *early, u32 timed, u32 psn)
{
	return early->gap && early->psn == psn && timed == psn;
}

/*
 * The gap that ended here is closed. If it was asked for, the next packet that was not part of it
 * says whether the sender goes back, or sends only what is missing. prxe_early_learn(): the packet
 * at @psn has arrived.
 */
static inline void prxe_early_closed(struct prxe_early *early, u32 psn)
{
	early->closed = early->asked;
	early->behind = psn;
}

static inline void prxe_early_learn(struct prxe_early *early, u32 psn)
{
	if (likely(!early->closed) || prxe_psn_cmp(psn, early->behind) < 0)
		return;
	/* The next gap was asked for at once, and this is the answer. It tells nothing. */
	if (early->gap && early->asked && psn == early->psn)
		return;
	early->closed = false;
	/* Was it kept, or when the gap was asked for? Then nobody has asked for this one. */
	early->whole = psn == early->behind || prxe_psn_cmp(psn, early->end) < 0;
	early->alone = !early->whole;
}

/*
 * Start the timer that ends the wait for what is missing, or for it to come when it was asked for:
 * 1 ms, twice that with each time that it was asked for, and not less than @min_ns. Does nothing if
 * it runs for this packet already.
 */
void prxe_early_start(struct prxe_early *early, u64 min_ns);

static inline bool prxe_early_any(const struct prxe_early *early)
{
	return !skb_queue_empty(&early->pkts);
}

#endif
