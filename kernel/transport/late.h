/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Receive WQEs that user space posts to a QP in error. They must complete with WR_FLUSH_ERR (IBTA
 * 10.3.1), but posting a receive WQE is no system call.
 */
#ifndef PRXE_LATE_H
#define PRXE_LATE_H

#include "transport/qp.h"

/* At creation. */
void prxe_late_init(struct prxe_qp *qp);
/*
 * The receive WQEs of a QP in error were flushed: decide when, or on what occasion, to look for new
 * ones. Process context; takes resp.lock, does not sleep.
 */
void prxe_late_look(struct prxe_qp *qp);
/* The QP leaves the error state or is dead: stop looking. BH on; takes resp.lock. */
void prxe_late_forget(struct prxe_qp *qp);

#endif
