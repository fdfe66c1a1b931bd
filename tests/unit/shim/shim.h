/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the kernel's headers and kernel/compat/compat.h are to the kernel's compiler, in user space:
 * just enough for files of kernel/ to compile unchanged. Every <linux/...> and <rdma/...> that they
 * include is an empty file; this file comes before all.
 *
 * Threads stand for CPUs. Sleeping in the wrong place, unbalanced locks and WARN_ON() end the test
 * program.
 */
#ifndef SHIM_H
#define SHIM_H

#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include <asm/byteorder.h>
#include <linux/types.h>

#include "core.h"
#include "sync.h"
#include "list.h"
#include "xarray.h"
#include "work.h"
#include "mm.h"
#include "net.h"
#include "ib.h"

#endif
