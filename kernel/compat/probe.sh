#!/bin/sh
# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#
# Find out which kernel interfaces these headers have, by compiling a small test for each one that
# differs between kernels. Distributions backport interfaces, so a kernel's version says little. All
# tests compile in one parallel make; the results are written to a header.
#
#   probe.sh KDIR OUT.h [make variable=value ...]
#
# OUT.h is written only when its key (this script, kernel, compiler) changed.
set -eu

kdir=$1 out=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)

key=$({
	cat "$here/probe.sh"
	echo "$kdir $*"
	cat "$kdir/include/config/kernel.release" 2>/dev/null
	cksum <"$kdir/.config" 2>/dev/null
	cksum <"$kdir/Module.symvers" 2>/dev/null
} | cksum | tr ' ' -)
if [ -f "$out" ] && grep -q "key $key\$" "$out"; then
	exit 0
fi

echo "  PROBE   $out"
dir=$(mktemp -d "${TMPDIR:-/tmp}/prxe-probe.XXXXXX")
trap 'rm -rf "$dir"' EXIT HUP INT TERM

names=

# probe NAME: stdin is a test; PRXE_HAVE_NAME is defined if it compiles
probe() {
	names="$names $1"
	cat >"$dir/$1.c"
}

# The reference: if even this test does not compile, the others say nothing.
probe SANITY <<-'END'
	#include <rdma/ib_verbs.h>
	int f(struct ib_device *d); int f(struct ib_device *d) { return d->phys_port_cnt; }
END
probe DMAH <<-'END'
	#include <rdma/ib_verbs.h>
	static struct ib_mr *reg(struct ib_pd *pd, u64 a, u64 b, u64 c, int d, struct ib_dmah *h,
				 struct ib_udata *u)
	{
		return NULL;
	}
	struct ib_device_ops o = { .reg_user_mr = reg };
END
probe REG_USER_MR <<-'END'
	#include <rdma/ib_verbs.h>
	static struct ib_mr *reg(struct ib_pd *pd, u64 a, u64 b, u64 c, int d, struct ib_udata *u)
	{
		return NULL;
	}
	struct ib_device_ops o = { .reg_user_mr = reg };
END
probe CREATE_CQ_ATTRS <<-'END'
	#include <rdma/ib_verbs.h>
	#include <rdma/uverbs_ioctl.h>
	static int f(struct ib_cq *cq, const struct ib_cq_init_attr *a,
		     struct uverbs_attr_bundle *u)
	{
		return 0;
	}
	struct ib_device_ops o = { .create_cq = f };
END
probe RESIZE_USER_CQ <<-'END'
	#include <rdma/ib_verbs.h>
	static int f(struct ib_cq *cq, unsigned int n, struct ib_udata *u) { return 0; }
	struct ib_device_ops o = { .resize_user_cq = f };
END
probe UMEM_GET <<-'END'
	#include <rdma/ib_umem.h>
	struct ib_umem *f(struct ib_device *d);
	struct ib_umem *f(struct ib_device *d) { return ib_umem_get(d, 0, 1, 0); }
END
probe MARK_USER_NAME <<-'END'
	#include <rdma/ib_verbs.h>
	void f(struct ib_device *d);
	void f(struct ib_device *d) { ib_mark_name_assigned_by_user(d); }
END
probe ALLOC_WITH_NET <<-'END'
	#include <rdma/ib_verbs.h>
	struct x { struct ib_device ib; };
	struct x *f(struct net *n);
	struct x *f(struct net *n) { return ib_alloc_device_with_net(x, ib, n); }
END
probe ODP_FLUSH_CAPS <<-'END'
	#include <rdma/ib_verbs.h>
	int a = IB_ODP_SUPPORT_FLUSH | IB_ODP_SUPPORT_ATOMIC_WRITE;
END
probe IB_FLUSH <<-'END'
	#include <rdma/ib_verbs.h>
	#include <rdma/ib_pack.h>
	#include <rdma/rdma_user_rxe.h>
	u64 a = IB_DEVICE_FLUSH_GLOBAL | IB_DEVICE_ATOMIC_WRITE | IB_WR_FLUSH | IB_WR_ATOMIC_WRITE |
		IB_OPCODE_RC_FLUSH;
	int f(struct rxe_send_wqe *w);
	int f(struct rxe_send_wqe *w) { return w->wr.wr.flush.level + w->dma.atomic_wr[0]; }
END
probe YOUNG_BOOL <<-'END'
	#include <linux/mmu_notifier.h>
	static bool f(struct mmu_notifier *n, struct mm_struct *m, unsigned long a, unsigned long b)
	{
		return false;
	}
	struct mmu_notifier_ops o = { .clear_young = f };
END
probe TUNNEL_SOCK_SK <<-'END'
	#include <net/udp_tunnel.h>
	void f(struct net *n, struct sock *s, struct udp_tunnel_sock_cfg *c);
	void f(struct net *n, struct sock *s, struct udp_tunnel_sock_cfg *c)
	{
		setup_udp_tunnel_sock(n, s, c);
	}
END
probe TUNNEL_RELEASE_SK <<-'END'
	#include <net/udp_tunnel.h>
	void f(struct sock *s); void f(struct sock *s) { udp_tunnel_sock_release(s); }
END
probe FLOWI4_DSCP <<-'END'
	#include <net/flow.h>
	#include <net/inet_dscp.h>
	void f(struct flowi4 *f4);
	void f(struct flowi4 *f4) { f4->flowi4_dscp = inet_dsfield_to_dscp(0); }
END
probe HRTIMER_SETUP <<-'END'
	#include <linux/hrtimer.h>
	void f(struct hrtimer *t);
	void f(struct hrtimer *t) { hrtimer_setup(t, NULL, CLOCK_MONOTONIC, HRTIMER_MODE_REL); }
END
probe CRC32_OPTIMIZATIONS <<-'END'
	#include <linux/crc32.h>
	u32 f(void); u32 f(void) { return crc32_optimizations() & CRC32_LE_OPTIMIZATION; }
END
probe LINUX_UNALIGNED <<-'END'
	#include <linux/unaligned.h>
	int a;
END
probe MM_LOCK_SEQCOUNT <<-'END'
	#include <linux/mm.h>
	void f(struct mm_struct *m); void f(struct mm_struct *m) { mm_lock_seqcount_begin(m); }
END
# Of the same series as the end of waiting for a swap device in spite of RETRY_NOWAIT.
probe SWAPIN_NOWAIT <<-'END'
	#include <linux/pagemap.h>
	vm_fault_t f(struct folio *o, struct vm_fault *v);
	vm_fault_t f(struct folio *o, struct vm_fault *v) { return __folio_lock_or_retry(o, v); }
END
probe VM_FLAGS_SET <<-'END'
	#include <linux/mm.h>
	void f(struct vm_area_struct *v);
	void f(struct vm_area_struct *v) { vm_flags_set(v, 0); vm_flags_clear(v, 0); }
END

cat >"$dir/Kbuild" <<-END
	obj-m := $(for n in $names; do printf '%s.o ' "$n"; done)
	ccflags-y := -Werror=incompatible-pointer-types
	ccflags-y += -Werror=implicit-function-declaration -Werror=int-conversion
END
targets=$(for n in $names; do printf '%s.o ' "$n"; done)

# Use a clean environment: this may run inside a kernel build, whose exported variables would change
# the inner make.
# shellcheck disable=SC2086
env -i PATH="$PATH" HOME="${HOME:-/}" LC_ALL=C \
	make -C "$kdir" M="$dir" "$@" -k -j"$(nproc)" $targets >"$dir/log" 2>&1 || :

if [ ! -f "$dir/SANITY.o" ]; then
	echo "prxe: the kernel headers at $kdir do not work with this compiler:" >&2
	head -n 40 "$dir/log" >&2
	exit 1
fi
{
	echo "/* Generated by compat/probe.sh. */"
	echo "/* key $key"
	echo " */"
	for n in $names; do
		[ "$n" = SANITY ] && continue
		if [ -f "$dir/$n.o" ]; then
			echo "#define PRXE_HAVE_$n 1"
		else
			echo "/* no $n */"
		fi
	done
} >"$out.tmp"
mv "$out.tmp" "$out"
