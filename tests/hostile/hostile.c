// SPDX-License-Identifier: BSD-2-Clause
/*
 * A process that spoils everything it shares with the driver, while the driver uses it.
 *
 * A child (this program again) opens QPs of all types, finds their rings in its own memory map, and
 * has threads that overwrite WQEs, indices and headers while others ring the doorbell by hand and
 * take the QPs through RESET.  It leaves by destroying, by exit() or by SIGKILL.  Afterwards the
 * device must serve a decent process, and memory that was never registered is as it was.
 */
#define _GNU_SOURCE
#include "lib/t.h"
#include "raw.h"
#include "rings.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAIRS 4
#define SIZE (64 * T_PAGE)

static struct {
	const char *dev;
	int gid, level;
	double time;
	uint64_t seed;
} opt = { .gid = 1, .level = -1, .time = 3, .seed = 1 };

static struct t_dev *dev;
static struct t_ep ep[2 * PAIRS + 1];
static struct target targets[3];
static volatile bool stop;
static unsigned long long rings_rung, spoilt, revived;

static void *ring_them(void *arg)
{
	uint64_t rnd = (uintptr_t)arg + opt.seed;

	while (!stop) {
		rnd = t_mix(rnd);
		raw_doorbell(&ep[rnd % ARRAY_LEN(ep)], rnd >> 8);
		__atomic_add_fetch(&rings_rung, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void *spoil_them(void *arg)
{
	uint64_t rnd = (uintptr_t)arg * 1000 + opt.seed;

	while (!stop) {
		rnd = t_mix(rnd);
		rings_spoil(rnd, opt.level, targets, ARRAY_LEN(targets));
		__atomic_add_fetch(&spoilt, 1, __ATOMIC_RELAXED);
		if (!(rnd & 0x3f000))
			usleep(100);
	}
	return NULL;
}

static unsigned alive;

/* QPs die of it: take them through RESET, so that there is always something alive to spoil. */
static void revive(void)
{
	int rc;

	for (int i = 0; i < 2 * PAIRS; i++) {
		rc = raw_state(&ep[i], IBV_QPS_RESET, NULL);
		if (!rc)
			rc = raw_state(&ep[i], IBV_QPS_INIT, NULL);
		if (rc)
			t_fail("QP %d cannot be reset: %s", i, strerror(rc));
	}
	for (int i = 0; i < 2 * PAIRS; i++) {
		rc = raw_state(&ep[i], IBV_QPS_RTR, &ep[i ^ 1]);
		if (rc)
			t_fail("QP %d does not come back to RTR: %s", i, strerror(rc));
		/*
		 * EINVAL: its peer sends already, garbage that put it into error. The next time may
		 * do.
		 */
		rc = raw_state(&ep[i], IBV_QPS_RTS, NULL);
		if (rc && rc != EINVAL)
			t_fail("QP %d does not come back to RTS: %s", i, strerror(rc));
		alive += !rc;
	}
	revived++;
}

static void open_all(uint8_t *pinned, uint8_t *odp, struct ibv_srq **srq)
{
	struct ibv_srq_init_attr sa = { .attr = { .max_wr = 31, .max_sge = 4 } };
	struct t_opt o = {
		.depth = 31, .sge = 4, .inl = 64, .timeout = 14, .retry_cnt = 2, .rnr_retry = 2
	};
	struct ibv_mr *m[2];

	m[0] = t_reg(dev->pd, pinned, SIZE, T_ALL_ACCESS | IBV_ACCESS_MW_BIND);
	m[1] = dev->odp ? t_reg(dev->pd, odp, SIZE, T_ALL_ACCESS | IBV_ACCESS_ON_DEMAND) : m[0];
	targets[0] = (struct target){ (uintptr_t)pinned, SIZE, m[0]->lkey, m[0]->rkey };
	targets[1] = (struct target){ dev->odp ? (uintptr_t)odp : (uintptr_t)pinned, SIZE,
				      m[1]->lkey, m[1]->rkey };
	targets[2] = targets[1];
	targets[2].lkey ^= 0x100;
	*srq = ibv_create_srq(dev->pd, &sa);
	for (int i = 0; i < 2 * PAIRS; i += 2) {
		o.type = i == 4 ? IBV_QPT_UC : i == 6 ? IBV_QPT_UD : IBV_QPT_RC;
		o.srq = i == 2 ? *srq : NULL;
		t_pair_open(&ep[i], dev, &ep[i + 1], dev, &o);
	}
	o.type = IBV_QPT_RC;
	o.srq = NULL;
	t_ep_open(&ep[2 * PAIRS], dev, &o); /* this one stays in RESET */
	/* Something real to start from. */
	for (int i = 0; i < 2 * PAIRS; i++)
		for (unsigned k = 0; k < 20; k++) {
			struct ibv_sge sg = { targets[k & 1].addr, 1000, targets[k & 1].lkey };
			struct t_wr w = { .op = k % 3 && i != 6 && i != 7 ? IBV_WR_RDMA_WRITE
									  : IBV_WR_SEND,
					  .sg = &sg,
					  .n = 1,
					  .raddr = targets[0].addr + 8192,
					  .rkey = targets[0].rkey };

			t_recv(&ep[i], &sg, 1, k);
			t_post(&ep[i], &w);
		}
	rings_find();
	if (n_rings < 4)
		t_die("only %u writable mappings of the device were found", n_rings);
}

static int child(bool leave_by_destroy)
{
	uint8_t *canary1 = t_map(SIZE), *pinned = t_map(SIZE), *odp = t_map(SIZE),
		*canary2 = t_map(SIZE);
	pthread_t th[4];
	struct ibv_srq *srq;
	double end;

	t_pat_fill(canary1, SIZE, 9001, 0);
	t_pat_fill(canary2, SIZE, 9002, 0);
	dev = t_dev_open(opt.dev, opt.gid);
	open_all(pinned, odp, &srq);
	for (uintptr_t i = 0; i < 2; i++) {
		pthread_create(&th[i], NULL, ring_them, (void *)(i + 1));
		pthread_create(&th[2 + i], NULL, spoil_them, (void *)(i + 1));
	}
	end = t_now() + opt.time;
	for (uint64_t i = 0; t_now() < end; i++) {
		usleep(t_debug ? 50000 : 10000);
		if (i % 8 == 7)
			revive();
		if (dev->odp)
			madvise(odp + (t_mix(i) % 32) * T_PAGE, 16 * T_PAGE, MADV_DONTNEED);
	}
	stop = true;
	for (size_t i = 0; i < ARRAY_LEN(th); i++)
		pthread_join(th[i], NULL);
	t_note("level %d: %u rings, %llu acts of sabotage, %llu doorbells, %llu resets", opt.level,
	       n_rings, spoilt, rings_rung, revived);
	if (revived && !alive)
		t_fail("no QP ever came back to RTS");
	t_pat_check("memory that was never registered", canary1, SIZE, 9001, 0);
	t_pat_check("memory that was never registered", canary2, SIZE, 9002, 0);
	if (leave_by_destroy) {
		int fd = dev->ctx->cmd_fd, rc = 0;

		for (size_t i = 0; i < ARRAY_LEN(ep) && !rc; i++)
			rc = raw_destroy_qp(&ep[i]);
		for (size_t i = 0; i < ARRAY_LEN(ep) && !rc; i++) {
			rc = raw_destroy_cq(fd, ep[i].scq->handle);
			rc = rc ? rc : raw_destroy_cq(fd, ep[i].rcq->handle);
		}
		rc = rc ? rc : raw_destroy_srq(fd, srq->handle);
		if (rc)
			t_fail("destroying what was spoilt: %s", strerror(rc));
	}
	_exit(t_fails != 0);
}

/* An inline WRITE of 8 bytes, by hand. */
static void raw_write(const struct ring *r, uint32_t slot, uint64_t id)
{
	struct rxe_send_wqe *w = (void *)ring_element(r, slot);

	memset(w, 0, r->elem);
	w->wr.wr_id = id;
	w->wr.opcode = IBV_WR_RDMA_WRITE;
	w->wr.send_flags = IBV_SEND_SIGNALED | IBV_SEND_INLINE;
	w->dma.length = sizeof(id);
	memcpy(w->dma.inline_data, &id, sizeof(id));
}

static void raw_produce(const struct ring *r, uint32_t producer, const struct t_ep *e)
{
	__atomic_store_n(&r->shared->producer, producer, __ATOMIC_RELEASE);
	if (raw_doorbell(e, 1))
		t_die("the doorbell");
}

/*
 * All that was posted waits for an ACK that never comes, while the producer laps the ring. The
 * driver must not fetch the waiting WQEs again: they are overwritten, and it would send bytes from
 * far behind their inline data.
 */
static void lapped_child(void)
{
	const struct t_opt oa = { .depth = 15, .sge = 1, .inl = 64, .timeout = 12, .retry_cnt = 2 },
			   ob = { .depth = 31 };
	struct t_dev *d = t_dev_open(opt.dev, opt.gid);
	struct ring *sq = NULL;
	struct t_ep a, b;
	struct ibv_wc wc;

	t_ep_open(&b, d, &ob);	/* and never in RTR: it does not answer */
	t_ep_open(&a, d, &oa);
	t_ep_connect(&a, &b.me);
	rings_find();
	for (unsigned i = 0; i < n_rings; i++)
		if (rings[i].elem >= sizeof(struct rxe_send_wqe) + 64 && rings[i].mask == 15)
			sq = &rings[i];
	if (!sq)
		t_die("the send queue was not found");
	for (uint32_t i = 0; i < 16; i++)
		raw_write(sq, i, 100 + i);
	raw_produce(sq, 15, &a);
	for (uint32_t p = 5; p < 5 + 3 * 16; p += 5)
		raw_produce(sq, p % 16, &a);
	raw_produce(sq, 15, &a);
	/* It fails as it should, with what was posted first. */
	if (t_expect("a WRITE to a peer that does not answer", a.scq, IBV_WC_RETRY_EXC_ERR, &wc) &&
	    wc.wr_id != 100)
		t_fail("wr_id %llu came first", (unsigned long long)wc.wr_id);
	for (uint64_t i = 1; i < 15; i++)
		if (t_expect("what was behind it", a.scq, IBV_WC_WR_FLUSH_ERR, &wc) &&
		    wc.wr_id != 100 + i)
			t_fail("wr_id %llu in the place of %llu", (unsigned long long)wc.wr_id,
			       (unsigned long long)(100 + i));
	_exit(t_fails != 0);
}

static void lapped(void)
{
	int st = 0;
	pid_t pid;

	t_context("%s", "a producer that laps the ring");
	fflush(stdout);
	pid = fork();
	if (!pid)
		lapped_child();
	if (pid < 0 || waitpid(pid, &st, 0) != pid || st)
		t_fail("status %#x", st);
}

static void round_of(int level, int how)
{
	static const char *const leave[] = { "destroy", "exit", "kill" };
	struct t_ep a, b;
	struct t_dev *d;
	int st = 0;
	double end;
	pid_t pid;

	t_context("level %d, leave by %s", level, leave[how]);
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		t_die("fork: %s", strerror(errno));
	if (!pid) {
		opt.level = level;
		opt.seed = opt.seed * 100 + (uint64_t)(level * 10 + how);
		exit(child(how == 0));
	}
	if (how == 2) {
		usleep((useconds_t)(opt.time * 700000));
		kill(pid, SIGKILL);
	}
	for (end = t_now() + opt.time + t_slow(20); t_now() < end; usleep(10000))
		if (waitpid(pid, &st, WNOHANG) == pid)
			break;
	if (t_now() >= end)
		t_die("the hostile process does not end");
	if (how != 2 && st)
		t_fail("the hostile process ended with status %#x", st);
	d = t_dev_open(opt.dev, opt.gid);
	t_pair_open(&a, d, &b, d, NULL);
	t_pair_works("the device after a hostile process", &a, &b);
	t_ep_close(&a);
	t_ep_close(&b);
	t_dev_close(d);
}

int main(int argc, char **argv)
{
	int c, how = 0;

	t_init();
	while ((c = getopt(argc, argv, "d:g:t:l:s:")) != -1) {
		switch (c) {
		case 'd': opt.dev = optarg; break;
		case 'g': opt.gid = atoi(optarg); break;
		case 't': opt.time = atof(optarg); break;
		case 'l': opt.level = atoi(optarg); break;
		case 's': opt.seed = strtoull(optarg, NULL, 0); break;
		default:
			puts("usage: prxe-hostile [-d DEV] [-g GID] [-t SECONDS] [-l LEVEL] [-s "
			     "SEED]");
			return 2;
		}
	}
	t_watchdog((unsigned)(opt.time * 9) + 200);
	if (opt.level < 0)
		lapped();
	for (int level = 0; level < 3; level++)
		for (how = 0; how < 3; how++)
			if (opt.level < 0 || opt.level == level)
				round_of(level, how);
	t_context("%s", "");
	return t_done("hostile");
}
