# SPDX-License-Identifier: BSD-2-Clause
"""
The files of prxe as they are in an rdma-core tree:

- the ABI headers are the system's (<rdma/prxe-abi.h>), not beside the sources;
- the tree has one provider ABI, so that compat.h is not needed: what it decides is written into the
  calls;
- there are no tests, and nothing is said of files that are in this project only;
- each file names who has the copyright, below its licence.
"""
import glob
import os
import re

HEADERS = ("prxe-abi.h", "prxe-ioctl.h")
WIDTH = 100

# What a comment says of this project: file, text, what to say there.
COMMENTS = (
    ("prxe-abi.h", " This header and prxe-ioctl.h are its only copy: the driver, the provider, "
     "libodp and the tests include them.", ""),
    ("prxe-ioctl.h", " (docs/design.md, \"User ABI\")", ""),
    ("cmd.h", " The ABI itself is in kernel/uapi.",
     " The ABI itself is in rdma/prxe-*.h."),
)

# What must not be left in a source, and in a manual page.
FOREIGN = re.compile(r"(docs|kernel|tests)/[\w./-]*\w|\blibodp\b|compat\.h|IBVERBS_PABI|PRXE_TEST")
FOREIGN_IN_PAGE = re.compile(r"(docs|kernel/uapi|tests)/[\w./-]*\w|build\.sh")


class Error(Exception):
    pass


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def holder(prxe):
    """Who has the copyright: '2026, somebody'"""
    return re.search(r"^Copyright \(c\) (.*)$", read(os.path.join(prxe, "LICENSES",
                                                                  "BSD-2-Clause.txt")), re.M)[1]


def comments(name, text):
    """Change what COMMENTS has for this file. The text may be broken into lines anywhere."""
    for file, old, new in COMMENTS:
        if file != name:
            continue
        line = r"\n(?:[ \t]*\*[ \t])?"
        pattern = rf"(?:[ \t]|{line})+".join(map(re.escape, old.split()))
        # If it begins a line, what is said there instead does too.
        text, n = re.subn(rf"(?:[ \t]|({line})){pattern}",
                          lambda m, new=new: m[1] + new.lstrip() if m[1] else new, text)
        text = re.sub(r"\n[ \t]*\*[ \t]+(?=\n)", "", text)  # nothing is left of that line
        if n != 1:
            raise Error(f"{name} does not say \"{old.strip()}\" any more: "
                        "COMMENTS of tools/upstream/convert.py wants a change")
    return text


def finish(name, text, foreign=FOREIGN):
    found = foreign.search(re.sub(r"SPDX.*", "", text))
    if found:
        raise Error(f"{name} speaks of \"{found[0]}\", which is not in rdma-core: "
                    "tools/upstream/convert.py has to change it")
    for line in text.split("\n"):
        if len(line.expandtabs(8)) > WIDTH and name.endswith((".c", ".h")):
            raise Error(f"{name} becomes wider than {WIDTH} columns: {line.strip()}")
    return text


def system_includes(text):
    for name in HEADERS:
        text = text.replace(f'#include "{name}"', f"#include <rdma/{name}>")
    return text


def copyright_line(name, text, who):
    """The files begin with an SPDX line and a comment."""
    text, n = re.subn(r"\A(.*SPDX.*\n/\*\n)", rf"\1 * Copyright (c) {who}.\n *\n", text)
    if n != 1:
        raise Error(f"{name} does not begin with a licence and a comment about the file")
    return text


def header(prxe, name):
    text = comments(name, read(os.path.join(prxe, "kernel/uapi", name)))
    return finish(name, copyright_line(name, text, holder(prxe)))


def page(path):
    name = os.path.basename(path)
    return finish(name, comments(name, read(path)), FOREIGN_IN_PAGE)


def arguments(text, start):
    """Of 'f(a, b(c, d))', with start at the bracket: ['a', 'b(c, d)'], and where it ends."""
    args, depth, last = [], 0, start + 1
    for i in range(start, len(text)):
        c = text[i]
        if c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
        if depth == 0 or (depth == 1 and c == ","):
            args.append(" ".join(text[last:i].split()))
            last = i + 1
        if depth == 0:
            return args, last
    raise Error("a bracket is not closed")


def pick(text, pabi):
    """Decide '#if IBVERBS_PABI_VERSION >= N ... #else ... #endif'."""
    return re.sub(r"#if IBVERBS_PABI_VERSION >= (\d+)\n(.*?)#else\n(.*?)#endif\n",
                  lambda m: m[2] if pabi >= int(m[1]) else m[3], text, flags=re.S)


def wrappers(text):
    """name -> (parameters, what it calls, with which arguments)"""
    found = {}
    for m in re.finditer(r"^static inline int (compat_\w+)(?=\()", text, re.M):
        params, end = arguments(text, m.end())
        call = re.compile(r"\s*\{\s*return (\w+)(?=\()").match(text, end)
        if not call:
            raise Error(f"{m[1]}() of compat.h does more than one call")
        found[m[1]] = ([re.search(r"(\w+)$", p)[1] for p in params], call[1],
                       arguments(text, call.end())[0])
    return found


def wrapped(before, name, args):
    """The call, broken into lines below its bracket. before: what is in front of it in its line."""
    column = len((before + name + "(").expandtabs(8))
    lines, room = [""], WIDTH - column
    for i, arg in enumerate(args):
        word = arg + ("," if i < len(args) - 1 else ")")
        if lines[-1] and len(lines[-1]) + 1 + len(word) + 1 > room:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    indent = "\n" + "\t" * (column // 8) + " " * (column % 8)
    return name + "(" + indent.join(lines)


def inline(text, functions):
    for name, (params, callee, values) in functions.items():
        while (m := re.search(rf"\b{name}(?=\()", text)):
            args, end = arguments(text, m.end())
            given = dict(zip(params, args))
            before = text[text.rfind("\n", 0, m.start()) + 1:m.start()]
            call = wrapped(before, callee, [given.get(v, v) for v in values])
            text = text[:m.start()] + call + text[end:]
    return text


def provider(prxe, cmakelists):
    """name -> text, for the version of rdma-core whose CMakeLists.txt this is"""
    pabi = re.search(r'^set\(IBVERBS_PABI_VERSION "(\d+)"\)', cmakelists, re.M)
    if not pabi:
        raise Error("rdma-core's CMakeLists.txt does not say IBVERBS_PABI_VERSION")
    folder = os.path.join(prxe, "providers/prxe")
    functions = wrappers(pick(read(os.path.join(folder, "compat.h")), int(pabi[1])))
    found = {}
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), "*.[ch]"))):
        name = os.path.basename(path)
        if name == "compat.h":
            continue
        text = comments(name, read(path)).replace('#include "compat.h"\n', "")
        text = re.sub(r"#ifdef PRXE_TEST_\w+\n.*?#endif\n", "", text, flags=re.S)
        text = copyright_line(name, inline(system_includes(text), functions), holder(prxe))
        found[name] = finish(name, text)
    return found
