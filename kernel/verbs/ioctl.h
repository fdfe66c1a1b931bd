/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef PRXE_IOCTL_VERBS_H
#define PRXE_IOCTL_VERBS_H

struct uapi_definition;
/*
 * Our uverbs objects and methods, for ib_device.driver_def, which the core reads when the device is
 * registered. The core calls the methods in process context; they may sleep.
 */
extern const struct uapi_definition prxe_uapi[];

#endif
