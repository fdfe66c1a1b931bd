/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Atomics, barriers, locks, RCU, per-CPU memory.
 *
 * ThreadSanitizer knows no fences, so a barrier is an atomic read-modify-write of one global word.
 * On the machine that is as full as smp_mb(), and the sanitizer sees the order that it makes.
 */
#ifndef SHIM_SYNC_H
#define SHIM_SYNC_H

extern __thread int shim_spins, shim_bh_off, shim_rcu_nest;	/* the context of this thread */
extern int shim_barrier_word;
#define shim_barrier()	((void)__atomic_fetch_add(&shim_barrier_word, 1, __ATOMIC_SEQ_CST))

#define barrier()	__asm__ __volatile__("" ::: "memory")
/* The mutants that must be caught: tests/unit/Makefile, "mutants". */
#ifdef MUTANT_NO_MB
#define smp_mb()	barrier()
#else
#define smp_mb()	shim_barrier()
#endif
#define smp_rmb()	shim_barrier()
#define wmb()		shim_barrier()
#ifdef MUTANT_NO_RELEASE
#define smp_wmb()	barrier()
#else
#define smp_wmb()	shim_barrier()
#endif
#define smp_mb__before_atomic() shim_barrier()
#define smp_mb__after_atomic() shim_barrier()
/* What is reached through a value comes after its load, as in the kernel's memory model. */
#define READ_ONCE(x)	__atomic_load_n(&(x), __ATOMIC_CONSUME)
/*
 * What came before the lock that is held is seen before the store: unlock and then lock orders all
 * but stores against later loads.
 */
#define WRITE_ONCE(x, v) \
	(shim_spins ? __atomic_store_n(&(x), (v), __ATOMIC_RELEASE) : \
		      __atomic_store_n(&(x), (v), __ATOMIC_RELAXED))
#define smp_load_acquire(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#ifdef MUTANT_NO_RELEASE
#define smp_store_release(p, v) __atomic_store_n(p, v, __ATOMIC_RELAXED)
#else
#define smp_store_release(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
#endif
#define smp_acquire__after_ctrl_dep() shim_barrier()
#define smp_store_mb(x, v) do { WRITE_ONCE(x, v); smp_mb(); } while (0)
#define cpu_relax()	sched_yield()
#define cond_resched()	might_sleep()
#define need_resched()	1
#define xchg(p, v)	__atomic_exchange_n(p, v, __ATOMIC_SEQ_CST)
/* A test may have something happen just before. */
extern __thread void (*shim_on_cmpxchg)(void *p);
#define cmpxchg(p, o, n) ({ \
		typeof(*(p)) o_ = (o); \
		if (shim_on_cmpxchg) \
			shim_on_cmpxchg(p); \
		__atomic_compare_exchange_n(p, &o_, n, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
		o_; })
#define shim_cmpxchg(p, op, n) \
	__atomic_compare_exchange_n(p, op, n, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
#define try_cmpxchg(p, op, n) shim_cmpxchg(p, op, n)

typedef struct { int counter; } atomic_t;
typedef struct { s64 counter; } atomic64_t;
typedef struct { long counter; } atomic_long_t;
typedef struct { int counter; } refcount_t;
#define ATOMIC_INIT(v)		{ v }
#define shim_at(op, v, n)	__atomic_##op(&(v)->counter, n, __ATOMIC_SEQ_CST)
#define atomic_read(v)		READ_ONCE((v)->counter)
#define atomic_read_acquire(v)	__atomic_load_n(&(v)->counter, __ATOMIC_ACQUIRE)
#define atomic_set(v, n)	WRITE_ONCE((v)->counter, n)
#define atomic_set_release(v, n) __atomic_store_n(&(v)->counter, n, __ATOMIC_RELEASE)
#define atomic_inc(v)		((void)shim_at(add_fetch, v, 1))
#define atomic_dec(v)		((void)shim_at(sub_fetch, v, 1))
#define atomic_add(n, v)	((void)shim_at(add_fetch, v, n))
#define atomic_sub(n, v)	((void)shim_at(sub_fetch, v, n))
#define atomic_inc_return(v)	shim_at(add_fetch, v, 1)
#define atomic_dec_return(v)	shim_at(sub_fetch, v, 1)
#define atomic_add_return(n, v)	shim_at(add_fetch, v, n)
#define atomic_sub_return(n, v)	shim_at(sub_fetch, v, n)
#define atomic_dec_return_release(v) atomic_dec_return(v)
#define atomic_dec_and_test(v)	(shim_at(sub_fetch, v, 1) == 0)
#define atomic_xchg(v, n)	__atomic_exchange_n(&(v)->counter, n, __ATOMIC_SEQ_CST)
#define atomic_cmpxchg(v, o, n)	({ int o_ = (o); shim_cmpxchg(&(v)->counter, &o_, n); o_; })
#define atomic_cmpxchg_acquire(v, o, n) atomic_cmpxchg(v, o, n)
static inline bool atomic_inc_not_zero(atomic_t *v)
{
	int old = atomic_read(v);

	while (old && !shim_cmpxchg(&v->counter, &old, old + 1))
		;
	return old;
}
static inline bool atomic_add_unless(atomic_t *v, int n, int unless)
{
	int old = atomic_read(v);

	while (old != unless && !shim_cmpxchg(&v->counter, &old, old + n))
		;
	return old != unless;
}
#define atomic_long_read_acquire(v) smp_load_acquire(&(v)->counter)
#ifdef MUTANT_NO_COUNT
#define atomic_long_inc_return(v) atomic_long_read_acquire(v)
#else
#define atomic_long_inc_return(v) shim_at(add_fetch, v, 1)
#endif
#define atomic64_read(v)	READ_ONCE((v)->counter)
#define atomic64_set(v, n)	WRITE_ONCE((v)->counter, n)
#define atomic64_inc(v)		((void)shim_at(add_fetch, v, 1))
#define atomic64_add(n, v)	((void)shim_at(add_fetch, v, n))
#define atomic64_cmpxchg(v, o, n) \
	({ s64 o_ = (o); shim_cmpxchg(&((atomic64_t *)(v))->counter, &o_, n); o_; })
#define atomic64_fetch_add(n, v) shim_at(fetch_add, (atomic64_t *)(v), n)
#define refcount_set(r, n)	atomic_set(r, n)
#define refcount_read(r)	atomic_read(r)
#define refcount_inc(r)		((void)WARN_ON(shim_at(fetch_add, r, 1) <= 0))
#define refcount_inc_not_zero(r) atomic_inc_not_zero((atomic_t *)(r))
#define refcount_dec_and_test(r) ({ int n_ = shim_at(sub_fetch, r, 1); WARN_ON(n_ < 0); !n_; })

static inline bool test_bit(unsigned int n, const unsigned long *p)
{
	return READ_ONCE(p[n / 64]) >> (n % 64) & 1;
}
static inline void set_bit(unsigned int n, unsigned long *p)
{
	if (shim_on_cmpxchg)
		shim_on_cmpxchg(p);
	__atomic_or_fetch(&p[n / 64], 1UL << (n % 64), __ATOMIC_SEQ_CST);
}
static inline void clear_bit(unsigned int n, unsigned long *p)
{
	__atomic_and_fetch(&p[n / 64], ~(1UL << (n % 64)), __ATOMIC_SEQ_CST);
}
static inline bool test_and_set_bit(unsigned int n, unsigned long *p)
{
	return __atomic_fetch_or(&p[n / 64], 1UL << (n % 64), __ATOMIC_SEQ_CST) >> (n % 64) & 1;
}
static inline bool test_and_clear_bit(unsigned int n, unsigned long *p)
{
	return __atomic_fetch_and(&p[n / 64], ~(1UL << (n % 64)), __ATOMIC_SEQ_CST) >> (n % 64) & 1;
}

/* ---- context ---- */
#define might_sleep()		SHIM_ASSERT(!shim_spins && !shim_bh_off && !shim_rcu_nest)
#define local_bh_disable()	((void)shim_bh_off++)
#define local_bh_enable()	do { SHIM_ASSERT(shim_bh_off > 0); shim_bh_off--; } while (0)
#define preempt_disable()	local_bh_disable()
extern __thread void (*shim_on_preempt)(void);	/* called where this thread may be preempted */
#define preempt_enable()	do { \
		local_bh_enable(); \
		if (shim_on_preempt) \
			shim_on_preempt(); \
	} while (0)
#define in_task()		(!shim_bh_off)
#define in_interrupt()		(shim_bh_off)
#define in_serving_softirq()	0
#define irqs_disabled()		0

/* ---- locks ---- */
typedef struct { pthread_mutex_t m; } spinlock_t;
#define __SPIN_LOCK_UNLOCKED(x)	{ PTHREAD_MUTEX_INITIALIZER }
#define DEFINE_SPINLOCK(x)	spinlock_t x = __SPIN_LOCK_UNLOCKED(x)
#define spin_lock_init(l)	((void)pthread_mutex_init(&(l)->m, NULL))
static inline void spin_lock(spinlock_t *l)
{
	shim_spins++;
	SHIM_ASSERT(!pthread_mutex_lock(&l->m));
}
static inline bool spin_trylock(spinlock_t *l)
{
	if (pthread_mutex_trylock(&l->m))
		return false;
	shim_spins++;
	return true;
}
static inline void spin_unlock(spinlock_t *l)
{
	SHIM_ASSERT(shim_spins > 0 && !pthread_mutex_unlock(&l->m));
	shim_spins--;
}
#define spin_lock_bh(l)		do { local_bh_disable(); spin_lock(l); } while (0)
#define spin_unlock_bh(l)	do { spin_unlock(l); local_bh_enable(); } while (0)
#define spin_lock_irqsave(l, f)	do { (f) = 0; spin_lock(l); } while (0)
#define spin_unlock_irqrestore(l, f) do { (void)(f); spin_unlock(l); } while (0)
#define spin_lock_irq(l)	spin_lock(l)
#define spin_unlock_irq(l)	spin_unlock(l)
#define lockdep_assert_in_softirq() ((void)0)
#define lockdep_assert(cond)	((void)(cond))
#define lockdep_assert_held(l)	((void)(l))

/* Of this CPU's own data; on PREEMPT_RT a lock, else preemption is off. */
typedef struct { int held; } local_lock_t;
#define INIT_LOCAL_LOCK(l)	{ 0 }
#define local_lock(l)		do { \
		preempt_disable(); \
		SHIM_ASSERT(!this_cpu_ptr(l)->held++); \
	} while (0)
#define local_unlock(l)		do { \
		SHIM_ASSERT(!--this_cpu_ptr(l)->held); \
		preempt_enable(); \
	} while (0)

struct mutex { pthread_mutex_t m; };
#define DEFINE_MUTEX(x)		struct mutex x = { PTHREAD_MUTEX_INITIALIZER }
#define mutex_init(l)		((void)pthread_mutex_init(&(l)->m, NULL))
#define mutex_destroy(l)	((void)pthread_mutex_destroy(&(l)->m))
#define mutex_lock(l)		do { \
		might_sleep(); \
		SHIM_ASSERT(!pthread_mutex_lock(&(l)->m)); \
	} while (0)
#define mutex_lock_killable(l)	({ might_sleep(); SHIM_ASSERT(!pthread_mutex_lock(&(l)->m)); 0; })
#define mutex_trylock(l)	(!pthread_mutex_trylock(&(l)->m))
#define mutex_unlock(l)		SHIM_ASSERT(!pthread_mutex_unlock(&(l)->m))

/* ---- RCU: what is freed stays until shim_rcu_drain(), which waits for the readers of now ---- */
struct rcu_head {
	struct rcu_head *next;
	void (*fn)(struct rcu_head *head);
	void *mem;	/* to free() when there is no fn */
};
void rcu_read_lock(void);
void rcu_read_unlock(void);
void synchronize_rcu(void);
void call_rcu(struct rcu_head *head, void (*fn)(struct rcu_head *head));
void shim_kfree_rcu(struct rcu_head *head, void *mem);
void shim_rcu_drain(void);	/* process context: runs the callbacks */
#define kfree_rcu(p, member)	shim_kfree_rcu(&(p)->member, p)
#define rcu_barrier()		shim_rcu_drain()
#define rcu_dereference(p)	smp_load_acquire(&(p))
#define rcu_dereference_protected(p, c) (p)
#define rcu_assign_pointer(p, v) smp_store_release(&(p), v)
#define rcu_access_pointer(p)	READ_ONCE(p)
#define RCU_INIT_POINTER(p, v)	WRITE_ONCE(p, v)

/* ---- CPUs: each thread is the one that it says it is ---- */
#define SHIM_CPUS	64
extern __thread int shim_cpu;
extern ptrdiff_t shim_percpu_off[SHIM_CPUS];
#define SHIM_PERCPU		__attribute__((section("shim_percpu"), used, aligned(64)))
#define DEFINE_PER_CPU(type, name) SHIM_PERCPU typeof(type) name
#define DEFINE_PER_CPU_ALIGNED(type, name) DEFINE_PER_CPU(type, name)
#define DEFINE_PER_CPU_SHARED_ALIGNED(type, name) DEFINE_PER_CPU(type, name)
#define DECLARE_PER_CPU(type, name) extern typeof(type) name
#define DECLARE_PER_CPU_ALIGNED(type, name) DECLARE_PER_CPU(type, name)
#define per_cpu_ptr(p, cpu)	((typeof(p))((uintptr_t)(p) + shim_percpu_off[cpu]))
#define this_cpu_ptr(p)		per_cpu_ptr(p, shim_cpu)
#define raw_cpu_ptr(p)		this_cpu_ptr(p)
#define per_cpu(v, cpu)		(*per_cpu_ptr(&(v), cpu))
#define this_cpu_inc(v)		((void)__atomic_fetch_add(this_cpu_ptr(&(v)), 1, __ATOMIC_RELAXED))
#define this_cpu_add(v, n)	((void)__atomic_fetch_add(this_cpu_ptr(&(v)), n, __ATOMIC_RELAXED))
#define this_cpu_read(v)	READ_ONCE(*this_cpu_ptr(&(v)))
#define for_each_possible_cpu(cpu) for ((cpu) = 0; (cpu) < SHIM_CPUS; (cpu)++)
struct cpumask { unsigned long bits; };
typedef struct cpumask cpumask_var_t[1];
static const struct cpumask cpu_online_mask[1] = { { ~0UL } };
#define zalloc_cpumask_var(m, gfp) \
	({ (m)[0]->bits = 0; !(shim_alloc_fails && !--shim_alloc_fails); })
#define free_cpumask_var(m)	((void)(m))
#define cpumask_test_cpu(cpu, m) test_bit(cpu, &(m)->bits)
#ifdef MUTANT_NO_MASK
#define cpumask_set_cpu(cpu, m)	((void)(m))
#else
#define cpumask_set_cpu(cpu, m)	set_bit(cpu, &(m)->bits)
#endif
#define for_each_cpu(cpu, m) \
	for ((cpu) = 0; (cpu) < SHIM_CPUS; (cpu)++) if (cpumask_test_cpu(cpu, m))
#define for_each_online_cpu(cpu) for_each_possible_cpu(cpu)
#define smp_processor_id()	shim_cpu
#define raw_smp_processor_id()	shim_cpu
#define get_cpu()		({ preempt_disable(); shim_cpu; })
#define put_cpu()		preempt_enable()
void *shim_alloc_percpu(size_t size);
#define alloc_percpu(type)	((type *)shim_alloc_percpu(sizeof(type)))
#define free_percpu(p)		((void)(p))

#endif
