"""From and to signals of HyperSpy, which is imported where one is asked for, and not before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import _engine
from ._error import Error

_Axis = tuple[str, str, float, float]  # name, units, offset, scale


def is_signal(given: Any) -> bool:
    return hasattr(given, "axes_manager") and hasattr(given, "data")


def _axis(axis: Any, energies: bool) -> _Axis:
    if not getattr(axis, "is_uniform", True):
        raise Error(f"the axis {axis.name} is not uniform; give a signal with offset and scale, such as by "
                            "interpolate_on_axis()")
    name, units = (value if isinstance(value, str) else "" for value in (axis.name, axis.units))  # or undefined
    return _engine.convert_axis((name, units, float(axis.offset), float(axis.scale)), energies)


def parts_of(signal: Any) -> tuple[np.ndarray, _Axis, _Axis, _Axis, str, dict[str, Any]]:
    """Counts (y, x, E), the axes y, x and energy, title and metadata of a signal of one dimension."""
    manager = signal.axes_manager
    if manager.signal_dimension != 1 or manager.navigation_dimension not in (1, 2):
        raise Error(f"the signal has {manager.navigation_dimension} dimensions of navigation and "
                            f"{manager.signal_dimension} of signal; give spectra, one dimension, of a map or a line")
    x, *rest = (_axis(axis, False) for axis in manager.navigation_axes)
    data = signal.data
    if hasattr(data, "dask"):
        import dask.array
        counts = np.empty(data.shape, data.dtype)
        dask.array.store(data, counts, lock=False)  # chunk by chunk, into the one array that is needed
    else:
        counts = data
    # Where they lie in the array; a line of spectra is one row.
    places = [axis.index_in_array for axis in reversed(manager.navigation_axes)]
    counts = np.transpose(counts, (*places, manager.signal_axes[0].index_in_array))
    if not rest:
        counts = counts[np.newaxis]
    y = rest[0] if rest else ("y", x[1], 0.0, 1.0)
    energy = _axis(manager.signal_axes[0], True)
    return counts, y, x, energy, signal.metadata.General.title, signal.metadata.as_dictionary()


def signal_of(array: np.ndarray, axes: Sequence[_Axis], title: str) -> Any:
    """A Signal2D of a map (y, x), or a Signal1D of spectra (y, x, E); axes: (name, units, offset, scale)."""
    try:
        import hyperspy.api as hs
    except ImportError as missing:
        raise Error(f"signals are HyperSpy's, which cannot be imported ({missing}); pip install hyperspy, or take the "
                    "arrays") from missing
    kind = hs.signals.Signal2D if array.ndim == 2 else hs.signals.Signal1D
    return kind(array, axes=[dict(name=name, units=units, offset=offset, scale=scale, size=size, navigate=navigate)
                             for (name, units, offset, scale), size, navigate
                             in zip(axes, array.shape, [array.ndim == 3] * 2 + [False])],
                metadata={"General": {"title": title}})
