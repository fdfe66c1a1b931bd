// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Queue pairs: creating, modifying, querying and destroying them. Posting is in post.c and
 * wr_api.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "compat.h"
#include "prxe.h"

#define OP(name)	(1U << IBV_WR_##name)

/*
 * What a QP type can post by each of the two posting interfaces: as bits of enum ibv_wr_opcode, and
 * as IBV_QP_EX_WITH_*.
 */
struct qp_type_ops {
	uint32_t opcodes;
	uint64_t send_ops;
};

static const struct qp_type_ops rc_ops = {
	.opcodes = OP(SEND) | OP(SEND_WITH_IMM) | OP(SEND_WITH_INV) | OP(RDMA_WRITE) |
		   OP(RDMA_WRITE_WITH_IMM) | OP(RDMA_READ) | OP(ATOMIC_CMP_AND_SWP) |
		   OP(ATOMIC_FETCH_AND_ADD) | OP(LOCAL_INV) | OP(BIND_MW) | OP(FLUSH) |
		   OP(ATOMIC_WRITE),
	.send_ops = IBV_QP_EX_WITH_SEND | IBV_QP_EX_WITH_SEND_WITH_IMM |
		    IBV_QP_EX_WITH_SEND_WITH_INV | IBV_QP_EX_WITH_RDMA_WRITE |
		    IBV_QP_EX_WITH_RDMA_WRITE_WITH_IMM | IBV_QP_EX_WITH_RDMA_READ |
		    IBV_QP_EX_WITH_ATOMIC_CMP_AND_SWP | IBV_QP_EX_WITH_ATOMIC_FETCH_AND_ADD |
		    IBV_QP_EX_WITH_LOCAL_INV | IBV_QP_EX_WITH_BIND_MW | IBV_QP_EX_WITH_FLUSH |
		    IBV_QP_EX_WITH_ATOMIC_WRITE,
};

static const struct qp_type_ops uc_ops = {
	.opcodes = OP(SEND) | OP(SEND_WITH_IMM) | OP(RDMA_WRITE) | OP(RDMA_WRITE_WITH_IMM) |
		   OP(LOCAL_INV) | OP(BIND_MW),
	.send_ops = IBV_QP_EX_WITH_SEND | IBV_QP_EX_WITH_SEND_WITH_IMM | IBV_QP_EX_WITH_RDMA_WRITE |
		    IBV_QP_EX_WITH_RDMA_WRITE_WITH_IMM | IBV_QP_EX_WITH_LOCAL_INV |
		    IBV_QP_EX_WITH_BIND_MW,
};

static const struct qp_type_ops ud_ops = {
	.opcodes = OP(SEND) | OP(SEND_WITH_IMM),
	.send_ops = IBV_QP_EX_WITH_SEND | IBV_QP_EX_WITH_SEND_WITH_IMM,
};

static const struct qp_type_ops *type_ops(enum ibv_qp_type type)
{
	switch (type) {
	case IBV_QPT_RC:
		return &rc_ops;
	case IBV_QPT_UC:
		return &uc_ops;
	case IBV_QPT_UD:
		return &ud_ops;
	default:
		return NULL;
	}
}

/*
 * Map both rings of a QP that the kernel created with these capabilities. Returns 0, or an errno;
 * then nothing is mapped.
 */
static int qp_map(struct prxe_qp *qp, int cmd_fd, const struct rxe_create_qp_resp *resp,
		  const struct ibv_qp_cap *cap)
{
	size_t sges = cap->max_send_sge * sizeof(struct rxe_sge);
	size_t payload = sges > cap->max_inline_data ? sges : cap->max_inline_data;
	int ret;

	ret = prxe_queue_map(&qp->sq.queue, cmd_fd, &resp->sq_mi,
			     sizeof(struct rxe_send_wqe) + payload);
	if (ret)
		return ret;
	if (!qp->sq.queue.ring)
		return EPROTO;

	ret = prxe_queue_map(&qp->rq.queue, cmd_fd, &resp->rq_mi,
			     sizeof(struct rxe_recv_wqe) +
				     cap->max_recv_sge * sizeof(struct rxe_sge));
	if (ret)
		prxe_queue_unmap(&qp->sq.queue);
	return ret;
}

struct ibv_qp *prxe_create_qp_ex(struct ibv_context *context, struct ibv_qp_init_attr_ex *attr)
{
	const struct qp_type_ops *ops = type_ops(attr->qp_type);
	struct prxe_create_qp cmd = {};
	struct prxe_create_qp_resp resp = {};
	struct prxe_qp *qp;
	bool single;
	int ret;

	if (!ops ||
	    !check_comp_mask(attr->comp_mask, IBV_QP_INIT_ATTR_PD | IBV_QP_INIT_ATTR_CREATE_FLAGS |
						      IBV_QP_INIT_ATTR_SEND_OPS_FLAGS) ||
	    ((attr->comp_mask & IBV_QP_INIT_ATTR_CREATE_FLAGS) && attr->create_flags) ||
	    ((attr->comp_mask & IBV_QP_INIT_ATTR_SEND_OPS_FLAGS) &&
	     (attr->send_ops_flags & ~ops->send_ops))) {
		errno = EOPNOTSUPP;
		return NULL;
	}
	if (!(attr->comp_mask & IBV_QP_INIT_ATTR_PD) || !attr->pd || !attr->send_cq ||
	    !attr->recv_cq) {
		errno = EINVAL;
		return NULL;
	}

	qp = calloc(1, sizeof(*qp));
	if (!qp)
		return NULL;

	ret = compat_create_qp_ex(context, &qp->vqp, attr, &cmd.ibv_cmd, sizeof(cmd),
				  &resp.ibv_resp, sizeof(resp));
	if (ret)
		goto err_free;
	ret = qp_map(qp, context->cmd_fd, &resp.drv_payload, &attr->cap);
	if (ret)
		goto err_destroy;

	single = prxe_pd_is_single_threaded(attr->pd);
	prxe_lock_init(&qp->sq.lock, single);
	prxe_lock_init(&qp->rq.lock, single);
	qp->sq.max_sge = attr->cap.max_send_sge;
	qp->sq.max_inline = attr->cap.max_inline_data;
	qp->sq.opcodes = ops->opcodes;
	qp->rq.max_sge = attr->cap.max_recv_sge;
	prxe_doorbell_init(qp);
	if (attr->comp_mask & IBV_QP_INIT_ATTR_SEND_OPS_FLAGS) {
		prxe_qp_set_ops(qp, attr->send_ops_flags);
		qp->vqp.comp_mask |= VERBS_QP_EX;
	}
	return &qp->vqp.qp;

err_destroy:
	pthread_mutex_init(&qp->vqp.qp.mutex, NULL);
	ibv_cmd_destroy_qp(&qp->vqp.qp);
err_free:
	free(qp);
	errno = ret;
	return NULL;
}

struct ibv_qp *prxe_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *attr)
{
	struct ibv_qp_init_attr_ex ex = {
		.qp_context = attr->qp_context,
		.send_cq = attr->send_cq,
		.recv_cq = attr->recv_cq,
		.srq = attr->srq,
		.cap = attr->cap,
		.qp_type = attr->qp_type,
		.sq_sig_all = attr->sq_sig_all,
		.comp_mask = IBV_QP_INIT_ATTR_PD,
		.pd = pd,
	};
	struct ibv_qp *qp;

	qp = prxe_create_qp_ex(pd->context, &ex);
	if (qp)
		attr->cap = ex.cap;
	return qp;
}

int prxe_query_qp(struct ibv_qp *ibqp, struct ibv_qp_attr *attr, int mask,
		  struct ibv_qp_init_attr *init)
{
	struct ibv_query_qp cmd;

	return ibv_cmd_query_qp(ibqp, attr, mask, init, &cmd, sizeof(cmd));
}

static void qp_drop_cqes(struct ibv_qp *ibqp)
{
	prxe_cq_drop_qp(to_prxe_cq(ibqp->send_cq), ibqp->qp_num);
	if (ibqp->recv_cq != ibqp->send_cq)
		prxe_cq_drop_qp(to_prxe_cq(ibqp->recv_cq), ibqp->qp_num);
}

/*
 * After a reset, the CQs must not have completions of what was posted before. Providers of hardware
 * devices drop them as well.
 */
int prxe_modify_qp(struct ibv_qp *ibqp, struct ibv_qp_attr *attr, int mask)
{
	struct ibv_modify_qp cmd = {};
	int ret;

	ret = ibv_cmd_modify_qp(ibqp, attr, mask, &cmd, sizeof(cmd));
	if (!ret && (mask & IBV_QP_STATE) && attr->qp_state == IBV_QPS_RESET)
		qp_drop_cqes(ibqp);
	return ret;
}

int prxe_destroy_qp(struct ibv_qp *ibqp)
{
	struct prxe_qp *qp = to_prxe_qp(ibqp);
	int ret;

	ret = ibv_cmd_destroy_qp(ibqp);
	if (ret)
		return ret;
	qp_drop_cqes(ibqp);
	prxe_queue_unmap(&qp->sq.queue);
	prxe_queue_unmap(&qp->rq.queue);
	prxe_lock_destroy(&qp->sq.lock);
	prxe_lock_destroy(&qp->rq.lock);
	free(qp);
	return 0;
}
