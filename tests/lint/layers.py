# SPDX-License-Identifier: BSD-2-Clause
"""
The layers of kernel/ (the table "layers"): no include and no use of a function goes up, and no
files form a circle.

Nothing is compiled. Functions, and macros that look like them, are found by their definitions; a
use is the name inside of a function, an initializer or a macro of another file. A .c file and the
header of its name are one unit.
"""
import os
import re
from findings import Finding
from project import code_only, table

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


def read(project):
    """path below kernel/ -> Source, and where each function that other files can use is defined"""
    sources = {p[len("kernel/"):]: Source(project.texts[p])
               for p in project.files("kernel/*.c", "kernel/*.h")}
    home = {}
    for name, src in sources.items():
        for func in src.defines:
            # A static function of a header can be used; a static one of a .c file cannot, and its
            # macros neither.
            if name.endswith(".h") or func not in src.private:
                home.setdefault(func, name)
    return sources, home


def includes(project, name, known):
    """Files of kernel/ that a file includes: (line, path below kernel/)"""
    for number, line in enumerate(project.lines("kernel/" + name), 1):
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


def check(project, table_path):
    layers = Table(table_path)
    sources, home = read(project)
    found = []
    layer = {name: layers.layer(name) for name in sources}
    for name, where in layer.items():
        if where not in layers.rank:
            found.append(Finding("kernel/" + name, 1, "layer", "-",
                                 "has no layer in tests/lint/layers"))
        if not sources[name].pairs:
            found.append(Finding("kernel/" + name, 1, "layer", "-",
                                 "braces do not pair (in all branches of #if): it cannot be read"))
    for name in layers.of:
        if not any(s == name or name.endswith("/") and s.startswith(name) for s in sources):
            found.append(Finding("tests/lint/layers", layers.lines[name], "layer", name,
                                 "is no file of kernel/"))

    # unit -> unit that it needs -> (file, line) that says so
    edges = {unit(name, layer): {} for name in sources}

    def needs(name, line, used, rule, what, text):
        ours, theirs = unit(name, layer), unit(used, layer)
        if theirs != ours:
            edges[ours].setdefault(theirs, ("kernel/" + name, line))
        mine, its = layer[name], layer[used]
        if mine in layers.rank and its in layers.rank and layers.up(mine, its):
            found.append(Finding("kernel/" + name, line, rule, what,
                                 f"{text}; {mine} does not know {its}"))

    for name, src in sources.items():
        for line, used in includes(project, name, sources):
            needs(name, line, used, "include", used, f"includes {used}")
        for func, line in src.uses:
            used = home.get(func)
            if used and used != name and func not in src.defines:
                needs(name, line, used, "call", func, f"uses {func}() of {used}")

    for circle in circles(edges):
        for member in sorted(circle):
            other = min(set(edges[member]) & circle)
            file, line = edges[member][other]
            found.append(Finding(file, line, "circle", member,
                                 f"needs {other}, in a circle of {len(circle)}: "
                                 + " ".join(sorted(circle))))
    return found
