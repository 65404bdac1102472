"""NumPy's half of NpzTest.AgreesWithNumPy: write archives for the test to read into a folder.

Exit status 77 if NumPy is not installed.
"""
import os
import sys

try:
    import numpy as np
except ImportError:
    sys.exit(77)

folder = sys.argv[1]
cube = np.arange(2 * 3 * 4).reshape(2, 3, 4)
energy = 100 + 0.25 * np.arange(4)
for writer in [np.savez, np.savez_compressed]:
    kind = writer.__name__
    for code in ["<u2", ">i4", "<f8", ">f4", "u1"]:
        name = os.path.join(folder, f"{kind}_{code.replace('<', 'little_').replace('>', 'big_')}.npz")
        writer(name, data=cube.astype(code), energy=energy)
    writer(os.path.join(folder, f"{kind}_fortran.npz"), X=np.asfortranarray(cube.astype(">u2")), eV=energy)
    writer(os.path.join(folder, f"{kind}_energy_first.npz"), cube=cube.transpose(2, 0, 1).copy(),
           E=energy.astype(">f8"), comment="text is no image", title=np.array(["a"], dtype=object))
    writer(os.path.join(folder, f"{kind}_energy_middle.npz"), cube.transpose(0, 2, 1).copy(), energy=energy)
