// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * From a key to its MR or MW, for every packet and every SGE: what this CPU found last, and the
 * device's table behind it.
 *
 * What a CPU remembers of a device is true as long as no key was taken out of its table since,
 * which dev->key_removals tells: a number that is new, never used before, after each removal. A
 * reader inside RCU that finds the number as it was began before the removal's grace period did, so
 * what it remembers is not freed before it is done; one that begins later finds another number.
 * What the key allows is not remembered: the gate reads it, and the window compares seq.
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

#define KEY_CACHE	16	/* a power of two: MRs made one after the other do not collide */

struct key_cache {
	const struct prxe_dev *dev;
	u32 index;
	unsigned long removals;
	struct prxe_mr *mr;
};

static DEFINE_PER_CPU_ALIGNED(struct key_cache[KEY_CACHE], key_caches);
/* What numbers are drawn from, so that a device at the address of an old one has others. */
static atomic_long_t key_numbers;

struct prxe_mr *prxe_mr_hit(struct prxe_dev *dev, u32 key)
{
	u32 index = key >> 8;
	/* Acquire: what is looked up below is at least as new as the number. */
	unsigned long removals = smp_load_acquire(&dev->key_removals);
	struct key_cache *c;
	struct prxe_mr *mr;

	/* Nobody else looks on this CPU meanwhile. */
	lockdep_assert_in_softirq();
	preempt_disable();
	c = this_cpu_ptr(&key_caches[0]) + index % KEY_CACHE;
	if (likely(c->index == index && c->dev == dev && c->removals == removals)) {
		mr = c->mr;
	} else {
		mr = prxe_mr_find(dev, key);
		/* NULL is not worth remembering: a registration will change it. */
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
	 * It is not live yet, so the gate does not look at the key. The variant is random, so that
	 * nobody guesses the key from one that the index had before.
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
	 * Two at once may store theirs in any order: each number is stored once. A full barrier,
	 * and exchanged, so that who finds the later one also finds what the earlier one's store
	 * came after.
	 */
	xchg(&dev->key_removals, atomic_long_inc_return(&key_numbers));
}
