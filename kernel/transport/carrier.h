/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What a carrier is: how messages get from one QP to another. There are two, each in a file or
 * files of its own in carrier/: local (both QPs are on this host, one copy from MR to MR) and wire
 * (packets over UDP). The transport knows them by this table only; main.c names them.
 *
 * The requests of a connected QP use the carrier that was chosen when it went to RTR; a datagram
 * uses the one that was chosen when it started. What arrives may come by the other carrier, because
 * the two ends choose independently. So all carriers hear of every QP's life. "Owner": see
 * requester.h.
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
	PRXE_STEP_BLOCKED,	/* parked, waiting, or nothing to do: give ownership up */
};

/*
 * How much an owner may do before it hands over to the worker, or lets other tasks run. Counts
 * down.
 */
struct prxe_budget {
	unsigned int bytes, wqes;
};

enum prxe_carrier_id { PRXE_CARRIER_NONE, PRXE_CARRIER_LOCAL, PRXE_CARRIER_WIRE, PRXE_CARRIER_NUM };

/* The steps of a QP's life. All carriers hear of each, whichever one the QP uses. */
enum prxe_life {
	/* At creation. Sleeps; cannot fail. */
	PRXE_LIFE_INIT,
	/*
	 * At RTS, and from SQE to RTS: PSN and retry counters are set, nothing is under way. Owner.
	 */
	PRXE_LIFE_START,
	/*
	 * The QP is in error: from now on send nothing and take no answer. Owner; does not sleep.
	 */
	PRXE_LIFE_FORGET,
	/* The send queue is empty: forget the state of the send side. Owner, but sleeps. */
	PRXE_LIFE_RESET_SEND,
	/*
	 * The state of the QP already says that it does not receive: forget the state of the
	 * receive side. Takes resp.lock; sleeps.
	 */
	PRXE_LIFE_RESET_RECEIVE,
	/* The QP is dead and was reset: from now on this carrier must not find it. Sleeps. */
	PRXE_LIFE_END,
	PRXE_LIFE_NUM
};

struct prxe_carrier {
	const char *name;
	/*
	 * Bytes of private state behind each struct prxe_qp, zeroed at creation. Only one carrier
	 * may have such.
	 */
	size_t qp_bytes;
	/* Execute what can be executed for a connected QP in RTS or SQD. Owner. */
	enum prxe_step (*serve)(struct prxe_qp *qp, struct prxe_budget *budget);
	/* Go on with the datagram @wqe, which is the oldest WQE. Owner. */
	enum prxe_step (*ud_send)(struct prxe_qp *qp, struct prxe_wqe *wqe);

	/* Called at each step of a QP's life; a NULL entry: nothing to do. */
	void (*life[PRXE_LIFE_NUM])(struct prxe_qp *qp);

	/* The next two may be NULL. */
	/* The worker's part of the receive side. Sleeps. True: there is more to do at once. */
	bool (*work)(struct prxe_qp *qp);
	/*
	 * max_dest_rd_atomic becomes @n, while requests may be arriving. Returns 0 or -ENOMEM.
	 * Sleeps, takes resp.lock.
	 */
	int (*set_dest_rd_atomic)(struct prxe_qp *qp, u32 n);
};

/* Name the carriers; once, at module load, before the first device exists. */
void prxe_carriers_set(const struct prxe_carrier *local, const struct prxe_carrier *wire);
/* The carrier with this id, which must not be PRXE_CARRIER_NONE. */
const struct prxe_carrier *prxe_carrier_of(enum prxe_carrier_id id);
/*
 * Which carrier leads from @qp to @av at present? The answer may change when an address comes or
 * goes, or when force_wire is written. Any context but hardirq.
 */
enum prxe_carrier_id prxe_carrier_to(struct prxe_qp *qp, const struct prxe_av *av);
/* Bytes to allocate behind a struct prxe_qp for the carriers' private state. */
size_t prxe_carriers_qp_bytes(void);

/* Tell all carriers that @qp reached this step of its life; context as in enum prxe_life. */
void prxe_carriers_tell(struct prxe_qp *qp, enum prxe_life what);
/*
 * Call the operation of the same name of each carrier. Returns true if any is true; the first error
 * or 0.
 */
bool prxe_carriers_work(struct prxe_qp *qp);
int prxe_carriers_set_dest_rd_atomic(struct prxe_qp *qp, u32 n);

#endif
