// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The doorbell: a file whose ioctl says that WQEs were posted to a QP (uapi/prxe-ioctl.h).
 *
 * The POST_SEND command of uverbs, without work requests, has the same effect. But it costs more
 * than a short message does: uverbs parses it, looks up and locks the QP's object, and writes a
 * response. Here one number is enough. The file is an object of uverbs, which destroys it when the
 * context or the device goes; a file that stays open after that keeps only the module loaded.
 *
 * Verbs: checks that the QP exists and whose it is, then calls the send side
 * (transport/requester.h).
 */
#include <linux/fs.h>
#include <linux/rcupdate.h>
#include <rdma/uverbs_ioctl.h>
#include <rdma/uverbs_types.h>
#include "base/prxe.h"
#include "transport/requester.h"
#include "uapi/prxe-ioctl.h"
#include "verbs/doorbell.h"

#define UVERBS_MODULE_NAME prxe
#include <rdma/uverbs_named_ioctl.h>

struct prxe_doorbell {
	struct ib_uobject uobj;			/* stays as long as the file is open */
	struct prxe_dev __rcu *dev;		/* NULL: the context is closed */
	const struct prxe_ucontext *uctx;	/* whose QPs it rings; never dereferenced */
};

/*
 * The ioctl, in process context. It locks no object of uverbs. That is safe: a reference keeps the
 * QP, as for a packet or a timer, and a dead QP does nothing. The device is used only inside RCU,
 * and is freed by RCU after its contexts are closed.
 */
static long doorbell_ioctl(struct file *file, unsigned int cmd, unsigned long qpn)
{
	struct prxe_doorbell *db = container_of(file->private_data, struct prxe_doorbell, uobj);
	struct prxe_qp *qp = NULL;
	struct prxe_dev *dev;
	long err = -EINVAL;

	if (cmd != PRXE_DOORBELL_RING)
		return -ENOTTY;
	rcu_read_lock();
	dev = rcu_dereference(db->dev);
	if (dev && qpn == (u32)qpn)
		qp = prxe_qp_lookup(dev, qpn);
	rcu_read_unlock();
	if (!dev)
		return -EIO;
	if (!qp)
		return -EINVAL;
	if (qp->user == db->uctx)
		err = prxe_req_doorbell(qp);
	prxe_qp_put(qp);
	return err;
}

static const struct file_operations doorbell_fops = {
	.owner = THIS_MODULE,
	.release = uverbs_uobject_fd_release,
	.unlocked_ioctl = doorbell_ioctl,
	.compat_ioctl = doorbell_ioctl,		/* the argument is a number, no pointer */
};

/* The context is closed, or the device is unregistering: from here on, the ioctl returns -EIO. */
static void doorbell_destroy(struct ib_uobject *uobj, enum rdma_remove_reason why)
{
	rcu_assign_pointer(container_of(uobj, struct prxe_doorbell, uobj)->dev, NULL);
}

static int UVERBS_HANDLER(PRXE_METHOD_DOORBELL_OPEN)(struct uverbs_attr_bundle *attrs)
{
	struct ib_uobject *uobj = uverbs_attr_get_uobject(attrs, PRXE_ATTR_DOORBELL_FD);
	struct prxe_doorbell *db = container_of(uobj, struct prxe_doorbell, uobj);

	db->uctx = to_prxe_ucontext(uobj->context);
	rcu_assign_pointer(db->dev, db->uctx->dev);
	return 0;
}

DECLARE_UVERBS_NAMED_METHOD(PRXE_METHOD_DOORBELL_OPEN,
			    UVERBS_ATTR_FD(PRXE_ATTR_DOORBELL_FD, PRXE_OBJECT_DOORBELL,
					   UVERBS_ACCESS_NEW, UA_MANDATORY));

DECLARE_UVERBS_NAMED_OBJECT(PRXE_OBJECT_DOORBELL,
			    UVERBS_TYPE_ALLOC_FD(sizeof(struct prxe_doorbell), doorbell_destroy,
						 &doorbell_fops, "[prxe_doorbell]", O_RDWR),
			    &UVERBS_METHOD(PRXE_METHOD_DOORBELL_OPEN));

const struct uapi_definition prxe_doorbell_uapi[] = {
	UAPI_DEF_CHAIN_OBJ_TREE_NAMED(PRXE_OBJECT_DOORBELL),
	{}
};
