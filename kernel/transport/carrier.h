/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What a carrier is: how messages get from one QP to another. There are two, each in a file or
 * files of its own in carrier/: local (both QPs are on this host, one copy from MR to MR) and wire
 * (packets over UDP). The transport knows them by this table only; main.c names them.
 *
 * A connected QP's requests go by the carrier that was chosen when it went to RTR, a datagram by
 * the one that was chosen when it started. What arrives may come by another one: the two ends
 * choose each for themselves. So all carriers hear of every QP's life.
 */
#ifndef PRXE_CARRIER_H
#define PRXE_CARRIER_H

#include <linux/types.h>

struct prxe_av;
struct prxe_qp;
struct prxe_wqe;

enum prxe_step {
	PRXE_STEP_DONE,		/* this WQE is over and was completed: go on */
	PRXE_STEP_MORE,		/* progress was made, there is more of it */
	PRXE_STEP_BLOCKED,	/* parked, waiting, or nothing to do: leave */
};

/* What an owner does before it hands over to the worker, or lets others have the CPU. */
struct prxe_budget {
	unsigned int bytes, wqes;
};

enum prxe_carrier_id { PRXE_CARRIER_NONE, PRXE_CARRIER_LOCAL, PRXE_CARRIER_WIRE, PRXE_CARRIER_NUM };

/* The steps of a QP's life that all carriers hear of, whichever the QP uses. */
enum prxe_life {
	/* At creation. Cannot fail; sleeps. */
	PRXE_LIFE_INIT,
	/*
	 * Owner: PSN and retry counters are set, nothing is under way. At RTS, and from SQE to RTS.
	 */
	PRXE_LIFE_START,
	/*
	 * Owner: the QP is in error, nothing more is sent, and no answer is taken. Does not sleep.
	 */
	PRXE_LIFE_FORGET,
	/* Owner: forget everything of the send side, whose queue is empty. Sleeps. */
	PRXE_LIFE_RESET_SEND,
	/*
	 * The state says by now that nothing is received: forget everything of the receive side.
	 * Sleeps.
	 */
	PRXE_LIFE_RESET_RECEIVE,
	/*
	 * The QP is dead and was reset: nothing may find it through this carrier any more. Sleeps.
	 */
	PRXE_LIFE_END,
	PRXE_LIFE_NUM
};

struct prxe_carrier {
	const char *name;
	/* Bytes of its own, zeroed, behind each struct prxe_qp: one carrier at most has some. */
	size_t qp_bytes;
	/* Owner of the send side of a connected QP, in RTS or SQD: execute what can be executed. */
	enum prxe_step (*serve)(struct prxe_qp *qp, struct prxe_budget *budget);
	/* Owner: go on with the datagram @wqe, the oldest WQE. */
	enum prxe_step (*ud_send)(struct prxe_qp *qp, struct prxe_wqe *wqe);

	/* What it does at each step of a QP's life; NULL: nothing. */
	void (*life[PRXE_LIFE_NUM])(struct prxe_qp *qp);

	/* These two may be NULL. */
	/* The worker's part of the receive side; true: there is more to do at once. */
	bool (*work)(struct prxe_qp *qp);
	/* max_dest_rd_atomic becomes @n while requests may be arriving. 0, -ENOMEM. Sleeps. */
	int (*set_dest_rd_atomic)(struct prxe_qp *qp, u32 n);
};

/* Before there is a device. */
void prxe_carriers_set(const struct prxe_carrier *local, const struct prxe_carrier *wire);
/* By id; not PRXE_CARRIER_NONE. */
const struct prxe_carrier *prxe_carrier_of(enum prxe_carrier_id id);
/*
 * Which carrier leads from @qp to @av now: addresses and force_wire may change. Any context but
 * hardirq.
 */
enum prxe_carrier_id prxe_carrier_to(struct prxe_qp *qp, const struct prxe_av *av);
size_t prxe_carriers_qp_bytes(void);

void prxe_carriers_tell(struct prxe_qp *qp, enum prxe_life what);
/* The operations of the same names, of all carriers. */
bool prxe_carriers_work(struct prxe_qp *qp);
int prxe_carriers_set_dest_rd_atomic(struct prxe_qp *qp, u32 n);

#endif
