# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2016,SC2034
# Run a command in a root file system, with mounts of its own, which vanish with it. The root itself
# is not changed.
#
#   chroot_run ROOT [--bind SRC:DST[:ro]]... -- CMD...
#   chroot_apt_setup DIR SUITE [TYPE]    apt state in DIR (bind it as /apt), for downloads that do
#                                        not touch the root
#   CHROOT_APT                           the apt options that use it

# shellcheck disable=SC2016 # expanded by the inner shell
CHROOT_SCRIPT='
root=$1; shift
while [ "$1" = --bind ]; do
	spec=$2; shift 2
	ro=; case $spec in *:ro) ro=1; spec=${spec%:ro} ;; esac
	src=${spec%:*}; dst=$root${spec##*:}
	mount --bind "$src" "$dst" || exit 125
	[ -z "$ro" ] || mount -o remount,bind,ro "$dst" || exit 125
done
shift
mount -t proc proc "$root/proc" && mount --rbind /dev "$root/dev" &&
	mount -t tmpfs tmpfs "$root/tmp" || exit 125
if [ -e /etc/resolv.conf ] && [ -e "$root/etc/resolv.conf" ]; then
	mount --bind "$(readlink -f /etc/resolv.conf)" "$root/etc/resolv.conf"
fi
exec chroot "$root" /usr/bin/env -i HOME=/root LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin \
	${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} "$@"'

chroot_run() { # ROOT [--bind SRC:DST[:ro]]... -- CMD...
	unshare -m --propagation private bash -c "$CHROOT_SCRIPT" chroot_run "$@"
}

CHROOT_APT=(-o Dir::State=/apt -o Dir::State::status=/var/lib/dpkg/status -o Dir::Cache=/apt/cache
	-o Dir::Etc::sourcelist=/apt/sources.list -o Dir::Etc::sourceparts=-
	-o Dir::Etc::main=/apt/apt.conf
	-o APT::Sandbox::User=root -o APT::Install-Recommends=false)

chroot_apt_setup() { # DIR SUITE [TYPE]
	mkdir -p "$1/lists/partial" "$1/cache/archives/partial" &&
		apt_settings >"$1/settings.conf" &&
		debian_sources "$2" "${3:-deb}" >"$1/sources.list"
}

# This machine must be able to run a root's programs, in a mount namespace of their own.
need_chroot() {
	unshare -m --propagation private mount --bind / /mnt 2>/dev/null ||
		die "this needs the right to mount (CAP_SYS_ADMIN): run it on a machine, in a VM" \
			"or in a privileged container"
}
