#!/usr/bin/env python3
"""Checks that only the kernels compiled for AVX-512 use it, and that nothing of theirs can serve the rest.

Usage: instruction_sets.py BUILD_FOLDER

Each compilation of kernels/cpu is one object with one global symbol. Of everything else that is linked into a program,
no function may hold an instruction beyond x86-64-v3: not even an inline one, for which the linker takes any instance.
"""
import pathlib
import re
import subprocess
import sys

build = pathlib.Path(sys.argv[1])
wrong = []

kernels = sorted((build / "kernels" / "cpu").glob("cpu_*.o"))
for path in kernels:
    symbols = subprocess.run(["nm", "--defined-only", "--extern-only", "--format=posix", path], check=True, text=True,
                             capture_output=True).stdout.split("\n")
    names = [line.split()[0] for line in symbols if line]
    if names != ["eelsvae_" + path.stem]:
        wrong.append(f"{path.name}: global symbols {names}")

# A mask register, a 512-bit register, or one of the upper half of the others.
beyond = re.compile(r"%zmm|\{%k[0-7]\}|%[xy]mm(1[6-9]|2[0-9]|3[01])|%tmm")
functions = 0
for path in [*sorted(build.glob("libeelsvae_*.a")), *sorted(build.glob("CMakeFiles/eelsvae-*.dir/**/*.o")),
             *sorted(build.glob("CMakeFiles/eelsvae_c.dir/**/*.o"))]:
    listing = subprocess.Popen(["objdump", "-d", "--no-show-raw-insn", "--demangle", path], text=True,
                               stdout=subprocess.PIPE)
    member = function = ""
    for line in listing.stdout:
        if m := re.match(r"(\S+):\s+file format", line):
            member = m[1]
        elif m := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            function = m[1]
            functions += 1
        elif beyond.search(line) and not member.startswith("cpu_avx512"):
            wrong.append(f"{path.name}({member}): {function}: {line.strip()}")
            function = ""
    if listing.wait() != 0:
        wrong.append(f"{path}: objdump failed")

print("\n".join(wrong[:20]) or f"{len(kernels)} compilations of kernels, {functions} functions looked at")
sys.exit(1 if wrong or not kernels or not functions else 0)
