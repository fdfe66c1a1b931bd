/* SPDX-License-Identifier: BSD-2-Clause */
/* Doubly linked lists and hash tables with the kernel's names. */
#ifndef SHIM_LIST_H
#define SHIM_LIST_H

struct list_head { struct list_head *next, *prev; };
#define LIST_HEAD_INIT(n)	{ &(n), &(n) }
#define LIST_HEAD(n)		struct list_head n = LIST_HEAD_INIT(n)
static inline void INIT_LIST_HEAD(struct list_head *l)
{
	l->next = l;
	l->prev = l;
}
static inline void shim_link(struct list_head *n, struct list_head *a, struct list_head *b)
{
	n->prev = a;
	n->next = b;
	a->next = n;
	b->prev = n;
}
static inline void list_add(struct list_head *n, struct list_head *l)
{
	shim_link(n, l, l->next);
}
static inline void list_add_tail(struct list_head *n, struct list_head *l)
{
	shim_link(n, l->prev, l);
}
static inline void list_del(struct list_head *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	n->next = (void *)0x100;	/* poison: who follows it crashes */
	n->prev = (void *)0x122;
}
static inline void list_del_init(struct list_head *n)
{
	list_del(n);
	INIT_LIST_HEAD(n);
}
static inline bool list_empty(const struct list_head *l) { return l->next == l; }
static inline void list_move_tail(struct list_head *n, struct list_head *l)
{
	list_del(n);
	list_add_tail(n, l);
}
static inline void list_splice_init(struct list_head *from, struct list_head *to)
{
	if (list_empty(from))
		return;
	from->prev->next = to->next;
	to->next->prev = from->prev;
	to->next = from->next;
	from->next->prev = to;
	INIT_LIST_HEAD(from);
}
static inline void list_splice_tail_init(struct list_head *from, struct list_head *to)
{
	if (!list_empty(from))
		list_splice_init(from, to->prev);
}
#define list_entry(p, type, m)	container_of(p, type, m)
#define list_first_entry(l, type, m) list_entry((l)->next, type, m)
#define list_first_entry_or_null(l, type, m) (list_empty(l) ? NULL : list_first_entry(l, type, m))
#define list_next_entry(p, m)	list_entry((p)->m.next, typeof(*(p)), m)
#define list_for_each_entry(p, l, m) \
	for ((p) = list_first_entry(l, typeof(*(p)), m); &(p)->m != (l); \
	     (p) = list_next_entry(p, m))
#define list_for_each_entry_safe(p, n, l, m) \
	for ((p) = list_first_entry(l, typeof(*(p)), m), (n) = list_next_entry(p, m); \
	     &(p)->m != (l); (p) = (n), (n) = list_next_entry(n, m))

struct hlist_node { struct hlist_node *next, **pprev; };
struct hlist_head { struct hlist_node *first; };
static inline void hlist_add_head(struct hlist_node *n, struct hlist_head *h)
{
	n->next = h->first;
	if (h->first)
		h->first->pprev = &n->next;
	h->first = n;
	n->pprev = &h->first;
}
static inline void __hlist_del(struct hlist_node *n)
{
	WRITE_ONCE(*n->pprev, n->next);
	if (n->next)
		WRITE_ONCE(n->next->pprev, n->pprev);
}
#define INIT_HLIST_HEAD(h)	((h)->first = NULL)
#define hlist_empty(h)		(!READ_ONCE((h)->first))
#define hlist_unhashed_lockless(n) (!READ_ONCE((n)->pprev))
static inline bool hlist_unhashed(const struct hlist_node *n) { return !n->pprev; }
static inline void hlist_del_init(struct hlist_node *n)
{
	if (!n->pprev)
		return;
	*n->pprev = n->next;
	if (n->next)
		n->next->pprev = n->pprev;
	n->next = NULL;
	n->pprev = NULL;
}
#define DECLARE_HASHTABLE(n, bits) struct hlist_head n[1 << (bits)]
#define DEFINE_HASHTABLE(n, bits) DECLARE_HASHTABLE(n, bits)
#define shim_hash(key)		((unsigned long)(key) * 0x9e3779b97f4a7c15ULL >> 40)
#define shim_bucket(t, key)	(&(t)[shim_hash(key) & (ARRAY_SIZE(t) - 1)])
#define hash_add(t, n, key)	hlist_add_head(n, shim_bucket(t, key))
#define hash_del(n)		hlist_del_init(n)
#define hash_hashed(n)		(!hlist_unhashed(n))
#define shim_hentry(p, type, m) \
	({ struct hlist_node *h_ = (p); h_ ? container_of(h_, type, m) : NULL; })
#define hlist_for_each_entry(p, h, m) \
	for ((p) = shim_hentry((h)->first, typeof(*(p)), m); (p); \
	     (p) = shim_hentry((p)->m.next, typeof(*(p)), m))
#define hash_for_each_possible(t, p, m, key) hlist_for_each_entry(p, shim_bucket(t, key), m)
#define hash_for_each(t, i, p, m) \
	for ((i) = 0, (p) = NULL; (i) < (int)ARRAY_SIZE(t); (i)++) \
		hlist_for_each_entry(p, &(t)[i], m)

#endif
