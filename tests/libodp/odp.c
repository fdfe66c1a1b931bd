// SPDX-License-Identifier: BSD-2-Clause
/* prxe-odp: libodp on a device. main, and what the cases share. */
#include "odp_test.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct odp_mr *need_mr(struct env *e, void *p, size_t length, unsigned int access,
		       enum odp_policy policy)
{
	struct odp_mr *mr = odp_reg(e->dom, p, length, access, policy, &e->why);

	if (!mr)
		t_die("odp_reg(%p, %zu, %s): %s", p, length, odp_policy_name(policy), e->why.text);
	return mr;
}

bool has(const char *what, const char *text, ...)
{
	const char *word;
	bool all = true;
	va_list ap;

	va_start(ap, text);
	while ((word = va_arg(ap, const char *))) {
		if (!strstr(text, word)) {
			t_fail("%s: \"%s\" is not in: %s", what, word, text);
			all = false;
		}
	}
	va_end(ap);
	return all;
}

enum ibv_wc_status xfer(struct env *e, enum ibv_wr_opcode op, void *local, size_t length,
			struct odp_mr *lmr, void *remote, uint32_t rkey)
{
	struct ibv_wc wc;

	if (t_post_one(&e->a, op, local, (uint32_t)length, odp_lkey(lmr), (uintptr_t)remote, rkey,
		       1))
		t_die("ibv_post_send failed");
	if (!t_wait(e->a.scq, &wc, t_limit))
		t_die("no completion of %zu bytes within %.0f s", length, t_limit);
	return wc.status;
}

bool write_right(const char *what, struct env *e, uint8_t *src, struct odp_mr *smr, uint8_t *dst,
		 struct odp_mr *dmr, size_t length, uint64_t seq)
{
	enum ibv_wc_status st;
	uint8_t before = dst[-1], after = dst[length];

	t_pat_fill(src, length, seq, 0);
	st = xfer(e, IBV_WR_RDMA_WRITE, src, length, smr, dst, odp_rkey(dmr));
	if (st) {
		t_fail("%s: WRITE: %s", what, ibv_wc_status_str(st));
		t_pair_again(&e->a, &e->b);
		return false;
	}
	if (dst[-1] != before || dst[length] != after) {
		t_fail("%s: bytes around the target changed", what);
		return false;
	}
	return t_pat_check(what, dst, length, seq, 0);
}

static void run_case(const struct odp_case *c, const char *dev, int gid)
{
	struct env e = { 0 };
	struct t_mark m = t_begin(c->name);

	e.d = t_dev_open(dev, gid);
	t_pair_open(&e.a, e.d, &e.b, e.d, NULL);
	e.dom = odp_domain_open(e.d->pd, &e.why);
	if (!e.dom)
		t_die("odp_domain_open: %s", e.why.text);
	c->run(&e);
	if (odp_domain_close(e.dom))
		t_fail("odp_domain_close: an MR is left");
	t_ep_close(&e.a);
	t_ep_close(&e.b);
	t_dev_close(e.d);
	t_end(&m);
}

int main(int argc, char **argv)
{
	static const struct odp_case *const all[] = { cases_reg, cases_memory, cases_explain,
						      cases_limit };
	const char *dev = NULL;
	int gid = 1, c, ran = 0;

	t_init();
	while ((c = getopt(argc, argv, "d:g:")) != -1) {
		switch (c) {
		case 'd': dev = optarg; break;
		case 'g': gid = atoi(optarg); break;
		default: t_die("usage: prxe-odp [-d DEV] [-g GID] [CASE ...]");
		}
	}
	t_watchdog(120);
	for (size_t g = 0; g < ARRAY_LEN(all); g++) {
		for (const struct odp_case *k = all[g]; k->name; k++) {
			if ((optind == argc && !k->alone) || t_named(argc, argv, k->name)) {
				run_case(k, dev, gid);
				ran++;
			}
		}
	}
	if (!ran)
		t_die("there is no such case");
	return t_done("odp");
}
