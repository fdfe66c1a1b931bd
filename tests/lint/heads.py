# SPDX-License-Identifier: BSD-2-Clause
"""
The heads of tests (tools/harness/test.sh has their language): a word that is misspelt there would
mean, without a word, that the test never runs.
"""
import os
import re
from findings import Finding

KERNELS = ("stable", "latest", "debug", "oldstable", "rt", "cloud", "sid", "debug-rt", "arm64",
           "arm64-16k")
KEYS = ("kernels", "more", "timeout", "where", "mem", "leaks", "modargs", "disk", "link",
        "allow")
# These need not run every day; docs/testing.md says so.
NOT_DAILY = ("lint/style", "vm/leaks", "verbs/huge", "install/upstream", "install/package",
             "install/trixie", "install/trixie-cloud", "install/trixie-rt", "install/bookworm",
             "install/sid", "install/readme", "install/recipes-runner",
             "install/recipes-container", "mmu/preempt", "wire/arm64")


def head(text):
    """The comment at the file's start: (line number, key, words)"""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.startswith("#"):
            return
        m = re.match(r"# ([a-z]+): (.*)$", line)
        if m:
            yield number, m[1], m[2].split()


def is_turn(word):
    """KERNEL, or KERNEL:K/N with K < N"""
    m = re.fullmatch(r"([\w-]+)(?::(\d+)/(\d+))?", word)
    return m and m[1] in KERNELS and (not m[2] or int(m[2]) < int(m[3]))


def daily(words):
    """On some kernel every day: without a turn, or by turns that have all days."""
    turns = [re.search(r":(\d+)/(\d+)$", word) for word in words]
    if not all(turns):
        return True
    of = {int(t[2]) for t in turns}
    return len(of) == 1 and {int(t[1]) for t in turns} == set(range(*of))


def check(project):
    found = []
    for path in project.files("tests/*/*.test"):
        name = path[len("tests/"):-len(".test")]
        if not os.access(project.path(path), os.X_OK):
            found.append(Finding(path, 1, "head", "-", "is not executable, so it is no test"))
        seen = {}
        for number, key, words in head(project.texts[path]):
            if key not in KEYS:
                continue  # prose
            if key in seen:
                found.append(Finding(path, number, "head", key, f"a second \"{key}:\""))
            seen[key] = words
            if key not in ("kernels", "more") or words == ["none"]:
                continue
            for word in words:
                if not is_turn(word):
                    found.append(Finding(path, number, "head", word,
                                         f"\"{word}\" is no kernel, or no turn of one"))
        if "kernels" not in seen:
            found.append(Finding(path, 1, "head", "-", "does not say on which kernels it runs"))
        elif name not in NOT_DAILY and (seen["kernels"] == ["none"] or not daily(seen["kernels"])):
            found.append(Finding(path, 1, "head", "-", "does not run somewhere every day"))
    return found
