#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# life.sh IMAGE [PART...]: the life of prxe on a Debian machine of its own, as a user has it. On
# this machine, as root, after ./run package. The parts, all of them if none is named:
#
#   install   the packages, and a device with systemd, which is there again after a reboot
#   use       ibv_devinfo, perftest, data
#   update    a newer kernel, for which DKMS builds the module; reboot, use
#   purge     remove, purge; nothing is left
#   readme    in the place of all these: the commands of README, and an MPI program
#
# Each line says what was done and how long it took. What the machine said is in
# build/test/install/IMAGE. With PRXE_DISK=FILE the machine has a copy of that disk, for parts that
# come after "install"; PRXE_KEEP=FILE keeps the disk of the end of "install" for it.
# shellcheck disable=SC2016,SC2034 # most commands are expanded in the machine
set -u
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=tools/harness/lib.sh
. "$here/../../tools/harness/lib.sh"

[ $# -ge 1 ] || die "usage: life.sh IMAGE [install|use|update|purge|readme]...; images: $IMAGES"
need_root "$0" "$@"
image=$1
shift
known_image "$image"
parts=("$@")
[ $# -gt 0 ] || parts=(install use update purge)
for part in "${parts[@]}"; do
	case $part in
	install | use | update | purge | readme) ;;
	*) die "life.sh: unknown part $part" ;;
	esac
done
need_tools
need_chroot
suite=${image%%-*}
debs=${PRXE_DEBS:-$TOP/build/package/$suite}
dir=$TOP/build/test/install/$image
log=$dir/log
slow=1
COMPILED=''
mkdir -p "$dir" || die "cannot write in $dir"
exec 8>"$dir/lock"
flock -n 8 || die "another run has a machine $image in this checkout: wait for it"

fail() {
	printf 'FAIL: %s\n' "$1"
	[ ! -s "$dir/step" ] || tail -n 30 "$dir/step" | sed 's/^/    | /'
	machine_stop
	exit 1
}

# A step prints its time. Its output goes to the log, and its end is shown when it fails. CMD knows
# $dev, the device's name.
step_in() { # DESC SECONDS CMD...
	local desc=$1 start
	start=$(now_ms)
	shift
	printf '\n--- %s\n' "$desc" >>"$log"
	machine $(($1 * slow)) "set -e; dev=${dev:-}; ${*:2}" >"$dir/step"
	rc=$?
	cat "$dir/step" >>"$log"
	[ $rc -eq 0 ] || fail "$desc: exit status $rc"
	printf '%-44s %9s\n' "$desc" "$(seconds_since "$start")"
	: >"$dir/step"
}

# The last line of a command's output
ask() { # CMD...
	machine 60 "$@" | tail -n 1
}

reboot() {
	local start
	start=$(now_ms)
	machine_reboot || fail "the machine did not come up again"
	printf '%-44s %9s\n' "reboot" "$(seconds_since "$start")"
}

# The kernel may complain in no boot.
finish() {
	local reports
	machine_stop
	for reports in "$dir"/dmesg.*; do
		kernel_reports "$reports" || {
			echo "FAIL: the kernel complains: ${reports#"$TOP"/}"
			exit 1
		}
	done
}

# shellcheck source=tests/install/compile.sh
. "$here/compile.sh"
# shellcheck source=tests/install/parts.sh
. "$here/parts.sh"

find_debs
: >"$log"
: >"$dir/step"
begin
for part in "${parts[@]}"; do
	"part_$part"
done
finish
