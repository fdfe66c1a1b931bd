# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# What takes long to make is kept in CACHE: one directory for each entry, called NAME-KEY, where KEY
# is a hash of the recipe. An entry is made under a temporary name and renamed when it is complete,
# under a lock. So a killed run leaves no incomplete entry, and two runs do not make the same entry
# twice.
#
#   cache_entry NAME KEY MIB DESC BUILDER   print the entry's directory; if it is not there, make it
#                                           first with: BUILDER DIR

CACHE_UNUSED_DAYS=14

cache_entry() { # NAME KEY MIB DESC BUILDER
	local name=$1 key=$2 dir=$CACHE/$1-$2 mib=$3 desc=$4 builder=$5 tmp
	if [ ! -d "$dir" ]; then
		need_space "$CACHE" "$mib" "$desc"
		cache_make "$name" "$dir" "$desc" "$builder" || return 1
		# Of this name only: what follows it may also be the rest of another entry's name.
		tmp=$(find "$CACHE" -maxdepth 1 -type d -name "$name-${key//?/[0-9a-f]}" \
			! -path "$dir" -mtime "+$CACHE_UNUSED_DAYS")
		[ -z "$tmp" ] || printf '%s\n' "$tmp" | xargs -r -d '\n' rm -rf --one-file-system
	fi
	touch "$dir"
	printf '%s\n' "$dir"
}

cache_make() ( # NAME DIR DESC BUILDER
	exec 9>"$CACHE/.$1.lock" || die "cannot write in $CACHE"
	if ! flock -n 9; then
		msg "$3: another run is making it, waiting ..."
		flock 9
	fi
	[ ! -d "$2" ] || exit 0
	rm -rf --one-file-system "$CACHE"/.tmp."$1"-[0-9]*
	tmp=$CACHE/.tmp.$1-$$
	mkdir -p "$tmp" || die "cannot write in $CACHE"
	# Without the descriptors of our locks: mmdebstrap gives those of its children numbers that
	# must have one digit.
	if step "$3" "$4" "$tmp" 6>&- 7>&- 8>&- 9>&-; then
		mv -T "$tmp" "$2"
	else
		rm -rf --one-file-system "$tmp"
		exit 1
	fi
)
