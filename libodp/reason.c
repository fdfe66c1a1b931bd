// SPDX-License-Identifier: BSD-2-Clause
/* Words: reasons, sizes, errors. */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "internal.h"

ODP_PUBLIC uint32_t odp_version(void)
{
	return ODP_VERSION_MAJOR << 16 | ODP_VERSION_MINOR;
}

int reason_set(struct odp_reason *why, int error, const char *fmt, ...)
{
	if (why) {
		va_list ap;

		why->error = error;
		va_start(ap, fmt);
		vsnprintf(why->text, sizeof(why->text), fmt, ap);
		va_end(ap);
	}
	return -error;
}

void reason_clear(struct odp_reason *why)
{
	if (why) {
		why->error = 0;
		why->text[0] = '\0';
	}
}

const char *err_words(int error, struct err_text *buf)
{
	const char *s = strerrordesc_np(error);

	if (s)
		return s;
	snprintf(buf->text, sizeof(buf->text), "error %d", error);
	return buf->text;
}

const char *size_words(uint64_t bytes, struct size_text *buf)
{
	static const char *const name[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };

	/* Never round: a size one byte above a limit must not look equal to the limit. */
	for (unsigned int n = 6; n > 0; n--) {
		uint64_t unit = 1ULL << (10 * n), rest = bytes % unit * 10;

		if (bytes < unit || rest % unit)
			continue;
		if (rest)
			snprintf(buf->text, sizeof(buf->text), "%" PRIu64 ".%" PRIu64 " %s",
				 bytes / unit, rest / unit, name[n - 1]);
		else
			snprintf(buf->text, sizeof(buf->text), "%" PRIu64 " %s", bytes / unit,
				 name[n - 1]);
		return buf->text;
	}
	snprintf(buf->text, sizeof(buf->text), "%" PRIu64 " bytes", bytes);
	return buf->text;
}

void text_add(char *buf, size_t size, const char *fmt, ...)
{
	size_t used = strlen(buf);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf + used, size - used, fmt, ap);
	va_end(ap);
}
