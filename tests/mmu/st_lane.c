// SPDX-License-Identifier: BSD-2-Clause
/* A lane: WRITEs, READs or SENDs on a pair of its own, one for each slot in flight. */
#include "st.h"

#include <stdlib.h>
#include <string.h>

void st_pair_open(struct st_pair *p, struct t_dev *d)
{
	struct t_opt o = { .depth = ST_SLOTS, .rd_atomic = 4, .min_rnr = 4 };

	t_pair_open(&p->a, d, &p->b, d, &o);
	p->alive = t_now();
}

/* With new PSNs: late packets of the old connection must not fit the new one. */
void st_pair_again(struct st_pair *p)
{
	p->a.o.psn = p->a.me.psn = (uint32_t)t_mix(p->a.me.psn) & 0xffffff;
	p->b.o.psn = p->b.me.psn = (uint32_t)t_mix(p->b.me.psn) & 0xffffff;
	t_pair_again(&p->a, &p->b);
	p->failed = false;
	p->n.errors++;
}

void st_pair_close(struct st_pair *p)
{
	t_ep_close(&p->a);
	t_ep_close(&p->b);
}

void st_pair_hang(struct st_pair *p, const char *what, uint64_t in_flight)
{
	if (!in_flight)
		p->alive = t_now();
	else if (t_now() - p->alive > t_slow(20))
		t_die("%s: QP %u: no completion for %.0f s, %llu in flight, states %d and %d", what,
		      p->a.me.qpn, t_slow(20), (unsigned long long)in_flight,
		      t_ep_query_state(&p->a), t_ep_query_state(&p->b));
}

void st_lane_open(struct st_lane *l, struct t_dev *d, unsigned index, struct ibv_mr *implicit,
		  bool shared)
{
	memset(l, 0, sizeof(*l));
	l->index = index;
	l->op = (enum st_op)(index % ST_OPS);
	l->rnd = t_mix(index + 1);
	st_region_open(&l->src, d->pd, implicit, shared);
	st_region_open(&l->dst, d->pd, implicit, shared);
	l->src.cpu_writes = true;
	st_pair_open(&l->p, d);
}

void st_lane_close(struct st_lane *l)
{
	st_pair_close(&l->p);
	st_region_close(&l->src);
	st_region_close(&l->dst);
}

bool st_lane_idle(const struct st_lane *l)
{
	return l->posted == l->sent && l->posted == l->received && !l->p.failed;
}

static bool post(struct st_lane *l)
{
	unsigned slot = (unsigned)(l->posted % ST_SLOTS);
	struct st_msg *m = &l->m[slot];
	struct st_region *near = l->op == ST_READ ? &l->dst : &l->src;
	struct st_region *far = l->op == ST_READ ? &l->src : &l->dst;
	static const enum ibv_wr_opcode op[ST_OPS] = {
		IBV_WR_RDMA_WRITE, IBV_WR_RDMA_READ, IBV_WR_SEND
	};
	uint64_t keys, rnd = l->rnd = t_mix(l->rnd);
	unsigned at;

	/*
	 * Mostly a page or two, now and then the whole slot. The two sides have different offsets
	 * in their pages.
	 */
	m->slot = slot;
	m->words = 1 + (unsigned)(rnd % (rnd >> 60 ? 2 * ST_PAGE_WORDS : ST_SLOT_WORDS));
	m->from = slot * ST_SLOT_WORDS + (unsigned)((rnd >> 16) % (ST_SLOT_WORDS - m->words + 1));
	m->to = slot * ST_SLOT_WORDS + (unsigned)((rnd >> 32) % (ST_SLOT_WORDS - m->words + 1));
	m->sent = m->judged = false;
	m->received = l->op != ST_SEND;
	if (pthread_mutex_trylock(&l->src.cpu))
		return false;
	m->gen = ++l->gen[slot];
	st_fill(&l->src, &l->dst, m);
	pthread_mutex_unlock(&l->src.cpu);

	l->src_then[slot] = st_access_now(&l->src);
	l->dst_then[slot] = st_access_now(&l->dst);
	keys = atomic_load(&l->dst.keys);
	if (l->op == ST_SEND && t_recv_one(&l->p.b, l->dst.win + m->to * 8, m->words * 8,
					   (uint32_t)(keys >> 32), l->posted))
		t_die("post of a receive failed");
	at = l->op == ST_READ ? m->to : m->from;
	keys = atomic_load(&near->keys);
	if (t_post_one(&l->p.a, op[l->op], near->win + at * 8, m->words * 8, (uint32_t)(keys >> 32),
		       (uintptr_t)(far->win + (l->op == ST_READ ? m->from : m->to) * 8),
		       (uint32_t)atomic_load(&far->keys), l->posted))
		t_die("post failed");
	l->posted++;
	return true;
}

/* The documented statuses, each only if access to that region was away while the message was. */
static void check_error(struct st_lane *l, unsigned slot, const struct ibv_wc *wc, bool recv)
{
	bool src = st_error_is_right(&l->src, l->src_then[slot]);
	bool dst = st_error_is_right(&l->dst, l->dst_then[slot]), right = false;

	if (recv)
		right = dst && (wc->status == IBV_WC_LOC_PROT_ERR ||
				wc->status == IBV_WC_LOC_QP_OP_ERR);
	else if (wc->status == IBV_WC_LOC_PROT_ERR)
		right = l->op == ST_READ ? dst : src;
	else if (wc->status == IBV_WC_REM_ACCESS_ERR)
		right = (l->op == ST_READ && src) || (l->op == ST_WRITE && dst);
	else if (wc->status == IBV_WC_REM_OP_ERR)
		right = l->op == ST_SEND && dst;
	if (!right)
		t_fail("lane %u: opcode %d, %s: '%s' (vendor %#x), although %s", l->index, l->op,
		       recv ? "receive" : "send", ibv_wc_status_str(wc->status), wc->vendor_err,
		       src || dst ? "that is not its status" : "nobody took memory away");
}

static void finish(struct st_lane *l, struct st_msg *m)
{
	if (!st_success_is_right(&l->dst, l->dst_then[m->slot]) ||
	    !st_success_is_right(&l->src, l->src_then[m->slot]))
		t_fail("lane %u: opcode %d succeeded on memory that was gone all the time",
		       l->index, l->op);
	l->p.n.transfers++;
	l->p.n.bytes += m->words * 8;
}

/* One completion; they come in order. Success is judged at once, or when the CPU may look. */
static bool reap(struct st_lane *l, bool recv)
{
	uint64_t *count = recv ? &l->received : &l->sent;
	unsigned slot = (unsigned)(*count % ST_SLOTS);
	struct st_msg *m = &l->m[slot];
	bool last = recv ? m->sent : m->received, locked = false;
	struct ibv_wc wc;

	if (*count == l->posted)
		return false;
	if (last && !l->p.failed) {
		if (pthread_mutex_trylock(&l->dst.cpu))
			return false;
		locked = true;
	}
	if (ibv_poll_cq(recv ? l->p.b.rcq : l->p.a.scq, 1, &wc) != 1) {
		if (locked)
			pthread_mutex_unlock(&l->dst.cpu);
		return false;
	}
	l->p.alive = t_now();
	if (wc.wr_id != *count)
		t_die("lane %u: completion %llu, expected %llu", l->index,
		      (unsigned long long)wc.wr_id, (unsigned long long)*count);
	++*count;
	if (wc.status && !(wc.status == IBV_WC_WR_FLUSH_ERR && (l->p.failed || recv)))
		check_error(l, slot, &wc, recv);
	else if (!wc.status && l->p.failed && !recv)
		t_fail("lane %u: a transfer succeeded behind a failed one", l->index);
	if (wc.status && !recv)
		l->p.failed = true;
	if (!wc.status) {
		*(recv ? &m->received : &m->sent) = true;
		if (m->sent && m->received && locked) {
			finish(l, m);
			st_judge(&l->dst, &l->src, m, true);
			m->judged = true;
		}
	}
	if (l->op != ST_SEND)
		l->received = l->sent;
	if (locked)
		pthread_mutex_unlock(&l->dst.cpu);
	return true;
}

/*
 * All sends have completed, and one has failed. Once both QPs are in RESET nothing lands any more,
 * so judge what there is.
 */
static bool recover(struct st_lane *l)
{
	uint64_t from = l->posted > ST_SLOTS ? l->posted - ST_SLOTS : 0;

	if (pthread_mutex_trylock(&l->dst.cpu))
		return false;
	st_pair_again(&l->p);
	for (; from < l->posted; from++) {
		struct st_msg *m = &l->m[from % ST_SLOTS];

		if (!m->judged)
			st_judge(&l->dst, &l->src, m, m->sent && m->received);
		m->judged = true;
	}
	l->received = l->sent;
	pthread_mutex_unlock(&l->dst.cpu);
	return true;
}

bool st_lane_step(struct st_lane *l, bool more)
{
	uint64_t oldest = l->sent < l->received ? l->sent : l->received;
	bool did = false;

	while (l->op == ST_SEND && reap(l, true))
		did = true;
	while (reap(l, false))
		did = true;
	if (l->p.failed)
		return (l->sent == l->posted && recover(l)) || did;
	while (more && l->posted - oldest < ST_SLOTS && post(l))
		did = true;
	st_pair_hang(&l->p, "lane", l->posted - l->sent);
	return did;
}
