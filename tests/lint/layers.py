# SPDX-License-Identifier: BSD-2-Clause
"""
The layers of kernel/ (the table "layers"): no include and no use of a function goes up. And there,
and in libodp/, no files form a circle.

Nothing is compiled. Functions, and macros that look like them, are found by their definitions; a
use is the name inside of a function, an initializer or a macro of another file. A .c file and the
header of its name are one unit.
"""
import os
import re
from findings import Finding
from project import code_only, table

KERNEL = "kernel/"
FLAT = ("libodp/",)   # without layers, but without circles as well

_NAME = re.compile(r"[A-Za-z_]\w*")


class Table:
    def __init__(self, path):
        self.rank, self.of, self.lines = {}, {}, {}
        for number, line in table(path):
            words = line.split()
            if words[0] == "layers":
                rank = len(set(self.rank.values()))
                self.rank.update({name: rank for name in words[1:]})
            else:
                self.of[words[0]] = words[1]
                self.lines[words[0]] = number

    def layer(self, name):
        """Of a file, by its path below kernel/: its line, or the nearest folder's; or None."""
        while name not in self.of:
            name = name.rstrip("/")
            if "/" not in name:
                return None
            name = name[:name.rindex("/") + 1]
        return self.of[name]

    def up(self, user, used):
        return used != user and self.rank[used] >= self.rank[user]


class Source:
    """A file's code: the functions that it defines, the names that it uses, and their lines."""

    def __init__(self, text):
        self.defines, self.private, self.uses, self.pairs = {}, set(), [], True
        code = re.sub(r"\\\n", " \f", code_only(text))  # a macro's lines become one; \f counts them
        body = []
        for line in code.split("\n"):
            macro = re.match(r"\s*#\s*define\s+(\w+)(\(?)(.*)", line, re.S)
            if macro:
                at = 1 + sum(1 + part.count("\f") for part in body)
                if macro[2]:
                    self.defines[macro[1]] = at
                    self.private.add(macro[1])
                self.uses += [(name, at) for name in self._names(macro[3])]
            # A preprocessor line is out of the way of counting braces.
            body.append("\f" * line.count("\f") if line.lstrip().startswith("#") else line)
        self._scan("\n".join(body))

    @staticmethod
    def _names(code):
        """Names that may mean a function: no members of structures."""
        return [m.group() for m in _NAME.finditer(code)
                if not re.search(r"(?:\.|->)\s*$", code[max(0, m.start() - 8):m.start()])]

    def _scan(self, code):
        depth, line, outside = 0, 1, ""
        for part in re.split(r"([{}\n\f;])", code):
            if part in ("\n", "\f"):
                line += 1
                outside += " "
            elif part == "{":
                if depth == 0:
                    self._opened(outside, line)
                depth += 1
            elif part == "}":
                depth -= 1
                outside = ""
            elif part == ";":
                if depth == 0:
                    outside = ""
            elif depth == 0:
                outside += part
            else:
                self.uses += [(name, line) for name in self._names(part)]
        self.pairs = depth == 0

    def _opened(self, outside, line):
        """A brace outside of everything: a function's, if a name and (...) stand before it."""
        if "=" in outside or not outside.rstrip().endswith(")"):
            return
        m = re.match(r"(.*?)(\w+)\s*\(", outside, re.S)
        if m:
            self.defines[m[2]] = line
            if re.search(r"\bstatic\b", m[1]):
                self.private.add(m[2])


def unit(name, layer):
    """A file with its header; but a header of another layer is a unit of its own."""
    stem = name[:-2]
    return stem if layer.get(stem + ".c") == layer.get(name) else name


def read(project, top):
    """path below a folder -> Source, and where each function that other files can use is defined"""
    sources = {p[len(top):]: Source(project.texts[p])
               for p in project.files(top + "*.c", top + "*.h")}
    home = {}
    for name, src in sources.items():
        for func in src.defines:
            # A static function of a header can be used; a static one of a .c file cannot, and its
            # macros neither.
            if name.endswith(".h") or func not in src.private:
                home.setdefault(func, name)
    return sources, home


def includes(project, top, name, known):
    """Files of the folder that a file includes: (line, path below the folder)"""
    for number, line in enumerate(project.lines(top + name), 1):
        m = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if m:
            for base in (os.path.dirname(name), ""):
                path = os.path.normpath(os.path.join(base, m[1]))
                if path in known:
                    yield number, path
                    break


def circles(edges):
    """Sets of units that reach each other (Tarjan's strongly connected components)."""
    index, low, stack, found = {}, {}, [], []

    def visit(v):
        index[v] = low[v] = len(index)
        stack.append(v)
        for w in sorted(edges[v]):
            if w not in index:
                visit(w)
            if w in stack:
                low[v] = min(low[v], low[w])
        if low[v] == index[v]:
            at = stack.index(v)
            if len(stack) - at > 1:
                found.append(set(stack[at:]))
            del stack[at:]
    for v in sorted(edges):
        if v not in index:
            visit(v)
    return found


def needs(project, top, sources, home):
    """What files need of each other: (file, line, other file, rule, what, text)"""
    for name, src in sources.items():
        for line, used in includes(project, top, name, sources):
            yield name, line, used, "include", used, f"includes {used}"
        for func, line in src.uses:
            used = home.get(func)
            if used and used != name and func not in src.defines:
                yield name, line, used, "call", func, f"uses {func}() of {used}"


def circle_findings(top, sources, layer, all_needs):
    # unit -> unit that it needs -> (file, line) that says so
    edges = {unit(name, layer): {} for name in sources}
    for name, line, used, *_ in all_needs:
        ours, theirs = unit(name, layer), unit(used, layer)
        if theirs != ours:
            edges[ours].setdefault(theirs, (top + name, line))
    for circle in circles(edges):
        for member in sorted(circle):
            other = min(set(edges[member]) & circle)
            file, line = edges[member][other]
            yield Finding(file, line, "circle", member,
                          f"needs {other}, in a circle of {len(circle)}: "
                          + " ".join(sorted(circle)))


def unreadable(top, sources):
    for name, src in sources.items():
        if not src.pairs:
            yield Finding(top + name, 1, "layer", "-",
                          "braces do not pair (in all branches of #if): it cannot be read")


def check(project, table_path):
    layers = Table(table_path)
    sources, home = read(project, KERNEL)
    found = list(unreadable(KERNEL, sources))
    layer = {name: layers.layer(name) for name in sources}
    for name, where in layer.items():
        if where not in layers.rank:
            found.append(Finding(KERNEL + name, 1, "layer", "-",
                                 "has no layer in tests/lint/layers"))
    for name in layers.of:
        if not any(s == name or name.endswith("/") and s.startswith(name) for s in sources):
            found.append(Finding("tests/lint/layers", layers.lines[name], "layer", name,
                                 "is no file of kernel/"))

    all_needs = list(needs(project, KERNEL, sources, home))
    for name, line, used, rule, what, text in all_needs:
        mine, its = layer[name], layer[used]
        if mine in layers.rank and its in layers.rank and layers.up(mine, its):
            found.append(Finding(KERNEL + name, line, rule, what,
                                 f"{text}; {mine} does not know {its}"))
    found += circle_findings(KERNEL, sources, layer, all_needs)

    for top in FLAT:
        sources, home = read(project, top)
        found += unreadable(top, sources)
        found += circle_findings(top, sources, {}, needs(project, top, sources, home))
    return found
