/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Verbs on QPs, for struct ib_device_ops. Process context; all of them sleep. The core keeps the
 * PD, the CQs and the SRQ of a QP alive from before its creation until after its destruction.
 */
#ifndef PRXE_QP_VERBS_H
#define PRXE_QP_VERBS_H

#include <rdma/ib_verbs.h>

struct prxe_dev;

/*
 * Create the struct prxe_qp behind @ib, in RESET. @init->cap is set to what the QP really has. 0;
 * -EOPNOTSUPP: the type or the flags; -EINVAL: more than the device's limits, no CQ, or a response
 * that user space has no room for; -ENOMEM; -EBUSY: no QP number is free; -EFAULT.
 */
int prxe_create_qp(struct ib_qp *ib, struct ib_qp_init_attr *init, struct ib_udata *udata);
/*
 * The state machine of IBTA 10.3.1. Takes qp->mutex, and owns the send side while it changes what
 * that uses. 0; -EINVAL: the transition or an attribute is not allowed, or the QP went into error
 * meanwhile; -EOPNOTSUPP: this device does not have it; -EIO: the device's users are being removed;
 * -ENOMEM.
 */
int prxe_modify_qp(struct ib_qp *ib, struct ib_qp_attr *attr, int mask, struct ib_udata *udata);
/*
 * Returns all attributes, whatever @mask is. Takes qp->mutex. 0; -EAGAIN: the QP is being
 * destroyed, which only rdma netlink can see.
 */
int prxe_query_qp(struct ib_qp *ib, struct ib_qp_attr *attr, int mask,
		  struct ib_qp_init_attr *init);
/*
 * When this returns, nobody uses @ib, its CQs, PD and SRQ any more; but peers, packets and queued
 * faults may hold the struct prxe_qp for longer. Waits neither for a fault nor for a grace period.
 * Always 0.
 */
int prxe_destroy_qp(struct ib_qp *ib, struct ib_udata *udata);
/*
 * The core removes the device's users (dev->users_removed is set): put all QPs of users into error,
 * and flush them. Returns when everything that was posted to them has completed, or after 5
 * seconds. Takes qp->mutex of each QP in turn.
 */
void prxe_qp_abandon_all(struct prxe_dev *dev);

#endif
