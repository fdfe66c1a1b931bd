#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# ./run upstream: the provider as a series of patches for rdma-core, and the proof that they apply,
# build and work there.
#
#	upstream.sh [--author 'NAME <MAIL>'] [--no-build] [SUITE | DIR]...
#
# For the rdma-core source of each Debian SUITE (trixie and sid if nothing is named; only the
# original source is taken, without Debian's patches), or for the unpacked source in DIR:
#
# 1. series.py makes the series, and git writes it to build/upstream/rdma-core-VERSION/*.patch;
# 2. git am applies it, one patch after the other, to the source in build/upstream/tree-VERSION;
# 3. after each patch rdma-core is built in the stable root file system (check.sh), and a warning
#    that rdma-core does not give without the series is an error;
# 4. at the end it is built as distributions do, with static libraries and manual pages, and the
#    built ibv_devices must find a prxe device in a sysfs that is made up.
#
# The author of the patches is that of the last commit here, unless --author names another one. They
# carry no sign-off: that is for who sends them (git am -s).
set -u -o pipefail
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source=tools/harness/lib.sh
. "$here/../harness/lib.sh"

OUT=$TOP/build/upstream

rdma_core_source() { # SUITE|DIR: sets SRC
	if [ -f "$1/libibverbs/driver.h" ]; then
		SRC=$(readlink -f "$1")
	elif [[ $1 == */* || -e $1 ]]; then
		die "$1 is not an unpacked rdma-core source: it has no libibverbs/driver.h"
	else
		ensure_rdma_source "$1" ||
			die "the rdma-core source of Debian $1 could not be fetched:" \
				"is the network there, and $1 a suite?"
		SRC=$RDMA_SOURCE
	fi
	VERSION=$(sed -n 's/^set(PACKAGE_VERSION "\([0-9.]*\)")$/\1/p' "$SRC/CMakeLists.txt")
	[ -n "$VERSION" ] || die "$SRC/CMakeLists.txt does not say PACKAGE_VERSION:" \
		"is it an rdma-core source?"
}

# Nobody's settings of git, but one author and one date: the same tree gives the same patches.
git_plain() { # DIR ARGUMENT...
	local dir=$1 MAIL=${AUTHOR##*<}
	shift
	GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_COMMITTER_DATE="$EPOCH +0000" \
		git -C "$dir" -c safe.directory='*' -c core.autocrlf=false \
		-c user.name="${AUTHOR% <*}" -c user.email="${MAIL%>}" "$@"
}

new_tree() { # DIR: the source, with all of it committed
	rm -rf "$1" && cp -r "$SRC" "$1" && rm -rf "$1/build" "$1/.git" &&
		git_plain "$1" init -q -b master && git_plain "$1" add -A -f &&
		git_plain "$1" commit -q --date "$EPOCH +0000" -m "rdma-core $VERSION" &&
		git_plain "$1" tag base
}

make_series() {
	local tree=$OUT/.new
	new_tree "$tree" &&
		GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 \
			python3 "$here/series.py" "$TOP" "$tree" "$AUTHOR" "$EPOCH" || return 1
	git_plain "$tree" config branch.master.description \
		"$(sed "1,/^-->/d; s/@VERSION@/$VERSION/" "$here/cover.md")"
	rm -rf "$PATCHES" && mkdir -p "$PATCHES" &&
		git_plain "$tree" format-patch -q -o "$PATCHES" --cover-letter --zero-commit \
			--no-signature --cover-from-description=subject \
			--subject-prefix="PATCH rdma-core" base &&
		rm -rf "$tree"
}

apply() { # PATCH
	git_plain "$TREE" am -q "$1"
}

build() { # STEP: one of check.sh
	chroot_run "$ROOT" --bind "$TREE:/mnt/share" --bind "$here:/src:ro" -- \
		bash /src/check.sh "$1"
}

prove() {
	local patch name n=0
	new_tree "$TREE" || die "cannot copy the source to $TREE"
	for patch in "$PATCHES"/*.patch; do
		name=$(basename "$patch" .patch)
		case $name in 0000-*) continue ;; esac
		n=$((n + 1))
		step "rdma-core $VERSION: git am $name" apply "$patch" ||
			die "$patch does not apply to rdma-core $VERSION"
		[ "$BUILD" = 1 ] || continue
		step "rdma-core $VERSION: build with patch $n" build build ||
			die "rdma-core $VERSION does not build without a warning after $patch"
	done
	[ "$BUILD" = 1 ] || return 0
	step "rdma-core $VERSION: build as distributions do" build distribution ||
		die "rdma-core $VERSION with the series does not build as distributions do it"
	step "rdma-core $VERSION: ibv_devices finds prxe0" build devices ||
		die "the ibv_devices of rdma-core $VERSION does not load the provider"
}

upstream() { # SUITE|DIR
	rdma_core_source "$1"
	PATCHES=$OUT/rdma-core-$VERSION
	TREE=$OUT/tree-$VERSION
	need_space "$TOP/build" 600 "rdma-core $VERSION"
	msg "rdma-core $VERSION: making the series"
	make_series || die "there is no series for rdma-core $VERSION (the lines above say why)"
	prove
	printf '%s\n' "$PATCHES"/*.patch
}

AUTHOR='' BUILD=1 sources=()
while [ $# -gt 0 ]; do
	case $1 in
	--author) [ $# -ge 2 ] || die "--author wants 'NAME <MAIL>'" && AUTHOR=$2 && shift 2 ;;
	--no-build) BUILD=0 && shift ;;
	-*) die "upstream: unknown option $1 (--author 'NAME <MAIL>', --no-build)" ;;
	*) sources+=("$1") && shift ;;
	esac
done
[ ${#sources[@]} -gt 0 ] || sources=(trixie sid)
for tool in git:git python3:python3; do
	command -v "${tool%:*}" >/dev/null ||
		step "installing on this machine: ${tool#*:}" apt_install "${tool#*:}" ||
		die "upstream needs ${tool#*:}, which apt-get could not install"
done
last=$(git -c safe.directory='*' -C "$TOP" log -1 --format='%an <%ae>%n%ct' 2>/dev/null)
AUTHOR=${AUTHOR:-$(head -n 1 <<<"$last")}
[ -n "$AUTHOR" ] ||
	die "this is no git checkout: say who the author is, with --author 'NAME <MAIL>'"
[[ $AUTHOR =~ ^[^\<\>]+\ \<[^\<\>\ ]+@[^\<\>\ ]+\>$ ]] ||
	die "the author must be 'NAME <MAIL>', not '$AUTHOR' (--author)"
EPOCH=${SOURCE_DATE_EPOCH:-$(sed -n 2p <<<"$last")}
EPOCH=${EPOCH:-$(date +%s)}

mkdir -p "$OUT" || die "cannot make $OUT"
run_alone 7 "$OUT/.lock" "./run upstream"
ensure_kernel stable
for source in "${sources[@]}"; do
	upstream "$source" || exit 1
done
