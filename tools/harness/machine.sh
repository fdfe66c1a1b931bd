# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2034,SC2054,SC2154
# Machines that boot from a disk image (image.sh), reboot, and are installed on. One at a time.
#
#   machine_start NAME DIR [FILE...]  boot a copy of image NAME; everything about it is in DIR. The
#                                     FILEs are in /mnt in the machine. Status 1: it did not come up
#                                     (PRXE_DISK=FILE: a copy of that disk)
#   machine SECONDS CMD...            run CMD there, with its output here; CMD's status, or 124 when
#                                     it took longer, or 125 when the machine went away
#   machine_reboot                    as "systemctl reboot" does it; waits until it is up again
#   machine_stop                      power it off, and throw its disk away
#
# The copy is sparse and takes seconds. It is not an overlay, because that would take qemu-img,
# which is not among the harness' packages. The machine has the network of QEMU's user mode: it
# reaches what this machine reaches, and nobody reaches it. The FILEs come on a second disk, as a
# tar archive, which every kernel can read. DIR/console has what the kernel and GRUB said,
# DIR/dmesg.N the kernel's log of boot N.

machine_pid='' # of the machine that runs
MACHINE_BOOT_LIMIT=${PRXE_MACHINE_BOOT_LIMIT:-300} # seconds; 60 to 90 are usual when emulated

machine_start() { # NAME DIR [FILE...]
	local machine
	machine_dir=$2 machine_boots=0 machine_pid=''
	ensure_image "$1"
	ensure_qemu
	need_space "$2" 8000 "the machine's disk"
	shift 2
	rm -f "$machine_dir"/{disk,files,console,qemu.log,hand.in,hand.out} "$machine_dir"/dmesg.*
	cp --sparse=always --reflink=auto "${PRXE_DISK:-$IMAGE}" "$machine_dir/disk" &&
		tar -cf "$machine_dir/files" --transform='s|.*/||' -P -T /dev/null -- "$@" &&
		mkfifo "$machine_dir/hand.in" "$machine_dir/hand.out" || return 1
	exec {machine_in}<>"$machine_dir/hand.in" {machine_out}<>"$machine_dir/hand.out"
	vm_processor
	machine_qemu=("${QEMU[@]}" "${machine[@]}" -smp 2 -m 2G -nodefaults -display none
		-drive "file=$(qemu_path "$machine_dir/disk"),format=raw,if=virtio,cache=unsafe"
		-drive "file=$(qemu_path "$machine_dir/files"),format=raw,if=virtio,readonly=on"
		-netdev user,id=net -device virtio-net-pci,netdev=net,romfile=
		-device virtio-rng-pci
		-chardev "file,id=console,append=on,path=$(qemu_path "$machine_dir/console")"
		-chardev "pipe,id=hand,path=$(qemu_path "$machine_dir/hand")"
		-serial chardev:console -serial chardev:hand)
	machine_power_on && machine_came_up &&
		machine 120 "mount -t tmpfs tmpfs /mnt && tar -xf /dev/vdb -C /mnt"
}

machine_power_on() {
	setpriv --pdeathsig KILL "${machine_qemu[@]}" </dev/null >>"$machine_dir/qemu.log" 2>&1 &
	machine_pid=$!
}

# Wait for the machine's hand, which is there early, and then for all that a boot starts. An
# emulated machine may hang while its kernel starts (vm.sh): it is switched off and on again.
machine_came_up() {
	local line try
	for try in 1 2 3; do
		if machine_line $((SECONDS + MACHINE_BOOT_LIMIT)) up; then
			machine_boots=$((machine_boots + 1))
			machine 5 "echo 'prxe: job starts' >/dev/kmsg"
			machine "$MACHINE_BOOT_LIMIT" systemctl is-system-running --wait >/dev/null
			[ $? -lt 124 ] && return
		fi
		msg "the machine did not come up; its console ends:"
		tail -n 20 "$machine_dir/console" | tr -d '\r' | sed 's/^/    /' >&2
		[ $try -lt 3 ] || return 1
		kill "$machine_pid"
		wait "$machine_pid" 2>/dev/null
		machine_power_on
	done
}

# Read what the machine says until the line RS-WORD; what is not ours is printed. Sets line to what
# follows WORD. Status 124: END has come; 125: the machine is gone.
machine_line() { # END WORD
	local mark=$'\036' part=''
	while :; do
		if IFS= read -r -t 1 -u "$machine_out" line; then
			line=$part$line part=''
			case $line in
			"$mark$2 "*) line=${line#"$mark$2 "} && return 0 ;;
			*) printf '%s\n' "$line" ;;
			esac
			continue
		fi
		part+=$line # of a line whose end has not come
		kill -0 "$machine_pid" 2>/dev/null || return 125
		[ $SECONDS -lt "$1" ] || return 124
	done
}

machine() { # SECONDS CMD...
	local line seconds=$1
	shift
	printf 'timeout -k 5 %s bash -c %q\n' "$seconds" "$*" >&"$machine_in"
	machine_line $((SECONDS + seconds + 30)) rc || return
	return "$line"
}

machine_log() { machine 60 dmesg >"$machine_dir/dmesg.$machine_boots"; }

machine_reboot() {
	machine_log
	machine 30 systemctl reboot
	machine_came_up
}

machine_stop() {
	[ -n "$machine_pid" ] || return 0
	machine_log
	machine 30 systemctl poweroff >/dev/null
	timeout 120 tail --pid="$machine_pid" -s 0.5 -f /dev/null || kill "$machine_pid"
	wait "$machine_pid" 2>/dev/null
	machine_pid=''
	exec {machine_in}>&- {machine_out}>&-
	rm -f "$machine_dir"/{disk,files,hand.in,hand.out}
}
