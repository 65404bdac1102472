"""The code on docs/library.md and docs/python.md is that of examples/, which tests build and run.

    python3 tests/house/library_page.py .
"""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
examples = [path.read_text() for path in sorted((root / "examples").iterdir()) if path.is_file()]
blocks = [(page, block) for page in ("docs/library.md", "docs/python.md")
          for block in re.findall(r"^```(?:c|cpp|python)\n(.*?)^```$", (root / page).read_text(), re.M | re.S)]
wrong = [f"{page}: not in examples/:\n{block}" for page, block in blocks if not any(block in text for text in examples)]
print("\n".join(wrong) or f"{len(blocks)} pieces of code are those of examples/")
sys.exit(bool(wrong) or not blocks)
