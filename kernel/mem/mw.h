/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Memory windows, and the work requests that change keys.
 */
#ifndef PRXE_MW_H
#define PRXE_MW_H

#include <rdma/ib_verbs.h>

struct prxe_mr;
struct prxe_who;

/*
 * The arguments of BIND_MW, as in the WQE. @mw_rkey: the window's present key; @rkey: its new one;
 * @length 0: only unbind.
 */
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

/*
 * As in struct ib_device_ops; process context. prxe_alloc_mw() sleeps: 0; -EINVAL: the type;
 * -ENOMEM; -ENOSPC. prxe_dealloc_mw() always returns 0, and then no byte moves through the window.
 */
int prxe_alloc_mw(struct ib_mw *mw, struct ib_udata *udata);
int prxe_dealloc_mw(struct ib_mw *mw);

/*
 * Execute a work request that changes a key: LOCAL_INV, BIND_MW or, with @remote, the invalidation
 * that a peer's SEND with Invalidate asks for. Process context or softirq; they do not sleep. 0; or
 * -EACCES, -EINVAL: the work request fails. When prxe_key_invalidate() has returned 0, no byte
 * moves through the key.
 */
int prxe_key_invalidate(const struct prxe_who *who, u32 key, bool remote);
int prxe_mw_bind(const struct prxe_who *who, const struct prxe_mw_bind *b);

#endif
