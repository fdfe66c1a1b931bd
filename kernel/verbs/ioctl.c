// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The methods that this driver adds to the uverbs ioctl: uapi/prxe-ioctl.h.
 *
 * Verbs: the core has parsed the attributes and locked the object; a method only reads the object
 * (mem/key.h, mmu/mirror.h).
 */
#include <rdma/uverbs_ioctl.h>
#include "base/prxe.h"
#include "mem/key.h"
#include "mmu/mirror.h"
#include "uapi/prxe-ioctl.h"
#include "verbs/doorbell.h"
#include "verbs/ioctl.h"

#define UVERBS_MODULE_NAME prxe
#include <rdma/uverbs_named_ioctl.h>

static_assert(PRXE_ID_BASE == 1U << UVERBS_ID_NS_SHIFT);

/* The core holds the MR's object for reading, so the MR and its mirror stay. */
static int UVERBS_HANDLER(PRXE_METHOD_MR_COUNTERS)(struct uverbs_attr_bundle *attrs)
{
	const struct prxe_mr *mr = to_prxe_mr(uverbs_attr_get_obj(attrs, PRXE_ATTR_MR_HANDLE));
	struct prxe_mr_counters c = {};

	if (mr->kind == PRXE_MR_ODP) {
		c.flags = PRXE_COUNTERS_ODP | (mr->length == U64_MAX ? PRXE_COUNTERS_IMPLICIT : 0);
		c.page_faults = atomic64_read(&mr->faults);
		c.page_faults_handled = atomic64_read(&mr->mirror->faults_handled);
		c.page_invalidations = atomic64_read(&mr->mirror->invalidations);
		c.page_invalidations_handled = atomic64_read(&mr->mirror->invalidations_handled);
		c.page_prefetch = atomic64_read(&mr->prefetches);
	}
	return uverbs_copy_to_struct_or_zero(attrs, PRXE_ATTR_MR_COUNTERS, &c, sizeof(c));
}

DECLARE_UVERBS_NAMED_METHOD(PRXE_METHOD_MR_COUNTERS,
			    UVERBS_ATTR_IDR(PRXE_ATTR_MR_HANDLE, UVERBS_OBJECT_MR,
					    UVERBS_ACCESS_READ, UA_MANDATORY),
			    UVERBS_ATTR_PTR_OUT(PRXE_ATTR_MR_COUNTERS,
						UVERBS_ATTR_STRUCT(struct prxe_mr_counters,
								   page_prefetch),
						UA_MANDATORY));

ADD_UVERBS_METHODS(prxe_mr_methods, UVERBS_OBJECT_MR, &UVERBS_METHOD(PRXE_METHOD_MR_COUNTERS));

const struct uapi_definition prxe_uapi[] = {
	UAPI_DEF_CHAIN_OBJ_TREE(UVERBS_OBJECT_MR, &prxe_mr_methods),
	UAPI_DEF_CHAIN(prxe_doorbell_uapi),
	{}
};
