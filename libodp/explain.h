/* SPDX-License-Identifier: BSD-2-Clause */
/* What check.c and explain.c share. */
#ifndef ODP_EXPLAIN_H
#define ODP_EXPLAIN_H

#include <stdarg.h>
#include "internal.h"

struct explain_access {
	uint32_t key;
	uint64_t addr, length;
	unsigned int need; /* as for odp_check() */
	bool remote;	   /* key is an rkey */
	bool any_pd;	   /* the PD is not known: an MR of any domain of the device will do */
};

void explain_clear(struct odp_explanation *out);
void explain_say(struct odp_explanation *out, const char *fmt, ...) ODP_PRINTF(2, 3);
/* Set cause, key and addr, and append what is wrong to the text; append nothing when nothing is. */
void explain_access_check(struct odp_domain *domain, const struct explain_access *access, struct odp_explanation *out);

#endif
