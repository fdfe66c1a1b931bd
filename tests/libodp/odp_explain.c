// SPDX-License-Identifier: BSD-2-Clause
/* Transfers that fail for a reason that is known, and what the library says about each. */
#define _GNU_SOURCE
#include "odp_test.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* What is expected of one failed transfer. at: NULL, not checked. */
struct want {
	enum ibv_wc_status status;
	enum odp_cause cause;
	int remote;
	const void *at;
	const char *says;
};

static void fails(const char *what, struct env *e, enum ibv_wr_opcode op, void *local,
		  uint32_t length, uint32_t lkey, void *remote, uint32_t rkey, struct want w)
{
	struct ibv_sge sge = { .addr = (uintptr_t)local, .length = length, .lkey = lkey };
	struct ibv_send_wr wr = { .sg_list = &sge,
				  .num_sge = 1,
				  .opcode = op,
				  .send_flags = IBV_SEND_SIGNALED },
			   *bad;
	struct odp_explanation x;
	struct ibv_wc wc;

	if (op == IBV_WR_ATOMIC_FETCH_AND_ADD) {
		wr.wr.atomic.remote_addr = (uintptr_t)remote;
		wr.wr.atomic.rkey = rkey;
	} else {
		wr.wr.rdma.remote_addr = (uintptr_t)remote;
		wr.wr.rdma.rkey = rkey;
	}
	if (ibv_post_send(e->a.qp, &wr, &bad))
		t_die("%s: ibv_post_send", what);
	if (!t_wait(e->a.scq, &wc, t_limit))
		t_die("%s: no completion", what);
	if (wc.status != w.status)
		t_fail("%s: '%s', expected '%s'", what, ibv_wc_status_str(wc.status),
		       ibv_wc_status_str(w.status));
	OK(!odp_explain_send(e->dom, &wc, &wr, ODP_EXPLAIN_SAME_PROCESS, &x), "%s", what);
	t_note("  %s: %s", what, x.text);
	OK(x.cause == w.cause && x.remote == w.remote, "%s: %s, remote %d, expected %s, %d: %s",
	   what, odp_cause_name(x.cause), x.remote, odp_cause_name(w.cause), w.remote, x.text);
	OK(!w.at || x.addr == (uintptr_t)w.at, "%s: %#llx, expected %p", what,
	   (unsigned long long)x.addr, w.at);
	OK(x.key == (w.remote ? rkey : lkey), "%s: key %#x", what, x.key);
	has(what, x.text, ibv_wc_status_str(wc.status), w.says, NULL);
	t_pair_again(&e->a, &e->b);
}

static void explain(struct env *e)
{
	const size_t size = 16 * T_PAGE;
	uint8_t *p = t_map_between(size), *q = t_map_between(size), *f;
	struct odp_mr *l = need_mr(e, p, size, T_ALL_ACCESS, ODP_REQUIRE),
		      *r = need_mr(e, q, size, T_ALL_ACCESS, ODP_REQUIRE), *gone, *ro;
	uint32_t lk = odp_lkey(l), rk = odp_rkey(r), dead_l, dead_r;
	int fd;

	t_pat_fill(p, size, 1, 0);
	gone = need_mr(e, q, size, T_ALL_ACCESS, ODP_REQUIRE);
	dead_l = odp_lkey(gone);
	dead_r = odp_rkey(gone);
	odp_dereg(gone);
	ro = need_mr(e, q, size, IBV_ACCESS_REMOTE_READ, ODP_REQUIRE);

	fails("wrong rkey", e, IBV_WR_RDMA_WRITE, p, 100, lk, q, rk ^ 0x5a5a00,
	      (struct want){ IBV_WC_REM_ACCESS_ERR, ODP_CAUSE_KEY_UNKNOWN, 1, NULL,
			     "has the rkey" });
	fails("wrong lkey", e, IBV_WR_RDMA_WRITE, p, 100, lk ^ 0x5a5a00, q, rk,
	      (struct want){ IBV_WC_LOC_PROT_ERR, ODP_CAUSE_KEY_UNKNOWN, 0, NULL, "SGE 0" });
	fails("deregistered, there", e, IBV_WR_RDMA_READ, p, 100, lk, q, dead_r,
	      (struct want){ IBV_WC_REM_ACCESS_ERR, ODP_CAUSE_DEREGISTERED, 1, NULL,
			     "was deregistered" });
	fails("deregistered, here", e, IBV_WR_RDMA_WRITE, q, 100, dead_l, q, rk,
	      (struct want){ IBV_WC_LOC_PROT_ERR, ODP_CAUSE_DEREGISTERED, 0, NULL,
			     "was deregistered" });
	fails("bounds, there", e, IBV_WR_RDMA_WRITE, p, 100, lk, q + size - 99, rk,
	      (struct want){ IBV_WC_REM_ACCESS_ERR, ODP_CAUSE_BOUNDS, 1, q + size, "64 KiB" });
	fails("bounds, here", e, IBV_WR_RDMA_WRITE, p + size - 10, 100, lk, q, rk,
	      (struct want){ IBV_WC_LOC_PROT_ERR, ODP_CAUSE_BOUNDS, 0, p + size, "outside" });
	fails("access, there", e, IBV_WR_RDMA_WRITE, p, 100, lk, q, odp_rkey(ro),
	      (struct want){ IBV_WC_REM_ACCESS_ERR, ODP_CAUSE_ACCESS, 1, q,
			     "not for remote write" });
	fails("access, here", e, IBV_WR_RDMA_READ, q, 100, odp_lkey(ro), q, rk,
	      (struct want){ IBV_WC_LOC_PROT_ERR, ODP_CAUSE_ACCESS, 0, q, "not for local write" });
	fails("alignment", e, IBV_WR_ATOMIC_FETCH_AND_ADD, p, 8, lk, q + 4, rk,
	      (struct want){ IBV_WC_REM_INV_REQ_ERR, ODP_CAUSE_ALIGNMENT, 1, q + 4,
			     "multiple of 8" });

	munmap(q + 3 * T_PAGE, T_PAGE);
	fails("unmapped, there", e, IBV_WR_RDMA_WRITE, p, 2 * T_PAGE, lk, q + 2 * T_PAGE, rk,
	      (struct want){ IBV_WC_REM_ACCESS_ERR, ODP_CAUSE_UNMAPPED, 1, q + 3 * T_PAGE,
			     "nothing is mapped" });
	fails("unmapped, here", e, IBV_WR_RDMA_WRITE, q + 3 * T_PAGE - 8, 16, odp_lkey(r), p,
	      odp_rkey(l),
	      (struct want){ IBV_WC_LOC_PROT_ERR, ODP_CAUSE_UNMAPPED, 0, q + 3 * T_PAGE,
			     "nothing is mapped" });
	mprotect(q + 5 * T_PAGE, T_PAGE, PROT_READ);
	fails("read-only, there", e, IBV_WR_RDMA_WRITE, p, 100, lk, q + 5 * T_PAGE, rk,
	      (struct want){ IBV_WC_REM_ACCESS_ERR, ODP_CAUSE_READ_ONLY, 1, q + 5 * T_PAGE,
			     "read-only" });
	fails("read-only, here", e, IBV_WR_RDMA_READ, q + 5 * T_PAGE, 100, odp_lkey(r), p,
	      odp_rkey(l),
	      (struct want){ IBV_WC_LOC_PROT_ERR, ODP_CAUSE_READ_ONLY, 0, q + 5 * T_PAGE,
			     "read-only" });
	mprotect(q + 7 * T_PAGE, T_PAGE, PROT_NONE);
	fails("not readable", e, IBV_WR_RDMA_READ, p, 100, lk, q + 7 * T_PAGE, rk,
	      (struct want){ IBV_WC_REM_ACCESS_ERR, ODP_CAUSE_NO_READ, 1, q + 7 * T_PAGE,
			     "not readable" });

	fd = memfd_create("short", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, T_PAGE + 5))
		t_die("memfd");
	f = mmap(NULL, 4 * T_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	gone = need_mr(e, f, 4 * T_PAGE, T_ALL_ACCESS, ODP_REQUIRE);
	fails("beyond a file", e, IBV_WR_RDMA_WRITE, p, 100, lk, f + 2 * T_PAGE - 50,
	      odp_rkey(gone),
	      (struct want){ IBV_WC_REM_ACCESS_ERR, ODP_CAUSE_BEYOND_FILE, 1, f + 2 * T_PAGE,
			     "beyond the end" });
	odp_dereg(gone);
	munmap(f, 4 * T_PAGE);
	close(fd);

	/* After all that: what is right still works, and is not explained away. */
	write_right("afterwards", e, p + 1, l, q + 8 * T_PAGE + 1, r, 4 * T_PAGE, 77);
	odp_dereg(ro);
	odp_dereg(l);
	odp_dereg(r);
	munmap(p, size);
	munmap(q, size);
}

/*
 * A receive buffer with a page that is not there: the receiver is told by its own completion, the
 * sender that it was the receiver.
 */
static void explain_recv(struct env *e)
{
	uint8_t *p = t_map_between(4 * T_PAGE), *q = t_map_between(4 * T_PAGE);
	struct odp_mr *l = need_mr(e, p, 4 * T_PAGE, T_ALL_ACCESS, ODP_REQUIRE),
		      *r = need_mr(e, q, 4 * T_PAGE, T_ALL_ACCESS, ODP_REQUIRE);
	struct ibv_sge rsge = t_sge(q + 100, 3 * T_PAGE, odp_lkey(r)),
		       sge = t_sge(p, 3 * T_PAGE, odp_lkey(l));
	struct ibv_recv_wr rwr = { .sg_list = &rsge, .num_sge = 1 };
	struct ibv_send_wr wr = { .sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_SEND };
	struct odp_explanation x;
	struct ibv_wc wc;

	munmap(q + 2 * T_PAGE, T_PAGE);
	if (t_recv(&e->b, &rsge, 1, 2) ||
	    t_post(&e->a, &(struct t_wr){ .op = IBV_WR_SEND, .sg = &sge, .n = 1 }))
		t_die("post");
	t_expect("SEND into a hole", e->a.scq, IBV_WC_REM_OP_ERR, &wc);
	OK(!odp_explain_send(e->dom, &wc, &wr, 0, &x) && x.cause == ODP_CAUSE_REMOTE && x.remote,
	   "%s", x.text);
	t_note("  sender: %s", x.text);
	t_expect("receive into a hole", e->b.rcq, IBV_WC_LOC_QP_OP_ERR, &wc);
	OK(!odp_explain_recv(e->dom, &wc, &rwr, &x) && x.cause == ODP_CAUSE_UNMAPPED && !x.remote &&
		   x.sge == 0,
	   "%s: %s", odp_cause_name(x.cause), x.text);
	OK(x.addr == (uintptr_t)q + 2 * T_PAGE, "%#llx", (unsigned long long)x.addr);
	t_note("  receiver: %s", x.text);
	t_pair_again(&e->a, &e->b);

	rsge.length = 100;
	if (t_recv(&e->b, &rsge, 1, 3) ||
	    t_post(&e->a, &(struct t_wr){ .op = IBV_WR_SEND, .sg = &sge, .n = 1 }) ||
	    t_post(&e->a, &(struct t_wr){ .op = IBV_WR_SEND, .sg = &sge, .n = 1 }))
		t_die("post");
	t_expect("SEND that is too long", e->a.scq, IBV_WC_REM_INV_REQ_ERR, &wc);
	OK(!odp_explain_send(e->dom, &wc, &wr, 0, &x) && x.cause == ODP_CAUSE_LENGTH, "%s", x.text);
	t_expect("what came after it", e->a.scq, IBV_WC_WR_FLUSH_ERR, &wc);
	OK(!odp_explain_send(e->dom, &wc, &wr, 0, &x) && x.cause == ODP_CAUSE_FLUSHED, "%s",
	   x.text);
	t_expect("receive of what is too long", e->b.rcq, IBV_WC_LOC_LEN_ERR, &wc);
	OK(!odp_explain_recv(e->dom, &wc, &rwr, &x) && x.cause == ODP_CAUSE_LENGTH, "%s", x.text);
	has("length", x.text, "100 bytes in 1 SGEs", NULL);
	t_pair_again(&e->a, &e->b);
	odp_dereg(l);
	odp_dereg(r);
	munmap(p, 4 * T_PAGE);
	munmap(q, 4 * T_PAGE);
}

const struct odp_case cases_explain[] = { { "explain", explain, false },
					  { "explain_recv", explain_recv, false },
					  { 0 } };
