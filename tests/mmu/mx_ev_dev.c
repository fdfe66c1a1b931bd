// SPDX-License-Identifier: BSD-2-Clause
/* Memory that has gone to a device (the kernel's test_hmm), and uprobes. */
#define _GNU_SOURCE
#include "mx.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* lib/test_hmm_uapi.h, which is not installed. */
struct hmm_cmd {
	uint64_t addr, ptr, npages, cpages, faults;
};
#define HMM_WRITE _IOWR('H', 0x01, struct hmm_cmd)
#define HMM_MIGRATE_TO_DEV _IOWR('H', 0x02, struct hmm_cmd)

static int hmm_fd = -1;

static bool has_hmm(struct mx_subj *s)
{
	if (hmm_fd < 0)
		hmm_fd = open("/dev/hmm_dmirror0", O_RDWR | O_CLOEXEC);
	return hmm_fd >= 0 || mx_why(s, "no test_hmm in this kernel");
}

static bool hmm(struct mx_subj *s, unsigned long request, void *buf)
{
	struct hmm_cmd cmd = {
		.addr = (uintptr_t)s->m.va, .ptr = (uintptr_t)buf, .npages = s->m.len / T_PAGE,
	};

	if (ioctl(hmm_fd, request, &cmd))
		return mx_why(s, "test_hmm: %s", strerror(errno));
	s->effect += cmd.cpages > 0;
	return true;
}

/* The ioctl copies what the device now has. */
static bool to_device(struct mx_subj *s)
{
	uint8_t buf[MX_PAGES * T_PAGE];

	return hmm(s, HMM_MIGRATE_TO_DEV, buf) &&
	       (!memcmp(buf, s->m.model, s->m.len) || mx_why(s, "the device got other bytes"));
}

static bool device_writes(struct mx_subj *s)
{
	uint8_t buf[MX_PAGES * T_PAGE];

	if (!to_device(s))
		return false;
	mx_fill(s->m.model, s->m.len, s->seed + 5);
	memcpy(buf, s->m.model, s->m.len);
	return hmm(s, HMM_WRITE, buf);
}

/* ---- uprobes ---- */

static int probe_fd = -1;

static int probe(const char *path, uint64_t offset)
{
	struct perf_event_attr a = {
		.size = sizeof(a), .config1 = (uintptr_t)path, .config2 = offset,
	};

	a.type = (uint32_t)mx_get("/sys/bus/event_source/devices/uprobe/type");
	return (int)syscall(SYS_perf_event_open, &a, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

static bool has_uprobes(struct mx_subj *s)
{
	return mx_get("/sys/bus/event_source/devices/uprobe/type") > 0 ||
	       mx_why(s, "no uprobes in this kernel");
}

/*
 * Where the probe goes: among the bytes that the operation reads. If it writes, into the last page,
 * which no operation touches.
 */
static size_t probe_at(const struct mx_subj *s)
{
	return (s->op->writes ? MX_PAGES - 1 : 3) * T_PAGE + 100;
}

static bool probed(struct mx_subj *s)
{
	size_t at = probe_at(s);
	uint8_t nop = 0x90;
	char path[50];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", s->fd);
	s->m.model[at] = nop;
	if (pwrite(s->fd, &nop, 1, (off_t)at) != 1 ||
	    mprotect(s->m.va, s->m.len, PROT_READ | PROT_EXEC))
		return mx_why(s, "a mapping for the probe: %s", strerror(errno));
	s->write = false;
	if (!mx_read_all(s)) /* with the page cache's page; the probe puts another there */
		return false;
	probe_fd = probe(path, at);
	if (probe_fd < 0)
		return mx_why(s, "a uprobe: %s", strerror(errno));
	s->m.model[at] = 0xcc;
	return mx_same(s, "subject with the probe", &s->m) && mx_read_all(s);
}

static void probe_end(struct mx_subj *s)
{
	(void)s;
	if (probe_fd >= 0)
		close(probe_fd);
	probe_fd = -1;
}

static bool not_probed(struct mx_subj *s)
{
	probe_end(s);
	s->m.model[probe_at(s)] = 0x90;
	s->write = true;
	if (mprotect(s->m.va, s->m.len, PROT_READ | PROT_WRITE))
		return mx_why(s, "mprotect: %s", strerror(errno));
	return mx_same(s, "subject without the probe", &s->m) && mx_read_all(s);
}

const struct mx_event mx_ev_dev[] = {
	{ "device-private", "migrated to device-private memory (test_hmm)",
	  &mx_anon, .effect = true, .probe = has_hmm, .fire = to_device },
	{ "device-private, written", "migrated, and written by the device",
	  &mx_anon, .probe = has_hmm, .fire = device_writes },
	{ "uprobe", "a breakpoint is set into it and taken out",
	  &mx_private, .unfilled = true, .probe = has_uprobes, .fire = probed,
	  .mend = not_probed, .end = probe_end },
	{ 0 },
};
