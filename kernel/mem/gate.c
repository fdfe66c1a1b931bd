// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * THE access gate. It looks keys up in their table (key.h), and is told who asks (who.h); it knows
 * no QP.
 *
 * The gate reads the description of an MR or memory window without a lock. That is safe because of
 * its seq, which changes whenever the description changes. The cursor keeps the seq of the grant,
 * and copy.c compares it, inside each hazard window, before it touches memory. So a grant that was
 * made from a description that was changing, or that has changed since, moves no byte.
 */
#include "base/prxe.h"
#include "mem/gate.h"
#include "mem/key.h"
#include "mem/who.h"

/*
 * Look @key up, and check everything but its bounds. Returns its MR or memory window, or NULL if
 * the access is forbidden. *seq: the value of its seq when the checks were made.
 */
static __always_inline struct prxe_mr *gate_key(const struct prxe_who *who, u32 key, bool remote,
						int access, unsigned int *seq)
{
	struct prxe_mr *mr = prxe_mr_hit(who->dev, key);

	if (!mr)
		return NULL;
	*seq = smp_load_acquire(&mr->seq);	/* acquire: the description is read after seq */
	if (!(*seq & 1) || READ_ONCE(mr->pd) != who->pd)
		return NULL;
	if (key != (remote ? READ_ONCE(mr->rkey) : READ_ONCE(mr->lkey)))
		return NULL;
	if ((READ_ONCE(mr->access) & access) != access)
		return NULL;
	if (mr->kind == PRXE_MR_MW) {
		u32 qpn = READ_ONCE(mr->mw_qpn);	/* type 2: the one QP that may use it */

		if (!remote || (qpn && qpn != who->qpn))
			return NULL;
	}
	return mr;
}

static __always_inline bool gate_bounds(const struct prxe_mr *mr, u64 iova, u64 len)
{
	u64 off = iova - READ_ONCE(mr->iova);

	return iova >= mr->iova && off <= mr->length && len <= mr->length - off;
}

int prxe_gate(const struct prxe_who *who, u32 key, bool remote, u64 iova, u64 len, int access,
	      struct prxe_cursor *cur)
{
	struct prxe_mr *mr, *under;
	unsigned int seq;
	u64 off;

	if (!len) {
		*cur = (struct prxe_cursor){};
		return 0;
	}
	mr = gate_key(who, key, remote, access, &seq);
	if (!mr || !gate_bounds(mr, iova, len))
		return -EACCES;
	off = iova - mr->iova;
	under = mr;
	if (mr->kind == PRXE_MR_MW) {
		under = READ_ONCE(mr->under);
		if (!under)
			return -EACCES;	/* another CPU has just unbound it */
		/*
		 * From here on, @off is an offset in the MR under the window. That MR does not
		 * change while the window is bound to it.
		 */
		off += READ_ONCE(mr->va) - under->iova;
		if (off > under->length || len > under->length - off)
			return -EACCES;
	}
	cur->key = mr;
	cur->mr = under;
	cur->seq = seq;
	cur->addr = READ_ONCE(under->va) + off;
	cur->len = len;
	return 0;
}

int prxe_mem_flush(const struct prxe_who *who, u32 rkey, u64 iova, u64 len, int access, bool whole)
{
	unsigned int seq;
	struct prxe_mr *mr;

	mr = gate_key(who, rkey, true, access, &seq);
	if (!mr || access & IB_ACCESS_FLUSH_PERSISTENT || !(whole || gate_bounds(mr, iova, len)))
		return -EACCES;
	/*
	 * Was everything above checked against one description? A FLUSH opens no hazard window in
	 * which seq would be compared later.
	 */
	smp_rmb();
	if (READ_ONCE(mr->seq) != seq)
		return -EACCES;
	/* Earlier copies are visible before the response is, to devices as well. */
	wmb();
	return 0;
}
