/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Who asks for memory: all that the gate and the work requests on keys need to know of a QP.
 */
#ifndef PRXE_WHO_H
#define PRXE_WHO_H

#include <linux/types.h>

struct ib_pd;
struct prxe_dev;

/* Embedded in a QP; it does not change as long as the QP is not dead. */
struct prxe_who {
	struct prxe_dev *dev;	/* whose keys are looked at */
	struct ib_pd *pd;	/* that the key must be of */
	u32 qpn;		/* type 2 windows belong to one QP */
};

#endif
