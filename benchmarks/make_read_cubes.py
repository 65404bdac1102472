#!/usr/bin/env python3
"""Writes the DM4 files that benchmark_read_cube was measured on, float32 and uint16, energy slowest.

Usage: make_read_cubes.py EELSVAE_CONVERT FOLDER [--side 640] [--channels 1340]

The float32 file comes from eelsvae-convert. The uint16 file is the same with another element type: the tags that
name it, and the data. Needs NumPy and, for the default size, 6 GB of disk.
"""
import argparse
import struct
import subprocess
from pathlib import Path

import numpy as np

FLOAT, USHORT = 6, 4  # Gatan's codes for the type of an array's elements
UINT16_DATA, UINT16_BYTES = 10, 2  # ImageData.DataType and PixelDepth


def set_int(part, name, value):
    at = part.find(name)
    if at >= 0:
        at = part.index(b"%%%%", at) + 20  # behind the number of words and the type, 8 bytes each
        part[at : at + 4] = struct.pack("<i", value)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("convert")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", type=int, default=640)
    parser.add_argument("--channels", type=int, default=1340)
    a = parser.parse_args()
    npy, f32, u16 = (a.folder / name for name in ("cube.npy", "f32.dm4", "uint16.dm4"))
    plane = np.arange(a.side * a.side, dtype=np.uint32).reshape(a.side, a.side) % 60000
    cube = np.lib.format.open_memmap(npy, "w+", "<f4", (a.channels, a.side, a.side))
    for e in range(a.channels):
        cube[e] = plane + e
    cube.flush()
    subprocess.run([a.convert, npy, f32, "--set", "data.axes=Eyx"], check=True)
    npy.unlink()

    count = a.side * a.side * a.channels
    with open(f32, "rb") as file:
        head = file.read(20000)
        array = b"%%%%" + struct.pack(">QQQQ", 3, 20, FLOAT, count)
        start = head.index(array) + len(array)
        before = bytearray(head[:start].replace(array, b"%%%%" + struct.pack(">QQQQ", 3, 20, USHORT, count)))
        file.seek(start + 4 * count)
        behind = bytearray(file.read())
    for part in (before, behind):
        set_int(part, b"DataType", UINT16_DATA)
        set_int(part, b"PixelDepth", UINT16_BYTES)
    with open(u16, "wb") as file:
        file.write(before)
        for e in range(a.channels):
            file.write((plane + e).astype("<u2").tobytes())
        file.write(behind)


if __name__ == "__main__":
    main()
