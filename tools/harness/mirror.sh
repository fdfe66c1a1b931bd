# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# Where Debian packages come from: the mirrors that this machine's own apt uses.
#
#   host_sources                 "URI SUITE" lines of the machine's binary package sources
#   debian_sources SUITE [TYPE]  sources.list lines for that release (TYPE deb or deb-src)
#   suite_age SUITE              a part of the keys of what is kept of that release: sid changes
#                                every day, and is made anew each week
#   apt_settings                 the machine's apt settings for downloads (proxies, date checks)

host_sources() {
	local f
	for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
		[ -r "$f" ] || continue
		sed -E -n 's/^[[:space:]]*deb[[:space:]]+(\[[^]]*\][[:space:]]*)?//p' "$f" |
			awk '{ print $1, $2 }'
	done
	for f in /etc/apt/sources.list.d/*.sources; do
		[ -r "$f" ] || continue
		awk '
			function flush(   u, s, i, j, nu, ns) {
				nu = split(uris, u); ns = split(suites, s)
				if (types ~ /(^| )deb( |$)/ && enabled !~ /^(no|false|0)$/)
					for (i = 1; i <= nu; i++)
						for (j = 1; j <= ns; j++)
							print u[i], s[j]
				types = uris = suites = enabled = key = ""
			}
			/^#/ { next }
			/^[ \t]*$/ { flush(); next }
			/^[A-Za-z-]+:/ {
				key = tolower($0); sub(/:.*/, "", key)
				val = $0; sub(/^[^:]*:[ \t]*/, "", val)
				if (key == "types") types = val
				if (key == "uris") uris = val
				if (key == "suites") suites = val
				if (key == "enabled") enabled = tolower(val)
				next
			}
			/^[ \t]/ {
				if (key == "uris") uris = uris " " $0
				if (key == "suites") suites = suites " " $0
			}
			END { flush() }' "$f"
	done
}

# A source "mirror+file:/etc/apt/mirrors/x.list" names a list of mirrors: take the first one.
plain_uri() { # URI
	local uri=$1 list
	case $uri in
	mirror+file:*)
		list=/${uri#mirror+file:}
		uri=$(awk '!/^#/ && NF { print $1; exit }' "$list" 2>/dev/null)
		;;
	esac
	case $uri in
	http:* | https:* | file:* | copy:*) printf '%s\n' "${uri%/}" ;;
	esac
}

debian_main_uri() {
	local uri suite
	while read -r uri suite; do
		case $suite in
		bullseye | bookworm | trixie | forky | sid | \
			stable | oldstable | testing | unstable)
			uri=$(plain_uri "$uri")
			[ -n "$uri" ] && printf '%s\n' "$uri" && return
			;;
		esac
	done < <(host_sources)
	return 1
}

debian_security_uri() {
	local uri suite
	while read -r uri suite; do
		case $suite in
		*-security)
			plain_uri "$uri"
			return
			;;
		esac
	done < <(host_sources)
}

mirror_has() { # URI SUITE
	local tmp rc
	tmp=$(mktemp)
	/usr/lib/apt/apt-helper download-file "$1/dists/$2/InRelease" "$tmp" >/dev/null 2>&1
	rc=$?
	rm -f "$tmp"
	return $rc
}

debian_sources() { # SUITE [TYPE]
	local suite=$1 type=${2:-deb} uri sec part
	uri=$(debian_main_uri) || {
		echo "no Debian mirror in /etc/apt/sources.list or /etc/apt/sources.list.d:" \
			"the root file system comes from there" >&2
		return 1
	}
	mirror_has "$uri" "$suite" || {
		echo "the mirror $uri does not answer for $suite: is the network there?" >&2
		return 1
	}
	printf '%s %s %s main\n' "$type" "$uri" "$suite"
	for part in updates backports; do
		mirror_has "$uri" "$suite-$part" &&
			printf '%s %s %s-%s main\n' "$type" "$uri" "$suite" "$part"
	done
	sec=$(debian_security_uri)
	[ -n "$sec" ] && mirror_has "$sec" "$suite-security" &&
		printf '%s %s %s-security main\n' "$type" "$sec" "$suite"
	return 0
}

apt_settings() {
	apt-config dump |
		grep -E -e '^Acquire::(http|https|Check-Valid-Until)[: ]' \
			-e '^Acquire::(Check-Date|Retries|ForceIPv[46])[: ]' |
		grep -v '::User-Agent' | grep -v ' "";$'
}

suite_age() { # SUITE
	[ "$1" != sid ] || date +%G-%V
}
