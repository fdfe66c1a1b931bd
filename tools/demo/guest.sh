#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The demo's measurements, in the guest: guest.sh OUTDIR. Pinned against ODP, runs interleaved.
#
#   PRXE_BENCH_DEV (prxe)      link type
#   PRXE_BENCH_PAIRS (3)       pairs; if it is not set, a fast machine runs more of perftest
#   PRXE_BENCH_SECONDS (0.4)   length of each run
set -u -o pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tools/bench/lib.sh
. "$here/../bench/lib.sh"

type=${PRXE_BENCH_DEV:-prxe}
dev=${type}0
pairs=${PRXE_BENCH_PAIRS:-3}
seconds=${PRXE_BENCH_SECONDS:-0.4}
failed=0
[ -n "${PRXE_BENCH_PAIRS:-}" ] || SERIES_BUDGET=12

bench_init "$1"
prxe-link "$type" || bench_die "there is no device $dev"
bench_machine

kinds() { printf 'pinned %s %s\nodp %s %s --odp\n' "$dev" "$dev" "$dev" "$dev"; }

# The first touch of memory that the host has not backed yet takes five times as long. Touch all of
# it now, so that the first measurement does not pay for that.
fill=/tmp/prxe-demo-fill
head -c 1G /dev/zero >$fill || note "  the guest's memory is not warmed up: first touches differ"
rm -f $fill

note "does what arrives equal what was sent?"
timeout -k 2 60 prxe-datacheck --dev "$dev" --gid "$GID" --kind odp --tsv \
	>"$OUT/data.tsv" 2>"$LOGS/data"
rc=$?
[ -s "$OUT/data.tsv" ] || bench_die "prxe-datacheck (exit status $rc): $(tail -n 3 "$LOGS/data")"
[ $rc -eq 0 ] || failed=1
remember "prxe-datacheck --dev $dev --gid $GID --kind odp"

note "RDMA WRITE: bandwidth ..."
for size in 4096 65536 1048576; do
	series write_bw ib_write_bw $size "$pairs" "$seconds" '' < <(kinds) || failed=1
done
note "RDMA WRITE: latency ..."
series write_lat ib_write_lat 8 "$pairs" "$seconds" '' < <(kinds) || failed=1

note "registration and first touch ..."
reg=(prxe-regbench --dev "$dev" --gid "$GID" --pairs "$pairs" --reg "4K,1M,1G,1T" --touch 64M)
timeout -k 2 100 "${reg[@]}" >>"$OUT/samples.tsv" || failed=1
remember "${reg[*]}"

# Memory over time, in a control group, with swap. If the kernel lacks something for it, it is left
# out.
group=/sys/fs/cgroup/prxe-demo
zram=/sys/block/zram0
memory() { # OPTION... SCENE
	local cmd=(prxe-memtrace --dev "$dev" --gid "$GID" --group "$group" "$@")
	timeout -k 2 60 "${cmd[@]}" >>"$OUT/memory.tsv" || failed=1
	remember "${cmd[*]}"
}
if {
	modprobe zram num_devices=1 && echo 128M >$zram/disksize &&
		mkswap -q /dev/zram0 && swapon /dev/zram0 &&
		echo +memory >/sys/fs/cgroup/cgroup.subtree_control && mkdir $group
} >/dev/null 2>&1; then
	note "memory over time, and a buffer larger than memory ..."
	for scene in pressure bigger; do
		memory --pinned $scene
		memory $scene
	done
	rmdir $group
	swapoff /dev/zram0
else
	note "  memory over time is not measured: no swap on zram, or no memory control groups"
fi

# What the device has counted: faults, invalidations, transfers.
{ rdma -p statistic show link "$dev/1" || rdma statistic show link "$dev/1"; } \
	>"$OUT/counters.txt" 2>/dev/null
exit $failed
