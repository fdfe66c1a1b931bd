// SPDX-License-Identifier: BSD-2-Clause
/* The kernel's counters of an MR (driver.c, netlink.c) and of a device (sysfs). */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "internal.h"

static bool read_number(const char *dir, const char *name, uint64_t *value)
{
	char path[512], text[32];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	*value = strtoull(text, NULL, 10);
	return true;
}

static void read_dir(const char *dir, struct odp_stats *stats)
{
	uint64_t value;

	for (size_t i = 0; counter_name(i); i++)
		if (read_number(dir, counter_name(i), &value))
			stats_put(stats, counter_name(i), value);
}

ODP_PUBLIC int odp_device_stats(struct ibv_context *context, struct odp_stats *stats,
				struct odp_reason *why)
{
	char base[288], dir[352];
	const char *name;

	reason_clear(why);
	if (!context || !stats)
		return reason_set(why, EINVAL, "no device context, or nowhere to put its counters");
	memset(stats, 0, sizeof(*stats));
	name = ibv_get_device_name(context->device);
	snprintf(base, sizeof(base), "/sys/class/infiniband/%s", name);
	if (access(base, R_OK | X_OK)) {
		int err = errno;
		struct err_text et;

		return reason_set(why, err, "%s: %s", base, err_words(err, &et));
	}
	/* Some drivers have these counters for the device, others for each port. */
	snprintf(dir, sizeof(dir), "%s/hw_counters", base);
	read_dir(dir, stats);
	if (!stats->have) {
		for (int port = 1; port <= 255; port++) {
			snprintf(dir, sizeof(dir), "%s/ports/%d", base, port);
			if (access(dir, F_OK))
				break;
			snprintf(dir, sizeof(dir), "%s/ports/%d/hw_counters", base, port);
			read_dir(dir, stats);
		}
	}
	if (!stats->have)
		return reason_set(why, ENODATA, "%s counts no page faults in %s/.../hw_counters",
				  name, base);
	return 0;
}

ODP_PUBLIC int odp_mr_stats(struct odp_mr *mr, struct odp_stats *stats, struct odp_reason *why)
{
	int ret;

	reason_clear(why);
	if (!mr || !stats)
		return reason_set(why, EINVAL, "no MR, or nowhere to put its counters");
	memset(stats, 0, sizeof(*stats));
	if (!mr->on_demand)
		return reason_set(why, ENODATA, "the MR is pinned: it has no page faults to count");
	/* Ask the driver first: that is one call, and it is always clear which MR is meant. */
	if (driver_mr_stats(mr, stats))
		return 0;
	ret = netlink_mr_stats(mr, stats, why);
	if (!ret && !stats->have)
		return reason_set(why, ENODATA, "the driver of %s has no counters for single MRs",
				  mr->domain->caps.device);
	return ret;
}
