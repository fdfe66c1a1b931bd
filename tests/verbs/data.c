// SPDX-License-Identifier: BSD-2-Clause
/*
 * Every operation across offsets, lengths, memory kinds, temperatures, path MTUs and addresses.
 *
 * The cases are a numbered full cross. A run walks it in a fixed pseudo-random order from a point
 * that the seed chooses, until --sample cases are done or --time is over. A case has a requester
 * (A) and a responder (B). The bytes of both sides are checked, with guards around every target
 * (data_case.c). With --two, B is another process, with its own address space. With --peer, B is
 * prxe-data --serve on another machine, which A tells what to do.
 */
#define _GNU_SOURCE
#include "data.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRIES 12 /* for a message that may be dropped */

struct data_opt opt = { .gid = 1, .gid2 = -1, .time = 60, .seed = 1, .max_len = SIZE_MAX };

/* Which roles this process plays: both, or one with a socket to the other. */
static bool is_a = true, is_b = true;
static int sock = -1;

struct t_dev *da, *db;
struct t_arena arena[2][K_N]; /* of A, of B */
static struct t_ep rc[2][RC_MTUS], uc[2][RC_MTUS], srq_ep[2], ud[2];
static struct ibv_srq *srq;
static struct ibv_mw *mw;
static struct remote { uint64_t iova[K_N][2]; uint32_t rkey[K_N][2]; uint32_t mw_rkey; } remote;
static struct t_ep *mw_ep; /* the window was bound through its QP */
static unsigned long long done[OP_N], lost;
bool have_odp[2], have_odp_uc, have_mw, have_flush;
enum ibv_mtu port_mtu;
size_t page;
static bool mw_bound;

static void barrier(void)
{
	char c = 0;

	if (sock < 0)
		return;
	t_put(sock, &c, 1);
	t_get(sock, &c, 1);
}

/* Tells A what B found. Both return it. */
static int verdict(int v)
{
	if (sock < 0)
		return v;
	if (is_b)
		t_put(sock, &v, sizeof(v));
	else
		t_get(sock, &v, sizeof(v));
	return v;
}

/* ---- running a case ---- */

static struct t_ep *ep_of(const struct kase *k, int who)
{
	if (k->op == UD_SEND)
		return &ud[who];
	if (k->op == SRQ_SEND)
		return &srq_ep[who];
	return is_uc(k->op) ? &uc[who][k->mtu] : &rc[who][k->mtu];
}

/* B binds its window over the target (WRITE through it) or over anything (SEND_INV). */
static void bind_window(const struct kase *k, struct t_ep *e)
{
	const struct seg *g = &k->b.s[0];
	struct t_arena *r = &arena[1][k->b.n ? g->kind : K_PIN];
	struct ibv_send_wr wr = { .opcode = IBV_WR_BIND_MW, .send_flags = IBV_SEND_SIGNALED }, *bad;
	uint32_t rkey = ibv_inc_rkey(mw->rkey);
	int rc_;

	if (mw_bound) { /* a type 2 window is bound only when it is free */
		struct ibv_send_wr inv = {
			.opcode = IBV_WR_LOCAL_INV,
			.send_flags = IBV_SEND_SIGNALED,
			.invalidate_rkey = mw->rkey,
		};

		rc_ = ibv_post_send(mw_ep->qp, &inv, &bad);
		if (rc_)
			t_die("%s: post of LOCAL_INV: %s", describe(k), strerror(rc_));
		if (!t_expect("LOCAL_INV of a window", mw_ep->scq, IBV_WC_SUCCESS, NULL))
			t_die("%s: the window cannot be invalidated", describe(k));
	}
	wr.bind_mw.mw = mw;
	wr.bind_mw.rkey = rkey;
	wr.bind_mw.bind_info.mr = r->mr[k->b.other];
	wr.bind_mw.bind_info.addr = r->iova[k->b.other] + (k->op == MW_WRITE ? g->off : 0);
	wr.bind_mw.bind_info.length = k->op == MW_WRITE ? k->len : page;
	wr.bind_mw.bind_info.mw_access_flags = IBV_ACCESS_REMOTE_WRITE;
	rc_ = ibv_post_send(e->qp, &wr, &bad);
	if (rc_)
		t_die("%s: post of BIND_MW: %s", describe(k), strerror(rc_));
	mw->rkey = rkey;
	if (!t_expect("BIND_MW", e->scq, IBV_WC_SUCCESS, NULL))
		t_die("%s: the window cannot be bound", describe(k));
	mw_bound = k->op == MW_WRITE; /* a SEND_INV is about to free it */
	mw_ep = e;
}

static const enum ibv_wr_opcode wr_op[OP_N] = {
	[WRITE] = IBV_WR_RDMA_WRITE,	   [WRITE_IMM] = IBV_WR_RDMA_WRITE_WITH_IMM,
	[SEND] = IBV_WR_SEND,		   [SEND_IMM] = IBV_WR_SEND_WITH_IMM,
	[SEND_INV] = IBV_WR_SEND_WITH_INV, [READ] = IBV_WR_RDMA_READ,
	[CAS] = IBV_WR_ATOMIC_CMP_AND_SWP, [FAA] = IBV_WR_ATOMIC_FETCH_AND_ADD,
	[MW_WRITE] = IBV_WR_RDMA_WRITE,	   [SRQ_SEND] = IBV_WR_SEND,
	[UC_WRITE] = IBV_WR_RDMA_WRITE,	   [UC_WRITE_IMM] = IBV_WR_RDMA_WRITE_WITH_IMM,
	[UC_SEND] = IBV_WR_SEND,	   [UD_SEND] = IBV_WR_SEND,
	[WRITE_FLUSH] = IBV_WR_RDMA_WRITE, /* and a FLUSH behind it, whose completion counts */
};

static uint64_t old_value(const struct kase *k) /* of the atomic's target: its pattern */
{
	uint64_t v;
	uint8_t b[8];

	for (unsigned i = 0; i < 8; i++)
		b[i] = t_pat(k->seq + 7, i);
	memcpy(&v, b, 8);
	return v;
}

static void request(const struct kase *k, struct t_ep *e, uint64_t id)
{
	struct ibv_sge sg[MAX_SEG];
	struct t_wr w = {
		.op = wr_op[k->op],
		.sg = sg,
		.id = id,
		.flags = k->inl ? IBV_SEND_INLINE : 0,
	};
	const struct seg *g = &k->b.s[0];
	uint64_t want = 0;
	int rc_;

	w.n = sges(&k->a, 0, sg);
	if (k->inl) /* an inline source needs no key, and its address is the process's own */
		for (int i = 0; i < w.n; i++) {
			sg[i].addr = (uintptr_t)(arena[0][k->a.s[i].kind].va + k->a.s[i].off);
			sg[i].lkey = 0xdead;
		}
	if (k->b.n) {
		w.raddr = remote.iova[g->kind][k->b.other] + g->off;
		w.rkey = remote.rkey[g->kind][k->b.other];
	}
	if (k->op == MW_WRITE)
		w.rkey = remote.mw_rkey;
	w.imm = k->op == SEND_INV ? remote.mw_rkey : htonl((uint32_t)k->seq);
	if (k->op == WRITE_IMM || k->op == UC_WRITE_IMM || k->op == SEND_IMM)
		w.imm = htonl((uint32_t)k->seq);
	if (atomic(k->op)) {
		want = old_value(k);
		/* every other CAS must not match */
		w.compare = k->op == FAA ? k->seq * 0x9e3779b97f4a7c15ULL : want + (k->seq & 1);
		w.swap = ~want;
	}
	if (k->op == WRITE_FLUSH)
		w.flags |= T_UNSIGNALED;
	rc_ = t_post(e, &w);
	if (rc_)
		t_die("%s: ibv_post_send: %s", describe(k), strerror(rc_));
	if (k->op == WRITE_FLUSH) {
		rc_ = t_flush(e, w.raddr, w.rkey, k->len, IBV_FLUSH_GLOBAL,
			      k->seq & 1 ? IBV_FLUSH_RANGE : IBV_FLUSH_MR, id);
		if (rc_)
			t_die("%s: ibv_wr_flush: %s", describe(k), strerror(rc_));
	}
	if (k->inl) /* an inline source belongs to the application again at once */
		for (int i = 0; i < w.n; i++)
			memset(arena[0][k->a.s[i].kind].va + k->a.s[i].off, 0x5a, k->a.s[i].len);
}

static bool receive_ok(const struct kase *k, struct t_ep *e, struct ibv_wc *wc)
{
	bool imm = k->op == WRITE_IMM || k->op == UC_WRITE_IMM;
	bool with_imm = imm || k->op == SEND_IMM;
	bool ok = true;

	if (wc->status != IBV_WC_SUCCESS) {
		t_fail("%s: receive completed with '%s'", describe(k),
		       ibv_wc_status_str(wc->status));
		return false;
	}
	if (k->op == UC_WRITE)
		return true; /* of the SEND that follows the WRITE */
	if (wc->opcode != (imm ? IBV_WC_RECV_RDMA_WITH_IMM : IBV_WC_RECV)) {
		t_fail("%s: receive opcode %d", describe(k), wc->opcode);
		ok = false;
	}
	if (wc->byte_len != k->len + k->b.skip) {
		t_fail("%s: receive byte_len %u", describe(k), wc->byte_len);
		ok = false;
	}
	if (wc->qp_num != e->qp->qp_num) {
		t_fail("%s: receive qp_num %u, expected %u", describe(k), wc->qp_num,
		       e->qp->qp_num);
		ok = false;
	}
	if (with_imm &&
	    (!(wc->wc_flags & IBV_WC_WITH_IMM) || wc->imm_data != htonl((uint32_t)k->seq))) {
		t_fail("%s: flags %#x imm %#x, expected %#x", describe(k), wc->wc_flags,
		       ntohl(wc->imm_data), (uint32_t)k->seq);
		ok = false;
	}
	if (k->op == SEND_INV &&
	    (!(wc->wc_flags & IBV_WC_WITH_INV) || wc->invalidated_rkey != mw->rkey)) {
		t_fail("%s: flags %#x invalidated rkey %#x, expected %#x", describe(k),
		       wc->wc_flags, wc->invalidated_rkey, mw->rkey);
		ok = false;
	}
	if (k->op == UD_SEND && (!(wc->wc_flags & IBV_WC_GRH) || wc->src_qp != e->peer.qpn)) {
		t_fail("%s: flags %#x, src_qp %u, expected a GRH and %u", describe(k), wc->wc_flags,
		       wc->src_qp, e->peer.qpn);
		ok = false;
	}
	return ok;
}

static void check_atomic(const struct kase *k)
{
	const struct seg *ga = &k->a.s[0], *gb = &k->b.s[0];
	uint64_t old = old_value(k), got, want;
	struct kase g = *k;

	if (is_a && k->a.n) {
		memcpy(&got, arena[0][ga->kind].va + ga->off, 8);
		if (got != old)
			t_fail("%s: returned %#llx, the target held %#llx", describe(k),
			       (unsigned long long)got, (unsigned long long)old);
		/* Put back the pattern that the check of the guards expects in the middle. */
		t_pat_fill(arena[0][ga->kind].va + ga->off, 8, k->seq, 0);
		check(&g, &g.a, 0, 8, false);
	}
	if (is_b) {
		want = k->op == FAA ? old + k->seq * 0x9e3779b97f4a7c15ULL :
		       k->seq & 1   ? old :
				      ~old;
		memcpy(&got, arena[1][gb->kind].va + gb->off, 8);
		if (got != want)
			t_fail("%s: the target is %#llx, expected %#llx (was %#llx)", describe(k),
			       (unsigned long long)got, (unsigned long long)want,
			       (unsigned long long)old);
		t_pat_fill(arena[1][gb->kind].va + gb->off, 8, k->seq, 0);
		check(&g, &g.b, 1, 8, false);
	}
}

static void post_receive(const struct kase *k, struct t_ep *e)
{
	struct ibv_sge sg[MAX_SEG];
	int n = b_list(k->op) ? sges(&k->b, 1, sg) : 0;
	int rc_ = t_recv(e, sg, n, k->id);

	if (rc_)
		t_die("%s: post of a receive with %d SGEs: %s", describe(k), n, strerror(rc_));
}

enum { GOOD, LOST, BROKEN };

/* Requests and completions of one attempt. */
static int attempt(struct kase *k, bool first, bool last)
{
	struct t_ep *ea = ep_of(k, 0), *eb = ep_of(k, 1);
	struct ibv_wc wc;
	int v = GOOD;

	if (is_b && first) {
		if (k->op == MW_WRITE || k->op == SEND_INV)
			bind_window(k, eb);
		if (b_recv(k->op))
			post_receive(k, eb);
		remote.mw_rkey = mw ? mw->rkey : 0;
		if (sock >= 0)
			t_put(sock, &remote.mw_rkey, 4);
	} else if (first) {
		t_get(sock, &remote.mw_rkey, 4);
	}
	barrier();
	if (is_a) {
		request(k, ea, k->seq);
		if (!t_wait(ea->scq, &wc, t_limit)) {
			t_die("%s: no completion of the request within %.0f s", describe(k),
			      t_limit);
		} else if (wc.status != IBV_WC_SUCCESS) {
			t_die("%s: completed with '%s'", describe(k), ibv_wc_status_str(wc.status));
		} else if (wc.wr_id != k->seq || wc.qp_num != ea->qp->qp_num) {
			t_fail("%s: wr_id %llu QP %u", describe(k), (unsigned long long)wc.wr_id,
			       wc.qp_num);
		}
		if (k->op == UC_WRITE) { /* a SEND after it tells B when to look */
			struct t_wr w = { .op = IBV_WR_SEND, .id = 1 };

			if (t_post(ea, &w))
				t_die("%s: ibv_post_send failed", describe(k));
			t_expect("the SEND behind a UC WRITE", ea->scq, IBV_WC_SUCCESS, NULL);
		}
	}
	barrier();
	if (is_b && b_recv(k->op)) {
		if (!t_wait(eb->rcq, &wc, lossy(k->op) && !last ? t_slow(0.2) : t_limit)) {
			v = LOST;
			if (!lossy(k->op) || last)
				t_die("%s: no completion of the receive", describe(k));
		} else {
			if (!receive_ok(k, eb, &wc))
				v = BROKEN;
			if (k->op == UC_WRITE && !last && !check(k, &k->b, 1, k->len, true)) {
				v = LOST;
				post_receive(k, eb);
			}
		}
	}
	return verdict(v);
}

static void run_case(struct kase *k)
{
	int v = GOOD;

	if (opt.verbose)
		t_note("%s", describe(k));
	if (is_a)
		prepare(k, &k->a, 0, !k->data_from_b && !atomic(k->op));
	if (is_b) {
		prepare(k, &k->b, 1, k->data_from_b);
		if (atomic(k->op))
			t_pat_fill(arena[1][k->b.s[0].kind].va + k->b.s[0].off, 8, k->seq + 7, 0);
	}
	for (int i = 0; i < TRIES; i++) {
		if (i && is_a && k->inl)
			prepare(k, &k->a, 0, true);
		v = attempt(k, !i, i == TRIES - 1);
		if (v != LOST)
			break;
		lost++;
	}
	done[k->op]++;
	if (v == BROKEN)
		return;
	if (atomic(k->op)) {
		check_atomic(k);
		return;
	}
	if (is_a && !k->inl)
		check(k, &k->a, 0, k->len, false);
	if (is_b)
		check(k, &k->b, 1, k->len, false);
}

/* ---- set-up ---- */

static void open_side(int who, struct t_dev *d)
{
	struct t_opt o = { .sge = MAX_SEG, .depth = 4, .rdepth = 8, .inl = 200,
			   .timeout = (uint8_t)opt.qp_timeout };
	unsigned more = have_flush ? IBV_ACCESS_FLUSH_GLOBAL : 0;
	struct ibv_srq_init_attr sa = { .attr = { .max_wr = 16, .max_sge = SRQ_SEG } };

	if (d->attr.orig_attr.max_sge < MAX_SEG)
		t_die("%s: max_sge is %d", d->name, d->attr.orig_attr.max_sge);
	for (int k = 0; k < K_N; k++)
		if (k == K_PIN || have_odp[who])
			t_arena_open(&arena[who][k], (enum t_kind)k, ARENA_SIZE, d->pd,
				     who ? 0 : 0x123456780000ULL + (uint64_t)k * 0x10000000,
				     IBV_ACCESS_MW_BIND | more);
	for (unsigned m = 0; m < RC_MTUS; m++) {
		o.mtu = mtus[m] < d->port.active_mtu ? mtus[m] : d->port.active_mtu;
		o.type = IBV_QPT_RC;
		o.ops = have_flush ? IBV_QP_EX_WITH_RDMA_WRITE | IBV_QP_EX_WITH_FLUSH : 0;
		o.access = have_flush ? T_ALL_ACCESS | IBV_ACCESS_MW_BIND | more : 0;
		t_ep_open(&rc[who][m], d, &o);
		o.ops = 0;
		o.access = 0;
		o.type = IBV_QPT_UC;
		t_ep_open(&uc[who][m], d, &o);
	}
	o.mtu = d->port.active_mtu;
	o.type = IBV_QPT_UD;
	t_ep_open(&ud[who], d, &o);
	o.type = IBV_QPT_RC;
	if (who) {
		srq = ibv_create_srq(d->pd, &sa);
		if (!srq)
			t_die("ibv_create_srq: %s", strerror(errno));
		o.srq = srq;
		if (d->attr.orig_attr.device_cap_flags &
		    (IBV_DEVICE_MEM_WINDOW_TYPE_2A | IBV_DEVICE_MEM_WINDOW_TYPE_2B))
			mw = ibv_alloc_mw(d->pd, IBV_MW_TYPE_2);
	}
	t_ep_open(&srq_ep[who], d, &o);
}

/* What two machines have to agree on: A says what is to be done, each what it has. */
struct terms {
	uint64_t page, sample, seed, max_len;
	uint32_t qp_timeout, mtu, odp, odp_uc, flush;
	char ops[256], kinds[64], kinds_b[64];
};

static void term(char *to, size_t size, const char *s)
{
	if (snprintf(to, size, "%s", s ? s : "") >= (int)size)
		t_die("'%s' is too long for the other machine", s);
}

static void agree(void)
{
	static struct terms theirs;
	struct terms mine = {
		.page = page, .sample = opt.sample, .seed = opt.seed, .max_len = opt.max_len,
		.qp_timeout = (uint32_t)opt.qp_timeout, .mtu = da->port.active_mtu,
		.odp = da->odp, .odp_uc = da->odp_uc, .flush = da->flush,
	};

	term(mine.ops, sizeof(mine.ops), opt.ops);
	term(mine.kinds, sizeof(mine.kinds), opt.kinds);
	term(mine.kinds_b, sizeof(mine.kinds_b), opt.kinds_b);
	t_put(sock, &mine, sizeof(mine));
	t_get(sock, &theirs, sizeof(theirs));
	if (is_b) {
		opt.sample = theirs.sample;
		opt.seed = theirs.seed;
		opt.max_len = theirs.max_len;
		opt.qp_timeout = (int)theirs.qp_timeout;
		opt.ops = theirs.ops[0] ? theirs.ops : NULL;
		opt.kinds = theirs.kinds[0] ? theirs.kinds : NULL;
		opt.kinds_b = theirs.kinds_b[0] ? theirs.kinds_b : NULL;
	}
	if (mine.mtu != theirs.mtu)
		t_die("the port's MTU is %u here and %u there", 128U << mine.mtu,
		      128U << theirs.mtu);
	t_note("pages of %zu bytes here, %llu there", page, (unsigned long long)theirs.page);
	if (theirs.page > page)
		page = theirs.page;
	have_odp[is_a] = theirs.odp;
	have_odp_uc &= theirs.odp_uc != 0;
	have_flush &= theirs.flush != 0;
}

#define EACH_EP(who, e)                                                                            \
	for (unsigned i_ = 0; i_ < 2 * RC_MTUS + 2; i_++)                                          \
		if ((e = i_ < RC_MTUS	   ? &rc[who][i_] :                                        \
			 i_ < 2 * RC_MTUS  ? &uc[who][i_ - RC_MTUS] :                              \
			 i_ == 2 * RC_MTUS ? &srq_ep[who] :                                        \
					     &ud[who]))

static void connect_sides(void)
{
	struct t_addr mine[2 * RC_MTUS + 2], theirs[2 * RC_MTUS + 2];
	struct t_ep *e;

	if (is_b)
		for (int k = 0; k < K_N; k++)
			for (int i = 0; i < 2 && arena[1][k].va; i++) {
				remote.iova[k][i] = arena[1][k].iova[i];
				remote.rkey[k][i] = arena[1][k].mr[i]->rkey;
			}
	have_mw = mw != NULL;
	if (sock < 0) {
		EACH_EP(0, e) mine[i_] = e->me;
		EACH_EP(1, e) theirs[i_] = e->me;
		EACH_EP(0, e) t_ep_connect(e, &theirs[i_]);
		EACH_EP(1, e) t_ep_connect(e, &mine[i_]);
		return;
	}
	EACH_EP(is_b, e) mine[i_] = e->me;
	t_put(sock, mine, sizeof(mine));
	t_get(sock, theirs, sizeof(theirs));
	if (is_b) {
		t_put(sock, &remote, sizeof(remote));
		t_put(sock, &have_mw, sizeof(have_mw));
	} else {
		t_get(sock, &remote, sizeof(remote));
		t_get(sock, &have_mw, sizeof(have_mw));
	}
	EACH_EP(is_b, e) t_ep_connect(e, &theirs[i_]);
	barrier();
}

static void close_side(int who)
{
	struct t_ep *e;

	/*
	 * Free the window before its QP: while a window is bound to it, a QP of rdma_rxe waits for
	 * 50 s when it is destroyed, and complains.
	 */
	if (who && mw)
		ibv_dealloc_mw(mw);
	EACH_EP(who, e) t_ep_close(e);
	if (who)
		ibv_destroy_srq(srq);
	for (int k = 0; k < K_N; k++)
		if (arena[who][k].va)
			t_arena_close(&arena[who][k]);
}

/* ---- one WRITE of the largest message ---- */

/* A mapping of @total bytes that repeats a memfd of @period bytes. */
static uint8_t *repeated(size_t total, size_t period)
{
	int fd = memfd_create("repeated", MFD_CLOEXEC);
	uint8_t *p = mmap(NULL, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			  -1, 0);

	if (fd < 0 || ftruncate(fd, (off_t)period) || p == MAP_FAILED)
		t_die("memory for --huge: %s", strerror(errno));
	for (size_t at = 0; at < total; at += period) {
		size_t n = total - at < period ? total - at : period;

		if (mmap(p + at, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) ==
		    MAP_FAILED)
			t_die("mmap for --huge: %s", strerror(errno));
	}
	close(fd);
	return p;
}

static void huge(void)
{
	const size_t len = 0x7fffffff, room = (len + 2 * T_PAGE) & ~(T_PAGE - 1);
	const size_t ps = 16UL << 20, pd = 24UL << 20;
	struct t_opt o = { .timeout = 20 };
	struct ibv_mr *ms, *md;
	struct t_ep a, b;
	uint8_t *src, *dst;
	double from;

	if (!da->odp || !db->odp)
		t_die("--huge is about ODP memory, which %s does not have", da->name);
	src = repeated(room, ps);
	dst = repeated(room, pd);
	t_pat_fill(src, ps, 99, 0);
	ms = t_reg(da->pd, src, room, T_ALL_ACCESS | IBV_ACCESS_ON_DEMAND);
	md = t_reg(db->pd, dst, room, T_ALL_ACCESS | IBV_ACCESS_ON_DEMAND);
	t_pair_open(&a, da, &b, db, &o);
	from = t_now();
	t_limit = t_slow(240);
	if (t_post_one(&a, IBV_WR_RDMA_WRITE, src, (uint32_t)len, ms->lkey, (uintptr_t)dst,
		       md->rkey, 1))
		t_die("post of a WRITE of %zu bytes failed", len);
	if (!t_expect("WRITE of 2 GiB - 1", a.scq, IBV_WC_SUCCESS, NULL))
		return;
	t_note("a WRITE of %zu bytes took %.1f s", len, t_now() - from);
	for (size_t o_ = 0; o_ < pd; o_ += T_PAGE) { /* the last time that offset was written */
		size_t last = o_ + (len - 1 - o_) / pd * pd, n = T_PAGE;

		if (last + n > len)
			n = len - last;
		if (!t_pat_check("WRITE of 2 GiB - 1", dst + o_, n, 99, last % ps))
			break;
	}
	t_ep_close(&a);
	t_ep_close(&b);
	ibv_dereg_mr(ms);
	ibv_dereg_mr(md);
}

static uint64_t gcd(uint64_t a, uint64_t b)
{
	return b ? gcd(b, a % b) : a;
}

static void usage(void)
{
	puts("usage: prxe-data [-d DEV] [-g GID] [-e DEV2] [-G GID2] [--sample N] [--seed S]\n"
	     "  [--time T] [--ops LIST] [--kinds pin,odp,shm,mix] [--kinds-b LIST] [--max-len N]\n"
	     "  [--two] [--huge] [--case ID] [--qp-timeout N] [-v]\n"
	     "  [--serve PORT | --peer IPV4:PORT]");
	exit(2);
}

int main(int argc, char **argv)
{
	static const struct option lo[] = {
		{ "sample", 1, 0, 1 },
		{ "seed", 1, 0, 2 },
		{ "time", 1, 0, 3 },
		{ "ops", 1, 0, 4 },
		{ "kinds", 1, 0, 5 },
		{ "two", 0, 0, 6 },
		{ "huge", 0, 0, 7 },
		{ "case", 1, 0, 8 },
		{ "max-len", 1, 0, 9 },
		{ "kinds-b", 1, 0, 10 },
		{ "qp-timeout", 1, 0, 11 },
		{ "serve", 1, 0, 12 },
		{ "peer", 1, 0, 13 },
		{ 0 },
	};
	uint64_t step = (uint64_t)((double)CROSS * 0.6180339887);
	uint64_t at, one = UINT64_MAX, n = 0, ran = 0;
	double end;
	pid_t pid = 0;
	int c;

	t_init();
	while ((c = getopt_long(argc, argv, "d:e:g:G:v", lo, NULL)) != -1) {
		switch (c) {
		case 'd': opt.dev = optarg; break;
		case 'e': opt.dev2 = optarg; break;
		case 'g': opt.gid = atoi(optarg); break;
		case 'G': opt.gid2 = atoi(optarg); break;
		case 'v': opt.verbose = true; break;
		case 1: opt.sample = strtoull(optarg, NULL, 0); break;
		case 2: opt.seed = strtoull(optarg, NULL, 0); break;
		case 3: opt.time = atof(optarg); break;
		case 4: opt.ops = optarg; break;
		case 5: opt.kinds = optarg; break;
		case 6: opt.two = true; break;
		case 7: opt.huge = true; break;
		case 8: one = strtoull(optarg, NULL, 0); break;
		case 9: opt.max_len = strtoull(optarg, NULL, 0); break;
		case 10: opt.kinds_b = optarg; break;
		case 11: opt.qp_timeout = atoi(optarg); break;
		case 12: opt.serve = atoi(optarg); break;
		case 13: opt.peer = optarg; break;
		default: usage();
		}
	}
	if (optind != argc || !!opt.peer + !!opt.serve + opt.two + opt.huge > 1)
		usage();
	for (const char *s = opt.ops; s && *s; s += strcspn(s, ","), s += *s == ',') {
		char w[32];
		bool known = false;

		snprintf(w, sizeof(w), "%.*s", (int)strcspn(s, ","), s);
		for (int i = 0; i < OP_N; i++)
			known |= !strcmp(w, op_name[i]);
		if (!known)
			t_die("--ops: there is no operation '%s'", w);
	}
	t_watchdog((unsigned)opt.time + 300);
	if (opt.two) {
		pid = t_fork(&sock);
		is_a = pid;
		is_b = !pid;
		t_watchdog((unsigned)opt.time + 300);
	}
	is_a &= !opt.serve;
	is_b &= !opt.peer;
	da = t_dev_open(opt.dev, opt.gid);
	db = opt.dev2 || opt.two ? t_dev_open(opt.dev2 ? opt.dev2 : opt.dev,
					      opt.gid2 >= 0 ? opt.gid2 : opt.gid) : da;
	page = T_PAGE;
	port_mtu = da->port.active_mtu;
	have_odp[0] = da->odp;
	have_odp[1] = db->odp;
	have_odp_uc = da->odp_uc && db->odp_uc;
	have_flush = da->flush && db->flush;
	if (opt.serve || opt.peer) {
		sock = t_meet(opt.peer, opt.serve);
		agree();
	}
	have_odp[0] &= !opt.kinds || strcmp(opt.kinds, "pin");
	have_odp[1] &= opt.kinds_b ? strcmp(opt.kinds_b, "pin") != 0 :
				     !opt.kinds || strcmp(opt.kinds, "pin");
	if (opt.huge) {
		huge();
		return t_done("huge");
	}
	if (is_a)
		open_side(0, da);
	if (is_b)
		open_side(1, db);
	connect_sides();

	while (gcd(step, CROSS) != 1)
		step++;
	at = t_mix(opt.seed) % CROSS;
	end = t_now() + opt.time;
	for (n = 0; n < CROSS && (!opt.sample || ran < opt.sample); n++, at = (at + step) % CROSS) {
		struct kase k;
		int more = 1;

		if (one != UINT64_MAX)
			at = one;
		if (!make_case(&k, at)) {
			if (one != UINT64_MAX)
				t_die("case %llu does not exist here", (unsigned long long)one);
			continue;
		}
		if (is_a)
			more = t_now() < end && t_fails < 10;
		if (sock >= 0) {
			if (is_a)
				t_put(sock, &more, sizeof(more));
			else
				t_get(sock, &more, sizeof(more));
		}
		if (!more)
			break;
		run_case(&k);
		ran++;
		if (one != UINT64_MAX)
			break;
	}
	for (int i = 0; is_a && i < OP_N; i++)
		if (done[i])
			printf("%s %llu  ", op_name[i], done[i]);
	if (is_a)
		t_note("\n%llu cases (of %llu in the full cross), %llu lossy messages repeated",
		       (unsigned long long)ran, (unsigned long long)CROSS, lost);
	if (!ran)
		t_fail("no case ran");
	if (is_a)
		close_side(0);
	if (is_b)
		close_side(1);
	if (da != db)
		t_dev_close(db);
	t_dev_close(da);
	if (pid) {
		int st = 0;

		if (waitpid(pid, &st, 0) != pid || st)
			t_fail("the other process ended with status %#x", st);
	}
	if (!is_a)
		return t_fails != 0;
	return t_done("data");
}
