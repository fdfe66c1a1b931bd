/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Packets in. */
#ifndef PRXE_WIRE_IN_H
#define PRXE_WIRE_IN_H

struct sk_buff;
struct sock;

/* The function for prxe_udp_init(), which says how it is called. */
int prxe_wire_rcv(struct sock *sk, struct sk_buff *skb);

#endif
