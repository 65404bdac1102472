"""PNG, so that a notebook shows a map without matplotlib."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(colours: np.ndarray) -> bytes:
    """(y, x, 3) bytes of red, green and blue."""
    height, width, _ = colours.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), colours.reshape(height, -1)], axis=1)  # 0: no filter
    return (b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + _chunk(b"IDAT", zlib.compress(rows.tobytes())) + _chunk(b"IEND", b""))


def outlined_map(colours: np.ndarray, mask: np.ndarray) -> str:
    """A map (y, x, 3) as the source of an <img>, large enough to look at, with what the mask holds outlined."""
    factor = max(1, 384 // max(mask.shape))
    large = colours.repeat(factor, 0).repeat(factor, 1)
    if factor >= 3:
        inside = np.pad(mask.repeat(factor, 0).repeat(factor, 1), 1)
        middle = inside[1:-1, 1:-1]
        around = inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
        large[middle & ~around] = (255, 60, 60)
    return "data:image/png;base64," + base64.b64encode(png(large)).decode()
