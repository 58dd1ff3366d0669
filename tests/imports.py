"""Which module of a crate uses which: neighbours must not use each other in a circle.

Reads the sources as text. A module stands for all that is beneath it; what a module and its own parts do with each
other, and what tests import, does not count.
"""

import re
import sys
from pathlib import Path

NOISE = re.compile(
    r"""//[^\n]*|/\*.*?\*/|b?r(?P<hashes>\#*)".*?"(?P=hashes)|[bc]?"(?:\\.|[^"\\])*"|b?'(?:\\.[^']*|[^\\'\n])'""", re.S
)
PATH = re.compile(r"\b(?:crate|self|super)(?=\s*::)")
TOKEN = re.compile(r"\s*(::|[{},*]|\w+)")


def code(text):
    """The text with comments and literals blanked, and without its unit tests."""
    text = NOISE.sub(lambda noise: re.sub(r"[^\n]", " ", noise[0]), text)
    while test := re.search(r"#\[cfg\(test\)\]\s*(?:pub\s+)?mod\s+\w+\s*\{", text):
        depth, end = 1, test.end()
        while depth and end < len(text):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        text = text[: test.start()] + re.sub(r"[^\n]", " ", text[test.start() : end]) + text[end:]
    return text


def paths(text, at, prefix):
    """The paths of a use tree that begins at an offset, each as a tuple of names."""
    found, names = [], list(prefix)
    while token := TOKEN.match(text, at):
        at = token.end()
        if token[1] == "{":
            while True:
                inner, at = paths(text, at, names)
                found += inner
                after = TOKEN.match(text, at)
                if not after or after[1] != ",":
                    return found, after.end() if after else at
                at = after.end()
        elif token[1] in {"}", ",", "*"}:
            return found + [tuple(names)], token.start()
        elif token[1] != "::":
            names.append(token[1])
            if not re.match(r"\s*::", text[at:]):
                return found + [tuple(names)], at
    return found + [tuple(names)], at


def uses(text, module):
    """Every path of this crate that a module names, from the crate's root, with its line."""
    for start in PATH.finditer(text):
        for path in paths(text, start.start(), ())[0]:
            names, base = list(path), module
            if names[0] == "crate":
                base, names = (), names[1:]
            while names and names[0] in {"self", "super"}:
                base = base[:-1] if names.pop(0) == "super" else base
            yield base + tuple(names), text.count("\n", 0, start.start()) + 1


def circles(graph):
    """The groups of nodes that reach each other."""

    def reach(start):
        seen, todo = set(), [start]
        while todo:
            for node in graph.get(todo.pop(), ()):
                if node not in seen:
                    seen.add(node)
                    todo.append(node)
        return seen

    reached = {node: reach(node) for node in graph}
    groups = {frozenset(other for other in reached[node] if node in reached.get(other, ())) for node in graph}
    return sorted(sorted(group) for group in groups if len(group) > 1)


def check(crate):
    """The circles of a crate, as lines to print."""
    root = crate / "src"
    files = {}
    for file in sorted(root.rglob("*.rs")):
        names = file.relative_to(root).with_suffix("").parts
        if names[0] != "bin" and "tests" not in names:
            files[tuple(name for name in names if name not in {"lib", "main", "mod"})] = file

    graphs = {}
    for module, file in files.items():
        for path, line in uses(code(file.read_text()), module):
            while path and path not in files:
                path = path[:-1]
            shared = 0
            while shared < min(len(module), len(path)) and module[shared] == path[shared]:
                shared += 1
            if shared < min(len(module), len(path)):
                arrows = graphs.setdefault(module[:shared], {}).setdefault(module[shared], {})
                arrows.setdefault(path[shared], f"{file}:{line}")

    for parent, graph in sorted(graphs.items()):
        for circle in circles(graph):
            yield f"{crate}: {'/'.join(parent) or 'src'}: {', '.join(circle)} use each other in a circle"
            for node in circle:
                for other, place in sorted(graph[node].items()):
                    if other in circle:
                        yield f"    {node} uses {other}: {place}"


def main():
    """Checks the crates of the workspace."""
    crates = [manifest.parent for manifest in sorted(Path().glob("*/Cargo.toml"))]
    found = [line for crate in crates for line in check(crate)]
    print("\n".join(found) if found else f"no circles among the modules of {', '.join(map(str, crates))}")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
