#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Give a Debian or Ubuntu machine, as CI services start them, an RDMA device with pageable memory.
# For machines that are thrown away; docs/install.md is for those that stay.
#
#	setup-rdma.sh [OPTION]...
#
#	--netdev NAME    the network interface (default: the one of the default route)
#	--dummy          not an interface of the machine, but a dummy one that is made here: rdma0,
#	                 198.18.0.1/24
#	--debs WHERE     install the packages of ./run package: a directory, or the URL of a tar
#	                 archive of them. Without it the driver and the provider are built
#	--source WHERE   what is built: a directory, or the URL of a tarball of ./run dist (default:
#	                 the tree that this script stands in)
#	--write FILE     append device=NAME, gid=INDEX and address=IP to FILE ($GITHUB_OUTPUT, say)
#
# Run as root, or as a user who may use sudo. A machine whose interface has such a device already is
# left as it is, so that the script can run twice.
set -u -o pipefail

WAIT=60 # seconds for the device to be ready
class=/sys/class/infiniband
kernel=$(uname -r)

say() { printf 'setup-rdma: %s\n' "$*"; }
fail() {
	printf 'setup-rdma: error: %s\n' "$*" >&2
	exit 1
}

usage() {
	sed -n '/^#	setup/,/^# Run/{ /^# Run/d; s/^#\t\{0,1\}//; p }' "$0"
	exit 0
}

# ---- packages ----

# Nobody needs these files after a power cut, so dpkg need not wait for the disk.
apt() {
	DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 \
		-o DPkg::Options::=--force-unsafe-io "$@"
}

# The lists that an image came with may name what is gone.
updated=''
update() {
	[ -n "$updated" ] || apt update || fail "apt-get update failed: is the network there?"
	updated=1
}

need() { # PACKAGE...: install those that are missing
	local p missing=()
	for p; do
		dpkg-query -W -f '${db:Status-Status}\n' "$p" 2>/dev/null | grep -qx installed ||
			missing+=("$p")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	update
	apt install -y --no-install-recommends "${missing[@]}" ||
		fail "apt-get could not install ${missing[*]}"
}

need_headers() {
	[ -e "/lib/modules/$kernel/build/Makefile" ] && return
	update
	apt-cache show "linux-headers-$kernel" >/dev/null 2>&1 ||
		fail "the archive has no headers of the running kernel, $kernel: take a newer" \
			"image, or start the machine with the archive's newest kernel"
	need "linux-headers-$kernel"
}

# The kernel's own modules. Ubuntu keeps rare ones in a package of their own.
need_modules() { # MODULE...
	local name
	[ -d "/lib/modules/$kernel" ] ||
		fail "there are no modules of the running kernel, $kernel, here: is this a" \
			"container? Run this script on its host (packaging/ci/README.md)"
	for name; do
		modinfo -k "$kernel" "$name" >/dev/null 2>&1 && continue
		grep -qi ubuntu /etc/os-release && need "linux-modules-extra-$kernel"
		modinfo -k "$kernel" "$name" >/dev/null 2>&1 ||
			fail "the kernel $kernel has no module $name"
	done
}

# ---- the driver and the provider ----

# A directory as it is; an archive is fetched by apt's own program, which knows the machine's
# proxies, and unpacked.
fetch() { # WHERE: sets fetched
	case $1 in
	http://* | https://* | file:///*)
		need ca-certificates xz-utils
		fetched=$(mktemp -d "$work/XXXXXX") || exit 1
		/usr/lib/apt/apt-helper download-file "$1" "$fetched/archive" ||
			fail "cannot fetch $1"
		tar -C "$fetched" -xf "$fetched/archive" || fail "$1 is no tar archive"
		rm "$fetched/archive"
		;;
	*)
		fetched=$(realpath -e -- "$1" 2>/dev/null) && [ -d "$fetched" ] ||
			fail "there is no directory $1"
		;;
	esac
}

from_debs() { # WHERE
	local name found files=() new=''
	fetch "$1"
	for name in prxe prxe-dkms ibverbs-provider-prxe; do
		mapfile -t found < <(find "$fetched" -name "${name}_*.deb")
		[ ${#found[@]} = 1 ] ||
			fail "$1 has ${#found[@]} packages $name: there must be one"
		files+=("${found[0]}")
		[ "$(dpkg-query -W -f '${db:Status-Status} ${Version}' "$name" 2>/dev/null)" = \
			"installed $(dpkg-deb -f "${found[0]}" Version)" ] || new=1
	done
	# DKMS builds for the kernels whose headers are there, and says nothing of the others.
	need_headers
	need rdma-core ibverbs-utils perftest
	if [ -z "$new" ]; then
		say "installed by an earlier run"
		return
	fi
	update
	apt install -y --no-install-recommends "${files[@]}" ||
		fail "the packages of $1 cannot be installed here"
}

# The source of the installed rdma-core, from where its packages came. /etc/apt is not changed.
# Archives keep the source of their newest version only, so that is installed first.
rdma_core_source() { # DIR
	local version opts origin where key
	update
	apt install -y --no-install-recommends libibverbs1 ibverbs-providers rdma-core &&
		version=$(dpkg-query -W -f '${source:Version}' libibverbs1) &&
		mkdir -p "$1"/{lists/partial,src} || fail "rdma-core cannot be installed"
	# shellcheck disable=SC2016 # apt-get expands them
	apt-get indextargets --format '$(ORIGIN)|$(REPO_URI) $(RELEASE) $(COMPONENT)' \
		'Created-By: Packages' | sort -u | while IFS='|' read -r origin where; do
		case $origin/$where in
		Debian/*' main' | 'Debian Backports'/*' main') key=debian ;;
		Ubuntu/*' main') key=ubuntu ;;
		*) continue ;;
		esac
		echo "deb-src [signed-by=/usr/share/keyrings/$key-archive-keyring.gpg] $where"
	done >"$1/sources.list"
	opts=(-o "Dir::Etc::SourceList=$1/sources.list" -o Dir::Etc::SourceParts=-
		-o "Dir::State::Lists=$1/lists" -o APT::Sandbox::User=root)
	(cd "$1" && apt "${opts[@]}" update &&
		apt "${opts[@]}" source --tar-only "rdma-core=$version") &&
		tar -C "$1/src" --strip-components=1 -xf "$1"/rdma-core_*.orig.tar.* ||
		fail "the source of rdma-core $version cannot be fetched, and $source has no" \
			"rdma-core-headers, as a tarball of ./run dist has"
}

# What a build depends on, in one line.
build_id() { # SOURCE
	(
		cd "$1" && find kernel providers packaging CMakeLists.txt -type f -print0 |
			LC_ALL=C sort -z | xargs -0 sha256sum
		dpkg-query -W libibverbs1
		echo "$kernel"
	) | sha256sum
}

from_source() { # WHERE
	local source updates=/lib/modules/$kernel/updates opts=()
	local stamp=$updates/prxe.setup-rdma
	fetch "$1"
	source=$fetched
	[ -e "$source/CMakeLists.txt" ] || source=$(echo "$fetched"/prxe-*)
	[ -e "$source/kernel/Kbuild" ] || fail "$1 is not the source of prxe: --source names a" \
		"checkout of it, or a tarball"
	need_headers
	need build-essential cmake python3 iproute2 kmod rdma-core ibverbs-utils perftest
	if [ -e "$updates/prxe.ko" ] &&
		[ "$(cat "$stamp" 2>/dev/null)" = "$(build_id "$source")" ]; then
		say "built and installed by an earlier run"
		return
	fi
	if [ ! -d "$source/rdma-core-headers" ]; then
		rdma_core_source "$work/rdma-core"
		opts=("-DRDMA_CORE_SRC=$work/rdma-core/src")
	fi
	say "what the build needs is there ($SECONDS s)"
	cmake -S "$source" -B "$work/build" -DCMAKE_INSTALL_PREFIX=/usr -DWITH_LIBODP=OFF \
		-DWITH_EXAMPLES=OFF ${opts[@]+"${opts[@]}"} &&
		cmake --build "$work/build" --parallel "$(nproc)" &&
		cmake --install "$work/build" ||
		fail "the build failed (see above)"
	build_id "$source" >"$stamp" || fail "cannot write $stamp"
}

# ---- the device ----

default_netdev() {
	netdev=$(ip -o route get 198.51.100.1 2>/dev/null | sed -n 's/.* dev \([^ ]*\).*/\1/p')
	[ -n "$netdev" ] ||
		fail "there is no default route, so no interface to take: --netdev NAME or --dummy"
}

make_dummy() {
	netdev=rdma0
	[ -d /sys/class/net/rdma0 ] || ip link add rdma0 type dummy ||
		fail "cannot make a dummy interface"
	ip -d link show dev rdma0 | grep -qw dummy ||
		fail "there is an interface rdma0 already, and it is no dummy"
	ip link set rdma0 mtu 9000 up && ip addr replace 198.18.0.1/24 dev rdma0 ||
		fail "cannot give rdma0 an address"
}

# The driver names the interface in the description of the device.
find_device() { # sets device
	local dir desc
	for dir in "$class"/*; do
		device=${dir##*/}
		[ -r "$dir/node_desc" ] && read -r desc <"$dir/node_desc" &&
			[ "$desc" = "prxe over $netdev" ] && return
	done
	device=''
	return 1
}

# The GID to use: RoCE v2, of an IPv4 address if the interface has one.
find_gid() { # sets gid, address
	local port=$class/$device/ports/1 type index text
	gid='' address=''
	for type in "$port"/gid_attrs/types/*; do
		grep -q 'RoCE v2' "$type" 2>/dev/null || continue
		index=${type##*/}
		read -r text <"$port/gids/$index"
		case $text in
		0000:0000:0000:0000:0000:ffff:*)
			gid=$index
			text=${text#0000:0000:0000:0000:0000:ffff:}
			printf -v address '%d.%d.%d.%d' "0x${text:0:2}" "0x${text:2:2}" \
				"0x${text:5:2}" "0x${text:7:2}"
			return
			;;
		esac
		[ -n "$gid" ] || gid=$index address=$text
	done
	[ -n "$gid" ]
}

# Is it there for programs? Sets why if it is not.
ready() {
	why="there is no device on $netdev"
	find_device || return 1
	why="libibverbs does not know $device: is the provider of this release installed?"
	ibv_devinfo -d "$device" >/dev/null 2>&1 || return 1
	why="the port of $device is not active: is $netdev up?"
	grep -q ACTIVE "$class/$device/ports/1/state" || return 1
	why="$device has no GID: has $netdev an address?"
	find_gid
}

start() {
	local unit
	if [ -d /run/systemd/system ]; then
		unit=prxe@$(systemd-escape -- "$netdev").service
		systemctl daemon-reload
		# One that was started before may have lost its device by hand.
		systemctl start "$unit" && { find_device || systemctl restart "$unit"; } || {
			journalctl -u "$unit" -n 5 --no-pager >&2
			fail "the device cannot be made"
		}
	else
		/usr/libexec/prxe/prxe-device add "$netdev" || fail "the device cannot be made"
	fi
}

report() {
	say "$device on $netdev is ACTIVE, GID $gid is $address ($SECONDS s)"
	cat <<EOF

Use it:
    ibv_devinfo -d $device -v
    ib_write_bw -d $device -x $gid -F --odp & sleep 1
    ib_write_bw -d $device -x $gid -F --odp 127.0.0.1
EOF
	[ -z "$write" ] ||
		printf '%s\n' "device=$device" "gid=$gid" "address=$address" >>"$write" ||
		fail "cannot write $write"
}

args=("$@")
netdev='' dummy='' debs='' write=''
source=$(realpath "$(dirname "$(readlink -f "$0")")/../..")
while [ $# -gt 0 ]; do
	case $1 in
	--netdev | --debs | --source | --write)
		[ $# -ge 2 ] && [ -n "$2" ] || fail "$1 wants a value"
		printf -v "${1#--}" '%s' "$2"
		shift 2
		;;
	--dummy) dummy=1 && shift ;;
	-h | --help) usage ;;
	*) fail "there is no option $1: --help lists them" ;;
	esac
done
[ -z "$dummy" ] || [ -z "$netdev" ] || fail "--dummy and --netdev: one of them"
command -v apt-get >/dev/null || fail "this is for Debian and Ubuntu: there is no apt-get here"
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || fail "run it as root, or install sudo"
	exec sudo --preserve-env=http_proxy,https_proxy,no_proxy -- \
		bash "$(readlink -f "$0")" ${args[@]+"${args[@]}"}
fi
work=$(mktemp -d /var/tmp/setup-rdma.XXXXXX) || fail "cannot write in /var/tmp"
trap 'rm -rf "$work"' EXIT

need iproute2 kmod
need_modules ib_uverbs ${dummy:+dummy}
if [ -n "$dummy" ]; then
	make_dummy
elif [ -z "$netdev" ]; then
	default_netdev
fi
[ -d "/sys/class/net/$netdev" ] || fail "there is no interface $netdev (ip link lists them)"
if ready; then
	say "$netdev has a device already"
	report
	exit
fi
if [ -n "$debs" ]; then
	from_debs "$debs"
else
	from_source "$source"
fi
start
end=$((SECONDS + WAIT))
until ready; do
	[ $SECONDS -lt $end ] || fail "$why"
	sleep 0.2
done
report
