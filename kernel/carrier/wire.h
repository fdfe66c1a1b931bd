/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The carrier over UDP port 4791. */
#ifndef PRXE_WIRE_H
#define PRXE_WIRE_H

struct prxe_carrier;

extern const struct prxe_carrier prxe_wire_carrier;

/* At module load, before the first device. Returns 0 or a negative errno. Sleeps. */
int prxe_wire_init(void);
/* At module unload; no device exists any more. Waits for packets in the network. Sleeps. */
void prxe_wire_exit(void);

#endif
