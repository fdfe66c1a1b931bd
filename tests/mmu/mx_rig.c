// SPDX-License-Identifier: BSD-2-Clause
/* The QPs of a carrier, the memory at their other end, contents and comparisons. */
#include "mx.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define OPS (IBV_QP_EX_WITH_SEND | IBV_QP_EX_WITH_RDMA_WRITE | IBV_QP_EX_WITH_FLUSH | \
	     IBV_QP_EX_WITH_ATOMIC_WRITE | IBV_QP_EX_WITH_BIND_MW)

static const enum ibv_qp_type types[] = { IBV_QPT_RC, IBV_QPT_UC, IBV_QPT_UD };

unsigned mx_access(struct mx_rig *r)
{
	return T_ALL_ACCESS | IBV_ACCESS_MW_BIND | (r->d->flush ? IBV_ACCESS_FLUSH_GLOBAL : 0);
}

int mx_pair(enum ibv_qp_type type)
{
	return type == IBV_QPT_RC ? 0 : type == IBV_QPT_UC ? 1 : 2;
}

static void plain_open(struct mx_rig *r, struct mx_mem *m, struct ibv_mr **mr)
{
	m->va = t_map_between(MX_PLAIN);
	m->model = t_map(MX_PLAIN);
	m->len = m->visible = MX_PLAIN;
	*mr = t_reg(r->d->pd, m->va, MX_PLAIN, mx_access(r));
}

void mx_rig_open(struct mx_rig *r, const char *dev, int gid, bool wire)
{
	int rc = t_param_set("force_wire", wire);

	memset(r, 0, sizeof(*r));
	if (rc)
		t_die("force_wire: %s", strerror(rc));
	r->wire = wire;
	r->d = t_dev_open(dev, gid);
	if (!r->d->odp)
		t_die("%s has no ODP", r->d->name);
	for (unsigned i = 0; i < ARRAY_LEN(types); i++) {
		struct t_opt o = { .type = types[i], .depth = 8, .access = mx_access(r) };

		if (types[i] == IBV_QPT_RC)
			o.ops = OPS;
		t_pair_open(&r->a[i], r->d, &r->b[i], r->d, &o);
	}
	plain_open(r, &r->near, &r->mnear);
	plain_open(r, &r->far, &r->mfar);
	r->grh = t_map(T_PAGE);
	r->mgrh = t_reg(r->d->pd, r->grh, T_PAGE, IBV_ACCESS_LOCAL_WRITE);
	r->all = ibv_reg_mr(r->d->pd, NULL, SIZE_MAX, mx_access(r) | IBV_ACCESS_ON_DEMAND);
	if (!r->all)
		t_die("the implicit MR: %s", strerror(errno));
}

void mx_rig_close(struct mx_rig *r)
{
	for (unsigned i = 0; i < ARRAY_LEN(types); i++) {
		t_ep_close(&r->a[i]);
		t_ep_close(&r->b[i]);
	}
	if (ibv_dereg_mr(r->all) || ibv_dereg_mr(r->mnear) || ibv_dereg_mr(r->mfar) ||
	    ibv_dereg_mr(r->mgrh))
		t_fail("ibv_dereg_mr: %s", strerror(errno));
	t_dev_close(r->d);
	t_param_set("force_wire", 0);
}

void mx_rig_again(struct mx_rig *r, enum ibv_qp_type type)
{
	int i = mx_pair(type);

	t_pair_again(&r->a[i], &r->b[i]);
}

void mx_rig_again_all(struct mx_rig *r)
{
	for (unsigned i = 0; i < ARRAY_LEN(types); i++)
		mx_rig_again(r, types[i]);
}

/*
 * A cell spends most of its time on fills, so they are copies out of one large pattern, from a
 * place that the seed chooses. No two places of it are alike, so bytes at the wrong offset, or of
 * another cell, are seen.
 */
void mx_fill(uint8_t *p, size_t len, uint64_t seed)
{
	enum { ROOM = 1 << 20 };
	static uint8_t *base;

	if (!base) {
		base = t_map(MX_MOST + ROOM);
		t_pat_fill(base, MX_MOST + ROOM, 0x3a7, 0);
	}
	memcpy(p, base + t_mix(seed) % ROOM, len);
}

void mx_mem_fill(struct mx_mem *m, uint64_t seed)
{
	mx_fill(m->model, m->len, seed);
	memcpy(m->va, m->model, m->len);
}

bool mx_why(struct mx_subj *s, const char *fmt, ...)
{
	va_list ap;

	if (s->why[0])
		return false; /* the first reason is the one to tell */
	va_start(ap, fmt);
	vsnprintf(s->why, sizeof(s->why), fmt, ap);
	va_end(ap);
	return false;
}

bool mx_same(struct mx_subj *s, const char *whose, const struct mx_mem *m)
{
	size_t at = 0, wrong = 0;

	if (!m->visible || !memcmp(m->va, m->model, m->visible))
		return true;
	while (m->va[at] == m->model[at])
		at++;
	for (size_t i = at; i < m->visible; i++)
		wrong += m->va[i] != m->model[i];
	return mx_why(s, "%s: byte %#zx of %#zx is %#04x, expected %#04x; %zu wrong", whose, at,
		      m->len, m->va[at], m->model[at], wrong);
}
