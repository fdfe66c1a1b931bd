// SPDX-License-Identifier: BSD-2-Clause
/*
 * kernel/mmu/invalidate.c and inflight.c, with leaf.c: every order of an invalidation and the steps
 * of a fault, and who waits for whom.
 */
#include "mirror_common.h"

static struct rnd r;

/* ---- invalidations in flight: every order of start, end and the steps of a fault ---- */

/* Leaf 1, pages of map_large(): end the walk with [a, b). */
static int publish_walk(struct prxe_leaf *leaf, struct prxe_leaf_walk *walk, u32 a, u32 b,
			unsigned long flags)
{
	unsigned long pfns[512];

	for (u32 i = a; i < b; i++)
		pfns[i - a] = (512 + i) | HMM_PFN_VALID | flags;
	return prxe_leaf_publish(leaf, walk, va_of(a), b - a, pfns, true, GFP_KERNEL);
}

static void orders(void **state)
{
	struct mmu_notifier_range one, two;
	struct prxe_leaf_walk walk, other;
	struct prxe_leaf *leaf;

	start_up();
	map_large();
	leaf = prxe_leaf_pin(mirror, va_of(512), GFP_KERNEL);
	/* It starts before the walk: none of its pages begins before its end, any other does. */
	one = range_of(520, 530);
	shim_mm_range_start(&one);
	assert_int_equal(begin_at(leaf, &walk, 520, 521), -EAGAIN);
	assert_int_equal(begin_at(leaf, &walk, 512, 521), -EAGAIN);
	assert_int_equal(begin_at(leaf, &walk, 529, 540), -EAGAIN);
	assert_int_equal(begin_at(leaf, &walk, 530, 532), 0);
	assert_int_equal(publish_walk(leaf, &walk, 530, 532, HMM_PFN_WRITE), 0);
	assert_int_equal(begin_at(leaf, &walk, 518, 520), 0);
	/* Its end between begin and publish changes nothing. */
	shim_mm_range_end(&one);
	assert_int_equal(publish_walk(leaf, &walk, 518, 520, HMM_PFN_WRITE), 0);
	assert_int_equal(begin_at(leaf, &walk, 520, 521), 0);
	assert_int_equal(publish_walk(leaf, &walk, 520, 521, HMM_PFN_WRITE), 0);
	assert_int_equal(leaf->populated, 5);
	take(512, 1024);

	/* It starts between begin and publish, and ends before or after that. */
	for (int ends = 0; ends < 2; ends++) {
		assert_int_equal(begin_at(leaf, &walk, 512, 522), 0);
		assert_int_equal(begin_at(leaf, &other, 530, 540), 0);
		shim_mm_range_start(&one);
		if (ends)
			shim_mm_range_end(&one);
		assert_int_equal(publish_walk(leaf, &walk, 512, 522, HMM_PFN_WRITE), -EAGAIN);
		assert_int_equal(publish_walk(leaf, &other, 530, 540, HMM_PFN_WRITE), 0);
		if (!ends)
			shim_mm_range_end(&one);
		leaf1_is(18, 28, PRXE_ENTRY_VALID | PRXE_ENTRY_WRITE);
		take(512, 1024);
	}

	/* Of two at once, also of the same range, the later end counts. */
	two = one;
	shim_mm_range_start(&one);
	shim_mm_range_start(&two);
	shim_mm_range_end(&one);
	assert_int_equal(begin_at(leaf, &walk, 525, 526), -EAGAIN);
	shim_mm_range_end(&two);
	assert_int_equal(begin_at(leaf, &walk, 525, 526), 0);
	/* Given up: nobody finds it any more. */
	prxe_leaf_end(leaf, &walk);
	take(512, 1024);

	/*
	 * All of the leaf by one entry: only when nothing of it changes; else what was asked for.
	 */
	shim_mm_range_start(&one);
	assert_int_equal(begin_at(leaf, &walk, 600, 602), 0);
	assert_int_equal(publish_walk(leaf, &walk, 600, 602, HMM_PFN_WRITE | ORDER(9)), 0);
	leaf1_is(88, 90, PRXE_ENTRY_VALID | PRXE_ENTRY_WRITE);
	shim_mm_range_end(&one);
	take(512, 1024);
	assert_int_equal(begin_at(leaf, &walk, 600, 602), 0);
	shim_mm_range_start(&one);
	shim_mm_range_end(&one);
	assert_int_equal(publish_walk(leaf, &walk, 600, 602, HMM_PFN_WRITE | ORDER(9)), 0);
	leaf1_is(88, 90, PRXE_ENTRY_VALID | PRXE_ENTRY_WRITE);
	take(512, 1024);
	prxe_leaf_unpin(leaf);

	/*
	 * A leaf that is made while one is in flight: that one has walked by, and counts all the
	 * same.
	 */
	shim_work_run(true);
	shim_rcu_drain();
	assert_null(leaf_at(512));
	shim_mm_range_start(&one);
	leaf = prxe_leaf_pin(mirror, va_of(512), GFP_KERNEL);
	assert_int_equal(begin_at(leaf, &walk, 512, 1024), -EAGAIN);
	assert_int_equal(begin_at(leaf, &walk, 512, 520), 0);
	assert_int_equal(publish_walk(leaf, &walk, 512, 520, HMM_PFN_WRITE), 0);
	shim_mm_range_end(&one);
	assert_int_equal(begin_at(leaf, &walk, 512, 1024), 0);
	prxe_leaf_end(leaf, &walk);
	leaf1_is(0, 8, PRXE_ENTRY_VALID | PRXE_ENTRY_WRITE);

	/*
	 * One that may not block, and fails at another notifier, has no end. It is the end of this
	 * mirror.
	 */
	assert_int_equal(begin_at(leaf, &walk, 700, 701), 0);
	one = range_of(512, 513);
	one.flags = 0;
	shim_mm_range_start(&one);
	leaf1_is(1, 8, PRXE_ENTRY_VALID | PRXE_ENTRY_WRITE);
	assert_int_equal(mirror->inflight.num, 0);
	assert_int_equal(publish_walk(leaf, &walk, 700, 701, HMM_PFN_WRITE), -ESRCH);
	assert_ptr_equal(prxe_leaf_pin(mirror, va_of(0), GFP_KERNEL), ERR_PTR(-ESRCH));
	shim_mm_range_end(&one);	/* where it did not fail */
	prxe_leaf_unpin(leaf);
	shut_down();
}

/* As many as there are threads; and where there is no memory to list them, all faults wait. */
static void many_in_flight(void **state)
{
	struct mmu_notifier_range range[100];
	struct prxe_leaf_walk walk;
	struct prxe_leaf *leaf;

	r = rnd_start(71);
	start_up();
	leaf = prxe_leaf_pin(mirror, va_of(512), GFP_KERNEL);
	for (int no_memory = 0; no_memory < 2; no_memory++) {
		u32 n = no_memory ? mirror->inflight.room + 3 : ARRAY_SIZE(range), i;

		n = min_t(u32, n, ARRAY_SIZE(range));
		if (no_memory) {	/* a new mirror's table */
			prxe_leaf_unpin(leaf);
			shut_down();
			start_up();
			leaf = prxe_leaf_pin(mirror, va_of(512), GFP_KERNEL);
			n = mirror->inflight.room + 3;
		}
		for (i = 0; i < n; i++) {
			range[i] = range_of(512 + i, 513 + i);
			shim_alloc_fails = no_memory;
			shim_mm_range_start(&range[i]);
			shim_alloc_fails = 0;
		}
		for (i = 0; i < n; i++)
			assert_int_equal(begin_at(leaf, &walk, 512 + i, 513 + i), -EAGAIN);
		if (no_memory) {
			assert_int_equal(mirror->inflight.unlisted, 3);
			assert_true(prxe_inflight_any(&mirror->inflight));
			assert_int_equal(begin_at(leaf, &walk, 900, 901), -EAGAIN);
		} else {
			assert_int_equal(begin_at(leaf, &walk, 900, 901), 0);
			prxe_leaf_end(leaf, &walk);
		}
		/* In any order. */
		for (i = n - 1; i > 0; i--) {
			u32 k = rnd_below(&r, i + 1);

			swap(range[i], range[k]);
		}
		for (i = 0; i < n; i++)
			shim_mm_range_end(&range[i]);
		assert_int_equal(mirror->inflight.num + mirror->inflight.unlisted, 0);
		assert_false(prxe_inflight_any(&mirror->inflight));
		assert_int_equal(begin_at(leaf, &walk, 512, 1024), 0);
		prxe_leaf_end(leaf, &walk);
	}
	prxe_leaf_unpin(leaf);
	shut_down();
}

/* ---- who waits for whom, and how often ---- */

struct waiter {
	pthread_t t;
	struct mmu_notifier_range range;
	int publishes;		/* page @publishes of leaf 1, else the range is invalidated */
};

static void *waiter_run(void *arg)
{
	struct waiter *w = arg;

	shim_cpu = 9;
	if (w->publishes) {
		assert_int_equal(publish_at(w->publishes, 1, HMM_PFN_WRITE, true), 0);
	} else {
		shim_mm_range_start(&w->range);
		shim_mm_range_end(&w->range);
	}
	return NULL;
}

static void waiter_start(struct waiter *w)
{
	pthread_create(&w->t, NULL, waiter_run, w);
}

/* Is it over within @ms? Then it was joined. */
static bool waiter_over(struct waiter *w, u64 ms)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += ms / 1000;
	ts.tv_nsec += ms % 1000 * NSEC_PER_MSEC;
	if (ts.tv_nsec >= NSEC_PER_SEC) {
		ts.tv_sec++;
		ts.tv_nsec -= NSEC_PER_SEC;
	}
	return !pthread_timedjoin_np(w->t, NULL, &ts);
}

/*
 * What a publication drops may still be in use: the next invalidation, which finds nothing of it,
 * waits for that; also when its leaf has no table entry at all.
 */
static void dropped_by_publication(void **state)
{
	struct waiter w = { .publishes = 512 + 3 }, inv = { .range = { } };
	struct prxe_leaf *leaf;

	start_up();
	map_large();
	inv.range = range_of(600, 601);
	assert_int_equal(publish_at(512, 1, HMM_PFN_WRITE | ORDER(9), true), 0);
	leaf = leaf_at(512);
	shim_cpu = 3;
	assert_ptr_equal(prxe_mirror_hit(mirror, va_of(600), false), leaf);
	local_bh_disable();
	prxe_window_enter(NULL, leaf, NULL, NULL);
	assert_true(entry_at(600) & PRXE_ENTRY_VALID);
	/* We copy from page 600; a fault finds that what is there is many pages now. */
	waiter_start(&w);
	while (READ_ONCE(leaf->whole) & PRXE_ENTRY_VALID)
		sched_yield();
	waiter_start(&inv);
	assert_false(waiter_over(&inv, 60));
	prxe_window_leave();
	local_bh_enable();
	pthread_join(inv.t, NULL);
	pthread_join(w.t, NULL);
	leaf1_is(3, 4, PRXE_ENTRY_VALID | PRXE_ENTRY_WRITE);
	assert_int_equal(atomic_read(&mirror->syncing), 0);
	shim_cpu = 0;
	shut_down();
}

/*
 * Only processors that have looked a leaf up are waited for; and those that name another leaf are
 * not.
 */
static void whose_windows(void **state)
{
	struct waiter w;
	struct prxe_leaf *leaf, *other;

	start_up();
	map_large();
	other = prxe_leaf_pin(mirror, va_of(1024), GFP_KERNEL);
	for (int used = 0; used < 3; used++) {
		assert_int_equal(publish_at(512, 2, HMM_PFN_WRITE, true), 0);
		leaf = leaf_at(512);
		w = (struct waiter){ .range = range_of(512, 513) };
		shim_cpu = 4;
		if (used)
			prxe_mirror_hit(mirror, va_of(512), false);
		local_bh_disable();
		prxe_window_enter(NULL, used == 1 ? other : leaf, NULL, NULL);
		waiter_start(&w);
		if (used < 2) {
			assert_true(waiter_over(&w, 20000));
		} else {
			assert_false(waiter_over(&w, 60));
		}
		prxe_window_leave();
		local_bh_enable();
		if (used == 2)
			pthread_join(w.t, NULL);
		shim_cpu = 0;
		take(512, 1024);
	}
	/* Who finds nothing waits for who has cleared it, whatever the leaf. */
	assert_int_equal(publish_at(512, 1, HMM_PFN_WRITE, true), 0);
	leaf = leaf_at(512);
	shim_cpu = 4;
	local_bh_disable();
	prxe_window_enter(NULL, leaf, NULL, NULL);
	w = (struct waiter){ .range = range_of(512, 513) };
	waiter_start(&w);
	while (!atomic_read(&mirror->syncing) || entry_at(512) & PRXE_ENTRY_VALID)
		sched_yield();
	{
		struct waiter second = { .range = range_of(512, 513) };

		waiter_start(&second);
		assert_false(waiter_over(&second, 60));
		prxe_window_leave();
		local_bh_enable();
		pthread_join(second.t, NULL);
	}
	pthread_join(w.t, NULL);
	shim_cpu = 0;
	prxe_leaf_unpin(other);
	shut_down();
}

/*
 * However many leaves go: one wait. What a leaf costs does not depend on how many processors there
 * are.
 */
static void one_wait(void **state)
{
	static const int cpus[] = { 1, 4, 16, 64 };
	const u32 leaves = 1024;
	struct page *page;

	start_up();
	page = new_page();
	for (u32 c = 0; c < ARRAY_SIZE(cpus); c++) {
		struct mmu_notifier_range range = {
			.mm = mm, .start = BASE, .end = BASE + leaves * PRXE_LEAF_SIZE,
			.flags = MMU_NOTIFIER_RANGE_BLOCKABLE,
		};
		unsigned long pfn = page_to_pfn(page) | HMM_PFN_VALID;
		int barriers;
		u64 ns;

		for (u32 i = 0; i < leaves; i++) {
			unsigned long va = BASE + i * PRXE_LEAF_SIZE;
			struct prxe_leaf *leaf = prxe_leaf_pin(mirror, va, GFP_KERNEL);
			struct prxe_leaf_walk walk;

			assert_int_equal(prxe_leaf_begin(leaf, &walk, va, va + PAGE_SIZE), 0);
			assert_int_equal(prxe_leaf_publish(leaf, &walk, va, 1, &pfn, false,
							   GFP_KERNEL), 0);
			prxe_leaf_unpin(leaf);
		}
		for (int i = 0; i < cpus[c]; i++) {
			shim_cpu = i;
			prxe_mirror_hit(mirror, BASE, false);
		}
		shim_cpu = 0;
		barriers = READ_ONCE(shim_barrier_word);
		ns = ktime_get_ns();
		shim_mm_range_start(&range);
		ns = ktime_get_ns() - ns;
		barriers = READ_ONCE(shim_barrier_word) - barriers;
		shim_mm_range_end(&range);
		printf("%2d processors: %u leaves, %llu ns each, %d barriers\n", cpus[c], leaves,
		       (unsigned long long)ns / leaves, barriers);
		assert_true(barriers < 10);	/* each wait has two */
	}
	shut_down();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(orders),
		cmocka_unit_test(many_in_flight),
		cmocka_unit_test(dropped_by_publication),
		cmocka_unit_test(whose_windows),
		cmocka_unit_test(one_wait),
	};

	RUN_TESTS(tests);
}
