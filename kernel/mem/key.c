// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The lookup of a key's MR or memory window, for every packet and every SGE: in a cache of this CPU
 * first, then in the device's table.
 *
 * A cached pointer is valid if the number stored with it equals dev->key_removals. Whoever removes
 * a key first erases it from the table, then stores a number there that was never used before, and
 * then frees the MR by RCU. A reader that still sees the old number therefore began its RCU section
 * before the grace period, and the MR outlives that section; a reader that begins later sees
 * another number. What a key allows is not cached: the gate reads it each time, and seq is compared
 * inside the hazard window.
 *
 * Memory: the lowest file of mem/, which calls none of the others. mr.c and mw.c fill the table,
 * gate.c looks keys up.
 */
#include <linux/lockdep.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/xarray.h>
#include "base/prxe.h"
#include "mem/key.h"

#define KEY_CACHE	16	/* entries; MRs registered one after the other use different ones */

struct key_cache {
	const struct prxe_dev *dev;
	u32 index;
	unsigned long removals;
	struct prxe_mr *mr;
};

static DEFINE_PER_CPU_ALIGNED(struct key_cache[KEY_CACHE], key_caches);
/*
 * The numbers for key_removals come from this counter, which all devices share: so a device at the
 * address of a freed one never has a number that some CPU has cached for the old one.
 */
static atomic_long_t key_numbers;

struct prxe_mr *prxe_mr_hit(struct prxe_dev *dev, u32 key)
{
	u32 index = key >> 8;
	/* Acquire: what is looked up below is at least as new as the number. */
	unsigned long removals = smp_load_acquire(&dev->key_removals);
	struct key_cache *c;
	struct prxe_mr *mr;

	/*
	 * Nobody else uses this CPU's cache meanwhile: BH are off, and so is preemption, which
	 * PREEMPT_RT leaves on when BH are off.
	 */
	lockdep_assert_in_softirq();
	preempt_disable();
	c = this_cpu_ptr(&key_caches[0]) + index % KEY_CACHE;
	if (likely(c->index == index && c->dev == dev && c->removals == removals)) {
		mr = c->mr;
	} else {
		mr = prxe_mr_find(dev, key);
		/* Do not cache that there is none: a registration does not change the number. */
		c->dev = mr ? dev : NULL;
		c->index = index;
		c->removals = removals;
		c->mr = mr;
	}
	preempt_enable();
	return mr;
}

struct prxe_mr *prxe_mr_alloc(struct ib_pd *pd, enum prxe_mr_kind kind, int access)
{
	struct prxe_mr *mr = kzalloc(sizeof(*mr), GFP_KERNEL_ACCOUNT);

	if (!mr)
		return NULL;
	mr->dev = to_prxe_dev(pd->device);
	mr->pd = pd;
	mr->kind = kind;
	mr->access = access;
	mr->state = PRXE_MR_FREE;
	mr->page_shift = PAGE_SHIFT;
	spin_lock_init(&mr->lock);
	return mr;
}

int prxe_mr_publish(struct prxe_mr *mr, gfp_t gfp)
{
	int ret = xa_alloc_cyclic(&mr->dev->keys, &mr->index, mr, XA_LIMIT(1, PRXE_MAX_KEYS - 1),
				  &mr->dev->next_key, gfp);

	if (ret < 0)
		return ret == -EBUSY ? -ENOSPC : ret;
	/*
	 * The MR is in the table already, but it is not live, so the gate does not compare its keys
	 * before they are set here. The variant is random, so that a peer cannot guess the new key
	 * from an old one of the same index.
	 */
	mr->lkey = mr->index << 8 | get_random_u8();
	mr->rkey = mr->lkey;
	mr->ibmr.lkey = mr->lkey;
	mr->ibmr.rkey = mr->rkey;
	return 0;
}

void prxe_mr_keys_init(struct prxe_dev *dev)
{
	xa_init_flags(&dev->keys, XA_FLAGS_ALLOC1);
	dev->key_removals = atomic_long_inc_return(&key_numbers);
}

void prxe_mr_unpublish(struct prxe_mr *mr)
{
	struct prxe_dev *dev = mr->dev;

	xa_erase(&dev->keys, mr->index);
	/*
	 * Two removals at once may store their numbers in either order: both numbers are new.
	 * xchg() is a full barrier, and it reads what it replaces: so a reader that sees the later
	 * number also sees the table without the MR that the earlier removal erased.
	 */
	xchg(&dev->key_removals, atomic_long_inc_return(&key_numbers));
}
