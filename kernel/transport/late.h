/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Receive WQEs that user space posts to a QP in error. They must complete with WR_FLUSH_ERR (IBTA
 * 10.3.1), but posting a receive WQE is no system call.
 */
#ifndef PRXE_LATE_H
#define PRXE_LATE_H

#include "transport/qp.h"

void prxe_late_init(struct prxe_qp *qp);	/* at creation */
/* The QP's receive WQEs were flushed: when to look again. Process context, not under resp.lock. */
void prxe_late_look(struct prxe_qp *qp);
/* The QP has left the error state or is dead. BH on, not under resp.lock. */
void prxe_late_forget(struct prxe_qp *qp);

#endif
