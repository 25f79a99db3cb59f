#!/usr/bin/env python3
"""What the documents say is so: links resolve, options exist, stages have their names.

check_docs.py [--binary build/release/bin/flashmoe] [ROOT]: prints each offence; exits 1 if there is one.
"""
import argparse
import re
import subprocess
import sys
from pathlib import Path

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
IMAGE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")
OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z0-9_-]*)")
OUR_COMMAND = re.compile(r"\bflashmoe ([a-z][a-z-]*)\b")
STAGE_NAMES = re.compile(r"kStageNames\s*=\s*\{([^}]*)\}")
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|home|root|Users|tmp)/[\w./-]*")
# Options of other programs that the documents speak of.
FOREIGN_OPTIONS = {"--preset", "--build", "--target", "--prefix", "--output-on-failure", "--test-dir", "--gtest_filter"}
SUBCOMMAND = re.compile(r"^  ([a-z][a-z-]*) ", re.M)  # in flashmoe --help, below "Subcommands"


def documents(root):
    return sorted(path for path in root.rglob("*.md")
                  if not {"build", ".git", ".library"} & set(path.relative_to(root).parts))


def without_code(text):
    return re.sub(r"```.*?```|`[^`\n]*`", lambda match: re.sub(r"[^\n]", " ", match.group(0)), text, flags=re.S)


def anchors(path):
    """GitHub's anchors of a page's headings."""
    found = set()
    for heading in re.findall(r"^#+\s+(.*)$", path.read_text(encoding="utf-8"), re.M):
        text = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        found.add(text)
    return found


def line_of(text, at):
    return text.count("\n", 0, at) + 1


def check_links(root):
    for path in documents(root):
        text = without_code(path.read_text(encoding="utf-8"))
        for match in list(LINK.finditer(text)) + list(IMAGE.finditer(text)):
            where = f"{path.relative_to(root)}:{line_of(text, match.start())}"
            target, _, anchor = match.group(1).partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            resolved = (path.parent / target).resolve() if target else path
            if not resolved.exists():
                yield f"{where}: {match.group(1)} leads nowhere"
            elif anchor and resolved.suffix == ".md" and anchor not in anchors(resolved):
                yield f"{where}: {match.group(1)}: no such heading"


def check_machine_paths(root):
    for path in documents(root):
        text = path.read_text(encoding="utf-8")
        for match in MACHINE_PATH.finditer(text):
            yield f"{path.relative_to(root)}:{line_of(text, match.start())}: {match.group(0)} exists on one machine only"


def help_page(binary, *subcommand):
    return subprocess.run([binary, *subcommand, "--help"], capture_output=True, text=True, check=True).stdout


def help_options(binary):
    """Subcommand -> its options, as --help lists them."""
    options = {}
    listed = help_page(binary).partition("Subcommands:")[2].partition("\n\n")[0]
    for subcommand in SUBCOMMAND.findall(listed):
        page = help_page(binary, subcommand)
        options[subcommand] = {name for line in re.findall(r"^  (-.*)$", page, re.M)
                               for name in OPTION.findall(line.split("  ")[0])}
        too_wide = [line for line in page.splitlines() if len(line) > 80]
        if too_wide:
            raise SystemExit(f"flashmoe {subcommand} --help: wider than 80 columns: {too_wide[0]}")
    return options


def check_options(root, binary):
    options = help_options(binary)
    known = set().union(*options.values()) | {"--version", "--help"} | FOREIGN_OPTIONS
    pages = [root / "README.md", root / "CONTRIBUTING.md", *documents(root / "docs"), *documents(root / "models")]
    for path in pages:
        text = path.read_text(encoding="utf-8")
        for match in OPTION.finditer(text):
            if match.group(1) not in known:
                yield f"{path.relative_to(root)}:{line_of(text, match.start())}: flashmoe has no option {match.group(1)}"
        for number, line in enumerate(text.splitlines(), 1):
            command = OUR_COMMAND.search(line)
            if command is None or not line.startswith(("flashmoe", "    flashmoe", "build/")):
                continue
            subcommand = command.group(1)
            if subcommand not in options:  # prose
                continue
            for option in OPTION.findall(line):
                if option not in options[subcommand] | {"--help"}:
                    yield f"{path.relative_to(root)}:{number}: flashmoe {subcommand} has no option {option}"
    how_to = "\n".join(path.read_text(encoding="utf-8") for path in documents(root / "docs" / "how-to"))
    documented = set(OPTION.findall(how_to))
    for option in sorted(set().union(*options.values()) - documented - {"--help"}):
        yield f"docs/how-to: {option} is in --help and on no page"


def check_stages(root):
    """docs/one-token.md has the stages of stats.h, in their order, as rows that begin with their number."""
    header = (root / "include/flashmoe/stats.h").read_text(encoding="utf-8")
    names = re.findall(r'"(\w+)"', STAGE_NAMES.search(header).group(1))
    page = (root / "docs/one-token.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) (\w+)", page, re.M)
    expected = [(str(number), name) for number, name in enumerate(names, 1)]
    if rows != expected:
        yield f"docs/one-token.md: the table of stages is {rows}, stats.h says {expected}"


def check(root, binary):
    offences = list(check_links(root)) + list(check_machine_paths(root)) + list(check_stages(root))
    if binary:
        offences += check_options(root, binary)
    return offences


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", help="the flashmoe whose --help the documents must match")
    parser.add_argument("root", nargs="?", default=str(Path(__file__).parent.parent))
    chosen = parser.parse_args(arguments)
    offences = check(Path(chosen.root).resolve(), chosen.binary)
    print("\n".join(offences) or "docs: links, options and stages are right")
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
