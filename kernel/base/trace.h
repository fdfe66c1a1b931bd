/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Tracepoints of the secondary MMU (the mirrors): perf trace -e 'prxe:*', or
 * /sys/kernel/tracing/events/prxe. The field "mirror" tells address spaces apart.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM prxe

#if !defined(PRXE_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define PRXE_TRACE_H

#include <linux/tracepoint.h>

/*
 * A fault has ended, in the context of the poster or of a fault thread. flags: FAULT_* of
 * mmu/fault.h.
 */
TRACE_EVENT(prxe_fault,
	TP_PROTO(const void *mirror, unsigned long va, unsigned long len, unsigned int flags,
		 int result),
	TP_ARGS(mirror, va, len, flags, result),
	TP_STRUCT__entry(
		__field(const void *, mirror)
		__field(unsigned long, va)
		__field(unsigned long, len)
		__field(unsigned int, flags)
		__field(int, result)
	),
	TP_fast_assign(
		__entry->mirror = mirror;
		__entry->va = va;
		__entry->len = len;
		__entry->flags = flags;
		__entry->result = result;
	),
	TP_printk("mirror=%p va=%#lx len=%#lx flags=%#x result=%d",
		  __entry->mirror, __entry->va, __entry->len, __entry->flags, __entry->result)
);

/*
 * A fault published translations (result 0: count of them), or could not, mostly because an
 * invalidation came first (-EAGAIN).
 */
TRACE_EVENT(prxe_publish,
	TP_PROTO(const void *mirror, unsigned long va, unsigned int npages, unsigned int count,
		 bool write, int result),
	TP_ARGS(mirror, va, npages, count, write, result),
	TP_STRUCT__entry(
		__field(const void *, mirror)
		__field(unsigned long, va)
		__field(unsigned int, npages)
		__field(unsigned int, count)
		__field(bool, write)
		__field(int, result)
	),
	TP_fast_assign(
		__entry->mirror = mirror;
		__entry->va = va;
		__entry->npages = npages;
		__entry->count = count;
		__entry->write = write;
		__entry->result = result;
	),
	TP_printk("mirror=%p va=%#lx pages=%u published=%u write=%d result=%d",
		  __entry->mirror, __entry->va, __entry->npages, __entry->count, __entry->write,
		  __entry->result)
);

/*
 * The MM invalidated [start, last], where the mirror has leaves. event: an enum mmu_notifier_event;
 * cleared: how many translations; waited: for hazard windows of other CPUs.
 */
TRACE_EVENT(prxe_invalidate,
	TP_PROTO(const void *mirror, unsigned long start, unsigned long last, unsigned int event,
		 unsigned int cleared, bool waited),
	TP_ARGS(mirror, start, last, event, cleared, waited),
	TP_STRUCT__entry(
		__field(const void *, mirror)
		__field(unsigned long, start)
		__field(unsigned long, last)
		__field(unsigned int, event)
		__field(unsigned int, cleared)
		__field(bool, waited)
	),
	TP_fast_assign(
		__entry->mirror = mirror;
		__entry->start = start;
		__entry->last = last;
		__entry->event = event;
		__entry->cleared = cleared;
		__entry->waited = waited;
	),
	TP_printk("mirror=%p start=%#lx last=%#lx event=%u cleared=%u waited=%d",
		  __entry->mirror, __entry->start, __entry->last, __entry->event,
		  __entry->cleared, __entry->waited)
);

/* advise_mr begins with one SGE. */
TRACE_EVENT(prxe_prefetch,
	TP_PROTO(const void *mirror, unsigned long va, unsigned long len, unsigned int advice,
		 unsigned int flags),
	TP_ARGS(mirror, va, len, advice, flags),
	TP_STRUCT__entry(
		__field(const void *, mirror)
		__field(unsigned long, va)
		__field(unsigned long, len)
		__field(unsigned int, advice)
		__field(unsigned int, flags)
	),
	TP_fast_assign(
		__entry->mirror = mirror;
		__entry->va = va;
		__entry->len = len;
		__entry->advice = advice;
		__entry->flags = flags;
	),
	TP_printk("mirror=%p va=%#lx len=%#lx advice=%u flags=%#x",
		  __entry->mirror, __entry->va, __entry->len, __entry->advice, __entry->flags)
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH base
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
