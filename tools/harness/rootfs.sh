# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2016,SC2034
# The root file systems, one for each kernel, and what else is slow to make. Each is a cache entry
# (see cache.sh).
#
#   ensure_kernel K      make (once) all that K needs; sets ROOT (the root file system), KVER,
#                        VMLINUZ, INITRD
#   ensure_qemu          make (once) QEMU; sets QEMU, the words that run it
#   ensure_initrd K KEY  for those: its initramfs, from the root in INITRD_DIR; sets INITRD
#   KERNELS              the names; DAILY_KERNELS: those that every change is tested or built on
#
# stable is trixie's kernel with everything else that a guest or a build needs. The others are
# hard-linked copies of it with another kernel instead, so they cost seconds and little space. debug
# is built from trixie's source.

DAILY_KERNELS="stable latest debug oldstable"
KERNELS="$DAILY_KERNELS rt cloud sid debug-rt arm64 arm64-16k" # the last two: arm64.sh
SUITE=trixie

package_words() { sed 's/#.*//' "$TOP/tests/vm/$1" | xargs -n1 | paste -sd,; }

package_list() { package_words packages; }

# The text of functions, as a part of a key. A continued line counts as one line, so that wrapping
# a script changes no key.
recipe() { # FUNCTION...
	declare -F "$@" >/dev/null || die "recipe: not all of these are functions: $*"
	declare -f "$@" | sed -e :a -e '/\\$/{N;s/\\\n[[:blank:]]*//;ta' -e '}'
}

# A root file system of its own for SUITE, with what mmdebstrap's VARIANT and PACKAGES bring.
make_root() { # DIR SUITE VARIANT PACKAGES [OPTION]...: PACKAGES with commas; makes DIR/root
	local dir=$1 suite=$2 variant=$3 packages=$4 src opts=() line
	shift 4
	src=$(debian_sources "$suite") || return 1
	while read -r line; do
		opts+=("--aptopt=${line%;}")
	done < <(apt_settings)
	printf '%s\n' "$src" | mmdebstrap --variant="$variant" "${opts[@]}" "$@" \
		--include="$packages" "$suite" "$dir/root" - || {
		echo "mmdebstrap failed: is the network there, \
and does this machine's debian-archive-keyring know $suite?"
		return 1
	}
	# chroot_run mounts this machine's over it.
	[ -e "$dir/root/etc/resolv.conf" ] || : >"$dir/root/etc/resolv.conf"
}

make_root_stable() { # DIR
	make_root "$1" "$SUITE" important "$(package_list)" \
		--dpkgopt='path-exclude=/etc/kernel/postinst.d/initramfs-tools' \
		--dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/info/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-include=/usr/share/doc/rdma-core/*' || return 1
	# Mount points: the project, the rdma-core source, apt state for downloads, the job and the
	# user's share.
	mkdir -p "$1"/root/{src,rdma-core,apt,mnt/job,mnt/share} && root_finish "$1"
}

root_finish() { # DIR: one kernel is in its root; note its version
	local kver
	kver=$(cd "$1/root/lib/modules" && echo *)
	case $kver in
	*' '* | '*') echo "expected one kernel in the root, found: $kver" && return 1 ;;
	esac
	printf '%s\n' "$kver" >"$1/kver"
	cp "$1/root/boot/vmlinuz-$kver" "$1/vmlinuz"
}

root_without_kernel() { # DIR: a hard-linked copy of the stable root
	cp -al "$STABLE_DIR/root" "$1/root" &&
		rm -rf "$1"/root/usr/lib/modules/* "$1"/root/boot/* "$1"/root/usr/src/*
}

# Kernel packages are unpacked, not installed: no maintainer script runs in a root that shares files
# with another.
# For apt the root's own kernels are not installed: their files are gone. Only backports have to be
# asked for: without a target apt takes the newest version, which is that of the security updates.
root_unpack_kernel() { # DIR SUITE TARGET [FLAVOUR-]
	local apt=$1/apt
	root_without_kernel "$1" &&
		mkdir -p "$apt" && chroot_apt_setup "$apt" "$2" &&
		{ [ "$2" = "$3" ] || grep -q " $3 " "$apt/sources.list" || {
			echo "the mirror has no $3, which this kernel comes from"
			return 1
		}; } &&
		chroot_run "$1/root" --bind "$apt:/apt" -- bash -ec '
			target=$1 meta=linux-image-$2amd64
			opts=("${@:4}" -o Dir::State::status=/apt/status)
			[ "$target" = "$3" ] || opts+=(-t "$target")
			cat /apt/settings.conf >/apt/apt.conf
			awk -v RS= -v ORS="\n\n" "! /^Package: linux-(image|headers)-/" \
				/var/lib/dpkg/status >/apt/status
			apt-get "${opts[@]}" update
			img=$(apt-cache "${opts[@]}" -o Dir::State::status=/dev/null show \
				--no-all-versions "$meta" |
				sed -n "s/^Depends: .*\(linux-image-[^ ,]*\).*/\1/p" | head -n1)
			img=${img%-unsigned}
			apt-get "${opts[@]}" install -y --download-only \
				"$img" "linux-headers-${img#linux-image-}"
			cd /apt/cache/archives
			for deb in *.deb; do
				dpkg-deb --fsys-tarfile "$deb" \
					| tar -C / -xpf - --keep-directory-symlink \
					--exclude=./usr/share --exclude=./etc
			done' \
			unpack "$3" "${4:-}" "$2" "${CHROOT_APT[@]}" &&
		chroot_run "$1/root" -- bash -ec '
			kver=$(ls /lib/modules)
			depmod "$kver"
			# Newer packages keep the kernel beside its modules.
			[ -e "/boot/vmlinuz-$kver" ] \
				|| ln "/lib/modules/$kver/vmlinuz" "/boot/vmlinuz-$kver"' &&
		rm -rf "$apt" && root_finish "$1"
}

make_root_latest() { root_unpack_kernel "$1" "$SUITE" "$SUITE-backports"; }

make_root_oldstable() { root_unpack_kernel "$1" bookworm bookworm; }

# The debug kernel: trixie's source with tests/vm/debug.config, and nothing else that could be left
# out (allnoconfig): what no test uses only takes time to build. Its objects are dropped after the
# build: only what modules need to be built against it stays.
make_kernel_debug() { # DIR
	mkdir -p "$1/tree" "$1/apt" && chroot_apt_setup "$1/apt" "$SUITE" &&
		cp "$TOP/tests/vm/debug.config" "$1/apt/debug.config" &&
		chroot_run "$STABLE_DIR/root" --bind "$1/apt:/apt" --bind "$1/tree:/src" -- \
			nice -n 10 bash -ec '
			cat /apt/settings.conf >/apt/apt.conf
			cd /apt/cache
			apt-get "$@" update
			apt-get "$@" download linux-source-6.12
			dpkg-deb -x linux-source-6.12*.deb /apt/cache/deb
			tar -C /src --strip-components=1 \
				-xf /apt/cache/deb/usr/src/linux-source-6.12.tar.xz
			rm -rf /apt/cache
			cd /src
			KCONFIG_ALLCONFIG=/apt/debug.config make -s allnoconfig
			grep "^CONFIG_" /apt/debug.config | while read -r want; do
				grep -qx "$want" .config ||
					{ echo "not in the configuration: $want"; exit 1; }
			done
			make -s -j"$(nproc)" bzImage modules
			make -s modules_install INSTALL_MOD_PATH=/apt/modules \
				DEPMOD=/usr/sbin/depmod
			make -s kernelrelease >/apt/kver
			cp arch/x86/boot/bzImage /apt/vmlinuz
			find . -type f ! -path "./scripts/*" ! -path "./tools/*" \
				\( -name "*.o" -o -name "*.a" -o -name "*.ko" -o -name "*.mod" \
				-o -name ".*.cmd" \) -delete
			rm -rf vmlinux* .tmp_* Documentation drivers/gpu drivers/net/ethernet' \
			debug "${CHROOT_APT[@]}" &&
		mv "$1/apt/kver" "$1/apt/vmlinuz" "$1/apt/modules" "$1" && rm -rf "$1/apt"
}

make_root_debug() { # DIR
	local kver
	kver=$(cat "$DEBUG_DIR/kver") &&
		root_without_kernel "$1" &&
		cp -al "$DEBUG_DIR/modules/lib/modules/$kver" "$1/root/usr/lib/modules/$kver" &&
		cp -al "$DEBUG_DIR/tree" "$1/root/usr/src/linux-debug" &&
		ln -sfn /usr/src/linux-debug "$1/root/usr/lib/modules/$kver/build" &&
		cp -l "$DEBUG_DIR/vmlinuz" "$1/root/boot/vmlinuz-$kver" &&
		root_finish "$1"
}

stable_key() {
	{
		echo "$SUITE" && package_list && recipe make_root make_root_stable root_finish
	} | hash_of
}

ensure_stable() {
	[ -n "${STABLE_DIR:-}" ] && return
	STABLE_KEY=$(stable_key) || exit 1
	STABLE_DIR=$(cache_entry root-stable "$STABLE_KEY" 4000 \
		"root file system with the stable kernel" make_root_stable) || exit 1
}

known_kernel() {
	case " $KERNELS " in
	*" $1 "*) ;;
	*) die "no kernel is called '$1': there are $KERNELS" ;;
	esac
}

ensure_kernel() { # K
	local k=$1 key dir
	known_kernel "$k"
	if is_arm64 "$k"; then
		ensure_arm64 "$k"
		return
	fi
	ensure_stable
	case $k in
	stable) dir=$STABLE_DIR key=$STABLE_KEY ;;
	latest | oldstable | rt | cloud | sid)
		key=$({
			echo "$STABLE_KEY" && suite_age "$k" &&
				recipe "make_root_$k" root_unpack_kernel root_without_kernel
		} | hash_of) || exit 1
		dir=$(cache_entry "root-$k" "$key" 2000 \
			"root file system with the $k kernel" "make_root_$k") || exit 1
		;;
	debug | debug-rt)
		key=$(debug_key "$k") || exit 1
		DEBUG_DIR=$(cache_entry "kernel-$k" "$key" 6000 \
			"$k kernel (some minutes)" "make_kernel_${k//-/_}") || exit 1
		key=$({
			echo "$STABLE_KEY $key" && recipe make_root_debug root_without_kernel
		} | hash_of) || exit 1
		dir=$(cache_entry "root-$k" "$key" 1000 \
			"root file system with the $k kernel" make_root_debug) || exit 1
		;;
	esac
	ROOT=$dir/root
	KVER=$(cat "$dir/kver") || die "the cache entry $dir is damaged: remove it and try again"
	VMLINUZ=$dir/vmlinuz
	INITRD_DIR=$dir
	ensure_initrd "$k" "$key"
}

ensure_initrd() { # K KEY-OF-ITS-ROOT
	local k=$1 key
	key=$({
		echo "$2" && cat "$TOP/tests/vm/guest/initramfs-init" && recipe make_initrd
	} | hash_of) || exit 1
	INITRD=$(cache_entry "initrd-$k" "$key" 50 \
		"initramfs for the $k kernel" make_initrd)/initrd || exit 1
}

# A small initramfs: busybox, and the modules that mounting the root over 9p takes.
make_initrd() { # DIR
	mkdir -p "$1/x" && cp "$TOP/tests/vm/guest/initramfs-init" "$1/x/init" &&
		chmod 755 "$1/x/init" &&
		chroot_run "$INITRD_DIR/root" --bind "$1/x:/src" -- bash -ec '
			cd /src
			mkdir -p bin modules dev proc sys lower stage ov new
			cp /bin/busybox bin/busybox
			for mod in virtio_pci 9pnet_virtio 9p overlay; do
				modprobe -S "$1" --show-depends "$mod" || echo "builtin $mod"
			done | sed -n "s/^insmod \([^ ]*\).*/\1/p" | awk "!seen[\$0]++" \
				| while read -r ko; do
				name=$(basename "$ko")
				case $ko in
				*.xz) name=${name%.xz}; xz -dc "$ko" >"modules/$name" ;;
				*.zst) name=${name%.zst}; zstd -dc "$ko" >"modules/$name" ;;
				*) cp "$ko" modules/ ;;
				esac
				echo "$name" >>modules/order
			done
			touch modules/order
			find . | cpio -o -H newc --quiet | gzip -1 >/src/initrd.gz' \
			initrd "$KVER" &&
		mv "$1/x/initrd.gz" "$1/initrd" && rm -rf "$1/x"
}

# QEMU is of the same release as the root: an older one (7.2) races with the guest kernel when that
# patches its own code (a spurious int3 oops in one boot of several). Its packages, and what they
# need beyond the root's, are unpacked here and run with the root's libraries.
make_qemu() { # DIR
	mkdir -p "$1/apt" "$1/files" && chroot_apt_setup "$1/apt" "$SUITE" &&
		chroot_run "$STABLE_DIR/root" --bind "$1/apt:/apt" --bind "$1/files:/src" -- \
			bash -ec '
			cat /apt/settings.conf >/apt/apt.conf
			apt-get "$@" update
			apt-get "$@" install -y --download-only qemu-system-x86
			for deb in /apt/cache/archives/*.deb; do
				dpkg-deb -x "$deb" /src
			done' qemu "${CHROOT_APT[@]}" &&
		rm -rf "$1/apt"
}

ensure_qemu() {
	[ -z "${QEMU_DIR:-}" ] || return 0
	ensure_stable
	local key dir lib=usr/lib/x86_64-linux-gnu root=$STABLE_DIR/root
	key=$({ echo "$STABLE_KEY" && recipe make_qemu; } | hash_of) || exit 1
	dir=$(cache_entry qemu "$key" 500 "QEMU" make_qemu) || exit 1
	QEMU_DIR=$dir/files
	QEMU=(env "QEMU_MODULE_DIR=$QEMU_DIR/$lib/qemu" "$root/usr/lib64/ld-linux-x86-64.so.2"
		--library-path "$QEMU_DIR/$lib:$root/$lib" "$QEMU_DIR/usr/bin/qemu-system-x86_64"
		-L "$QEMU_DIR/usr/share/qemu" -L "$QEMU_DIR/usr/share/seabios")
}
