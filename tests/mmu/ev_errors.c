// SPDX-License-Identifier: BSD-2-Clause
/* Memory that cannot be used: each side's status, no byte moved, the device works afterwards. */
#define _GNU_SOURCE
#include "ev.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ROOM (8 * T_PAGE)
#define LEN (3 * T_PAGE + 50)

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

struct bench {
	struct t_ep a, b;
	uint8_t *ok;
	struct ibv_mr *mok;
};

static void bench_open(struct bench *w, struct t_dev *d)
{
	struct t_opt o = { .timeout = 15, .retry_cnt = 7 };

	t_pair_open(&w->a, d, &w->b, d, &o);
	w->ok = t_map_between(ROOM);
	w->mok = t_reg(d->pd, w->ok, ROOM, ODP_ALL);
	t_pat_fill(w->ok, ROOM, 1, 0);
}

static void bench_close(struct bench *w)
{
	t_pair_works("the pair after the errors", &w->a, &w->b);
	t_pat_check("the other side's memory", w->ok, ROOM, 1, 0);
	t_ep_close(&w->a);
	t_ep_close(&w->b);
	ibv_dereg_mr(w->mok);
	munmap(w->ok - T_PAGE, ROOM + 2 * T_PAGE);
}

/* SEND into bad memory: both sides' statuses. */
static void bad_receive(struct bench *w, const char *what, uint8_t *bad, struct ibv_mr *m)
{
	static const enum ibv_wc_status mine[] = { IBV_WC_LOC_QP_OP_ERR, IBV_WC_LOC_PROT_ERR };

	if (t_recv_one(&w->b, bad, LEN, m->lkey, 1) ||
	    t_post_one(&w->a, IBV_WR_SEND, w->ok, LEN, w->mok->lkey, 0, 0, 1)) {
		t_fail("%s: post failed", what);
		return;
	}
	t_expect(what, w->a.scq, IBV_WC_REM_OP_ERR, NULL);
	t_expect_any(what, w->b.rcq, mine, 2, NULL);
	t_pair_again(&w->a, &w->b);
}

/* All five ways to touch bad memory. */
static void all_ways(struct bench *w, uint8_t *bad, struct ibv_mr *m)
{
	ev_must("WRITE to it", &w->a, &w->b, IBV_WR_RDMA_WRITE, w->ok, LEN, w->mok, bad, m,
		IBV_WC_REM_ACCESS_ERR);
	ev_must("READ of it", &w->a, &w->b, IBV_WR_RDMA_READ, w->ok, LEN, w->mok, bad, m,
		IBV_WC_REM_ACCESS_ERR);
	ev_must("FETCH_ADD on it", &w->a, &w->b, IBV_WR_ATOMIC_FETCH_AND_ADD, w->ok, 8, w->mok, bad,
		m, IBV_WC_REM_ACCESS_ERR);
	ev_must("WRITE from it", &w->a, &w->b, IBV_WR_RDMA_WRITE, bad, LEN, m, w->ok, w->mok,
		IBV_WC_LOC_PROT_ERR);
	ev_must("READ into it", &w->a, &w->b, IBV_WR_RDMA_READ, bad, LEN, m, w->ok, w->mok,
		IBV_WC_LOC_PROT_ERR);
	bad_receive(w, "SEND into it", bad, m);
}

static void unmapped(struct t_dev *d)
{
	struct bench w;
	uint8_t *p = t_map_between(ROOM);
	struct ibv_mr *m;

	bench_open(&w, d);
	m = t_reg(d->pd, p, ROOM, ODP_ALL);
	if (munmap(p, ROOM))
		t_die("munmap: %s", strerror(errno));
	all_ways(&w, p, m); /* never touched */
	ibv_dereg_mr(m);

	/* The same, after it was in use: stale translations must not serve. */
	if (mmap(p, ROOM, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1,
		 0) != p)
		t_die("mmap: %s", strerror(errno));
	m = t_reg(d->pd, p, ROOM, ODP_ALL);
	ev_write("WRITE while it is mapped", &w.a, w.ok, LEN, w.mok, p, m);
	if (munmap(p, ROOM))
		t_die("munmap: %s", strerror(errno));
	all_ways(&w, p, m);
	ibv_dereg_mr(m);
	bench_close(&w);
}

/* Only the last page is missing: still an error. */
static void partly(struct t_dev *d)
{
	struct bench w;
	uint8_t *p = t_map_between(ROOM);
	struct ibv_mr *m;

	bench_open(&w, d);
	m = t_reg(d->pd, p, ROOM, ODP_ALL);
	if (munmap(p + 3 * T_PAGE, T_PAGE))
		t_die("munmap: %s", strerror(errno));
	ev_must("WRITE across the hole", &w.a, &w.b, IBV_WR_RDMA_WRITE, w.ok, LEN, w.mok, p, m,
		IBV_WC_REM_ACCESS_ERR);
	ev_must("READ across the hole", &w.a, &w.b, IBV_WR_RDMA_READ, w.ok, LEN, w.mok, p, m,
		IBV_WC_REM_ACCESS_ERR);
	t_pat_fill(w.ok, ROOM, 1, 0); /* what came before the hole may have landed */
	ev_must("WRITE from across the hole", &w.a, &w.b, IBV_WR_RDMA_WRITE, p, LEN, m, w.ok, w.mok,
		IBV_WC_LOC_PROT_ERR);
	t_pat_fill(w.ok, ROOM, 1, 0);
	ev_must("READ into the hole", &w.a, &w.b, IBV_WR_RDMA_READ, p, LEN, m, w.ok, w.mok,
		IBV_WC_LOC_PROT_ERR);
	bad_receive(&w, "SEND across the hole", p, m);
	/* Up to the hole everything is fine. */
	ev_write("WRITE up to the hole", &w.a, w.ok, 3 * T_PAGE, w.mok, p, m);
	t_pat_check("WRITE up to the hole", p, 3 * T_PAGE, 1, 0);
	ev_write("WRITE behind the hole", &w.a, w.ok, T_PAGE, w.mok, p + 4 * T_PAGE, m);
	t_pat_check("WRITE behind the hole", p + 4 * T_PAGE, T_PAGE, 1, 0);
	ibv_dereg_mr(m);
	bench_close(&w);
}

static void prot_none(struct t_dev *d)
{
	struct bench w;
	uint8_t *p = t_map_between(ROOM);
	struct ibv_mr *m;

	bench_open(&w, d);
	m = t_reg(d->pd, p, ROOM, ODP_ALL);
	t_pat_fill(p, ROOM, 2, 0);
	ev_write("WRITE while it is accessible", &w.a, w.ok, LEN, w.mok, p, m);
	if (mprotect(p, ROOM, PROT_NONE))
		t_die("mprotect: %s", strerror(errno));
	all_ways(&w, p, m);
	if (mprotect(p, ROOM, PROT_READ | PROT_WRITE))
		t_die("mprotect: %s", strerror(errno));
	t_pat_check("after PROT_NONE", p, LEN, 1, 0);
	t_pat_check("after PROT_NONE", p + LEN, ROOM - LEN, 2, LEN);
	ev_write("WRITE when it is accessible again", &w.a, w.ok + 3, LEN, w.mok, p, m);
	t_pat_check("WRITE when it is accessible again", p, LEN, 1, 3);
	ibv_dereg_mr(m);
	bench_close(&w);
}

static void read_only(struct t_dev *d)
{
	struct bench w;
	uint8_t *p = t_map_between(ROOM);
	struct ibv_mr *m;

	bench_open(&w, d);
	t_pat_fill(p, ROOM, 3, 0);
	m = t_reg(d->pd, p, ROOM, ODP_ALL);
	if (mprotect(p, ROOM, PROT_READ))
		t_die("mprotect: %s", strerror(errno));
	/* Reading is allowed ... */
	ev_read("READ of read-only memory", &w.a, w.ok, LEN, w.mok, p, m);
	t_pat_check("READ of read-only memory", w.ok, LEN, 3, 0);
	ev_write("WRITE from read-only memory", &w.a, p, LEN, m, w.ok + 1, w.mok);
	t_pat_check("WRITE from read-only memory", w.ok + 1, LEN, 3, 0);
	t_pat_fill(w.ok, ROOM, 1, 0);
	/* ... writing is not, also not where a read has just made a translation. */
	ev_must("WRITE to read-only memory", &w.a, &w.b, IBV_WR_RDMA_WRITE, w.ok, LEN, w.mok, p, m,
		IBV_WC_REM_ACCESS_ERR);
	ev_must("CMP_SWP on read-only memory", &w.a, &w.b, IBV_WR_ATOMIC_CMP_AND_SWP, w.ok, 8,
		w.mok, p, m, IBV_WC_REM_ACCESS_ERR);
	ev_must("READ into read-only memory", &w.a, &w.b, IBV_WR_RDMA_READ, p, LEN, m, w.ok, w.mok,
		IBV_WC_LOC_PROT_ERR);
	bad_receive(&w, "SEND into read-only memory", p, m);
	t_pat_check("read-only memory", p, ROOM, 3, 0);
	mprotect(p, ROOM, PROT_READ | PROT_WRITE);
	ev_write("WRITE when it is writable again", &w.a, w.ok, LEN, w.mok, p, m);
	t_pat_check("WRITE when it is writable again", p, LEN, 1, 0);
	ibv_dereg_mr(m);
	bench_close(&w);
}

/* memfd_secret has no kernel mapping: touching it in the kernel would be an oops. */
static void secret(struct t_dev *d)
{
	struct bench w;
	struct ibv_mr *m;
	uint8_t *p;
	int fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);

	if (fd < 0) {
		if (errno != ENOSYS)
			t_fail("memfd_secret: %s", strerror(errno));
		t_note("secret: memfd_secret: %s: not run", strerror(errno));
		return;
	}
	if (ftruncate(fd, ROOM))
		t_die("ftruncate of a memfd_secret: %s", strerror(errno));
	p = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		t_die("mmap of a memfd_secret: %s", strerror(errno));
	bench_open(&w, d);
	m = ibv_reg_mr(d->pd, p, ROOM, ODP_ALL);
	if (!m) {
		t_note("secret: an ODP registration of it is refused (%s)", strerror(errno));
	} else {
		all_ways(&w, p, m); /* not present */
		t_pat_fill(p, ROOM, 4, 0);
		all_ways(&w, p, m); /* present */
		t_pat_check("secret memory", p, ROOM, 4, 0);
		ibv_dereg_mr(m);
	}
	/* Pinning it must be refused. */
	m = ibv_reg_mr(d->pd, p, ROOM, T_ALL_ACCESS);
	if (m) {
		t_fail("memfd_secret memory could be pinned");
		ibv_dereg_mr(m);
	}
	munmap(p, ROOM);
	close(fd);
	bench_close(&w);
}

/* Memory of a device (VM_PFNMAP, VM_IO) is refused as well: [vvar], on kernels that map it so. */
static void device_memory(struct t_dev *d)
{
	struct bench w;
	char line[512];
	unsigned long from = 0, to = 0;
	bool found = false;
	struct ibv_mr *m;
	FILE *f;

	bench_open(&w, d);
	f = fopen("/proc/self/smaps", "r");
	while (f && fgets(line, sizeof(line), f)) {
		if (strstr(line, "[vvar]") && sscanf(line, "%lx-%lx", &from, &to) == 2)
			continue;
		if (to && !strncmp(line, "VmFlags:", 8)) {
			found = strstr(line, " pf") || strstr(line, " io");
			break;
		}
	}
	if (f)
		fclose(f);
	if (!found) {
		t_note("device_memory: [vvar] is not VM_PFNMAP on this kernel: not run");
		bench_close(&w);
		return;
	}
	m = ibv_reg_mr(d->pd, (void *)from, T_PAGE, IBV_ACCESS_REMOTE_READ | IBV_ACCESS_ON_DEMAND);
	if (m) {
		ev_must("READ of a VM_PFNMAP mapping", &w.a, &w.b, IBV_WR_RDMA_READ, w.ok, 64,
			w.mok, (void *)from, m, IBV_WC_REM_ACCESS_ERR);
		ev_must("WRITE from a VM_PFNMAP mapping", &w.a, &w.b, IBV_WR_RDMA_WRITE,
			(void *)from, 64, m, w.ok, w.mok, IBV_WC_LOC_PROT_ERR);
		ibv_dereg_mr(m);
	}
	bench_close(&w);
}

static volatile sig_atomic_t bus_errors;

static void on_bus_error(int sig)
{
	(void)sig;
	bus_errors++;
}

/* Memory with a pattern, between two inaccessible pages, and an MR of it. */
static uint8_t *room_open(struct bench *w, struct t_dev *d, unsigned access, struct ibv_mr **m)
{
	uint8_t *p = t_map_between(ROOM);

	bench_open(w, d);
	t_pat_fill(p, ROOM, 5, 0);
	*m = t_reg(d->pd, p, ROOM, access);
	return p;
}

static void room_close(struct bench *w, uint8_t *p, struct ibv_mr *m)
{
	ibv_dereg_mr(m);
	munmap(p - T_PAGE, ROOM + 2 * T_PAGE);
	bench_close(w);
}

/*
 * A page that has a memory error: accesses to it end with an error status, the pages around it
 * still work, and when its address has been mapped anew it is ordinary memory.
 */
static void poisoned(struct t_dev *d)
{
	struct sigaction act = { .sa_handler = on_bus_error }, was;
	struct ibv_mr *m;
	struct bench w;
	uint8_t *p = room_open(&w, d, ODP_ALL, &m), *bad = p + T_PAGE;

	ev_write("WRITE from it before", &w.a, bad, LEN, m, w.ok, w.mok);
	t_pat_check("WRITE from it before", w.ok, LEN, 5, T_PAGE);
	t_pat_fill(w.ok, ROOM, 1, 0);
	sigaction(SIGBUS, &act, &was);
	if (madvise(bad, T_PAGE, MADV_HWPOISON))
		t_die("MADV_HWPOISON: %s", strerror(errno));
	t_note("poisoned: %d SIGBUS", (int)bus_errors);
	all_ways(&w, bad, m); /* it was in use */
	t_pat_check("before the poison", p, T_PAGE, 5, 0);
	t_pat_check("behind the poison", bad + T_PAGE, ROOM - 2 * T_PAGE, 5, 2 * T_PAGE);
	ev_write("WRITE before the poison", &w.a, w.ok, T_PAGE, w.mok, p, m);
	t_pat_check("WRITE before the poison", p, T_PAGE, 1, 0);
	ev_read("READ behind the poison", &w.a, w.ok, LEN, w.mok, bad + T_PAGE, m);
	t_pat_check("READ behind the poison", w.ok, LEN, 5, 2 * T_PAGE);
	t_pat_fill(w.ok, ROOM, 1, 0);
	if (mmap(bad, T_PAGE, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1,
		 0) != bad)
		t_die("mmap: %s", strerror(errno));
	ev_write("WRITE to new memory there", &w.a, w.ok + 5, LEN, w.mok, bad, m);
	t_pat_check("WRITE to new memory there", bad, LEN, 1, 5);
	sigaction(SIGBUS, &was, NULL);
	room_close(&w, p, m);
}

/*
 * As poisoned, but the MR pins the page, so it stays in the MR. An atomic on it is refused. A READ
 * is, too, where the CPU would die of an error in a copy; x86-64 copies, and finds no error,
 * because MADV_HWPOISON only marks the page.
 */
static void poisoned_pinned(struct t_dev *d)
{
#ifdef __x86_64__
	const enum ibv_wc_status read = IBV_WC_SUCCESS;
#else
	const enum ibv_wc_status read = IBV_WC_REM_OP_ERR;
#endif
	struct sigaction act = { .sa_handler = on_bus_error }, was;
	struct ibv_mr *m;
	struct bench w;
	uint8_t *p = room_open(&w, d, T_ALL_ACCESS, &m), *bad = p + T_PAGE;

	sigaction(SIGBUS, &act, &was);
	if (madvise(bad, T_PAGE, MADV_HWPOISON) && errno != EBUSY) /* it is pinned */
		t_die("MADV_HWPOISON: %s", strerror(errno));
	ev_must("FETCH_ADD on it", &w.a, &w.b, IBV_WR_ATOMIC_FETCH_AND_ADD, w.ok, 8, w.mok, bad, m,
		IBV_WC_REM_OP_ERR);
	ev_must("READ of it", &w.a, &w.b, IBV_WR_RDMA_READ, w.ok, LEN, w.mok, p, m, read);
	if (read == IBV_WC_SUCCESS)
		t_pat_check("READ of it", w.ok, LEN, 5, 0);
	ev_read("READ behind it", &w.a, w.ok, LEN, w.mok, bad + T_PAGE, m);
	t_pat_check("READ behind it", w.ok, LEN, 5, 2 * T_PAGE);
	t_pat_fill(w.ok, ROOM, 1, 0);
	sigaction(SIGBUS, &was, NULL);
	room_close(&w, p, m);
}

/*
 * A pointer with a tag in its top byte (x86-64's LAM, arm64's TBI and MTE). Registering one works
 * where the kernel takes it, and addresses are relative to it. A device knows no tags: under an
 * implicit MR it is an address that nobody has, as one of the kernel's half is.
 */
static void tagged(struct t_dev *d)
{
	const uintptr_t tag = 0x2aUL << 57, kernel = ~0UL << 46;
	uint8_t *p = t_map_between(ROOM), *tp = (uint8_t *)((uintptr_t)p | tag);
	struct ibv_mr *m = t_reg(d->pd, NULL, SIZE_MAX, ODP_ALL);
	struct ibv_sge sge = { .addr = (uintptr_t)tp, .length = LEN, .lkey = m->lkey };
	int err;
	struct bench w;

	bench_open(&w, d);
	t_pat_fill(p, ROOM, 5, 0);
	all_ways(&w, tp, m);
	all_ways(&w, (uint8_t *)kernel, m);
	err = ibv_advise_mr(d->pd, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE, IBV_ADVISE_MR_FLAG_FLUSH,
			    &sge, 1);
	if (err != EFAULT)
		t_fail("advice on a tagged address: %s", strerror(err));
	t_pat_check("the memory without the tag", p, ROOM, 5, 0);
	ibv_dereg_mr(m);
	for (int odp = 0; odp < 2; odp++) {
		m = ibv_reg_mr(d->pd, tp, ROOM, odp ? ODP_ALL : T_ALL_ACCESS);
		if (!m) {
			if (errno != (odp ? EINVAL : EFAULT))
				t_fail("registering a tagged pointer, ODP %d: %s", odp,
				       strerror(errno));
			continue;
		}
		t_note("tagged: this kernel registers tagged pointers, ODP %d", odp);
		ev_write("WRITE to it with its tag", &w.a, w.ok, LEN, w.mok, tp + 9, m);
		t_pat_check("WRITE to it with its tag", p + 9, LEN, 1, 0);
		ev_must("WRITE to it without its tag", &w.a, &w.b, IBV_WR_RDMA_WRITE, w.ok, LEN,
			w.mok, p + 9, m, IBV_WC_REM_ACCESS_ERR);
		ibv_dereg_mr(m);
	}
	munmap(p - T_PAGE, ROOM + 2 * T_PAGE);
	bench_close(&w);
}

/*
 * Memory of a file of the kernel's own (the ring of an AIO context): an error status, and not a
 * byte of it changes.  Shared memory, which is a file of the kernel's too, works.
 */
static void kernel_file(struct t_dev *d)
{
	int id = shmget(IPC_PRIVATE, ROOM, IPC_CREAT | 0600);
	uint8_t *p, *was = t_map(ROOM);
	unsigned long ctx = 0;
	struct ibv_mr *m;
	struct bench w;

	if (syscall(SYS_io_setup, 512, &ctx)) /* more than ROOM */
		t_die("io_setup: %s", strerror(errno));
	p = (uint8_t *)ctx;
	memcpy(was, p, ROOM);
	bench_open(&w, d);
	m = t_reg(d->pd, p, ROOM, ODP_ALL);
	all_ways(&w, p, m);
	if (memcmp(was, p, ROOM))
		t_fail("the ring of an AIO context changed");
	ibv_dereg_mr(m);
	syscall(SYS_io_destroy, ctx);

	p = id < 0 ? (void *)-1 : shmat(id, NULL, 0);
	if (p == (void *)-1)
		t_die("System V shared memory: %s", strerror(errno));
	shmctl(id, IPC_RMID, NULL);
	m = t_reg(d->pd, p, ROOM, ODP_ALL);
	t_pat_fill(w.ok, ROOM, 1, 0);
	ev_write("WRITE to shared memory", &w.a, w.ok + 3, LEN, w.mok, p + T_PAGE - 8, m);
	t_pat_check("WRITE to shared memory", p + T_PAGE - 8, LEN, 1, 3);
	t_zero_check("beside it", p, T_PAGE - 8);
	ibv_dereg_mr(m);
	shmdt(p);
	munmap(was, ROOM);
	bench_close(&w);
}

const struct t_test ev_errors[] = {
	{ "unmapped", unmapped, "every access to unmapped memory, fresh and after use" },
	{ "partly", partly, "a hole in the middle of the range" },
	{ "prot_none", prot_none, "PROT_NONE and back" },
	{ "read_only", read_only, "PROT_READ: reads work, writes do not" },
	{ "secret", secret, "memfd_secret: an error status, no oops" },
	{ "kernel_file", kernel_file, "memory of a kernel's own file: an error status" },
	{ "device_memory", device_memory, "VM_PFNMAP memory: an error status" },
	{ "poisoned", poisoned,
	  "a page with a memory error: an error status, and the pages around it work" },
	{ "poisoned_pinned", poisoned_pinned, "the same in a pinned MR" },
	{ "tagged", tagged, "pointers with a tag: registered, or an error status" },
	{ 0 },
};
