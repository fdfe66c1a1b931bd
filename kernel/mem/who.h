/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * On whose behalf memory is used: everything that the gate, and the work requests that change keys,
 * need to know about a QP.
 */
#ifndef PRXE_WHO_H
#define PRXE_WHO_H

#include <linux/types.h>

struct ib_pd;
struct prxe_dev;

/* Embedded in a QP; set when the QP is created, and used until the QP is dead. */
struct prxe_who {
	struct prxe_dev *dev;	/* keys are looked up in its table */
	struct ib_pd *pd;	/* the key must belong to it */
	u32 qpn;		/* a type 2 memory window is for the QP that bound it */
};

#endif
