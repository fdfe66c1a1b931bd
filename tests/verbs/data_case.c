// SPDX-License-Identifier: BSD-2-Clause
/*
 * The cases of prxe-data: what a number stands for, the memory of both sides before the transfer,
 * and what must be in it afterwards.
 */
#include "data.h"

#include <errno.h>
#include <string.h>

const char *const op_name[OP_N] = {
	"write", "write_imm", "send", "send_imm", "send_inv", "read", "cas", "faa", "mw_write",
	"srq_send", "uc_write", "uc_write_imm", "uc_send", "ud_send", "write_flush",
};
static const char *const kind_name[KIND_N] = { "pin", "odp", "shm", "mix" };
static const char *const temp_name[TEMP_N] = { "warm", "cold", "read-touched", "prefetched" };
static const unsigned offsets[] = { 0, 1, 7, 64, 1000, 2048, 4095, 4096 + 13 };
static const unsigned lengths[] = {
	0, 1, 8, 63, 100, 1024, 4096, 5000, 9000, 65536, (1 << 20) + 3
};
const enum ibv_mtu mtus[RC_MTUS] = { IBV_MTU_256, IBV_MTU_1024, IBV_MTU_4096 };


const char *describe(const struct kase *k)
{
	static char s[400];

	snprintf(s, sizeof(s),
		 "case %llu: %s len %zu mtu %d%s; A %s %s%s %d SGEs off %zu; "
		 "B %s %s%s %d SGEs off %zu",
		 (unsigned long long)k->id, op_name[k->op], k->len, 128 << mtus[k->mtu],
		 k->inl ? " inline" : "", kind_name[k->a.kind], temp_name[k->a.temp],
		 k->a.other ? " iova!=va" : "", k->a.n, k->a.n ? k->a.s[0].off % 8192 : 0,
		 kind_name[k->b.kind], temp_name[k->b.temp], k->b.other ? " iova!=va" : "", k->b.n,
		 k->b.n ? k->b.s[0].off % 8192 : 0);
	return s;
}

/* ---- what a case is ---- */

bool is_uc(enum op o)
{
	return o == UC_WRITE || o == UC_WRITE_IMM || o == UC_SEND;
}

bool lossy(enum op o)
{
	return is_uc(o) || o == UD_SEND;
}

bool atomic(enum op o)
{
	return o == CAS || o == FAA;
}

bool b_list(enum op o)
{
	return o == SEND || o == SEND_IMM || o == SEND_INV || o == SRQ_SEND || o == UC_SEND ||
	       o == UD_SEND;
}

bool b_recv(enum op o)
{
	return b_list(o) || o == WRITE_IMM || o == UC_WRITE_IMM || o == UC_WRITE;
}

static void lay_out(struct side *s, size_t len, unsigned off, bool list, uint64_t rnd, int max)
{
	size_t bump[K_N] = { 2 * page, 2 * page, 2 * page }, left = len;
	int n = 1;

	if (s->kind == MIX)
		n = list ? 2 + (int)(rnd % (uint64_t)(max - 1)) : 1;
	if (!len && n == 1 && (rnd & 64))
		n = 0; /* no SGE at all is another way to say zero */
	if (!list && !n)
		n = 1;
	s->n = n;
	for (int i = 0; i < n; i++) {
		struct seg *g = &s->s[i];

		rnd = t_mix(rnd + (uint64_t)i);
		g->kind = s->kind != MIX ? (enum t_kind)s->kind :
			  i & 1 ? K_PIN : rnd & 1 ? K_ODP : K_SHM;
		g->len = i == n - 1 ? left : left / (size_t)(n - i) * (rnd % 3) % (left + 1);
		if (g->len > left)
			g->len = left;
		left -= g->len;
		g->off = bump[g->kind] + (i ? offsets[(rnd >> 8) % ARRAY_LEN(offsets)] : off);
		bump[g->kind] = (g->off + g->len + GUARD + 2 * page) & ~(page - 1);
		if (bump[g->kind] + 2 * page > ARENA_SIZE)
			t_die("the test's arenas are too small");
	}
}

static uint64_t take(uint64_t *x, uint64_t n)
{
	uint64_t v = *x % n;

	*x /= n;
	return v;
}

bool make_case(struct kase *k, uint64_t id)
{
	uint64_t x = id, rnd = t_mix(id * 2 + opt.seed), iova;
	unsigned oa, ob;

	memset(k, 0, sizeof(*k));
	k->id = id;
	k->seq = id + 1;
	k->op = (enum op)take(&x, OP_N);
	k->len = lengths[take(&x, ARRAY_LEN(lengths))];
	k->a.kind = (enum kind)take(&x, KIND_N);
	k->b.kind = (enum kind)take(&x, KIND_N);
	k->a.temp = (enum temp)take(&x, TEMP_N);
	k->b.temp = (enum temp)take(&x, TEMP_N);
	oa = offsets[take(&x, ARRAY_LEN(offsets))];
	ob = offsets[take(&x, ARRAY_LEN(offsets))];
	k->mtu = (unsigned)take(&x, RC_MTUS);
	iova = take(&x, 4);
	k->a.other = iova & 1;
	k->b.other = iova >> 1;
	k->data_from_b = k->op == READ;

	if (!t_list_has(opt.ops, op_name[k->op]) || k->len > opt.max_len ||
	    !t_list_has(opt.kinds, kind_name[k->a.kind]) ||
	    !t_list_has(opt.kinds_b ? opt.kinds_b : opt.kinds, kind_name[k->b.kind]))
		return false;
	if ((!have_odp[0] && k->a.kind != PIN) || (!have_odp[1] && k->b.kind != PIN))
		return false;
	if ((k->op == MW_WRITE || k->op == SEND_INV) && !have_mw)
		return false;
	if (k->op == WRITE_FLUSH && !have_flush)
		return false;
	if (k->op == MW_WRITE && !k->len)
		return false; /* a window of length 0 is no window */
	if ((k->a.kind == PIN && k->a.temp != WARM) || (k->b.kind == PIN && k->b.temp != WARM))
		return false;
	if (k->b.kind == MIX && !b_list(k->op))
		return false;
	if (is_uc(k->op) && !have_odp_uc && (k->a.kind != PIN || k->b.kind != PIN))
		return false;
	if (k->op == UD_SEND && (k->len > (size_t)(128U << port_mtu) || k->mtu))
		return false;
	if (k->op == SRQ_SEND && k->mtu)
		return false;
	/* What has no retransmission may be dropped when it meets memory that is not there. */
	if (lossy(k->op) && k->len > 65536 && (k->a.kind != PIN || k->b.kind != PIN))
		return false;
	if (atomic(k->op)) {
		if (k->a.kind == MIX)
			return false;
		k->len = 8;
		ob &= ~7U;
	}
	if (b_list(k->op) && (rnd & 3) == 3)
		k->extra = 37;
	if (k->op == UD_SEND)
		k->b.skip = GRH;
	lay_out(&k->a, k->len, oa, !atomic(k->op), rnd >> 2, MAX_SEG);
	lay_out(&k->b, k->len + k->extra + k->b.skip, ob, b_list(k->op), rnd >> 9,
		k->op == SRQ_SEND ? SRQ_SEG : MAX_SEG);
	k->inl = k->op != READ && !atomic(k->op) && k->len <= 200 && (rnd & 0x100000);
	return true;
}

/* ---- one side's memory ---- */

static bool zeroed(const struct side *s, const struct seg *g)
{
	return g->kind == K_ODP && s->temp != WARM;
}

void prepare(const struct kase *k, struct side *s, int who, bool source)
{
	size_t at = 0;

	for (int i = 0; i < s->n; i++) {
		struct seg *g = &s->s[i];
		uint8_t *p = arena[who][g->kind].va + g->off;

		if (zeroed(s, g))
			t_drop(p - GUARD, g->len + 2 * GUARD);
		else
			t_pat_fill(p - GUARD, g->len + 2 * GUARD, ~k->seq, g->off - GUARD);
	}
	for (int i = 0; i < s->n; i++) {
		struct seg *g = &s->s[i];
		uint8_t *p = arena[who][g->kind].va + g->off;

		if (source)
			t_pat_fill(p, g->len, k->seq, at);
		at += g->len;
		if (g->kind == K_SHM && s->temp != WARM)
			t_drop(p - GUARD, g->len + 2 * GUARD);
		if (s->temp == READ_TOUCHED && g->len)
			for (size_t o = 0; o < g->len; o += T_PAGE)
				(void)*(volatile uint8_t *)(p + o);
		if (s->temp == PREFETCHED && g->kind != K_PIN && g->len) {
			struct t_arena *r = &arena[who][g->kind];
			struct ibv_sge sg = { .addr = r->iova[s->other] + g->off,
					      .length = (uint32_t)g->len,
					      .lkey = r->mr[s->other]->lkey };
			struct t_dev *d = who ? db : da;
			int rc = ibv_advise_mr(d->pd, source ? IBV_ADVISE_MR_ADVICE_PREFETCH :
						    IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE,
					       IBV_ADVISE_MR_FLAG_FLUSH, &sg, 1);

			if (rc && rc != EOPNOTSUPP)
				t_fail("ibv_advise_mr of %u bytes: %s", sg.length, strerror(rc));
		}
	}
}

/* Checks bytes that must be a guard or zeroes. Returns the offset of the first wrong one, or -1. */
static ssize_t diff_plain(const struct side *s, const struct seg *g, const uint8_t *base,
			  size_t off, size_t len, uint64_t seq)
{
	return zeroed(s, g) ? t_zero_diff(base + off, len) : t_pat_diff(base + off, len, ~seq, off);
}

bool check(const struct kase *k, const struct side *s, int who, size_t len, bool silent)
{
	size_t at = 0;

	for (int i = 0; i < s->n; i++) {
		const struct seg *g = &s->s[i];
		const uint8_t *base = arena[who][g->kind].va;
		size_t from = at < s->skip ? (s->skip - at < g->len ? s->skip - at : g->len) : 0;
		size_t pos = at + from - s->skip, n = 0;
		ssize_t bad;
		const char *what;

		if (at + from >= s->skip && pos < len)
			n = g->len - from < len - pos ? g->len - from : len - pos;
		what = "guard before";
		bad = diff_plain(s, g, base, g->off - GUARD, GUARD, k->seq);
		if (bad < 0) {
			what = "payload";
			bad = t_pat_diff(base + g->off + from, n, k->seq, pos);
		}
		if (bad < 0) {
			what = "behind the payload";
			bad = diff_plain(s, g, base, g->off + from + n,
					 g->len - from - n + GUARD, k->seq);
		}
		if (bad >= 0 && !silent) {
			size_t o = !strcmp(what, "payload") ? g->off + from + (size_t)bad :
				   what[0] == 'g' ? g->off - GUARD + (size_t)bad :
						    g->off + from + n + (size_t)bad;
			uint8_t want = !strcmp(what, "payload") ? t_pat(k->seq, pos + (size_t)bad) :
				       zeroed(s, g)		? 0 :
								  t_pat(~k->seq, o);

			t_fail("%s, side %c, SGE %d of %d (%s, %zu bytes at offset %zu of the MR), "
			       "%s: first wrong byte at %zd of it (MR offset %zu): got %#04x, "
			       "expected %#04x",
			       describe(k), who ? 'B' : 'A', i, s->n, kind_name[g->kind], g->len,
			       g->off, what, bad, o, base[o], want);
		}
		if (bad >= 0)
			return false;
		at += g->len;
	}
	return true;
}

int sges(const struct side *s, int who, struct ibv_sge *sg)
{
	for (int i = 0; i < s->n; i++) {
		struct t_arena *r = &arena[who][s->s[i].kind];

		sg[i] = (struct ibv_sge){ .addr = r->iova[s->other] + s->s[i].off,
					  .length = (uint32_t)s->s[i].len,
					  .lkey = r->mr[s->other]->lkey };
	}
	return s->n;
}
