# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# For tests of libodp that run on this machine, in tests/libodp: its compiler and headers, and the
# include directory that libodp's build would make.

# libodp_host_needs: gcc and the headers that libodp is built with; installs what is missing.
libodp_host_needs() {
	if command -v gcc >/dev/null && [ -e /usr/include/infiniband/verbs.h ] &&
		[ -d /usr/include/libnl3 ]; then
		return 0
	fi
	echo "installing gcc, libibverbs-dev and libnl-3-dev"
	DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
		gcc libc6-dev libibverbs-dev libnl-3-dev >/dev/null 2>&1 || {
		echo "this test needs gcc and Debian's libibverbs-dev and libnl-3-dev"
		return 1
	}
}

# libodp_version_h DIR: DIR/odp/version.h
libodp_version_h() {
	mkdir -p "$1/odp" &&
		sed -n 's/^#define PRXE_\(VERSION_M[A-Z]* [0-9]*\)$/#define ODP_\1/p' \
			../../kernel/base/version.h >"$1/odp/version.h"
}
