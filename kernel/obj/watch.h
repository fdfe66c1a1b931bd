/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The watchers of a CQ, which are told that its consumer is about to wait for completions. A
 * watcher registers itself; of a watcher, the CQ knows only the function to call.
 */
#ifndef PRXE_WATCH_H
#define PRXE_WATCH_H

#include <linux/list.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

/* Embedded in the object that watches; on one list at a time. */
struct prxe_watcher {
	struct list_head node;		/* prxe_watch.watchers, or empty */
	void (*look)(struct prxe_watcher *w);	/* BH off, under prxe_watch.lock: must not sleep */
};

/* Embedded in a CQ. */
struct prxe_watch {
	spinlock_t lock;		/* BH off; inside resp.lock */
	struct list_head watchers;
	unsigned int num;
	struct delayed_work work;
	unsigned long next;		/* jiffies before which the work does not run */
};

/* Set @watch up, with no watcher. */
void prxe_watch_init(struct prxe_watch *watch);
/* The CQ is being destroyed, and no watcher is left: waits for calls that are under way. Sleeps. */
void prxe_watch_exit(struct prxe_watch *watch);
/* Have a worker call every watcher soon, but not more often than once in 20 ms. Any context. */
void prxe_watch_ask(struct prxe_watch *watch);

/* Set @w up, on no list. */
static inline void prxe_watcher_init(struct prxe_watcher *w,
				     void (*look)(struct prxe_watcher *w))
{
	INIT_LIST_HEAD(&w->node);
	w->look = look;
}

/*
 * Add @w to the list, or take it off; each does nothing if that is so already. When
 * prxe_watch_remove() returns, @w is not being called and will not be. Any context but hardirq;
 * they do not sleep.
 */
void prxe_watch_add(struct prxe_watch *watch, struct prxe_watcher *w);
void prxe_watch_remove(struct prxe_watch *watch, struct prxe_watcher *w);

#endif
