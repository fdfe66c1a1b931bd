/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The wire carrier's private state of a QP. It lies behind struct prxe_qp in the same allocation,
 * and only the files of this carrier know it.
 */
#ifndef PRXE_WIRE_STATE_H
#define PRXE_WIRE_STATE_H

#include <linux/bitmap.h>
#include <linux/hrtimer.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/skbuff.h>
#include <linux/types.h>
#include "transport/qp.h"

struct dst_entry;
struct page;

/* A cached route, protected by the lock or the ownership of its user. */
struct prxe_route {
	struct dst_entry *dst;
	u32 cookie;
	union ib_gid sgid, dgid;
};

/* The packets of one side of a QP that the network has not freed yet. Any context. */
struct prxe_wire_skbs {
	atomic_t out;
	bool need;		/* schedule the QP when few are left */
};

/*
 * A payload of so many bytes is copied into the head of its skb; a longer one is written where the
 * network will read it.
 */
#define PRXE_SMALL	256U

/* Memory of a packet, cut from a block. */
struct prxe_cut {
	struct page *page;	/* a reference; NULL: none */
	u32 off, bytes;
};

struct prxe_maker {
	struct sk_buff *train;	/* what was made and has not left */
	/* The packet that is being made: */
	struct prxe_cut own;	/* its memory, if its payload is not small */
	u8 *at;			/* where its payload is written; NULL: none is begun */
	u32 payload_len;	/* how much is written there */
	u8 small[PRXE_SMALL];
};

/* At least as many PSNs as a window has; a power of two. */
#define PRXE_STARTS	512U

/* Packets that came before their turn; wire_early.h. */
struct prxe_early {
	struct sk_buff_head pkts; /* held, by PSN, none twice */
	bool gap;		/* [psn, hole) is missing in front of them: */
	u32 psn, hole;
	u32 asked;		/* how often it was asked for; */
	u32 ask_max;		/* more often than that, one packet is not */
	u32 end;		/* one past the last kept packet when something was asked for */
	bool whole;		/* who is asked sends everything from there on (go-back-N) */
	bool alone;		/* no: has been seen to send only what is missing */
	bool closed;		/* all before behind has come, as asked: see what follows it */
	u32 behind;
	struct hrtimer timer;	/* ends the wait for what is missing */
	bool timing;		/* it runs, and was started for this PSN: */
	u32 timed;
};

/* Send side. Only the owner touches it, unless a comment says otherwise. */
struct prxe_wire_req {
	u32 send;		/* index of the WQE that is sent next; in [sq->index, fetch] */
	u32 una;		/* oldest PSN not acknowledged */
	u32 sent_high;		/* one past the highest PSN ever sent */
	u32 unasked;		/* packets sent since the last AckReq */
	u32 *rd_last;		/* last PSNs of outstanding READ requests and atomics, a ring */
	u32 rd_head, rd_tail;
	/* What is sent again; wire_again.c. */
	bool again;		/* [psn, again_end); then sending goes on at then_psn, then_send */
	u32 again_end, then_psn, then_send;
	bool trial;		/* packets behind trial_end were not sent again: a trial */
	u32 trial_end;
	bool keeps;		/* the peer has shown that it keeps packets that come early */
	u8 refused;		/* trials in a row that say that it does not */
	bool retried;		/* a retry was used up for the packet at una */
	u8 naks;		/* sequence NAKs that were answered since una moved last */
	bool rewound_set;	/* una has not moved since a sequence NAK was answered: */
	u32 rewound;		/* una when one was answered last, and when that was */
	ktime_t rewound_at;
	DECLARE_BITMAP(starts, PRXE_STARTS); /* packets that were the first of their skb; by PSN */
	s64 rtt;		/* ns from a packet to its acknowledgment, smoothed; 0: unknown */
	bool rtt_on;		/* rtt_psn was sent at rtt_at, and is not acknowledged */
	u32 rtt_psn;
	ktime_t rtt_at;
	struct prxe_early early; /* responses that came before those of earlier requests */
	bool early_full;	/* there was no room for one of them */
	u32 trial_timed;	/* una when that timer was started */
	bool early_late;	/* its timer has ended; any context */
	bool late_nak;		/* a fatal NAK came before the responses to earlier requests: */
	u8 late_syndrome;
	u32 late_psn;
	struct prxe_maker make;	/* packets of the current batch, and the one that is incomplete */
	u32 pend_index, pend_psn; /* the WQE and the PSN of pend_done and the incomplete one */
	u32 pend_done;		/* bytes ready of the next payload, or of a READ's destination */
	u32 no_run;		/* PSN of a packet that is not made in a run: a page was missing */
	u32 single;		/* so many packets go one by one; wire_pos.c */
	bool land_lost;		/* a response was dropped while one waits to land; any context */
	u32 land_psn, land_done; /* the response that waits to land; its bytes that have landed */
	/* Congestion; wire_ecn.c. */
	bool congested;		/* there was a mark or a CNP; any context */
	bool slowed;		/* the window was halved, and not all before slowed_psn is acked */
	u32 slowed_psn;
	u32 cwnd;		/* packets that may be under way; 0: the whole window */
	u32 cwnd_acked;		/* acknowledged since it has changed */
	u8 backoff;		/* ACK timeouts since the last progress */
	bool timer_on;		/* req.timer runs as the ACK or RNR timer */
	bool rnr_wait;		/* nothing is sent before rnr_until */
	ktime_t rnr_until;
	ktime_t last_heard;	/* last progress; the ACK timer restarts from it */
	struct sk_buff_head acks; /* responses received; its own lock */
	u32 acks_pkts;		/* packets in them; under that lock */
	struct prxe_wire_skbs skbs;
	struct prxe_route route;
};

/* An executed READ, atomic or FLUSH, which the requester may ask for again (IBTA 9.7.5.1.1). */
struct prxe_resource {
	u32 type;		/* PRXE_OPF_{READ,ATOMIC,ATOMIC_WRITE,FLUSH}; 0: empty */
	u32 first_psn, last_psn;
	u64 va;			/* of the request */
	u32 rkey, length;
	u64 orig;		/* atomic: its result */
};

/* Receive side. Protected by resp.lock, unless a comment says otherwise. */
struct prxe_wire_resp {
	u32 done;		/* bytes of the current inbound SEND or WRITE written to memory */
	u8 aeth;		/* syndrome of the last ACK or NAK */
	u64 fill;		/* number of the current SEND; prxe_resp_claim() */
	bool drop_msg;		/* UC: drop the rest of a broken message */
	/*
	 * UC: a fault broke the message. Make the memory of the receive WQE present for the next
	 * one; "prepared" bytes of it are.
	 */
	bool preparing;
	u32 prepared;
	bool nak_sent;		/* for this gap: send no other until the expected PSN comes */
	bool rnr_sent;		/* the same, and that was an RNR NAK: what follows comes again */
	atomic64_t cnp_at;	/* ns: when the last CNP was sent; any context */
	bool gap;		/* packets are missing; NAK it when all before it are executed */
	bool ack_due;
	u64 va;			/* the rest of the current RDMA WRITE */
	u32 rkey, resid;
	struct prxe_resource *res; /* a ring of res_size; allocated when first needed */
	u32 res_size, res_head;
	u32 rd_parked;		/* READs and atomics in parked; valid while parked is not empty */
	bool read_counts;	/* the READ is not a repetition: it counts for max_dest_rd_atomic */
	bool reading;		/* a READ is being answered: [read_va, + read_left) from read_psn */
	u64 read_va;
	u32 read_rkey, read_left, read_psn, read_first, read_last;
	u32 read_done;		/* bytes ready of the next response's payload */
	u32 no_run;		/* as in prxe_wire_req, for responses of a READ */
	bool single;		/* answers go one by one: the requester asks again for them */
	struct prxe_maker make;	/* answers that were not queued yet, and an incomplete response */
	struct sk_buff_head parked; /* requests that wait for their turn, up to recv_psn - 1 */
	struct sk_buff_head dups; /* repeated READs and atomics that wait for their turn */
	u32 recv_psn;
	struct prxe_early early; /* requests ahead of recv_psn; RC */
	struct sk_buff_head out; /* answers, in order, sent when the lock is dropped */
	bool sending;		/* a CPU sends them, and those queued meanwhile, unlocked */
	struct hrtimer park_timer; /* bounds how long parked requests wait for a fault */
	/* Execute what can be executed now; see prxe_resp_park_init(). */
	bool (*run)(struct prxe_qp *qp, unsigned int budget);
	bool park_timing;	/* the timer runs */
	u32 park_psn;		/* psn when the timer was started */
	bool faulting;		/* a fault is queued */
	u32 fault_epoch;	/* epoch of the queued fault; an older fault is ignored */
	int fault_error;	/* errno of the last fault; for a request with fault_key only */
	u64 fault_key;
	u32 rnr_psn;		/* of the last RNR NAK for a fault; rnr_code: its timer code */
	u8 rnr_code;
	struct prxe_wire_skbs skbs; /* READ responses */
	struct prxe_route route;
};

struct prxe_wire {
	struct prxe_wire_req req;
	struct prxe_wire_resp resp;
	atomic_t held;		/* bytes of held packets; any context */
	bool lingers;		/* dead, but the network has its packets: it holds the module */
	struct list_head groups; /* its multicast groups; under dev->mcast_lock */
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
