// SPDX-License-Identifier: BSD-2-Clause
/* userfaultfd: pages missing, write-protected, or there but not mapped; a thread serves them. */
#define _GNU_SOURCE
#include "mx.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct server {
	pthread_t th;
	bool runs;
	int stop[2];
	uint8_t *pages; /* what missing pages get */
	struct mx_subj *s;
	unsigned long mode;
	unsigned served;
} sv;

/* What the fault asks for; a page that is there already, or came back, is no error. */
static int resolve(uintptr_t at)
{
	struct uffdio_copy copy = {
		.dst = at, .src = (uintptr_t)sv.pages + (at - (uintptr_t)sv.s->m.va), .len = T_PAGE,
	};
	struct uffdio_writeprotect wp = { .range = { at, T_PAGE } };
	struct uffdio_continue cont = { .range = { at, T_PAGE } };

	switch (sv.mode) {
	case UFFDIO_REGISTER_MODE_MISSING: return ioctl(sv.s->uffd, UFFDIO_COPY, &copy);
	case UFFDIO_REGISTER_MODE_WP: return ioctl(sv.s->uffd, UFFDIO_WRITEPROTECT, &wp);
	default: return ioctl(sv.s->uffd, UFFDIO_CONTINUE, &cont);
	}
}

static void *serve(void *arg)
{
	struct pollfd pf[2] = {
		{ .fd = sv.s->uffd, .events = POLLIN }, { .fd = sv.stop[0], .events = POLLIN },
	};
	struct uffd_msg msg;

	while (poll(pf, 2, -1) > 0 && !pf[1].revents) {
		if (read(sv.s->uffd, &msg, sizeof(msg)) != sizeof(msg) ||
		    msg.event != UFFD_EVENT_PAGEFAULT)
			continue;
		__atomic_add_fetch(&sv.served, 1, __ATOMIC_RELAXED);
		while (resolve(msg.arg.pagefault.address & ~(T_PAGE - 1)) && errno == EAGAIN)
			;
	}
	return arg;
}

static bool uffd_open(struct mx_subj *s, uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };

	s->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	return (s->uffd >= 0 && !ioctl(s->uffd, UFFDIO_API, &api)) ||
	       mx_why(s, "userfaultfd: %s", strerror(errno));
}

static void uffd_end(struct mx_subj *s)
{
	struct uffdio_range all = { (uintptr_t)s->m.va, s->m.len };

	if (sv.runs) {
		if (write(sv.stop[1], "x", 1) != 1)
			t_die("pipe: %s", strerror(errno));
		pthread_join(sv.th, NULL);
		close(sv.stop[0]);
		close(sv.stop[1]);
	}
	sv.runs = false;
	if (s->uffd >= 0) {
		ioctl(s->uffd, UFFDIO_UNREGISTER, &all);
		close(s->uffd);
	}
	s->uffd = -1;
}

static bool uffd_start(struct mx_subj *s, unsigned long mode, uint64_t features)
{
	struct uffdio_register reg = { .range = { (uintptr_t)s->m.va, s->m.len }, .mode = mode };

	if (!uffd_open(s, features))
		return false;
	if (ioctl(s->uffd, UFFDIO_REGISTER, &reg))
		return mx_why(s, "UFFDIO_REGISTER: %s", strerror(errno));
	if (!sv.pages)
		sv.pages = t_map(MX_MOST);
	sv.s = s;
	sv.mode = mode;
	sv.served = 0;
	if (pipe2(sv.stop, O_CLOEXEC) || pthread_create(&sv.th, NULL, serve, NULL))
		t_die("a thread for the userfaultfd: %s", strerror(errno));
	sv.runs = true;
	return true;
}

static bool has_uffd(struct mx_subj *s, uint64_t features)
{
	bool ok = uffd_open(s, features);

	uffd_end(s);
	return ok;
}

static bool has_missing(struct mx_subj *s) { return has_uffd(s, 0); }
static bool has_wp(struct mx_subj *s) { return has_uffd(s, UFFD_FEATURE_PAGEFAULT_FLAG_WP); }
static bool has_minor(struct mx_subj *s) { return has_uffd(s, UFFD_FEATURE_MINOR_SHMEM); }

static bool drop(struct mx_subj *s)
{
	return !madvise(s->m.va, s->m.len, MADV_DONTNEED) ||
	       mx_why(s, "MADV_DONTNEED: %s", strerror(errno));
}

static bool missing(struct mx_subj *s)
{
	if (!uffd_start(s, UFFDIO_REGISTER_MODE_MISSING, 0))
		return false;
	mx_fill(sv.pages, s->m.len, s->seed + 5);
	memcpy(s->m.model, sv.pages, s->m.len);
	return drop(s);
}

static bool write_protected(struct mx_subj *s)
{
	struct uffdio_writeprotect wp = {
		.range = { (uintptr_t)s->m.va, s->m.len }, .mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};

	if (!uffd_start(s, UFFDIO_REGISTER_MODE_WP, UFFD_FEATURE_PAGEFAULT_FLAG_WP))
		return false;
	return !ioctl(s->uffd, UFFDIO_WRITEPROTECT, &wp) ||
	       mx_why(s, "UFFDIO_WRITEPROTECT: %s", strerror(errno));
}

static bool minor(struct mx_subj *s)
{
	return uffd_start(s, UFFDIO_REGISTER_MODE_MINOR, UFFD_FEATURE_MINOR_SHMEM) && drop(s);
}

static bool was_asked(struct mx_subj *s)
{
	return __atomic_load_n(&sv.served, __ATOMIC_RELAXED) ||
	       mx_why(s, "the userfaultfd saw no fault");
}

/* Trackers of dirty memory rely on this: the userfaultfd must see every write. */
static bool writes_were_seen(struct mx_subj *s)
{
	return s->op->writes ? was_asked(s) :
			       !__atomic_load_n(&sv.served, __ATOMIC_RELAXED) ||
  mx_why(s, "a fault for writing of memory that is read");
}

const struct mx_event mx_ev_uffd[] = {
	{ "userfaultfd missing", "dropped; the userfaultfd gives other contents",
	  &mx_anon, .probe = has_missing, .fire = missing, .check = was_asked, .end = uffd_end },
	{ "userfaultfd wp", "write-protected: each write must be seen, no read",
	  &mx_anon, .probe = has_wp, .fire = write_protected,
	  .check = writes_were_seen, .end = uffd_end },
	{ "userfaultfd wp, thp", "a huge page, write-protected",
	  &mx_thp, .probe = has_wp, .fire = write_protected,
	  .check = writes_were_seen, .end = uffd_end },
	{ "userfaultfd minor", "in the page cache, not mapped",
	  &mx_memfd, .probe = has_minor, .fire = minor, .check = was_asked, .end = uffd_end },
	{ 0 },
};
