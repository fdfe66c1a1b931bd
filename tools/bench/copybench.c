// SPDX-License-Identifier: BSD-2-Clause
/*
 * What this machine can do without RDMA: memcpy within a process, process_vm_writev between two.
 *
 * Output, tab separated: metric (copy_bw, copy_lat), size, variant (memcpy, vm_writev), pair, unit,
 * value.
 */
#define _GNU_SOURCE
#include "t.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define AREA (1UL << 20)

static uint8_t *src, *dst; /* the same address in the child: private memory, mapped before fork() */
static pid_t child;

static void copy(bool vm, size_t size)
{
	struct iovec l = { src, size }, r = { dst, size };

	if (!vm) {
		memcpy(dst, src, size);
		__asm__ volatile("" : : "r"(dst) : "memory");
	} else if (process_vm_writev(child, &l, 1, &r, 1, 0) != (ssize_t)size) {
		t_die("process_vm_writev of %zu bytes: %s", size, strerror(errno));
	}
}

/* Copy for about @seconds. Returns the seconds that one copy took. */
static double measure(bool vm, size_t size, double seconds)
{
	unsigned long n = 0, batch = size > 65536 ? 1 : 16;
	double start = t_now(), end;

	do {
		for (unsigned long i = 0; i < batch; i++)
			copy(vm, size);
		n += batch;
		end = t_now();
	} while (end - start < seconds);
	return (end - start) / (double)n;
}

int main(int argc, char **argv)
{
	static const struct option lo[] = {
		{ "pairs", 1, NULL, 'p' },
		{ "time", 1, NULL, 't' },
		{ 0 },
	};
	static const size_t sizes[] = { 8, 4096, 65536, 1 << 20 };
	static const char *const name[] = { "memcpy", "vm_writev" };
	double seconds = 0.2;
	int pairs = 5, o, go[2];
	char c;

	t_init();
	while ((o = getopt_long(argc, argv, "", lo, NULL)) != -1) {
		switch (o) {
		case 'p': pairs = atoi(optarg); break;
		case 't': seconds = atof(optarg); break;
		default:
			fprintf(stderr, "usage: prxe-copybench [--pairs N] "
				"[--time SECONDS of each measurement]\n");
			return 2;
		}
	}
	t_watchdog(60 + (unsigned)(pairs * 8 * seconds * 2));
	src = t_map(AREA);
	dst = t_map(AREA);
	t_pat_fill(src, AREA, 1, 0);
	if (pipe(go))
		t_die("pipe: %s", strerror(errno));
	child = fork();
	if (child < 0)
		t_die("fork: %s", strerror(errno));
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		memset(dst, 1, AREA);
		if (write(go[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	if (read(go[0], &c, 1) != 1)
		t_die("the other process is gone");
	memset(dst, 2, AREA);
	for (size_t s = 0; s < ARRAY_LEN(sizes); s++)
		for (int p = 1; p <= pairs; p++)
			for (int vm = 0; vm < 2; vm++) {
				double t = measure(vm, sizes[s], seconds);

				printf("copy_bw\t%zu\t%s\t%d\tMiB/s\t%.2f\n", sizes[s], name[vm], p,
				       (double)sizes[s] / t / 1048576);
				printf("copy_lat\t%zu\t%s\t%d\tus\t%.3f\n", sizes[s], name[vm], p,
				       t * 1e6);
			}
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	return 0;
}
