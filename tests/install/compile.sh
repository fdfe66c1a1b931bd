# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2016,SC2034
# What DKMS will compile in an emulated machine, compiled by this one first. Sourced by life.sh.
#
#   compile_ahead IMAGE DIR FILE...  install the packages FILE... in a copy of the image's tree,
#                                    then the kernel update, so that DKMS compiles the driver for
#                                    both kernels. Sets COMPILED, an archive of ccache's directory,
#                                    from which the machine's compiler takes what is the same
#
# ccache compares what is compiled, with which compiler and options. When the machine compiles
# something else, ccache runs the machine's own compiler, which only takes longer.

# A newer kernel; where the archive has none (sid has one version only), its other flavour. Without
# what a kernel recommends (apparmor), which would stay behind and be taken for something of ours.
UPDATE_KERNEL='export DEBIAN_FRONTEND=noninteractive
	before=$(ls /lib/modules)
	update() { apt-get -q install -y --no-install-recommends "$@"; }
	update $(dpkg-query -W -f "\${Package}\n" "linux-image-*amd64" "linux-headers-*amd64" |
		grep -v -e "[0-9]\." -e common)
	[ "$(ls /lib/modules)" != "$before" ] ||
		update linux-image-cloud-amd64 linux-headers-cloud-amd64'

compile_in_tree() { # WORK CCACHE
	cp -a "$IMAGE_ROOT" "$1/root" &&
		chroot_run "$1/root" --bind "$1/files:/mnt" --bind "$2:/var/cache/ccache" -- \
			bash -ec 'export DEBIAN_FRONTEND=noninteractive
			ccache -z
			apt-get -q update --error-on=any
			apt-get -q install -y /mnt/*.deb
			'"$UPDATE_KERNEL"'
			dkms status
			ccache -s
			[ "$(dkms status prxe | grep -c installed)" -ge 2 ]'
}

compile_ahead() { # IMAGE DIR FILE...
	local work=$CACHE/.tmp.compile-$1 ccache=$CACHE/ccache-$1 dir=$2
	[ "$VM_ACCEL" != kvm ] || return 0 # then the machine's own compiler is fast
	need_space "$CACHE" 3000 "a copy of the machine's tree"
	rm -rf --one-file-system "$work"
	# A machine with systemd sets LANG, a chroot does not; nobody compares messages here.
	mkdir -p "$work/files" "$ccache" && cp "${@:3}" "$work/files" &&
		echo 'sloppiness = locale' >"$ccache/ccache.conf" &&
		step "compiling for $1" compile_in_tree "$work" "$ccache" &&
		COMPILED=$dir/ccache.tar && tar -C "$ccache" -cf "$COMPILED" .
	local rc=$?
	rm -rf --one-file-system "$work"
	return $rc
}
