/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Packets in the making, and trains: packets that leave as one skb.
 *
 * A train is a UDP datagram that is longer than a packet, with the length of its packets on it
 * ("GSO", gso_size). The network carries it whole as far as it can, and cuts it where it cannot.
 * All its packets have the same length, but the last one may be shorter, and their PSNs follow each
 * other, because the ICRC covers the IPv4 ID: each packet's ID is the low half of its PSN, and
 * whoever cuts a train counts the ID up.
 *
 * Each side of a QP has a maker. All functions: by the side's owner (the owner of the send side,
 * or under resp.lock), with BH off, in any context but hardirq, unless a comment says otherwise.
 */
#ifndef PRXE_WIRE_MAKE_H
#define PRXE_WIRE_MAKE_H

#include "base/packet.h"
#include "carrier/wire_out.h"

struct prxe_parts;

/*
 * Begin a packet, unless it is begun already: m->at is where the caller writes its payload, of
 * @payload_len bytes. Packets without payload need not be begun. False: no memory.
 */
bool prxe_make_begin(struct prxe_maker *m, u8 opcode, u32 payload_len);
/*
 * The packet that is begun has to wait, with @done bytes of its payload: give back the block that
 * it was cut from, which is much larger, if there is memory to move it to. Any context but hardirq.
 */
void prxe_make_wait(struct prxe_maker *m, u8 opcode, u32 done);
/* Drop the packet that was begun. Any context but hardirq. */
void prxe_make_forget(struct prxe_maker *m);
/* May this packet be the next one of the train @skb (NULL: a new one), if that has @max at most? */
bool prxe_make_fits(const struct sk_buff *skb, const struct prxe_pkt *pkt,
		    enum prxe_account account, u32 max);
/*
 * The payload is complete: write the headers that @pkt says, and add the packet to the train, which
 * it fits, or to a new one. @ask: it may ask for an ACK. False: no memory; nothing has changed.
 * A packet without payload may be added while another one is being made.
 */
bool prxe_make_add(struct prxe_qp *qp, struct prxe_maker *m, struct prxe_pkt *pkt,
		   enum prxe_account account, bool ask);

/*
 * Runs: full packets with nothing but a BTH, the middle of a message, are made together.
 *
 * prxe_make_run_room(): how many packets like @pkt the train takes, all of the same length as those
 * that it has. @skb: the train; NULL: a new one.
 * prxe_make_run_begin(): memory for up to @want of them, with payloads of 2^@bits bytes. Returns
 * for how many, 0: no memory; says in *@parts where the payloads go, and keeps the memory in *@cut.
 * prxe_make_run_end(): the payloads of the first @num are complete: adds so many packets to the
 * train, which has room for them. @pkt is the first, and asks for no ACK; the PSNs of the others
 * follow. With @num 0 it gives the memory back. False: no memory, nothing has changed, and the
 * memory is given back.
 */
u32 prxe_make_run_room(const struct sk_buff *skb, const struct prxe_pkt *pkt,
		       enum prxe_account account, u32 max);
u32 prxe_make_run_begin(u8 opcode, u32 bits, u32 want, struct prxe_parts *parts,
			struct prxe_cut *cut);
bool prxe_make_run_end(struct prxe_qp *qp, struct prxe_maker *m, struct prxe_pkt *pkt, u32 num,
		       struct prxe_cut *cut, enum prxe_account account, bool ask);

/* Is there a train that takes no packet more of the length of those that it has? */
bool prxe_make_full(const struct prxe_maker *m);
/* Take the train; NULL if there is none. */
static inline struct sk_buff *prxe_make_take(struct prxe_maker *m)
{
	struct sk_buff *skb = m->train;

	m->train = NULL;
	return skb;
}

/* Forget everything. Any context but hardirq. */
void prxe_make_drop(struct prxe_maker *m);

/* At module unload, when the network has no packet any more: free the blocks. */
void prxe_make_exit(void);

#endif
