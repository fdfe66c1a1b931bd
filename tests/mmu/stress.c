// SPDX-License-Identifier: BSD-2-Clause
/* prxe-stress: main, its phases and threads. See st.h for how the data is judged. */
#define _GNU_SOURCE
#include "st.h"

#include <getopt.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LANES_MAX 12U
#define ATOMICS 2U
#define THREADS 2U

static struct {
	const char *dev, *carriers, *phases;
	int gid;
	double time;
	uint64_t seed;
	unsigned lanes;
} opt = { .gid = 1, .time = 60, .seed = 1 };

static struct st_lane lane[LANES_MAX];
static struct st_atomic atomic[ATOMICS];
static struct st_region counters;
static const struct st_churn *churn, *counters_churn, *land_churn;
static atomic_bool stop_churn, stop_posting;
static atomic_ulong churns;

static void *transfer(void *arg)
{
	unsigned first = (unsigned)(uintptr_t)arg, i, idling = 0;

	for (;;) {
		bool more = !atomic_load(&stop_posting), did = false, idle = true;

		for (i = first; i < opt.lanes; i += THREADS) {
			did = st_lane_step(&lane[i], more) || did;
			idle = idle && st_lane_idle(&lane[i]);
		}
		for (i = first; i < ATOMICS; i += THREADS) {
			did = st_atomic_step(&atomic[i], more) || did;
			idle = idle && st_atomic_idle(&atomic[i]);
		}
		if (!more && idle)
			return NULL;
		/* On few CPUs, polling would keep churn from its work. */
		idling = did ? 0 : idling + 1;
		if (idling > 20)
			usleep(50);
		else if (idling)
			sched_yield();
	}
}

/* Each region has one churner. */
static void *churner(void *arg)
{
	unsigned first = (unsigned)(uintptr_t)arg;
	uint64_t rnd = t_mix(opt.seed * 16 + first);

	while (!atomic_load(&stop_churn)) {
		unsigned n = 2 * opt.lanes + ATOMICS + 1, i;

		rnd = t_mix(rnd);
		i = (unsigned)(rnd % ((n + THREADS - 1 - first) / THREADS)) * THREADS + first;
		if (i < 2 * opt.lanes)
			churn->step(i & 1 ? &lane[i / 2].src : &lane[i / 2].dst, t_mix(rnd + 1));
		else if (i < 2 * opt.lanes + ATOMICS)
			land_churn->step(&atomic[i - 2 * opt.lanes].land, t_mix(rnd + 1));
		else
			counters_churn->step(&counters, t_mix(rnd + 1));
		atomic_fetch_add(&churns, 1);
		if (!(rnd >> 60))
			usleep((unsigned)(rnd >> 32) % 400);
	}
	return NULL;
}

static struct st_counts sum(void)
{
	struct st_counts n = { 0 };

	for (unsigned i = 0; i < opt.lanes + ATOMICS; i++) {
		const struct st_counts *one = i < opt.lanes ? &lane[i].p.n :
							      &atomic[i - opt.lanes].p.n;

		n.transfers += one->transfers;
		n.bytes += one->bytes;
		n.errors += one->errors;
		/* Every lane must get on, whatever happens to its memory. */
		if (!one->transfers)
			t_fail("%s lane %u completed no transfer",
			       i < opt.lanes ? "data" : "atomic", i);
	}
	return n;
}

/*
 * Has everything happened that a phase is for? On a slow machine it takes longer. @handled: how
 * many invalidations had been handled at its start. Other threads write the counts meanwhile: which
 * value is read does not matter.
 */
static bool complete(struct t_dev *d, const struct st_churn *c, uint64_t handled)
{
	uint64_t errors = 0;

	for (unsigned i = 0; i < opt.lanes + ATOMICS; i++) {
		const struct st_counts *one = i < opt.lanes ? &lane[i].p.n :
							      &atomic[i - opt.lanes].p.n;

		if (!__atomic_load_n(&one->transfers, __ATOMIC_RELAXED))
			return false;
		errors += __atomic_load_n(&one->errors, __ATOMIC_RELAXED);
	}
	return (!c->takes || errors) && (!c->effect || atomic_load(c->effect)) &&
	       t_counter(d->name, "page_invalidations_handled") > handled;
}

static void phase(struct t_dev *d, const struct st_churn *c, const char *carrier, double seconds)
{
	struct ibv_mr *implicit = ibv_reg_mr(d->pd, NULL, SIZE_MAX, ST_ODP);
	uint64_t faults = t_counter(d->name, "page_faults");
	uint64_t inv = t_counter(d->name, "page_invalidations");
	uint64_t handled = t_counter(d->name, "page_invalidations_handled");
	pthread_t th[2 * THREADS];
	struct st_counts n;
	int before = t_fails;
	double from;

	if (!implicit)
		t_die("no implicit MR");
	t_context("phase %s, %s, seed %llu", c->name, carrier, (unsigned long long)opt.seed);
	if (c->start && !c->start()) {
		t_note("%-5s %-9s not on this machine", carrier, c->name);
		ibv_dereg_mr(implicit);
		return;
	}
	churn = c;
	counters_churn = c->drops ? &st_churn_keep : c;
	land_churn = c->takes ? &st_churn_land : c;
	for (unsigned i = 0; i < opt.lanes; i++)
		st_lane_open(&lane[i], d, i, i & 1 ? implicit : NULL, c->shared);
	st_region_open(&counters, d->pd, NULL, c->shared);
	for (unsigned i = 0; i < ATOMICS; i++)
		st_atomic_open(&atomic[i], d, &counters, i, ATOMICS, i & 1 ? implicit : NULL,
			       c->shared);

	stop_churn = stop_posting = false;
	churns = 0;
	from = t_now();
	for (unsigned i = 0; i < 2 * THREADS; i++)
		if (pthread_create(&th[i], NULL, i < THREADS ? transfer : churner,
				   (void *)(uintptr_t)(i % THREADS)))
			t_die("pthread_create failed");
	while (t_fails == before &&
	       (t_now() - from < seconds ||
		(t_now() - from < seconds + t_slow(15) && !complete(d, c, handled))))
		usleep(10000);
	/* Transfers in flight end under churn, too. */
	stop_posting = true;
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(th[i], NULL);
	stop_churn = true;
	for (unsigned i = THREADS; i < 2 * THREADS; i++)
		pthread_join(th[i], NULL);
	from = t_now() - from;
	st_atomic_check(atomic, ATOMICS);
	n = sum();
	inv = t_counter(d->name, "page_invalidations") - inv;
	if (c->stop && !c->stop())
		t_fail("the churn had no effect");
	handled = t_counter(d->name, "page_invalidations_handled") - handled;
	if (!handled)
		t_fail("nothing was invalidated");
	if (c->takes && !n.errors)
		t_fail("access was taken away, and no transfer noticed");
	t_note("%-5s %-9s %s: %llu transfers, %.1f MB, %llu reconnects, %lu churns, %llu faults, "
	       "%llu invalidations (%llu handled), %.1f s",
	       carrier, c->name, before == t_fails ? "ok" : "FAILED",
	       (unsigned long long)n.transfers, (double)n.bytes / 1e6,
	       (unsigned long long)n.errors, (unsigned long)churns,
	       (unsigned long long)(t_counter(d->name, "page_faults") - faults),
	       (unsigned long long)inv, (unsigned long long)handled, from);
	for (unsigned i = 0; i < opt.lanes; i++)
		st_lane_close(&lane[i]);
	for (unsigned i = 0; i < ATOMICS; i++)
		st_atomic_close(&atomic[i]);
	st_region_close(&counters);
	ibv_dereg_mr(implicit);
	t_context("%s", "");
}

static void usage(void)
{
	puts("usage: prxe-stress [-d DEV] [-g GID] [-t SECONDS] [-s SEED] [-q QPS] [-c local,wire] "
	     "[-l] [PHASE[,PHASE]...]   (-l lists the phases)");
	exit(2);
}

int main(int argc, char **argv)
{
	static const char *const carriers[] = { "local", "wire" };
	int was = t_param_get("force_wire"), c;
	unsigned runs = 0, ran = 0;
	struct t_dev *d;

	t_init();
	opt.lanes = t_debug ? 6 : 9;
	while ((c = getopt(argc, argv, "d:g:t:s:q:c:l")) != -1) {
		switch (c) {
		case 'd': opt.dev = optarg; break;
		case 'g': opt.gid = atoi(optarg); break;
		case 't': opt.time = atof(optarg); break;
		case 's': opt.seed = strtoull(optarg, NULL, 0); break;
		case 'q': opt.lanes = (unsigned)atoi(optarg); break;
		case 'c': opt.carriers = optarg; break;
		case 'l':
			for (const struct st_churn *s = st_churns; s->name; s++)
				printf("%-9s %s\n", s->name, s->what);
			return 0;
		default: usage();
		}
	}
	if (optind < argc)
		opt.phases = argv[optind];
	if (argc > optind + 1 || opt.time <= 0 || !opt.lanes || opt.lanes > LANES_MAX)
		usage();
	t_watchdog((unsigned)opt.time + 200);
	d = t_dev_open(opt.dev, opt.gid);
	if (!d->odp)
		t_die("%s has no ODP", d->name);
	for (int pass = 0; pass < 2; pass++) {
		for (unsigned w = 0; w < ARRAY_LEN(carriers); w++) {
			if (!t_list_has(opt.carriers, carriers[w]))
				continue;
			if (pass && t_param_set("force_wire", (int)w))
				t_die("force_wire cannot be set");
			for (const struct st_churn *s = st_churns; s->name; s++) {
				/* A share of them: each phase on one carrier. */
				if (!t_list_has(opt.phases, s->name) ||
				    !t_shared((unsigned)(s - st_churns) + w))
					continue;
				if (!pass)
					runs += 1 + s->more;
				else if (!t_fails)
					phase(d, s, carriers[w],
					      opt.time * (1 + s->more) / runs), ran++;
			}
		}
	}
	if (was >= 0)
		t_param_set("force_wire", was);
	if (!ran)
		t_die("nothing to be done (-l lists the phases)");
	t_dev_close(d);
	return t_done("stress");
}
