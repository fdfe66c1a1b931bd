// SPDX-License-Identifier: BSD-2-Clause
/*
 * A child process that has a copy of the subject and of its model. It does what single letters tell
 * it, and touches no verbs object.
 *
 *   =  compare its memory with its model
 *   w  write its memory (and model)
 *   s  write through to the parent's subject: process_vm_writev
 *   f  the same by /proc/PID/mem, past PROT_READ
 *   c  process_madvise(MADV_COLD) on the parent's subject
 *   p  the same with MADV_PAGEOUT
 *   e  exec; x  exit; l  write its memory for ever
 */
#define _GNU_SOURCE
#include "mx.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif

static bool compare(struct mx_subj *s)
{
	return !memcmp(s->m.va, s->m.model, s->m.len);
}

/* Of large memory the pages around the end of the first huge one: where operations go. */
static bool write_own(struct mx_subj *s)
{
	size_t from = s->m.len > MX_HUGE ? MX_HUGE - MX_PAGES * T_PAGE / 2 : 0;

	mx_fill(s->m.model + from, MX_PAGES * T_PAGE, s->seed + MX_CHILD_SEED);
	memcpy(s->m.va + from, s->m.model + from, MX_PAGES * T_PAGE);
	return true;
}

static bool write_parent(struct mx_subj *s)
{
	struct iovec mine = { s->m.model, s->m.len }, its = { s->m.va, s->m.len };

	mx_fill(s->m.model, s->m.len, s->seed + MX_CHILD_SEED);
	return process_vm_writev(getppid(), &mine, 1, &its, 1, 0) == (ssize_t)s->m.len;
}

/* As a debugger: the kernel may let nobody else write past PROT_READ (proc_mem.force_override). */
static bool force_parent(struct mx_subj *s)
{
	pid_t parent = getppid();
	bool written;
	char path[40];
	int fd;

	if (ptrace(PTRACE_SEIZE, parent, NULL, NULL))
		return false;
	snprintf(path, sizeof(path), "/proc/%d/mem", parent);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	mx_fill(s->m.model, s->m.len, s->seed + MX_CHILD_SEED);
	written = fd >= 0 &&
		  pwrite(fd, s->m.model, s->m.len, (off_t)(uintptr_t)s->m.va) == (ssize_t)s->m.len;
	/* Only a stopped tracee can be detached. The parent then goes on waiting for our answer. */
	return !ptrace(PTRACE_INTERRUPT, parent, NULL, NULL) &&
	       waitpid(parent, NULL, __WALL) == parent &&
	       !ptrace(PTRACE_DETACH, parent, NULL, NULL) && written;
}

static bool advise_parent(struct mx_subj *s, int advice)
{
	struct iovec its = { s->m.va, s->m.len };
	int fd = (int)syscall(SYS_pidfd_open, getppid(), 0);

	return fd >= 0 && syscall(SYS_process_madvise, fd, &its, 1UL, advice, 0U) == (long)s->m.len;
}

static bool obey(struct mx_subj *s, char what)
{
	switch (what) {
	case '=': return compare(s);
	case 'w': return write_own(s);
	case 's': return write_parent(s);
	case 'f': return force_parent(s);
	case 'c': return advise_parent(s, MADV_COLD);
	case 'p': return advise_parent(s, MADV_PAGEOUT);
	case 'e': execl("/bin/true", "true", (char *)NULL); return false;
	default: return false;
	}
}

static _Noreturn void child(struct mx_subj *s, int sock)
{
	char c;

	while (read(sock, &c, 1) == 1 && c != 'x') {
		while (c == 'l')
			write_own(s);
		c = obey(s, c) ? 'y' : 'n';
		if (write(sock, &c, 1) != 1)
			break;
	}
	_exit(0);
}

bool mx_child_start(struct mx_subj *s)
{
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv))
		return mx_why(s, "socketpair: %s", strerror(errno));
	s->pid = fork();
	if (!s->pid) {
		close(sv[0]);
		child(s, sv[1]);
	}
	close(sv[1]);
	s->sock = sv[0];
	return s->pid > 0 || mx_why(s, "fork: %s", strerror(errno));
}

bool mx_child_do(struct mx_subj *s, char what, const char *fails)
{
	bool answers = !strchr("xel", what);
	char c = 'n';

	if (write(s->sock, &what, 1) != 1)
		return mx_why(s, "the child is gone");
	if (what == 'l')
		return !usleep(2000);
	/* no answer: its end of the socket is closed */
	if (read(s->sock, &c, 1) != (answers ? 1 : 0))
		return mx_why(s, "the child does not do what it should ('%c')", what);
	return !answers || c == 'y' || mx_why(s, "%s", fails);
}

void mx_child_end(struct mx_subj *s)
{
	int st;

	if (s->pid > 0) {
		kill(s->pid, SIGKILL);
		waitpid(s->pid, &st, 0);
	}
	if (s->sock >= 0)
		close(s->sock);
	s->pid = 0;
	s->sock = -1;
}
