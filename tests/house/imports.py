#!/usr/bin/env python3
"""Checks that imports point one way.

Every room builds on the rooms named beside it, and may include these and what they build on, and nothing else.
Within a room, and over all, no two units (a header and its source) include each other in a circle. Nothing above
kernels/ knows a particular backend. Tests, benchmarks and fuzz targets may use everything.

Usage: imports.py SOURCE_FOLDER
"""
import pathlib
import re
import sys

builds_on = {
    "kernels": [],
    "engine": ["kernels"],  # the configuration, how work is stopped, how many threads it takes
    "engine/image": ["engine"],
    "engine/network": ["engine/image"],
    "engine/prepare": ["engine/image"],
    "engine/noise": ["engine/prepare"],
    "engine/train": ["engine/network", "engine/noise"],
    "engine/score_head": ["engine/network"],
    "engine/detect": ["engine/score_head", "engine/noise"],
    "engine/specimen": ["engine/image"],
    "engine/live": ["engine/detect"],
    "engine/study": ["engine/train", "engine/detect", "engine/specimen"],
    "engine/bench": ["engine/network", "engine/detect"],
    "io/files": ["engine"],
    "io/terminal": ["io/files"],
    "io/containers": ["io/files"],
    "io/reader": ["io/containers"],
    "io/formats": ["io/containers", "engine/image"],
    "io/simplon": ["io/files", "engine/image"],
    "io/config": ["io/files", "engine/study"],
    "io/model": ["io/config", "engine/live"],
    "io/reports": ["io/config", "engine/bench"],
    "io/run": ["io/model", "io/formats", "io/reports", "io/terminal"],
    "io/batch": ["io/run"],
    "io/serve": ["io/run", "io/simplon"],
    "include/eelsvae": [],
    "interface": ["io/model", "include/eelsvae"],
    "python": ["interface", "io/formats", "io/reports"],
    "apps": ["io/run", "io/batch", "io/serve"],
}
suffixes = (".h", ".cpp", ".cu", ".cuh")
root = pathlib.Path(sys.argv[1])


def below(room):
    rooms = {room}
    for other in builds_on[room]:
        rooms |= below(other)
    return rooms


def room_of(path):
    """The longest of the rooms' names that the path begins with; None: of no room."""
    return max((r for r in builds_on if path.startswith(r + "/")), key=len, default=None)


allowed = {room: below(room) for room in builds_on}
wrong, files, includes = [], 0, {}
for top in sorted({room.split("/")[0] for room in builds_on}):
    for path in sorted((root / top).rglob("*")):
        if path.suffix not in suffixes:
            continue
        files += 1
        name = str(path.relative_to(root))
        room = room_of(name)
        parent = str(pathlib.PurePath(name).parent)
        if room is None or (room != "kernels" and parent != room):
            wrong.append(f"{name}: {parent}/ is no room of tests/house/imports.py")
            continue
        unit = str(pathlib.PurePath(name).with_suffix(""))
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = re.match(r'\s*#\s*include\s+"(\w+/[\w/]+)\.h"', line)
            if not found:
                continue
            other = room_of(found[1])
            if other and other not in allowed[room]:
                wrong.append(f"{name}:{number}: {room} does not build on {other}")
            if room != "kernels" and re.match(r"kernels/\w+/", found[1]):
                wrong.append(f"{name}:{number}: {room} must not include a backend")
            if found[1] != unit:
                includes.setdefault(unit, set()).add(found[1])

# Circles: depth first, with the way to where the search stands.
done, way = set(), []


def visit(unit):
    if unit in done:
        return
    if unit in way:
        wrong.append("a circle: " + " -> ".join(way[way.index(unit):] + [unit]))
        return
    way.append(unit)
    for other in sorted(includes.get(unit, ())):
        visit(other)
    way.pop()
    done.add(unit)


for unit in sorted(includes):
    visit(unit)
print("\n".join(wrong) or f"{files} files in {len(builds_on)} rooms, imports point one way")
sys.exit(1 if wrong or files == 0 else 0)
