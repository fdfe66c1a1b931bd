/* SPDX-License-Identifier: BSD-2-Clause */
/* Verbs: numbers from the published user ABI, structures as far as they are used. */
#ifndef SHIM_IB_H
#define SHIM_IB_H

#include <rdma/ib_user_verbs.h>
#include <rdma/ib_user_ioctl_verbs.h>

enum ib_wr_opcode {
	IB_WR_RDMA_WRITE = IB_UVERBS_WR_RDMA_WRITE,
	IB_WR_RDMA_WRITE_WITH_IMM = IB_UVERBS_WR_RDMA_WRITE_WITH_IMM,
	IB_WR_SEND = IB_UVERBS_WR_SEND,
	IB_WR_SEND_WITH_IMM = IB_UVERBS_WR_SEND_WITH_IMM,
	IB_WR_RDMA_READ = IB_UVERBS_WR_RDMA_READ,
	IB_WR_ATOMIC_CMP_AND_SWP = IB_UVERBS_WR_ATOMIC_CMP_AND_SWP,
	IB_WR_ATOMIC_FETCH_AND_ADD = IB_UVERBS_WR_ATOMIC_FETCH_AND_ADD,
	IB_WR_LOCAL_INV = IB_UVERBS_WR_LOCAL_INV,
	IB_WR_BIND_MW = IB_UVERBS_WR_BIND_MW,
	IB_WR_SEND_WITH_INV = IB_UVERBS_WR_SEND_WITH_INV,
	IB_WR_TSO = IB_UVERBS_WR_TSO,
	IB_WR_FLUSH = 14,
	IB_WR_ATOMIC_WRITE = 15,
	IB_WR_REG_MR = 0x20,
	IB_WR_REG_MR_INTEGRITY,
};

enum ib_send_flags {
	IB_SEND_FENCE = 1, IB_SEND_SIGNALED = 2, IB_SEND_SOLICITED = 4, IB_SEND_INLINE = 8,
	IB_SEND_IP_CSUM = 16,
};

enum ib_access_flags {
	IB_ACCESS_LOCAL_WRITE = 1, IB_ACCESS_REMOTE_WRITE = 2, IB_ACCESS_REMOTE_READ = 4,
	IB_ACCESS_REMOTE_ATOMIC = 8, IB_ACCESS_MW_BIND = 16, IB_ZERO_BASED = 32,
	IB_ACCESS_ON_DEMAND = 64, IB_ACCESS_HUGETLB = 128,
	IB_ACCESS_FLUSH_GLOBAL = 256, IB_ACCESS_FLUSH_PERSISTENT = 512,
	IB_ACCESS_RELAXED_ORDERING = 1 << 20,
};

enum ib_wc_status {
	IB_WC_SUCCESS, IB_WC_LOC_LEN_ERR, IB_WC_LOC_QP_OP_ERR, IB_WC_LOC_EEC_OP_ERR,
	IB_WC_LOC_PROT_ERR, IB_WC_WR_FLUSH_ERR, IB_WC_MW_BIND_ERR, IB_WC_BAD_RESP_ERR,
	IB_WC_LOC_ACCESS_ERR, IB_WC_REM_INV_REQ_ERR, IB_WC_REM_ACCESS_ERR, IB_WC_REM_OP_ERR,
	IB_WC_RETRY_EXC_ERR, IB_WC_RNR_RETRY_EXC_ERR, IB_WC_LOC_RDD_VIOL_ERR,
	IB_WC_REM_INV_RD_REQ_ERR, IB_WC_REM_ABORT_ERR, IB_WC_INV_EECN_ERR, IB_WC_INV_EEC_STATE_ERR,
	IB_WC_FATAL_ERR, IB_WC_RESP_TIMEOUT_ERR, IB_WC_GENERAL_ERR,
};

enum ib_wc_opcode {
	IB_WC_SEND, IB_WC_RDMA_WRITE, IB_WC_RDMA_READ, IB_WC_COMP_SWAP, IB_WC_FETCH_ADD,
	IB_WC_BIND_MW, IB_WC_LOCAL_INV, IB_WC_LSO, IB_WC_ATOMIC_WRITE, IB_WC_REG_MR,
	IB_WC_FLUSH = 32, IB_WC_RECV = 128, IB_WC_RECV_RDMA_WITH_IMM,
};

enum ib_qp_type { IB_QPT_SMI, IB_QPT_GSI, IB_QPT_RC, IB_QPT_UC, IB_QPT_UD };
enum ib_qp_state {
	IB_QPS_RESET, IB_QPS_INIT, IB_QPS_RTR, IB_QPS_RTS, IB_QPS_SQD, IB_QPS_SQE, IB_QPS_ERR,
};

enum ib_event_type {
	IB_EVENT_QP_FATAL = 1, IB_EVENT_SQ_DRAINED = 5, IB_EVENT_QP_LAST_WQE_REACHED = 16,
};

enum ib_cq_notify_flags { IB_CQ_SOLICITED = 1, IB_CQ_NEXT_COMP = 2 };
enum ib_srq_attr_mask { IB_SRQ_MAX_WR = 1, IB_SRQ_LIMIT = 2 };
enum ib_mr_type { IB_MR_TYPE_MEM_REG };
enum ib_mtu { IB_MTU_256 = 1, IB_MTU_512, IB_MTU_1024, IB_MTU_2048, IB_MTU_4096 };

union ib_gid { u8 raw[16]; };
struct ib_sge { u64 addr; u32 length, lkey; };
struct ib_udata;
struct ib_ucontext { int unused; };
struct ib_device { int unused; };
struct ib_device_ops;
struct ib_pd { struct ib_device *device; };
struct ib_ah { struct ib_device *device; };
struct ib_cq { struct ib_device *device; };
struct ib_srq { struct ib_device *device; };
struct ib_mw { u32 rkey; };
struct ib_mr { struct ib_device *device; struct ib_pd *pd; u32 lkey, rkey; };
struct ib_qp { struct ib_device *device; };
struct ib_cqe;
struct rdma_ah_attr { int unused; };
struct rdma_ah_init_attr;
struct ib_qp_init_attr;
struct ib_cq_init_attr;
struct ib_srq_init_attr;
struct ib_srq_attr;
struct scatterlist;
struct uverbs_attr_bundle;
struct ib_umem;
struct rdma_user_mmap_entry { int unused; };
struct ib_qp_cap { u32 max_send_wr, max_recv_wr, max_send_sge, max_recv_sge, max_inline_data; };
struct ib_qp_attr {
	enum ib_qp_state qp_state;
	enum ib_mtu path_mtu;
	u32 qkey, rq_psn, sq_psn, dest_qp_num;
	int qp_access_flags;
	u16 pkey_index;
	u8 en_sqd_async_notify, max_rd_atomic, max_dest_rd_atomic;
	u8 min_rnr_timer, timeout, retry_cnt, rnr_retry;
	struct ib_qp_cap cap;
};
struct ib_wc {
	union { u64 wr_id; struct ib_cqe *wr_cqe; };
	enum ib_wc_status status;
	enum ib_wc_opcode opcode;
	u32 vendor_err, byte_len;
	struct ib_qp *qp;
	union { __be32 imm_data; u32 invalidate_rkey; } ex;
	u32 src_qp, slid;
	int wc_flags;
	u16 pkey_index;
	u8 sl, port_num;
};
struct ib_send_wr {
	struct ib_send_wr *next;
	union { u64 wr_id; struct ib_cqe *wr_cqe; };
	struct ib_sge *sg_list;
	int num_sge;
	enum ib_wr_opcode opcode;
	int send_flags;
	union { __be32 imm_data; u32 invalidate_rkey; } ex;
};
struct ib_rdma_wr { struct ib_send_wr wr; u64 remote_addr; u32 rkey; };
struct ib_atomic_wr { struct ib_send_wr wr; u64 remote_addr, compare_add, swap; u32 rkey; };
struct ib_ud_wr {
	struct ib_send_wr wr;
	struct ib_ah *ah;
	u32 remote_qpn, remote_qkey;
	u16 pkey_index;
};

struct ib_reg_wr { struct ib_send_wr wr; struct ib_mr *mr; u32 key; int access; };
#define rdma_wr(w)	container_of(w, struct ib_rdma_wr, wr)
#define atomic_wr(w)	container_of(w, struct ib_atomic_wr, wr)
#define ud_wr(w)	container_of(w, struct ib_ud_wr, wr)
#define reg_wr(w)	container_of(w, struct ib_reg_wr, wr)
struct ib_recv_wr {
	struct ib_recv_wr *next;
	union { u64 wr_id; struct ib_cqe *wr_cqe; };
	struct ib_sge *sg_list;
	int num_sge;
};

#define rdma_user_mmap_entry_insert(u, e, n) ((void)(e), 0)
#define rdma_user_mmap_get_offset(e) ((u64)(uintptr_t)(e))
#define rdma_user_mmap_entry_remove(e) ((void)(e))
#define rdma_user_mmap_entry_get(u, v) ((struct rdma_user_mmap_entry *)NULL)
#define rdma_user_mmap_entry_put(e) ((void)(e))

#include <rdma/rdma_user_rxe.h>

#endif
