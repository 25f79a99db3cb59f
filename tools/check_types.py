#!/usr/bin/env python3
"""A type has one definition: two headers that define the same name in one namespace break the program silently.

check_types.py [ROOT]: prints each offence as FILE:LINE: what; exits 1 if there is one.
"""
import re
import sys
from pathlib import Path

from check_sizes import blank

FOLDERS = ["include", "src", "apps"]
SUFFIXES = {".h", ".cuh"}
NAMESPACE = re.compile(r"\bnamespace\b([\w:\s]*)$")
TYPE = re.compile(r"\b(?:struct|class|union|enum(?:\s+(?:class|struct))?)\s+(?:alignas\([^)]*\)\s*)?"
                  r"(\w+)\s*(?:final\s*)?(?::(?!:).*)?$", re.S)

MACRO = re.compile(r"\b[A-Z][A-Z0-9_]+::")  # a namespace that the build names, one for each folder of an instruction set


def types(text):
    """(line, qualified name) of each type defined at namespace scope, anonymous namespaces among them."""
    text = blank(text)
    scopes, heading_from = [], 0  # of each open brace: the namespace's name, None for any other
    for at, char in enumerate(text):
        if char == "{":
            heading = text[heading_from:at].strip()
            namespace, kind = NAMESPACE.search(heading), TYPE.search(heading)
            if kind and not namespace and None not in scopes:
                yield text.count("\n", 0, at) + 1, "::".join([*scopes, kind.group(1)])
            scopes.append("".join(namespace.group(1).split()) if namespace else None)
        elif char == "}" and scopes:
            scopes.pop()
        if char in "{};":
            heading_from = at + 1


def check(root):
    seen, offences = {}, []
    for path in sorted(path for folder in FOLDERS for path in (root / folder).rglob("*") if path.suffix in SUFFIXES):
        name = path.relative_to(root)
        for line, kind in types(path.read_text(encoding="utf-8", errors="replace")):
            key = (kind, name.parent if MACRO.search(kind) else None)
            if seen.setdefault(key, name) != name:
                offences.append(f"{name}:{line}: {kind} is defined in {seen[key]} too")
    return offences


def main(arguments):
    root = Path(arguments[0] if arguments else Path(__file__).parent.parent).resolve()
    offences = check(root)
    print("\n".join(offences) or "types: each is defined in one header")
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
