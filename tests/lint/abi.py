# SPDX-License-Identifier: BSD-2-Clause
"""
The user ABI's numbers (the table "abi"): all places agree, and each place but the first is a copy.

Each file's expressions become a small C program that prints their values. Copies that the table
does not know are found by their names, if they have those of the ABI's headers.
"""
import os
import re
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from findings import Finding
from project import table

HEADERS = ("kernel/uapi/*.h",)
CODE = ("*.c", "*.h")

_PRELUDE = """#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <linux/ioctl.h>
#include <linux/types.h>
"""
# What the excerpts of our own files are written in. A whole file includes what it needs.
_EXCERPTS = """#include <rdma/ib_user_verbs.h>
#include <rdma/rdma_user_rxe.h>
typedef __u8 u8; typedef __u16 u16; typedef __u32 u32; typedef __u64 u64;
"""
_C_WORDS = {"sizeof", "offsetof", "struct", "literal"}


def definition(text, name, struct):
    """A macro, an enumerator or a structure that a file defines: (offset, text), or None."""
    if name not in text:
        return None
    if struct:
        m = re.search(r"^struct\s+%s\s*\{.*?^\};" % name, text, re.M | re.S)
    else:
        m = re.search(r"^[ \t]*#\s*define\s+%s\b(?:.*\\\n)*.*$" % name, text, re.M) or \
            re.search(r"^enum\b[^{;]*\{[^}]*\b%s\b\s*[,=}\n][^}]*\};" % name, text, re.M)
    return m and (m.start(), m.group())


def excerpt(text, expr):
    """What an expression needs: (line of the first, definitions); None: one is not there."""
    struct = re.findall(r"\bstruct (\w+)", expr)
    names = struct or [n for n in re.findall(r"[A-Za-z_]\w*", expr) if n not in _C_WORDS]
    first, parts = None, []
    for name in names:
        got = definition(text, name, bool(struct))
        if not got:
            return None
        first = first or 1 + text[:got[0]].count("\n")
        parts.append(got[1])
    return first, parts


def values(project, path, exprs, whole):
    """Of a file's expressions: their values, by expression; or the compiler's complaint."""
    if path in whole:
        head = _PRELUDE + "#define BIT(n) (1UL << (n))\n"
        head += "#include %s\n" % (path if path.startswith("<") else f'"{project.path(path)}"')
    else:
        parts = dict.fromkeys(p for expr in exprs for p in excerpt(project.texts[path], expr)[1])
        head = _PRELUDE + _EXCERPTS + "\n".join(parts) + "\n"
    body = "".join(f'\tprintf("%llu\\n", 0ULL + ({expr}));\n' for expr in exprs)
    with tempfile.TemporaryDirectory() as tmp:
        src, prog = os.path.join(tmp, "abi.c"), os.path.join(tmp, "abi")
        with open(src, "w") as f:
            f.write(f"{head}int main(void)\n{{\n{body}\treturn 0;\n}}\n")
        done = subprocess.run(["gcc", "-std=gnu11", "-w", "-o", prog, src],
                              capture_output=True, text=True)
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if "error:" in line]
            return (errors or [done.stderr])[0]
        out = subprocess.run([prog], capture_output=True, text=True, check=True).stdout
    return dict(zip(exprs, map(int, out.split())))


def check(project, table_path):
    found, whole, rows = [], set(), []
    for number, line in table(table_path):
        words = line.split(None, 2)
        if words[0] == "whole":
            whole.add(words[1])
        else:
            rows.append((number, *words))

    by_file, value, at = {}, {}, {}
    for number, name, path, expr in rows:
        where = "tests/lint/abi", number
        if path.startswith("<"):
            by_file.setdefault(path, []).append(expr)
        elif path not in project.texts:
            found.append(Finding(*where, "abi-table", "-", f"there is no {path}"))
        elif expr.startswith("literal "):
            n = expr.split()[1]
            m = re.search(r"\+ %s\b" % n, project.texts[path])
            if m:
                value[path, expr] = int(n)
                at[path, expr] = 1 + project.texts[path][:m.start()].count("\n")
            else:
                found.append(Finding(*where, "abi-table", "-", f"{path} has no + {n}"))
        else:
            got = excerpt(project.texts[path], expr)
            if got or path in whole:
                at[path, expr] = got[0] if got else 1
                by_file.setdefault(path, []).append(expr)
            else:
                found.append(Finding(*where, "abi-table", "-", f"{path} does not define {expr}"))
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        answers = list(pool.map(lambda item: values(project, *item, whole), by_file.items()))
    for path, got in zip(by_file, answers):
        if isinstance(got, str):
            found.append(Finding(path, 1, "abi-value", "-", f"cannot be compiled: {got}"))
        else:
            value.update({(path, expr): v for expr, v in got.items()})

    home, known = {}, set()
    for _, name, path, expr in rows:
        known.update((path, word) for word in re.findall(r"[A-Za-z_]\w*", expr))
        if name not in home:
            home[name] = path, expr
            continue
        if (path, expr) not in at:
            continue
        line = at[path, expr]
        found.append(Finding(path, line, "abi-copy", "-", f"a copy of {name} of {home[name][0]}"))
        ours, its = value.get((path, expr)), value.get(home[name])
        if None not in (ours, its) and ours != its:
            found.append(Finding(path, line, "abi-value", name,
                                 f"{expr} is {ours}, in {home[name][0]} it is {its}"))
    return found + strange_copies(project, known)


def names_of(text):
    """Macros, structures and enumerators that a header defines: name -> is it a structure?"""
    macros = re.findall(r"^[ \t]*#\s*define\s+(\w+)(?![\w(])[ \t]+\S", text, re.M)
    names = {n: False for n in macros}
    names.update({n: True for n in re.findall(r"^struct\s+(\w+)\s*\{", text, re.M)})
    for body in re.findall(r"^enum\b[^{;]*\{([^}]*)\}", text, re.M):
        body = re.sub(r"/\*.*?\*/", "", body)
        names.update({n: False for n in re.findall(r"(?:^|,)\s*([A-Za-z_]\w*)", body)})
    return names


def strange_copies(project, known):
    found = []
    headers = project.files(*HEADERS)
    for header in headers:
        for name, struct in names_of(project.texts[header]).items():
            for path in project.files(*CODE):
                if (path, name) in known or path in headers:
                    continue
                got = definition(project.texts[path], name, struct)
                if got:
                    line = 1 + project.texts[path][:got[0]].count("\n")
                    found.append(Finding(path, line, "abi-copy", "-",
                                         f"a copy of {name} of {header}"))
    return found
