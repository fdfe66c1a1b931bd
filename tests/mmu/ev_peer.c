// SPDX-License-Identifier: BSD-2-Clause
/*
 * The peer goes in the middle of transfers. It is another process, which ends by SIGKILL, or by
 * _exit() without destroying anything: the survivor gets an error or goes on, never hangs, and the
 * device still works. That process is this program again (see ev_child), so it shares no verbs
 * object. Or a process destroys its QP while the result of an atomic waits to land at the other.
 */
#define _GNU_SOURCE
#include "ev.h"
#include "ev_peer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE (64 * T_PAGE)
#define DEPTH 16

struct hello {
	struct t_addr addr;
	uint64_t va;
	uint32_t rkey;
};

/*
 * Post WRITEs for @seconds, or until one fails. Returns the status of the first failure, 0: none,
 * -1: some never completed.
 */
static int pump(struct t_ep *e, uint8_t *src, struct ibv_mr *m, const struct hello *to,
		double seconds, uint64_t *count)
{
	uint64_t posted = 0, reaped = 0;
	double end = t_now() + seconds, give_up = end + t_limit * 2;
	int status = 0;
	struct ibv_wc wc;

	while (t_now() < give_up) {
		bool more = t_now() < end && !status;

		if (!more && posted == reaped)
			break;
		if (more && posted - reaped < DEPTH) {
			uint32_t len = (uint32_t)(t_mix(posted) % (SIZE / 2));

			if (t_post_one(e, IBV_WR_RDMA_WRITE, src, len, m->lkey,
				       to->va + posted % 4096, to->rkey, posted))
				t_die("post failed");
			posted++;
		}
		if (ibv_poll_cq(e->scq, 1, &wc) == 1) {
			reaped++;
			if (wc.status && !status)
				status = (int)wc.status;
		}
	}
	*count = reaped;
	if (posted != reaped) {
		t_fail("%llu of %llu WRITEs never completed", (unsigned long long)(posted - reaped),
		       (unsigned long long)posted);
		return -1;
	}
	return status;
}

/* The other process.  @role: "target" waits to be killed or exits; "source" writes for ever. */
int ev_child(const char *role, int fd, const char *dev, int gid)
{
	/* timeout 14: 67 ms; 5 retries */
	struct t_opt o = { .timeout = 14, .retry_cnt = 5, .depth = DEPTH };
	struct t_dev *d = t_dev_open(dev, gid);
	uint8_t *p = t_map(2 * SIZE);
	struct hello me, peer;
	struct ibv_mr *m;
	struct t_ep e;
	uint64_t n;
	char c;

	m = t_reg(d->pd, p, 2 * SIZE, strstr(role, "pinned") ? T_ALL_ACCESS : ODP_ALL);
	t_ep_open(&e, d, &o);
	me = (struct hello){ e.me, (uintptr_t)p, m->rkey };
	t_put(fd, &me, sizeof(me));
	t_get(fd, &peer, sizeof(peer));
	t_ep_connect(&e, &peer.addr);
	t_put(fd, "r", 1);
	t_get(fd, &c, 1);
	if (strstr(role, "source")) {
		t_pat_fill(p, SIZE, 500, 0);
		if (strstr(role, "exit")) {
			pump(&e, p, m, &peer, 0.05, &n);
			/* leave with WRITEs in flight */
			for (unsigned i = 0; i < DEPTH; i++)
				t_post_one(&e, IBV_WR_RDMA_WRITE, p, SIZE, m->lkey, peer.va,
					   peer.rkey, i);
			_exit(0);
		}
		pump(&e, p, m, &peer, 60, &n);
		_exit(0);
	}
	if (strstr(role, "exit")) {
		usleep(t_debug ? 200000 : 20000);
		_exit(0);
	}
	sleep(60);
	_exit(1);
}

static pid_t spawn(struct t_dev *d, const char *role, int *fd)
{
	char r[64], g[16], s[16];
	int sv[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv))
		t_die("socketpair: %s", strerror(errno));
	snprintf(r, sizeof(r), "@%s", role);
	snprintf(g, sizeof(g), "%d", d->gidx);
	pid = fork();
	if (pid < 0)
		t_die("fork: %s", strerror(errno));
	if (!pid) {
		int own = dup(sv[1]); /* this one survives exec */

		snprintf(s, sizeof(s), "%d", own);
		execl("/proc/self/exe", "prxe-events", r, s, d->name, g, (char *)NULL);
		_exit(127);
	}
	close(sv[1]);
	*fd = sv[0];
	return pid;
}

static void one_death(struct t_dev *d, const char *role, int round)
{
	bool local = t_param_get("force_wire") == 0, kill_it = !strstr(role, "exit");
	struct t_opt o = { .timeout = 14, .retry_cnt = 5, .depth = DEPTH };
	uint8_t *p = t_map(2 * SIZE), *snap = t_map(2 * SIZE);
	struct hello me, peer;
	struct t_ep e, x, y;
	struct ibv_mr *m;
	uint64_t n = 0;
	int fd, st, rc = 0;
	double from;
	pid_t pid;
	char c;

	t_context("peer role %s, round %d", role, round);
	pid = spawn(d, role, &fd);
	m = t_reg(d->pd, p, 2 * SIZE, strstr(role, "pinned") ? T_ALL_ACCESS : ODP_ALL);
	t_ep_open(&e, d, &o);
	t_get(fd, &peer, sizeof(peer));
	me = (struct hello){ e.me, (uintptr_t)p, m->rkey };
	t_put(fd, &me, sizeof(me));
	t_get(fd, &c, 1);
	t_ep_connect(&e, &peer.addr);
	t_put(fd, "g", 1);
	from = t_now();
	if (strstr(role, "target")) {
		pid_t killer = -1;

		t_pat_fill(p, 2 * SIZE, 501, 0);
		if (kill_it) {
			killer = fork();
			if (!killer) {
				usleep((useconds_t)(t_debug ? 100000 : 5000) +
				       (useconds_t)(t_mix((uint64_t)round) % 20000));
				kill(pid, SIGKILL);
				_exit(0);
			}
		}
		rc = pump(&e, p, m, &peer, t_slow(20), &n);
		if (rc == 0)
			t_fail("the peer is gone, and WRITEs to it still succeed");
		else if (rc > 0 && rc != IBV_WC_RETRY_EXC_ERR && rc != IBV_WC_REM_ACCESS_ERR &&
			 rc != IBV_WC_REM_OP_ERR && rc != IBV_WC_WR_FLUSH_ERR)
			t_fail("WRITEs ended with '%s'", ibv_wc_status_str((enum ibv_wc_status)rc));
		if (killer > 0)
			waitpid(killer, NULL, 0);
		waitpid(pid, &st, 0);
	} else {
		usleep((useconds_t)(t_debug ? 100000 : 10000) +
		       (useconds_t)(t_mix((uint64_t)round) % 20000));
		if (kill_it)
			kill(pid, SIGKILL);
		waitpid(pid, &st, 0);
		if (local) { /* on the wire, packets may still be on their way */
			memcpy(snap, p, 2 * SIZE);
			usleep(20000);
			if (memcmp(snap, p, 2 * SIZE))
				t_fail("memory changes after the process that wrote it is gone");
		}
	}
	if (!kill_it && (!WIFEXITED(st) || WEXITSTATUS(st)))
		t_fail("the peer ended with status %#x", st);
	if (!round)
		t_note("%s: %llu WRITEs, '%s' after %.0f ms", role, (unsigned long long)n,
		       ibv_wc_status_str((enum ibv_wc_status)(rc < 0 ? IBV_WC_GENERAL_ERR : rc)),
		       (t_now() - from) * 1e3);
	t_ep_close(&e);
	ibv_dereg_mr(m);
	munmap(p, 2 * SIZE);
	munmap(snap, 2 * SIZE);
	close(fd);
	t_pair_open(&x, d, &y, d, NULL);
	t_pair_works("the device after the peer's death", &x, &y);
	t_ep_close(&x);
	t_ep_close(&y);
	t_context("%s", "");
}

static void deaths(struct t_dev *d, const char *const *roles)
{
	int rounds = ev_rounds / 3 > 0 ? ev_rounds / 3 : 1;

	for (; *roles; roles++)
		for (int r = 0; r < rounds && !t_fails; r++)
			one_death(d, *roles, r);
}

static void peer_killed(struct t_dev *d)
{
	static const char *const roles[] = { "target-kill", "source-kill", "target-kill-pinned",
					     NULL };

	deaths(d, roles);
}

static void peer_exits(struct t_dev *d)
{
	static const char *const roles[] = { "target-exit", "source-exit", NULL };

	deaths(d, roles);
}

/* ---- the result of an atomic, whose peer has gone meanwhile ---- */

/*
 * With force_fault every use of a page needs a fault of its own, but a look at it does not use it.
 * So a landing buffer of two SGEs in one page passes the check before the atomic executes, takes
 * the first bytes of the result, and then needs a fault for the rest. That fault needs mmap_lock,
 * which another thread holds for as long as mprotect() of a large range takes. In this time the
 * peer, which is another process, sees that its memory has changed, and destroys its QP. A round
 * counts only if the result has not landed by then.
 */
#define LANDINGS 3 /* rounds that count, for each kind of atomic */
#define TRIES 60
#define FIRST 3 /* bytes of the result in the first SGE */
#define AT_FIRST 100
#define AT_REST 301
#define TARGET_AT 1024

struct holder {
	uint8_t *p;
	size_t size;
	atomic_uint calls; /* of mprotect(), begun */
	atomic_bool over;
};

static void *hold(void *arg)
{
	struct holder *h = arg;

	for (unsigned n = 0; !atomic_load(&h->over); n++) {
		atomic_store(&h->calls, n + 1);
		if (mprotect(h->p, h->size, n % 2 ? PROT_READ : PROT_NONE))
			t_die("mprotect: %s", strerror(errno));
	}
	if (mprotect(h->p, h->size, PROT_READ))
		t_die("mprotect: %s", strerror(errno));
	return NULL;
}

/* A range whose pages are all there (each is the zero page): mprotect() looks at every one. */
static void holder_open(struct holder *h)
{
	h->size = t_debug ? 256UL << 20 : 1UL << 30;
	h->p = t_map(h->size);
	if (madvise(h->p, h->size, MADV_NOHUGEPAGE) && errno != EINVAL)
		t_die("MADV_NOHUGEPAGE: %s", strerror(errno));
	if (mprotect(h->p, h->size, PROT_READ))
		t_die("mprotect: %s", strerror(errno));
	for (size_t at = 0; at < h->size; at += T_PAGE)
		(void)*(volatile uint8_t *)(h->p + at);
}

/* What both processes see. */
struct common {
	uint8_t target[T_PAGE_MAX];
	uint64_t old;
};

struct landing {
	struct t_dev *d;
	struct t_ep e;
	struct common *c;
	int sock;
	uint8_t *page;
	struct ibv_mr *m;
	uint32_t rkey; /* of the target */
	struct holder h;
};

static _Atomic uint64_t *target_of(struct common *c)
{
	return (_Atomic uint64_t *)(c->target + TARGET_AT);
}

static struct t_opt landing_opt(void)
{
	/* timeout 14: 67 ms. A driver that asks for the peer fails after five of them. */
	return (struct t_opt){ .timeout = 14, .retry_cnt = 5, .sge = 2 };
}

/* The peer: one QP for each round, destroyed when the atomic has executed. */
__attribute__((noreturn)) static void landing_peer(const char *dev, int gid, int sock,
						   struct common *c)
{
	struct t_dev *d = t_dev_open(dev, gid);
	struct ibv_mr *m = t_reg(d->pd, c, T_PAGE, T_ALL_ACCESS);
	struct t_opt o = landing_opt();
	char go;

	t_put(sock, &m->rkey, sizeof(m->rkey));
	while (t_try_get(sock, &go, 1)) {
		struct t_ep e;
		double stop;

		t_ep_open(&e, d, &o);
		t_ep_meet(&e, sock);
		t_put(sock, "r", 1);
		stop = t_now() + t_slow(5);
		while (atomic_load(target_of(c)) == c->old && t_now() < stop)
			usleep(10);
		if (ibv_destroy_qp(e.qp))
			t_die("ibv_destroy_qp: %s", strerror(errno));
		t_put(sock, "d", 1);
		ibv_destroy_cq(e.scq);
		ibv_destroy_cq(e.rcq);
	}
	_exit(0);
}

static void landing_prepare(struct landing *l, uint64_t seq)
{
	struct ibv_sge all = t_sge(l->page, T_PAGE, l->m->lkey);
	struct t_opt o = landing_opt();
	char ready;
	int rc;

	t_drop(l->page, T_PAGE);
	t_pat_fill(l->page, T_PAGE, seq, 0);
	t_pat_fill(l->c->target, T_PAGE, seq + 1, 0);
	l->c->old = atomic_load(target_of(l->c));
	t_put(l->sock, "g", 1);
	t_ep_open(&l->e, l->d, &o);
	t_ep_meet(&l->e, l->sock);
	t_get(l->sock, &ready, 1);
	rc = ibv_advise_mr(l->d->pd, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE,
			   IBV_ADVISE_MR_FLAG_FLUSH, &all, 1);
	if (rc)
		t_die("ibv_advise_mr: %s", strerror(rc));
}

/* The old value has landed, the target has changed once, and nothing beside either. */
static void landing_check(struct landing *l, uint64_t seq, uint64_t old, uint64_t want)
{
	uint8_t got[sizeof(old)];
	uint64_t now;

	memcpy(got, l->page + AT_FIRST, FIRST);
	memcpy(got + FIRST, l->page + AT_REST, sizeof(got) - FIRST);
	if (memcmp(got, &old, sizeof(old)))
		t_fail("not the old value has landed");
	t_pat_fill(l->page + AT_FIRST, FIRST, seq, AT_FIRST);
	t_pat_fill(l->page + AT_REST, sizeof(got) - FIRST, seq, AT_REST);
	t_pat_check("around the landing buffer", l->page, T_PAGE, seq, 0);
	memcpy(&now, l->c->target + TARGET_AT, sizeof(now));
	if (now != want)
		t_fail("the target is %#llx, not %#llx", (unsigned long long)now,
		       (unsigned long long)want);
	t_pat_fill(l->c->target + TARGET_AT, sizeof(now), seq + 1, TARGET_AT);
	t_pat_check("around the target", l->c->target, T_PAGE, seq + 1, 0);
}

/* From the beginning of an mprotect() on. */
static void wait_for_hold(struct holder *h)
{
	unsigned calls;
	double stop;

	while (!atomic_load(&h->calls))
		;
	calls = atomic_load(&h->calls);
	while (atomic_load(&h->calls) == calls)
		;
	for (stop = t_now() + 50e-6; t_now() < stop;)
		;
}

/* One atomic; returns whether the round counts. */
static bool landing_round(struct landing *l, enum ibv_wr_opcode op, uint64_t seq)
{
	const uint64_t add = 0x0123456789abcdefULL + seq;
	struct ibv_sge sg[2] = {
		t_sge(l->page + AT_FIRST, FIRST, l->m->lkey),
		t_sge(l->page + AT_REST, sizeof(uint64_t) - FIRST, l->m->lkey),
	};
	struct t_wr wr = {
		.op = op, .sg = sg, .n = 2, .raddr = (uintptr_t)target_of(l->c), .rkey = l->rkey,
	};
	uint64_t want;
	struct ibv_wc wc;
	pthread_t th;
	bool came;
	char gone;
	int rc;

	landing_prepare(l, seq);
	want = l->c->old + add;
	wr.compare = op == IBV_WR_ATOMIC_CMP_AND_SWP ? l->c->old : add;
	wr.swap = want;
	atomic_store(&l->h.over, false);
	atomic_store(&l->h.calls, 0);
	if (pthread_create(&th, NULL, hold, &l->h))
		t_die("pthread_create failed");
	wait_for_hold(&l->h);
	rc = t_post(&l->e, &wr);
	t_get(l->sock, &gone, 1);
	came = ibv_poll_cq(l->e.scq, 1, &wc) > 0;
	atomic_store(&l->h.over, true);
	pthread_join(th, NULL);
	if (rc)
		t_die("post: %s", strerror(rc));
	if (came && wc.status)
		t_fail("an atomic: '%s'", ibv_wc_status_str(wc.status));
	if (!came)
		t_expect("an atomic that was executed, and whose peer has gone", l->e.scq,
			 IBV_WC_SUCCESS, NULL);
	landing_check(l, seq, l->c->old, want);
	t_ep_close(&l->e);
	return !came;
}

static void atomic_lands(struct t_dev *d)
{
	static const enum ibv_wr_opcode ops[] = { IBV_WR_ATOMIC_FETCH_AND_ADD,
						  IBV_WR_ATOMIC_CMP_AND_SWP };
	int force = t_param_get("force_fault");
	struct landing l = { .d = d };
	pid_t pid;

	l.c = mmap(NULL, sizeof(*l.c), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (l.c == MAP_FAILED)
		t_die("mmap: %s", strerror(errno));
	pid = t_fork(&l.sock);
	if (!pid)
		landing_peer(d->name, d->gidx, l.sock, l.c);
	t_get(l.sock, &l.rkey, sizeof(l.rkey));
	l.page = t_map(T_PAGE);
	l.m = t_reg(d->pd, l.page, T_PAGE, ODP_ALL);
	holder_open(&l.h);
	if (t_param_set("force_fault", 1))
		t_die("force_fault cannot be set");
	for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
		int n = 0, tries = 0;

		t_context("opcode %d", ops[i]);
		while (n < LANDINGS && tries < TRIES && !t_fails)
			n += landing_round(&l, ops[i], 520 + 2 * (uint64_t)tries++);
		t_note("opcode %d: the peer had gone first in %d of %d rounds", ops[i], n, tries);
		if (n < LANDINGS && !t_fails)
			t_fail("the peer had gone first in %d of %d rounds only", n, tries);
	}
	t_context("%s", "");
	t_param_set("force_fault", force);
	close(l.sock);
	waitpid(pid, NULL, 0);
	ibv_dereg_mr(l.m);
	munmap(l.page, T_PAGE);
	munmap(l.c, sizeof(*l.c));
	munmap(l.h.p, l.h.size);
}

const struct t_test ev_peer[] = {
	{ "peer_killed", peer_killed, "SIGKILL of the peer in the middle of transfers" },
	{ "peer_exits", peer_exits, "the peer exits in the middle of transfers" },
	{ "atomic_lands", atomic_lands, "the result of an atomic lands when the peer has gone" },
	{ 0 },
};
