/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libodp: on-demand paging for applications, on any verbs device.
 *
 * The library decides nothing behind the caller's back: what it did, and why, is in the object, or
 * in the struct odp_reason that the caller gave. It installs no malloc hooks and no exit handlers,
 * starts no threads and handles no signals.
 *
 * Any thread may make any call at any time, unless the call's comment says otherwise. Two rules
 * remain for the caller: do not use an object while or after it is given back, and do not unmap a
 * range while the library is asked about it.
 *
 * Calls that return int return 0 or a negative errno. Calls that return a pointer return NULL and
 * set errno. On failure, both fill the caller's struct odp_reason, if there is one. Lengths are in
 * bytes, times in milliseconds, ranges are half open: [addr, addr + length). A struct that the
 * caller fills in must be zeroed first: zero is always the default, and reserved fields must be
 * zero.
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
 * Why a call failed, in words that can be shown to a user: one line, without a line end. It belongs
 * to the caller, so threads do not overwrite each other's. All calls take NULL for "not wanted".
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
 * Ask the device. Succeeds on devices without on-demand paging as well: then caps->on_demand is 0.
 * Errors: -EINVAL (NULL), and those of ibv_query_device_ex().
 */
int odp_query(struct ibv_context *context, struct odp_caps *caps, struct odp_reason *why);

/*
 * May on-demand memory take part in all of these operations (IBV_ODP_SUPPORT_* bits; 0: in any at
 * all) on QPs of this type? 0, or -EOPNOTSUPP with the reason. IBV_QPT_XRC_SEND and _RECV are both
 * XRC.
 */
int odp_can(const struct odp_caps *caps, enum ibv_qp_type qp_type, uint32_t ops,
	    struct odp_reason *why);

/* ---- domains ---- */

/* What the library knows about one protection domain: its MRs, and its shared implicit ones. */
struct odp_domain;

/*
 * The domain of a PD. Opening the same PD again, from any thread or library of the process, gives
 * the same domain with one more reference. The PD stays the caller's and must outlive the domain.
 * Errors: EINVAL, ENOMEM, and those of odp_query().
 */
struct odp_domain *odp_domain_open(struct ibv_pd *pd, struct odp_reason *why);

/*
 * Give one reference back. The last one frees the domain. Its MRs must be gone by then: if not,
 * this returns -EBUSY, and the domain stays as it is. Call this before ibv_dealloc_pd().
 */
int odp_domain_close(struct odp_domain *domain);

/* ---- registration ---- */

/*
 * How to register memory. Whether a fallback was taken, and why, is in odp_mr_info() and
 * odp_mr_reason().
 */
enum odp_policy {
	/*
	 * Pinned if the memory is small (pin_max) and within the memlock limit, otherwise on
	 * demand. If that is not possible, the other way.
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
	/* The MR begins at iova instead of at its address. Both have the same offset in a page. */
	ODP_REG_IOVA = 1 << 0,
};

struct odp_reg_attr {
	void *addr;
	size_t length;
	unsigned int access; /* IBV_ACCESS_*, without ON_DEMAND: the policy decides about that */
	enum odp_policy policy;
	uint32_t flags; /* ODP_REG_* */
	/*
	 * What the memory is for. It can be on demand only if the device can do all of these
	 * operations on such QPs. ops 0: not known, so not checked.
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
 * Errors: EINVAL (arguments) and EFAULT (memory to pin that is not mapped, or not writable): both
 * never lead to a fallback, because on demand, EFAULT would only come later. EOPNOTSUPP. ENOMEM,
 * among others for the memlock limit, with its figures in the reason. And any other error of
 * ibv_reg_mr(). If both ways failed, errno is that of the second, and the text has both.
 */
struct odp_mr *odp_reg(struct odp_domain *domain, void *addr, size_t length, unsigned int access,
		       enum odp_policy policy, struct odp_reason *why);
struct odp_mr *odp_reg_attr(struct odp_domain *domain, const struct odp_reg_attr *attr,
			    struct odp_reason *why);

/*
 * The MR that covers the whole address space with this access. There is one for each domain and
 * access; all who ask share it, and each has a reference to give back with odp_dereg(). Its keys
 * are good for every address, now and later: give its rkey only to peers that may see (or write)
 * all memory of this process.
 * Errors: EOPNOTSUPP, EINVAL, ENOMEM, and those of ibv_reg_mr().
 */
struct odp_mr *odp_implicit(struct odp_domain *domain, unsigned int access, struct odp_reason *why);

/*
 * Give a reference back. An MR of odp_reg() is deregistered; an implicit one, when it was the last
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
	unsigned int access; /* as registered: with ON_DEMAND, if it is */
	enum odp_policy policy;
	uint32_t on_demand; /* 1: not pinned */
	uint32_t implicit;
	uint32_t fallback;  /* 1: not what the policy wanted first; odp_mr_reason() has why */
	uint32_t references;
	uint64_t reserved[8];
};

int odp_mr_info(const struct odp_mr *mr, struct odp_mr_info *info);

/* Why the MR is on demand or pinned: one line, never NULL or empty, valid as long as the MR. */
const char *odp_mr_reason(const struct odp_mr *mr);

/* For work requests. The ibv_mr stays the library's: never deregister or reregister it. */
struct ibv_mr *odp_mr_verbs(const struct odp_mr *mr);
uint32_t odp_lkey(const struct odp_mr *mr);
uint32_t odp_rkey(const struct odp_mr *mr);

/*
 * "auto", "prefer", "require", "pin-first", "never"; NULL for any other value. And back: 0 or
 * -EINVAL.
 */
const char *odp_policy_name(enum odp_policy policy);
int odp_policy_parse(const char *name, enum odp_policy *policy);

/* ---- prefetch and evict ---- */

enum odp_prefetch_flags {
	ODP_PREFETCH_WRITE = 1 << 0,    /* for transfers that write into the memory */
	ODP_PREFETCH_ASYNC = 1 << 1,    /* only start it: what fails later is not reported */
	ODP_PREFETCH_NO_FAULT = 1 << 2, /* only tell the device about pages that are in memory */
};

/*
 * Bring [addr, addr + length) into memory and into the device's tables, so that transfers do not
 * fault. The length may be any; the work is done in pieces.
 *
 * timeout_ms: stop after that long (CLOCK_MONOTONIC); negative: never. The time is checked between
 * pieces, which are of 1 MiB at first, and then as large as the time that is left allows. A piece
 * whose pages wait for a disk is waited for. *done (may be NULL) is how many bytes from addr on are
 * prefetched; if a page cannot be had, it is exact to this page.
 *
 * Pinned memory needs no prefetch: 0 at once.
 * Errors: -ETIMEDOUT, -EFAULT (a page cannot be had: the reason says which and why), -EINVAL
 * (outside of the MR, flags), -EPERM (WRITE without IBV_ACCESS_LOCAL_WRITE), -EOPNOTSUPP (the
 * device, or its provider, has no ibv_advise_mr()).
 */
int odp_prefetch(struct odp_mr *mr, void *addr, size_t length, unsigned int flags, int timeout_ms,
		 size_t *done, struct odp_reason *why);

enum odp_evict_how {
	ODP_EVICT_PAGEOUT, /* write to swap or to its file, now: MADV_PAGEOUT. The contents stay. */
	/* The first to go when memory becomes scarce: MADV_COLD. The contents stay. */
	ODP_EVICT_COLD,
	/*
	 * Free it: MADV_DONTNEED. The contents of private memory are LOST: the next access reads
	 * zeroes, or its file.
	 */
	ODP_EVICT_DISCARD,
};

/*
 * Make room. Transfers to the range may go on: they fault it in again. PAGEOUT and COLD work on all
 * pages that the range touches, DISCARD only on those that are wholly in it.
 *
 * *gone (may be NULL) is how many bytes of these pages are not in memory afterwards. Without swap,
 * anonymous pages stay: the call returns 0 all the same, and why->text says so (why->error is 0).
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
 * The kernel's counters, in events or pages, as the driver counts them. Those with their bit in
 * have are valid.
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
 * The counters of one MR. If its driver has a method for it (prxe has), this takes no privilege.
 * Otherwise RDMA netlink is asked, as by "rdma statistic show mr".
 * Errors: -ENODATA (the driver has no counters; the MR is pinned), -EPERM (netlink shows the keys
 * of MRs only to CAP_NET_ADMIN, and without them this MR cannot be told from others of the same
 * length), -EOPNOTSUPP (no RDMA netlink), and other errors of netlink.
 */
int odp_mr_stats(struct odp_mr *mr, struct odp_stats *stats, struct odp_reason *why);

/*
 * The counters of a whole device, of all its ports and users, from sysfs (hw_counters).
 * Errors: -ENODATA (the device has none of these), and those of open(2).
 */
int odp_device_stats(struct ibv_context *context, struct odp_stats *stats,
		     struct odp_reason *why);

/* What the library itself did in a domain. */
struct odp_usage {
	uint64_t mrs_on_demand, mrs_pinned;     /* that exist now */
	uint64_t bytes_on_demand, bytes_pinned; /* of those; implicit MRs count 0 bytes */
	uint64_t registered;                    /* since it was opened */
	uint64_t fallbacks;                     /* of those: not what the policy wanted first */
	uint64_t refused;                       /* registrations that failed */
	uint64_t bytes_prefetched, bytes_evicted;
	uint64_t reserved[8];
};
int odp_domain_usage(struct odp_domain *domain, struct odp_usage *usage);

/* ---- explanations ---- */

enum odp_cause {
	ODP_CAUSE_NONE,		/* keys, bounds, access and memory are in order (now) */
	ODP_CAUSE_KEY_UNKNOWN,	/* no MR of this process that the library knows has this key */
	ODP_CAUSE_KEY_KIND,	/* an lkey where an rkey belongs, or the reverse */
	ODP_CAUSE_DEREGISTERED, /* the MR with this key was deregistered */
	ODP_CAUSE_OTHER_PD,	/* the MR belongs to another protection domain */
	ODP_CAUSE_BOUNDS,	/* not all of the range is in the MR */
	ODP_CAUSE_ACCESS,	/* the MR was not registered for this */
	ODP_CAUSE_FORKED,	/* the MR is that of the process this one was forked from */
	ODP_CAUSE_UNMAPPED,	/* nothing is mapped at a page of the range */
	ODP_CAUSE_NO_READ,	/* mapped, but not readable */
	ODP_CAUSE_READ_ONLY,	/* mapped, but not writable */
	ODP_CAUSE_BEYOND_FILE,	/* mapped, but the file ends before that page */
	ODP_CAUSE_NO_MEMORY,	/* device or secret memory, which cannot be paged on demand */
	ODP_CAUSE_ALIGNMENT,	/* an atomic operation on an address that is not a multiple of 8 */
	ODP_CAUSE_LENGTH,	/* more data than the buffer has room for */
	ODP_CAUSE_REMOTE,	/* at the target: only it can tell more (odp_check() there) */
	ODP_CAUSE_PEER,		/* the peer does not answer, or has no receive request */
	ODP_CAUSE_FLUSHED,	/* not the first to fail: look at the one that did */
	ODP_CAUSE_OTHER,	/* nothing that the library can tell from memory */
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
 * _REMOTE_ATOMIC (then key is an rkey), or IBV_ACCESS_LOCAL_WRITE, or 0 to read locally (then key
 * is an lkey). Nothing is faulted in for the answer. A target can call this, too, for a request
 * that failed at its peer. The answer is out->cause. Returns 0, or -EINVAL.
 */
int odp_check(struct odp_domain *domain, uint32_t key, uint64_t addr, uint64_t length,
	      unsigned int need, struct odp_explanation *out);

enum odp_explain_flags {
	/* The target of the request is this process: look its memory up here. */
	ODP_EXPLAIN_SAME_PROCESS = 1 << 0,
};

/*
 * Why did a work request fail? wc is its completion (status, vendor_err). wr is the request as it
 * was posted, with its SGE list; what wr->next points to is not looked at. wr may be NULL: then the
 * answer is only what the status says.
 *
 * Memory is looked at as it is now. If it was wrong only then, out->cause is ODP_CAUSE_NONE, and
 * the text says so. Returns 0, or -EINVAL.
 */
int odp_explain_send(struct odp_domain *domain, const struct ibv_wc *wc,
		     const struct ibv_send_wr *wr, unsigned int flags, struct odp_explanation *out);
int odp_explain_recv(struct odp_domain *domain, const struct ibv_wc *wc,
		     const struct ibv_recv_wr *wr, struct odp_explanation *out);

/* "bounds", "read-only", ...; NULL for no such value. */
const char *odp_cause_name(enum odp_cause cause);

#ifdef __cplusplus
}
#endif

#endif
