"""Writes an EELS spectrum image (y, x, E) = (3, 4, 50) with HyperSpy, the i-th value being i.

    /usr/bin/python3 tests/io/write_with_hyperspy.py FILE.hspy|FILE.zspy|FILE.emd

Exit status 77 if HyperSpy is not installed.
"""
import sys
import warnings

try:
    import numpy as np
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # HyperSpy's own, about the libraries it uses
        import hyperspy.api as hs
except ImportError:
    sys.exit(77)

warnings.simplefilter("ignore")
signal = hs.signals.Signal1D(np.arange(600, dtype="f4").reshape(3, 4, 50), axes=[
    {"name": "y", "units": "nm", "offset": 1, "scale": 0.5, "size": 3},
    {"name": "x", "units": "nm", "offset": -2, "scale": 0.25, "size": 4},
    {"name": "Energy loss", "units": "eV", "offset": 420, "scale": 0.3, "size": 50},
])
signal.set_signal_type("EELS")
signal.metadata.General.title = "made by HyperSpy"
signal.original_metadata.add_dictionary({"microscope": {"voltage": 300.0, "name": "TEM", "edges": ["Fe", "O", ""]}})
signal.save(sys.argv[1], **({"compression": "lzf"} if sys.argv[1].endswith(".hspy") else {}))
