// SPDX-License-Identifier: BSD-2-Clause
/*
 * Does what arrives equal what was sent?  72 transfers for each operation, over fresh memory. In
 * each payload, every byte follows from its position and from the number of the transfer.
 *
 * Works on any verbs device. Wrong bytes of a broken device are counted, and do not end the test.
 */
#include "t.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum op { WRITE, READ, SEND, FAA, IOVA, AFTER_READ, OP_N };
static const struct {
	const char *name, *title;
} op_of[OP_N] = {
	{ "write", "RDMA WRITE" },
	{ "read", "RDMA READ" },
	{ "send", "SEND" },
	{ "faa", "FETCH_ADD" },
	{ "iova", "WRITE, iova != va" },
	{ "after-read", "WRITE after READ" },
};

static const unsigned offsets[] = { 0, 1, 64, 1000, 2048, 4095, 4096 + 13, 8192 + 4088 };
static const unsigned lengths[] = { 1, 8, 100, 1024, 4096, 5000, 9000, 65536, (1 << 20) + 3 };
#define CASES (ARRAY_LEN(offsets) * ARRAY_LEN(lengths))
#define MARGIN (16 * T_PAGE) /* memory around the payload, on each side of a transfer */
#define OTHER_IOVA 0x7000123000ULL

struct count {
	unsigned cases, wrong, failed;
	uint64_t bytes, wrong_bytes;
	char why[160];
};

static struct t_dev *d, *d2;
static struct t_ep a, b;
static const char *dev, *dev2, *ops;
static int gid = 1, gid2 = -1;
static bool tsv;

__attribute__((format(printf, 2, 3))) static void why(struct count *c, const char *fmt, ...)
{
	va_list ap;

	if (c->why[0])
		return;
	va_start(ap, fmt);
	vsnprintf(c->why, sizeof(c->why), fmt, ap);
	va_end(ap);
}

static uint64_t wrong_bytes(const uint8_t *p, size_t len, uint64_t seq, uint64_t pos)
{
	uint64_t n = 0;

	if (t_pat_diff(p, len, seq, pos) < 0)
		return 0;
	for (size_t i = 0; i < len; i++)
		n += p[i] != t_pat(seq, pos + i);
	return n;
}

static uint64_t nonzero_bytes(const uint8_t *p, size_t len)
{
	uint64_t n = 0;

	if (t_zero_diff(p, len) < 0)
		return 0;
	for (size_t i = 0; i < len; i++)
		n += p[i] != 0;
	return n;
}

static bool complete(struct count *c, struct ibv_cq *cq, const char *what)
{
	struct ibv_wc wc;

	if (!t_wait(cq, &wc, t_slow(5))) {
		why(c, "%s: no completion", what);
		return false;
	}
	if (wc.status != IBV_WC_SUCCESS) {
		why(c, "%s: %s", what, ibv_wc_status_str(wc.status));
		return false;
	}
	return true;
}

/* One FETCH_ADD at an aligned place of B: checks the old value and the sum. */
static void fetch_add(struct count *c, uint8_t *src, struct ibv_mr *ms, uint8_t *dst,
		      struct ibv_mr *md, uint64_t seq)
{
	struct ibv_sge sg = t_sge(src, 8, ms->lkey);
	uint64_t start, got, want, add = t_mix(seq);
	struct t_wr w = { .op = IBV_WR_ATOMIC_FETCH_AND_ADD, .sg = &sg, .n = 1, .id = seq,
			  .raddr = (uintptr_t)dst, .rkey = md->rkey, .compare = add };

	t_pat_fill(dst, 8, seq, 0);
	memcpy(&start, dst, 8);
	memset(src, 0, 8);
	if (t_post(&a, &w) || !complete(c, a.scq, "FETCH_ADD")) {
		c->failed++;
		return;
	}
	c->bytes += 16;
	memcpy(&got, src, 8);
	memcpy(&want, dst, 8);
	if (got != start || want != start + add) {
		c->wrong++;
		c->wrong_bytes += (got != start) * 8 + (want != start + add) * 8;
		why(c, "old value %#llx, expected %#llx; sum %#llx, expected %#llx",
		    (unsigned long long)got, (unsigned long long)start, (unsigned long long)want,
		    (unsigned long long)(start + add));
	}
}

static bool one(struct count *c, enum op op, bool odp, unsigned off, unsigned len, uint64_t seq)
{
	unsigned acc = T_ALL_ACCESS | (odp ? IBV_ACCESS_ON_DEMAND : 0);
	const size_t side = ((len + T_PAGE - 1) & ~(T_PAGE - 1)) + MARGIN;
	uint8_t *am = t_map_between(side), *bm = t_map_between(side), *tm = bm;
	uint8_t *src = am + off, *dst = bm + 8192 + (off * 7 + 5) % 8192;
	uint64_t bva = (uintptr_t)dst, bad;
	unsigned fails = c->failed;
	struct ibv_mr *ms, *md;

	ms = ibv_reg_mr(d->pd, am, side, acc);
	md = op == IOVA ? ibv_reg_mr_iova(d2->pd, bm, side, OTHER_IOVA, acc) :
			  ibv_reg_mr(d2->pd, bm, side, acc);
	if (!ms || !md) {
		why(c, "registration: %s", strerror(errno));
		c->failed++;
		goto out;
	}
	if (op == IOVA)
		bva = OTHER_IOVA + (uint64_t)(dst - bm);
	if (op == FAA) {
		fetch_add(c, (uint8_t *)((uintptr_t)src & ~7UL), ms,
			  (uint8_t *)((uintptr_t)dst & ~7UL), md, seq);
		goto out;
	}
	if (op == AFTER_READ) { /* so that B's pages are first mapped read-only */
		if (t_post_one(&a, IBV_WR_RDMA_READ, src, len, ms->lkey, bva, md->rkey, seq) ||
		    !complete(c, a.scq, "READ")) {
			c->failed++;
			goto out;
		}
		bad = nonzero_bytes(src, len);
		if (bad) {
			c->wrong++;
			c->wrong_bytes += bad;
			why(c, "a READ of untouched memory gave other bytes than 0");
		}
	}
	if (op == READ) {
		t_pat_fill(dst, len, seq, 0);
	} else {
		t_pat_fill(src, len, seq, 0);
	}
	if (op == SEND && t_recv_one(&b, dst, len, md->lkey, seq)) {
		why(c, "post of a receive failed");
		c->failed++;
		goto out;
	}
	if (t_post_one(&a,
		       op == READ ? IBV_WR_RDMA_READ :
		       op == SEND ? IBV_WR_SEND :
				    IBV_WR_RDMA_WRITE,
		       src, len, ms->lkey, bva, md->rkey, seq) ||
	    !complete(c, a.scq, op_of[op].title) ||
	    (op == SEND && !complete(c, b.rcq, "receive"))) {
		c->failed++;
		goto out;
	}
	c->bytes += len;
	if (op == READ) {
		dst = src;
		tm = am;
	}
	/* The rest of the target's memory must still be zero: no byte was written elsewhere. */
	bad = wrong_bytes(dst, len, seq, 0) + nonzero_bytes(tm, (size_t)(dst - tm)) +
	      nonzero_bytes(dst + len, side - len - (size_t)(dst - tm));
	if (bad) {
		c->wrong++;
		c->wrong_bytes += bad;
		why(c, "first wrong one: offset %u, %u bytes", off, len);
	}
out:
	if (ms)
		ibv_dereg_mr(ms);
	if (md)
		ibv_dereg_mr(md);
	munmap(am - T_PAGE, side + 2 * T_PAGE);
	munmap(bm - T_PAGE, side + 2 * T_PAGE);
	return c->failed == fails;
}

static struct count run(enum op op, bool odp, unsigned rounds)
{
	struct count c = { 0 };
	uint64_t seq = 1;

	for (unsigned r = 0; r < rounds; r++)
		for (unsigned l = 0; l < ARRAY_LEN(lengths); l++)
			for (unsigned o = 0; o < ARRAY_LEN(offsets); o++) {
				c.cases++;
				if (!one(&c, op, odp, offsets[o], lengths[l], seq++))
					t_pair_again(&a, &b);
			}
	return c;
}

static void report(enum op op, bool odp, const struct count *c)
{
	char failed[64] = "";

	if (c->failed)
		snprintf(failed, sizeof(failed), ", %u failed", c->failed);
	if (tsv)
		printf("data\t%s\t%s\t%s\t%u\t%u\t%u\t%llu\t%llu\n", d->name, op_of[op].name,
		       odp ? "odp" : "pinned", c->cases, c->wrong, c->failed,
		       (unsigned long long)c->wrong_bytes, (unsigned long long)c->bytes);
	else
		printf("%-8s %-6s  %-18s %2u of %u transfers wrong%s, "
		       "%llu wrong bytes of %llu%s%s%s\n",
		       d->name, odp ? "ODP" : "pinned", op_of[op].title, c->wrong, c->cases, failed,
		       (unsigned long long)c->wrong_bytes, (unsigned long long)c->bytes,
		       c->why[0] ? " (" : "", c->why, c->why[0] ? ")" : "");
	fflush(stdout);
}

static void usage(FILE *f)
{
	fprintf(f,
		"usage: prxe-datacheck [--dev D] [--gid N] [--dev2 D] [--gid2 N]\n"
		"                      [--kind pinned|odp] [--rounds N] [--tsv]\n"
		"                      [--ops write,read,send,faa,iova,after-read]\n"
		"%u transfers for each operation and kind of memory; exit status 1 when a byte\n"
		"was wrong. --tsv prints a line of: data, device, operation, kind, transfers,\n"
		"wrong ones, failed ones, wrong bytes, bytes.\n",
		(unsigned)CASES);
}

int main(int argc, char **argv)
{
	static const struct option lo[] = {
		{ "dev", 1, NULL, 'd' },    { "gid", 1, NULL, 'x' },  { "dev2", 1, NULL, 'D' },
		{ "gid2", 1, NULL, 'X' },   { "kind", 1, NULL, 'k' }, { "ops", 1, NULL, 'o' },
		{ "rounds", 1, NULL, 'r' }, { "tsv", 0, NULL, 't' },  { "help", 0, NULL, 'h' },
		{ 0 },
	};
	const struct t_opt qo = { 0 };
	const char *kind = NULL;
	uint64_t wrong = 0, failed = 0, bytes = 0, transfers = 0;
	unsigned rounds = 1;
	int o;

	t_init();
	while ((o = getopt_long(argc, argv, "", lo, NULL)) != -1) {
		switch (o) {
		case 'd': dev = optarg; break;
		case 'D': dev2 = optarg; break;
		case 'x': gid = atoi(optarg); break;
		case 'X': gid2 = atoi(optarg); break;
		case 'k': kind = optarg; break;
		case 'o': ops = optarg; break;
		case 'r': rounds = (unsigned)atoi(optarg); break;
		case 't': tsv = true; break;
		case 'h': usage(stdout); return 0;
		default: usage(stderr); return 2;
		}
	}
	if (optind < argc || !rounds || (kind && strcmp(kind, "pinned") && strcmp(kind, "odp"))) {
		usage(stderr);
		return 2;
	}
	t_watchdog(240 + 60 * rounds);
	d = t_dev_open(dev, gid);
	d2 = dev2 ? t_dev_open(dev2, gid2 < 0 ? gid : gid2) : d;
	t_pair_open(&a, d, &b, d2, &qo);
	for (int odp = 0; odp < 2; odp++) {
		if (!t_list_has(kind, odp ? "odp" : "pinned"))
			continue;
		if (odp && !(d->odp && d2->odp)) {
			fprintf(tsv ? stderr : stdout,
				"%-8s ODP     not offered by this device\n", d->name);
			continue;
		}
		for (int op = 0; op < OP_N; op++) {
			struct count c;

			if (!t_list_has(ops, op_of[op].name))
				continue;
			c = run((enum op)op, odp, rounds);
			report((enum op)op, odp, &c);
			wrong += c.wrong_bytes;
			failed += c.failed;
			bytes += c.bytes;
			transfers += c.cases;
		}
	}
	t_ep_close(&a);
	t_ep_close(&b);
	if (d2 != d)
		t_dev_close(d2);
	t_dev_close(d);
	if (!tsv)
		printf("%llu wrong bytes of %llu, %llu failed of %llu transfers\n",
		       (unsigned long long)wrong, (unsigned long long)bytes,
		       (unsigned long long)failed, (unsigned long long)transfers);
	return wrong || failed || t_fails;
}
