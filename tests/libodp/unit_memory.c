// SPDX-License-Identifier: BSD-2-Clause
/* Prefetch against the fake device; eviction of this machine's own memory. */
#define _GNU_SOURCE
#include "fake.h"
#include "unit.h"

#include <errno.h>
#include <sys/mman.h>
#include <time.h>

#define MIB (1UL << 20)

static uint8_t pattern(size_t pos)
{
	return (uint8_t)((pos * 2654435761U) >> 13 ^ pos >> 12);
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

void unit_prefetch(void)
{
	const size_t size = 300 * MIB;
	uint8_t *p = unit_map(size);
	struct odp_reg_attr iova = { .addr = p,
				     .length = size,
				     .access = IBV_ACCESS_LOCAL_WRITE,
				     .policy = ODP_REQUIRE,
				     .flags = ODP_REG_IOVA,
				     .iova = 0x123456789000 };
	struct odp_mr *mr, *ro, *pinned, *implicit;
	struct odp_reason why;
	struct odp_domain *d;
	struct odp_usage usage;
	double begin, took;
	size_t done = 1;

	fake_reset(true);
	d = unit_domain();
	mr = odp_reg(d, p, size, IBV_ACCESS_LOCAL_WRITE, ODP_REQUIRE, &why);
	ro = odp_reg(d, p, size, 0, ODP_REQUIRE, &why);
	pinned = odp_reg(d, p, 4096, 0, ODP_NEVER, &why);
	implicit = odp_implicit(d, IBV_ACCESS_LOCAL_WRITE, &why);
	NEED(mr && ro && pinned && implicit, "%s", why.text);

	/* Every byte once, in order, in pieces that are few and fit 32 bits. */
	CHECK(!odp_prefetch(mr, p + 5, size - 9, 0, -1, &done, &why) && done == size - 9, "%zu: %s",
	      done, why.text);
	CHECK(fake.advised == size - 9 && !fake.overlap && fake.advise_calls > 4 &&
		      fake.advise_calls < 16,
	      "%d pieces", fake.advise_calls);
	CHECK(fake.last_advice == IBV_ADVISE_MR_ADVICE_PREFETCH &&
		      fake.last_flags == IBV_ADVISE_MR_FLAG_FLUSH,
	      "advice %u flags %u", fake.last_advice, fake.last_flags);
	odp_domain_usage(d, &usage);
	CHECK(usage.bytes_prefetched == size - 9, "counted %llu",
	      (unsigned long long)usage.bytes_prefetched);
	CHECK(!odp_prefetch(implicit, p, 4096, ODP_PREFETCH_WRITE | ODP_PREFETCH_ASYNC, -1, NULL,
			    &why),
	      "%s", why.text);
	CHECK(fake.last_advice == IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE && !fake.last_flags,
	      "advice %u flags %u", fake.last_advice, fake.last_flags);
	CHECK(!odp_prefetch(mr, p, 4096, ODP_PREFETCH_NO_FAULT, -1, NULL, &why), "%s", why.text);
	CHECK(fake.last_advice == IBV_ADVISE_MR_ADVICE_PREFETCH_NO_FAULT, "advice %u",
	      fake.last_advice);
	CHECK(!odp_prefetch(mr, p, 0, 0, 0, &done, &why) && !done, "nothing");

	/* A slow device: 20 ms a MiB, 300 MiB would take 6 s. */
	fake.us_per_mib = 20000;
	begin = seconds();
	CHECK(odp_prefetch(mr, p, size, 0, 300, &done, &why) == -ETIMEDOUT, "%s", why.text);
	took = seconds() - begin;
	CHECK(done >= MIB && done < size / 4 && took >= 0.29 && took < 2, "%zu bytes in %.3f s",
	      done, took);
	HAS(why.text, "time was over", "300 MiB");
	fake.us_per_mib = 0;
	CHECK(odp_prefetch(mr, p, size, 0, 0, &done, &why) == -ETIMEDOUT && !done,
	      "no time at all");

	/* EAGAIN: for a moment; for longer than there is time. */
	fake.advise_again = 5;
	CHECK(!odp_prefetch(mr, p, size, 0, 5000, &done, &why) && done == size, "%s", why.text);
	fake.advise_again = 1000000000;
	begin = seconds();
	CHECK(odp_prefetch(mr, p, size, 0, 200, &done, &why) == -ETIMEDOUT && !done, "%s",
	      why.text);
	CHECK(seconds() - begin < 2, "took %.3f s", seconds() - begin);
	fake.advise_again = 0;

	/*
	 * A page that cannot be had is found to the page, and what is in front of it is prefetched.
	 */
	fake.bad_page = (uintptr_t)p + 77 * 4096;
	fake.next_addr = fake.advised = 0;
	fake.overlap = false;
	CHECK(odp_prefetch(mr, p + 100, size - 100, 0, -1, &done, &why) == -EFAULT, "%s", why.text);
	CHECK(done == 77 * 4096 - 100 && fake.advised == done && !fake.overlap,
	      "done %zu, advised %zu", done, (size_t)fake.advised);
	HAS(why.text, "page at 0x", "cannot be made present");
	CHECK(!mprotect(p + 77 * 4096, 4096, PROT_NONE), "mprotect");
	CHECK(odp_prefetch(mr, p, size, 0, -1, &done, &why) == -EFAULT && done == 77 * 4096,
	      "done %zu", done);
	HAS(why.text, "not readable");
	CHECK(!mprotect(p + 77 * 4096, 4096, PROT_READ), "mprotect");
	CHECK(odp_prefetch(mr, p, size, ODP_PREFETCH_WRITE, -1, &done, &why) == -EFAULT,
	      "read-only");
	HAS(why.text, "read-only");
	fake.bad_page = 0;

	/* iova is where the SGE points. */
	odp_dereg(ro);
	ro = odp_reg_attr(d, &iova, &why);
	NEED(ro, "%s", why.text);
	CHECK(!odp_prefetch(ro, p + 3 * MIB, MIB, 0, -1, NULL, &why), "%s", why.text);
	CHECK(fake.next_addr == iova.iova + 4 * MIB, "%#llx", (unsigned long long)fake.next_addr);
	odp_dereg(ro);
	ro = odp_reg(d, p, size, 0, ODP_REQUIRE, &why);
	NEED(ro, "%s", why.text);

	/* Refusals, before the device is asked and by it. */
	fake.advise_calls = 0;
	CHECK(odp_prefetch(ro, p, size, ODP_PREFETCH_WRITE, -1, &done, &why) == -EPERM && !done,
	      "%s", why.text);
	HAS(why.text, "IBV_ACCESS_LOCAL_WRITE");
	CHECK(odp_prefetch(mr, p, size + 1, 0, -1, NULL, &why) == -EINVAL, "too long");
	CHECK(odp_prefetch(mr, p - 1, 4, 0, -1, NULL, &why) == -EINVAL, "before it");
	CHECK(odp_prefetch(mr, p, 4, 8, -1, NULL, &why) == -EINVAL, "flags");
	CHECK(odp_prefetch(mr, p, 4, ODP_PREFETCH_WRITE | ODP_PREFETCH_NO_FAULT, -1, NULL, &why) ==
		      -EINVAL,
	      "flags");
	CHECK(odp_prefetch(implicit, p, SIZE_MAX, 0, -1, NULL, &why) == -EINVAL, "wraps");
	CHECK(odp_prefetch(NULL, p, 4, 0, -1, NULL, &why) == -EINVAL, "NULL");
	CHECK(!odp_prefetch(pinned, p, 4096, 0, -1, &done, &why) && done == 4096, "pinned");
	HAS(why.text, "pinned");
	CHECK(!fake.advise_calls, "the device was asked");
	fake.advise_err = EOPNOTSUPP;
	CHECK(odp_prefetch(mr, p, size, 0, -1, &done, &why) == -EOPNOTSUPP &&
		      fake.advise_calls == 1,
	      "%d", fake.advise_calls);
	HAS(why.text, "fake0", "no prefetch");

	odp_dereg(mr);
	odp_dereg(ro);
	odp_dereg(pinned);
	odp_dereg(implicit);
	CHECK(!odp_domain_close(d), "close");
	munmap(p, size);
}

static void fill(uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = pattern(i);
}

static size_t wrong(const uint8_t *p, size_t from, size_t to, bool zero)
{
	size_t n = 0;

	for (size_t i = from; i < to; i++)
		n += p[i] != (zero ? 0 : pattern(i));
	return n;
}

void unit_evict(void)
{
	const size_t size = MIB;
	uint8_t *p = unit_map(size);
	struct odp_reason why;
	struct odp_domain *d, *e;
	struct odp_mr *mr, *pinned;
	size_t gone = 7;

	fake_reset(true);
	d = unit_domain();
	e = unit_domain();
	mr = odp_reg(d, p, size, IBV_ACCESS_LOCAL_WRITE, ODP_REQUIRE, &why);
	NEED(mr, "%s", why.text);
	fill(p, size);

	CHECK(!odp_evict(mr, p, size, ODP_EVICT_COLD, &gone, &why), "%s", why.text);
	CHECK(!odp_evict(mr, p, size, ODP_EVICT_PAGEOUT, &gone, &why), "%s", why.text);
	CHECK(gone == size || (gone < size && strstr(why.text, "stay in memory") && !why.error),
	      "%zu gone: %s", gone, why.text);
	CHECK(!wrong(p, 0, size, false), "paging out keeps the contents");

	/* Only whole pages are discarded. */
	CHECK(!odp_evict(mr, p + 100, 4096 * 3, ODP_EVICT_DISCARD, &gone, &why) && gone == 8192,
	      "%zu gone: %s", gone, why.text);
	CHECK(!wrong(p, 0, 4096, false) && !wrong(p, 4096, 12288, true) &&
		      !wrong(p, 12288, size, false),
	      "contents");
	CHECK(!odp_evict(mr, p + 100, 200, ODP_EVICT_DISCARD, &gone, &why) && !gone, "%zu gone",
	      gone);
	CHECK(!wrong(p, 0, 4096, false), "contents");

	/* Pinned memory stays what the device has: also when another domain pinned it. */
	pinned = odp_reg(e, p + 16384, 8192, 0, ODP_NEVER, &why);
	NEED(pinned, "%s", why.text);
	CHECK(odp_evict(pinned, p + 16384, 4096, ODP_EVICT_PAGEOUT, &gone, &why) == -EBUSY && !gone,
	      "pinned");
	HAS(why.text, "pinned");
	CHECK(odp_evict(mr, p, size, ODP_EVICT_DISCARD, &gone, &why) == -EBUSY,
	      "pinned by another MR");
	HAS(why.text, "another MR");
	CHECK(odp_evict(mr, p, 20000, ODP_EVICT_DISCARD, NULL, &why) == 0, "up to it: %s",
	      why.text);
	CHECK(odp_evict(mr, p, 20480, ODP_EVICT_DISCARD, NULL, &why) == -EBUSY, "with it");
	CHECK(odp_evict(mr, p + 20480, 4096, ODP_EVICT_DISCARD, NULL, &why) == -EBUSY, "inside");
	CHECK(!odp_evict(mr, p + 24576, 4096, ODP_EVICT_DISCARD, NULL, &why), "after it: %s",
	      why.text);
	CHECK(!wrong(p, 16384, 24576, false), "the pinned pages keep their contents");
	odp_dereg(pinned);

	CHECK(odp_evict(mr, p, size + 1, ODP_EVICT_COLD, NULL, &why) == -EINVAL, "too long");
	CHECK(odp_evict(mr, p, 1, (enum odp_evict_how)9, NULL, &why) == -EINVAL, "how");
	CHECK(odp_evict(NULL, p, 1, ODP_EVICT_COLD, NULL, NULL) == -EINVAL, "NULL");
	munmap(p + 65536, 4096);
	CHECK(odp_evict(mr, p, size, ODP_EVICT_COLD, NULL, &why) == -ENOMEM, "a hole");
	HAS(why.text, "nothing is mapped");
	odp_dereg(mr);
	CHECK(!odp_domain_close(d) && !odp_domain_close(e), "close");
	munmap(p, size);
}
