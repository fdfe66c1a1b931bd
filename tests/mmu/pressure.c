// SPDX-License-Identifier: BSD-2-Clause
/*
 * prxe-pressure: more on-demand memory than there is. The script sets up a cgroup with a limit, and
 * swap; this program joins the cgroup.
 *
 *   round   WRITE a region of several times the limit, READ it back
 *   tables  mirror a region without a limit: what that costs the cgroup
 *   pinned  the same region, pinned: must fail (exit status 3: refused)
 *   hot     pages that only transfers use stay in memory better than pages that nobody uses
 *   oom     the owner of a region is OOM-killed in the middle of transfers
 *   short   nobody can be OOM-killed: the transfer waits until there is memory again
 */
#define _GNU_SOURCE
#include "lib/t.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define ODP_ALL (T_ALL_ACCESS | IBV_ACCESS_ON_DEMAND)
#define CHUNK (256UL << 10)
#define REFUSED 3

static struct {
	const char *dev, *cgroup;
	int gid;
	size_t size;
	bool tsv;
} opt = { .gid = 1, .size = 256UL << 20 };

static void join_cgroup(void)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/cgroup.procs", opt.cgroup);
	f = fopen(path, "w");
	if (!f || fprintf(f, "0\n") < 0 || fclose(f))
		t_die("%s: %s", path, strerror(errno));
}

/* A line of memory.stat or memory.events, in bytes or events; -1: not there. */
static long cgroup_value(const char *file, const char *field)
{
	char path[256], line[128];
	size_t n = strlen(field);
	long v = -1;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", opt.cgroup, file);
	f = fopen(path, "r");
	while (f && v < 0 && fgets(line, sizeof(line), f))
		if (!strncmp(line, field, n) && line[n] == ' ')
			v = strtol(line + n, NULL, 10);
	if (f)
		fclose(f);
	return v;
}

/* Kernel memory of the cgroup, without the page tables of its processes, which grow as well. */
static long kernel_bytes(void)
{
	long all = cgroup_value("memory.stat", "kernel");
	long pt = cgroup_value("memory.stat", "pagetables");

	if (all < 0 || pt < 0)
		t_die("%s/memory.stat says nothing of kernel and pagetables", opt.cgroup);
	return all - pt;
}

struct bench {
	struct t_dev *d;
	struct t_ep a, b;
	uint8_t *near, *far; /* a chunk, and the region */
	struct ibv_mr *mnear, *mfar;
};

static void *no_huge(size_t size)
{
	void *p = t_map(size);

	madvise(p, size, MADV_NOHUGEPAGE);
	return p;
}

static void bench_open(struct bench *w, size_t far)
{
	memset(w, 0, sizeof(*w));
	w->d = t_dev_open(opt.dev, opt.gid);
	t_pair_open(&w->a, w->d, &w->b, w->d, NULL);
	w->near = no_huge(CHUNK);
	w->mnear = t_reg(w->d->pd, w->near, CHUNK, ODP_ALL);
	w->far = no_huge(far);
	w->mfar = t_reg(w->d->pd, w->far, far, ODP_ALL);
}

static void bench_close(struct bench *w)
{
	t_ep_close(&w->a);
	t_ep_close(&w->b);
	ibv_dereg_mr(w->mnear);
	ibv_dereg_mr(w->mfar);
	t_dev_close(w->d);
}

static void move(struct bench *w, enum ibv_wr_opcode op, size_t at, size_t len)
{
	struct ibv_wc wc;

	if (t_post_one(&w->a, op, w->near, (uint32_t)len, w->mnear->lkey,
		       (uintptr_t)(w->far + at), w->mfar->rkey, at))
		t_die("post failed");
	if (!t_wait(w->a.scq, &wc, t_slow(30)))
		t_die("no completion of a transfer at %zu MiB within %.0f s", at >> 20, t_slow(30));
	if (wc.status)
		t_die("opcode %d at %zu MiB: '%s'", op, at >> 20, ibv_wc_status_str(wc.status));
}

/* Each page says where it belongs, and compresses well: the swap (zram) is in memory, too. */
static void fill(uint8_t *p, uint64_t seq, size_t at)
{
	for (size_t i = 0; i < CHUNK; i += T_PAGE) {
		memset(p + i, t_pat(seq, at + i + 1), T_PAGE);
		t_pat_fill(p + i, 128, seq, at + i);
	}
}

static void round_trip(uint64_t seq)
{
	uint8_t *want = no_huge(CHUNK);
	struct bench w;
	long before, peak = 0, now;
	double from = t_now();

	bench_open(&w, opt.size);
	before = kernel_bytes();
	for (size_t at = 0; at < opt.size; at += CHUNK) {
		fill(w.near, seq, at);
		move(&w, IBV_WR_RDMA_WRITE, at, CHUNK);
		now = kernel_bytes() - before;
		peak = now > peak ? now : peak;
	}
	for (size_t at = 0; at < opt.size; at += CHUNK) {
		memset(w.near, 0xee, CHUNK);
		move(&w, IBV_WR_RDMA_READ, at, CHUNK);
		fill(want, seq, at);
		if (memcmp(w.near, want, CHUNK))
			t_fail("at %zu MiB other data came back", at >> 20);
		now = kernel_bytes() - before;
		peak = now > peak ? now : peak;
	}
	t_note("%zu MiB there and back in %.1f s, %llu MiB of it in swap at the end; "
	       "kernel memory grew by %ld KiB at most", opt.size >> 20, t_now() - from,
	       (unsigned long long)t_status_kb("VmSwap") >> 10, peak >> 10);
	if (t_status_kb("VmSwap") < opt.size / 2048)
		t_fail("only %llu KiB of it are swapped out: there is no pressure",
		       (unsigned long long)t_status_kb("VmSwap"));
	if (t_status_kb("VmPin") || t_status_kb("VmLck"))
		t_fail("memory is pinned");
	if (peak > 4L << 20)
		t_fail("the kernel took %ld KiB for it", peak >> 10);
	bench_close(&w);
}

/* No limit here, so nothing is reclaimed: the cgroup is charged what a mirror of all this needs. */
static void tables(void)
{
	long before, grown;
	struct bench w;

	bench_open(&w, opt.size);
	move(&w, IBV_WR_RDMA_WRITE, 0, CHUNK);
	before = kernel_bytes();
	for (size_t at = 0; at < opt.size; at += CHUNK)
		move(&w, IBV_WR_RDMA_WRITE, at, CHUNK);
	grown = kernel_bytes() - before;
	t_note("%zu MiB mirrored: %ld KiB of kernel memory, charged to the cgroup",
	       opt.size >> 20, grown >> 10);
	/* A mirror needs 8 bytes for each page at least. */
	if (grown < (long)(opt.size / T_PAGE * 8) * 3 / 4)
		t_fail("the tables are not charged to the cgroup of their process");
	if (grown > 4L << 20)
		t_fail("that is too much");
	bench_close(&w);
}

static int pinned(void)
{
	struct t_dev *d = t_dev_open(opt.dev, opt.gid);
	void *p = no_huge(opt.size);
	struct ibv_mr *mr = ibv_reg_mr(d->pd, p, opt.size, T_ALL_ACCESS);

	if (mr) {
		t_fail("%zu MiB could be pinned", opt.size >> 20);
		return 0;
	}
	t_note("pinning %zu MiB: %s", opt.size >> 20, strerror(errno));
	return REFUSED;
}

/* How many pages of it are in memory; @back: fetch the others. */
static unsigned long resident(struct bench *w, int pagemap, size_t from, size_t len, bool back)
{
	static uint64_t entry[CHUNK / 4096]; /* no page is smaller */
	const size_t size = CHUNK / T_PAGE * sizeof(*entry);
	unsigned long n = 0;

	for (size_t at = from; at < from + len; at += CHUNK) {
		if (pread(pagemap, entry, size,
			  (off_t)((uintptr_t)(w->far + at) / T_PAGE * 8)) != (ssize_t)size)
			t_die("/proc/self/pagemap: %s", strerror(errno));
		for (size_t i = 0; i < CHUNK / T_PAGE; i++) {
			n += entry[i] >> 63;
			if (back && !(entry[i] >> 63))
				move(w, IBV_WR_RDMA_READ, at + i * T_PAGE, 64);
		}
	}
	return n;
}

static bool ageing(void)
{
	char on = 0;
	int fd = open("/sys/module/prxe/parameters/ageing", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, &on, 1) != 1)
		t_die("the parameter ageing: %s", strerror(errno));
	close(fd);
	return on == 'Y';
}

/*
 * Two sets of pages, of the same size. Transfers READ all of the hot set again and again; of the
 * other set they READ only pages that were reclaimed, to bring them back. So reclaim that does not
 * know of the transfers (ageing=0) cannot tell the two apart.
 */
static void hot(void)
{
	size_t set = opt.size / 8, stream = opt.size, step = opt.size / 64, at = 0;
	int pm = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	unsigned long lost_hot = 0, lost_cold = 0, looks = 0, all = set / T_PAGE;
	uint8_t *cold = no_huge(stream);
	struct bench w;

	bench_open(&w, 2 * set);
	for (size_t i = 0; i < 2 * set; i += CHUNK)
		move(&w, IBV_WR_RDMA_WRITE, i, CHUNK);
	for (; looks < 2 * stream / step; looks++) {
		for (size_t i = 0; i < step; i += T_PAGE, at = (at + T_PAGE) % stream)
			cold[at]++;
		lost_hot += all - resident(&w, pm, 0, set, false);
		lost_cold += all - resident(&w, pm, set, set, true);
		for (size_t i = 0; i < set; i += CHUNK)
			move(&w, IBV_WR_RDMA_READ, i, CHUNK);
	}
	t_note("%lu pages each, looked at %lu times: hot ones were gone %lu times, "
	       "others %lu times; %ld refaults in the cgroup",
	       all, looks, lost_hot, lost_cold,
	       cgroup_value("memory.stat", "workingset_refault_anon"));
	if (opt.tsv) {
		const char *v = ageing() ? "on" : "off";

		printf("reclaim_hot\t%zu\t%s\t1\tpages\t%lu\n", set, v, lost_hot);
		printf("reclaim_other\t%zu\t%s\t1\tpages\t%lu\n", set, v, lost_cold);
		printf("reclaim_refaults\t%zu\t%s\t1\tpages\t%ld\n", set, v,
		       cgroup_value("memory.stat", "workingset_refault_anon"));
	}
	if (lost_cold < all / 2)
		t_fail("there is no pressure");
	/*
	 * With ageing about one hot page is lost for 40 others. Without it one for 3, because
	 * reclaim spares a page for a while that was just brought back.
	 */
	if (ageing() && lost_hot * 12 > lost_cold)
		t_fail("reclaim does not see that transfers use the hot pages");
	if (!ageing() && lost_hot * 12 < lost_cold)
		t_fail("without ageing the hot pages are spared all the same: "
		       "this test shows nothing");
	close(pm);
	bench_close(&w);
}

/* ---- oom ---- */

struct hello {
	struct t_addr addr;
	uint64_t va;
	uint32_t rkey;
};

static const struct t_opt short_wait = { .timeout = 14, .retry_cnt = 5 };

static void owner(int fd)
{
	struct t_dev *d;
	struct hello me, peer;
	struct ibv_mr *m;
	struct t_ep e;
	uint8_t *p;

	join_cgroup();
	d = t_dev_open(opt.dev, opt.gid);
	p = no_huge(opt.size);
	m = t_reg(d->pd, p, opt.size, ODP_ALL);
	t_ep_open(&e, d, &short_wait);
	me = (struct hello){ e.me, (uintptr_t)p, m->rkey };
	t_put(fd, &me, sizeof(me));
	t_get(fd, &peer, sizeof(peer));
	t_ep_connect(&e, &peer.addr);
	t_put(fd, "r", 1);
	sleep(60);
	_exit(0);
}

static void oom(void)
{
	struct t_ep e, x, y;
	struct hello me, peer;
	struct ibv_wc wc = { 0 };
	struct t_dev *d;
	struct ibv_mr *m;
	uint8_t *src;
	int sock, st;
	size_t at = 0;
	pid_t pid;
	char c;

	pid = t_fork(&sock);
	if (!pid)
		owner(sock);
	d = t_dev_open(opt.dev, opt.gid);
	src = no_huge(CHUNK);
	m = t_reg(d->pd, src, CHUNK, ODP_ALL);
	t_pat_fill(src, CHUNK, 1, 0);
	t_ep_open(&e, d, &short_wait);
	t_get(sock, &peer, sizeof(peer));
	me = (struct hello){ e.me, 0, 0 };
	t_put(sock, &me, sizeof(me));
	t_get(sock, &c, 1);
	t_ep_connect(&e, &peer.addr);
	/* WRITE to all that it registered, which is more than it may have. */
	for (; at < opt.size && !wc.status; at += CHUNK) {
		if (t_post_one(&e, IBV_WR_RDMA_WRITE, src, CHUNK, m->lkey, peer.va + at,
			       peer.rkey, at))
			t_die("post failed");
		if (!t_wait(e.scq, &wc, t_slow(30)))
			t_die("a WRITE to a process without memory hangs");
	}
	t_note("'%s' at %zu MiB; oom_kill %ld", ibv_wc_status_str(wc.status), at >> 20,
	       cgroup_value("memory.events", "oom_kill"));
	if (wc.status != IBV_WC_REM_ACCESS_ERR && wc.status != IBV_WC_RETRY_EXC_ERR)
		t_fail("the WRITEs ended with '%s'", ibv_wc_status_str(wc.status));
	for (double end = t_now() + t_slow(10); waitpid(pid, &st, WNOHANG) != pid; usleep(10000))
		if (t_now() > end) {
			t_fail("the owner lives");
			kill(pid, SIGKILL);
		}
	if (!WIFSIGNALED(st) || WTERMSIG(st) != SIGKILL ||
	    cgroup_value("memory.events", "oom_kill") < 1)
		t_fail("the owner was not killed for its memory (status %#x)", st);
	t_ep_close(&e);
	ibv_dereg_mr(m);
	t_pair_open(&x, d, &y, d, NULL);
	t_pair_works("the device after the owner's death", &x, &y);
	t_ep_close(&x);
	t_ep_close(&y);
	t_dev_close(d);
}

/* ---- short ---- */

static void write_text(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	if (!f || fprintf(f, "%s\n", text) < 0 || fclose(f))
		t_die("%s: %s", path, strerror(errno));
}

static void limit_cgroup(const char *file, const char *value)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", opt.cgroup, file);
	write_text(path, value);
}

/* Runs outside of the cgroup: when told to, limits it for a second. */
__attribute__((noreturn)) static void limiter(int sock)
{
	char c;

	t_get(sock, &c, 1);
	limit_cgroup("memory.swap.max", "0");
	limit_cgroup("memory.max", "1M");
	t_put(sock, "l", 1);
	sleep(1);
	limit_cgroup("memory.max", "max");
	_exit(0);
}

/* When memory cannot be had, a CPU that touches it tries again until it can; so does a transfer. */
static void shortage(void)
{
	const size_t size = 4UL << 20;
	struct t_ep a, b;
	struct t_dev *d;
	struct ibv_mr *ms, *mt;
	uint8_t *src, *dst;
	int sock, st;
	pid_t pid = t_fork(&sock);
	char c;

	if (!pid)
		limiter(sock);
	join_cgroup();
	write_text("/proc/self/oom_score_adj", "-1000");
	d = t_dev_open(opt.dev, opt.gid);
	src = no_huge(size);
	dst = no_huge(size);
	ms = t_reg(d->pd, src, size, ODP_ALL);
	mt = t_reg(d->pd, dst, size, ODP_ALL);
	t_pair_open(&a, d, &b, d, NULL);
	t_pat_fill(src, size, 21, 0);
	t_put(sock, "g", 1);
	t_get(sock, &c, 1);
	if (t_post_one(&a, IBV_WR_RDMA_WRITE, src, (uint32_t)size, ms->lkey, (uintptr_t)dst,
		       mt->rkey, 1))
		t_die("post failed");
	t_none("a WRITE into memory that there is not", a.scq, 0.5);
	if (t_expect("a WRITE into memory that there is again", a.scq, IBV_WC_SUCCESS, NULL))
		t_pat_check("a WRITE into memory that there is again", dst, size, 21, 0);
	if (waitpid(pid, &st, 0) != pid || st)
		t_fail("the limits could not be set: status %#x", st);
	t_ep_close(&a);
	t_ep_close(&b);
	ibv_dereg_mr(ms);
	ibv_dereg_mr(mt);
	t_dev_close(d);
}

static void usage(void)
{
	puts("usage: prxe-pressure [-d DEV] [-g GID] [-m MIB] [-T] -C CGROUP\n"
	     "                     round|tables|pinned|hot|oom|short\n"
	     "-T: the figures of hot as samples, tab separated");
	exit(2);
}

int main(int argc, char **argv)
{
	const char *what;
	int c;

	t_init();
	while ((c = getopt(argc, argv, "d:g:m:C:T")) != -1) {
		switch (c) {
		case 'd': opt.dev = optarg; break;
		case 'g': opt.gid = atoi(optarg); break;
		case 'm': opt.size = strtoull(optarg, NULL, 0) << 20; break;
		case 'C': opt.cgroup = optarg; break;
		case 'T': opt.tsv = true; break;
		default: usage();
		}
	}
	if (argc != optind + 1 || !opt.cgroup || opt.size < 8UL << 20)
		usage();
	what = argv[optind];
	t_watchdog(150);
	t_context("%s", what);
	if (!strcmp(what, "oom")) {
		oom();
		return t_done("pressure oom");
	}
	if (!strcmp(what, "short")) {
		shortage();
		return t_done("pressure short");
	}
	join_cgroup();
	if (!strcmp(what, "pinned"))
		return pinned();
	if (!strcmp(what, "round"))
		round_trip((uint64_t)getpid());
	else if (!strcmp(what, "tables"))
		tables();
	else if (!strcmp(what, "hot"))
		hot();
	else
		usage();
	return t_done("pressure");
}
