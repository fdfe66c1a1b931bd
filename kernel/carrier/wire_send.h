/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The wire's requester: WQEs become packets. Everything is called by the owner of the send side. */
#ifndef PRXE_WIRE_SEND_H
#define PRXE_WIRE_SEND_H

#include "transport/requester.h"

struct prxe_qp;
struct prxe_wqe;

/* Send what the window and *@budget allow; the budget is in bytes. */
enum prxe_step prxe_wire_send_batch(struct prxe_qp *qp, unsigned int *budget);
/* The fault for a packet that was to be sent failed: its WQE fails, when its turn comes. */
void prxe_wire_send_fault_failed(struct prxe_qp *qp);
/* UD, GSI: one message in one packet. */
enum prxe_step prxe_wire_ud_send(struct prxe_qp *qp, struct prxe_wqe *wqe);

#endif
