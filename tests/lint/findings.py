# SPDX-License-Identifier: BSD-2-Clause
"""
Findings, and the exceptions that the project still needs.

A line of the exception list is:   FILE RULE WHAT NUMBER  REASON
It allows so many findings of one kind in one file. More findings fail; fewer fail as well, until
the number is lowered: so the list can only shrink. WHAT is what the rule says in brackets, or -.
"""
import os
from collections import namedtuple
from project import table

# One finding may stand for several: number.
Finding = namedtuple("Finding", "file line rule what text number", defaults=(1,))


class BadList(Exception):
    pass


def read_exceptions(path, without=()):
    """(file, rule, what) -> (number, line in the list); but those of some rules"""
    allowed = {}
    for number, line in table(path):
        fields = line.split(None, 4)
        if len(fields) < 5 or not fields[3].isdigit() or int(fields[3]) == 0:
            raise BadList(f"{path}:{number}: not FILE RULE WHAT NUMBER REASON")
        if tuple(fields[:3]) in allowed:
            raise BadList(f"{path}:{number}: the same exception stands above")
        allowed[tuple(fields[:3])] = int(fields[3]), number
    return {kind: n for kind, n in allowed.items() if kind[1] not in without}


def judge(findings, allowed, list_name):
    """What is wrong, one line each. An empty list is a pass."""
    wrong = []
    kinds = {}
    for f in findings:
        kinds.setdefault((f.file, f.rule, f.what), []).append(f)
    for kind, found in sorted(kinds.items()):
        number, at = allowed.get(kind, (0, 0))
        now = sum(f.number for f in found)
        if now > number:
            name = kind[1] + ("" if kind[2] == "-" else f" [{kind[2]}]")
            wrong += [f"{f.file}:{f.line}: {name}: {f.text}" for f in found]
            if number:
                wrong.append(f"{list_name}:{at}: {number} of these {now} are allowed")
        elif now < number:
            wrong.append(f"{list_name}:{at}: lower the number from {number} to {now}: "
                         + " ".join(kind))
    for kind, (number, at) in allowed.items():
        if kind not in kinds:
            wrong.append(f"{list_name}:{at}: not needed any more, remove it: {' '.join(kind)}")
    return wrong


def lower(findings, path, new_path, without=()):
    """
    Write a list with lower numbers, without what is not needed. Exceptions of some rules stay as
    they are. False: there was no need to.
    """
    count = {}
    for f in findings:
        kind = f.file, f.rule, f.what
        count[kind] = count.get(kind, 0) + f.number
    with open(path) as f:
        lines = f.readlines()
    changed = False
    for number, line in table(path):
        fields = line.split(None, 4)
        now = count.get(tuple(fields[:3]), 0)
        if now < int(fields[3]) and fields[1] not in without:
            changed = True
            fields[3] = str(now)
            lines[number - 1] = " ".join(fields[:4]) + "  " + fields[4] + "\n" if now else ""
    if changed:
        os.makedirs(os.path.dirname(new_path), exist_ok=True)
        with open(new_path, "w") as f:
            f.writelines(lines)
    return changed
