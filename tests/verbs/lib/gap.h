/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * On-demand memory whose pages nobody has: each is missing until t_gap_serve() gives it, so a
 * transfer that needs it waits for exactly as long as a test wants.
 */
#ifndef GAP_H
#define GAP_H

#include "t.h"

struct t_gap {
	uint8_t *va;
	unsigned pages;
	int fd;
	struct ibv_mr *mr;
};

void t_gap_open(struct t_gap *g, struct ibv_pd *pd, unsigned pages);
void t_gap_close(struct t_gap *g);
/* Gives page @page the contents t_pat(seq, its position in the gap). */
void t_gap_serve(struct t_gap *g, unsigned page, uint64_t seq);
/* Somebody waits for a page: true within that time. */
bool t_gap_asked(struct t_gap *g, double seconds);

#endif
