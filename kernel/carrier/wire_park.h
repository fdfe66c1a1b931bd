/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The wire's responder: requests that wait for memory. Everything is called under resp.lock, in any
 * context but hardirq.
 */
#ifndef PRXE_WIRE_PARK_H
#define PRXE_WIRE_PARK_H

#include <linux/types.h>
#include "carrier/wire_answer.h"

struct prxe_miss;
struct prxe_qp;
struct sk_buff;

/* READ responses and parked requests in one pass. */
#define PRXE_PASS_BYTES		(64U << 10)

/* RNR timer codes for a fault that takes long: 1.28 ms, doubled each time, 41 ms. */
#define PRXE_RNR_FAULT_FIRST	14
#define PRXE_RNR_FAULT_LAST	24

/*
 * At creation. @run does whatever can be done, about @budget bytes of it, when a fault has ended;
 * true: there is more.
 */
void prxe_resp_park_init(struct prxe_qp *qp, bool (*run)(struct prxe_qp *qp, unsigned int budget));
/*
 * Memory is missing for the packet, or the receive WQE, that @key stands for: a PSN, or the number
 * of the receive WQE, which is larger than any PSN. Takes the miss over. 0: wait; else the error
 * that the fault for this very one ended with.
 */
int prxe_resp_fault(struct prxe_qp *qp, struct prxe_miss *miss, u64 key);
/* Bounds the wait for a fault; also who found no kernel memory starts it, to try again. */
void prxe_resp_timer_start(struct prxe_qp *qp);

/*
 * RC: the fault takes too long, or too much is parked: the requester is told to come again, what is
 * parked and @more packets besides are dropped, and the fault goes on.
 */
void prxe_resp_rnr_for_fault(struct prxe_qp *qp, u32 more);
/*
 * A UC or UD packet for which memory, or room to wait in, did not come. Takes the skb; it may be
 * NULL.
 */
void prxe_resp_lost_to_wait(struct prxe_qp *qp, struct sk_buff *skb);

#endif
