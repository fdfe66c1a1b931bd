// SPDX-License-Identifier: BSD-2-Clause
/*
 * Why a work request failed. The completion status says where to look; the SGEs of the request, and
 * the MRs that the library knows, say what is wrong there.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "internal.h"

/* How a request uses the memory of this side and of the target. */
struct shape {
	const char *name;
	bool sges;
	unsigned int local;  /* access that the SGEs need */
	unsigned int remote; /* access needed there; 0: it names no memory there */
};

static struct shape shape_of(enum ibv_wr_opcode op)
{
	switch ((int)op) {
	case IBV_WR_RDMA_WRITE:
	case IBV_WR_RDMA_WRITE_WITH_IMM:
		return (struct shape){ "RDMA WRITE", true, 0, IBV_ACCESS_REMOTE_WRITE };
	case IBV_WR_SEND:
	case IBV_WR_SEND_WITH_IMM:
	case IBV_WR_SEND_WITH_INV:
		return (struct shape){ "SEND", true, 0, 0 };
	case IBV_WR_RDMA_READ:
		return (struct shape){ "RDMA READ", true, IBV_ACCESS_LOCAL_WRITE,
				       IBV_ACCESS_REMOTE_READ };
	case IBV_WR_ATOMIC_CMP_AND_SWP:
	case IBV_WR_ATOMIC_FETCH_AND_ADD:
		return (struct shape){ "atomic operation", true, IBV_ACCESS_LOCAL_WRITE,
				       IBV_ACCESS_REMOTE_ATOMIC };
	default:
		return (struct shape){ "request", false, 0, 0 };
	}
}

static uint64_t sge_total(const struct ibv_sge *sge, int n)
{
	uint64_t total = 0;

	for (int i = 0; i < n; i++)
		total += sge[i].length;
	return total;
}

/* Find the first SGE that is wrong, and explain it. Returns false if none is. */
static bool check_sges(struct odp_domain *d, const struct ibv_sge *sge, int n, unsigned int need,
		       struct odp_explanation *out)
{
	for (int i = 0; i < n; i++) {
		struct explain_access a = { .key = sge[i].lkey,
					    .addr = sge[i].addr,
					    .length = sge[i].length,
					    .need = need };
		size_t mark = strlen(out->text);

		explain_say(out, "SGE %d (lkey %#x, %u bytes at %#" PRIx64 "): ", i, sge[i].lkey,
			    sge[i].length, sge[i].addr);
		explain_access_check(d, &a, out);
		if (out->cause != ODP_CAUSE_NONE) {
			out->sge = i;
			return true;
		}
		out->text[mark] = '\0';
	}
	out->key = 0;
	return false;
}

static void local_memory(struct odp_domain *d, const struct ibv_sge *sge, int n, unsigned int need,
			 struct odp_explanation *out)
{
	if (!check_sges(d, sge, n, need, out))
		explain_say(out,
			    "the keys, bounds and mappings of its %d SGEs are in order now: they "
			    "were not when it failed, or a page could not be brought in (I/O "
			    "error, no memory), or the QP belongs to another protection domain "
			    "than these MRs",
			    n);
}

static void remote_target(const struct ibv_send_wr *wr, const struct shape *s, uint64_t *addr,
			  uint32_t *rkey)
{
	if (s->remote == IBV_ACCESS_REMOTE_ATOMIC) {
		*addr = wr->wr.atomic.remote_addr;
		*rkey = wr->wr.atomic.rkey;
	} else {
		*addr = wr->wr.rdma.remote_addr;
		*rkey = wr->wr.rdma.rkey;
	}
}

static void remote_memory(struct odp_domain *d, const struct ibv_send_wr *wr, const struct shape *s,
			  unsigned int flags, struct odp_explanation *out)
{
	struct explain_access a = { .need = s->remote, .remote = true, .any_pd = true };

	out->remote = 1;
	if (!s->remote) {
		out->cause = ODP_CAUSE_REMOTE;
		explain_say(out,
			    "the target refused it; a %s names no memory there: it is about the "
			    "target's receive request",
			    s->name);
		return;
	}
	remote_target(wr, s, &a.addr, &a.key);
	a.length = s->remote == IBV_ACCESS_REMOTE_ATOMIC ? 8 : sge_total(wr->sg_list, wr->num_sge);
	out->key = a.key;
	out->addr = a.addr;
	explain_say(out, "rkey %#x, %" PRIu64 " bytes at %#" PRIx64 " of the target: ", a.key,
		    a.length, a.addr);
	if (s->remote == IBV_ACCESS_REMOTE_ATOMIC && a.addr % 8) {
		out->cause = ODP_CAUSE_ALIGNMENT;
		explain_say(out, "the address of an atomic operation must be a multiple of 8");
		return;
	}
	if (!(flags & ODP_EXPLAIN_SAME_PROCESS)) {
		out->cause = ODP_CAUSE_REMOTE;
		explain_say(out, "the rkey is wrong or stale, the range is not all in its MR, the "
				 "MR or the QP does not allow this access, or a page cannot be "
				 "had; the target can tell which (odp_check)");
		return;
	}
	explain_access_check(d, &a, out);
	if (out->cause == ODP_CAUSE_NONE)
		explain_say(out,
			    "key, bounds, access and mapping are in order now: they were not when "
			    "it failed, or a page could not be brought in, or the target's QP is "
			    "of another protection domain, or its access flags do not allow this");
	if (!out->addr)
		out->addr = a.addr;
}

static void invalid_request(struct odp_domain *d, const struct ibv_send_wr *wr,
			    const struct shape *s, unsigned int flags, struct odp_explanation *out)
{
	uint64_t addr = 0;
	uint32_t rkey = 0;

	if (s->remote)
		remote_target(wr, s, &addr, &rkey);
	if (s->remote == IBV_ACCESS_REMOTE_ATOMIC && addr % 8) {
		remote_memory(d, wr, s, flags, out);
		return;
	}
	out->remote = 1;
	out->cause = s->remote ? ODP_CAUSE_REMOTE : ODP_CAUSE_LENGTH;
	out->key = rkey;
	out->addr = addr;
	if (s->remote)
		explain_say(out, "the target's QP was not set up for it (qp_access_flags, "
				 "max_dest_rd_atomic)");
	else
		explain_say(out,
			    "the target's receive buffer has less room than these %" PRIu64
			    " bytes, or its QP does not take such a request",
			    sge_total(wr->sg_list, wr->num_sge));
}

/* Explain a status that is not about memory. Returns false if memory must be looked at instead. */
static bool status_alone(enum ibv_wc_status status, struct odp_explanation *out)
{
	switch (status) {
	case IBV_WC_SUCCESS:
		out->cause = ODP_CAUSE_NONE;
		explain_say(out, "it did not fail");
		return true;
	case IBV_WC_WR_FLUSH_ERR:
		out->cause = ODP_CAUSE_FLUSHED;
		explain_say(out, "the QP was in the error state already: the cause is the first "
				 "completion with another status, of this QP or of its peer");
		return true;
	case IBV_WC_RETRY_EXC_ERR:
		out->cause = ODP_CAUSE_PEER;
		out->remote = 1;
		explain_say(out, "the peer did not answer: its QP or process is gone, not in RTR, "
				 "or not reachable; this is not about memory");
		return true;
	case IBV_WC_RNR_RETRY_EXC_ERR:
		out->cause = ODP_CAUSE_PEER;
		out->remote = 1;
		explain_say(out, "the peer was not ready for too long: no receive request was "
				 "posted there, or its on-demand memory took longer to come in "
				 "than rnr_retry and min_rnr_timer allow (7 waits for ever)");
		return true;
	case IBV_WC_LOC_PROT_ERR:
	case IBV_WC_LOC_LEN_ERR:
	case IBV_WC_LOC_QP_OP_ERR:
	case IBV_WC_LOC_ACCESS_ERR:
	case IBV_WC_REM_ACCESS_ERR:
	case IBV_WC_REM_INV_REQ_ERR:
	case IBV_WC_REM_OP_ERR:
		return false;
	default:
		out->cause = ODP_CAUSE_OTHER;
		explain_say(out,
			    "the library knows nothing about memory that leads to this status");
		return true;
	}
}

static void begin(const char *what, const struct ibv_wc *wc, struct odp_explanation *out)
{
	explain_clear(out);
	explain_say(out, "%s failed with \"%s\"", what, ibv_wc_status_str(wc->status));
	if (wc->vendor_err)
		explain_say(out, " (vendor error %#x)", wc->vendor_err);
	explain_say(out, ": ");
}

static void no_request(struct odp_explanation *out)
{
	out->cause = ODP_CAUSE_OTHER;
	explain_say(out, "without the work request there is no more to say");
}

ODP_PUBLIC int odp_explain_send(struct odp_domain *domain, const struct ibv_wc *wc,
				const struct ibv_send_wr *wr, unsigned int flags,
				struct odp_explanation *out)
{
	struct shape s = shape_of(wr ? wr->opcode : IBV_WR_DRIVER1);

	if (!domain || !wc || !out || (flags & ~(unsigned int)ODP_EXPLAIN_SAME_PROCESS))
		return -EINVAL;
	begin(s.name, wc, out);
	if (status_alone(wc->status, out))
		return 0;
	if (!wr) {
		no_request(out);
		return 0;
	}
	switch ((int)wc->status) {
	case IBV_WC_REM_ACCESS_ERR:
		remote_memory(domain, wr, &s, flags, out);
		break;
	case IBV_WC_REM_INV_REQ_ERR:
		invalid_request(domain, wr, &s, flags, out);
		break;
	case IBV_WC_REM_OP_ERR:
		out->cause = ODP_CAUSE_REMOTE;
		out->remote = 1;
		explain_say(out, "the target could not carry it out: its receive request has a bad "
				 "lkey or a page that cannot be had, or it failed otherwise; the "
				 "target's own completion tells (odp_explain_recv)");
		break;
	case IBV_WC_LOC_LEN_ERR:
		out->cause = ODP_CAUSE_LENGTH;
		explain_say(out,
			    "its %" PRIu64
			    " bytes are more than a message may have here (2 GiB; the MTU on UD)",
			    sge_total(wr->sg_list, wr->num_sge));
		break;
	default:
		if (!s.sges || (wr->send_flags & IBV_SEND_INLINE)) {
			out->cause = ODP_CAUSE_OTHER;
			explain_say(out, "it uses no registered memory of this side: the request "
					 "itself is malformed");
			break;
		}
		local_memory(domain, wr->sg_list, wr->num_sge, s.local, out);
	}
	return 0;
}

ODP_PUBLIC int odp_explain_recv(struct odp_domain *domain, const struct ibv_wc *wc,
				const struct ibv_recv_wr *wr, struct odp_explanation *out)
{
	if (!domain || !wc || !out)
		return -EINVAL;
	begin("receive request", wc, out);
	if (status_alone(wc->status, out))
		return 0;
	if (!wr) {
		no_request(out);
		return 0;
	}
	if (wc->status == IBV_WC_LOC_LEN_ERR) {
		out->cause = ODP_CAUSE_LENGTH;
		explain_say(out,
			    "the message was longer than the buffer of %" PRIu64
			    " bytes in %d SGEs",
			    sge_total(wr->sg_list, wr->num_sge), wr->num_sge);
		return 0;
	}
	local_memory(domain, wr->sg_list, wr->num_sge, IBV_ACCESS_LOCAL_WRITE, out);
	return 0;
}
