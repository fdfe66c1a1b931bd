// SPDX-License-Identifier: BSD-2-Clause
/*
 * kernel/transport/late.c: a QP in error, whose receive queue is looked at from time to time, and
 * then only when its CQ is armed; and a WQE that is posted between the two.
 */
#include "common.h"
#include "transport/late.h"

static struct prxe_cq cq;
static struct prxe_ring *ring;
static int scheduled, registered, in_time;

void prxe_qp_schedule(struct prxe_qp *qp) { scheduled++; }
void prxe_watch_remove(struct prxe_watch *watch, struct prxe_watcher *w) { registered = 0; }

/* With @in_time, a program has just posted a WQE and armed the CQ, which found nobody to tell. */
void prxe_watch_add(struct prxe_watch *watch, struct prxe_watcher *w)
{
	if (in_time)
		ring->producer = 1;
	registered = 1;
}

static void late(void **state)
{
	struct prxe_qp *qp = calloc(1, sizeof(*qp));
	struct prxe_queue q = { .mask = 7, .shift = 6 };

	ring = calloc(1, sizeof(*ring) + (8 << q.shift));
	q.ring = ring;
	qp->user = (void *)qp;	/* only compared */
	qp->state = IB_QPS_ERR;
	qp->rcq = &cq;
	qp->resp.rq = &q;
	spin_lock_init(&qp->resp.lock);
	prxe_late_init(qp);

	prxe_late_look(qp);	/* the first look: a timer will look again */
	assert_true(qp->late.since);
	assert_false(registered);
	hrtimer_cancel(&qp->req.timer);
	qp->late.since -= 3 * NSEC_PER_SEC;
	prxe_late_look(qp);
	assert_true(registered);
	assert_int_equal(scheduled, 0);	/* nothing is there */
	in_time = 1;
	prxe_late_look(qp);
	assert_int_equal(scheduled, 1);
	free(ring);
	free(qp);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(late) };

	RUN_TESTS(tests);
}
