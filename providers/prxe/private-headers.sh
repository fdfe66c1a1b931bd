#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Take out of an rdma-core source what build.sh reads of it, so that the provider can be built where
# that source is not: the private headers of libibverbs, which no development package has.
#
#	private-headers.sh RDMA_CORE_SRC OUTDIR
#
# OUTDIR is made, and must not hold anything yet. build.sh takes it in place of the source, and then
# makes the same file. OUTDIR/NOTICE says where the files come from and how they are licensed.
set -eu

fail() {
	echo "providers/prxe/private-headers.sh: $*" >&2
	exit 1
}

[ $# -eq 2 ] || fail "usage: private-headers.sh RDMA_CORE_SRC OUTDIR"
src=$1
out=$2
[ -f "$src/libibverbs/driver.h" ] ||
	fail "$src is not an rdma-core source tree (no libibverbs/driver.h)"
[ -f "$src/COPYING.md" ] || fail "$src has no COPYING.md, which says how it is licensed"
if [ -d "$out" ] && [ -n "$(ls -A "$out")" ]; then
	fail "$out is not empty: remove it, or name another directory"
fi
version=$(sed -n 's/^set(PACKAGE_VERSION "\(.*\)")/\1/p' "$src/CMakeLists.txt")
[ -n "$version" ] || fail "$src/CMakeLists.txt names no version"

take() { # FILE..., from the top of the source
	for file; do
		[ -f "$src/$file" ] || fail "$src has no $file"
		mkdir -p "$out/${file%/*}"
		cp "$src/$file" "$out/$file"
	done
}

for name in arch opcode sa sa-kern-abi verbs verbs_api tm_types cmd_ioctl cmd_write driver \
	kern-abi marshall; do
	take "libibverbs/$name.h"
done
for name in ib_user_ioctl_cmds ib_user_ioctl_verbs ib_user_sa ib_user_verbs rdma_user_ioctl \
	rdma_user_ioctl_cmds rdma_user_rxe; do
	take "kernel-headers/rdma/$name.h"
done
for path in "$src"/util/*.h "$src"/ccan/*.h "$src"/ccan/LICENSE* "$src"/COPYING*; do
	file=${path#"$src/"}
	case $file in
	*/*) take "$file" ;;
	*) cp "$path" "$out/$file" ;;
	esac
done
take libibverbs/libibverbs.map.in buildlib/make_abi_structs.py buildlib/provider.map
cp "$src/CMakeLists.txt" "$out/CMakeLists.txt"

cat >"$out/NOTICE" <<EOF2
These files are a part of rdma-core $version (https://github.com/linux-rdma/rdma-core), unchanged.
The provider of prxe is compiled with them. Their licences, a choice of GPL-2.0 or a BSD licence for
most, are in COPYING.md, the files that it names, ccan/LICENSE.*, and the heads of the files.
EOF2
