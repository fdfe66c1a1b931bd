#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Two nodes on one machine: the network namespaces node1 (10.99.0.1) and node2 (10.99.0.2), joined
# by a veth pair, each with a prxe device of its own, prxe_node1 and prxe_node2. As root, on a
# machine that has prxe (setup-rdma.sh, or docs/install.md).
#
#	two-nodes.sh up			make them; what is there stays
#	two-nodes.sh start IMAGE	a container in each, node1 and node2 (podman), whose program
#					is IMAGE's; it has the device of its node, no capability,
#					and a memlock limit of 256 MiB, because UCX pins 40 MB and
#					more of buffers of its own, whatever the program's memory is
#	two-nodes.sh down		remove the containers, the devices, the namespaces
#
# Without containers: ip netns exec node1 COMMAND.
set -u -o pipefail
# What was made here is noted, and nothing else is removed.
mark=/run/prxe-two-nodes
label=prxe-two-nodes

fail() {
	printf 'two-nodes: error: %s\n' "$*" >&2
	exit 1
}

usage() {
	sed -n '/^#	two/,/^# With/{ /^# With/d; s/^#\t\{0,1\}//; p }' "$0"
	exit "$1"
}

in_node() { # N CMD...
	ip netns exec "node$1" "${@:2}"
}

has_gid() { # N: the device has the GID of its address
	local hex
	printf -v hex '0000:0000:0000:0000:0000:ffff:0a63:%04x' "$1"
	in_node "$1" sh -c "grep -qsx $hex /sys/class/infiniband/prxe_node$1/ports/1/gids/*"
}

# With "netns exclusive" (rdma system) a device is in one namespace only. Older kernels make it in
# the initial one, whatever the namespace of its interface is.
make_device() { # N
	local name=prxe_node$1
	in_node "$1" test -d "/sys/class/infiniband/$name" && return
	in_node "$1" rdma link add "$name" type prxe netdev eth0 || return 1
	in_node "$1" test -d "/sys/class/infiniband/$name" ||
		rdma dev set "$name" netns "node$1"
}

up() {
	local n end=$((SECONDS + 30))
	modprobe -a prxe rdma_ucm ||
		fail "the modules cannot be loaded: is prxe installed? (setup-rdma.sh does it)"
	mkdir -p $mark
	for n in 1 2; do
		if [ ! -e /run/netns/node$n ]; then
			touch $mark/node$n && ip netns add node$n || fail "cannot make node$n"
		elif [ ! -e $mark/node$n ]; then
			fail "there is a network namespace node$n, which was not made here"
		fi
	done
	in_node 1 ip link show eth0 >/dev/null 2>&1 ||
		ip link add eth0 mtu 9000 netns node1 type veth \
			peer name eth0 mtu 9000 netns node2 || fail "cannot join the nodes"
	for n in 1 2; do
		ip -n node$n link set lo up && ip -n node$n link set eth0 up &&
			ip -n node$n addr replace 10.99.0.$n/24 dev eth0 ||
			fail "node$n gets no address"
		make_device $n || fail "node$n gets no device (journalctl -k says why)"
	done
	for n in 1 2; do
		until has_gid $n; do
			[ $SECONDS -lt $end ] || fail "prxe_node$n has no GID of 10.99.0.$n"
			sleep 0.1
		done
	done
}

# The file that programs open: its number is not the device's.
device_file() { # N
	local ibdev
	ibdev=$(in_node "$1" sh -c "grep -lsx prxe_node$1 /sys/class/infiniband_verbs/*/ibdev") ||
		fail "prxe_node$1 is not there: 'two-nodes.sh up' makes it"
	ibdev=${ibdev%/ibdev}
	echo "/dev/infiniband/${ibdev##*/}"
}

start() { # IMAGE
	local n file
	for n in 1 2; do
		file=$(device_file $n) || exit 1
		podman run --detach --label $label --name node$n --hostname node$n \
			--network ns:/run/netns/node$n \
			--add-host node1:10.99.0.1 --add-host node2:10.99.0.2 \
			--cap-drop all --ulimit memlock=268435456:268435456 \
			--device "$file" --device /dev/infiniband/rdma_cm "$1" >/dev/null ||
			fail "the container node$n cannot be started"
	done
}

down() {
	local n
	! command -v podman >/dev/null || podman ps -aq --filter label=$label |
		xargs -r podman rm --force --time 2 >/dev/null || fail "the containers stay"
	for n in 1 2; do
		[ -e $mark/node$n ] || continue
		if [ -e /run/netns/node$n ]; then
			in_node $n rdma link delete prxe_node$n 2>/dev/null
			ip netns delete node$n || fail "cannot remove node$n"
		fi
		rm $mark/node$n
	done
}

case ${1:-} in
-h | --help) usage 0 ;;
up | down) [ $# = 1 ] || usage 2 >&2 ;;
start) [ $# = 2 ] || usage 2 >&2 ;;
*) usage 2 >&2 ;;
esac
[ "$(id -u)" = 0 ] || fail "run it as root"
"$@"
