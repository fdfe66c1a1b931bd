#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Make, once, a directory with the programs that the lint test needs and the root file system does
# not have (codespell, mandoc, shellcheck, sparse, yamllint, and the kernel's checkpatch.pl), and
# print its name.
#
# The packages are unpacked, not installed: dpkg's state and the programs of this root stay as they
# are. The directory is made under a temporary name, under a lock, so that two runs at the same time
# do no harm.
set -u -o pipefail
dir=/var/cache/prxe-lint/3

if [ -d $dir ]; then
	echo $dir
	exit 0
fi
mkdir -p ${dir%/*} || exit 1
exec 9>${dir%/*}/.lock && flock 9 || exit 1
if [ -d $dir ]; then # another run made it meanwhile
	echo $dir
	exit 0
fi

new=${dir%/*}/new
rm -rf "$new" || exit 1
apt=$new/apt
mkdir -p "$apt"/{lists,cache/archives}/partial || exit 1
opts=(-o Dir::State="$apt" -o Dir::State::status=/var/lib/dpkg/status -o Dir::Cache="$apt/cache"
	-o APT::Sandbox::User=root -o APT::Install-Recommends=false)
fetch() {
	apt-get "${opts[@]}" update &&
		apt-get "${opts[@]}" install -y --download-only \
			shellcheck codespell mandoc sparse yamllint &&
		(cd "$apt" && apt-get "${opts[@]}" download linux-source-6.12)
}
fetch >"$new/log" 2>&1 || {
	tail -n 20 "$new/log" >&2
	echo "this test needs Debian's codespell, mandoc, shellcheck, sparse, yamllint and" \
		"linux-source-6.12: apt-get could not get them" >&2
	exit 1
}
for deb in "$apt"/cache/archives/*.deb; do
	dpkg-deb -x "$deb" "$new" || exit 1
done

# checkpatch.pl and what it reads, out of the archive in the package. tar stops reading when it has
# all, so what writes into its pipe may die of that: look for the files instead of at the status.
files=(checkpatch.pl spelling.txt const_structs.checkpatch)
dpkg-deb --fsys-tarfile "$apt"/linux-source-6.12_*.deb 2>/dev/null |
	tar -xO ./usr/src/linux-source-6.12.tar.xz 2>/dev/null |
	tar -xJ -C "$new" --strip-components=1 --occurrence=1 \
		"${files[@]/#/linux-source-6.12/scripts/}" 2>/dev/null
for file in "${files[@]}"; do
	if [ ! -s "$new/scripts/$file" ]; then
		echo "this test needs checkpatch: linux-source-6.12 has no scripts/$file" >&2
		exit 1
	fi
done
rm -rf "$apt" "$new/log" && mv -T "$new" $dir && echo $dir
