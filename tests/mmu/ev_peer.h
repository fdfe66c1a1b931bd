/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef EV_PEER_H
#define EV_PEER_H
/* The program as the peer process: "@ROLE FD" on its command line. */
int ev_child(const char *role, int fd, const char *dev, int gid);
#endif
