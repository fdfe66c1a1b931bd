# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# Measurements with perftest, in the guest: each pair is one server process and one client process,
# and pairs run one after the other.
#
#   bench_init OUTDIR            where samples.tsv, commands.txt, machine.txt and logs go
#   bench_dev_dummy TYPE NAME NETDEV ADDR [NETNS]     a device on a dummy netdev
#   bench_dev_veth TYPE NAME0 NAME1 NET [MTU]         two devices, joined by a veth pair, each in a
#                                                     network namespace
#   perf TOOL DEV0 DEV1 OPTION...                     run a pair of TOOL; sets BW (MiB/s), RATE
#                                                     (messages/s), LAT (us)
#   count_for SECONDS TOOL DEV0 DEV1 SIZE OPTION...   sets COUNT: so many messages take SECONDS
#   series METRIC TOOL SIZE PAIRS SECONDS OPTIONS     interleaved pairs of variants
#   timed METRIC TOOL SIZE PAIRS SECONDS              the same, but each run takes that long; what
#                                                     fails is left out
#   bench_netem CASE NAME0 NAME1                      what happens to packets of bench_dev_veth's
#                                                     devices: none, loss, delay, reordering
#   sample METRIC SIZE VARIANT PAIR UNIT VALUE        a line of samples.tsv
#
# samples.tsv: metric, size, variant, pair, unit, value; tab separated.

GID=${PRXE_BENCH_GID:-1}
PORT=18600
PERF_TIMEOUT=${PRXE_BENCH_TIMEOUT:-60}

note() { printf '%s\n' "$*" >&2; }

bench_die() {
	printf 'error: %s\n' "$*" >&2
	exit 1
}

bench_init() { # OUTDIR
	OUT=$1
	mkdir -p "$OUT" || bench_die "cannot make $OUT"
	LOGS=$(mktemp -d) || bench_die "cannot make a temporary directory"
	: >"$OUT/samples.tsv" && : >"$OUT/commands.txt" || bench_die "cannot write in $OUT"
	declare -gA CMD_SEEN=()
	ip link set lo up
}

# The machine, as the guest sees it.
bench_machine() {
	{
		printf 'kernel\t%s\n' "$(uname -r) ($(uname -v | sed 's/^#[0-9]* //'))"
		printf 'cpu\t%s, %s processors in the guest\n' \
			"$(sed -n 's/^model name[ \t]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)"
		printf 'memory\t%s MiB\n' \
			"$(awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo)"
		printf 'accelerator\t%s\n' "${PRXE_ACCEL:-none: not in a virtual machine of ./run}"
		printf 'hugepages\t%s\n' "$(sed 's/.*\[\(.*\)\].*/\1/' \
			/sys/kernel/mm/transparent_hugepage/enabled 2>/dev/null)"
		printf 'perftest\t%s\n' "$(dpkg-query -W -f '${Version}' perftest 2>/dev/null)"
		printf 'date\t%s\n' "$(date -u '+%Y-%m-%d %H:%M UTC')"
	} >"$OUT/machine.txt"
}

sample() { # METRIC SIZE VARIANT PAIR UNIT VALUE
	printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$@" >>"$OUT/samples.tsv"
}

# ---- devices ----

load_module() { # TYPE
	case $1 in
	prxe) prxe-load || bench_die "cannot load prxe.ko" ;;
	rxe)
		modprobe ib_uverbs
		modprobe rdma_ucm
		modprobe rdma_rxe || bench_die "cannot load rdma_rxe"
		;;
	esac
}

in_ns() { # NETNS ('' is the initial one) CMD...
	local ns=$1
	shift
	if [ -n "$ns" ]; then ip netns exec "$ns" "$@"; else "$@"; fi
}

wait_active() { # DEV
	local i
	for i in $(seq 50); do
		case $(rdma link show "$1/1" 2>/dev/null) in
		*'state ACTIVE'*) return ;;
		esac
		sleep 0.1
	done
	bench_die "device $1 did not become active: $(rdma link show "$1/1" 2>&1)"
}

bench_link() { # TYPE NAME NETDEV NETNS
	load_module "$1"
	in_ns "$4" rdma link add "$2" type "$1" netdev "$3" ||
		bench_die "rdma link add $2 type $1 netdev $3 failed"
	wait_active "$2"
	sleep 0.3 # its GIDs are added by a work queue
}

bench_ns() { # NETNS
	[ -z "$1" ] && return
	[ -e "/run/netns/$1" ] && return
	ip netns add "$1" && ip -n "$1" link set lo up
}

bench_dev_dummy() { # TYPE NAME NETDEV ADDR [NETNS]
	local ns=${5:-}
	modprobe -q dummy
	bench_ns "$ns" || bench_die "no network namespace $ns"
	in_ns "$ns" sh -ec "
		ip link add $3 type dummy
		ip link set $3 mtu 9000 up
		ip addr add $4/24 dev $3" || bench_die "cannot make the netdev $3"
	bench_link "$1" "$2" "$3" "$ns"
}

bench_dev_veth() { # TYPE NAME0 NAME1 NET (10.N.0: the addresses' first three numbers) [MTU]
	local mtu=${5:-9000}
	modprobe -q veth
	bench_ns "ns-$2" && bench_ns "ns-$3" &&
		ip link add "v-$2" mtu "$mtu" netns "ns-$2" type veth \
			peer name "v-$3" mtu "$mtu" netns "ns-$3" &&
		ip -n "ns-$2" addr add "$4.1/24" dev "v-$2" &&
		ip -n "ns-$3" addr add "$4.2/24" dev "v-$3" &&
		ip -n "ns-$2" link set "v-$2" up && ip -n "ns-$3" link set "v-$3" up ||
		bench_die "cannot make a veth pair"
	bench_link "$1" "$2" "v-$2" "ns-$2"
	bench_link "$1" "$3" "v-$3" "ns-$3"
}

# ---- perftest ----

port_open() { # PORT
	local hex
	printf -v hex '%04X' "$1"
	grep -qsE ": [0-9A-F]+:$hex [0-9A-F]+:0000 0A" /proc/net/tcp /proc/net/tcp6
}

# Keep the command for the report, without what differs from run to run; each command only once.
remember() { # COMMAND
	[ -n "${CMD_SEEN[$1]:-}" ] && return
	CMD_SEEN[$1]=1
	printf '%s\n' "$1" >>"$OUT/commands.txt"
}

perf_fail() { # WHAT
	note "FAIL: $1"
	for f in server client; do
		sed "s/^/    $f: /" "$LOGS/$f" |
			grep -vE 'remote|local address|^ *(server|client): *[-]*$' | tail -n 12 >&2
	done
	return 1
}

# What the network itself does: one stream of iperf3 from namespace NS1 to ADDR in NS0. Datagrams
# have the size of a packet of 4096 bytes.
stream() { # tcp|udp NS0 NS1 ADDR
	local pid i rate opts=()
	[ "$1" = tcp ] || opts=(-u -b 0 -l 4112)
	PORT=$((PORT + 1))
	BW='' RATE='' LAT=''
	in_ns "$2" timeout -k 2 "$PERF_TIMEOUT" iperf3 -s -1 -p "$PORT" >"$LOGS/server" 2>&1 &
	pid=$!
	for ((i = 0; i < 100; i++)); do
		in_ns "$2" grep -qs ":$(printf '%04X' "$PORT") .* 0A " \
			/proc/net/tcp /proc/net/tcp6 && break
		sleep 0.02
	done
	opts+=(-t "${PRXE_BENCH_SECONDS:-1}" -f M)
	remember "iperf3 -c $4 ${opts[*]}"
	in_ns "$3" timeout -k 2 "$PERF_TIMEOUT" iperf3 -c "$4" -p "$PORT" "${opts[@]}" \
		>"$LOGS/client" 2>&1 || {
		kill $pid 2>/dev/null
		wait $pid
		perf_fail "iperf3 $1: exit status $?"
		return 1
	}
	wait $pid
	# What arrived: [  5]   0.00-1.00   sec   400 MBytes   400 MBytes/sec ... receiver
	# shellcheck disable=SC2016 # awk expands it
	rate='/ receiver$/ { for (i = 2; i <= NF; i++) if ($i == "MBytes/sec") print $(i - 1) }'
	BW=$(awk "$rate" "$LOGS/client")
	[ -n "$BW" ] || perf_fail "iperf3 $1: no line of results"
}

# Run one pair. The timeouts end both processes. Server and client may use the same device. Instead
# of devices: tcp:NS or udp:NS, and the address of the first as the last option. Option icrc=0 is
# that of the module.
perf() { # TOOL DEV0 DEV1 -s SIZE -n COUNT [OPTION...]
	local tool=$1 d0=$2 d1=$3 i rc pid line
	shift 3
	case $d0 in
	tcp:* | udp:*)
		stream "${d0%%:*}" "${d0#*:}" "${d1#*:}" "${!#}"
		return
		;;
	esac
	if [ "${!#}" = icrc=0 ]; then
		set -- "${@:1:$#-1}"
		echo 0 >/sys/module/prxe/parameters/icrc || return 1
		perf "$tool" "$d0" "$d1" "$@"
		rc=$?
		echo 1 >/sys/module/prxe/parameters/icrc
		return $rc
	fi
	PORT=$((PORT + 1))
	BW='' RATE='' LAT=''
	timeout -k 2 "$PERF_TIMEOUT" "$tool" -d "$d0" -x "$GID" -F -p "$PORT" "$@" \
		>"$LOGS/server" 2>&1 &
	pid=$!
	: >"$LOGS/client"
	for ((i = 0; ; i++)); do
		port_open "$PORT" && break
		if [ $i -ge 200 ] || ! kill -0 $pid 2>/dev/null; then
			kill $pid 2>/dev/null
			wait $pid
			perf_fail "$tool on $d0: the server does not listen"
			return 1
		fi
		sleep 0.02
	done
	remember "$tool -d $d1 -x $GID -F $* 127.0.0.1"
	timeout -k 2 "$PERF_TIMEOUT" "$tool" -d "$d1" -x "$GID" -F -p "$PORT" "$@" 127.0.0.1 \
		>"$LOGS/client" 2>&1
	rc=$?
	if [ $rc -ne 0 ]; then
		kill $pid 2>/dev/null
		wait $pid
		perf_fail "$tool on $d1 $*: exit status $rc"
		return 1
	fi
	wait $pid || {
		perf_fail "$tool on $d0 $*: the server's exit status is $?"
		return 1
	}
	# The results are in the line after the one that begins with #bytes.
	line=$(awk '/^ *#bytes/ { on = 1; next } on && $1 ~ /^[0-9]+$/ { print; exit }' \
		"$LOGS/client")
	case $tool in
	*_lat)
		# shellcheck disable=SC2086
		set -- $line
		LAT=${5:-}
		;;
	*)
		# shellcheck disable=SC2086
		set -- $line
		BW=${4:-}
		RATE=$(awk -v r="${5:-}" 'BEGIN { if (r != "") printf "%.0f", r * 1e6 }')
		;;
	esac
	[ -n "$BW$LAT" ] || perf_fail "$tool: its output has no line of results"
}

# How many messages take that many seconds? Estimated from a short run. Sets COUNT.
count_for() { # SECONDS TOOL DEV0 DEV1 SIZE OPTION...
	local seconds=$1 tool=$2 d0=$3 d1=$4 size=$5 probe=300
	shift 5
	[ "$size" -lt 262144 ] || probe=50
	COUNT=$probe
	perf "$tool" "$d0" "$d1" -s "$size" -n $probe "$@" || return 1
	case $tool in
	*_lat)
		COUNT=$(awk -v t="$seconds" -v l="$LAT" \
			'BEGIN { printf "%d", t / (2 * l / 1e6) }')
		;;
	*)
		COUNT=$(awk -v t="$seconds" -v b="$BW" -v s="$size" \
			'BEGIN { printf "%d", t * b * 1048576 / s }')
		;;
	esac
	COUNT=$((COUNT / 100 * 100))
	[ "$COUNT" -ge 100 ] || COUNT=100
	[ "$COUNT" -le 2000000 ] || COUNT=2000000
}

# Run variants interleaved; standard input has their lines, "name dev0 dev1 options". METRIC says
# which of the values that perf sets is recorded.
#   series METRIC TOOL SIZE PAIRS SECONDS COMMON-OPTIONS <<VARIANTS
# With SERIES_BUDGET (seconds), a fast machine runs more pairs: as many as begin within that time,
# at most three times PAIRS.
series() {
	local metric=$1 tool=$2 size=$3 pairs=$4 seconds=$5 common=$6 v p unit value failed=0 end
	local -a names=() d0=() d1=() opts=() counts=()
	while read -r n a b o; do
		[ -n "$n" ] || continue
		names+=("$n") d0+=("$a") d1+=("$b") opts+=("$o")
	done
	for v in "${!names[@]}"; do
		# shellcheck disable=SC2086
		count_for "$seconds" "$tool" "${d0[v]}" "${d1[v]}" "$size" $common ${opts[v]} ||
			failed=1
		counts+=("$COUNT")
	done
	# Variants of the same device get the same count.
	for v in "${!names[@]}"; do
		[ "$v" -gt 0 ] && [ "${d0[v]}" = "${d0[v - 1]}" ] && counts[v]=${counts[v - 1]}
	done
	end=$((SECONDS + ${SERIES_BUDGET:-0}))
	for ((p = 1; p <= pairs || (p <= 3 * pairs && SECONDS < end); p++)); do
		for v in "${!names[@]}"; do
			# shellcheck disable=SC2086
			perf "$tool" "${d0[v]}" "${d1[v]}" -s "$size" -n "${counts[v]}" \
				$common ${opts[v]} || {
				failed=1
				continue
			}
			case $metric in
			*_lat) unit=us value=$LAT ;;
			*_rate) unit=msg/s value=$RATE ;;
			*) unit=MiB/s value=$BW ;;
			esac
			sample "$metric" "$size" "${names[v]}" "$p" "$unit" "$value"
		done
	done
	return $failed
}

# Bandwidth on a link that loses packets: nobody knows how many messages take a second. Standard
# input has the variants, as for series. One that cannot do it has no sample.
timed() { # METRIC TOOL SIZE PAIRS SECONDS <<VARIANTS
	local metric=$1 tool=$2 size=$3 pairs=$4 seconds=$5 p n d0 d1 opts lines
	lines=$(cat)
	for ((p = 1; p <= pairs; p++)); do
		while read -r n d0 d1 opts; do
			# shellcheck disable=SC2086
			PRXE_BENCH_SECONDS=$seconds perf "$tool" "$d0" "$d1" -s "$size" \
				-D "$seconds" $opts </dev/null &&
				sample "$metric" "$size" "$n" "$p" MiB/s "$BW"
		done <<<"$lines"
	done
}

# Netem counts what leaves the stack: a train, or a super-packet of TCP, is lost or late as a whole.
# It is at both ends, so a round trip has twice the delay.
bench_netem() { # none|lossPERCENT|delayMS|reorderPERCENT NAME0 NAME1
	local n args=()
	case $1 in
	none) ;;
	loss*) args=(loss "${1#loss}%") ;;
	delay*) args=(delay "${1#delay}ms") ;;
	reorder*) args=(delay 0.2ms reorder "${1#reorder}%") ;;
	*) bench_die "netem: $1" ;;
	esac
	modprobe -q sch_netem
	for n in "$2" "$3"; do
		tc -n "ns-$n" qdisc del dev "v-$n" root 2>/dev/null
		[ ${#args[@]} = 0 ] ||
			tc -n "ns-$n" qdisc add dev "v-$n" root netem limit 10000 "${args[@]}" ||
			return 1
	done
}
