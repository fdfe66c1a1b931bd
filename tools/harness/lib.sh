# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2016,SC2034
# The harness, for ./run and for the host-side scripts that it starts (tools/demo/demo.sh,
# tools/bench/bench.sh). Source it:
#
#   . "$(dirname "$0")/../harness/lib.sh"
#
# It sets TOP (the project), CACHE and LOG_DIR. These are the functions that are used most; the head
# of the file in brackets has the whole list:
#
#   msg TEXT, die TEXT, step DESC CMD...    messages, timed steps, on standard error   (common.sh)
#   need_space DIR MIB WHAT                 stop early when a disk is full             (common.sh)
#   ensure_kernel K                         make K's root file system once; sets ROOT, KVER,
#                                           VMLINUZ, INITRD                            (rootfs.sh)
#   build_all K                             module for K, provider, programs; status 1 when a
#                                           part failed                                (build.sh)
#   vm_run K [OPTION]... -- CMD...          boot K, run CMD there; its output, status  (vm.sh)
#   kernel_reports FILE [ALLOW]             the kernel's complaints in a guest's log   (dmesg.sh)
#   chroot_run ROOT [--bind S:D]... -- CMD  run CMD in a root, without booting it      (chroot.sh)
#
# Kernels are called stable, latest, debug, oldstable; KERNELS has more.

TOP=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." && pwd) || exit 1
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/prxe
LOG_DIR=$TOP/build/log
for part in common cache mirror chroot rootfs kernels arm64 rdma-core build dmesg vm image \
	machine test package litmus; do
	# shellcheck source=/dev/null
	. "$TOP/tools/harness/$part.sh"
done
