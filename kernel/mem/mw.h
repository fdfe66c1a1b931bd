/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Memory windows, and the work requests that change keys.
 */
#ifndef PRXE_MW_H
#define PRXE_MW_H

#include <rdma/ib_verbs.h>

struct prxe_mr;
struct prxe_who;

/* BIND_MW, as the WQE has it. */
struct prxe_mw_bind {
	u64 addr, length;
	u32 mr_lkey, mw_rkey, rkey;
	int access;
};

struct prxe_mw {
	struct ib_mw ib;		/* first; the core's object */
	struct prxe_mr *key;
};

static inline struct prxe_mw *to_prxe_mw(struct ib_mw *ib)
{
	return container_of(ib, struct prxe_mw, ib);
}

int prxe_alloc_mw(struct ib_mw *mw, struct ib_udata *udata);
int prxe_dealloc_mw(struct ib_mw *mw);

/*
 * Work requests on keys, of send sides and of receive sides (SEND with Invalidate). Process context
 * or softirq; they do not sleep. 0; or -EACCES, -EINVAL: the work request fails. When
 * prxe_key_invalidate() has returned 0, no byte moves through the key.
 */
int prxe_key_invalidate(const struct prxe_who *who, u32 key, bool remote);
int prxe_mw_bind(const struct prxe_who *who, const struct prxe_mw_bind *b);

#endif
