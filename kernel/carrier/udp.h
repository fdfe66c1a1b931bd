/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The UDP sockets of a network namespace, which its devices share. */
#ifndef PRXE_UDP_H
#define PRXE_UDP_H

struct net;
struct prxe_net;
struct sk_buff;
struct sock;

/*
 * @rcv takes each packet that comes to port 4791 of a namespace with a device: at the UDP header,
 * in softirq, inside RCU, with the namespace's struct prxe_net as the socket's user data. Returns 0
 * and has taken the skb.
 */
int prxe_udp_init(int (*rcv)(struct sock *sk, struct sk_buff *skb));
void prxe_udp_exit(void);	/* there is no device any more */

/*
 * The namespace's sockets, bound with its first device. ERR_PTR: -EADDRINUSE, with one sentence in
 * the log, when another owner has UDP 4791. Sleeps.
 */
struct prxe_net *prxe_net_get(struct net *net);
void prxe_net_put(struct prxe_net *pnet);

#endif
