# SPDX-License-Identifier: BSD-2-Clause
# Programs with a server and a client, both on this host: sourced by bash, behind sh.sh.
port=19000
log=/tmp/perftest-log

listening() { ss -Hltn | grep -q ":$port "; }
# two READY SERVER... -- CLIENT...: both must succeed. READY is a function that succeeds once the
# server can be asked.
two() {
	local ready=$1 server=() rc=0 srv cli
	shift
	while [ "$1" != -- ]; do server+=("$1"); shift; done
	shift
	timeout $((60 * slow)) "${server[@]}" >$log.srv 2>&1 &
	srv=$!
	for _ in $(seq 100); do
		$ready || ! kill -0 $srv 2>/dev/null && break
		sleep 0.1
	done
	timeout $((60 * slow)) "$@" >$log.cli 2>&1
	cli=$?
	wait $srv || rc=$?
	if [ $cli != 0 ] || [ $rc != 0 ]; then
		fail "$* (client $cli, server $rc)"
		tail -n 5 $log.cli $log.srv
	else
		say "$*: $(grep -E '^ *[0-9]+ |bytes in' $log.cli | tail -n 1 | tr -s ' ')"
	fi
}
# pair NAME ARGS...: the same program on both sides, the client's with an address. The caller has
# put the port, $port + 1, into ARGS.
pair() {
	port=$((port + 1))
	two listening "$@" -- "$@" 127.0.0.1
}
# pt PERFTEST-PROGRAM ARGS..., pp PINGPONG ARGS...: on $DEV and $GID
pt() { pair "$1" -d "$DEV" -x "$GID" -F -p $((port + 1)) "${@:2}"; }
pp() { pair "$1" -d "$DEV" -g "$GID" -p $((port + 1)) "${@:2}"; }
