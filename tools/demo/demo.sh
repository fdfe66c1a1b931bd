#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The demo: pinned against ODP, measured with perftest. It prints a table on the terminal, and
# writes a page and a CSV file to build/report.
#
#   demo.sh [--kernel K] [--dev prxe|rxe] [--pairs N] [--no-build]
set -u -o pipefail
TOP=$(cd "$(dirname "$(readlink -f "$0")")/../.." && pwd) || exit 1
# shellcheck source=tools/report/report.sh
. "$TOP/tools/report/report.sh"

die() {
	printf 'prxe: error: %s\n' "$*" >&2
	exit 1
}

kernel=stable type=prxe build=()
while [ $# -gt 0 ]; do
	case $1 in
	--no-build)
		build=(--no-build)
		shift
		continue
		;;
	--kernel | --dev | --pairs) [ $# -ge 2 ] || die "demo: $1 wants a value" ;;
	*)
		die "demo: unknown argument '$1'" \
			"(usage: ./run demo [--kernel K] [--dev prxe|rxe] [--pairs N] [--no-build])"
		;;
	esac
	case $1 in
	--kernel) kernel=$2 ;;
	--dev) type=$2 ;;
	--pairs) export PRXE_BENCH_PAIRS=$2 ;;
	esac
	shift 2
done
case $type in
prxe) link=() ;;
rxe) link=(--no-link) ;;
*) die "demo: --dev is prxe or rxe, not '$type'" ;;
esac
start=$SECONDS
report=$TOP/build/report
raw=$report/demo
{ rm -rf "$raw" && mkdir -p "$raw"; } || die "cannot make $raw"

PRXE_BENCH_DEV=$type "$TOP/run" sh --kernel "$kernel" ${link[@]+"${link[@]}"} \
	${build[@]+"${build[@]}"} --share "$raw" --timeout "${PRXE_DEMO_TIMEOUT:-300}" -- \
	/src/tools/demo/guest.sh /mnt/share
rc=$?
[ -s "$raw/samples.tsv" ] || die "the demo's guest left no measurements (its exit status: $rc)"
rp_open "$raw" || exit 1
rp_host >>"$raw/machine.txt"

row() { # METRIC SIZE TITLE us|''
	local p o r
	p=$(rp_median "$1" "$2" pinned)
	o=$(rp_median "$1" "$2" odp)
	r=$(rp_small "$(rp_ratio "$1" "$2" odp pinned)")
	rp_is_sure "$1" "$2" odp pinned || r="too busy" unsure=1
	if [ "$4" = us ]; then
		p=$(rp_us "$p") o=$(rp_us "$o")
	else
		p="$(rp_num "$p") $4" o="$(rp_num "$o") $4"
	fi
	printf '%s\t%s\t%s\t%s\t%s\n' "$3" "$p" "$o" "$r" "$(rp_pairs "$1" "$2" odp pinned)"
}

# Printed for a row whose pairs disagree (rp_is_sure).
too_busy="too busy: now this one was faster, now that one, by more than two: the machine had other
  work. Try again later, or take more pairs: ./run demo --pairs 9"
unsure=0

table() {
	printf ' \tpinned\tODP\tODP / pinned\tof single pairs\n'
	for s in 4096 65536 1048576; do
		row write_bw $s "bandwidth, WRITE of $(rp_size $s)" MiB/s
	done
	row write_lat 8 "latency, WRITE of 8 B" us
	row reg 1048576 "registration, 1 MiB" us
	row reg 1073741824 "registration, 1 GiB" us
	row touch 67108864 "first touch: first WRITE into 64 MiB" us
	row touch_total 67108864 "the same with the registration before it" us
}

verdict() {
	awk -F'\t' '
		$1 == "data" { n += $5; w += $6; f += $7; wb += $8; b += $9 }
		END {
			if (!n) exit 1
			printf "%d wrong bytes of %d in %d transfers through ODP memory%s\n", \
				wb, b, n, f ? ", " f " of them FAILED" : ""
		}' "$raw/data.tsv"
}

# ---- memory over time (prxe-memtrace says what is in memory.tsv) ----

# A field of a scene's result: 4 the buffer, 5 the limit, 6 the bytes transferred, 7 the wrong
# bytes, 8 why it failed.
result() { # SCENE VARIANT FIELD
	awk -F'\t' -v s="$1" -v v="$2" -v f="$3" '
		$1 == "result" && $2 == s && $3 == v { print $f }' "$raw/memory.tsv"
}

# How much memory (RssAnon) a process keeps after the kernel has asked for all of it.
kept() { # VARIANT
	awk -F'\t' -v v="$1" '
		$1 == "event" && $2 == "pressure" && $3 == v { step = $5 }
		$1 == "at" && $2 == "pressure" && $3 == v && step == "reclaim" { kib = $5 }
		END { printf "%.1f MiB\n", kib / 1024 }' "$raw/memory.tsv"
}

# Nothing is said about what is missing because a scene failed.
memory_text() {
	local pinned odp
	if [ -n "$(result pressure odp 6)" ] && [ -z "$(result pressure odp 8)" ] &&
		[ -n "$(result pressure pinned 6)" ] && [ -z "$(result pressure pinned 8)" ]; then
		echo "when the kernel asked for memory back, the process with a pinned buffer of" \
			"$(rp_size "$(result pressure odp 4)") kept $(kept pinned)," \
			"with ODP $(kept odp)"
	fi
	[ -n "$(result bigger odp 6)" ] && [ -n "$(result bigger pinned 4)" ] || return 0
	pinned=$(result bigger pinned 8) odp=$(result bigger odp 8)
	[ -z "$pinned" ] || pinned="cannot be pinned (${pinned,})"
	if [ -z "$odp" ]; then
		odp="all of it is written and read back: $(result bigger odp 7) wrong bytes of"
		odp+=" $(rp_size "$(result bigger odp 6)")"
	else
		odp="it cannot be registered (${odp,})"
	fi
	echo "with memory limited to $(rp_size "$(result bigger odp 5)"), a buffer of" \
		"$(rp_size "$(result bigger odp 4)") ${pinned:-could be pinned}; with ODP $odp"
}

over_time() { # FIELD UNITS TITLE UNIT WHAT
	awk -F'\t' -v field="$1" -v units="$2" '
		$2 != "pressure" { next }
		$1 == "at" {
			printf "at\t%d\t0\t\t%s\t%s\n", $3 == "odp" ? 2 : 1, $4, $field / units
		}
		$1 == "event" && $3 == "odp" && $5 != "end" { printf "mark\t%s\t%s\n", $4, $5 }
	' "$raw/memory.tsv" | rp_lines "$3" "$4" "$5"
}

bigger_over_time() {
	awk -F'\t' '
		$2 != "bigger" || $3 != "odp" { next }
		$1 == "at" {
			printf "at\t2\t0\tin memory\t%s\t%s\n", $4, $5 / 1024
			printf "at\t2\t1\tswapped out\t%s\t%s\n", $4, $7 / 1024
		}
		$1 == "event" && $5 != "end" { printf "mark\t%s\t%s\n", $4, $5 }
		$1 == "result" {
			printf "level\t%s\tbuffer: %d MiB\n", $4 / 2^20, $4 / 2^20
			printf "level\t%s\tlimit: %d MiB\n", $5 / 2^20, $5 / 2^20
		}
	' "$raw/memory.tsv" | rp_lines "A buffer larger than memory (ODP)" MiB \
		"all of it is written, then read back"
}

took=$((SECONDS - start))
table >"$raw/table.tsv"
touch=$(rp_median touch 67108864 memset)
{
	echo
	echo "prxe: pinned against on-demand-paging (ODP) memory, both ends on one host"
	echo
	rp_text <"$raw/table.tsv"
	echo
	echo "  data: $(verdict)"
	[ ! -s "$raw/memory.tsv" ] || memory_text | fold -s -w 90 | sed 's/ *$//; s/^/  /'
	[ $unsure = 0 ] || echo "  $too_busy"
	[ -z "$touch" ] ||
		echo "  the processor's own first touch (memset) of 64 MiB: $(rp_us "$touch")"
	echo
	rp_machine
} | tee "$raw/table.txt"

both() { # GROUP METRIC SIZE: both kinds of memory, as lines for rp_bars
	rp_bar "$1" pinned "$2" "$3" pinned
	rp_bar "$1" ODP "$2" "$3" odp
}

# prxe-regbench does not try to pin 1 TiB, because no machine has that much.
no_room() {
	awk -F'\t' '{ print $3 != "" ? $0 : $1 "\t" $2 "\t\t\t\tmore than there is memory" }'
}

touched() { # GROUP METRIC
	both "$1" "$2" 67108864
	rp_bar "$1" "ODP, prefetched" "$2" 67108864 odp-prefetch
	rp_bar "$1" "the processor (memset)" "$2" 67108864 memset
}

{
	rp_head "prxe: pinned against ODP"
	cat <<-'HTML'
		<p><strong>Pinned</strong> memory is what RDMA devices usually want: registering a
		buffer brings all of it into RAM and keeps it there. With <strong>on-demand paging
		(ODP)</strong> registering costs nothing, pages come when a transfer touches them,
		and the kernel may swap, move or share them at any time.</p>
	HTML
	[ "$type" = prxe ] || echo "<p><strong>Measured over $type, not over prxe.</strong></p>"
	rp_table <"$raw/table.tsv"
	echo "<p>Medians of ${PRXE_BENCH_PAIRS:-3 or more} interleaved pairs; the ratio is that of"
	echo "the medians, beside the lowest and the highest of the pairs."
	echo "Data check: <strong>$(verdict)</strong>."
	[ -z "$touch" ] ||
		echo " The processor's own first touch (memset) of 64 MiB: $(rp_us "$touch")."
	[ $unsure = 0 ] || echo " ${too_busy^}."
	echo "</p>"
	rp_legend pinned ODP "ODP, prefetched" "the processor (memset)"
	echo "<h2>What ODP is for</h2>"
	if [ -s "$raw/memory.tsv" ]; then
		cat <<-'HTML'
			<p>A process has a buffer that another one transfers to. It registers the
			buffer; half of it is written; the kernel is told to reclaim what it can,
			as it does when memory is scarce; a quarter is read back. Then memory is
			limited to less than a buffer; all of that is written and read back.</p>
			<ul>
		HTML
		memory_text | rp_escape | sed 's/^./<li>\u&/; s/$/.<\/li>/'
		echo "</ul>"
	else
		echo "<p>Memory over time was not measured: the kernel has no swap on zram, or no"
		echo "memory control groups.</p>"
	fi
	echo '<div class="plots">'
	if [ -s "$raw/memory.tsv" ]; then
		over_time 5 1024 "Resident memory over time" "MiB in the process" \
			"lower is better"
		over_time 6 1024 "Pinned memory over time" \
			"MiB that the kernel cannot reclaim" "lower is better"
		over_time 8 1 "Page faults served over time" faults \
			"pages come when a transfer touches them"
		bigger_over_time
	fi
	for s in 4096 1048576 1073741824 1099511627776; do
		both "$(rp_size $s)" reg $s
	done | no_room | rp_bars "Registration of any size" us lower log
	echo '</div>'
	echo "<h2>What it costs</h2>"
	echo '<div class="plots">'
	for s in 4096 65536 1048576; do
		both "$(rp_size $s)" write_bw $s
	done | rp_bars "Bandwidth of RDMA WRITE" MiB/s higher
	both "WRITE, 8 B" write_lat 8 | rp_bars "Latency" us lower
	{
		touched "the first WRITE" touch
		touched "registration and first WRITE" touch_total
		touched "the second WRITE" touch_again
	} | rp_bars "First touch of 64 MiB" us lower
	echo '</div>'
	echo "<h2>Machine</h2>"
	rp_machine_html
	rp_commands_html
	if [ -s "$raw/counters.txt" ]; then
		echo "<h2>The device's counters after all that</h2><pre>"
		rp_escape <"$raw/counters.txt"
		echo "</pre>"
	fi
	[ ! -e "$report/bench.html" ] ||
		echo '<p><a href="bench.html">The benchmarks</a>, side by side with rdma_rxe.</p>'
	rp_foot
} >"$report/index.html"
rp_csv >"$report/demo.csv"
echo
echo "  report: $report/index.html, demo.csv; everything took $took s"
wrong=$(awk -F'\t' '$1 == "data" { w += $7 + $8 } END { print w + 0 }' "$raw/data.tsv")
[ "$wrong" = 0 ] || die "the data check found wrong bytes or failed transfers: $raw/data.tsv"
[ $rc -eq 0 ] || die "a measurement failed (above)"
