/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A verbs device that is not there: it answers as a test wants, so that every refusal and fallback
 * can be had on any machine.
 */
#ifndef FAKE_H
#define FAKE_H

#include <infiniband/verbs.h>
#include <stdbool.h>
#include <stddef.h>

struct fake_dev {
	/* what it is to answer */
	struct ibv_odp_caps odp;
	uint32_t xrc;
	int query_err;	  /* errno of ibv_query_device_ex() */
	int pin_err;	  /* errno of pinning; 0: succeeds */
	int demand_err;	  /* of on-demand registration */
	int again;	  /* this many registrations say EAGAIN first */
	int dereg_err;
	int advise_err;	    /* errno of advice */
	int advise_again;   /* this many say EAGAIN first */
	uint64_t bad_page;  /* advice that touches it says EFAULT; 0: none */
	unsigned int us_per_mib; /* advice takes that long */
	/* what it was asked */
	int regs, deregs, advise_calls, live;
	unsigned int last_access;
	uint64_t last_iova;
	uint32_t last_advice, last_flags;
	uint64_t next_addr, advised; /* advice must come in one piece after the other */
	bool overlap;
};

struct ibv_pd *fake_pd(void); /* another one on the same device each time */
extern struct fake_dev fake;
void fake_reset(bool odp); /* a device that can do everything, or everything but on-demand paging */

#endif
