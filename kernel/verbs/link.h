/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* How devices come and go: the commands of rdma(8), "link add", and what happens to netdevs. */
#ifndef PRXE_LINK_H
#define PRXE_LINK_H

/*
 * Module init and exit; process context, both sleep. From prxe_link_init() on, users can create
 * devices: so it is the last step of module init. 0 or an errno. After prxe_link_exit() there is no
 * device: so it is the first step of module exit.
 */
int prxe_link_init(void);
void prxe_link_exit(void);

#endif
