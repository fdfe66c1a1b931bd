# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# Build in the root file systems that the guests run, so that the binaries match their kernels and
# libraries.
#
#   build_module K     build/K/prxe.ko (build/K/kernel/prxe.ko has the debugging information)
#   build_user         build/user/stage/: the provider, libodp, tools and test programs, laid out
#                      as they are put over a guest's root
#   build_all K        both
#
# Nothing is written into the sources: kernel/ is copied to build/K/kernel (only what changed),
# everything else builds with an OUT directory:
#   providers/prxe/build.sh RDMA_CORE_SRC OUT   leaves *.so and *.driver in OUT
#   make -C DIR OUT=OUT                         for each tests/*/ and tools/*/ with a Makefile;
#                                               leaves programs in OUT/bin
#   CMakeLists.txt                              its install rules
# A part whose sources did not change since its last build is skipped.

BUILD_JOBS=$(nproc)

# A stamp of the sources (names, sizes, times) and of the root in which they are built.
source_stamp() { # PATH...
	{ echo "$ROOT" && find "$@" -type f -printf '%p %s %T@\n' 2>/dev/null | sort; } | hash_of
}

build_lock() {
	mkdir -p "$TOP/build" || die "cannot make $TOP/build"
	exec 8>"$TOP/build/.lock"
	flock 8
}

# Build a part, unless its stamp says that nothing changed.
build_part() { # NAME STAMP CMD...
	local name=$1 stamp=$2 file=$TOP/build/.stamp-$1
	shift 2
	[ "$(cat "$file" 2>/dev/null)" != "$stamp" ] || return 0
	rm -f "$file"
	need_space "$TOP/build" 300 "the build"
	step "building $name" "$@" && printf '%s\n' "$stamp" >"$file"
}

# Copy files that differ, and delete those that the source no longer has. Objects in DST stay, so
# that builds are incremental.
sync_sources() { # SRC DST
	local f
	mkdir -p "$2" && (
		cd "$1" && find . -type f ! -name '*.o' ! -name '*.ko' ! -name '*.mod*' \
			! -name '.*.cmd' -print0
	) |
		while IFS= read -r -d '' f; do
			cmp -s "$1/$f" "$2/$f" ||
				{ mkdir -p "$2/${f%/*}" && cp "$1/$f" "$2/$f"; } || exit 1
		done || return 1
	(cd "$2" && find . -type f \( -name '*.[ch]' -o -name Kbuild \) -print0) |
		while IFS= read -r -d '' f; do
			[ -e "$1/$f" ] || case $f in *.mod.c) ;; *) rm -f "$2/$f" ;; esac
		done
}

make_module() { # K
	local out=$TOP/build/$1
	sync_sources "$TOP/kernel" "$out/kernel" &&
		chroot_run "$ROOT" --bind "$TOP:/src" -- \
			make -C "/lib/modules/$KVER/build" M="/src/build/$1/kernel" \
			-j"$BUILD_JOBS" W="${PRXE_W:-}" modules &&
		chroot_run "$ROOT" --bind "$TOP:/src" -- \
			strip -g -o "/src/build/$1/prxe.ko.new" "/src/build/$1/kernel/prxe.ko" &&
		mv "$out/prxe.ko.new" "$out/prxe.ko"
}
build_module() { # K
	[ -e "$TOP/kernel/Kbuild" ] || {
		msg "there is no kernel/Kbuild: no module is built"
		return 0
	}
	ensure_kernel "$1"
	build_part "module-$1" "$(source_stamp "$TOP/kernel")" make_module "$1"
}

make_provider() {
	local out=$TOP/build/user/provider stage=$TOP/build/user/stage
	mkdir -p "$out" &&
		chroot_run "$ROOT" --bind "$TOP:/src" --bind "$RDMA_CORE:/rdma-core:ro" -- \
			bash /src/providers/prxe/build.sh /rdma-core /src/build/user/provider &&
		mkdir -p "$stage/usr/lib/x86_64-linux-gnu/libibverbs" "$stage/etc/libibverbs.d" &&
		cp "$out"/*.so "$stage/usr/lib/x86_64-linux-gnu/libibverbs/" &&
		cp "$out"/*.driver "$stage/etc/libibverbs.d/"
}

make_programs() { # DIR: relative to the project
	local out=build/user/$1
	local rc
	mkdir -p "$TOP/$out" "$TOP/build/user/stage/usr/local/bin" || return 1
	chroot_run "$ROOT" --bind "$TOP:/src" -- \
		make -k -C "/src/$1" OUT="/src/$out" -j"$BUILD_JOBS"
	rc=$?
	if compgen -G "$TOP/$out/bin/*" >/dev/null; then
		cp -u "$TOP/$out"/bin/* "$TOP/build/user/stage/usr/local/bin/" || rc=1
	fi
	return $rc
}

# Without the module and the provider, which are parts of their own here.
make_cmake() {
	# shellcheck disable=SC2016
	chroot_run "$ROOT" --bind "$TOP:/src" -- bash -ec '
		cmake -S /src -B /src/build/user/cmake -GNinja -DCMAKE_BUILD_TYPE=RelWithDebInfo \
			-DCMAKE_INSTALL_PREFIX=/usr -DCMAKE_INSTALL_LIBDIR=lib/x86_64-linux-gnu \
			-DCMAKE_INSTALL_BINDIR=/usr/local/bin -DWITH_MODULE=OFF \
			-DWITH_PROVIDER=OFF -DWITH_SYSTEM=OFF
		cmake --build /src/build/user/cmake
		DESTDIR=/src/build/user/stage cmake --install /src/build/user/cmake'
}

build_user() {
	local dir stamp failed=0
	ensure_kernel stable
	if [ -e "$TOP/providers/prxe/build.sh" ]; then
		ensure_rdma_core || return 1
		stamp=$(source_stamp "$TOP/providers" "$TOP/kernel/uapi")
		build_part provider "$stamp" make_provider || failed=1
	else
		msg "there is no providers/prxe/build.sh: no provider is built"
	fi
	if [ -e "$TOP/CMakeLists.txt" ]; then
		stamp=$(source_stamp "$TOP/CMakeLists.txt" "$TOP/libodp" "$TOP/include" \
			"$TOP/examples" "$TOP/kernel/uapi" "$TOP/kernel/base/version.h")
		build_part cmake "$stamp" make_cmake || failed=1
	fi
	for dir in tests/* tools/*; do
		[ -e "$TOP/$dir/Makefile" ] || continue
		stamp=$(source_stamp "$TOP/$dir" "$TOP/include" "$TOP/tests/lib" \
			"$TOP/tests/verbs/lib" "$TOP/libodp" "$TOP/kernel/uapi" \
			"$TOP/kernel/base/version.h")
		build_part "${dir//\//-}" "$stamp" make_programs "$dir" || failed=1
	done
	return $failed
}

build_all() { # K
	local rc=0
	# Do this before taking the lock: making a kernel's root may take minutes, and meanwhile
	# another run may want to build for a kernel whose root exists.
	ensure_kernel "$1"
	build_lock
	build_user || rc=1
	build_module "$1" || rc=1
	exec 8>&-
	return $rc
}
