// SPDX-License-Identifier: BSD-2-Clause
/* kernel/mmu/leaf.c: what a leaf holds, who finds it, and how it is made. */
#include "mirror_common.h"

static void whole_leaf(void **state)
{
	const struct mmu_notifier_ops *ops;
	const unsigned long v = PRXE_ENTRY_VALID, vw = v | PRXE_ENTRY_WRITE;
	struct page *head;

	start_up();
	head = map_large();
	ops = mm->mn->ops;
	/* One page was asked for, read-only; all are there, and no table was made for them. */
	assert_int_equal(publish_at(512 + 77, 1, HMM_PFN_WRITE | ORDER(9), false), 0);
	leaf1_is(0, 512, v);
	assert_null(leaf_at(512)->entry);
	assert_int_equal(leaf_at(512)->populated, 1);
	assert_false(head->dirty);
	/* For writing what the CPU maps read-only: no right. */
	assert_int_equal(publish_at(512, 512, ORDER(9), true), 0);
	leaf1_is(0, 512, v);
	/* Larger than a leaf (a hugetlb page of 1 GiB) is the same. */
	assert_int_equal(publish_at(512 + 511, 1, HMM_PFN_WRITE | ORDER(18), true), 0);
	leaf1_is(0, 512, vw);
	assert_true(head->dirty);
	/* Reading takes no right away. */
	assert_int_equal(publish_at(512, 1, HMM_PFN_WRITE | ORDER(9), false), 0);
	leaf1_is(0, 512, vw);
	/* It is old or young as a whole, and young at first. */
	assert_true(ops->test_young(mm->mn, mm, va_of(1023)));
	assert_true(ops->clear_young(mm->mn, mm, va_of(600), va_of(601)));
	assert_false(ops->clear_flush_young(mm->mn, mm, va_of(512), va_of(1024)));
	assert_false(ops->test_young(mm->mn, mm, va_of(511)));
	leaf1_is(0, 512, vw);
	/* A part of it goes: all of it has to be asked for again. */
	take(512 + 100, 512 + 101);
	leaf1_is(0, 0, 0);
	assert_int_equal(leaf_at(512)->populated, 0);
	/* It was split. */
	head->dirty = false;
	assert_int_equal(publish_at(512 + 10, 20, HMM_PFN_WRITE, true), 0);
	leaf1_is(10, 30, vw);
	assert_true(entry_at(512 + 10) & PRXE_ENTRY_ACCESSED);
	assert_false(ops->test_young(mm->mn, mm, va_of(512 + 11)));
	assert_int_equal(leaf_at(512)->populated, 20);
	assert_true(head->dirty);
	/* Collapsed; nothing of the old stays when a part is taken then. */
	take(512, 1024);
	assert_int_equal(publish_at(512, 1, HMM_PFN_WRITE | ORDER(9), true), 0);
	leaf1_is(0, 512, vw);
	take(512 + 15, 512 + 16);
	leaf1_is(0, 0, 0);
	/* One for all over single ones: if a part is taken, the single ones of the rest stay. */
	assert_int_equal(publish_at(512, 8, HMM_PFN_WRITE, false), 0);
	assert_int_equal(publish_at(512, 1, HMM_PFN_WRITE | ORDER(9), true), 0);
	leaf1_is(0, 512, vw);
	assert_int_equal(leaf_at(512)->populated, 9);
	take(512 + 4, 1024);
	leaf1_is(0, 4, v);
	assert_int_equal(leaf_at(512)->populated, 4);
	take(512, 1024);
	/* A single one that the whole has less rights than must not stay hidden behind it. */
	assert_int_equal(publish_at(512, 1, ORDER(9), true), 0);
	assert_int_equal(publish_at(512 + 3, 1, HMM_PFN_WRITE, true), 0);
	leaf1_is(3, 4, vw);
	assert_int_equal(leaf_at(512)->populated, 1);
	take(512, 1024);
	/* Poison in one page of it: the others work, it does not. */
	head->has_poison = true;
	head[5].poisoned = true;
	assert_int_equal(publish_at(512, 6, HMM_PFN_WRITE | ORDER(9), true), 0);
	leaf1_is(0, 5, vw);
	take(512, 1024);
	head = map_large();
	/* force_fault: fresh until it is used. */
	prxe_force_fault = true;
	assert_int_equal(publish_at(512, 1, HMM_PFN_WRITE | ORDER(9), true), 0);
	prxe_force_fault = false;
	leaf1_is(0, 512, vw | PRXE_ENTRY_FRESH);
	take(512, 1024);
	shim_work_run(true);
	shim_rcu_drain();
	assert_null(leaf_at(512));
	/* No memory for single entries: nothing happened. One for all needs none. */
	assert_int_equal(publish_at(512, 1, HMM_PFN_WRITE | ORDER(9), true), 0);
	shim_alloc_fails = 1;
	assert_int_equal(publish_at(512, 1, HMM_PFN_WRITE, true), -ENOMEM);
	shim_alloc_fails = 0;
	leaf1_is(0, 512, vw);
	shut_down();
}

/* From one leaf to the next for which a CPU has the same place. */
#define SAME_PLACE	(256 * PRXE_LEAF_SIZE)

/* What a CPU remembers of the table is never older than the table. */
static void remembered(void **state)
{
	struct prxe_leaf *leaf;

	start_up();
	map_large();
	for (int i = 0; i < 3; i++) {
		for (u32 page = 0; page < PAGES; page += 512)
			assert_null(prxe_mirror_hit(mirror, va_of(page), i & 1));
		assert_int_equal(publish_at(512, 1, HMM_PFN_WRITE, true), 0);
		leaf = leaf_at(512);
		assert_non_null(leaf);
		for (int k = 0; k < 2; k++) {
			assert_ptr_equal(prxe_mirror_hit(mirror, va_of(512 + k), i & 1), leaf);
			assert_ptr_equal(prxe_mirror_hit(mirror, va_of(1023), i & 1), leaf);
			assert_null(prxe_mirror_hit(mirror, va_of(512) + SAME_PLACE, i & 1));
		}
		assert_ptr_equal(prxe_mirror_hit(mirror, va_of(512), i & 1), leaf);
		take(512, 1024);
		shim_work_run(true);
		/* Not freed yet, and not found any more. */
		assert_null(prxe_mirror_hit(mirror, va_of(512), i & 1));
		shim_rcu_drain();
	}
	shut_down();
}

/* What a transfer reads does not make a CPU forget what it writes. */
static void remembered_apart(void **state)
{
	struct prxe_leaf_cache (*caches)[PRXE_LEAF_CACHE] = this_cpu_ptr(&prxe_leaf_caches[0]);
	struct prxe_leaf *from, *to;

	start_up();
	memset(caches, 0, sizeof(prxe_leaf_caches));
	from = prxe_leaf_pin(mirror, BASE, GFP_KERNEL);
	to = prxe_leaf_pin(mirror, BASE + SAME_PLACE, GFP_KERNEL);
	assert_false(IS_ERR(from) || IS_ERR(to));
	for (int k = 0; k < 3; k++) {
		int places = 0;

		assert_ptr_equal(prxe_mirror_hit(mirror, BASE, false), from);
		assert_ptr_equal(prxe_mirror_hit(mirror, BASE + SAME_PLACE, true), to);
		/* Nor does a look at what is not there. */
		assert_null(prxe_mirror_hit(mirror, BASE + 2 * SAME_PLACE, k & 1));
		for (int i = 0; i < PRXE_LEAF_CACHE; i++) {
			places += caches[0][i].leaf == from && caches[1][i].leaf == to;
		}
		assert_int_equal(places, 1);	/* the same one: it is what they would fight for */
	}
	prxe_leaf_unpin(from);
	prxe_leaf_unpin(to);
	shut_down();
}

/* What another thread does while memory for a leaf is allocated. */
static struct prxe_leaf *rival;
static int rival_at;
static void other_thread(gfp_t gfp)
{
	/* Faults of the same process do not wait for our memory. */
	assert_true(mutex_trylock(&mirror->populate));
	mutex_unlock(&mirror->populate);
	if (!rival_at || --rival_at)
		return;
	shim_on_alloc = NULL;
	rival = prxe_leaf_pin(mirror, BASE + PAGE_SIZE, GFP_KERNEL);
	shim_on_alloc = other_thread;
}

/* While a leaf is made, nobody waits for that; and two threads that make the same leaf make one. */
static void make_leaf(void **state)
{
	struct prxe_leaf *leaf;

	start_up();
	for (int at = 0; at < 3; at++) {	/* at the leaf's memory, at the table's */
		rival = NULL;
		rival_at = at;
		shim_on_alloc = other_thread;
		leaf = prxe_leaf_pin(mirror, BASE, GFP_KERNEL);
		shim_on_alloc = NULL;
		assert_false(IS_ERR(leaf));
		assert_ptr_equal(leaf_at(0), leaf);
		assert_int_equal(atomic_read(&leaf->pins), 1 + !!at);
		if (at) {
			assert_ptr_equal(rival, leaf);
			prxe_leaf_unpin(rival);
		}
		prxe_leaf_unpin(leaf);
		shim_work_run(true);
		shim_rcu_drain();
		assert_null(leaf_at(0));
	}
	shut_down();
}

/* A mark on an entry that is not valid says nothing. */
static void mark_on_nothing(void **state)
{
	struct prxe_leaf *leaf;

	start_up();
	map_large();
	assert_int_equal(publish_at(512, 1, HMM_PFN_WRITE, true), 0);
	leaf = leaf_at(512);
	leaf->entry[7] = PRXE_ENTRY_ACCESSED;
	assert_true(mm->mn->ops->test_young(mm->mn, mm, va_of(512)));
	assert_false(mm->mn->ops->test_young(mm->mn, mm, va_of(519)));
	shut_down();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_leaf),
		cmocka_unit_test(remembered),
		cmocka_unit_test(remembered_apart),
		cmocka_unit_test(make_leaf),
		cmocka_unit_test(mark_on_nothing),
	};

	RUN_TESTS(tests);
}
