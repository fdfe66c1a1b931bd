// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The table of carriers, and the choice between them. Transport: calls carriers by their table
 * only.
 */
#include <linux/kernel.h>
#include <linux/rcupdate.h>
#include "base/prxe.h"
#include "transport/carrier.h"
#include "transport/qp.h"

static const struct prxe_carrier *carriers[PRXE_CARRIER_NUM] __read_mostly;

#define for_each_carrier(c) \
	for (int _id = PRXE_CARRIER_LOCAL; _id < PRXE_CARRIER_NUM && ((c) = carriers[_id]); _id++)

void prxe_carriers_set(const struct prxe_carrier *local, const struct prxe_carrier *wire)
{
	carriers[PRXE_CARRIER_LOCAL] = local;
	carriers[PRXE_CARRIER_WIRE] = wire;
}

const struct prxe_carrier *prxe_carrier_of(enum prxe_carrier_id id)
{
	return carriers[id];
}

enum prxe_carrier_id prxe_carrier_to(struct prxe_qp *qp, const struct prxe_av *av)
{
	bool here;

	if (READ_ONCE(prxe_force_wire))
		return PRXE_CARRIER_WIRE;
	rcu_read_lock();
	here = prxe_av_local_dev(qp->dev, av);
	rcu_read_unlock();
	return here ? PRXE_CARRIER_LOCAL : PRXE_CARRIER_WIRE;
}

size_t prxe_carriers_qp_bytes(void)
{
	const struct prxe_carrier *c;
	size_t bytes = 0;

	for_each_carrier(c)
		bytes = max(bytes, c->qp_bytes);
	return bytes;
}

void prxe_carriers_tell(struct prxe_qp *qp, enum prxe_life what)
{
	const struct prxe_carrier *c;

	for_each_carrier(c)
		if (c->life[what])
			c->life[what](qp);
}

bool prxe_carriers_work(struct prxe_qp *qp)
{
	const struct prxe_carrier *c;
	bool more = false;

	for_each_carrier(c)
		if (c->work)
			more |= c->work(qp);
	return more;
}

int prxe_carriers_set_dest_rd_atomic(struct prxe_qp *qp, u32 n)
{
	const struct prxe_carrier *c;
	int err = 0;

	for_each_carrier(c)
		if (c->set_dest_rd_atomic && !err)
			err = c->set_dest_rd_atomic(qp, n);
	return err;
}
