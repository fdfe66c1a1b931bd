/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * prxe-stress: transfers against churn of the memory under them, with every word accounted for.
 *
 * A region has a window of ST_PAGES pages around a 2 MiB boundary, cut into slots. A lane moves
 * messages from slots of its source region to slots of its target region. Each 8-byte word of a
 * message says which message it belongs to (the slot's generation) and where it must lie. For each
 * word of the target the lane remembers which generation it saw there last. So after each transfer
 * every word can be judged:
 *
 *   in the message, after success     this generation
 *   in the message, after an error    this generation, or what was there before
 *   beside it                         what was there before
 *   anywhere                          zero, only if the page (or the page of the source that it
 *                                     came from) was discarded meanwhile
 *
 * Churn announces what it does: discards by page (struct st_page), loss of access by region (take
 * to given). Effects that it did not announce must not be seen.
 */
#ifndef ST_H
#define ST_H

#include "lib/t.h"

#include <pthread.h>
#include <stdatomic.h>

#define ST_ODP (T_ALL_ACCESS | IBV_ACCESS_ON_DEMAND)
#define ST_HUGE T_HUGE
#define ST_SLOTS 8U
#define ST_SLOT_PAGES 8U
#define ST_PAGES (ST_SLOTS * ST_SLOT_PAGES)
#define ST_WINDOW (ST_PAGES * T_PAGE)
#define ST_PAGE_WORDS (unsigned)(T_PAGE / 8)
#define ST_SLOT_WORDS (ST_SLOT_PAGES * ST_PAGE_WORDS)

/*
 * A page was discarded between two looks if at the second look more discards had begun than had
 * ended before the first.
 */
struct st_page {
	atomic_uint begun, ended;
	unsigned seen; /* the judge's: ended, before it last read the page */
};

struct st_region {
	unsigned id;
	bool shared;	 /* a memfd, with a second mapping in watch; else anonymous and private */
	bool cpu_writes; /* the lane's CPU writes here: not while it is read-only */
	bool implicit;	 /* reached by the implicit MR */
	int fd;
	/* the mapping; its first of two huge pages; the window, across the border of the two */
	uint8_t *raw, *base, *win;
	uint8_t *watch, *snap, *twin;
	struct ibv_pd *pd;
	struct ibv_mr *mr;
	atomic_ullong keys; /* lkey << 32 | rkey: they change when the region is registered again */
	/*
	 * Counts how often access to some or all of the window is about to be taken (take), was
	 * taken from all of it (taken), is about to come back to all of it (give), is back (given).
	 * An error is right only between take and given, a success only outside of taken to give.
	 */
	atomic_uint take, taken, give, given;
	pthread_mutex_t cpu; /* the window is mapped, and writable if cpu_writes */
	struct st_page page[ST_PAGES];
	uint32_t *shadow; /* each word's generation, 0: zero */
};

static inline uint64_t st_word(unsigned region, unsigned at, unsigned gen)
{
	uint64_t x = (at + ((uint64_t)region << 24) + gen * 0x100000001b3ULL) *
		     0x9e3779b97f4a7c15ULL;

	return gen ? (uint64_t)gen << 40 | (x ^ x >> 31) >> 24 : 0;
}

/* One transfer, in words of the windows. */
struct st_msg {
	uint32_t gen;
	unsigned slot, from, to, words;
	unsigned from_seen[ST_SLOT_PAGES]; /* of the source's pages: ended, before it was filled */
	bool sent, received, judged;
};

void st_region_open(struct st_region *r, struct ibv_pd *pd, struct ibv_mr *implicit, bool shared);
void st_region_close(struct st_region *r);
/* Map the memory that belongs there over what is there now. */
void st_region_map(struct st_region *r, unsigned page, unsigned pages);
void st_region_reg(struct st_region *r);
void st_drop_begin(struct st_region *r, unsigned page, unsigned pages);
void st_drop_end(struct st_region *r, unsigned page, unsigned pages);
bool st_dropped(struct st_region *r, unsigned page, unsigned seen);
/* Both with the regions' cpu held. */
void st_fill(struct st_region *src, const struct st_region *dst, struct st_msg *m);
void st_judge(struct st_region *dst, struct st_region *src, const struct st_msg *m, bool success);

/* ---- access to a region in the time of a message ---- */
struct st_access {
	unsigned given, taken, give; /* when it was posted */
};
struct st_access st_access_now(struct st_region *r);
bool st_error_is_right(struct st_region *r, struct st_access then);
bool st_success_is_right(struct st_region *r, struct st_access then);

/* ---- lanes: st_lane.c, st_atomic.c; each is stepped by one thread; a step never blocks ---- */
enum st_op { ST_WRITE, ST_READ, ST_SEND, ST_OPS };
struct st_counts {
	uint64_t transfers, bytes, errors;
};
struct st_pair {
	struct t_ep a, b;
	bool failed; /* an error was seen: to be reconnected when all is in */
	double alive; /* when something completed last */
	struct st_counts n;
};
struct st_lane {
	struct st_pair p;
	enum st_op op;
	struct st_region src, dst;
	unsigned index;
	uint64_t rnd, posted, sent, received;
	struct st_msg m[ST_SLOTS];
	struct st_access src_then[ST_SLOTS], dst_then[ST_SLOTS];
	uint32_t gen[ST_SLOTS];
};
void st_pair_open(struct st_pair *p, struct t_dev *d);
void st_pair_again(struct st_pair *p);
void st_pair_close(struct st_pair *p);
/* dies when nothing has completed for too long */
void st_pair_hang(struct st_pair *p, const char *what, uint64_t in_flight);
void st_lane_open(struct st_lane *l, struct t_dev *d, unsigned index, struct ibv_mr *implicit,
		  bool shared);
void st_lane_close(struct st_lane *l);
bool st_lane_step(struct st_lane *l, bool more); /* false: nothing was to be done */
bool st_lane_idle(const struct st_lane *l);

/* Counters in one region, which all atomic lanes share; churn must not discard it. */
#define ST_COUNTERS 8U
struct st_atomic {
	struct st_pair p;
	struct st_region land, *dst;
	unsigned index, lanes;
	uint64_t rnd, posted, done;
	/* own counters: now; and when all posted operations are done */
	uint64_t value[ST_COUNTERS], next[ST_COUNTERS];
	uint64_t shared_adds, shared_last;
	struct {
		unsigned counter, seen;
		uint64_t old, after;
	} m[ST_SLOTS];
	struct st_access dst_then[ST_SLOTS];
};
void st_atomic_open(struct st_atomic *l, struct t_dev *d, struct st_region *dst, unsigned index,
		    unsigned lanes, struct ibv_mr *implicit, bool shared);
void st_atomic_close(struct st_atomic *l);
bool st_atomic_step(struct st_atomic *l, bool more);
bool st_atomic_idle(const struct st_atomic *l);
/* When all lanes are idle: the counters hold the sum of what was added. */
void st_atomic_check(struct st_atomic *l, unsigned lanes);

/* ---- churn: st_churn.c ---- */
struct st_churn {
	const char *name, *what;
	void (*step)(struct st_region *r, uint64_t rnd);
	bool (*start)(void); /* false: not on this machine */
	bool (*stop)(void);  /* false: it was without effect */
	const atomic_ulong *effect; /* what stop() looks at: not 0 when there was one */
	bool shared, drops, takes;
	unsigned more; /* shares of the time, besides one */
};
extern const struct st_churn st_churns[];
/* For the atomics' counters, when the phase drops other memory: access goes, data stays. */
extern const struct st_churn st_churn_keep;
/* For the memory where atomics land, when the phase takes access to other memory: here it stays. */
extern const struct st_churn st_churn_land;

#endif
