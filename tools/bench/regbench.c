// SPDX-License-Identifier: BSD-2-Clause
/*
 * What registration costs, and what the first touch costs: pinned against ODP.
 *
 * Output, tab separated: metric, size, variant (pinned, odp, odp-prefetch, memset), pair, unit,
 * value.
 *   reg, dereg     registration of populated memory (beyond --populate bytes: only reserved memory)
 *   touch          the first RDMA WRITE over fresh memory of another process; memset: the first
 *                  touch by that process itself
 *   touch_again    the same WRITE once more
 *   touch_total    registration, prefetch if any, and the first WRITE
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

#define HUGE_PAGE (2UL << 20)
#define CHUNK (1UL << 20)
#define SRC_SIZE (4UL << 20)
#define DEPTH 16

enum variant { PINNED, ODP_COLD, ODP_PREFETCH, MEMSET, VARIANTS };
static const char *const variant_name[] = { "pinned", "odp", "odp-prefetch", "memset" };

static struct {
	const char *dev, *reg, *touch, *variants;
	int gid, pairs;
	size_t populate;
	bool small_pages, verify;
} opt = {
	.reg = "4K,1M,1G,1T",
	.touch = "16M,64M,256M",
	.gid = 1,
	.pairs = 3,
	.populate = 1UL << 30,
	.verify = true,
};

static size_t parse_size(const char *s, const char **end)
{
	char *e;
	size_t v = strtoull(s, &e, 10);

	switch (*e) {
	case 'K': v <<= 10; e++; break;
	case 'M': v <<= 20; e++; break;
	case 'G': v <<= 30; e++; break;
	case 'T': v <<= 40; e++; break;
	}
	if (e == s || !v || (*e && *e != ','))
		t_die("'%s' is not a list of sizes such as 4K,1M,1G", s);
	*end = *e ? e + 1 : e;
	return v;
}

static void out(const char *metric, size_t size, const char *variant, int pair, double us)
{
	printf("%s\t%zu\t%s\t%d\tus\t%.2f\n", metric, size, variant, pair, us);
	fflush(stdout);
}

/*
 * Fresh memory that starts at the boundary of a huge page, so that every run has the same mixture
 * of page sizes.
 */
static uint8_t *fresh(size_t size, int prot)
{
	size_t all = size + HUGE_PAGE;
	uint8_t *p = mmap(NULL, all, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), *q;

	if (p == MAP_FAILED)
		t_die("mmap of %zu bytes: %s", all, strerror(errno));
	q = (uint8_t *)(((uintptr_t)p + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1));
	if (q > p)
		munmap(p, (size_t)(q - p));
	munmap(q + size, HUGE_PAGE - (size_t)(q - p));
	if (opt.small_pages)
		madvise(q, size, MADV_NOHUGEPAGE);
	return q;
}

/* ---- registration ---- */

#define SIZES 16 /* of --reg, at most */
#define REGS 25 /* at most so many registrations make one figure */

struct region {
	size_t size;
	uint8_t *p;
	bool go[2]; /* PINNED, ODP_COLD */
	double reg[REGS], dereg[REGS];
};

static int reg_count(const struct region *r, enum variant v)
{
	return v == ODP_COLD || r->size <= 64 << 10 ? REGS : r->size <= 4 << 20 ? 9 : 1;
}

static bool reg_once(struct t_dev *d, struct region *r, enum variant v, int i)
{
	double t0 = t_now(), t1;
	unsigned acc = T_ALL_ACCESS | (v == ODP_COLD ? IBV_ACCESS_ON_DEMAND : 0);
	struct ibv_mr *mr = ibv_reg_mr(d->pd, r->p, r->size, acc);

	t1 = t_now();
	if (!mr) {
		fprintf(stderr, "registering %zu bytes %s: %s\n", r->size,
			v == ODP_COLD ? "with ODP" : "pinned", strerror(errno));
		return false;
	}
	if (ibv_dereg_mr(mr))
		t_die("ibv_dereg_mr: %s", strerror(errno));
	r->reg[i] = (t1 - t0) * 1e6;
	r->dereg[i] = (t_now() - t1) * 1e6;
	return true;
}

/*
 * Measure all sizes in turn, again and again: if the machine is slower for some milliseconds, that
 * affects all of them.
 */
static void bench_reg(struct t_dev *d)
{
	struct region *r = calloc(SIZES, sizeof(*r));
	size_t n = 0;

	for (const char *s = opt.reg; *s; n++) {
		bool reserved;

		if (!r || n == SIZES)
			t_die("--reg: too many sizes");
		r[n].size = parse_size(s, &s);
		reserved = r[n].size > opt.populate;
		r[n].go[PINNED] = !reserved && t_list_has(opt.variants, variant_name[PINNED]);
		r[n].go[ODP_COLD] = d->odp && t_list_has(opt.variants, variant_name[ODP_COLD]);
		r[n].p = fresh(r[n].size, reserved ? PROT_NONE : PROT_READ | PROT_WRITE);
		if (!reserved)
			memset(r[n].p, 1, r[n].size);
	}
	for (int pair = 1; pair <= opt.pairs; pair++) {
		for (enum variant v = PINNED; v <= ODP_COLD; v++) {
			for (int k = 0; k < REGS; k++)
				for (size_t i = 0; i < n; i++)
					if (r[i].go[v] && k < reg_count(&r[i], v))
						r[i].go[v] = reg_once(d, &r[i], v, k);
			for (size_t i = 0; i < n; i++) {
				if (!r[i].go[v])
					continue;
				out("reg", r[i].size, variant_name[v], pair,
				    t_median(r[i].reg, reg_count(&r[i], v)));
				out("dereg", r[i].size, variant_name[v], pair,
				    t_median(r[i].dereg, reg_count(&r[i], v)));
			}
		}
	}
	while (n--)
		munmap(r[n].p, r[n].size);
	free(r);
}

static const struct t_opt bench_qp = { .depth = DEPTH };

/* ---- first touch: the target is another process ---- */

struct order {
	size_t size; /* 0: end */
	enum variant v;
};
struct answer {
	uint64_t addr;
	uint32_t rkey;
	int err;
	double reg_us, memset_us;
};
static int sock;

/* The part of the source that is sent to that chunk. Neighbours get different parts. */
static size_t chunk_src(size_t chunk)
{
	return chunk * 7919 * 8 % (SRC_SIZE - CHUNK);
}

static void check(const uint8_t *p, size_t size)
{
	for (size_t o = 0; o < size; o += CHUNK) {
		size_t n = size - o < CHUNK ? size - o : CHUNK;

		if (!t_pat_check("first touch", p + o, n, 1, chunk_src(o / CHUNK)))
			return;
	}
}

static int prefetch(struct t_dev *d, struct ibv_mr *mr, uint8_t *p, size_t size)
{
	for (size_t o = 0; o < size;) {
		size_t n = size - o < 1UL << 30 ? size - o : 1UL << 30;
		struct ibv_sge sg = t_sge(p + o, n, mr->lkey);
		int rc = ibv_advise_mr(d->pd, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE,
				       IBV_ADVISE_MR_FLAG_FLUSH, &sg, 1);

		if (rc)
			return rc;
		o += n;
	}
	return 0;
}

/* The side of the target. */
static int serve(void)
{
	struct t_dev *d = t_dev_open(opt.dev, opt.gid);
	struct t_ep e;
	struct order o;

	t_ep_open(&e, d, &bench_qp);
	t_ep_meet(&e, sock);
	while (t_try_get(sock, &o, sizeof(o)) && o.size) {
		unsigned acc = T_ALL_ACCESS | (o.v == PINNED ? 0 : IBV_ACCESS_ON_DEMAND);
		struct answer an = { 0 };
		struct ibv_mr *mr = NULL;
		uint8_t *p = fresh(o.size, PROT_READ | PROT_WRITE);
		double t = t_now();
		char c;

		if (o.v == MEMSET) {
			memset(p, 1, o.size);
			an.memset_us = (t_now() - t) * 1e6;
		} else {
			mr = ibv_reg_mr(d->pd, p, o.size, acc);
			an.err = mr ? 0 : errno;
			if (mr && o.v == ODP_PREFETCH)
				an.err = prefetch(d, mr, p, o.size);
			an.reg_us = (t_now() - t) * 1e6;
			an.addr = (uintptr_t)p;
			an.rkey = mr ? mr->rkey : 0;
			if (an.err && mr) {
				ibv_dereg_mr(mr);
				mr = NULL;
			}
		}
		t_put(sock, &an, sizeof(an));
		if (mr && t_try_get(sock, &c, 1)) {
			if (opt.verify)
				check(p, o.size);
			t_put(sock, &c, 1);
			ibv_dereg_mr(mr);
		}
		munmap(p, o.size);
	}
	t_ep_close(&e);
	t_dev_close(d);
	return t_fails != 0;
}

static double write_all(struct t_ep *e, uint8_t *src, struct ibv_mr *ms, const struct answer *an,
			size_t size)
{
	size_t chunks = (size + CHUNK - 1) / CHUNK, posted = 0, done = 0;
	double t = t_now();
	struct ibv_wc wc;

	while (done < chunks) {
		for (; posted < chunks && posted < done + DEPTH; posted++) {
			size_t at = posted * CHUNK, n = size - at < CHUNK ? size - at : CHUNK;
			int rc = t_post_one(e, IBV_WR_RDMA_WRITE, src + chunk_src(posted),
					    (uint32_t)n, ms->lkey, an->addr + at, an->rkey, posted);

			if (rc)
				t_die("ibv_post_send: %s", strerror(rc));
		}
		if (!t_wait(e->scq, &wc, t_slow(60)))
			t_die("a WRITE to fresh memory did not complete within a minute");
		if (wc.status != IBV_WC_SUCCESS)
			t_die("a WRITE to fresh memory completed with '%s'",
			      ibv_wc_status_str(wc.status));
		done++;
	}
	return (t_now() - t) * 1e6;
}

static void touch_once(struct t_ep *e, uint8_t *src, struct ibv_mr *ms, size_t size, enum variant v,
		       int pair)
{
	struct order o = { size, v };
	struct answer an;
	double us;
	char c = 0;

	t_put(sock, &o, sizeof(o));
	t_get(sock, &an, sizeof(an));
	if (v == MEMSET) {
		out("touch", size, variant_name[v], pair, an.memset_us);
		return;
	}
	if (an.err) {
		fprintf(stderr, "%s, %zu bytes: %s: %s\n", variant_name[v], size,
			v == ODP_PREFETCH ? "registration or ibv_advise_mr" : "registration",
			strerror(an.err));
		return;
	}
	us = write_all(e, src, ms, &an, size);
	out("touch", size, variant_name[v], pair, us);
	out("touch_total", size, variant_name[v], pair, an.reg_us + us);
	out("touch_again", size, variant_name[v], pair, write_all(e, src, ms, &an, size));
	t_put(sock, &c, 1);
	t_get(sock, &c, 1);
}

static int bench_touch(void)
{
	int status = 0;
	const struct order end = { 0 };
	struct t_dev *d;
	struct ibv_mr *ms;
	struct t_ep e;
	uint8_t *src;
	pid_t pid;

	pid = t_fork(&sock);
	if (!pid)
		_exit(serve());
	d = t_dev_open(opt.dev, opt.gid);
	t_ep_open(&e, d, &bench_qp);
	t_ep_meet(&e, sock);
	src = t_map(SRC_SIZE);
	t_pat_fill(src, SRC_SIZE, 1, 0);
	ms = t_reg(d->pd, src, SRC_SIZE, T_ALL_ACCESS);
	for (const char *s = opt.touch; *s;) {
		size_t size = parse_size(s, &s);

		for (int pair = 1; pair <= opt.pairs; pair++)
			for (int v = 0; v < VARIANTS; v++)
				if (t_list_has(opt.variants, variant_name[v]) &&
				    (d->odp || v == PINNED || v == MEMSET))
					touch_once(&e, src, ms, size, (enum variant)v, pair);
	}
	t_put(sock, &end, sizeof(end));
	if (waitpid(pid, &status, 0) != pid || status)
		t_fail("the target process ended with status %#x", status);
	ibv_dereg_mr(ms);
	t_ep_close(&e);
	t_dev_close(d);
	return t_fails != 0;
}

static void usage(FILE *f)
{
	fprintf(f,
		"usage: prxe-regbench [--dev D] [--gid N] [--pairs N] [--reg 4K,1M,...]\n"
		"                     [--touch 16M,...] [--populate SIZE] [--small-pages]\n"
		"                     [--variants pinned,odp,odp-prefetch,memset] [--no-verify]\n"
		"An empty --reg or --touch leaves that part out. --small-pages: no huge pages.\n");
}

int main(int argc, char **argv)
{
	static const struct option lo[] = {
		{ "dev", 1, NULL, 'd' },	 { "gid", 1, NULL, 'x' },
		{ "pairs", 1, NULL, 'p' },	 { "reg", 1, NULL, 'r' },
		{ "touch", 1, NULL, 't' },	 { "variants", 1, NULL, 'v' },
		{ "populate", 1, NULL, 'P' },	 { "small-pages", 0, NULL, 's' },
		{ "no-verify", 0, NULL, 'n' },	 { "help", 0, NULL, 'h' },
		{ 0 },
	};
	const char *rest;
	int o, rc = 0;

	t_init();
	while ((o = getopt_long(argc, argv, "", lo, NULL)) != -1) {
		switch (o) {
		case 'd': opt.dev = optarg; break;
		case 'x': opt.gid = atoi(optarg); break;
		case 'p': opt.pairs = atoi(optarg); break;
		case 'r': opt.reg = optarg; break;
		case 't': opt.touch = optarg; break;
		case 'v': opt.variants = optarg; break;
		case 'P': opt.populate = parse_size(optarg, &rest); break;
		case 's': opt.small_pages = true; break;
		case 'n': opt.verify = false; break;
		case 'h': usage(stdout); return 0;
		default: usage(stderr); return 2;
		}
	}
	if (optind < argc || opt.pairs < 1) {
		usage(stderr);
		return 2;
	}
	t_watchdog(600);
	if (*opt.touch)
		rc = bench_touch();
	if (*opt.reg) {
		struct t_dev *d = t_dev_open(opt.dev, opt.gid);

		bench_reg(d);
		t_dev_close(d);
	}
	return rc || t_fails;
}
