/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Deferred work: queued here, run by shim_work_run() in the caller's thread. Timers never fire by
 * themselves.
 */
#ifndef SHIM_WORK_H
#define SHIM_WORK_H

struct work_struct;
typedef void (*work_func_t)(struct work_struct *work);
struct work_struct {
	struct work_struct *next;
	work_func_t fn;
	bool pending, delayed;
};
struct delayed_work { struct work_struct work; };
struct workqueue_struct { int unused; };
#define INIT_WORK(w, f)		(*(w) = (struct work_struct){ .fn = (f) })
#define INIT_DELAYED_WORK(d, f)	INIT_WORK(&(d)->work, f)
#define INIT_WORK_ONSTACK(w, f)	INIT_WORK(w, f)
#define to_delayed_work(w)	container_of(w, struct delayed_work, work)
#define WQ_MEM_RECLAIM		0
#define WQ_UNBOUND		0
#define PRXE_WQ_PERCPU		0
#define alloc_workqueue(...) \
	((struct workqueue_struct *)calloc(1, sizeof(struct workqueue_struct)))
#define alloc_ordered_workqueue(...) alloc_workqueue()
#define destroy_workqueue(wq)	do { shim_work_run(true); free(wq); } while (0)
#define flush_workqueue(wq)	((void)(wq), (void)shim_work_run(true))
#define drain_workqueue(wq)	flush_workqueue(wq)
extern struct workqueue_struct *system_wq, *system_unbound_wq;
bool shim_queue(struct work_struct *work, bool delayed);
bool shim_requeue(struct work_struct *work, bool delayed);
bool shim_cancel(struct work_struct *work);
unsigned int shim_work_run(bool delayed_too);	/* until nothing is queued; how many ran */
#define queue_work(wq, w)	((void)(wq), shim_queue(w, false))
#define schedule_work(w)	shim_queue(w, false)
#define queue_delayed_work(wq, d, delay) ((void)(wq), shim_queue(&(d)->work, (delay) != 0))
/* True when it was pending. */
#define mod_delayed_work(wq, d, delay) ((void)(wq), shim_requeue(&(d)->work, (delay) != 0))
#define cancel_work_sync(w)	shim_cancel(w)
#define cancel_delayed_work_sync(d) shim_cancel(&(d)->work)
#define flush_work(w)		((void)(w), shim_work_run(true))
#define flush_delayed_work(d)	((void)(d), shim_work_run(true))

enum hrtimer_restart { HRTIMER_NORESTART, HRTIMER_RESTART };
enum hrtimer_mode { HRTIMER_MODE_REL_SOFT, HRTIMER_MODE_ABS_SOFT, HRTIMER_MODE_REL };
struct hrtimer {
	enum hrtimer_restart (*function)(struct hrtimer *timer);
	bool active;
	ktime_t expires;
};
static inline void prxe_hrtimer_setup(struct hrtimer *t,
				      enum hrtimer_restart (*fn)(struct hrtimer *),
				      clockid_t clock, enum hrtimer_mode mode)
{
	(void)clock, (void)mode;
	*t = (struct hrtimer){ .function = fn };
}
/* A test with threads has its own of these two. */
void shim_timer_start(struct hrtimer *timer, ktime_t when);
bool shim_timer_cancel(struct hrtimer *timer);
#define hrtimer_start(t, when, mode) shim_timer_start(t, when)
#define hrtimer_cancel(t)	shim_timer_cancel(t)
#define hrtimer_try_to_cancel(t) shim_timer_cancel(t)
#define hrtimer_active(t)	((t)->active)

struct completion { int done; };
#define init_completion(c)	WRITE_ONCE((c)->done, 0)
#define reinit_completion(c)	init_completion(c)
#define DECLARE_COMPLETION_ONSTACK(c) struct completion c = { 0 }
#define complete(c)		__atomic_store_n(&(c)->done, 1, __ATOMIC_RELEASE)
#define complete_all(c)		complete(c)
#define wait_for_completion(c)	do { \
		might_sleep(); \
		while (!smp_load_acquire(&(c)->done)) \
			shim_wait(); \
	} while (0)
#define wait_for_completion_killable(c)	({ \
		int killed_ = shim_wait_killed() ? -EINTR : 0; \
		if (!killed_) \
			wait_for_completion(c); \
		killed_; })
#define wait_for_completion_state(c, s) ({ wait_for_completion(c); 0; })
#define try_wait_for_completion(c) smp_load_acquire(&(c)->done)
extern __thread int shim_killed;	/* the n-th wait from now is ended by a signal; 0: none */
bool shim_wait_killed(void);
void shim_wait(void);	/* runs queued work, so that a lone thread gets on */

typedef struct { int unused; } wait_queue_head_t;
#define DECLARE_WAIT_QUEUE_HEAD(n) wait_queue_head_t n
#define init_waitqueue_head(w)	((void)(w))
#define wake_up(w)		((void)(w))
#define wake_up_all(w)		((void)(w))
/* What has not happened after 20 s never will. */
#define wait_event_timeout(w, c, t) ({ \
		u64 end_ = ktime_get_ns() + 20 * NSEC_PER_SEC; \
		might_sleep(); \
		while (!(c)) { \
			SHIM_ASSERT(ktime_get_ns() < end_); \
			shim_wait(); \
		} \
		1L; })
#define wait_event_killable_timeout(w, c, t) wait_event_timeout(w, c, t)
#define wq_has_sleeper(w)	((void)(w), false)
#define wait_event(w, c)	((void)wait_event_timeout(w, c, 0))
#define wait_event_killable(w, c) ({ wait_event(w, c); 0; })

/* Loaded, and not about to go. */
extern atomic_t shim_module_refs;
#define THIS_MODULE		NULL
#define __module_get(m)		atomic_inc(&shim_module_refs)
#define try_module_get(m)	({ atomic_inc(&shim_module_refs); true; })
#define module_put(m)		SHIM_ASSERT(atomic_dec_return(&shim_module_refs) >= 0)

struct kref { refcount_t r; };
#define kref_init(k)		refcount_set(&(k)->r, 1)
#define kref_get(k)		refcount_inc(&(k)->r)
#define kref_put(k, fn)		({ \
		bool last_ = refcount_dec_and_test(&(k)->r); \
		if (last_) \
			fn(k); \
		last_; })

#endif
