#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Build an rdma-core tree with the series, and look at the result. upstream.sh runs it in the
# build's root file system, where the tree is /mnt/share.
#
#	check.sh build		as a developer of rdma-core does, without a warning
#	check.sh distribution	with static libraries and manual pages; what packages list of the
#				provider is installed, and a program can link it statically
#	check.sh devices	the ibv_devices that "build" made finds a prxe device
set -eu -o pipefail
cd /mnt/share

fail() {
	echo "FAIL: $*"
	exit 1
}

# Configure and build. Warnings about the provider are errors, those of the compiler and of cmake.
# rdma-core has some about files of its own.
compile() { # DIR OPTION...
	local dir=$1 log=$1.log
	shift
	{ cmake -S . -B "$dir" -GNinja -DNO_PYVERBS=1 "$@" && ninja -C "$dir"; } 2>&1 | tee "$log"
	# ninja says what it compiles, and then what the compiler said.
	! awk '/^\[[0-9]+\/[0-9]+\]/ { what = $0 } /warning:/ && what ~ /prxe/' "$log" | grep . ||
		fail "the compiler warns"
	! grep -n -E -A8 '^CMake .*Warning' "$log" | grep prxe || fail "cmake warns"
}

build() {
	compile build -DIN_PLACE=1 -DENABLE_WERROR=1 -DNO_MAN_PAGES=1 -DENABLE_STATIC=0
}

# Only the provider's files are installed: for the manual pages of others rdma-core wants pandoc and
# rst2man.
distribution() {
	local dir path
	compile build-all -DENABLE_STATIC=1 -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX=/usr \
		-DCMAKE_INSTALL_LIBDIR=lib/x86_64-linux-gnu -DCMAKE_INSTALL_SYSCONFDIR:PATH=/etc
	rm -rf install
	for dir in build-all/providers/prxe build-all/providers/prxe/man; do
		[ ! -d $dir ] || DESTDIR=$PWD/install cmake -P $dir/cmake_install.cmake
	done
	for path in etc/libibverbs.d/prxe.driver 'usr/lib/*/libibverbs/libprxe-rdmav*.so' \
		$(grep -h prxe debian/*.install); do
		compgen -G "install/$path" || fail "$path is not installed"
	done
	static_program
}

# A program that has the provider in itself.
static_program() {
	printf '%s\n' '#include <infiniband/verbs.h>' \
		'int main(void) { int n; ibv_get_device_list(&n); return 0; }' >static.c
	gcc -Wall -Werror -DRDMA_STATIC_PROVIDERS=prxe -Ibuild-all/include -o static static.c \
		build-all/lib/statics/lib{prxe-rdmav*,ibverbs}.a build-all/util/librdma_util.a \
		build-all/ccan/libccan.a -lnl-route-3 -lnl-3 -lpthread &&
		nm static | grep -q ' verbs_provider_prxe$' ||
		fail "a program cannot have the provider linked statically"
}

# No kernel has to have such a device: libibverbs asks netlink, which strace makes fail, and then
# sysfs, where SYSFS_PATH names another one. A device that no provider takes is a warning.
devices() {
	local sys=/tmp/sys
	mount -t tmpfs tmpfs /dev
	mknod -m 666 /dev/null c 1 3
	mkdir -p /dev/infiniband $sys/class/infiniband/prxe0 $sys/class/infiniband_verbs/uverbs0
	: >/dev/infiniband/uverbs0
	echo "1: CA" >$sys/class/infiniband/prxe0/node_type
	echo 6 >$sys/class/infiniband_verbs/abi_version
	echo prxe0 >$sys/class/infiniband_verbs/uverbs0/ibdev
	echo 231:192 >$sys/class/infiniband_verbs/uverbs0/dev
	echo 2 >$sys/class/infiniband_verbs/uverbs0/abi_version
	SYSFS_PATH=$sys IBV_SHOW_WARNINGS=1 LD_LIBRARY_PATH=build/lib \
		strace -o /dev/null -e trace=socket -e inject=socket:error=EAFNOSUPPORT \
		build/bin/ibv_devices >/tmp/list 2>/tmp/warnings || fail "ibv_devices fails"
	cat /tmp/list /tmp/warnings
	[ ! -s /tmp/warnings ] || fail "libibverbs warns"
	grep -q '^ *prxe0[[:blank:]]' /tmp/list || fail "prxe0 is not in the list"
}

"$1"
