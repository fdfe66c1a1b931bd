// SPDX-License-Identifier: BSD-2-Clause
/* kernel/mmu/inflight.c: who waits for which range. (With a mirror: test_mirror.c.) */
#include "common.h"
#include "mmu/inflight.h"

static struct prxe_inflight in;
static bool dead;

struct waiter {
	pthread_t t;
	unsigned long first, last;
	bool begun;
};

static void *waiter_run(void *arg)
{
	struct waiter *w = arg;

	WRITE_ONCE(w->begun, true);
	assert_int_equal(prxe_inflight_wait(&in, w->first, w->last, &dead), 0);
	return NULL;
}

static void waiter_start(struct waiter *w, unsigned long first, unsigned long last)
{
	*w = (struct waiter){ .first = first, .last = last };
	pthread_create(&w->t, NULL, waiter_run, w);
	while (!READ_ONCE(w->begun))
		sched_yield();
	usleep(20000);	/* it has looked which ranges there are */
}

/* Is the wait over within @ms? Then the thread was joined. */
static bool waiter_over(struct waiter *w, u64 ms)
{
	struct timespec ts;
	u64 ns;

	clock_gettime(CLOCK_REALTIME, &ts);
	ns = ts.tv_nsec + ms * NSEC_PER_MSEC;
	ts.tv_sec += ns / NSEC_PER_SEC;
	ts.tv_nsec = ns % NSEC_PER_SEC;
	return !pthread_timedjoin_np(w->t, NULL, &ts);
}

/* For ranges that cover its bytes, and began before it did. */
static void waits_for_its_own(void **state)
{
	struct waiter w;

	prxe_inflight_init(&in);
	prxe_inflight_start(&in, 100, 199);
	prxe_inflight_start(&in, 200, 299);
	waiter_start(&w, 150, 150);
	prxe_inflight_start(&in, 100, 150);
	assert_false(waiter_over(&w, 20));
	prxe_inflight_end(&in, 100, 199);
	assert_true(waiter_over(&w, 10000));
	prxe_inflight_end(&in, 200, 299);
	prxe_inflight_end(&in, 100, 150);
	assert_false(prxe_inflight_any(&in));
	prxe_inflight_free(&in);
}

/* One more than the table has room for, with no memory for a larger one. */
static void start_unlisted(unsigned long first, unsigned long last)
{
	shim_alloc_fails = 1;
	prxe_inflight_start(&in, first, last);
	shim_alloc_fails = 0;
}

static void unlisted(void **state)
{
	struct waiter w;

	prxe_inflight_init(&in);
	for (int i = 0; i < PRXE_INFLIGHT_FEW; i++)
		prxe_inflight_start(&in, 100 * i, 100 * i + 99);
	/* One that begins later is not waited for, wherever it is. */
	waiter_start(&w, 150, 150);
	start_unlisted(5000, 5099);
	assert_int_equal(in.unlisted, 1);
	assert_false(waiter_over(&w, 20));
	prxe_inflight_end(&in, 100, 199);
	assert_true(waiter_over(&w, 10000));
	/* One that is there covers everything. */
	waiter_start(&w, 9000, 9000);
	assert_false(waiter_over(&w, 20));
	prxe_inflight_end(&in, 5000, 5099);
	assert_true(waiter_over(&w, 10000));
	/* Two of one range, of which the later one is unlisted: both ends are found. */
	prxe_inflight_start(&in, 100, 199);
	start_unlisted(100, 199);
	waiter_start(&w, 150, 150);
	prxe_inflight_end(&in, 100, 199);
	assert_false(waiter_over(&w, 20));
	prxe_inflight_end(&in, 100, 199);
	assert_true(waiter_over(&w, 10000));
	/* A stream of unlisted ones that overlap keeps nobody: as many ends are waited for. */
	prxe_inflight_start(&in, 100, 199);
	start_unlisted(5000, 5099);
	start_unlisted(6000, 6099);
	waiter_start(&w, 9000, 9000);
	start_unlisted(7000, 7099);
	prxe_inflight_end(&in, 5000, 5099);
	assert_false(waiter_over(&w, 20));
	start_unlisted(8000, 8099);
	prxe_inflight_end(&in, 6000, 6099);
	assert_true(waiter_over(&w, 10000));
	assert_true(prxe_inflight_any(&in));
	prxe_inflight_end(&in, 7000, 7099);
	prxe_inflight_end(&in, 8000, 8099);
	prxe_inflight_end(&in, 100, 199);
	for (int i = 0; i < PRXE_INFLIGHT_FEW; i++)
		if (i != 1)
			prxe_inflight_end(&in, 100 * i, 100 * i + 99);
	assert_false(prxe_inflight_any(&in));
	prxe_inflight_free(&in);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(waits_for_its_own),
		cmocka_unit_test(unlisted),
	};

	RUN_TESTS(tests);
}
