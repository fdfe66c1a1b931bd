// SPDX-License-Identifier: BSD-2-Clause
/*
 * How long a real-time task waits for a processor on which transfers are served. A SCHED_FIFO
 * thread sleeps until times of a clock and notes how late it runs. On the same CPU another thread,
 * without priority, first counts in user space, and then transfers without a pause. What the second
 * adds to the first is how long the driver, or the kernel for it, keeps the processor.
 *
 * Made for a kernel with PREEMPT_RT and a clock that counts instructions:
 *
 *   ./run sh --kernel rt --icount -- prxe-wakebench --dev prxe0 --gid 1
 *
 * Output, tab separated: metric (late_median, late_p99, late_max), size, variant (user, write,
 * read, send), pair, unit, value.
 */
#define _GNU_SOURCE
#include "args.h"
#include "t.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define AREA (1UL << 20)
#define WAKES 1000
#define EVERY 300000	/* ns between two wakes */
#define SPREAD 100003	/* plus up to so many, so that wakes meet every phase of a copy */

enum load { USER, WRITE, READ, SEND, LOADS };
static const char *const names[] = { "user", "write", "read", "send" };

static struct t_ep ep[2];
static uint8_t *mem[2];
static struct ibv_mr *mr[2];
static atomic_bool stop;
static long late[WAKES];

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void pin(int prio)
{
	struct sched_param p = { .sched_priority = prio };
	cpu_set_t cpus;
	int rc;

	CPU_ZERO(&cpus);
	CPU_SET(0, &cpus);
	rc = pthread_setaffinity_np(pthread_self(), sizeof(cpus), &cpus);
	if (!rc && prio)
		rc = pthread_setschedparam(pthread_self(), SCHED_FIFO, &p);
	if (rc)
		t_die("a thread of priority %d on CPU 0: %s", prio, strerror(rc));
}

static void *wake(void *arg)
{
	long long at;

	(void)arg;
	pin(80);
	at = now() + EVERY;
	for (int i = 0; i < WAKES; i++) {
		struct timespec t = { at / 1000000000, at % 1000000000 };

		while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
			;
		late[i] = now() - at;
		at = now() + EVERY + (i * 7919LL) % SPREAD;
	}
	atomic_store(&stop, true);
	return NULL;
}

static void transfer(enum load load)
{
	static const enum ibv_wr_opcode op[] = {
		[WRITE] = IBV_WR_RDMA_WRITE, [READ] = IBV_WR_RDMA_READ, [SEND] = IBV_WR_SEND,
	};
	struct ibv_wc wc;
	int rc = 0;

	if (load == SEND)
		rc = t_recv_one(&ep[1], mem[1], AREA, mr[1]->lkey, 1);
	if (!rc)
		rc = t_post_one(&ep[0], op[load], mem[0], AREA, mr[0]->lkey, (uintptr_t)mem[1],
				mr[1]->rkey, 2);
	if (rc)
		t_die("post: %s", strerror(rc));
	if (!t_wait(ep[0].scq, &wc, t_slow(30)) || wc.status)
		t_die("%s: %s", names[load], ibv_wc_status_str(wc.status));
	if (load == SEND && (!t_wait(ep[1].rcq, &wc, t_slow(30)) || wc.status))
		t_die("a receive: %s", ibv_wc_status_str(wc.status));
}

static int smaller(const void *a, const void *b)
{
	long x = *(const long *)a, y = *(const long *)b;

	return (x > y) - (x < y);
}

static void measure(enum load load, int pair)
{
	volatile unsigned long count = 0;
	pthread_t t;
	int rc;

	atomic_store(&stop, false);
	rc = pthread_create(&t, NULL, wake, NULL);
	if (rc)
		t_die("pthread_create: %s", strerror(rc));
	while (!atomic_load(&stop)) {
		if (load == USER)
			count++;
		else
			transfer(load);
	}
	pthread_join(t, NULL);
	qsort(late, WAKES, sizeof(late[0]), smaller);
	printf("late_median\t%lu\t%s\t%d\tus\t%.3f\n", AREA, names[load], pair,
	       late[WAKES / 2] / 1e3);
	printf("late_p99\t%lu\t%s\t%d\tus\t%.3f\n", AREA, names[load], pair,
	       late[WAKES * 99 / 100] / 1e3);
	printf("late_max\t%lu\t%s\t%d\tus\t%.3f\n", AREA, names[load], pair,
	       late[WAKES - 1] / 1e3);
}

int main(int argc, char **argv)
{
	const struct t_opt o = { .depth = 16 };
	struct bench_args args = { .gid = 1, .pairs = 2 };
	struct t_dev *d;

	t_init();
	bench_args(argc, argv, &args);
	t_watchdog(300);
	if (mlockall(MCL_CURRENT | MCL_FUTURE))
		t_die("mlockall: %s", strerror(errno));
	pin(0);
	d = t_dev_open(args.dev, args.gid);
	t_pair_open(&ep[0], d, &ep[1], d, &o);
	for (int i = 0; i < 2; i++) {
		mem[i] = t_map(AREA);
		t_pat_fill(mem[i], AREA, i, 0);
		mr[i] = t_reg(d->pd, mem[i], AREA, T_ALL_ACCESS | IBV_ACCESS_ON_DEMAND);
	}
	for (int pair = 1; pair <= args.pairs; pair++)
		for (int load = USER; load < LOADS; load++)
			measure(load, pair);
	t_pat_check("the last transfer", mem[1], AREA, 0, 0);
	for (int i = 0; i < 2; i++)
		ibv_dereg_mr(mr[i]);
	t_ep_close(&ep[0]);
	t_ep_close(&ep[1]);
	t_dev_close(d);
	return t_fails != 0;
}
