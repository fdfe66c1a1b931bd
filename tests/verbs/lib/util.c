// SPDX-License-Identifier: BSD-2-Clause
/* Reports, time limits, small helpers. */
#include "t.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

unsigned long t_page(void)
{
	static unsigned long page;

	if (!page)
		page = (unsigned long)sysconf(_SC_PAGESIZE);
	return page;
}

int t_fails;
bool t_debug;
static char context[512];

void t_context(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(context, sizeof(context), fmt, ap);
	va_end(ap);
}

void t_fail(const char *fmt, ...)
{
	va_list ap;

	t_fails++;
	fflush(stdout);
	fprintf(stderr, "FAIL: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	if (context[0])
		fprintf(stderr, "\n      in %s", context);
	fprintf(stderr, "\n");
	fflush(stderr);
	if (t_fails >= 20) {
		fprintf(stderr, "FAIL: giving up after %d failures\n", t_fails);
		exit(1);
	}
}

void t_die(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fprintf(stderr, "FAIL: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	if (context[0])
		fprintf(stderr, "\n      in %s", context);
	fprintf(stderr, "\n");
	fflush(stderr);
	_exit(1);
}

void t_note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
}

int t_done(const char *what)
{
	if (t_fails)
		fprintf(stderr, "%s: %d failure%s\n", what, t_fails, t_fails == 1 ? "" : "s");
	else
		printf("%s: ok\n", what);
	fflush(stdout);
	return t_fails != 0;
}

void t_init(void)
{
	const char *s = getenv("PRXE_DEBUG");

	t_debug = s && *s && strcmp(s, "0");
	t_limit = t_slow(10);
	signal(SIGPIPE, SIG_IGN);
}

double t_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

double t_slow(double seconds)
{
	return t_debug ? seconds * 5 : seconds;
}

static void watchdog(int sig)
{
	static const char msg[] = "FAIL: the program's time limit passed: something hangs\n";

	(void)sig;
	if (write(2, msg, sizeof(msg) - 1) < 0 || write(2, context, strlen(context)) < 0 ||
	    write(2, "\n", 1) < 0)
		_exit(3);
	_exit(3);
}

void t_watchdog(unsigned seconds)
{
	signal(SIGALRM, watchdog);
	alarm(t_debug ? seconds * 3 : seconds);
}

static int by_value(const void *x, const void *y)
{
	double a = *(const double *)x, b = *(const double *)y;

	return (a > b) - (a < b);
}

double t_median(double *v, int n)
{
	qsort(v, (size_t)n, sizeof(*v), by_value);
	return n & 1 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

uint64_t t_mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ULL;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

bool t_list_has(const char *list, const char *word)
{
	size_t n = strlen(word);

	if (!list)
		return true;
	while (*list) {
		size_t l = strcspn(list, ",");

		if (l == n && !strncmp(list, word, n))
			return true;
		list += l + (list[l] == ',');
	}
	return false;
}

uint64_t t_status_kb(const char *field)
{
	char line[256];
	unsigned long long v = 0;
	size_t n = strlen(field);
	FILE *f = fopen("/proc/self/status", "r");

	if (!f)
		t_die("open /proc/self/status: %s", strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, field, n) && line[n] == ':') {
			v = strtoull(line + n + 1, NULL, 10);
			break;
		}
	}
	fclose(f);
	return v;
}

int t_param_get(const char *name)
{
	char path[256], c = 0;
	int v = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/module/prxe/parameters/%s", name);
	f = fopen(path, "r");
	if (!f)
		return -1;
	if (fscanf(f, "%d", &v) != 1) {
		rewind(f);
		if (fscanf(f, "%c", &c) == 1)
			v = c == 'Y' || c == 'y';
	}
	fclose(f);
	return v;
}

int t_param_set(const char *name, int value)
{
	char path[256];
	FILE *f;
	int rc;

	snprintf(path, sizeof(path), "/sys/module/prxe/parameters/%s", name);
	f = fopen(path, "w");
	if (!f)
		return errno;
	rc = fprintf(f, "%d\n", value) < 0 ? errno : 0;
	if (fclose(f))
		rc = errno;
	return rc;
}

uint64_t t_counter(const char *dev, const char *name)
{
	unsigned long long v = 0;
	char path[256];
	FILE *f;

	usleep(20000); /* the kernel reads them once in 10 ms */
	snprintf(path, sizeof(path), "/sys/class/infiniband/%s/ports/1/hw_counters/%s", dev, name);
	f = fopen(path, "r");
	if (!f || fscanf(f, "%llu", &v) != 1)
		t_die("no counter %s", path);
	fclose(f);
	return v;
}
