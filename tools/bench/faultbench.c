// SPDX-License-Identifier: BSD-2-Clause
/*
 * What on-demand paging costs: faults compared with the CPU's own, first touch, munmap and fork of
 * mirrored memory, and very many MRs.
 *
 * Output, tab separated: metric, size, variant, pair, unit, value.
 *   fault_resident  a page that the process has mapped and the device has not
 *                   cpu: a page of a file in the page cache, mapped anew
 *   fault_missing   a page that nobody has touched               cpu: the same
 *   fault_swapped   a page that is in the swap device            cpu: the same
 *                   variants cpu, own (the poster's memory), other (another process's memory): the
 *                   time that the fault adds to an access, for each page
 *   touch_write, touch_read   the first transfer into fresh memory; variants first, and
 *                   memset+again: the time of the CPU's first touch and of the copy
 *   munmap, fork    of memory that is mirrored or plain, in huge or small pages
 *                   (the median of several)
 *   mr_reg, mr_dereg  of one of very many MRs; variants odp, pinned; odp-first: the mean of the
 *                   first thousandth
 * Variants alternate, so that a pair sees the same machine.
 */
#define _GNU_SOURCE
#include "t.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

#define HUGE_PAGE (2UL << 20)
#define PAGES 1024UL
#define CHUNK (1UL << 20)

static struct {
	const char *dev, *parts;
	int gid, pairs;
	unsigned mrs;
	size_t touch, map;
} opt = { .gid = 1, .pairs = 3, .mrs = 100000, .touch = 256UL << 20, .map = 1UL << 30 };

static const struct t_opt bench_qp = { .depth = 16 };

static void out(const char *metric, size_t size, const char *variant, int pair, double seconds)
{
	printf("%s\t%zu\t%s\t%d\tus\t%.3f\n", metric, size, variant, pair, seconds * 1e6);
	fflush(stdout);
}

/* Private memory that starts at the boundary of a huge page. @small: without huge pages. */
static uint8_t *fresh(size_t size, bool small)
{
	uint8_t *p = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), *q;

	if (p == MAP_FAILED)
		t_die("mmap of %zu bytes: %s", size, strerror(errno));
	q = (uint8_t *)(((uintptr_t)p + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1));
	if (q > p)
		munmap(p, (size_t)(q - p));
	munmap(q + size, HUGE_PAGE - (size_t)(q - p));
	madvise(q, size, small ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
	return q;
}

/* ---- one fault ---- */

enum state { RESIDENT, MISSING, SWAPPED, STATES };
static const char *const state_metric[] = { "fault_resident", "fault_missing", "fault_swapped" };

static void make_resident(uint8_t *p)
{
	for (size_t i = 0; i < PAGES; i++)
		p[i * T_PAGE] = (uint8_t)(i + 1);
}

/* Page all of it out to the swap device. Returns false if some of it stays in memory. */
static bool page_out(uint8_t *p)
{
	uint64_t before = t_status_kb("VmSwap");

	for (int i = 0; i < 5; i++) {
		madvise(p, PAGES * T_PAGE, MADV_PAGEOUT);
		if (t_status_kb("VmSwap") >= before + PAGES * T_PAGE / 1024)
			return true;
		usleep(10000);
	}
	return false;
}

static uint8_t *make_pages(enum state st)
{
	uint8_t *p = fresh(PAGES * T_PAGE, true);

	if (st != MISSING)
		make_resident(p);
	if (st == SWAPPED && !page_out(p)) {
		munmap(p, PAGES * T_PAGE);
		return NULL;
	}
	return p;
}

/*
 * The CPU writes to each page. Returns seconds for each page, less those of an access without a
 * fault.
 */
static double cpu_faults(enum state st)
{
	double t0, t1, t2;
	uint8_t *p;
	int fd = -1;

	if (st == RESIDENT) {
		/*
		 * What a minor fault costs the CPU: the page is in the page cache, the mapping is
		 * new.
		 */
		fd = memfd_create("faultbench", 0);
		if (fd < 0 || ftruncate(fd, PAGES * T_PAGE))
			t_die("memfd: %s", strerror(errno));
		p = mmap(NULL, PAGES * T_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (p == MAP_FAILED)
			t_die("mmap of a memfd: %s", strerror(errno));
		make_resident(p);
		munmap(p, PAGES * T_PAGE);
		p = mmap(NULL, PAGES * T_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	} else {
		p = make_pages(st);
	}
	if (!p || p == MAP_FAILED)
		return -1;
	t0 = t_now();
	for (size_t i = 0; i < PAGES; i++)
		*(volatile uint8_t *)(p + i * T_PAGE + 8) = 1;
	t1 = t_now();
	for (size_t i = 0; i < PAGES; i++)
		*(volatile uint8_t *)(p + i * T_PAGE + 8) = 2;
	t2 = t_now();
	munmap(p, PAGES * T_PAGE);
	if (fd >= 0)
		close(fd);
	return (t1 - t0 - (t2 - t1)) / PAGES;
}

struct order {
	int32_t what; /* enum state; STATES: end */
};
struct answer {
	uint64_t addr;
	uint32_t rkey;
	int32_t ok;
};

/* The side of the target, in another process or in this one. */
struct target {
	struct t_dev *d;
	uint8_t *p;
	struct ibv_mr *mr;
};

static struct answer target_make(struct target *t, enum state st)
{
	struct answer a = { 0 };

	t->p = make_pages(st);
	if (!t->p)
		return a;
	t->mr = t_reg(t->d->pd, t->p, PAGES * T_PAGE, T_ALL_ACCESS | IBV_ACCESS_ON_DEMAND);
	return (struct answer){ .addr = (uintptr_t)t->p, .rkey = t->mr->rkey, .ok = 1 };
}

/* Check what was written: 8 bytes in each page, which follow from the index of the page. */
static void target_done(struct target *t)
{
	for (size_t i = 0; i < PAGES; i++) {
		uint64_t want = t_mix(i), got;

		memcpy(&got, t->p + i * T_PAGE + 64, sizeof(got));
		if (got != want) {
			t_fail("page %zu has %#llx, not %#llx", i, (unsigned long long)got,
			       (unsigned long long)want);
			break;
		}
	}
	ibv_dereg_mr(t->mr);
	munmap(t->p, PAGES * T_PAGE);
}

static int sock;

static int serve(void)
{
	struct target t = { .d = t_dev_open(opt.dev, opt.gid) };
	struct order o;
	struct t_ep e;
	char c;

	t_ep_open(&e, t.d, &bench_qp);
	t_ep_meet(&e, sock);
	for (t_get(sock, &o, sizeof(o)); o.what != STATES; t_get(sock, &o, sizeof(o))) {
		struct answer a = target_make(&t, (enum state)o.what);

		t_put(sock, &a, sizeof(a));
		if (!a.ok)
			continue;
		t_get(sock, &c, 1);
		target_done(&t);
		t_put(sock, &c, 1);
	}
	t_ep_close(&e);
	t_dev_close(t.d);
	return t_fails != 0;
}

/* WRITE 8 bytes to each page, one after the other. Returns seconds for each page. */
static double write_pages(struct t_ep *e, uint64_t *src, struct ibv_mr *ms, const struct answer *a)
{
	double t = t_now();
	struct ibv_wc wc;

	for (size_t i = 0; i < PAGES; i++) {
		int rc = t_post_one(e, IBV_WR_RDMA_WRITE, &src[i], 8, ms->lkey,
				    a->addr + i * T_PAGE + 64, a->rkey, i);

		if (rc)
			t_die("ibv_post_send: %s", strerror(rc));
		if (!t_wait(e->scq, &wc, t_slow(30)) || wc.status != IBV_WC_SUCCESS)
			t_die("a WRITE of 8 bytes: '%s'", ibv_wc_status_str(wc.status));
	}
	return (t_now() - t) / PAGES;
}

/* The time that a fault adds: the first WRITE to each page less the second one. */
static double rdma_faults(struct t_ep *e, uint64_t *src, struct ibv_mr *ms, struct target *own,
			  enum state st)
{
	struct order o = { st };
	struct answer a;
	double first;
	char c = 0;

	if (own) {
		a = target_make(own, st);
	} else {
		t_put(sock, &o, sizeof(o));
		t_get(sock, &a, sizeof(a));
	}
	if (!a.ok)
		return -1;
	first = write_pages(e, src, ms, &a);
	first -= write_pages(e, src, ms, &a);
	if (own) {
		target_done(own);
	} else {
		t_put(sock, &c, 1);
		t_get(sock, &c, 1);
	}
	return first;
}

static void bench_faults(void)
{
	const struct order end = { STATES };
	struct t_ep a, b, far;
	struct target own;
	int status;
	struct ibv_mr *ms;
	uint64_t *src;
	pid_t pid;

	pid = t_fork(&sock);
	if (!pid)
		_exit(serve());
	own.d = t_dev_open(opt.dev, opt.gid);
	t_ep_open(&far, own.d, &bench_qp);
	t_ep_meet(&far, sock);
	t_pair_open(&a, own.d, &b, own.d, &bench_qp);
	src = t_map(PAGES * sizeof(*src));
	for (size_t i = 0; i < PAGES; i++)
		src[i] = t_mix(i);
	ms = t_reg(own.d->pd, src, PAGES * sizeof(*src), T_ALL_ACCESS);
	for (int pair = 1; pair <= opt.pairs; pair++) {
		for (int st = 0; st < STATES; st++) {
			double cpu = cpu_faults((enum state)st), mine, other;

			if (cpu < 0) {
				fprintf(stderr, "%s: nothing is paged out here (no swap?)\n",
					state_metric[st]);
				continue;
			}
			mine = rdma_faults(&a, src, ms, &own, (enum state)st);
			other = rdma_faults(&far, src, ms, NULL, (enum state)st);
			out(state_metric[st], T_PAGE, "cpu", pair, cpu);
			if (mine >= 0)
				out(state_metric[st], T_PAGE, "own", pair, mine);
			if (other >= 0)
				out(state_metric[st], T_PAGE, "other", pair, other);
		}
	}
	t_put(sock, &end, sizeof(end));
	if (waitpid(pid, &status, 0) != pid || status)
		t_fail("the target process ended with status %#x", status);
	ibv_dereg_mr(ms);
	t_ep_close(&a);
	t_ep_close(&b);
	t_ep_close(&far);
	t_dev_close(own.d);
}

/* ---- first touch ---- */

/* Run @op over all of [p, p + size), against a pinned buffer of one chunk. Returns seconds. */
static double transfer(struct t_ep *e, enum ibv_wr_opcode op, uint8_t *p, struct ibv_mr *mr,
		       uint8_t *other, struct ibv_mr *mo, size_t size)
{
	size_t posted = 0, done = 0, chunks = size / CHUNK;
	double t = t_now();
	struct ibv_wc wc;

	while (done < chunks) {
		for (; posted < chunks && posted < done + 8; posted++) {
			uint8_t *at = p + posted * CHUNK;
			int rc;

			/*
			 * The fresh memory is written: the remote side for a WRITE, the local side
			 * for a READ.
			 */
			rc = op == IBV_WR_RDMA_WRITE ?
				     t_post_one(e, op, other, CHUNK, mo->lkey, (uintptr_t)at,
						mr->rkey, posted) :
				     t_post_one(e, op, at, CHUNK, mr->lkey, (uintptr_t)other,
						mo->rkey, posted);

			if (rc)
				t_die("ibv_post_send: %s", strerror(rc));
		}
		if (!t_wait(e->scq, &wc, t_slow(60)) || wc.status != IBV_WC_SUCCESS)
			t_die("a transfer into fresh memory: '%s'", ibv_wc_status_str(wc.status));
		done++;
	}
	return t_now() - t;
}

static void bench_touch(void)
{
	static const struct {
		const char *metric;
		enum ibv_wr_opcode op;
	} how[] = { { "touch_write", IBV_WR_RDMA_WRITE }, { "touch_read", IBV_WR_RDMA_READ } };
	struct t_dev *d = t_dev_open(opt.dev, opt.gid);
	uint8_t *other = t_map(CHUNK);
	struct ibv_mr *mo = t_reg(d->pd, other, CHUNK, T_ALL_ACCESS);
	struct t_ep a, b;

	t_pat_fill(other, CHUNK, 5, 0);
	t_pair_open(&a, d, &b, d, &bench_qp);
	for (int pair = 1; pair <= opt.pairs; pair++) {
		for (size_t h = 0; h < ARRAY_LEN(how); h++) {
			uint8_t *p = fresh(opt.touch, false);
			struct ibv_mr *mr = t_reg(d->pd, p, opt.touch,
						  T_ALL_ACCESS | IBV_ACCESS_ON_DEMAND);
			double t, again;

			t = transfer(&a, how[h].op, p, mr, other, mo, opt.touch);
			out(how[h].metric, opt.touch, "first", pair, t);
			again = transfer(&a, how[h].op, p, mr, other, mo, opt.touch);
			for (size_t o = 0; o < opt.touch; o += CHUNK)
				if (!t_pat_check(how[h].metric, p + o, CHUNK, 5, 0))
					break;
			ibv_dereg_mr(mr);
			munmap(p, opt.touch);
			p = fresh(opt.touch, false);
			t = t_now();
			memset(p, 1, opt.touch);
			out(how[h].metric, opt.touch, "memset+again", pair,
			    t_now() - t + again);
			munmap(p, opt.touch);
		}
	}
	ibv_dereg_mr(mo);
	t_ep_close(&a);
	t_ep_close(&b);
	t_dev_close(d);
}

/* ---- munmap and fork ---- */

static void prefetch(struct t_dev *d, struct ibv_mr *mr, uint8_t *p, size_t size)
{
	struct ibv_sge sg = t_sge(p, size, mr->lkey);
	int rc = ibv_advise_mr(d->pd, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE, IBV_ADVISE_MR_FLAG_FLUSH,
			       &sg, 1);

	if (rc)
		t_die("ibv_advise_mr: %s", strerror(rc));
}

#define FORKS 5
#define UNMAPS 3

static double time_fork(void)
{
	double t = t_now();
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	t = t_now() - t;
	if (pid < 0 || waitpid(pid, NULL, 0) != pid)
		t_die("fork: %s", strerror(errno));
	return t;
}

static void map_once(struct t_dev *d, size_t size, bool small, bool mirrored, int pair)
{
	const char *variant = mirrored ? small ? "mirrored-small" : "mirrored" :
			      small ? "plain-small" : "plain";
	uint8_t *p = fresh(size, small);
	struct ibv_mr *mr = NULL;
	double forks[FORKS], unmaps[UNMAPS];
	const int flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

	memset(p, 1, size);
	if (mirrored)
		mr = t_reg(d->pd, p, size, T_ALL_ACCESS | IBV_ACCESS_ON_DEMAND);
	for (int i = 0; i < FORKS; i++) {
		if (mirrored)
			prefetch(d, mr, p, size);
		forks[i] = time_fork();
		/*
		 * fork() has removed the device's translations and write-protected our pages: touch
		 * all again.
		 */
		for (size_t o = 0; o < size; o += T_PAGE)
			p[o] = (uint8_t)i;
	}
	out("fork", size, variant, pair, t_median(forks, FORKS));
	for (int i = 0; i < UNMAPS; i++) {
		if (i) {
			if (mmap(p, size, PROT_READ | PROT_WRITE, flags, -1, 0) != p)
				t_die("mmap of %zu bytes: %s", size, strerror(errno));
			madvise(p, size, small ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
			memset(p, 1, size);
		}
		if (mirrored)
			prefetch(d, mr, p, size);
		unmaps[i] = t_now();
		munmap(p, size);
		unmaps[i] = t_now() - unmaps[i];
	}
	out("munmap", size, variant, pair, t_median(unmaps, UNMAPS));
	if (mr)
		ibv_dereg_mr(mr);
}

static void bench_maps(void)
{
	struct t_dev *d = t_dev_open(opt.dev, opt.gid);

	for (int pair = 1; pair <= opt.pairs; pair++)
		for (int v = 0; v < 4; v++)
			map_once(d, v & 2 ? opt.map / 4 : opt.map, v & 2, v & 1, pair);
	t_dev_close(d);
}

/* ---- very many MRs ---- */

static void many(struct t_dev *d, struct ibv_mr **mr, unsigned n, uint8_t *p, size_t size,
		 size_t each, bool odp, int pair)
{
	unsigned acc = T_ALL_ACCESS | (odp ? IBV_ACCESS_ON_DEMAND : 0), start = n / 1000;
	double from = t_now(), t;

	for (unsigned i = 0; i < n; i++) {
		mr[i] = ibv_reg_mr(d->pd, p + (size_t)i * 65536 % (size - each), each, acc);
		if (!mr[i])
			t_die("MR %u of %u: %s", i, n, strerror(errno));
		t = t_now();
		if (odp && start && i + 1 == start)
			out("mr_reg", each, "odp-first", pair, (t - from) / start);
	}
	out("mr_reg", each, odp ? "odp" : "pinned", pair, (t_now() - from) / n);
	from = t_now();
	for (unsigned i = 0; i < n; i++)
		if (ibv_dereg_mr(mr[i]))
			t_die("deregistration of MR %u of %u: %s", i, n, strerror(errno));
	out("mr_dereg", each, odp ? "odp" : "pinned", pair, (t_now() - from) / n);
}

static void bench_mrs(void)
{
	struct t_dev *d = t_dev_open(opt.dev, opt.gid);
	struct ibv_mr **mr = calloc(opt.mrs, sizeof(struct ibv_mr *));
	size_t size = 64UL << 20, each = 4UL << 20;
	uint8_t *p = fresh(size, false);

	if (!mr)
		t_die("no memory");
	memset(p, 1, size);
	for (int pair = 1; pair <= opt.pairs; pair++) {
		many(d, mr, opt.mrs, p, size, each, true, pair);
		/*
		 * A hundredth of them: to pin as many MRs as there are ODP ones would take minutes.
		 */
		many(d, mr, opt.mrs / 100 ? opt.mrs / 100 : 1, p, size, each, false, pair);
	}
	free(mr);
	munmap(p, size);
	t_dev_close(d);
}

int main(int argc, char **argv)
{
	static const struct option lo[] = {
		{ "dev", 1, NULL, 'd' },
		{ "gid", 1, NULL, 'x' },
		{ "pairs", 1, NULL, 'p' },
		{ "parts", 1, NULL, 'P' },
		{ "mrs", 1, NULL, 'm' },
		{ "help", 0, NULL, 'h' },
		{ 0 },
	};
	static const struct {
		const char *name;
		void (*run)(void);
	} part[] = {
		{ "faults", bench_faults },
		{ "touch", bench_touch },
		{ "maps", bench_maps },
		{ "mrs", bench_mrs },
	};
	bool bad = false;
	int o;

	t_init();
	while ((o = getopt_long(argc, argv, "", lo, NULL)) != -1) {
		switch (o) {
		case 'd': opt.dev = optarg; break;
		case 'x': opt.gid = atoi(optarg); break;
		case 'p': opt.pairs = atoi(optarg); break;
		case 'P': opt.parts = optarg; break;
		case 'm': opt.mrs = (unsigned)atoi(optarg); break;
		default: bad = true;
		}
	}
	if (bad || optind < argc || opt.pairs < 1 || opt.mrs < 1) {
		fprintf(stderr, "usage: prxe-faultbench [--dev D] [--gid N] [--pairs N]\n"
				"                       "
				"[--parts faults,touch,maps,mrs] [--mrs N]\n");
		return 2;
	}
	for (char *list = strdup(opt.parts ? opt.parts : ""), *w = strtok(list, ",");
	     w; w = strtok(NULL, ",")) {
		size_t i = 0;

		while (i < ARRAY_LEN(part) && strcmp(w, part[i].name))
			i++;
		if (i == ARRAY_LEN(part)) {
			fprintf(stderr, "prxe-faultbench: there is no part '%s': "
				"faults, touch, maps, mrs, with commas between them\n", w);
			return 2;
		}
	}
	t_watchdog(600);
	for (size_t i = 0; i < ARRAY_LEN(part); i++)
		if (t_list_has(opt.parts, part[i].name))
			part[i].run();
	return t_fails != 0;
}
