/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The invariant CRC of RoCEv2 packets (IBTA annex A17.3.3), by this machine's fastest CRC-32. */
#ifndef PRXE_ICRC_H
#define PRXE_ICRC_H

#include <linux/types.h>

struct sk_buff;

int prxe_icrc_init(void);	/* measures the candidates; before any packet */
void prxe_icrc_exit(void);

/* CRC-32 (IEEE, reflected), neither inverted before nor after. Any context. */
u32 prxe_crc32(u32 crc, const void *p, size_t len);
/*
 * The ICRC of a packet in contiguous memory: @bytes bytes at @bth, from the BTH to the
 * payload's end, behind the IP header (20 or 40 bytes) at @ip and a UDP header. It is stored in
 * little-endian order.
 */
u32 prxe_icrc(const void *ip, bool v6, const void *bth, size_t bytes);
/*
 * Check a received packet. Its data begin at the BTH, with the IP and UDP headers in front of it;
 * the last 4 bytes are the ICRC.
 */
bool prxe_icrc_good(const struct sk_buff *skb, bool v6);

#endif
