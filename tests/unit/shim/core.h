/* SPDX-License-Identifier: BSD-2-Clause */
/* Types, macros, errors, memory. */
#ifndef SHIM_CORE_H
#define SHIM_CORE_H

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s8 s8;
typedef __s16 s16;
typedef __s32 s32;
typedef __s64 s64;
typedef s64 ktime_t;
typedef unsigned int gfp_t;
#define PRXE_PACKET_TYPES_H	/* its types are these */

#ifndef __aligned_u64
#define __aligned_u64	__u64 __attribute__((aligned(8)))
#endif
#define __user
#define __percpu
#define __rcu
#define __iomem
#define __force
#define __must_check
#define __read_mostly
#define __init
#define __exit
#undef __always_inline
#define __always_inline	inline __attribute__((always_inline))
#define noinline	__attribute__((noinline))
#define __maybe_unused	__attribute__((unused))
#undef __packed
#define __packed	__attribute__((packed))
#define ____cacheline_aligned __attribute__((aligned(64)))
#define ____cacheline_aligned_in_smp ____cacheline_aligned
#define fallthrough	__attribute__((fallthrough))
#define likely(x)	__builtin_expect(!!(x), 1)
#define unlikely(x)	__builtin_expect(!!(x), 0)
#ifndef static_assert
#define static_assert	_Static_assert
#endif
#define BUILD_BUG_ON(x)	_Static_assert(!(x), #x)
#define DECLARE_FLEX_ARRAY(type, name) struct { struct { } name##_empty; type name[]; }
#define struct_size(p, member, n) (sizeof(*(p)) + sizeof(*(p)->member) * (size_t)(n))
#define array_size(a, b) ((size_t)(a) * (size_t)(b))
/* Options that are not here are off: no machine check is caught in a copy, as on arm64. */
#define CONFIG_IPV6		1
#define CONFIG_MEMORY_FAILURE	1
#define CONFIG_VLAN_8021Q	1
#define shim_on_1		0,
#define shim_second(a, b, ...)	b
#define shim_defined(x)		shim_second(x 1, 0, 0)
#define shim_paste(x)		shim_defined(shim_on_##x)
#define IS_ENABLED(x)		shim_paste(x)
/* This one is on or off for each thread: whether it runs what a kernel with PREEMPT_RT has. */
#define CONFIG_PREEMPT_RT	shim_rt
#define shim_on_shim_rt		0, shim_rt &&
extern __thread bool shim_rt;
#define EXPORT_SYMBOL_GPL(x)
#define HZ		100

#define BIT(n)		(1UL << (n))
#define DECLARE_BITMAP(name, bits) unsigned long name[((bits) + 63) / 64]
#define BIT_ULL(n)	(1ULL << (n))
#define GENMASK(h, l)	(((~0UL) << (l)) & (~0UL >> (63 - (h))))
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define container_of(p, type, member) ((type *)(void *)((char *)(p) - offsetof(type, member)))
#define ALIGN(x, a)	(((x) + (a) - 1) & ~((typeof(x))(a) - 1))
#define ALIGN_DOWN(x, a) ((x) & ~((typeof(x))(a) - 1))
#define IS_ALIGNED(x, a) (!((x) & ((typeof(x))(a) - 1)))
#define DIV_ROUND_UP(n, d) (((n) + (d) - 1) / (d))
#define min(a, b)	({ __auto_type a_ = (a); __auto_type b_ = (b); a_ < b_ ? a_ : b_; })
#define max(a, b)	({ __auto_type a_ = (a); __auto_type b_ = (b); a_ > b_ ? a_ : b_; })
#define min3(a, b, c)	min(min(a, b), c)
#define min_t(t, a, b)	({ t a_ = (a); t b_ = (b); a_ < b_ ? a_ : b_; })
#define max_t(t, a, b)	({ t a_ = (a); t b_ = (b); a_ > b_ ? a_ : b_; })
#define clamp_t(t, v, lo, hi) min_t(t, max_t(t, v, lo), hi)
#define clamp(v, lo, hi) clamp_t(typeof(v), v, lo, hi)
#define swap(a, b)	do { typeof(a) t_ = (a); (a) = (b); (b) = t_; } while (0)
#define check_add_overflow(a, b, d) __builtin_add_overflow(a, b, d)
#define check_mul_overflow(a, b, d) __builtin_mul_overflow(a, b, d)
#define upper_32_bits(x) ((u32)((x) >> 32))
#define lower_32_bits(x) ((u32)(x))

#define U8_MAX		((u8)~0)
#define U16_MAX		((u16)~0)
#define U32_MAX		(~0U)
#define U64_MAX		(~0ULL)
#define NSEC_PER_USEC	1000L
#define NSEC_PER_MSEC	1000000L
#define NSEC_PER_SEC	1000000000L

#define SZ_4K		0x1000
#define PAGE_SHIFT	12
#define PAGE_SIZE	(1UL << PAGE_SHIFT)
#define PAGE_MASK	(~(PAGE_SIZE - 1))
#define PAGE_ALIGN(x)	ALIGN(x, PAGE_SIZE)
#define offset_in_page(p) ((unsigned long)(p) & ~PAGE_MASK)
#define PHYS_PFN(x)	((unsigned long)(x) >> PAGE_SHIFT)

static inline int fls64_shim(u64 x)
{
	return x ? 64 - __builtin_clzll(x) : 0;
}
#define ilog2(x)	(fls64_shim(x) - 1)
#define roundup_pow_of_two(x) ((typeof(x))1 << fls64_shim((u64)(x) - 1))
#define is_power_of_2(x) ((x) && !((x) & ((x) - 1)))
#define order_base_2(x)	fls64_shim((u64)(x) - 1)

/* ---- errors: 523 and the like do not reach user space, these do ---- */
#define MAX_ERRNO	4095
#define IS_ERR_VALUE(x)	((unsigned long)(void *)(x) >= (unsigned long)-MAX_ERRNO)
static inline void *ERR_PTR(long err) { return (void *)err; }
static inline long PTR_ERR(const void *p) { return (long)p; }
static inline bool IS_ERR(const void *p) { return IS_ERR_VALUE(p); }
static inline bool IS_ERR_OR_NULL(const void *p) { return !p || IS_ERR_VALUE(p); }
static inline void *ERR_CAST(const void *p) { return (void *)p; }
static inline int PTR_ERR_OR_ZERO(const void *p) { return IS_ERR(p) ? PTR_ERR(p) : 0; }
#define ENOTSUPP	524

void shim_fail(const char *what, const char *file, int line) __attribute__((noreturn));
#define WARN_ON(x)	({ \
		bool w_ = !!(x); \
		if (unlikely(w_)) \
			shim_fail("WARN_ON(" #x ")", __FILE__, __LINE__); \
		w_; })
#define WARN_ON_ONCE(x)	WARN_ON(x)
#define BUG_ON(x)	((void)WARN_ON(x))
#define WARN_ONCE(x, ...) WARN_ON(x)
#define SHIM_ASSERT(x)	do { if (!(x)) shim_fail(#x, __FILE__, __LINE__); } while (0)

#define pr_err(...)	((void)0)
#define pr_warn(...)	((void)0)
#define pr_warn_ratelimited(...) ((void)0)
#define pr_info(...)	((void)0)
#define pr_debug(...)	((void)0)

/* Tracepoints are functions that do nothing. */
#define TP_PROTO(...)	__VA_ARGS__
#define TRACE_EVENT(name, proto, ...) \
	static inline void trace_##name(proto) { } \
	static inline bool trace_##name##_enabled(void) { return false; }
#define DECLARE_EVENT_CLASS(...)
#define DEFINE_EVENT(class, name, proto, ...) TRACE_EVENT(name, proto)
#define DEFINE_EVENT_PRINT(class, name, proto, ...) TRACE_EVENT(name, proto)

/* ---- memory ---- */
#define GFP_ATOMIC	1U
#define GFP_KERNEL	2U
#define GFP_KERNEL_ACCOUNT 2U
#define GFP_NOWAIT	4U
#define __GFP_ZERO	8U
#define __GFP_NOWARN	16U
#define __GFP_ACCOUNT	0U
#define __GFP_COMP	0U
#define __GFP_NOMEMALLOC 0U
#define gfpflags_allow_blocking(gfp) (!!((gfp) & GFP_KERNEL))

/* The n-th allocation from now fails when set to n; 0: none. */
extern __thread int shim_alloc_fails;
/* Called before each allocation. */
extern __thread void (*shim_on_alloc)(gfp_t gfp);
void *shim_alloc(size_t size, gfp_t gfp);
#define kmalloc(size, gfp)	shim_alloc(size, gfp)
#define kzalloc(size, gfp)	shim_alloc(size, (gfp) | __GFP_ZERO)
#define kcalloc(n, size, gfp)	shim_alloc((size_t)(n) * (size), (gfp) | __GFP_ZERO)
#define kmalloc_array(n, size, gfp) shim_alloc((size_t)(n) * (size), gfp)
#define kvmalloc(size, gfp)	shim_alloc(size, gfp)
#define kvzalloc(size, gfp)	shim_alloc(size, (gfp) | __GFP_ZERO)
#define kvcalloc(n, size, gfp)	kcalloc(n, size, gfp)
#define kvmalloc_array(n, size, gfp) kmalloc_array(n, size, gfp)
#define __vmalloc(size, gfp)	shim_alloc(size, gfp)
#define vzalloc(size)		kzalloc(size, GFP_KERNEL)
static inline void kfree(const void *p) { free((void *)p); }
static inline void kvfree(const void *p) { free((void *)p); }
static inline void vfree(const void *p) { free((void *)p); }
static inline void *kmemdup(const void *p, size_t n, gfp_t gfp)
{
	void *q = shim_alloc(n, gfp);

	return q ? memcpy(q, p, n) : NULL;
}

/* ---- byte order ---- */
#define cpu_to_be16(x)	__cpu_to_be16(x)
#define cpu_to_be32(x)	__cpu_to_be32(x)
#define cpu_to_be64(x)	__cpu_to_be64(x)
#define be16_to_cpu(x)	__be16_to_cpu(x)
#define be32_to_cpu(x)	__be32_to_cpu(x)
#define be64_to_cpu(x)	__be64_to_cpu(x)
#define cpu_to_le32(x)	__cpu_to_le32(x)
#define htons(x)	__cpu_to_be16(x)
#define ntohs(x)	__be16_to_cpu(x)
static inline u8 get_random_u8(void) { return rand(); }
static inline u32 get_unaligned_le32(const void *p)
{
	__le32 v;

	memcpy(&v, p, sizeof(v));
	return __le32_to_cpu(v);
}
static inline u64 get_unaligned_le64(const void *p)
{
	__le64 v;

	memcpy(&v, p, sizeof(v));
	return __le64_to_cpu(v);
}
static inline u32 get_unaligned_be32(const void *p)
{
	__be32 v;

	memcpy(&v, p, sizeof(v));
	return __be32_to_cpu(v);
}
static inline void put_unaligned_be32(u32 v, void *p)
{
	__be32 be = __cpu_to_be32(v);

	memcpy(p, &be, sizeof(be));
}
static inline void put_unaligned_le32(u32 v, void *p)
{
	__le32 le = __cpu_to_le32(v);

	memcpy(p, &le, sizeof(le));
}

/* ---- time ---- */
static inline u64 ktime_get_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}
#define ktime_get()		((ktime_t)ktime_get_ns())
#define ns_to_ktime(ns)		((ktime_t)(ns))
#define ms_to_ktime(ms)		((ktime_t)(ms) * NSEC_PER_MSEC)
#define us_to_ktime(us)		((ktime_t)(us) * NSEC_PER_USEC)
#define ktime_to_ns(t)		((s64)(t))
#define ktime_sub(a, b)		((a) - (b))
#define ktime_add_ns(a, ns)	((a) + (s64)(ns))
#define ktime_before(a, b)	((a) < (b))
#define ktime_after(a, b)	((a) > (b))
#define msecs_to_jiffies(ms)	((unsigned long)(ms) * HZ / 1000)
#define usleep_range(a, b)	usleep(a)
#define msleep(ms)		usleep((ms) * 1000)

#endif
