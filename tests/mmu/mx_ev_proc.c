// SPDX-License-Identifier: BSD-2-Clause
/*
 * Other processes: children that share, write, exec, exit and are killed; processes that reach into
 * this one.
 */
#define _GNU_SOURCE
#include "mx.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

static bool fork_only(struct mx_subj *s)
{
	return mx_child_start(s);
}

static bool child_writes(struct mx_subj *s)
{
	return mx_child_start(s) && mx_child_do(s, 'w', "the child cannot write");
}

static bool parent_writes(struct mx_subj *s)
{
	return mx_child_start(s) && mx_cpu_write(s, 3 * T_PAGE - 7, 2 * T_PAGE);
}

/* A read translation of a page that is shared by fork must not serve a write. */
static bool fork_read(struct mx_subj *s)
{
	return mx_child_start(s) && mx_read_all(s);
}

static bool child_unchanged(struct mx_subj *s)
{
	return mx_child_do(s, '=', "the child's copy has changed");
}

/* After the parent's operation the child writes, too: nothing of it may come through. */
static bool then_child_writes(struct mx_subj *s)
{
	return child_unchanged(s) && mx_child_do(s, 'w', "the child cannot write") &&
	       mx_same(s, "subject after the child's write", &s->m) && mx_read_all(s) &&
	       child_unchanged(s);
}

static bool child_exits(struct mx_subj *s)
{
	return child_writes(s) && mx_child_do(s, 'x', "");
}

static bool child_execs(struct mx_subj *s)
{
	return mx_child_start(s) && mx_child_do(s, 'e', "");
}

static bool child_killed(struct mx_subj *s)
{
	if (!mx_child_start(s) || !mx_child_do(s, 'l', ""))
		return false;
	mx_child_end(s);
	return true;
}

/* The operation runs while the child writes its copy without an end. */
static bool child_busy(struct mx_subj *s)
{
	return mx_child_start(s) && mx_child_do(s, 'l', "");
}

static void from_child(struct mx_subj *s)
{
	mx_fill(s->m.model, s->m.len, s->seed + MX_CHILD_SEED);
}

static bool shared_write(struct mx_subj *s)
{
	from_child(s);
	return child_writes(s);
}

static bool vm_writev(struct mx_subj *s)
{
	from_child(s);
	return mx_child_start(s) && mx_child_do(s, 's', "process_vm_writev failed");
}

/* As a debugger does: a page that may not be written is replaced. */
static bool forced_write(struct mx_subj *s)
{
	if (mprotect(s->m.va, s->m.len, PROT_READ))
		return mx_why(s, "mprotect: %s", strerror(errno));
	s->write = false;
	from_child(s);
	return mx_child_start(s) && mx_child_do(s, 'f', "/proc/PID/mem failed");
}

static bool writable(struct mx_subj *s)
{
	s->write = true;
	return !mprotect(s->m.va, s->m.len, PROT_READ | PROT_WRITE) ||
	       mx_why(s, "mprotect: %s", strerror(errno));
}

/* Pages that the child shares are left alone, so this process writes its own first. */
static bool advised(struct mx_subj *s, char how)
{
	return mx_child_start(s) && mx_cpu_write(s, 0, s->m.len) &&
	       mx_child_do(s, how, "process_madvise failed");
}

static bool advised_cold(struct mx_subj *s)
{
	return advised(s, 'c');
}

static bool advised_out(struct mx_subj *s)
{
	return advised(s, 'p');
}

const struct mx_event mx_ev_proc[] = {
	{ "fork", "a child has a copy; afterwards it writes that",
	  &mx_anon, .fire = fork_only, .check = then_child_writes, .end = mx_child_end },
	{ "fork, RDMA read", "a child has a copy; an RDMA READ of all of it, then the operation",
	  &mx_anon, .fire = fork_read, .check = child_unchanged, .end = mx_child_end },
	{ "fork, child writes", "the child breaks COW",
	  &mx_anon, .fire = child_writes, .check = child_unchanged, .end = mx_child_end },
	{ "fork, parent writes", "the parent's CPU breaks COW of some pages",
	  &mx_anon, .fire = parent_writes, .check = child_unchanged, .end = mx_child_end },
	{ "fork, child busy", "the child writes its copy all the time",
	  &mx_anon, .fire = child_busy, .end = mx_child_end },
	{ "fork, exit", "the child writes and exits",
	  &mx_anon, .fire = child_exits, .end = mx_child_end },
	{ "fork, exec", "the child execs", &mx_anon, .fire = child_execs, .end = mx_child_end },
	{ "fork, kill", "the child is killed while it writes",
	  &mx_anon, .fire = child_killed, .end = mx_child_end },
	{ "shmem, child writes", "the child writes shared memory",
	  &mx_shm, .fire = shared_write, .end = mx_child_end },
	{ "process_vm_writev", "another process writes the subject",
	  &mx_anon, .fire = vm_writev, .end = mx_child_end },
	{ "ptrace write", "another process writes it past PROT_READ (/proc/PID/mem)",
	  &mx_anon, .fire = forced_write, .mend = writable, .end = mx_child_end },
	{ "process_madvise COLD", "another process advises MADV_COLD",
	  &mx_anon, .fire = advised_cold, .check = child_unchanged, .end = mx_child_end },
	{ "process_madvise PAGEOUT", "another process advises MADV_PAGEOUT",
	  &mx_anon, .fire = advised_out, .check = child_unchanged, .end = mx_child_end },
	{ 0 },
};
