"""HyperSpy's half of RippleTest.AgreesWithHyperSpy: write .rpl and .raw pairs for the test to read into a folder.

Exit status 77 if HyperSpy is not installed.
"""
import os
import sys

try:
    import hyperspy.api as hs
    import numpy as np
except ImportError:
    sys.exit(77)

folder = sys.argv[1]
for code in ["<f4", "<f8", "<u1", ">u2", "<i4", ">i8"]:
    signal = hs.signals.Signal1D(np.arange(24).reshape(2, 3, 4).astype(code))
    signal.set_signal_type("EELS")
    signal.metadata.General.title = "a title"
    signal.metadata.set_item("Acquisition_instrument.TEM.beam_energy", 200.0)
    for axis, name, scale, offset, units in [(0, "x", 0.5, 1, "nm"), (1, "y", 2, -3, "nm"),
                                             (2, "Energy loss", 0.25, 420.5, "eV")]:
        signal.axes_manager[axis].name = name
        signal.axes_manager[axis].scale = scale
        signal.axes_manager[axis].offset = offset
        signal.axes_manager[axis].units = units
    try:
        signal.save(os.path.join(folder, "si_" + code.replace("<", "little_").replace(">", "big_") + ".rpl"))
    except TypeError:
        sys.exit(77)
signal.inav[:, 0].save(os.path.join(folder, "line.rpl"))
signal.inav[0, 0].save(os.path.join(folder, "spectrum.rpl"))
hs.signals.Signal2D(np.arange(6.0).reshape(2, 3)).save(os.path.join(folder, "image.rpl"))
