// SPDX-License-Identifier: BSD-2-Clause
/*
 * Position-dependent contents: each byte follows from a sequence number and its position, so that
 * data from the wrong offset, page or message never passes for right.
 */
#include "t.h"

#include <string.h>

static inline uint64_t word(uint64_t seq, uint64_t index)
{
	uint64_t x = (index + seq * 0x100000001b3ULL) * 0x9e3779b97f4a7c15ULL;

	return x ^ (x >> 32);
}

uint8_t t_pat(uint64_t seq, uint64_t pos)
{
	return (uint8_t)(word(seq, pos >> 3) >> (8 * (pos & 7)));
}

void t_pat_fill(void *p, size_t len, uint64_t seq, uint64_t pos)
{
	uint8_t *b = p;
	size_t i = 0;

	for (; i < len && ((pos + i) & 7); i++)
		b[i] = t_pat(seq, pos + i);
	for (; len - i >= 8; i += 8) {
		uint64_t w = word(seq, (pos + i) >> 3);

		memcpy(b + i, &w, 8);
	}
	for (; i < len; i++)
		b[i] = t_pat(seq, pos + i);
}

ssize_t t_pat_diff(const void *p, size_t len, uint64_t seq, uint64_t pos)
{
	const uint8_t *b = p;
	size_t i = 0;

	for (; i < len && ((pos + i) & 7); i++)
		if (b[i] != t_pat(seq, pos + i))
			return (ssize_t)i;
	for (; len - i >= 8; i += 8) {
		uint64_t w = word(seq, (pos + i) >> 3), g;

		memcpy(&g, b + i, 8);
		if (g != w)
			break;
	}
	for (; i < len; i++)
		if (b[i] != t_pat(seq, pos + i))
			return (ssize_t)i;
	return -1;
}

ssize_t t_zero_diff(const void *p, size_t len)
{
	const uint8_t *b = p;

	for (size_t i = 0; i < len; i++)
		if (b[i])
			return (ssize_t)i;
	return -1;
}

bool t_pat_check(const char *what, const void *p, size_t len, uint64_t seq, uint64_t pos)
{
	const uint8_t *b = p;
	ssize_t at = t_pat_diff(p, len, seq, pos);
	size_t wrong = 0;

	if (at < 0)
		return true;
	for (size_t i = (size_t)at; i < len; i++)
		wrong += b[i] != t_pat(seq, pos + i);
	t_fail("%s: byte %zd of %zu (address %p) is %#04x, expected %#04x; %zu bytes wrong", what,
	       at, len, (const void *)(b + at), b[at], t_pat(seq, pos + (uint64_t)at), wrong);
	return false;
}

bool t_zero_check(const char *what, const void *p, size_t len)
{
	const uint8_t *b = p;
	ssize_t at = t_zero_diff(p, len);

	if (at < 0)
		return true;
	t_fail("%s: byte %zd of %zu (address %p) is %#04x, expected 0", what, at, len,
	       (const void *)(b + at), b[at]);
	return false;
}
