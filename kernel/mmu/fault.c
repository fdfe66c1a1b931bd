// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Faulting once: bringing pages into an address space, and publishing their translations in its
 * mirror.
 *
 * One round: take mmap_lock, begin a walk of the leaf, check the VMAs, take a snapshot of the page
 * tables. If a page is missing, fault it in and start again; else publish the snapshot under the
 * leaf's lock, unless an invalidation of these pages came between. If an invalidation of them is in
 * flight, wait for its end before the next round. No lock of ours is held while the MM works.
 *
 * Uses leaf.c to pin, walk and publish, and inflight.c to wait. Called by posters, by prefetch.c,
 * and by the threads of pool.c.
 */
#include <linux/hmm.h>
#include <linux/hugetlb_inline.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include "base/prxe.h"
#include "base/trace.h"
#include "mmu/fault.h"
#include "mmu/leaf.h"

/*
 * How many rounds are made for a leaf before -EBUSY: a round ends with a snapshot, or because an
 * invalidation is in flight. After WIDE_ROUNDS, only the page that is needed now is looked at.
 */
#define MAX_ROUNDS	32
#define WIDE_ROUNDS	4

/* Snapshots up to this many pages are kept on the stack. */
#define FEW_PAGES	16

/*
 * No driver's device-private pages have this owner, so hmm_range_fault() reports none of them as
 * usable.
 */
static char no_owner;

/*
 * How a leaf's tables are allocated, charged to the owner. With FAULT_NOWAIT an allocation fails
 * instead of waiting.
 */
static gfp_t gfp_of(unsigned int flags)
{
	if (flags & FAULT_NOWAIT)
		return GFP_NOWAIT | __GFP_ACCOUNT | __GFP_NOWARN;
	return GFP_KERNEL_ACCOUNT;
}

/* ---- one leaf ---- */

struct walk {
	struct prxe_mirror *mirror;
	struct prxe_leaf *leaf;
	unsigned long start, end;	/* inside the leaf, page aligned */
	unsigned int flags;
	unsigned long *pfns;
	bool locked;			/* mmap_lock is held, for reading */
	bool looked;			/* a page was faulted in; the tables are looked at again */
	bool tried;			/* each missing page was faulted once */
};

/*
 * Files that users may create or open are usable: those of tmpfs (memfd, SysV and other shared
 * memory are on kernel mounts of it), of hugetlbfs, and of file systems that can be mounted. Files
 * of the kernel's own pseudo file systems are not: their pages need not be in the kernel's mapping
 * (memfd_secret, guest_memfd), or belong to the kernel (the rings of AIO and io_uring, dma-bufs).
 */
static bool file_may_be_used(const struct file *file)
{
	const struct super_block *sb = file_inode(file)->i_sb;

	return sb->s_magic == TMPFS_MAGIC || sb->s_magic == HUGETLBFS_MAGIC ||
	       !(sb->s_flags & SB_NOUSER);
}

/* May transfers read or, with @write, write memory of this VMA? 0 or -EFAULT. */
static int vma_check(const struct vm_area_struct *vma, bool write)
{
	if (vma->vm_flags & (VM_IO | VM_PFNMAP))
		return -EFAULT;
	if (!(vma->vm_flags & VM_READ) || (write && !(vma->vm_flags & VM_WRITE)))
		return -EFAULT;
	/* As in GUP: only the CPU writes to a shadow stack, when it executes a call. */
	if (write && (vma->vm_flags & VM_SHADOW_STACK))
		return -EFAULT;
	if (vma->vm_file && !file_may_be_used(vma->vm_file))
		return -EFAULT;
	return 0;
}

/*
 * Cut the walk in front of the first VMA that may not be used. -EFAULT: the first page may not be
 * used or, with FAULT_STRICT, any page; -EAGAIN: looking would have to wait.
 */
static int walk_vmas(struct walk *w)
{
	struct mm_struct *mm = w->mirror->mm;
	unsigned long addr = w->start;

	mmap_assert_locked(mm);
	while (addr < w->end) {
		struct vm_area_struct *vma = vma_lookup(mm, addr);

		if (!vma || vma_check(vma, w->flags & FAULT_WRITE))
			break;
		/* hmm_range_fault() on hugetlbfs memory may wait for whoever clears a huge page. */
		if ((w->flags & FAULT_NOWAIT) && is_vm_hugetlb_page(vma))
			return -EAGAIN;
		addr = min(vma->vm_end, w->end);
	}
	if (addr == w->end)
		return 0;
	if (addr == w->start || (w->flags & FAULT_STRICT))
		return -EFAULT;
	w->end = addr;
	return 0;
}

static bool usable(unsigned long pfn, bool write)
{
	return (pfn & HMM_PFN_VALID) && !(pfn & HMM_PFN_ERROR) && (!write || (pfn & HMM_PFN_WRITE));
}

/*
 * May a poster (FAULT_NOWAIT) fault this memory itself? RETRY_NOWAIT keeps the MM from waiting for
 * userfaultfd, swap and page locks, but only in anonymous memory. A file system may read, or wait
 * until it is thawed; shared memory waits for its swap, whatever the flags say; hugetlbfs takes a
 * mutex.
 */
static bool poster_may_fault(struct vm_area_struct *vma)
{
	return vma_is_anonymous(vma);
}

/*
 * Would the MM have to read this page of a file? Then no fault without waiting is tried: if the
 * file gets no readahead, the MM reads the page at once, in spite of RETRY_NOWAIT, with mmap_lock
 * held.
 */
static bool must_read(struct vm_area_struct *vma, unsigned long addr)
{
	const struct inode *inode;
	void *entry;

	if (!vma->vm_file || is_vm_hugetlb_page(vma))
		return false;
	inode = file_inode(vma->vm_file);
	/*
	 * Only a look: the answer may change at once. A value entry stands for a page that is not
	 * in memory; pages of tmpfs that have no entry are only zeroed, not read.
	 */
	entry = xa_load(&vma->vm_file->f_mapping->i_pages, linear_page_index(vma, addr));
	if (!entry)
		return inode->i_sb->s_magic != TMPFS_MAGIC;
	return xa_is_value(entry);
}

/*
 * Fault one page. mmap_lock is held; without @nowait, it may be dropped (then w->locked is false).
 * @again: this is not the first try. 0: look at the page tables again; -EAGAIN: it would have to
 * wait, or was interrupted; else a final error.
 */
static int fault_page(struct walk *w, unsigned long addr, bool nowait, bool again)
{
	unsigned int flags = FAULT_FLAG_REMOTE | FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_KILLABLE;
	struct vm_area_struct *vma = vma_lookup(w->mirror->mm, addr);
	vm_fault_t ret;

	if (!vma)
		return -EFAULT;
	if (vma_check(vma, w->flags & FAULT_WRITE))
		return -EFAULT;
	if ((w->flags & FAULT_NOWAIT) && !poster_may_fault(vma))
		return -EAGAIN;
	if (nowait && (must_read(vma, addr) || prxe_swapin_waits(w->mirror->mm, addr)))
		return -EAGAIN;
	if (w->flags & FAULT_WRITE)
		flags |= FAULT_FLAG_WRITE;
	if (nowait)
		flags |= FAULT_FLAG_RETRY_NOWAIT;
	else if (again)
		flags |= FAULT_FLAG_TRIED;

	ret = handle_mm_fault(vma, addr, flags, NULL);
	if (ret & VM_FAULT_COMPLETED) {
		w->locked = false;
		return 0;
	}
	if (ret & VM_FAULT_ERROR)
		return vm_fault_to_errno(ret, FOLL_HWPOISON);
	if (ret & VM_FAULT_RETRY) {
		w->locked = nowait;	/* RETRY_NOWAIT keeps the lock */
		return -EAGAIN;
	}
	return 0;
}

/*
 * As fault_page(), but waits for as long as it takes, killably. If this returns 0, mmap_lock is
 * held again; else w->locked says whether it is.
 */
static int fault_page_wait(struct walk *w, unsigned long addr)
{
	int tries = 0;
	int ret;

	do {
		if (fatal_signal_pending(current))
			return -EINTR;
		ret = fault_page(w, addr, false, tries > 0);
		if (!w->locked) {
			if (mmap_read_lock_killable(w->mirror->mm))
				return -EINTR;
			w->locked = true;
		}
	} while (ret == -EAGAIN && ++tries < 16);
	/* After so many tries, let the caller look at the page tables and call this again. */
	return ret == -EAGAIN ? 0 : ret;
}

/*
 * Fault the pages that the snapshot lacks. First each page is faulted without waiting, which at
 * least starts reads from swap, in parallel. Then, if waiting is allowed, wait for the first page.
 * With FAULT_STRICT, each page is waited for in turn. 0: look again; -EAGAIN: it would have to
 * wait, and may not; other errors are final.
 */
static int walk_fault(struct walk *w)
{
	bool write = w->flags & FAULT_WRITE;
	bool strict = w->flags & FAULT_STRICT;
	bool wait = !(w->flags & (FAULT_NOWAIT | FAULT_QUICK));
	bool waits = false;
	unsigned long addr;
	int ret;

	for (addr = w->start; addr < w->end; addr += PAGE_SIZE) {
		if (usable(w->pfns[(addr - w->start) >> PAGE_SHIFT], write))
			continue;
		if (fatal_signal_pending(current))
			return -EINTR;
		if (strict && wait)
			ret = fault_page_wait(w, addr);
		else
			ret = fault_page(w, addr, true, false);
		if (ret == -EAGAIN) {
			waits |= strict || addr == w->start;
		} else if (ret) {
			if (addr == w->start || strict)
				return ret;
			w->end = addr;	/* this page is optional: stop in front of it */
			break;
		} else if (!w->looked) {
			/*
			 * Look at the page tables again now: the MM may have mapped more, by a huge
			 * page or by its own fault-around.
			 */
			w->looked = true;
			return 0;
		}
		cond_resched();
	}
	w->tried = true;
	if (!waits)
		return 0;
	return wait ? fault_page_wait(w, w->start) : -EAGAIN;
}

/*
 * Take a snapshot of the page tables, without faulting. The leaf's walk finds out whether an
 * invalidation came between: the sequence number of our interval notifier never changes, so HMM
 * itself notices nothing.
 */
static int walk_snapshot(struct walk *w)
{
	struct mmu_interval_notifier *ni = &w->mirror->ni;
	struct hmm_range range = {
		.notifier = ni,
		.notifier_seq = READ_ONCE(ni->invalidate_seq),
		.start = w->start,
		.end = w->end,
		.hmm_pfns = w->pfns,
		.dev_private_owner = &no_owner,
	};

	memset(w->pfns, 0, ((w->end - w->start) >> PAGE_SHIFT) * sizeof(*w->pfns));
	return hmm_range_fault(&range);
}

/*
 * Look up a single page of the running process with GUP, as its CPU would find it: a third of the
 * cost of a snapshot. GUP refuses the pages that need a closer look: special ones (the zero page),
 * secret ones, and those that this process may not access. The reference that it takes is dropped
 * at once; the leaf's walk keeps the translation right, as for any snapshot.
 *
 * True: w->pfns[0] is the answer; if it is empty, the page is faulted next. False: take a snapshot.
 * That is needed, too, for a large folio, of which more than a page may be published.
 */
static bool walk_own(struct walk *w)
{
	bool write = w->flags & FAULT_WRITE;
	struct page *page;
	bool large;

	if (w->end - w->start != PAGE_SIZE || current->mm != w->mirror->mm)
		return false;
	if (w->flags & FAULT_PRESENT)
		return false;
	if (get_user_pages_fast_only(w->start, 1, write ? FOLL_WRITE : 0, &page) != 1) {
		w->pfns[0] = 0;
		return !w->looked;
	}
	w->pfns[0] = page_to_pfn(page) | HMM_PFN_VALID | (write ? HMM_PFN_WRITE : 0);
	large = PageCompound(page);
	put_page(page);
	return !large;
}

/* Can the snapshot be published? 1: yes; 0: something must be faulted first; < 0: final error. */
static int walk_ready(const struct walk *w)
{
	unsigned long n = (w->end - w->start) >> PAGE_SHIFT;
	unsigned long i;
	bool all = true;

	if (w->flags & FAULT_PRESENT)
		return 1;
	/* The CPU maps all of the leaf by one entry: the other pages are like the first. */
	if (usable(w->pfns[0], w->flags & FAULT_WRITE) && prxe_leaf_is_whole(w->pfns[0]))
		return 1;
	for (i = 0; i < n; i++) {
		struct page *page = prxe_leaf_page(w->pfns[i]);

		/*
		 * An ERROR entry may be mended by a fault, which is tried once; a page of the wrong
		 * kind is not.
		 */
		bool final = w->tried || !(w->pfns[i] & HMM_PFN_ERROR);

		if (IS_ERR(page) && final && (!i || (w->flags & FAULT_STRICT)))
			return PTR_ERR(page);
		if (!usable(w->pfns[i], w->flags & FAULT_WRITE))
			all = false;
	}
	if (all)
		return 1;
	return w->tried && !(w->flags & FAULT_STRICT) && usable(w->pfns[0], w->flags & FAULT_WRITE);
}

/* Does the snapshot have any page that can be published? */
static bool walk_shows(const struct walk *w)
{
	unsigned long n = (w->end - w->start) >> PAGE_SHIFT;
	unsigned long i;

	for (i = 0; i < n; i++)
		if (!IS_ERR_OR_NULL(prxe_leaf_page(w->pfns[i])))
			return true;
	return false;
}

/* How a round ended, if not with 0 (published) or an error. */
enum {
	LOOK_MISSING = 1,	/* something has to be faulted first */
	LOOK_STALE,		/* an invalidation came between: the snapshot is stale */
	LOOK_BUSY,		/* an invalidation is in flight */
};

/* One round, under mmap_lock. Never waits for an invalidation. 0, LOOK_* or an error. */
static int walk_look(struct walk *w)
{
	struct prxe_leaf_walk walk __uninitialized;	/* prxe_leaf_begin() fills it in */
	int ret;

	if (prxe_leaf_begin(w->leaf, &walk, w->start, w->end))
		return LOOK_BUSY;
	ret = walk_vmas(w);
	if (!ret && !walk_own(w))
		ret = walk_snapshot(w);
	if (!ret)
		ret = walk_ready(w);
	if (ret <= 0) {
		prxe_leaf_end(w->leaf, &walk);
		if (ret == -EBUSY)
			return LOOK_STALE;
		return ret ? ret : LOOK_MISSING;
	}
	if (w->flags & FAULT_PRESENT && !walk_shows(w)) {
		prxe_leaf_end(w->leaf, &walk);
		return 0;	/* no page is present, so the leaf needs no table */
	}
	ret = prxe_leaf_publish(w->leaf, &walk, w->start, (w->end - w->start) >> PAGE_SHIFT,
				w->pfns, w->flags & FAULT_WRITE, gfp_of(w->flags));
	return ret == -EAGAIN ? LOOK_STALE : ret;
}

static int walk_lock(struct walk *w)
{
	if (w->flags & FAULT_NOWAIT) {
		if (!mmap_read_trylock(w->mirror->mm))
			return -EAGAIN;
	} else if (mmap_read_lock_killable(w->mirror->mm)) {
		return -EINTR;
	}
	w->locked = true;
	return 0;
}

/*
 * Cut the walk to its first page, so that the others are no reason to wait or to fail. False: it
 * has one page only, or may not be cut.
 */
static bool walk_narrow(struct walk *w)
{
	if (w->flags & (FAULT_STRICT | FAULT_PRESENT) || w->end - w->start == PAGE_SIZE)
		return false;
	w->end = w->start + PAGE_SIZE;
	return true;
}

/*
 * An invalidation of these pages is in flight: wait for its end, with no lock held, or cut the walk
 * instead. 0: look again.
 */
static int walk_wait(struct walk *w)
{
	if (walk_narrow(w))
		return 0;
	if (w->flags & FAULT_NOWAIT)
		return -EAGAIN;
	return prxe_inflight_wait(&w->mirror->inflight, w->start, w->end - 1, &w->mirror->dead);
}

static int walk_leaf(struct walk *w)
{
	struct mm_struct *mm = w->mirror->mm;
	int round, ret;

	for (round = 0; round < MAX_ROUNDS; round++) {
		if (fatal_signal_pending(current))
			return -EINTR;
		ret = walk_lock(w);
		if (ret)
			return ret;
		ret = walk_look(w);
		if (ret && ret != LOOK_BUSY && ret != LOOK_STALE && w->flags & FAULT_LOOK)
			ret = -EAGAIN;	/* let a fault thread find out the real reason */
		if (ret == LOOK_MISSING)
			ret = walk_fault(w) ?: LOOK_MISSING;
		if (w->locked)
			mmap_read_unlock(mm);
		if (ret == LOOK_BUSY)
			ret = walk_wait(w) ?: LOOK_BUSY;
		else if (ret == LOOK_STALE && round >= WIDE_ROUNDS)
			walk_narrow(w);
		if (ret <= 0 && ret != -EBUSY)
			return ret;
	}
	return -EBUSY;
}

/*
 * For FAULT_PRESENT: is any page present? Asked before the leaf is created, so that a range that
 * nobody has touched gets no tables. 1, 0, or an error.
 */
static int walk_probe(struct walk *w)
{
	int ret = walk_lock(w);

	if (ret)
		return ret;
	ret = walk_vmas(w);
	if (!ret)
		ret = walk_snapshot(w);
	mmap_read_unlock(w->mirror->mm);
	return ret ? ret : walk_shows(w);
}

/* ---- ranges ---- */

/* Fault [w->start, w->end), which is in one leaf. */
static int fault_leaf(struct walk *w)
{
	int ret;

	if (w->flags & FAULT_PRESENT) {
		ret = walk_probe(w);
		if (ret <= 0)
			return ret;
	}
	w->leaf = prxe_leaf_pin(w->mirror, w->start, gfp_of(w->flags));
	if (IS_ERR(w->leaf))
		return PTR_ERR(w->leaf);
	ret = walk_leaf(w);
	prxe_leaf_unpin(w->leaf);
	return ret;
}

/*
 * Fault [va, va + len), leaf by leaf. Without FAULT_STRICT, only the first page is required. The
 * caller holds the owner's mm_users.
 */
static int fault_pages(struct prxe_mirror *mirror, unsigned long va, unsigned long len,
		       unsigned int flags)
{
	unsigned long start = va & PAGE_MASK;
	unsigned long few[FEW_PAGES] __uninitialized;	/* each snapshot clears its part */
	unsigned long end, n;
	struct walk w = { .mirror = mirror, .flags = flags, .pfns = few };
	bool first = true;
	int ret = 0;

	if (!len || va >= mirror->mm->task_size)
		return -EFAULT;
	end = va + min(len, mirror->mm->task_size - va);
	if ((flags & FAULT_STRICT) && end - va < len)
		return -EFAULT;
	end = PAGE_ALIGN(end);

	n = min((end - start) >> PAGE_SHIFT, PRXE_LEAF_PAGES);
	if (n > FEW_PAGES)
		w.pfns = kvmalloc_array(n, sizeof(*w.pfns), gfp_of(flags) & ~__GFP_ACCOUNT);
	if (!w.pfns)
		return flags & FAULT_NOWAIT ? -EAGAIN : -ENOMEM;

	while (start < end) {
		unsigned long stop = min(end, (start & ~(PRXE_LEAF_SIZE - 1)) + PRXE_LEAF_SIZE);

		w.start = start;
		w.end = stop;
		w.looked = false;
		w.tried = flags & FAULT_LOOK;
		ret = fault_leaf(&w);
		if (ret) {
			if (!first && !(flags & FAULT_STRICT))
				ret = 0;
			break;
		}
		first = false;
		start = stop;
		if (flags & FAULT_NOWAIT)
			break;	/* callers that may not wait get one leaf only */
	}
	if (w.pfns != few)
		kvfree(w.pfns);
	return ret;
}

int prxe_fault_once(struct prxe_mirror *mirror, unsigned long va, unsigned long len,
		    unsigned int flags)
{
	int ret = fault_pages(mirror, va, len, flags);

	/* The error of a wait that a signal ended, even -EFAULT, says nothing about the memory. */
	if (ret && fatal_signal_pending(current))
		ret = -EINTR;
	trace_prxe_fault(mirror, va, len, flags, ret);
	return ret;
}

int prxe_fault_nowait(struct prxe_mirror *mirror, unsigned long va, unsigned long len,
		      unsigned int flags)
{
	int ret;

	/*
	 * A fault allocates memory that is charged to the owner's memory cgroup, and may wait
	 * there: only the owner itself or a fault thread may do that. Anybody may publish what the
	 * page tables show already.
	 */
	if ((current->flags & (PF_KTHREAD | PF_EXITING)) || current->mm != mirror->mm)
		flags |= FAULT_LOOK;
	if (READ_ONCE(mirror->dead) || !mmget_not_zero(mirror->mm))
		return -ESRCH;
	ret = prxe_fault_once(mirror, va, len, flags | FAULT_NOWAIT);
	mmput_async(mirror->mm);
	/* These may be over in a moment: let a fault thread try. */
	return ret == -EBUSY || ret == -ENOMEM || ret == -EINTR ? -EAGAIN : ret;
}

int prxe_fault_try(const struct prxe_miss *miss)
{
	int ret;

	/* In a softirq, current is the interrupted process: that is not the owner's context. */
	if (!in_task() || in_softirq() || irqs_disabled())
		return -EAGAIN;
	ret = prxe_fault_nowait(miss->mirror, miss->va, miss->len, miss->write ? FAULT_WRITE : 0);
	if (!ret)
		prxe_mirror_count_fault(miss->mirror, true);
	return ret;
}

void prxe_miss_drop(struct prxe_miss *miss)
{
	if (miss->mirror)
		prxe_mirror_put(miss->mirror);
	miss->mirror = NULL;
}
