// SPDX-License-Identifier: BSD-2-Clause
/*
 * Registration by policy. A policy says which of two ways (pin, on demand) is tried first, and
 * which second if the first is refused. The decisions and refusals are in the MR's reason.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "internal.h"

enum way { PIN, DEMAND, NO_WAY };

/*
 * With EAGAIN the kernel says that it lacks something for a moment: try again. If it lasts longer
 * than this, treat it like any other error.
 */
#define EAGAIN_TRIES 50
#define EAGAIN_PAUSE_NS 2000000

static const char *const policy_names[] = {
	[ODP_AUTO] = "auto",
	[ODP_PREFER] = "prefer",
	[ODP_REQUIRE] = "require",
	[ODP_PIN_FIRST] = "pin-first",
	[ODP_NEVER] = "never",
};
#define POLICIES (sizeof(policy_names) / sizeof(policy_names[0]))

ODP_PUBLIC const char *odp_policy_name(enum odp_policy policy)
{
	return (size_t)policy < POLICIES ? policy_names[policy] : NULL;
}

ODP_PUBLIC int odp_policy_parse(const char *name, enum odp_policy *policy)
{
	for (size_t i = 0; name && policy && i < POLICIES; i++) {
		if (!strcmp(name, policy_names[i])) {
			*policy = (enum odp_policy)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* ---- one way ---- */

static struct ibv_mr *verbs_reg(struct ibv_pd *pd, const struct odp_reg_attr *a,
				unsigned int access)
{
	struct timespec pause = { .tv_nsec = EAGAIN_PAUSE_NS };
	struct ibv_mr *mr = NULL;

	for (int i = 0; i < EAGAIN_TRIES; i++) {
		errno = 0;
		if (a->flags & ODP_REG_IOVA)
			mr = ibv_reg_mr_iova(pd, a->addr, a->length, a->iova, access);
		else
			mr = ibv_reg_mr(pd, a->addr, a->length, access);
		if (mr || errno != EAGAIN)
			break;
		nanosleep(&pause, NULL);
	}
	return mr;
}

/* Find out why ibv_reg_mr() refused to pin. @err is the errno that it set. */
static int pin_refused(const struct odp_domain *d, const struct odp_reg_attr *a, int err,
		       struct odp_reason *why)
{
	uint64_t addr = (uintptr_t)a->addr, need = pin_bytes(addr, a->length);
	struct size_text s1, s2, s3, s4;
	struct map_finding found;
	struct pin_limit limit;
	struct err_text et;
	char words[256];

	if (err == ENOMEM || err == EPERM) {
		pin_limit_read(&limit);
		if (!pin_fits(&limit, need))
			return reason_set(why, err,
					  "pinning %s is refused by the memlock limit: "
					  "RLIMIT_MEMLOCK is now %s, of which %s are used, and %s "
					  "would be needed. Raise it (ulimit -l; LimitMEMLOCK= of "
					  "a systemd unit; --ulimit memlock= of a container), give "
					  "the process CAP_IPC_LOCK, or register on demand, which "
					  "pins nothing",
					  size_words(a->length, &s1), size_words(limit.limit, &s2),
					  size_words(limit.used, &s3),
					  size_words(limit.used + need, &s4));
	}
	if (err == EFAULT || err == ENOMEM) {
		maps_check(addr, a->length,
			   a->access & (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |
					IBV_ACCESS_REMOTE_ATOMIC),
			   &found);
		if (found.kind != MAP_FINE && found.kind != MAP_UNREADABLE) {
			maps_words(&found, words, sizeof(words));
			return reason_set(why, err, "cannot pin %s at %p: %s",
					  size_words(a->length, &s1), a->addr, words);
		}
	}
	return reason_set(why, err, "%s refused to pin %s at %p: %s", d->caps.device,
			  size_words(a->length, &s1), a->addr, err_words(err, &et));
}

static struct ibv_mr *try_way(struct odp_domain *d, const struct odp_reg_attr *a, enum way way,
			      struct odp_reason *why)
{
	struct size_text size;
	struct err_text et;
	struct ibv_mr *mr;
	int err;

	if (way == DEMAND && odp_can(&d->caps, a->ops ? a->qp_type : IBV_QPT_RC, a->ops, why))
		return NULL;
	mr = verbs_reg(d->pd, a, a->access | (way == DEMAND ? IBV_ACCESS_ON_DEMAND : 0));
	if (mr)
		return mr;
	err = errno ? errno : EIO;
	if (way == PIN)
		pin_refused(d, a, err, why);
	else
		reason_set(why, err, "%s refused to register %s at %p on demand: %s",
			   d->caps.device, size_words(a->length, &size), a->addr,
			   err_words(err, &et));
	return NULL;
}

/* ---- policies ---- */

/*
 * Choose the order of the two ways. @words becomes a clause that says why the first one is first.
 */
static void choose(const struct odp_reg_attr *a, enum way way[2], char *words, size_t size)
{
	size_t pin_max = a->pin_max ? a->pin_max : ODP_AUTO_PIN_MAX;
	struct size_text s1, s2;
	struct pin_limit limit;

	way[0] = DEMAND;
	way[1] = NO_WAY;
	switch (a->policy) {
	case ODP_NEVER:
		way[0] = PIN;
		break;
	case ODP_REQUIRE:
		break;
	case ODP_PIN_FIRST:
		way[0] = PIN;
		way[1] = DEMAND;
		break;
	case ODP_PREFER:
		way[0] = DEMAND;
		way[1] = PIN;
		break;
	case ODP_AUTO:
		way[0] = DEMAND;
		way[1] = PIN;
		if (a->length > pin_max) {
			snprintf(words, size,
				 "%s are more than the %s that the policy \"auto\" pins",
				 size_words(a->length, &s1), size_words(pin_max, &s2));
			return;
		}
		pin_limit_read(&limit);
		if (!pin_fits(&limit, pin_bytes((uintptr_t)a->addr, a->length))) {
			snprintf(words, size, "pinning %s would exceed the memlock limit of %s",
				 size_words(a->length, &s1), size_words(limit.limit, &s2));
			return;
		}
		way[0] = PIN;
		way[1] = DEMAND;
		snprintf(words, size, "%s are not more than the %s that the policy \"auto\" pins",
			 size_words(a->length, &s1), size_words(pin_max, &s2));
		return;
	}
	snprintf(words, size, "the policy is \"%s\"", odp_policy_name(a->policy));
}

static const char *const way_words[] = { [PIN] = "pinned", [DEMAND] = "on demand" };

static int check_attr(const struct odp_domain *d, const struct odp_reg_attr *a,
		      struct odp_reason *why)
{
	struct size_text s1, s2;

	if (!odp_policy_name(a->policy))
		return reason_set(why, EINVAL, "there is no policy %d", (int)a->policy);
	if (a->flags & ~(uint32_t)ODP_REG_IOVA)
		return reason_set(why, EINVAL, "there are no flags %#x", a->flags);
	for (size_t i = 0; i < sizeof(a->reserved) / sizeof(a->reserved[0]); i++)
		if (a->reserved[i])
			return reason_set(why, EINVAL,
					  "reserved fields of the attributes are not zero");
	if (a->access & IBV_ACCESS_ON_DEMAND)
		return reason_set(why, EINVAL,
				  "the policy decides about IBV_ACCESS_ON_DEMAND: leave it out of "
				  "the access flags");
	if ((a->access & (IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC)) &&
	    !(a->access & IBV_ACCESS_LOCAL_WRITE))
		return reason_set(why, EINVAL,
				  "remote write or atomic access needs IBV_ACCESS_LOCAL_WRITE as "
				  "well");
	if (!a->length)
		return reason_set(why, EINVAL, "there is nothing to register: the length is 0");
	if (a->length - 1 > UINTPTR_MAX - (uintptr_t)a->addr)
		return reason_set(why, EINVAL,
				  "%s from %p on go beyond the end of the address space "
				  "(odp_implicit() covers all of it)",
				  size_words(a->length, &s1), a->addr);
	/* A rule of the kernel for all devices: a page of the MR must be a page of memory. */
	if ((a->flags & ODP_REG_IOVA) && (a->iova - (uintptr_t)a->addr) % page_size())
		return reason_set(why, EINVAL,
				  "the iova %#" PRIx64
				  " must have the same offset in a page as the address %p",
				  a->iova, a->addr);
	if (d->caps.max_mr_size && a->length > d->caps.max_mr_size)
		return reason_set(why, EINVAL, "%s are more than an MR of %s can have: %s",
				  size_words(a->length, &s1), d->caps.device,
				  size_words(d->caps.max_mr_size, &s2));
	return 0;
}

static struct odp_mr *mr_new(struct odp_domain *d, const struct odp_reg_attr *a,
			     struct odp_reason *why)
{
	struct odp_mr *mr = calloc(1, sizeof(*mr));

	if (!mr) {
		errno = -reason_set(why, ENOMEM, "out of memory");
		return NULL;
	}
	mr->domain = d;
	mr->addr = (uintptr_t)a->addr;
	mr->length = a->length;
	mr->policy = a->policy;
	mr->refs = 1;
	mr->pid = getpid();
	mr->tid = (pid_t)syscall(SYS_gettid);
	return mr;
}

static void mr_made(struct odp_mr *mr, struct ibv_mr *verbs, unsigned int access, bool on_demand)
{
	mr->mr = verbs;
	mr->lkey = verbs->lkey;
	mr->rkey = verbs->rkey;
	mr->on_demand = on_demand;
	mr->access = access | (on_demand ? IBV_ACCESS_ON_DEMAND : 0);
	domain_add_mr(mr->domain, mr);
}

ODP_PUBLIC struct odp_mr *odp_reg_attr(struct odp_domain *domain, const struct odp_reg_attr *attr,
				       struct odp_reason *why)
{
	struct odp_reason first, second;
	struct ibv_mr *verbs;
	struct odp_mr *mr;
	char words[192];
	enum way way[2];
	int ret;

	reason_clear(why);
	if (!domain || !attr) {
		errno = -reason_set(why, EINVAL, "no domain, or no attributes");
		return NULL;
	}
	ret = check_attr(domain, attr, why);
	if (ret) {
		errno = -ret;
		domain_count_refusal(domain);
		return NULL;
	}
	mr = mr_new(domain, attr, why);
	if (!mr)
		return NULL;
	mr->iova = attr->flags & ODP_REG_IOVA ? attr->iova : mr->addr;

	choose(attr, way, words, sizeof(words));
	verbs = try_way(domain, attr, way[0], &first);
	if (verbs) {
		snprintf(mr->reason, sizeof(mr->reason), "%s: %s", way_words[way[0]], words);
		mr_made(mr, verbs, attr->access, way[0] == DEMAND);
		return mr;
	}
	/* No fallback if the memory is not there: an on-demand MR would only fail later (odp.h). */
	if (way[1] != NO_WAY && first.error != EFAULT && first.error != EINVAL) {
		verbs = try_way(domain, attr, way[1], &second);
		if (verbs) {
			mr->fallback = true;
			snprintf(mr->reason, sizeof(mr->reason),
				 "%s, because %s was not possible: %s", way_words[way[1]],
				 way_words[way[0]], first.text);
			mr_made(mr, verbs, attr->access, way[1] == DEMAND);
			return mr;
		}
		reason_set(why, second.error, "%.250s; and %.250s", first.text, second.text);
		errno = second.error;
	} else {
		if (why)
			*why = first;
		errno = first.error;
	}
	ret = errno;
	domain_count_refusal(domain);
	free(mr);
	errno = ret;
	return NULL;
}

ODP_PUBLIC struct odp_mr *odp_reg(struct odp_domain *domain, void *addr, size_t length,
				  unsigned int access, enum odp_policy policy,
				  struct odp_reason *why)
{
	struct odp_reg_attr attr = {
		.addr = addr, .length = length, .access = access, .policy = policy
	};

	return odp_reg_attr(domain, &attr, why);
}

/* ---- implicit MRs ---- */

/* Called under implicit_lock, so the MR that is found stays. */
static struct odp_mr *implicit_find(struct odp_domain *d, unsigned int access)
{
	struct odp_mr *mr;

	pthread_mutex_lock(&d->lock);
	for (mr = d->mrs; mr; mr = mr->next)
		if (mr->implicit && mr->access == (access | IBV_ACCESS_ON_DEMAND) &&
		    mr->pid == getpid())
			break;
	pthread_mutex_unlock(&d->lock);
	return mr;
}

static struct odp_mr *implicit_make(struct odp_domain *d, unsigned int access,
				    struct odp_reason *why)
{
	struct odp_reg_attr attr = { .length = SIZE_MAX, .access = access, .policy = ODP_REQUIRE };
	struct ibv_mr *verbs;
	struct err_text et;
	struct odp_mr *mr;
	int err;

	mr = mr_new(d, &attr, why);
	if (!mr)
		return NULL;
	mr->length = UINT64_MAX;
	mr->implicit = true;
	verbs = verbs_reg(d->pd, &attr, access | IBV_ACCESS_ON_DEMAND);
	if (!verbs) {
		err = errno ? errno : EIO;
		reason_set(why, err, "%s refused an implicit MR: %s", d->caps.device,
			   err_words(err, &et));
		free(mr);
		errno = err;
		return NULL;
	}
	snprintf(mr->reason, sizeof(mr->reason),
		 "on demand: an implicit MR has no memory of its own to pin");
	mr_made(mr, verbs, access, true);
	return mr;
}

ODP_PUBLIC struct odp_mr *odp_implicit(struct odp_domain *domain, unsigned int access,
				       struct odp_reason *why)
{
	struct odp_reg_attr attr = { .length = 1, .access = access, .policy = ODP_REQUIRE };
	struct odp_mr *mr;
	int ret;

	reason_clear(why);
	if (!domain) {
		errno = -reason_set(why, EINVAL, "no domain");
		return NULL;
	}
	ret = check_attr(domain, &attr, why);
	if (!ret)
		ret = odp_can(&domain->caps, IBV_QPT_RC, 0, why);
	if (!ret && !domain->caps.implicit)
		ret = reason_set(why, EOPNOTSUPP,
				 "%s has on-demand paging, but no implicit MRs: register ranges",
				 domain->caps.device);
	if (ret) {
		domain_count_refusal(domain);
		errno = -ret;
		return NULL;
	}
	pthread_mutex_lock(&domain->implicit_lock);
	mr = implicit_find(domain, access);
	if (mr)
		mr->refs++;
	else
		mr = implicit_make(domain, access, why);
	ret = errno;
	pthread_mutex_unlock(&domain->implicit_lock);
	if (!mr) {
		domain_count_refusal(domain);
		errno = ret;
	}
	return mr;
}

/* The last reference is given back: deregister the MR, then free what the library knows of it. */
static int mr_end(struct odp_mr *mr)
{
	int ret = ibv_dereg_mr(mr->mr);

	if (ret)
		return ret < 0 ? ret : -ret;
	domain_remove_mr(mr->domain, mr);
	free(mr);
	return 0;
}

ODP_PUBLIC int odp_dereg(struct odp_mr *mr)
{
	struct odp_domain *d;
	int ret = 0;

	if (!mr)
		return 0;
	if (!mr->implicit)
		return mr_end(mr);
	/*
	 * Hold the lock during the system call, so that nobody finds an implicit MR that is being
	 * deregistered.
	 */
	d = mr->domain;
	pthread_mutex_lock(&d->implicit_lock);
	if (mr->refs > 1)
		mr->refs--;
	else
		ret = mr_end(mr);
	pthread_mutex_unlock(&d->implicit_lock);
	return ret;
}
