// SPDX-License-Identifier: BSD-2-Clause
/*
 * The file of the doorbell (kernel/uapi/prxe-ioctl.h): for whose QPs it rings, in which states, and
 * until when; and doorbells while QPs come and go.
 */
#define _GNU_SOURCE
#include "t.h"

#include "../../kernel/uapi/prxe-ioctl.h"

#include <errno.h>
#include <pthread.h>
#include <rdma/ib_user_ioctl_cmds.h>
#include <rdma/rdma_user_ioctl_cmds.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

static int door_open(struct t_dev *d)
{
	struct {
		struct ib_uverbs_ioctl_hdr hdr;
		struct ib_uverbs_attr fd;
	} cmd = {
		.hdr = {
			.length = sizeof(cmd),
			.object_id = PRXE_OBJECT_DOORBELL,
			.method_id = PRXE_METHOD_DOORBELL_OPEN,
			.num_attrs = 1,
			.driver_id = PRXE_DRIVER_ID,
		},
		.fd = { .attr_id = PRXE_ATTR_DOORBELL_FD, .flags = UVERBS_ATTR_F_MANDATORY },
	};

	if (ioctl(d->ctx->cmd_fd, RDMA_VERBS_IOCTL, &cmd))
		t_die("no doorbell: %s", strerror(errno));
	return (int)cmd.fd.data_s64;
}

static int ring(int fd, unsigned long qpn)
{
	return ioctl(fd, PRXE_DOORBELL_RING, qpn) ? errno : 0;
}

static void must(const char *what, int got, int want)
{
	if (got != want)
		t_fail("%s: '%s', expected '%s'", what, strerror(got), strerror(want));
}

static void states(struct t_dev *d, int fd)
{
	struct t_ep a, b;

	t_ep_open(&a, d, NULL);
	t_ep_open(&b, d, NULL);
	must("a QP in RESET", ring(fd, a.qp->qp_num), EINVAL);
	if (t_ep_init(&a) || t_ep_init(&b))
		t_die("to INIT failed");
	must("a QP in INIT", ring(fd, a.qp->qp_num), EINVAL);
	if (t_ep_rtr(&a, &b.me) || t_ep_rtr(&b, &a.me))
		t_die("to RTR failed");
	must("a QP in RTR", ring(fd, a.qp->qp_num), EINVAL);
	if (t_ep_rts(&a) || t_ep_rts(&b))
		t_die("to RTS failed");
	must("a QP in RTS", ring(fd, a.qp->qp_num), 0);
	t_pair_works("after a doorbell for nothing", &a, &b);
	if (t_ep_state(&a, IBV_QPS_ERR))
		t_die("to ERR failed");
	must("a QP in ERR", ring(fd, a.qp->qp_num), 0);
	must("more than a number", ring(fd, a.qp->qp_num | 1UL << 32), EINVAL);
	must("another command", ioctl(fd, PRXE_DOORBELL_RING + 1, a.qp->qp_num) ? errno : 0,
	     ENOTTY);
	t_ep_close(&a);
	must("a QP that was destroyed", ring(fd, a.me.qpn), EINVAL);
	must("the QP of management datagrams", ring(fd, 1), EINVAL);
	must("no QP at all", ring(fd, 0xffffff), EINVAL);
	t_ep_close(&b);
}

/*
 * One context cannot ring for another. A file that outlives its context rings for nobody, even if
 * another context is opened afterwards.
 */
static void contexts(struct t_dev *d, int fd, const char *dev, int gid)
{
	struct t_dev *other = t_dev_open(dev, gid);
	int theirs = door_open(other);
	struct t_ep a, b;

	t_pair_open(&a, d, &b, d, NULL);
	must("a QP of another context", ring(theirs, a.qp->qp_num), EINVAL);
	must("the same QP by its own", ring(fd, a.qp->qp_num), 0);
	t_dev_close(other);
	must("a context that was closed", ring(theirs, a.qp->qp_num), EIO);
	other = t_dev_open(dev, gid);
	must("a context that was closed, beside a new one", ring(theirs, a.qp->qp_num), EIO);
	t_dev_close(other);
	close(theirs);
	t_ep_close(&a);
	t_ep_close(&b);
}

static struct {
	int fd;
	uint32_t last;		/* a number near those in use */
	bool stop;
	unsigned long rung, refused;
} race;

static void *ringer(void *arg)
{
	uint64_t i = (uintptr_t)arg;

	while (!__atomic_load_n(&race.stop, __ATOMIC_RELAXED)) {
		uint32_t last = __atomic_load_n(&race.last, __ATOMIC_RELAXED);
		uint32_t qpn = last - (uint32_t)(t_mix(i++) % 3);
		int rc = ring(race.fd, qpn);

		if (rc && rc != EINVAL)
			t_fail("QP %u: '%s'", qpn, strerror(rc));
		__atomic_fetch_add(rc ? &race.refused : &race.rung, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Doorbells for QPs that are made, used, reset and destroyed at the same time: data stay right. */
static void come_and_go(struct t_dev *d, int fd)
{
	double end = t_now() + t_slow(1.5);
	pthread_t t[2];

	race.fd = fd;
	for (uintptr_t i = 0; i < ARRAY_LEN(t); i++)
		pthread_create(&t[i], NULL, ringer, (void *)(i * 1000));
	while (t_now() < end) {
		struct t_ep a, b;
		uint32_t last;

		t_pair_open(&a, d, &b, d, NULL);
		last = a.qp->qp_num > b.qp->qp_num ? a.qp->qp_num : b.qp->qp_num;
		__atomic_store_n(&race.last, last, __ATOMIC_RELAXED);
		t_pair_works("under doorbells", &a, &b);
		t_pair_again(&a, &b);
		t_pair_works("under doorbells, after RESET", &a, &b);
		t_ep_close(&a);
		t_ep_close(&b);
	}
	__atomic_store_n(&race.stop, true, __ATOMIC_RELAXED);
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		pthread_join(t[i], NULL);
	t_note("%lu rang, %lu were refused", race.rung, race.refused);
	if (!race.rung || !race.refused)
		t_fail("QPs did not come and go under the doorbells");
}

int main(int argc, char **argv)
{
	const char *dev = NULL;
	int gid = 1, c, fd;
	struct t_dev *d;

	t_init();
	while ((c = getopt(argc, argv, "d:g:")) != -1) {
		if (c == 'd')
			dev = optarg;
		else if (c == 'g')
			gid = atoi(optarg);
		else
			return 2;
	}
	t_watchdog(120);
	d = t_dev_open(dev, gid);
	fd = door_open(d);
	states(d, fd);
	contexts(d, fd, dev, gid);
	come_and_go(d, fd);
	/* Only the open doorbell still uses the device; that does not keep it from being closed. */
	t_dev_close(d);
	must("a device that was closed", ring(fd, 2), EIO);
	close(fd);
	return t_done("door");
}
