/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the verbs test programs share: endpoints, patterns, memory, bounded waits.
 *
 * A test reports with t_fail() (counted, goes on) or t_die() (cannot go on); main() returns
 * t_done().  Every wait has a deadline, which PRXE_DEBUG=1 (the slow debug kernel) stretches.
 */
#ifndef T_H
#define T_H

#include <infiniband/verbs.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/* The size of a page: on arm64 4, 16 or 64 KiB. Arrays have room for the largest. */
#define T_PAGE t_page()
#define T_PAGE_MAX 65536UL
/* A huge page, whatever size the kernel calls so: 2 MiB are in hugetlbfs and THP everywhere. */
#define T_HUGE (2UL << 20)
#define T_MAP_HUGETLB (MAP_HUGETLB | 21 << 26) /* 21: log2 of it; 26: MAP_HUGE_SHIFT */
#define T_NR_HUGEPAGES "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
#define T_GUARD (T_PAGE + 104) /* bytes around a target that must not change: more than a page */
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* ---- util.c ---- */
extern int t_fails;
extern bool t_debug;
__attribute__((format(printf, 1, 2))) void t_fail(const char *fmt, ...);
__attribute__((format(printf, 1, 2), noreturn)) void t_die(const char *fmt, ...);
__attribute__((format(printf, 1, 2))) void t_note(const char *fmt, ...);
/* What is printed with each failure, until the next call. */
__attribute__((format(printf, 1, 2))) void t_context(const char *fmt, ...);
int t_done(const char *what);
void t_init(void);
double t_now(void);
double t_slow(double seconds);	  /* the time limit, stretched on the debug kernel */
void t_watchdog(unsigned seconds); /* the whole program: print and abort after that */
double t_median(double *v, int n); /* sorts them */
uint64_t t_mix(uint64_t x);	  /* a hash, for choices that follow from a seed */
bool t_list_has(const char *list, const char *word); /* NULL list has everything */
unsigned long t_page(void) __attribute__((const));
uint64_t t_status_kb(const char *field);	      /* of /proc/self/status, in KiB */
int t_param_get(const char *name);		      /* module parameter of prxe, -1: no such */
int t_param_set(const char *name, int value);
/* The value of a counter in hw_counters, as it is now; takes 20 ms. */
uint64_t t_counter(const char *dev, const char *name);

/* ---- pat.c: contents as a function of sequence and position ---- */
uint8_t t_pat(uint64_t seq, uint64_t pos);
void t_pat_fill(void *p, size_t len, uint64_t seq, uint64_t pos);
/* Offset of the first wrong byte, -1 when all are right. */
ssize_t t_pat_diff(const void *p, size_t len, uint64_t seq, uint64_t pos);
ssize_t t_zero_diff(const void *p, size_t len);
/* Check and report: what, first wrong byte, expected, got, how many are wrong. */
bool t_pat_check(const char *what, const void *p, size_t len, uint64_t seq, uint64_t pos);
bool t_zero_check(const char *what, const void *p, size_t len);

/* ---- mem.c ---- */
enum t_kind { K_PIN, K_ODP, K_SHM, K_N }; /* anonymous pinned, anonymous ODP, memfd ODP */
extern const char *const t_kind_name[K_N];
struct t_arena {
	enum t_kind kind;
	uint8_t *va;
	size_t size;
	int fd;
	struct ibv_mr *mr[2]; /* iova == va, iova != va */
	uint64_t iova[2];
};
#define T_ALL_REMOTE (IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC)
#define T_ALL_ACCESS (IBV_ACCESS_LOCAL_WRITE | T_ALL_REMOTE)
void *t_map(size_t size); /* anonymous, private, page aligned; dies on failure */
void *t_map_between(size_t size); /* the same, with an inaccessible page on either side */
void t_arena_open(struct t_arena *a, enum t_kind kind, size_t size, struct ibv_pd *pd,
		  uint64_t other_iova, unsigned more_access);
void t_arena_close(struct t_arena *a);
void t_drop(void *p, size_t len); /* MADV_DONTNEED of the pages that [p, p + len) touches */
/*
 * MADV_PAGEOUT, twice: before Linux 6.9, pages that a device has used stay once. Reclaim asks who
 * used them, and the device's driver forgets when it answers.
 */
int t_pageout(void *p, size_t len);
/* Are the pages that MADV_COLLAPSE makes of T_HUGE? With 16 KiB pages they have 32 MiB. */
bool t_can_collapse(void);
/* A userfaultfd that is asked for the pages of [p, p + len) that are missing: nonblocking. */
int t_uffd(void *p, size_t len);
struct ibv_mr *t_reg(struct ibv_pd *pd, void *p, size_t len, unsigned access);

/* ---- ep.c ---- */
/* Of device_cap_flags_ex; verbs.h has no name for it. */
#define T_CAP_FLUSH_GLOBAL (1ULL << 38)
struct t_dev {
	struct ibv_context *ctx;
	struct ibv_pd *pd;
	struct ibv_device_attr_ex attr;
	struct ibv_port_attr port;
	union ibv_gid gid;
	int gidx;
	char name[64];
	bool odp, odp_uc, flush; /* flush: to global visibility */
};
/* What has no value (0) gets a sensible one; fields that may be 0 are offset by one or negated. */
struct t_opt {
	enum ibv_qp_type type;
	struct ibv_pd *pd;
	struct ibv_srq *srq;
	struct ibv_comp_channel *chan;
	struct ibv_cq *scq, *rcq;
	enum ibv_mtu mtu;
	unsigned sge, depth, rdepth, inl, access;
	bool no_access; /* access really is 0 */
	bool sig_all;
	uint8_t timeout, retry_cnt, rnr_retry, min_rnr, rd_atomic;
	bool no_retry, no_rnr_retry; /* retry_cnt, rnr_retry really are 0 */
	uint32_t psn, peer_psn;
	uint64_t ops; /* IBV_QP_EX_WITH_*: for t_flush() and t_atomic_write() */
};
struct t_addr { /* what the peer must know */
	uint32_t qpn, psn;
	union ibv_gid gid;
	int lid;
};
struct t_ep {
	struct t_dev *d;
	struct t_opt o;
	struct ibv_cq *scq, *rcq;
	struct ibv_qp *qp;
	struct ibv_ah *ah; /* UD */
	struct t_addr me, peer;
	bool own_scq, own_rcq;
	uint64_t last_wr_id; /* of the last t_post() */
};
#define T_QKEY 0x11223344

struct t_dev *t_dev_open(const char *name, int gidx);
void t_dev_close(struct t_dev *d);
void t_ep_open(struct t_ep *e, struct t_dev *d, const struct t_opt *o);
int t_ep_init(struct t_ep *e); /* the transitions: 0 or errno */
int t_ep_rtr(struct t_ep *e, const struct t_addr *peer);
int t_ep_rts(struct t_ep *e);
int t_ep_state(struct t_ep *e, enum ibv_qp_state s);
enum ibv_qp_state t_ep_query_state(struct t_ep *e);
void t_ep_connect(struct t_ep *e, const struct t_addr *peer);
void t_pair_open(struct t_ep *a, struct t_dev *da, struct t_ep *b, struct t_dev *db,
		 const struct t_opt *o);
void t_pair_again(struct t_ep *a, struct t_ep *b); /* through RESET, after an error */
void t_ep_close(struct t_ep *e);

/* ---- main.c ---- */
struct t_test {
	const char *name;
	void (*run)(struct t_dev *d); /* a device that was opened for it */
	const char *what;
};
struct t_program {
	const char *name;
	const struct t_test *const *tests; /* arrays that end with an empty test; NULL: the last */
	unsigned seconds;		   /* that all may take */
	bool odp;			   /* the device must have it */
	int *rounds;			   /* what -n sets, when there is one */
	void (*after)(struct t_dev *d);	   /* each test */
};
/* All of main() but t_init(): the tests that the arguments name, or all. */
int t_main(int argc, char **argv, const struct t_program *p);
bool t_named(int argc, char **argv, const char *name); /* after getopt() */
/* Has case I to be run? Not when share of sh.sh gives this process a part of the cases only. */
bool t_shared(unsigned i);
/* Around a test: its name goes with failures, and its result is printed. */
struct t_mark {
	const char *name;
	int fails;
	double from;
};
struct t_mark t_begin(const char *name);
void t_end(const struct t_mark *m);

/* ---- peer.c ---- */
/* fork() with a socket between the two; the child dies with the parent. */
pid_t t_fork(int *sock);
/* A socket to another machine: @peer (IPV4:PORT) is asked, or, when it is NULL, waited for. */
int t_meet(const char *peer, int port);
void t_put(int sock, const void *p, size_t n);
void t_get(int sock, void *p, size_t n);
bool t_try_get(int sock, void *p, size_t n); /* false: the other process has closed it */
void t_ep_meet(struct t_ep *e, int sock); /* connect to the QP that the other process opened */

/* Post one WR.  Return 0 or errno. */
struct t_wr {
	enum ibv_wr_opcode op;
	const struct ibv_sge *sg;
	int n;
	uint64_t raddr;
	uint32_t rkey, imm;
	uint64_t compare, swap;
	unsigned flags; /* IBV_SEND_SIGNALED is set by t_post(), unless T_UNSIGNALED */
	uint64_t id;
};
#define T_UNSIGNALED (1U << 31)
int t_post(struct t_ep *e, const struct t_wr *w);
int t_post_one(struct t_ep *e, enum ibv_wr_opcode op, const void *p, uint32_t len, uint32_t lkey,
	       uint64_t raddr, uint32_t rkey, uint64_t id);
int t_recv(struct t_ep *e, const struct ibv_sge *sg, int n, uint64_t id);
int t_recv_one(struct t_ep *e, void *p, uint32_t len, uint32_t lkey, uint64_t id);

/* RDMA FLUSH and ATOMIC WRITE, signaled; the QP was made with these ops.  Return 0 or errno. */
int t_flush(struct t_ep *e, uint64_t raddr, uint32_t rkey, size_t len, uint8_t type, uint8_t level,
	    uint64_t id);
int t_atomic_write(struct t_ep *e, uint64_t raddr, uint32_t rkey, const void *val, uint64_t id);

/* One completion within the limit: 1, or 0 when none came. */
int t_wait(struct ibv_cq *cq, struct ibv_wc *wc, double seconds);
/* The same, and it must have that status: else fail (with what) and return false. */
bool t_expect(const char *what, struct ibv_cq *cq, enum ibv_wc_status st, struct ibv_wc *out);
bool t_expect_any(const char *what, struct ibv_cq *cq, const enum ibv_wc_status *st, int n,
		  struct ibv_wc *out);
bool t_none(const char *what, struct ibv_cq *cq, double seconds);
int t_drain(struct ibv_cq *cq);
/* A transfer each way on that pair must work and carry right data. */
bool t_pair_works(const char *what, struct t_ep *a, struct t_ep *b);
extern double t_limit; /* of t_expect(), seconds */

static inline struct ibv_sge t_sge(const void *p, size_t len, uint32_t lkey)
{
	return (struct ibv_sge){ .addr = (uintptr_t)p, .length = (uint32_t)len, .lkey = lkey };
}

#endif
