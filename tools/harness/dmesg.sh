# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# Kernel messages that are always errors.
#
#   kernel_reports FILE [ALLOW]   print the reports (with context) in a guest's kernel log. Status
#                                 0: there are none. Only what comes after the job's start counts,
#                                 and lines that match the regular expression ALLOW do not.

kernel_reports() { # FILE [ALLOW]
	[ -r "$1" ] || return 0
	awk -v allow="${2:-}" '
		BEGIN {
			bad = "WARNING:|BUG:|KASAN|UBSAN|KCSAN|KFENCE|kmemleak: [0-9]+ new" \
				"|INFO: task .* blocked|INFO: rcu|rcu: INFO" \
				"|INFO: trying to register|Oops|general protection" \
				"|invalid opcode|divide error|Kernel panic" \
				"|possible (recursive|circular|irq|interrupt)" \
				"|inconsistent lock state|unsafe locking|suspicious RCU" \
				"|held lock freed|bad unlock balance|lock held when returning" \
				"|sleeping function called|scheduling while atomic|refcount_t:" \
				"|list_(add|del) corruption|soft lockup|hard LOCKUP" \
				"|self-detected stall|detected stalls|Unable to handle" \
				"|double free|page allocation failure|Bad page (state|map)" \
				"|Bad rss-counter|unregister_netdevice: waiting" \
				"|failed to invalidate|Object .* still has|cut here"
			benign = "mitigation|Mitigation|vulnerab|clocksource:|out-of-tree|taint" \
				"|TSC|tsc:|invoked oom-killer|FAULT_INJECTION|traps: "
		}
		/prxe: (job|test .*) starts/ { on = 1; next }
		!on { next }
		/invoked oom-killer|FAULT_INJECTION|sysrq: / { quiet = NR + 60 }
		{ hit = ($0 ~ bad && $0 !~ benign) || ($0 ~ /Call Trace:/ && NR > quiet) }
		hit && allow != "" && $0 ~ allow { hit = 0; quiet = NR + 60 }
		hit { found++; left = 40 }
		left > 0 && shown < 200 { print; shown++; left-- }
		END { exit found ? 1 : 0 }' "$1"
}
