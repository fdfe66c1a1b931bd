// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Address handles. The kernel gives each a number, and WQEs contain this number. An older kernel
 * gives no number (0): then WQEs contain the whole address vector.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>
#include "prxe.h"

/* Fill in the IP address that a RoCEv2 GID stands for. Returns its RXE_NETWORK_TYPE_*. */
static uint8_t gid_to_addr(const union ibv_gid *gid, struct sockaddr_in *v4,
			   struct sockaddr_in6 *v6)
{
	const struct in6_addr *ip = (const struct in6_addr *)gid->raw;

	if (IN6_IS_ADDR_V4MAPPED(ip)) {
		v4->sin_family = AF_INET;
		memcpy(&v4->sin_addr, gid->raw + 12, 4);
		return RXE_NETWORK_TYPE_IPV4;
	}
	v6->sin6_family = AF_INET6;
	memcpy(&v6->sin6_addr, gid->raw, 16);
	return RXE_NETWORK_TYPE_IPV6;
}

static int av_init(struct rxe_av *av, struct ibv_context *context, struct ibv_ah_attr *attr)
{
	union ibv_gid sgid;

	if (ibv_query_gid(context, attr->port_num, attr->grh.sgid_index, &sgid))
		return errno;

	av->port_num = attr->port_num;
	memcpy(av->grh.dgid.raw, attr->grh.dgid.raw, sizeof(av->grh.dgid.raw));
	av->grh.flow_label = attr->grh.flow_label;
	av->grh.sgid_index = attr->grh.sgid_index;
	av->grh.hop_limit = attr->grh.hop_limit;
	av->grh.traffic_class = attr->grh.traffic_class;
	gid_to_addr(&sgid, &av->sgid_addr._sockaddr_in, &av->sgid_addr._sockaddr_in6);
	av->network_type = gid_to_addr(&attr->grh.dgid, &av->dgid_addr._sockaddr_in,
				       &av->dgid_addr._sockaddr_in6);
	return ibv_resolve_eth_l2_from_gid(context, attr, av->dmac, NULL);
}

struct ibv_ah *prxe_create_ah(struct ibv_pd *pd, struct ibv_ah_attr *attr)
{
	struct prxe_create_ah_resp resp = {};
	struct prxe_ah *ah;
	int ret;

	ah = calloc(1, sizeof(*ah));
	if (!ah)
		return NULL;

	ret = ibv_cmd_create_ah(pd, &ah->ah, attr, &resp.ibv_resp, sizeof(resp));
	if (ret)
		goto err_free;

	ah->num = resp.ah_num;
	if (!ah->num) {
		ret = av_init(&ah->av, pd->context, attr);
		if (ret)
			goto err_destroy;
	}
	return &ah->ah;

err_destroy:
	ibv_cmd_destroy_ah(&ah->ah);
err_free:
	free(ah);
	errno = ret;
	return NULL;
}

int prxe_destroy_ah(struct ibv_ah *ibah)
{
	int ret;

	ret = ibv_cmd_destroy_ah(ibah);
	if (ret)
		return ret;
	free(to_prxe_ah(ibah));
	return 0;
}
