// SPDX-License-Identifier: BSD-2-Clause
/*
 * ibv_post_send() never waits for the MM.  While a large range is taken away (MADV_DONTNEED), what is
 * posted on its first page, which has gone already, waits for the end of that; the poster does not.
 */
#define _GNU_SOURCE
#include "ev.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 5
#define LEN 64

static size_t room(void)
{
	return t_debug ? 24UL << 20 : 96UL << 20;
}

/* The range, every page of it present, on its own: dropping it takes long. */
static uint8_t *make(void)
{
	uint8_t *p = t_map(room());

	madvise(p, room(), MADV_NOHUGEPAGE);
	return p;
}

static void touch(uint8_t *p)
{
	for (size_t at = 0; at < room(); at += T_PAGE)
		p[at] = (uint8_t)(at >> 12);
}

static double drop(uint8_t *p)
{
	double from = t_now();

	t_drop(p, room());
	return t_now() - from;
}

/* Beside the poster: a thread that drops the range, or waits until the process that has it did. */
struct dropper {
	uint8_t *p;  /* own memory */
	int sock;    /* else the way to the process */
	double took;
	atomic_bool done;
};

static void *dropping(void *arg)
{
	struct dropper *w = arg;

	if (w->p) {
		w->took = drop(w->p);
	} else {
		t_put(w->sock, "d", 1);
		t_get(w->sock, &w->took, sizeof(w->took));
	}
	atomic_store(&w->done, true);
	return NULL;
}

struct verdict {
	double part[ROUNDS]; /* of the longest wait for a completion, that the longest post is */
	int n, tried;
};

struct xfer {
	struct t_ep *e;
	enum ibv_wr_opcode op;
	uint8_t *local;
	uint32_t lkey;
	uint64_t raddr;
	uint32_t rkey;
};

/* One transfer after another while the range goes, and one more: the longest post, and the longest wait from a post to its completion, in seconds. */
static bool stream(const struct xfer *x, struct dropper *w, double *post, double *wait)
{
	double longest_post = 0, longest = 0;
	bool last = false;
	pthread_t th;

	atomic_store(&w->done, false);
	if (pthread_create(&th, NULL, dropping, w))
		t_die("pthread_create failed");
	while (!last) {
		double from = t_now(), posted, done;
		struct ibv_wc wc;

		last = atomic_load(&w->done);
		if (t_post_one(x->e, x->op, x->local, LEN, x->lkey, x->raddr, x->rkey, 1))
			t_die("post failed");
		posted = t_now();
		if (!t_expect("a transfer while its memory goes", x->e->scq, IBV_WC_SUCCESS, &wc))
			break;
		done = t_now();
		if (posted - from > longest_post)
			longest_post = posted - from;
		if (done - from > longest)
			longest = done - from;
	}
	pthread_join(th, NULL);
	*post = longest_post;
	*wait = longest;
	return last;
}

/*
 * Only rounds say something in which a transfer had to wait for a good part of what the drop took (by its own clock, which a busy machine
 * stops now and then): enough of them. A post that waits for the memory is all of that wait, however long it is.
 */
static bool enough(struct verdict *v, const struct dropper *w, double post, double wait)
{
	if (wait > w->took / 4)
		v->part[v->n++] = post / wait;
	return v->n == ROUNDS || ++v->tried == 5 * ROUNDS;
}

static void judge(const char *what, struct verdict *v)
{
	double median;

	if (v->n < ROUNDS) {
		if (!t_fails)
			t_fail("%s: a transfer had to wait in %d of %d rounds only", what, v->n, v->tried);
		return;
	}
	median = t_median(v->part, v->n);
	t_note("%s: the longest post took %.3f of the longest wait, in %d of %d rounds", what, median, v->n, v->tried + 1);
	if (median > 0.5)
		t_fail("%s: a post waits until the memory has gone: it took %.2f of the wait", what, median);
}

static void post_own(struct t_dev *d)
{
	uint8_t *p = make(), *src = t_map(ROUNDS * T_PAGE);
	struct verdict v = { 0 };
	double post, wait;
	struct ibv_mr *m = t_reg(d->pd, p, room(), ODP_ALL), *ms = t_reg(d->pd, src, ROUNDS * T_PAGE, T_ALL_ACCESS);
	struct dropper w = { .p = p };
	struct t_ep a, b;

	t_pair_open(&a, d, &b, d, NULL);
	t_pat_fill(src, ROUNDS * T_PAGE, 700, 0);
	for (uint64_t i = 0;; i++) {
		struct xfer x = { &a, IBV_WR_RDMA_READ, p + 8, m->lkey, (uintptr_t)src + i % ROUNDS * T_PAGE, ms->rkey };

		touch(p);
		if (!stream(&x, &w, &post, &wait))
			break;
		t_pat_check("READ into memory that goes", p + 8, LEN, 700, i % ROUNDS * T_PAGE);
		t_zero_check("beside it", p + 8 + LEN, T_PAGE - 8 - LEN);
		if (enough(&v, &w, post, wait))
			break;
	}
	judge("own memory", &v);
	t_ep_close(&a);
	t_ep_close(&b);
	ibv_dereg_mr(m);
	ibv_dereg_mr(ms);
	munmap(p, room());
	munmap(src, ROUNDS * T_PAGE);
}

struct at {
	uint64_t va;
	uint32_t rkey;
};

/* The process whose memory it is: drops it when it is told to. */
__attribute__((noreturn)) static void owner(const char *dev, int gid, int sock)
{
	struct t_dev *d = t_dev_open(dev, gid);
	uint8_t *p = make();
	struct ibv_mr *m = t_reg(d->pd, p, room(), ODP_ALL);
	struct at at = { (uintptr_t)p, m->rkey };
	struct t_ep e;
	char c;

	t_ep_open(&e, d, NULL);
	t_ep_meet(&e, sock);
	t_put(sock, &at, sizeof(at));
	for (touch(p); t_try_get(sock, &c, 1); touch(p)) {
		double took = drop(p);

		t_put(sock, &took, sizeof(took));
		t_get(sock, &c, 1); /* looked at */
	}
	_exit(0);
}

static void post_other(struct t_dev *d)
{
	uint8_t *src = t_map((ROUNDS + 1) * T_PAGE), *land = src + ROUNDS * T_PAGE;
	struct verdict v = { 0 };
	double post, wait;
	struct dropper w = { 0 };
	struct ibv_mr *ms;
	struct t_ep e;
	struct at at;
	pid_t pid = t_fork(&w.sock);

	if (!pid)
		owner(d->name, d->gidx, w.sock);
	ms = t_reg(d->pd, src, (ROUNDS + 1) * T_PAGE, T_ALL_ACCESS);
	t_pat_fill(src, ROUNDS * T_PAGE, 710, 0);
	t_ep_open(&e, d, NULL);
	t_ep_meet(&e, w.sock);
	t_get(w.sock, &at, sizeof(at));
	for (uint64_t i = 0;; i++) {
		struct xfer x = { &e, IBV_WR_RDMA_WRITE, src + i % ROUNDS * T_PAGE, ms->lkey, at.va + 8, at.rkey };

		if (!stream(&x, &w, &post, &wait) ||
		    !ev_xfer("read back", &e, IBV_WR_RDMA_READ, land, T_PAGE, ms, (void *)at.va,
			     &(struct ibv_mr){ .rkey = at.rkey }))
			break;
		t_pat_check("WRITE into memory that goes", land + 8, LEN, 710, i % ROUNDS * T_PAGE);
		t_zero_check("beside it", land + 8 + LEN, T_PAGE - 8 - LEN);
		t_put(w.sock, "n", 1);
		if (enough(&v, &w, post, wait))
			break;
	}
	judge("another process's memory", &v);
	close(w.sock);
	waitpid(pid, NULL, 0);
	t_ep_close(&e);
	ibv_dereg_mr(ms);
	munmap(src, (ROUNDS + 1) * T_PAGE);
}

const struct t_test ev_post[] = {
	{ "post_own", post_own, "posting on own memory that is being taken away does not wait" },
	{ "post_other", post_other, "nor on another process's" },
	{ 0 },
};
