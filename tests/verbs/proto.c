// SPDX-License-Identifier: BSD-2-Clause
/* What the transport promises when things go wrong, wait, or come in unusual order: main. */
#include "proto.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void pr_open(struct pr *w, struct t_dev *d, const struct t_opt *o)
{
	memset(w, 0, sizeof(*w));
	w->d = d;
	w->pa = t_map_between(PR_ROOM);
	w->pb = t_map_between(PR_ROOM);
	w->ma = t_reg(o && o->pd ? o->pd : d->pd, w->pa, PR_ROOM,
		      T_ALL_ACCESS | IBV_ACCESS_MW_BIND);
	w->mb = t_reg(o && o->pd ? o->pd : d->pd, w->pb, PR_ROOM,
		      T_ALL_ACCESS | IBV_ACCESS_MW_BIND);
	t_pair_open(&w->a, d, &w->b, d, o);
	pr_fill(w, 1);
}

void pr_close(struct pr *w)
{
	t_ep_close(&w->a);
	t_ep_close(&w->b);
	ibv_dereg_mr(w->ma);
	ibv_dereg_mr(w->mb);
	munmap(w->pa - T_PAGE, PR_ROOM + 2 * T_PAGE);
	munmap(w->pb - T_PAGE, PR_ROOM + 2 * T_PAGE);
}

void pr_again(struct pr *w)
{
	t_pair_again(&w->a, &w->b);
}

void pr_fill(struct pr *w, uint64_t seq)
{
	t_pat_fill(w->pa, PR_ROOM, seq, 0);
	t_pat_fill(w->pb, PR_ROOM, PR_GUARD_SEQ, 0);
}

void pr_unchanged(struct pr *w, const char *what)
{
	t_pat_check(what, w->pb, PR_ROOM, PR_GUARD_SEQ, 0);
}

bool pr_try2(struct pr *w, const char *what, const struct t_wr *wr, enum ibv_wc_status want,
	     enum ibv_wc_status or_else)
{
	enum ibv_wc_status st[] = { want, or_else };
	struct ibv_wc wc;
	int rc = t_post(&w->a, wr);
	bool ok;

	if (rc) {
		t_fail("%s: ibv_post_send: %s", what, strerror(rc));
		return false;
	}
	ok = t_expect_any(what, w->a.scq, st, want == or_else ? 1 : 2, &wc);
	if (wc.status)
		pr_again(w);
	return ok;
}

bool pr_try(struct pr *w, const char *what, const struct t_wr *wr, enum ibv_wc_status want)
{
	return pr_try2(w, what, wr, want, want);
}

bool pr_event_wait(struct t_dev *d, const char *what, enum ibv_event_type want, double seconds)
{
	double end = t_now() + seconds;

	while (t_now() < end) {
		struct pollfd pf = { .fd = d->ctx->async_fd, .events = POLLIN };
		struct ibv_async_event ev;
		bool right;

		if (poll(&pf, 1, 20) < 1)
			continue;
		if (ibv_get_async_event(d->ctx, &ev))
			t_die("ibv_get_async_event: %s", strerror(errno));
		right = ev.event_type == want;
		ibv_ack_async_event(&ev);
		if (right)
			return true;
		t_note("%s: (event '%s' meanwhile)", what, ibv_event_type_str(ev.event_type));
	}
	t_fail("%s: no event '%s' within %.1f s", what, ibv_event_type_str(want), seconds);
	return false;
}

int pr_events_drain(struct t_dev *d)
{
	struct pollfd pf = { .fd = d->ctx->async_fd, .events = POLLIN };
	struct ibv_async_event ev;
	int n = 0;

	while (poll(&pf, 1, 0) == 1 && !ibv_get_async_event(d->ctx, &ev)) {
		ibv_ack_async_event(&ev);
		n++;
	}
	return n;
}

volatile struct prxe_ring *pr_ring_find(uint32_t mask)
{
	FILE *f = fopen("/proc/self/maps", "re");
	volatile struct prxe_ring *found = NULL;
	unsigned long from;
	char line[512];

	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, "/dev/infiniband/uverbs") && sscanf(line, "%lx-", &from) == 1 &&
		    ((volatile struct prxe_ring *)from)->index_mask == mask)
			found = (volatile struct prxe_ring *)from;
	if (f)
		fclose(f);
	if (!found)
		t_die("no ring with mask %#x is mapped", mask);
	return found;
}

static void after(struct t_dev *d)
{
	pr_events_drain(d);
}

int main(int argc, char **argv)
{
	static const struct t_test *const all[] = {
		pr_mem,	  pr_window, pr_flow, pr_state, pr_event, pr_flush,
		pr_mcast, pr_grh,    pr_ring, pr_ibta,	NULL
	};

	t_init();
	return t_main(argc, argv, &(struct t_program){
		.name = "proto",
		.tests = all,
		.seconds = 240,
		.after = after,
	});
}
