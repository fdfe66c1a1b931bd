# SPDX-License-Identifier: BSD-2-Clause
"""
The user ABI has one home (the table "abi"): nobody has a copy of it, and what has to repeat it
agrees with it.

A copy has the name of a macro, an enumerator or a structure of a home, or is a structure with the
members of one, or a number that stands for an offset or a size.
"""
import os
import re
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from findings import Finding
from project import code_only, table

OURS = ("kernel/uapi/*.h",)
CODE = ("*.c", "*.h")

_PRELUDE = """#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <linux/types.h>
#define BIT(n) (1UL << (n))
"""


def values(project, header, exprs):
    """What expressions are worth with a header: by expression; or the compiler's complaint."""
    body = "".join(f'\tprintf("%llu\\n", 0ULL + ({expr}));\n' for expr in exprs)
    name = header if header.startswith("<") else f'"{project.path(header)}"'
    with tempfile.TemporaryDirectory() as tmp:
        src, prog = os.path.join(tmp, "abi.c"), os.path.join(tmp, "abi")
        with open(src, "w") as f:
            f.write(f"{_PRELUDE}#include {name}\nint main(void)\n{{\n{body}\treturn 0;\n}}\n")
        done = subprocess.run(["gcc", "-std=gnu11", "-w", "-o", prog, src],
                              capture_output=True, text=True)
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if "error:" in line]
            return (errors or [done.stderr])[0]
        out = subprocess.run([prog], capture_output=True, text=True, check=True).stdout
    return dict(zip(exprs, map(int, out.split())))


class Table:
    """
    stand_ins: file -> the header that it stands in for; rows: (line, name, header, expression);
    numbers: name -> line
    """

    def __init__(self, path):
        self.stand_ins, self.rows, self.numbers = {}, [], {}
        for number, line in table(path):
            words = line.split(None, 2)
            if words[0] == "stand-in":
                self.stand_ins[words[1]] = words[2]
            elif words[0] == "number":
                self.numbers[words[1]] = number
            else:
                self.rows.append((number, *words))


def check(project, table_path):
    tab = Table(table_path)
    ours = project.files(*OURS)
    found, rows = [], []

    def bad_line(number, text):
        found.append(Finding("tests/lint/abi", number, "abi-table", "-", text))

    for row in tab.rows:
        number, _, header, _ = row
        if header.startswith("<") or header in ours or \
           header in tab.stand_ins and header in project.texts:
            rows.append(row)
        else:
            bad_line(number, f"{header} is neither a home of the ABI nor a stand-in")
    for path, header in tab.stand_ins.items():
        for name, struct in names_of(project.texts.get(path, "")).items():
            if struct:
                size = f"sizeof(struct {name})"
                rows += [(0, size, header, size), (0, size, path, size)]

    exprs = {}
    for _, _, header, expr in rows:
        exprs.setdefault(header, {})[expr] = True
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        answers = list(pool.map(lambda item: values(project, item[0], list(item[1])),
                                exprs.items()))
    value = {}
    for header, got in zip(exprs, answers):
        if isinstance(got, str):
            found.append(Finding(header, 1, "abi-value", "-", f"cannot be compiled: {got}"))
        else:
            value.update({(header, expr): v for expr, v in got.items()})

    first = {}
    for _, name, header, expr in rows:
        now = value.get((header, expr))
        where, its = first.setdefault(name, (header, now))
        if None not in (now, its) and now != its:
            found.append(Finding(header, 1, "abi-value", name,
                                 f"{expr} is {now}, in {where} it is {its}"))

    homes = set(ours) | set(tab.stand_ins)
    others = [path for path in project.files(*CODE) if path not in homes]
    found += same_names(project, homes, ours, others) + same_members(project, ours, others)
    numbers = {}
    for name, number in tab.numbers.items():
        if name in first:
            numbers[first[name][1]] = name
        else:
            bad_line(number, f"there is no {name}")
    return found + same_numbers(project, numbers, others)


def copy(path, code, offset, text):
    return Finding(path, 1 + code[:offset].count("\n"), "abi-copy", "-", text)


def names_of(text):
    """Macros, structures and enumerators that a header defines: name -> is it a structure?"""
    macros = re.findall(r"^[ \t]*#\s*define\s+(\w+)(?![\w(])[ \t]+\S", text, re.M)
    names = {n: False for n in macros}
    names.update({n: True for n in re.findall(r"^struct\s+(\w+)\s*\{", text, re.M)})
    for body in re.findall(r"^enum\b[^{;]*\{([^}]*)\}", text, re.M):
        body = re.sub(r"/\*.*?\*/", "", body)
        names.update({n: False for n in re.findall(r"(?:^|,)\s*([A-Za-z_]\w*)", body)})
    return names


def definition(text, name, struct):
    """Where a file defines a macro, an enumerator or a structure; or None."""
    if name not in text:
        return None
    if struct:
        m = re.search(r"^struct\s+%s\s*\{" % name, text, re.M)
    else:
        m = re.search(r"^[ \t]*#\s*define\s+%s\b" % name, text, re.M) or \
            re.search(r"^enum\b[^{;]*\{[^}]*\b%s\b\s*[,=}\n]" % name, text, re.M)
    return m and m.start()


def same_names(project, homes, ours, others):
    """A stand-in also stands for enumerators of the kernel's that are no user ABI."""
    found = []
    for home in sorted(homes & set(project.texts)):
        for name, struct in names_of(project.texts[home]).items():
            for path in others if struct or home in ours else ():
                text = project.texts[path]
                at = definition(text, name, struct)
                if at is not None:
                    found.append(copy(path, text, at, f"a copy of {name} of {home}"))
    return found


def structures(code):
    """Of each structure without another one in it: (offset, name or "", names of its members)"""
    for m in re.finditer(r"\bstruct\s*(\w*)\s*\{([^{}]*)\}", code):
        yield m.start(), m[1], tuple(re.findall(r"(\w+)\s*(?:\[[^\]]*\]\s*)?[,;]", m[2]))


def same_members(project, ours, others):
    """Copies under another name. Those with the same name are found by it."""
    homes = {members: (name, header) for header in ours
             for _, name, members in structures(code_only(project.texts[header]))}
    found = []
    for path in others:
        code = code_only(project.texts[path])
        for at, name, members in structures(code):
            home = homes.get(members)
            if home and name != home[0]:
                found.append(copy(path, code, at, f"a copy of struct {home[0]} of {home[1]}"))
    return found


# A number that is added, or given a name: "+ 208", "= 208", "#define SIZE 208".
_NUMBER = re.compile(r"(?:[+=]|#\s*define\s+\w+)\s*(0[xX][0-9a-fA-F]+|[1-9]\d*)[uUlL]*\b")


def same_numbers(project, numbers, others):
    """An assertion may have them: it does not go wrong unnoticed."""
    found = []
    for path in others:
        code = re.sub(r"\bstatic_assert\s*\([^;]*;", lambda m: re.sub(r"[^\n]", " ", m[0]),
                      code_only(project.texts[path]))
        for m in _NUMBER.finditer(code):
            name = numbers.get(int(m[1], 0))
            if name:
                found.append(copy(path, code, m.start(), f"{m[1]} is {name} of the user ABI"))
    return found
