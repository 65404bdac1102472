#!/usr/bin/env python3
"""Checks that imports point one way: apps -> io -> engine -> kernels (tests and benchmarks may use all).

Usage: imports.py SOURCE_FOLDER
"""
import pathlib
import re
import sys

rooms = ["kernels", "engine", "io", "apps"]  # each may include itself and those before it
root = pathlib.Path(sys.argv[1])
wrong = []
files = 0
for rank, room in enumerate(rooms):
    for path in sorted((root / room).rglob("*")):
        if path.suffix not in (".h", ".cpp", ".cu", ".cuh"):
            continue
        files += 1
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = re.match(r'\s*#\s*include\s+"(\w+)/', line)
            if found and found[1] in rooms and rooms.index(found[1]) > rank:
                wrong.append(f"{path.relative_to(root)}:{number}: {room} must not include {found[1]}")
        # Nothing above kernels/ may know a particular backend.
        if room != "kernels":
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if re.search(r'#\s*include\s+"kernels/\w+/', line):
                    wrong.append(f"{path.relative_to(root)}:{number}: {room} must not include a backend")
print("\n".join(wrong) or f"{files} files, imports point one way")
sys.exit(1 if wrong or files == 0 else 0)
