#!/usr/bin/env python3
"""Includes go strictly downwards (tools/layers.txt), and a family's name stays in its own file.

check_layers.py [ROOT]: prints each offence as FILE:LINE: what; exits 1 if there is one.
"""
import re
import sys
from pathlib import Path

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', re.M)
SUFFIXES = {".h", ".cpp", ".cu", ".cuh"}
FAMILIES = "src/model/families"


def read_layers(path):
    """Room -> its layer, counted from the bottom."""
    lines = [line.split("#")[0].split() for line in path.read_text().splitlines()]
    lines = [line for line in lines if line]
    return {room: len(lines) - 1 - at for at, line in enumerate(lines) for room in line}


def sources(folder):
    return sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES) if folder.is_dir() else []


def includes(path):
    """(line, quoted name or None, bracketed name or None) of each include."""
    text = path.read_text(encoding="utf-8", errors="replace")
    for match in INCLUDE.finditer(text):
        yield text.count("\n", 0, match.start()) + 1 + match.group(0).count("\n"), match.group(1), match.group(2)


def check_room(root, room, layers):
    for path in sources(root / "src" / room):
        for line, quoted, _ in includes(path):
            where = f"{path.relative_to(root)}:{line}"
            if quoted is None:
                continue
            target, _, rest = quoted.partition("/")
            if not rest:
                yield f'{where}: "{quoted}" does not say its room: write "{room}/{quoted}"'
            elif target not in layers:
                if target != "flashmoe":
                    yield f'{where}: "{quoted}" is neither a room of tools/layers.txt nor flashmoe/'
                elif not (root / "include" / quoted).exists():
                    yield f'{where}: there is no include/{quoted}'
            elif target != room and layers[target] >= layers[room]:
                yield f"{where}: {room} may not include {target}: it is not below it"


def check_public(root):
    for path in sources(root / "include"):
        for line, quoted, _ in includes(path):
            if quoted is not None and not quoted.startswith("flashmoe/"):
                yield f'{path.relative_to(root)}:{line}: public headers include flashmoe/ only, not "{quoted}"'


def check_apps(root, layers):
    apps = root / "apps"
    for path in sources(apps):
        for line, quoted, bracketed in includes(path):
            name = quoted or bracketed
            if quoted is not None and not quoted.startswith("flashmoe/"):
                if not (apps / quoted).exists() and not (path.parent / quoted).exists():
                    yield f'{path.relative_to(root)}:{line}: apps see include/flashmoe and apps only, not "{quoted}"'
            elif quoted is None and name.partition("/")[0] in layers and "/" in name:
                yield f"{path.relative_to(root)}:{line}: apps see include/flashmoe and apps only, not <{name}>"


def check_families(root):
    """A family is one file; nothing else in src knows its name. The file that lists the families is theirs too."""
    families = root / FAMILIES
    names = [path.stem for path in sources(families) if path.suffix == ".cpp" and path.stem != "registry"]
    for path in sources(root / "src"):
        if families in path.parents:
            continue
        for number, text in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            for name in names:
                if re.search(rf"\b{re.escape(name)}\b", text):
                    yield f"{path.relative_to(root)}:{number}: names the family {name}, which lives in {FAMILIES} alone"


def check(root):
    layers = read_layers(root / "tools" / "layers.txt")
    offences = []
    for folder in sorted(path for path in (root / "src").iterdir() if path.is_dir()):
        if folder.name in layers:
            offences += check_room(root, folder.name, layers)
        else:
            offences.append(f"src/{folder.name}: not a room of tools/layers.txt")
    offences += check_public(root)
    offences += check_apps(root, layers)
    offences += check_families(root)
    return offences


def main(arguments):
    root = Path(arguments[0] if arguments else Path(__file__).parent.parent).resolve()
    offences = check(root)
    print("\n".join(offences) or "layers: every include goes down")
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
