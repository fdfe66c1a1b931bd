/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Verbs on QPs, for struct ib_device_ops. Process context; all of them sleep. The core keeps the
 * PD, the CQs and the SRQ of a QP from before its creation until after its destruction.
 */
#ifndef PRXE_QP_VERBS_H
#define PRXE_QP_VERBS_H

#include <rdma/ib_verbs.h>

struct prxe_dev;

/*
 * Create the struct prxe_qp behind @ib, in RESET. @init->cap becomes what the QP really has. 0;
 * -EOPNOTSUPP: its type or its flags; -EINVAL: more than the device's limits; -ENOMEM; -EFAULT.
 */
int prxe_create_qp(struct ib_qp *ib, struct ib_qp_init_attr *init, struct ib_udata *udata);
/*
 * The state machine of IBTA 10.3.1. Takes qp->mutex, and owns the send side where that may be at
 * work. 0; -EINVAL: the transition, an attribute, or an error came first; -EOPNOTSUPP: what this
 * device does not have; -EIO: the device's users are being removed; -ENOMEM.
 */
int prxe_modify_qp(struct ib_qp *ib, struct ib_qp_attr *attr, int mask, struct ib_udata *udata);
/* All attributes, whatever @mask says. Takes qp->mutex. Always 0. */
int prxe_query_qp(struct ib_qp *ib, struct ib_qp_attr *attr, int mask,
		  struct ib_qp_init_attr *init);
/*
 * When this returns, nobody uses @ib, its CQs, PD and SRQ any more; peers, packets and faults may
 * hold the struct prxe_qp for longer. Waits neither for a fault nor for a grace period. Always 0.
 */
int prxe_destroy_qp(struct ib_qp *ib, struct ib_udata *udata);
/*
 * The device is being taken from its users (dev->users_removed is set): all QPs of users go into
 * error, and what was posted to them completes before this returns, unless it takes 5 seconds.
 * Takes qp->mutex of each.
 */
void prxe_qp_abandon_all(struct prxe_dev *dev);

#endif
