/* SPDX-License-Identifier: BSD-2-Clause */
/* The options of the measuring programs that take a device and a number of pairs. */
#ifndef BENCH_ARGS_H
#define BENCH_ARGS_H

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

struct bench_args {
	const char *dev; /* NULL: the first one */
	int gid, pairs;
};

/* Read the options into @a, which has the defaults. Ends the program when they are wrong. */
static inline void bench_args(int argc, char **argv, struct bench_args *a)
{
	static const struct option lo[] = {
		{ "dev", 1, NULL, 'd' },
		{ "gid", 1, NULL, 'x' },
		{ "pairs", 1, NULL, 'p' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", lo, NULL)) != -1) {
		switch (c) {
		case 'd': a->dev = optarg; break;
		case 'x': a->gid = atoi(optarg); break;
		case 'p': a->pairs = atoi(optarg); break;
		default:
			a->pairs = 0;
		}
	}
	if (a->pairs < 1 || optind < argc) {
		fprintf(stderr, "usage: %s [--dev D] [--gid N] [--pairs N]\n",
			program_invocation_short_name);
		exit(2);
	}
}

#endif
