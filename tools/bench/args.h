/* SPDX-License-Identifier: BSD-2-Clause */
/* The options of the measuring programs that take a device and a number of pairs. */
#ifndef BENCH_ARGS_H
#define BENCH_ARGS_H

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bench_args {
	const char *dev; /* NULL: the first one */
	int gid, pairs;
	/* Of programs that set @rows: two ends, and rows that can be run one by one. */
	bool rows;
	const char *peer; /* the other end's device; NULL: the same one */
	int peer_gid;
	const char *only, *prefix; /* METRIC/SIZE; what stands before each metric's name */
};

/* Read the options into @a, which has the defaults. Ends the program when they are wrong. */
static inline void bench_args(int argc, char **argv, struct bench_args *a)
{
	static const struct option lo[] = {
		{ "dev", 1, NULL, 'd' },
		{ "gid", 1, NULL, 'x' },
		{ "pairs", 1, NULL, 'p' },
		{ "peer", 1, NULL, 'e' },
		{ "peer-gid", 1, NULL, 'G' },
		{ "only", 1, NULL, 'o' },
		{ "prefix", 1, NULL, 'P' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", lo, NULL)) != -1) {
		switch (c) {
		case 'd': a->dev = optarg; break;
		case 'x': a->gid = atoi(optarg); break;
		case 'p': a->pairs = atoi(optarg); break;
		case 'e': a->peer = optarg; break;
		case 'G': a->peer_gid = atoi(optarg); break;
		case 'o': a->only = optarg; break;
		case 'P': a->prefix = optarg; break;
		default:
			a->pairs = 0;
		}
		if (!a->rows && strchr("eGoP", c))
			a->pairs = 0;
	}
	if (a->pairs < 1 || optind < argc) {
		fprintf(stderr, "usage: %s [--dev D] [--gid N] [--pairs N]%s\n",
			program_invocation_short_name,
			a->rows ? " [--peer D] [--peer-gid N] [--only METRIC/SIZE] [--prefix P]" :
				  "");
		exit(2);
	}
}

#endif
