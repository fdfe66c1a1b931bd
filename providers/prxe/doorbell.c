// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The doorbell: the legacy POST_SEND command with no work requests in it, written to the device's file.
 */
#include <errno.h>
#include <unistd.h>
#include "prxe.h"

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

/* A kernel context that owns the queue sees the new producer index before it lets go. */
static bool kernel_is_looking(struct prxe_qp *qp)
{
	const __u32 *owner_active = (const __u32 *)((const char *)qp->sq.ring.buf + PRXE_RING_OWNER_ACTIVE);

	atomic_thread_fence(memory_order_seq_cst);
	return __atomic_load_n(owner_active, __ATOMIC_RELAXED);
}

int prxe_doorbell(struct prxe_qp *qp)
{
	struct ibv_context *context = qp->vqp.qp.context;
	struct prxe_context *ctx = to_prxe_ctx(context);
	struct ibv_send_wr *bad_wr;

	if ((ctx->features & PRXE_FEAT_DOORBELL_ELISION) && kernel_is_looking(qp))
		return 0;

	if (!atomic_load_explicit(&ctx->ioctl_doorbell, memory_order_relaxed)) {
		for (;;) {
			if (write(context->cmd_fd, &qp->doorbell, sizeof(qp->doorbell)) == sizeof(qp->doorbell))
				return 0;
			if (errno != EINTR)
				break;
		}
		if (errno != EACCES)
			return errno;
		/* The kernel refuses write() to a process that changed its credentials, but not the ioctl. */
		atomic_store_explicit(&ctx->ioctl_doorbell, true, memory_order_relaxed);
	}
	return ibv_cmd_post_send(&qp->vqp.qp, NULL, &bad_wr);
}
