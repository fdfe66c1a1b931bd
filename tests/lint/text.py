# SPDX-License-Identifier: BSD-2-Clause
"""What all text keeps to: width, blanks, length, a license line, and which words it avoids."""
import re
from findings import Finding

WIDTH = 100
LENGTH = 1000
GENERATED = ("docs/matrix.md",)
LICENSES = ("LICENSE*",)

# Files that carry no license line of their own: documents, and lists that have no comments.
NO_SPDX = ("*.md", "*.gitignore", "LICENSE*", "packaging/debian/changelog",
           "packaging/debian/source/format")

# Left over from work in progress. In brackets, so that this file is not found.
_LEFT = re.compile(r"\b(TO[D]O|FIX[M]E|XX[X])\b")

# Paths of somebody's machine. A path starts where no other goes on, not even one that ends with a
# quote.
_WORDS = [
    (re.compile(r"(?<![\w.$}*/-])(?<![\w.$}*-][\"'])/(?:hom[e]|roo[t])/\w"),
     "a path of somebody's machine"),
]


def width(line):
    return len(line.expandtabs(8))


def too_wide(path, line):
    if width(line) <= WIDTH:
        return False
    if path.endswith(".md") and line.lstrip().startswith("|"):
        return False  # a table
    # A URL cannot be broken: only what stands around it counts.
    return width(re.sub(r"https?://\S+", "", line)) > WIDTH


def check(project):
    found = []
    licenses = set(project.files(*LICENSES))
    for path in project.texts:
        if path in licenses:
            continue
        lines = project.lines(path)
        for number, line in enumerate(lines, 1):
            if path not in GENERATED and too_wide(path, line):
                found.append(Finding(path, number, "width", "-",
                                     f"{width(line)} columns, more than {WIDTH}"))
            if line != line.rstrip():
                found.append(Finding(path, number, "blanks", "-", "blanks at the end of the line"))
            left = _LEFT.search(line)
            if left:
                found.append(Finding(path, number, "left-over", left[0], "work in progress"))
            for pattern, why in _WORDS:
                word = pattern.search(line)
                if word:
                    found.append(Finding(path, number, "word", "-", f"\"{word[0]}\": {why}"))
        if len(lines) - 1 > LENGTH:
            found.append(Finding(path, LENGTH + 1, "length", "-",
                                 f"{len(lines) - 1} lines, more than {LENGTH}",
                                 len(lines) - 1 - LENGTH))
        if not project.texts[path].endswith("\n"):
            found.append(Finding(path, len(lines), "blanks", "-",
                                 "no newline at the end of the file"))
    for path in set(project.texts) - set(project.files(*NO_SPDX)):
        if not re.search(r"SPDX-License-Identifi[e]r: ", "\n".join(project.lines(path)[:4])) and \
           not re.fullmatch(r"\.so .*\n", project.texts[path]):  # a man page under another name
            found.append(Finding(path, 1, "license", "-", "no SPDX line in the first four lines"))
    return found
