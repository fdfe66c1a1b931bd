// SPDX-License-Identifier: BSD-2-Clause
/* Would an access with this key work? Makes the checks that a device makes, in the same order. */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "internal.h"

static const char *const cause_names[] = {
	[ODP_CAUSE_NONE] = "none",
	[ODP_CAUSE_KEY_UNKNOWN] = "key-unknown",
	[ODP_CAUSE_KEY_KIND] = "key-kind",
	[ODP_CAUSE_DEREGISTERED] = "deregistered",
	[ODP_CAUSE_OTHER_PD] = "other-pd",
	[ODP_CAUSE_BOUNDS] = "bounds",
	[ODP_CAUSE_ACCESS] = "access",
	[ODP_CAUSE_FORKED] = "forked",
	[ODP_CAUSE_UNMAPPED] = "unmapped",
	[ODP_CAUSE_NO_READ] = "no-read",
	[ODP_CAUSE_READ_ONLY] = "read-only",
	[ODP_CAUSE_BEYOND_FILE] = "beyond-file",
	[ODP_CAUSE_NO_MEMORY] = "no-memory",
	[ODP_CAUSE_ALIGNMENT] = "alignment",
	[ODP_CAUSE_LENGTH] = "length",
	[ODP_CAUSE_REMOTE] = "remote",
	[ODP_CAUSE_PEER] = "peer",
	[ODP_CAUSE_FLUSHED] = "flushed",
	[ODP_CAUSE_OTHER] = "other",
};

ODP_PUBLIC const char *odp_cause_name(enum odp_cause cause)
{
	return (size_t)cause < sizeof(cause_names) / sizeof(cause_names[0]) ?
		       cause_names[cause] : NULL;
}

void explain_say(struct odp_explanation *out, const char *fmt, ...)
{
	size_t used = strlen(out->text);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(out->text + used, sizeof(out->text) - used, fmt, ap);
	va_end(ap);
}

void explain_clear(struct odp_explanation *out)
{
	memset(out, 0, sizeof(*out));
	out->sge = -1;
}

static const char *access_words(unsigned int access, char *buf, size_t size)
{
	static const struct {
		unsigned int bit;
		const char *name;
	} names[] = {
		{ IBV_ACCESS_LOCAL_WRITE, "local write" },
		{ IBV_ACCESS_REMOTE_READ, "remote read" },
		{ IBV_ACCESS_REMOTE_WRITE, "remote write" },
		{ IBV_ACCESS_REMOTE_ATOMIC, "remote atomic" },
	};

	snprintf(buf, size, "local read");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (access & names[i].bit)
			text_add(buf, size, ", %s", names[i].name);
	return buf;
}

/* "the on-demand MR [0x.., 0x..) of 64 KiB" */
static void say_mr(struct odp_explanation *out, const struct mr_facts *mr)
{
	struct size_text size;

	if (mr->implicit) {
		explain_say(out, "the implicit MR");
		return;
	}
	explain_say(out, "the %s MR [%#" PRIx64 ", %#" PRIx64 ") of %s",
		    mr->on_demand ? "on-demand" : "pinned", mr->iova, mr->iova + mr->length,
		    size_words(mr->length, &size));
	if (mr->iova != mr->addr)
		explain_say(out, " (memory at %#" PRIx64 ")", mr->addr);
}

static void check_memory(const struct mr_facts *mr, const struct explain_access *a,
			 struct odp_explanation *out)
{
	static const enum odp_cause causes[] = {
		[MAP_NOTHING] = ODP_CAUSE_UNMAPPED,   [MAP_NO_READ] = ODP_CAUSE_NO_READ,
		[MAP_NO_WRITE] = ODP_CAUSE_READ_ONLY, [MAP_FILE_END] = ODP_CAUSE_BEYOND_FILE,
		[MAP_SPECIAL] = ODP_CAUSE_NO_MEMORY,
	};
	bool write = a->need &
		     (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC);
	struct map_finding found;
	char words[320];

	if (!mr->on_demand)
		return; /* the pages are held, even if the mapping is gone */
	maps_check(a->addr - mr->iova + mr->addr, a->length, write, &found);
	if (found.kind == MAP_FINE || found.kind == MAP_UNREADABLE)
		return;
	out->cause = causes[found.kind];
	out->addr = found.addr - mr->addr + mr->iova;
	maps_words(&found, words, sizeof(words));
	explain_say(out, "%s; it is in ", words);
	say_mr(out, mr);
	if (found.kind == MAP_NO_WRITE && mr->implicit)
		explain_say(out, ", which does not make read-only memory writable");
}

static void check_mr(const struct mr_facts *mr, const struct explain_access *a,
		     struct odp_explanation *out)
{
	unsigned int missing = a->need & ~mr->access;
	uint64_t off = a->addr - mr->iova;
	char words[96];

	if (mr->pid != getpid()) {
		out->cause = ODP_CAUSE_FORKED;
		explain_say(out,
			    "the key is of an MR that process %d registered, before it forked this "
			    "one: its memory is that process's",
			    (int)mr->pid);
		return;
	}
	if (a->addr < mr->iova || off > mr->length || a->length > mr->length - off) {
		out->cause = ODP_CAUSE_BOUNDS;
		out->addr = a->addr < mr->iova || off >= mr->length ?
				    a->addr : mr->iova + mr->length;
		explain_say(out, "%" PRIu64 " bytes from %#" PRIx64 " are not all in ", a->length,
			    a->addr);
		say_mr(out, mr);
		explain_say(out, ": %#" PRIx64 " is outside", out->addr);
		return;
	}
	if (missing) {
		out->cause = ODP_CAUSE_ACCESS;
		out->addr = a->addr;
		say_mr(out, mr);
		explain_say(out, " was registered for %s",
			    access_words(mr->access, words, sizeof(words)));
		access_words(missing, words, sizeof(words));
		explain_say(out, ", not for %s", words + strlen("local read, "));
		return;
	}
	check_memory(mr, a, out);
}

void explain_access_check(struct odp_domain *domain, const struct explain_access *a,
			  struct odp_explanation *out)
{
	enum key_kind kind = a->remote ? KEY_REMOTE : KEY_LOCAL;
	const char *key = kind == KEY_REMOTE ? "rkey" : "lkey";
	enum key_found found;
	struct mr_facts mr;

	out->cause = ODP_CAUSE_NONE;
	out->key = a->key;
	out->addr = 0;
	if (!a->length)
		return;
	found = key_find(domain, a->key, kind, &mr);
	switch (found) {
	case KEY_OTHER_DOMAIN:
		if (!a->any_pd) {
			out->cause = ODP_CAUSE_OTHER_PD;
			explain_say(out, "the %s %#x is of ", key, a->key);
			say_mr(out, &mr);
			explain_say(out, " in another protection domain");
			return;
		}
		/* fall through */
	case KEY_HERE:
		check_mr(&mr, a, out);
		return;
	case KEY_OTHER_KIND:
		out->cause = ODP_CAUSE_KEY_KIND;
		explain_say(out, "%#x is the %s of ", a->key, kind == KEY_REMOTE ? "lkey" : "rkey");
		say_mr(out, &mr);
		explain_say(out, ", its %s is %#x", key, kind == KEY_REMOTE ? mr.rkey : mr.lkey);
		return;
	case KEY_DEAD:
		out->cause = ODP_CAUSE_DEREGISTERED;
		explain_say(out, "the %s %#x was that of ", key, a->key);
		say_mr(out, &mr);
		explain_say(out, ", which was deregistered");
		return;
	case KEY_NONE:
		break;
	}
	out->cause = ODP_CAUSE_KEY_UNKNOWN;
	explain_say(out,
		    "no MR that was registered here with libodp has the %s %#x: it is stale, of "
		    "another process or device, or was registered without the library",
		    key, a->key);
}

ODP_PUBLIC int odp_check(struct odp_domain *domain, uint32_t key, uint64_t addr, uint64_t length,
			 unsigned int need, struct odp_explanation *out)
{
	struct explain_access a = { .key = key,
				    .addr = addr,
				    .length = length,
				    .need = need,
				    .remote = need & ODP_REMOTE_ACCESS };

	if (!domain || !out || need & ~(unsigned int)(ODP_REMOTE_ACCESS | IBV_ACCESS_LOCAL_WRITE))
		return -EINVAL;
	explain_clear(out);
	if ((need & IBV_ACCESS_REMOTE_ATOMIC) && addr % 8) {
		out->cause = ODP_CAUSE_ALIGNMENT;
		out->addr = addr;
		out->key = key;
		explain_say(out,
			    "an atomic operation on %#" PRIx64 ", which is not a multiple of 8",
			    addr);
		return 0;
	}
	explain_access_check(domain, &a, out);
	if (out->cause == ODP_CAUSE_NONE)
		explain_say(out, "key, bounds, access and mapping are in order");
	return 0;
}
