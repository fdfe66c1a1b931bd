// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The watchers of a CQ: a worker calls them when the CQ's consumer asks for completion events.
 * Watchers are in layers above and register themselves, so this file calls nothing but their
 * functions. Posting a completion does not come through here.
 */
#include <linux/jiffies.h>
#include <linux/lockdep.h>
#include <linux/sched.h>
#include "base/prxe.h"
#include "obj/watch.h"

/* The watchers are called at most once in this time, however often the consumer asks. */
#define ASK_JIFFIES	max(HZ / 50, 1)
#define ASK_STEP	64U	/* watchers called before the lock is dropped for a moment */

/* Call the first @n watchers of the list, and move them to its end. */
static void call_some(struct prxe_watch *watch, unsigned int n)
{
	lockdep_assert_held(&watch->lock);
	for (; n && !list_empty(&watch->watchers); n--) {
		struct prxe_watcher *w = list_first_entry(&watch->watchers, struct prxe_watcher,
							  node);

		list_move_tail(&w->node, &watch->watchers);
		w->look(w);
	}
}

static void watch_work(struct work_struct *work)
{
	struct prxe_watch *watch = container_of(to_delayed_work(work), struct prxe_watch, work);
	unsigned int left = READ_ONCE(watch->num);

	WRITE_ONCE(watch->next, jiffies + ASK_JIFFIES);
	while (left) {
		unsigned int n = min(left, ASK_STEP);

		spin_lock_bh(&watch->lock);
		call_some(watch, n);
		spin_unlock_bh(&watch->lock);
		left -= n;
		cond_resched();
	}
}

void prxe_watch_init(struct prxe_watch *watch)
{
	spin_lock_init(&watch->lock);
	INIT_LIST_HEAD(&watch->watchers);
	INIT_DELAYED_WORK(&watch->work, watch_work);
	watch->next = jiffies;
}

void prxe_watch_exit(struct prxe_watch *watch)
{
	cancel_delayed_work_sync(&watch->work);
	WARN_ON(!list_empty(&watch->watchers));
}

void prxe_watch_ask(struct prxe_watch *watch)
{
	unsigned long now = jiffies, next = READ_ONCE(watch->next);

	/*
	 * What the caller's consumer did before, such as posting, comes before the look at num:
	 * pairs with the full barrier behind prxe_watch_add() in late.c.
	 */
	smp_mb();
	if (READ_ONCE(watch->num))
		queue_delayed_work(prxe_wq, &watch->work, time_before(now, next) ? next - now : 0);
}

void prxe_watch_add(struct prxe_watch *watch, struct prxe_watcher *w)
{
	spin_lock_bh(&watch->lock);
	if (list_empty(&w->node)) {
		list_add_tail(&w->node, &watch->watchers);
		watch->num++;
	}
	spin_unlock_bh(&watch->lock);
}

void prxe_watch_remove(struct prxe_watch *watch, struct prxe_watcher *w)
{
	spin_lock_bh(&watch->lock);
	if (!list_empty(&w->node)) {
		list_del_init(&w->node);
		watch->num--;
	}
	spin_unlock_bh(&watch->lock);
}
