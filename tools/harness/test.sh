# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# The test runner.
#
# A test is an executable tests/*/NAME.test. Exit status 0 is a pass, 77 a skip (neither passed nor
# failed), anything else a failure. Its head says:
#
#   # kernels: stable latest debug    where it runs; debug:0/3: on one day in three (the other days
#                                     of three are 1/3 and 2/3), or as "more"
#   # more: latest debug              where it runs as well with --all, or when -k asks for it;
#                                   kernels that are not daily are only here, and it runs there
#                                   when they are named
#   # timeout: 120                    seconds (three times as long on an emulated debug kernel)
#   # where: guest                    or host: in the build's root file system, without a VM, once;
#                                     or machine: on this machine, as root, once
#   # mem: 2                          the guest's memory in GiB
#   # modargs: force_wire=1           module parameters
#   # disk: 1                         an empty /dev/vda of so many GiB
#   # leaks: yes                      on debug, boot with kmemleak, and ask it after the batch
#   # link: none                      do not make sure that prxe0 is there before the test
#   # allow-dmesg: REGEX              kernel log lines that are this test's purpose and no failure
#
# Guest tests with the same memory, parameters and disk share one boot; if one kills the guest, the
# others go on in a new guest. After each batch the module is unloaded ("teardown"). A kernel report
# while a test runs fails that test. Outputs stay in build/test/K/.
#
# On a kernel that no test runs on, the module is only built (the test "build"): so it is for
# oldstable every day.
#
# There are two tiers: tests that every change must pass, in minutes, and, with --all, all tests. In
# the first tier (PRXE_TIER is 1 there, 2 with --all) some tests take only a sample, another one
# every day. PRXE_DAY is the number of the day; PRXE_DAY=N ./run test runs what day N ran.
#
#   test_run KERNELS PATTERN     run what matches ('': all); prints "N passed, N failed"; status 0:
#                                nothing failed and something passed
#   test_list                    which test runs where

TEST_PASSED=0
TEST_FAILED=0
TEST_BUILD=1
TEST_ALL=0
# Two NUMA nodes, for tests of page migration and of memory policies. Pages stay where they are,
# unless a test turns balancing on.
TEST_KERNEL_ARGS="numa=fake=2 numa_balancing=disable"

test_header() { # FILE KEY DEFAULT
	local v
	v=$(sed -n "1,/^[^#]/s/^# *$2: *//p" "$1" | head -n 1)
	printf '%s\n' "${v:-$3}"
}

# Does it run on K? With --all, when a pattern asks for the test, or when K is no daily kernel, also
# on a kernel in "more", and on a kernel whose day it is not.
test_runs_on() { # FILE K PATTERN
	local words word turn all=1
	[ "$TEST_ALL" = 0 ] && [ -z "$3" ] && [[ " $DAILY_KERNELS " == *" $2 "* ]] && all=0
	read -r -a words <<<"$(test_header "$1" kernels "stable latest debug")"
	for word in "${words[@]}"; do
		[ "${word%%:*}" = "$2" ] || continue
		turn=${word#"$2"}
		turn=${turn#:}
		[ $all = 0 ] && [ -n "$turn" ] || return 0
		[ $((PRXE_DAY % ${turn#*/})) = "${turn%/*}" ] && return 0
	done
	[ $all = 1 ] && [[ " $(test_header "$1" more '') " == *" $2 "* ]]
}

test_list() {
	local name file
	printf '%-20s %-30s %s\n' test kernels "with --all"
	for name in $(test_names .); do
		file=$TOP/tests/$name.test
		printf '%-20s %-30s %s%s\n' "$name" \
			"$(test_header "$file" kernels "stable latest debug")" \
			"$(test_header "$file" more '')" \
			"$([ "$(test_header "$file" where guest)" = guest ] || echo ' (no guest)')"
	done
}

test_names() { # PATTERN: relative to tests/, without .test
	(
		cd "$TOP/tests" &&
			find . -mindepth 2 -maxdepth 2 -name '*.test' -type f -perm -u+x |
			sed 's|^\./||; s|\.test$||' | sort
	) |
		grep -E -- "${1:-.}"
}

test_result() { # pass|fail|skip K NAME SECONDS
	case $1 in
	pass) TEST_PASSED=$((TEST_PASSED + 1)) && printf 'ok    %s %s (%s s)\n' "$2" "$3" "$4" ;;
	skip) printf 'skip  %s %s (%s s)\n' "$2" "$3" "$4" ;;
	*) TEST_FAILED=$((TEST_FAILED + 1)) && printf 'FAIL  %s %s (%s s)\n' "$2" "$3" "$4" ;;
	esac
}

# Judge one test by its exit status and its part of the kernel log.
test_judge() { # K NAME RC SECONDS OUT DMESG ALLOW
	local reports why=''
	reports=$(kernel_reports "$6" "$7")
	case $3 in
	0) ;;
	77) ;;
	124 | 137) why="time limit" ;;
	*) why="exit status $3" ;;
	esac
	[ -z "$reports" ] || why="${why:+$why, }kernel report"
	if [ -n "$why" ]; then
		test_result fail "$1" "$2" "$4"
		printf '      %s\n' "$why"
		# Print the cause first: whoever passes this output on may cut it.
		grep -E '^FAIL|FAILED' "$5" | head -n 10 | sed 's/^/      | /'
		printf '      the end of its output (all of it: %s):\n' "${5#"$TOP"/}"
		tail -n 40 "$5" | sed 's/^/      | /'
		[ -z "$reports" ] || printf '%s\n' "$reports" | head -n 60 |
			sed 's/^/      kernel| /'
	elif [ "$3" = 77 ]; then
		test_result skip "$1" "$2" "$4"
		tail -n 1 "$5" | sed 's/^/      | /'
	else
		test_result pass "$1" "$2" "$4"
	fi
}

test_host() { # K NAME
	local file=$TOP/tests/$2.test out=$TOP/build/test/host/$2.log start rc cmd
	mkdir -p "${out%/*}"
	start=$(now_ms)
	ensure_kernel stable
	case $(test_header "$file" where guest) in
	machine) cmd=("$file") ;;
	*) cmd=(unshare -m --propagation private bash -c "$CHROOT_SCRIPT" chroot_run
		"$ROOT" --bind "$TOP:/src" -- env -C /src "/src/tests/$2.test") ;;
	esac
	timeout -k 5 "$(test_header "$file" timeout 120)" "${cmd[@]}" >"$out" 2>&1 </dev/null
	rc=$?
	test_judge host "$2" $rc "$(test_seconds "$start")" "$out" /dev/null ''
}

test_seconds() { # START_MS
	local ms=$(($(now_ms) - $1))
	printf '%d.%d\n' $((ms / 1000)) $((ms % 1000 / 100))
}

# Run a batch: tests that can share a boot. Boots again if a test killed its guest.
test_batch() { # K MEM MODARGS DISK LEAKS NAME...
	local k=$1 mem=$2 modargs=$3 disk=$4 leaks=$5
	local job i limit total scale=1 pid names opts=() link
	local dir=$TOP/build/test/$1 what=$1
	shift 5
	names=("$@")
	[[ $k != debug* ]] || [ "$VM_ACCEL" = kvm ] || scale=3
	[ "$mem" = 2 ] || what+=", $mem GiB"
	[ -z "$modargs" ] || what+=", $modargs"
	[ "$disk" = 0 ] || opts+=(--disk "$disk")
	[ "$leaks" = no ] || opts+=(--leaks)
	[ "$leaks" = no ] || what+=", leaks"
	mkdir -p "$dir"
	while [ ${#names[@]} -gt 0 ]; do
		job=$(mktemp -d "$dir/batch.XXXXXX") || die "cannot write in $dir"
		mkdir "$job/t"
		total=600 # for booting and the end; a busy machine emulates a debug kernel slowly
		for i in "${!names[@]}"; do
			limit=$(($(test_header "$TOP/tests/${names[i]}.test" timeout 120) * scale))
			total=$((total + limit + 30))
			link=$(test_header "$TOP/tests/${names[i]}.test" link prxe)
			printf '%s %s %s %s\n' "$i" "$limit" "$link" "${names[i]}" >>"$job/t/list"
		done
		msg "booting a guest ($what) for ${#names[@]} test(s)"
		PRXE_KERNEL_ARGS="$TEST_KERNEL_ARGS ${PRXE_KERNEL_ARGS:-}" \
			vm_run "$k" --mem "$mem" --modargs "$modargs" ${opts[@]+"${opts[@]}"} \
			--timeout $total --job "$job" -- \
			/src/tests/vm/guest/batch >"$job/vm.log" 2>&1 &
		pid=$!
		# shellcheck disable=SC2064
		trap "kill $pid 2>/dev/null; exit 130" INT TERM
		test_follow "$k" "$pid" "$job"
		wait "$pid"
		trap - INT TERM
		i=$TEST_NEXT
		if [ "$i" -lt ${#names[@]} ]; then
			test_died
		elif [ -z "$TEST_TORN_DOWN" ]; then
			test_result fail "$k" "teardown ($what)" 0.0
			printf '      the guest ended before the module was unloaded;'
			printf ' the end of what it said (all of it: %s):\n' "${job#"$TOP"/}"
			tail -n 40 "$job/vm.log" | sed 's/^/      | /'
		fi
		names=("${names[@]:i}")
	done
}

# Print results as they arrive. Sets TEST_NEXT, the first test without a result, and TEST_TORN_DOWN.
test_follow() { # K PID JOB
	local f name out
	TEST_NEXT=0 TEST_TORN_DOWN=''
	while :; do
		local alive=1
		kill -0 "$2" 2>/dev/null || alive=0
		while [ "$TEST_NEXT" -lt ${#names[@]} ] && [ -e "$3/t/$TEST_NEXT.done" ]; do
			f=$3/t/$TEST_NEXT name=${names[TEST_NEXT]}
			out=$dir/$name.log
			mkdir -p "${out%/*}" && cp "$f.out" "$out" &&
				cp "$f.dmesg" "${out%.log}.dmesg"
			test_judge "$1" "$name" "$(cat "$f.rc")" "$(cat "$f.time")" \
				"$out" "$f.dmesg" \
				"$(test_header "$TOP/tests/$name.test" allow-dmesg '')"
			TEST_NEXT=$((TEST_NEXT + 1))
		done
		if [ -z "$TEST_TORN_DOWN" ] && [ -e "$3/t/teardown.done" ]; then
			TEST_TORN_DOWN=1
			f=$3/t/teardown
			test_judge "$1" "teardown ($what)" "$(cat "$f.rc")" "$(cat "$f.time")" \
				"$f.out" "$f.dmesg" ''
		fi
		[ $alive = 1 ] || return 0
		sleep 0.2
	done
}

# The guest ended before all tests were run. The test that was running fails. If none was, the guest
# did not boot, and all fail.
test_died() {
	local why="the guest died while it ran"
	if [ ! -e "$job/t/$i.start" ]; then
		if [ "$i" -gt 0 ]; then
			# It ended between two tests: after a test that cannot be killed, the guest
			# is not used again.
			return
		fi
		why="the guest did not start its tests"
		while [ "$i" -lt $((${#names[@]} - 1)) ]; do
			test_result fail "$k" "${names[i]}" 0.0
			i=$((i + 1))
		done
	fi
	test_result fail "$k" "${names[i]}" 0.0
	printf '      %s; the end of its output and of what the guest said (all of it: %s):\n' \
		"$why" "${job#"$TOP"/}"
	tail -n 20 "$job/t/$i.out" 2>/dev/null | sed 's/^/      | /'
	tail -n 70 "$job/vm.log" | sed 's/^/      | /'
	i=$((i + 1))
}

test_kernel() { # K PATTERN NAME...
	local k=$1 pattern=$2 name file group groups=() batch
	local -A members=()
	shift 2
	for name in "$@"; do
		file=$TOP/tests/$name.test
		[ "$(test_header "$file" where guest)" = guest ] || continue
		test_runs_on "$file" "$k" "$pattern" || continue
		group="$(test_header "$file" mem 2)|$(test_header "$file" modargs '')"
		group+="|$(test_header "$file" disk 0)|$(test_header "$file" leaks no)"
		[ -n "${members[$group]:-}" ] || groups+=("$group")
		members[$group]+="$name "
	done
	[ ${#groups[@]} -gt 0 ] || {
		test_builds "$k" "$pattern"
		return
	}
	ensure_kernel "$k"
	vm_accel "$k"
	# One build for all batches. If a part fails to build, that is a failed test, and the others
	# go on.
	if [ "$TEST_BUILD" = 1 ] && ! build_all "$k"; then
		test_result fail "$k" build 0.0
		[ -e "$TOP/build/$k/prxe.ko" ] || return 0
	fi
	for group in "${groups[@]}"; do
		IFS='|' read -r -a batch <<<"$group"
		# shellcheck disable=SC2086 # names have no blanks
		test_batch "$k" "${batch[0]}" "${batch[1]}" "${batch[2]}" "${batch[3]}" \
			${members[$group]}
	done
}

# Only build for this kernel. With a pattern that matches tests, nothing is to be done here.
test_builds() { # K PATTERN
	local start rc=pass
	[ "$TEST_BUILD" = 1 ] && grep -qE -- "$2" <<<build || return 0
	ensure_kernel "$1"
	start=$(now_ms)
	build_all "$1" || rc=fail
	test_result $rc "$1" build "$(test_seconds "$start")"
}

test_run() { # KERNELS PATTERN
	local names name k start
	start=$(now_ms)
	export PRXE_TIER=$((1 + TEST_ALL))
	export PRXE_DAY=${PRXE_DAY:-$(($(date +%s) / 86400))}
	[[ $PRXE_DAY =~ ^[0-9]+$ ]] || die "PRXE_DAY=$PRXE_DAY is no number of a day"
	PRXE_DAY=$((10#$PRXE_DAY))
	mapfile -t names < <(test_names "$2")
	[ ${#names[@]} -gt 0 ] ||
		die "no test matches '$2' (tests are executable files tests/*/NAME.test)"
	mkdir -p "$TOP/build" || die "cannot write in $TOP"
	run_alone 6 "$TOP/build/.test.lock" "./run test"
	rm -rf "$TOP/build/test"
	for name in "${names[@]}"; do
		[ "$(test_header "$TOP/tests/$name.test" where guest)" != guest ] || continue
		! test_runs_on "$TOP/tests/$name.test" stable "$2" || test_host host "$name"
	done
	for k in $1; do
		test_kernel "$k" "$2" "${names[@]}"
	done
	msg "tests took $(seconds_since "$start") (PRXE_DAY=$PRXE_DAY)"
	[ $((TEST_PASSED + TEST_FAILED)) -gt 0 ] || msg "no test that matches '$2' runs on: $1"
	printf '%d passed, %d failed\n' "$TEST_PASSED" "$TEST_FAILED"
	[ "$TEST_FAILED" -eq 0 ] && [ "$TEST_PASSED" -gt 0 ]
}
