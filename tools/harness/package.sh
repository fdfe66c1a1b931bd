# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2016,SC2034
# The source tarball (./run dist) and Debian's packages (./run package), made from the last commit.
#
#   dist_run              make build/dist/prxe-VERSION.tar.xz
#   package_run SUITE     make the packages for that release of Debian, or for all, twice; compare
#                         the two; have lintian look at them; results in build/package/SUITE
#   PACKAGE_SUITES        the releases
#
# Each release has a root file system of its own to build in (a cache entry). A build runs in it
# without network and as an unprivileged user, with what packaging/debian/control asks for. The two
# builds differ in directory, time zone, locale and number of processors.

PACKAGE_SUITES="bookworm trixie sid"
# Whose rdma-core the tarball has private headers of. Those of trixie fit bookworm too: both have
# provider ABI 34.
DIST_SUITES="trixie sid"
# Who builds: nobody, in numbers, because the roots need not know this machine's users.
PACKAGE_USER=65534
# Whatever lintian has to say fails, not only errors. Left out are the tags that depend on lintian's
# own release, because one debian/ serves three: what sid's finds old or needless, bookworm's wants.
# And nothing is uploaded to Debian, where a bug would be closed and upstream has a page on the web.
PACKAGE_LINTIAN=(--info --display-info --pedantic "--fail-on=error,warning,info,pedantic")
PACKAGE_LINTIAN_NOT="newer-standards-version out-of-date-standards-version
	package-uses-old-debhelper-compat-version redundant-priority-optional-field
	redundant-rules-requires-root-no-field initial-upload-closes-no-bugs
	upstream-metadata-file-is-missing"

package_version() { # TREE
	local version
	version=$(sed -n 's/^#define PRXE_VERSION_[A-Z]* \([0-9]*\)$/\1/p' \
		"$1/kernel/base/version.h" | paste -sd.)
	[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] ||
		die "kernel/base/version.h has no version of three numbers: $version"
	printf '%s\n' "$version"
}

known_suite() { # SUITE
	case " $PACKAGE_SUITES " in
	*" $1 "*) ;;
	*) die "no packages are made for '$1': there are $PACKAGE_SUITES, and all" ;;
	esac
}

# The names in Build-Depends, and what building and checking takes besides.
package_needs() {
	printf '%s\n' build-essential lintian
	awk '/^[A-Z]/ { on = sub(/^Build-Depends:/, "") } on' "$TOP/packaging/debian/control" |
		tr ',' '\n' | awk 'NF { sub(/-compat/, "", $1); print $1 }'
}

make_package_root() { # DIR: for PACKAGE_SUITE
	make_root "$1" "$PACKAGE_SUITE" buildd "$(package_needs | paste -sd,)" &&
		mkdir -p "$1"/root/{build,apt,src}
}

ensure_package_root() { # SUITE: sets PACKAGE_ROOT
	local key dir
	PACKAGE_SUITE=$1
	key=$({
		package_needs && suite_age "$1" && recipe make_root make_package_root
	} | hash_of) || exit 1
	dir=$(cache_entry "package-$1" "$key" 2000 "build root for $1" \
		make_package_root) || exit 1
	PACKAGE_ROOT=$dir/root
}

# ---- the source tarball ----

dist_git() { git -c safe.directory="$TOP" -C "$TOP" "$@"; }

# The private headers of rdma-core, so that nobody who builds from the tarball needs its source.
dist_headers() { # TREE
	local suite pabi
	[ -e "$1/providers/prxe/private-headers.sh" ] ||
		die "the last commit has no providers/prxe/private-headers.sh"
	for suite in $DIST_SUITES; do
		ensure_rdma_source "$suite" || exit 1
		pabi=$(sed -n 's/^set(IBVERBS_PABI_VERSION "\([0-9]*\)").*/\1/p' \
			"$RDMA_SOURCE/CMakeLists.txt")
		[ -n "$pabi" ] || die "$RDMA_SOURCE/CMakeLists.txt names no provider ABI"
		[ ! -e "$1/rdma-core-headers/$pabi" ] || continue
		step "private headers of $suite's rdma-core, ABI $pabi" \
			bash "$1/providers/prxe/private-headers.sh" "$RDMA_SOURCE" \
			"$1/rdma-core-headers/$pabi" || exit 1
	done
}

# The same commit makes the same file: sorted, with the commit's date, owned by nobody in
# particular, and xz in one thread (with several, its output depends on their number).
dist_pack() { # PARENT NAME DATE FILE
	tar -C "$1" --sort=name --format=gnu --mtime="@$3" --owner=0 --group=0 --numeric-owner \
		--mode=u=rwX,go=rX -cf - "$2" | xz -9 -T1 >"$4.new" && mv "$4.new" "$4"
}

dist_lock() {
	mkdir -p "$TOP/build/dist" "$TOP/build/package" || die "cannot write in $TOP"
	run_alone 7 "$TOP/build/dist/.lock" "./run dist or package"
	rm -rf "$TOP"/build/dist/.tmp.* "$TOP"/build/package/.work-*
}

dist_make() { # sets DIST, DIST_DATE, DIST_VERSION
	local tmp tree
	command -v git >/dev/null ||
		die "the tarball is made from git's last commit, and git is not installed:" \
			"apt-get install git"
	[ "$(dist_git rev-parse --show-toplevel 2>/dev/null)" = "$TOP" ] ||
		die "the tarball is made from git's last commit, and this is no git checkout:" \
			"use a clone (or the tarball that this tree came from)"
	[ -z "$(dist_git status --porcelain)" ] ||
		msg "what is not committed is not in the tarball (git status shows it)"
	DIST_DATE=$(dist_git log -1 --format=%ct HEAD) || die "git has no commit here"
	tmp=$(mktemp -d "$TOP/build/dist/.tmp.XXXXXX") || die "cannot write in $TOP/build/dist"
	mkdir "$tmp/tree" && dist_git archive HEAD | tar -C "$tmp/tree" -xf - ||
		die "git archive failed"
	DIST_VERSION=$(package_version "$tmp/tree") || exit 1
	tree=$tmp/prxe-$DIST_VERSION
	mv "$tmp/tree" "$tree"
	dist_headers "$tree"
	DIST=$TOP/build/dist/prxe-$DIST_VERSION.tar.xz
	dist_pack "$tmp" "${tree##*/}" "$DIST_DATE" "$DIST" || die "cannot write $DIST"
	rm -rf "$tmp"
	msg "source: ${DIST#"$TOP"/} (commit $(dist_git rev-parse --short HEAD))"
}

dist_run() {
	dist_lock
	dist_make
}

# ---- Debian's packages ----

# Releases sort as they follow each other, so that an upgrade of the machine upgrades these too.
package_suffix() { # SUITE
	case $1 in
	bookworm) echo '~deb12' ;;
	trixie) echo '~deb13' ;;
	esac
}

# The source package's parts as dpkg wants them: the tarball, and its tree with debian/ at the top.
package_unpack() { # SUITE DIR
	local tree=$2/prxe-$DIST_VERSION
	mkdir -p "$2" && cp "$DIST" "$2/prxe_$DIST_VERSION.orig.tar.xz" &&
		tar -C "$2" -xf "$DIST" && cp -r "$tree/packaging/debian" "$tree/debian" &&
		sed -i "1s/^prxe (\([^)]*\)) [a-z]*;/prxe (\1$(package_suffix "$1")) \
${1/sid/unstable};/" "$tree/debian/changelog" &&
		find "$tree/debian" -exec touch -h -d "@$DIST_DATE" {} + &&
		chown -R "$PACKAGE_USER:$PACKAGE_USER" "$2"
}

package_build() { # DIR IN-ROOT VARIABLE=VALUE...
	local dir=$1 at=$2
	shift 2
	chroot_run "$PACKAGE_ROOT" --bind "$dir:/build" -- \
		unshare -n setpriv --reuid $PACKAGE_USER --regid $PACKAGE_USER --clear-groups \
		env HOME=/nonexistent SOURCE_DATE_EPOCH="$DIST_DATE" "$@" \
		bash -ec 'cd "$1" && dpkg-buildpackage -us -uc' \
		build "/build/$at/prxe-$DIST_VERSION"
}

# What differs between two directories of packages, by name; true when nothing does.
package_compare() { # DIR1 DIR2
	local f same=0 tmp
	diff <(cd "$1" && echo *.deb) <(cd "$2" && echo *.deb) || same=1
	for f in "$1"/*.deb "$1"/*.dsc "$1"/*.debian.tar.xz; do
		[ -e "$f" ] || continue
		cmp -s "$f" "$2/${f##*/}" && continue
		same=1
		echo "${f##*/} differs between two builds"
		[[ $f == *.deb ]] || continue
		tmp=$(mktemp -d) || return 1
		dpkg-deb -R "$f" "$tmp/1" && dpkg-deb -R "$2/${f##*/}" "$tmp/2" &&
			(cd "$tmp" && diff -rq --no-dereference 1 2 | sed 's/^/    /')
		diff <(dpkg-deb -c "$f") <(dpkg-deb -c "$2/${f##*/}") | sed 's/^/    /'
		rm -rf "$tmp"
	done
	return $same
}

# Words like #MODULE_VERSION#, which debhelper was to replace: all that this release's has left in a
# package's scripts or its dkms.conf. True when there is none. lintian does not look there.
package_filled() { # DIR
	local f left=0 tmp
	for f in "$1"/*.deb; do
		tmp=$(mktemp -d) || return 1
		dpkg-deb -R "$f" "$tmp" || left=1
		if (cd "$tmp" && find . \( -path './DEBIAN/p*' -o -name dkms.conf \) -print0 |
			xargs -0 grep -EH '#[A-Z][A-Z_]*#'); then
			left=1
		fi
		rm -rf "$tmp"
	done
	return $left
}

# A lintian refuses to leave out a tag that it does not know.
package_lintian() { # DIR
	chroot_run "$PACKAGE_ROOT" --bind "$1:/build" -- \
		setpriv --reuid $PACKAGE_USER --regid $PACKAGE_USER --clear-groups \
		env HOME=/tmp bash -ec '
		for tag in $1; do
			[ -z "$(find /usr/share/lintian/tags -name "$tag.tag")" ] ||
				known+=(--suppress-tags "$tag")
		done
		cd /build && lintian "${@:2}" "${known[@]}" *.changes' \
		lintian "$PACKAGE_LINTIAN_NOT" "${PACKAGE_LINTIAN[@]}"
}

package_suite() { # SUITE
	local suite=$1 out=$TOP/build/package/$1 work differ
	ensure_package_root "$suite"
	need_space "$TOP/build" 500 "the packages for $suite"
	work=$TOP/build/package/.work-$suite
	package_unpack "$suite" "$work/1" && package_unpack "$suite" "$work/second" ||
		die "cannot unpack $DIST"
	step "packages for $suite" package_build "$work" 1 TZ=UTC DEB_BUILD_OPTIONS=parallel=2 ||
		die "the packages for $suite do not build"
	step "packages for $suite, again" package_build "$work" second \
		TZ=XYZ-13 LC_ALL=C DEB_BUILD_OPTIONS=parallel=1 ||
		die "the packages for $suite do not build a second time"
	differ=$(package_compare "$work/1" "$work/second") ||
		die "two builds of the packages for $suite differ:"$'\n'"$differ"
	differ=$(package_filled "$work/1") ||
		die "debhelper of $suite has not replaced all that it should:"$'\n'"$differ"
	step "lintian on the packages for $suite" package_lintian "$work/1" ||
		die "lintian has something to say of the packages for $suite"
	rm -rf "$work/1/prxe-$DIST_VERSION" "$out" && chown -R 0:0 "$work/1" &&
		mv "$work/1" "$out" && rm -rf "$work" || die "cannot write $out"
	msg "packages for $suite: ${out#"$TOP"/}"
}

package_run() { # SUITE|all
	local suite
	[ "$1" = all ] && set -- "$PACKAGE_SUITES"
	for suite in $1; do
		known_suite "$suite"
	done
	dist_lock
	dist_make
	for suite in $1; do
		package_suite "$suite"
	done
}
