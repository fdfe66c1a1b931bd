// SPDX-License-Identifier: BSD-2-Clause
/*
 * Prefetch in pieces, for two reasons: the length of an SGE has 32 bits, and a deadline can be
 * checked only between two system calls.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <time.h>
#include "internal.h"

#define PIECE_MIN (1ULL << 20)
#define PIECE_MAX (64ULL << 20)
#define EAGAIN_PAUSE_MAX_NS 16000000L
#define EAGAIN_LIMIT_NS 10000000000LL /* give up after that long, if there is no deadline */

struct job {
	struct odp_mr *mr;
	enum ibv_advise_mr_advice advice;
	uint32_t flags;
	bool write;
	int64_t deadline; /* ns, CLOCK_MONOTONIC; INT64_MAX: none */
	uint64_t piece;
	bool narrowing; /* a page cannot be had: halve the piece until it is that page */
};

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int advise(const struct job *job, uint64_t addr, uint64_t length)
{
	struct odp_mr *mr = job->mr;
	struct ibv_sge sge = { .addr = addr - mr->addr + mr->iova,
			       .length = (uint32_t)length,
			       .lkey = mr->lkey };
	int64_t begin = now_ns(), now;
	struct timespec pause = { .tv_nsec = 500000 };
	int ret;

	for (;;) {
		ret = ibv_advise_mr(mr->domain->pd, job->advice, job->flags, &sge, 1);
		if (ret < 0)
			ret = -ret;
		if (ret != EAGAIN)
			return ret;
		now = now_ns();
		if (now + pause.tv_nsec >= job->deadline)
			return ETIMEDOUT;
		if (job->deadline == INT64_MAX && now - begin > EAGAIN_LIMIT_NS)
			return EAGAIN;
		nanosleep(&pause, NULL);
		if (pause.tv_nsec < EAGAIN_PAUSE_MAX_NS)
			pause.tv_nsec *= 2;
	}
}

/* The length of the next piece. It ends at a page boundary, so that no page is asked for twice. */
static uint64_t piece_length(const struct job *job, uint64_t at, uint64_t left)
{
	uint64_t n = job->piece - at % page_size();

	return n < left ? n : left;
}

/* Adapt the size of the next piece: a piece may take about a quarter of the time that is left. */
static void piece_adapt(struct job *job, int64_t took)
{
	int64_t left = job->deadline == INT64_MAX ? INT64_MAX : job->deadline - now_ns();

	if (job->narrowing)
		return;
	if (took < left / 8 && job->piece < PIECE_MAX)
		job->piece *= 2;
	else if (took > left / 4 && job->piece > PIECE_MIN)
		job->piece /= 2;
}

static int run(struct job *job, uint64_t addr, uint64_t length, uint64_t *done)
{
	uint64_t page = page_size();
	int ret;

	for (*done = 0; *done < length;) {
		uint64_t at = addr + *done, n = piece_length(job, at, length - *done);
		int64_t begin = now_ns();

		if (begin >= job->deadline)
			return ETIMEDOUT;
		ret = advise(job, at, n);
		if (ret == EFAULT && n > page - at % page) {
			job->narrowing = true;
			job->piece = (n / 2 + page - 1) / page * page;
			continue;
		}
		if (ret)
			return ret;
		*done += n;
		piece_adapt(job, now_ns() - begin);
	}
	return 0;
}

static int say_why(const struct job *job, uint64_t addr, uint64_t length, uint64_t done, int err,
		   struct odp_reason *why)
{
	const char *device = job->mr->domain->caps.device;
	uint64_t at = addr + done, page = page_size();
	uint64_t n = page - at % page < length - done ? page - at % page : length - done;
	struct size_text s1, s2;
	struct map_finding found;
	struct err_text et;
	char words[256];

	switch (err) {
	case ETIMEDOUT:
		return reason_set(why, err, "the time was over when %s of %s were prefetched",
				  size_words(done, &s1), size_words(length, &s2));
	case EOPNOTSUPP:
		return reason_set(why, err,
				  "%s, or its provider in this libibverbs, has no prefetch "
				  "(ibv_advise_mr): the first transfers fault instead",
				  device);
	case EFAULT:
		maps_check(at, n, job->write, &found);
		if (found.kind == MAP_FINE || found.kind == MAP_UNREADABLE)
			return reason_set(why, err,
					  "%s cannot have the page at %#" PRIx64
					  ", after %s: it is mapped, but cannot be made present",
					  device, at, size_words(done, &s1));
		maps_words(&found, words, sizeof(words));
		return reason_set(why, err, "%s cannot have the page at %#" PRIx64 ", after %s: %s",
				  device, at, size_words(done, &s1), words);
	default:
		return reason_set(why, err, "%s refused to prefetch at %#" PRIx64 ", after %s: %s",
				  device, at, size_words(done, &s1), err_words(err, &et));
	}
}

static int check_args(const struct odp_mr *mr, uint64_t addr, size_t length, unsigned int flags,
		      struct odp_reason *why)
{
	struct size_text size;

	if (!mr)
		return reason_set(why, EINVAL, "there is no MR");
	if (flags &
	    ~(unsigned int)(ODP_PREFETCH_WRITE | ODP_PREFETCH_ASYNC | ODP_PREFETCH_NO_FAULT))
		return reason_set(why, EINVAL, "there are no prefetch flags %#x", flags);
	if ((flags & ODP_PREFETCH_WRITE) && (flags & ODP_PREFETCH_NO_FAULT))
		return reason_set(why, EINVAL,
				  "a prefetch without faults cannot make pages writable");
	if (addr - mr->addr > mr->length || length > mr->length - (addr - mr->addr) ||
	    length > UINT64_MAX - addr)
		return reason_set(why, EINVAL, "%s at %#" PRIx64 " are not all in the MR",
				  size_words(length, &size), addr);
	if ((flags & ODP_PREFETCH_WRITE) && !(mr->access & IBV_ACCESS_LOCAL_WRITE))
		return reason_set(why, EPERM,
				  "the MR was registered without IBV_ACCESS_LOCAL_WRITE");
	return 0;
}

ODP_PUBLIC int odp_prefetch(struct odp_mr *mr, void *addr, size_t length, unsigned int flags,
			    int timeout_ms, size_t *done, struct odp_reason *why)
{
	struct job job = { .mr = mr, .piece = PIECE_MIN, .deadline = INT64_MAX };
	uint64_t n = 0;
	int ret;

	reason_clear(why);
	if (done)
		*done = 0;
	ret = check_args(mr, (uintptr_t)addr, length, flags, why);
	if (ret)
		return ret;
	if (!mr->on_demand) {
		if (done)
			*done = length;
		reason_set(why, 0, "the MR is pinned: it is in memory already");
		return 0;
	}
	job.write = flags & ODP_PREFETCH_WRITE;
	job.advice = job.write			      ? IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE :
		     (flags & ODP_PREFETCH_NO_FAULT) ? IBV_ADVISE_MR_ADVICE_PREFETCH_NO_FAULT :
						       IBV_ADVISE_MR_ADVICE_PREFETCH;
	job.flags = flags & ODP_PREFETCH_ASYNC ? 0 : IBV_ADVISE_MR_FLAG_FLUSH;
	if (timeout_ms >= 0)
		job.deadline = now_ns() + (int64_t)timeout_ms * 1000000;
	ret = run(&job, (uintptr_t)addr, length, &n);
	if (done)
		*done = (size_t)n;
	pthread_mutex_lock(&mr->domain->lock);
	mr->domain->usage.bytes_prefetched += n;
	pthread_mutex_unlock(&mr->domain->lock);
	return ret ? say_why(&job, (uintptr_t)addr, length, n, ret, why) : 0;
}
