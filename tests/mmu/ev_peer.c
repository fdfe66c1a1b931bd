// SPDX-License-Identifier: BSD-2-Clause
/*
 * The peer is another process, which ends in the middle of transfers: by SIGKILL, or by _exit()
 * without destroying anything.  The survivor gets an error or goes on, never hangs, and the device
 * still works.  The peer is this program again (see ev_child), so it shares no verbs object.
 */
#define _GNU_SOURCE
#include "ev.h"
#include "ev_peer.h"

#include <errno.h>
#include <signal.h>
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

const struct t_test ev_peer[] = {
	{ "peer_killed", peer_killed, "SIGKILL of the peer in the middle of transfers" },
	{ "peer_exits", peer_exits, "the peer exits in the middle of transfers" },
	{ 0 },
};
