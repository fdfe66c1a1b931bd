/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of prxe-proto share. */
#ifndef PROTO_H
#define PROTO_H

#include "../../kernel/uapi/prxe-abi.h"
#include "lib/t.h"

extern const struct t_test pr_mem[], pr_window[], pr_flow[], pr_state[], pr_event[];
extern const struct t_test pr_flush[], pr_mcast[], pr_grh[], pr_ring[], pr_ibta[];

/* A pair with a buffer on each side (one mapping between inaccessible pages), registered. */
#define PR_ROOM (16 * T_PAGE)
struct pr {
	struct t_dev *d;
	struct t_ep a, b;
	uint8_t *pa, *pb;
	struct ibv_mr *ma, *mb;
};
void pr_open(struct pr *w, struct t_dev *d, const struct t_opt *o);
void pr_close(struct pr *w);
void pr_again(struct pr *w); /* after an error: reconnect, and B's memory must be as it was */
void pr_fill(struct pr *w, uint64_t seq); /* contents of A's buffer; B's becomes all guard */
#define PR_GUARD_SEQ 0xbbbb
void pr_unchanged(struct pr *w, const char *what); /* B's buffer is still all guard */

/* Post @wr and take its completion, whose status must be @want; reconnects after an error. */
bool pr_try(struct pr *w, const char *what, const struct t_wr *wr, enum ibv_wc_status want);
bool pr_try2(struct pr *w, const char *what, const struct t_wr *wr, enum ibv_wc_status want,
	     enum ibv_wc_status or_else);
/* Wait for an async event of that type (others are skipped and counted as notes). */
bool pr_event_wait(struct t_dev *d, const char *what, enum ibv_event_type want, double seconds);
int pr_events_drain(struct t_dev *d);

/* The ring with that mask in this process's memory map; if there are several, the last one. */
volatile struct prxe_ring *pr_ring_find(uint32_t mask);

#endif
