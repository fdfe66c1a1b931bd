// SPDX-License-Identifier: BSD-2-Clause
/* Domains, and the list of their MRs: which MR has a key, what is pinned. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "internal.h"

/*
 * There is one list for the process, because two libraries that open the same PD must share its
 * implicit MRs. It is empty when nobody uses the library, so there is nothing to do at exit.
 */
static pthread_mutex_t domains_lock = PTHREAD_MUTEX_INITIALIZER;
static struct odp_domain *domains;

static struct odp_domain *domain_find(const struct ibv_pd *pd)
{
	struct odp_domain *d = domains;

	while (d && d->pd != pd)
		d = d->next;
	return d;
}

ODP_PUBLIC struct odp_domain *odp_domain_open(struct ibv_pd *pd, struct odp_reason *why)
{
	struct odp_domain *d, *fresh;
	int ret;

	reason_clear(why);
	if (!pd || !pd->context) {
		errno = -reason_set(why, EINVAL, "no protection domain");
		return NULL;
	}
	/*
	 * Ask the device before taking the lock, because it may be slow. If another thread opens
	 * this PD meanwhile, our answer is thrown away.
	 */
	fresh = calloc(1, sizeof(*fresh));
	if (!fresh) {
		errno = -reason_set(why, ENOMEM, "out of memory");
		return NULL;
	}
	ret = odp_query(pd->context, &fresh->caps, why);
	if (ret) {
		free(fresh);
		errno = -ret;
		return NULL;
	}
	fresh->pd = pd;
	pthread_mutex_init(&fresh->implicit_lock, NULL);
	pthread_mutex_init(&fresh->lock, NULL);

	pthread_mutex_lock(&domains_lock);
	d = domain_find(pd);
	if (!d) {
		d = fresh;
		fresh = NULL;
		d->next = domains;
		domains = d;
	}
	d->refs++;
	pthread_mutex_unlock(&domains_lock);
	if (fresh) {
		pthread_mutex_destroy(&fresh->implicit_lock);
		pthread_mutex_destroy(&fresh->lock);
		free(fresh);
	}
	return d;
}

ODP_PUBLIC int odp_domain_close(struct odp_domain *domain)
{
	struct odp_domain **at;
	bool busy;

	if (!domain)
		return -EINVAL;
	pthread_mutex_lock(&domains_lock);
	if (domain->refs > 1) {
		domain->refs--;
		pthread_mutex_unlock(&domains_lock);
		return 0;
	}
	pthread_mutex_lock(&domain->lock);
	busy = domain->mrs != NULL;
	pthread_mutex_unlock(&domain->lock);
	if (!busy) {
		for (at = &domains; *at != domain; at = &(*at)->next)
			;
		*at = domain->next;
	}
	pthread_mutex_unlock(&domains_lock);
	if (busy)
		return -EBUSY;
	pthread_mutex_destroy(&domain->implicit_lock);
	pthread_mutex_destroy(&domain->lock);
	free(domain);
	return 0;
}

ODP_PUBLIC int odp_domain_usage(struct odp_domain *domain, struct odp_usage *usage)
{
	if (!domain || !usage)
		return -EINVAL;
	pthread_mutex_lock(&domain->lock);
	*usage = domain->usage;
	pthread_mutex_unlock(&domain->lock);
	return 0;
}

/* ---- its MRs ---- */

/*
 * Count an MR: @sign +1 for a new one, -1 for one that goes. Unsigned arithmetic wraps correctly.
 */
static void usage_move(struct odp_usage *u, const struct odp_mr *mr, int sign)
{
	uint64_t bytes = mr->implicit ? 0 : mr->length;

	if (mr->on_demand) {
		u->mrs_on_demand += (uint64_t)sign;
		u->bytes_on_demand += (uint64_t)sign * bytes;
	} else {
		u->mrs_pinned += (uint64_t)sign;
		u->bytes_pinned += (uint64_t)sign * bytes;
	}
}

void domain_add_mr(struct odp_domain *domain, struct odp_mr *mr)
{
	pthread_mutex_lock(&domain->lock);
	mr->prev = NULL;
	mr->next = domain->mrs;
	if (mr->next)
		mr->next->prev = mr;
	domain->mrs = mr;
	usage_move(&domain->usage, mr, 1);
	domain->usage.registered++;
	domain->usage.fallbacks += mr->fallback;
	pthread_mutex_unlock(&domain->lock);
}

static void facts_of(const struct odp_mr *mr, struct mr_facts *facts)
{
	*facts = (struct mr_facts){
		.addr = mr->addr,
		.length = mr->length,
		.iova = mr->iova,
		.lkey = mr->lkey,
		.rkey = mr->rkey,
		.access = mr->access,
		.on_demand = mr->on_demand,
		.implicit = mr->implicit,
		.pid = mr->pid,
	};
}

void domain_remove_mr(struct odp_domain *domain, struct odp_mr *mr)
{
	pthread_mutex_lock(&domain->lock);
	if (mr->prev)
		mr->prev->next = mr->next;
	else
		domain->mrs = mr->next;
	if (mr->next)
		mr->next->prev = mr->prev;
	usage_move(&domain->usage, mr, -1);
	facts_of(mr, &domain->dead[domain->deaths++ % ODP_DEAD_KEYS]);
	pthread_mutex_unlock(&domain->lock);
}

void domain_count_refusal(struct odp_domain *domain)
{
	pthread_mutex_lock(&domain->lock);
	domain->usage.refused++;
	pthread_mutex_unlock(&domain->lock);
}

bool pinned_anywhere(uint64_t addr, uint64_t length)
{
	bool found = false;

	pthread_mutex_lock(&domains_lock);
	for (struct odp_domain *d = domains; d && !found; d = d->next) {
		pthread_mutex_lock(&d->lock);
		for (struct odp_mr *mr = d->mrs; mr && !found; mr = mr->next)
			found = !mr->on_demand && mr->addr - addr < length;
		for (struct odp_mr *mr = d->mrs; mr && !found; mr = mr->next)
			found = !mr->on_demand && addr - mr->addr < mr->length;
		pthread_mutex_unlock(&d->lock);
	}
	pthread_mutex_unlock(&domains_lock);
	return found;
}

static bool has_key(const struct mr_facts *facts, uint32_t key, enum key_kind kind)
{
	return kind == KEY_LOCAL ? facts->lkey == key : facts->rkey == key;
}

static bool find_in(struct odp_domain *d, uint32_t key, enum key_kind kind, struct mr_facts *facts)
{
	bool found = false;

	pthread_mutex_lock(&d->lock);
	for (struct odp_mr *mr = d->mrs; mr && !found; mr = mr->next) {
		facts_of(mr, facts);
		found = has_key(facts, key, kind);
	}
	pthread_mutex_unlock(&d->lock);
	return found;
}

static bool find_dead(struct odp_domain *d, uint32_t key, enum key_kind kind,
		      struct mr_facts *facts)
{
	uint64_t n;
	bool found = false;

	pthread_mutex_lock(&d->lock);
	n = d->deaths < ODP_DEAD_KEYS ? d->deaths : ODP_DEAD_KEYS;
	/* Latest first, because keys are reused. */
	for (uint64_t i = 1; i <= n && !found; i++) {
		*facts = d->dead[(d->deaths - i) % ODP_DEAD_KEYS];
		found = has_key(facts, key, kind);
	}
	pthread_mutex_unlock(&d->lock);
	return found;
}

enum key_found key_find(struct odp_domain *domain, uint32_t key, enum key_kind kind,
			struct mr_facts *facts)
{
	enum key_kind other = kind == KEY_LOCAL ? KEY_REMOTE : KEY_LOCAL;
	enum key_found found = KEY_NONE;

	if (find_in(domain, key, kind, facts))
		return KEY_HERE;
	if (find_in(domain, key, other, facts))
		return KEY_OTHER_KIND;
	pthread_mutex_lock(&domains_lock);
	for (struct odp_domain *d = domains; d && !found; d = d->next) {
		if (d != domain && d->pd->context == domain->pd->context &&
		    find_in(d, key, kind, facts))
			found = KEY_OTHER_DOMAIN;
	}
	pthread_mutex_unlock(&domains_lock);
	if (!found && find_dead(domain, key, kind, facts))
		found = KEY_DEAD;
	return found;
}
