// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Faulting once: bringing pages into an address space, and their translations into its mirror.
 *
 * One round: take mmap_lock, begin a walk of the leaf, look at the VMAs, take a snapshot of the
 * page tables. If something is missing, fault it and start again; else publish the snapshot under
 * the leaf's update lock, unless an invalidation of these pages came between. If one is in flight,
 * wait for its end before the next round. No lock of ours is held while the MM works.
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
 * Rounds for a leaf: snapshots that are taken, or given up because an invalidation is in flight.
 * Then -EBUSY. After WIDE_ROUNDS only the page that somebody waits for is looked at.
 */
#define MAX_ROUNDS	32
#define WIDE_ROUNDS	4

/* Snapshots up to this many pages are kept on the stack. */
#define FEW_PAGES	16

/* No driver's private pages have this owner, so a snapshot shows none of them. */
static char no_owner;

/* How tables are allocated, charged to the owner; those who may not wait get -ENOMEM instead. */
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
	unsigned long start, end;	/* in the leaf, page aligned */
	unsigned int flags;
	unsigned long *pfns;
	bool locked;			/* mmap_lock is held, for reading */
	bool looked;			/* one page was faulted, and a new snapshot taken since */
	bool tried;			/* every missing page was faulted once */
};

/*
 * Users' files may be used: those of tmpfs (memfd, SysV and other shared memory are kernel mounts
 * of it), of hugetlbfs, and of what can be mounted. Files of the kernel's own pseudo file systems
 * may not: their pages need not be in the kernel's mapping (memfd_secret, guest_memfd), or are the
 * kernel's own (the rings of AIO and io_uring, dma-bufs).
 */
static bool file_may_be_used(const struct file *file)
{
	const struct super_block *sb = file_inode(file)->i_sb;

	return sb->s_magic == TMPFS_MAGIC || sb->s_magic == HUGETLBFS_MAGIC ||
	       !(sb->s_flags & SB_NOUSER);
}

/* May transfers use memory of this VMA so? */
static int vma_check(const struct vm_area_struct *vma, bool write)
{
	if (vma->vm_flags & (VM_IO | VM_PFNMAP))
		return -EFAULT;
	if (!(vma->vm_flags & VM_READ) || (write && !(vma->vm_flags & VM_WRITE)))
		return -EFAULT;
	/* As in GUP: only the processor writes to a shadow stack, by calls. */
	if (write && (vma->vm_flags & VM_SHADOW_STACK))
		return -EFAULT;
	if (vma->vm_file && !file_may_be_used(vma->vm_file))
		return -EFAULT;
	return 0;
}

/*
 * Cut the walk where memory ends that may be used. With FAULT_STRICT all of it must be usable, else
 * the first page: -EFAULT.
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
		/* A walk of hugetlbfs memory may wait for whoever clears a huge page. */
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
 * May a poster fault this memory itself? RETRY_NOWAIT keeps the MM from waiting for userfaultfd,
 * swap and page locks in anonymous memory only. A file system may read, or wait until it is thawed;
 * shared memory waits for its swap, whatever the flags say; hugetlbfs takes a mutex.
 */
static bool poster_may_fault(struct vm_area_struct *vma)
{
	return vma_is_anonymous(vma);
}

/*
 * Would the MM have to read this page of a file? Then a fault without waiting is not tried: where
 * no readahead is done, the page would be read at once, RETRY_NOWAIT or not, and with mmap_lock
 * held.
 */
static bool must_read(struct vm_area_struct *vma, unsigned long addr)
{
	const struct inode *inode;
	void *entry;

	if (!vma->vm_file || is_vm_hugetlb_page(vma))
		return false;
	inode = file_inode(vma->vm_file);
	/* Only a look. A value stands for a page that is not in memory; tmpfs has it in swap. */
	entry = xa_load(&vma->vm_file->f_mapping->i_pages, linear_page_index(vma, addr));
	if (!entry)
		return inode->i_sb->s_magic != TMPFS_MAGIC;
	return xa_is_value(entry);
}

/*
 * Fault one page, with mmap_lock held; unless @nowait, it may be dropped (w->locked). @again: not
 * the first try. 0: look at the page tables again; -EAGAIN: it would wait, or was interrupted; else
 * a final error.
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
	if (nowait && must_read(vma, addr))
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
 * The same, but wait for as long as it takes, killably. If it returns 0, mmap_lock is held again;
 * else w->locked tells.
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
	/* After so many tries let the caller look at the page tables, and come back. */
	return ret == -EAGAIN ? 0 : ret;
}

/*
 * Fault what the snapshot lacks: first every page without waiting, which at least starts reading
 * from swap, in parallel; then, if waiting is allowed, wait for the first page, or with
 * FAULT_STRICT for each. 0: look again. -EAGAIN: it would wait, and may not. Other errors are
 * final.
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
			w->end = addr;	/* this page is not needed: stop before it */
			break;
		} else if (!w->looked) {
			/* A huge page, or the MM's own fault-around, may have brought more. */
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
 * Take a snapshot of the page tables, without faulting. The leaf's walk knows whether an
 * invalidation has overtaken it; the notifier's own seq never moves, so HMM finds nothing.
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
 * Look up a single page of the running process as its CPU would, which costs a third of a snapshot.
 * This finds no page that needs a closer look: a special one (the zero page), a secret one, one
 * that is protected from this process. The reference that it takes is dropped at once: the leaf's
 * walk keeps the translation right, as for any snapshot. True: w->pfns[0] is the answer; an empty
 * one has the page faulted. False: take a snapshot, also of a large folio, of which more than a
 * page may be published.
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

/* Can the snapshot be published? 1; 0: something has to be faulted first; or a final error. */
static int walk_ready(const struct walk *w)
{
	unsigned long n = (w->end - w->start) >> PAGE_SHIFT;
	unsigned long i;
	bool all = true;

	if (w->flags & FAULT_PRESENT)
		return 1;
	/* The CPU has one entry for all of them: the others are like the first. */
	if (usable(w->pfns[0], w->flags & FAULT_WRITE) && prxe_leaf_is_whole(w->pfns[0]))
		return 1;
	for (i = 0; i < n; i++) {
		struct page *page = prxe_leaf_page(w->pfns[i]);

		/* A fault may mend an ERROR entry, once; it does not mend the wrong memory. */
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

/* Is there anything in the snapshot that can be published? */
static bool walk_shows(const struct walk *w)
{
	unsigned long n = (w->end - w->start) >> PAGE_SHIFT;
	unsigned long i;

	for (i = 0; i < n; i++)
		if (!IS_ERR_OR_NULL(prxe_leaf_page(w->pfns[i])))
			return true;
	return false;
}

/* How a round ended, beside 0 (published) and errors. */
enum {
	LOOK_MISSING = 1,	/* something has to be faulted first */
	LOOK_STALE,		/* an invalidation came between */
	LOOK_BUSY,		/* an invalidation is in flight */
};

/* One round, under mmap_lock. Never sleeps for an invalidation. */
static int walk_look(struct walk *w)
{
	struct prxe_leaf_walk walk __uninitialized;	/* begun below */
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
		return 0;	/* nothing is there, so no table is needed */
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
 * Cut the walk to its first page: the pages behind it are no reason to wait, or to fail. False: it
 * is no longer than that, or may not be cut.
 */
static bool walk_narrow(struct walk *w)
{
	if (w->flags & (FAULT_STRICT | FAULT_PRESENT) || w->end - w->start == PAGE_SIZE)
		return false;
	w->end = w->start + PAGE_SIZE;
	return true;
}

/* These pages are being invalidated: wait, with no lock held. 0: look again. */
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
			ret = -EAGAIN;	/* a thread finds out what it is */
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
 * For FAULT_PRESENT, before a leaf is made: is there anything to publish? 1, 0, or an error. So a
 * range that nobody has touched gets no tables.
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
 * Fault [va, va + len), leaf by leaf. Without FAULT_STRICT only the first page must be had. The
 * owner's mm_users are held.
 */
static int fault_pages(struct prxe_mirror *mirror, unsigned long va, unsigned long len,
		       unsigned int flags)
{
	unsigned long start = va & PAGE_MASK;
	unsigned long few[FEW_PAGES] __uninitialized;	/* each snapshot clears what it uses */
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
			break;	/* one leaf is enough for those who may not wait */
	}
	if (w.pfns != few)
		kvfree(w.pfns);
	return ret;
}

int prxe_fault_once(struct prxe_mirror *mirror, unsigned long va, unsigned long len,
		    unsigned int flags)
{
	int ret = fault_pages(mirror, va, len, flags);

	/* The error of a wait that was cut short says nothing about the memory, even EFAULT. */
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
	 * A fault allocates memory that is charged to the owner, and may wait for the owner's
	 * memory cgroup: the owner itself or a thread does that. Anybody may look up what the page
	 * tables show already.
	 */
	if ((current->flags & (PF_KTHREAD | PF_EXITING)) || current->mm != mirror->mm)
		flags |= FAULT_LOOK;
	if (READ_ONCE(mirror->dead) || !mmget_not_zero(mirror->mm))
		return -ESRCH;
	ret = prxe_fault_once(mirror, va, len, flags | FAULT_NOWAIT);
	mmput_async(mirror->mm);
	/* These may be over in a moment: a thread finds out. */
	return ret == -EBUSY || ret == -ENOMEM || ret == -EINTR ? -EAGAIN : ret;
}

int prxe_fault_try(const struct prxe_miss *miss)
{
	int ret;

	/* A softirq has the interrupted process as current: that is not the owner's context. */
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
