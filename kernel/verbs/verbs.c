// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Verbs on the device, its port, contexts and PDs. Most of them are queries.
 *
 * Verbs: answers from struct prxe_dev and its netdev. Calls base for the port's state, and mmu to
 * give back a context's mirror.
 */
#include <linux/ethtool.h>
#include <linux/rtnetlink.h>
#include <rdma/ib_mad.h>
#include "base/prxe.h"
#include "base/registry.h"
#include "base/version.h"
#include "carrier/mcast.h"
#include "mmu/mirror.h"
#include "verbs/verbs.h"

#define RC_ODP (IB_ODP_SUPPORT_SEND | IB_ODP_SUPPORT_RECV | IB_ODP_SUPPORT_WRITE | \
		IB_ODP_SUPPORT_READ | IB_ODP_SUPPORT_ATOMIC | IB_ODP_SUPPORT_SRQ_RECV | \
		PRXE_ODP_CAP_ATOMIC_WRITE | PRXE_ODP_CAP_FLUSH)
/*
 * UC and UD wait for missing memory for a bounded time, and then drop the message, as a NIC does.
 */
#define UC_ODP (IB_ODP_SUPPORT_SEND | IB_ODP_SUPPORT_RECV | IB_ODP_SUPPORT_WRITE | \
		IB_ODP_SUPPORT_SRQ_RECV)
#define UD_ODP (IB_ODP_SUPPORT_SEND | IB_ODP_SUPPORT_RECV | IB_ODP_SUPPORT_SRQ_RECV)

int prxe_query_device(struct ib_device *ib, struct ib_device_attr *attr, struct ib_udata *udata)
{
	struct prxe_dev *dev = to_prxe_dev(ib);

	/* The core's own call, when the device is registered, has no udata. */
	if (udata && (udata->inlen || udata->outlen))
		return -EINVAL;
	memset(attr, 0, sizeof(*attr));
	attr->vendor_id = 0xffffff;	/* none; libraries recognise software devices by it */
	attr->vendor_part_id = PRXE_DRIVER_ID;
	attr->hw_ver = 1;
	attr->fw_ver = (u64)PRXE_VERSION_MAJOR << 32 | PRXE_VERSION_MINOR << 16 |
		       PRXE_VERSION_PATCH;
	attr->sys_image_guid = dev->guid;
	attr->max_mr_size = ~0ULL;
	attr->page_size_cap = 0xfffff000;
	attr->max_qp = PRXE_MAX_QP;
	attr->max_qp_wr = PRXE_MAX_QP_WR;
	attr->max_send_sge = PRXE_MAX_SGE;
	attr->max_recv_sge = PRXE_MAX_SGE;
	attr->max_sge_rd = PRXE_MAX_SGE;
	attr->max_cq = 1 << 20;
	attr->max_cqe = PRXE_MAX_CQE;
	attr->max_mr = PRXE_MAX_KEYS / 2 - 1;
	attr->max_mw = PRXE_MAX_KEYS / 2 - 1;
	attr->max_pd = 1 << 20;
	attr->max_qp_rd_atom = PRXE_MAX_RD_ATOM;
	attr->max_qp_init_rd_atom = PRXE_MAX_RD_ATOM;
	attr->max_res_rd_atom = PRXE_MAX_RD_ATOM * 8192;
	attr->atomic_cap = IB_ATOMIC_HCA;
	attr->max_mcast_grp = PRXE_MAX_MCAST_GROUPS;
	attr->max_mcast_qp_attach = PRXE_MAX_MCAST_QPS;
	attr->max_total_mcast_qp_attach = PRXE_MAX_MCAST_GROUPS;
	attr->max_ah = PRXE_MAX_AH;
	attr->max_srq = 1 << 20;
	attr->max_srq_wr = PRXE_MAX_QP_WR;
	attr->max_srq_sge = PRXE_MAX_SRQ_SGE;
	attr->max_fast_reg_page_list_len = PRXE_MAX_FAST_PAGES;
	attr->max_pkeys = 1;
	attr->local_ca_ack_delay = 15;
	attr->timestamp_mask = ~0ULL;	/* CLOCK_REALTIME in ns, if the CQ has timestamps */
	attr->hca_core_clock = 1000000;
	/* FLUSH supports global visibility only: no memory here is persistent. */
	attr->device_cap_flags = IB_DEVICE_CURR_QP_STATE_MOD | IB_DEVICE_PORT_ACTIVE_EVENT |
				 IB_DEVICE_SYS_IMAGE_GUID | IB_DEVICE_RC_RNR_NAK_GEN |
				 IB_DEVICE_SRQ_RESIZE | IB_DEVICE_MEM_MGT_EXTENSIONS |
				 IB_DEVICE_MEM_WINDOW | IB_DEVICE_MEM_WINDOW_TYPE_2B |
				 IB_DEVICE_ATOMIC_WRITE | PRXE_DEVICE_CAP_FLUSH;
	attr->kernel_cap_flags = IBK_ON_DEMAND_PAGING | IBK_ALLOW_USER_UNREG;
	attr->odp_caps.general_caps = IB_ODP_SUPPORT | IB_ODP_SUPPORT_IMPLICIT;
	attr->odp_caps.per_transport_caps.rc_odp_caps = RC_ODP;
	attr->odp_caps.per_transport_caps.uc_odp_caps = UC_ODP;
	attr->odp_caps.per_transport_caps.ud_odp_caps = UD_ODP;
	return 0;
}

int prxe_modify_device(struct ib_device *ib, int mask, struct ib_device_modify *attr)
{
	struct prxe_dev *dev = to_prxe_dev(ib);

	if (mask & ~(IB_DEVICE_MODIFY_SYS_IMAGE_GUID | IB_DEVICE_MODIFY_NODE_DESC))
		return -EOPNOTSUPP;
	if (mask & IB_DEVICE_MODIFY_SYS_IMAGE_GUID)
		dev->guid = cpu_to_be64(attr->sys_image_guid);
	if (mask & IB_DEVICE_MODIFY_NODE_DESC)
		memcpy(ib->node_desc, attr->node_desc, sizeof(ib->node_desc));
	return 0;
}

#define DEFAULT_MBPS	25000	/* if a netdev does not know its speed, as most virtual ones */

/* The fastest pair of speed and width that the netdev reaches. Takes RTNL. */
static void port_speed(struct net_device *ndev, struct ib_port_attr *attr)
{
	static const struct {
		u32 mbps;
		u16 speed;
		u8 width;
	} table[] = {
		{ 1000, IB_SPEED_SDR, IB_WIDTH_1X },
		{ 10000, IB_SPEED_FDR10, IB_WIDTH_1X },
		{ 25000, IB_SPEED_EDR, IB_WIDTH_1X },
		{ 40000, IB_SPEED_FDR10, IB_WIDTH_4X },
		{ 50000, IB_SPEED_EDR, IB_WIDTH_2X },
		{ 100000, IB_SPEED_EDR, IB_WIDTH_4X },
		{ 200000, IB_SPEED_HDR, IB_WIDTH_4X },
		{ 400000, IB_SPEED_NDR, IB_WIDTH_4X },
	};
	struct ethtool_link_ksettings ks;
	u32 mbps = DEFAULT_MBPS;
	int i;

	rtnl_lock();
	if (!__ethtool_get_link_ksettings(ndev, &ks) && ks.base.speed &&
	    ks.base.speed != (u32)SPEED_UNKNOWN)
		mbps = ks.base.speed;
	rtnl_unlock();
	for (i = ARRAY_SIZE(table) - 1; i > 0 && table[i].mbps > mbps; i--)
		;
	attr->active_speed = table[i].speed;
	attr->active_width = table[i].width;
}

int prxe_query_port(struct ib_device *ib, u32 port, struct ib_port_attr *attr)
{
	struct prxe_dev *dev = to_prxe_dev(ib);
	struct net_device *ndev = dev->ndev;

	if (port != PRXE_PORT)
		return -EINVAL;
	/* The core has zeroed *attr. */
	attr->state = prxe_port_up(dev) ? IB_PORT_ACTIVE : IB_PORT_DOWN;
	if (attr->state == IB_PORT_ACTIVE)
		attr->phys_state = IB_PORT_PHYS_STATE_LINK_UP;
	else if (netif_running(ndev))
		attr->phys_state = IB_PORT_PHYS_STATE_POLLING;
	else
		attr->phys_state = IB_PORT_PHYS_STATE_DISABLED;
	attr->max_mtu = IB_MTU_4096;
	attr->active_mtu = prxe_port_mtu(dev);
	attr->phys_mtu = ib_mtu_enum_to_int(attr->active_mtu);
	attr->gid_tbl_len = PRXE_GID_TABLE;
	attr->ip_gids = 1;
	attr->port_cap_flags = IB_PORT_CM_SUP;
	attr->max_msg_sz = PRXE_MAX_MSG;
	attr->pkey_tbl_len = 1;
	attr->max_vl_num = 1;
	port_speed(ndev, attr);
	return 0;
}

int prxe_modify_port(struct ib_device *ib, u32 port, int mask, struct ib_port_modify *attr)
{
	const int known = IB_PORT_SHUTDOWN | IB_PORT_INIT_TYPE | IB_PORT_RESET_QKEY_CNTR;

	/* A RoCE port has no subnet manager and counts no Q_Key violations: nothing to change. */
	if (port != PRXE_PORT || mask & ~known)
		return -EINVAL;
	return mask & IB_PORT_SHUTDOWN ? -EOPNOTSUPP : 0;
}

int prxe_get_port_immutable(struct ib_device *ib, u32 port, struct ib_port_immutable *imm)
{
	imm->core_cap_flags = RDMA_CORE_PORT_IBA_ROCE_UDP_ENCAP;
	imm->pkey_tbl_len = 1;
	imm->gid_tbl_len = PRXE_GID_TABLE;
	imm->max_mad_size = IB_MGMT_MAD_SIZE;
	return 0;
}

enum rdma_link_layer prxe_get_link_layer(struct ib_device *ib, u32 port)
{
	return IB_LINK_LAYER_ETHERNET;
}

/*
 * NULL as soon as the netdev is unregistering: so the core takes no new reference to it, and
 * removes its GIDs, before the netdev waits for its last reference.
 */
struct net_device *prxe_get_netdev(struct ib_device *ib, u32 port)
{
	struct prxe_dev *dev = to_prxe_dev(ib);

	if (port != PRXE_PORT || !dev->ndev || dev->ndev->reg_state != NETREG_REGISTERED)
		return NULL;
	dev_hold(dev->ndev);
	return dev->ndev;
}

int prxe_query_pkey(struct ib_device *ib, u32 port, u16 index, u16 *pkey)
{
	if (index)
		return -EINVAL;
	*pkey = IB_DEFAULT_PKEY_FULL;
	return 0;
}

/*
 * Our provider negotiates features. rxe's provider sends no request, and has no room for a
 * response.
 */
int prxe_alloc_ucontext(struct ib_ucontext *ib, struct ib_udata *udata)
{
	struct prxe_ucontext *uctx = to_prxe_ucontext(ib);
	struct prxe_alloc_ucontext_resp resp = { .max_inline = PRXE_MAX_INLINE };
	struct prxe_alloc_ucontext_req req = {};
	int err;

	mutex_init(&uctx->lock);
	uctx->dev = to_prxe_dev(ib->device);
	if (udata->inlen) {
		err = ib_copy_from_udata(&req, udata, min(sizeof(req), udata->inlen));
		if (err)
			return err;
	}
	uctx->features = req.want_features & PRXE_FEAT_CQE_TIMESTAMP;
	resp.features = uctx->features;
	return udata->outlen ? ib_copy_to_udata(udata, &resp, min(sizeof(resp), udata->outlen)) : 0;
}

int prxe_query_ucontext(struct ib_ucontext *ib, struct uverbs_attr_bundle *attrs)
{
	return 0;
}

void prxe_dealloc_ucontext(struct ib_ucontext *ib)
{
	struct prxe_ucontext *uctx = to_prxe_ucontext(ib);

	/*
	 * The context's MRs are gone. Unless another context or MR of the process uses the mirror,
	 * this kills the waits of the mirror's fault threads.
	 */
	if (uctx->mirror)
		prxe_mirror_unuse(uctx->mirror);
	mutex_destroy(&uctx->lock);
}

/* Rings may stay mapped: their pages belong to the mappings. There is no device memory to unmap. */
void prxe_disassociate_ucontext(struct ib_ucontext *ib)
{
}

int prxe_alloc_pd(struct ib_pd *ib, struct ib_udata *udata)
{
	return 0;
}

int prxe_dealloc_pd(struct ib_pd *ib, struct ib_udata *udata)
{
	return 0;
}
