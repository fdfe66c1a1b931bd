#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""
The checks: lint.py TOP [TOOLS]. TOP is the project; TOOLS the directory that tools.sh prints, for
the checks that take other projects' programs.

When the exception list can be shorter, the shorter one is build/lint-exceptions.
"""
import os
import sys
import time

sys.dont_write_bytecode = True
import abi
import heads
import layers
import outside
import text
from findings import BadList, judge, lower, read_exceptions
from project import Project

HERE = os.path.dirname(os.path.abspath(__file__))


def here(name):
    return os.path.join(HERE, name)


def checks(project, tools):
    """name of the check -> what it finds"""
    yield "layers", lambda: layers.check(project, here("layers"))
    yield "text", lambda: text.check(project)
    yield "heads", lambda: heads.check(project)
    yield "abi", lambda: abi.check(project, here("abi"))
    if not tools:
        return
    yield "codespell", lambda: outside.codespell(project, here("words"))
    yield "mandoc", lambda: outside.mandoc(project)
    yield "shellcheck", lambda: outside.shellcheck(project, tools, here("shellcheck"))
    yield "yamllint", lambda: outside.yamllint(project)
    yield "github", lambda: outside.github(project, here("shellcheck"))
    yield "checkpatch", lambda: outside.checkpatch(project, tools, here("checkpatch"))
    yield "sparse", lambda: outside.sparse(project, tools)


def use(tools):
    os.environ["PATH"] = f"{tools}/usr/bin:{os.environ['PATH']}"
    os.environ["PYTHONPATH"] = packages = f"{tools}/usr/lib/python3/dist-packages"
    sys.path.append(packages)


def main(top, tools=None):
    if tools:
        use(tools)
    others = () if tools else outside.RULES   # what is not looked at says nothing of its exceptions
    project = Project(top)
    found = []
    try:
        allowed = read_exceptions(here("exceptions"), others)
        for name, check in checks(project, tools):
            start = time.monotonic()
            new = list(check())
            print(f"{name}: {len(new)} findings, {time.monotonic() - start:.1f} s", flush=True)
            found += new
    except (BadList, outside.Broken) as e:
        print(f"FAIL: {e}")
        return 1
    wrong = judge(found, allowed, "tests/lint/exceptions")
    for line in wrong:
        print(f"FAIL: {line}")
    if lower(found, here("exceptions"), project.path("build/lint-exceptions"), others):
        print("to lower the numbers: cp build/lint-exceptions tests/lint/exceptions")
    print(f"{len(project.texts)} files, {len(allowed)} exceptions, {len(wrong)} complaints")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
