// SPDX-License-Identifier: BSD-2-Clause
/*
 * prxe-life: the ends of mirrors, faults and registrations. QPs that wait for a fault which nobody
 * serves must not hold up exit, kill, exec, close or deregistration; prefetch does what the manual
 * says; reregistration takes effect.
 */
#include <errno.h>
#include <poll.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>
#include "t.h"

#define ODP_ALL (T_ALL_ACCESS | IBV_ACCESS_ON_DEMAND)
#define ROOM (64 * T_PAGE)

struct rig {
	struct t_dev *d;
	struct t_ep a, b;
	uint8_t *src, *dst;
	struct ibv_mr *msrc, *mdst;
};

/* A context of its own on the device of @like: its end is part of what is tested. */
static void rig_open(struct rig *r, const struct t_dev *like, size_t size)
{
	struct t_opt o = { .type = IBV_QPT_RC, .access = T_ALL_ACCESS, .depth = 64 };

	r->d = t_dev_open(like->name, like->gidx);
	t_pair_open(&r->a, r->d, &r->b, r->d, &o);
	r->src = t_map_between(size);
	r->dst = t_map_between(size);
	r->msrc = t_reg(r->d->pd, r->src, size, ODP_ALL);
	r->mdst = t_reg(r->d->pd, r->dst, size, ODP_ALL);
}

static void rig_close(struct rig *r)
{
	t_ep_close(&r->a);
	t_ep_close(&r->b);
	ibv_dereg_mr(r->msrc);
	ibv_dereg_mr(r->mdst);
	t_dev_close(r->d);
}

/* Post a WRITE of @src to @remote, or a READ back into it. Returns 0 or errno. */
static int post(struct rig *r, enum ibv_wr_opcode op, size_t len, const uint8_t *remote,
		const struct ibv_mr *m, uint64_t id)
{
	return t_post_one(&r->a, op, r->src, (uint32_t)len, r->msrc->lkey, (uintptr_t)remote,
			  m->rkey, id);
}
/* Post WRITEs that wait for faults on both sides for ever, and see that the faults have begun. */
static void hang(struct rig *r, bool source)
{
	struct pollfd pf = { .fd = t_uffd(source ? r->src : r->dst, ROOM), .events = POLLIN };

	for (int i = 0; i < 8; i++)
		if (t_post_one(&r->a, IBV_WR_RDMA_WRITE, r->src + i * T_PAGE, T_PAGE, r->msrc->lkey,
			       (uintptr_t)r->dst + i * T_PAGE, r->mdst->rkey, i))
			t_die("post");
	if (poll(&pf, 1, (int)(t_slow(10) * 1000)) != 1)
		t_die("no fault was seen");
	t_none("a transfer through memory that is not there", r->a.scq, 0.05);
}

enum end { END_KILL, END_EXIT, END_EXEC, END_CLOSE, END_QUIET };
static const char *const end_name[] = {
	"kill", "exit", "exec", "close", "close of all but the context"
};
static const char *const side_name[] = { "target", "source" };

static void hang_child(const struct t_dev *like, enum end end, bool source, int ready)
{
	struct rig r;

	rig_open(&r, like, ROOM);
	hang(&r, source);
	if (write(ready, "r", 1) != 1)
		_exit(9);
	switch (end) {
	case END_KILL:
		pause();
		break;
	case END_EXIT:
		_exit(0);
	case END_EXEC:
		execl("/bin/true", "true", NULL);
		_exit(9);
	case END_CLOSE:
		rig_close(&r);
		_exit(0);
	case END_QUIET:
		t_ep_close(&r.a);
		t_ep_close(&r.b);
		ibv_dereg_mr(r.msrc);
		ibv_dereg_mr(r.mdst);
		_exit(0);
	}
	_exit(9);
}

static void hangs(struct t_dev *like)
{
	for (int end = END_KILL; end <= END_QUIET; end++)
		for (int source = 0; source < 2; source++) {
			int fds[2], status = 0;
			pid_t pid, got = 0;
			double stop;
			char c = 0;

			if (pipe(fds))
				t_die("pipe");
			pid = fork();
			if (!pid) {
				close(fds[0]);
				hang_child(like, end, source, fds[1]);
			}
			close(fds[1]);
			if (read(fds[0], &c, 1) != 1)
				t_fail("%s, %s: the child died early", end_name[end],
				       side_name[source]);
			close(fds[0]);
			if (end == END_KILL)
				kill(pid, SIGKILL);
			for (stop = t_now() + t_slow(5); !got && t_now() < stop; usleep(2000))
				got = waitpid(pid, &status, WNOHANG);
			if (!got) {
				t_fail("%s with a fault on the %s unserved: not gone after %.0f s",
				       end_name[end], side_name[source], t_slow(5));
				kill(pid, SIGKILL);
			} else if (end != END_KILL && status) {
				t_fail("%s, %s: status %#x", end_name[end], side_name[source],
				       status);
			}
		}
}

/* A QP that waits for a fault blocks no other. */
static void others_go_on(struct t_dev *like)
{
	struct t_opt o = { .type = IBV_QPT_RC, .access = T_ALL_ACCESS, .depth = 64 };
	struct t_ep c, d;
	struct rig r;
	uint8_t *p;
	struct ibv_mr *m;

	rig_open(&r, like, ROOM);
	t_pair_open(&c, r.d, &d, r.d, &o);
	hang(&r, false);
	p = t_map(ROOM);
	m = t_reg(r.d->pd, p, ROOM, ODP_ALL);
	for (int i = 0; i < 50; i++) {
		t_pat_fill(p, ROOM / 2, 900 + i, 0);
		t_drop(p + ROOM / 2, ROOM / 2);
		if (t_post_one(&c, IBV_WR_RDMA_WRITE, p, ROOM / 2, m->lkey,
			       (uintptr_t)p + ROOM / 2, m->rkey, i))
			t_die("post");
		if (!t_expect("beside a QP that waits for a fault", c.scq, IBV_WC_SUCCESS, NULL))
			break;
		t_pat_check("beside a QP that waits for a fault", p + ROOM / 2, ROOM / 2, 900 + i,
			    0);
	}
	t_drop(p, ROOM);	/* and invalidations pass */
	ibv_dereg_mr(m);
	t_ep_close(&c);
	t_ep_close(&d);
	rig_close(&r);
}

/* ---- more faults wait than threads may ---- */

#define WAITERS 20 /* QPs, each with one page of its own */
#define AHEADS 6   /* pages that are prefetched, and not waited for */
#define PREFETCHES 300 /* of those pages: more than may be under way */
#define UNSERVED ((WAITERS + AHEADS) * T_PAGE)

struct many {
	struct rig r;
	struct t_ep a[WAITERS], b[WAITERS];
	uint8_t *p; /* WAITERS pages, then AHEADS pages */
	struct ibv_mr *m;
	int fd;
	atomic_bool stop;
};

/* Serves the pages that faults ask for, no others: a fault that is not reported waits for ever. */
static void *serve_asked(void *arg)
{
	struct many *w = arg;
	uint8_t *page = t_map(T_PAGE);

	while (!atomic_load(&w->stop)) {
		struct pollfd pf = { .fd = w->fd, .events = POLLIN };
		struct uffdio_copy c = { .src = (uintptr_t)page, .len = T_PAGE };
		struct uffd_msg msg;

		if (poll(&pf, 1, 20) != 1 || read(w->fd, &msg, sizeof(msg)) != sizeof(msg))
			continue;
		c.dst = msg.arg.pagefault.address & ~(T_PAGE - 1);
		t_pat_fill(page, T_PAGE, 500, c.dst - (uintptr_t)w->p);
		if (ioctl(w->fd, UFFDIO_COPY, &c) && errno != EEXIST)
			t_die("UFFDIO_COPY: %s", strerror(errno));
	}
	munmap(page, T_PAGE);
	return NULL;
}

/* A transfer whose source and target a fault thread must fault in, because a poster may not. */
static void beside_many(struct many *w, unsigned round)
{
	struct t_arena s;
	double from;

	t_arena_open(&s, K_SHM, 2 * T_PAGE, w->r.d->pd, 1UL << 40, 0);
	t_pat_fill(s.va, T_PAGE, 510 + round, 0);
	t_drop(s.va, T_PAGE); /* out of the page tables: it stays in the file */
	from = t_now();
	if (t_post_one(&w->r.a, IBV_WR_RDMA_WRITE, s.va, T_PAGE, s.mr[0]->lkey, s.iova[0] + T_PAGE,
		       s.mr[0]->rkey, 1))
		t_die("post");
	t_expect("beside many that wait", w->r.a.scq, IBV_WC_SUCCESS, NULL);
	if (t_now() - from > t_slow(1))
		t_fail("beside many that wait: %.2f s", t_now() - from);
	t_pat_check("beside many that wait", s.va + T_PAGE, T_PAGE, 510 + round, 0);
	t_arena_close(&s);
}

static void many_post(struct many *w)
{
	for (int i = 0; i < WAITERS; i++)
		if (t_post_one(&w->a[i], IBV_WR_RDMA_WRITE, w->p + i * T_PAGE, T_PAGE, w->m->lkey,
			       (uintptr_t)w->r.dst + i * T_PAGE, w->r.mdst->rkey, i))
			t_die("post");
}

/* Prefetch pages that nobody serves: accepted, or refused when there are too many; never waits. */
static void many_prefetch(struct many *w)
{
	int refused = 0;

	for (int i = 0; i < PREFETCHES; i++) {
		uint8_t *p = w->p + (WAITERS + i % AHEADS) * T_PAGE;
		struct ibv_sge sg = t_sge(p, T_PAGE, w->m->lkey);
		int rc = ibv_advise_mr(w->r.d->pd, IBV_ADVISE_MR_ADVICE_PREFETCH, 0, &sg, 1);

		if (rc && (rc != EAGAIN || i < AHEADS))
			t_fail("prefetch %d: %s", i, strerror(rc));
		refused += rc == EAGAIN;
	}
	if (!refused)
		t_fail("%d prefetches wait, and no end of them", PREFETCHES);
}

/* Every page was asked for: there are as many as there should be, and they hold what was served. */
static void many_served(struct many *w)
{
	double stop = t_now() + t_slow(10);
	unsigned char in[WAITERS + AHEADS];
	int n = 0;

	for (int i = 0; i < WAITERS; i++)
		if (!t_expect("one of many that wait", w->a[i].scq, IBV_WC_SUCCESS, NULL))
			return;
	t_pat_check("many that wait", w->r.dst, WAITERS * T_PAGE, 500, 0);
	while (n < WAITERS + AHEADS && t_now() < stop) {
		if (mincore(w->p, UNSERVED, in))
			t_die("mincore: %s", strerror(errno));
		n = 0;
		for (int i = 0; i < WAITERS + AHEADS; i++)
			n += in[i] & 1;
		usleep(10000);
	}
	if (n < WAITERS + AHEADS)
		t_fail("%d of %d pages were asked for", n, WAITERS + AHEADS);
}

/*
 * More faults wait for a userfaultfd server than there may be threads: transfers that need not wait
 * go on, the server hears of each fault, and prefetches hold up nobody.
 */
static void many_wait(struct t_dev *like)
{
	struct many w = { 0 };
	pthread_t th;

	rig_open(&w.r, like, ROOM);
	w.p = t_map(UNSERVED);
	madvise(w.p, UNSERVED, MADV_NOHUGEPAGE);
	w.fd = t_uffd(w.p, UNSERVED);
	w.m = t_reg(w.r.d->pd, w.p, UNSERVED, ODP_ALL);
	memset(w.r.dst, 0, ROOM);
	for (int i = 0; i < WAITERS; i++)
		t_pair_open(&w.a[i], w.r.d, &w.b[i], w.r.d, NULL);
	many_prefetch(&w);
	for (unsigned i = 0; i < 3; i++)
		beside_many(&w, i);
	many_post(&w);
	for (unsigned i = 3; i < 8; i++)
		beside_many(&w, i);
	usleep(200000); /* they wait, and take turns */
	beside_many(&w, 8);
	if (pthread_create(&th, NULL, serve_asked, &w))
		t_die("pthread_create failed");
	many_served(&w);
	atomic_store(&w.stop, true);
	pthread_join(th, NULL);
	for (int i = 0; i < WAITERS; i++) {
		t_ep_close(&w.a[i]);
		t_ep_close(&w.b[i]);
	}
	close(w.fd);
	ibv_dereg_mr(w.m);
	munmap(w.p, UNSERVED);
	rig_close(&w.r);
}

/* ---- the owner goes, its context does not ---- */

/* Holds a segment that its child does not, and waits for faults; the child keeps the context. */
__attribute__((noreturn)) static void orphan_owner(const struct t_dev *like, int shm, bool exec,
						   int ready)
{
	struct rig r;
	void *s = shmat(shm, NULL, 0);
	pid_t child;

	if (s == (void *)-1 || madvise(s, T_PAGE, MADV_DONTFORK))
		t_die("shmat: %s", strerror(errno));
	rig_open(&r, like, ROOM);
	hang(&r, true);
	child = fork();
	if (!child) {
		pause();
		_exit(0);
	}
	if (write(ready, &child, sizeof(child)) != sizeof(child))
		_exit(9);
	if (exec)
		execl("/bin/sleep", "sleep", "60", NULL);
	pause();
	_exit(9);
}

static bool attached(int shm)
{
	struct shmid_ds ds;

	if (shmctl(shm, IPC_STAT, &ds))
		t_die("shmctl: %s", strerror(errno));
	return ds.shm_nattch;
}

/*
 * A process is killed, or calls exec, while its faults wait and a child still has its context: its
 * address space must go all the same. (An attached segment shows whether it has gone.)
 */
static void orphan(struct t_dev *like)
{
	for (int exec = 0; exec < 2; exec++) {
		int shm = shmget(IPC_PRIVATE, T_PAGE, IPC_CREAT | 0600);
		pid_t pid, child;
		double stop;
		int fds[2];

		if (shm < 0 || pipe(fds))
			t_die("shmget, pipe: %s", strerror(errno));
		pid = fork();
		if (!pid)
			orphan_owner(like, shm, exec, fds[1]);
		close(fds[1]);
		if (read(fds[0], &child, sizeof(child)) != sizeof(child))
			t_die("the owner died early");
		close(fds[0]);
		if (!exec && (!attached(shm) || kill(pid, SIGKILL) || waitpid(pid, NULL, 0) != pid))
			t_die("kill: %s", strerror(errno));
		stop = t_now() + t_slow(3);
		while (attached(shm) && t_now() < stop)
			usleep(10000);
		if (attached(shm))
			t_fail("%s: the address space has not gone after %.0f s",
			       exec ? "exec" : "kill", t_slow(3));
		kill(child, SIGKILL);
		if (exec && (kill(pid, SIGKILL) || waitpid(pid, NULL, 0) != pid))
			t_die("kill: %s", strerror(errno));
		shmctl(shm, IPC_RMID, NULL);
	}
}

static void prefetch(struct t_dev *like)
{
	const size_t big = 5UL << 20;
	struct ibv_sge sg, bad;
	struct rig r;
	uint64_t before, faults;
	int rc;

	rig_open(&r, like, big);
	t_pat_fill(r.src, big, 31, 0);
	sg = t_sge(r.dst + 100, (uint32_t)(big - 200), r.mdst->lkey);
	rc = ibv_advise_mr(r.d->pd, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE,
			   IBV_ADVISE_MR_FLAG_FLUSH, &sg, 1);
	if (rc)
		t_fail("synchronous prefetch: %s", strerror(rc));
	sg = t_sge(r.src, (uint32_t)big, r.msrc->lkey);
	rc = ibv_advise_mr(r.d->pd, IBV_ADVISE_MR_ADVICE_PREFETCH_NO_FAULT, 0, &sg, 1);
	if (rc)
		t_fail("prefetch without faulting: %s", strerror(rc));
	before = t_counter(r.d->name, "page_faults");
	if (post(&r, IBV_WR_RDMA_WRITE, big, r.dst, r.mdst, 1))
		t_die("post");
	t_expect("WRITE after prefetch", r.a.scq, IBV_WC_SUCCESS, NULL);
	t_pat_check("WRITE after prefetch", r.dst, big, 31, 0);
	faults = t_counter(r.d->name, "page_faults") - before;
	if (t_param_get("force_fault") != 1 && faults > 4)
		t_fail("%llu page faults after prefetch", (unsigned long long)faults);

	/* Without waiting: accepted, and nothing depends on its end. */
	t_drop(r.dst, big);
	sg = t_sge(r.dst, (uint32_t)big, r.mdst->lkey);
	for (int i = 0; i < 20; i++) {
		rc = ibv_advise_mr(r.d->pd, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE, 0, &sg, 1);
		if (rc)
			t_fail("asynchronous prefetch: %s", strerror(rc));
	}
	/* Errors. */
	bad = sg;
	bad.length++;
	rc = ibv_advise_mr(r.d->pd, IBV_ADVISE_MR_ADVICE_PREFETCH, IBV_ADVISE_MR_FLAG_FLUSH, &bad,
			   1);
	if (rc != EFAULT)
		t_fail("prefetch beyond the MR: %s", strerror(rc));
	bad = sg;
	bad.lkey ^= 0x55;
	rc = ibv_advise_mr(r.d->pd, IBV_ADVISE_MR_ADVICE_PREFETCH, 0, &bad, 1);
	if (rc != EFAULT)
		t_fail("prefetch with a bad lkey: %s", strerror(rc));
	munmap(r.dst + T_PAGE, T_PAGE);
	rc = ibv_advise_mr(r.d->pd, IBV_ADVISE_MR_ADVICE_PREFETCH, IBV_ADVISE_MR_FLAG_FLUSH, &sg,
			   1);
	if (rc != EFAULT)
		t_fail("prefetch over a hole: %s", strerror(rc));
	rig_close(&r);
}

/* Many prefetches, and everything closed at once. */
static void prefetch_and_go(struct t_dev *like)
{
	const size_t big = 128UL << 20;

	for (int i = 0; i < 5; i++) {
		struct t_dev *d = t_dev_open(like->name, like->gidx);
		uint8_t *p = t_map(big);
		struct ibv_mr *m = t_reg(d->pd, p, big, ODP_ALL);
		struct ibv_sge sg = t_sge(p, (uint32_t)big, m->lkey);

		for (int k = 0; k < 4; k++)
			ibv_advise_mr(d->pd, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE, 0, &sg, 1);
		usleep(i * 1000);
		if (i & 1)
			munmap(p, big);
		ibv_dereg_mr(m);
		t_dev_close(d);
		if (!(i & 1))
			munmap(p, big);
	}
}

/* As t_pair_open() and t_pair_again(), for the wire. */
static void over_wire(struct t_ep *a, struct t_ep *b, struct t_dev *d, const struct t_opt *o)
{
	int was = t_param_get("force_wire");

	if (t_param_set("force_wire", 1))
		t_die("force_wire cannot be set");
	if (o)
		t_pair_open(a, d, b, d, o);
	else
		t_pair_again(a, b);
	t_param_set("force_wire", was);
}

/* If a request waits for an endless fault, its requester gets an RNR NAK before an ACK timeout. */
static void told_to_come_again(struct rig *r, struct t_ep *a)
{
	uint64_t rnr = t_counter(r->d->name, "send_rnr_err");
	uint64_t timeouts = t_counter(r->d->name, "completer_retry_err");
	uint8_t *p = t_map(T_PAGE);
	struct ibv_mr *m = t_reg(r->d->pd, p, T_PAGE, ODP_ALL);
	int fd = t_uffd(p, T_PAGE);
	double stop = t_now() + t_slow(5);

	if (t_post_one(a, IBV_WR_RDMA_WRITE, r->src, 100, r->msrc->lkey, (uintptr_t)p, m->rkey, 2))
		t_die("post");
	while (t_counter(r->d->name, "send_rnr_err") == rnr && t_now() < stop)
		usleep(1000);
	if (t_now() >= stop)
		t_fail("a fault that does not end: no RNR NAK");
	if (t_counter(r->d->name, "completer_retry_err") != timeouts)
		t_fail("a fault that does not end: an ACK timeout");
	close(fd);
	t_expect("a fault that ended at last", a->scq, IBV_WC_SUCCESS, NULL);
	t_pat_check("a fault that ended at last", p, 100, 71, 0);
	ibv_dereg_mr(m);
	munmap(p, T_PAGE);
}

/*
 * Every packet faults, and each fault is soon over. The responder parks the packets behind it, and
 * does not send an RNR NAK for each fault, which would make the requester send everything behind it
 * again. The RNR timer may still run when the QP is reset, and must serve the next connection.
 */
static void fault_by_fault(struct t_dev *like)
{
	struct t_opt o = {
		.type = IBV_QPT_RC, .access = T_ALL_ACCESS, .depth = 64, .mtu = IBV_MTU_1024,
	};
	int force = t_param_get("force_fault");
	const size_t len = 1 << 20;
	const uint64_t pkts = len / 1024;
	struct t_ep a, b;
	uint64_t rnr;
	struct rig r;

	rig_open(&r, like, len);
	t_pat_fill(r.src, len, 71, 0);
	over_wire(&a, &b, r.d, &o);
	rnr = t_counter(r.d->name, "send_rnr_err");
	if (t_param_set("force_fault", 1))
		t_die("force_fault cannot be set");
	if (t_post_one(&a, IBV_WR_RDMA_WRITE, r.src, (uint32_t)len, r.msrc->lkey,
		       (uintptr_t)r.dst, r.mdst->rkey, 1))
		t_die("post");
	t_expect("fault by fault", a.scq, IBV_WC_SUCCESS, NULL);
	t_param_set("force_fault", force);
	over_wire(&a, &b, r.d, NULL);
	t_pat_check("fault by fault", r.dst, len, 71, 0);
	rnr = t_counter(r.d->name, "send_rnr_err") - rnr;
	/* A busy machine may keep a fault thread from running: a few RNR NAKs are allowed. */
	if (rnr > pkts / 8)
		t_fail("%llu RNR NAKs for %llu packets", (unsigned long long)rnr,
		       (unsigned long long)pkts);
	told_to_come_again(&r, &a);
	t_ep_close(&a);
	t_ep_close(&b);
	rig_close(&r);
}

/* A child registers its memory through the context that it inherited; both go on undisturbed. */
static void inherited(struct t_dev *like)
{
	struct rig r;
	int status;
	pid_t pid;

	rig_open(&r, like, ROOM);
	t_pat_fill(r.src, ROOM, 41, 0);
	pid = fork();
	if (!pid) {
		uint8_t *p = t_map(ROOM);
		struct ibv_mr *m = ibv_reg_mr(r.d->pd, p, ROOM, ODP_ALL);

		if (!m)
			_exit(errno == EACCES || errno == EPERM ? 0 : 3);
		/* Through the inherited QP, from the parent's memory into the child's. */
		if (post(&r, IBV_WR_RDMA_WRITE, ROOM, p, m, 1))
			_exit(4);
		if (!t_expect("into the child's memory", r.a.scq, IBV_WC_SUCCESS, NULL))
			_exit(5);
		if (!t_pat_check("the child's memory", p, ROOM, 41, 0))
			_exit(6);
		if (ibv_dereg_mr(m))
			_exit(7);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		t_fail("child: status %#x", status);
	rig_close(&r);
}

static void rereg(struct t_dev *like)
{
	for (int odp = 0; odp < 2; odp++) {
		struct rig r;
		struct ibv_mr *m;
		struct ibv_pd *pd2;
		uint8_t *p;
		int rc;

		rig_open(&r, like, ROOM);
		p = t_map(ROOM);
		m = t_reg(r.d->pd, p, ROOM, odp ? ODP_ALL : T_ALL_ACCESS);
		t_pat_fill(r.src, ROOM, 51, 0);
		post(&r, IBV_WR_RDMA_WRITE, ROOM, p, m, 1);
		t_expect("before rereg", r.a.scq, IBV_WC_SUCCESS, NULL);
		rc = ibv_rereg_mr(m, IBV_REREG_MR_CHANGE_ACCESS, NULL, NULL, 0,
				  IBV_ACCESS_REMOTE_READ | (odp ? IBV_ACCESS_ON_DEMAND : 0));
		if (rc) {
			t_fail("rereg to read-only: %d, %s", rc, strerror(errno));
		} else {
			t_pat_fill(r.src, ROOM, 52, 0);
			post(&r, IBV_WR_RDMA_WRITE, ROOM, p, m, 2);
			t_expect("WRITE to an MR that lost write access", r.a.scq,
				 IBV_WC_REM_ACCESS_ERR, NULL);
			t_pat_check("an MR that lost write access", p, ROOM, 51, 0);
			t_pair_again(&r.a, &r.b);
			post(&r, IBV_WR_RDMA_READ, ROOM, p, m, 3);
			t_expect("READ from it", r.a.scq, IBV_WC_SUCCESS, NULL);
			t_pat_check("READ from it", r.src, ROOM, 51, 0);
		}
		pd2 = ibv_alloc_pd(r.d->ctx);
		rc = ibv_rereg_mr(m, IBV_REREG_MR_CHANGE_PD, pd2, NULL, 0, 0);
		if (rc) {
			t_fail("rereg to another PD: %d, %s", rc, strerror(errno));
		} else {
			post(&r, IBV_WR_RDMA_READ, T_PAGE, p, m, 4);
			t_expect("READ from another PD's MR", r.a.scq, IBV_WC_REM_ACCESS_ERR, NULL);
			t_pair_again(&r.a, &r.b);
		}
		rc = ibv_rereg_mr(m,
				  IBV_REREG_MR_CHANGE_PD | IBV_REREG_MR_CHANGE_TRANSLATION |
				  IBV_REREG_MR_CHANGE_ACCESS,
				  r.d->pd, p + T_PAGE, T_PAGE, odp ? ODP_ALL : T_ALL_ACCESS);
		if (rc) {
			t_fail("rereg of everything: %d, %s", rc, strerror(errno));
		} else {
			t_pat_fill(r.src, T_PAGE, 53, 0);
			post(&r, IBV_WR_RDMA_WRITE, T_PAGE, p + T_PAGE, m, 5);
			t_expect("WRITE after rereg of everything", r.a.scq, IBV_WC_SUCCESS, NULL);
			t_pat_check("WRITE after rereg of everything", p + T_PAGE, T_PAGE, 53, 0);
			t_pat_check("the page before it", p, T_PAGE, 51, 0);
			post(&r, IBV_WR_RDMA_WRITE, T_PAGE, p, m, 6);
			t_expect("WRITE outside the new bounds", r.a.scq, IBV_WC_REM_ACCESS_ERR,
				 NULL);
			t_pair_again(&r.a, &r.b);
		}
		ibv_dereg_mr(m);
		ibv_dealloc_pd(pd2);
		rig_close(&r);
	}
}

/* The whole address space in one MR; what is not there is an error, kernel addresses too. */
static void implicit(struct t_dev *like)
{
	struct rig r;
	struct ibv_mr *m;
	uint8_t *p;
	static const uint64_t nowhere[] = {
		0x1000, 0xffff888000000000ULL, 0x00007ffffffff000ULL, 0xfffffffffffff000ULL
	};

	rig_open(&r, like, ROOM);
	m = ibv_reg_mr(r.d->pd, NULL, SIZE_MAX, ODP_ALL);
	if (!m) {
		t_fail("implicit MR: %s", strerror(errno));
		rig_close(&r);
		return;
	}
	p = t_map(ROOM);	/* after the registration */
	t_pat_fill(r.src, ROOM, 61, 0);
	t_post_one(&r.a, IBV_WR_RDMA_WRITE, r.src, ROOM, m->lkey, (uintptr_t)p, m->rkey, 1);
	t_expect("implicit", r.a.scq, IBV_WC_SUCCESS, NULL);
	t_pat_check("implicit", p, ROOM, 61, 0);
	for (unsigned i = 0; i < ARRAY_LEN(nowhere); i++) {
		t_post_one(&r.a, IBV_WR_RDMA_WRITE, r.src, 100, m->lkey, nowhere[i], m->rkey, 2);
		t_expect("WRITE to nowhere", r.a.scq, IBV_WC_REM_ACCESS_ERR, NULL);
		t_pair_again(&r.a, &r.b);
	}
	ibv_dereg_mr(m);
	rig_close(&r);
}

static const struct t_test tests[] = {
	{ "hangs", hangs,
	  "what waits for a fault that nobody serves is killed, exits, execs, closes" },
	{ "others_go_on", others_go_on, "a QP that waits for a fault blocks no other" },
	{ "many_wait", many_wait, "more faults wait than threads may, and nobody else does" },
	{ "orphan", orphan, "the owner goes while its faults wait, and its context does not" },
	{ "prefetch", prefetch, "ibv_advise_mr, and its errors" },
	{ "prefetch_and_go", prefetch_and_go, "much is prefetched, and everything closed at once" },
	{ "fault_by_fault", fault_by_fault, "every packet faults, and none is sent again for it" },
	{ "inherited", inherited,
	  "a child registers its memory through the context that it inherited" },
	{ "rereg", rereg, "reregistration takes effect" },
	{ "implicit", implicit, "an implicit MR reaches what is mapped later, and nothing else" },
	{ 0 },
};

int main(int argc, char **argv)
{
	static const struct t_test *const all[] = { tests, NULL };

	t_init();
	return t_main(argc, argv, &(struct t_program){
		.name = "life", .tests = all, .seconds = (unsigned)t_slow(120), .odp = true,
	});
}
