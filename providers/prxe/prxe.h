/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The provider's objects, and the functions that its files call in each other. All functions return
 * what the verb of the same name returns, unless a comment says otherwise.
 */
#ifndef PRXE_H
#define PRXE_H

#include <stdatomic.h>
#include <infiniband/driver.h>
#include "cmd.h"
#include "queue.h"

struct prxe_device {
	struct verbs_device vdev;
	uint32_t driver_id;		/* RDMA_DRIVER_UNKNOWN if the kernel does not tell it */
};

struct prxe_context {
	struct verbs_context vctx;
	uint64_t features;		/* PRXE_FEAT_* that the kernel granted */
	int doorbell_fd;		/* -1: the kernel has none */
	atomic_bool ioctl_doorbell;	/* this process must ring by ioctl: write() is refused */
};

struct prxe_td {
	struct ibv_td td;
	atomic_uint refs;		/* parent domains that contain it */
};

struct prxe_pd {
	struct ibv_pd pd;
	atomic_uint refs;		/* parent domains that contain this one */
	struct prxe_pd *parent_of;	/* parent domain only: the protection domain in it */
	struct prxe_td *td;		/* parent domain only: its thread domain, or NULL */
};

struct prxe_cq {
	struct verbs_cq vcq;
	struct prxe_queue queue;
	struct prxe_lock lock;
	/* Valid between start_poll and end_poll, while the lock is held. */
	uint32_t cur, producer;
	const struct prxe_cqe *cqe;
};

struct prxe_ah {
	struct ibv_ah ah;
	uint32_t num;			/* the kernel's number; 0: WQEs have av instead */
	struct rxe_av av;
};

struct prxe_rq {			/* a QP's own, or an SRQ's */
	struct prxe_queue queue;
	struct prxe_lock lock;
	uint32_t max_sge;
};

struct prxe_srq {
	struct verbs_srq vsrq;
	struct prxe_rq rq;
};

struct prxe_sq {
	struct prxe_queue queue;
	struct prxe_lock lock;
	uint32_t max_sge, max_inline;
	uint32_t opcodes;		/* 1 << enum ibv_wr_opcode: what this QP's type can post */
};

struct prxe_qp {
	struct verbs_qp vqp;
	struct prxe_sq sq;
	struct prxe_rq rq;
	struct ibv_post_send doorbell;	/* the POST_SEND command, built once */
	struct ib_uverbs_post_send_resp doorbell_resp;
	/* Valid between wr_start and wr_complete, while the SQ's lock is held. */
	struct prxe_batch batch;
	struct rxe_send_wqe *wqe;
	int wr_err;
};

#define PRXE_TO(func, type, base, member)						\
static inline struct type *func(const base *p)						\
{											\
	return (struct type *)((char *)(uintptr_t)p - offsetof(struct type, member));	\
}
PRXE_TO(to_prxe_dev, prxe_device, struct ibv_device, vdev.device)
PRXE_TO(to_prxe_ctx, prxe_context, struct ibv_context, vctx.context)
PRXE_TO(to_prxe_td, prxe_td, struct ibv_td, td)
PRXE_TO(to_prxe_pd, prxe_pd, struct ibv_pd, pd)
PRXE_TO(to_prxe_cq, prxe_cq, struct ibv_cq, vcq.cq)
PRXE_TO(to_prxe_ah, prxe_ah, struct ibv_ah, ah)
PRXE_TO(to_prxe_srq, prxe_srq, struct ibv_srq, vsrq.srq)
PRXE_TO(to_prxe_qp, prxe_qp, struct ibv_qp, vqp.qp)

/*
 * One thread at a time uses the objects that were created in a thread domain, so they need no
 * locks.
 */
static inline bool prxe_pd_is_single_threaded(const struct ibv_pd *pd)
{
	return pd && to_prxe_pd(pd)->td;
}

/* pd.c */
struct ibv_pd *prxe_alloc_pd(struct ibv_context *context);
struct ibv_pd *prxe_alloc_parent_domain(struct ibv_context *context,
					struct ibv_parent_domain_init_attr *attr);
struct ibv_pd *prxe_import_pd(struct ibv_context *context, uint32_t handle);
void prxe_unimport_pd(struct ibv_pd *ibpd);
int prxe_dealloc_pd(struct ibv_pd *ibpd);
struct ibv_td *prxe_alloc_td(struct ibv_context *context, struct ibv_td_init_attr *attr);
int prxe_dealloc_td(struct ibv_td *ibtd);

/* mr.c */
struct ibv_mr *prxe_reg_mr(struct ibv_pd *pd, void *addr, size_t length, uint64_t iova, int access);
struct ibv_mr *prxe_reg_dmabuf_mr(struct ibv_pd *pd, uint64_t offset, size_t length, uint64_t iova,
				  int fd, int access);
struct ibv_mr *prxe_import_mr(struct ibv_pd *pd, uint32_t handle);
void prxe_unimport_mr(struct ibv_mr *mr);
int prxe_rereg_mr(struct verbs_mr *vmr, int flags, struct ibv_pd *pd, void *addr, size_t length,
		  int access);
int prxe_dereg_mr(struct verbs_mr *vmr);
struct ibv_mw *prxe_alloc_mw(struct ibv_pd *pd, enum ibv_mw_type type);
int prxe_dealloc_mw(struct ibv_mw *mw);

/* cq.c */
struct ibv_cq *prxe_create_cq(struct ibv_context *context, int cqe,
			      struct ibv_comp_channel *channel, int comp_vector);
struct ibv_cq_ex *prxe_create_cq_ex(struct ibv_context *context, struct ibv_cq_init_attr_ex *attr);
int prxe_poll_cq(struct ibv_cq *ibcq, int max, struct ibv_wc *wc);
/*
 * Remove the CQEs of a QP that were not polled yet, because they belong to its time before a reset
 * or a destroy. Takes the lock of the CQ.
 */
void prxe_cq_drop_qp(struct prxe_cq *cq, uint32_t qp_num);
int prxe_resize_cq(struct ibv_cq *ibcq, int cqe);
int prxe_modify_cq(struct ibv_cq *ibcq, struct ibv_modify_cq_attr *attr);
int prxe_destroy_cq(struct ibv_cq *ibcq);

/*
 * cq_ex.c: set up the extended polling interface with the readers that wc_flags asks for. All flags
 * in wc_flags must be supported.
 */
void prxe_cq_set_ops(struct prxe_cq *cq, uint64_t wc_flags);

/* srq.c */
struct ibv_srq *prxe_create_srq(struct ibv_pd *pd, struct ibv_srq_init_attr *attr);
struct ibv_srq *prxe_create_srq_ex(struct ibv_context *context, struct ibv_srq_init_attr_ex *attr);
int prxe_modify_srq(struct ibv_srq *ibsrq, struct ibv_srq_attr *attr, int mask);
int prxe_query_srq(struct ibv_srq *ibsrq, struct ibv_srq_attr *attr);
int prxe_get_srq_num(struct ibv_srq *ibsrq, uint32_t *num);
int prxe_destroy_srq(struct ibv_srq *ibsrq);

/* qp.c */
struct ibv_qp *prxe_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *attr);
struct ibv_qp *prxe_create_qp_ex(struct ibv_context *context, struct ibv_qp_init_attr_ex *attr);
int prxe_query_qp(struct ibv_qp *ibqp, struct ibv_qp_attr *attr, int mask,
		  struct ibv_qp_init_attr *init);
int prxe_modify_qp(struct ibv_qp *ibqp, struct ibv_qp_attr *attr, int mask);
int prxe_destroy_qp(struct ibv_qp *ibqp);

/* post.c */
int prxe_post_send(struct ibv_qp *ibqp, struct ibv_send_wr *wr, struct ibv_send_wr **bad_wr);
int prxe_post_recv(struct ibv_qp *ibqp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad_wr);
int prxe_post_srq_recv(struct ibv_srq *ibsrq, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad_wr);
int prxe_bind_mw(struct ibv_qp *ibqp, struct ibv_mw *mw, struct ibv_mw_bind *bind);

/* doorbell.c: the context's doorbell file, if the kernel has doorbells; cannot fail. */
void prxe_doorbell_open(struct prxe_context *ctx);
void prxe_doorbell_close(struct prxe_context *ctx);
/* Build the command that rings where the kernel has no doorbell file. At creation of a QP. */
void prxe_doorbell_init(struct prxe_qp *qp);
/*
 * Tell the kernel about published WQEs. A system call, so never call it under a lock. Returns 0 or
 * an errno.
 */
int prxe_doorbell(struct prxe_qp *qp);
/*
 * post.c: ring for a published batch of the send queue. Returns 0, or an errno if the kernel took
 * nothing of the batch. Not under the SQ's lock.
 */
int prxe_sq_ring(struct prxe_qp *qp, struct prxe_batch *batch);

/* wr_api.c: set up ibv_wr_*() for the operations in flags (IBV_QP_EX_WITH_*). */
void prxe_qp_set_ops(struct prxe_qp *qp, uint64_t flags);

/* ah.c */
struct ibv_ah *prxe_create_ah(struct ibv_pd *pd, struct ibv_ah_attr *attr);
int prxe_destroy_ah(struct ibv_ah *ibah);

#endif
