// SPDX-License-Identifier: BSD-2-Clause
/* What shim.h declares. */
#include "shim.h"

void shim_fail(const char *what, const char *file, int line)
{
	fprintf(stderr, "%s:%d: %s\n", file, line, what);
	abort();
}

/* ---- memory ---- */
__thread int shim_alloc_fails;
__thread void (*shim_on_alloc)(gfp_t gfp);

/* Is there memory, and may one wait for it here? */
static bool shim_has_memory(gfp_t gfp)
{
	if (gfp & GFP_KERNEL)
		might_sleep();
	if (shim_on_alloc)
		shim_on_alloc(gfp);
	return !(shim_alloc_fails && !--shim_alloc_fails);
}

void *shim_alloc(size_t size, gfp_t gfp)
{
	if (!shim_has_memory(gfp))
		return NULL;
	return gfp & __GFP_ZERO ? calloc(1, size) : malloc(size);
}

/* ---- context, barriers, CPUs ---- */
int shim_barrier_word;
__thread int shim_spins, shim_bh_off, shim_rcu_nest;
__thread int shim_cpu;
__thread void (*shim_on_cmpxchg)(void *p);
__thread void (*shim_on_preempt)(void);
__thread bool shim_rt;
__thread struct task_struct shim_task;
ptrdiff_t shim_percpu_off[SHIM_CPUS];
extern char __start_shim_percpu[], __stop_shim_percpu[];
#define POOL 65536
SHIM_PERCPU char shim_percpu_pool[POOL];
static size_t pool_used;
static char *percpu_copy[SHIM_CPUS];

__attribute__((constructor)) static void percpu_init(void)
{
	size_t size = __stop_shim_percpu - __start_shim_percpu;
	int cpu;

	for (cpu = 1; cpu < SHIM_CPUS; cpu++) {
		char *copy = aligned_alloc(64, ALIGN(size, 64));

		memcpy(copy, __start_shim_percpu, size);
		percpu_copy[cpu] = copy;
		shim_percpu_off[cpu] = copy - __start_shim_percpu;
	}
}

void *shim_alloc_percpu(size_t size)
{
	void *p = shim_percpu_pool + pool_used;

	pool_used += ALIGN(size, 64);
	SHIM_ASSERT(pool_used <= POOL);
	return p;
}

/*
 * ---- RCU: a reader takes the side that is current; a grace period changes sides and waits for the
 * other one to empty ----
 */
static int rcu_side;
static int rcu_readers[2];
static __thread int rcu_my_side;
static pthread_mutex_t rcu_lock = PTHREAD_MUTEX_INITIALIZER, rcu_gp = PTHREAD_MUTEX_INITIALIZER;
static struct rcu_head *rcu_list;

void rcu_read_lock(void)
{
	if (!shim_rcu_nest++) {
		rcu_my_side = __atomic_load_n(&rcu_side, __ATOMIC_SEQ_CST);
		__atomic_add_fetch(&rcu_readers[rcu_my_side], 1, __ATOMIC_SEQ_CST);
	}
}

void rcu_read_unlock(void)
{
	SHIM_ASSERT(shim_rcu_nest > 0);
	if (!--shim_rcu_nest)
		__atomic_sub_fetch(&rcu_readers[rcu_my_side], 1, __ATOMIC_SEQ_CST);
}

void synchronize_rcu(void)
{
	int i;

	might_sleep();
	pthread_mutex_lock(&rcu_gp);
	/* Twice: a reader may have taken its side just before the change. */
	for (i = 0; i < 2; i++) {
		int old = __atomic_fetch_xor(&rcu_side, 1, __ATOMIC_SEQ_CST);

		while (__atomic_load_n(&rcu_readers[old], __ATOMIC_SEQ_CST))
			sched_yield();
	}
	pthread_mutex_unlock(&rcu_gp);
}

static void rcu_add(struct rcu_head *head)
{
	pthread_mutex_lock(&rcu_lock);
	head->next = rcu_list;
	rcu_list = head;
	pthread_mutex_unlock(&rcu_lock);
}

void call_rcu(struct rcu_head *head, void (*fn)(struct rcu_head *head))
{
	head->fn = fn;
	rcu_add(head);
}

void shim_kfree_rcu(struct rcu_head *head, void *mem)
{
	head->fn = NULL;
	head->mem = mem;
	rcu_add(head);
}

void shim_rcu_drain(void)
{
	struct rcu_head *list, *next;

	pthread_mutex_lock(&rcu_lock);
	list = rcu_list;
	rcu_list = NULL;
	pthread_mutex_unlock(&rcu_lock);
	if (!list)
		return;
	synchronize_rcu();
	for (; list; list = next) {
		next = list->next;
		if (list->fn) {
			local_bh_disable();	/* a callback runs in softirq */
			list->fn(list);
			local_bh_enable();
		} else {
			free(list->mem);
		}
	}
}

/* ---- xarray ---- */
void xa_init_flags(struct xarray *xa, gfp_t flags)
{
	(void)flags;
	memset(xa, 0, sizeof(*xa));
	pthread_mutex_init(&xa->m, NULL);
}

void xa_destroy(struct xarray *xa)
{
	free(xa->slot);
	xa->slot = NULL;
	xa->num = 0;
	xa->room = 0;
	xa->nodes = false;
}

static size_t xa_pos(const struct xarray *xa, unsigned long index)
{
	size_t lo = 0, hi = xa->num;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (xa->slot[mid].index < index)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

void *xa_load(struct xarray *xa, unsigned long index)
{
	void *entry = NULL;
	size_t i;

	pthread_mutex_lock(&xa->m);
	i = xa_pos(xa, index);
	if (i < xa->num && xa->slot[i].index == index)
		entry = xa->slot[i].entry;
	pthread_mutex_unlock(&xa->m);
	return entry;
}

static void *xa_take(struct xarray *xa, size_t i)
{
	void *old = xa->slot[i].entry;

	memmove(&xa->slot[i], &xa->slot[i + 1], (--xa->num - i) * sizeof(*xa->slot));
	if (!xa->num) {	/* an empty one holds no memory */
		free(xa->slot);
		xa->slot = NULL;
		xa->room = 0;
	}
	return old;
}

static void *shim_xa_store(struct xarray *xa, unsigned long index, void *entry)
{
	void *old = NULL;
	size_t i;

	pthread_mutex_lock(&xa->m);
	i = xa_pos(xa, index);
	if (i < xa->num && xa->slot[i].index == index) {
		if (entry) {
			old = xa->slot[i].entry;
			xa->slot[i].entry = entry;
		} else {
			old = xa_take(xa, i);
		}
	} else if (entry) {
		if (xa->num == xa->room) {
			xa->room = xa->room * 2 + 8;
			xa->slot = realloc(xa->slot, xa->room * sizeof(*xa->slot));
		}
		memmove(&xa->slot[i + 1], &xa->slot[i], (xa->num++ - i) * sizeof(*xa->slot));
		xa->slot[i] = (struct shim_slot){ index, entry };
	}
	pthread_mutex_unlock(&xa->m);
	return old;
}

void *xa_store(struct xarray *xa, unsigned long index, void *entry, gfp_t gfp)
{
	if (shim_has_memory(gfp))
		return shim_xa_store(xa, index, entry);
	__atomic_store_n(&xa->nodes, true, __ATOMIC_RELAXED);
	return ERR_PTR(-ENOMEM);
}

void *xas_store(struct xa_state *xas, void *entry)
{
	xas->err = xas->has_node ? 0 : -ENOMEM;
	if (xas->err) {
		__atomic_store_n(&xas->xa->nodes, true, __ATOMIC_RELAXED);
		return NULL;
	}
	xas->has_node = false;
	return shim_xa_store(xas->xa, xas->index, entry);
}

bool xas_nomem(struct xa_state *xas, gfp_t gfp)
{
	if (xas->err != -ENOMEM) {
		xas->has_node = false;
		return false;
	}
	xas->has_node = shim_has_memory(gfp);
	if (xas->has_node)
		xas->err = 0;
	return xas->has_node;
}

void *xa_erase(struct xarray *xa, unsigned long index)
{
	return shim_xa_store(xa, index, NULL);
}

void *xa_find(struct xarray *xa, unsigned long *index, unsigned long max, int filter)
{
	void *entry = NULL;
	size_t i;

	pthread_mutex_lock(&xa->m);
	i = xa_pos(xa, *index);
	if (i < xa->num && xa->slot[i].index <= max) {
		*index = xa->slot[i].index;
		entry = xa->slot[i].entry;
	}
	pthread_mutex_unlock(&xa->m);
	return entry;
}

void *xa_find_after(struct xarray *xa, unsigned long *index, unsigned long max)
{
	unsigned long next = *index + 1;
	void *entry;

	if (!next)
		return NULL;
	entry = xa_find(xa, &next, max, XA_PRESENT);
	if (entry)
		*index = next;
	return entry;
}

bool xa_empty(struct xarray *xa)
{
	bool empty;

	pthread_mutex_lock(&xa->m);
	empty = !xa->num && !xa->nodes;
	pthread_mutex_unlock(&xa->m);
	return empty;
}

/* ---- work ---- */
static pthread_mutex_t work_lock = PTHREAD_MUTEX_INITIALIZER;
static struct work_struct *work_list;
static struct workqueue_struct any_wq;
struct workqueue_struct *system_wq = &any_wq, *system_unbound_wq = &any_wq;

static bool work_unlist(struct work_struct *work)
{
	bool was = work->pending;
	struct work_struct **p;

	for (p = &work_list; *p; p = &(*p)->next)
		if (*p == work) {
			*p = work->next;
			break;
		}
	work->pending = false;
	return was;
}

static void work_list_tail(struct work_struct *work, bool delayed)
{
	struct work_struct **p;

	SHIM_ASSERT(work->fn);
	work->pending = true;
	work->delayed = delayed;
	work->next = NULL;
	for (p = &work_list; *p; p = &(*p)->next)
		;
	*p = work;
}

bool shim_queue(struct work_struct *work, bool delayed)
{
	bool fresh;

	pthread_mutex_lock(&work_lock);
	fresh = !work->pending;
	if (fresh)
		work_list_tail(work, delayed);
	pthread_mutex_unlock(&work_lock);
	return fresh;
}

bool shim_requeue(struct work_struct *work, bool delayed)
{
	bool was;

	pthread_mutex_lock(&work_lock);
	was = work_unlist(work);
	work_list_tail(work, delayed);
	pthread_mutex_unlock(&work_lock);
	return was;
}

bool shim_cancel(struct work_struct *work)
{
	bool was;

	pthread_mutex_lock(&work_lock);
	was = work_unlist(work);
	pthread_mutex_unlock(&work_lock);
	return was;
}

/*
 * Work that runs now, by whoever: as in the kernel, one item never runs twice at a time. Under
 * work_lock.
 */
#define SHIM_RUNNING 64
static const struct work_struct *running[SHIM_RUNNING];

static const struct work_struct **running_slot(const struct work_struct *work)
{
	unsigned int i;

	for (i = 0; i < SHIM_RUNNING; i++)
		if (running[i] == work)
			return &running[i];
	return NULL;
}

unsigned int shim_work_run(bool delayed_too)
{
	const struct work_struct **slot;
	struct work_struct *work, **p;
	unsigned int ran = 0;

	might_sleep();
	for (;; ran++) {
		pthread_mutex_lock(&work_lock);
		for (p = &work_list; *p; p = &(*p)->next)
			if ((delayed_too || !(*p)->delayed) && !running_slot(*p))
				break;
		work = *p;
		if (work) {
			*p = work->next;
			work->pending = false;
			slot = running_slot(NULL);
			SHIM_ASSERT(slot);
			*slot = work;
		}
		pthread_mutex_unlock(&work_lock);
		if (!work)
			return ran;
		work->fn(work);		/* may free it */
		pthread_mutex_lock(&work_lock);
		*slot = NULL;
		pthread_mutex_unlock(&work_lock);
		might_sleep();
	}
}

__attribute__((weak)) void shim_timer_start(struct hrtimer *timer, ktime_t when)
{
	timer->active = true;
	timer->expires = when;
}

__attribute__((weak)) bool shim_timer_cancel(struct hrtimer *timer)
{
	bool was = timer->active;

	timer->active = false;
	return was;
}

__thread int shim_killed;

/* A wait that a fatal signal ends. */
bool shim_wait_killed(void)
{
	return shim_killed && !--shim_killed;
}

void shim_wait(void)
{
	if (!shim_work_run(true)) {
		shim_rcu_drain();
		sched_yield();
	}
}

atomic_t shim_module_refs;

/* ---- pages and address spaces ---- */
struct page shim_pages[SHIM_PAGES];

int shim_pages_out;

struct page *alloc_pages(gfp_t gfp, unsigned int order)
{
	struct page *page;

	if (!shim_has_memory(gfp))
		return NULL;
	page = calloc(1, sizeof(*page));
	page->vaddr = aligned_alloc(PAGE_SIZE, PAGE_SIZE << order);
	page->order = order;
	page->refs = 1;
	__atomic_add_fetch(&shim_pages_out, 1, __ATOMIC_RELAXED);
	return page;
}

void get_page(struct page *page)
{
	SHIM_ASSERT(__atomic_fetch_add(&page->refs, 1, __ATOMIC_RELAXED) > 0);
}

void put_page(struct page *page)
{
	int left = __atomic_sub_fetch(&page->refs, 1, __ATOMIC_SEQ_CST);

	SHIM_ASSERT(left >= 0);
	if (!left) {
		__atomic_sub_fetch(&shim_pages_out, 1, __ATOMIC_RELAXED);
		free(page->vaddr);
		free(page);
	}
}

void (*shim_on_dirty)(struct page *page);

bool set_page_dirty(struct page *page)
{
	SHIM_ASSERT(!shim_bh_off);
	page = &page_folio(page)->page;
	if (shim_on_dirty)
		shim_on_dirty(page);
	return !__atomic_exchange_n(&page->dirty, true, __ATOMIC_SEQ_CST);
}

__attribute__((weak)) unsigned long copy_mc_to_kernel(void *dst, const void *src, unsigned int len)
{
	memcpy(dst, src, len);
	return 0;
}

__attribute__((weak)) bool shim_is_poisoned(const void *p)
{
	return false;
}

struct mm_struct *shim_mm_new(void)
{
	struct mm_struct *mm = calloc(1, sizeof(*mm));

	pthread_mutex_init(&mm->m, NULL);
	pthread_cond_init(&mm->c, NULL);
	INIT_LIST_HEAD(&mm->intervals);
	INIT_LIST_HEAD(&mm->deferred);
	mm->seq = 2;
	atomic_set(&mm->count, 1);
	atomic_set(&mm->users, 1);
	return mm;
}

void mmdrop(struct mm_struct *mm)
{
	SHIM_ASSERT(shim_at(sub_fetch, &mm->count, 1) > 0);	/* the test has the last */
}

void shim_mm_free(struct mm_struct *mm)
{
	SHIM_ASSERT(atomic_read(&mm->count) == 1);
	SHIM_ASSERT(list_empty(&mm->intervals));
	SHIM_ASSERT(!mm->mn && !mm->write_locked);
	free(mm);
}

bool prxe_mmap_write_trylock(struct mm_struct *mm)
{
	if (mm->held) {
		mm->held--;
		return false;
	}
	__atomic_add_fetch(&mm->write_locked, 1, __ATOMIC_SEQ_CST);
	return true;
}

void mmap_write_lock(struct mm_struct *mm)
{
	might_sleep();
	if (mm->held) {
		mm->waited++;
		mm->waited_refs = atomic_read(&shim_module_refs);
		mm->held = 0;
	}
	SHIM_ASSERT(prxe_mmap_write_trylock(mm));
}

unsigned int shim_mm_intervals(struct mm_struct *mm)
{
	struct mmu_interval_notifier *ni;
	unsigned int n = 0;

	pthread_mutex_lock(&mm->m);
	list_for_each_entry(ni, &mm->intervals, node)
		n++;
	pthread_mutex_unlock(&mm->m);
	return n;
}

int mmu_interval_notifier_insert_locked(struct mmu_interval_notifier *ni, struct mm_struct *mm,
					unsigned long start, unsigned long length,
					const struct mmu_interval_notifier_ops *ops)
{
	might_sleep();
	SHIM_ASSERT(mm->write_locked && length && start + length - 1 >= start);
	/* It registers the tree first, which fails like any registration. */
	if (mm->register_error && !--mm->register_error)
		return -EINTR;
	ni->mm = mm;
	ni->ops = ops;
	ni->start = start;
	ni->last = start + length - 1;
	mmgrab(mm);
	pthread_mutex_lock(&mm->m);
	ni->invalidate_seq = mm->active ? mm->seq : mm->seq - 1;
	list_add_tail(&ni->node, mm->active ? &mm->deferred : &mm->intervals);
	pthread_mutex_unlock(&mm->m);
	return 0;
}

/* As the kernel's: returns when no callback of it runs. */
void mmu_interval_notifier_remove(struct mmu_interval_notifier *ni)
{
	struct mm_struct *mm = ni->mm;

	might_sleep();
	pthread_mutex_lock(&mm->m);
	while (mm->active)
		pthread_cond_wait(&mm->c, &mm->m);
	list_del(&ni->node);
	pthread_mutex_unlock(&mm->m);
	mmdrop(mm);
}

void shim_mm_range_start(struct mmu_notifier_range *range)
{
	struct mm_struct *mm = range->mm;
	struct mmu_interval_notifier *ni;
	unsigned long seq;

	pthread_mutex_lock(&mm->m);
	if (!mm->active++)
		mm->seq++;	/* odd */
	seq = mm->seq;
	pthread_mutex_unlock(&mm->m);

	/* Nothing is inserted, nothing removed while anything is active. */
	list_for_each_entry(ni, &mm->intervals, node)
		if (ni->start < range->end && ni->last >= range->start)
			SHIM_ASSERT(ni->ops->invalidate(ni, range, seq));
}

/* The tree's half first, then plain notifiers, as the kernel does. */
void shim_mm_range_end(struct mmu_notifier_range *range)
{
	struct mm_struct *mm = range->mm;
	struct mmu_notifier *mn;

	pthread_mutex_lock(&mm->m);
	mn = mm->mn;
	if (!--mm->active) {
		mm->seq++;	/* even */
		list_splice_tail_init(&mm->deferred, &mm->intervals);
	}
	pthread_cond_broadcast(&mm->c);
	rcu_read_lock();
	pthread_mutex_unlock(&mm->m);
	if (mn && mn->ops->invalidate_range_end)
		mn->ops->invalidate_range_end(mn, range);
	rcu_read_unlock();
}

static __thread struct mmu_notifier_range my_range;

void shim_mm_invalidate_start(struct mm_struct *mm, unsigned long start, unsigned long end)
{
	my_range = (struct mmu_notifier_range){
		.mm = mm, .start = start, .end = end, .flags = MMU_NOTIFIER_RANGE_BLOCKABLE,
	};
	shim_mm_range_start(&my_range);
}

void shim_mm_invalidate_end(struct mm_struct *mm)
{
	SHIM_ASSERT(my_range.mm == mm);
	shim_mm_range_end(&my_range);
}

int __mmu_notifier_register(struct mmu_notifier *mn, struct mm_struct *mm)
{
	SHIM_ASSERT(mm->write_locked);
	if (mm->on_register)
		mm->on_register(mm);
	if (mm->register_error && !--mm->register_error)
		return -EINTR;
	pthread_mutex_lock(&mm->m);
	while (mm->active)	/* with all locks nothing is in flight */
		pthread_cond_wait(&mm->c, &mm->m);
	if (mn) {
		SHIM_ASSERT(!mm->mn);
		mn->mm = mm;
		WRITE_ONCE(mn->hlist.pprev, (void *)mn);
		mm->mn = mn;
		mmgrab(mm);
	}
	pthread_mutex_unlock(&mm->m);
	return 0;
}

int mmu_notifier_register(struct mmu_notifier *mn, struct mm_struct *mm)
{
	int err;

	mmap_write_lock(mm);
	err = __mmu_notifier_register(mn, mm);
	mmap_write_unlock(mm);
	return err;
}

struct mn_put {
	struct rcu_head rcu;
	struct mmu_notifier *mn;
};

static void mn_free(struct rcu_head *head)
{
	struct mn_put *put = container_of(head, struct mn_put, rcu);
	struct mm_struct *mm = put->mn->mm;

	put->mn->ops->free_notifier(put->mn);
	mmdrop(mm);
	free(put);
}

void mmu_notifier_put(struct mmu_notifier *mn)
{
	struct mm_struct *mm = mn->mm;
	struct mn_put *put = malloc(sizeof(*put));

	put->mn = mn;
	pthread_mutex_lock(&mm->m);
	SHIM_ASSERT(mm->mn == mn || mm->exited);
	mm->mn = NULL;
	WRITE_ONCE(mn->hlist.pprev, NULL);
	pthread_mutex_unlock(&mm->m);
	call_rcu(&put->rcu, mn_free);	/* when no callback of it runs any more */
}

void mmu_notifier_synchronize(void)
{
}

void shim_mm_exit(struct mm_struct *mm)
{
	struct mmu_notifier_range range = {
		.mm = mm, .end = ULONG_MAX,
		.flags = MMU_NOTIFIER_RANGE_BLOCKABLE, .event = MMU_NOTIFY_RELEASE,
	};
	struct mmu_notifier *mn = mm->mn;

	mm->mn = NULL;	/* plain notifiers do not hear the end of this one */
	shim_mm_range_start(&range);
	shim_mm_range_end(&range);
	if (mn && mn->ops->release)
		mn->ops->release(mn, mm);
	if (mn)
		WRITE_ONCE(mn->hlist.pprev, NULL);
	mm->exited = true;
	atomic_set(&mm->users, 0);
}

/* ---- packets ---- */
int skb_copy_bits(const struct sk_buff *skb, int off, void *to, int len)
{
	unsigned int i, n, pos = skb_headlen(skb);
	const struct sk_buff *list;
	u8 *p = to;

	if (off < 0 || len < 0 || (unsigned int)off + len > skb->len)
		return -EFAULT;
	if (off < (int)pos) {
		n = min_t(u32, len, pos - off);
		memcpy(p, skb->data + off, n);
		off += n;
		len -= n;
		p += n;
	}
	for (i = 0; len && i < skb->shared.nr_frags; i++) {
		const skb_frag_t *f = &skb->shared.frags[i];

		if (off < (int)(pos + f->size)) {
			n = min_t(u32, len, pos + f->size - off);
			memcpy(p, (u8 *)skb_frag_address(f) + (off - pos), n);
			off += n;
		len -= n;
		p += n;
		}
		pos += f->size;
	}
	for (list = skb->shared.frag_list; len && list; list = list->next) {
		if (off < (int)(pos + list->len)) {
			n = min_t(u32, len, pos + list->len - off);
			if (skb_copy_bits(list, off - pos, p, n))
				return -EFAULT;
			off += n;
		len -= n;
		p += n;
		}
		pos += list->len;
	}
	return len ? -EFAULT : 0;
}

/* What shared info is in the kernel: must not be written to as if it were room. */
#define SHARED_BYTES	SKB_DATA_ALIGN(sizeof(struct skb_shared_info))
#define UNTOUCHED	0xee

void *netdev_alloc_frag(unsigned int size)
{
	void *p = shim_alloc(size, GFP_ATOMIC);

	if (p)
		memset(p, UNTOUCHED, size);
	return p;
}

struct sk_buff *build_skb(void *data, unsigned int size)
{
	struct sk_buff *skb = kzalloc(sizeof(*skb), GFP_ATOMIC);

	if (!skb)
		return NULL;
	memset(skb->cb, UNTOUCHED, sizeof(skb->cb));
	skb->head = data;
	skb->data = data;
	skb->size = size;
	skb->room = size - SHARED_BYTES;
	skb->truesize = sizeof(*skb) + size;
	return skb;
}

void kfree_skb(struct sk_buff *skb)
{
	unsigned int i;

	if (!skb)
		return;
	SHIM_ASSERT(!skb->next && !skb->shared.frag_list);
	if (skb->destructor)
		skb->destructor(skb);
	for (i = skb->room; i < skb->size; i++)
		SHIM_ASSERT(skb->head[i] == UNTOUCHED);
	for (i = 0; i < skb->shared.nr_frags; i++)
		put_page(skb->shared.frags[i].page);
	free(skb->head);
	free(skb);
}

void skb_reserve(struct sk_buff *skb, int len)
{
	SHIM_ASSERT(!skb->len && len <= skb_tailroom(skb));
	skb->data += len;
}

int skb_tailroom(const struct sk_buff *skb)
{
	return skb->data_len ? 0 : skb->head + skb->room - (skb->data + skb->len);
}

void *skb_put(struct sk_buff *skb, unsigned int len)
{
	u8 *p = skb->data + skb->len;

	SHIM_ASSERT(!skb->data_len && (int)len <= skb_tailroom(skb));
	skb->len += len;
	return p;
}

bool skb_can_coalesce(struct sk_buff *skb, int i, const struct page *page, int off)
{
	const skb_frag_t *f = skb->shared.frags + i - 1;

	return i && f->page == page && f->off + f->size == (u32)off;
}

void skb_fill_page_desc(struct sk_buff *skb, int i, struct page *page, int off, int size)
{
	SHIM_ASSERT(i == skb->shared.nr_frags && i < MAX_SKB_FRAGS && size > 0);
	SHIM_ASSERT(off >= 0 && (size_t)off + size <= page_size(page));
	skb->shared.frags[i] = (skb_frag_t){ page, off, size };
	skb->shared.nr_frags = i + 1;
}

u32 crc32_le(u32 crc, const u8 *p, size_t len)
{
	int i;

	while (len--) {
		crc ^= *p++;
		for (i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
	}
	return crc;
}

bool shim_crc32_fast;
int shim_shash;

struct crypto_shash *crypto_alloc_shash(const char *name, u32 type, u32 mask)
{
	struct crypto_shash *tfm;

	(void)type, (void)mask;
	SHIM_ASSERT(!strcmp(name, "crc32"));
	if (!shim_shash)
		return ERR_PTR(-ENOENT);
	tfm = malloc(sizeof(*tfm));
	tfm->kind = shim_shash;
	return tfm;
}

void crypto_free_shash(struct crypto_shash *tfm)
{
	free(tfm);
}

int crypto_shash_update(struct shash_desc *desc, const u8 *p, unsigned int len)
{
	u32 *state = &desc->state[desc->tfm->kind == 2];

	*state = crc32_le(*state, p, len);
	return 0;
}
