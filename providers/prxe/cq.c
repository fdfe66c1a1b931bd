// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Completion queues, and polling them for struct ibv_wc.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "compat.h"
#include "prxe.h"

/* The kernel writes a struct ib_uverbs_wc; polling copies it as a struct ibv_wc. */
#define same_place(user, kernel)						\
	static_assert(offsetof(struct ibv_wc, user) ==				\
			      offsetof(struct ib_uverbs_wc, kernel) &&		\
		      sizeof(((struct ibv_wc *)0)->user) ==			\
			      sizeof(((struct ib_uverbs_wc *)0)->kernel), #user)
same_place(wr_id, wr_id);
same_place(status, status);
same_place(opcode, opcode);
same_place(vendor_err, vendor_err);
same_place(byte_len, byte_len);
same_place(imm_data, ex.imm_data);
same_place(qp_num, qp_num);
same_place(src_qp, src_qp);
same_place(wc_flags, wc_flags);
same_place(pkey_index, pkey_index);
same_place(slid, slid);
same_place(sl, sl);
same_place(dlid_path_bits, dlid_path_bits);
static_assert(sizeof(struct ibv_wc) <= sizeof(struct ib_uverbs_wc),
	      "no more than the kernel writes");

static struct prxe_cq *cq_create(struct ibv_context *context, struct ibv_cq_init_attr_ex *attr,
				 bool single)
{
	struct prxe_create_cq cmd = {};
	struct prxe_create_cq_resp resp = {};
	struct prxe_cq *cq;
	int ret;

	cq = calloc(1, sizeof(*cq));
	if (!cq)
		return NULL;

	ret = compat_create_cq_ex(context, attr, &cq->vcq, &cmd.ibv_cmd, sizeof(cmd),
				  &resp.ibv_resp, sizeof(resp));
	if (ret)
		goto err_free;

	ret = prxe_queue_map(&cq->queue, context->cmd_fd, &resp.mi, sizeof(struct ib_uverbs_wc));
	if (!ret && !cq->queue.ring)
		ret = EPROTO;
	if (ret)
		goto err_destroy;

	prxe_lock_init(&cq->lock, single);
	return cq;

err_destroy:
	/*
	 * ibv_cmd_destroy_cq() waits for events under this mutex, which libibverbs initializes only
	 * after a successful creation.
	 */
	pthread_mutex_init(&cq->vcq.cq.mutex, NULL);
	ibv_cmd_destroy_cq(&cq->vcq.cq);
err_free:
	free(cq);
	errno = ret;
	return NULL;
}

struct ibv_cq *prxe_create_cq(struct ibv_context *context, int cqe,
			      struct ibv_comp_channel *channel, int comp_vector)
{
	struct ibv_cq_init_attr_ex attr = {
		.cqe = cqe,
		.channel = channel,
		.comp_vector = comp_vector,
	};
	struct prxe_cq *cq;

	if (cqe <= 0) {
		errno = EINVAL;
		return NULL;
	}
	cq = cq_create(context, &attr, false);
	return cq ? &cq->vcq.cq : NULL;
}

struct ibv_cq_ex *prxe_create_cq_ex(struct ibv_context *context, struct ibv_cq_init_attr_ex *attr)
{
	uint64_t wc_flags = IBV_WC_STANDARD_FLAGS;
	bool single = false;
	struct prxe_cq *cq;

	if (to_prxe_ctx(context)->features & PRXE_FEAT_CQE_TIMESTAMP)
		wc_flags |= IBV_WC_EX_WITH_COMPLETION_TIMESTAMP |
			    IBV_WC_EX_WITH_COMPLETION_TIMESTAMP_WALLCLOCK;
	if ((attr->wc_flags & ~wc_flags) ||
	    !check_comp_mask(attr->comp_mask,
			     IBV_CQ_INIT_ATTR_MASK_FLAGS | IBV_CQ_INIT_ATTR_MASK_PD)) {
		errno = EOPNOTSUPP;
		return NULL;
	}
	if (attr->comp_mask & IBV_CQ_INIT_ATTR_MASK_FLAGS) {
		if (!check_comp_mask(attr->flags, IBV_CREATE_CQ_ATTR_SINGLE_THREADED |
						  IBV_CREATE_CQ_ATTR_IGNORE_OVERRUN)) {
			errno = EOPNOTSUPP;
			return NULL;
		}
		single = attr->flags & IBV_CREATE_CQ_ATTR_SINGLE_THREADED;
	}
	if (attr->comp_mask & IBV_CQ_INIT_ATTR_MASK_PD) {
		if (!attr->parent_domain || !to_prxe_pd(attr->parent_domain)->parent_of) {
			errno = EINVAL;
			return NULL;
		}
		single |= prxe_pd_is_single_threaded(attr->parent_domain);
	}
	if (!attr->cqe || attr->cqe > INT32_MAX) {
		errno = EINVAL;
		return NULL;
	}

	cq = cq_create(context, attr, single);
	if (!cq)
		return NULL;
	prxe_cq_set_ops(cq, attr->wc_flags);
	return &cq->vcq.cq_ex;
}

int prxe_poll_cq(struct ibv_cq *ibcq, int max, struct ibv_wc *wc)
{
	struct prxe_cq *cq = to_prxe_cq(ibcq);
	struct prxe_queue *q = &cq->queue;
	uint32_t consumer, producer;
	int n = 0;

	prxe_lock(&cq->lock);
	if (prxe_unlikely(!q->ring)) {	/* no ring: prxe_resize_cq() failed to map it */
		prxe_unlock(&cq->lock);
		return -EIO;
	}
	consumer = prxe_ring_own(&q->ring->consumer) & q->mask;
	producer = prxe_ring_peer(&q->ring->producer) & q->mask;
	for (; n < max && consumer != producer; n++) {
		memcpy(&wc[n], prxe_queue_slot(q, consumer), sizeof(*wc));
		wc[n].wc_flags = prxe_wc_flags(wc[n].wc_flags);
		consumer = prxe_queue_next(q, consumer);
	}
	if (n > 0)
		prxe_ring_publish(&q->ring->consumer, consumer);
	prxe_unlock(&cq->lock);
	return n;
}

/*
 * All CQEs between the two indices belong to user space. Those that stay are moved up towards the
 * producer, and the consumer index follows. Meanwhile the kernel writes only to the slots from the
 * producer on.
 */
void prxe_cq_drop_qp(struct prxe_cq *cq, uint32_t qp_num)
{
	struct prxe_queue *q = &cq->queue;
	uint32_t consumer, from, to;
	const struct prxe_cqe *cqe;

	prxe_lock(&cq->lock);
	if (!q->ring)
		goto out;
	consumer = prxe_ring_own(&q->ring->consumer) & q->mask;
	from = prxe_ring_peer(&q->ring->producer) & q->mask;
	to = from;
	while (from != consumer) {
		from = (from - 1) & q->mask;
		cqe = prxe_queue_slot(q, from);
		if (cqe->wc.qp_num == qp_num)
			continue;
		to = (to - 1) & q->mask;
		if (to != from)
			memcpy(prxe_queue_slot(q, to), cqe, 1U << q->shift);
	}
	if (to != consumer)
		prxe_ring_publish(&q->ring->consumer, to);
out:
	prxe_unlock(&cq->lock);
}

/*
 * The kernel moves the CQEs to the new ring, so nobody may consume from the old one during the
 * command. If the new ring cannot be mapped, the CQ cannot be used any more, and polling returns
 * EIO.
 */
int prxe_resize_cq(struct ibv_cq *ibcq, int cqe)
{
	struct prxe_cq *cq = to_prxe_cq(ibcq);
	struct prxe_resize_cq cmd = {};
	struct prxe_resize_cq_resp resp = {};
	int ret;

	if (cqe <= 0)
		return EINVAL;

	prxe_lock_close(&cq->lock);
	ret = ibv_cmd_resize_cq(ibcq, cqe, &cmd.ibv_cmd, sizeof(cmd), &resp.ibv_resp, sizeof(resp));
	if (!ret && resp.mi.size) {
		prxe_queue_unmap(&cq->queue);
		ret = prxe_queue_map(&cq->queue, ibcq->context->cmd_fd, &resp.mi,
				     sizeof(struct ib_uverbs_wc));
	}
	prxe_lock_open(&cq->lock);
	return ret;
}

int prxe_modify_cq(struct ibv_cq *ibcq, struct ibv_modify_cq_attr *attr)
{
	struct ibv_modify_cq cmd = {};

	return ibv_cmd_modify_cq(ibcq, attr, &cmd, sizeof(cmd));
}

int prxe_destroy_cq(struct ibv_cq *ibcq)
{
	struct prxe_cq *cq = to_prxe_cq(ibcq);
	int ret;

	ret = ibv_cmd_destroy_cq(ibcq);
	if (ret)
		return ret;
	prxe_queue_unmap(&cq->queue);
	prxe_lock_destroy(&cq->lock);
	free(cq);
	return 0;
}
