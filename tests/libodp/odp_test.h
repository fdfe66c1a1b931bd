/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of prxe-odp share: a device, a domain on its PD, and two connected QPs. */
#ifndef ODP_TEST_H
#define ODP_TEST_H

#include "lib/t.h"
#include <odp/odp.h>

#define MIB (1UL << 20)

struct env {
	struct t_dev *d;
	struct t_ep a, b;
	struct odp_domain *dom;
	struct odp_reason why;
};

struct odp_case {
	const char *name;
	void (*run)(struct env *e);
	bool alone; /* only when it is named */
};
extern const struct odp_case cases_reg[], cases_memory[], cases_explain[], cases_limit[];

/* Register, or end the program with the reason. */
struct odp_mr *need_mr(struct env *e, void *p, size_t length, unsigned int access,
		       enum odp_policy policy);
/* text must hold each of the words up to a NULL. */
bool has(const char *what, const char *text, ...) __attribute__((sentinel));
/* One transfer from a to b: its status. length is of one SGE. */
enum ibv_wc_status xfer(struct env *e, enum ibv_wr_opcode op, void *local, size_t length,
			struct odp_mr *lmr, void *remote, uint32_t rkey);
/*
 * WRITE [src] to [dst] with contents that depend on position and seq, check it, and that the bytes
 * around it did not change.
 */
bool write_right(const char *what, struct env *e, uint8_t *src, struct odp_mr *smr, uint8_t *dst,
		 struct odp_mr *dmr, size_t length, uint64_t seq);

#define OK(cond, fmt, ...)                                                               \
	do {                                                                             \
		if (!(cond))                                                             \
			t_fail("line %d: %s: " fmt, __LINE__, #cond, ##__VA_ARGS__);     \
	} while (0)

#endif
