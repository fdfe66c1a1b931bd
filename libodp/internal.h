/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the library's files share. Locks, in the order in which they may be taken:
 *
 *   implicit_lock  of a domain: held while its shared MRs are made or given back (system calls)
 *   domains_lock   one for the process: the list of domains, and their references
 *   lock           of a domain: its MRs and counters; never held over a system call
 */
#ifndef ODP_INTERNAL_H
#define ODP_INTERNAL_H

#include <odp/odp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#define ODP_PUBLIC __attribute__((visibility("default")))
#define ODP_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define ODP_DEAD_KEYS 64 /* deregistered MRs that a domain remembers, for explanations */
#define ODP_REMOTE_ACCESS \
	(IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC)

struct odp_mr {
	struct odp_mr *next, *prev; /* of the domain's list; under its lock */
	struct odp_domain *domain;
	struct ibv_mr *mr;
	uint64_t addr, length, iova; /* implicit: 0, UINT64_MAX, 0 */
	uint32_t lkey, rkey;	     /* copies: mr is freed before this leaves the list */
	unsigned int access;
	enum odp_policy policy;
	bool on_demand, implicit, fallback;
	unsigned int refs;   /* under implicit_lock; 1 for what is not implicit */
	/* Who registered it: the MR is of no use in a forked process, and netlink knows the tid. */
	pid_t pid, tid;
	_Atomic uint32_t mrn; /* its number in RDMA netlink; 0: not known yet */
	char reason[640]; /* the text of a struct odp_reason, and a prefix */
};

/* What an explanation needs to know about an MR. Kept for deregistered MRs as well. */
struct mr_facts {
	uint64_t addr, length, iova;
	uint32_t lkey, rkey;
	unsigned int access;
	bool on_demand, implicit;
	pid_t pid;
};

struct odp_domain {
	struct odp_domain *next; /* under domains_lock, like refs */
	unsigned int refs;
	struct ibv_pd *pd;
	struct odp_caps caps;
	pthread_mutex_t implicit_lock;
	pthread_mutex_t lock;
	struct odp_mr *mrs;
	struct mr_facts dead[ODP_DEAD_KEYS]; /* a ring; deaths counts its entries */
	uint64_t deaths;
	struct odp_usage usage;
};

/* ---- reason.c ---- */

/* If @why is not NULL, fill it: @error (positive errno, or 0) and the text. Returns -error. */
int reason_set(struct odp_reason *why, int error, const char *fmt, ...) ODP_PRINTF(3, 4);
/* No error, empty text. NULL is allowed. */
void reason_clear(struct odp_reason *why);
/* An errno in words. Returns a constant or buf->text. */
struct err_text {
	char text[64];
};
const char *err_words(int error, struct err_text *buf);
/* A size in words: "1 GiB", "1.5 MiB", "4097 bytes". Returns buf->text. */
struct size_text {
	char text[64];
};
const char *size_words(uint64_t bytes, struct size_text *buf);
/*
 * Append to a string in a buffer of @size bytes. What does not fit is cut off: the beginning says
 * what matters most.
 */
void text_add(char *buf, size_t size, const char *fmt, ...) ODP_PRINTF(3, 4);

/* ---- limits.c ---- */

struct pin_limit {
	bool unlimited; /* no limit, or one that this process may exceed */
	uint64_t limit; /* RLIMIT_MEMLOCK, bytes */
	uint64_t used;	/* pinned by this process now, bytes */
};
/* Read the limit from the kernel. Without /proc, used is 0 and capabilities count as missing. */
void pin_limit_read(struct pin_limit *limit);
/* How many bytes pinning [addr, addr + length) counts against the limit: whole pages. */
uint64_t pin_bytes(uint64_t addr, uint64_t length);
/* Can @bytes more be pinned within the limit? */
bool pin_fits(const struct pin_limit *limit, uint64_t bytes);
uint64_t page_size(void);

/* ---- domain.c ---- */

/*
 * The list of a domain's MRs, and its counters. All functions of domain.c take the domain's lock;
 * pinned_anywhere() and key_find() take domains_lock as well.
 */
void domain_add_mr(struct odp_domain *domain, struct odp_mr *mr);
/* Also remembers the facts of the MR, for explanations. Does not free it. */
void domain_remove_mr(struct odp_domain *domain, struct odp_mr *mr);
void domain_count_refusal(struct odp_domain *domain);
/* Is a part of [addr, addr + length) pinned by an MR of any domain? */
bool pinned_anywhere(uint64_t addr, uint64_t length);

enum key_kind { KEY_LOCAL, KEY_REMOTE };
enum key_found { KEY_NONE, KEY_HERE, KEY_OTHER_KIND, KEY_DEAD, KEY_OTHER_DOMAIN };
/*
 * Who has this key: this domain (also as the other kind), another domain of the same device, or an
 * MR of this domain that was deregistered. Unless nobody has it, *facts are those of that MR.
 */
enum key_found key_find(struct odp_domain *domain, uint32_t key, enum key_kind kind,
			struct mr_facts *facts);

/* ---- maps.c ---- */

enum map_kind {
	MAP_FINE, MAP_NOTHING, MAP_NO_READ, MAP_NO_WRITE, MAP_FILE_END, MAP_SPECIAL, MAP_UNREADABLE
};
struct map_finding {
	enum map_kind kind;
	uint64_t addr;	      /* first page that is wrong; in the first page, the range's start */
	uint64_t from, to;    /* the mapping, or the gap, that it is in */
	char perms[8];
	char name[128];	      /* of the mapping: file, [stack], ... */
	uint64_t file_size;   /* MAP_FILE_END */
};
/*
 * Look at the mappings of [addr, addr + length) of this process without touching the memory.
 * @write: it must be writable, too.
 */
void maps_check(uint64_t addr, uint64_t length, bool write, struct map_finding *finding);
/* Describe the finding as a clause: "nothing is mapped at 0x..." */
void maps_words(const struct map_finding *finding, char *buf, size_t size);

/* ---- check.c ---- */

struct explain_access {
	uint32_t key;
	uint64_t addr, length;
	unsigned int need; /* as for odp_check() */
	bool remote;	   /* key is an rkey */
	bool any_pd;	   /* the PD is not known: an MR of any domain of the device will do */
};

/* No cause, no SGE, empty text. */
void explain_clear(struct odp_explanation *out);
/* Append to the text. */
void explain_say(struct odp_explanation *out, const char *fmt, ...) ODP_PRINTF(2, 3);
/*
 * Check an access. If something is wrong, set cause, key and addr in *out, and append to the text
 * what it is. If nothing is, append nothing; cause is then ODP_CAUSE_NONE.
 */
void explain_access_check(struct odp_domain *domain, const struct explain_access *access,
			  struct odp_explanation *out);

/* ---- counters.c ---- */

/* The name of counter number @i; NULL if there are no more. */
const char *counter_name(size_t i);
/* Add @value to the counter of that name, and set its bit in have. Unknown names are ignored. */
void stats_put(struct odp_stats *stats, const char *name, uint64_t value);

/* ---- driver.c ---- */

/*
 * Ask the driver's own method for the counters. Returns false if the driver has no such method:
 * then *stats is unchanged. A system call.
 */
bool driver_mr_stats(struct odp_mr *mr, struct odp_stats *stats);

/* ---- netlink.c ---- */

/*
 * Ask RDMA netlink for the counters, and add them to *stats. Returns 0, or a negative errno with
 * *why filled in. System calls; remembers the MR's number in mr->mrn.
 */
int netlink_mr_stats(struct odp_mr *mr, struct odp_stats *stats, struct odp_reason *why);

#endif
