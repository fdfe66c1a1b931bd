# SPDX-License-Identifier: BSD-2-Clause
# Shell helpers of the test scripts: sourced.  Sets DEV and GID.
set -u
DEV=${DEV:-prxe0}
GID=${GID:-1}
FAILED=0
PARAM=/sys/module/prxe/parameters
slow=1
[ "${PRXE_DEBUG:-0}" = 1 ] && slow=4

say() { echo "-- $*"; }
fail() { echo "FAIL: $*" >&2; FAILED=1; }
die() { echo "FAIL: $*" >&2; exit 1; }
_was=$(cat $PARAM/force_wire 2>/dev/null)
_restore() { # tests share a machine: leave it as it was found
	type cleanup >/dev/null 2>&1 && cleanup
	[ -n "$_was" ] && echo "$_was" >$PARAM/force_wire 2>/dev/null
}
trap _restore EXIT
# A page fault is never a lost packet: no device may have counted one.
_no_loss() {
	for _f in /sys/class/infiniband/*/ports/1/hw_counters/lost_to_fault; do
		[ ! -r "$_f" ] || [ "$(cat "$_f")" = 0 ] || fail "$_f: $(cat "$_f") packets"
	done
}
# Faults that cleanup() reports count as well.
finish() {
	_no_loss
	trap - EXIT
	_restore
	[ "$FAILED" = 0 ] && echo "${0##*/}: ok"
	exit "$FAILED"
}
debug() { [ "$slow" != 1 ]; }
# Is everything wanted (./run test --all), not a sample of it?
everything() { [ "${PRXE_TIER:-1}" = 2 ]; }
_day=${PRXE_DAY:-$(($(date +%s) / 86400))}
# sample N: true for one call in N, for another one each day; with --all for every one
_calls=$_day
sample() { _calls=$((_calls + 1)); everything || [ $((_calls % $1)) = 0 ]; }
# share 2 CMD...: two calls divide the named cases of CMD's program between them. So with two
# carriers each case runs, on one of them: on stable and debug on one, on latest on the other, and
# the next day the other way round. With --all each call runs all cases.
_shares=$_day
[ "${PRXE_KERNEL:-}" != latest ] || _shares=$((_shares + 1))
share() {
	_n=$1; shift
	_shares=$((_shares + 1))
	everything || export PRXE_SHARE_OF=$((_shares % _n))/$_n
	"$@"
	_shared=$?
	unset PRXE_SHARE_OF
	return $_shared
}
# pick STABLE DEBUG: a size for this kernel
pick() { if debug; then echo "$2"; else echo "$1"; fi; }

# run SECONDS CMD...: must succeed within that time (stretched on the debug kernel)
run() {
	_t=$(($1 * slow)); shift
	say "$*"
	timeout -k 5 "$_t" "$@"
	_rc=$?
	[ $_rc = 0 ] && return 0
	[ $_rc = 124 ] && { fail "no end within $_t s: $*"; return 1; }
	fail "exit status $_rc: $*"
	return 1
}
# refused CMD...: must fail, within 20 s, with something said
refused() {
	say "(must fail) $*"
	_out=$(timeout $((20 * slow)) "$@" 2>&1)
	_rc=$?
	echo "   $_out"
	[ $_rc = 0 ] && { fail "succeeded: $*"; return 1; }
	[ $_rc = 124 ] && { fail "no end: $*"; return 1; }
	[ -n "$_out" ] || fail "failed without a word: $*"
	return 0
}
# carrier local|wire: for QPs that enter RTR from now on
carrier() {
	case $1 in local) _w=0 ;; wire) _w=1 ;; *) die "carrier $1?" ;; esac
	echo $_w >$PARAM/force_wire || die "force_wire cannot be set to $_w"
	say "carrier: $1"
}
# gid_of DEV TEXT: the index of the RoCE v2 GID that holds TEXT (as sysfs prints it)
gid_of() {
	for _i in $(seq 0 31); do
		_g=$(cat /sys/class/infiniband/$1/ports/1/gids/$_i 2>/dev/null) || continue
		_type=$(cat /sys/class/infiniband/$1/ports/1/gid_attrs/types/$_i 2>/dev/null)
		case $_type in *v2*) ;; *) continue ;; esac
		case $_g in *$2*) echo $_i; return 0 ;; esac
	done
	return 1
}
# The netdev that DEV's GID belongs to, and its IPv4 address
netdev() { cat "/sys/class/infiniband/$DEV/ports/1/gid_attrs/ndevs/$GID"; }
ipv4() { ip -4 -o addr show dev "$(netdev)" | awk '{ sub("/.*", "", $4); print $4; exit }'; }
# counter NAME [DEVICE]: the value in hw_counters as it is now (the kernel keeps a read value 10 ms)
counter() { sleep 0.02; cat "/sys/class/infiniband/${2:-$DEV}/ports/1/hw_counters/$1"; }
# wait_for SECONDS CMD...: until it succeeds
wait_for() {
	_end=$(($(date +%s) + $1 * slow)); shift
	until "$@"; do
		[ "$(date +%s)" -lt "$_end" ] || return 1
		sleep 0.1
	done
}
# swap_on_zram SIZE: sets zram; false when the kernel has none. swap_off undoes it, for cleanup().
zram=
swap_on_zram() {
	modprobe zram num_devices=1 2>/dev/null
	[ -b /dev/zram0 ] || return 1
	grep -q /dev/zram0 /proc/swaps && swapoff /dev/zram0 2>/dev/null
	echo 1 >/sys/block/zram0/reset && echo "$1" >/sys/block/zram0/disksize &&
		mkswap -q /dev/zram0 >/dev/null && swapon /dev/zram0 && zram=/dev/zram0
}
swap_off() {
	[ -z "$zram" ] || swapoff $zram
	zram=
}
