// SPDX-License-Identifier: BSD-2-Clause
/* Registration: its cost, its failures, and that nothing is pinned. */
#define _GNU_SOURCE
#include "../../kernel/uapi/prxe-ioctl.h"
#include "ev.h"

#include <errno.h>
#include <glob.h>
#include <pthread.h>
#include <rdma/ib_user_ioctl_cmds.h>
#include <rdma/rdma_user_ioctl_cmds.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* Medians of registering and deregistering, seconds. */
static void cost(struct t_dev *d, void *p, size_t len, double *reg, double *dereg)
{
	enum { N = 21 };
	double r[N], u[N], t;

	for (int i = 0; i < N; i++) {
		struct ibv_mr *m;

		t = t_now();
		m = t_reg(d->pd, p, len, ODP_ALL);
		r[i] = t_now() - t;
		t = t_now();
		ibv_dereg_mr(m);
		u[i] = t_now() - t;
	}
	qsort(r, N, sizeof(*r), by_value);
	qsort(u, N, sizeof(*u), by_value);
	*reg = r[N / 2];
	*dereg = u[N / 2];
}

/* 4 KiB and 1 TiB cost the same, and a MR of 1 TiB is right at its ends and in its middle. */
static void reg_time(struct t_dev *d)
{
	const size_t tib = 1UL << 40;
	static const char *const name[] = { "start", "middle", "across 4 GiB", "end" };
	size_t at[] = { 0, tib / 2 - T_PAGE, (4UL << 30) - 2 * T_PAGE, tib - 4 * T_PAGE };
	double r4, u4, rt, ut;
	uint8_t *p, *src;
	struct ibv_mr *m, *ms, *keep;
	struct t_ep a, b;

	p = mmap(NULL, tib, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		t_die("reservation of 1 TiB: %s", strerror(errno));
	/* with a first MR, all that a process needs only once is there */
	keep = t_reg(d->pd, p, T_PAGE, ODP_ALL);
	cost(d, p, T_PAGE, &r4, &u4);
	cost(d, p, tib, &rt, &ut);
	t_note("reg_time: 4 KiB: register %.0f us, deregister %.0f us; 1 TiB: %.0f us, %.0f us",
	       r4 * 1e6, u4 * 1e6, rt * 1e6, ut * 1e6);
	if (rt > 4 * r4 + t_slow(1e-3) || ut > 4 * u4 + t_slow(1e-3))
		t_fail("registration is not flat: 4 KiB %.0f us and %.0f us, "
		       "1 TiB %.0f us and %.0f us",
		       r4 * 1e6, u4 * 1e6, rt * 1e6, ut * 1e6);

	t_pair_open(&a, d, &b, d, NULL);
	src = t_map(4 * T_PAGE);
	ms = t_reg(d->pd, src, 4 * T_PAGE, ODP_ALL);
	m = t_reg(d->pd, p, tib, ODP_ALL);
	for (size_t i = 0; i < ARRAY_LEN(at); i++) {
		if (mprotect(p + at[i], 4 * T_PAGE, PROT_READ | PROT_WRITE))
			t_die("mprotect: %s", strerror(errno));
		t_pat_fill(src, 4 * T_PAGE, 300 + i, 0);
		if (ev_write(name[i], &a, src, 3 * T_PAGE + 77, ms, p + at[i] + 500, m))
			t_pat_check(name[i], p + at[i] + 500, 3 * T_PAGE + 77, 300 + i, 0);
		t_zero_check(name[i], p + at[i], 500);
	}
	ibv_dereg_mr(m);

	/* The same memory at another iova. */
	m = ibv_reg_mr_iova(d->pd, p, tib, 0, ODP_ALL);
	if (!m) {
		t_fail("ibv_reg_mr_iova of 1 TiB at 0: %s", strerror(errno));
	} else {
		t_pat_fill(src, 4 * T_PAGE, 310, 0);
		if (ev_write("iova 0", &a, src, 3 * T_PAGE, ms, (void *)(at[1] + 9), m))
			t_pat_check("iova 0, middle", p + at[1] + 9, 3 * T_PAGE, 310, 0);
		ev_must("iova 0, at the virtual address", &a, &b, IBV_WR_RDMA_WRITE, src, 64, ms,
			p + at[1], m, IBV_WC_REM_ACCESS_ERR);
		ibv_dereg_mr(m);
	}
	ibv_dereg_mr(keep);
	ibv_dereg_mr(ms);
	t_ep_close(&a);
	t_ep_close(&b);
	munmap(p, tib);
	munmap(src, 4 * T_PAGE);
}

/* Many MRs over the same memory cost the same each, the last like the first. */
static void many(struct t_dev *d)
{
	const int n = t_debug ? 300 : 3000;
	struct ibv_mr **m = calloc((size_t)n, sizeof(*m));
	uint8_t *p = t_map(1 << 20);
	double t = t_now(), first, last;
	struct t_ep a, b;

	for (int i = 0; i < n; i++)
		m[i] = t_reg(d->pd, p, 1 << 20, ODP_ALL);
	first = (t_now() - t) / n;
	t_pair_open(&a, d, &b, d, NULL);
	for (int i = 0; i < n; i += n / 10) { /* overlapping MRs name the same bytes */
		t_pat_fill(p, 5000, 320 + (uint64_t)i, 0);
		if (ev_write("overlapping MRs", &a, p, 5000, m[i], p + 80001, m[n - 1 - i]))
			t_pat_check("overlapping MRs", p + 80001, 5000, 320 + (uint64_t)i, 0);
	}
	t = t_now();
	for (int i = 0; i < n; i++)
		if (ibv_dereg_mr(m[i]))
			t_fail("dereg of MR %d of %d: %s", i, n, strerror(errno));
	last = (t_now() - t) / n;
	t_note("many: %d MRs: register %.0f us, deregister %.0f us each", n, first * 1e6,
	       last * 1e6);
	t_ep_close(&a);
	t_ep_close(&b);
	munmap(p, 1 << 20);
	free(m);
}

/* Neither VmPin nor VmLck counts ODP memory, not even while it is in use. */
static void vmpin(struct t_dev *d)
{
	const size_t size = 4UL << 20;
	uint8_t *p = t_map(size), *q = t_map(size);
	uint64_t pin0 = t_status_kb("VmPin"), lck0 = t_status_kb("VmLck"), pin, lck;
	struct ibv_mr *m, *mq;
	struct t_ep a, b;

	m = t_reg(d->pd, p, size, ODP_ALL);
	mq = t_reg(d->pd, q, size, ODP_ALL);
	t_pair_open(&a, d, &b, d, NULL);
	t_pat_fill(p, size, 330, 0);
	if (ev_write("WRITE of 4 MiB", &a, p, size, m, q, mq))
		t_pat_check("WRITE of 4 MiB", q, size, 330, 0);
	pin = t_status_kb("VmPin");
	lck = t_status_kb("VmLck");
	t_note("vmpin: VmPin %llu -> %llu KiB, VmLck %llu -> %llu KiB", (unsigned long long)pin0,
	       (unsigned long long)pin, (unsigned long long)lck0, (unsigned long long)lck);
	if (pin || lck)
		t_fail("VmPin is %llu KiB and VmLck %llu KiB with ODP memory only",
		       (unsigned long long)pin, (unsigned long long)lck);
	ibv_dereg_mr(m);
	m = t_reg(d->pd, p, size, T_ALL_ACCESS);
	pin = t_status_kb("VmPin");
	if (pin < size / 1024)
		t_fail("VmPin is %llu KiB with %zu KiB of pinned memory", (unsigned long long)pin,
		       size / 1024);
	ibv_dereg_mr(m);
	pin = t_status_kb("VmPin");
	if (pin)
		t_fail("VmPin is %llu KiB after the pinned MR is gone", (unsigned long long)pin);
	ibv_dereg_mr(mq);
	t_ep_close(&a);
	t_ep_close(&b);
	munmap(p, size);
	munmap(q, size);
}

static volatile unsigned signals;

static void on_signal(int sig)
{
	(void)sig;
	signals++;
}

static volatile bool quiet;

static void *pester(void *arg)
{
	pthread_t victim = *(pthread_t *)arg;

	while (!quiet) {
		pthread_kill(victim, SIGUSR1);
		usleep(100);
	}
	return NULL;
}

/* A signal that does not kill must not reach the application as an error of a registration. */
static void signal_storm(struct t_dev *d)
{
	struct sigaction sa = { .sa_handler = on_signal };
	pthread_t me = pthread_self(), th;
	uint8_t *p = t_map(64 * T_PAGE);
	double end;
	int n = 0;

	sigaction(SIGUSR1, &sa, NULL);
	signals = 0;
	quiet = false;
	if (pthread_create(&th, NULL, pester, &me))
		t_die("pthread_create failed");
	/* Nothing is registered in this process now: each round sets everything up again. */
	for (end = t_now() + (t_debug ? 3 : 1); t_now() < end; n++) {
		struct ibv_mr *m = ibv_reg_mr(d->pd, p, 64 * T_PAGE, ODP_ALL);

		if (!m) {
			t_fail("ibv_reg_mr under signals, round %d: %s", n, strerror(errno));
			break;
		}
		if (ibv_dereg_mr(m))
			t_fail("ibv_dereg_mr under signals, round %d: %s", n, strerror(errno));
	}
	quiet = true;
	pthread_join(th, NULL);
	t_note("signal_storm: %d registrations, %u signals", n, signals);
	munmap(p, 64 * T_PAGE);
}

/* A prefetch that is waited for: 0 or errno. */
static int prefetch(struct t_dev *d, enum ibv_advise_mr_advice advice, struct ibv_sge *sg)
{
	return ibv_advise_mr(d->pd, advice, IBV_ADVISE_MR_FLAG_FLUSH, sg, 1);
}

static const char *error_of(int rc)
{
	return rc ? strerror(rc) : "success";
}

/* What must be refused, with the errno that the manual gives. */
static void refused(struct t_dev *d)
{
	uint8_t *p = t_map(4 * T_PAGE);
	struct ibv_mr *m;
	struct ibv_sge sg;
	int rc;

	m = ibv_reg_mr(d->pd, p, T_PAGE, IBV_ACCESS_ON_DEMAND | IBV_ACCESS_REMOTE_WRITE);
	if (m)
		t_fail("REMOTE_WRITE without LOCAL_WRITE was registered");
	else if (errno != EINVAL)
		t_fail("REMOTE_WRITE without LOCAL_WRITE: %s", strerror(errno));
	m = ibv_reg_mr(d->pd, p, SIZE_MAX - 4096, ODP_ALL);
	if (m)
		t_fail("a MR whose end wraps around was registered");
	m = ibv_reg_mr(d->pd, (void *)(UINTPTR_MAX & ~(T_PAGE - 1)), 2 * T_PAGE, ODP_ALL);
	if (m)
		t_fail("a MR that wraps around address 2^64 was registered");
	m = ibv_reg_mr_iova(d->pd, p, 4 * T_PAGE, UINT64_MAX & ~(T_PAGE - 1), ODP_ALL);
	if (m)
		t_fail("a MR whose iova wraps around 2^64 was registered");

	/* advise_mr: EFAULT for what is outside, or unmapped; success for what is there. */
	m = t_reg(d->pd, p, 4 * T_PAGE, ODP_ALL);
	sg = t_sge(p, 4 * T_PAGE, m->lkey);
	rc = prefetch(d, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE, &sg);
	if (rc == EOPNOTSUPP) {
		t_note("refused: ibv_advise_mr is not there");
	} else {
		if (rc)
			t_fail("prefetch for writing: %s", strerror(rc));
		sg = t_sge(p, 5 * T_PAGE, m->lkey);
		rc = prefetch(d, IBV_ADVISE_MR_ADVICE_PREFETCH, &sg);
		if (rc != EFAULT)
			t_fail("prefetch beyond the MR: %s, expected EFAULT", error_of(rc));
		sg = t_sge(p, T_PAGE, m->lkey ^ 0x5500);
		rc = prefetch(d, IBV_ADVISE_MR_ADVICE_PREFETCH, &sg);
		if (rc != EFAULT)
			t_fail("prefetch with a bad lkey: %s, expected EFAULT", error_of(rc));
		munmap(p + T_PAGE, T_PAGE);
		sg = t_sge(p, 4 * T_PAGE, m->lkey);
		rc = prefetch(d, IBV_ADVISE_MR_ADVICE_PREFETCH, &sg);
		if (rc != EFAULT)
			t_fail("prefetch of unmapped memory: %s, expected EFAULT", error_of(rc));
	}
	ibv_dereg_mr(m);
	m = t_reg(d->pd, p, T_PAGE, IBV_ACCESS_ON_DEMAND | IBV_ACCESS_REMOTE_READ);
	sg = t_sge(p, T_PAGE, m->lkey);
	rc = prefetch(d, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE, &sg);
	if (rc != EPERM && rc != EOPNOTSUPP)
		t_fail("prefetch for writing on a read-only MR: %s, expected EPERM", error_of(rc));
	ibv_dereg_mr(m);
	m = t_reg(d->pd, p, T_PAGE, T_ALL_ACCESS);
	sg = t_sge(p, T_PAGE, m->lkey);
	rc = prefetch(d, IBV_ADVISE_MR_ADVICE_PREFETCH, &sg);
	t_note("refused: prefetch on a pinned MR: %s", error_of(rc));
	ibv_dereg_mr(m);
	munmap(p, 4 * T_PAGE);
}

/* An ODP MR of a PD that still exists when everything is closed at once: closing cleans up. */
static void leave_behind(struct t_dev *d)
{
	struct t_dev *e = t_dev_open(d->name, d->gidx);
	uint8_t *p = t_map(16 * T_PAGE);
	struct ibv_mr *m = t_reg(e->pd, p, 16 * T_PAGE, ODP_ALL);
	struct t_ep a, b;

	t_pair_open(&a, e, &b, e, NULL);
	t_pat_fill(p, 16 * T_PAGE, 340, 0);
	ev_write("WRITE", &a, p, 5 * T_PAGE, m, p + 8 * T_PAGE + 1, m);
	/* As in a process that exits: the file is closed, nothing was destroyed before. */
	close(e->ctx->cmd_fd);
	munmap(p, 16 * T_PAGE);
}

/* The counters of an MR by the driver's own method: 0 or errno. @size: the buffer's, as told. */
static int mr_counters(struct t_dev *d, uint32_t handle, struct prxe_mr_counters *c, uint16_t size)
{
	struct {
		struct ib_uverbs_ioctl_hdr hdr;
		struct ib_uverbs_attr attr[2];
	} cmd = {
		.hdr = { .length = sizeof(cmd), .object_id = UVERBS_OBJECT_MR,
			 .method_id = PRXE_METHOD_MR_COUNTERS, .num_attrs = 2,
			 .driver_id = PRXE_DRIVER_ID },
		.attr = { { .attr_id = PRXE_ATTR_MR_HANDLE, .flags = UVERBS_ATTR_F_MANDATORY,
			    .data = handle },
			  { .attr_id = PRXE_ATTR_MR_COUNTERS, .flags = UVERBS_ATTR_F_MANDATORY,
			    .len = size, .data = (uintptr_t)c } },
	};

	memset(c, 0xa5, sizeof(*c));
	return ioctl(d->ctx->cmd_fd, RDMA_VERBS_IOCTL, &cmd) ? errno : 0;
}

static struct prxe_mr_counters must_count(struct t_dev *d, const char *what, struct ibv_mr *m,
					  uint32_t flags)
{
	struct prxe_mr_counters c;
	int err = mr_counters(d, m->handle, &c, sizeof(c));

	if (err)
		t_die("counters of %s: %s", what, strerror(err));
	if (c.flags != flags || c.reserved)
		t_fail("counters of %s: flags %#x (reserved %#x), expected %#x", what, c.flags,
		       c.reserved, flags);
	return c;
}

/* An unprivileged process reads what happened to each of its own MRs. */
static void counters(struct t_dev *d)
{
	enum { N = 16 };
	uint8_t *p = t_map(N * T_PAGE), *q = t_map(N * T_PAGE);
	struct ibv_mr *m = t_reg(d->pd, p, N * T_PAGE, ODP_ALL);
	struct ibv_mr *other = t_reg(d->pd, p, N * T_PAGE, ODP_ALL);
	struct ibv_mr *pin = t_reg(d->pd, q, N * T_PAGE, T_ALL_ACCESS);
	struct ibv_mr *all = ibv_reg_mr(d->pd, NULL, SIZE_MAX, ODP_ALL);
	struct prxe_mr_counters c0, c1, c2;
	struct { struct prxe_mr_counters c; uint8_t more[8]; } big;
	struct ibv_sge sg;
	struct t_ep a, b;
	int err;

	if (!all)
		t_die("implicit MR: %s", strerror(errno));
	must_count(d, "an implicit MR", all, PRXE_COUNTERS_ODP | PRXE_COUNTERS_IMPLICIT);
	c0 = must_count(d, "a pinned MR", pin, 0);
	if (c0.page_faults | c0.page_faults_handled | c0.page_invalidations |
	    c0.page_invalidations_handled | c0.page_prefetch)
		t_fail("a pinned MR counts");
	c0 = must_count(d, "a new MR", m, PRXE_COUNTERS_ODP);
	if (c0.page_faults || c0.page_prefetch)
		t_fail("a new MR has %llu faults, %llu prefetches",
		       (unsigned long long)c0.page_faults, (unsigned long long)c0.page_prefetch);

	t_pair_open(&a, d, &b, d, NULL);
	t_pat_fill(q, N * T_PAGE, 350, 0);
	ev_write("WRITE into memory that nobody touched", &a, q, 5 * T_PAGE, pin, p + T_PAGE + 1,
		 m);
	t_pat_check("written", p + T_PAGE + 1, 5 * T_PAGE, 350, 0);
	c1 = must_count(d, "the MR written through", m, PRXE_COUNTERS_ODP);
	if (c1.page_faults <= c0.page_faults || c1.page_faults_handled <= c0.page_faults_handled)
		t_fail("a WRITE that faulted is not counted: %llu, handled %llu",
		       (unsigned long long)c1.page_faults,
		       (unsigned long long)(c1.page_faults_handled - c0.page_faults_handled));
	c2 = must_count(d, "another MR over the same memory", other, PRXE_COUNTERS_ODP);
	if (c2.page_faults)
		t_fail("faults of one MR are counted for another: %llu",
		       (unsigned long long)c2.page_faults);

	t_drop(p, N * T_PAGE);
	c2 = must_count(d, "the MR whose memory went", m, PRXE_COUNTERS_ODP);
	if (c2.page_invalidations_handled <= c1.page_invalidations_handled)
		t_fail("MADV_DONTNEED of mapped pages counts no invalidation");
	sg = t_sge(p, 3 * T_PAGE, m->lkey);
	err = prefetch(d, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE, &sg);
	if (err)
		t_fail("prefetch: %s", strerror(err));
	c1 = must_count(d, "the MR prefetched", m, PRXE_COUNTERS_ODP);
	if (c1.page_prefetch != c2.page_prefetch + 3)
		t_fail("a prefetch of 3 pages counts %llu",
		       (unsigned long long)(c1.page_prefetch - c2.page_prefetch));

	err = mr_counters(d, m->handle, &big.c, sizeof(big.c) - 8);
	if (!err)
		t_fail("a buffer that is too small is filled");
	memset(&big, 0xa5, sizeof(big));
	err = mr_counters(d, m->handle, &big.c, sizeof(big));
	if (err || memcmp(big.more, "\0\0\0\0\0\0\0", 8))
		t_fail("a larger buffer: %s, its end is not 0", strerror(err));
	err = mr_counters(d, 0x7fffff, &c0, sizeof(c0));
	if (err != ENOENT)
		t_fail("counters of no MR: %s, expected ENOENT", strerror(err));
	t_ep_close(&a);
	t_ep_close(&b);
	ibv_dereg_mr(m);
	ibv_dereg_mr(other);
	ibv_dereg_mr(pin);
	ibv_dereg_mr(all);
	munmap(p, N * T_PAGE);
	munmap(q, N * T_PAGE);
}

/*
 * Have the kernel give back what is freed. KASAN keeps freed objects in a quarantine for a while,
 * and they count as used slabs; to shrink a cache takes its objects out of there. A kernel without
 * these files has no quarantine.
 */
static void end_quarantine(void)
{
	glob_t caches;
	FILE *f;

	if (glob("/sys/kernel/slab/*/shrink", 0, NULL, &caches))
		return;
	for (size_t i = 0; i < caches.gl_pathc; i++) {
		f = fopen(caches.gl_pathv[i], "we");
		if (f) {
			fputs("1", f);
			fclose(f);
		}
	}
	globfree(&caches);
}

/* kB of the kernel's unreclaimable slabs, without those that only KASAN keeps. */
static long slab(void)
{
	char line[128];
	long kb = -1;
	FILE *f;

	end_quarantine();
	f = fopen("/proc/meminfo", "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "SUnreclaim: %ld", &kb) == 1)
			break;
	if (f)
		fclose(f);
	return kb;
}

/*
 * PREFETCH_NO_FAULT of 8 GiB where one page is: it is published, and no tables are made for the
 * rest.
 */
static void prefetch_nothing(struct t_dev *d)
{
	const size_t part = 2UL << 30, len = 4 * part;
	uint8_t *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), *src = t_map(T_PAGE);
	struct ibv_mr *m, *ms = t_reg(d->pd, src, T_PAGE, T_ALL_ACCESS);
	long before, more;
	struct t_ep a, b;

	if (p == MAP_FAILED)
		t_die("mmap of 8 GiB: %s", strerror(errno));
	madvise(p, len, MADV_NOHUGEPAGE);
	m = t_reg(d->pd, p, len, ODP_ALL);
	t_pat_fill(p + part + 5 * T_PAGE, T_PAGE, 740, 0);
	before = slab();
	for (size_t at = 0; at < len; at += part) {
		struct ibv_sge sg = { (uintptr_t)p + at, part, m->lkey };
		int rc = ibv_advise_mr(d->pd, IBV_ADVISE_MR_ADVICE_PREFETCH_NO_FAULT,
				       IBV_ADVISE_MR_FLAG_FLUSH, &sg, 1);

		if (rc)
			t_fail("PREFETCH_NO_FAULT: %s", strerror(rc));
	}
	more = slab() - before;
	t_note("PREFETCH_NO_FAULT of 8 GiB with one page: %ld kB more in slabs", more);
	/* A table for each 2 MiB is 16 MiB with pages of 4 KiB, and less with larger ones. */
	if (before < 0 || more > 8192 * 4096 / (long)T_PAGE)
		t_fail("PREFETCH_NO_FAULT makes tables for what is not there: %ld kB", more);
	t_pair_open(&a, d, &b, d, NULL);
	ev_read("READ of the one page", &a, src, T_PAGE, ms, p + part + 5 * T_PAGE, m);
	t_pat_check("READ of the one page", src, T_PAGE, 740, 0);
	t_ep_close(&a);
	t_ep_close(&b);
	ibv_dereg_mr(m);
	ibv_dereg_mr(ms);
	munmap(p, len);
	munmap(src, T_PAGE);
}

const struct t_test ev_reg[] = {
	{ "reg_time", reg_time, "registration of 4 KiB and of 1 TiB costs the same" },
	{ "many", many, "thousands of MRs over the same memory" },
	{ "vmpin", vmpin, "VmPin and VmLck stay 0" },
	{ "signal_storm", signal_storm, "registrations while signals arrive" },
	{ "refused", refused, "registrations and prefetches that must fail" },
	{ "prefetch_nothing", prefetch_nothing, "PREFETCH_NO_FAULT makes no tables for nothing" },
	{ "counters", counters, "an MR's counters, by the driver's method" },
	{ "leave_behind", leave_behind, "the context closes with everything alive" },
	{ 0 },
};
