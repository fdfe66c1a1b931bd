# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2030,SC2031,SC2054,SC2153
# Virtual machines.
#
#   vm_run K [OPTION]... [-- CMD...]
#                    boot kernel K (calls ensure_kernel), run CMD in the guest, return its exit
#                    status; its output and error stream go to ours. Without CMD: a shell on this
#                    terminal.
#     --mem G          memory (default 4)
#     --smp N          processors (default 2)
#     --link prxe|rxe|none   make prxe0 (or rdma_rxe's rxe0) on a dummy device first (default none)
#     --share DIR      DIR is /mnt/share in the guest, writable
#     --modargs ARGS   module parameters of prxe.ko
#     --timeout S      seconds until the guest is killed (default 900; a shell: none)
#     --disk G         an empty disk of G GiB, /dev/vda
#     --leaks          debug: with kmemleak (twice as slow; off otherwise)
#     --icount         the clock counts instructions: emulated, one processor
#     --job DIR        keep the job's directory (stdout, stderr, rc, dmesg, console) as DIR
#     --env N=V        set in the guest (every PRXE_* variable of the environment is, too)
#     --qemu ARG       one more QEMU argument (repeat it)
#   Exit status: CMD's; 124 when the time limit was reached; 125 when the guest died (the end of its
#   console is printed). Errors in the guest's kernel log, if any, are printed (see dmesg.sh); they
#   do not change the exit status.

VM_TIMEOUT=${PRXE_VM_TIMEOUT:-900}
VM_BOOT_LIMIT=${PRXE_VM_BOOT_LIMIT:-240} # seconds; 15 to 60 are usual. Twice as many for debug.

# In QEMU's option values a comma is written twice.
qemu_path() { printf '%s\n' "${1//,/,,}"; }

vm_share() { # TAG DIR MORE
	printf '%s\n' \
		-fsdev "local,id=$1,path=$(qemu_path "$2"),security_model=none,multidevs=remap$3" \
		-device "virtio-9p-pci,fsdev=$1,mount_tag=$1"
}

# /dev/kvm may exist and still not run a kernel: boot once to the initramfs with a short limit, and
# keep the answer until this machine boots again. Other machines' kernels are emulated.
vm_accel() { # K
	local key file out
	! is_arm64 "$1" || return 0
	ensure_qemu
	[ -z "${VM_ACCEL:-}" ] || return 0
	case ${PRXE_ACCEL:-} in
	kvm | tcg)
		VM_ACCEL=$PRXE_ACCEL
		return
		;;
	esac
	key=$({ cat /proc/sys/kernel/random/boot_id && echo "$QEMU_DIR"; } | hash_of)
	file=$CACHE/accel-$key
	if [ -r "$file" ]; then
		VM_ACCEL=$(cat "$file")
		return
	fi
	VM_ACCEL=tcg
	if [ -w /dev/kvm ]; then
		out=$(timeout -k 1 15 "${QEMU[@]}" -M q35 -accel kvm -cpu host -smp 2 -m 512 \
			-kernel "$VMLINUZ" -initrd "$INITRD" \
			-append "console=ttyS0 panic=-1 quiet prxe.probe" \
			-nographic -no-reboot </dev/null 2>&1)
		case $out in
		*'prxe-initramfs: probe-ok'*)
			VM_ACCEL=kvm
			msg "virtual machines run with KVM"
			;;
		*)
			msg "/dev/kvm is here but does not run a kernel:" \
				"virtual machines are emulated (slower)"
			;;
		esac
	else
		msg "no usable /dev/kvm: virtual machines are emulated (slower)"
	fi
	rm -f "$CACHE"/accel-*
	printf '%s\n' "$VM_ACCEL" >"$file"
}

vm_run() ( # K [OPTION]... [-- CMD...]
	k=$1 mem=4 smp=2 link=none share='' modargs=${PRXE_MODARGS:-} limit='' disk='' keep=''
	envs=() extra=() interactive=0 leaks=0 icount=0
	shift
	while [ $# -gt 0 ]; do
		case $1 in
		--mem) mem=$2 && shift 2 ;;
		--smp) smp=$2 && shift 2 ;;
		--link) link=$2 && shift 2 ;;
		--share) share=$2 && shift 2 ;;
		--modargs) modargs=$2 && shift 2 ;;
		--timeout) limit=$2 && shift 2 ;;
		--disk) disk=$2 && shift 2 ;;
		--leaks) leaks=1 && shift ;;
		--icount) icount=1 smp=1 && shift ;;
		--job) keep=$2 && shift 2 ;;
		--env) envs+=("$2") && shift 2 ;;
		--qemu) extra+=("$2") && shift 2 ;;
		--) shift && break ;;
		*) die "vm_run: unknown option $1" ;;
		esac
	done
	cmd=("$@")
	[ ${#cmd[@]} -gt 0 ] || [ ! -t 0 ] || interactive=1
	[ -z "$share" ] || share=$(realpath -e "$share" 2>/dev/null) ||
		die "--share: there is no such directory"
	ensure_kernel "$k"
	vm_accel "$k"
	args=${PRXE_KERNEL_ARGS:-}
	[[ $k != debug* ]] || [ $leaks = 1 ] || args+=" kmemleak=off"
	args="log_buf_len=4M rcupdate.rcu_cpu_stall_timeout=60 $args"
	args="panic=-1 quiet mitigations=off nokaslr $args"
	if is_arm64 "$k"; then
		arm64_machine
	else
		vm_machine
	fi
	vm_job || exit 1
	[ -n "$disk" ] && truncate -s "${disk}G" "$job/disk" &&
		extra+=(-drive "file=$(qemu_path "$job/disk"),format=raw,if=virtio,cache=unsafe")
	mapfile -t shares < <(
		vm_share root "$ROOT" ,readonly=on
		vm_share src "$TOP" ,readonly=on
		vm_share job "$job" ''
		[ -z "$share" ] || vm_share share "$share" ''
	)
	qemu=("${QEMU[@]}" "${machine[@]}" -smp "$smp" -m "${mem}G"
		-kernel "$VMLINUZ" -initrd "$INITRD" -append "$args"
		-nodefaults -display none -no-reboot "${shares[@]}" "${extra[@]}")
	if [ "$interactive" = 1 ]; then
		vm_interactive
	else
		vm_batch
	fi
)

# Sets machine: QEMU's machine, and its processor as vm_accel() has found it.
vm_processor() {
	machine=(-M q35)
	case $VM_ACCEL in
	kvm) machine+=(-accel kvm -cpu host) ;;
	*) machine+=(-accel tcg,thread=multi,tb-size=512 -cpu max,-erms,-fsrm) ;;
	esac
}

# Sets machine and tty, and adds to args, the kernel's arguments.
vm_machine() {
	tty=ttyS0
	args="console=$tty no_timer_check tsc=reliable no5lvl $args"
	vm_processor
	# The guest's clock counts its instructions, one each nanosecond, so a measurement gives the
	# same result every time.
	[ "$icount" = 0 ] || VM_ACCEL=icount machine=(-M q35 -accel tcg,thread=single,tb-size=512
		-icount shift=0,sleep=off -cpu max,-erms,-fsrm)
}

# Make the job's directory: what the guest reads, and where it writes its results.
vm_job() {
	local v
	if [ -n "$keep" ]; then
		job=$keep
		mkdir -p "$job" || die "cannot make the directory $job"
	else
		job=$(mktemp -d "${TMPDIR:-/tmp}/prxe-vm.XXXXXX") ||
			die "cannot make a temporary directory"
	fi
	rm -f "$job/rc" "$job/up"
	: >"$job/stdout" && : >"$job/stderr" && : >"$job/dmesg" &&
		: >"$job/console" && : >"$job/stdin" || return 1
	if [ "$interactive" = 0 ] && [ ${#cmd[@]} -eq 0 ]; then
		cmd=(bash)
		cat >"$job/stdin"
	fi
	printf '%s\0' "${cmd[@]}" >"$job/cmd"
	{
		for v in $(compgen -e PRXE_); do
			printf 'export %s=%q\n' "$v" "${!v}"
		done
		for v in "${envs[@]}"; do
			printf 'export %s=%q\n' "${v%%=*}" "${v#*=}"
		done
		printf 'export PRXE_KERNEL=%q PRXE_LINK=%q PRXE_MODARGS=%q PRXE_ACCEL=%q\n' \
			"$k" "$link" "$modargs" "$VM_ACCEL"
		[[ $k != debug* ]] || printf 'export PRXE_DEBUG=1\n'
		[ "$interactive" = 0 ] ||
			printf 'PRXE_TERM=%q PRXE_STTY=%q\n' "${TERM:-vt100}" \
				"$(stty size | awk '{ print "rows", $1, "cols", $2 }')"
		printf 'PRXE_SHARE=%q PRXE_INTERACTIVE=%q PRXE_CONSOLE=%q PRXE_STAGE=%q\n' \
			"${share:+1}" "$interactive" "$tty" "/src/$(build_dir "$k")/stage"
		[[ $k != debug* ]] || [ "$leaks" = 0 ] || printf 'export PRXE_LEAKS=1\n'
	} >"$job/env"
}

vm_batch() {
	local pid='' running='' watch='' hung='' self rc try tails=()
	trap 'pkill -P $watch; kill $pid $running 2>/dev/null; wait $pid
		vm_cleanup; exit 130' INT TERM
	self=$BASHPID
	# End the guest when ./run was killed.
	{ tail -s 1 -f --pid=$$ /dev/null && pkill -P "$self"; } 2>/dev/null &
	watch=$!
	# The readers of the output end when this process does, after they have read what is left.
	setpriv --pdeathsig KILL sleep infinity &
	running=$!
	tail -q -c +1 -f -s 0.1 --pid=$running "$job/stdout" 2>/dev/null &
	tails+=($!)
	tail -q -c +1 -f -s 0.1 --pid=$running "$job/stderr" >&2 2>/dev/null &
	tails+=($!)
	# On a busy machine an emulated kernel may miss its own deadlines while it boots, and QEMU
	# has been seen to lose the timer of a second processor then. Booting again is safe, because
	# nothing of ours runs before "up".
	for try in 1 2 3; do
		vm_start
		vm_came_up
		wait "$pid"
		rc=$?
		[ ! -e "$job/up" ] && [ $try -lt 3 ] || break
		[ $rc -eq 0 ] || [ -n "$hung" ] || break
		msg "the guest ($k) ${hung:-died} before its first process ran: booting it again"
	done
	{ pkill -P $watch; kill $running && wait $running $watch; } 2>/dev/null
	wait "${tails[@]}"
	vm_result $rc
	rc=$?
	vm_cleanup
	return $rc
}

# Wait for the guest's first process, or for the guest's end. A guest that takes longer than any
# boot is killed. Sets hung.
vm_came_up() {
	local end=$((SECONDS + VM_BOOT_LIMIT))
	hung=''
	[[ $k != debug* ]] || end=$((end + VM_BOOT_LIMIT))
	while [ ! -e "$job/up" ] && kill -0 "$pid" 2>/dev/null; do
		if [ $SECONDS -ge $end ]; then
			hung="hung"
			kill "$pid"
			return
		fi
		sleep 0.2
	done
}

vm_start() { # sets pid
	setpriv --pdeathsig TERM timeout -k 5 "${limit:-$VM_TIMEOUT}" setpriv --pdeathsig KILL \
		"${qemu[@]}" -serial "file:$job/console" </dev/null >"$job/qemu.log" 2>&1 &
	pid=$!
}

vm_interactive() {
	local rc
	trap 'vm_cleanup; exit 130' HUP TERM
	timeout --foreground -k 5 "${limit:-infinity}" "${qemu[@]}" \
		-chardev stdio,id=tty,signal=off -serial chardev:tty 2>"$job/qemu.log"
	rc=$?
	vm_result $rc
	rc=$?
	vm_cleanup
	return $rc
}

vm_cleanup() { [ -n "$keep" ] || rm -rf "$job"; }

vm_result() { # QEMU_STATUS
	kernel_reports "$job/dmesg" | sed 's/^/prxe: kernel: /' >&2
	if [ -s "$job/rc" ]; then
		return "$(cat "$job/rc")"
	fi
	if [ "$1" -eq 124 ] || [ "$1" -eq 137 ]; then
		vm_console_tail
		msg "the guest ($k) did not end within ${limit:-$VM_TIMEOUT} s and was killed"
		return 124
	fi
	vm_console_tail
	grep -v -e 'failed to initialize module' -e 'from the same build' "$job/qemu.log" |
		sed 's/^/    /' >&2
	msg "the guest ($k) died before its command ended (QEMU's status: $1);" \
		"its console ended as above"
	return 125
}

vm_console_tail() {
	tail -n 60 "$job/console" | tr -d '\r' | sed 's/\x1b\[[0-9;?]*[a-zA-Z]//g; s/^/    /' >&2
}
