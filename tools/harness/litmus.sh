# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2016
# herd7, which tells what a memory model allows, and the memory model of the kernel.
#
#   ensure_herd         make (once) both, a cache entry; sets HERD, the words that run herd7, and
#                       HERD_MODEL, the folder of the model. Status 1: they could not be fetched
#
# herd7 comes from sid, the one release of Debian that has it, and runs with sid's C library, which
# is unpacked beside it. The model is that of trixie's kernel source (tools/memory-model).

HERD_FILES="linux-kernel.bell linux-kernel.cat linux-kernel.cfg linux-kernel.def lock.cat"

make_herd() { # DIR
	mkdir -p "$1"/{sid,stable,files} && chroot_apt_setup "$1/sid" sid &&
		chroot_apt_setup "$1/stable" "$SUITE" &&
		chroot_run "$STABLE_DIR/root" --bind "$1/sid:/apt" --bind "$1/files:/src" -- \
			bash -ec '
			cat /apt/settings.conf >/apt/apt.conf
			apt-get "$@" update
			cd /apt/cache
			apt-get "$@" download herdtools7 libc6 libgmp10
			mkdir all
			for deb in *.deb; do dpkg-deb -x "$deb" all; done
			lib=all/usr/lib/x86_64-linux-gnu
			cp all/usr/bin/herd7 /src
			cp -L $lib/ld-linux-x86-64.so.2 $lib/libc.so.6 $lib/libm.so.6 \
				$lib/libgmp.so.10 /src
			cp -r all/usr/share/herdtools7/herd /src/lib' herd "${CHROOT_APT[@]}" &&
		chroot_run "$STABLE_DIR/root" --bind "$1/stable:/apt" --bind "$1/files:/src" -- \
			bash -ec '
			read -r -a files <<<"$1"; shift
			cat /apt/settings.conf >/apt/apt.conf
			apt-get "$@" update
			cd /apt/cache
			apt-get "$@" download linux-source-6.12
			mkdir /src/model
			# tar stops reading when it has all, so what writes into its pipe may die
			# of that: look for the files instead of at the status.
			dpkg-deb --fsys-tarfile linux-source-6.12_*.deb |
				tar -xO ./usr/src/linux-source-6.12.tar.xz |
				tar -xJ -C /src/model --strip-components=3 --occurrence=1 \
				"${files[@]/#/linux-source-6.12/tools/memory-model/}" || :
			for file in "${files[@]}"; do
				[ -s "/src/model/$file" ] ||
					{ echo "linux-source-6.12 has no $file" && exit 1; }
			done' model "$HERD_FILES" "${CHROOT_APT[@]}" &&
		mv "$1"/files/* "$1" && rm -rf "$1"/{sid,stable,files}
}

# shellcheck disable=SC2034 # HERD and HERD_MODEL are for the caller
ensure_herd() {
	local key dir
	ensure_stable
	key=$({ recipe make_herd && echo "$SUITE $HERD_FILES"; } | hash_of) || exit 1
	dir=$(cache_entry herd "$key" 1500 "herd7 and the kernel's memory model" make_herd) ||
		return 1
	HERD=("$dir/ld-linux-x86-64.so.2" --library-path "$dir" "$dir/herd7" -set-libdir "$dir/lib")
	HERD_MODEL=$dir/model
}
