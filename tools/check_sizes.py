#!/usr/bin/env python3
"""Files of at most 400 lines (800 fails) and functions of at most 60 (100 fails).

check_sizes.py [ROOT]: prints each offence; exits 1 if there is one that fails. Functions of tests are not counted:
a table of cases may be long.
"""
import re
import sys
from pathlib import Path

FILE_WARN, FILE_FAIL = 400, 800
FUNCTION_WARN, FUNCTION_FAIL = 60, 100
FOLDERS = ["src", "apps", "include", "tests", "bench", "tools"]
SUFFIXES = {".h", ".cpp", ".cu", ".cuh", ".py", ".sh"}
NOT_FUNCTIONS = re.compile(r"\b(namespace|struct|class|union|enum|extern)\b")


def blank(text):
    """The same text with comments, strings and preprocessor lines as spaces, so that braces mean what they say."""
    pattern = re.compile(
        r'//[^\n]*|/\*.*?\*/|R"(?P<tag>[^(\s]*)\(.*?\)(?P=tag)"|"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])\'(?:\\.|[^\'\\\n])+\''
        r"|^[ \t]*#(?:\\\n|[^\n])*",
        re.S | re.M)
    return pattern.sub(lambda match: re.sub(r"[^\n]", " ", match.group(0)), text)


def functions(text):
    """(first line, number of lines, heading) of each outermost braced body that is a function's.

    Bodies of namespaces, classes and enums are looked into; a body whose heading has no argument list (an initialiser)
    is not a function.
    """
    text = blank(text)
    start, heading_from, depth, initialisers = None, 0, 0, 0
    for at, char in enumerate(text):
        # `a_{b}` is an initialiser: a body has a space before its brace.
        if char == "{" and (initialisers or re.match(r"[\w>]", text[at - 1])):
            initialisers += 1
        elif char == "}" and initialisers:
            initialisers -= 1
        elif char == "{":
            heading = text[heading_from:at].strip()
            looked_into = start is None and (NOT_FUNCTIONS.search(heading.split("(")[0]) or not heading)
            if start is None and not looked_into and "(" in heading:
                first = heading_from + len(text[heading_from:at]) - len(text[heading_from:at].lstrip())
                start = (depth, first, heading)
            depth += 1
            if start is None:
                heading_from = at + 1
        elif char == "}":
            depth -= 1
            if start is not None and depth == start[0]:
                first_line = text.count("\n", 0, start[1]) + 1
                last_line = text.count("\n", 0, at) + 1
                yield first_line, last_line - first_line + 1, " ".join(start[2].split())
                start = None
            if start is None:
                heading_from = at + 1
        elif char == ";" and start is None:
            heading_from = at + 1


def python_functions(text):
    import ast
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.end_lineno - node.lineno + 1, node.name


def check(root):
    """(warnings, failures)"""
    warnings, failures = [], []

    def judge(lines, warn, fail, message):
        if lines > fail:
            failures.append(f"{message}: at most {fail}")
        elif lines > warn:
            warnings.append(f"{message}: better at most {warn}")

    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in SUFFIXES or not path.is_file() or "__pycache__" in path.parts or "data" in path.parts:
                continue
            name = path.relative_to(root)
            text = path.read_text(encoding="utf-8", errors="replace")
            lines = text.count("\n")
            judge(lines, FILE_WARN, FILE_FAIL, f"{name}: {lines} lines")
            if folder == "tests" or path.suffix == ".sh":
                continue
            for line, length, heading in (python_functions if path.suffix == ".py" else functions)(text):
                judge(length, FUNCTION_WARN, FUNCTION_FAIL, f"{name}:{line}: function of {length} lines: {heading[:80]}")
    return warnings, failures


def main(arguments):
    root = Path(arguments[0] if arguments else Path(__file__).parent.parent).resolve()
    warnings, failures = check(root)
    for message in warnings:
        print(f"warning: {message}")
    for message in failures:
        print(f"error: {message}")
    if not warnings and not failures:
        print("sizes: every file and function is within its limit")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
