// SPDX-License-Identifier: BSD-2-Clause
/*
 * RDMA netlink: the counters of one MR.
 *
 * Netlink names an MR by a number that verbs do not tell. The list of MRs has this number. We find
 * our MR in the list by its lkey; but the kernel shows lkeys only to CAP_NET_ADMIN. Otherwise we
 * find it by its thread and length, if only one MR has these. The number is kept, so the list is
 * read once.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <rdma/rdma_netlink.h>
#include <stdlib.h>
#include <string.h>
#include "internal.h"

struct query {
	const struct odp_mr *mr;
	int err; /* errno of the kernel's answer */
	/* device */
	uint32_t index;
	bool have_index;
	/* MR */
	uint32_t mrn;
	unsigned int candidates;
	bool by_key, keys_shown;
	/* counters */
	struct odp_stats *stats;
	bool answered;
};

static int on_error(struct sockaddr_nl *who, struct nlmsgerr *e, void *arg)
{
	struct query *q = arg;

	(void)who;
	q->err = -e->error;
	return NL_STOP;
}

/* Send one request and pass all of its answer to @cb. Frees @msg. Returns 0 or an errno. */
static int ask(struct nl_sock *sk, struct nl_msg *msg, struct query *q, nl_recvmsg_msg_cb_t cb)
{
	int ret;

	q->err = 0;
	nl_socket_modify_cb(sk, NL_CB_VALID, NL_CB_CUSTOM, cb, q);
	nl_socket_modify_err_cb(sk, NL_CB_CUSTOM, on_error, q);
	ret = nl_send_auto(sk, msg);
	if (ret >= 0)
		ret = nl_recvmsgs_default(sk);
	nlmsg_free(msg);
	if (q->err)
		return q->err;
	return ret < 0 ? EIO : 0;
}

static struct nl_msg *new_msg(unsigned int op, int flags)
{
	return nlmsg_alloc_simple(RDMA_NL_GET_TYPE(RDMA_NL_NLDEV, (int)op), NLM_F_REQUEST | flags);
}

static int parse_top(struct nl_msg *msg, struct nlattr **tb)
{
	return nlmsg_parse(nlmsg_hdr(msg), 0, tb, RDMA_NLDEV_ATTR_MAX - 1, NULL);
}

static int on_device(struct nl_msg *msg, void *arg)
{
	struct nlattr *tb[RDMA_NLDEV_ATTR_MAX];
	struct query *q = arg;

	if (parse_top(msg, tb) < 0 || !tb[RDMA_NLDEV_ATTR_DEV_NAME] ||
	    !tb[RDMA_NLDEV_ATTR_DEV_INDEX])
		return NL_SKIP;
	if (!strcmp(nla_get_string(tb[RDMA_NLDEV_ATTR_DEV_NAME]), q->mr->domain->caps.device)) {
		q->index = nla_get_u32(tb[RDMA_NLDEV_ATTR_DEV_INDEX]);
		q->have_index = true;
	}
	return NL_OK;
}

static void look_at_mr(struct nlattr **tb, struct query *q)
{
	bool match;

	if (!tb[RDMA_NLDEV_ATTR_RES_MRN])
		return;
	if (tb[RDMA_NLDEV_ATTR_RES_LKEY]) {
		q->keys_shown = true;
		match = nla_get_u32(tb[RDMA_NLDEV_ATTR_RES_LKEY]) == q->mr->lkey;
	} else {
		match = tb[RDMA_NLDEV_ATTR_RES_PID] &&
			nla_get_u32(tb[RDMA_NLDEV_ATTR_RES_PID]) == (uint32_t)q->mr->tid &&
			tb[RDMA_NLDEV_ATTR_RES_MRLEN] &&
			nla_get_u64(tb[RDMA_NLDEV_ATTR_RES_MRLEN]) == q->mr->length;
	}
	if (match) {
		q->mrn = nla_get_u32(tb[RDMA_NLDEV_ATTR_RES_MRN]);
		q->candidates++;
	}
}

static int on_mr(struct nl_msg *msg, void *arg)
{
	struct nlattr *tb[RDMA_NLDEV_ATTR_MAX], *entry;
	struct query *q = arg;
	int rest;

	if (parse_top(msg, tb) < 0 || !tb[RDMA_NLDEV_ATTR_RES_MR])
		return NL_SKIP;
	nla_for_each_nested(entry, tb[RDMA_NLDEV_ATTR_RES_MR], rest) {
		struct nlattr *one[RDMA_NLDEV_ATTR_MAX];

		if (nla_parse_nested(one, RDMA_NLDEV_ATTR_MAX - 1, entry, NULL) >= 0)
			look_at_mr(one, q);
	}
	return NL_OK;
}

static int on_counters(struct nl_msg *msg, void *arg)
{
	struct nlattr *tb[RDMA_NLDEV_ATTR_MAX], *entry;
	struct query *q = arg;
	int rest;

	if (parse_top(msg, tb) < 0)
		return NL_SKIP;
	q->answered = true;
	if (!tb[RDMA_NLDEV_ATTR_STAT_HWCOUNTERS])
		return NL_OK;
	nla_for_each_nested(entry, tb[RDMA_NLDEV_ATTR_STAT_HWCOUNTERS], rest) {
		struct nlattr *one[RDMA_NLDEV_ATTR_MAX];

		if (nla_parse_nested(one, RDMA_NLDEV_ATTR_MAX - 1, entry, NULL) < 0)
			continue;
		if (one[RDMA_NLDEV_ATTR_STAT_HWCOUNTER_ENTRY_NAME] &&
		    one[RDMA_NLDEV_ATTR_STAT_HWCOUNTER_ENTRY_VALUE])
			stats_put(q->stats,
				  nla_get_string(one[RDMA_NLDEV_ATTR_STAT_HWCOUNTER_ENTRY_NAME]),
				  nla_get_u64(one[RDMA_NLDEV_ATTR_STAT_HWCOUNTER_ENTRY_VALUE]));
	}
	return NL_OK;
}

static int find_device(struct nl_sock *sk, struct query *q, struct odp_reason *why)
{
	struct nl_msg *msg = new_msg(RDMA_NLDEV_CMD_GET, NLM_F_DUMP);
	struct err_text et;
	int err = msg ? ask(sk, msg, q, on_device) : ENOMEM;

	if (err)
		return reason_set(why, err, "RDMA netlink does not list the devices: %s",
				  err_words(err, &et));
	if (!q->have_index)
		return reason_set(why, ENODEV, "RDMA netlink does not know %s",
				  q->mr->domain->caps.device);
	return 0;
}

static int find_mr(struct nl_sock *sk, struct query *q, struct odp_reason *why)
{
	struct nl_msg *msg = new_msg(RDMA_NLDEV_CMD_RES_MR_GET, NLM_F_DUMP);
	struct err_text et;
	struct size_text size;
	int err = ENOMEM;

	if (msg && nla_put_u32(msg, RDMA_NLDEV_ATTR_DEV_INDEX, q->index) >= 0)
		err = ask(sk, msg, q, on_mr);
	else
		nlmsg_free(msg);
	if (err)
		return reason_set(why, err, "RDMA netlink does not list the MRs of %s: %s",
				  q->mr->domain->caps.device, err_words(err, &et));
	if (q->candidates == 1)
		return 0;
	if (q->candidates)
		return reason_set(why, EPERM,
				  "the kernel shows the keys of MRs only to CAP_NET_ADMIN, and %u "
				  "MRs of this thread are %s long: which one is meant cannot be "
				  "told",
				  q->candidates, size_words(q->mr->length, &size));
	if (q->keys_shown)
		return reason_set(why, ENODATA, "RDMA netlink does not list this MR");
	return reason_set(why, EPERM,
			  "the kernel shows the keys of MRs only to CAP_NET_ADMIN, and the thread "
			  "that registered this one is not told to this process");
}

static int read_counters(struct nl_sock *sk, struct query *q, struct odp_reason *why)
{
	struct nl_msg *msg = new_msg(RDMA_NLDEV_CMD_STAT_GET, 0);
	struct err_text et;
	int err = ENOMEM;

	if (msg && nla_put_u32(msg, RDMA_NLDEV_ATTR_DEV_INDEX, q->index) >= 0 &&
	    nla_put_u32(msg, RDMA_NLDEV_ATTR_STAT_RES, RDMA_NLDEV_ATTR_RES_MR) >= 0 &&
	    nla_put_u32(msg, RDMA_NLDEV_ATTR_RES_MRN, q->mrn) >= 0)
		err = ask(sk, msg, q, on_counters);
	else
		nlmsg_free(msg);
	if (!err && !q->answered)
		err = ENODATA;
	if (err == EPERM)
		return reason_set(why, err,
				  "this kernel tells the counters of MRs only to CAP_NET_ADMIN");
	if (err)
		return reason_set(why, err, "RDMA netlink does not tell the counters of MR %u: %s",
				  q->mrn, err_words(err, &et));
	return 0;
}

int netlink_mr_stats(struct odp_mr *mr, struct odp_stats *stats, struct odp_reason *why)
{
	struct query q = { .mr = mr, .stats = stats };
	struct nl_sock *sk = nl_socket_alloc();
	int ret;

	if (!sk)
		return reason_set(why, ENOMEM, "out of memory");
	/*
	 * No ACKs: a dump ends by a message of its own, and every other request is answered by
	 * exactly one message. An ACK would be a second one, which nobody reads.
	 */
	nl_socket_disable_auto_ack(sk);
	if (nl_connect(sk, NETLINK_RDMA) < 0) {
		nl_socket_free(sk);
		return reason_set(why, EOPNOTSUPP,
				  "this kernel, or this sandbox, has no RDMA netlink");
	}
	ret = find_device(sk, &q, why);
	q.mrn = atomic_load(&mr->mrn);
	if (!ret && !q.mrn) {
		ret = find_mr(sk, &q, why);
		if (!ret)
			atomic_store(&mr->mrn, q.mrn);
	}
	if (!ret)
		ret = read_counters(sk, &q, why);
	nl_socket_free(sk);
	return ret;
}
