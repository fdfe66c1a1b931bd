#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Build the provider outside of the rdma-core tree, from the private headers and the symbol map of
# an unpacked rdma-core source, which need be neither configured nor built; or from what
# private-headers.sh took out of one. No libibverbs need be installed. The same sources make the
# same file, wherever they are.
#
#	build.sh RDMA_CORE_SRC OUTDIR
#
# makes OUTDIR/libprxe-rdmav<PABI>.so, for libibverbs' provider directory
# (/usr/lib/<triplet>/libibverbs), and OUTDIR/prxe.driver, for /etc/libibverbs.d. The provider ABI
# (PABI) is the source's: 34 for rdma-core 34 to 56, which all load the same file. Needs gcc and
# python3. Environment: CC; CFLAGS, added last.
set -eu

fail() {
	echo "providers/prxe/build.sh: $*" >&2
	exit 1
}

[ $# -eq 2 ] || fail "usage: build.sh RDMA_CORE_SRC OUTDIR"
[ -f "$1/libibverbs/driver.h" ] ||
	fail "$1 is not an rdma-core source tree (no libibverbs/driver.h)"
src=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
uapi=$here/../../kernel/uapi
[ -f "$uapi/prxe-abi.h" ] || uapi=$here	# a copy of this directory, with those headers in it
[ -f "$uapi/prxe-abi.h" ] || fail "prxe-abi.h and prxe-ioctl.h (kernel/uapi) are not there"
mkdir -p "$2"
out=$(cd "$2" && pwd)
cc=${CC:-gcc}
command -v "$cc" >/dev/null || fail "no compiler: $cc"
command -v python3 >/dev/null || fail "python3 is needed to convert the kernel ABI headers"

pabi=$(sed -n 's/^set(IBVERBS_PABI_VERSION "\([0-9]*\)").*/\1/p' "$src/CMakeLists.txt")
[ -n "$pabi" ] || fail "no IBVERBS_PABI_VERSION in $src/CMakeLists.txt"

# The include directory that rdma-core's cmake would make.
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
inc=$tmp/include
mkdir -p "$inc/infiniband" "$inc/kernel-abi"
for h in arch opcode sa sa-kern-abi verbs verbs_api tm_types cmd_ioctl cmd_write driver kern-abi \
	marshall; do
	ln -s "$src/libibverbs/$h.h" "$inc/infiniband/$h.h"
done
ln -s "$src/kernel-headers/rdma/ib_user_ioctl_verbs.h" "$inc/infiniband/"
for d in ccan util kernel-headers/rdma; do
	ln -s "$src/$d" "$inc/$(basename "$d")"
done
for h in ib_user_verbs rdma_user_rxe; do
	python3 "$src/buildlib/make_abi_structs.py" "$src/kernel-headers/rdma/$h.h" \
		"$inc/kernel-abi/$h.h"
done
cat > "$inc/config.h" <<EOF
#define HAVE_STATEMENT_EXPR 1
#define HAVE_BUILTIN_TYPES_COMPATIBLE_P 1
#define HAVE_TYPEOF 1
#define HAVE_ISBLANK 1
#define HAVE_BUILTIN_CLZ 1
#define HAVE_BUILTIN_CLZL 1
#define HAVE_FUNC_ATTRIBUTE_ALWAYS_INLINE 1
#define SIZEOF_LONG __SIZEOF_LONG__
#define VERBS_IOCTL_ONLY 0
#define VERBS_WRITE_ONLY 0
#define IBVERBS_PABI_VERSION $pabi
EOF

# A stub of libibverbs to link with, which exports what libibverbs of that source exports. With it,
# the provider names the library and the versions of its symbols, and an unknown symbol is an error.
# (IBVERBS_1.0 repeats the names of 1.1 and is left empty.)
python3 - "$src/libibverbs/libibverbs.map.in" "$pabi" "$tmp/stub" <<'EOF'
import re, sys
text = re.sub(r"/\*.*?\*/", "", open(sys.argv[1]).read(), flags=re.S)
text = text.replace("@IBVERBS_PABI_VERSION@", sys.argv[2])
text = re.sub(r"IBVERBS_1\.0 \{.*?\};", "IBVERBS_1.0 { local: *; };", text, flags=re.S)
open(sys.argv[3] + ".map", "w").write(text)
with open(sys.argv[3] + ".c", "w") as c:
    for name in sorted(set(re.findall(r"^\s+(\w+);", text, flags=re.M))):
        c.write("void %s(void); void %s(void) {}\n" % (name, name))
EOF
"$cc" -shared -fPIC -nostdlib -Wl,-soname,libibverbs.so.1 -Wl,--version-script="$tmp/stub.map" \
	-o "$tmp/libibverbs.so" "$tmp/stub.c"

# gcc would name some headers by the directories that the links above lead to. clang knows no such
# option, and needs none.
same=-fno-canonical-system-headers
"$cc" $same -E -x c - </dev/null >/dev/null 2>&1 || same=

cd "$tmp"
# shellcheck disable=SC2086
"$cc" -std=gnu11 -O2 -g -fPIC -fvisibility=hidden -Wall -Wextra -Werror -D_GNU_SOURCE \
	$same -ffile-prefix-map="$tmp"=. -ffile-prefix-map="$src"=rdma-core \
	-ffile-prefix-map="$here"=prxe -ffile-prefix-map="$uapi"=uapi \
	-I"$uapi" -isystem "$inc" -include "$inc/config.h" -shared \
	-Wl,--version-script="$src/buildlib/provider.map" -Wl,-z,relro,-z,now,-z,defs \
	-o "$tmp/provider.so" "$here"/*.c -L"$tmp" -libverbs -lpthread ${CFLAGS:-}
mv "$tmp/provider.so" "$out/libprxe-rdmav$pabi.so"
echo "driver prxe" > "$out/prxe.driver"
echo "built $out/libprxe-rdmav$pabi.so"
