// SPDX-License-Identifier: BSD-2-Clause
/* The results: a line for each row, and a page in markdown. */
#include "mx.h"

#include <errno.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

static const char *const variant_name[MX_VARIANTS] = {
	"carrier=local mr=explicit", "carrier=local mr=implicit",
	"carrier=wire mr=explicit", "carrier=wire mr=implicit"
};

void mx_count(const struct mx_row *row, unsigned variant, unsigned count[MX_RESULTS])
{
	for (unsigned i = 0; i < mx_nops; i++)
		count[row->cell[variant][i]]++;
}

void mx_row_print(const struct mx_row *row, unsigned variant)
{
	unsigned n[MX_RESULTS] = { 0 };

	mx_count(row, variant, n);
	printf("row event='%s' %s passed=%u documented=%u failed=%u absent=%u effect=%u "
	       "ms=%.0f%s%s\n",
	       row->ev->name, variant_name[variant], n[MX_PASSED], n[MX_DOCUMENTED], n[MX_FAILED],
	       n[MX_ABSENT], row->effect, row->seconds * 1e3, row->absent[0] ? " reason=" : "",
	       row->absent);
	fflush(stdout);
}

/* What the variants of a cell came to: the worst of them. */
static const char *sum(const struct mx_row *row, unsigned op)
{
	static const char *const sign[MX_RESULTS] = { "", "+", "e", "**FAILED**", "-" };
	enum mx_result worst = MX_NOT_RUN;

	for (unsigned v = 0; v < MX_VARIANTS; v++)
		if (row->cell[v][op] == MX_FAILED || worst != MX_FAILED)
			worst = row->cell[v][op] ? row->cell[v][op] : worst;
	return sign[worst];
}

static void heading(FILE *f)
{
	fputs("| event |", f);
	for (unsigned i = 0; i < mx_nops; i++)
		fprintf(f, " %s |", mx_ops[i].name);
	fputs("\n|---|", f);
	for (unsigned i = 0; i < mx_nops; i++)
		fputs("---|", f);
	fputs("\n", f);
}

void mx_table_write(const char *path, const struct mx_row *rows, unsigned n, double seconds)
{
	unsigned total[MX_RESULTS] = { 0 };
	time_t now = time(NULL);
	FILE *f = fopen(path, "w");
	struct utsname un;
	char date[40];

	if (!f || uname(&un))
		t_die("%s: %s", path, strerror(errno));
	for (unsigned i = 0; i < n; i++)
		for (unsigned v = 0; v < MX_VARIANTS; v++)
			mx_count(&rows[i], v, total);
	strftime(date, sizeof(date), "%Y-%m-%d", gmtime(&now));
	fprintf(f, "Linux %s, %s: %u events, %u operations, %u variants. %u cells passed, "
		"%u failed as documented, %u FAILED, %u are not there; %.0f seconds.\n\n",
		un.release, date, n, mx_nops, MX_VARIANTS, total[MX_PASSED], total[MX_DOCUMENTED],
		total[MX_FAILED], total[MX_ABSENT], seconds);
	heading(f);
	for (unsigned i = 0; i < n; i++) {
		fprintf(f, "| %s |", rows[i].ev->name);
		for (unsigned op = 0; op < mx_nops; op++)
			fprintf(f, " %s |", sum(&rows[i], op));
		fputs("\n", f);
	}
	fputs("\n## The events\n\n| event | memory | what happens | |\n|---|---|---|---|\n", f);
	for (unsigned i = 0; i < n; i++)
		fprintf(f, "| %s | %s | %s | %s%s |\n", rows[i].ev->name, rows[i].ev->back->name,
			rows[i].ev->what, rows[i].absent[0] ? "not there: " : "", rows[i].absent);
	if (fclose(f))
		t_die("%s: %s", path, strerror(errno));
}
