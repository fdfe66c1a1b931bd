# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2016,SC2034,SC2086
# Disk images of Debian machines as an installer leaves them: systemd, GRUB, initramfs-tools and the
# distribution's kernel, which is one update behind where the archive has two. They are for tests of
# installing (tests/install); machine.sh boots them.
#
#   IMAGES               the names: trixie trixie-cloud trixie-rt bookworm sid
#   ensure_image NAME    make it (once); sets IMAGE, the raw disk (never written: machine.sh boots
#                        copies), IMAGE_ROOT, the tree that the disk was made from, and IMAGE_SUITE
#
# An image is made in two steps, neither of which needs a loop device. On this machine mmdebstrap
# makes the tree and mke2fs the file system. In a guest with the stable kernel GRUB is installed on
# the disk by its own programs, which want a disk to look at. A real boot loader, because a kernel
# update is only worth its name when the machine comes up with the new kernel by itself.
#
# What is ours in the machine: /etc/systemd/system/remote-hand.service and its script, which take
# commands from the second serial port (tests/install/machine); the kernel's command line; and that
# packages compile through ccache, because an emulated compiler takes half an hour for the driver.
# tests/install/compile.sh compiles the same in a copy of IMAGE_ROOT first, as fast as this machine
# is, and the test takes what that left to the machine.

IMAGES="trixie trixie-cloud trixie-rt bookworm sid"
IMAGE_GIB=8
IMAGE_PACKAGES="systemd systemd-sysv udev dbus kmod procps initramfs-tools grub-pc grub-pc-bin
	iproute2 iputils-ping ca-certificates ccache dkms rdma-core ibverbs-utils perftest"

known_image() {
	case " $IMAGES " in
	*" $1 "*) ;;
	*) die "no image is called '$1': there are $IMAGES" ;;
	esac
}

# Console and clock as in vm.sh. Mitigations protect nobody in an emulator, and cost time.
image_cmdline() {
	printf '%s' "console=ttyS0 mitigations=off no_timer_check tsc=reliable nokaslr no5lvl" \
		" rcupdate.rcu_cpu_stall_timeout=60"
}

# The tree. The first kernel is the one of the release itself, not that of its updates: so the
# machine has a kernel update before it.
make_image_tree() { # DIR SUITE FLAVOUR
	local root=$1/root packages
	packages=$(echo $IMAGE_PACKAGES | tr ' ' ,)
	packages+=,linux-image-${3:+$3-}amd64,linux-headers-${3:+$3-}amd64
	make_root "$1" "$2" minbase "$packages" \
		--aptopt="APT::Default-Release \"$2\"" \
		--dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-include=/usr/share/doc/*/copyright' || return 1
	rm -f "$root/etc/apt/apt.conf.d/99mmdebstrap"
	# Backports are not a part of a machine that nobody asked for them.
	debian_sources "$2" | grep -v -e -backports >"$root/etc/apt/sources.list"
	apt_settings >"$root/etc/apt/apt.conf.d/90mirror"
	printf 'DPkg::Path "/usr/lib/ccache:/usr/sbin:/usr/bin:/sbin:/bin";\n' \
		>"$root/etc/apt/apt.conf.d/90ccache"
	printf '%s\n' 'cache_dir = /var/cache/ccache' 'compiler_check = content' \
		'max_size = 200M' >"$root/etc/ccache.conf"
	mkdir -p "$root/var/cache/ccache"
	printf 'LABEL=root / ext4 errors=remount-ro 0 1\n' >"$root/etc/fstab"
	printf 'debian\n' >"$root/etc/hostname"
	printf '127.0.0.1 localhost\n127.0.1.1 debian\n::1 localhost\n' >"$root/etc/hosts"
	printf '[Match]\nName=e*\n[Network]\nDHCP=yes\n' \
		>"$root/etc/systemd/network/ether.network"
	rm -f "$root/etc/resolv.conf"
	printf 'nameserver 10.0.2.3\n' >"$root/etc/resolv.conf"
	mkdir -p "$root/etc/default/grub.d"
	printf '%s\n' GRUB_TIMEOUT=0 GRUB_TERMINAL=console GRUB_DISABLE_OS_PROBER=true \
		"GRUB_CMDLINE_LINUX_DEFAULT=\"$(image_cmdline)\"" \
		>"$root/etc/default/grub.d/serial.cfg"
	cp "$TOP/tests/install/machine/remote-hand.service" "$root/etc/systemd/system/" &&
		install -m 755 "$TOP/tests/install/machine/remote-hand" "$root/usr/local/sbin/" &&
		chroot "$root" systemctl -q enable systemd-networkd remote-hand
}

# One partition, with a file system that the GRUB of every suite can read: what newer mke2fs turns
# on by default is off. The programs are those of the stable root, so that this machine needs none.
make_image_disk() { # DIR
	local mib=$((IMAGE_GIB * 1024 - 2))
	truncate -s "${IMAGE_GIB}G" "$1/disk" &&
		chroot_run "$STABLE_DIR/root" --bind "$1:/src" -- bash -ec '
		printf "label: dos\nstart=1MiB, size=$1MiB, type=83, bootable\n" |
			sfdisk -q /src/disk
		mke2fs -q -t ext4 -L root -O ^metadata_csum_seed,^orphan_file \
			-d /src/root -E offset=1048576 /src/disk "$1M"' disk "$mib"
}

make_image_grub() { # DIR
	vm_run stable --mem 1 --timeout 600 --qemu -drive \
		--qemu "file=$(qemu_path "$1/disk"),format=raw,if=virtio,cache=unsafe" \
		-- bash -ec '
		modprobe virtio_blk && modprobe ext4
		for i in $(seq 100); do [ ! -b /dev/vda1 ] || break; sleep 0.1; done
		mount /dev/vda1 /mnt/share
		cd /mnt/share
		mount --bind /dev dev && mount -t proc proc proc && mount -t sysfs sys sys
		chroot . grub-install --target=i386-pc /dev/vda
		chroot . update-grub
		echo "grub-pc grub-pc/install_devices multiselect /dev/vda" |
			chroot . debconf-set-selections
		umount dev proc sys
		cd /
		umount /mnt/share'
}

make_image() { # DIR; suite and flavour are set
	make_image_tree "$1" "$suite" "$flavour" && make_image_disk "$1" && make_image_grub "$1"
}

ensure_image() { # NAME
	local suite=${1%%-*} flavour='' key
	known_image "$1"
	[ "$suite" = "$1" ] || flavour=${1#*-}
	ensure_kernel stable
	vm_accel stable
	key=$({
		echo "$1 $IMAGE_GIB $IMAGE_PACKAGES" && image_cmdline && suite_age "$suite" &&
			cat "$TOP"/tests/install/machine/remote-hand* &&
			recipe make_root make_image make_image_tree make_image_disk make_image_grub
	} | hash_of)
	IMAGE_ROOT=$(cache_entry "image-$1" "$key" 5000 "disk image: $1" make_image)/root || exit 1
	IMAGE=${IMAGE_ROOT%/root}/disk
	IMAGE_SUITE=$suite
}
