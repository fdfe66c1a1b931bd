// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The doorbell: an ioctl on a file of its own. If the kernel does not have that, a POST_SEND
 * command without work requests, written to the file of the device.
 */
#include <errno.h>
#include <rdma/rdma_user_ioctl_cmds.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "prxe.h"
#include "prxe-ioctl.h"

void prxe_doorbell_open(struct prxe_context *ctx)
{
	struct {
		struct ib_uverbs_ioctl_hdr hdr;
		struct ib_uverbs_attr fd;
	} cmd = {
		.hdr = { .length = sizeof(cmd),
			 .object_id = PRXE_OBJECT_DOORBELL,
			 .method_id = PRXE_METHOD_DOORBELL_OPEN,
			 .num_attrs = 1,
			 .driver_id = PRXE_DRIVER_ID },
		.fd = { .attr_id = PRXE_ATTR_DOORBELL_FD, .flags = UVERBS_ATTR_F_MANDATORY },
	};

	/*
	 * It fails with another driver id (rxe_compat=1) and with an older module: they lack the
	 * method.
	 */
	ctx->doorbell_fd = ioctl(ctx->vctx.context.cmd_fd, RDMA_VERBS_IOCTL, &cmd) ?
				   -1 : (int)cmd.fd.data_s64;
}

void prxe_doorbell_close(struct prxe_context *ctx)
{
	if (ctx->doorbell_fd >= 0)
		close(ctx->doorbell_fd);
}

void prxe_doorbell_init(struct prxe_qp *qp)
{
	struct ibv_post_send *cmd = &qp->doorbell;

	cmd->hdr.command = IB_USER_VERBS_CMD_POST_SEND;
	cmd->hdr.in_words = sizeof(*cmd) / 4;
	cmd->hdr.out_words = sizeof(qp->doorbell_resp) / 4;
	cmd->response = (uintptr_t)&qp->doorbell_resp;
	cmd->qp_handle = qp->vqp.qp.handle;
	cmd->wqe_size = sizeof(struct ib_uverbs_send_wr);
}

int prxe_doorbell(struct prxe_qp *qp)
{
	struct ibv_context *context = qp->vqp.qp.context;
	struct prxe_context *ctx = to_prxe_ctx(context);
	struct ibv_send_wr *bad_wr;

	if (ctx->doorbell_fd >= 0) {
		while (ioctl(ctx->doorbell_fd, PRXE_DOORBELL_RING,
			     (unsigned long)qp->vqp.qp.qp_num))
			if (errno != EINTR)
				return errno;
		return 0;
	}
	if (!atomic_load_explicit(&ctx->ioctl_doorbell, memory_order_relaxed)) {
		for (;;) {
			if (write(context->cmd_fd, &qp->doorbell, sizeof(qp->doorbell)) ==
			    sizeof(qp->doorbell))
				return 0;
			if (errno != EINTR)
				break;
		}
		if (errno != EACCES)
			return errno;
		/*
		 * The kernel refuses write() from a process that changed its credentials. It still
		 * accepts the same command as an ioctl, so use that from now on.
		 */
		atomic_store_explicit(&ctx->ioctl_doorbell, true, memory_order_relaxed);
	}
	return ibv_cmd_post_send(&qp->vqp.qp, NULL, &bad_wr);
}
