/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef UNIT_H
#define UNIT_H

#include "check.h"

void *unit_map(size_t size);
struct odp_domain *unit_domain(void); /* on a PD of its own of the fake device */
void unit_prefetch(void);
void unit_evict(void);
void unit_explain(void);

#endif
