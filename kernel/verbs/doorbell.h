/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef PRXE_DOORBELL_H
#define PRXE_DOORBELL_H

struct uapi_definition;
/* The doorbell's uverbs object, and the method that opens one: for the chain of prxe_uapi[]. */
extern const struct uapi_definition prxe_doorbell_uapi[];

#endif
