// SPDX-License-Identifier: BSD-2-Clause
/*
 * A mirror, mem.c and window.c with threads: hits against an MM that takes pages away and uses them
 * again, faults, removal of leaves; and the end of a mirror while faults hold its leaves.
 */
#include "mirror_common.h"

/* Mutants: linked with --wrap. */
#ifdef MUTANT_NO_SYNC
void __wrap_prxe_window_sync_leaves(const struct cpumask *cpus, const struct prxe_leaf *what);
void __wrap_prxe_window_sync_leaves(const struct cpumask *cpus, const struct prxe_leaf *what) { }
#endif
#ifdef MUTANT_NO_INFLIGHT
enum prxe_inflight_how __wrap_prxe_inflight_look(struct prxe_inflight *in, unsigned long first,
						 unsigned long last, unsigned long around);
enum prxe_inflight_how __wrap_prxe_inflight_look(struct prxe_inflight *in, unsigned long first,
						 unsigned long last, unsigned long around)
{
	return PRXE_INFLIGHT_NONE;
}
#endif
#ifdef MUTANT_NO_RETRY	/* no invalidation finds the walk */
int __real_prxe_leaf_begin(struct prxe_leaf *leaf, struct prxe_leaf_walk *walk, unsigned long start,
			   unsigned long end);
int __wrap_prxe_leaf_begin(struct prxe_leaf *leaf, struct prxe_leaf_walk *walk, unsigned long start,
			   unsigned long end);
int __wrap_prxe_leaf_begin(struct prxe_leaf *leaf, struct prxe_leaf_walk *walk, unsigned long start,
			   unsigned long end)
{
	int ret = __real_prxe_leaf_begin(leaf, walk, start, end);

	if (!ret) {
		prxe_leaf_end(leaf, walk);
		walk->node.pprev = &walk->node.next;	/* its end finds it alone */
	}
	return ret;
}
#endif

/* Begin, and wait as a fault does. */
static void walk_begin(struct prxe_leaf *leaf, struct prxe_leaf_walk *walk, unsigned long va, u32 n)
{
	while (prxe_leaf_begin(leaf, walk, va, va + n * PAGE_SIZE))
		SHIM_ASSERT(!prxe_inflight_wait(&mirror->inflight, va, va + n * PAGE_SIZE - 1,
						&mirror->dead));
}

/* ---- threads: the hit path of mem.c against the MM ---- */

#define T_PAGES 24		/* on both sides of a leaf's end */
#define T_BASE (BASE + PRXE_LEAF_SIZE - T_PAGES / 2 * PAGE_SIZE)
#define WORDS 32
static pthread_mutex_t pt_lock = PTHREAD_MUTEX_INITIALIZER;	/* the page tables */
static struct page t_page[T_PAGES];	/* what is mapped; vaddr NULL: nothing */
/* A leaf that is mapped by one entry, or not at all. */
#define H_BASE (BASE + 2 * PRXE_LEAF_SIZE)
#define H_PFN(n) (SHIM_PAGES - 512 + (n))
static void *h_mem;		/* under pt_lock */
static bool stop, broken;
static unsigned long hits, misses, published, stale, taken, h_hits, h_published;
static struct prxe_dev dev;
static struct ib_pd pd;
static struct prxe_qp t_qp = { .dev = &dev, .pd = &pd };

static void t_failed(const char *what, u64 v)
{
	if (!__atomic_exchange_n(&broken, true, __ATOMIC_RELAXED))
		fprintf(stderr, "%s: %llx\n", what, (unsigned long long)v);
	WRITE_ONCE(stop, true);
}

/* A page tells where it is mapped; its first word is for writers. */
static u64 word_of(u32 no, u32 i)
{
	return (u64)(no + 1) * 0x9e3779b97f4a7c15ULL + i;
}

static void fill(u64 *page, u32 no)
{
	page[0] = 0;
	for (u32 i = 1; i < WORDS; i++)
		page[i] = word_of(no, i);
}

static void *t_faulter(void *arg)
{
	struct rnd rr = rnd_start(80 + (uintptr_t)arg);
	unsigned long done = 0, again = 0;

	while (!READ_ONCE(stop)) {
		u32 i = rnd_below(&rr, T_PAGES), n = 1 + rnd_below(&rr, 3), k;
		unsigned long va = T_BASE + i * PAGE_SIZE, pfns[3] = { 0 };
		struct prxe_leaf *leaf = prxe_leaf_pin(mirror, va, GFP_KERNEL);
		bool write = rnd_below(&rr, 2);
		struct prxe_leaf_walk walk;
		int ret;

		SHIM_ASSERT(!IS_ERR(leaf));
		if (i + n > T_PAGES || prxe_leaf_index(va) + n > 512)
			n = 1;
		walk_begin(leaf, &walk, va, n);
		pthread_mutex_lock(&pt_lock);
		for (k = 0; k < n; k++) {
			struct page *p = &t_page[i + k];

			/* The struct page of a snapshot is that of its time. */
			u32 pfn = 1 + i + k + T_PAGES * (p->tag % 300);	/* below H_PFN */

			if (!p->vaddr && rnd_below(&rr, 2)) {
				p->vaddr = aligned_alloc(PAGE_SIZE, PAGE_SIZE);
				fill(p->vaddr, i + k);
				shim_pages[pfn].vaddr = p->vaddr;
			}
			if (p->vaddr)
				pfns[k] = pfn | HMM_PFN_VALID | HMM_PFN_WRITE;
		}
		pthread_mutex_unlock(&pt_lock);
		if (!rnd_below(&rr, 4))
			sched_yield();
		ret = prxe_leaf_publish(leaf, &walk, va, n, pfns, write, GFP_KERNEL);
		if (ret == -EAGAIN)
			again++;
		else if (ret)
			t_failed("publish", -ret);
		else
			done++;
		prxe_leaf_unpin(leaf);
	}
	__atomic_fetch_add(&published, done, __ATOMIC_RELAXED);
	__atomic_fetch_add(&stale, again, __ATOMIC_RELAXED);
	return NULL;
}

/* The same for the leaf that is one page of the MM's. */
static void *h_faulter(void *arg)
{
	struct rnd rr = rnd_start(120);
	unsigned long done = 0, again = 0;

	while (!READ_ONCE(stop)) {
		struct prxe_leaf *leaf = prxe_leaf_pin(mirror, H_BASE, GFP_KERNEL);
		u32 i = rnd_below(&rr, 512);
		struct prxe_leaf_walk walk;
		unsigned long pfn = 0;
		int ret;

		SHIM_ASSERT(!IS_ERR(leaf));
		walk_begin(leaf, &walk, H_BASE, 512);
		pthread_mutex_lock(&pt_lock);
		if (!h_mem && rnd_below(&rr, 2)) {
			h_mem = aligned_alloc(PAGE_SIZE, PRXE_LEAF_SIZE);
			for (u32 k = 0; k < 512; k++) {
				fill(h_mem + k * PAGE_SIZE, k);
				shim_pages[H_PFN(k)] = (struct page){
					.vaddr = h_mem + k * PAGE_SIZE,
					.head = &shim_pages[H_PFN(0)],
				};
			}
		}
		if (h_mem)
			pfn = H_PFN(i) | HMM_PFN_VALID | HMM_PFN_WRITE | ORDER(9);
		pthread_mutex_unlock(&pt_lock);
		if (!rnd_below(&rr, 4))
			sched_yield();
		ret = prxe_leaf_publish(leaf, &walk, H_BASE + i * PAGE_SIZE, 1, &pfn,
					rnd_below(&rr, 2), GFP_KERNEL);
		if (ret == -EAGAIN)
			again++;
		else if (ret)
			t_failed("publish a whole leaf", -ret);
		else
			done += pfn != 0;
		prxe_leaf_unpin(leaf);
	}
	__atomic_fetch_add(&h_published, done, __ATOMIC_RELAXED);
	__atomic_fetch_add(&stale, again, __ATOMIC_RELAXED);
	return NULL;
}

static void h_take(struct rnd *rr)
{
	u32 a = rnd_below(rr, 512), b = a + 1 + rnd_below(rr, 512 - a);

	/* Any part of it takes all. */
	shim_mm_invalidate_start(mm, H_BASE + a * PAGE_SIZE, H_BASE + b * PAGE_SIZE);
	pthread_mutex_lock(&pt_lock);
	if (h_mem) {
		for (u32 k = 0; k < 512; k++)
			memset(h_mem + k * PAGE_SIZE, 0x5a, WORDS * 8);
		free(h_mem);
		h_mem = NULL;
	}
	pthread_mutex_unlock(&pt_lock);
	shim_mm_invalidate_end(mm);
}

static void *t_taker(void *arg)
{
	struct rnd rr = rnd_start(90 + (uintptr_t)arg);
	unsigned long n = 0;

	shim_cpu = (uintptr_t)arg;
	while (!READ_ONCE(stop)) {
		u32 a = rnd_below(&rr, T_PAGES), b = a + 1 + rnd_below(&rr, T_PAGES - a), i;

		shim_mm_invalidate_start(mm, T_BASE + a * PAGE_SIZE, T_BASE + b * PAGE_SIZE);
		pthread_mutex_lock(&pt_lock);
		for (i = a; i < b; i++) {
			if (!t_page[i].vaddr)
				continue;
			memset(t_page[i].vaddr, 0x5a, PAGE_SIZE);
			free(t_page[i].vaddr);
			t_page[i].vaddr = NULL;
			t_page[i].tag++;
			n++;
		}
		pthread_mutex_unlock(&pt_lock);
		shim_mm_invalidate_end(mm);
		if (!rnd_below(&rr, 4))
			h_take(&rr);
		if (rnd_below(&rr, 2))
			usleep(rnd_below(&rr, 200));
	}
	__atomic_fetch_add(&taken, n, __ATOMIC_RELAXED);
	return NULL;
}

static void *t_copier(void *arg)
{
	struct rnd rr = rnd_start(100 + (uintptr_t)arg);
	unsigned long hit = 0, h_hit = 0, miss_n = 0;
	u64 word[WORDS];

	shim_cpu = (uintptr_t)arg;
	shim_rt = shim_cpu & 1;
	while (!READ_ONCE(stop)) {
		u32 i = rnd_below(&rr, T_PAGES), first = 1 + rnd_below(&rr, WORDS - 1);
		u32 len = (WORDS - first) * 8, k, key = 1 << 8;
		struct prxe_miss miss = {};
		struct prxe_cursor cur;
		ssize_t n;
		u64 orig;
		int ret;

		if (rnd_below(&rr, 2)) {
			key = 2 << 8;
			i = rnd_below(&rr, 512);
		}
		prxe_mem_begin();
		ret = prxe_gate(&t_qp.who, key, true, i * PAGE_SIZE + first * 8, len,
				IB_ACCESS_REMOTE_READ, &cur);
		if (ret) {
			t_failed("gate", -ret);
		} else {
			n = prxe_copy_out(word, &cur, len, 0, &miss);
			if (n == len) {
				for (k = 0; k < len / 8; k++)
					if (word[k] != word_of(i, first + k))
						t_failed("read a page that was another's", word[k]);
				hit++;
				h_hit += key == 2 << 8;
			} else if (n || miss.mirror != mirror || miss.write) {
				t_failed("copy", n);
			} else {
				miss_n++;
				prxe_mirror_put(mirror);
			}
		}
		prxe_mem_end();

		/* Writers change their word only, atomically, so that two of them are no race. */
		prxe_mem_begin();
		ret = prxe_gate(&t_qp.who, key, true, i * PAGE_SIZE, 8, IB_ACCESS_REMOTE_ATOMIC,
				&cur);
		if (!ret)
			ret = prxe_copy_atomic(&cur, PRXE_ATOMIC_FETCH_ADD, 0, 1, &orig, &miss);
		prxe_mem_end();
		if (ret == -EAGAIN && miss.mirror == mirror && miss.write)
			prxe_mirror_put(mirror);
		else if (ret)
			t_failed("atomic", -ret);
		else if (orig >> 32)
			t_failed("counted in a page that was another's", orig);
	}
	__atomic_fetch_add(&hits, hit, __ATOMIC_RELAXED);
	__atomic_fetch_add(&h_hits, h_hit, __ATOMIC_RELAXED);
	__atomic_fetch_add(&misses, miss_n, __ATOMIC_RELAXED);
	return NULL;
}

static void *t_reaper(void *arg)
{
	while (!READ_ONCE(stop)) {
		shim_work_run(true);
		shim_rcu_drain();
		usleep(100);
	}
	return NULL;
}

static void threads(void **state)
{
	static void *(*const fn[])(void *) = {
		t_copier, t_copier, t_taker, t_taker, t_faulter, t_faulter, h_faulter, t_reaper,
	};
	pthread_t t[ARRAY_SIZE(fn)];
	struct prxe_mr mr = {
		.dev = &dev, .index = 1, .pd = &pd, .kind = PRXE_MR_ODP,
		.access = IB_ACCESS_REMOTE_READ | IB_ACCESS_REMOTE_ATOMIC,
		.rkey = 1 << 8, .lkey = 1 << 8, .length = T_PAGES * PAGE_SIZE, .va = T_BASE,
		.page_shift = PAGE_SHIFT,
	};
	struct prxe_mr huge = mr;
	uintptr_t i;

	stop = broken = false;
	hits = misses = published = stale = taken = h_hits = h_published = 0;
	assert_int_equal(prxe_mirror_init(), 0);
	mm = shim_mm_new();
	shim_task.mm = mm;
	mirror = prxe_mirror_get_current();
	assert_false(IS_ERR(mirror));
	mr.mirror = huge.mirror = mirror;
	huge.index = 2;
	huge.rkey = huge.lkey = 2 << 8;
	huge.va = H_BASE;
	huge.length = PRXE_LEAF_SIZE;
	spin_lock_init(&mr.lock);
	spin_lock_init(&huge.lock);
	prxe_mr_set_live(&mr);
	prxe_mr_set_live(&huge);
	xa_init(&dev.keys);
	xa_store(&dev.keys, 2, &huge, GFP_KERNEL);
	xa_store(&dev.keys, 1, &mr, GFP_KERNEL);

	for (i = 0; i < ARRAY_SIZE(fn); i++)
		pthread_create(&t[i], NULL, fn[i], (void *)(i + 1));
	for (i = 0; i < 250 && !READ_ONCE(stop); i++)
		usleep(10000);
	WRITE_ONCE(stop, true);
	for (i = 0; i < ARRAY_SIZE(fn); i++)
		pthread_join(t[i], NULL);
	printf("%lu hits (%lu of a whole leaf), %lu misses, ", hits, h_hits, misses);
	printf("%lu + %lu published, %lu stale, %lu pages taken away\n", published, h_published,
	       stale, taken);
	assert_false(broken);
	assert_true(hits > 10 && h_hits > 10 && misses > 10);
	assert_true(published > 10 && h_published > 10 && taken > 10);

	prxe_mr_set_not_live(&mr, PRXE_MR_DEAD);
	prxe_mr_set_not_live(&huge, PRXE_MR_DEAD);
	prxe_mr_unpublish(&mr);
	prxe_mr_unpublish(&huge);
	prxe_window_sync(&mr);
	prxe_window_sync(&huge);
	mirror_end();
	xa_destroy(&dev.keys);
	for (i = 0; i < T_PAGES; i++) {
		free(t_page[i].vaddr);
		t_page[i].vaddr = NULL;
	}
	free(h_mem);
	h_mem = NULL;
	assert_int_equal(pools, 0);
}

/*
 * The last user leaves while faults hold leaves and leaves are removed: every leaf goes, the
 * notifiers, the mirror.
 */
static int closing_step;
static void *c_faulter(void *arg)
{
	struct rnd rr = rnd_start(110 + (uintptr_t)arg);
	unsigned long pfn = HMM_PFN_VALID | (uintptr_t)arg;

	while (!READ_ONCE(closing_step))
		sched_yield();
	for (;;) {
		unsigned long va = BASE + rnd_below(&rr, LEAVES) * PRXE_LEAF_SIZE;
		struct prxe_leaf *leaf = prxe_leaf_pin(mirror, va, GFP_KERNEL);
		struct prxe_leaf_walk walk;

		if (IS_ERR(leaf))
			break;
		va += (uintptr_t)arg * PAGE_SIZE;
		walk_begin(leaf, &walk, va, 1);
		prxe_leaf_publish(leaf, &walk, va, 1, &pfn, false, GFP_KERNEL);
		prxe_leaf_unpin(leaf);
	}
	prxe_mirror_put(mirror);
	return NULL;
}

static void closing(void **state)
{
	void *mem = aligned_alloc(PAGE_SIZE, 4 * PAGE_SIZE);

	for (int i = 1; i < 4; i++)
		shim_pages[i] = (struct page){ .vaddr = mem + i * PAGE_SIZE };
	assert_int_equal(prxe_mirror_init(), 0);
	for (int round = 0; round < 120; round++) {
		pthread_t t[4];
		uintptr_t i;

		mm = shim_mm_new();
		shim_task.mm = mm;
		mirror = prxe_mirror_get_current();
		assert_false(IS_ERR(mirror));
		closing_step = 0;
		stop = false;
		for (i = 1; i < 4; i++) {
			assert_true(prxe_mirror_tryget(mirror));
			pthread_create(&t[i], NULL, c_faulter, (void *)i);
		}
		pthread_create(&t[0], NULL, t_reaper, NULL);
		WRITE_ONCE(closing_step, 1);
		usleep(round % 8 * 30);
		if (round & 1) {
			shim_mm_invalidate_start(mm, BASE, BASE + PAGES * PAGE_SIZE);
			shim_mm_invalidate_end(mm);
		}
		prxe_mirror_unuse(mirror);
		for (i = 1; i < 4; i++)
			pthread_join(t[i], NULL);
		WRITE_ONCE(stop, true);
		pthread_join(t[0], NULL);
		shim_work_run(true);
		shim_rcu_drain();
		shim_work_run(true);
		assert_int_equal(shim_mm_intervals(mm), 0);
		assert_int_equal(pools, 0);
		shim_mm_free(mm);
	}
	prxe_mirror_exit();
	free(mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads),
		cmocka_unit_test(closing),
	};

	dev.stats = shim_alloc_percpu(sizeof(struct prxe_stats));
	RUN_TESTS(tests);
}
