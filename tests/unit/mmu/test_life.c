// SPDX-License-Identifier: BSD-2-Clause
/* kernel/mmu/mirror.c: set-up that fails or waits, and ends at any time. */
#include "mirror_common.h"

/* What fails leaves nothing behind. */
static void failures(void **state)
{
	struct prxe_mirror *other;
	struct prxe_leaf_walk walk;
	struct prxe_leaf *leaf;
	unsigned long pfn;

	start_up();
	for (int i = 1; i <= 2; i++) {
		shim_alloc_fails = i;
		assert_ptr_equal(prxe_leaf_pin(mirror, BASE, GFP_KERNEL), ERR_PTR(-ENOMEM));
		shim_alloc_fails = 0;
		assert_null(leaf_at(0));
	}
	/* Who may not wait does not: neither for the lock, nor for memory. */
	mutex_lock(&mirror->populate);
	assert_ptr_equal(prxe_leaf_pin(mirror, BASE, GFP_NOWAIT), ERR_PTR(-EAGAIN));
	mutex_unlock(&mirror->populate);
	/* The same mirror for the same process. */
	other = prxe_mirror_get_current();
	assert_ptr_equal(other, mirror);
	prxe_mirror_unuse(other);
	leaf = prxe_leaf_pin(mirror, BASE, GFP_KERNEL);
	assert_ptr_equal(prxe_leaf_pin(mirror, BASE + PRXE_LEAF_SIZE - 1, GFP_KERNEL), leaf);
	prxe_leaf_unpin(leaf);
	assert_int_equal(atomic_read(&leaf->pins), 1);
	shim_work_run(true);
	assert_ptr_equal(leaf_at(0), leaf);
	/* The address space ends under a fault. */
	pfn = page_to_pfn(new_page()) | HMM_PFN_VALID;
	shim_mm_exit(mm);
	assert_int_equal(prxe_leaf_begin(leaf, &walk, BASE, BASE + PAGE_SIZE), 0);
	assert_int_equal(prxe_leaf_publish(leaf, &walk, BASE, 1, &pfn, false, GFP_KERNEL), -ESRCH);
	assert_false(entry_at(0) & PRXE_ENTRY_VALID);
	prxe_leaf_unpin(leaf);
	assert_ptr_equal(prxe_leaf_pin(mirror, BASE, GFP_KERNEL), ERR_PTR(-ESRCH));
	shut_down();
}

/* Set-up that fails, set-up of nobody. */
static void no_mirror(void **state)
{
	static const int errors[] = { 1, 2 };
	unsigned long removals = 0;

	assert_int_equal(prxe_mirror_init(), 0);
	mm = shim_mm_new();
	shim_task.mm = NULL;
	assert_ptr_equal(prxe_mirror_get_current(), ERR_PTR(-EINVAL));
	shim_task.mm = mm;
	for (u32 i = 0; i < ARRAY_SIZE(errors); i++) {
		mm->register_error = errors[i];
		assert_ptr_equal(prxe_mirror_get_current(), ERR_PTR(-EINTR));
		shim_work_run(true);
		shim_rcu_drain();
		assert_int_equal(pools, 0);
	}
	shim_alloc_fails = 1;
	assert_ptr_equal(prxe_mirror_get_current(), ERR_PTR(-ENOMEM));
	for (int i = 2; i <= 3; i++) {
		shim_alloc_fails = i;
		assert_ptr_equal(prxe_mirror_get_current(), ERR_PTR(-ENOMEM));
	}
	shim_alloc_fails = 0;
	/* Twice over: what is gone can come again, and remembers nothing. */
	for (int i = 0; i < 2; i++) {
		mirror = prxe_mirror_get_current();
		assert_false(IS_ERR(mirror));
		assert_int_not_equal(mirror->removals, removals);
		removals = mirror->removals;
		prxe_mirror_unuse(mirror);
		shim_work_run(true);
		shim_rcu_drain();
		shim_work_run(true);
		shim_rcu_drain();
		assert_int_equal(pools, 0);
	}
	prxe_mirror_exit();
	shim_mm_free(mm);
}

/* What processes that hold their own mmap_lock cost others. */
static void lock_held(void **state)
{
	assert_int_equal(prxe_mirror_init(), 0);
	mm = shim_mm_new();
	shim_task.mm = mm;
	/* Nobody waits for a lock that is held for a moment, neither to set up nor to end. */
	mm->held = 5;
	mirror = prxe_mirror_get_current();
	assert_false(IS_ERR(mirror));
	assert_int_equal(mm->held, 0);
	mm->held = 5;
	prxe_mirror_unuse(mirror);
	shim_work_run(true);
	shim_rcu_drain();
	shim_work_run(true);
	assert_int_equal(shim_mm_intervals(mm), 0);
	assert_int_equal(mm->held, 0);
	assert_int_equal(mm->waited, 0);
	/* Who has tried often enough waits, so that others do not overtake it for ever. */
	mm->held = INT_MAX;
	mirror = prxe_mirror_get_current();
	assert_false(IS_ERR(mirror));
	assert_int_equal(mm->waited, 1);
	assert_int_equal(atomic_read(&shim_module_refs), 0);
	/* So does the end of a mirror, and holds the module meanwhile. */
	mm->held = INT_MAX;
	prxe_mirror_unuse(mirror);
	shim_work_run(true);
	assert_int_equal(mm->waited, 2);
	assert_int_equal(mm->waited_refs, 1);
	assert_int_equal(atomic_read(&shim_module_refs), 0);
	shim_rcu_drain();
	shim_work_run(true);
	/* The caller is killed: the module is held until its worker has undone what it did. */
	assert_int_equal(atomic_read(&shim_module_refs), 0);
	shim_killed = 1;
	assert_ptr_equal(prxe_mirror_get_current(), ERR_PTR(-EINTR));
	assert_int_equal(atomic_read(&shim_module_refs), 1);
	shim_work_run(true);
	shim_rcu_drain();
	assert_int_equal(atomic_read(&shim_module_refs), 0);
	/* The caller is killed: nothing waits any more, and nothing stays. */
	mm->waited = 0;
	mm->held = INT_MAX;
	shim_killed = 1;
	assert_ptr_equal(prxe_mirror_get_current(), ERR_PTR(-EINTR));
	shim_work_run(true);
	shim_rcu_drain();
	assert_int_equal(mm->waited, 0);
	mm->held = 0;
	assert_int_equal(pools, 0);
	assert_int_equal(atomic_read(&mm->users), 1);
	prxe_mirror_exit();
	shim_mm_free(mm);
}

/*
 * Invalidations that are in flight while a mirror is made: each is counted from start to end, or
 * not at all. An end alone, and a start alone, would end this program (WARN_ON in inflight.c), or
 * be found below.
 */
static struct mmu_notifier_range first_leaf(struct mm_struct *m)
{
	return (struct mmu_notifier_range){
		.mm = m, .start = BASE, .end = BASE + PRXE_LEAF_SIZE,
		.flags = MMU_NOTIFIER_RANGE_BLOCKABLE,
	};
}

static int early;
static struct mmu_notifier_range early_range;
static void *ends_soon(void *arg)
{
	usleep(20000);
	shim_mm_range_end(&early_range);
	return NULL;
}

static pthread_t early_thread;
static void starts_between(struct mm_struct *m)
{
	/* The interval notifier is in the tree, the plain one is not registered yet. */
	m->on_register = NULL;
	early_range = first_leaf(m);
	if (early)
		shim_mm_range_start(&early_range);
	pthread_create(&early_thread, NULL, ends_soon, NULL);
}

static void in_flight_at_set_up(void **state)
{
	struct prxe_leaf_walk walk;
	struct prxe_leaf *leaf;

	for (early = 0; early < 2; early++) {
		assert_int_equal(prxe_mirror_init(), 0);
		mm = shim_mm_new();
		shim_task.mm = mm;
		early_range = first_leaf(mm);
		/* Before both of the notifiers: the first is inserted late. */
		if (!early)
			shim_mm_range_start(&early_range);
		mm->on_register = starts_between;
		mirror = prxe_mirror_get_current();
		assert_false(IS_ERR(mirror));
		pthread_join(early_thread, NULL);
		assert_int_equal(mirror->inflight.num, 0);
		assert_int_equal(shim_mm_intervals(mm), 1);
		leaf = prxe_leaf_pin(mirror, BASE, GFP_KERNEL);
		assert_int_equal(begin_at(leaf, &walk, 0, 512), 0);
		prxe_leaf_end(leaf, &walk);
		/* From now on it hears of each. */
		shim_mm_range_start(&early_range);
		assert_int_equal(begin_at(leaf, &walk, 0, 512), -EAGAIN);
		shim_mm_range_end(&early_range);
		assert_int_equal(begin_at(leaf, &walk, 0, 512), 0);
		prxe_leaf_end(leaf, &walk);
		prxe_leaf_unpin(leaf);
		/* The last user leaves between a start and its end. */
		shim_mm_range_start(&early_range);
		prxe_mirror_unuse(mirror);
		shim_mm_range_end(&early_range);
		mirror_gone();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(failures),
		cmocka_unit_test(no_mirror),
		cmocka_unit_test(lock_held),
		cmocka_unit_test(in_flight_at_set_up),
	};

	RUN_TESTS(tests);
}
