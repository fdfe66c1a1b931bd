// SPDX-License-Identifier: BSD-2-Clause
/* Memory events under ODP registrations: main, and the transfers that the tests share. */
#include "ev.h"
#include "ev_peer.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int ev_rounds;

int ev_status(struct t_ep *e, enum ibv_wr_opcode op, const void *local, size_t len, struct ibv_mr *lmr,
	      const void *remote, struct ibv_mr *rmr)
{
	struct ibv_wc wc;

	if (t_post_one(e, op, local, (uint32_t)len, lmr->lkey, (uintptr_t)remote, rmr ? rmr->rkey : 0, 7)) {
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
	     const void *local, size_t len, struct ibv_mr *lmr, const void *remote, struct ibv_mr *rmr,
	     enum ibv_wc_status want)
{
	int st = ev_status(a, op, local, len, lmr, remote, rmr);

	if (st != (int)want)
		t_fail("%s: opcode %d of %zu bytes completed with '%s', expected '%s'", what, op, len,
		       st < 0 ? "nothing" : ibv_wc_status_str((enum ibv_wc_status)st),
		       ibv_wc_status_str(want));
	if (st)
		t_pair_again(a, b);
	return st == (int)want;
}

static void usage(void)
{
	puts("usage: prxe-events [-d DEV] [-g GID] [-n ROUNDS] [-l] [TEST ...]   (-l lists the tests)");
	exit(2);
}

int main(int argc, char **argv)
{
	static const struct ev_test *const all[] = { ev_peer, ev_contents, ev_errors, ev_revoke, ev_reg,
						     ev_files, ev_post };
	const char *dev = NULL;
	int gid = 1, c, ran = 0;
	struct t_dev *d;
	bool list = false;

	t_init();
	ev_rounds = t_debug ? 3 : 10;
	while ((c = getopt(argc, argv, "d:g:n:l")) != -1) {
		switch (c) {
		case 'd': dev = optarg; break;
		case 'g': gid = atoi(optarg); break;
		case 'n': ev_rounds = atoi(optarg); break;
		case 'l': list = true; break;
		default: usage();
		}
	}
	t_watchdog(240);
	if (argc == optind + 2 && argv[optind][0] == '@')
		return ev_child(argv[optind], atoi(argv[optind + 1]), dev, gid);
	for (size_t g = 0; g < ARRAY_LEN(all); g++) {
		for (const struct ev_test *t = all[g]; t->name; t++) {
			bool wanted = optind == argc;
			int before = t_fails;
			double from;

			for (int i = optind; i < argc; i++)
				wanted |= !strcmp(argv[i], t->name);
			if (list) {
				printf("%-20s %s\n", t->name, t->what);
				continue;
			}
			if (!wanted)
				continue;
			t_context("%s", t->name);
			from = t_now();
			d = t_dev_open(dev, gid);
			if (!d->odp)
				t_die("%s has no ODP", d->name);
			t->run(d);
			t_dev_close(d);
			ran++;
			printf("%-20s %s  %.0f ms\n", t->name, before == t_fails ? "ok" : "FAILED",
			       (t_now() - from) * 1e3);
			fflush(stdout);
		}
	}
	t_context("%s", "");
	if (!ran && !list)
		t_die("there is no such test (see -l)");
	return list ? 0 : t_done("events");
}
