/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of prxe-events share. */
#ifndef EV_H
#define EV_H

#include "lib/t.h"

#define ODP_ALL (T_ALL_ACCESS | IBV_ACCESS_ON_DEMAND)

extern const struct t_test ev_contents[], ev_errors[], ev_revoke[], ev_reg[];
extern const struct t_test ev_peer[], ev_files[], ev_post[], ev_numa[];
extern int ev_rounds; /* how often the racing tests repeat */

/* One transfer between local memory and the pair's remote memory: its status, -1: no completion. */
int ev_status(struct t_ep *e, enum ibv_wr_opcode op, const void *local, size_t len,
	      struct ibv_mr *lmr, const void *remote, struct ibv_mr *rmr);
/* The same; must succeed. */
bool ev_xfer(const char *what, struct t_ep *e, enum ibv_wr_opcode op, const void *local, size_t len,
	     struct ibv_mr *lmr, const void *remote, struct ibv_mr *rmr);
/* The same; must complete with that status. When it is an error, the pair is connected again. */
bool ev_must(const char *what, struct t_ep *a, struct t_ep *b, enum ibv_wr_opcode op,
	     const void *local, size_t len, struct ibv_mr *lmr, const void *remote,
	     struct ibv_mr *rmr, enum ibv_wc_status st);

static inline bool ev_write(const char *what, struct t_ep *e, const void *src, size_t len,
			    struct ibv_mr *lmr, void *dst, struct ibv_mr *rmr)
{
	return ev_xfer(what, e, IBV_WR_RDMA_WRITE, src, len, lmr, dst, rmr);
}

static inline bool ev_read(const char *what, struct t_ep *e, void *dst, size_t len,
			   struct ibv_mr *lmr, const void *src, struct ibv_mr *rmr)
{
	return ev_xfer(what, e, IBV_WR_RDMA_READ, dst, len, lmr, src, rmr);
}

#endif
