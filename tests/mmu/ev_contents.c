// SPDX-License-Identifier: BSD-2-Clause
/* Events that change what an address holds: the transfer must see exactly what the CPU sees. */
#define _GNU_SOURCE
#include "ev.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <unistd.h>

#define LEN (9 * T_PAGE + 123)
#define ROOM (16 * T_PAGE)

/* A pair, a buffer with a pattern to send from, and one to read into. */
struct bench {
	struct t_ep a, b;
	uint8_t *src, *land;
	struct ibv_mr *msrc, *mland;
};

static void bench_open(struct bench *w, struct t_dev *d)
{
	t_pair_open(&w->a, d, &w->b, d, NULL);
	w->src = t_map_between(ROOM);
	w->land = t_map_between(ROOM);
	w->msrc = t_reg(d->pd, w->src, ROOM, ODP_ALL);
	w->mland = t_reg(d->pd, w->land, ROOM, ODP_ALL);
}

static void bench_close(struct bench *w)
{
	t_ep_close(&w->a);
	t_ep_close(&w->b);
	ibv_dereg_mr(w->msrc);
	ibv_dereg_mr(w->mland);
	munmap(w->src - T_PAGE, ROOM + 2 * T_PAGE);
	munmap(w->land - T_PAGE, ROOM + 2 * T_PAGE);
}

static bool write_to(struct bench *w, const char *what, uint8_t *dst, struct ibv_mr *m,
		     uint64_t seq)
{
	t_pat_fill(w->src, LEN, seq, 0);
	return ev_write(what, &w->a, w->src, LEN, w->msrc, dst, m) &&
	       t_pat_check(what, dst, LEN, seq, 0);
}

static bool reads_zero(struct bench *w, const char *what, const uint8_t *p, struct ibv_mr *m)
{
	memset(w->land, 0xee, LEN);
	return ev_read(what, &w->a, w->land, LEN, w->mland, p, m) &&
	       t_zero_check(what, w->land, LEN);
}

static bool reads_pat(struct bench *w, const char *what, const uint8_t *p, struct ibv_mr *m,
		      uint64_t seq)
{
	memset(w->land, 0xee, LEN);
	return ev_read(what, &w->a, w->land, LEN, w->mland, p, m) &&
	       t_pat_check(what, w->land, LEN, seq, 0);
}

/* A READ of untouched memory maps the zero page; a WRITE after it must get pages of its own. */
static void zero_page(struct t_dev *d)
{
	struct bench w;
	uint8_t *p = t_map_between(ROOM), *other = t_map_between(ROOM);
	uint8_t *third = t_map_between(ROOM);
	struct ibv_mr *m, *mo, *m3;

	bench_open(&w, d);
	m = t_reg(d->pd, p, ROOM, ODP_ALL);
	mo = t_reg(d->pd, other, ROOM, ODP_ALL);
	m3 = t_reg(d->pd, third, ROOM, ODP_ALL);
	t_zero_check("an untouched mapping", other, ROOM); /* its PTEs: the zero page */
	reads_zero(&w, "READ of untouched memory", p + 77, m);
	reads_zero(&w, "READ of CPU-read memory", other + 77, mo);
	write_to(&w, "WRITE after that READ", p + 77, m, 11);
	t_zero_check("before the WRITE", p, 77);
	t_zero_check("behind the WRITE", p + 77 + LEN, ROOM - 77 - LEN);
	t_zero_check("another untouched mapping after the WRITE", other, ROOM);
	reads_zero(&w, "READ of a third mapping", third, m3);
	/* Untouched memory as the source of a WRITE, over a pattern. */
	t_pat_fill(w.land, LEN, 12, 0);
	if (ev_write("WRITE from untouched memory", &w.a, third, LEN, m3, w.land, w.mland))
		t_zero_check("WRITE from untouched memory", w.land, LEN);
	/* A READ that lands on read-touched memory. */
	t_pat_fill(w.src, LEN, 13, 0);
	if (ev_read("READ into the zero page", &w.a, other + 5, LEN, mo, w.src, w.msrc))
		t_pat_check("READ into read-touched memory", other + 5, LEN, 13, 0);
	t_zero_check("a third mapping at the end", third, ROOM);
	ibv_dereg_mr(m);
	ibv_dereg_mr(mo);
	ibv_dereg_mr(m3);
	bench_close(&w);
}

static void dontneed(struct t_dev *d)
{
	struct bench w;
	uint8_t *p = t_map_between(ROOM);
	struct ibv_mr *m;

	bench_open(&w, d);
	m = t_reg(d->pd, p, ROOM, ODP_ALL);
	for (uint64_t i = 0; i < 4; i++) {
		write_to(&w, "WRITE", p + 13, m, 20 + i);
		t_drop(p, ROOM);
		if (i & 1)
			t_zero_check("memory after DONTNEED", p, ROOM);
		reads_zero(&w, "READ after DONTNEED", p + 13, m);
		write_to(&w, "WRITE after DONTNEED", p + 100, m, 30 + i);
		/* Only some pages go: the others keep their data. */
		t_drop(p + 2 * T_PAGE, T_PAGE);
		if (ev_read("READ after a partial DONTNEED", &w.a, w.land, LEN, w.mland, p + 100,
			    m)) {
			t_pat_check("kept pages", w.land, 2 * T_PAGE - 100, 30 + i, 0);
			t_zero_check("the dropped page", w.land + 2 * T_PAGE - 100, T_PAGE);
			t_pat_check("pages behind", w.land + 3 * T_PAGE - 100,
				    LEN - 3 * T_PAGE + 100, 30 + i, 3 * T_PAGE - 100);
		}
		/* Dropped memory as the source of a WRITE: it sends zeroes. */
		t_drop(p, ROOM);
		t_pat_fill(w.land, LEN, 3, 0);
		if (ev_write("WRITE from dropped memory", &w.a, p, LEN, m, w.land, w.mland))
			t_zero_check("WRITE from dropped memory", w.land, LEN);
	}
	ibv_dereg_mr(m);
	bench_close(&w);
}

static void remap(struct t_dev *d)
{
	struct bench w;
	uint8_t *p = t_map_between(ROOM), *q;
	struct ibv_mr *m, *mq;

	bench_open(&w, d);
	m = t_reg(d->pd, p, ROOM, ODP_ALL);
	for (uint64_t i = 0; i < 4; i++) {
		write_to(&w, "WRITE", p + 4095, m, 40 + i);
		if (munmap(p, ROOM) ||
		    mmap(p, ROOM, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0) != p)
			t_die("munmap and mmap: %s", strerror(errno));
		if (i & 1) {
			t_pat_fill(p + 4095, LEN, 50 + i, 0);
			reads_pat(&w, "READ of the new mapping", p + 4095, m, 50 + i);
		} else {
			reads_zero(&w, "READ of the new mapping", p + 4095, m);
		}
		write_to(&w, "WRITE to the new mapping", p + 4095, m, 60 + i);
	}
	/* mremap: data moves, translations must not stay behind. */
	q = t_map_between(ROOM);
	mq = t_reg(d->pd, q, ROOM, ODP_ALL);
	write_to(&w, "WRITE", p, m, 70);
	reads_zero(&w, "READ of the place to move to", q, mq);
	if (mremap(p, ROOM, ROOM, MREMAP_MAYMOVE | MREMAP_FIXED, q) != q)
		t_die("mremap: %s", strerror(errno));
	reads_pat(&w, "READ after mremap at the new address", q, mq, 70);
	write_to(&w, "WRITE after mremap at the new address", q, mq, 71);
	ev_must("READ after mremap at the old address", &w.a, &w.b, IBV_WR_RDMA_READ, w.land, LEN,
		w.mland, p, m, IBV_WC_REM_ACCESS_ERR);
	t_pat_check("moved memory", q, LEN, 71, 0);
	ibv_dereg_mr(m);
	ibv_dereg_mr(mq);
	bench_close(&w);
}

static void sync_with(int fd, bool first)
{
	char c = 1;

	if (first && write(fd, &c, 1) != 1)
		t_die("pipe: %s", strerror(errno));
	if (read(fd, &c, 1) != 1)
		t_die("the other process is gone");
	if (!first && write(fd, &c, 1) != 1)
		t_die("pipe: %s", strerror(errno));
}

/* Parent and child each see their own data, whoever writes, and whether by CPU or by RDMA. */
static void fork_both(struct t_dev *d)
{
	struct bench w;
	uint8_t *p = t_map_between(ROOM), *q = t_map_between(ROOM), *r = t_map_between(ROOM);
	struct ibv_mr *m, *mq, *mr;
	int sv[2], st;
	pid_t pid;

	bench_open(&w, d);
	m = t_reg(d->pd, p, ROOM, ODP_ALL);
	mq = t_reg(d->pd, q, ROOM, ODP_ALL);
	mr = t_reg(d->pd, r, ROOM, ODP_ALL);
	write_to(&w, "WRITE before fork", p + 9, m, 80); /* translations are warm and writable */
	write_to(&w, "WRITE before fork", q + 9, mq, 81);
	write_to(&w, "WRITE before fork", r + 9, mr, 82);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sv))
		t_die("socketpair: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		t_die("fork: %s", strerror(errno));
	if (!pid) {
		t_fails = 0;
		/* The child touches no verbs object.  First: what it inherited. */
		close(sv[0]);
		sync_with(sv[1], false); /* the parent has RDMA-written into p and q */
		t_pat_check("child: p after the parent's RDMA WRITE", p + 9, LEN, 80, 0);
		t_pat_check("child: q after the parent's RDMA WRITE", q + 9, LEN, 81, 0);
		t_pat_fill(q + 9, LEN, 90, 0);
		t_pat_fill(r + 9, LEN, 91, 0); /* the child writes first here */
		sync_with(sv[1], false);       /* the parent writes by RDMA again */
		t_pat_check("child: its own data in q", q + 9, LEN, 90, 0);
		t_pat_check("child: its own data in r", r + 9, LEN, 91, 0);
		_exit(t_fails != 0);
	}
	close(sv[1]);
	/* the parent's CPU has not touched p since the fork */
	write_to(&w, "parent: WRITE after fork", p + 9, m, 83);
	write_to(&w, "parent: WRITE after fork", q + 9, mq, 84);
	sync_with(sv[0], true);
	t_pat_check("parent: q after the child's CPU write", q + 9, LEN, 84, 0);
	t_pat_check("parent: r after the child's CPU write", r + 9, LEN, 82, 0);
	reads_pat(&w, "parent: READ of r after the child's CPU write", r + 9, mr, 82);
	write_to(&w, "parent: WRITE into r", r + 9, mr, 85);
	write_to(&w, "parent: WRITE into q", q + 9, mq, 86);
	sync_with(sv[0], true);
	if (waitpid(pid, &st, 0) != pid || st)
		t_fail("the child saw wrong data (status %#x)", st);
	t_pat_check("parent: p at the end", p + 9, LEN, 83, 0);
	t_pat_check("parent: r at the end", r + 9, LEN, 85, 0);
	write_to(&w, "parent: WRITE after the child is gone", p + 9, m, 87);
	close(sv[0]);
	ibv_dereg_mr(m);
	ibv_dereg_mr(mq);
	ibv_dereg_mr(mr);
	bench_close(&w);
}

/* READs translate a source read-only. When the CPU then breaks COW, READs must see its new page. */
static void cow_source(struct t_dev *d)
{
	struct bench w;
	uint8_t *p = t_map_between(ROOM);
	struct ibv_mr *m;
	int sv[2], st;
	pid_t pid;

	bench_open(&w, d);
	m = t_reg(d->pd, p, ROOM, ODP_ALL);
	t_pat_fill(p, LEN, 100, 0);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sv))
		t_die("socketpair: %s", strerror(errno));
	pid = fork();
	if (!pid) {
		sync_with(sv[1], false);
		_exit(0);
	}
	reads_pat(&w, "READ of a page shared by fork", p, m, 100); /* a read-only translation */
	t_pat_fill(p, LEN, 101, 0);				  /* COW break: another page */
	reads_pat(&w, "READ after the CPU broke COW", p, m, 101);
	write_to(&w, "WRITE after the CPU broke COW", p, m, 102);
	sync_with(sv[0], true);
	waitpid(pid, &st, 0);
	close(sv[0]);
	close(sv[1]);
	ibv_dereg_mr(m);
	bench_close(&w);
}

static uint64_t meminfo(const char *field)
{
	unsigned long long v = 0;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "r");

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, field, strlen(field)))
			v = strtoull(line + strlen(field) + 1, NULL, 10);
	if (f)
		fclose(f);
	return v;
}

/* Pages that compress: the first half of each has a pattern, the second half is zero. */
static void half_fill(uint8_t *p, size_t size, uint64_t seq)
{
	t_pat_fill(p, size, seq, 0);
	for (size_t i = 0; i < size; i += T_PAGE)
		memset(p + i + T_PAGE / 2, 0, T_PAGE / 2);
}

static bool half_check(const char *what, const uint8_t *p, size_t size, uint64_t seq)
{
	for (size_t i = 0; i < size; i += T_PAGE)
		if (!t_pat_check(what, p + i, T_PAGE / 2, seq, i) ||
		    !t_zero_check(what, p + i + T_PAGE / 2, T_PAGE / 2))
			return false;
	return true;
}

/* Swap out what transfers have used, and transfer again. */
static void pageout(struct t_dev *d)
{
	const size_t size = (t_debug ? 1UL : 8UL) << 20;
	struct bench w;
	uint8_t *p = t_map(size), *q = t_map(size);
	struct ibv_mr *m, *mq;
	uint64_t swapped;

	if (!meminfo("SwapTotal:")) {
		t_note("pageout: no swap here (the script sets up zram where it can): not run");
		return;
	}
	bench_open(&w, d);
	m = t_reg(d->pd, p, size, ODP_ALL);
	mq = t_reg(d->pd, q, size, ODP_ALL);
	for (uint64_t i = 0; i < 3; i++) {
		half_fill(p, size, 110 + i);
		if (!ev_write("WRITE of everything", &w.a, p, size, m, q, mq))
			break;
		/* Only RDMA has written q: if that did not make it dirty, this loses it. */
		if (t_pageout(p, size) || t_pageout(q, size))
			t_die("MADV_PAGEOUT: %s", strerror(errno));
		swapped = t_status_kb("VmSwap");
		if (swapped < size / 1024)
			t_fail("only %llu KiB of %zu were swapped out: something holds the pages",
			       (unsigned long long)swapped, 2 * size / 1024);
		if (i == 0) {
			half_check("target after a round trip through swap", q, size, 110 + i);
		} else { /* without the CPU's help: both sides fault from swap */
			memset(w.land, 0, ROOM);
			if (!ev_write("WRITE out of swap into swap", &w.a, p, size, m, q, mq) ||
			    !half_check("WRITE out of swap into swap", q, size, 110 + i))
				break;
		}
	}
	/* MADV_FREE, then RDMA writes, then pressure: the data is new and must stay. */
	half_fill(q, size, 5);
	if (!madvise(q, size, MADV_FREE)) {
		half_fill(p, size, 120);
		ev_write("WRITE after MADV_FREE", &w.a, p, size, m, q, mq);
		t_pageout(q, size);
		half_check("WRITE after MADV_FREE, then reclaim", q, size, 120);
	}
	ibv_dereg_mr(m);
	ibv_dereg_mr(mq);
	munmap(p, size);
	munmap(q, size);
	bench_close(&w);
}

/* Huge pages: whole, then split in the middle by mprotect and DONTNEED. */
static void thp(struct t_dev *d)
{
	const size_t huge = T_HUGE, size = 2 * huge;
	struct bench w;
	uint8_t *raw = t_map(size + huge), *p;
	struct ibv_mr *m;

	p = (uint8_t *)(((uintptr_t)raw + huge - 1) & ~(huge - 1));
	if (madvise(p, size, MADV_HUGEPAGE)) {
		t_note("thp: no transparent huge pages in this kernel: not run");
		return;
	}
	bench_open(&w, d);
	m = t_reg(d->pd, p, size, ODP_ALL);
	memset(p, 1, size);
	write_to(&w, "WRITE across huge pages", p + huge - 3 * T_PAGE - 5, m, 130);
	t_drop(p + huge - 2 * T_PAGE, T_PAGE);
	if (ev_read("READ after DONTNEED in a huge page", &w.a, w.land, LEN, w.mland,
		    p + huge - 3 * T_PAGE - 5, m)) {
		t_pat_check("READ before the hole", w.land, T_PAGE + 5, 130, 0);
		t_zero_check("READ of the hole", w.land + T_PAGE + 5, T_PAGE);
		t_pat_check("READ behind the hole", w.land + 2 * T_PAGE + 5, LEN - 2 * T_PAGE - 5,
			    130, 2 * T_PAGE + 5);
	}
	write_to(&w, "WRITE into a huge page with a hole", p + huge - 3 * T_PAGE - 5, m, 131);
	if (mprotect(p + huge, T_PAGE, PROT_READ))
		t_die("mprotect: %s", strerror(errno));
	t_pat_fill(w.src, LEN, 132, 0);
	ev_must("WRITE over a read-only page of a split huge page", &w.a, &w.b, IBV_WR_RDMA_WRITE,
		w.src, LEN, w.msrc, p + huge - 3 * T_PAGE, m, IBV_WC_REM_ACCESS_ERR);
	t_pat_check("the read-only page", p + huge, T_PAGE, 131, 3 * T_PAGE + 5);
	mprotect(p + huge, T_PAGE, PROT_READ | PROT_WRITE);
	write_to(&w, "WRITE after it is writable again", p + huge - 3 * T_PAGE, m, 133);
	ibv_dereg_mr(m);
	munmap(raw, size + huge);
	bench_close(&w);
}

/* A single-threaded program that serves its own userfaultfd: post_send may not wait for memory. */
static void uffd(struct t_dev *d)
{
	struct bench w;
	struct ibv_wc wc;
	uint8_t *p = t_map_between(ROOM);
	unsigned served = 0;
	struct ibv_mr *m;
	int fd = t_uffd(p, ROOM);
	double end;

	bench_open(&w, d);
	t_pat_fill(w.src, LEN, 140, 0);
	m = t_reg(d->pd, p, ROOM, ODP_ALL);
	/* Round 0: userfaultfd memory is the source; round 1 (dropped again): the target. */
	for (int round = 0; round < 2; round++) {
		uint8_t page[T_PAGE];
		bool got = false;
		int rc = round ? t_post_one(&w.a, IBV_WR_RDMA_WRITE, w.src, LEN, w.msrc->lkey,
					    (uintptr_t)p + 50, m->rkey, 1) :
				 t_post_one(&w.a, IBV_WR_RDMA_WRITE, p + 50, LEN, m->lkey,
					    (uintptr_t)w.land, w.mland->rkey, 1);

		if (rc)
			t_die("post: %s", strerror(rc));
		for (end = t_now() + t_limit; !got && t_now() < end;) {
			struct pollfd pf = { .fd = fd, .events = POLLIN };
			struct uffd_msg msg;

			got = ibv_poll_cq(w.a.scq, 1, &wc) == 1;
			if (got || poll(&pf, 1, 1) < 1 ||
			    read(fd, &msg, sizeof(msg)) != sizeof(msg))
				continue;
			if (msg.event == UFFD_EVENT_PAGEFAULT) {
				uintptr_t at = msg.arg.pagefault.address & ~(T_PAGE - 1);
				struct uffdio_copy cp = { .dst = at, .src = (uintptr_t)page,
							  .len = T_PAGE };

				t_pat_fill(page, T_PAGE, 150, at - (uintptr_t)p);
				ioctl(fd, UFFDIO_COPY, &cp);
				served++;
			}
		}
		if (!got) {
			t_fail("uffd round %d: no completion (%u faults served)", round, served);
			break;
		}
		if (wc.status) {
			t_fail("uffd round %d: '%s' (%u faults served)", round,
			       ibv_wc_status_str(wc.status), served);
			t_pair_again(&w.a, &w.b);
		} else if (round) {
			t_pat_check("WRITE into userfaultfd memory", p + 50, LEN, 140, 0);
			t_pat_check("before it", p, 50, 150, 0);
		} else {
			t_pat_check("WRITE from userfaultfd memory", w.land, LEN, 150, 50);
		}
		t_drop(p, ROOM);
	}
	if (!served)
		t_fail("the userfaultfd saw no fault");
	close(fd);
	ibv_dereg_mr(m);
	bench_close(&w);
}

/* New in Linux 6.8: the headers may be older. */
struct move_arg { /* struct uffdio_move */
	uint64_t dst, src, len, mode;
	int64_t moved;
};
#define MOVE _IOWR(0xAA, 0x05, struct move_arg)
#define MOVE_HOLES 2 /* skip pages that are not there */
#define MOVE_FEATURE (1ULL << 16)

static bool can_move(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		t_die("userfaultfd: %s", strerror(errno));
	close(fd);
	return api.features & MOVE_FEATURE;
}

/* Move all pages of [src, src + ROOM) to @dst, where there must be none. */
static void move_pages_to(int fd, uint8_t *dst, const uint8_t *src)
{
	struct move_arg mv;

	for (size_t at = 0; at < ROOM; at += (size_t)mv.moved) {
		mv = (struct move_arg){
			.dst = (uintptr_t)dst + at, .src = (uintptr_t)src + at, .len = ROOM - at,
			.mode = MOVE_HOLES,
		};
		if (ioctl(fd, MOVE, &mv) && errno != EAGAIN)
			t_die("UFFDIO_MOVE: %s", strerror(errno));
		if (mv.moved < 0)
			mv.moved = 0;
	}
}

/* UFFDIO_MOVE moves the pages themselves to another address, not copies. It refuses pinned ones. */
static void uffd_move(struct t_dev *d)
{
	uint8_t *from, *to;
	struct ibv_mr *mf, *mt;
	struct bench w;
	int fd;

	if (!can_move()) {
		t_note("uffd_move: this kernel has no UFFDIO_MOVE: not run");
		return;
	}
	from = t_map_between(ROOM);
	to = t_map_between(ROOM);
	fd = t_uffd(to, ROOM);
	bench_open(&w, d);
	mf = t_reg(d->pd, from, ROOM, ODP_ALL);
	mt = t_reg(d->pd, to, ROOM, ODP_ALL);
	for (uint64_t i = 0; i < 4; i++) {
		write_to(&w, "WRITE", from + 13, mf, 160 + 2 * i);
		t_drop(to, ROOM);
		move_pages_to(fd, to, from);
		t_pat_check("what was moved", to + 13, LEN, 160 + 2 * i, 0);
		reads_zero(&w, "READ where it was", from + 13, mf);
		write_to(&w, "WRITE where it was", from + 13, mf, 161 + 2 * i);
		reads_pat(&w, "READ of what was moved", to + 13, mt, 160 + 2 * i);
		write_to(&w, "WRITE to what was moved", to + 13, mt, 180 + i);
		t_pat_check("where it was", from + 13, LEN, 161 + 2 * i, 0);
	}
	close(fd);
	ibv_dereg_mr(mf);
	ibv_dereg_mr(mt);
	munmap(from - T_PAGE, ROOM + 2 * T_PAGE);
	munmap(to - T_PAGE, ROOM + 2 * T_PAGE);
	bench_close(&w);
}

static int put_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), rc = -1;

	if (fd >= 0) {
		rc = write(fd, text, strlen(text)) < 0;
		close(fd);
	}
	return rc;
}

static long get_file(const char *path)
{
	long v = -1;
	FILE *f = fopen(path, "re");

	if (f && fscanf(f, "%ld", &v) != 1)
		v = -1;
	if (f)
		fclose(f);
	return v;
}

/* Pages that KSM has merged: a WRITE into one leaves the other as it was. */
static void ksm(struct t_dev *d)
{
	struct bench w;
	uint8_t *p = t_map_between(ROOM), *q = t_map_between(ROOM);
	struct ibv_mr *m, *mq;
	double end;

	if (madvise(p, ROOM, MADV_MERGEABLE) || madvise(q, ROOM, MADV_MERGEABLE) ||
	    put_file("/sys/kernel/mm/ksm/pages_to_scan", "2000") ||
	    put_file("/sys/kernel/mm/ksm/sleep_millisecs", "5")) {
		t_note("ksm: not in this kernel: not run");
		return;
	}
	bench_open(&w, d);
	m = t_reg(d->pd, p, ROOM, ODP_ALL);
	mq = t_reg(d->pd, q, ROOM, ODP_ALL);
	write_to(&w, "WRITE", p, m, 160);
	write_to(&w, "WRITE", q, mq, 160);
	memcpy(q, p, ROOM);
	put_file("/sys/kernel/mm/ksm/run", "1");
	for (end = t_now() + t_slow(3);
	     t_now() < end && get_file("/sys/kernel/mm/ksm/pages_sharing") < 8;)
		usleep(20000);
	put_file("/sys/kernel/mm/ksm/run", "0");
	t_note("ksm: %ld pages shared", get_file("/sys/kernel/mm/ksm/pages_sharing"));
	reads_pat(&w, "READ of merged pages", q, mq, 160);
	write_to(&w, "WRITE into merged pages", p, m, 161);
	t_pat_check("the pages they were merged with", q, LEN, 160, 0);
	reads_pat(&w, "READ of the pages they were merged with", q, mq, 160);
	put_file("/sys/kernel/mm/ksm/run", "2"); /* unmerge all */
	reads_pat(&w, "READ after unmerging", q, mq, 160);
	t_pat_check("p after unmerging", p, LEN, 161, 0);
	put_file("/sys/kernel/mm/ksm/run", "0");
	ibv_dereg_mr(m);
	ibv_dereg_mr(mq);
	bench_close(&w);
}

/* hugetlb memory behind an ODP MR. */
static void hugetlb(struct t_dev *d)
{
	const size_t huge = T_HUGE;
	struct bench w;
	struct ibv_mr *m;
	uint8_t *p;

	put_file(T_NR_HUGEPAGES, "2");
	p = mmap(NULL, 2 * huge, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | T_MAP_HUGETLB, -1, 0);
	if (p == MAP_FAILED) {
		t_note("hugetlb: no huge pages to be had (%s): not run", strerror(errno));
		return;
	}
	bench_open(&w, d);
	m = t_reg(d->pd, p, 2 * huge, ODP_ALL);
	write_to(&w, "WRITE into hugetlb memory", p + huge - 5 * T_PAGE + 3, m, 170);
	reads_pat(&w, "READ of hugetlb memory", p + huge - 5 * T_PAGE + 3, m, 170);
	t_zero_check("before it", p, huge - 5 * T_PAGE + 3);
	ibv_dereg_mr(m);
	munmap(p, 2 * huge);
	put_file(T_NR_HUGEPAGES, "0");
	bench_close(&w);
}

const struct t_test ev_contents[] = {
	{ "zero_page", zero_page,
	  "READ of untouched memory, then WRITE; the zero page stays zero" },
	{ "dontneed", dontneed, "MADV_DONTNEED between transfers, whole and in part" },
	{ "remap", remap, "munmap and mmap at the same address, mremap away" },
	{ "fork_both", fork_both, "fork: parent and child each see their own data" },
	{ "cow_source", cow_source, "the CPU breaks COW under a read-only translation" },
	{ "pageout", pageout, "MADV_PAGEOUT and MADV_FREE: data survives swap" },
	{ "thp", thp, "huge pages, whole and split" },
	{ "uffd", uffd, "a single-threaded program serves its own userfaultfd" },
	{ "uffd_move", uffd_move, "UFFDIO_MOVE: pages that change their address" },
	{ "ksm", ksm, "KSM merge and unmerge" },
	{ "hugetlb", hugetlb, "hugetlb memory" },
	{ 0 },
};
