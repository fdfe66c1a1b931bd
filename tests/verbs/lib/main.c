// SPDX-License-Identifier: BSD-2-Clause
/* The main() of a program of named tests. */
#include "t.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

bool t_named(int argc, char **argv, const char *name)
{
	for (int i = optind; i < argc; i++)
		if (!strcmp(argv[i], name))
			return true;
	return false;
}

bool t_shared(unsigned i)
{
	const char *s = getenv("PRXE_SHARE_OF");
	unsigned k, n;

	if (!s)
		return true;
	if (sscanf(s, "%u/%u", &k, &n) != 2 || k >= n)
		t_die("PRXE_SHARE_OF is %s", s);
	return i % n == k;
}

struct t_mark t_begin(const char *name)
{
	t_context("%s", name);
	return (struct t_mark){ name, t_fails, t_now() };
}

void t_end(const struct t_mark *m)
{
	printf("%-20s %s  %.0f ms\n", m->name, m->fails == t_fails ? "ok" : "FAILED",
	       (t_now() - m->from) * 1e3);
	fflush(stdout);
	t_context("%s", "");
}

static void run(const struct t_program *p, const struct t_test *t, const char *dev, int gid)
{
	struct t_mark m = t_begin(t->name);
	struct t_dev *d = t_dev_open(dev, gid);

	if (p->odp && !d->odp)
		t_die("%s has no ODP", d->name);
	t->run(d);
	if (p->after)
		p->after(d);
	t_dev_close(d);
	t_end(&m);
}

int t_main(int argc, char **argv, const struct t_program *p)
{
	const char *dev = NULL;
	int gid = 1, c, ran = 0, n = 0;
	bool list = false;

	while ((c = getopt(argc, argv, p->rounds ? "d:g:ln:" : "d:g:l")) != -1) {
		switch (c) {
		case 'd': dev = optarg; break;
		case 'g': gid = atoi(optarg); break;
		case 'l': list = true; break;
		case 'n': *p->rounds = atoi(optarg); break;
		default:
			printf("usage: prxe-%s [-d DEV] [-g GID]%s [-l] [TEST ...]"
			       "   (-l lists the tests)\n",
			       p->name, p->rounds ? " [-n ROUNDS]" : "");
			return 2;
		}
	}
	t_watchdog(p->seconds);
	for (const struct t_test *const *group = p->tests; *group; group++) {
		for (const struct t_test *t = *group; t->name; t++) {
			if (list) {
				printf("%-20s %s\n", t->name, t->what);
			} else if (optind == argc ? t_shared(n++) : t_named(argc, argv, t->name)) {
				run(p, t, dev, gid);
				ran++;
			}
		}
	}
	if (list)
		return 0;
	if (!ran)
		t_die("there is no such test (see -l)");
	return t_done(p->name);
}
