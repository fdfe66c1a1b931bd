# SPDX-License-Identifier: BSD-2-Clause
# Two network namespaces joined by a veth pair, a device in each: sourced.
#   ns_up TYPE_A TYPE_B      devA (wireA on vethA in wA) and devB (wireB on vethB in wB), with GIDs:
#                            GIDA GIDB (IPv4), GIDA6 GIDB6 (IPv6). With NS_ROOT=1 wB is the
#                            namespace of the machine itself
. "$(dirname "$0")/../verbs/lib/sh.sh"

ns_down() {
	for s in A B; do
		ip netns exec w$s rdma link delete wire$s 2>/dev/null ||
			rdma link delete wire$s 2>/dev/null
		ip netns delete w$s 2>/dev/null
	done
}
cleanup() { ns_down; }

has_both_gids() { # DEV IPV4
	gid_of "$1" "0000:ffff:$2" >/dev/null && gid_of "$1" "fd00:0077:" >/dev/null
}

ns_up() {
	ip netns add wA || die "a network namespace"
	if [ "${NS_ROOT:-0}" = 1 ]; then
		ip netns attach wB 1
	else
		ip netns add wB
	fi || die "the second network namespace"
	ip link add vethA netns wA type veth peer name vethB netns wB || die "veth"
	for s in A:$1:1 B:$2:2; do
		side=${s%%:*}; type=${s#*:}; type=${type%:*}; n=${s##*:}
		ip -n w$side link set lo up
		ip netns exec w$side sysctl -qw net.ipv6.conf.all.accept_dad=0 \
			net.ipv6.conf.default.accept_dad=0 2>/dev/null
		ip -n w$side link set veth$side mtu "${NS_MTU:-9000}" up
		ip -n w$side addr add 10.88.0.$n/24 dev veth$side
		ip -n w$side addr add fd00:77::$n/64 dev veth$side nodad
		ip netns exec w$side rdma link add wire$side type $type netdev veth$side ||
			die "adding wire$side of type $type in its namespace"
	done
	wait_for 5 has_both_gids wireA 0a58:0001 ||
		die "wireA has no GIDs: $(cat /sys/class/infiniband/wireA/ports/1/gids/[0-7])"
	wait_for 5 has_both_gids wireB 0a58:0002 || die "wireB has no GIDs"
	GIDA=$(gid_of wireA 0000:ffff:) GIDB=$(gid_of wireB 0000:ffff:)
	GIDA6=$(gid_of wireA fd00:0077:) GIDB6=$(gid_of wireB fd00:0077:)
	ip netns exec wA ping -c 1 -W 5 10.88.0.2 >/dev/null 2>&1 # resolves the neighbour
	say "wireA ($1) GIDs $GIDA and $GIDA6, wireB ($2) GIDs $GIDB and $GIDB6"
}

# netem ARGS...: on both sides; without arguments: none
netem() {
	for s in A B; do
		ip netns exec w$s tc qdisc del dev veth$s root 2>/dev/null
		[ $# = 0 ] ||
			ip netns exec w$s tc qdisc add dev veth$s root netem limit 10000 "$@" ||
			die "netem $*"
	done
	say "netem: ${*:-none}"
}

# Packet sockets before Linux 6.2 cannot say what a super-packet is made of.
case $(uname -r) in
[1-5].* | 6.[01].*) ns_blind=1 ;;
*) ns_blind=0 ;;
esac
# see_packets on: there shall be none, a test reads packets; off: as before
see_packets() {
	local segmentation=off
	[ $ns_blind = 1 ] || return 0
	[ "$1" = on ] || segmentation=on
	for s in A B; do
		ip netns exec w$s ethtool -K veth$s tx-udp-segmentation $segmentation ||
			die "tx-udp-segmentation $segmentation"
	done
}

# ab PROGRAM ARGS...: from wireA to wireB, by IPv4; ba: from wireB to wireA
ab() { _p=$1; shift; "$_p" -d wireA -g "$GIDA" -e wireB -G "$GIDB" "$@"; }
ba() { _p=$1; shift; "$_p" -d wireB -g "$GIDB" -e wireA -G "$GIDA" "$@"; }
# The same, and it must succeed within 60 s.
run_ab() { _p=$1; shift; run 60 "$_p" -d wireA -g "$GIDA" -e wireB -G "$GIDB" "$@"; }
run_ba() { _p=$1; shift; run 60 "$_p" -d wireB -g "$GIDB" -e wireA -G "$GIDA" "$@"; }
