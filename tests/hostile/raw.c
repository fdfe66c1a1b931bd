// SPDX-License-Identifier: BSD-2-Clause
#include "raw.h"

#include <errno.h>
#include <rdma/ib_user_verbs.h>
#include <string.h>
#include <unistd.h>

static int command(int fd, uint32_t nr, void *buf, size_t size, size_t resp)
{
	struct ib_uverbs_cmd_hdr *h = buf;

	h->command = nr;
	h->in_words = (uint16_t)(size / 4);
	h->out_words = (uint16_t)(resp / 4);
	return write(fd, buf, size) == (ssize_t)size ? 0 : errno;
}

int raw_doorbell(const struct t_ep *e, uint64_t rnd)
{
	struct {
		struct ib_uverbs_cmd_hdr hdr;
		struct ib_uverbs_post_send cmd;
		uint8_t wqe[256];
	} c;
	struct ib_uverbs_post_send_resp resp;
	size_t size = sizeof(c.hdr) + sizeof(c.cmd);

	memset(&c, 0, sizeof(c));
	c.cmd.response = (uintptr_t)&resp;
	c.cmd.qp_handle = e->qp->handle;
	c.cmd.wqe_size = sizeof(struct ib_uverbs_send_wr);
	if ((rnd & 31) == 0) {
		for (size_t i = 0; i < sizeof(c.wqe); i++)
			c.wqe[i] = (uint8_t)t_mix(rnd + i);
		c.cmd.wr_count = (uint32_t)(rnd >> 8) % 3;
		c.cmd.sge_count = (uint32_t)(rnd >> 12) % 3;
		if (rnd & 0x10000)
			c.cmd.wqe_size = (uint32_t)(rnd >> 20) % 512;
		size += sizeof(c.wqe);
	}
	return command(e->d->ctx->cmd_fd, IB_USER_VERBS_CMD_POST_SEND, &c, size, sizeof(resp));
}

int raw_state(const struct t_ep *e, enum ibv_qp_state s, const struct t_ep *peer)
{
	struct {
		struct ib_uverbs_cmd_hdr hdr;
		struct ib_uverbs_modify_qp cmd;
	} c;

	memset(&c, 0, sizeof(c));
	c.cmd.qp_handle = e->qp->handle;
	c.cmd.qp_state = (uint8_t)s;
	c.cmd.attr_mask = IBV_QP_STATE;
	if (s == IBV_QPS_INIT) {
		c.cmd.port_num = 1;
		c.cmd.qkey = T_QKEY;
		c.cmd.qp_access_flags = T_ALL_ACCESS;
		c.cmd.attr_mask |= IBV_QP_PKEY_INDEX | IBV_QP_PORT |
				   (e->o.type == IBV_QPT_UD ? IBV_QP_QKEY : IBV_QP_ACCESS_FLAGS);
	} else if (s == IBV_QPS_RTR && e->o.type != IBV_QPT_UD) {
		memcpy(c.cmd.dest.dgid, peer->me.gid.raw, 16);
		c.cmd.dest.is_global = 1;
		c.cmd.dest.sgid_index = (uint8_t)e->d->gidx;
		c.cmd.dest.hop_limit = 64;
		c.cmd.dest.port_num = 1;
		c.cmd.path_mtu = (uint8_t)e->o.mtu;
		c.cmd.dest_qp_num = peer->me.qpn;
		c.cmd.rq_psn = peer->me.psn;
		c.cmd.max_dest_rd_atomic = e->o.rd_atomic;
		c.cmd.min_rnr_timer = e->o.min_rnr;
		c.cmd.attr_mask |= IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN;
		if (e->o.type == IBV_QPT_RC)
			c.cmd.attr_mask |= IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER;
	} else if (s == IBV_QPS_RTS) {
		c.cmd.sq_psn = e->o.psn;
		c.cmd.timeout = e->o.timeout;
		c.cmd.retry_cnt = e->o.retry_cnt;
		c.cmd.rnr_retry = e->o.rnr_retry;
		c.cmd.max_rd_atomic = e->o.rd_atomic;
		c.cmd.attr_mask |= IBV_QP_SQ_PSN;
		if (e->o.type == IBV_QPT_RC)
			c.cmd.attr_mask |= IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
					   IBV_QP_MAX_QP_RD_ATOMIC;
	}
	return command(e->d->ctx->cmd_fd, IB_USER_VERBS_CMD_MODIFY_QP, &c, sizeof(c), 0);
}

#define DESTROY(fd, what, nr, field, value)                                                        \
	do {                                                                                       \
		struct {                                                                           \
			struct ib_uverbs_cmd_hdr hdr;                                              \
			struct ib_uverbs_destroy_##what cmd;                                       \
		} c_;                                                                              \
		struct ib_uverbs_destroy_##what##_resp resp_;                                      \
		memset(&c_, 0, sizeof(c_));                                                        \
		c_.cmd.response = (uintptr_t)&resp_;                                               \
		c_.cmd.field = value;                                                              \
		return command(fd, nr, &c_, sizeof(c_), sizeof(resp_));                            \
	} while (0)

int raw_destroy_qp(const struct t_ep *e)
{
	DESTROY(e->d->ctx->cmd_fd, qp, IB_USER_VERBS_CMD_DESTROY_QP, qp_handle, e->qp->handle);
}

int raw_destroy_cq(int fd, uint32_t handle)
{
	DESTROY(fd, cq, IB_USER_VERBS_CMD_DESTROY_CQ, cq_handle, handle);
}

int raw_destroy_srq(int fd, uint32_t handle)
{
	DESTROY(fd, srq, IB_USER_VERBS_CMD_DESTROY_SRQ, srq_handle, handle);
}
