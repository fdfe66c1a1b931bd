/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The carrier over UDP port 4791. */
#ifndef PRXE_WIRE_H
#define PRXE_WIRE_H

struct prxe_carrier;

extern const struct prxe_carrier prxe_wire_carrier;

int prxe_wire_init(void);
void prxe_wire_exit(void);	/* there is no device any more; sleeps */

#endif
