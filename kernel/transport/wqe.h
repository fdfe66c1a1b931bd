/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Send WQEs: the kernel's copy of them, and what each operation is. */
#ifndef PRXE_WQE_H
#define PRXE_WQE_H

#include <linux/types.h>
#include <rdma/ib_verbs.h>
#include "mem/mw.h"
#include "transport/qp.h"

/* What an operation is, and which QPs may have it: bits of prxe_wqe.kind. */
#define PRXE_WR_SEND		BIT(0)
#define PRXE_WR_RDMA		BIT(1)	/* has a remote address */
#define PRXE_WR_ATOMIC		BIT(2)	/* 8 bytes there and back */
#define PRXE_WR_READ		BIT(3)
#define PRXE_WR_IMM		BIT(4)
#define PRXE_WR_LOCAL		BIT(5)	/* touches keys, no message */
#define PRXE_WR_INLINE		BIT(6)	/* its data may stand in the WQE */
#define PRXE_WR_KERNEL		BIT(7)	/* not from a ring that user space can write */
#define PRXE_WR_RC		BIT(8)
#define PRXE_WR_UC		BIT(9)
#define PRXE_WR_UD		BIT(10)
#define PRXE_WR_OPERAND		BIT(11)	/* its 8 bytes of data are always inline in the WQE */
#define PRXE_WR_FLUSH		BIT(12)	/* names remote memory, has no data */
/* Answered by a response of its own, not by an ACK. */
#define PRXE_WR_RESPONSE	(PRXE_WR_READ | PRXE_WR_ATOMIC | PRXE_WR_OPERAND | PRXE_WR_FLUSH)

enum prxe_wqe_state {
	PRXE_WQE_FETCHED,
	PRXE_WQE_STARTED,	/* wire: it has its PSNs */
	PRXE_WQE_SENT,		/* all its packets are out */
	PRXE_WQE_DONE,
};

/*
 * The kernel's copy of a send WQE: checked, and out of user space's reach. Each slot of the SQ has
 * one, with the same index.
 */
struct prxe_wqe {
	u64 wr_id;			/* or wr_cqe */
	u32 opcode;			/* enum ib_wr_opcode, one that the QP's type allows */
	u32 flags;			/* IB_SEND_* */
	u32 length;			/* of the message in bytes, recomputed from the SGEs */
	u32 num_sge;			/* 0 when inline */
	u16 kind;			/* PRXE_WR_*; 0: no such operation */
	u8 state;			/* enum prxe_wqe_state */
	u8 status;			/* enum ib_wc_status: the result of its checks */
	u8 done_atomic; /* the atomic was executed; its result, orig, is not stored yet */
	u8 carrier;			/* UD: enum prxe_carrier_id, chosen when it starts */
	u8 drop;			/* local UC, UD: lost, because the receiver took too long */
	u32 done;			/* local: bytes carried so far */
	u64 fill; /* local: its number in the receive WQE; prxe_resp_claim() */
	u64 rwqe_no;			/* local: the number of the receive WQE that it fills */
	u32 first_psn, last_psn;
	__be32 imm;
	u32 inv_rkey;
	u64 orig;			/* atomics: the value that was read */
	u64 remote_addr;		/* RDMA, atomics and FLUSH */
	u32 rkey;
	u32 key;			/* REG_MR */
	u64 compare_add, swap;		/* compare_add also holds the 8 bytes of an ATOMIC_WRITE */
	struct {			/* FLUSH; PRXE_FLUSH_* */
		u32 length;
		u8 type, level;
	} flush;
	struct {			/* UD, GSI */
		struct prxe_av av;
		u32 qpn, qkey;
		u16 pkey_index;
	} ud;
	struct prxe_mw_bind mw;		/* BIND_MW */
	struct ib_mr *mr;		/* REG_MR; kernel consumers only */
	int access;
	union {
		DECLARE_FLEX_ARRAY(struct ib_sge, sge);
		DECLARE_FLEX_ARRAY(u8, inline_data);	/* flags & IB_SEND_INLINE */
	};
};

/* The WQE at @index, a slot of the SQ. Owner; only slots in [sq->index, fetch) have a valid one. */
static inline struct prxe_wqe *prxe_req_wqe(struct prxe_qp *qp, u32 index)
{
	return (struct prxe_wqe *)(qp->req.shadow + (size_t)index * qp->req.wqe_size);
}

/* The PRXE_WR_* bits of @opcode; 0 if no WQE of @qp may have it. Any context. */
u16 prxe_wr_kind(const struct prxe_qp *qp, u32 opcode);
/* The opcode for the completion of a WQE; IB_WC_SEND if @opcode is no operation. Any context. */
enum ib_wc_opcode prxe_wr_wc_opcode(u32 opcode);
/*
 * Copy the next WQE from the ring into its shadow slot and check it; if a check fails, its status
 * says why. Returns NULL if the ring has no new WQE. Owner (requester.h).
 */
struct prxe_wqe *prxe_req_fetch(struct prxe_qp *qp);
/* Execute @wqe, a LOCAL_INV, REG_MR or BIND_MW. Returns its completion status. Owner. */
enum ib_wc_status prxe_req_local_op(struct prxe_qp *qp, struct prxe_wqe *wqe);

#endif
