// SPDX-License-Identifier: BSD-2-Clause
/*
 * The operations: each moves bytes between the subject and plain memory of the QP's other end, does
 * the same in the models, and compares everything. The subject's state at that moment decides
 * whether it must succeed.
 */
#include "mx.h"

#include <string.h>

#define IMM 0x50585245
#define UD_LEN 900UL /* below every MTU */

const struct mx_op mx_ops[] = {
	{ "SEND src", IBV_QPT_RC, MX_SEND, .local = true },
	{ "RECV dst", IBV_QPT_RC, MX_SEND, .writes = true },
	{ "WRITE src", IBV_QPT_RC, MX_WRITE, .local = true },
	{ "WRITE dst", IBV_QPT_RC, MX_WRITE, .writes = true },
	{ "WRITE_IMM src", IBV_QPT_RC, MX_WRITE_IMM, .local = true },
	{ "WRITE_IMM dst", IBV_QPT_RC, MX_WRITE_IMM, .writes = true },
	{ "READ src", IBV_QPT_RC, MX_READ, .local = false },
	{ "READ dst", IBV_QPT_RC, MX_READ, .local = true, .writes = true },
	{ "CAS dst", IBV_QPT_RC, MX_CAS, .writes = true },
	{ "CAS landing", IBV_QPT_RC, MX_CAS, .local = true, .writes = true },
	{ "FAA dst", IBV_QPT_RC, MX_FAA, .writes = true },
	{ "FAA landing", IBV_QPT_RC, MX_FAA, .local = true, .writes = true },
	{ "FLUSH", IBV_QPT_RC, MX_FLUSH, .local = false },
	{ "WRITE+FLUSH dst", IBV_QPT_RC, MX_WRITE_FLUSH, .writes = true },
	{ "ATOMIC_WRITE dst", IBV_QPT_RC, MX_ATOMIC_WRITE, .writes = true },
	{ "MW WRITE dst", IBV_QPT_RC, MX_WRITE, .writes = true, .mw = true },
	{ "MW READ src", IBV_QPT_RC, MX_READ, .mw = true },
	{ "UC SEND src", IBV_QPT_UC, MX_SEND, .local = true },
	{ "UC RECV dst", IBV_QPT_UC, MX_SEND, .writes = true },
	{ "UC WRITE src", IBV_QPT_UC, MX_WRITE, .local = true },
	{ "UC WRITE dst", IBV_QPT_UC, MX_WRITE, .writes = true },
	{ "UD SEND src", IBV_QPT_UD, MX_SEND, .local = true },
	{ "UD RECV dst", IBV_QPT_UD, MX_SEND, .writes = true },
};
const unsigned mx_nops = ARRAY_LEN(mx_ops);

/* One operation in flight. */
struct shot {
	struct mx_subj *s;
	const struct mx_op *op;
	struct t_ep *a, *b;
	struct mx_mem *loc, *rem; /* the requester's, the responder's */
	uint8_t *lva, *rva;
	size_t loff, roff, len;
	uint32_t lkey, rkey;
	uint64_t compare, swap;
};

static bool atomic(enum mx_how how)
{
	return how == MX_CAS || how == MX_FAA || how == MX_ATOMIC_WRITE;
}

/* A FLUSH names memory and touches none: its key must be good, no more. */
bool mx_op_allowed(const struct mx_subj *s)
{
	if (s->op->how == MX_FLUSH)
		return s->mr;
	return s->op->writes ? s->write : s->read;
}

/*
 * Offsets: bytes cross page ends wherever the operation allows it. The target of an atomic is the
 * last word of its page.
 */
static void place(struct shot *t, uint64_t seed)
{
	const struct mx_op *op = t->op;
	struct mx_subj *s = t->s;
	size_t end = (s->at | (T_PAGE - 1)) + 1, off = s->at, plain = T_PAGE + t_mix(seed) % T_PAGE;

	t->len = 2 * T_PAGE + 1 + t_mix(seed + 1) % T_PAGE;
	if (op->type == IBV_QPT_UD) {
		t->len = UD_LEN;
		off = end - 1 - t_mix(seed + 2) % (UD_LEN - 2);
	} else if (atomic(op->how)) {
		t->len = 8;
		off = op->local ? end - 1 - t_mix(seed + 2) % 7 : end - 8;
		plain = op->local ? plain & ~7UL : plain;
	}
	t->loc = op->local ? &s->m : &s->rig->near;
	t->rem = op->local ? &s->rig->far : &s->m;
	t->loff = op->local ? off : plain;
	t->roff = op->local ? plain : off;
	t->lva = t->loc->va + t->loff;
	t->rva = t->rem->va + t->roff;
	t->lkey = op->local ? s->lkey : s->rig->mnear->lkey;
	t->rkey = op->local ? s->rig->mfar->rkey : op->mw ? s->mw_key : s->rkey;
	t->swap = t_mix(seed + 3);
	if (op->how == MX_CAS)
		memcpy(&t->compare, t->rem->model + t->roff, 8);
	else if (op->how == MX_FAA)
		t->compare = t_mix(seed + 4);
}

/* What the operation does, done to the models. */
static void apply(struct shot *t)
{
	uint8_t *l = t->loc->model + t->loff, *r = t->rem->model + t->roff;
	uint64_t v;

	switch (t->op->how) {
	case MX_READ:
		memcpy(l, r, t->len);
		break;
	case MX_CAS:
	case MX_FAA:
		memcpy(&v, r, 8);
		memcpy(l, &v, 8);
		v = t->op->how == MX_CAS ? t->swap : v + t->compare;
		memcpy(r, &v, 8);
		break;
	case MX_ATOMIC_WRITE:
		memcpy(r, &t->swap, 8);
		break;
	case MX_FLUSH:
		break;
	default:
		memcpy(r, l, t->len);
	}
	if (t->op->writes) {
		t->s->done_at = t->op->local ? t->loff : t->roff;
		t->s->done_len = t->len;
	}
}

static bool receives(const struct mx_op *op)
{
	return op->how == MX_SEND || op->how == MX_WRITE_IMM;
}

/* The responder's receive WQE. UD's network header goes elsewhere, the payload where it belongs. */
static int post_receive(struct shot *t)
{
	struct ibv_sge sg[2];
	int n = 0;

	if (t->op->type == IBV_QPT_UD)
		sg[n++] = t_sge(t->s->rig->grh, 40, t->s->rig->mgrh->lkey);
	if (t->op->how == MX_SEND)
		sg[n++] = t_sge(t->rva, t->len, t->op->local ? t->s->rig->mfar->lkey : t->s->lkey);
	return t_recv(t->b, sg, n, 2);
}

static int post(struct shot *t)
{
	static const enum ibv_wr_opcode code[] = {
		[MX_SEND] = IBV_WR_SEND, [MX_WRITE] = IBV_WR_RDMA_WRITE,
		[MX_WRITE_IMM] = IBV_WR_RDMA_WRITE_WITH_IMM, [MX_READ] = IBV_WR_RDMA_READ,
		[MX_CAS] = IBV_WR_ATOMIC_CMP_AND_SWP, [MX_FAA] = IBV_WR_ATOMIC_FETCH_AND_ADD,
		[MX_WRITE_FLUSH] = IBV_WR_RDMA_WRITE,
	};
	struct ibv_sge sg = t_sge(t->lva, t->len, t->lkey);
	struct t_wr w = { .op = code[t->op->how], .sg = &sg, .n = 1, .raddr = (uintptr_t)t->rva,
			  .rkey = t->rkey, .imm = IMM, .compare = t->compare, .swap = t->swap,
			  .id = 1 };
	int rc = 0;

	if (t->op->how == MX_ATOMIC_WRITE)
		return t_atomic_write(t->a, w.raddr, w.rkey, &t->swap, 1);
	if (t->op->how == MX_WRITE_FLUSH)
		w.flags = T_UNSIGNALED;
	if (t->op->how != MX_FLUSH)
		rc = t_post(t->a, &w);
	if (!rc && (t->op->how == MX_FLUSH || t->op->how == MX_WRITE_FLUSH))
		rc = t_flush(t->a, w.raddr, w.rkey, t->len, IBV_FLUSH_GLOBAL, IBV_FLUSH_RANGE, 1);
	return rc;
}

static bool completion(struct shot *t, const char *whose, struct ibv_cq *cq,
		       enum ibv_wc_status want, struct ibv_wc *wc)
{
	if (!t_wait(cq, wc, t_limit))
		return mx_why(t->s, "%s: no completion within %.0f s, expected '%s'", whose,
			      t_limit, ibv_wc_status_str(want));
	if (wc->status != want)
		return mx_why(t->s, "%s: '%s', expected '%s'", whose,
			      ibv_wc_status_str(wc->status), ibv_wc_status_str(want));
	return true;
}

/* ---- success ---- */

/* On UC, an empty SEND after a WRITE: when it has arrived, the WRITE has arrived or is lost. */
static int fence(struct shot *t)
{
	struct t_wr w = { .op = IBV_WR_SEND, .id = 3 };

	return t_recv(t->b, NULL, 0, 3) ? -1 : t_post(t->a, &w);
}

static bool arrived(struct shot *t, bool again)
{
	double patience = again ? t_slow(0.4) : t_limit;
	struct ibv_wc wc;

	if (!t_wait(t->b->rcq, &wc, patience))
		return false;
	if (wc.status)
		return mx_why(t->s, "receiver: '%s'", ibv_wc_status_str(wc.status));
	if (t->op->how == MX_WRITE)
		return !memcmp(t->rva, t->rem->model + t->roff, t->len);
	if (t->op->how == MX_SEND && wc.byte_len != t->len + (t->op->type == IBV_QPT_UD ? 40 : 0))
		return mx_why(t->s, "receiver: byte_len %u, expected %zu", wc.byte_len, t->len);
	if (t->op->how == MX_WRITE_IMM && (!(wc.wc_flags & IBV_WC_WITH_IMM) || wc.imm_data != IMM))
		return mx_why(t->s, "receiver: flags %#x, immediate %#x", wc.wc_flags, wc.imm_data);
	return true;
}

/*
 * UC and UD may lose a message if the receiver's fault takes longer than 50 ms, as on a debug
 * kernel. It is sent again, and then finds the pages. Until then the model already has its bytes,
 * and memory has not.
 */
static bool succeed(struct shot *t)
{
	bool lossy = t->op->type != IBV_QPT_RC, uc_write = lossy && t->op->how == MX_WRITE;
	struct ibv_wc wc;

	for (int i = 0; i < (lossy ? 8 : 1); i++) {
		if (post(t))
			return mx_why(t->s, "ibv_post_send failed");
		if (!completion(t, "sender", t->a->scq, IBV_WC_SUCCESS, &wc))
			return false;
		if (uc_write && (fence(t) || !completion(t, "sender of the fence", t->a->scq,
							 IBV_WC_SUCCESS, &wc)))
			return mx_why(t->s, "the SEND behind a UC WRITE failed");
		if (!lossy && !receives(t->op))
			return true;
		if (arrived(t, lossy))
			return true;
		if (t->s->why[0])
			return false;
		t->s->rig->lost++;
	}
	/* of a WRITE the comparison says what is wrong */
	return uc_write || mx_why(t->s, "receiver: nothing arrived");
}

/* ---- failure by right ---- */

static enum ibv_wc_status documented(const struct shot *t)
{
	if (t->op->local)
		return IBV_WC_LOC_PROT_ERR;
	if (t->op->type != IBV_QPT_RC)
		return IBV_WC_SUCCESS;
	return t->op->how == MX_SEND ? IBV_WC_REM_OP_ERR : IBV_WC_REM_ACCESS_ERR;
}

/*
 * The status of a receive into memory that cannot be had. On UC and UD a fault that takes more than
 * 50 ms loses the message instead, and nothing says so: such messages are counted, because not all
 * faults can be that slow.
 */
static bool receive_fails(struct shot *t)
{
	enum ibv_wc_status want = t->s->mr ? IBV_WC_LOC_QP_OP_ERR : IBV_WC_LOC_PROT_ERR;
	unsigned *silent = t->s->rig->bad_receive[t->op->type == IBV_QPT_UD];
	bool rc = t->op->type == IBV_QPT_RC;
	struct ibv_wc wc;

	if (!t_wait(t->b->rcq, &wc, rc ? t_limit : t_slow(0.5))) {
		silent[0] += !rc;
		return !rc || mx_why(t->s, "receiver: no completion");
	}
	silent[1] += !rc;
	if (wc.status == want)
		return true;
	return mx_why(t->s, "receiver: '%s', expected '%s'", ibv_wc_status_str(wc.status),
		      ibv_wc_status_str(want));
}

static bool fail(struct shot *t)
{
	bool far = !t->op->local;
	struct ibv_wc wc;

	if (post(t))
		return mx_why(t->s, "ibv_post_send failed");
	if (!completion(t, "sender", t->a->scq, documented(t), &wc))
		return false;
	if (far && t->op->how == MX_SEND)
		return receive_fails(t);
	if (far && t->op->type == IBV_QPT_UC)
		return (!fence(t) &&
			completion(t, "sender of the fence", t->a->scq, IBV_WC_SUCCESS, &wc) &&
			completion(t, "receiver of the fence", t->b->rcq, IBV_WC_SUCCESS, &wc)) ||
		       mx_why(t->s, "the SEND behind a UC WRITE failed");
	if (far && t_ep_query_state(t->b) != IBV_QPS_ERR)
		return mx_why(t->s, "the responder's QP is not in error");
	return true;
}

static bool everything_right(struct mx_subj *s)
{
	return mx_same(s, "subject", &s->m) &&
	       mx_same(s, "requester's plain memory", &s->rig->near) &&
	       mx_same(s, "responder's plain memory", &s->rig->far);
}

bool mx_op_run(struct mx_subj *s, uint64_t seed)
{
	const struct mx_op *op = s->op;
	int pair = mx_pair(op->type);
	struct shot t = { .s = s, .op = op, .a = &s->rig->a[pair], .b = &s->rig->b[pair] };
	bool must = mx_op_allowed(s), ok;

	mx_mem_fill(&s->rig->near, seed + 10);
	mx_mem_fill(&s->rig->far, seed + 11);
	place(&t, seed);
	if (receives(op) && post_receive(&t))
		return mx_why(s, "ibv_post_recv failed");
	if (must)
		apply(&t);
	ok = must ? succeed(&t) : fail(&t);
	if (!must)
		mx_rig_again(s->rig, op->type);
	return ok && everything_right(s);
}

bool mx_read_all(struct mx_subj *s)
{
	struct t_ep *a = &s->rig->a[0];
	struct ibv_wc wc;

	for (size_t off = 0; off < s->m.len; off += MX_PLAIN) {
		size_t len = s->m.len - off < MX_PLAIN ? s->m.len - off : MX_PLAIN;

		if (t_post_one(a, IBV_WR_RDMA_READ, s->rig->near.va, (uint32_t)len,
			       s->rig->mnear->lkey, (uintptr_t)s->m.va + off, s->rkey, 9) ||
		    !t_wait(a->scq, &wc, t_limit) || wc.status)
			return mx_why(s, "RDMA READ of the subject failed");
		if (memcmp(s->rig->near.va, s->m.model + off, len))
			return mx_why(s, "RDMA READ of the subject at %#zx gives other bytes "
				      "than a CPU must see", off);
	}
	return true;
}
