/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The requester's half of the wire, as struct prxe_carrier has it. */
#ifndef PRXE_WIRE_REQ_H
#define PRXE_WIRE_REQ_H

#include "transport/requester.h"

struct prxe_qp;

/*
 * Serve the send side. When it returns PRXE_STEP_BLOCKED, a response, the timer, the end of a fault
 * or a freed skb will kick.
 */
enum prxe_step prxe_wire_req_serve(struct prxe_qp *qp, struct prxe_budget *b);
/* The steps of a QP's life, as in enum prxe_life. */
void prxe_wire_req_init(struct prxe_qp *qp);
void prxe_wire_req_start(struct prxe_qp *qp);
void prxe_wire_req_forget(struct prxe_qp *qp);
void prxe_wire_req_reset(struct prxe_qp *qp);

#endif
