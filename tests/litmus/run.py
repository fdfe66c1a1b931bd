#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Have herd7 check the litmus tests of this folder, and the variants of each without a barrier.

Usage: run.py [-v] MODEL HERD... [-- FILE.litmus...]
MODEL is the folder of the kernel's memory model (tools/memory-model), HERD the words that run
herd7. -v prints herd7's answers.

A litmus test says in its head what herd7 has to answer, in the words of the kernel's own tests:

    (* ...
     * Result: Never
     *)

Never: no execution that the model allows has the bad state of the "exists" clause. A line of code
with a barrier says at its end what the answer is without it:

    smp_mb(); // enter-mb Sometimes             the line is left out
    smp_store_release(g, 2); // leave-release Sometimes: WRITE_ONCE(*g, 2);
                                                the line is replaced
    r = xchg(h, 0); // claim Sometimes: xchg -> xchg_relaxed
                                                a word of the line is replaced
    smp_mb(); // end-mb                         this one is for a variant in the head only

A line in the head leaves out several barriers at once:

     * Without wait-acquire, end-mb: Sometimes

The answer "Never" without a barrier means that others forbid the bad state as well; the test says
which. Exit status 1: an answer is another one, or herd7 could not read a test.
"""
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
LABEL = re.compile(r"\s*// ([a-z0-9-]+)(?: (Never|Sometimes|Always)(?:: (.*))?)?$")
RESULT = re.compile(r"^ \* Result: (\w+)$", re.M)
WITHOUT = re.compile(r"^ \* Without ([a-z0-9, -]+): (\w+)$", re.M)


class Wrong(Exception):
    """A test that cannot be run; the text says why."""


def variant(text, labels):
    """The test without the barriers that the labels name."""
    left = set(labels)
    lines = []
    for line in text.splitlines():
        found = LABEL.search(line)
        if found and found.group(1) in labels:
            left.discard(found.group(1))
            old, arrow, new = (found.group(3) or "").partition(" -> ")
            line = line[:found.start()].replace(old, new, 1) if arrow else old
        lines.append(LABEL.sub("", line))
    if left:
        raise Wrong(f"no line is called {', '.join(sorted(left))}")
    return "\n".join(lines) + "\n"


def cases(text):
    """What is to be checked: (labels to leave out, expected answer)."""
    results = RESULT.findall(text)
    if len(results) != 1:
        raise Wrong("the head must have one line ' * Result: Never'")
    todo = [((), results[0])]
    used = set()
    labels = [m for m in map(LABEL.search, text.splitlines()) if m]
    for found in labels:
        if found.group(2):
            todo.append(((found.group(1),), found.group(2)))
            used.add(found.group(1))
    for names, answer in WITHOUT.findall(text):
        names = tuple(names.split(", "))
        todo.append((names, answer))
        used.update(names)
    unused = {m.group(1) for m in labels} - used
    if unused:
        raise Wrong(f"no answer is given for {', '.join(sorted(unused))}")
    if results[0] == "Never" and "Sometimes" not in dict(todo).values():
        raise Wrong("no barrier is shown to be needed: can the bad state be reached at all?")
    return todo


def ask(herd, model, text):
    """What herd7 says of a test: its verdict, and all that it has printed."""
    with tempfile.NamedTemporaryFile("w", suffix=".litmus") as file:
        file.write(text)
        file.flush()
        out = subprocess.run([*herd, "-conf", "linux-kernel.cfg", file.name], cwd=model,
                             text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             timeout=60, check=False)
    found = re.search(r"^Observation \S+ (\w+) ", out.stdout, re.M)
    if out.returncode or not found:
        raise Wrong("herd7 did not understand it:\n" + out.stdout)
    if "Flag " in out.stdout:
        raise Wrong("herd7 has a remark:\n" + out.stdout)
    return found.group(1), out.stdout


def check(herd, model, path, labels, expected):
    """One case: (right?, a line for the log, herd7's output)."""
    name = path.stem + (" without " + ", ".join(labels) if labels else "")
    try:
        answer, out = ask(herd, model, variant(path.read_text(), labels))
    except (Wrong, subprocess.TimeoutExpired) as err:
        return False, f"FAIL: {name}: {err}", ""
    if answer != expected:
        return False, f"FAIL: {name}: herd7 says {answer}, expected was {expected}", out
    return True, f"ok    {name}: {answer}", out


def main(argv):
    """Run what the command line asks for."""
    verbose = argv[:1] == ["-v"]
    argv = argv[verbose:]
    files = []
    if "--" in argv:
        files = [pathlib.Path(f) for f in argv[argv.index("--") + 1:]]
        argv = argv[:argv.index("--")]
    if len(argv) < 2:
        sys.exit(__doc__)
    model, herd = argv[0], argv[1:]
    files = files or sorted(HERE.glob("*.litmus"))
    failed = 0
    todo = []
    for path in files:
        try:
            todo += [(path, *case) for case in cases(path.read_text())]
        except Wrong as err:
            failed += 1
            print(f"FAIL: {path.name}: {err}")
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for good, line, out in pool.map(lambda case: check(herd, model, *case), todo):
            failed += not good
            print(line)
            if verbose or not good:
                print(out)
    print(f"{len(files)} litmus tests, {len(todo)} answers of herd7, {failed} wrong")
    return bool(failed or not todo)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
