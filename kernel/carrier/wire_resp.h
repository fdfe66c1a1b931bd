/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Between the files of the wire's responder, and for nobody else: wire_resp.c (order, faults, SEND and WRITE) and wire_read.c (READ,
 * atomics and FLUSH, and what of them is asked for again). Everything here is called under resp.lock.
 */
#ifndef PRXE_WIRE_RESP_H
#define PRXE_WIRE_RESP_H

#include <linux/types.h>
#include <rdma/ib_verbs.h>
#include "base/packet.h"

struct prxe_miss;
struct prxe_qp;
struct sk_buff;

enum prxe_exec {
	PRXE_EXEC_DONE,	/* the packet is used up */
	PRXE_EXEC_WAIT,	/* it waits for memory */
};

/* RNR timer codes for a fault that takes long: 1.28 ms, doubled each time, 41 ms. */
#define PRXE_RNR_FAULT_FIRST	14
#define PRXE_RNR_FAULT_LAST	24

/* ---- wire_resp.c ---- */
/*
 * Answers: queued, and sent when resp.lock is dropped. False: there was no memory for it, so it is
 * lost as on the way. @orig: of an atomic acknowledge.
 */
bool prxe_resp_send_aeth(struct prxe_qp *qp, u8 opcode, u8 syndrome, u32 psn, u64 orig);
bool prxe_resp_send_rnr(struct prxe_qp *qp, u32 psn, u8 code);
/*
 * The request at @psn fails, here with @status and @event (-1: none). UC tells nobody
 * but its own consumer, and drops the message.
 */
enum prxe_exec prxe_resp_refuse(struct prxe_qp *qp, u32 psn, enum prxe_nak code, enum ib_wc_status status, int event);
/* The request whose turn it is. */
enum prxe_exec prxe_resp_bad_request(struct prxe_qp *qp);
enum prxe_exec prxe_resp_no_access(struct prxe_qp *qp);
/*
 * Memory is missing for the packet, or the receive WQE, that @key stands for: a PSN, or the number
 * of the receive WQE, which is larger than any PSN. Takes the miss over. 0: wait; else the error
 * that the fault for this very one ended with.
 */
int prxe_resp_fault(struct prxe_qp *qp, struct prxe_miss *miss, u64 key);
/* Queue a packet to be sent when resp.lock is dropped. */
void prxe_resp_out(struct prxe_qp *qp, struct sk_buff *skb);
/* Bounds the wait for a fault; also who found no kernel memory starts it, to try again. */
void prxe_resp_timer_start(struct prxe_qp *qp);

/* ---- wire_read.c ---- */
enum prxe_exec prxe_read_exec(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkt);
enum prxe_exec prxe_atomic_exec(struct prxe_qp *qp, const struct sk_buff *skb, const struct prxe_pkt *pkt);
enum prxe_exec prxe_flush_exec(struct prxe_qp *qp, const struct prxe_pkt *pkt);
/* One response of the READ that is going on. True: it left (or the READ is over); false: not now. */
bool prxe_read_respond(struct prxe_qp *qp);
void prxe_read_forget(struct prxe_qp *qp);
/* A request that was executed before arrives again; takes the skb. What is not answered by an ACK waits in resp.dups, .. */
void prxe_dup_rcv(struct prxe_qp *qp, struct sk_buff *skb, const struct prxe_pkt *pkt);
/* .. and this is its turn. */
void prxe_dup_exec(struct prxe_qp *qp, const struct prxe_pkt *pkt);

#endif
