# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2016,SC2034,SC2154
# The parts of life.sh: sourced by it.

packages=(prxe prxe-dkms ibverbs-provider-prxe libodp1 prxe-tests)

# perftest's server and client on the device, through the interface's own address.
perftest() { # PROGRAM OPTION...
	echo "$1 -d $dev -x \$gid -F ${*:2} >/tmp/server 2>&1 & sleep 2
		$1 -d $dev -x \$gid -F ${*:2} 127.0.0.1; wait \$! || { cat /tmp/server; false; }"
}

find_gid='gid=$(grep -l "^RoCE v2" /sys/class/infiniband/$dev/ports/1/gid_attrs/types/* \
		2>/dev/null | while read -r f; do
			grep -q :ffff: "/sys/class/infiniband/$dev/ports/1/gids/${f##*/}" &&
				basename "$f"
		done | head -n 1)
	[ -n "$gid" ] || { echo "$dev has no GID of an IPv4 address"; exit 1; }'

find_debs() { # sets files
	local name file
	files=()
	[ -d "$debs" ] || die "there are no packages in $debs: ./run package --suite $suite"
	for name in "${packages[@]}"; do
		file=$(find "$debs" -name "${name}_*.deb" | head -n 1)
		[ -n "$file" ] || die "$debs has no package $name: ./run package --suite $suite"
		files+=("$file")
	done
}

begin() { # sets first, the kernel, iface, and dev, the device that prxe@iface makes
	local start
	ensure_image "$image"
	case " ${parts[*]} " in
	*" install "* | *" update "* | *" readme "*)
		compile_ahead "$image" "$dir" "${files[@]}" ||
			fail "the packages do not install in a chroot"
		;;
	esac
	start=$(now_ms)
	machine_start "$image" "$dir" "${files[@]}" "$here/ring.c" ${COMPILED:+"$COMPILED"} ||
		fail "the machine did not come up"
	[ "$VM_ACCEL" = kvm ] || slow=3
	[ -z "$COMPILED" ] || step_in "take what is compiled" 60 \
		"tar -C /var/cache/ccache -xf /mnt/ccache.tar; ccache -z"
	printf '%-44s %9s\n' "$image: first boot" "$(seconds_since "$start")"
	first=$(ask uname -r)
	iface=$(ask 'ls /sys/class/net | grep ^e')
	dev=prxe_$iface
}

# Every file there is, but the state of apt and systemd
list_files='find /etc /usr /var/lib /opt -xdev \( -path /var/lib/apt -o -path /var/lib/dpkg \
	-o -path /var/lib/systemd \) -prune -o -print | sort'

part_install() {
	step_in "apt-get update" 100 apt-get -q update --error-on=any
	step_in "note the files that there are" 60 "$list_files >/var/tmp/before"
	step_in "apt install the packages ($first)" 1200 \
		'DEBIAN_FRONTEND=noninteractive apt-get -q install -y /mnt/*.deb'
	built_for "$first"
	step_in "systemctl enable --now prxe@$iface" 60 "systemctl enable --now prxe@$iface
		ibv_devices | grep -w $dev"
	if [ -n "${PRXE_KEEP:-}" ]; then
		machine 60 sync
		cp --sparse=always "$dir/disk" "$PRXE_KEEP" ||
			fail "cannot keep the disk as $PRXE_KEEP"
	fi
	reboot
	step_in "the device is there" 60 "systemctl is-active prxe@$iface; ibv_devices |
		grep -w $dev"
}

# README's commands, from the indented block behind the line that has START on: one in a line,
# without comments, with this machine's device and interface in the place of eth0's.
readme() { # START
	awk -v start="$1" '
		index($0, start) { on = 1 }
		on && /^    / { seen = 1; sub(/^    /, ""); print; next }
		on && seen && NF { exit }' "$TOP/README.md" |
		sed -E "s/ +# .*//; s/prxe_eth0/$dev/g; s/eth0/$iface/g"
}

# What a newcomer does: the commands of README, all of them, and nothing else but an answer to apt's
# questions. ("./run package" was done where the packages come from.) Then an MPI program, as a user
# who may lock what UCX's own buffers take.
part_readme() {
	local install use mpi start=$SECONDS
	install=$(readme "On Debian, from packages" | sed 's,^cd .*,cd /mnt,' | grep -v '^./run ')
	use=$(readme "Then, with \`apt install")
	mpi=$(readme "With on-demand memory:" | sed '/[^\\]$/q' |
		sed "s/prxe0/$dev/g; s,\./program,/var/tmp/program,")
	[ -n "$install" ] && [ -n "$use" ] && [ -n "$mpi" ] || fail "README has changed"
	printf '%s\n' "$install" "$use" "$mpi" >>"$log"
	machine 60 'echo "APT::Get::Assume-Yes true;" >/etc/apt/apt.conf.d/90yes
		useradd -m -s /bin/bash user'
	step_in "apt update" 100 apt update
	step_in "README: install it" 1200 "export DEBIAN_FRONTEND=noninteractive; $install"
	step_in "README: its programs" 300 "apt install ibverbs-utils perftest"
	step_in "README: a first look, ib_write_bw --odp" 120 "$use
		wait"
	step_in "an MPI, from Debian" 900 "apt install openmpi-bin libopenmpi-dev
		mpicc -O2 /mnt/ring.c -o /var/tmp/program"
	faults="cat /sys/class/infiniband/$dev/ports/1/hw_counters/page_faults"
	before=$(ask "$faults")
	step_in "README: it runs over $dev, as a user" 200 "ulimit -l 262144
		runuser -u user -- bash -c \
			'cd /var/tmp; OMPI_MCA_rmaps_base_oversubscribe=1 $mpi'"
	grep -q ' 0 bytes wrong' "$log" || fail "the MPI program says nothing of its data"
	say_faults=$(($(ask "$faults") - before))
	printf '%-44s %9s\n' "page faults of the device meanwhile" "$say_faults"
	printf '%d commands of README, %d minutes\n' "$(printf '%s\n' "$install" "$use" "$mpi" |
		grep -c '[^\\]$')" $(((SECONDS - start + 59) / 60))
}

built_for() { # KERNEL
	step_in "DKMS built it for $1" 60 "ccache -s; dkms status prxe; dkms status prxe |
		grep -q '$1.*installed'"
}

part_use() {
	step_in "ibv_devinfo" 60 'ibv_devinfo -d $dev -v >/tmp/info
		cat /tmp/info
		grep -q "state:.*PORT_ACTIVE" /tmp/info
		grep -q "odp_caps" /tmp/info
		modinfo -F filename prxe'
	step_in "ib_write_bw, pinned" 120 "$find_gid; $(perftest ib_write_bw -n 100 -s 65536)"
	step_in "ib_write_bw --odp" 120 "$find_gid; $(perftest ib_write_bw -n 100 -s 65536 --odp)"
	step_in "ib_send_lat --odp" 120 "$find_gid; $(perftest ib_send_lat -n 100 --odp)"
	step_in "data on both carriers, every byte" 400 prxe-selftest "$dev" data
}

part_update() {
	local new
	step_in "kernel update" 1500 "$UPDATE_KERNEL"
	new=$(ask 'ls /lib/modules | grep -v -x "'"$first"'"')
	[ -n "$new" ] || fail "there is no other kernel after the update"
	built_for "$new"
	reboot
	[ "$(ask uname -r)" = "$new" ] || fail "the machine did not come up with $new"
	part_use
}

# What is there now and was not, belongs to a package (the new kernel), is depmod's, or is the key
# that DKMS made for the machine; anything else is ours. Packages of Debian 12 list what is in
# /usr/lib as /lib, which is a link to it (dpkg -S would not find it).
part_purge() {
	step_in "remove" 300 'DEBIAN_FRONTEND=noninteractive apt-get -q remove -y '"${packages[*]}"'
		[ ! -d /sys/class/infiniband/$dev ] || { echo "$dev is there"; exit 1; }
		[ ! -d /sys/module/prxe ] || { echo "the module is loaded"; exit 1; }'
	# dpkg, since apt does not know a package that came from a file and left nothing.
	step_in "purge" 300 "dpkg --purge ${packages[*]}"
	step_in "nothing is left" 120 "$list_files"' >/var/tmp/after
		comm -13 /var/tmp/before /var/tmp/after >/var/tmp/new
		cat /var/lib/dpkg/info/*.list | sed -E "s#^/(s?bin|lib(64)?)/#/usr/\1/#" |
			sort -u >/var/tmp/owned
		comm -23 /var/tmp/new /var/tmp/owned | grep -v \
			-e "^/usr/lib/modules/[^/]*/modules[.]" -e "^/var/lib/dkms/mok[.]" \
			-e "^/var/lib/initramfs-tools/" >/var/tmp/left || true
		lsmod | grep -w prxe >>/var/tmp/left || true
		systemctl list-units --all --plain --no-legend "*prxe*" >>/var/tmp/left
		systemctl --failed --plain --no-legend >>/var/tmp/left
		cat /var/tmp/left
		[ ! -s /var/tmp/left ]'
}
