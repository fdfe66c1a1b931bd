/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* How devices are created and removed: "link add" of rdma(8), and the events of netdevs. */
#ifndef PRXE_LINK_H
#define PRXE_LINK_H

/*
 * Module init and exit; process context, both sleep. Users can create devices as soon as
 * prxe_link_init() has registered the command, so it is the last step of module init; 0 or an
 * errno. When prxe_link_exit() returns, there is no device, so it is the first step of module exit.
 */
int prxe_link_init(void);
void prxe_link_exit(void);

#endif
