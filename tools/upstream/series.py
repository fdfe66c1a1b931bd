#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
Make the series of patches that adds the provider to rdma-core.

    series.py PRXE TREE AUTHOR EPOCH

PRXE is this project. TREE is a copy of an rdma-core source, unpacked and in a git of its own with
everything committed. Each step below changes files in TREE and commits them, with AUTHOR ("NAME
<MAIL>") and EPOCH (seconds) as author and date; git format-patch makes the patches (upstream.sh).

What is the same in both projects is copied. What rdma-core wants in another way is in convert.py.
rdma-core's lists (of headers, folders, drivers, files of packages) are kept in order: a line goes
before the line of the provider that follows prxe. If a list has changed so that the place is not
found, the program says which and ends with status 1.
"""
import os
import re
import subprocess
import sys
import convert

RULES = "kernel-boot/rdma-description.rules"
MODULES = "kernel-boot/rdma-hw-modules.rules"
PAGE = "prxe-provider.7"


class Tree:
    def __init__(self, top, author, epoch):
        self.top = top
        name, mail = re.fullmatch(r"(.+) <(.+@.+)>", author).groups()
        self.env = dict(os.environ)
        for who in "AUTHOR", "COMMITTER":
            self.env.update({f"GIT_{who}_NAME": name, f"GIT_{who}_EMAIL": mail,
                             f"GIT_{who}_DATE": f"{epoch} +0000"})

    def read(self, path):
        return convert.read(os.path.join(self.top, path))

    def write(self, path, text):
        path = os.path.join(self.top, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)

    def before(self, path, anchor, lines):
        """Put lines before the first line that is anchor, or that begins with it."""
        text = self.read(path)
        at = re.search("^" + re.escape(anchor), text, re.M)
        if not at:
            raise convert.Error(f"rdma-core's {path} has no line \"{anchor.strip()}\" any more, "
                                "before which the one of prxe would go")
        self.write(path, text[:at.start()] + lines + text[at.start():])

    def commit(self, message):
        for cmd in ["add", "-A"], ["commit", "-q", "-F", "-"]:
            subprocess.run(["git", "-C", self.top] + cmd, env=self.env, check=True, text=True,
                           input=message)


def headers(tree, prxe):
    for name in convert.HEADERS:
        tree.write("kernel-headers/rdma/" + name, convert.header(prxe, name))
    tree.before("kernel-headers/CMakeLists.txt", "  rdma/qedr-abi.h\n",
                "".join(f"  rdma/{name}\n" for name in convert.HEADERS))
    tree.commit("""\
kernel-headers: Add the user ABI of prxe

prxe is a software RoCEv2 device whose memory is not pinned. Its user ABI
is version 2 of rxe's (rdma/rdma_user_rxe.h), with extensions that are
negotiated when a context is created (prxe-abi.h), and methods and objects
of the uverbs ioctl (prxe-ioctl.h).

The headers are those of the kernel driver, which is not in Linux. Its
driver id is therefore a private one, and not in enum rdma_driver_id.
""")


def provider(tree, prxe, author):
    sources = convert.provider(prxe, tree.read("CMakeLists.txt"))
    for name, text in sources.items():
        tree.write("providers/prxe/" + name, text)
    tree.write("providers/prxe/CMakeLists.txt", "rdma_provider(prxe\n" + "".join(
        f"  {name}\n" for name in sorted(sources) if name.endswith(".c")) + "  )\n")
    tree.before("CMakeLists.txt", "add_subdirectory(providers/rxe)\n",
                "add_subdirectory(providers/prxe)\n")
    tree.before("libibverbs/verbs.h", "extern const struct verbs_device_ops verbs_provider_qedr;",
                "extern const struct verbs_device_ops verbs_provider_prxe;\n")
    tree.before("README.md", " - qedr.ko", " - prxe.ko\n")
    tree.before("COPYING.md", "## Libraries",
                "prxe\n: Dual License: GPLv2 or OpenIB.org BSD (FreeBSD variant), "
                "See COPYING.BSD_FB\n\n")
    tree.before("MAINTAINERS", "QEDR USERSPACE PROVIDER",
                "PRXE SOFT ROCE USERSPACE PROVIDER (for prxe.ko)\n"
                f"M:\t{author}\nS:\tMaintained\nF:\tproviders/prxe/\n\n")
    tree.commit("""\
prxe: Add the provider of the prxe software RoCEv2 device

prxe devices register memory without pinning it: on-demand paging is
complete on RC, UC and UD, for explicit and implicit MRs. The provider has
QPs of these types, SRQs, both posting and both polling interfaces, memory
windows of types 1 and 2, multicast, parent domains and thread domains,
imported contexts, PDs and MRs, re-registration and advise_mr.

A list or batch of work requests is published by one store, and rings one
doorbell, outside of the queue's lock. The doorbell is an ioctl on a file
of its own; with a kernel that does not have it, it is a POST_SEND command
without work requests, as in rxe.

It matches devices by the private driver id of prxe. By their name, prxe*,
it matches only if the kernel tells no driver id; so it never takes a
device from another provider.
""")


def page(tree, prxe):
    text = convert.page(os.path.join(prxe, "man", PAGE))
    tree.write("providers/prxe/man/" + PAGE, text)
    tree.write("providers/prxe/man/CMakeLists.txt", f"rdma_man_pages(\n  {PAGE}\n  )\n")
    tree.before("CMakeLists.txt", "add_subdirectory(providers/rxe)\n",
                "add_subdirectory(providers/prxe/man)\n")
    tree.before("debian/rdma-core.install", "usr/share/man/man7/rxe.7",
                f"usr/share/man/man7/{PAGE}\n")
    for spec in "redhat", "suse":
        tree.before(f"{spec}/rdma-core.spec", "%{_mandir}/man7/rxe*", "%{_mandir}/man7/prxe*\n")
    tree.commit("""\
prxe: Add a manual page

It tells which devices the provider takes, what it supports, and how its
work requests, completions and errors behave.
""")


def boot(tree):
    tree.before(RULES, 'DEVPATH=="*/infiniband/rxe*"',
                'DEVPATH=="*/infiniband/prxe*", ENV{ID_RDMA_ROCE}="1"\n')
    tree.before(MODULES, "# rxe\n", "# prxe\n")
    tree.commit("""\
kernel-boot: Treat prxe devices as RoCE

As with rxe devices, whatever a RoCE device wants loaded is loaded with
the device. The driver itself is loaded by the administrator.
""")


def packages(tree, holder, with_page):
    tree.before("debian/control", "  - qedr:",
                "  - prxe: A software implementation of RoCE whose memory is not pinned\n")
    tree.before("debian/copyright", "Files: providers/qedr/*",
                f"Files: providers/prxe/*\nCopyright: {holder}\n"
                "License: BSD-2-clause or GPL-2\n\n" +
                (f"Files: providers/prxe/man/*\nCopyright: {holder}\n"
                 "License: BSD-2-clause\n\n" if with_page else ""))
    for spec in "redhat", "suse":
        tree.before(f"{spec}/rdma-core.spec", "- libqedr:",
                    "- libprxe: A software implementation of RoCE whose memory is not pinned\n")
    tree.commit("""\
debian, redhat, suse: Add prxe to the packages of providers

The packages take whatever is in libibverbs' folder of providers, so only
the descriptions, and Debian's list of licences, need a line.
""")


def main():
    if len(sys.argv) != 5:
        sys.exit("usage: series.py PRXE TREE AUTHOR EPOCH")
    prxe, top, author, epoch = sys.argv[1:]
    tree = Tree(top, author, epoch)
    headers(tree, prxe)
    provider(tree, prxe, author)
    with_page = os.path.exists(os.path.join(prxe, "man", PAGE))
    if with_page:
        page(tree, prxe)
    boot(tree)
    packages(tree, convert.holder(prxe), with_page)


try:
    main()
except (convert.Error, OSError) as e:
    sys.exit(f"prxe: error: {e}")
