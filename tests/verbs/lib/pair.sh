# SPDX-License-Identifier: BSD-2-Clause
# Programs with a server and a client, both on this host: sourced by bash, behind sh.sh.
port=19000
log=/tmp/perftest-log

# pair NAME ARGS...: server and client on this host; both must succeed
pair() {
	local rc=0 srv cli
	port=$((port + 1))
	timeout $((25 * slow)) "$@" >$log.srv 2>&1 &
	srv=$!
	for _ in $(seq 100); do
		ss -ltn 2>/dev/null | grep -q ":$port " && break
		kill -0 $srv 2>/dev/null || break
		sleep 0.1
	done
	timeout $((25 * slow)) "$@" 127.0.0.1 >$log.cli 2>&1
	cli=$?
	wait $srv || rc=$?
	if [ $cli != 0 ] || [ $rc != 0 ]; then
		fail "$* (client $cli, server $rc)"
		tail -n 5 $log.cli $log.srv
	else
		say "$*: $(grep -E '^ *[0-9]+ |bytes in' $log.cli | tail -n 1 | tr -s ' ')"
	fi
}
# pt PERFTEST-PROGRAM ARGS..., pp PINGPONG ARGS...: on $DEV and $GID
pt() { pair "$1" -d "$DEV" -x "$GID" -F -p $((port + 1)) "${@:2}"; }
pp() { pair "$1" -d "$DEV" -g "$GID" -p $((port + 1)) "${@:2}"; }
