# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# Messages, timed steps, and what the harness needs from the machine it runs on.
#
#   msg TEXT...               a line for the user (on standard error: standard output belongs to the
#                             guest's command)
#   die TEXT...               an error in one clear sentence; exit 1
#   step DESC CMD...          run CMD with its output in a log; print DESC and how long it took, and
#                             the end of the log if CMD failed
#   need_root                 become root (sudo), or say that it is needed
#   need_tools                install the Debian packages that this machine lacks
#   need_space DIR MIB WHAT   stop early when DIR's file system has less than MIB free
#   run_alone FD FILE WHAT    wait until no other WHAT runs in this checkout. The descriptor FD, one
#                             digit and not 8 or 9, holds the lock until this shell ends
#   now_ms                    milliseconds, for durations
#   hash_of                   a short hash of standard input

msg() { printf 'prxe: %s\n' "$*" >&2; }

die() {
	printf 'prxe: error: %s\n' "$*" >&2
	exit 1
}

now_ms() { printf '%s\n' $((${EPOCHREALTIME/./} / 1000)); }

seconds_since() { # START_MS
	local ms=$(($(now_ms) - $1))
	printf '%d.%d s\n' $((ms / 1000)) $((ms % 1000 / 100))
}

hash_of() { sha256sum | cut -c1-16; }

# Run a step. Its log stays in LOG_DIR, so that a failure can be read in full.
step() { # DESC CMD...
	local desc=$1 start log rc
	shift
	mkdir -p "$LOG_DIR" || die "cannot write in $LOG_DIR"
	log=$LOG_DIR/$(printf '%s' "$desc" | tr -cs 'a-zA-Z0-9.' '-').log
	start=$(now_ms)
	msg "$desc ..."
	"$@" >"$log" 2>&1 </dev/null
	rc=$?
	if [ $rc -eq 0 ]; then
		msg "$desc: done in $(seconds_since "$start")"
	else
		tail -n "${STEP_TAIL:-30}" "$log" | sed 's/^/    /' >&2
		msg "$desc: FAILED after $(seconds_since "$start") (whole log: $log)"
	fi
	return $rc
}

need_root() {
	[ "$(id -u)" -eq 0 ] && return
	command -v sudo >/dev/null ||
		die "this needs root (it makes root file systems and mounts): run it as root," \
			"or install sudo"
	msg "not root: going on with sudo"
	exec sudo --preserve-env=XDG_CACHE_HOME,http_proxy,https_proxy,no_proxy \
		XDG_CACHE_HOME="${XDG_CACHE_HOME:-$HOME/.cache}" "$@"
}

apt_install() {
	local IFS=' '
	DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" && return
	apt-get update &&
		DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

need_tools() {
	local pair missing=()
	command -v apt-get >/dev/null ||
		die "this needs a Debian 12 or 13 machine: there is no apt-get here"
	[ "$(uname -m)" = x86_64 ] ||
		die "only x86_64 machines are supported, this one is $(uname -m)"
	for pair in mmdebstrap:mmdebstrap flock:util-linux unshare:util-linux setpriv:util-linux; do
		command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
	done
	compgen -G '/usr/share/keyrings/debian-archive-trixie-stable.*' >/dev/null ||
		missing+=(debian-archive-keyring)
	[ ${#missing[@]} -eq 0 ] && return
	step "installing on this machine: ${missing[*]}" apt_install "${missing[@]}" ||
		die "could not install ${missing[*]} with apt-get: is the network there," \
			"and are the apt sources right?"
}

need_space() { # DIR MIB WHAT
	local free
	mkdir -p "$1" 2>/dev/null || die "cannot make the directory $1"
	free=$(df -Pm "$1" | awk 'NR == 2 { print $4 }')
	[ "${free:-0}" -ge "$2" ] ||
		die "not enough disk space for $3: $1 has ${free:-0} MiB free" \
			"and $2 MiB are needed (XDG_CACHE_HOME moves the cache)"
}

run_alone() { # FD FILE WHAT
	eval "exec $1>\"\$2\"" || die "cannot write $2"
	flock -n "$1" || {
		msg "another $3 runs in this checkout, waiting ..."
		flock "$1"
	}
}
