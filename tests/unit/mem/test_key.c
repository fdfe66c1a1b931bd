// SPDX-License-Identifier: BSD-2-Clause
/*
 * kernel/mem/key.c: what a CPU remembers of a device's keys is what the device's table says, while
 * keys come and go; and it remembers nothing that was freed.
 */
#include "common.h"
#include "mem/gate.h"
#include "mem/key.h"
#include "base/prxe.h"

#define KEYS	40	/* more than are remembered, and some that share a place */

static struct prxe_dev devs[2];

static struct prxe_mr *add(struct prxe_dev *dev, u32 index)
{
	struct prxe_mr *mr = kzalloc(sizeof(*mr), GFP_KERNEL);

	mr->dev = dev;
	mr->index = index;
	mr->lkey = index << 8;
	assert_int_equal(xa_err(xa_store(&dev->keys, index, mr, GFP_KERNEL)), 0);
	return mr;
}

static void drop(struct prxe_mr *mr)
{
	prxe_mr_unpublish(mr);
	kfree_rcu(mr, rcu);
}

static struct prxe_mr *hit(struct prxe_dev *dev, u32 key)
{
	struct prxe_mr *mr;

	prxe_mem_begin();
	mr = prxe_mr_hit(dev, key);
	prxe_mem_end();
	return mr;
}

/*
 * Against a table of our own: two devices with the same indices, three CPUs, every variant of a
 * key.
 */
static void model(void **state)
{
	struct prxe_mr *want[2][KEYS + 1] = { 0 };
	struct rnd r = rnd_start(130);
	unsigned int found = 0;

	prxe_mr_keys_init(&devs[0]);
	prxe_mr_keys_init(&devs[1]);
	/* Each number once, so that a device at the address of an old one has others. */
	assert_int_not_equal(devs[0].key_removals, devs[1].key_removals);
	for (int i = 0; i < 60000; i++) {
		u32 d = rnd_below(&r, 2), k = 1 + rnd_below(&r, KEYS);
		struct prxe_mr **w = &want[d][k];

		shim_cpu = rnd_below(&r, 3);
		if (rnd_below(&r, 10)) {
			struct prxe_mr *mr = hit(&devs[d], k << 8 | rnd_below(&r, 256));

			assert_ptr_equal(mr, *w);
			found += !!mr;
		} else if (*w) {
			drop(*w);
			*w = NULL;
		} else {
			*w = add(&devs[d], k);
		}
		if (!rnd_below(&r, 100))
			shim_rcu_drain();
	}
	shim_cpu = 0;
	assert_true(found > 10000);
	for (int d = 0; d < 2; d++) {
		for (u32 k = 1; k <= KEYS; k++)
			if (want[d][k])
				drop(want[d][k]);
		for (u32 k = 0; k <= KEYS; k++)
			assert_null(hit(&devs[d], k << 8));
		xa_destroy(&devs[d].keys);
	}
	shim_rcu_drain();
}

/*
 * Readers on CPUs of their own; a key that was found is that key, and is not freed before the
 * reader's RCU section ends.
 */
static bool stop;
static unsigned long looked, found;

static void *reader(void *arg)
{
	struct rnd r = rnd_start(140 + (uintptr_t)arg);
	unsigned long n = 0, m = 0;

	shim_cpu = (uintptr_t)arg;
	while (!READ_ONCE(stop)) {
		u32 k = 1 + rnd_below(&r, 3);
		struct prxe_mr *mr;

		prxe_mem_begin();
		mr = prxe_mr_hit(&devs[0], k << 8);
		if (mr) {
			SHIM_ASSERT(READ_ONCE(mr->index) == k && READ_ONCE(mr->lkey) == k << 8);
			m++;
		}
		prxe_mem_end();
		n++;
	}
	__atomic_add_fetch(&looked, n, __ATOMIC_RELAXED);
	__atomic_add_fetch(&found, m, __ATOMIC_RELAXED);
	return NULL;
}

static void threads(void **state)
{
	struct prxe_mr *mr[4] = { 0 };
	struct rnd r = rnd_start(150);
	pthread_t t[3];

	stop = false;
	looked = found = 0;
	xa_init(&devs[0].keys);
	for (uintptr_t i = 0; i < ARRAY_SIZE(t); i++)
		pthread_create(&t[i], NULL, reader, (void *)(i + 1));
	for (int i = 0; i < 3000; i++) {
		u32 k = 1 + rnd_below(&r, 3);

		if (mr[k]) {
			drop(mr[k]);
			mr[k] = NULL;
		} else {
			mr[k] = add(&devs[0], k);
		}
		if (i % 4 == 0)
			shim_rcu_drain();
		if (i % 16 == 0)
			usleep(100);
	}
	WRITE_ONCE(stop, true);
	for (size_t i = 0; i < ARRAY_SIZE(t); i++)
		pthread_join(t[i], NULL);
	for (u32 k = 1; k < 4; k++)
		if (mr[k])
			drop(mr[k]);
	shim_rcu_drain();
	xa_destroy(&devs[0].keys);
	printf("%lu lookups, %lu found\n", looked, found);
	assert_true(found > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(model),
		cmocka_unit_test(threads),
	};

	RUN_TESTS(tests);
}
