# SPDX-License-Identifier: BSD-2-Clause
"""
Other projects' checkers: codespell, mandoc, shellcheck, yamllint, checkpatch.pl, sparse. tools.sh
fetches them.
"""
import fnmatch
import glob
import hashlib
import os
import re
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
import actions
from findings import Finding
from project import table

RULES = ("spelling", "mandoc", "shellcheck", "yaml", "actions", "checkpatch", "sparse")
# Other people's texts, and a list of what is found.
NOT_OURS = ("LICENSE*", "tests/lint/exceptions")


class Broken(Exception):
    """A checker did not do its work: what it said is no verdict."""


def run(project, cmd, fine=(0, 1)):
    """What it printed. These programs exit with 1 when they find something."""
    done = subprocess.run(cmd, cwd=project.top, capture_output=True, text=True)
    if done.returncode not in fine:
        said = (done.stderr or done.stdout)[-500:]
        raise Broken(f"{cmd[0]}: exit status {done.returncode}: {said}")
    return done.stdout


def each(work, items):
    """work(item) for each, on all processors; the results one after the other."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for result in pool.map(lambda item: list(work(item)), items):
            yield from result


def kept(project, tools, cmd, *depends):
    """
    What a command prints, which depends on nothing but itself and these texts. The answers of slow
    ones are kept beside them, by a hash of what was asked.
    """
    path = os.path.join(tools, "said", hashlib.sha256(repr((cmd, depends)).encode()).hexdigest())
    try:
        with open(path) as f:
            return f.read()
    except FileNotFoundError:
        out = run(project, cmd)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    new = f"{path}.{os.getpid()}"
    with open(new, "w") as f:
        f.write(out)
    os.replace(new, path)
    return out


def shell_files(project):
    """By the shebang; and parts that others read in, by shellcheck's directive in their head."""
    return [p for p, text in project.texts.items()
            if re.match(r"#!.*\b(?:ba|da|)sh\b", text) or
            re.search(r"^# shellcheck shell=", "\n".join(text.split("\n")[:5]), re.M)]


def ignored(path):
    """The table of what a checker says in vain: (type, pattern of files)"""
    return [tuple(line.split(None, 2)[:2]) for _, line in table(path)]


def shellcheck(project, tools, ignored_path):
    cmd = ["shellcheck", "-x", "-P", "SCRIPTDIR", "-f", "gcc"]
    cmd += ["--exclude=" + ",".join(kind for kind, _ in ignored(ignored_path))]
    files = shell_files(project)
    # Any part may be read in by any script.
    parts = [project.texts[p] for p in files if not project.texts[p].startswith("#!")]

    def work(path):
        out = kept(project, tools, [*cmd, path], project.texts[path], parts)
        for m in re.finditer(r"^(.*?):(\d+):\d+: \w+: (.*) \[(SC\d+)\]$", out, re.M):
            yield Finding(m[1], int(m[2]), "shellcheck", m[4], m[3])
    return each(work, files)


_YAMLLINT = """{extends: default, rules: {
    document-start: disable, line-length: {max: 100}, comments: {min-spaces-from-content: 1}}}"""


def yamllint(project):
    files = project.files("*.yml", "*.yaml")
    if not files:
        return
    out = run(project, ["yamllint", "-f", "parsable", "-d", _YAMLLINT, *files])
    for m in re.finditer(r"^(?:\./)?(.*?):(\d+):\d+: \[\w+\] (.*?)(?: \(([\w-]+)\))?$", out, re.M):
        yield Finding(m[1], int(m[2]), "yaml", m[4] or "-", m[3])


def github(project, ignored_path):
    """Actions and workflows; their shell steps are shown to shellcheck as GitHub runs them."""
    exclude = "--exclude=" + ",".join(kind for kind, _ in ignored(ignored_path))

    def shell_step(names, text):
        script = f"#!/bin/bash\nset -e -o pipefail\nexport {names}\n{text}"
        with tempfile.NamedTemporaryFile("w", suffix=".sh") as f:
            f.write(script)
            f.flush()
            out = run(project, ["shellcheck", "-f", "gcc", exclude, f.name])
        return re.findall(r"^.*?:\d+:\d+: \w+: (.*) \[(SC\d+)\]$", out, re.M)
    return actions.check(project, shell_step)


def codespell(project, words):
    files = sorted(set(project.texts) - set(project.files(*NOT_OURS)))
    out = run(project, ["codespell", "-I", words, *files], fine=(0, 65))
    for m in re.finditer(r"^(?:\./)?(.*?):(\d+): (\S+) ==> (.*)$", out, re.M):
        yield Finding(m[1], int(m[2]), "spelling", m[3], f"meant is: {m[4]}")


def mandoc(project):
    pages = [p for p in project.files("*.[1-9]") if not project.texts[p].startswith(".so ")]
    if not pages:
        return
    out = run(project, ["mandoc", "-Tlint", "-Wwarning", *pages], fine=(0, 2, 3, 4))
    for m in re.finditer(r"^mandoc: (.*?):(\d+):\d+: (.*)$", out, re.M):
        yield Finding(m[1], int(m[2]), "mandoc", "-", m[3])


def checkpatch(project, tools, ignored_path):
    script = os.path.join(tools, "scripts", "checkpatch.pl")
    cmd = ["perl", script, "--no-tree", "--strict", "--terse", "--show-types", "--no-summary"]
    skip = ignored(ignored_path)

    def work(path):
        out = kept(project, tools, [*cmd, "-f", path], project.texts[path])
        for m in re.finditer(r"^(.*?):(\d+): (?:ERROR|WARNING|CHECK):(\w+): (.*)$", out, re.M):
            if not any(m[3] == kind and fnmatch.fnmatch(path, "kernel/" + pat)
                       for kind, pat in skip):
                yield Finding(path, int(m[2]), "checkpatch", m[3], m[4])
    return each(work, project.files("kernel/*.c", "kernel/*.h"))


# In a copy, because the module's build writes beside its sources. $1: the kernel's build directory.
_SPARSE = """
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT && cp -r kernel/. "$dir" || exit 2
make -k -j"$(nproc)" -C "$1" M="$dir" C=2 CHECK=sparse modules >"$dir/said" 2>&1 ||
	{ tail -n 5 "$dir/said" >&2; exit 2; }
sed "s,$dir/,kernel/,g" "$dir/said"
"""


def sparse(project, tools):
    """What sparse and the compiler say of the module, built for the kernel of this root."""
    kernels = sorted(glob.glob("/lib/modules/*/build"))
    if not kernels:
        raise Broken("sparse: there are no kernel headers below /lib/modules")
    texts = [(path, project.texts[path]) for path in project.files("kernel/*")]
    out = kept(project, tools, ["bash", "-c", _SPARSE, "sparse", kernels[-1]], texts)
    for m in re.finditer(r"^\s*(kernel/\S+?):(\d+):\d+: (?:warning|error): (.*)$", out, re.M):
        yield Finding(m[1], int(m[2]), "sparse", "-", m[3])
