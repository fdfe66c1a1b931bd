/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The carrier between two QPs of this host: messages go from MR to MR in one copy. */
#ifndef PRXE_LOCAL_H
#define PRXE_LOCAL_H

#include "transport/qp.h"

/* Owner: carry one chunk of @wqe, the oldest of an RC or UC QP, to its peer. */
enum prxe_step prxe_local_step(struct prxe_qp *qp, struct prxe_wqe *wqe);
/*
 * Does @av lead to a device of this module here, and may the local carrier be used? Any context but
 * hardirq.
 */
bool prxe_local_reaches(struct prxe_qp *qp, const struct prxe_av *av);
/*
 * Owner: send @wqe of a UD or GSI QP to a QP of this host; one that is not there any more loses it.
 */
enum prxe_step prxe_local_ud_step(struct prxe_qp *qp, struct prxe_wqe *wqe);

#endif
