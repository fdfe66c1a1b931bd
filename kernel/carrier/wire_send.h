/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The wire's requester: WQEs become packets. All functions: by the owner of the send side. */
#ifndef PRXE_WIRE_SEND_H
#define PRXE_WIRE_SEND_H

#include "transport/requester.h"

struct prxe_qp;
struct prxe_wqe;

/* Send what the window and *@budget (in bytes) allow, and count it off the budget. */
enum prxe_step prxe_wire_send_batch(struct prxe_qp *qp, unsigned int *budget);
/*
 * The fault for a packet to be sent has failed: mark its WQE as failed. It completes when its turn
 * comes.
 */
void prxe_wire_send_fault_failed(struct prxe_qp *qp);
/* UD, GSI: send one message as one packet. */
enum prxe_step prxe_wire_ud_send(struct prxe_qp *qp, struct prxe_wqe *wqe);

#endif
