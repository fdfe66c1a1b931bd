// SPDX-License-Identifier: BSD-2-Clause
/* Every cause that odp_check() and odp_explain_*() name, made on purpose. */
#define _GNU_SOURCE
#include "fake.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096UL
#define ALL                                                                          \
	(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE | \
	 IBV_ACCESS_REMOTE_ATOMIC)

static struct odp_domain *dom;

static void expect(int line, uint32_t key, const void *at, size_t length, unsigned int need,
		   enum odp_cause cause, const void *where, const char *says)
{
	struct odp_explanation out;

	CHECK(!odp_check(dom, key, (uintptr_t)at, length, need, &out), "line %d", line);
	CHECK(out.cause == cause, "line %d: %s, not %s: %s", line, odp_cause_name(out.cause),
	      odp_cause_name(cause), out.text);
	CHECK(!where || out.addr == (uintptr_t)where, "line %d: %#llx, not %p: %s", line,
	      (unsigned long long)out.addr, where, out.text);
	CHECK(!strchr(out.text, '\n') && out.text[0], "line %d: one line", line);
	HAS(out.text, says);
}
#define EXPECT(...) expect(__LINE__, __VA_ARGS__)

static struct odp_mr *reg(void *p, size_t length, unsigned int access, enum odp_policy policy)
{
	struct odp_reason why;
	struct odp_mr *mr = odp_reg(dom, p, length, access, policy, &why);

	NEED(mr, "%s", why.text);
	return mr;
}

static void keys_and_bounds(void)
{
	uint8_t *p = unit_map(8 * PAGE);
	struct odp_mr *mr = reg(p + 100, 4 * PAGE, ALL, ODP_REQUIRE),
		      *ro = reg(p, PAGE, 0, ODP_REQUIRE), *else_mr;
	struct odp_domain *other = unit_domain();
	uint32_t l = odp_lkey(mr), r = odp_rkey(mr);
	struct odp_reason why;
	int status;
	pid_t pid;

	EXPECT(l, p + 100, 4 * PAGE, IBV_ACCESS_LOCAL_WRITE, ODP_CAUSE_NONE, NULL, "in order");
	EXPECT(r, p + 200, PAGE, IBV_ACCESS_REMOTE_WRITE, ODP_CAUSE_NONE, NULL, "in order");
	EXPECT(l, p, 0, 0, ODP_CAUSE_NONE, NULL, "in order");
	EXPECT(0xdead, p, PAGE, 0, ODP_CAUSE_KEY_UNKNOWN, NULL, "lkey 0xdead");
	EXPECT(0xdead, p, PAGE, IBV_ACCESS_REMOTE_READ, ODP_CAUSE_KEY_UNKNOWN, NULL, "rkey 0xdead");
	EXPECT(l, p + 100, PAGE, IBV_ACCESS_REMOTE_READ, ODP_CAUSE_KEY_KIND, NULL,
	       "is the lkey of");
	EXPECT(r, p + 100, PAGE, 0, ODP_CAUSE_KEY_KIND, NULL, "is the rkey of");

	EXPECT(l, p + 99, 2, 0, ODP_CAUSE_BOUNDS, p + 99, "outside");
	EXPECT(l, p + 100, 4 * PAGE + 1, 0, ODP_CAUSE_BOUNDS, p + 100 + 4 * PAGE, "outside");
	EXPECT(l, p + 100 + 4 * PAGE, 1, 0, ODP_CAUSE_BOUNDS, p + 100 + 4 * PAGE, "16 KiB");
	EXPECT(l, p + 200, SIZE_MAX, 0, ODP_CAUSE_BOUNDS, p + 100 + 4 * PAGE, "outside");

	EXPECT(odp_lkey(ro), p, PAGE, 0, ODP_CAUSE_NONE, NULL, "in order");
	EXPECT(odp_lkey(ro), p, PAGE, IBV_ACCESS_LOCAL_WRITE, ODP_CAUSE_ACCESS, p,
	       "not for local write");
	EXPECT(odp_rkey(ro), p, 8, IBV_ACCESS_REMOTE_READ, ODP_CAUSE_ACCESS, p,
	       "not for remote read");
	EXPECT(r, p + 101, 8, IBV_ACCESS_REMOTE_ATOMIC, ODP_CAUSE_ALIGNMENT, p + 101,
	       "multiple of 8");

	else_mr = odp_reg(other, p, PAGE, ALL, ODP_REQUIRE, &why);
	NEED(else_mr, "%s", why.text);
	EXPECT(odp_lkey(else_mr), p, 8, 0, ODP_CAUSE_OTHER_PD, NULL, "another protection domain");
	odp_dereg(else_mr);
	odp_domain_close(other);

	pid = fork();
	if (!pid) {
		check_failures = 0;
		EXPECT(l, p + 100, 8, 0, ODP_CAUSE_FORKED, NULL, "forked");
		_exit(check_failures != 0);
	}
	waitpid(pid, &status, 0);
	CHECK(!status, "the child's checks");

	odp_dereg(mr);
	EXPECT(l, p + 100, 8, 0, ODP_CAUSE_DEREGISTERED, NULL, "was deregistered");
	EXPECT(r, p + 100, 8, IBV_ACCESS_REMOTE_READ, ODP_CAUSE_DEREGISTERED, NULL,
	       "was deregistered");
	odp_dereg(ro);
	munmap(p, 8 * PAGE);
}

static void memory(void)
{
	uint8_t *p = unit_map(8 * PAGE), *f;
	struct odp_mr *mr = reg(p, 8 * PAGE, ALL, ODP_REQUIRE),
		      *pinned = reg(p, 8 * PAGE, ALL, ODP_NEVER), *imp;
	struct odp_reg_attr iova = { .addr = p,
				     .length = 8 * PAGE,
				     .access = ALL,
				     .policy = ODP_REQUIRE,
				     .flags = ODP_REG_IOVA,
				     .iova = 0x500000 };
	uint32_t l = odp_lkey(mr), r = odp_rkey(mr);
	struct odp_reason why;
	int fd;

	imp = odp_implicit(dom, ALL, &why);
	NEED(imp, "%s", why.text);
	munmap(p + 3 * PAGE, PAGE);
	EXPECT(l, p, 8 * PAGE, 0, ODP_CAUSE_UNMAPPED, p + 3 * PAGE, "nothing is mapped");
	EXPECT(l, p + 3 * PAGE + 17, 8, 0, ODP_CAUSE_UNMAPPED, p + 3 * PAGE + 17,
	       "nothing is mapped");
	EXPECT(r, p + 3 * PAGE - 1, 2, IBV_ACCESS_REMOTE_WRITE, ODP_CAUSE_UNMAPPED, p + 3 * PAGE,
	       "nothing is mapped");
	EXPECT(l, p, 3 * PAGE, 0, ODP_CAUSE_NONE, NULL, "in order");
	EXPECT(l, p + 4 * PAGE, 4 * PAGE, IBV_ACCESS_LOCAL_WRITE, ODP_CAUSE_NONE, NULL, "in order");
	EXPECT(odp_lkey(pinned), p, 8 * PAGE, 0, ODP_CAUSE_NONE, NULL, "in order");
	EXPECT(odp_lkey(imp), p + 3 * PAGE, 1, 0, ODP_CAUSE_UNMAPPED, p + 3 * PAGE, "implicit");
	EXPECT(odp_lkey(imp), (void *)8, 8, 0, ODP_CAUSE_UNMAPPED, (void *)8, "nothing is mapped");

	mprotect(p + 5 * PAGE, PAGE, PROT_READ);
	EXPECT(l, p + 4 * PAGE, 4 * PAGE, 0, ODP_CAUSE_NONE, NULL, "in order");
	EXPECT(l, p + 4 * PAGE, 4 * PAGE, IBV_ACCESS_LOCAL_WRITE, ODP_CAUSE_READ_ONLY, p + 5 * PAGE,
	       "read-only");
	EXPECT(odp_rkey(imp), p + 5 * PAGE, 8, IBV_ACCESS_REMOTE_ATOMIC, ODP_CAUSE_READ_ONLY,
	       p + 5 * PAGE, "does not make read-only memory writable");
	EXPECT(odp_lkey(imp), "a literal", 8, IBV_ACCESS_LOCAL_WRITE, ODP_CAUSE_READ_ONLY, NULL,
	       "read-only");
	mprotect(p + 6 * PAGE, PAGE, PROT_NONE);
	EXPECT(l, p + 4 * PAGE, 4 * PAGE, 0, ODP_CAUSE_NO_READ, p + 6 * PAGE, "not readable");
	odp_dereg(mr);

	mr = odp_reg_attr(dom, &iova, &why);
	NEED(mr, "%s", why.text);
	EXPECT(odp_lkey(mr), (void *)(0x500000 + 2 * PAGE), 2 * PAGE, 0, ODP_CAUSE_UNMAPPED,
	       (void *)(0x500000 + 3 * PAGE), "memory at 0x");
	EXPECT(odp_lkey(mr), p, 8, 0, ODP_CAUSE_BOUNDS, p, "outside");
	odp_dereg(mr);
	odp_dereg(pinned);
	munmap(p, 8 * PAGE);

	/* A file that ends in the middle of its second page, mapped further. */
	fd = memfd_create("short", MFD_CLOEXEC);
	NEED(fd >= 0 && !ftruncate(fd, PAGE + 100), "memfd");
	f = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	NEED(f != MAP_FAILED, "mmap");
	if (!getuid()) { /* the length of a memfd is in map_files, which is for root */
		EXPECT(odp_lkey(imp), f, 2 * PAGE, IBV_ACCESS_LOCAL_WRITE, ODP_CAUSE_NONE, NULL,
		       "in order");
		EXPECT(odp_lkey(imp), f + PAGE, PAGE + 1, 0, ODP_CAUSE_BEYOND_FILE, f + 2 * PAGE,
		       "beyond the end");
		EXPECT(odp_lkey(imp), f + 3 * PAGE + 1, 1, 0, ODP_CAUSE_BEYOND_FILE,
		       f + 3 * PAGE + 1, "4196 bytes");
	}
	munmap(f, 4 * PAGE);
	close(fd);
#ifdef SYS_memfd_secret
	fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
	if (fd >= 0 && !ftruncate(fd, PAGE)) {
		f = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (f != MAP_FAILED) {
			EXPECT(odp_lkey(imp), f, 8, 0, ODP_CAUSE_NO_MEMORY, f, "secret");
			munmap(f, PAGE);
		}
	}
	if (fd >= 0)
		close(fd);
#endif
	odp_dereg(imp);
}

static void explain(int line, enum ibv_wc_status status, const struct ibv_send_wr *wr,
		    unsigned int flags, enum odp_cause cause, int remote, int sge, const char *says)
{
	struct ibv_wc wc = { .status = status, .vendor_err = 0x51 };
	struct odp_explanation out;

	CHECK(!odp_explain_send(dom, &wc, wr, flags, &out), "line %d", line);
	CHECK(out.cause == cause && out.remote == remote && out.sge == sge,
	      "line %d: %s, remote %d, SGE %d: %s", line, odp_cause_name(out.cause), out.remote,
	      out.sge, out.text);
	HAS(out.text, says, "vendor error 0x51");
}
#define EXPLAIN(...) explain(__LINE__, __VA_ARGS__)

static void requests(void)
{
	uint8_t *p = unit_map(8 * PAGE);
	struct odp_mr *mr = reg(p, 4 * PAGE, ALL, ODP_REQUIRE);
	uint32_t l = odp_lkey(mr), r = odp_rkey(mr);
	struct ibv_sge sge[3] = { { (uintptr_t)p, 100, l },
				  { (uintptr_t)p + PAGE, 2 * PAGE, l },
				  { (uintptr_t)p + 3 * PAGE, PAGE + 1, l } };
	struct ibv_send_wr wr = { .sg_list = sge,
				  .num_sge = 3,
				  .opcode = IBV_WR_RDMA_WRITE,
				  .wr.rdma = { .remote_addr = (uintptr_t)p + 4 * PAGE - 100,
					       .rkey = r } };
	struct ibv_recv_wr rwr = { .sg_list = sge, .num_sge = 3 };
	struct ibv_wc wc = { .status = IBV_WC_LOC_LEN_ERR };
	struct odp_explanation out;

	EXPLAIN(IBV_WC_LOC_PROT_ERR, &wr, 0, ODP_CAUSE_BOUNDS, 0, 2, "SGE 2");
	wr.num_sge = 2;
	EXPLAIN(IBV_WC_LOC_PROT_ERR, &wr, 0, ODP_CAUSE_NONE, 0, -1, "in order now");
	mprotect(p + PAGE, PAGE, PROT_READ);
	EXPLAIN(IBV_WC_LOC_PROT_ERR, &wr, 0, ODP_CAUSE_NONE, 0, -1, "in order now");
	wr.opcode = IBV_WR_RDMA_READ;
	EXPLAIN(IBV_WC_LOC_PROT_ERR, &wr, 0, ODP_CAUSE_READ_ONLY, 0, 1, "SGE 1");
	EXPLAIN(IBV_WC_LOC_QP_OP_ERR, &wr, 0, ODP_CAUSE_READ_ONLY, 0, 1, "RDMA READ failed");
	wr.num_sge = 1;
	EXPLAIN(IBV_WC_REM_ACCESS_ERR, &wr, 0, ODP_CAUSE_REMOTE, 1, -1, "odp_check");
	EXPLAIN(IBV_WC_REM_ACCESS_ERR, &wr, ODP_EXPLAIN_SAME_PROCESS, ODP_CAUSE_NONE, 1, -1,
		"access flags");
	sge[0].length = 101;
	EXPLAIN(IBV_WC_REM_ACCESS_ERR, &wr, ODP_EXPLAIN_SAME_PROCESS, ODP_CAUSE_BOUNDS, 1, -1,
		"of the target");
	wr.wr.rdma.rkey = 0x4711;
	EXPLAIN(IBV_WC_REM_ACCESS_ERR, &wr, ODP_EXPLAIN_SAME_PROCESS, ODP_CAUSE_KEY_UNKNOWN, 1, -1,
		"0x4711");
	EXPLAIN(IBV_WC_REM_INV_REQ_ERR, &wr, 0, ODP_CAUSE_REMOTE, 1, -1, "qp_access_flags");
	wr.opcode = IBV_WR_ATOMIC_FETCH_AND_ADD;
	wr.wr.atomic.remote_addr = (uintptr_t)p + 4;
	wr.wr.atomic.rkey = r;
	EXPLAIN(IBV_WC_REM_INV_REQ_ERR, &wr, 0, ODP_CAUSE_ALIGNMENT, 1, -1, "multiple of 8");
	wr.opcode = IBV_WR_SEND;
	EXPLAIN(IBV_WC_REM_INV_REQ_ERR, &wr, 0, ODP_CAUSE_LENGTH, 1, -1,
		"less room than these 101 bytes");
	EXPLAIN(IBV_WC_REM_OP_ERR, &wr, 0, ODP_CAUSE_REMOTE, 1, -1, "odp_explain_recv");
	EXPLAIN(IBV_WC_REM_ACCESS_ERR, &wr, 0, ODP_CAUSE_REMOTE, 1, -1, "names no memory");
	EXPLAIN(IBV_WC_LOC_LEN_ERR, &wr, 0, ODP_CAUSE_LENGTH, 0, -1, "101 bytes");
	EXPLAIN(IBV_WC_WR_FLUSH_ERR, &wr, 0, ODP_CAUSE_FLUSHED, 0, -1, "first completion");
	EXPLAIN(IBV_WC_RETRY_EXC_ERR, &wr, 0, ODP_CAUSE_PEER, 1, -1, "did not answer");
	EXPLAIN(IBV_WC_RNR_RETRY_EXC_ERR, &wr, 0, ODP_CAUSE_PEER, 1, -1, "rnr_retry");
	EXPLAIN(IBV_WC_FATAL_ERR, &wr, 0, ODP_CAUSE_OTHER, 0, -1, "nothing about memory");
	EXPLAIN(IBV_WC_SUCCESS, &wr, 0, ODP_CAUSE_NONE, 0, -1, "did not fail");
	EXPLAIN(IBV_WC_LOC_PROT_ERR, NULL, 0, ODP_CAUSE_OTHER, 0, -1, "without the work request");
	wr.send_flags = IBV_SEND_INLINE;
	EXPLAIN(IBV_WC_LOC_PROT_ERR, &wr, 0, ODP_CAUSE_OTHER, 0, -1, "no registered memory");

	CHECK(!odp_explain_recv(dom, &wc, &rwr, &out) && out.cause == ODP_CAUSE_LENGTH, "%s",
	      out.text);
	HAS(out.text, "12390 bytes in 3 SGEs");
	wc.status = IBV_WC_LOC_PROT_ERR;
	CHECK(!odp_explain_recv(dom, &wc, &rwr, &out) && out.cause == ODP_CAUSE_READ_ONLY &&
		      out.sge == 1,
	      "%s", out.text);
	CHECK(odp_explain_recv(NULL, &wc, &rwr, &out) == -EINVAL &&
		      odp_explain_send(dom, NULL, &wr, 0, &out) == -EINVAL &&
		      odp_explain_send(dom, &wc, &wr, 2, &out) == -EINVAL &&
		      odp_check(dom, 1, 1, 1, IBV_ACCESS_MW_BIND, &out) == -EINVAL,
	      "arguments");
	odp_dereg(mr);
	munmap(p, 8 * PAGE);
}

void unit_explain(void)
{
	fake_reset(true);
	dom = unit_domain();
	keys_and_bounds();
	memory();
	requests();
	for (int c = 0; c <= ODP_CAUSE_OTHER; c++)
		CHECK(odp_cause_name((enum odp_cause)c), "cause %d", c);
	CHECK(!odp_cause_name((enum odp_cause)(ODP_CAUSE_OTHER + 1)), "no such cause");
	CHECK(!odp_domain_close(dom), "close");
}
