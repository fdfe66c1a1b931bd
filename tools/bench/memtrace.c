// SPDX-License-Identifier: BSD-2-Clause
/*
 * Memory over time: how much memory a process has whose buffer is a target of RDMA, while transfers
 * arrive and while the kernel wants memory back.
 *
 *   pressure   register, WRITE half of the buffer, have the kernel reclaim the process's memory,
 *              READ a part of it back. The steps begin at the same times for both variants.
 *   bigger     WRITE all of the buffer and READ it back, in a control group whose limit is smaller
 *              than the buffer. Pinned, the registration fails or the process is killed for it.
 *
 * The process joins the control group GROUP, which the caller has made; swap is the caller's too.
 * All contents are checked. Output, tab separated, with seconds since the scene began:
 *   at      SCENE VARIANT SECONDS RESIDENT PINNED SWAPPED FAULTS     KiB (RssAnon, VmPin, VmSwap)
 *   event   SCENE VARIANT SECONDS WHAT
 *   result  SCENE VARIANT BUFFER LIMIT BYTES WRONG WHAT              BUFFER, LIMIT in bytes
 */
#define _GNU_SOURCE
#include "t.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHUNK (256UL << 10)

static struct {
	const char *dev, *group;
	int gid;
	size_t size, limit;
	bool pinned;
	unsigned every_ms;
} opt = { .gid = 1, .size = 20UL << 20, .limit = 8UL << 20, .every_ms = 40 };

static const char *scene, *variant;

/* ---- the control group ---- */

static bool group_write(const char *file, const char *text)
{
	char path[256];
	bool ok;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", opt.group, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	if (fd >= 0)
		close(fd);
	return ok;
}

static void group_must_write(const char *file, const char *text)
{
	if (!group_write(file, text))
		t_die("writing %s to %s/%s: %s", text, opt.group, file, strerror(errno));
}

static void group_limit(size_t bytes)
{
	char text[32];

	snprintf(text, sizeof(text), "%zu", bytes);
	group_must_write("memory.max", bytes ? text : "max");
}

/*
 * Ask the kernel to reclaim as many bytes as the buffer has. Less than that can be reclaimed, so
 * the kernel may return EAGAIN; that is no failure.
 */
static void group_reclaim(void)
{
	char text[32];

	snprintf(text, sizeof(text), "%zu", opt.size);
	if (!group_write("memory.reclaim", text) && errno != EAGAIN)
		t_die("memory.reclaim of %s: %s", opt.group, strerror(errno));
}

/* ---- samples: a thread takes them ---- */

static struct {
	pthread_t thread;
	pid_t pid;
	int counter; /* fd of the counter page_faults; -1: the device has none */
	unsigned long long faults; /* its first value */
	double from;
	atomic_bool stop;
} sampler;

static double seconds(void)
{
	return t_now() - sampler.from;
}

static void event(const char *what)
{
	printf("event\t%s\t%s\t%.3f\t%s\n", scene, variant, seconds(), what);
	fflush(stdout);
}

/* The core may return a value that is up to 10 ms old. */
static unsigned long long read_faults(void)
{
	char text[32] = "";

	if (sampler.counter < 0)
		return 0;
	if (pread(sampler.counter, text, sizeof(text) - 1, 0) <= 0)
		t_die("the counter page_faults: %s", strerror(errno));
	return strtoull(text, NULL, 10);
}

static unsigned long field(const char *status, const char *name)
{
	const char *p = strstr(status, name);

	return p ? strtoul(p + strlen(name), NULL, 10) : 0;
}

static void take_sample(void)
{
	static char status[8192];
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/status", sampler.pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return; /* killed */
	n = read(fd, status, sizeof(status) - 1);
	close(fd);
	status[n > 0 ? n : 0] = 0;
	if (!strstr(status, "RssAnon:"))
		return; /* killed, but its parent has not waited for it yet */
	printf("at\t%s\t%s\t%.3f\t%lu\t%lu\t%lu\t%llu\n", scene, variant, seconds(),
	       field(status, "RssAnon:"), field(status, "VmPin:"), field(status, "VmSwap:"),
	       read_faults() - sampler.faults);
	fflush(stdout);
}

static void *sample_all(void *arg)
{
	(void)arg;
	while (!atomic_load(&sampler.stop)) {
		take_sample();
		usleep(opt.every_ms * 1000);
	}
	return NULL;
}

static void sampler_start(pid_t pid)
{
	char path[256];

	snprintf(path, sizeof(path), "/sys/class/infiniband/%s/ports/1/hw_counters/page_faults",
		 opt.dev);
	sampler.counter = open(path, O_RDONLY | O_CLOEXEC);
	sampler.pid = pid;
	sampler.faults = read_faults();
	sampler.from = t_now();
	if (pthread_create(&sampler.thread, NULL, sample_all, NULL))
		t_die("no thread");
}

static void sampler_stop(void)
{
	atomic_store(&sampler.stop, true);
	pthread_join(sampler.thread, NULL);
	if (sampler.counter >= 0)
		close(sampler.counter);
}

/* ---- the process that has the buffer ---- */

struct answer {
	uint64_t addr;
	uint32_t rkey;
	int err;
};

static const struct t_opt qp = { .depth = 4 };

/* Registers when it is told to. After that it does nothing until the end. */
static int serve(int sock)
{
	unsigned acc = T_ALL_ACCESS | (opt.pinned ? 0 : IBV_ACCESS_ON_DEMAND);
	struct t_dev *d = t_dev_open(opt.dev, opt.gid);
	struct answer an = { 0 };
	struct ibv_mr *mr;
	struct t_ep e;
	char word = 0;
	uint8_t *p;

	t_ep_open(&e, d, &qp);
	t_ep_meet(&e, sock);
	group_must_write("cgroup.procs", "0");
	p = t_map(opt.size);
	t_put(sock, &word, 1);
	t_get(sock, &word, 1);
	mr = ibv_reg_mr(d->pd, p, opt.size, acc);
	an.err = mr ? 0 : errno;
	an.addr = (uintptr_t)p;
	an.rkey = mr ? mr->rkey : 0;
	t_put(sock, &an, sizeof(an));
	t_try_get(sock, &word, 1);
	if (mr)
		ibv_dereg_mr(mr);
	t_ep_close(&e);
	t_dev_close(d);
	return 0;
}

/* ---- the process that transfers ---- */

static struct {
	int sock;
	pid_t pid;
	struct t_dev *d;
	struct t_ep e;
	uint8_t *near, *want;
	struct ibv_mr *mr;
	struct answer far;
	size_t bytes, wrong;
} c;

static void client_open(void)
{
	char ready;

	c.pid = t_fork(&c.sock);
	if (!c.pid)
		_exit(serve(c.sock));
	c.d = t_dev_open(opt.dev, opt.gid);
	t_ep_open(&c.e, c.d, &qp);
	t_ep_meet(&c.e, c.sock);
	c.near = t_map(CHUNK);
	c.want = t_map(CHUNK);
	c.mr = t_reg(c.d->pd, c.near, CHUNK, T_ALL_ACCESS);
	t_get(c.sock, &ready, 1);
}

static void client_close(void)
{
	char end = 0;

	if (c.far.rkey)
		t_put(c.sock, &end, 1);
	close(c.sock);
	waitpid(c.pid, NULL, 0);
	ibv_dereg_mr(c.mr);
	t_ep_close(&c.e);
	t_dev_close(c.d);
}

/* Returns NULL, or why the registration failed. */
static const char *far_register(void)
{
	char go = 0;

	event("register");
	t_put(c.sock, &go, 1);
	if (!t_try_get(c.sock, &c.far, sizeof(c.far)))
		return "the process was killed for it";
	return c.far.err ? strerror(c.far.err) : NULL;
}

/* Each page says where it belongs, and compresses well, because the swap may be in memory, too. */
static void fill(uint8_t *p, size_t at)
{
	for (size_t i = 0; i < CHUNK; i += T_PAGE) {
		memset(p + i, t_pat(1, at + i + 1), T_PAGE);
		t_pat_fill(p + i, 128, 1, at + i);
	}
}

static void move(enum ibv_wr_opcode op, size_t at)
{
	struct ibv_wc wc;

	if (t_post_one(&c.e, op, c.near, CHUNK, c.mr->lkey, c.far.addr + at, c.far.rkey, at))
		t_die("ibv_post_send failed");
	if (!t_wait(c.e.scq, &wc, t_slow(20)))
		t_die("a transfer at %zu MiB did not complete within 20 s", at >> 20);
	if (wc.status)
		t_die("a transfer at %zu MiB: '%s'", at >> 20, ibv_wc_status_str(wc.status));
	c.bytes += CHUNK;
}

static void wait_until(double when)
{
	double left = when - seconds();

	if (left > 0)
		usleep((useconds_t)(left * 1e6));
}

/* Write a chunk every `pace` seconds, or as fast as possible if that is slower. */
static void write_to(size_t size, double pace)
{
	double from = seconds();

	event("WRITE");
	for (size_t at = 0, i = 0; at < size; at += CHUNK, i++) {
		wait_until(from + (double)i * pace);
		fill(c.near, at);
		move(IBV_WR_RDMA_WRITE, at);
	}
}

static void read_back(size_t size, double pace)
{
	double from = seconds();

	event("READ");
	for (size_t at = 0, i = 0; at < size; at += CHUNK, i++) {
		wait_until(from + (double)i * pace);
		memset(c.near, 0xee, CHUNK);
		move(IBV_WR_RDMA_READ, at);
		fill(c.want, at);
		if (!memcmp(c.near, c.want, CHUNK))
			continue;
		for (size_t k = 0; k < CHUNK; k++)
			c.wrong += c.near[k] != c.want[k];
	}
}

/* The idle times between the steps, and the pace, are such that an emulated machine keeps them. */
static const char *pressure(void)
{
	const double pace = 0.5 / (double)(opt.size / 2 / CHUNK);
	const char *why;

	wait_until(0.2);
	why = far_register();
	if (why)
		return why;
	wait_until(0.4);
	write_to(opt.size / 2, pace);
	wait_until(1);
	event("reclaim");
	group_reclaim();
	wait_until(1.7);
	read_back(opt.size / 4, pace);
	wait_until(2.3);
	return NULL;
}

static const char *bigger(void)
{
	const char *why;

	wait_until(0.1);
	why = far_register();
	if (why)
		return why;
	write_to(opt.size, 0);
	read_back(opt.size, 0);
	wait_until(seconds() + 0.1);
	return NULL;
}

static const struct scene {
	const char *name;
	const char *(*run)(void);
	bool limit;
} scenes[] = {
	{ "pressure", pressure, false },
	{ "bigger", bigger, true },
};

static const struct scene *find_scene(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(scenes); i++)
		if (!strcmp(name, scenes[i].name))
			return &scenes[i];
	return NULL;
}

static void run(const struct scene *s)
{
	size_t limit = s->limit ? opt.limit : 0;
	const char *why;

	scene = s->name;
	variant = opt.pinned ? "pinned" : "odp";
	group_limit(limit);
	client_open();
	sampler_start(c.pid);
	why = s->run();
	event(why ? "refused" : "end");
	sampler_stop();
	printf("result\t%s\t%s\t%zu\t%zu\t%zu\t%zu\t%s\n", scene, variant, opt.size, limit,
	       c.bytes, c.wrong, why ? why : "");
	client_close();
	if (c.wrong)
		t_fail("%zu wrong bytes of %zu", c.wrong, c.bytes);
}

static size_t mib(const char *s)
{
	size_t n = strtoul(s, NULL, 10);

	if (!n)
		t_die("'%s' is not a number of MiB", s);
	return n << 20;
}

static void usage(FILE *f)
{
	fprintf(f,
		"usage: prxe-memtrace --dev D [--gid N] [--size MIB] [--limit MIB] [--pinned]\n"
		"                     [--every MS] --group GROUP pressure|bigger\n"
		"GROUP: the directory of a control group that has the memory controller.\n");
}

int main(int argc, char **argv)
{
	static const struct option lo[] = {
		{ "dev", 1, NULL, 'd' },   { "gid", 1, NULL, 'x' },   { "size", 1, NULL, 's' },
		{ "limit", 1, NULL, 'l' }, { "group", 1, NULL, 'g' }, { "every", 1, NULL, 'e' },
		{ "pinned", 0, NULL, 'p' }, { "help", 0, NULL, 'h' }, { 0 },
	};
	const struct scene *s = NULL;
	int o;

	t_init();
	while ((o = getopt_long(argc, argv, "", lo, NULL)) != -1) {
		switch (o) {
		case 'd': opt.dev = optarg; break;
		case 'x': opt.gid = atoi(optarg); break;
		case 's': opt.size = mib(optarg); break;
		case 'l': opt.limit = mib(optarg); break;
		case 'g': opt.group = optarg; break;
		case 'e': opt.every_ms = (unsigned)atoi(optarg); break;
		case 'p': opt.pinned = true; break;
		case 'h': usage(stdout); return 0;
		default: usage(stderr); return 2;
		}
	}
	t_watchdog(300);
	if (opt.group && opt.dev && optind == argc - 1)
		s = find_scene(argv[optind]);
	if (!s) {
		usage(stderr);
		return 2;
	}
	run(s);
	return t_fails != 0;
}
