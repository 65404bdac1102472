#!/usr/bin/env python3
"""libeelsvae.so shows the functions of include/eelsvae/eelsvae.h, which interface/exported_symbols.map lists, and no
other; and calls nothing by which a library would end the program, handle its signals or write to its terminal.

Usage: exported_symbols.py SOURCE_FOLDER LIBRARY
"""
import pathlib
import re
import subprocess
import sys

root, library = pathlib.Path(sys.argv[1]), sys.argv[2]


def symbols(which):
    lines = subprocess.run(["nm", "-D", which, "--format=posix", library], check=True, text=True,
                           capture_output=True).stdout.splitlines()
    return {line.split()[0].split("@")[0] for line in lines if line}


header = (root / "include/eelsvae/eelsvae.h").read_text()
declared = set(re.findall(r"\b(eelsvae_\w+)\(", re.sub(r"/\*.*?\*/", "", header, flags=re.S)))
listed = set(re.findall(r"^ +(eelsvae_\w+);$", (root / "interface/exported_symbols.map").read_text(), re.M))
shown = symbols("--defined-only")
wrong = [f"{name}: declared in eelsvae.h, not in exported_symbols.map" for name in sorted(declared - listed)]
wrong += [f"{name}: in exported_symbols.map, not declared in eelsvae.h" for name in sorted(listed - declared)]
wrong += [f"{name}: listed, not shown by {library}" for name in sorted(listed - shown)]
wrong += [f"{name}: shown by {library}, not listed" for name in sorted(shown - listed)]
# _exit, in kernels/cpu/processor.cpp, is for programs. The emulated device, which only builds with tests have, says on
# stderr what a kernel did wrong. NVIDIA's runtime, linked in where there is CUDA, has calls of its own.
content = pathlib.Path(library).read_bytes()
allowed = {"stderr"} if b"EELSVAE_EMULATED_SEED" in content else set()
allowed |= {"exit", "kill"} if b"libcudnn.so" in content else set()
never = r"exit|quick_exit|signal|sigaction|raise|kill|fork|exec\w*|std(out|err)|printf|puts|perror|_ZSt4c(err|out)"
for name in sorted(symbols("--undefined-only") - allowed):
    if re.fullmatch(never, name):
        wrong.append(f"{name}: called by {library}")
print("\n".join(wrong) or f"{len(shown)} functions are declared, listed and shown, and nothing else")
sys.exit(bool(wrong))
