// SPDX-License-Identifier: BSD-2-Clause
#define _GNU_SOURCE
#include "gap.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

void t_gap_open(struct t_gap *g, struct ibv_pd *pd, unsigned pages)
{
	g->va = t_map_between(pages * T_PAGE);
	g->pages = pages;
	/* Pages are served one by one. */
	madvise(g->va, pages * T_PAGE, MADV_NOHUGEPAGE);
	g->fd = t_uffd(g->va, pages * T_PAGE);
	g->mr = t_reg(pd, g->va, pages * T_PAGE, T_ALL_ACCESS | IBV_ACCESS_ON_DEMAND);
}

void t_gap_close(struct t_gap *g)
{
	/* Whoever waits still gets zeroes. */
	close(g->fd);
	if (ibv_dereg_mr(g->mr))
		t_fail("ibv_dereg_mr: %s", strerror(errno));
	munmap(g->va - T_PAGE, (g->pages + 2) * T_PAGE);
}

void t_gap_serve(struct t_gap *g, unsigned page, uint64_t seq)
{
	uint8_t buf[T_PAGE];
	struct uffdio_copy cp = { .dst = (uintptr_t)g->va + page * T_PAGE,
				  .src = (uintptr_t)buf, .len = T_PAGE };

	t_pat_fill(buf, T_PAGE, seq, page * T_PAGE);
	while (ioctl(g->fd, UFFDIO_COPY, &cp)) {
		if (errno == EEXIST)
			return;
		if (errno != EAGAIN)
			t_die("UFFDIO_COPY: %s", strerror(errno));
		cp.copy = 0;
	}
}

bool t_gap_asked(struct t_gap *g, double seconds)
{
	struct pollfd pf = { .fd = g->fd, .events = POLLIN };
	struct uffd_msg msg;

	/* The message is read, so that the next one is a new question. */
	return poll(&pf, 1, (int)(seconds * 1e3)) == 1 && read(g->fd, &msg, sizeof(msg)) > 0;
}
