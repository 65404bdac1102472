"""NumPy's half of NpyTest.AgreesWithNumPy: check what the test wrote into a folder, write files for it to read.

Exit status 77 if NumPy is not installed.
"""
import os
import sys

try:
    import numpy as np
    from numpy.lib import format as npy_format
except ImportError:
    sys.exit(77)

folder = sys.argv[1]

ours = np.load(os.path.join(folder, "ours_f4.npy"))
assert ours.dtype == np.dtype("<f4") and ours.flags.c_contiguous, ours.dtype
assert np.array_equal(ours, np.arange(6, dtype="f4").reshape(1, 2, 3)), ours
mask = np.load(os.path.join(folder, "ours_b1.npy"))
assert mask.dtype == bool and np.array_equal(mask, [[True], [False], [True]]), mask

codes = [order + code for order in "<>" for code in ["i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"]]
for code in codes + ["b1", "i1", "u1"]:
    values = np.arange(24).reshape(2, 3, 4)
    values = (values % 2 if code == "b1" else values).astype(code)
    for version in [(1, 0), (2, 0), (3, 0)]:
        name = f"theirs_{code.replace('<', 'little_').replace('>', 'big_')}_{version[0]}.npy"
        with open(os.path.join(folder, name), "wb") as file:
            npy_format.write_array(file, values, version=version)
    if code[-2:] in ("b1", "u2", "f4", "f8"):
        np.save(os.path.join(folder, name.replace("_3.npy", "_fortran.npy")), np.asfortranarray(values))
