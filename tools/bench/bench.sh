#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The benchmarks, side by side with their peers, in one VM. Each goal is printed with its figure on
# the terminal, and written to build/report.
#
#   bench.sh [--kernel K] [--pairs N] [--seconds S] [--no-build]
#            [--parts "local wire loss odp reg copy paging data count"]
#   bench.sh --upstream [--kernel K]     what the kernel's own rdma_rxe delivers through ODP memory,
#                                        and prxe beside it
set -u -o pipefail
TOP=$(cd "$(dirname "$(readlink -f "$0")")/../.." && pwd) || exit 1
# shellcheck source=tools/report/report.sh
. "$TOP/tools/report/report.sh"

die() {
	printf 'prxe: error: %s\n' "$*" >&2
	exit 1
}

kernel='' upstream=0 build=()
while [ $# -gt 0 ]; do
	case $1 in
	--upstream)
		upstream=1
		shift
		continue
		;;
	--no-build)
		build=(--no-build)
		shift
		continue
		;;
	--kernel | --pairs | --seconds | --parts) [ $# -ge 2 ] || die "bench: $1 wants a value" ;;
	*)
		die "bench: unknown argument '$1' (usage: ./run bench [--kernel K] [--pairs N]" \
			"[--seconds S] [--parts LIST] [--no-build] | --upstream)"
		;;
	esac
	case $1 in
	--kernel) kernel=$2 ;;
	--pairs) export PRXE_BENCH_PAIRS=$2 ;;
	--seconds) export PRXE_BENCH_SECONDS=$2 ;;
	--parts) export PRXE_BENCH_PARTS=$2 ;;
	esac
	shift 2
done

if [ $upstream = 1 ]; then
	exec bash "$TOP/tools/bench/upstream-check" ${kernel:+--kernel "$kernel"}
fi

kernel=${kernel:-stable}
pairs=${PRXE_BENCH_PAIRS:-5}
type=${PRXE_BENCH_DEV:-prxe}
start=$SECONDS
report=$TOP/build/report
raw=$report/bench
rm -rf "$raw" && mkdir -p "$raw" || die "cannot make $raw"
"$TOP/run" sh --kernel "$kernel" --no-link ${build[@]+"${build[@]}"} --share "$raw" \
	--timeout "${PRXE_BENCH_VM_TIMEOUT:-2000}" -- \
	/src/tools/bench/guest-bench.sh /mnt/share
rc=$?
case " ${PRXE_BENCH_PARTS:-count} " in
*" count "*)
	# Always emulated: counting instructions has no noise.
	"$TOP/run" sh --kernel "$kernel" --no-build --icount --share "$raw" --timeout 900 -- \
		/src/tools/bench/guest-count.sh /mnt/share || rc=1
	sed 's/^/n_/' "$raw/count.tsv" >>"$raw/samples.tsv"
	;;
esac
[ -s "$raw/samples.tsv" ] || die "the guest left no measurements (its exit status: $rc)"
rp_open "$raw" || exit 1
rp_host >>"$raw/machine.txt"
took=$((SECONDS - start))

compare() { # VALUE OP LIMIT
	awk -v v="$1" -v o="$2" -v l="$3" 'BEGIN {
		if (v == "") print "not measured"
		else print (o == ">=" ? v >= l : v <= l) ? "met" : "NOT MET" }'
}

show() { # VALUE UNIT
	case $2 in
	us) rp_us "$1" ;;
	insn) # from a clock that counts one instruction a nanosecond: a microsecond is a thousand
		awk -v x="$1" 'BEGIN {
			if (x == "") print "-"
			else if (x >= 1e4) printf "%.1f M\n", x / 1e3
			else printf "%.2f k\n", x }'
		;;
	*)
		printf '%s %s\n' "$(awk -v x="$1" -v n="$(rp_num "$1")" 'BEGIN {
			if (x >= 1e6) printf "%.2f M\n", x / 1e6
			else print n }')" "$2"
		;;
	esac
}

goal() { # TITLE METRIC SIZE VARIANT TO UNIT OP LIMIT
	local r
	r=$(rp_ratio "$2" "$3" "$4" "$5")
	printf '%s\t%s\t%s\t%s\t%s\t%s %s\t%s\n' "$1" \
		"$(show "$(rp_median "$2" "$3" "$4")" "$6")" \
		"$(show "$(rp_median "$2" "$3" "$5")" "$6")" \
		"$(rp_num "$r")" "$(rp_pairs "$2" "$3" "$4" "$5")" \
		"$7" "$8" "$(compare "$r" "$7" "$8")"
}

peers() {
	local t
	printf 'against rdma_rxe\tprxe\trdma_rxe\tratio\tpairs\tgoal\t\n'
	goal "WRITE of 64 KiB, same host" write_bw 65536 prxe rdma_rxe MiB/s '>=' 8
	goal "READ of 64 KiB, same host" read_bw 65536 prxe rdma_rxe MiB/s '>=' 8
	goal "SEND of 64 KiB, same host" send_bw 65536 prxe rdma_rxe MiB/s '>=' 8
	goal "latency of an 8 B WRITE, same host" write_lat 8 prxe rdma_rxe us '<=' 0.3333
	goal "8 B WRITEs, same host" write_rate 8 prxe rdma_rxe /s '>=' 5
	for t in write read send; do
		goal "${t^^} of 64 KiB over veth" wire_${t}_bw 65536 prxe rdma_rxe MiB/s '>=' 2.2
		[ -n "$(rp_median wire_${t}_bw 65536 no_icrc)" ] || continue
		goal "the same with icrc=0" wire_${t}_bw 65536 no_icrc rdma_rxe MiB/s '>=' 5
		goal "the same, against TCP" wire_${t}_bw 65536 no_icrc tcp MiB/s '>=' 0.6
	done
	[ -z "$(rp_median wire_write_bw 65536 udp)" ] ||
		versus "WRITE over veth with icrc=0, against UDP datagrams of a packet" \
			wire_write_bw 65536 no_icrc udp MiB/s
	versus "latency of an 8 B WRITE, over veth" wire_write_lat 8 prxe rdma_rxe
}

versus() { # TITLE METRIC SIZE VARIANT TO [UNIT]: a figure without a goal; UNIT's default is us
	printf '%s\t%s\t%s\t%s\t%s\t\t\n' "$1" \
		"$(show "$(rp_median "$2" "$3" "$4")" "${6:-us}")" \
		"$(show "$(rp_median "$2" "$3" "$5")" "${6:-us}")" \
		"$(rp_num "$(rp_ratio "$2" "$3" "$4" "$5")")" "$(rp_pairs "$2" "$3" "$4" "$5")"
}

lossy_row() { # TITLE METRIC
	local v m
	[ -n "$(rp_median "$2" 65536 no_icrc)" ] || return
	printf '%s' "$1"
	for v in no_icrc tcp rdma_rxe; do
		m=$(rp_median "$2" 65536 $v)
		printf '\t%s' "$([ -n "$m" ] && show "$m" MiB/s || echo -)"
	done
	printf '\t%s\t%s\n' "$(rp_num "$(rp_ratio "$2" 65536 no_icrc tcp)")" \
		"$(rp_num "$(rp_ratio "$2" 65536 no_icrc rdma_rxe)")"
}

lossy() {
	local c t
	[ -n "$(rp_median loss_write_none 65536 no_icrc)" ] || return
	printf 'netem at both ends of a veth pair, 64 KiB, icrc=0\tprxe\tTCP\trdma_rxe'
	printf '\tagainst TCP\tagainst rdma_rxe\n'
	while IFS='|' read -r c t; do
		lossy_row "WRITE, $t" "loss_write_$c"
		lossy_row "READ, $t" "loss_read_$c"
	done <<-'EOF'
		none|nothing
		loss0.1|loss of 0.1 %
		loss1|loss of 1 %
		loss5|loss of 5 %
		delay1|1 ms late
		delay20|20 ms late
		reorder1|0.2 ms late, but 1 % at once
	EOF
}

ops="WRITE:8 READ:8 SEND:8 WRITE:4096 WRITE:65536 WRITE:1048576 READ:65536 SEND:65536"

# Measured from post to completion: 1.05 of the time is 0.95 of the bandwidth.
op_rows() { # PREFIX UNIT
	local o t s
	for o in $ops; do
		t=${o%:*} s=${o#*:}
		goal "$t of $(rp_size "$s")" "${1}op_${t,,}" "$s" odp pinned "$2" '<=' 1.05
	done
}

# Figures without a goal: long READs and SENDs, and lists of 8 B that one ibv_post_send() takes.
more_rows() { # PREFIX UNIT
	local o t
	for o in READ SEND; do
		versus "$o of 1 MiB" "${1}op_${o,,}" 1048576 odp pinned "$2"
	done
	for o in WRITE:16 WRITE:64 READ:16 SEND:16; do
		t=${o%:*}
		versus "one of ${o#*:} ${t}s of 8 B, posted at once" "${1}op_${t,,}${o#*:}" 8 \
			odp pinned "$2"
	done
}

# Between two devices: no goal either.
wire_rows() { # PREFIX UNIT
	local o t s
	for o in $ops; do
		t=${o%:*} s=${o#*:}
		versus "$t of $(rp_size "$s")" "${1}op_${t,,}" "$s" odp pinned "$2"
	done
	more_rows "$@"
}

odp() {
	printf 'prxe, ODP against pinned\tODP\tpinned\tratio\tpairs\tgoal\t\n'
	op_rows '' us
	more_rows '' us
	versus "ib_write_lat, 8 B" odp_write_lat 8 odp pinned us
	versus "ib_write_bw, 64 KiB" odp_write_bw 65536 odp pinned MiB/s
	versus "ib_write_bw, 1 MiB" odp_write_bw 1048576 odp pinned MiB/s
	versus "ib_read_bw, 64 KiB" odp_read_bw 65536 odp pinned MiB/s
	versus "ib_send_bw, 64 KiB" odp_send_bw 65536 odp pinned MiB/s
}

copies() {
	local s w
	printf 'same machine\tprxe WRITE\tprocess_vm_writev\tmemcpy\n'
	for s in 65536 1048576; do
		w=$(rp_median odp_write_bw $s pinned)
		[ $s != 65536 ] || w=${w:-$(rp_median write_bw $s prxe)}
		printf '%s\t%s\t%s\t%s\n' "$(rp_size $s)" "$(show "$w" MiB/s)" \
			"$(show "$(rp_median copy_bw $s vm_writev)" MiB/s)" \
			"$(show "$(rp_median copy_bw $s memcpy)" MiB/s)"
	done
	printf '%s\t%s\t%s\t%s\n' "8 B" "$(rp_us "$(rp_median write_lat 8 prxe)")" \
		"$(rp_us "$(rp_median copy_lat 8 vm_writev)")" \
		"$(rp_us "$(rp_median copy_lat 8 memcpy)")"
}

reg_sizes="4096 1048576 67108864 1073741824 68719476736 1099511627776"

registration() {
	local s
	printf 'registration\tprxe ODP\tprxe pinned\trdma_rxe ODP\trdma_rxe pinned\n'
	for s in $reg_sizes; do
		printf '%s\t%s\t%s\t%s\t%s\n' "$(rp_size "$s")" \
			"$(rp_us "$(rp_median reg "$s" odp)")" \
			"$(rp_us "$(rp_median reg "$s" pinned)")" \
			"$(rp_us "$(rp_median rxe_reg "$s" odp)")" \
			"$(rp_us "$(rp_median rxe_reg "$s" pinned)")"
	done
}

touch_table() {
	local s v
	printf 'first touch\tWRITE, ODP\tWRITE, ODP prefetched\tWRITE, pinned\tmemset'
	printf '\tregistered + WRITE, ODP\tregistered + WRITE, pinned\n'
	for s in 16777216 67108864 268435456; do
		printf '%s' "$(rp_size $s)"
		for v in odp odp-prefetch pinned memset; do
			printf '\t%s' "$(rp_us "$(rp_median touch $s $v)")"
		done
		printf '\t%s\t%s\n' "$(rp_us "$(rp_median touch_total $s odp)")" \
			"$(rp_us "$(rp_median touch_total $s pinned)")"
	done
}

maps_rows() { # PREFIX UNIT
	goal "munmap of 1 GiB, mirrored; not mirrored" \
		"${1}munmap" 1073741824 mirrored plain "$2" '<=' 1.15
	goal "fork with 1 GiB, mirrored; not mirrored" \
		"${1}fork" 1073741824 mirrored plain "$2" '<=' 1.15
	goal "munmap of 256 MiB in small pages" \
		"${1}munmap" 268435456 mirrored-small plain-small "$2" '<=' 1.15
	goal "fork with 256 MiB in small pages" \
		"${1}fork" 268435456 mirrored-small plain-small "$2" '<=' 1.15
}

paging() {
	[ -n "$(rp_median fault_resident 4096 cpu)" ] || return
	printf 'on-demand paging\tprxe\tits peer\tratio\tpairs\tgoal\t\n'
	goal "fault on a resident page, the poster's memory; CPU's minor fault" \
		fault_resident 4096 own cpu us '<=' 1.5
	versus "the same, another process's memory" fault_resident 4096 other cpu
	versus "fault on a page that nobody has touched; CPU's" fault_missing 4096 own cpu
	versus "the same, another process's memory" fault_missing 4096 other cpu
	versus "fault on a page in zram; CPU's" fault_swapped 4096 own cpu
	versus "the same, another process's memory" fault_swapped 4096 other cpu
	goal "first WRITE into 256 MiB; memset and copy" \
		touch_write 268435456 first memset+again us '<=' 1.3
	goal "first READ into 256 MiB; memset and copy" \
		touch_read 268435456 first memset+again us '<=' 1.3
	maps_rows '' us
	goal "registering one of 100,000 MRs of 4 MiB; pinned" \
		mr_reg 4194304 odp pinned us '<=' 0.1
	versus "the same; the first 100 of them" mr_reg 4194304 odp odp-first
	versus "deregistering one of them; pinned" mr_dereg 4194304 odp pinned
	versus "used pages that reclaim took, of 4 MiB that are READ again and again; ageing=0" \
		reclaim_hot 4194304 on off pages
	versus "refaults in the memory cgroup meanwhile; ageing=0" \
		reclaim_refaults 4194304 on off pages
}

flat() { # METRIC: largest against smallest over all sizes
	for s in $reg_sizes; do rp_median "$1" "$s" odp; done | sort -g |
		awk '{ a[NR] = $1 } END { if (NR > 1 && a[1] > 0) printf "%.2f\n", a[NR] / a[1] }'
}

flat_row() { # TITLE METRIC
	local f
	f=$(flat "$2")
	printf '%s\t\t\t%s\t\t<= 2\t%s\n' "$1" "$(rp_num "$f")" "$(compare "$f" '<=' 2)"
}

counted() {
	[ -n "$(rp_median n_op_write 8 odp)" ] || return
	printf 'instructions, counted: ODP against pinned\tODP\tpinned\tratio\tpairs\tgoal\t\n'
	op_rows n_ insn
	more_rows n_ insn
	flat_row "registration with ODP, slowest of 4 KiB to 1 TiB against fastest" n_reg
	goal "fault on a resident page, the poster's memory; CPU's minor fault" \
		n_fault_resident 4096 own cpu insn '<=' 1.5
	goal "the same, another process's memory" n_fault_resident 4096 other cpu insn '<=' 1.5
	maps_rows n_ insn
	goal "registering one of 100,000 MRs of 4 MiB; pinned" \
		n_mr_reg 4194304 odp pinned insn '<=' 0.1
}

counted_wire() {
	[ -n "$(rp_median n_wire_op_write 8 odp)" ] || return
	printf 'instructions, counted, over veth\tODP\tpinned\tratio\tpairs\t\t\n'
	wire_rows n_wire_ insn
}

data() {
	[ -s "$raw/data.tsv" ] || return
	printf 'data, 72 transfers each\toperation\ttransfers wrong or failed\twrong bytes\tof\n'
	awk -F'\t' '
		{
			d = $2 ~ /^prxe/ ? "prxe" : "rdma_rxe"
			if ($2 == "prxeL" && T == "rxe") d = "rdma_rxe (as prxe)"
			printf "%s %s\t%s\t%d\t%d\t%d\n", d, $4, $3, $6 + $7, $8, $9
		}' T="$type" "$raw/data.tsv"
}

peers >"$raw/peers.tsv"
lossy >"$raw/lossy.tsv"
odp >"$raw/odp.tsv"
flat_row "registration with ODP, slowest of 4 KiB to 1 TiB against fastest" reg \
	>>"$raw/odp.tsv"
counted >"$raw/counted.tsv"
counted_wire >"$raw/counted-wire.tsv"
copies >"$raw/copies.tsv"
paging >"$raw/paging.tsv"
registration >"$raw/registration.tsv"
touch_table >"$raw/touch.tsv"
data >"$raw/data-table.tsv"
rp_csv >"$report/bench.csv"

# Lines for rp_bars. A series is NAME=VARIANT, or just the name of a variant.
bars() { # GROUP METRIC SIZE SERIES...
	local v
	for v in "${@:4}"; do
		rp_bar "$1" "${v%%=*}" "$2" "$3" "${v#*=}"
	done
}

tables=(peers lossy odp counted counted-wire paging copies registration touch data-table)
{
	echo
	for t in "${tables[@]}"; do
		[ -s "$raw/$t.tsv" ] || continue
		rp_text <"$raw/$t.tsv"
		echo
	done
	rp_machine
} | tee "$raw/table.txt"
{
	for t in "${tables[@]}"; do
		[ -s "$raw/$t.tsv" ] || continue
		rp_markdown <"$raw/$t.tsv"
		echo
	done
	awk -F'\t' '{ printf "%s%s: %s", (NR > 1 ? "; " : ""), $1, $2 } END { print "." }' \
		"$raw/machine.txt"
} >"$report/bench.md"
{
	rp_head "prxe: benchmarks"
	[ "$type" = prxe ] ||
		echo "<p><strong>Measured with $type in the place of prxe.</strong></p>"
	echo "<p>Medians of $pairs interleaved pairs in one virtual machine; each ratio is that of"
	echo "the medians, beside the lowest and the highest of the pairs.</p>"
	rp_table <"$raw/peers.tsv"
	echo '<div class="plots">'
	for t in write read send; do
		bars "${t^^} same host" ${t}_bw 65536 prxe rdma_rxe
		bars "${t^^} over veth" wire_${t}_bw 65536 prxe no-ICRC=no_icrc rdma_rxe TCP=tcp
	done | rp_bars "Bandwidth, 64 KiB" MiB/s higher
	{
		bars "same host" write_lat 8 prxe rdma_rxe
		bars "over veth" wire_write_lat 8 prxe rdma_rxe
	} | rp_bars "Latency of an 8 B WRITE" us lower
	echo '</div>'
	[ ! -s "$raw/lossy.tsv" ] || rp_table <"$raw/lossy.tsv"
	rp_table <"$raw/odp.tsv"
	for s in 4096 65536 1048576; do
		bars "WRITE of $(rp_size $s)" odp_write_bw $s pinned ODP=odp
	done | rp_bars "prxe, ODP against pinned" MiB/s higher
	[ ! -s "$raw/counted.tsv" ] || rp_table <"$raw/counted.tsv"
	[ ! -s "$raw/counted-wire.tsv" ] || rp_table <"$raw/counted-wire.tsv"
	[ ! -s "$raw/paging.tsv" ] || rp_table <"$raw/paging.tsv"
	rp_table <"$raw/copies.tsv"
	rp_table <"$raw/registration.tsv"
	for s in $reg_sizes; do
		bars "$(rp_size "$s")" reg "$s" "prxe ODP=odp" "prxe pinned=pinned"
		bars "$(rp_size "$s")" rxe_reg "$s" "rdma_rxe ODP=odp" "rdma_rxe pinned=pinned"
	done | rp_bars "Registration" us lower log
	rp_table <"$raw/touch.tsv"
	for s in 16777216 67108864 268435456; do
		bars "$(rp_size $s)" touch $s ODP=odp "ODP, prefetched=odp-prefetch" pinned \
			"the processor (memset)=memset"
	done | rp_bars "First WRITE into fresh memory" us lower log
	[ ! -s "$raw/data-table.tsv" ] || rp_table <"$raw/data-table.tsv"
	echo "<h2>Machine</h2>"
	rp_machine_html
	rp_commands_html
	[ ! -e "$report/index.html" ] || echo '<p><a href="index.html">The demo</a></p>'
	rp_foot
} >"$report/bench.html"
echo
echo "  report: $report/bench.html, bench.csv, bench.md; everything took $took s"
missed=$(cat "$raw/peers.tsv" "$raw/odp.tsv" "$raw/counted.tsv" "$raw/paging.tsv" |
	grep -c 'NOT MET')
[ "$missed" = 0 ] || echo "  goals that are NOT MET: $missed"
[ $rc -eq 0 ] || die "a measurement failed (above)"
