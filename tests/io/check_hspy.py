"""Opens a file with HyperSpy and prints what HyperSpy makes of it, as JSON.

    /usr/bin/python3 tests/io/check_hspy.py FILE.hspy

Exit status 77 if HyperSpy is not installed.
"""
import json
import logging
import sys
import warnings

try:
    import numpy as np
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # HyperSpy's own, about the libraries it uses
        import hyperspy.api as hs
except ImportError:
    sys.exit(77)

complaints = []


class Collector(logging.Handler):
    def emit(self, record):
        complaints.append(record.getMessage())


logging.getLogger("hyperspy").addHandler(Collector(logging.WARNING))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    warnings.simplefilter("ignore", DeprecationWarning)  # of the libraries that HyperSpy uses
    signal = hs.load(sys.argv[1])
complaints += [str(warning.message) for warning in caught]

# In HyperSpy's own order, signal axes last and fastest.
axes = sorted(signal.axes_manager._axes, key=lambda axis: axis.index_in_array)
data = signal.data.astype("f8")
print(json.dumps({
    "class": type(signal).__name__,
    "title": signal.metadata.General.title,
    "signal_type": signal.metadata.Signal.signal_type,
    "dtype": str(signal.data.dtype),
    "shape": signal.data.shape,
    "axes": [{"name": str(axis.name), "units": str(axis.units), "offset": axis.offset, "scale": axis.scale,
              "size": axis.size, "navigate": bool(axis.navigate), "binned": bool(axis.is_binned)} for axis in axes],
    # Depends on every value's place.
    "checksum": float((data.ravel() * (np.arange(data.size) % 1009)).sum()),
    "metadata": {key: value for key, value in signal.metadata.as_dictionary().items() if key != "_HyperSpy"},
    "original_metadata": signal.original_metadata.as_dictionary(),
    "complaints": complaints,
}, default=lambda value: value.tolist()))
