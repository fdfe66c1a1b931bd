// SPDX-License-Identifier: BSD-2-Clause
/*
 * kernel/mmu/window.c: threads are CPUs that copy, other threads take pages away. A page belongs to
 * whoever took it away as soon as prxe_window_sync() has returned; from then on nobody else may
 * touch it. AddressSanitizer sees who does after it was freed, ThreadSanitizer who does without
 * order, and the contents tell too.
 *
 * With a barrier or the wait left out (make mutants) these tests fail.
 */
#include "common.h"
#include "mmu/window.h"

#ifdef MUTANT_NO_SYNC
#define prxe_window_sync(what) ((void)(what))
#endif

#define WORDS 64	/* of a page that are looked at */
#define POISON 0xdeaddeaddeaddeadULL

/*
 * Stands for a leaf with one entry, or an MR: what a window names, and the page that it makes
 * usable.
 */
struct thing {
	u64 *page;
	unsigned long no;
} ____cacheline_aligned;

static bool stop, broken;
static unsigned long hits, taken;

static void failed(const char *what, u64 found)
{
	if (!__atomic_exchange_n(&broken, true, __ATOMIC_RELAXED))
		fprintf(stderr, "%s: %llx\n", what, (unsigned long long)found);
	WRITE_ONCE(stop, true);
}

static void enter(void *a, void *b, void *c, void *d)
{
	prxe_window_enter(a, b, c, d);
}

/* ---- as tight as it gets: one page, never freed, one copier and one that takes it away ---- */

static struct thing one;
static u64 one_page[2][WORDS];

static void *tight_copier(void *arg)
{
	unsigned long n = 0;

	shim_cpu = 1;
	while (!READ_ONCE(stop)) {
		u64 *page;

		enter(NULL, &one, NULL, NULL);
		page = smp_load_acquire(&one.page);
		if (page) {
			u64 v = READ_ONCE(page[0]);

			if (v == POISON)
				failed("a page was read after it had been taken away", v);
			if (!(++n & 1023))
				__atomic_fetch_add(&hits, 1024, __ATOMIC_RELAXED);
		}
		prxe_window_leave();
	}
	__atomic_fetch_add(&hits, n & 1023, __ATOMIC_RELAXED);
	return NULL;
}

static void tight(void **state)
{
	u64 end = ktime_get_ns() + 1500 * NSEC_PER_MSEC;
	pthread_t t;

	stop = broken = false;
	hits = taken = 0;
	shim_cpu = 0;
	one_page[0][0] = one_page[1][0] = 1;
	one.page = one_page[0];
	pthread_create(&t, NULL, tight_copier, NULL);
	while (!READ_ONCE(stop)) {
		u64 *page = one.page;

		WRITE_ONCE(one.page, NULL);
		prxe_window_sync(&one);
		WRITE_ONCE(page[0], POISON);
		barrier();
		WRITE_ONCE(page[0], ++taken);
		smp_store_release(&one.page, one_page[taken & 1]);
		if (!(taken & 1023)) {
			u64 now = ktime_get_ns();

			/* On a busy machine the other thread may hardly have run: give it time. */
			if (now > end && (READ_ONCE(hits) > 1000 || now > end + 60 * NSEC_PER_SEC))
				WRITE_ONCE(stop, true);
			sched_yield();
		}
	}
	pthread_join(t, NULL);
	printf("%lu hits, taken away %lu times\n", hits, taken);
	assert_false(broken);
	assert_true(hits > 10 && taken > 10);
}

/* ---- many: pages are freed, windows name up to four things, some copiers do not leave ---- */

#define THINGS 3
#define COPIERS 3
#define TAKERS 2
static struct thing things[THINGS];
static pthread_mutex_t owner[THINGS] = {
	PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
};


static u64 *new_page(const struct thing *t, u64 gen)
{
	u64 *page = malloc(PAGE_SIZE);
	int i;

	page[0] = gen;
	for (i = 1; i < WORDS; i++)
		page[i] = (gen << 16 | t->no) * 0x9e3779b97f4a7c15ULL + i;
	return page;
}

static void check_page(const struct thing *t, const u64 *page)
{
	u64 gen = page[0];
	int i;

	for (i = 1; i < WORDS; i++)
		if (page[i] != (gen << 16 | t->no) * 0x9e3779b97f4a7c15ULL + i) {
			failed("a page changed under a copy", page[i]);
			return;
		}
}

static void *copier(void *arg)
{
	struct rnd r = rnd_start(20 + (uintptr_t)arg);
	unsigned long n = 0;

	shim_cpu = (uintptr_t)arg;
	while (!READ_ONCE(stop)) {
		void *name[4] = { 0 };
		struct thing *t[2];
		int i, at;

		at = rnd_below(&r, 4);
		for (i = 0; i < 2; i++) {
			t[i] = &things[rnd_below(&r, THINGS)];
			name[(at + i * (1 + rnd_below(&r, 3))) % 4] = t[i];
		}
		/* The second may have taken the first one's place. */
		for (i = 0; i < 4 && name[i] != t[0]; i++)
			;
		if (i == 4)
			t[0] = t[1];
		local_bh_disable();
		enter(name[0], name[1], name[2], name[3]);
		for (i = 0; i < 2; i++) {
			const u64 *page = smp_load_acquire(&t[i]->page);

			if (page) {
				check_page(t[i], page);
				n++;
			}
		}
		if (rnd_below(&r, 3))
			prxe_window_leave();
		local_bh_enable();
		if (!rnd_below(&r, 64)) {
			prxe_window_leave();	/* whether or not it is open */
			sched_yield();
		}
	}
	prxe_window_leave();
	__atomic_fetch_add(&hits, n, __ATOMIC_RELAXED);
	return NULL;
}

static void *taker(void *arg)
{
	struct rnd r = rnd_start(30 + (uintptr_t)arg);
	unsigned long n = 0;
	u64 gen = (uintptr_t)arg;

	shim_cpu = (uintptr_t)arg;
	while (!READ_ONCE(stop)) {
		int no = rnd_below(&r, THINGS);
		struct thing *t = &things[no];
		u64 *page;

		pthread_mutex_lock(&owner[no]);
		page = t->page;
		WRITE_ONCE(t->page, NULL);
		prxe_window_sync(t);
		memset(page, 0x5a, PAGE_SIZE);
		free(page);
		if (rnd_below(&r, 4) == 0)
			sched_yield();
		gen += TAKERS;
		smp_store_release(&t->page, new_page(t, gen));
		pthread_mutex_unlock(&owner[no]);
		n++;
	}
	__atomic_fetch_add(&taken, n, __ATOMIC_RELAXED);
	return NULL;
}

static void churn(void **state)
{
	pthread_t t[COPIERS + TAKERS];
	uintptr_t i;

	stop = broken = false;
	hits = taken = 0;
	for (i = 0; i < THINGS; i++) {
		things[i].no = i;
		things[i].page = new_page(&things[i], 1);
	}
	for (i = 0; i < COPIERS + TAKERS; i++)
		pthread_create(&t[i], NULL, i < COPIERS ? copier : taker, (void *)(i + 1));
	for (i = 0; i < 300 && !READ_ONCE(stop); i++)
		usleep(10000);
	WRITE_ONCE(stop, true);
	for (i = 0; i < COPIERS + TAKERS; i++)
		pthread_join(t[i], NULL);
	for (i = 0; i < THINGS; i++)
		free(things[i].page);
	printf("%lu hits, taken away %lu times\n", hits, taken);
	assert_false(broken);
	assert_true(hits > 10 && taken > 10);
}

/* ---- who waits for what ---- */

static void *waits(void *arg)
{
	shim_cpu = 7;
	prxe_window_sync(arg);
	return NULL;
}

/*
 * Does a sync on @what end while the windows are as they are? @ms: how long it may take, on a busy
 * machine.
 */
static bool ends_within(const void *what, pthread_t *t, u64 ms)
{
	struct timespec ts;

	pthread_create(t, NULL, waits, (void *)what);
	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += ms / 1000;
	ts.tv_nsec += ms % 1000 * NSEC_PER_MSEC;
	if (ts.tv_nsec >= NSEC_PER_SEC) {
		ts.tv_nsec -= NSEC_PER_SEC;
		ts.tv_sec++;
	}
	return !pthread_timedjoin_np(*t, NULL, &ts);
}

#ifndef MUTANT_NO_SYNC
static void who_waits(void **state)
{
	static int a[4], other;
	pthread_t t;
	int i;

	shim_cpu = 3;
	assert_true(ends_within(&a[0], &t, 20000));
	for (i = 0; i < 4; i++) {
		/* Each position counts; another name and an empty one do not. */
		enter(i == 0 ? &a[0] : NULL, i == 1 ? &a[1] : NULL, i == 2 ? &a[2] : NULL,
		      i == 3 ? &a[3] : NULL);
		assert_true(ends_within(&other, &t, 20000));
		assert_false(ends_within(&a[i], &t, 50));
		prxe_window_leave();
		pthread_join(t, NULL);
		assert_true(ends_within(&a[i], &t, 20000));
	}
	/* Moving on to something else lets it go, even to the same again: that is a new window. */
	enter(&a[0], NULL, NULL, NULL);
	assert_false(ends_within(&a[0], &t, 50));
	enter(&a[0], NULL, NULL, NULL);
	pthread_join(t, NULL);
	assert_false(ends_within(&a[0], &t, 50));
	enter(&other, NULL, NULL, NULL);
	pthread_join(t, NULL);
	assert_true(ends_within(&a[0], &t, 20000));
	/* Leaving twice is leaving once. */
	prxe_window_leave();
	prxe_window_leave();
	assert_true(ends_within(&other, &t, 20000));
	enter(&a[0], NULL, &a[1], NULL);
	assert_false(ends_within(&a[1], &t, 50));
	prxe_window_leave();
	pthread_join(t, NULL);
	shim_cpu = 0;
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
#ifndef MUTANT_NO_SYNC
		cmocka_unit_test(who_waits),
#endif
		cmocka_unit_test(tight),
		cmocka_unit_test(churn),
	};

	(void)ends_within;
	RUN_TESTS(tests);
}
