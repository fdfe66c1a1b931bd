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

struct prxe_carrier {
	const char *name;
	/* Bytes of its own, zeroed, behind each struct prxe_qp: one carrier at most has some. */
	size_t qp_bytes;
	/* Owner of the send side of a connected QP, in RTS or SQD: execute what can be executed. */
	enum prxe_step (*serve)(struct prxe_qp *qp, struct prxe_budget *budget);
	/* Owner: go on with the datagram @wqe, the oldest WQE. */
	enum prxe_step (*ud_send)(struct prxe_qp *qp, struct prxe_wqe *wqe);

	/*
	 * All below may be NULL.
	 *
	 * At creation; cannot fail. Sleeps.
	 */
	void (*init)(struct prxe_qp *qp);
	/*
	 * Owner: PSN and retry counters are set, nothing is under way. At RTS, and from SQE to RTS.
	 */
	void (*start)(struct prxe_qp *qp);
	/*
	 * Owner: the QP is in error, nothing more is sent, and no answer is taken. Does not sleep.
	 */
	void (*forget)(struct prxe_qp *qp);
	/* Owner: forget everything of the send side, whose queue is empty. Sleeps. */
	void (*reset_send)(struct prxe_qp *qp);
	/*
	 * The state says by now that nothing is received: forget everything of the receive side.
	 * Sleeps.
	 */
	void (*reset_receive)(struct prxe_qp *qp);
	/* The worker's part of the receive side; true: there is more to do at once. */
	bool (*work)(struct prxe_qp *qp);
	/* max_dest_rd_atomic becomes @n while requests may be arriving. 0, -ENOMEM. Sleeps. */
	int (*set_dest_rd_atomic)(struct prxe_qp *qp, u32 n);
	/*
	 * The QP is dead and was reset: nothing may find it through this carrier any more. Sleeps.
	 */
	void (*end)(struct prxe_qp *qp);
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

/* The operations of the same names, of all carriers. */
void prxe_carriers_init(struct prxe_qp *qp);
void prxe_carriers_start(struct prxe_qp *qp);
void prxe_carriers_forget(struct prxe_qp *qp);
void prxe_carriers_reset_send(struct prxe_qp *qp);
void prxe_carriers_reset_receive(struct prxe_qp *qp);
bool prxe_carriers_work(struct prxe_qp *qp);
int prxe_carriers_set_dest_rd_atomic(struct prxe_qp *qp, u32 n);
void prxe_carriers_end(struct prxe_qp *qp);

#endif
