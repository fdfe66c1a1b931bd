// SPDX-License-Identifier: BSD-2-Clause
/* Capabilities, policies, sharing. */
#define _GNU_SOURCE
#include "odp_test.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#define ALL_OPS                                                                \
	(IBV_ODP_SUPPORT_SEND | IBV_ODP_SUPPORT_RECV | IBV_ODP_SUPPORT_WRITE | \
	 IBV_ODP_SUPPORT_READ | IBV_ODP_SUPPORT_ATOMIC)

static void caps(struct env *e)
{
	struct odp_caps caps;

	OK(!odp_query(e->d->ctx, &caps, &e->why), "%s", e->why.text);
	OK(!strcmp(caps.device, e->d->name), "device %s", caps.device);
	OK(caps.on_demand && caps.implicit, "on demand %u, implicit %u", caps.on_demand,
	   caps.implicit);
	OK(caps.rc_ops == e->d->attr.odp_caps.per_transport_caps.rc_odp_caps, "rc %#x",
	   caps.rc_ops);
	OK(!odp_can(&caps, IBV_QPT_RC, ALL_OPS, &e->why), "%s", e->why.text);
	OK(odp_can(&caps, IBV_QPT_XRC_SEND, IBV_ODP_SUPPORT_READ, &e->why) == -EOPNOTSUPP, "XRC");
	has("XRC", e->why.text, e->d->name, "XRC", "RDMA READ", NULL);
}

/*
 * What each policy does is seen in the process's account of pinned memory, not only in what the
 * library says.
 */
static void policies(struct env *e)
{
	static const struct {
		enum odp_policy policy;
		size_t length;
		uint32_t ops; /* on XRC, which the device has not: on demand is then not possible */
		bool demand, fallback;
		const char *says;
	} t[] = {
		{ ODP_NEVER, 2 * MIB, 0, false, false, "pinned: the policy is \"never\"" },
		{ ODP_PIN_FIRST, 2 * MIB, 0, false, false, "pinned: the policy is \"pin-first\"" },
		{ ODP_PREFER, 2 * MIB, 0, true, false, "on demand: the policy is \"prefer\"" },
		{ ODP_REQUIRE, 2 * MIB, 0, true, false, "on demand: the policy is \"require\"" },
		{ ODP_AUTO, 2 * MIB, 0, true, false, "on demand: 2 MiB are more than the 256 KiB" },
		{ ODP_AUTO, 128 << 10, 0, false, false, "pinned: 128 KiB are not more" },
		{ ODP_PREFER, 2 * MIB, IBV_ODP_SUPPORT_WRITE, false, true,
		  "pinned, because on demand was not possible: prxe0 cannot use" },
		{ ODP_AUTO, 2 * MIB, IBV_ODP_SUPPORT_WRITE, false, true,
		  "XRC QPs for: RDMA WRITE" },
	};
	uint8_t *src = t_map(2 * MIB), *dst = t_map_between(2 * MIB);
	struct odp_mr *smr = need_mr(e, src, 2 * MIB, 0, ODP_REQUIRE), *mr;
	struct odp_mr_info info;
	struct odp_usage usage;

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct odp_reg_attr a = { .addr = dst,
					  .length = t[i].length,
					  .access = T_ALL_ACCESS,
					  .policy = t[i].policy,
					  .ops = t[i].ops,
					  .qp_type = IBV_QPT_XRC_SEND };
		uint64_t pinned = t_status_kb("VmPin");

		mr = odp_reg_attr(e->dom, &a, &e->why);
		if (!mr)
			t_die("case %zu: %s", i, e->why.text);
		pinned = t_status_kb("VmPin") - pinned;
		odp_mr_info(mr, &info);
		OK(info.on_demand == t[i].demand && info.fallback == t[i].fallback, "case %zu: %s",
		   i, odp_mr_reason(mr));
		OK(pinned == (t[i].demand ? 0 : t[i].length >> 10), "case %zu: %llu KiB are pinned",
		   i, (unsigned long long)pinned);
		has(odp_policy_name(t[i].policy), odp_mr_reason(mr), t[i].says, NULL);
		write_right(odp_policy_name(t[i].policy), e, src, smr, dst + 77, mr,
			    t[i].length - 99, i + 1);
		OK(!odp_dereg(mr), "dereg");
		OK(t_status_kb("VmPin") == 0, "%llu KiB stay pinned",
		   (unsigned long long)t_status_kb("VmPin"));
	}
	OK(!odp_reg_attr(e->dom,
			 &(struct odp_reg_attr){ .addr = dst,
						 .length = MIB,
						 .policy = ODP_REQUIRE,
						 .qp_type = IBV_QPT_XRC_SEND,
						 .ops = IBV_ODP_SUPPORT_WRITE },
			 &e->why) &&
		   errno == EOPNOTSUPP,
	   "errno %d", errno);
	/* Memory that is not there, to be pinned: said, not turned into an MR that fails later. */
	munmap(dst + MIB, T_PAGE);
	OK(!odp_reg(e->dom, dst, 2 * MIB, T_ALL_ACCESS, ODP_PIN_FIRST, &e->why) && errno == EFAULT,
	   "errno %d: %s", errno, e->why.text);
	has("a hole", e->why.text, "nothing is mapped", NULL);
	/* iova: the MR begins where the caller wants. */
	mr = odp_reg_attr(e->dom,
			  &(struct odp_reg_attr){ .addr = dst + 0x123,
						  .length = MIB - 0x123,
						  .access = T_ALL_ACCESS,
						  .policy = ODP_REQUIRE,
						  .flags = ODP_REG_IOVA,
						  .iova = 0x40000123 },
			  &e->why);
	if (!mr)
		t_die("iova: %s", e->why.text);
	t_pat_fill(src, 5000, 99, 0);
	OK(!xfer(e, IBV_WR_RDMA_WRITE, src, 5000, smr, (void *)(0x40000123UL + 4321), odp_rkey(mr)),
	   "WRITE by iova");
	t_pat_check("iova", dst + 0x123 + 4321, 5000, 99, 0);
	odp_dereg(mr);
	odp_dereg(smr);
	odp_domain_usage(e->dom, &usage);
	OK(usage.registered == ARRAY_LEN(t) + 2 && usage.fallbacks == 2 && usage.refused == 2 &&
		   !usage.mrs_on_demand && !usage.mrs_pinned,
	   "registered %llu, fallbacks %llu, refused %llu", (unsigned long long)usage.registered,
	   (unsigned long long)usage.fallbacks, (unsigned long long)usage.refused);
}

/* ---- one implicit MR for all ---- */

#define THREADS 6
static struct env *shared;
static pthread_barrier_t barrier;

static void *sharer(void *arg)
{
	struct odp_reason why;
	struct odp_domain *dom = odp_domain_open(shared->d->pd, &why);
	struct odp_mr *mr;

	pthread_barrier_wait(&barrier);
	mr = odp_implicit(dom, T_ALL_ACCESS, &why);
	if (!mr)
		t_die("implicit: %s", why.text);
	*(struct odp_mr **)arg = mr;
	pthread_barrier_wait(&barrier); /* main looks */
	pthread_barrier_wait(&barrier);
	OK(!odp_dereg(mr), "dereg");
	for (int i = 0; i < 20; i++) {
		mr = odp_implicit(dom, T_ALL_ACCESS, &why);
		if (!mr)
			t_die("implicit: %s", why.text);
		OK(!odp_dereg(mr), "dereg");
	}
	OK(!odp_domain_close(dom), "close");
	return NULL;
}

static void implicit(struct env *e)
{
	struct odp_mr *seen[THREADS] = { 0 }, *ro, *again;
	uint8_t *src = t_map(64 * T_PAGE), *dst;
	struct odp_mr_info info;
	struct odp_usage usage;
	pthread_t t[THREADS];

	shared = e;
	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, sharer, &seen[i]);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	for (int i = 1; i < THREADS; i++)
		OK(seen[i] == seen[0], "thread %d has an MR of its own", i);
	odp_mr_info(seen[0], &info);
	OK(info.references == THREADS && info.implicit && info.on_demand, "%u references",
	   info.references);
	odp_domain_usage(e->dom, &usage);
	OK(usage.mrs_on_demand == 1 && usage.registered == 1, "%llu MRs",
	   (unsigned long long)usage.mrs_on_demand);
	ro = odp_implicit(e->dom, IBV_ACCESS_REMOTE_READ, &e->why);
	again = odp_implicit(e->dom, IBV_ACCESS_REMOTE_READ, &e->why);
	OK(ro && ro != seen[0] && ro == again, "one for each access");
	/* Memory that was mapped after the MR was made. */
	dst = t_map_between(64 * T_PAGE);
	write_right("implicit", e, src + 5, seen[0], dst + 1, seen[0], 60 * T_PAGE, 5);
	odp_dereg(ro);
	odp_dereg(again);
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	odp_domain_usage(e->dom, &usage);
	OK(!usage.mrs_on_demand, "%llu MRs are left", (unsigned long long)usage.mrs_on_demand);
	pthread_barrier_destroy(&barrier);
}

const struct odp_case cases_reg[] = { { "caps", caps, false },
				      { "policies", policies, false },
				      { "implicit", implicit, false },
				      { 0 } };
