# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2016,SC2034,SC2153
# Machines as CI services start them, for tests of packaging/ci: sourced, after
# tools/harness/lib.sh.
#
#   runner_make NAME DIR     a copy, in DIR/root, of the tree of a fresh machine (made once):
#                            trixie, bookworm, or noble, which is Ubuntu 24.04 with the kernel
#                            that it has on Azure, as the runners of GitHub
#   runner_chroot DIR CMD    run CMD in it on this machine, with the network and as fast as this
#                            machine is. uname tells the tree's kernel; the project is /prxe
#   runner_boot DIR CMD      boot it, with that kernel, and run CMD there, without a network; a
#                            kernel that complains is a failure. RUNNER_VM: more options of vm_run
#
# Commands are in bash, one argument. The guest's first process is that of the harness (vm.sh), not
# systemd.

RUNNER_PACKAGES="systemd,systemd-sysv,udev,sudo,kmod,iproute2,iputils-ping,procps,ca-certificates"
RUNNER_PACKAGES+=",busybox-static,cpio,xz-utils,zstd"
RUNNER_VM=()

make_runner_debian() { # DIR; suite is set
	make_root "$1" "$suite" minbase "$RUNNER_PACKAGES,linux-image-amd64" \
		--dpkgopt='path-exclude=/etc/kernel/postinst.d/initramfs-tools' || return 1
	debian_sources "$suite" >"$1/root/etc/apt/sources.list" &&
		apt_settings >"$1/root/etc/apt/apt.conf.d/90mirror"
}

# mmdebstrap knows Ubuntu's archive, and Debian's package has its key. The machine's own apt takes
# its mirrors from a list, as GitHub's do.
make_runner_ubuntu() { # DIR; suite is set
	local key archive
	mkdir -p "$1/apt" "$1/key" && chroot_apt_setup "$1/apt" "$SUITE" &&
		chroot_run "$STABLE_DIR/root" --bind "$1/apt:/apt" --bind "$1/key:/src" -- \
			bash -ec '
			cat /apt/settings.conf >/apt/apt.conf
			cd /apt/cache
			apt-get "$@" update
			apt-get "$@" download ubuntu-keyring
			dpkg-deb -x ubuntu-keyring_*.deb /src' \
			key "${CHROOT_APT[@]}" || return 1
	key=$(find "$1/key" -name ubuntu-archive-keyring.gpg -print -quit)
	mmdebstrap --variant=minbase --keyring="$key" --components=main,universe \
		--dpkgopt='path-exclude=/etc/kernel/postinst.d/initramfs-tools' \
		--include="apt,$RUNNER_PACKAGES,linux-image-azure" "$suite" "$1/root" || return 1
	archive=$(sed -nE '0,/^deb /s#^deb (\[.*\] )?([^ ]+) .*#\2#p' \
		"$1/root/etc/apt/sources.list") && [ -n "$archive" ] || return 1
	printf '%s/\tpriority:1\n' "${archive%/}" >"$1/root/etc/apt/apt-mirrors.txt"
	printf '%s\n' 'Types: deb' 'URIs: mirror+file:/etc/apt/apt-mirrors.txt' \
		"Suites: $suite $suite-updates $suite-security" 'Components: main universe' \
		'Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg' \
		>"$1/root/etc/apt/sources.list.d/ubuntu.sources"
	: >"$1/root/etc/apt/sources.list"
	rm -rf "$1/apt" "$1/key"
}

make_runner() { # DIR; suite is set
	local kver
	case $suite in
	noble) make_runner_ubuntu "$1" ;;
	*) make_runner_debian "$1" ;;
	esac &&
		mkdir -p "$1"/root/{src,prxe,mnt/job} &&
		{ [ -e "$1/root/etc/resolv.conf" ] || : >"$1/root/etc/resolv.conf"; } &&
		root_finish "$1" && kver=$(cat "$1/kver") &&
		chroot_run "$1/root" -- depmod "$kver" &&
		mkdir "$1/ird" && INITRD_DIR=$1 KVER=$kver make_initrd "$1/ird" &&
		mv "$1/ird/initrd" "$1/initrd"
}

runner_make() { # NAME DIR
	local suite=$1 key
	ensure_kernel stable
	vm_accel stable
	key=$({
		echo "$1 $RUNNER_PACKAGES" && suite_age sid &&
			cat "$TOP/tests/vm/guest/initramfs-init" &&
			recipe make_root make_runner make_runner_debian make_runner_ubuntu \
				make_initrd
	} | hash_of) || return 1
	RUNNER=$(cache_entry "runner-$1" "$key" 2500 "a fresh machine, $1" make_runner) ||
		return 1
	mkdir -p "$2" && cp -a "$RUNNER"/{root,kver,vmlinuz,initrd} "$2" || return 1
}

# Without the rights that loading modules and making devices take: the kernel is that of this
# machine. The tree is a mount of its own, because podman changes that of "/".
runner_chroot() { # DIR CMD
	local rc
	printf '#!/bin/sh\n[ "$*" = -r ] && echo %s || exec /usr/bin/uname "$@"\n' \
		"$(cat "$1/kver")" >"$1/root/usr/local/bin/uname" &&
		chmod 755 "$1/root/usr/local/bin/uname" || return 1
	chroot_run "$1/root" --bind "$1/root:/" --bind "$TOP:/prxe:ro" --bind /sys:/sys:ro -- \
		setpriv --bounding-set -sys_module,-net_admin \
		env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin bash -c "$2"
	rc=$?
	rm -f "$1/root/usr/local/bin/uname"
	return $rc
}

# What ./run build made is taken away again, and what it stood in place of put back.
RUNNER_CLEAN='rm -f /etc/modprobe.d/prxe.conf
	[ ! -d /src/build/user/stage ] || (cd /src/build/user/stage && find . ! -type d -print0) |
		(cd / && xargs -0 rm -f)
	cp -a /kept/. /
	mount --bind /src /prxe
	cd /'

runner_boot() { # DIR CMD
	local dir=$1 file stage=$TOP/build/user/stage
	rm -rf "$dir/root/kept" && mkdir "$dir/root/kept" || return 1
	[ ! -d "$stage" ] || (cd "$stage" && find . ! -type d -print0) |
		(
			cd "$dir/root" && while IFS= read -r -d '' file; do
				[ ! -e "$file" ] || cp -a --parents "$file" kept || exit 1
			done
		) || return 1
	(
		ensure_kernel() { # the tree of this machine in place of the stable one
			ROOT=$dir/root KVER=$(cat "$dir/kver")
			VMLINUZ=$dir/vmlinuz INITRD=$dir/initrd
		}
		vm_run stable --mem 2 --timeout 1500 --job "$dir/job" "${RUNNER_VM[@]}" -- \
			bash -c "$RUNNER_CLEAN"$'\n'"$2" &&
			kernel_reports "$dir/job/dmesg"
	)
}
