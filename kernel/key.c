// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * From a key to its MR or MW, for every packet and every SGE: what this CPU found last, and the device's table behind it.
 *
 * What a CPU remembers is true as long as no key was taken out of any table since: key_removals. A reader inside RCU that finds the count as
 * it was began before the removal's grace period did, so what it remembers is not freed before it is done; one that begins later finds
 * another count. What the key allows is not remembered: the gate reads it, and the window compares seq.
 */
#include <linux/lockdep.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/xarray.h>
#include "mr.h"
#include "prxe.h"

#define KEY_CACHE	16	/* a power of two; MRs that are made one after the other do not meet */

struct key_cache {
	const struct prxe_dev *dev;
	u32 index;
	unsigned long removals;
	struct prxe_mr *mr;
};

static DEFINE_PER_CPU_ALIGNED(struct key_cache[KEY_CACHE], key_caches);
static atomic_long_t key_removals __read_mostly;

struct prxe_mr *prxe_mr_hit(struct prxe_dev *dev, u32 key)
{
	u32 index = key >> 8;
	/* Acquire: what is looked up below is at least as new as the count. */
	unsigned long removals = atomic_long_read_acquire(&key_removals);
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

void prxe_mr_unpublish(struct prxe_mr *mr)
{
	xa_erase(&mr->dev->keys, mr->index);
	atomic_long_inc_return_release(&key_removals);
}
