/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Verbs by hand, through write(2) on the device. For a process that has corrupted its rings: it
 * cannot call the provider any more, which reads them too.
 */
#ifndef RAW_H
#define RAW_H

#include "lib/t.h"

/* Sometimes (by @rnd) with work requests in the command, which may be random bytes. */
int raw_doorbell(const struct t_ep *e, uint64_t rnd);
int raw_state(const struct t_ep *e, enum ibv_qp_state s, const struct t_ep *peer);
int raw_destroy_qp(const struct t_ep *e);
int raw_destroy_cq(int fd, uint32_t handle);
int raw_destroy_srq(int fd, uint32_t handle);

#endif
