// SPDX-License-Identifier: BSD-2-Clause
/*
 * prxe-slow: memory on a swap device whose every read takes SLOW_SECONDS, or memory that a slow
 * userfaultfd handler serves. Only the QP that needs it waits: posts, other QPs, invalidations,
 * fork, mmap, registration, destruction, exit and removal of a device go on meanwhile. The transfer
 * that waits is the clock of each test: all that goes on must have ended before it does.
 *
 * SLOW_DEV, SLOW_NETDEV: a device to be made and removed, and the netdev for it.
 */
#define _GNU_SOURCE
#include "t.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define ODP_ALL (T_ALL_ACCESS | IBV_ACCESS_ON_DEMAND)
#define PAGES 16
#define ROOM (PAGES * T_PAGE)
#define ROUNDS 5 /* at most, until one shows that nothing else waits */

static const char *env(const char *name)
{
	const char *v = getenv(name);

	if (!v)
		t_die("%s is not set (see slow.test)", name);
	return v;
}

static double slow_seconds(void)
{
	return atof(env("SLOW_SECONDS"));
}

/* ---- swapping out ---- */

/* How many pages of [p, p + ROOM) are in memory, mapped or not; which of them goes to @in. */
static int resident(void *p, unsigned char in[PAGES])
{
	int n = 0;

	if (mincore(p, ROOM, in))
		t_die("mincore: %s", strerror(errno));
	for (int i = 0; i < PAGES; i++)
		n += in[i] & 1;
	return n;
}

/*
 * Moving pages begins with putting all pages on the LRU lists that CPUs have not put there yet. So
 * ask for a move of no page.
 */
static void on_lists(void)
{
	syscall(SYS_move_pages, 0, 0UL, NULL, &(int){ 0 }, NULL, 0);
}

/*
 * Move all pages of [p, p + ROOM) to the device, and out of the swap cache. Pages that have been
 * written there are mapped again, because a clean page that is paged out is freed at once.
 */
static void swap_out(uint8_t *p)
{
	double stop = t_now() + t_slow(20) + 4 * slow_seconds();
	unsigned char in[PAGES];
	int n;

	while (1) {
		if (madvise(p, ROOM, MADV_PAGEOUT))
			t_die("MADV_PAGEOUT: %s", strerror(errno));
		n = resident(p, in);
		if (!n)
			break;
		if (t_now() > stop)
			t_die("%d of %d pages cannot be swapped out", n, PAGES);
		usleep(50000);
		on_lists();
		for (int i = 0; i < PAGES; i++)
			if (in[i] & 1)
				(void)*(volatile uint8_t *)(p + i * T_PAGE);
	}
}

/* ---- a transfer that waits ---- */

enum side { SOURCE, TARGET, REMOTE, SIDES };
static const char *const side_name[SIDES] = {
	"the source of a WRITE", "the target of a WRITE", "the source of a READ"
};

struct rig {
	struct t_dev *d;
	struct t_ep a, b;
	uint8_t *slow, *fast, *away;
	struct ibv_mr *mslow, *mfast, *maway;
	double posted, done; /* done: 0 as long as it waits */
	struct ibv_wc wc;
};

static void rig_open(struct rig *r, struct t_dev *d)
{
	r->d = d;
	t_pair_open(&r->a, d, &r->b, d, NULL);
	r->slow = t_map(ROOM);
	r->fast = t_map(ROOM);
	r->away = t_map(ROOM);
	r->mslow = t_reg(d->pd, r->slow, ROOM, ODP_ALL);
	r->mfast = t_reg(d->pd, r->fast, ROOM, T_ALL_ACCESS);
	r->maway = t_reg(d->pd, r->away, ROOM, T_ALL_ACCESS);
}

static void rig_close(struct rig *r)
{
	t_ep_close(&r->a);
	t_ep_close(&r->b);
	ibv_dereg_mr(r->mslow);
	ibv_dereg_mr(r->mfast);
	ibv_dereg_mr(r->maway);
	munmap(r->slow, ROOM);
	munmap(r->fast, ROOM);
	munmap(r->away, ROOM);
}

/*
 * A transfer of all but 100 bytes at each end: a page that is written only in part must be read
 * from swap first.
 */
static void post(struct t_ep *e, enum ibv_wr_opcode op, const uint8_t *local,
		 const struct ibv_mr *ml, const uint8_t *remote, const struct ibv_mr *mr)
{
	if (t_post_one(e, op, local + 100, ROOM - 200, ml->lkey, (uintptr_t)remote + 100, mr->rkey,
		       1))
		t_die("post");
}

/* One more transfer from the slow memory, to a place where it disturbs no other. */
static void post_away(struct rig *r, struct t_ep *e, const struct ibv_mr *m)
{
	post(e, IBV_WR_RDMA_WRITE, r->slow, m, r->away, r->maway);
}

/* From now on it waits for the device. */
static void start(struct rig *r, enum side side, uint64_t seq)
{
	t_pat_fill(r->slow, ROOM, seq, 0);
	t_pat_fill(r->fast, ROOM, seq + 1, 0);
	swap_out(r->slow);
	r->done = 0;
	r->posted = t_now();
	if (side == SOURCE)
		post(&r->a, IBV_WR_RDMA_WRITE, r->slow, r->mslow, r->fast, r->mfast);
	else
		post(&r->a, side == TARGET ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_READ, r->fast,
		     r->mfast, r->slow, r->mslow);
}

/* No completion yet. */
static bool waits(struct rig *r)
{
	if (!r->done && t_wait(r->a.scq, &r->wc, 0))
		r->done = t_now();
	return !r->done;
}

/* It ends with success and right data, and not before the device can have answered. */
static void finish(struct rig *r, enum side side, uint64_t seq)
{
	uint64_t slow = side == TARGET ? seq + 1 : seq;
	uint64_t fast = side == SOURCE || side == REMOTE ? seq : seq + 1;
	double stop = t_now() + t_slow(10) + 4 * PAGES * slow_seconds();

	while (waits(r) && t_now() < stop)
		;
	if (!r->done)
		t_fail("%s is slow: no completion within %.0f s", side_name[side],
		       stop - r->posted);
	else if (r->wc.status)
		t_fail("%s is slow: '%s'", side_name[side], ibv_wc_status_str(r->wc.status));
	if (!r->done || r->wc.status)
		t_die("cannot go on");
	if (r->done - r->posted < 0.9 * slow_seconds())
		t_fail("%s is slow: done after %.2f s: the device is not slow", side_name[side],
		       r->done - r->posted);
	t_pat_check(side_name[side], r->slow + 100, ROOM - 200, slow, 100);
	t_pat_check(side_name[side], r->fast + 100, ROOM - 200, fast, 100);
	/* before and behind it: as they were */
	t_pat_check(side_name[side], r->slow, 100, seq, 0);
	t_pat_check(side_name[side], r->slow + ROOM - 100, 100, seq, ROOM - 100);
	t_pat_check(side_name[side], r->fast, 100, seq + 1, 0);
	t_pat_check(side_name[side], r->fast + ROOM - 100, 100, seq + 1, ROOM - 100);
}

/*
 * Before 6.6, Linux keeps mmap_lock while it waits for a page from swap. So what needs that lock
 * waits as well, whoever reads, and no two pages are read at a time. Does mprotect wait here while
 * another process reads such a page?
 */
static bool lock_is_kept(void)
{
	static int kept = -1;
	struct iovec its, mine;
	double from, took;
	int sock, status;
	uint8_t *p, byte;
	pid_t pid;

	if (kept >= 0)
		return kept;
	p = t_map(ROOM);
	its = (struct iovec){ p, 1 };
	mine = (struct iovec){ &byte, 1 };
	pid = t_fork(&sock);
	if (!pid) {
		t_get(sock, &byte, 1);
		_exit(process_vm_readv(getppid(), &mine, 1, &its, 1, 0) != 1);
	}
	t_pat_fill(p, ROOM, 190, 0);
	swap_out(p);
	t_put(sock, "g", 1);
	usleep((useconds_t)(3e5 * slow_seconds()));
	from = t_now();
	if (mprotect(p + T_PAGE, T_PAGE, PROT_READ))
		t_die("mprotect: %s", strerror(errno));
	took = t_now() - from;
	if (waitpid(pid, &status, 0) != pid || status)
		t_die("reading the memory of another process: status %#x", status);
	close(sock);
	munmap(p, ROOM);
	t_note("mprotect beside a read from swap: %.2f s", took);
	kept = took > 0.3 * slow_seconds();
	return kept;
}

/* ---- what goes on meanwhile ---- */

struct beside {
	struct t_ep a, b; /* transfers of its own */
	struct t_ep c, d; /* c is destroyed with a transfer on slow memory */
	struct t_ep e, f; /* e's transfer loses its registration */
	uint8_t *odp;
	struct ibv_mr *modp, *mgone;
};

static void beside_open(struct beside *s, struct rig *r)
{
	t_pair_open(&s->a, r->d, &s->b, r->d, NULL);
	t_pair_open(&s->c, r->d, &s->d, r->d, NULL);
	t_pair_open(&s->e, r->d, &s->f, r->d, NULL);
	s->odp = t_map(2 * ROOM);
	s->modp = t_reg(r->d->pd, s->odp, 2 * ROOM, ODP_ALL);
	s->mgone = t_reg(r->d->pd, r->slow, ROOM, ODP_ALL);
}

static void beside_close(struct beside *s)
{
	t_ep_close(&s->a);
	t_ep_close(&s->b);
	t_ep_close(&s->c);
	t_ep_close(&s->d);
	t_ep_close(&s->e);
	t_ep_close(&s->f);
	if (s->mgone)
		ibv_dereg_mr(s->mgone);
	ibv_dereg_mr(s->modp);
	munmap(s->odp, 2 * ROOM);
}

static void post_again(struct rig *r, struct beside *s)
{
	(void)s;
	post_away(r, &r->b, r->mslow); /* its completion is looked for at the end */
}

static void transfers(struct rig *r, struct beside *s)
{
	(void)r;
	for (int i = 0; i < 10; i++) {
		t_pat_fill(s->odp, ROOM, 60 + i, 0);
		t_drop(s->odp + ROOM, ROOM);
		if (t_post_one(&s->a, IBV_WR_RDMA_WRITE, s->odp, ROOM, s->modp->lkey,
			       (uintptr_t)s->odp + ROOM, s->modp->rkey, 1))
			t_die("post");
		t_expect("beside a QP that waits for swap", s->a.scq, IBV_WC_SUCCESS, NULL);
		t_pat_check("beside a QP that waits for swap", s->odp + ROOM, ROOM, 60 + i, 0);
	}
}

static void invalidations(struct rig *r, struct beside *s)
{
	uint8_t *p = t_map(ROOM);

	memset(p, 1, ROOM);
	if (mprotect(s->odp, ROOM, PROT_READ) || mprotect(s->odp, ROOM, PROT_READ | PROT_WRITE))
		t_die("mprotect: %s", strerror(errno));
	t_drop(s->odp, 2 * ROOM);
	munmap(p, ROOM);
	(void)r;
}

static void forked(struct rig *r, struct beside *s)
{
	pid_t pid = fork();

	(void)r;
	(void)s;
	if (pid < 0)
		t_die("fork: %s", strerror(errno));
	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
}

static void registration(struct rig *r, struct beside *s)
{
	(void)s;
	ibv_dereg_mr(t_reg(r->d->pd, r->slow, ROOM, ODP_ALL));
}

static void deregistration(struct rig *r, struct beside *s)
{
	post_away(r, &s->e, s->mgone);
	if (ibv_dereg_mr(s->mgone))
		t_die("ibv_dereg_mr: %s", strerror(errno));
	s->mgone = NULL;
}

static void destruction(struct rig *r, struct beside *s)
{
	post_away(r, &s->c, r->mslow);
	t_ep_close(&s->c);
	t_ep_open(&s->c, r->d, NULL);
}

static const struct {
	const char *name;
	void (*run)(struct rig *r, struct beside *s);
	bool locks; /* it takes mmap_lock to write */
} meanwhile[] = {
	{ "a second post on the same memory", post_again, false },
	{ "transfers of another QP", transfers, false },
	{ "mprotect, MADV_DONTNEED and munmap", invalidations, true },
	{ "fork", forked, true },
	{ "registration of the same memory", registration, false },
	{ "deregistration under a transfer that waits", deregistration, false },
	{ "destruction of a QP that waits", destruction, false },
};

/* Do everything in turn while the transfer waits: the first thing that ended after it, or NULL. */
static const char *all_beside(struct rig *r, struct beside *s, bool kept)
{
	if (!waits(r))
		return "the post";
	for (size_t i = 0; i < ARRAY_LEN(meanwhile); i++) {
		if (meanwhile[i].locks && kept)
			continue;
		meanwhile[i].run(r, s);
		if (!waits(r))
			return meanwhile[i].name;
	}
	return NULL;
}

/* One round: NULL, or what did not go on. */
static const char *others_once(struct rig *r, enum side side, uint64_t seq)
{
	bool kept = lock_is_kept();
	struct beside s;
	const char *late;
	double took;

	beside_open(&s, r);
	start(r, side, seq);
	late = all_beside(r, &s, kept);
	took = t_now() - r->posted;
	finish(r, side, seq);
	t_note("%s is in swap: done after %.2f s; %s%s after %.2f s", side_name[side],
	       r->done - r->posted, late ? "too late: " : "", late ? late : "all else", took);
	if (!late || strcmp(late, "the post")) {
		t_expect("a second post on the same memory", r->b.scq, IBV_WC_SUCCESS, NULL);
		if (side != TARGET) /* there it may have come before or after */
			t_pat_check("a second post on the same memory", r->away + 100, ROOM - 200,
				    seq, 100);
	}
	if (!late)
		t_expect("a transfer whose source is registered no more", s.e.scq,
			 IBV_WC_LOC_PROT_ERR, NULL);
	beside_close(&s);
	return late;
}

static void others(struct t_dev *d)
{
	uint64_t timeouts = t_counter(d->name, "completer_retry_err");
	struct rig r;

	rig_open(&r, d);
	for (enum side side = 0; side < SIDES; side++) {
		const char *late;
		int n = 0;

		do
			late = others_once(&r, side, 20 * side + 2 * n);
		while (late && ++n < ROUNDS);
		if (late)
			t_fail("%s is in swap: what waits for it too, in %d of %d rounds: %s",
			       side_name[side], n, n, late);
	}
	if (t_counter(d->name, "completer_retry_err") != timeouts)
		t_fail("waiting for swap became an ACK timeout");
	rig_close(&r);
}

/*
 * The pages of one transfer are read at the same time, not one after the other. (Without the
 * kernel's readahead: vm.page-cluster=0.)
 */
static void together(struct t_dev *d)
{
	struct rig r;

	if (lock_is_kept()) {
		t_note("together: this kernel reads pages from swap one by one: not run");
		return;
	}
	rig_open(&r, d);
	for (enum side side = 0; side < SIDES; side++) {
		start(&r, side, 200 + 2 * side);
		finish(&r, side, 200 + 2 * side);
		t_note("%s: %d pages in %.2f s", side_name[side], PAGES, r.done - r.posted);
		if (r.done - r.posted > 0.5 * PAGES * slow_seconds())
			t_fail("%s: %d pages are read one after the other", side_name[side], PAGES);
	}
	rig_close(&r);
}

/* ---- a userfaultfd handler that takes ten seconds ---- */

#define HANDLER_SECONDS 10.0

/* With rnr_retry 7 the requester waits for it as long as it takes. */
static void handler(struct t_dev *d)
{
	uint64_t timeouts = t_counter(d->name, "completer_retry_err");
	static uint8_t contents[PAGES * T_PAGE_MAX];
	const char *late;
	struct beside s;
	struct rig r;
	int fd;

	rig_open(&r, d);
	fd = t_uffd(r.slow, ROOM);
	beside_open(&s, &r);
	t_pat_fill(r.fast, ROOM, 401, 0);
	r.done = 0;
	r.posted = t_now();
	post(&r.a, IBV_WR_RDMA_WRITE, r.fast, r.mfast, r.slow, r.mslow);
	late = all_beside(&r, &s, false);
	if (late)
		t_die("completed without the handler, at %s", late);
	t_note("all else after %.2f s", t_now() - r.posted);
	while (waits(&r) && t_now() < r.posted + HANDLER_SECONDS)
		usleep(10000);
	if (!waits(&r))
		t_fail("completed without the handler after %.2f s", r.done - r.posted);
	t_pat_fill(contents, ROOM, 400, 0);
	if (ioctl(fd, UFFDIO_COPY, &(struct uffdio_copy){
			.dst = (uintptr_t)r.slow, .src = (uintptr_t)contents, .len = ROOM }))
		t_die("UFFDIO_COPY: %s", strerror(errno));
	finish(&r, TARGET, 400);
	t_expect("a second post on the same memory", r.b.scq, IBV_WC_SUCCESS, NULL);
	t_expect("a transfer whose source is registered no more", s.e.scq, IBV_WC_LOC_PROT_ERR,
		 NULL);
	if (t_counter(d->name, "completer_retry_err") != timeouts)
		t_fail("waiting for a handler became an ACK timeout");
	beside_close(&s);
	close(fd);
	rig_close(&r);
}

/* ---- another process that waits, and its end ---- */

__attribute__((noreturn)) static void waiter(const char *dev, int gid, int sock)
{
	struct t_dev *d = t_dev_open(dev, gid);
	int before = t_fails;
	struct ibv_wc wc;
	struct rig r;
	char c;

	rig_open(&r, d);
	t_pat_fill(r.slow, ROOM, 7, 0);
	swap_out(r.slow);
	t_put(sock, "s", 1);
	t_get(sock, &c, 1);
	post_away(&r, &r.a, r.mslow);
	t_put(sock, "p", 1);
	t_get(sock, &c, 1); /* or killed */
	if (!t_wait(r.a.scq, &wc, t_slow(10)))
		t_fail("a transfer of a device that has gone: no completion");
	else if (wc.status == IBV_WC_SUCCESS)
		t_fail("a transfer of a device that has gone: success");
	rig_close(&r);
	t_dev_close(d);
	_exit(t_fails != before);
}

/*
 * While both this process and another wait for slow memory, @end ends the other, or its device.
 * That must be done before this process's wait is over.
 */
static void ended(struct t_dev *d, const char *dev, int gid, const char *what, void (*begin)(void),
		  void (*end)(pid_t pid))
{
	bool late = true;

	for (int n = 0; late && n < ROUNDS; n++) {
		int sock, status;
		struct rig r;
		double took;
		pid_t pid;
		char c;

		if (begin)
			begin();
		pid = t_fork(&sock); /* first of all: memory that two share is not paged out */
		if (!pid)
			waiter(dev, gid, sock);
		rig_open(&r, d);
		t_get(sock, &c, 1);
		start(&r, SOURCE, 300 + 2 * n);
		t_put(sock, "p", 1);
		t_get(sock, &c, 1);
		end(pid);
		late = !waits(&r);
		took = t_now() - r.posted;
		finish(&r, SOURCE, 300 + 2 * n);
		t_note("%s after %.2f of %.2f s%s", what, took, r.done - r.posted,
		       late ? ": too late" : "");
		if (waitpid(pid, &status, WNOHANG) != -1) { /* not waited for yet */
			t_put(sock, "q", 1);
			if (waitpid(pid, &status, 0) != pid || status)
				t_fail("%s: the process that used it: status %#x", what, status);
		}
		close(sock);
		rig_close(&r);
	}
	if (late)
		t_fail("%s waits for swap, in %d of %d rounds", what, ROUNDS, ROUNDS);
}

static void end_kill(pid_t pid)
{
	if (kill(pid, SIGKILL) || waitpid(pid, NULL, 0) != pid)
		t_die("kill: %s", strerror(errno));
}

static void killed(struct t_dev *d)
{
	ended(d, d->name, d->gidx, "the end of a killed process", NULL, end_kill);
}

static void command(const char *text)
{
	if (system(text)) // NOLINT(cert-env33-c): a test's own words
		t_die("failed: %s", text);
}

static void begin_link(void)
{
	command("rdma link add $SLOW_DEV type prxe netdev $SLOW_NETDEV && for i in $(seq 100); do "
		"grep -q 0000:ffff: /sys/class/infiniband/$SLOW_DEV/ports/1/gids/1 && exit 0; "
		"sleep 0.1; done; exit 1");
}

static void end_link(pid_t pid)
{
	(void)pid;
	command("rdma link delete $SLOW_DEV");
}

static void removed(struct t_dev *d)
{
	ended(d, env("SLOW_DEV"), 1, "the removal of a device", begin_link, end_link);
}

/* ---- posts on shared memory ---- */

/* Shared memory on its way to swap: the MM waits for its write, even if told not to wait. */
static void shared(struct t_dev *d)
{
	struct rig r;

	rig_open(&r, d);
	ibv_dereg_mr(r.mslow);
	if (mmap(r.slow, ROOM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1,
		 0) != r.slow)
		t_die("mmap: %s", strerror(errno));
	r.mslow = t_reg(d->pd, r.slow, ROOM, ODP_ALL);
	for (enum side side = SOURCE; side <= TARGET; side++) {
		const uint8_t *from = side == SOURCE ? r.slow : r.fast;
		const uint8_t *to = side == SOURCE ? r.fast : r.slow;
		const char *name = side_name[side];
		double posted, done;

		t_pat_fill(r.slow, ROOM, 80 + side, 0);
		t_pat_fill(r.fast, ROOM, 90 + side, 0);
		on_lists();
		if (t_pageout(r.slow, ROOM))
			t_die("MADV_PAGEOUT: %s", strerror(errno));
		r.posted = t_now();
		if (t_post_one(&r.a, IBV_WR_RDMA_WRITE, from + 100, T_PAGE - 200,
			       (side == SOURCE ? r.mslow : r.mfast)->lkey, (uintptr_t)to + 100,
			       (side == SOURCE ? r.mfast : r.mslow)->rkey, 1))
			t_die("post");
		posted = t_now() - r.posted;
		t_expect(name, r.a.scq, IBV_WC_SUCCESS, NULL);
		done = t_now() - r.posted;
		t_note("shared memory goes to swap, %s: posted after %.3f s, done after %.2f s",
		       name, posted, done);
		if (done < 0.5 * slow_seconds())
			t_fail("%s: done after %.2f s: it was not on its way", name, done);
		if (posted > 0.5 * done)
			t_fail("%s goes to swap: the post took %.2f of %.2f s", name, posted, done);
		t_pat_check(name, to + 100, T_PAGE - 200, side == SOURCE ? 80 : 90 + side, 100);
	}
	rig_close(&r);
}

/* ---- advice that is waited for, and the device's end ---- */

/* Its first page is there, the others nobody serves: when its device is removed, it gets EIO. */
__attribute__((noreturn)) static void advised_child(const char *dev, int gid, int sock)
{
	struct t_dev *d = t_dev_open(dev, gid);
	uint8_t *p = t_map(ROOM);
	struct ibv_mr *m = t_reg(d->pd, p, ROOM, ODP_ALL);
	struct ibv_sge sg = t_sge(p, ROOM, m->lkey);
	int rc;

	memset(p, 1, T_PAGE);
	t_uffd(p, ROOM);
	alarm((unsigned)t_slow(5)); /* the end of a wait that nothing else ends */
	t_put(sock, "s", 1);
	rc = ibv_advise_mr(d->pd, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE, IBV_ADVISE_MR_FLAG_FLUSH,
			   &sg, 1);
	t_put(sock, &rc, sizeof(rc));
	_exit(0);
}

static void advised(struct t_dev *d)
{
	double from, took;
	int sock, rc = 0;
	pid_t pid;
	char c;

	(void)d;
	begin_link();
	pid = t_fork(&sock);
	if (!pid)
		advised_child(env("SLOW_DEV"), 1, sock);
	t_get(sock, &c, 1);
	usleep(300000); /* it waits by now */
	from = t_now();
	command("rdma link delete $SLOW_DEV");
	took = t_now() - from;
	if (!t_try_get(sock, &rc, sizeof(rc)))
		rc = -1;
	t_note("the device was removed after %.2f s: error %d", took, rc);
	if (took > t_slow(2))
		t_fail("removal waits for advice: %.2f s", took);
	if (rc != EIO)
		t_fail("advice on a device that goes: error %d, not %d", rc, EIO);
	close(sock);
	waitpid(pid, NULL, 0);
}

static const struct t_test tests[] = {
	{ "others", others, "what goes on while one QP waits" },
	{ "together", together, "a transfer's pages are read side by side" },
	{ "shared", shared, "a post on shared memory that goes to swap does not wait" },
	{ "advised", advised, "a device is removed under advice that waits" },
	{ "handler", handler, "a userfaultfd handler takes ten seconds" },
	{ "killed", killed, "a process that waits is killed" },
	{ "removed", removed, "a device is removed under a process that waits" },
	{ 0 },
};

int main(int argc, char **argv)
{
	static const struct t_test *const all[] = { tests, NULL };

	t_init();
	return t_main(argc, argv, &(struct t_program){
		.name = "slow", .tests = all, .seconds = (unsigned)t_slow(200), .odp = true,
	});
}
