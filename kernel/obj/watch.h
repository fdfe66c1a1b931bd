/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Whom a CQ tells that its consumer is about to wait for completions. A watcher registers itself;
 * the CQ knows nothing of it but a function to call.
 */
#ifndef PRXE_WATCH_H
#define PRXE_WATCH_H

#include <linux/list.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

/* Embedded in what watches; one list at a time. */
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
	unsigned long next;		/* jiffies: the work does not run before that */
};

void prxe_watch_init(struct prxe_watch *watch);
/* Nobody watches any more; waits for calls that are under way. Sleeps. */
void prxe_watch_exit(struct prxe_watch *watch);
/* Have every watcher called soon, by a worker, but not more often than each 20 ms. Any context. */
void prxe_watch_ask(struct prxe_watch *watch);

/* @w is in no list. */
static inline void prxe_watcher_init(struct prxe_watcher *w,
				     void (*look)(struct prxe_watcher *w))
{
	INIT_LIST_HEAD(&w->node);
	w->look = look;
}

/*
 * Add @w to the list, or take it out; does nothing if it is there already, or not there. When
 * prxe_watch_remove() returns, @w is not being called and will not be. BH on, or off.
 */
void prxe_watch_add(struct prxe_watch *watch, struct prxe_watcher *w);
void prxe_watch_remove(struct prxe_watch *watch, struct prxe_watcher *w);

#endif
