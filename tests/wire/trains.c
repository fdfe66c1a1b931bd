// SPDX-License-Identifier: BSD-2-Clause
/*
 * prxe-trains: lists of work requests, each posted by one ibv_post_send(), between two devices. So
 * the sender has many packets at hand, which it may send as one.
 *
 * Lists of equal and of mixed operations and sizes, 1 to 64 deep, of RC, UC and UD; those whose
 * packets leave gaps in the PSNs (READ) between others; one way, the other, both at once, and of
 * two QPs in turn. The bytes of each operation are checked at both ends, with guards around them.
 * At the end the devices must not have counted a bad ICRC, a repetition, or a loss.
 */
#define _GNU_SOURCE
#include "lib/t.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LIST 64
#define GUARD 64U
#define GRH 40U
#define ROOM (2304U << 10)	/* of one list at one end: sources, or targets */
#define WARM_WORD 0x0123456789abcdefULL

enum what { WRITE, WRITE_IMM, SEND, SEND_IMM, READ, FAA, CAS, WHAT_NUM };
static const enum ibv_wr_opcode wr_op[WHAT_NUM] = {
	IBV_WR_RDMA_WRITE, IBV_WR_RDMA_WRITE_WITH_IMM, IBV_WR_SEND, IBV_WR_SEND_WITH_IMM,
	IBV_WR_RDMA_READ, IBV_WR_ATOMIC_FETCH_AND_ADD, IBV_WR_ATOMIC_CMP_AND_SWP,
};
static const char *const what_name[WHAT_NUM] = {
	"WRITE", "WRITE_IMM", "SEND", "SEND_IMM", "READ", "FETCH_ADD", "CMP_SWAP",
};

struct op {
	enum what what;
	uint32_t len;
	bool inl;
};
struct list {
	const char *name;
	unsigned n;
	bool all_signaled;
	struct op op[MAX_LIST];
};

/* One end: a device, its memory, its QPs. */
enum { RC, RC2, UC, UD, QPS };
#define MTUS 2
static const enum ibv_mtu mtus[MTUS] = { IBV_MTU_1024, IBV_MTU_4096 };
struct end {
	struct t_dev *d;
	struct t_arena mem[K_N];	/* two rooms of sources, two of targets */
	struct t_ep ep[MTUS][QPS];
};
static struct end ends[2];

static const char *const qp_name[QPS] = { "RC", "RC (the second)", "UC", "UD" };
enum kind { PIN, ODP, COLD, KINDS }; /* COLD: no translation, when the list is posted */
static const char *const kind_name[KINDS] = { "pin", "odp", "cold" };
static const enum t_kind memory[KINDS] = { K_PIN, K_ODP, K_SHM };
static enum kind kind;
static unsigned mtu;
static uint64_t lists_done, ops_done, bytes_done;

/* ---- one list: made ready, posted, checked ---- */

struct run {
	const struct list *l;
	struct end *from, *to;
	int qp, room;
	uint64_t seq;
	size_t at[MAX_LIST], near_off, far_off, size;
};

static uint8_t *near_room(const struct run *r)
{
	return r->from->mem[memory[kind]].va + (unsigned)r->room * ROOM;
}

static uint8_t *far_room(const struct run *r)
{
	return r->to->mem[memory[kind]].va + (2 + (unsigned)r->room) * ROOM;
}

static bool is_atomic(enum what w)
{
	return w == FAA || w == CAS;
}

static bool is_send(enum what w)
{
	return w == SEND || w == SEND_IMM;
}

static bool receives(enum what w)
{
	return is_send(w) || w == WRITE_IMM;
}

static size_t skip(const struct run *r)
{
	return r->qp == UD ? GRH : 0;
}

static uint8_t *near_end(const struct run *r, unsigned i)
{
	return near_room(r) + r->at[i] + (is_atomic(r->l->op[i].what) ? 0 : r->near_off);
}

static uint8_t *far_end(const struct run *r, unsigned i)
{
	return far_room(r) + r->at[i] + (is_atomic(r->l->op[i].what) ? 0 : r->far_off);
}

static uint64_t word(const struct run *r, unsigned i)
{
	return WARM_WORD * (r->seq + i);
}

/* What a CAS compares with: every other one does not match. */
static uint64_t compare(const struct run *r, unsigned i)
{
	return word(r, i) + (i & 1);
}

static void lay_out(struct run *r, uint64_t rnd)
{
	size_t at = GUARD;

	r->near_off = rnd % 61;
	r->far_off = rnd >> 8 & 63;
	for (unsigned i = 0; i < r->l->n; i++) {
		r->at[i] = at;
		at += (skip(r) + r->l->op[i].len + 64 + GUARD + 7) & ~(size_t)7;
	}
	r->size = at;
	if (at > ROOM)
		t_die("%s: %zu bytes are too many", r->l->name, at);
}

static void fill(struct run *r)
{
	t_pat_fill(near_room(r), r->size, ~r->seq, 0);
	t_pat_fill(far_room(r), r->size, ~r->seq, 0);
	for (unsigned i = 0; i < r->l->n; i++) {
		const struct op *o = &r->l->op[i];
		uint64_t w = word(r, i);

		if (is_atomic(o->what))
			memcpy(far_end(r, i), &w, 8);
		else
			t_pat_fill(o->what == READ ? far_end(r, i) : near_end(r, i), o->len,
				   r->seq + i, 0);
	}
	if (kind == COLD) {
		t_drop(near_room(r), r->size);
		t_drop(far_room(r), r->size);
	}
}

static void post(struct run *r)
{
	struct t_ep *a = &r->from->ep[mtu][r->qp], *b = &r->to->ep[mtu][r->qp];
	uint32_t lkey = r->from->mem[memory[kind]].mr[0]->lkey;
	struct ibv_mr *far = r->to->mem[memory[kind]].mr[0];
	struct ibv_send_wr wr[MAX_LIST], *bad;
	struct ibv_recv_wr rw[MAX_LIST], *bad_recv;
	struct ibv_sge sg[MAX_LIST], rsg[MAX_LIST];
	unsigned receive = 0;
	int rc;

	for (unsigned i = 0; i < r->l->n; i++) {
		const struct op *o = &r->l->op[i];
		bool last = i + 1 == r->l->n;

		sg[i] = t_sge(near_end(r, i), o->len, lkey);
		wr[i] = (struct ibv_send_wr){ .wr_id = i, .opcode = wr_op[o->what],
					      .sg_list = &sg[i], .num_sge = o->len > 0,
					      .next = last ? NULL : &wr[i + 1],
					      .imm_data = htonl((uint32_t)r->seq + i) };
		if (last || r->l->all_signaled)
			wr[i].send_flags |= IBV_SEND_SIGNALED;
		if (o->inl)
			wr[i].send_flags |= IBV_SEND_INLINE;
		if (r->qp == UD) {
			wr[i].wr.ud.ah = a->ah;
			wr[i].wr.ud.remote_qpn = a->peer.qpn;
			wr[i].wr.ud.remote_qkey = T_QKEY;
		} else if (is_atomic(o->what)) {
			wr[i].wr.atomic.remote_addr = (uintptr_t)far_end(r, i);
			wr[i].wr.atomic.rkey = far->rkey;
			wr[i].wr.atomic.compare_add = o->what == FAA ? i + 1 : compare(r, i);
			wr[i].wr.atomic.swap = ~word(r, i);
		} else {
			wr[i].wr.rdma.remote_addr = (uintptr_t)far_end(r, i);
			wr[i].wr.rdma.rkey = far->rkey;
		}
		if (!receives(o->what))
			continue;
		rsg[receive] = t_sge(far_end(r, i), skip(r) + o->len, far->lkey);
		rw[receive] = (struct ibv_recv_wr){ .wr_id = i, .sg_list = &rsg[receive],
						    .num_sge = is_send(o->what) };
		if (receive)
			rw[receive - 1].next = &rw[receive];
		receive++;
	}
	rc = receive ? ibv_post_recv(b->qp, rw, &bad_recv) : 0;
	if (!rc)
		rc = ibv_post_send(a->qp, wr, &bad);
	if (rc)
		t_die("%s: post: %s", r->l->name, strerror(rc));
}

static void take(struct run *r)
{
	struct t_ep *a = &r->from->ep[mtu][r->qp], *b = &r->to->ep[mtu][r->qp];
	struct ibv_wc wc;

	for (unsigned i = 0; i < r->l->n; i++) {
		const struct op *o = &r->l->op[i];
		bool imm = o->what == WRITE_IMM || o->what == SEND_IMM;

		if (!receives(o->what))
			continue;
		if (!t_expect("a receive", b->rcq, IBV_WC_SUCCESS, &wc))
			exit(1);
		if (wc.wr_id != i || wc.byte_len != skip(r) + o->len ||
		    wc.opcode != (is_send(o->what) ? IBV_WC_RECV : IBV_WC_RECV_RDMA_WITH_IMM))
			t_fail("number %u, %s of %u bytes: the receive has wr_id %llu, byte_len %u,"
			       " opcode %d", i, what_name[o->what], o->len,
			       (unsigned long long)wc.wr_id, wc.byte_len, wc.opcode);
		if (imm && (!(wc.wc_flags & IBV_WC_WITH_IMM) ||
			    ntohl(wc.imm_data) != (uint32_t)r->seq + i))
			t_fail("number %u, %s: flags %#x, immediate %#x", i, what_name[o->what],
			       wc.wc_flags, ntohl(wc.imm_data));
	}
	for (unsigned i = r->l->all_signaled ? 0 : r->l->n - 1; i < r->l->n; i++) {
		if (!t_expect("a request", a->scq, IBV_WC_SUCCESS, &wc))
			exit(1);
		if (wc.wr_id != i)
			t_fail("wr_id %llu, expected %u", (unsigned long long)wc.wr_id, i);
	}
}

/* The word that an atomic changed, and what it returned; then the guard over both. */
static void check_atomic(struct run *r, unsigned i)
{
	uint64_t old = word(r, i), want = old + i + 1, got;
	enum what w = r->l->op[i].what;

	if (w == CAS)
		want = compare(r, i) == old ? ~old : old;
	memcpy(&got, far_end(r, i), 8);
	if (got != want)
		t_fail("number %u, %s: the word is %#llx, expected %#llx", i, what_name[w],
		       (unsigned long long)got, (unsigned long long)want);
	memcpy(&got, near_end(r, i), 8);
	if (got != old)
		t_fail("number %u, %s returned %#llx, expected %#llx", i, what_name[w],
		       (unsigned long long)got, (unsigned long long)old);
}

static void check(struct run *r)
{
	for (unsigned i = 0; i < r->l->n; i++) {
		const struct op *o = &r->l->op[i];
		uint8_t *n = near_end(r, i), *f = far_end(r, i);
		char what[80];

		if (is_atomic(o->what)) {
			check_atomic(r, i);
		} else {
			size_t gap = is_send(o->what) ? skip(r) : 0;

			snprintf(what, sizeof(what), "number %u, %s of %u bytes, near", i,
				 what_name[o->what], o->len);
			t_pat_check(what, n, o->len, r->seq + i, 0);
			snprintf(what, sizeof(what), "number %u, %s of %u bytes, far", i,
				 what_name[o->what], o->len);
			t_pat_check(what, f + gap, o->len, r->seq + i, 0);
			t_pat_fill(f, gap, ~r->seq, (uint64_t)(f - far_room(r)));
			f += gap;
		}
		/* Put the guard over it, so that all can be checked for what should not be. */
		t_pat_fill(n, o->len, ~r->seq, (uint64_t)(n - near_room(r)));
		t_pat_fill(f, o->len, ~r->seq, (uint64_t)(f - far_room(r)));
		bytes_done += o->len;
	}
	t_pat_check("around it, near", near_room(r), r->size, ~r->seq, 0);
	t_pat_check("around it, far", far_room(r), r->size, ~r->seq, 0);
	lists_done++;
	ops_done += r->l->n;
}

/* Ways to run lists: one way, the other, both ways at once, two QPs in turn. */
enum way { THERE, BACK, BOTH, TURNS, WAYS };
static const char *const way_name[WAYS] = { "there", "back", "both ways", "two QPs" };

static void run(const struct list *l, int qp, enum way way, uint64_t rnd)
{
	struct run r[4];
	unsigned n = way == BOTH ? 2 : way == TURNS ? 4 : 1;
	static uint64_t seq = 1;

	t_context("list '%s' of %u, first %s of %u, %s, memory %s, path MTU %d, %s", l->name, l->n,
		  what_name[l->op[0].what], l->op[0].len, qp_name[qp], kind_name[kind],
		  128 << mtus[mtu], way_name[way]);
	for (unsigned i = 0; i < n; i++) {
		bool back = way == BACK || (n > 1 && i & 1);

		r[i] = (struct run){ .l = l, .from = &ends[back], .to = &ends[!back], .seq = seq,
				     .qp = way == TURNS && i & 2 ? RC2 : qp,
				     .room = way == TURNS && i & 2 };
		seq += MAX_LIST;
		lay_out(&r[i], t_mix(rnd + i));
		fill(&r[i]);
	}
	for (unsigned i = 0; i < n; i++)
		post(&r[i]);
	for (unsigned i = 0; i < n; i++)
		take(&r[i]);
	for (unsigned i = 0; i < n; i++)
		check(&r[i]);
	t_context("%s", "");
}

/* ---- lists ---- */

static void add(struct list *l, enum what what, uint32_t len)
{
	if (l->n < MAX_LIST)
		l->op[l->n++] = (struct op){ .what = what, .len = is_atomic(what) ? 8 : len };
}

static struct list equal(const char *name, enum what what, unsigned n, uint32_t len)
{
	struct list l = { .name = name };

	while (l.n < n)
		add(&l, what, len);
	return l;
}

/* Requests whose packets leave gaps in the PSNs, or have none, between those that do not. */
static struct list gaps(unsigned variant)
{
	const uint32_t m = 128U << mtus[mtu];
	struct list l = { .name = "gaps" };

	switch (variant) {
	case 0:
		add(&l, READ, 65536);
		add(&l, SEND, 8);
		add(&l, READ, 8);
		add(&l, WRITE, 8);
		add(&l, FAA, 8);
		break;
	case 1:	/* the packets of the requests are of equal size */
		while (l.n < MAX_LIST) {
			add(&l, SEND, 16);
			add(&l, READ, l.n % 8 == 1 ? 65536 : 8);
			add(&l, WRITE, 0);
			add(&l, READ, 2 * m + 1);
		}
		break;
	case 2:	/* also these */
		while (l.n < MAX_LIST - 3) {
			add(&l, FAA, 8);
			add(&l, WRITE, 12);
			add(&l, SEND, 28);
			add(&l, l.n & 4 ? CAS : WRITE_IMM, 8);
			add(&l, READ, 100);
		}
		break;
	case 3:	/* long messages with a short last packet, and a READ behind */
		for (unsigned i = 0; i < 6; i++) {
			add(&l, WRITE, 5 * m + 8);
			add(&l, READ, 3 * m);
			add(&l, SEND_IMM, 3 * m);
			add(&l, READ, m + i);
			add(&l, WRITE_IMM, i * m);
			add(&l, FAA, 8);
		}
		break;
	default: /* READs only, more than may be outstanding */
		while (l.n < 40)
			add(&l, READ, l.n % 3 ? 8 : 4 * m + 4);
		break;
	}
	l.all_signaled = variant & 1;
	return l;
}
#define GAPS 5

static struct list mixed(int qp, uint64_t rnd)
{
	static const enum what rc[] = { WRITE, WRITE_IMM, SEND, SEND_IMM, READ, FAA, CAS, WRITE,
					SEND };
	static const enum what uc[] = { WRITE, WRITE_IMM, SEND, SEND_IMM };
	const uint32_t m = 128U << mtus[mtu];
	const unsigned n = 1 + (rnd >> 40) % MAX_LIST;
	struct list l = { .name = "mixed", .all_signaled = rnd & 1 };
	enum what what = SEND;
	uint32_t len = 0;

	while (l.n < n) {
		uint64_t r = t_mix(rnd + l.n);

		/* Often the same again, so that there is something to be sent as one. */
		if (!l.n || (r & 3) == 0 || qp == UD) {
			what = qp == UD ? r & 4 ? SEND : SEND_IMM : qp == UC ?
			       uc[(r >> 4) % ARRAY_LEN(uc)] : rc[(r >> 4) % ARRAY_LEN(rc)];
			len = r >> 8 & 3 ? (r >> 16) % 200 : (r >> 16) % (3 * m);
			if (qp == UD)
				len = r >> 8 & 7 ? 64 : (r >> 16) % (m + 1);
		}
		/* That a WRITE of UC has arrived is seen by what comes behind it. */
		if (qp == UC && l.n + 1 == n && what == WRITE)
			what = WRITE_IMM;
		add(&l, what, len);
		l.op[l.n - 1].inl = what != READ && !is_atomic(what) && len <= 60 && !(r >> 50 & 3);
	}
	return l;
}

static void fixed(uint64_t rnd)
{
	static const unsigned numbers[] = { 1, 2, 3, 16, 63, 64 };
	static const enum what what[] = { WRITE, SEND, READ, WRITE_IMM, FAA, SEND_IMM, CAS };
	const uint32_t m = 128U << mtus[mtu];
	const uint32_t lens[] = { 8, 0, 1, 100, m - 1, m, m + 1 };
	unsigned k = (unsigned)rnd;
	struct list l;

	for (unsigned i = 0; i < ARRAY_LEN(numbers); i++)
		for (unsigned j = 0; j < ARRAY_LEN(lens); j++, k++) {
			l = equal("equal", what[k % ARRAY_LEN(what)], numbers[i], lens[j]);
			l.all_signaled = k & 1;
			run(&l, RC, (enum way)(k / 2 % BOTH), rnd + k);
		}
	for (unsigned i = 0; i < GAPS; i++) {
		l = gaps(i);
		for (int w = 0; w < BOTH + (i < 3); w++)
			run(&l, RC, (enum way)w, rnd + i);
		if (i == 2)
			run(&l, RC, TURNS, rnd + i);
	}
	for (unsigned i = 0; i < 3; i++) { /* a WRITE, a SEND, a READ */
		l = equal("long", what[i], 1, (1 << 20) + 13);
		run(&l, RC, i & 1 ? BACK : THERE, rnd + i);
	}
	l = equal("long", READ, 3, 200000);
	run(&l, RC, BOTH, rnd);
	l = equal("equal", WRITE, 64, 64);
	run(&l, RC, TURNS, rnd);
	/* What has no retransmission is not sent to memory that may be late. */
	if (kind != PIN)
		return;
	for (int qp = UC; qp <= UD; qp++)
		for (unsigned i = 0; i < ARRAY_LEN(numbers); i++) {
			l = equal("equal", i & 1 ? SEND : SEND_IMM, numbers[i], i & 2 ? m : 64);
			run(&l, qp, (enum way)(i % TURNS), rnd + i);
		}
	l = equal("long", WRITE_IMM, 1, 100001);
	run(&l, UC, THERE, rnd);
}

static void more(uint64_t rnd, double seconds)
{
	double end = t_now() + seconds;
	struct list l;

	do {
		int qp = kind == PIN && !(rnd & 3) ? rnd & 4 ? UC : UD : RC;

		l = mixed(qp, rnd);
		run(&l, qp, (enum way)((rnd >> 8) % (qp == RC ? WAYS : TURNS)), rnd);
		rnd = t_mix(rnd);
	} while (t_now() < end && t_fails < 5);
}

/* ---- set-up, and counters ---- */

static void open_end(struct end *e, const char *name, int gid, unsigned kinds)
{
	e->d = t_dev_open(name, gid);
	for (int k = 0; k < KINDS; k++)
		if (kinds >> k & 1)
			t_arena_open(&e->mem[memory[k]], memory[k], 4UL * ROOM, e->d->pd,
				     0x123456780000ULL, 0);
	for (unsigned m = 0; m < MTUS; m++)
		for (int q = 0; q < QPS; q++) {
			struct t_opt o = { .mtu = mtus[m], .depth = MAX_LIST, .inl = 64,
					   /* Seconds: nothing is to be sent twice for slowness. */
					   .timeout = 20 };

			o.type = q == UC ? IBV_QPT_UC : q == UD ? IBV_QPT_UD : IBV_QPT_RC;
			if (mtus[m] > e->d->port.active_mtu)
				t_die("%s: the port's MTU is %d", name,
				      128 << e->d->port.active_mtu);
			t_ep_open(&e->ep[m][q], e->d, &o);
		}
}

static void close_end(struct end *e, unsigned kinds)
{
	for (unsigned m = 0; m < MTUS; m++)
		for (int q = 0; q < QPS; q++)
			t_ep_close(&e->ep[m][q]);
	for (int k = 0; k < KINDS; k++)
		if (kinds >> k & 1)
			t_arena_close(&e->mem[memory[k]]);
	t_dev_close(e->d);
}

/*
 * What must not grow. The last two may when memory was late, and the receiver said so: what was
 * under way comes again then. The last three may when the network reorders. ("dropped" also counts
 * an ACK that says nothing new.)
 */
static const char *const none[] = { "rcvd_bad_icrc", "rcvd_malformed", "dropped_fault", "send_err",
				    "lost_to_fault", "completer_retry_err", "out_of_seq_request",
				    "retransmits" };
#define LATE 2
#define REORDERED 3
static bool reorders;
static uint64_t was[2][ARRAY_LEN(none) + 2];

static void counters(uint64_t v[2][ARRAY_LEN(none) + 2])
{
	for (int e = 0; e < 2; e++) {
		for (size_t i = 0; i < ARRAY_LEN(none); i++)
			v[e][i] = t_counter(ends[e].d->name, none[i]);
		v[e][ARRAY_LEN(none)] = t_counter(ends[e].d->name, "send_rnr_err");
		v[e][ARRAY_LEN(none) + 1] = t_counter(ends[e].d->name, "sent_pkts");
	}
}

static void check_counters(void)
{
	const size_t rnr = ARRAY_LEN(none), sent = rnr + 1;
	uint64_t is[2][ARRAY_LEN(none) + 2];
	size_t may;
	bool late;

	counters(is);
	late = is[0][rnr] != was[0][rnr] || is[1][rnr] != was[1][rnr];
	may = reorders ? REORDERED : late ? LATE : 0;
	for (int e = 0; e < 2; e++) {
		for (size_t i = 0; i < ARRAY_LEN(none) - may; i++)
			if (is[e][i] != was[e][i])
				t_fail("%s: %s grew by %llu", ends[e].d->name, none[i],
				       (unsigned long long)(is[e][i] - was[e][i]));
		if (is[e][sent] == was[e][sent])
			t_fail("%s sent nothing", ends[e].d->name);
	}
	t_note("%llu lists, %llu operations, %.1f MB; %llu and %llu packets%s",
	       (unsigned long long)lists_done, (unsigned long long)ops_done,
	       (double)bytes_done / 1e6, (unsigned long long)(is[0][sent] - was[0][sent]),
	       (unsigned long long)(is[1][sent] - was[1][sent]), late ? "; memory was late" : "");
}

int main(int argc, char **argv)
{
	const char *dev[2] = { "wireA", "wireB" }, *kinds = NULL, *sizes = NULL;
	int gid[2] = { 1, 1 }, c;
	double seconds = 1, each;
	uint64_t seed = 1;
	unsigned bits = 0, parts = 0;

	t_init();
	while ((c = getopt(argc, argv, "d:g:e:G:k:m:t:s:r")) != -1) {
		switch (c) {
		case 'd': dev[0] = optarg; break;
		case 'g': gid[0] = atoi(optarg); break;
		case 'e': dev[1] = optarg; break;
		case 'G': gid[1] = atoi(optarg); break;
		case 'k': kinds = optarg; break;
		case 'm': sizes = optarg; break;
		case 't': seconds = atof(optarg); break;
		case 'r': reorders = true; break;
		case 's': seed = strtoull(optarg, NULL, 0); break;
		default:
			printf("usage: %s [-d DEV] [-g GID] [-e DEV] [-G GID] [-k pin,odp,cold]"
			       " [-m 1024,4096] [-t SECONDS] [-s SEED]\n"
			       "-r: the network may reorder packets\n", argv[0]);
			return 2;
		}
	}
	t_watchdog((unsigned)seconds + 100);
	for (int k = 0; k < KINDS; k++)
		bits |= t_list_has(kinds, kind_name[k]) ? 1U << k : 0;
	for (int i = 0; i < 2; i++)
		open_end(&ends[i], dev[i], gid[i], bits);
	for (unsigned m = 0; m < MTUS; m++)
		for (int q = 0; q < QPS; q++) {
			t_ep_connect(&ends[0].ep[m][q], &ends[1].ep[m][q].me);
			t_ep_connect(&ends[1].ep[m][q], &ends[0].ep[m][q].me);
		}
	counters(was);
	for (unsigned k = 0; k < KINDS; k++)
		parts += bits >> k & 1;
	each = parts ? seconds / (parts * (sizes ? 1 : MTUS)) : 0;
	for (unsigned k = 0; k < KINDS; k++)
		for (mtu = 0; mtu < MTUS; mtu++) {
			char size[8];

			snprintf(size, sizeof(size), "%d", 128 << mtus[mtu]);
			if (!(bits >> k & 1) || !t_list_has(sizes, size))
				continue;
			kind = (enum kind)k;
			fixed(t_mix(seed * 10 + k * 2 + mtu));
			more(t_mix(seed * 10 + k * 2 + mtu + 5000), each);
		}
	if (!lists_done)
		t_fail("nothing was done");
	check_counters();
	for (int i = 0; i < 2; i++)
		close_end(&ends[i], bits);
	return t_done("trains");
}
