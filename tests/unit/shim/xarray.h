/* SPDX-License-Identifier: BSD-2-Clause */
/* An xarray as far as its users see it: a sorted table under a lock. */
#ifndef SHIM_XARRAY_H
#define SHIM_XARRAY_H

struct shim_slot { unsigned long index; void *entry; };
struct xarray {
	pthread_mutex_t m;
	struct shim_slot *slot;
	size_t num, room;
	bool nodes;	/* empty ones, which a store without memory has left */
};
struct xa_limit { u32 max, min; };
#define XA_LIMIT(lo, hi)	((struct xa_limit){ .min = (lo), .max = (hi) })
#define XA_FLAGS_ACCOUNT	0
#define XA_FLAGS_ALLOC		0
#define XA_FLAGS_ALLOC1		0
#define XA_FLAGS_LOCK_BH	0
#define DEFINE_XARRAY(x)	struct xarray x = { .m = PTHREAD_MUTEX_INITIALIZER }
#define DEFINE_XARRAY_ALLOC(x)	DEFINE_XARRAY(x)
#define xa_init(x)		xa_init_flags(x, 0)
void xa_init_flags(struct xarray *xa, gfp_t flags);
void xa_destroy(struct xarray *xa);
void *xa_load(struct xarray *xa, unsigned long index);
/* The old entry, or ERR_PTR(-ENOMEM). */
void *xa_store(struct xarray *xa, unsigned long index, void *entry, gfp_t gfp);
void *xa_erase(struct xarray *xa, unsigned long index);
/* The next free index from *next on, and then from the lowest one: 0, 1 (it wrapped) or -EBUSY. */
static inline int xa_alloc_cyclic(struct xarray *xa, u32 *id, void *entry, struct xa_limit limit,
				  u32 *next, gfp_t gfp)
{
	u32 at = clamp(*next, limit.min, limit.max), tries = limit.max - limit.min;
	int wrapped = 0;

	for (; xa_load(xa, at); tries--) {
		if (!tries)
			return -EBUSY;
		wrapped |= at == limit.max;
		at = at == limit.max ? limit.min : at + 1;
	}
	*id = at;
	*next = at + 1;
	return IS_ERR(xa_store(xa, at, entry, gfp)) ? -ENOMEM : wrapped;
}

#define XA_PRESENT	0
void *xa_find(struct xarray *xa, unsigned long *index, unsigned long max, int filter);
void *xa_find_after(struct xarray *xa, unsigned long *index, unsigned long max);
bool xa_empty(struct xarray *xa);
static inline int xa_err(void *entry) { return IS_ERR(entry) ? PTR_ERR(entry) : 0; }
#define xa_for_each_range(xa, i, e, first, last) \
	for ((i) = (first), (e) = xa_find(xa, &(i), last, XA_PRESENT); (e); \
	     (e) = xa_find_after(xa, &(i), last))
#define xa_for_each(xa, i, e)	xa_for_each_range(xa, i, e, 0, ULONG_MAX)

/*
 * A store needs memory that xas_nomem() has allocated. Without it, it fails and leaves a node
 * behind, as the kernel's does when it gets some of several.
 */
struct xa_state {
	struct xarray *xa;
	unsigned long index;
	bool has_node;
	int err;
};
#define XA_STATE(name, array, i) struct xa_state name = { (array), (i) }
#define xas_lock(xas)		((void)(xas), (void)shim_spins++)
#define xas_unlock(xas)		((void)(xas), (void)shim_spins--)
#define xas_error(xas)		((xas)->err)
void *xas_store(struct xa_state *xas, void *entry);
bool xas_nomem(struct xa_state *xas, gfp_t gfp);
#define xas_retry(xas, e)	(false)
#define xas_pause(xas)		((void)(xas))
#define xas_for_each(xas, e, max) \
	for ((e) = xa_find((xas)->xa, &(xas)->index, max, XA_PRESENT); (e); \
	     (e) = xa_find_after((xas)->xa, &(xas)->index, max))

#endif
