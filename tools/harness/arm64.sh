# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2016,SC2034,SC2054,SC2154
# The kernels arm64 (pages of 4 KiB) and arm64-16k, on an x86-64 machine. Everything for them is
# cross-built, and their guests are emulated. Nothing of arm64 runs here but in those guests, so
# this machine needs no qemu-user and no binfmt_misc.
#
#   ensure_arm64 K    what ensure_kernel K does; sets CROSS_ROOT, the root to build in, as well
#   arm64_qemu        set QEMU, the words that run the emulator
#   arm64_machine     for vm_run: set machine, tty and args (QEMU's machine, the guest's console,
#                     the kernel's arguments)
#
# One cache entry has two roots. "root" is x86-64, with packages of arm64 whose scripts run here:
# the cross compiler, libraries, the kernels and their headers, QEMU. "guest" is arm64: Debian's
# packages, unpacked, and the kernels of "root", which has the guest's busybox in turn, for the
# initramfs.

ARM64_KERNELS="arm64 arm64-16k"

is_arm64() { [[ $1 == arm64* ]]; }

ARM64_WITHOUT=(--dpkgopt='path-exclude=/etc/kernel/postinst.d/initramfs-tools'
	--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*'
	--dpkgopt='path-exclude=/usr/share/locale/*')

# The headers of arm64 depend on the compiler of arm64, which would not run here: they are unpacked.
# Kbuild's own programs are those of this machine.
ARM64_HEADERS='
	cd /tmp
	for flavor in $(ls /lib/modules); do
		version=${flavor%-arm64*}
		apt-get install -y --no-install-recommends \
			"linux-kbuild-$version" "linux-headers-$version-common"
		apt-get -o APT::Sandbox::User=root download "linux-headers-$flavor:arm64"
		dpkg-deb --fsys-tarfile linux-headers-"$flavor"_*.deb |
			tar -C / -xf - --keep-directory-symlink --exclude=./usr/share
	done
	rm -f /tmp/*.deb'

make_arm64() { # DIR
	ARM64_HEADERS=$ARM64_HEADERS make_root "$1" "$SUITE" apt "$(package_words packages-cross)" \
		--architectures=amd64,arm64 "${ARM64_WITHOUT[@]}" \
		--customize-hook='chroot "$1" bash -ec "$ARM64_HEADERS"' &&
		mkdir -p "$1/guest.new" "$1"/root/{src,rdma-core} &&
		make_root "$1/guest.new" "$SUITE" extract "$(package_words packages-arm64)" \
			--arch=arm64 "${ARM64_WITHOUT[@]}" &&
		mv "$1/guest.new/root" "$1/guest" && rmdir "$1/guest.new" &&
		make_arm64_guest "$1/guest" &&
		cp -al "$1/root/usr/lib/modules" "$1/guest/usr/lib/" &&
		cp -al "$1"/root/boot/vmlinuz-* "$1/guest/boot/" &&
		cp -alf "$1/guest/usr/bin/busybox" "$1/root/usr/bin/busybox"
}

# What the scripts of packages do that our guest needs.
make_arm64_guest() { # ROOT
	mkdir -p "$1"/{src,rdma-core,apt,mnt/job,mnt/share} &&
		ln -s gawk "$1/usr/bin/awk" &&
		cp "$1/usr/share/base-passwd/passwd.master" "$1/etc/passwd" &&
		cp "$1/usr/share/base-passwd/group.master" "$1/etc/group" &&
		cp "$1/usr/share/libc-bin/nsswitch.conf" "$1/etc/nsswitch.conf"
}

ensure_arm64() { # K
	local k=$1 key dir
	key=$({
		echo "$SUITE ${ARM64_WITHOUT[*]} $ARM64_HEADERS" && package_words packages-cross &&
			package_words packages-arm64 &&
			recipe make_root make_arm64 make_arm64_guest
	} | hash_of) || exit 1
	dir=$(cache_entry arm64 "$key" 3000 "root file systems for arm64" make_arm64) || exit 1
	ROOT=$dir/guest
	CROSS_ROOT=$dir/root
	KVER=$(cd "$ROOT/lib/modules" && echo *-"$k")
	VMLINUZ=$ROOT/boot/vmlinuz-$KVER
	[ -e "$VMLINUZ" ] || die "the cache entry $dir is damaged: remove it and try again"
	INITRD_DIR=$dir
	ensure_initrd "$k" "$key $k"
}

arm64_qemu() {
	local lib=$CROSS_ROOT/usr/lib/x86_64-linux-gnu
	QEMU=(env "QEMU_MODULE_DIR=$lib/qemu" "$CROSS_ROOT/usr/lib64/ld-linux-x86-64.so.2"
		--library-path "$lib" "$CROSS_ROOT/usr/bin/qemu-system-aarch64"
		-L "$CROSS_ROOT/usr/share/qemu")
}

# A processor of 2018 (with LSE atomics and a hardware access flag), and two NUMA nodes. The second
# has memory only.
arm64_machine() {
	local half=$((mem * 512))
	arm64_qemu
	[ "$icount" = 0 ] || die "--icount is for x86-64 kernels"
	machine=(-M virt,gic-version=3 -cpu cortex-a76 -accel tcg,thread=multi,tb-size=512
		-object "memory-backend-ram,size=${half}M,id=m0"
		-object "memory-backend-ram,size=${half}M,id=m1"
		-numa "node,memdev=m0,cpus=0-$((smp - 1))" -numa "node,memdev=m1")
	VM_ACCEL=tcg tty=ttyAMA0
	args="console=$tty $args"
}
