# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# What is special about some of the kernels that rootfs.sh has roots for.
#
#   make_root_rt DIR, make_root_cloud DIR, make_root_sid DIR
#   debug_key K               the key of K's own kernel; K: debug, debug-rt
#   make_kernel_debug_rt DIR  as make_kernel_debug, with other options

make_root_rt() { root_unpack_kernel "$1" "$SUITE" "$SUITE" rt-; }

make_root_cloud() { root_unpack_kernel "$1" "$SUITE" "$SUITE" cloud-; }

# With the compiler that sid's kernel wants its modules built with, and the C library that the
# compiler needs: the rest is trixie's.
make_root_sid() { root_unpack_kernel "$1" sid sid; }

# The options of debug.config, but those that debug-rt.config sets or turns off replace theirs.
debug_rt_config() {
	local rt=$TOP/tests/vm/debug-rt.config
	sed -nE 's/^(# )?(CONFIG_[A-Z0-9_]+)(=| is not set).*/^\2=/p' "$rt" |
		grep -vf - "$TOP/tests/vm/debug.config" && grep CONFIG_ "$rt"
}

debug_key() { # K
	{
		echo "$SUITE" &&
			case $1 in
			debug) grep "^CONFIG_" "$TOP/tests/vm/debug.config" ;;
			debug-rt) debug_rt_config | grep CONFIG_ && recipe make_kernel_debug_rt ;;
			esac && recipe make_kernel_debug
	} | hash_of
}

# The same source, built by the same function, which takes its options from $TOP/tests/vm.
make_kernel_debug_rt() { # DIR
	mkdir -p "$1/top/tests/vm" && debug_rt_config >"$1/top/tests/vm/debug.config" &&
		TOP=$1/top make_kernel_debug "$1" && rm -rf "$1/top"
}
