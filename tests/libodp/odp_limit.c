// SPDX-License-Identifier: BSD-2-Clause
/*
 * A user without privilege and with 8 MiB of memlock: 1 GiB on demand works, pinned is refused,
 * clearly. See memlock.test.
 */
#define _GNU_SOURCE
#include "odp_test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define GIB (1UL << 30)
#define PIECE (16 * MIB)

/*
 * Contents follow from the position in the whole buffer. Stamps, three in each page, because an
 * emulated machine would take longer to make a gigabyte of pattern than to transfer it; what lies
 * between them is the pattern of the piece.
 */
static void stamp(uint8_t *piece, uint64_t position)
{
	for (size_t i = 0; i < PIECE; i += T_PAGE) {
		uint64_t w = t_mix(position + i);

		memcpy(piece + i, &w, 8);
		memcpy(piece + i + 2044, &w, 8);
		memcpy(piece + i + T_PAGE - 8, &w, 8);
	}
}

static bool stamped(const uint8_t *p, uint64_t position)
{
	for (size_t i = 0; i < PIECE; i += T_PAGE) {
		uint64_t w = t_mix(position + i);

		if (memcmp(p + i, &w, 8) || memcmp(p + i + 2044, &w, 8) ||
		    memcmp(p + i + T_PAGE - 8, &w, 8)) {
			t_fail("wrong contents in the page at %#llx of the buffer",
			       (unsigned long long)(position + i));
			return false;
		}
	}
	return true;
}

static void memlock(struct env *e)
{
	const char *most = getenv("ODP_TRANSFER_MIB");
	size_t move = most ? strtoul(most, NULL, 10) * MIB : GIB;
	uint8_t *big = mmap(NULL, GIB, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
		*src = t_map(PIECE);
	struct odp_mr *mr, *small;
	struct odp_reason why;
	struct rlimit rl;
	double from;

	getrlimit(RLIMIT_MEMLOCK, &rl);
	OK(getuid() && rl.rlim_cur == 8 * MIB, "uid %u, limit %llu: this wants a user with 8 MiB",
	   getuid(), (unsigned long long)rl.rlim_cur);
	if (big == MAP_FAILED)
		t_die("mmap of 1 GiB: %s", strerror(errno));

	errno = 0;
	OK(!odp_reg(e->dom, big, GIB, T_ALL_ACCESS, ODP_NEVER, &why) && errno == ENOMEM &&
		   why.error == ENOMEM,
	   "errno %d", errno);
	t_note("  refused: %s", why.text);
	has("refused", why.text, "pinning 1 GiB is refused by the memlock limit",
	    "RLIMIT_MEMLOCK is now 8 MiB", "1 GiB would be needed", "ulimit -l", "CAP_IPC_LOCK",
	    "on demand", NULL);

	/* What is pinned already counts: the figures say so. */
	small = need_mr(e, src, 5 * MIB, 0, ODP_NEVER);
	OK(t_status_kb("VmPin") == 5 * 1024, "%llu KiB are pinned",
	   (unsigned long long)t_status_kb("VmPin"));
	OK(!odp_reg(e->dom, big, 4 * MIB, T_ALL_ACCESS, ODP_NEVER, &why) && errno == ENOMEM,
	   "5 and 4 MiB of 8");
	has("refused", why.text, "8 MiB", "5 MiB are used", "9 MiB would be needed", NULL);
	mr = odp_reg(e->dom, big, 4 * MIB, T_ALL_ACCESS, ODP_PIN_FIRST, &why);
	if (!mr)
		t_die("pin-first: %s", why.text);
	has("pin-first", odp_mr_reason(mr), "on demand, because pinned was not possible",
	    "RLIMIT_MEMLOCK is now 8 MiB", NULL);
	odp_dereg(mr);
	odp_dereg(small);

	from = t_now();
	mr = need_mr(e, big, GIB, T_ALL_ACCESS, ODP_REQUIRE);
	t_note("  1 GiB registered on demand in %.3f s", t_now() - from);
	OK(t_status_kb("VmPin") == 0, "%llu KiB are pinned",
	   (unsigned long long)t_status_kb("VmPin"));
	small = need_mr(e, src, PIECE, T_ALL_ACCESS, ODP_REQUIRE);
	t_pat_fill(src, PIECE, 9, 0);
	from = t_now();
	for (size_t at = 0; at < move; at += PIECE) {
		stamp(src, at);
		OK(!xfer(e, IBV_WR_RDMA_WRITE, src, PIECE, small, big + at, odp_rkey(mr)),
		   "WRITE at %zu MiB", at / MIB);
	}
	t_note("  %zu MiB written in %.1f s", move / MIB, t_now() - from);
	for (size_t at = 0; at < move && !t_fails; at += PIECE)
		stamped(big + at, at);
	/* The last piece, every byte: through the other direction. */
	memset(src, 0, PIECE);
	OK(!xfer(e, IBV_WR_RDMA_READ, src, PIECE, small, big + move - PIECE, odp_rkey(mr)), "READ");
	stamped(src, move - PIECE);
	OK(!memcmp(src, big + move - PIECE, PIECE), "the last piece");
	OK(src[100] == t_pat(9, 100) && src[PIECE - 100] == t_pat(9, PIECE - 100),
	   "between the stamps");
	odp_dereg(small);
	odp_dereg(mr);
	munmap(big, GIB);
	munmap(src, PIECE);
}

const struct odp_case cases_limit[] = { { "memlock", memlock, true }, { 0 } };
