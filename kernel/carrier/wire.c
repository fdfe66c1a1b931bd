// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The carrier over UDP port 4791, as the transport sees it.
 *
 * Carrier, wire: the top of its files. Below it: wire_in.c (packets in), wire_req.c and wire_resp.c
 * (the two halves), mcast.c, wire_out.c (packets out), udp.c (sockets).
 */
#include <linux/rcupdate.h>
#include "carrier/mcast.h"
#include "carrier/udp.h"
#include "carrier/wire.h"
#include "carrier/wire_in.h"
#include "carrier/wire_make.h"
#include "carrier/wire_out.h"
#include "carrier/wire_read.h"
#include "carrier/wire_req.h"
#include "carrier/wire_resp.h"
#include "carrier/wire_send.h"
#include "carrier/wire_state.h"
#include "transport/carrier.h"

static void wire_qp_init(struct prxe_qp *qp)
{
	INIT_LIST_HEAD(&prxe_wire(qp)->groups);
	prxe_wire_req_init(qp);
	prxe_wire_resp_init(qp);
}

static void wire_qp_end(struct prxe_qp *qp)
{
	prxe_mcast_leave_all(qp);
	prxe_wire_linger(qp);
}

const struct prxe_carrier prxe_wire_carrier = {
	.name = "wire",
	.qp_bytes = sizeof(struct prxe_wire),
	.serve = prxe_wire_req_serve,
	.ud_send = prxe_wire_ud_send,
	.life = {
		[PRXE_LIFE_INIT] = wire_qp_init,
		[PRXE_LIFE_START] = prxe_wire_req_start,
		[PRXE_LIFE_FORGET] = prxe_wire_req_forget,
		[PRXE_LIFE_RESET_SEND] = prxe_wire_req_reset,
		[PRXE_LIFE_RESET_RECEIVE] = prxe_wire_resp_reset,
		[PRXE_LIFE_END] = wire_qp_end,
	},
	.work = prxe_wire_resp_work,
	.set_dest_rd_atomic = prxe_resource_resize,
};

int prxe_wire_init(void)
{
	return prxe_udp_init(prxe_wire_rcv);
}

void prxe_wire_exit(void)
{
	prxe_udp_exit();
	prxe_wire_wait_for_skbs();
	prxe_make_exit();
	/*
	 * Wait until the last destructor of an skb has returned, and what it freed by RCU is freed.
	 */
	synchronize_rcu();
	rcu_barrier();
}
