/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the wire carrier keeps of a QP. It stands behind struct prxe_qp in the same allocation, and
 * only this carrier's files know it.
 */
#ifndef PRXE_WIRE_STATE_H
#define PRXE_WIRE_STATE_H

#include <linux/hrtimer.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/skbuff.h>
#include <linux/types.h>
#include "transport/qp.h"

struct dst_entry;

/* A cached route. The lock or the ownership of its user guards it. */
struct prxe_route {
	struct dst_entry *dst;
	u32 cookie;
	union ib_gid sgid, dgid;
};

/* The skbs of one side of a QP that the network has; any context. */
struct prxe_wire_skbs {
	atomic_t out;
	bool need;		/* schedule the QP when few are left */
};

/* Send side; the owner's, but what says otherwise. */
struct prxe_wire_req {
	u32 send;		/* index of the WQE to send from; in [sq->index, fetch] */
	u32 una;		/* oldest PSN not acknowledged */
	u32 sent_high;		/* one past the highest PSN ever sent */
	u32 unasked;		/* packets since the last AckReq */
	u32 *rd_last;		/* last PSNs of outstanding READ requests and atomics, a ring */
	u32 rd_head, rd_tail;
	u32 rewound;		/* una of the last rewind that a NAK caused .. */
	bool rewound_set;	/* .. if there was one */
	bool late_nak;		/* a fatal NAK has overtaken responses: */
	u8 late_syndrome;
	u32 late_psn;
	struct sk_buff *pend;	/* packet that waits for a part of its payload, at pend_at */
	u8 *pend_at;
	u32 pend_index, pend_psn; /* the WQE and the PSN that pend and pend_done are of */
	u32 pend_done;		/* ready bytes of the next payload, or of a READ's landing */
	struct sk_buff *held;	/* ready to leave, inside a batch */
	bool land_lost;		/* responses found no room while one waited to land; any context */
	u32 land_psn, land_done; /* response that waits to land, and how much of it has */
	bool timer_on;		/* req.timer runs as the ACK or RNR timer */
	bool rnr_wait;		/* nothing is sent before rnr_until */
	ktime_t rnr_until;
	ktime_t last_heard;	/* last progress; the ACK timer restarts from it */
	struct sk_buff_head acks; /* responses received; its own lock */
	struct prxe_wire_skbs skbs;
	struct prxe_route route;
};

/* A READ, atomic or FLUSH that may be asked for again (IBTA 9.7.5.1.1). */
struct prxe_resource {
	u32 type;		/* PRXE_OPF_{READ,ATOMIC,ATOMIC_WRITE,FLUSH}; 0: empty */
	u32 first_psn, last_psn;
	u64 va;			/* what was asked for */
	u32 rkey, length;
	u64 orig;		/* atomic: its saved result */
};

/* Receive side; under resp.lock, but what says otherwise. */
struct prxe_wire_resp {
	u32 done;		/* bytes of the current inbound SEND or WRITE that have landed */
	u8 aeth;		/* what the last ACK said */
	u64 fill;		/* of a SEND: its number in the receive WQE; prxe_resp_claim() */
	bool drop_msg;		/* UC: the rest of a broken message */
	/* UC: a fault broke the message; the receive WQE is made present for the next, up to .. */
	bool preparing;
	u32 prepared;
	bool nak_sent;		/* this gap was reported: silence until the expected PSN comes */
	bool gap;		/* packets are missing; reported when what came before is done */
	bool ack_due;
	u64 va;			/* what is left of the current RDMA WRITE */
	u32 rkey, resid;
	struct prxe_resource *res; /* res_size of them, a ring; made when first needed */
	u32 res_size, res_head;
	u32 rd_parked;		/* READs and atomics in parked, unless that is empty */
	bool read_counts;	/* the READ is no repetition: one of max_dest_rd_atomic */
	bool reading;		/* responses are being sent: [read_va, + read_left) from read_psn */
	u64 read_va;
	u32 read_rkey, read_left, read_psn, read_first, read_last;
	struct sk_buff *read_skb; /* response that waits for a part of its payload, at read_at */
	void *read_at;
	u32 read_done;
	struct sk_buff_head parked; /* requests that wait for their turn, up to recv_psn */
	struct sk_buff_head dups; /* repeated READs and atomics that wait for their turn */
	u32 recv_psn;
	struct sk_buff_head out; /* answers to be sent when the lock is dropped, in order */
	bool sending;		/* somebody sends them, without the lock, and others' too */
	struct hrtimer park_timer; /* bounds how long parked requests wait for faults */
	/* Do what can be done now: prxe_resp_park_init(). */
	bool (*run)(struct prxe_qp *qp, unsigned int budget);
	bool park_timing;	/* the timer runs, and will see what is true then */
	u32 park_psn;		/* psn when it was started */
	bool faulting;		/* a fault is queued */
	u32 fault_epoch;	/* of the fault that counts */
	int fault_error;	/* what the last fault came to; for fault_key only */
	u64 fault_key;
	u32 rnr_psn;		/* the last PSN that was told to wait for a fault, and how long */
	u8 rnr_code;
	struct prxe_wire_skbs skbs; /* READ responses */
	struct prxe_route route;
};

struct prxe_wire {
	struct prxe_wire_req req;
	struct prxe_wire_resp resp;
	atomic_t held;		/* bytes of received packets that wait; any context */
	bool lingers;		/* dead, with packets in the network: it holds the module */
	struct list_head groups; /* multicast groups that it is in; under dev->mcast_lock */
};

static inline struct prxe_wire *prxe_wire(const struct prxe_qp *qp)
{
	return (struct prxe_wire *)(qp + 1);
}

static inline struct prxe_qp *prxe_wire_qp(struct prxe_wire *wire)
{
	return (struct prxe_qp *)wire - 1;
}

static inline struct prxe_wire_req *prxe_wire_req(const struct prxe_qp *qp)
{
	return &prxe_wire(qp)->req;
}

static inline struct prxe_wire_resp *prxe_wire_resp(const struct prxe_qp *qp)
{
	return &prxe_wire(qp)->resp;
}

#endif
