/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The UDP sockets of a network namespace. All its devices share them. */
#ifndef PRXE_UDP_H
#define PRXE_UDP_H

struct net;
struct prxe_net;
struct sk_buff;
struct sock;

/*
 * @rcv will take each packet that arrives at port 4791 of a namespace that has a device. It is
 * called in softirq, inside RCU; the skb starts at the UDP header, and the user data of the socket
 * are the namespace's struct prxe_net. It must consume the skb and return 0. Returns 0 or a
 * negative errno. Sleeps.
 */
int prxe_udp_init(int (*rcv)(struct sock *sk, struct sk_buff *skb));
/* At module unload; no device exists any more. Sleeps. */
void prxe_udp_exit(void);

/*
 * The sockets of @net, counted; its first user opens them. Returns an ERR_PTR on failure:
 * -EADDRINUSE (with one sentence in the log) when another socket has port 4791, -ENODEV when the
 * namespace is being deleted. Sleeps.
 */
struct prxe_net *prxe_net_get(struct net *net);
/* Undo prxe_net_get(); the last user closes the sockets. Sleeps. */
void prxe_net_put(struct prxe_net *pnet);

#endif
