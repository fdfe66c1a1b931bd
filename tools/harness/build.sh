# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# Build in the root file systems that the guests run, so that the binaries match their kernels and
# libraries. For arm64 everything is cross-built, in a root of its own.
#
#   build_module K     build/K/prxe.ko (build/K/kernel/prxe.ko has the debugging information)
#   build_user K       build/user/stage/: the provider, libodp, tools and test programs, laid out
#                      as they are put over a guest's root; for arm64 build/user-arm64/stage/
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

build_dir() { # K
	! is_arm64 "$1" && echo build/user || echo build/user-arm64
}

# Where K's programs are built, and for what: sets BUILD_ROOT, BUILD_DIR, TRIPLET.
build_for() { # K
	BUILD_DIR=$(build_dir "$1")
	if is_arm64 "$1"; then
		ensure_kernel "$1"
		BUILD_ROOT=$CROSS_ROOT TRIPLET=aarch64-linux-gnu
	else
		ensure_kernel stable
		BUILD_ROOT=$ROOT TRIPLET=x86_64-linux-gnu
	fi
}

# A stamp of the sources (names, sizes, times) and of the root in which they are built.
source_stamp() { # PATH...
	{
		echo "$BUILD_ROOT" &&
			find "$@" -type f -printf '%p %s %T@\n' 2>/dev/null | sort
	} | hash_of
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
	local out=$TOP/build/$1 cross=()
	! is_arm64 "$1" || cross=(ARCH=arm64 CROSS_COMPILE="$TRIPLET-")
	sync_sources "$TOP/kernel" "$out/kernel" &&
		chroot_run "$BUILD_ROOT" --bind "$TOP:/src" -- \
			make -C "/lib/modules/$KVER/build" M="/src/build/$1/kernel" "${cross[@]}" \
			-j"$BUILD_JOBS" W="${PRXE_W:-}" modules &&
		chroot_run "$BUILD_ROOT" --bind "$TOP:/src" -- \
			"$TRIPLET-strip" -g -o "/src/build/$1/prxe.ko.new" \
			"/src/build/$1/kernel/prxe.ko" &&
		mv "$out/prxe.ko.new" "$out/prxe.ko"
}
build_module() { # K
	[ -e "$TOP/kernel/Kbuild" ] || {
		msg "there is no kernel/Kbuild: no module is built"
		return 0
	}
	build_for "$1"
	is_arm64 "$1" || { ensure_kernel "$1" && BUILD_ROOT=$ROOT; }
	build_part "module-$1" "$(source_stamp "$TOP/kernel")" make_module "$1"
}

make_provider() {
	local out=$TOP/$BUILD_DIR/provider stage=$TOP/$BUILD_DIR/stage
	mkdir -p "$out" &&
		chroot_run "$BUILD_ROOT" --bind "$TOP:/src" --bind "$RDMA_CORE:/rdma-core:ro" -- \
			env CC="$TRIPLET-gcc" bash /src/providers/prxe/build.sh /rdma-core \
			"/src/$BUILD_DIR/provider" &&
		mkdir -p "$stage/usr/lib/$TRIPLET/libibverbs" "$stage/etc/libibverbs.d" &&
		cp "$out"/*.so "$stage/usr/lib/$TRIPLET/libibverbs/" &&
		cp "$out"/*.driver "$stage/etc/libibverbs.d/"
}

make_programs() { # DIR: relative to the project
	local out=$BUILD_DIR/$1 stage=$TOP/$BUILD_DIR/stage
	local rc
	mkdir -p "$TOP/$out" "$stage/usr/local/bin" || return 1
	chroot_run "$BUILD_ROOT" --bind "$TOP:/src" -- \
		make -k -C "/src/$1" OUT="/src/$out" CC="$TRIPLET-gcc" AR="$TRIPLET-ar" \
		-j"$BUILD_JOBS"
	rc=$?
	if compgen -G "$TOP/$out/bin/*" >/dev/null; then
		cp -u "$TOP/$out"/bin/* "$stage/usr/local/bin/" || rc=1
	fi
	return $rc
}

# Without the module and the provider, which are parts of their own here.
make_cmake() {
	# shellcheck disable=SC2016
	chroot_run "$BUILD_ROOT" --bind "$TOP:/src" -- bash -ec '
		export CC="$2-gcc" PKG_CONFIG_LIBDIR=/usr/lib/$2/pkgconfig:/usr/share/pkgconfig
		cmake -S /src -B "$1/cmake" -GNinja -DCMAKE_BUILD_TYPE=RelWithDebInfo \
			-DCMAKE_INSTALL_PREFIX=/usr -DCMAKE_INSTALL_LIBDIR="lib/$2" \
			-DCMAKE_INSTALL_BINDIR=/usr/local/bin -DWITH_MODULE=OFF \
			-DWITH_PROVIDER=OFF -DWITH_SYSTEM=OFF
		cmake --build "$1/cmake"
		DESTDIR="$1/stage" cmake --install "$1/cmake"' cmake "/src/$BUILD_DIR" "$TRIPLET"
}

build_user() { # K
	local dir stamp failed=0 for=''
	build_for "$1"
	! is_arm64 "$1" || for=arm64-
	if [ -e "$TOP/providers/prxe/build.sh" ]; then
		ensure_rdma_core || return 1
		stamp=$(source_stamp "$TOP/providers" "$TOP/kernel/uapi")
		build_part "${for}provider" "$stamp" make_provider || failed=1
	else
		msg "there is no providers/prxe/build.sh: no provider is built"
	fi
	if [ -e "$TOP/CMakeLists.txt" ]; then
		stamp=$(source_stamp "$TOP/CMakeLists.txt" "$TOP/libodp" "$TOP/include" \
			"$TOP/examples" "$TOP/kernel/uapi" "$TOP/kernel/base/version.h")
		build_part "${for}cmake" "$stamp" make_cmake || failed=1
	fi
	for dir in tests/* tools/*; do
		[ -e "$TOP/$dir/Makefile" ] || continue
		# There is no MPI for arm64 here.
		[ "$for$dir" != arm64-tests/ulp ] || continue
		stamp=$(source_stamp "$TOP/$dir" "$TOP/include" "$TOP/tests/lib" \
			"$TOP/tests/verbs/lib" "$TOP/libodp" "$TOP/kernel/uapi" \
			"$TOP/kernel/base/version.h")
		build_part "$for${dir//\//-}" "$stamp" make_programs "$dir" || failed=1
	done
	return $failed
}

build_all() { # K
	local rc=0
	# Do this before taking the lock: making a kernel's root may take minutes, and meanwhile
	# another run may want to build for a kernel whose root exists.
	ensure_kernel "$1"
	build_lock
	build_user "$1" || rc=1
	build_module "$1" || rc=1
	exec 8>&-
	return $rc
}
