#!/usr/bin/env python3
"""Says at the end of all stages what came of the tests: why some were skipped, and the end of what each failed one
printed. Fails where the reason of a skip is not in the list of those allowed.

Usage: outcomes.py ALLOWED_SKIPS JUNIT_FILE...

JUNIT_FILE is what `ctest --output-junit` writes. CTest itself only knows that a test was skipped; the reason stands
in the test's output. Allowed reasons that never come up are fine.
"""
import collections
import pathlib
import re
import sys
import xml.etree.ElementTree

LINES_OF_A_FAILURE = 8


def read_allowed(path):
    """(kind, regular expression) of each line of the list."""
    allowed = []
    for line in pathlib.Path(path).read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            kind, separator, expression = line.partition(": ")
            if not separator:
                sys.exit(f"{path}: no colon and blank in '{line}'")
            allowed.append((kind, re.compile(expression, re.DOTALL)))
    return allowed


def failures_of(cases):
    """(test, seconds, lines of its output) of each failed test."""
    return [(case.get("name"), float(case.get("time") or 0), (case.findtext("system-out") or "").strip().splitlines())
            for case in cases if case.find("failure") is not None]


def skips_of(cases):
    """(test, reason) of each skip."""
    skips = []
    for case in cases:
        if case.get("status") == "run" or case.find("failure") is not None:
            continue
        # GoogleTest prints the place, then the message, then that the test was skipped; a program its mistake.
        reasons = re.findall(r"^\S+:\d+: Skipped\n(.*?)\n*^\[  SKIPPED \]", case.findtext("system-out") or "",
                             re.DOTALL | re.MULTILINE)
        lines = (case.findtext("system-out") or "").strip().splitlines()
        for reason in reasons or lines[-1:] or [case.get("status") + ", and no reason found in its output"]:
            skips.append((case.get("name").split("  #")[0], reason.strip()))
    return skips


def main():
    allowed = read_allowed(sys.argv[1])
    counts, unlisted, failures, tests = collections.Counter(), [], [], 0
    for path in sys.argv[2:]:
        if not pathlib.Path(path).exists():
            sys.exit(f"{path} is missing: ctest did not come to its end")
        cases = xml.etree.ElementTree.parse(path).getroot().findall("testcase")
        tests += len(cases)
        for test, seconds, output in failures_of(cases):
            failures.append("\n    ".join([f"failed: {test} ({seconds:.0f} s)", *output[-LINES_OF_A_FAILURE:]]))
        for test, reason in skips_of(cases):
            kind = next((kind for kind, expression in allowed if expression.fullmatch(reason)), None)
            if kind:
                counts[kind] += 1
            else:
                unlisted.append(f"skipped for a reason that {sys.argv[1]} does not have: {test}: " + " ".join(reason.split()))
    print(f"{sum(counts.values()) + len(unlisted)} of {tests} tests skipped")
    for kind, count in counts.most_common():
        print(f"{count:6}  {kind}")
    print("\n".join(unlisted + failures), end="\n" if unlisted or failures else "")
    sys.exit(1 if unlisted or tests == 0 else 0)


main()
