/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The version of the project: of the module, and of libodp. These three numbers are the only place
 * that has it. It is in kernel/ because that is built alone, from a copy, by packages too.
 */
#ifndef PRXE_VERSION_H
#define PRXE_VERSION_H

#define PRXE_VERSION_MAJOR 0
#define PRXE_VERSION_MINOR 9
#define PRXE_VERSION_PATCH 0

/* As a string; with <linux/stringify.h>. */
#define PRXE_VERSION			\
	__stringify(PRXE_VERSION_MAJOR) "." __stringify(PRXE_VERSION_MINOR) "." \
	__stringify(PRXE_VERSION_PATCH)

#endif
