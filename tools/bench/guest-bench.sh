#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The benchmarks, in the guest: prxe and its peers in one machine, with interleaved runs.
#
# guest-bench.sh OUTDIR
#   PRXE_BENCH_PAIRS (5)     interleaved pairs of each measurement
#   PRXE_BENCH_SECONDS (1)   length of each run
#   PRXE_BENCH_DEV (prxe)    link type that is measured against rdma_rxe; "rxe" compares rdma_rxe
#                            with itself
#   PRXE_BENCH_PARTS         local wire loss odp reg copy paging data
set -u -o pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tools/bench/lib.sh
. "$here/lib.sh"

pairs=${PRXE_BENCH_PAIRS:-5}
seconds=${PRXE_BENCH_SECONDS:-1}
type=${PRXE_BENCH_DEV:-prxe}
parts=${PRXE_BENCH_PARTS:-local wire loss odp reg copy paging data}
failed=0

has() { case " $parts " in *" $1 "*) ;; *) return 1 ;; esac; }
try() { "$@" || failed=1; }

bench_init "$1"
# Load rdma_rxe first: before Linux 6.15 it takes the UDP port of the initial network namespace when
# it is loaded.
bench_dev_dummy rxe rxeL dumr 10.101.0.1
bench_dev_dummy "$type" prxeL dump 10.102.0.1 px
bench_machine

odp_of() { # DEV: does its RC WRITE use ODP MRs?
	ibv_devinfo -v -d "$1" 2>/dev/null | sed -n '/rc_odp_caps/,/uc_odp_caps/p' |
		grep -q SUPPORT_WRITE
}

versus() { # prints the lines of a series: prxe and rdma_rxe on the same host
	printf 'prxe prxeL prxeL\nrdma_rxe rxeL rxeL\n'
}

if has data; then
	note "what arrives ..."
	for d in prxeL rxeL; do
		timeout -k 2 240 prxe-datacheck --dev $d --gid "$GID" --ops write,read,send --tsv \
			>>"$OUT/data.tsv" 2>"$LOGS/data"
		rc=$?
		case $rc in
		0) ;;
		124) note "  $d: the data check did not end in 240 s" ;;
		*)
			note "  $d: not all is right (status $rc), see the" \
				"table$(tail -n 1 "$LOGS/data" | sed 's/^/; /')"
			;;
		esac
	done
fi
if has local; then
	note "same host: WRITE, READ, SEND of 64 KiB; latency and rate of 8 B WRITEs ..."
	for t in write read send; do
		try series ${t}_bw ib_${t}_bw 65536 "$pairs" "$seconds" '' < <(versus)
	done
	try series write_lat ib_write_lat 8 "$pairs" "$seconds" '' < <(versus)
	try series write_rate ib_write_bw 8 "$pairs" "$seconds" '' < <(versus)
fi
if has odp; then
	note "ODP against pinned, after the first touch ..."
	odp_lines() { printf 'pinned prxeL prxeL\nodp prxeL prxeL --odp\n'; }
	if odp_of prxeL; then
		# Pinned and ODP take turns, a few milliseconds each, in nine processes: where the
		# memory of a process happens to lie makes more difference than what is measured.
		for run in 0 1 2 3 4 5 6 7 8; do
			timeout -k 2 60 prxe-opbench --dev prxeL --gid "$GID" --pairs 5 |
				awk -F'\t' -v OFS='\t' -v from=$((5 * run)) \
					'{ $4 += from; print }' >>"$OUT/samples.tsv" || failed=1
		done
		remember "prxe-opbench --dev prxe0 --gid $GID --pairs 5"
		for s in 4096 65536 1048576; do
			try series odp_write_bw ib_write_bw $s "$pairs" "$seconds" '' < <(odp_lines)
		done
		try series odp_read_bw ib_read_bw 65536 "$pairs" "$seconds" '' < <(odp_lines)
		try series odp_send_bw ib_send_bw 65536 "$pairs" "$seconds" '' < <(odp_lines)
		try series odp_write_lat ib_write_lat 8 "$pairs" "$seconds" '' < <(odp_lines)
	else
		note "  prxeL does not offer ODP for WRITE"
		failed=1
	fi
fi
# Two devices of each type over a veth pair; sets peer to 0 if there are none of rdma_rxe.
veths() {
	peer=1
	(bench_dev_veth rxe rxe0v rxe1v 10.103.0) || {
		peer=0
		note "  rdma_rxe of this kernel cannot have two devices in two network" \
			"namespaces: prxe alone is measured"
	}
	(bench_dev_veth "$type" prxe0v prxe1v 10.104.0) && return
	note "  no $type devices over veth"
	failed=1
	return 1
}

if has wire || has loss; then
	note "over veth ..."
	veths || parts=''
fi
if has wire; then
	wire_lines() {
		printf 'prxe prxe0v prxe1v\n'
		[ "$peer" = 0 ] || printf 'rdma_rxe rxe0v rxe1v\n'
		[ "$1" = bw ] || return
		[ "$type" != prxe ] || printf 'no_icrc prxe0v prxe1v icrc=0\n'
		printf 'tcp tcp:ns-prxe0v tcp:ns-prxe1v 10.104.0.1\n'
		[ "$2" != write ] || printf 'udp udp:ns-prxe0v udp:ns-prxe1v 10.104.0.1\n'
	}
	for t in write read send; do
		try series wire_${t}_bw ib_${t}_bw 65536 "$pairs" "$seconds" '' \
			< <(wire_lines bw $t)
	done
	try series wire_write_lat ib_write_lat 8 "$pairs" "$seconds" '' < <(wire_lines lat)
fi
if has loss; then
	note "over veth, with packets that are lost, late or in another order ..."
	loss_lines() {
		[ "$type" != prxe ] || printf 'no_icrc prxe0v prxe1v icrc=0\n'
		[ "$peer" = 0 ] || printf 'rdma_rxe rxe0v rxe1v\n'
		[ "$1" != write ] || printf 'tcp tcp:ns-prxe0v tcp:ns-prxe1v 10.104.0.1\n'
	}
	for n in none loss0.1 loss1 loss5 delay1 delay20 reorder1; do
		bench_netem "$n" prxe0v prxe1v || failed=1
		[ "$peer" = 0 ] || bench_netem "$n" rxe0v rxe1v || failed=1
		for t in write read; do
			try timed "loss_${t}_$n" "ib_${t}_bw" 65536 3 3 < <(loss_lines $t)
		done
	done
	bench_netem none prxe0v prxe1v
	[ "$peer" = 0 ] || bench_netem none rxe0v rxe1v
fi
if has copy; then
	note "memcpy and process_vm_writev ..."
	try timeout -k 2 120 prxe-copybench --pairs "$pairs" --time 0.2 >>"$OUT/samples.tsv"
	remember "prxe-copybench --pairs $pairs --time 0.2"
fi
if has reg; then
	note "registration and first touch ..."
	regs=4K,1M,64M,1G,64G,1T
	touches=16M,64M,256M
	try timeout -k 2 300 prxe-regbench --dev prxeL --gid "$GID" --pairs "$pairs" --reg $regs \
		--touch $touches >>"$OUT/samples.tsv"
	remember "prxe-regbench --dev prxe0 --gid $GID --pairs $pairs --reg $regs --touch $touches"
	# The peer's ODP has a table entry for each page, so leave out sizes whose table does not
	# fit into the guest's memory. If the peer fails, its figures are missing; this script does
	# not fail then.
	timeout -k 2 200 prxe-regbench --dev rxeL --gid "$GID" --pairs 3 --reg 4K,1M,64M,1G \
		--touch '' |
		sed 's/^reg\t/rxe_reg\t/; s/^dereg\t/rxe_dereg\t/' >>"$OUT/samples.tsv"
fi
if has paging; then
	note "faults, first touch, munmap and fork, very many MRs ..."
	modprobe -q zram num_devices=1 && echo 256M >/sys/block/zram0/disksize &&
		mkswap -q /dev/zram0 && swapon /dev/zram0 ||
		note "  no swap on zram: its faults are left out"
	try timeout -k 2 500 prxe-faultbench --dev prxeL --gid "$GID" --pairs "$pairs" \
		>>"$OUT/samples.tsv"
	remember "prxe-faultbench --dev prxe0 --gid $GID --pairs $pairs"
	note "ageing on and off, under reclaim ..."
	cg=/sys/fs/cgroup/prxe-bench
	echo +memory >/sys/fs/cgroup/cgroup.subtree_control
	for on in 1 0; do
		mkdir $cg && echo 12M >$cg/memory.max &&
			echo $on >/sys/module/prxe/parameters/ageing || failed=1
		try timeout -k 2 100 prxe-pressure -d prxeL -g "$GID" -C $cg -m 32 -T hot \
			> >(grep -P '^reclaim_\w+\t' >>"$OUT/samples.tsv")
		for _ in 1 2 3 4 5 6 7 8 9 10; do rmdir $cg 2>/dev/null && break || sleep 1; done
	done
	echo 1 >/sys/module/prxe/parameters/ageing
	remember "prxe-pressure -d prxe0 -g $GID -C CGROUP -m 32 hot"
fi
exit $failed
