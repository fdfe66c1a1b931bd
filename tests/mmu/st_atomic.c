// SPDX-License-Identifier: BSD-2-Clause
/*
 * Atomics: each adds exactly once, or fails and adds nothing.
 *
 * Counters lie in one region that all atomic lanes share, one in each slot. Most belong to one
 * lane, which knows every value that they have; the last one is everybody's. The result of an
 * operation is checked where it landed, unless that page was discarded. Access to where it lands
 * never goes: an atomic that was executed but cannot land fails, and its poster cannot know that it
 * was.
 */
#include "st.h"

#include <string.h>

#define STRIDE ST_SLOT_WORDS
#define SHARED (ST_COUNTERS - 1)

void st_atomic_open(struct st_atomic *l, struct t_dev *d, struct st_region *dst, unsigned index,
		    unsigned lanes, struct ibv_mr *implicit, bool shared)
{
	memset(l, 0, sizeof(*l));
	l->index = index;
	l->lanes = lanes;
	l->dst = dst;
	l->rnd = t_mix(index + 1000);
	st_region_open(&l->land, d->pd, implicit, shared);
	l->land.cpu_writes = true;
	st_pair_open(&l->p, d);
}

void st_atomic_close(struct st_atomic *l)
{
	st_pair_close(&l->p);
	st_region_close(&l->land);
}

bool st_atomic_idle(const struct st_atomic *l)
{
	return l->posted == l->done && !l->p.failed;
}

/* On either side of the border of a page, and at its own place in each slot. */
static uint64_t *counter_at(struct st_region *r, unsigned counter)
{
	return (uint64_t *)r->win + counter * STRIDE + counter * ST_PAGE_WORDS - counter % 2 +
	       ST_PAGE_WORDS / 2 * (counter == 0);
}

static uint64_t *land_at(struct st_atomic *l, unsigned slot)
{
	return (uint64_t *)l->land.win + slot * STRIDE + 5 * slot;
}

static bool post(struct st_atomic *l)
{
	unsigned slot = (unsigned)(l->posted % ST_SLOTS), counter, page;
	uint64_t rnd = l->rnd = t_mix(l->rnd), add = 1 + (rnd >> 8) % 1000, keys;
	uint64_t *land = land_at(l, slot);
	struct ibv_sge sg;
	struct t_wr w = {
		.op = IBV_WR_ATOMIC_FETCH_AND_ADD, .sg = &sg, .n = 1, .id = l->posted,
		.compare = add,
	};

	counter = (unsigned)(rnd >> 20) % ST_COUNTERS;
	if (counter % l->lanes != l->index)
		counter = SHARED;
	if (pthread_mutex_trylock(&l->land.cpu))
		return false;
	page = (unsigned)((uint8_t *)land - l->land.win) / T_PAGE;
	l->m[slot].seen = atomic_load(&l->land.page[page].ended);
	*land = ~0ULL;
	pthread_mutex_unlock(&l->land.cpu);
	l->m[slot].counter = counter;
	if (counter == SHARED) {
		w.compare = 1;
	} else {
		l->m[slot].old = l->next[counter];
		l->next[counter] += add;
		l->m[slot].after = l->next[counter];
		if (rnd & 1) {
			w.op = IBV_WR_ATOMIC_CMP_AND_SWP;
			w.compare = l->m[slot].old;
			w.swap = l->m[slot].after;
		}
	}
	l->dst_then[slot] = st_access_now(l->dst);
	keys = atomic_load(&l->land.keys);
	sg = t_sge(land, 8, (uint32_t)(keys >> 32));
	w.raddr = (uintptr_t)counter_at(l->dst, counter);
	w.rkey = (uint32_t)atomic_load(&l->dst->keys);
	if (t_post(&l->p.a, &w))
		t_die("post of an atomic failed");
	l->posted++;
	return true;
}

static void succeeded(struct st_atomic *l, unsigned slot)
{
	unsigned counter = l->m[slot].counter;
	uint64_t *land = land_at(l, slot), got = *(volatile uint64_t *)land;
	unsigned page = (unsigned)((uint8_t *)land - l->land.win) / T_PAGE;
	bool dropped = st_dropped(&l->land, page, l->m[slot].seen), right;

	if (!st_success_is_right(l->dst, l->dst_then[slot]))
		t_fail("atomic lane %u succeeded on memory that was gone all the time", l->index);
	if (counter == SHARED) {
		l->shared_adds++;
		right = got != ~0ULL && got + 1 > l->shared_last;
		if (right)
			l->shared_last = got + 1;
	} else {
		l->value[counter] = l->m[slot].after;
		right = got == l->m[slot].old;
	}
	if (!right && !(dropped && !got))
		t_fail("atomic lane %u, counter %u: %llu landed, expected %llu; "
		       "its page was%s discarded",
		       l->index, counter, (unsigned long long)got,
		       (unsigned long long)(counter == SHARED ? l->shared_last : l->m[slot].old),
		       dropped ? "" : " not");
	l->p.n.transfers++;
	l->p.n.bytes += 8;
}

static bool reap(struct st_atomic *l)
{
	unsigned slot = (unsigned)(l->done % ST_SLOTS);
	struct ibv_wc wc;
	bool dst;

	if (l->done == l->posted || pthread_mutex_trylock(&l->land.cpu))
		return false;
	if (ibv_poll_cq(l->p.a.scq, 1, &wc) != 1) {
		pthread_mutex_unlock(&l->land.cpu);
		return false;
	}
	l->p.alive = t_now();
	l->done++;
	if (!wc.status && l->p.failed)
		t_fail("atomic lane %u: success behind a failure", l->index);
	if (!wc.status)
		succeeded(l, slot);
	dst = st_error_is_right(l->dst, l->dst_then[slot]);
	if (wc.status && !(wc.status == IBV_WC_WR_FLUSH_ERR && l->p.failed) &&
	    !(wc.status == IBV_WC_REM_ACCESS_ERR && dst))
		t_fail("atomic lane %u: '%s', although %s", l->index, ibv_wc_status_str(wc.status),
		       dst ? "that is not its status" : "nobody took memory away");
	if (wc.status)
		l->p.failed = true;
	pthread_mutex_unlock(&l->land.cpu);
	return true;
}

bool st_atomic_step(struct st_atomic *l, bool more)
{
	bool did = false;

	while (reap(l))
		did = true;
	if (l->p.failed) {
		if (l->done != l->posted)
			return did;
		/* Those that failed added nothing: the next values follow from the present ones. */
		st_pair_again(&l->p);
		memcpy(l->next, l->value, sizeof(l->next));
		return true;
	}
	while (more && l->posted - l->done < ST_SLOTS && post(l))
		did = true;
	st_pair_hang(&l->p, "atomic lane", l->posted - l->done);
	return did;
}

void st_atomic_check(struct st_atomic *l, unsigned lanes)
{
	uint64_t shared = 0, got;

	for (unsigned i = 0; i < lanes; i++)
		shared += l[i].shared_adds;
	for (unsigned c = 0; c < ST_COUNTERS; c++) {
		uint64_t want = c == SHARED ? shared : l[c % lanes].value[c];

		got = *counter_at(l->dst, c);
		if (got != want)
			t_fail("atomics: counter %u holds %llu, %llu were added", c,
			       (unsigned long long)got, (unsigned long long)want);
	}
}
