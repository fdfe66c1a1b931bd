/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The version of the project: of the module and of libodp. It is written here only. The file is in
 * kernel/ because packages build that folder alone, from a copy.
 */
#ifndef PRXE_VERSION_H
#define PRXE_VERSION_H

#define PRXE_VERSION_MAJOR 0
#define PRXE_VERSION_MINOR 9
#define PRXE_VERSION_PATCH 0

/* As a string; the user includes <linux/stringify.h>. */
#define PRXE_VERSION			\
	__stringify(PRXE_VERSION_MAJOR) "." __stringify(PRXE_VERSION_MINOR) "." \
	__stringify(PRXE_VERSION_PATCH)

#endif
