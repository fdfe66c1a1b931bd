/* SPDX-License-Identifier: BSD-2-Clause */
/* What single super-packets must do: data, order and counters are exact. */
#ifndef SUPER_H
#define SUPER_H

#include <stdbool.h>

/* Do this kernel's packet sockets take super-packets of UDP? They do since Linux 6.2. */
bool super_known(void);
void super_tests(void);

#endif
