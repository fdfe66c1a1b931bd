/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libodp: on-demand paging for applications, on any verbs device.
 *
 * The library decides nothing behind the caller's back: each object, or the struct odp_reason that
 * the caller gave, says what the library did and why. The library installs no malloc hooks and no
 * exit handlers, starts no threads and handles no signals.
 *
 * Any thread may make any call at any time, unless the call's comment says otherwise. The caller
 * must follow two rules: do not use an object while another thread gives it back, or after that;
 * and do not unmap a range while a call about it is running.
 *
 * Calls that return int return 0 or a negative errno. Calls that return a pointer return NULL on
 * failure and set errno. On failure, both fill the caller's struct odp_reason, if it is not NULL.
 * Lengths are in bytes, times in milliseconds, ranges are half open: [addr, addr + length). Zero a
 * struct before you fill it in: zero is always the default, and reserved fields must be zero.
 */
#ifndef ODP_ODP_H
#define ODP_ODP_H

#include <infiniband/verbs.h>
#include <odp/version.h> /* ODP_VERSION_MAJOR, ODP_VERSION_MINOR */
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the library that is running: major << 16 | minor. The macros are the header's. */
uint32_t odp_version(void);

/* ---- reasons ---- */

/*
 * Why a call failed, in words that can be shown to a user: one line, without a newline. The caller
 * owns the struct, so threads do not overwrite each other's reasons. All calls accept NULL if the
 * reason is not wanted.
 */
struct odp_reason {
	int error; /* a positive errno; 0: nothing is wrong */
	char text[508];
};

/* ---- capabilities ---- */

/*
 * What a device can do with on-demand memory. The bits of operations are IBV_ODP_SUPPORT_SEND,
 * _RECV, _WRITE, _READ, _ATOMIC, ...
 */
struct odp_caps {
	char device[64];
	uint32_t on_demand; /* 1: IBV_ACCESS_ON_DEMAND works at all */
	uint32_t implicit;  /* 1: one MR can cover the whole address space */
	uint32_t rc_ops, uc_ops, ud_ops, xrc_ops;
	uint64_t max_mr_size;
	uint64_t reserved[8];
};

/*
 * Ask the device for its capabilities. This succeeds on devices without on-demand paging, too: then
 * caps->on_demand is 0. Errors: -EINVAL (NULL), and those of ibv_query_device_ex().
 */
int odp_query(struct ibv_context *context, struct odp_caps *caps, struct odp_reason *why);

/*
 * Can on-demand memory be used for all of these operations on QPs of this type? @ops are
 * IBV_ODP_SUPPORT_* bits; 0: does the device have on-demand paging at all? Returns 0, or
 * -EOPNOTSUPP with the reason. IBV_QPT_XRC_SEND and IBV_QPT_XRC_RECV both mean XRC.
 */
int odp_can(const struct odp_caps *caps, enum ibv_qp_type qp_type, uint32_t ops,
	    struct odp_reason *why);

/* ---- domains ---- */

/* What the library knows about one protection domain: its MRs, and its shared implicit ones. */
struct odp_domain;

/*
 * Get the domain of a PD. Opening the same PD again, from any thread or library of the process,
 * returns the same domain with one more reference. The PD stays the caller's and must outlive the
 * domain. Errors: EINVAL, ENOMEM, and those of odp_query().
 */
struct odp_domain *odp_domain_open(struct ibv_pd *pd, struct odp_reason *why);

/*
 * Give one reference back. The last one frees the domain. All its MRs must be deregistered by then:
 * otherwise this returns -EBUSY, and the domain stays as it is. Call this before ibv_dealloc_pd().
 */
int odp_domain_close(struct odp_domain *domain);

/* ---- registration ---- */

/*
 * How to register memory. odp_mr_info() tells whether a fallback was taken, and odp_mr_reason()
 * why.
 */
enum odp_policy {
	/*
	 * Small memory (pin_max) within the memlock limit is pinned, all other memory is on demand.
	 * If that is not possible, the other way is taken.
	 */
	ODP_AUTO,
	ODP_PREFER,    /* on demand; pinned when that is not possible */
	ODP_REQUIRE,   /* on demand, or fail */
	ODP_PIN_FIRST, /* pinned; on demand when that is not possible */
	ODP_NEVER,     /* pinned, or fail */
};

#define ODP_AUTO_PIN_MAX ((size_t)256 << 10)

struct odp_mr;

enum odp_reg_flags {
	/* The MR starts at iova instead of addr. Both must have the same offset in a page. */
	ODP_REG_IOVA = 1 << 0,
};

struct odp_reg_attr {
	void *addr;
	size_t length;
	unsigned int access; /* IBV_ACCESS_*, without ON_DEMAND: the policy decides about that */
	enum odp_policy policy;
	uint32_t flags; /* ODP_REG_* */
	/*
	 * What the memory is for. It is registered on demand only if the device can do all of these
	 * operations on QPs of this type. ops 0: not known, so this is not checked.
	 */
	enum ibv_qp_type qp_type;
	uint32_t ops; /* IBV_ODP_SUPPORT_* */
	uint64_t iova;
	size_t pin_max; /* ODP_AUTO: pin up to this many bytes; 0: ODP_AUTO_PIN_MAX */
	uint64_t reserved[8];
};

/*
 * Register [addr, addr + length). The memory stays the caller's. On-demand memory need not be
 * mapped yet.
 *
 * Errors: EINVAL (arguments) and EFAULT (memory to pin is not mapped, or not writable). These two
 * never lead to a fallback: on demand, EFAULT would only come later. EOPNOTSUPP. ENOMEM, for
 * example if the memlock limit is too low; then the reason has the figures. And any other error of
 * ibv_reg_mr(). If both ways failed, errno is that of the second, and the reason has both.
 */
struct odp_mr *odp_reg(struct odp_domain *domain, void *addr, size_t length, unsigned int access,
		       enum odp_policy policy, struct odp_reason *why);
struct odp_mr *odp_reg_attr(struct odp_domain *domain, const struct odp_reg_attr *attr,
			    struct odp_reason *why);

/*
 * Get the MR that covers the whole address space with this access. There is one for each domain and
 * access; all callers share it, and each gives its reference back with odp_dereg(). Its keys are
 * valid for every address, now and later: give its rkey only to peers that may see (or write) all
 * memory of this process. Errors: EOPNOTSUPP, EINVAL, ENOMEM, and those of ibv_reg_mr().
 */
struct odp_mr *odp_implicit(struct odp_domain *domain, unsigned int access, struct odp_reason *why);

/*
 * Give a reference back. An MR of odp_reg() is deregistered at once, an implicit MR with its last
 * reference. On failure (-EBUSY: memory windows are bound to it) the MR stays as it is. NULL is
 * allowed.
 */
int odp_dereg(struct odp_mr *mr);

/* ---- what was registered ---- */

struct odp_mr_info {
	void *addr;    /* NULL for an implicit MR */
	size_t length; /* SIZE_MAX for an implicit MR */
	uint64_t iova;
	uint32_t lkey, rkey;
	unsigned int access; /* as registered; includes ON_DEMAND if it is on demand */
	enum odp_policy policy;
	uint32_t on_demand; /* 1: not pinned */
	uint32_t implicit;
	uint32_t fallback;  /* 1: not the way that the policy prefers; see odp_mr_reason() */
	uint32_t references;
	uint64_t reserved[8];
};

/* Returns 0, or -EINVAL (NULL). */
int odp_mr_info(const struct odp_mr *mr, struct odp_mr_info *info);

/* Why the MR is on demand or pinned: one line, never NULL or empty. Valid as long as the MR. */
const char *odp_mr_reason(const struct odp_mr *mr);

/* For work requests. The ibv_mr belongs to the library: never deregister or reregister it. */
struct ibv_mr *odp_mr_verbs(const struct odp_mr *mr);
uint32_t odp_lkey(const struct odp_mr *mr);
uint32_t odp_rkey(const struct odp_mr *mr);

/*
 * The name of a policy: "auto", "prefer", "require", "pin-first", "never"; NULL for any other
 * value. odp_policy_parse() is the reverse: it returns 0, or -EINVAL if there is no such name.
 */
const char *odp_policy_name(enum odp_policy policy);
int odp_policy_parse(const char *name, enum odp_policy *policy);

/* ---- prefetch and evict ---- */

enum odp_prefetch_flags {
	ODP_PREFETCH_WRITE = 1 << 0,    /* for transfers that write into the memory */
	ODP_PREFETCH_ASYNC = 1 << 1,    /* only start it; later failures are not reported */
	ODP_PREFETCH_NO_FAULT = 1 << 2, /* only tell the device about pages that are in memory */
};

/*
 * Bring [addr, addr + length) into memory and into the device's tables, so that transfers do not
 * fault. Any length is allowed; the work is done in pieces.
 *
 * timeout_ms: stop after that time (CLOCK_MONOTONIC); negative: never. The time is checked between
 * pieces. They start at 1 MiB and grow or shrink with the time that is left. If the pages of a
 * piece have to be read from a disk, the call waits for them. *done (may be NULL) becomes the
 * number of bytes from addr on that are prefetched; if a page cannot be had, it is exact to this
 * page.
 *
 * Pinned memory needs no prefetch: the call returns 0 at once. Errors: -ETIMEDOUT, -EFAULT (a page
 * cannot be had: the reason says which and why), -EINVAL (outside of the MR, flags), -EPERM (WRITE
 * without IBV_ACCESS_LOCAL_WRITE), -EOPNOTSUPP (the device, or its provider, has no
 * ibv_advise_mr()).
 */
int odp_prefetch(struct odp_mr *mr, void *addr, size_t length, unsigned int flags, int timeout_ms,
		 size_t *done, struct odp_reason *why);

enum odp_evict_how {
	ODP_EVICT_PAGEOUT, /* write to swap or to its file, now: MADV_PAGEOUT. The contents stay. */
	/* Let the kernel take it first when memory becomes scarce: MADV_COLD. The contents stay. */
	ODP_EVICT_COLD,
	/*
	 * Free it: MADV_DONTNEED. The contents of private memory are LOST: the next access reads
	 * zeroes, or the file.
	 */
	ODP_EVICT_DISCARD,
};

/*
 * Make room in memory. Transfers to the range may go on: they fault it in again. PAGEOUT and COLD
 * work on all pages that the range touches, DISCARD only on those that lie completely in it.
 *
 * *gone (may be NULL) becomes how many bytes of these pages are not in memory afterwards. Without
 * swap, anonymous pages stay: the call still returns 0, and why->text says so (why->error is 0).
 * Errors: -EBUSY (pinned by this MR, or a part of it by another MR of this process that the library
 * knows), -EINVAL (outside of the MR; memory that the kernel does not page: locked, huge, a
 * device's), -ENOMEM (not mapped).
 */
int odp_evict(struct odp_mr *mr, void *addr, size_t length, enum odp_evict_how how, size_t *gone,
	      struct odp_reason *why);

/* ---- statistics ---- */

enum odp_stat_bits {
	ODP_STAT_FAULTS = 1 << 0,
	ODP_STAT_FAULTS_HANDLED = 1 << 1,
	ODP_STAT_INVALIDATIONS = 1 << 2,
	ODP_STAT_INVALIDATIONS_HANDLED = 1 << 3,
	ODP_STAT_PREFETCH = 1 << 4,
};

/*
 * The kernel's counters, in events or pages, as the driver counts them. A counter is valid only if
 * its bit is set in have.
 */
struct odp_stats {
	uint64_t have; /* ODP_STAT_* */
	uint64_t page_faults;
	uint64_t page_faults_handled;
	uint64_t page_invalidations;
	uint64_t page_invalidations_handled;
	uint64_t page_prefetch;
	uint64_t reserved[8];
};

/*
 * The counters of one MR. If its driver has a method for this (prxe has), no privilege is needed.
 * Otherwise the library asks RDMA netlink, as "rdma statistic show mr" does. Errors: -ENODATA (the
 * driver has no counters, or the MR is pinned), -EPERM (netlink shows the keys of MRs only to
 * CAP_NET_ADMIN, and without them this MR cannot be told from others of the same length),
 * -EOPNOTSUPP (no RDMA netlink), and other errors of netlink.
 */
int odp_mr_stats(struct odp_mr *mr, struct odp_stats *stats, struct odp_reason *why);

/*
 * The counters of a whole device, summed over all its ports and users, from sysfs (hw_counters).
 * Errors: -ENODATA (the device has none of these counters), and those of access(2).
 */
int odp_device_stats(struct ibv_context *context, struct odp_stats *stats,
		     struct odp_reason *why);

/* What the library itself did in a domain. */
struct odp_usage {
	uint64_t mrs_on_demand, mrs_pinned;     /* that exist now */
	uint64_t bytes_on_demand, bytes_pinned; /* their bytes; an implicit MR counts 0 */
	uint64_t registered;                    /* all MRs since the domain was opened */
	uint64_t fallbacks;                     /* those not registered as the policy prefers */
	uint64_t refused;                       /* registrations that failed */
	uint64_t bytes_prefetched, bytes_evicted;
	uint64_t reserved[8];
};
/* Returns 0, or -EINVAL (NULL). */
int odp_domain_usage(struct odp_domain *domain, struct odp_usage *usage);

/* ---- explanations ---- */

enum odp_cause {
	ODP_CAUSE_NONE,		/* keys, bounds, access and memory are in order now */
	ODP_CAUSE_KEY_UNKNOWN,	/* no MR of this process that the library knows has this key */
	ODP_CAUSE_KEY_KIND,	/* an lkey where an rkey belongs, or the reverse */
	ODP_CAUSE_DEREGISTERED, /* the MR with this key was deregistered */
	ODP_CAUSE_OTHER_PD,	/* the MR belongs to another protection domain */
	ODP_CAUSE_BOUNDS,	/* not all of the range is in the MR */
	ODP_CAUSE_ACCESS,	/* the MR was not registered for this access */
	ODP_CAUSE_FORKED,	/* the MR belongs to the process from which this one was forked */
	ODP_CAUSE_UNMAPPED,	/* nothing is mapped at a page of the range */
	ODP_CAUSE_NO_READ,	/* mapped, but not readable */
	ODP_CAUSE_READ_ONLY,	/* mapped, but not writable */
	ODP_CAUSE_BEYOND_FILE,	/* mapped, but the file ends before that page */
	ODP_CAUSE_NO_MEMORY,	/* device or secret memory, which cannot be paged on demand */
	ODP_CAUSE_ALIGNMENT,	/* an atomic operation on an address that is not a multiple of 8 */
	ODP_CAUSE_LENGTH,	/* more data than the buffer has room for */
	ODP_CAUSE_REMOTE,	/* at the target: only it can tell more (odp_check() there) */
	ODP_CAUSE_PEER,		/* the peer does not answer, or has no receive request */
	ODP_CAUSE_FLUSHED,	/* not the first failure: look at the one before it */
	ODP_CAUSE_OTHER,	/* nothing that can be told from memory */
};

struct odp_explanation {
	enum odp_cause cause;
	int remote;	/* 1: about the target's memory, 0: about this side's */
	int sge;	/* which SGE; -1: not about one */
	uint32_t key;	/* the key in question, or 0 */
	uint64_t addr;	/* the first wrong address, as in the work request (from iova on), or 0 */
	uint64_t reserved[4];
	char text[1024]; /* all of it in words, one line */
};

/*
 * Would an access with this key work now? need is IBV_ACCESS_REMOTE_READ, _REMOTE_WRITE or
 * _REMOTE_ATOMIC (then key is an rkey), or IBV_ACCESS_LOCAL_WRITE, or 0 for a local read (then key
 * is an lkey). The check faults nothing in. A target can call this, too, for a request that failed
 * at its peer. The answer is out->cause. Returns 0, or -EINVAL.
 */
int odp_check(struct odp_domain *domain, uint32_t key, uint64_t addr, uint64_t length,
	      unsigned int need, struct odp_explanation *out);

enum odp_explain_flags {
	/* The target of the request is in this process: check its memory here. */
	ODP_EXPLAIN_SAME_PROCESS = 1 << 0,
};

/*
 * Why did a work request fail? wc is its completion (status, vendor_err). wr is the request as it
 * was posted, with its SGE list; wr->next is not followed. wr may be NULL: then the answer is only
 * what the status says.
 *
 * Memory is checked as it is now. If it was wrong only when the request failed, out->cause is
 * ODP_CAUSE_NONE, and the text says so. Returns 0, or -EINVAL.
 */
int odp_explain_send(struct odp_domain *domain, const struct ibv_wc *wc,
		     const struct ibv_send_wr *wr, unsigned int flags, struct odp_explanation *out);
int odp_explain_recv(struct odp_domain *domain, const struct ibv_wc *wc,
		     const struct ibv_recv_wr *wr, struct odp_explanation *out);

/* The name of a cause: "bounds", "read-only", ...; NULL for any other value. */
const char *odp_cause_name(enum odp_cause cause);

#ifdef __cplusplus
}
#endif

#endif
