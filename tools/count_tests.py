#!/usr/bin/env python3
"""Adds up the test cases in ctest logs and prints one line: N passed, N failed."""
import re
import sys

TOTALS = {
    "passed": r"^\[  PASSED  \] (\d+) tests?\.",
    "skipped": r"^\[  SKIPPED \] (\d+) tests?",
}


def count_googletest(log):
    counts = {kind: sum(map(int, re.findall(pattern, log, re.M))) for kind, pattern in TOTALS.items()}
    # Their total is not told with --gtest_brief, each by itself is.
    counts["failed"] = len(re.findall(r"^\[  FAILED  \] .* \(\d+ ms\)$", log, re.M))
    return counts


def count_unittest(log):
    """Python's unittest: 'Ran N tests', then OK or FAILED with counts in brackets."""
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for ran, verdict in re.findall(r"^Ran (\d+) tests? in .*\n\n(?:OK|FAILED)(.*)$", log, re.M):
        detail = {name: int(n) for name, n in re.findall(r"(\w+)=(\d+)", verdict)}
        failed = detail.get("failures", 0) + detail.get("errors", 0)
        skipped = detail.get("skipped", 0)
        counts["failed"] += failed
        counts["skipped"] += skipped
        counts["passed"] += int(ran) - failed - skipped
    return counts


def count_silent(log):
    """Tests of ctest that failed without a verdict of their own (crashes, timeouts, plain scripts) or passed so."""
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for part in re.split(r"^\d+/\d+ Testing: ", log, flags=re.M)[1:]:
        if re.search(r"^\[  (?:PASSED|FAILED) +\] \d+ test|^Ran \d+ tests? in ", part, re.M):
            continue
        counts["passed" if re.search(r"^Test Passed\.", part, re.M) else "failed"] += 1
    return counts


def main(paths):
    total = {"passed": 0, "failed": 0, "skipped": 0}
    for path in paths:
        with open(path, encoding="utf-8", errors="replace") as file:
            log = file.read()
        for counts in (count_googletest(log), count_unittest(log), count_silent(log)):
            for kind, n in counts.items():
                total[kind] += n
    line = f"{total['passed']} passed, {total['failed']} failed"
    if total["skipped"]:
        line += f", {total['skipped']} skipped"
    print(line)
    return 1 if total["failed"] or not total["passed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
