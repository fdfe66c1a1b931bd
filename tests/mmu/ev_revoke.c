// SPDX-License-Identifier: BSD-2-Clause
/*
 * Taking memory away while transfers use it.  When mprotect, munmap, a mapping over it or
 * ibv_dereg_mr has returned, not one byte of the old memory changes any more, however many WRITEs
 * are in flight.
 */
#define _GNU_SOURCE
#include "ev.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SLOTS 8
#define DEPTH 16

/* A thread that keeps transfers of different contents going over one area, until one fails. */
struct stream {
	struct t_ep a, b;
	enum ibv_wr_opcode op;
	uint8_t *src; /* SLOTS areas */
	struct ibv_mr *msrc;
	uint8_t *dst; /* one area */
	struct ibv_mr *mdst;
	size_t len;
	pthread_t th;
	volatile bool stop;
	uint64_t completed;
	int status; /* of the first failure, 0: none */
};

static int post_next(struct stream *s, uint64_t no)
{
	uint8_t *far = s->src + no % SLOTS * s->len;
	uint32_t len = (uint32_t)s->len;

	/* The area that is taken away is the target of a WRITE, or the landing buffer of a READ. */
	if (s->op == IBV_WR_RDMA_READ)
		return t_post_one(&s->a, s->op, s->dst, len, s->mdst->lkey, (uintptr_t)far,
				  s->msrc->rkey, no);
	return t_post_one(&s->a, s->op, far, len, s->msrc->lkey, (uintptr_t)s->dst, s->mdst->rkey,
			  no);
}

static void *run(void *arg)
{
	struct stream *s = arg;
	uint64_t posted = 0, reaped = 0;
	double last = t_now();
	struct ibv_wc wc;

	while (!(s->stop || s->status) || posted != reaped) {
		if (!s->stop && !s->status && posted - reaped < DEPTH) {
			if (post_next(s, posted)) {
				t_fail("post failed in the stream");
				s->status = IBV_WC_GENERAL_ERR;
				break;
			}
			posted++;
		}
		if (ibv_poll_cq(s->a.scq, 1, &wc) == 1) {
			reaped++;
			last = t_now();
			if (wc.status && !s->status)
				s->status = (int)wc.status;
			else if (wc.status && wc.status != IBV_WC_WR_FLUSH_ERR)
				t_fail("after the first error: '%s'", ibv_wc_status_str(wc.status));
			else if (!wc.status && s->status)
				t_fail("a transfer succeeded behind a failed one");
			s->completed += !wc.status;
		} else if (t_now() - last > t_limit) {
			t_fail("no completion for %.0f s: %llu posted, %llu completed", t_limit,
			       (unsigned long long)posted, (unsigned long long)reaped);
			s->status = s->status ? s->status : IBV_WC_GENERAL_ERR;
			break;
		}
	}
	return NULL;
}

static void stream_open(struct stream *s, struct t_dev *d, enum ibv_wr_opcode op, unsigned access)
{
	memset(s, 0, sizeof(*s));
	s->op = op;
	s->len = t_debug ? 3 * T_PAGE + 11 : 16 * T_PAGE + 11;
	t_pair_open(&s->a, d, &s->b, d, NULL);
	s->src = t_map_between(SLOTS * s->len);
	s->dst = t_map_between(s->len);
	for (uint64_t i = 0; i < SLOTS; i++)
		t_pat_fill(s->src + i * s->len, s->len, 200 + i, 0);
	s->msrc = t_reg(d->pd, s->src, SLOTS * s->len, access);
}

static void stream_close(struct stream *s)
{
	t_ep_close(&s->a);
	t_ep_close(&s->b);
	ibv_dereg_mr(s->msrc);
	munmap(s->src - T_PAGE, ((SLOTS * s->len + T_PAGE - 1) & ~(T_PAGE - 1)) + 2 * T_PAGE);
}

static void stream_start(struct stream *s, int round)
{
	s->stop = false;
	s->status = 0;
	s->completed = 0;
	if (pthread_create(&s->th, NULL, run, s))
		t_die("pthread_create failed");
	/* Let some through, so that translations are warm and transfers are in flight. */
	usleep((useconds_t)(t_debug ? 60000 : 4000) + (useconds_t)(t_mix((uint64_t)round) % 5000));
}

static void stream_end(struct stream *s, const char *what, int round, int want)
{
	pthread_join(s->th, NULL);
	if (s->status != want)
		t_fail("%s, round %d: the stream ended with '%s' after %llu transfers, "
		       "expected '%s'",
		       what, round, ibv_wc_status_str((enum ibv_wc_status)s->status),
		       (unsigned long long)s->completed,
		       ibv_wc_status_str((enum ibv_wc_status)want));
}

static uint8_t *snap;

static void unchanged(const char *what, int round, const uint8_t *p, size_t len)
{
	size_t wrong = 0, first = len;

	for (size_t i = len; i-- > 0;)
		if (p[i] != snap[i]) {
			first = i;
			wrong++;
		}
	if (wrong)
		t_fail("%s, round %d: %zu bytes changed after it returned, the first at offset %zu "
		       "of %zu: %#04x, was %#04x",
		       what, round, wrong, first, len, p[first], snap[first]);
}

static void mprotect_ro(struct t_dev *d)
{
	struct stream s;

	stream_open(&s, d, IBV_WR_RDMA_WRITE, ODP_ALL);
	s.mdst = t_reg(d->pd, s.dst, s.len, ODP_ALL);
	snap = t_map(s.len);
	for (int r = 0; r < ev_rounds; r++) {
		stream_start(&s, r);
		if (mprotect(s.dst, s.len, PROT_READ))
			t_die("mprotect: %s", strerror(errno));
		memcpy(snap, s.dst, s.len);
		stream_end(&s, "mprotect(PROT_READ)", r, IBV_WC_REM_ACCESS_ERR);
		unchanged("mprotect(PROT_READ)", r, s.dst, s.len);
		t_pair_again(&s.a, &s.b);
		if (mprotect(s.dst, s.len, PROT_READ | PROT_WRITE))
			t_die("mprotect: %s", strerror(errno));
		ev_write("WRITE after PROT_WRITE is back", &s.a, s.src, s.len, s.msrc, s.dst,
			 s.mdst);
		t_pat_check("WRITE after PROT_WRITE is back", s.dst, s.len, 200, 0);
	}
	ibv_dereg_mr(s.mdst);
	stream_close(&s);
}

/* The stream uses a copy of the MR's structure, so it goes on posting the keys of a freed MR. */
static void dereg(struct t_dev *d, enum ibv_wr_opcode op, unsigned access, const char *what,
		  int want)
{
	struct stream s;
	struct ibv_mr copy, *mr;

	stream_open(&s, d, op, access);
	snap = t_map(s.len);
	for (int r = 0; r < ev_rounds; r++) {
		mr = t_reg(d->pd, s.dst, s.len, access);
		copy = *mr;
		s.mdst = &copy;
		stream_start(&s, r);
		if (ibv_dereg_mr(mr))
			t_fail("%s: ibv_dereg_mr: %s", what, strerror(errno));
		memcpy(snap, s.dst, s.len);
		stream_end(&s, what, r, want);
		unchanged(what, r, s.dst, s.len);
		t_pair_again(&s.a, &s.b);
	}
	stream_close(&s);
}

static void dereg_odp(struct t_dev *d)
{
	dereg(d, IBV_WR_RDMA_WRITE, ODP_ALL, "dereg of an ODP target", IBV_WC_REM_ACCESS_ERR);
	dereg(d, IBV_WR_RDMA_READ, ODP_ALL, "dereg of an ODP landing buffer", IBV_WC_LOC_PROT_ERR);
}

static void dereg_pinned(struct t_dev *d)
{
	dereg(d, IBV_WR_RDMA_WRITE, T_ALL_ACCESS, "dereg of a pinned target",
		     IBV_WC_REM_ACCESS_ERR);
	dereg(d, IBV_WR_RDMA_READ, T_ALL_ACCESS, "dereg of a pinned landing buffer",
		     IBV_WC_LOC_PROT_ERR);
}

/* A file's pages are watched through a second mapping, while the registered one goes away. */
static void munmap_shared(struct t_dev *d)
{
	struct stream s;
	uint8_t *dst, *watch;
	size_t room;
	int fd;

	stream_open(&s, d, IBV_WR_RDMA_WRITE, ODP_ALL);
	room = (s.len + T_PAGE - 1) & ~(T_PAGE - 1);
	dst = s.dst;
	fd = memfd_create("target", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)room))
		t_die("memfd: %s", strerror(errno));
	watch = mmap(NULL, room, PROT_READ, MAP_SHARED, fd, 0);
	s.mdst = t_reg(d->pd, dst, s.len, ODP_ALL);
	snap = t_map(s.len);
	for (int r = 0; r < ev_rounds; r++) {
		bool replace = r & 1;

		if (mmap(dst, room, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != dst)
			t_die("mmap: %s", strerror(errno));
		stream_start(&s, r);
		if (replace ? mmap(dst, room, PROT_READ | PROT_WRITE,
				   MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != dst :
			      munmap(dst, room))
			t_die("munmap or mmap: %s", strerror(errno));
		memcpy(snap, watch, s.len);
		if (replace) {
			uint64_t at;

			usleep(t_debug ? 100000 : 10000);
			at = s.completed;
			for (double e = t_now() + t_limit; t_now() < e && s.completed < at + DEPTH;)
				usleep(1000);
			if (s.completed < at + DEPTH)
				t_fail("the stream does not go on over the new mapping");
			s.stop = true;
			stream_end(&s, "a mapping over it", r, 0);
			unchanged("a mapping over it (the old file's pages)", r, watch, s.len);
			/* and the new mapping holds one of the messages, whole */
			if (t_pat_diff(dst, s.len, 200 + (s.completed - 1) % SLOTS, 0) >= 0)
				t_fail("the new mapping does not hold the last message");
		} else {
			stream_end(&s, "munmap", r, IBV_WC_REM_ACCESS_ERR);
			unchanged("munmap (the file's pages)", r, watch, s.len);
			t_pair_again(&s.a, &s.b);
		}
	}
	ibv_dereg_mr(s.mdst);
	munmap(watch, room);
	close(fd);
	stream_close(&s);
}

const struct t_test ev_revoke[] = {
	{ "mprotect_ro", mprotect_ro, "mprotect(PROT_READ) during a stream of WRITEs" },
	{ "dereg_odp", dereg_odp, "deregistration of ODP memory in the middle of transfers" },
	{ "dereg_pinned", dereg_pinned,
	  "deregistration of pinned memory in the middle of transfers" },
	{ "munmap_shared", munmap_shared,
	  "munmap, or a mapping over it, during a stream of WRITEs" },
	{ 0 },
};
