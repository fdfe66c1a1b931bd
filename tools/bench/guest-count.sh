#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# What operations, registration and faults cost in instructions, in a guest whose clock counts them,
# one each nanosecond (./run sh --icount). The figures are the same every time, so a few pairs are
# enough. Operations are counted on prxe0, and over the wire: between two devices, joined by a veth
# pair with room for packets of 4096 bytes (wire_op_...).
#
# guest-count.sh OUTDIR
set -u -o pipefail
# shellcheck source=tools/bench/lib.sh
. "$(dirname "$0")/lib.sh"
out=$1/count.tsv
failed=0
: >"$out" || exit 1
try() { "$@" >>"$out" || failed=1; }

note "counting instructions: operations ..."
try timeout -k 2 200 prxe-opbench --dev prxe0 --gid 1 --pairs 3
note "counting instructions: operations over the wire ..."
if (bench_dev_veth prxe prxe0v prxe1v 10.104.0 4200); then
	try timeout -k 2 300 prxe-opbench --dev prxe0v --peer prxe1v --gid "$GID" --pairs 3 \
		--prefix wire_
else
	note "  no devices over veth"
	failed=1
fi
note "counting instructions: registration ..."
try timeout -k 2 200 prxe-regbench --dev prxe0 --gid 1 --pairs 3 \
	--reg 4K,1M,64M,1G,64G,1T --touch ''
note "counting instructions: faults, very many MRs ..."
modprobe -q zram num_devices=1 && echo 256M >/sys/block/zram0/disksize &&
	mkswap -q /dev/zram0 && swapon /dev/zram0 ||
	note "  no swap on zram: its faults are left out"
try timeout -k 2 300 prxe-faultbench --dev prxe0 --gid 1 --pairs 3 --parts faults,mrs
note "counting instructions: munmap and fork ..."
try timeout -k 2 300 prxe-faultbench --dev prxe0 --gid 1 --pairs 1 --parts maps
exit $failed
