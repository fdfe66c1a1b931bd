/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The carrier between two QPs of this host: messages go from MR to MR in one copy. */
#ifndef PRXE_LOCAL_H
#define PRXE_LOCAL_H

struct prxe_carrier;

extern const struct prxe_carrier prxe_local_carrier;

#endif
