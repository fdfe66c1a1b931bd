#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# kernel/compat/supported.h: a kernel that has all that prxe needs is accepted; each that lacks
# something, or has what prxe does not work with, stops the build with a sentence that says so.
set -u
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" || exit 1
FAILED=0
needed=(64BIT MMU_NOTIFIER HMM_MIRROR INFINIBAND_USER_MEM INFINIBAND_VIRT_DMA)
refused=(HIGHMEM ARCH_HAS_CPU_CACHE_ALIASING CPU_CACHE_VIPT_ALIASING SPARC MIPS PARISC)

# What the compiler says of a kernel with these options.
says() { # OPTION...
	gcc -fsyntax-only "${@/#/-DCONFIG_}" ../../kernel/compat/supported.h 2>&1
}

out=$(says "${needed[@]}") || { echo "FAIL: refused: $out" && FAILED=1; }
for option in "${needed[@]}"; do
	others=()
	for other in "${needed[@]}"; do
		[ "$other" = "$option" ] || others+=("$other")
	done
	out=$(says "${others[@]}") && echo "FAIL: accepted without $option" && FAILED=1
	[[ $out == *'#error "prxe needs'* ]] || { echo "FAIL: $option: $out" && FAILED=1; }
done
for option in "${refused[@]}"; do
	out=$(says "${needed[@]}" "$option") && echo "FAIL: accepted with $option" && FAILED=1
	[[ $out == *'#error "prxe does not work'* ]] || { echo "FAIL: $option: $out" && FAILED=1; }
done
exit $FAILED
