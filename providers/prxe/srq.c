// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Shared receive queues. Posting to them is in post.c.
 */
#include <errno.h>
#include <stdlib.h>
#include "prxe.h"

/* The kernel has created the SRQ: map its ring, or destroy it again. */
static struct ibv_srq *srq_finish(struct prxe_srq *srq, int cmd_fd,
				  const struct rxe_create_srq_resp *resp, uint32_t max_sge,
				  bool single)
{
	struct ibv_srq *ibsrq = &srq->vsrq.srq;
	int ret;

	ret = prxe_queue_map(&srq->rq.queue, cmd_fd, &resp->mi,
			    sizeof(struct rxe_recv_wqe) + max_sge * sizeof(struct rxe_sge));
	if (!ret && !srq->rq.queue.ring)
		ret = EPROTO;
	if (ret) {
		pthread_mutex_init(&ibsrq->mutex, NULL);
		ibv_cmd_destroy_srq(ibsrq);
		free(srq);
		errno = ret;
		return NULL;
	}

	srq->vsrq.srq_num = resp->srq_num;
	srq->rq.max_sge = max_sge;
	prxe_lock_init(&srq->rq.lock, single);
	return ibsrq;
}

struct ibv_srq *prxe_create_srq(struct ibv_pd *pd, struct ibv_srq_init_attr *attr)
{
	struct prxe_create_srq cmd = {};
	struct prxe_create_srq_resp resp = {};
	struct prxe_srq *srq;
	int ret;

	srq = calloc(1, sizeof(*srq));
	if (!srq)
		return NULL;

	ret = ibv_cmd_create_srq(pd, &srq->vsrq.srq, attr, &cmd.ibv_cmd, sizeof(cmd),
				 &resp.ibv_resp, sizeof(resp));
	if (ret) {
		free(srq);
		errno = ret;
		return NULL;
	}
	return srq_finish(srq, pd->context->cmd_fd, &resp.drv_payload, attr->attr.max_sge,
			  prxe_pd_is_single_threaded(pd));
}

struct ibv_srq *prxe_create_srq_ex(struct ibv_context *context, struct ibv_srq_init_attr_ex *attr)
{
	struct prxe_create_srq_ex cmd = {};
	struct prxe_create_srq_ex_resp resp = {};
	struct prxe_srq *srq;
	int ret;

	if ((attr->comp_mask & IBV_SRQ_INIT_ATTR_TYPE) && attr->srq_type != IBV_SRQT_BASIC) {
		errno = EOPNOTSUPP;
		return NULL;
	}

	srq = calloc(1, sizeof(*srq));
	if (!srq)
		return NULL;

	ret = ibv_cmd_create_srq_ex(context, &srq->vsrq, attr, &cmd.ibv_cmd, sizeof(cmd),
				    &resp.ibv_resp, sizeof(resp));
	if (ret) {
		free(srq);
		errno = ret;
		return NULL;
	}
	return srq_finish(srq, context->cmd_fd, &resp.drv_payload, attr->attr.max_sge,
			  prxe_pd_is_single_threaded(attr->pd));
}

/*
 * A resize creates a new ring. The kernel describes it through a pointer in the command, and moves
 * the posted WQEs to it. Meanwhile, threads that post wait. If the new ring cannot be mapped, the
 * SRQ accepts no more receives.
 */
int prxe_modify_srq(struct ibv_srq *ibsrq, struct ibv_srq_attr *attr, int mask)
{
	struct prxe_srq *srq = to_prxe_srq(ibsrq);
	struct prxe_modify_srq cmd = {};
	struct mminfo mi = {};
	int ret;

	cmd.mmap_info_addr = (uintptr_t)&mi;
	if (!(mask & IBV_SRQ_MAX_WR))
		return ibv_cmd_modify_srq(ibsrq, attr, mask, &cmd.ibv_cmd, sizeof(cmd));

	prxe_lock_close(&srq->rq.lock);
	ret = ibv_cmd_modify_srq(ibsrq, attr, mask, &cmd.ibv_cmd, sizeof(cmd));
	if (!ret && mi.size) {
		prxe_queue_unmap(&srq->rq.queue);
		ret = prxe_queue_map(&srq->rq.queue, ibsrq->context->cmd_fd, &mi,
				     sizeof(struct rxe_recv_wqe) +
					     srq->rq.max_sge * sizeof(struct rxe_sge));
	}
	prxe_lock_open(&srq->rq.lock);
	return ret;
}

int prxe_query_srq(struct ibv_srq *ibsrq, struct ibv_srq_attr *attr)
{
	struct ibv_query_srq cmd;

	return ibv_cmd_query_srq(ibsrq, attr, &cmd, sizeof(cmd));
}

int prxe_get_srq_num(struct ibv_srq *ibsrq, uint32_t *num)
{
	*num = to_prxe_srq(ibsrq)->vsrq.srq_num;
	return 0;
}

int prxe_destroy_srq(struct ibv_srq *ibsrq)
{
	struct prxe_srq *srq = to_prxe_srq(ibsrq);
	int ret;

	ret = ibv_cmd_destroy_srq(ibsrq);
	if (ret)
		return ret;
	prxe_queue_unmap(&srq->rq.queue);
	prxe_lock_destroy(&srq->rq.lock);
	free(srq);
	return 0;
}
