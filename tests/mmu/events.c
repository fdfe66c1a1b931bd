// SPDX-License-Identifier: BSD-2-Clause
/* Memory events under ODP registrations: main, and the transfers that the tests share. */
#include "ev.h"
#include "ev_peer.h"

#include <stdlib.h>

int ev_rounds;

int ev_status(struct t_ep *e, enum ibv_wr_opcode op, const void *local, size_t len,
	      struct ibv_mr *lmr, const void *remote, struct ibv_mr *rmr)
{
	struct ibv_wc wc;

	if (t_post_one(e, op, local, (uint32_t)len, lmr->lkey, (uintptr_t)remote,
		       rmr ? rmr->rkey : 0, 7)) {
		t_fail("ibv_post_send failed");
		return -1;
	}
	if (!t_wait(e->scq, &wc, t_limit)) {
		t_fail("no completion of a transfer of %zu bytes within %.0f s", len, t_limit);
		return -1;
	}
	return wc.status;
}

bool ev_xfer(const char *what, struct t_ep *e, enum ibv_wr_opcode op, const void *local, size_t len,
	     struct ibv_mr *lmr, const void *remote, struct ibv_mr *rmr)
{
	int st = ev_status(e, op, local, len, lmr, remote, rmr);

	if (st)
		t_fail("%s: opcode %d of %zu bytes, local %p remote %p: '%s'", what, op, len, local,
		       remote, st < 0 ? "nothing" : ibv_wc_status_str((enum ibv_wc_status)st));
	return !st;
}

bool ev_must(const char *what, struct t_ep *a, struct t_ep *b, enum ibv_wr_opcode op,
	     const void *local, size_t len, struct ibv_mr *lmr, const void *remote,
	     struct ibv_mr *rmr, enum ibv_wc_status want)
{
	int st = ev_status(a, op, local, len, lmr, remote, rmr);

	if (st != (int)want)
		t_fail("%s: opcode %d of %zu bytes completed with '%s', expected '%s'", what, op,
		       len, st < 0 ? "nothing" : ibv_wc_status_str((enum ibv_wc_status)st),
		       ibv_wc_status_str(want));
	if (st)
		t_pair_again(a, b);
	return st == (int)want;
}

int main(int argc, char **argv)
{
	static const struct t_test *const all[] = {
		ev_peer, ev_contents, ev_errors, ev_revoke, ev_reg, ev_files, ev_post, ev_numa,
		NULL
	};
	static const struct t_program events = {
		.name = "events", .tests = all, .seconds = 240, .odp = true, .rounds = &ev_rounds,
	};

	t_init();
	ev_rounds = t_debug ? 3 : 10;
	if (argc == 5 && argv[1][0] == '@') {
		t_watchdog(240);
		return ev_child(argv[1], atoi(argv[2]), argv[3], atoi(argv[4]));
	}
	return t_main(argc, argv, &events);
}
