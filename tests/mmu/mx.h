/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * prxe-matrix: every event that memory can meet, against every operation. What its files share.
 *
 * A cell is one event, one operation, one carrier, one kind of MR. It makes a subject mapping, lets
 * the operation use it once, fires the event, and lets the operation use it again. Then it compares
 * all bytes that either could reach with a model.
 */
#ifndef MX_H
#define MX_H

#include "lib/t.h"

#include <sys/types.h>

#define MX_PAGES 8UL	 /* of a small subject */
#define MX_HUGE T_HUGE
#define MX_MOST (2 * MX_HUGE) /* the largest subject */
#define MX_PLAIN (8 * T_PAGE)
#define MX_FILE_SEED 77	 /* what a private mapping's file has */
#define MX_CHILD_SEED 55 /* what a child writes */

/* Memory, and what a CPU must find in it. */
struct mx_mem {
	uint8_t *va, *model;
	size_t len;	/* mapped */
	size_t visible; /* from its start: what a CPU can read without a signal */
};

struct mx_subj;
struct mx_rig;

/* What a subject is made of. */
struct mx_back {
	const char *name;
	size_t huge, pages; /* its length: bytes of huge pages, and so many pages */
	/* maps it at @at; false: not possible here, and s->why says why */
	bool (*open)(struct mx_subj *s, uint8_t *at);
	const char *dir; /* files: the environment variable that names their directory */
};

struct mx_event {
	const char *name, *what;
	const struct mx_back *back;
	bool cold;     /* neither filled nor used before the event */
	bool unfilled; /* used, but as it came */
	bool effect;   /* in a full row at least one cell must report that it took place */
	/* All return false with s->why set. */
	bool (*probe)(struct mx_subj *s); /* asked once: can this kernel do it? */
	bool (*fire)(struct mx_subj *s);
	bool (*mend)(struct mx_subj *s);  /* where operations must fail: make it usable again */
	bool (*check)(struct mx_subj *s); /* after the operation: what else must hold */
	void (*end)(struct mx_subj *s);	  /* always called */
};

struct mx_subj {
	struct mx_mem m;
	const struct mx_back *back;
	const struct mx_event *ev;
	const struct mx_op *op;
	struct mx_rig *rig;
	size_t at;   /* where operations of many bytes go */
	bool read, write; /* may that place be read, written? */
	bool implicit;
	struct ibv_mr *mr; /* NULL: deregistered */
	struct ibv_mw *mw;
	uint32_t lkey, rkey, mw_key;
	uint64_t seed;
	/* The events' own. */
	int fd;	    /* of the file behind it, -1 */
	int clone;  /* of that file, 0: none */
	int uffd;   /* -1 */
	uint8_t *spare; /* an area as large as the subject, inaccessible */
	pid_t pid;  /* of a child */
	int sock;   /* to it */
	/* KSM: what it was merged with; the clone's contents */
	uint8_t twin[MX_PAGES * T_PAGE_MAX];
	unsigned effect; /* did it take place? */
	size_t done_at, done_len; /* where the last operation wrote into the subject */
	char why[256];
};

enum mx_how {
	MX_SEND, MX_WRITE, MX_WRITE_IMM, MX_READ, MX_CAS, MX_FAA, MX_FLUSH, MX_WRITE_FLUSH,
	MX_ATOMIC_WRITE
};
struct mx_op {
	const char *name;
	enum ibv_qp_type type;
	enum mx_how how;
	bool local;  /* the subject is the requester's own memory: sent, or results land there */
	bool writes; /* into the subject */
	bool mw;     /* through a window of type 2 */
};

/* The QPs and the memory at their other end; one for each carrier. */
struct mx_rig {
	struct t_dev *d;
	struct t_ep a[3], b[3]; /* RC, UC, UD */
	struct mx_mem near, far; /* pinned memory of the requester, of the responder */
	struct ibv_mr *mnear, *mfar, *all; /* all: the implicit MR */
	uint8_t *grh; /* where UD's network headers land */
	struct ibv_mr *mgrh;
	bool wire;
	unsigned lost; /* messages of UC and UD that were sent again */
	unsigned bad_receive[2][2]; /* UC and UD, into bad memory: silence, a completion */
};

/* ---- mx_rig.c ---- */
void mx_rig_open(struct mx_rig *r, const char *dev, int gid, bool wire);
void mx_rig_close(struct mx_rig *r);
unsigned mx_access(struct mx_rig *r);
/* The pair that an operation uses; again: connect it anew after an error. */
int mx_pair(enum ibv_qp_type type);
void mx_rig_again(struct mx_rig *r, enum ibv_qp_type type);
void mx_rig_again_all(struct mx_rig *r);
/* Position-dependent contents that follow from a seed, quickly. */
void mx_fill(uint8_t *p, size_t len, uint64_t seed);
/* Say why the cell fails, unless something has said so before. Returns false. */
bool mx_why(struct mx_subj *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool mx_same(struct mx_subj *s, const char *whose, const struct mx_mem *m);
void mx_mem_fill(struct mx_mem *m, uint64_t seed);

/* ---- mx_op.c ---- */
extern const struct mx_op mx_ops[];
extern const unsigned mx_nops;
bool mx_op_allowed(const struct mx_subj *s); /* must it succeed now? */
/* Run it once: it must succeed or fail as the subject's state demands. */
bool mx_op_run(struct mx_subj *s, uint64_t seed);
bool mx_read_all(struct mx_subj *s); /* RDMA READ of the whole subject, against the model */

/* ---- mx_subj.c ---- */
extern const struct mx_back mx_anon, mx_thp, mx_small, mx_hugetlb, mx_shm, mx_memfd, mx_tmpfs;
extern const struct mx_back mx_ext4, mx_xfs, mx_private, mx_private_ext4;
bool mx_subj_open(struct mx_subj *s);
bool mx_subj_keys(struct mx_subj *s); /* its MR and window, where there are none */
void mx_subj_forget_window(struct mx_subj *s);
void mx_subj_forget_keys(struct mx_subj *s);
void mx_subj_close(struct mx_subj *s);
bool mx_subj_anon(struct mx_subj *s); /* new anonymous memory at its place: zeroes */
void mx_zero(struct mx_subj *s, size_t from, size_t len); /* of the model */
bool mx_cpu_write(struct mx_subj *s, size_t from, size_t len); /* memory and model */
bool mx_swapped(struct mx_subj *s); /* the page where operations begin */
bool mx_huge(struct mx_subj *s);

/* ---- events: tables that end with an event without a name ---- */
extern const struct mx_event mx_ev_anon[], mx_ev_map[], mx_ev_huge[], mx_ev_file[], mx_ev_proc[];
extern const struct mx_event mx_ev_move[], mx_ev_uffd[], mx_ev_dev[];
/* write(2) to a file of the kernel (/proc, /sys); false with errno */
bool mx_put(const char *path, const char *text);
long mx_get(const char *path);

/* ---- mx_child.c: a child process with a copy of everything ---- */
bool mx_child_start(struct mx_subj *s);
/* Let the child do what the letter says (mx_child.c); @fails: why the cell fails if it does not. */
bool mx_child_do(struct mx_subj *s, char what, const char *fails);
void mx_child_end(struct mx_subj *s);

/* ---- mx_table.c ---- */
enum mx_result { MX_NOT_RUN, MX_PASSED, MX_DOCUMENTED, MX_FAILED, MX_ABSENT, MX_RESULTS };
enum { MX_VARIANTS = 4 }; /* carrier times kind of MR */
struct mx_row {
	const struct mx_event *ev;
	char absent[256];
	unsigned effect;
	double seconds;
	uint8_t *cell[MX_VARIANTS]; /* enum mx_result, mx_nops each */
};
void mx_table_write(const char *path, const struct mx_row *rows, unsigned n, double seconds);
void mx_row_print(const struct mx_row *row, unsigned variant);
void mx_count(const struct mx_row *row, unsigned variant, unsigned count[MX_RESULTS]);

#endif
