// SPDX-License-Identifier: BSD-2-Clause
/* Another process as the peer, here or on another machine, and a socket to agree with it. */
#include "t.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
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

int t_meet(const char *peer, int port)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	double end = t_now() + t_slow(100);
	int s, one = 1;
	char host[64];

	if (peer && (sscanf(peer, "%63[0-9.]:%d", host, &port) != 2 ||
		     inet_pton(AF_INET, host, &to.sin_addr) != 1))
		t_die("'%s' is not of the form IPV4:PORT", peer);
	to.sin_port = htons((uint16_t)port);
	for (;;) {
		s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (s < 0)
			t_die("socket: %s", strerror(errno));
		if (!peer)
			break;
		if (!connect(s, (struct sockaddr *)&to, sizeof(to)))
			break;
		close(s);
		if (t_now() > end)
			t_die("nobody answers at %s: %s", peer, strerror(errno));
		usleep(100000);
	}
	if (!peer) {
		int l = s;

		setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		if (bind(l, (struct sockaddr *)&to, sizeof(to)) || listen(l, 1))
			t_die("port %d: %s", port, strerror(errno));
		s = accept(l, NULL, NULL);
		if (s < 0)
			t_die("accept: %s", strerror(errno));
		close(l);
	}
	setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return s;
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
