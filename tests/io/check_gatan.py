"""Opens a DM3 or DM4 file with HyperSpy and prints what HyperSpy makes of it, as JSON.

    /usr/bin/python3 tests/io/check_gatan.py FILE.dm4

HyperSpy 1 reads such files itself, HyperSpy 2 through RosettaSciIO. Exit status 77 if it is not installed.
"""
import json
import sys
import warnings

try:
    import numpy as np
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # HyperSpy's own, about the libraries it uses
        import hyperspy.api as hs
except ImportError:
    sys.exit(77)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    signals = hs.load(sys.argv[1])


def describe(signal):
    # In HyperSpy's own order, signal axes last and fastest.
    axes = sorted(signal.axes_manager._axes, key=lambda axis: axis.index_in_array)
    data = signal.data.astype("f8")
    return {
        "class": type(signal).__name__,
        "title": signal.metadata.General.title,
        "signal_type": signal.metadata.Signal.signal_type,
        "dtype": str(signal.data.dtype),
        "shape": signal.data.shape,
        "axes": [{"name": str(axis.name), "units": str(axis.units), "offset": axis.offset, "scale": axis.scale,
                  "size": axis.size, "navigate": bool(axis.navigate)} for axis in axes],
        # Depends on every value's place.
        "checksum": float((data.ravel() * (np.arange(data.size) % 1009)).sum()),
        "metadata": {key: value for key, value in signal.metadata.as_dictionary().items() if key != "_HyperSpy"},
    }


print(json.dumps([describe(signal) for signal in (signals if isinstance(signals, list) else [signals])],
                 default=lambda value: value.tolist()))
