"""What the scripts beside this one say of the files that they write, for writers_test.cpp.

cases.json lists the files. Beside each lies FILE.npy: the numbers that the reader has to give, as float32, in the
order in which the axes are shown.
"""
import json
import pathlib

import numpy as np

ENERGY = {"name": "Energy loss", "units": "eV", "offset": 420.0, "scale": 0.25}
PLACES = [{"name": "t", "units": "s", "offset": 0.0, "scale": 2.0},
          {"name": "y", "units": "nm", "offset": 1.0, "scale": 0.5},
          {"name": "x", "units": "nm", "offset": -2.0, "scale": 0.125}]
KINDS = ["single spectrum", "line scan", "spectrum image", "4-dimensional data set"]
SIZES = [3, 4, 5, 37]  # t, y, x, E


def axes(places):
    """Of a cube with so many navigation axes."""
    return PLACES[3 - places:] + [ENERGY]


def cube(places, dtype):
    """Numbers that use the type's range: counts, negative ones where it has them, and its ends."""
    shape = SIZES[3 - places:]
    count = int(np.prod(shape))
    dtype = np.dtype(dtype)
    random = np.random.default_rng(count)
    if dtype.kind == "f":
        data = random.normal(100, 300, count).astype(dtype)
    else:
        ends = np.iinfo(dtype)
        data = random.integers(0 if dtype.kind == "u" else -100, 100, count).astype(dtype)
        data[[0, -1]] = [ends.max, ends.min]
    return data.reshape(shape)


class Cases:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.list = []

    def path(self, name):
        return str(self.folder / name)

    def add(self, name, data, of=None, metadata_of=None, **more):
        """data: in display order; of: its axes; metadata_of: another file that has the same metadata."""
        np.save(self.path(name + ".npy"), np.ascontiguousarray(data.astype("<f4")))
        places = data.ndim - 1
        self.list.append({"file": name, "kind": KINDS[places], "dtype": data.dtype.name, "signal": "EELS",
                          "axes": [dict(axis, size=size) for axis, size in zip(of or axes(places), data.shape)],
                          **({"metadata_of": metadata_of} if metadata_of else {}), **more})

    def refuse(self, name, words):
        """A file that is refused with words that contain these."""
        self.list.append({"file": name, "refused": words})

    def finish(self):
        (self.folder / "cases.json").write_text(json.dumps(self.list))
