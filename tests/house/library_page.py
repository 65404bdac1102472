"""The code on docs/library.md is that of examples/, which a test builds and runs.

    python3 tests/house/library_page.py .
"""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
examples = [path.read_text() for path in sorted((root / "examples").iterdir())]
blocks = re.findall(r"^```c(?:pp)?\n(.*?)^```$", (root / "docs/library.md").read_text(), re.M | re.S)
wrong = [block for block in blocks if not any(block in text for text in examples)]
print("\n".join(f"docs/library.md: not in examples/:\n{block}" for block in wrong)
      or f"{len(blocks)} pieces of code are those of examples/")
sys.exit(bool(wrong) or not blocks)
