/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pages, address spaces and their notifiers. struct mm_struct orders them as the kernel does
 * (mm/mmu_notifier.c): what is inserted while an invalidation is in flight is in the tree when the
 * last of them has ended; a plain notifier is registered when none is.
 */
#ifndef SHIM_MM_H
#define SHIM_MM_H

struct page {
	void *vaddr;
	bool dirty, poisoned, device_private, p2p, uptodate;
	unsigned long tag;	/* the test's own */
	struct page *head;	/* of a large folio; NULL: a folio of its own */
	bool has_poison;	/* the head: one of its pages is poisoned */
	int refs;		/* of those that alloc_pages() has made, the first one only */
	unsigned int order;
};
struct folio { struct page page; };
#define page_folio(p)		((struct folio *)((p)->head ? (p)->head : (p)))
#define folio_test_large(f)	((f)->page.head != NULL)
#define folio_test_hwpoison(f)	((f)->page.poisoned)
#define folio_test_has_hwpoisoned(f) ((f)->page.has_poison)
#define SHIM_PAGES	8192
extern struct page shim_pages[SHIM_PAGES];	/* by page frame number; 0 is the zero page */
struct page *alloc_pages(gfp_t gfp, unsigned int order);
extern int shim_pages_out;	/* that alloc_pages() has made and that were not freed */
void put_page(struct page *page);
void get_page(struct page *page);
#define page_ref_count(p)	__atomic_load_n(&(p)->refs, __ATOMIC_RELAXED)
#define page_size(p)		(PAGE_SIZE << (p)->order)
#define get_order(size)		order_base_2(DIV_ROUND_UP(size, PAGE_SIZE))
#define page_address(p)		((p)->vaddr)
#define kmap_local_page(p)	((p)->vaddr)
#define kunmap_local(a)		((void)(a))
#define page_to_pfn(p)		((unsigned long)((p) - shim_pages))
#define pfn_to_page(n)		(&shim_pages[n])
#define ZERO_PAGE(va)		(&shim_pages[0])
#define PageHWPoison(p)		((p)->poisoned)
/* Of memory by its address; a test may have a function of its own. */
bool shim_is_poisoned(const void *p);
#define is_page_hwpoison(p)	shim_is_poisoned(p)
#define is_device_private_page(p) ((p)->device_private)
#define is_pci_p2pdma_page(p)	((p)->p2p)
#define vmalloc_to_page(a)	((struct page *)(a))
#define virt_to_page(a)		((struct page *)(a))
extern void (*shim_on_dirty)(struct page *page);
bool set_page_dirty(struct page *page);	/* takes locks that are not for BH-off sections: checked */

/* 0, or how much could not be copied: @src holds a poisoned byte when the page says so. */
unsigned long copy_mc_to_kernel(void *dst, const void *src, unsigned int len);

#define HMM_PFN_VALID		(1UL << 63)
#define HMM_PFN_WRITE		(1UL << 62)
#define HMM_PFN_ERROR		(1UL << 61)
#define HMM_PFN_ORDER_SHIFT	56
#define hmm_pfn_to_map_order(pfn) ((pfn) >> HMM_PFN_ORDER_SHIFT & 0x1f)
static inline struct page *hmm_pfn_to_page(unsigned long pfn)
{
	pfn &= (1UL << HMM_PFN_ORDER_SHIFT) - 1;
	SHIM_ASSERT(pfn < SHIM_PAGES);
	return &shim_pages[pfn];
}

struct mmu_notifier;
struct mmu_interval_notifier;
struct mm_struct {
	pthread_mutex_t m;
	pthread_cond_t c;
	struct list_head intervals, deferred;
	unsigned long seq;		/* odd while an invalidation is in flight */
	unsigned int active;
	atomic_t count, users;
	struct mmu_notifier *mn;
	int write_locked;
	int held;		/* by another thread: so many tries fail, or one waits */
	unsigned int waited;	/* how often somebody waited for it */
	int waited_refs;	/* what shim_module_refs was then */
	bool exited;
	/* A plain notifier is about to be registered. */
	void (*on_register)(struct mm_struct *mm);
	int register_error;		/* what __mmu_notifier_register() is to fail with */
};
struct mmu_notifier_range {
	struct mm_struct *mm;
	unsigned long start, end;
	unsigned int flags, event;
};
#define MMU_NOTIFIER_RANGE_BLOCKABLE 1
enum mmu_notifier_event { MMU_NOTIFY_UNMAP, MMU_NOTIFY_RELEASE };
#define mmu_notifier_range_blockable(r) ((r)->flags & MMU_NOTIFIER_RANGE_BLOCKABLE)
struct mmu_interval_notifier_ops {
	bool (*invalidate)(struct mmu_interval_notifier *ni, const struct mmu_notifier_range *range,
			   unsigned long seq);
};
struct mmu_interval_notifier {
	struct list_head node;
	const struct mmu_interval_notifier_ops *ops;
	struct mm_struct *mm;
	unsigned long start, last, invalidate_seq;
};
typedef bool prxe_young_t;
struct mmu_notifier_ops {
	void (*release)(struct mmu_notifier *mn, struct mm_struct *mm);
	prxe_young_t (*clear_flush_young)(struct mmu_notifier *mn, struct mm_struct *mm,
					  unsigned long a, unsigned long b);
	prxe_young_t (*clear_young)(struct mmu_notifier *mn, struct mm_struct *mm,
				    unsigned long a, unsigned long b);
	prxe_young_t (*test_young)(struct mmu_notifier *mn, struct mm_struct *mm, unsigned long a);
	void (*invalidate_range_end)(struct mmu_notifier *mn,
				     const struct mmu_notifier_range *range);
	void (*free_notifier)(struct mmu_notifier *mn);
};
struct mmu_notifier {
	struct hlist_node hlist;
	const struct mmu_notifier_ops *ops;
	struct mm_struct *mm;
};

int mmu_interval_notifier_insert_locked(struct mmu_interval_notifier *ni, struct mm_struct *mm,
					unsigned long start, unsigned long length,
					const struct mmu_interval_notifier_ops *ops);
void mmu_interval_notifier_remove(struct mmu_interval_notifier *ni);
int __mmu_notifier_register(struct mmu_notifier *mn, struct mm_struct *mm);
int mmu_notifier_register(struct mmu_notifier *mn, struct mm_struct *mm);
void mmu_notifier_put(struct mmu_notifier *mn);
void mmu_notifier_synchronize(void);

/* The MM's side. Between start and end the test takes its pages away. */
struct mm_struct *shim_mm_new(void);
void shim_mm_free(struct mm_struct *mm);	/* the test has the last references: asserted */
void shim_mm_range_start(struct mmu_notifier_range *range);
void shim_mm_range_end(struct mmu_notifier_range *range);
/* The same for one that a thread does at a time. */
void shim_mm_invalidate_start(struct mm_struct *mm, unsigned long start, unsigned long end);
void shim_mm_invalidate_end(struct mm_struct *mm);
void shim_mm_exit(struct mm_struct *mm);		/* invalidates all, then .release */
unsigned int shim_mm_intervals(struct mm_struct *mm);

#define mmgrab(mm)		atomic_inc(&(mm)->count)
void mmdrop(struct mm_struct *mm);
#define mmget(mm)		atomic_inc(&(mm)->users)
#define mmget_not_zero(mm)	atomic_inc_not_zero(&(mm)->users)
#define mmput(mm)		atomic_dec(&(mm)->users)
#define mmput_async(mm)		mmput(mm)
bool prxe_mmap_write_trylock(struct mm_struct *mm);
void mmap_write_lock(struct mm_struct *mm);
#define mmap_assert_write_locked(mm) SHIM_ASSERT((mm)->write_locked)
#define mmap_write_lock_killable(mm) ({ mmap_write_lock(mm); 0; })
#define mmap_write_unlock(mm)	((void)__atomic_sub_fetch(&(mm)->write_locked, 1, __ATOMIC_SEQ_CST))

struct mem_cgroup;
static inline struct mem_cgroup *get_mem_cgroup_from_mm(struct mm_struct *mm) { return (void *)mm; }
static inline struct mem_cgroup *set_active_memcg(struct mem_cgroup *m) { return m ? NULL : m; }
static inline void mem_cgroup_put(struct mem_cgroup *m) { }

struct task_struct {
	struct mm_struct *mm;
	unsigned int flags;
};
#define PF_KTHREAD	1U
extern __thread struct task_struct shim_task;
#define current			(&shim_task)
#define signal_pending(t)	0
#define fatal_signal_pending(t)	0
#define TASK_KILLABLE		1

struct vm_area_struct {
	unsigned long vm_start, vm_end, vm_flags;
};
#define VM_SHARED	1
#define VM_EXEC		2
#define VM_MAYEXEC	4
#define VM_DONTEXPAND	8
#define VM_DONTDUMP	16
#define vm_insert_page(vma, addr, page) ((void)(page), 0)
#define prxe_vm_flags_mod(vma, s, c) \
	((vma)->vm_flags = ((vma)->vm_flags | (s)) & ~(unsigned long)(c))

#endif
