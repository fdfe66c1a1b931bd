/* SPDX-License-Identifier: BSD-2-Clause */
/* What the two files of prxe-data share: data_case.c makes and checks a case, data.c runs it. */
#ifndef DATA_H
#define DATA_H

#include "lib/t.h"

enum op { WRITE, WRITE_IMM, SEND, SEND_IMM, SEND_INV, READ, CAS, FAA, MW_WRITE, SRQ_SEND,
	  UC_WRITE, UC_WRITE_IMM, UC_SEND, UD_SEND, WRITE_FLUSH, OP_N };
extern const char *const op_name[OP_N];
enum kind { PIN = K_PIN, ODP = K_ODP, SHM = K_SHM, MIX, KIND_N };
enum temp { WARM, COLD, READ_TOUCHED, PREFETCHED, TEMP_N };

#define MAX_SEG 32
#define SRQ_SEG 27 /* as much as Soft-RoCE devices promise */
/* A case is laid out by the larger of both machines' pages. */
extern size_t page;
#define ARENA_SIZE ((2UL << 20) + 256 * page)
#define GUARD (page + 104) /* bytes around a target that must not change: more than a page */
#define GRH 40
#define RC_MTUS 3

struct seg {
	enum t_kind kind;
	size_t off, len;
};
struct side {
	enum kind kind;
	enum temp temp;
	int n, other; /* other: the MR whose iova is not the address */
	size_t skip;  /* leading bytes without defined contents: the GRH */
	struct seg s[MAX_SEG];
};
struct kase {
	uint64_t id, seq;
	enum op op;
	unsigned mtu; /* index */
	size_t len, extra;
	bool inl, data_from_b;
	struct side a, b;
};

struct data_opt {
	const char *dev, *dev2, *ops, *kinds, *kinds_b;
	const char *peer;
	int gid, gid2, qp_timeout, serve;
	uint64_t sample, seed;
	double time;
	bool two, huge, verbose, list;
	size_t max_len;
};
extern struct data_opt opt;

/* data.c */
extern struct t_dev *da, *db;
extern struct t_arena arena[2][K_N]; /* of A, of B */
extern bool have_odp[2], have_odp_uc, have_mw, have_flush;
extern enum ibv_mtu port_mtu;

/* ---- data_case.c ---- */
#define CROSS ((uint64_t)OP_N * KIND_N * KIND_N * 8 * 8 * 11 * RC_MTUS * 4 * TEMP_N * TEMP_N)
extern const enum ibv_mtu mtus[RC_MTUS];
/* The case of that number; false when it says nothing new or the run does not want it. */
bool make_case(struct kase *k, uint64_t id);
const char *describe(const struct kase *k);
bool is_uc(enum op o);
bool lossy(enum op o);
bool atomic(enum op o);
/* Does B scatter into a list of its own (a receive), rather than A naming one remote range? */
bool b_list(enum op o);
bool b_recv(enum op o);
/* Guards (and, for a source, contents) of a side; then its temperature. */
void prepare(const struct kase *k, struct side *s, int who, bool source);
/*
 * Check a side: @len bytes of payload from position @skip on, all else unchanged.
 * Silent checks return the verdict only.
 */
bool check(const struct kase *k, const struct side *s, int who, size_t len, bool silent);
int sges(const struct side *s, int who, struct ibv_sge *sg); /* its SGE list, and how many */

#endif
