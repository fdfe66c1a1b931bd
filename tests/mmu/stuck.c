// SPDX-License-Identifier: BSD-2-Clause
/*
 * prxe-stuck: FILE lies on a file system of its own. A WRITE to a page of it faults while the file
 * system is frozen: that fault waits, and no signal ends it. The program ends meanwhile.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "t.h"

static void frozen(struct t_dev *d)
{
	struct t_opt o = { .type = IBV_QPT_RC, .access = T_ALL_ACCESS, .depth = 4 };
	const char *path = getenv("PRXE_FILE");
	struct ibv_mr *msrc, *mdst;
	volatile uint8_t *page;
	struct ibv_wc wc;
	struct t_ep a, b;
	const char *dev;
	uint64_t faults;
	uint8_t *src;
	double end;
	int fd;

	fd = path ? open(path, O_RDWR | O_CREAT, 0600) : -1;
	if (fd < 0 || ftruncate(fd, T_PAGE)) {
		t_fail("no file: PRXE_FILE=%s", path ? path : "");
		return;
	}
	page = mmap(NULL, T_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED || page[0]) {	/* it is in the page cache, read-only */
		t_fail("the file cannot be mapped");
		return;
	}
	t_pair_open(&a, d, &b, d, &o);
	src = t_map(T_PAGE);
	msrc = t_reg(d->pd, src, T_PAGE, T_ALL_ACCESS | IBV_ACCESS_ON_DEMAND);
	mdst = t_reg(d->pd, (void *)page, T_PAGE, T_ALL_ACCESS | IBV_ACCESS_ON_DEMAND);
	if (ioctl(fd, FIFREEZE, 0)) {
		t_fail("the file system cannot be frozen");
		return;
	}
	dev = ibv_get_device_name(d->ctx->device);
	faults = t_counter(dev, "page_faults");
	t_post_one(&a, IBV_WR_RDMA_WRITE, src, T_PAGE, msrc->lkey, (uintptr_t)page, mdst->rkey, 1);
	for (end = t_now() + t_slow(5); t_now() < end && t_counter(dev, "page_faults") == faults;)
		poll(NULL, 0, 10);
	poll(NULL, 0, 300);	/* the fault has begun; now it is inside of the file system */
	if (ibv_poll_cq(a.scq, 1, &wc))
		t_fail("the WRITE is over, status %d", wc.status);
	fflush(NULL);
	_exit(t_fails ? 1 : 0);	/* nothing is given back: that is the kernel's to do */
}

static const struct t_test tests[] = {
	{ "frozen", frozen, "a program ends while a fault of it cannot" },
	{ 0 },
};

int main(int argc, char **argv)
{
	static const struct t_test *const all[] = { tests, NULL };
	struct t_program p = {
		.name = "stuck", .tests = all, .seconds = (unsigned)t_slow(60), .odp = true,
	};

	t_init();
	return t_main(argc, argv, &p);
}
