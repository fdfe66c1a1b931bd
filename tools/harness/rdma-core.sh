# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2016,SC2034
# rdma-core's source, as Debian's releases have it: the upstream tarball, unpacked, without Debian's
# patches. Each is a cache entry (see cache.sh).
#
#   ensure_rdma_core           make (once) the source that matches the stable root; sets RDMA_CORE
#   ensure_rdma_source SUITE   make (once) the source of that release; sets RDMA_SOURCE. Status 1:
#                              it could not be fetched

# For $rdma_suite. Of the root's own release, the version that is installed there is taken, because
# the mirror may have a newer one.
make_rdma_source() { # DIR
	local ver=''
	[ "$rdma_suite" != "$SUITE" ] ||
		ver="=$(chroot_run "$STABLE_DIR/root" -- \
			dpkg-query -f '${source:Version}' -W libibverbs1)" || return 1
	mkdir -p "$1/apt" "$1/src" && chroot_apt_setup "$1/apt" "$rdma_suite" deb-src &&
		chroot_run "$STABLE_DIR/root" --bind "$1/apt:/apt" --bind "$1/src:/src" -- \
			bash -ec '
			ver=$1; shift
			cat /apt/settings.conf >/apt/apt.conf
			apt-get "$@" update
			cd /apt/cache
			# The upstream tarball is all that is needed, and is checked here against
			# the signed index: not every mirror has the rest of an older source
			# package.
			apt-get "$@" source --download-only "rdma-core$ver" \
				|| apt-get "$@" source --download-only rdma-core ||
				echo "apt-get source was not complete"
			tar=$(ls rdma-core_*.orig.tar.*z | head -n 1)
			sum=$(sha256sum "$tar" | cut -d" " -f1)
			apt-cache "$@" showsrc rdma-core | grep -q "^ $sum [0-9]* $tar\$" \
				|| { echo "$tar: wrong checksum"; exit 1; }
			tar -C /src --strip-components=1 -xf "$tar"' \
			rdma-core "$ver" "${CHROOT_APT[@]}" &&
		rm -rf "$1/apt"
}

ensure_rdma_source() { # SUITE
	local rdma_suite=$1 key dir
	ensure_stable
	key=$({
		recipe make_rdma_source && suite_age "$1" &&
			{ [ "$1" != "$SUITE" ] || echo "$STABLE_KEY"; }
	} | hash_of) || exit 1
	dir=$(cache_entry "rdma-core-$1" "$key" 200 "rdma-core source of $1" make_rdma_source) ||
		return 1
	RDMA_SOURCE=$dir/src
}

ensure_rdma_core() {
	[ -z "${RDMA_CORE:-}" ] || return 0
	ensure_rdma_source "$SUITE" || return 1
	RDMA_CORE=$RDMA_SOURCE
}
