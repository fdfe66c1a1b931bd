// SPDX-License-Identifier: BSD-2-Clause
/*
 * libodp against a device that is not there: what a real one cannot be made to answer. See
 * unit.test.
 */
#define _GNU_SOURCE
#include "check.h"
#include "fake.h"
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int check_failures;
#define RW (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE)

void *unit_map(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	NEED(p != MAP_FAILED, "mmap: %s", strerror(errno));
	return p;
}

struct odp_domain *unit_domain(void)
{
	struct odp_reason why;
	struct odp_domain *d = odp_domain_open(fake_pd(), &why);

	NEED(d, "%s", why.text);
	return d;
}

static void capabilities(void)
{
	struct odp_reason why;
	struct odp_caps caps;
	struct ibv_context *ctx = fake_pd()->context;

	fake_reset(true);
	CHECK(!odp_query(ctx, &caps, &why), "%s", why.text);
	CHECK(caps.on_demand && caps.implicit && caps.rc_ops == 0x3f && !caps.xrc_ops, "caps");
	CHECK(!odp_can(&caps, IBV_QPT_RC, 0x3f, &why) && !why.error, "%s", why.text);
	CHECK(odp_can(&caps, IBV_QPT_UD, IBV_ODP_SUPPORT_SEND | IBV_ODP_SUPPORT_RECV, &why) ==
		      -EOPNOTSUPP,
	      "UD RECV");
	HAS(why.text, "fake0", "UD", "RECV");
	CHECK(!strstr(why.text, "SEND"), "%s", why.text);
	CHECK(odp_can(&caps, IBV_QPT_XRC_SEND, IBV_ODP_SUPPORT_READ, &why) == -EOPNOTSUPP, "XRC");
	HAS(why.text, "XRC", "RDMA READ");

	/* Bits without the general one mean nothing. */
	fake_reset(false);
	CHECK(!odp_query(ctx, &caps, NULL), "a device without on-demand paging is no error");
	CHECK(!caps.on_demand && !caps.rc_ops && caps.max_mr_size, "caps");
	CHECK(odp_can(&caps, IBV_QPT_RC, 0, &why) == -EOPNOTSUPP && why.error == EOPNOTSUPP,
	      "none");
	HAS(why.text, "fake0", "no on-demand paging", "Linux");
	strcpy(caps.device, "rxe0");
	odp_can(&caps, IBV_QPT_RC, 0, &why);
	HAS(why.text, "rxe0", "6.15");

	fake.query_err = EIO;
	CHECK(odp_query(ctx, &caps, &why) == -EIO, "error of the device");
	HAS(why.text, "fake0", strerror(EIO));
	errno = 0;
	CHECK(!odp_domain_open(fake_pd(), &why) && errno == EIO, "errno %d", errno);
	CHECK(odp_query(NULL, &caps, NULL) == -EINVAL, "NULL");
}

/* Each policy on a device that can, or cannot, or will not. */
static void policies(void)
{
	enum { P = 1, D = 2, FB = 4 }; /* pinned, on demand, by fallback */
	static const struct {
		enum odp_policy policy;
		size_t length;
		bool odp;
		int pin_err, demand_err;
		int want; /* or -errno */
		const char *says[3];
	} t[] = {
		{ ODP_NEVER, 8192, true, 0, 0, P, { "pinned", "never" } },
		{ ODP_NEVER, 8192, true, EIO, 0, -EIO, { "refused to pin", "8 KiB" } },
		{ ODP_REQUIRE, 8192, true, EIO, 0, D, { "on demand", "require" } },
		{ ODP_REQUIRE, 8192, true, 0, ENOSPC, -ENOSPC, { "on demand", "No space" } },
		{ ODP_REQUIRE, 8192, false, 0, 0, -EOPNOTSUPP, { "no on-demand paging" } },
		{ ODP_PREFER, 8192, true, 0, 0, D, { "on demand", "prefer" } },
		{ ODP_PREFER,
		  8192,
		  false,
		  0,
		  0,
		  P | FB,
		  { "pinned, because on demand was not possible", "no on-demand paging" } },
		{ ODP_PREFER,
		  8192,
		  true,
		  0,
		  ENOSPC,
		  P | FB,
		  { "pinned, because on demand was not possible", "No space" } },
		{ ODP_PREFER,
		  8192,
		  false,
		  EIO,
		  0,
		  -EIO,
		  { "no on-demand paging", "; and ", "refused to pin" } },
		{ ODP_PIN_FIRST, 8192, true, 0, 0, P, { "pinned", "pin-first" } },
		{ ODP_PIN_FIRST,
		  8192,
		  true,
		  EOPNOTSUPP,
		  0,
		  D | FB,
		  { "on demand, because pinned was not possible", "refused to pin" } },
		{ ODP_PIN_FIRST,
		  8192,
		  false,
		  EIO,
		  0,
		  -EOPNOTSUPP,
		  { "refused to pin", "; and ", "no on-demand paging" } },
		{ ODP_PIN_FIRST, 8192, true, EFAULT, 0, -EFAULT, { "refused to pin" } },
		{ ODP_AUTO, 8192, true, 0, 0, P, { "pinned", "8 KiB", "256 KiB" } },
		{ ODP_AUTO, 256 << 10, true, 0, 0, P, { "pinned" } },
		{ ODP_AUTO,
		  (256 << 10) + 1,
		  true,
		  0,
		  0,
		  D,
		  { "on demand", "262145 bytes", "256 KiB" } },
		{ ODP_AUTO,
		  1 << 20,
		  false,
		  0,
		  0,
		  P | FB,
		  { "pinned, because on demand was not possible" } },
		{ ODP_AUTO,
		  8192,
		  true,
		  EIO,
		  0,
		  D | FB,
		  { "on demand, because pinned was not possible" } },
	};
	void *p = unit_map(1 << 20);

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct odp_reason why = { .error = 77 };
		struct odp_mr_info info;
		struct odp_usage usage;
		struct odp_domain *d;
		struct odp_mr *mr;
		const char *text;

		fake_reset(t[i].odp);
		fake.pin_err = t[i].pin_err;
		fake.demand_err = t[i].demand_err;
		d = unit_domain();
		errno = 0;
		mr = odp_reg(d, p, t[i].length, RW, t[i].policy, &why);
		text = mr ? odp_mr_reason(mr) : why.text;
		for (int w = 0; w < 3 && t[i].says[w]; w++)
			HAS(text, t[i].says[w]);
		odp_domain_usage(d, &usage);
		if (t[i].want < 0) {
			CHECK(!mr && errno == -t[i].want && why.error == errno,
			      "case %zu: errno %d, reason %d", i, errno, why.error);
			CHECK(usage.refused == 1 && !usage.registered && !fake.live, "case %zu", i);
		} else if (mr) {
			CHECK(!why.error && !odp_mr_info(mr, &info), "case %zu", i);
			CHECK(info.on_demand == !!(t[i].want & D), "case %zu: on demand %u", i,
			      info.on_demand);
			CHECK(info.fallback == !!(t[i].want & FB), "case %zu: fallback %u", i,
			      info.fallback);
			CHECK(!(fake.last_access & IBV_ACCESS_ON_DEMAND) == !(t[i].want & D),
			      "case %zu: access %#x", i, fake.last_access);
			CHECK(info.addr == p && info.length == t[i].length &&
				      info.policy == t[i].policy && info.references == 1,
			      "case %zu", i);
			CHECK(usage.registered == 1 && usage.fallbacks == info.fallback, "case %zu",
			      i);
			CHECK((t[i].want & D ? usage.bytes_on_demand : usage.bytes_pinned) ==
				      t[i].length,
			      "case %zu", i);
			CHECK(odp_domain_close(d) == -EBUSY, "case %zu: closed with an MR in it",
			      i);
			CHECK(!odp_dereg(mr) && !fake.live, "case %zu", i);
		} else {
			CHECK(mr, "case %zu: %s", i, why.text);
		}
		odp_domain_usage(d, &usage);
		CHECK(!usage.mrs_on_demand && !usage.mrs_pinned && !usage.bytes_on_demand &&
			      !usage.bytes_pinned,
		      "case %zu", i);
		CHECK(!odp_domain_close(d), "case %zu", i);
	}
	munmap(p, 1 << 20);
}

static void refused_args(const char *what, struct odp_domain *d, const struct odp_reg_attr *a,
			 const char *says)
{
	struct odp_reason why;

	errno = 0;
	CHECK(!odp_reg_attr(d, a, &why) && errno == EINVAL, "%s", what);
	HAS(why.text, says);
}

static void attributes(void)
{
	char *p = unit_map(8192);
	struct odp_reg_attr a = { .addr = p, .length = 8192, .access = RW, .policy = ODP_REQUIRE };
	struct odp_reg_attr b;
	struct odp_mr_info info;
	struct odp_reason why;
	struct odp_domain *d;
	struct odp_mr *mr;
	enum odp_policy policy;

	fake_reset(true);
	d = unit_domain();
	b = a, b.length = 0, refused_args("length 0", d, &b, "length is 0");
	b = a, b.access |= IBV_ACCESS_ON_DEMAND, refused_args("ON_DEMAND", d, &b, "ON_DEMAND");
	b = a, b.access = IBV_ACCESS_REMOTE_WRITE,
	refused_args("no LOCAL_WRITE", d, &b, "LOCAL_WRITE");
	b = a, b.length = SIZE_MAX, refused_args("wraps", d, &b, "odp_implicit");
	b = a, b.flags = ODP_REG_IOVA, b.iova = 0x1000001,
	refused_args("iova", d, &b, "offset in a page");
	b = a, b.flags = 2, refused_args("flags", d, &b, "flags");
	b = a, b.reserved[3] = 1, refused_args("reserved", d, &b, "reserved");
	b = a, b.policy = (enum odp_policy)99, refused_args("policy", d, &b, "policy 99");
	CHECK(!fake.regs, "the device was asked");
	CHECK(!odp_reg(NULL, p, 1, 0, ODP_AUTO, NULL) && errno == EINVAL, "no domain");

	b = a, b.flags = ODP_REG_IOVA, b.iova = 0x1000000, b.ops = IBV_ODP_SUPPORT_WRITE,
	b.qp_type = IBV_QPT_RC;
	mr = odp_reg_attr(d, &b, &why);
	NEED(mr, "%s", why.text);
	odp_mr_info(mr, &info);
	CHECK(info.iova == 0x1000000 && fake.last_iova == 0x1000000 && info.addr == p, "iova");
	CHECK(odp_lkey(mr) == odp_mr_verbs(mr)->lkey && odp_rkey(mr) == odp_mr_verbs(mr)->rkey &&
		      info.rkey == odp_rkey(mr),
	      "keys");
	fake.dereg_err = EBUSY;
	CHECK(odp_dereg(mr) == -EBUSY && odp_rkey(mr) == info.rkey,
	      "dereg is refused, the MR stays");
	fake.dereg_err = 0;
	CHECK(!odp_dereg(mr) && !odp_dereg(NULL), "dereg");

	/* What the memory is for decides too. */
	b = a, b.ops = IBV_ODP_SUPPORT_RECV, b.qp_type = IBV_QPT_UD, b.policy = ODP_PREFER;
	mr = odp_reg_attr(d, &b, &why);
	NEED(mr, "%s", why.text);
	HAS(odp_mr_reason(mr), "pinned", "UD", "RECV");
	odp_dereg(mr);
	b.policy = ODP_REQUIRE;
	CHECK(!odp_reg_attr(d, &b, &why) && errno == EOPNOTSUPP, "UD RECV");

	a.policy = ODP_AUTO, a.pin_max = 4096;
	mr = odp_reg_attr(d, &a, &why);
	NEED(mr, "%s", why.text);
	HAS(odp_mr_reason(mr), "on demand", "8 KiB", "4 KiB");
	odp_dereg(mr);

	/* For a moment, and for good. */
	a.policy = ODP_REQUIRE;
	fake.again = 3;
	mr = odp_reg_attr(d, &a, &why);
	CHECK(mr && !fake.again, "EAGAIN three times");
	odp_dereg(mr);
	fake.again = 1000000;
	CHECK(!odp_reg_attr(d, &a, &why) && errno == EAGAIN, "EAGAIN for ever");
	fake.again = 0;

	/* To be pinned, and not there. */
	munmap(p + 4096, 4096);
	fake.pin_err = EFAULT;
	CHECK(!odp_reg(d, p, 8192, RW, ODP_PIN_FIRST, &why) && errno == EFAULT, "unmapped");
	HAS(why.text, "nothing is mapped");
	CHECK(!odp_domain_close(d), "close");
	munmap(p, 4096);

	for (int i = 0; i <= ODP_NEVER; i++)
		CHECK(!odp_policy_parse(odp_policy_name((enum odp_policy)i), &policy) &&
			      (int)policy == i,
		      "policy %d", i);
	CHECK(odp_policy_parse("sometimes", &policy) == -EINVAL &&
		      !odp_policy_name((enum odp_policy)5),
	      "policies");
	CHECK(odp_version() == (ODP_VERSION_MAJOR << 16 | ODP_VERSION_MINOR), "version %#x",
	      odp_version());
}

/* Without privilege and with 64 KiB of memlock, in a child. */
static void memlock(void)
{
	void *p = unit_map(1 << 20);
	int status;
	pid_t pid;

	fake_reset(true);
	pid = fork();
	if (!pid) {
		struct rlimit rl = { .rlim_cur = 64 << 10, .rlim_max = 64 << 10 };
		struct odp_reason why;
		struct odp_domain *d;
		struct odp_mr *mr;

		NEED(!setrlimit(RLIMIT_MEMLOCK, &rl), "setrlimit");
		NEED(getuid() || !setresuid(65534, 65534, 65534), "setresuid");
		d = unit_domain();
		fake.pin_err = ENOMEM;
		CHECK(!odp_reg(d, p, 1 << 20, RW, ODP_NEVER, &why) && errno == ENOMEM,
		      "pinned 1 MiB");
		HAS(why.text, "RLIMIT_MEMLOCK is now 64 KiB", "pinning 1 MiB",
		    "1 MiB would be needed", "ulimit -l", "CAP_IPC_LOCK", "on demand");
		mr = odp_reg(d, p, 1 << 20, RW, ODP_PIN_FIRST, &why);
		NEED(mr, "%s", why.text);
		HAS(odp_mr_reason(mr), "on demand, because pinned", "RLIMIT_MEMLOCK is now 64 KiB");
		odp_dereg(mr);
		mr = odp_reg(d, p, 128 << 10, RW, ODP_AUTO, &why);
		NEED(mr, "%s", why.text);
		HAS(odp_mr_reason(mr), "on demand", "memlock limit of 64 KiB");
		odp_dereg(mr);
		/* Within the limit it was something else. */
		CHECK(!odp_reg(d, p, 4096, RW, ODP_NEVER, &why) &&
			      !strstr(why.text, "RLIMIT_MEMLOCK"),
		      "%s", why.text);
		CHECK(!odp_domain_close(d), "close");
		exit(check_failures != 0);
	}
	waitpid(pid, &status, 0);
	CHECK(WIFEXITED(status) && !WEXITSTATUS(status), "the child's checks: status %#x", status);
	munmap(p, 1 << 20);
}

/* ---- sharing ---- */

#define THREADS 8
static struct ibv_pd *shared_pd;
static pthread_barrier_t barrier;

static void *share(void *arg)
{
	struct odp_mr *mr, *other, **seen = arg;
	struct odp_reason why;
	struct odp_domain *d;

	pthread_barrier_wait(&barrier);
	d = odp_domain_open(shared_pd, &why);
	NEED(d, "%s", why.text);
	mr = odp_implicit(d, RW, &why);
	NEED(mr, "%s", why.text);
	*seen = mr;
	pthread_barrier_wait(&barrier);
	other = odp_implicit(d, IBV_ACCESS_LOCAL_WRITE, &why);
	CHECK(other && other != mr, "another access, another MR");
	CHECK(!odp_dereg(other), "dereg");
	pthread_barrier_wait(&barrier);
	CHECK(!odp_dereg(mr), "dereg");
	/* Make and give back without a barrier: the last one out meets the first one in. */
	for (int i = 0; i < 200; i++) {
		char page[4096] __attribute__((aligned(4096)));

		mr = odp_implicit(d, RW, &why);
		NEED(mr, "%s", why.text);
		other = odp_reg(d, page, sizeof(page), RW, i % 2 ? ODP_REQUIRE : ODP_NEVER, &why);
		NEED(other, "%s", why.text);
		CHECK(!odp_dereg(mr) && !odp_dereg(other), "dereg");
	}
	CHECK(!odp_domain_close(d), "close");
	return NULL;
}

static void sharing(void)
{
	struct odp_mr *seen[THREADS];
	struct odp_domain *d, *e;
	struct odp_mr_info info;
	struct odp_reason why;
	pthread_t t[THREADS];
	struct odp_mr *mr, *again;

	fake_reset(true);
	shared_pd = fake_pd();
	pthread_barrier_init(&barrier, NULL, THREADS);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, share, &seen[i]);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	for (int i = 1; i < THREADS; i++)
		CHECK(seen[i] == seen[0], "thread %d has an MR of its own", i);
	CHECK(!fake.live && fake.regs == fake.deregs, "%d MRs are left", fake.live);
	pthread_barrier_destroy(&barrier);

	/* Two domains of one PD are one; references are counted. */
	d = odp_domain_open(shared_pd, &why);
	e = odp_domain_open(shared_pd, &why);
	CHECK(d && d == e, "one domain for each PD");
	fake.regs = 0;
	mr = odp_implicit(d, RW, &why);
	again = odp_implicit(e, RW, &why);
	NEED(mr && mr == again && fake.regs == 1, "one MR for each access: %d", fake.regs);
	odp_mr_info(mr, &info);
	CHECK(info.references == 2 && info.implicit && !info.addr && info.length == SIZE_MAX,
	      "%u references", info.references);
	CHECK(!odp_dereg(mr) && fake.live == 1, "the other reference holds it");
	CHECK(!odp_domain_close(e), "the other reference holds the domain");
	CHECK(odp_domain_close(d) == -EBUSY, "an MR is left");
	CHECK(!odp_dereg(again) && !fake.live && !odp_domain_close(d), "the end");

	/* What stands in the way of an implicit MR. */
	fake.odp.general_caps = IBV_ODP_SUPPORT;
	d = unit_domain();
	CHECK(!odp_implicit(d, RW, &why) && errno == EOPNOTSUPP, "no implicit");
	HAS(why.text, "fake0", "no implicit MRs");
	odp_domain_close(d);
	fake_reset(false);
	d = unit_domain();
	CHECK(!odp_implicit(d, RW, &why) && errno == EOPNOTSUPP, "no ODP");
	HAS(why.text, "no on-demand paging");
	odp_domain_close(d);
	fake_reset(true);
	d = unit_domain();
	CHECK(!odp_implicit(d, IBV_ACCESS_REMOTE_WRITE, &why) && errno == EINVAL,
	      "REMOTE_WRITE alone");
	fake.demand_err = ENOMEM;
	CHECK(!odp_implicit(d, RW, &why) && errno == ENOMEM, "refused");
	HAS(why.text, "fake0 refused an implicit MR");
	odp_domain_close(d);
}

static void statistics(void)
{
	struct odp_domain *d;
	struct odp_stats stats;
	struct odp_reason why;
	struct ibv_pd *pd;
	struct odp_mr *mr;
	void *p = unit_map(4096);
	int ret;

	fake_reset(true);
	pd = fake_pd();
	d = odp_domain_open(pd, &why);
	NEED(d, "%s", why.text);
	CHECK(odp_device_stats(pd->context, &stats, &why) == -ENOENT, "%s", why.text);
	HAS(why.text, "/sys/class/infiniband/fake0");
	mr = odp_reg(d, p, 4096, RW, ODP_REQUIRE, &why);
	NEED(mr, "%s", why.text);
	/*
	 * Netlink is not there on a machine without RDMA; where it is, it does not know this
	 * device.
	 */
	ret = odp_mr_stats(mr, &stats, &why);
	CHECK((ret == -EOPNOTSUPP || ret == -ENODEV) && why.error == -ret && why.text[0], "%d: %s",
	      ret, why.text);
	odp_dereg(mr);
	mr = odp_reg(d, p, 4096, RW, ODP_NEVER, &why);
	NEED(mr, "%s", why.text);
	CHECK(odp_mr_stats(mr, &stats, &why) == -ENODATA, "pinned");
	HAS(why.text, "pinned");
	odp_dereg(mr);
	CHECK(!odp_domain_close(d), "close");
	munmap(p, 4096);
}

int main(void)
{
	capabilities();
	policies();
	attributes();
	memlock();
	sharing();
	statistics();
	unit_prefetch();
	unit_evict();
	unit_explain();
	if (check_failures)
		fprintf(stderr, "%d failures\n", check_failures);
	else
		puts("unit: ok");
	return check_failures != 0;
}
