# SPDX-License-Identifier: BSD-2-Clause
# A disk that a kernel consumer serves and mounts through the device: sourced. The test sets disk
# (the file that is served), data (what is written), size (MiB of both) and node() (prints the block
# device that is connected).
. "$(dirname "$0")/../verbs/lib/sh.sh"

NDEV=$(netdev)
IP=$(ipv4)

connected() { [ -b "$(node)" ]; }
make_disk() {
	head -c ${size}M /dev/urandom >$data && truncate -s ${size}M $disk || die "no room in /tmp"
}
wipe() { head -c ${size}M /dev/zero | dd of=$disk conv=notrunc status=none; }
copy() { # FROM TO BS FLAGS
	run 60 dd if="$1" of="$2" bs="$3" status=none conv=notrunc $4
}
same() { cmp "$data" "$1" || fail "$2"; }
# there_and_back BS...: in pieces of so many bytes, compared on both sides
there_and_back() {
	local bs
	for bs in "$@"; do
		wipe
		copy $data "$(node)" $bs oflag=direct
		same $disk "written in pieces of $bs"
		rm -f $data.back
		copy "$(node)" $data.back $bs iflag=direct
		same $data.back "read in pieces of $bs"
	done
	rm -f $data.back
}
# Remove the device while a writer writes: the writer must get an error. device_back adds it again.
lose_device() {
	local said=$data.dd
	# Again and again, until it fails. nocreat: dd makes no file where the node was.
	local write="dd if=$data of=$(node) bs=64k oflag=direct conv=notrunc,nocreat status=none"
	timeout $((60 * slow)) bash -c "while $write; do :; done" 2>$said &
	sleep 1
	kill -0 $! || fail "writing ended before the device left: $(cat $said)"
	run 30 rdma link delete "$DEV"
	wait $! || fail "the writer hangs after the device has left"
	[ -s $said ] || fail "the device left, and nobody noticed"
	rm -f $said
}
device_back() {
	rdma link add "$DEV" type prxe netdev "$NDEV" &&
		wait_for 5 gid_of "$DEV" 0000:ffff: >/dev/null || die "$DEV cannot be added again"
}
