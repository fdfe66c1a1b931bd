// SPDX-License-Identifier: BSD-2-Clause
/* prxe-matrix: main, the loops, one cell. */
#include "mx.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct mx_event *const groups[] = {
	mx_ev_anon, mx_ev_map, mx_ev_huge, mx_ev_file, mx_ev_proc, mx_ev_move, mx_ev_uffd,
	mx_ev_dev,
};

static struct options {
	const char *dev, *table, *ops;
	char **names;
	int gid, nnames;
	unsigned every; /* cells that share a number are run */
	uint64_t seed;
	bool list;
} opt = { .gid = 1, .every = 1 };

static struct mx_row *rows;
static unsigned nrows;

bool mx_put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), err;
	bool ok;

	if (fd < 0)
		return false;
	ok = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	err = errno;
	close(fd);
	errno = err;
	return ok;
}

long mx_get(const char *path)
{
	FILE *f = fopen(path, "re");
	long v = -1;

	if (f && fscanf(f, "%ld", &v) != 1)
		v = -1;
	if (f)
		fclose(f);
	return v;
}

/*
 * The operation, the event, the operation again. Where the event takes the memory away, the second
 * one must fail; then the memory comes back, and the operation runs once more.
 */
static enum mx_result run(struct mx_subj *s)
{
	const struct mx_event *ev = s->ev;
	bool documented = false;

	if (!ev->cold) {
		if (!ev->unfilled)
			mx_mem_fill(&s->m, s->seed + 1);
		if (!mx_op_run(s, s->seed + 100))
			return MX_FAILED;
	}
	if (!ev->fire(s))
		return MX_FAILED;
	s->done_len = 0;
	documented = !mx_op_allowed(s);
	if (!mx_op_run(s, s->seed + 200))
		return MX_FAILED;
	if (ev->mend) {
		if (documented)
			mx_subj_forget_window(s);
		if (!ev->mend(s) || !mx_subj_keys(s) || !mx_op_run(s, s->seed + 300))
			return MX_FAILED;
	}
	if (ev->check && !ev->check(s))
		return MX_FAILED;
	return documented ? MX_DOCUMENTED : MX_PASSED;
}

static const char *carrier_of(const struct mx_rig *rig)
{
	return rig->wire ? "wire" : "local";
}

static enum mx_result cell(struct mx_rig *rig, struct mx_row *row, const struct mx_op *op,
			   bool implicit)
{
	static uint64_t no;
	struct mx_subj s = { .ev = row->ev, .back = row->ev->back, .op = op, .rig = rig,
			     .implicit = implicit, .seed = opt.seed * 1000003 + ++no * 1000 };
	enum mx_result res = MX_FAILED;
	bool open;

	if (implicit)
		s.mr = rig->all;
	t_context("%s, %s, %s, %s MR, seed %llu", row->ev->name, op->name, carrier_of(rig),
		  implicit ? "implicit" : "explicit", (unsigned long long)opt.seed);
	open = mx_subj_open(&s) && (!row->ev->probe || row->ev->probe(&s));
	if (open) {
		res = mx_subj_keys(&s) ? run(&s) : MX_FAILED;
		row->effect += s.effect;
	} else {
		res = MX_ABSENT;
		snprintf(row->absent, sizeof(row->absent), "%s", s.why);
	}
	if (res == MX_FAILED) {
		printf("FAILED event='%s' op='%s' carrier=%s mr=%s: %s\n", row->ev->name, op->name,
		       carrier_of(rig), implicit ? "implicit" : "explicit", s.why);
		fflush(stdout);
		mx_rig_again_all(rig);
	}
	if (row->ev->end)
		row->ev->end(&s);
	mx_subj_close(&s);
	if (implicit && !rig->all) { /* deregistered, and not yet back */
		s.mr = NULL;
		mx_subj_keys(&s);
		mx_subj_forget_window(&s);
	}
	return res;
}

/* One event on one carrier: both kinds of MR, all operations. */
static void run_row(struct mx_rig *rig, struct mx_row *row, unsigned ev)
{
	for (unsigned implicit = 0; implicit < 2; implicit++) {
		unsigned variant = 2 * rig->wire + implicit;
		double from = t_now();

		for (unsigned i = 0; i < mx_nops; i++) {
			uint8_t *c = &row->cell[variant][i];

			/* Neighbours differ in each direction: a sample has all rows and columns */
			if ((ev * 7 + i * 5 + variant * 3 + opt.seed) % opt.every ||
			    (opt.ops && !t_list_has(opt.ops, mx_ops[i].name)))
				continue;
			if (row->absent[0])
				*c = MX_ABSENT;
			else if (mx_ops[i].how == MX_FLUSH || mx_ops[i].how == MX_WRITE_FLUSH)
				*c = rig->d->flush ? cell(rig, row, &mx_ops[i], implicit) :
						     MX_NOT_RUN;
			else
				*c = cell(rig, row, &mx_ops[i], implicit);
		}
		row->seconds = t_now() - from;
		mx_row_print(row, variant);
	}
}

static bool wanted(const char *name)
{
	for (int i = 0; i < opt.nnames; i++)
		if (strstr(name, opt.names[i]))
			return true;
	return !opt.nnames;
}

static void make_rows(void)
{
	for (size_t g = 0; g < ARRAY_LEN(groups); g++) {
		for (const struct mx_event *ev = groups[g]; ev->name; ev++) {
			struct mx_row *row;

			if (!wanted(ev->name))
				continue;
			rows = realloc(rows, (nrows + 1) * sizeof(*rows));
			if (!rows)
				t_die("out of memory");
			row = &rows[nrows++];
			memset(row, 0, sizeof(*row));
			row->ev = ev;
			for (unsigned v = 0; v < MX_VARIANTS; v++)
				row->cell[v] = calloc(mx_nops, 1);
		}
	}
	if (!nrows)
		t_die("there is no such event (see -l)");
}

static void usage(void)
{
	puts("usage: prxe-matrix [-d DEV] [-g GID] [-s N] [-S SEED] [-c local|wire] [-o OP,...] "
	     "[--table FILE] [-l] [EVENT ...]\n"
	     "  EVENT: rows whose names have it; -s: every Nth cell, which ones: the seed; "
	     "-l lists events and operations");
	exit(2);
}

static int list(void)
{
	for (unsigned i = 0; i < nrows; i++)
		printf("%-24s %-13s %s\n", rows[i].ev->name, rows[i].ev->back->name,
		       rows[i].ev->what);
	printf("operations:");
	for (unsigned i = 0; i < mx_nops; i++)
		printf("%s %s", i ? "," : "", mx_ops[i].name);
	printf("\n");
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = { { "table", required_argument, NULL, 't' }, { 0 } };
	unsigned total[MX_RESULTS] = { 0 }, lost = 0;
	int only = -1, c;
	double from;

	t_init();
	from = t_now();
	while ((c = getopt_long(argc, argv, "d:g:s:S:c:o:t:l", longs, NULL)) != -1) {
		switch (c) {
		case 'd': opt.dev = optarg; break;
		case 'g': opt.gid = atoi(optarg); break;
		case 's': opt.every = (unsigned)atoi(optarg); break;
		case 'S': opt.seed = strtoull(optarg, NULL, 0); break;
		case 'c': only = !strcmp(optarg, "wire"); break;
		case 'o': opt.ops = optarg; break;
		case 't': opt.table = optarg; break;
		case 'l': opt.list = true; break;
		default: usage();
		}
	}
	opt.every = opt.every ? opt.every : 1;
	opt.names = argv + optind;
	opt.nnames = argc - optind;
	make_rows();
	if (opt.list)
		return list();
	t_watchdog(280);
	for (int wire = 0; wire < 2; wire++) {
		struct mx_rig rig;

		if (only >= 0 && wire != only)
			continue;
		mx_rig_open(&rig, opt.dev, opt.gid, wire);
		for (unsigned i = 0; i < nrows; i++)
			run_row(&rig, &rows[i], i);
		for (int ud = 0; ud < 2; ud++)
			if (rig.bad_receive[ud][0] > 1 + rig.bad_receive[ud][1])
				t_fail("%s, %s: %u receives into memory that cannot be had "
				       "said nothing, %u completed",
				       wire ? "wire" : "local", ud ? "UD" : "UC",
				       rig.bad_receive[ud][0], rig.bad_receive[ud][1]);
		lost += rig.lost;
		mx_rig_close(&rig);
	}
	for (unsigned i = 0; i < nrows; i++) {
		for (unsigned v = 0; v < MX_VARIANTS; v++)
			mx_count(&rows[i], v, total);
		if (rows[i].ev->effect && !rows[i].effect && !rows[i].absent[0] &&
		    opt.every == 1 && !opt.ops)
			t_fail("'%s' never took place", rows[i].ev->name);
	}
	printf("matrix: %u events, %u operations: %u cells passed, %u failed as documented, "
	       "%u FAILED, %u not there; %u messages of UC and UD sent again; %.1f s\n",
	       nrows, mx_nops, total[MX_PASSED], total[MX_DOCUMENTED], total[MX_FAILED],
	       total[MX_ABSENT], lost, t_now() - from);
	if (opt.table)
		mx_table_write(opt.table, rows, nrows, t_now() - from);
	if (!total[MX_PASSED])
		t_fail("nothing passed");
	if (total[MX_FAILED])
		t_fail("%u cells failed", total[MX_FAILED]);
	t_context("%s", "");
	return t_done("matrix");
}
