// SPDX-License-Identifier: BSD-2-Clause
/* Another process as the peer, and a socket to agree with it. */
#include "t.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

pid_t t_fork(int *sock)
{
	int sv[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv))
		t_die("socketpair: %s", strerror(errno));
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		t_die("fork: %s", strerror(errno));
	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	*sock = sv[!pid];
	close(sv[!!pid]);
	return pid;
}

void t_put(int sock, const void *p, size_t n)
{
	if (send(sock, p, n, MSG_NOSIGNAL) != (ssize_t)n)
		t_die("the other process is gone");
}

bool t_try_get(int sock, void *p, size_t n)
{
	return recv(sock, p, n, MSG_WAITALL) == (ssize_t)n;
}

void t_get(int sock, void *p, size_t n)
{
	if (!t_try_get(sock, p, n))
		t_die("the other process is gone");
}

void t_ep_meet(struct t_ep *e, int sock)
{
	struct t_addr peer;

	t_put(sock, &e->me, sizeof(e->me));
	t_get(sock, &peer, sizeof(peer));
	t_ep_connect(e, &peer);
}
