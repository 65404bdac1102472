"""Every test that docs/formats.md names as what holds a line is there: a table's `Suite.Name`, or `Name` of FieldCase.

    python3 tests/house/named_tests.py .
"""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
tests = set()
for file in (root / "tests").rglob("*_test.cpp"):
    for suite, name in re.findall(r"^(?:TYPED_)?TEST(?:_[FP])?\((\w+),\s*(\w+)\)", file.read_text(), re.M):
        tests |= {f"{suite}.{name}", f"{suite}.*"}
text = (root / "docs/formats.md").read_text().split("## What holds this")[1].split("\n## ")[0]
missing, named = [], 0
for line in [line for line in text.splitlines() if line.startswith("| ")][1:]:
    cell = line.rstrip(" |").rsplit("|", 1)[1]
    names = re.findall(r"`([\w.*]+)`", cell)
    named += len(names)
    if not names:
        missing.append(f"no test is named in: {line}")
    for name in names:
        if (name if "." in name else f"FieldCase.{name}") not in tests:
            missing.append(f"docs/formats.md names {name}, which is no test")
print("\n".join(missing) or f"{named} tests are named and there")
sys.exit(bool(missing))
