/* SPDX-License-Identifier: BSD-2-Clause */
/* Checks of libodp's test programs: count, print, go on. */
#ifndef CHECK_H
#define CHECK_H

#include <odp/odp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern int check_failures;

#define CHECK(cond, ...)                                                                         \
	do {                                                                                     \
		if (!(cond)) {                                                                   \
			__atomic_add_fetch(&check_failures, 1, __ATOMIC_RELAXED);                \
			fprintf(stderr, "FAIL: %s:%d: %s: ", __FILE__, __LINE__, #cond);         \
			fprintf(stderr, __VA_ARGS__);                                            \
			fputc('\n', stderr);                                                     \
		}                                                                                \
	} while (0)

#define NEED(cond, ...)                 \
	do {                            \
		CHECK(cond, __VA_ARGS__); \
		if (!(cond))            \
			exit(1);        \
	} while (0)

/* Text that must hold each of the words, up to a NULL. */
#define HAS(text, ...) \
	check_has(__FILE__, __LINE__, text, (const char *const[]){ __VA_ARGS__, NULL })

static inline void check_has(const char *file, int line, const char *text, const char *const *words)
{
	for (; *words; words++) {
		if (!strstr(text, *words)) {
			__atomic_add_fetch(&check_failures, 1, __ATOMIC_RELAXED);
			fprintf(stderr, "FAIL: %s:%d: \"%s\" is not in: %s\n", file, line, *words,
				text);
		}
	}
}

#endif
