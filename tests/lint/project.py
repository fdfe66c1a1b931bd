# SPDX-License-Identifier: BSD-2-Clause
"""The project's files, as the checks see them. Git is not asked: where the test runs is none."""
import fnmatch
import os
import re


class Project:
    """All text files below a directory, by their path from there, but what .gitignore names."""

    def __init__(self, top):
        self.top = top = os.path.abspath(top)
        self.texts = {}
        ignored = self._ignored()
        for where, dirs, names in os.walk(top):
            rel = os.path.relpath(where, top)
            here = "" if rel == "." else rel + "/"
            dirs[:] = sorted(d for d in dirs if d not in (".git", "__pycache__")
                             and not ignored(here + d + "/"))
            for name in sorted(names):
                path = os.path.join(where, name)
                if name == ".git" or os.path.islink(path) or ignored(here + name):
                    continue
                with open(path, "rb") as f:
                    data = f.read()
                if b"\0" not in data:
                    self.texts[here + name] = data.decode("utf-8", "replace")

    def _ignored(self):
        """Does .gitignore name a path? As much of its language as ours uses."""
        try:
            with open(os.path.join(self.top, ".gitignore")) as f:
                pats = [line.strip() for line in f if line.strip() and line[0] != "#"]
        except FileNotFoundError:
            pats = []

        def ignored(path):
            for pat in pats:
                if pat.startswith("/"):
                    if path == pat[1:]:
                        return True
                elif fnmatch.fnmatch(os.path.basename(path.rstrip("/")), pat.rstrip("/")):
                    return True
            return False
        return ignored

    def files(self, *pats):
        """Paths that one of the patterns matches; * matches slashes, too."""
        return [p for p in self.texts if any(fnmatch.fnmatch(p, pat) for pat in pats)]

    def lines(self, path):
        return self.texts[path].split("\n")

    def path(self, path):
        return os.path.join(self.top, path)


def table(path):
    """The lines of a table file, as (line number, text), without comments and blank lines."""
    with open(path) as f:
        for number, line in enumerate(f, 1):
            if line.strip() and not line.startswith("#"):
                yield number, line.rstrip("\n")


# What is no code: comments, strings, characters. Newlines stay: lines keep their numbers.
_NO_CODE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def code_only(text):
    return _NO_CODE.sub(lambda m: '""' if m.group().startswith('"')
                        else re.sub(r"[^\n]", " ", m.group()), text)
