/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The wire's responder: requests that wait for memory. All functions: under resp.lock, in any
 * context but hardirq, unless a comment says otherwise.
 */
#ifndef PRXE_WIRE_PARK_H
#define PRXE_WIRE_PARK_H

#include <linux/types.h>
#include "carrier/wire_answer.h"

struct prxe_miss;
struct prxe_qp;
struct sk_buff;

/* Bytes of READ responses and parked requests that are handled in one pass. */
#define PRXE_PASS_BYTES		(64U << 10)

/*
 * Codes of the RNR timer while a fault takes long: 1.28 ms at first, doubled each time, 41 ms at
 * most.
 */
#define PRXE_RNR_FAULT_FIRST	14
#define PRXE_RNR_FAULT_LAST	24

/*
 * At creation, no lock. @run executes whatever can be executed, about @budget bytes of it; it is
 * called, under resp.lock, when a fault has ended. It returns true if there is more to do.
 */
void prxe_resp_park_init(struct prxe_qp *qp, bool (*run)(struct prxe_qp *qp, unsigned int budget));
/*
 * Memory is missing for a packet or a receive WQE. @key says for which: the PSN of the packet, or
 * the number of the receive WQE, which is larger than any PSN. Queues a fault unless one is queued
 * already. Consumes @miss. Returns 0: wait; or the negative errno with which an earlier fault for
 * the same key has failed.
 */
int prxe_resp_fault(struct prxe_qp *qp, struct prxe_miss *miss, u64 key);
/*
 * Start the timer that bounds the wait for a fault, unless it runs. Also used after an allocation
 * has failed, to try again.
 */
void prxe_resp_timer_start(struct prxe_qp *qp);

/*
 * RC: a fault takes too long, or too many packets are parked. Send an RNR NAK, which makes the
 * requester wait and resend, and drop what is parked; the fault goes on. @more: packets that the
 * caller drops besides (for the counters).
 */
void prxe_resp_rnr_for_fault(struct prxe_qp *qp, u32 more);
/*
 * A UC or UD packet is lost, because memory was missing for too long or there was no room to wait.
 * Consumes the skb, which may be NULL.
 */
void prxe_resp_lost_to_wait(struct prxe_qp *qp, struct sk_buff *skb);

#endif
