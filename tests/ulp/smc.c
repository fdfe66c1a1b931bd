// SPDX-License-Identifier: BSD-2-Clause
/*
 * prxe-smc: a stream over sockets of shared memory communications (SMC): to the program they are
 * TCP sockets, below is RDMA. The server sends back what comes. The client sends and receives at
 * the same time, in pieces of many sizes, and looks at every byte.
 *
 *   prxe-smc ADDRESS PORT SERVES         server, of so many connections
 *   prxe-smc ADDRESS PORT STREAMS BYTES  client: so many connections at once, so many bytes
 *                                        through each and back
 */
#define _GNU_SOURCE
#include "t.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef AF_SMC
#define AF_SMC 43
#endif
#define ROOM (256UL << 10)

static struct sockaddr_in addr = { .sin_family = AF_INET };
static size_t bytes;

static int smc_socket(void)
{
	int fd = socket(AF_SMC, SOCK_STREAM, 0); /* protocol 0: over IPv4 */

	if (fd < 0)
		t_die("a socket of AF_SMC: %s", strerror(errno));
	return fd;
}

/* Send back what comes, until the other side has sent all. */
static void *serve(void *arg)
{
	int fd = *(int *)arg;
	uint8_t *buf = malloc(ROOM);
	ssize_t n;

	free(arg);
	while (buf && (n = recv(fd, buf, ROOM, 0)) > 0) {
		for (ssize_t done = 0, sent; done < n; done += sent) {
			sent = send(fd, buf + done, (size_t)(n - done), MSG_NOSIGNAL);
			if (sent < 0) {
				t_fail("send back: %s", strerror(errno));
				break;
			}
		}
	}
	close(fd);
	free(buf);
	return NULL;
}

static void *ask(void *arg)
{
	uint64_t seq = (uintptr_t)arg + 1;
	size_t sent = 0, got = 0;
	uint8_t *out = malloc(ROOM), *in = malloc(ROOM);
	int fd = smc_socket();

	if (!out || !in)
		t_die("no memory");
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		t_die("connect: %s", strerror(errno));
	if (fcntl(fd, F_SETFL, O_NONBLOCK))
		t_die("O_NONBLOCK: %s", strerror(errno));
	while (got < bytes) {
		struct pollfd p = {
			.fd = fd, .events = (short)(POLLIN | (sent < bytes ? POLLOUT : 0)),
		};
		size_t want = 1 + t_mix(seq ^ sent << 8) % ROOM;
		ssize_t n;

		if (poll(&p, 1, (int)(t_slow(20) * 1000)) != 1)
			t_die("nothing for long: %zu of %zu bytes sent, %zu back", sent, bytes,
			      got);
		if ((p.revents & POLLOUT) && sent < bytes) {
			if (want > bytes - sent)
				want = bytes - sent;
			t_pat_fill(out, want, seq, sent);
			n = send(fd, out, want, MSG_NOSIGNAL);
			if (n < 0 && errno != EAGAIN)
				t_die("send: %s", strerror(errno));
			sent += n > 0 ? (size_t)n : 0;
		}
		n = recv(fd, in, ROOM, 0);
		if (!n || (n < 0 && errno != EAGAIN))
			t_die("after %zu of %zu bytes: %s", got, bytes,
			      n ? strerror(errno) : "the other side closed");
		if (n > 0 && !t_pat_check("stream", in, (size_t)n, seq, got))
			t_die("in what came back, from byte %zu on", got);
		got += n > 0 ? (size_t)n : 0;
	}
	close(fd);
	free(out);
	free(in);
	return NULL;
}

static unsigned number(const char *s)
{
	char *end;
	unsigned long n = strtoul(s, &end, 0);

	if (*end || !n || n > 1UL << 30)
		t_die("%s is not a number that is meant here", s);
	return (unsigned)n;
}

int main(int argc, char **argv)
{
	unsigned conns;
	pthread_t t[64];
	int listener;

	t_init();
	if ((argc != 4 && argc != 5) || inet_pton(AF_INET, argv[1], &addr.sin_addr) != 1)
		t_die("prxe-smc ADDRESS PORT CONNECTIONS [BYTES]");
	addr.sin_port = htons((uint16_t)number(argv[2]));
	conns = number(argv[3]);
	if (conns > ARRAY_LEN(t))
		t_die("at most %zu connections", ARRAY_LEN(t));
	bytes = argc == 5 ? number(argv[4]) : 0;
	if (bytes) {
		for (unsigned i = 0; i < conns; i++)
			if (pthread_create(&t[i], NULL, ask, (void *)(uintptr_t)i))
				t_die("no thread");
	} else {
		listener = smc_socket();
		if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)) ||
		    bind(listener, (struct sockaddr *)&addr, sizeof(addr)) ||
		    listen(listener, (int)conns))
			t_die("listening: %s", strerror(errno));
		for (unsigned i = 0; i < conns; i++) {
			int *fd = malloc(sizeof(*fd));

			if (!fd)
				t_die("no memory");
			*fd = accept(listener, NULL, NULL);
			if (*fd < 0)
				t_die("accept: %s", strerror(errno));
			if (pthread_create(&t[i], NULL, serve, fd))
				t_die("no thread");
		}
		close(listener);
	}
	for (unsigned i = 0; i < conns; i++)
		pthread_join(t[i], NULL);
	return t_done(bytes ? "prxe-smc" : "prxe-smc, server");
}
