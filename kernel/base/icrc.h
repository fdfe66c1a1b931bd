/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The invariant CRC (ICRC) of RoCEv2 packets (IBTA annex A17.3.3), computed with the fastest CRC-32
 * of this machine.
 */
#ifndef PRXE_ICRC_H
#define PRXE_ICRC_H

#include <linux/types.h>

struct sk_buff;

/*
 * Module init, before the first packet: measures the implementations and chooses one. Sleeps. 0 or
 * -ENOMEM. prxe_icrc_exit(): after the last packet.
 */
int prxe_icrc_init(void);
void prxe_icrc_exit(void);

/*
 * CRC-32 (IEEE, reflected), continued from @crc. Neither @crc nor the result is inverted. Any
 * context.
 */
u32 prxe_crc32(u32 crc, const void *p, size_t len);
/*
 * Make the copy of an IP header (20 or 40 bytes, without options) and the UDP header behind it that
 * of a packet with @bytes bytes from the BTH to the ICRC: writes the lengths.
 */
void prxe_icrc_set_len(void *ip, bool v6, u32 bytes);
/*
 * The ICRC of a packet in contiguous memory: @bytes bytes at @bth, from the BTH to the end of the
 * payload, with the IP header (20 or 40 bytes, without options) at @ip and the UDP header behind
 * that. The caller stores it in little-endian order. Any context.
 */
u32 prxe_icrc(const void *ip, bool v6, const void *bth, size_t bytes);
/*
 * Which IPv4 ID had, or would have, a packet of a train behind the first one, whose header is the
 * only one there is? The low half of its PSN: this driver's trains, even where several were joined
 * on the way. Or, of other senders: counted up, or all the same. The first ICRC that is right says
 * it for all of the skb.
 */
enum prxe_id_rule { PRXE_ID_UNKNOWN, PRXE_ID_PSN, PRXE_ID_COUNTED, PRXE_ID_SAME };
/*
 * Is the ICRC of a received packet right? The packet is the @bytes bytes at @off of the skb's data,
 * from the BTH to the ICRC, and a part of a train if it is not all of the data; the skb's network
 * header is the IP header, and a UDP header follows that. The skb may have fragments and a list of
 * them. *@rule: PRXE_ID_UNKNOWN for the first packet of an skb, and then what this function left
 * there. Any context.
 */
bool prxe_icrc_good(const struct sk_buff *skb, bool v6, u32 off, u32 bytes,
		    enum prxe_id_rule *rule);

#endif
