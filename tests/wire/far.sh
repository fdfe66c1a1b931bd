#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# far.sh SIDE OTHER: in a guest whose network card leads to another guest. Side 1 asks side 2 for
# every operation, then the other way round; every byte is checked where it arrives.
set -u
me=$1 other=$2
modprobe virtio_net || exit 1
for card in /sys/class/net/*; do
	case $(readlink "$card/device/driver") in *virtio_net) PRXE_NETDEV=${card##*/} ;; esac
done
export PRXE_NETDEV=${PRXE_NETDEV:?there is no network card}
ip addr add "10.88.0.$me/24" dev "$PRXE_NETDEV" && prxe-link prxe || exit 1
. "$(dirname "$0")/../verbs/lib/sh.sh"

there() { ping -c 1 -W 2 "10.88.0.$other" >/dev/null; }
wait_for 150 there || die "the other machine does not answer"
for asks in 1 2; do
	set -- --serve $((7000 + asks))
	[ "$me" != $asks ] || set -- --peer "10.88.0.$other:$((7000 + asks))" --time 30 --sample 200
	run 90 prxe-data -d "$DEV" -g "$GID" "$@"
done
[ "$(counter sent_pkts)" -gt 0 ] || fail "nothing went over the wire"
finish
