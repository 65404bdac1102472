"""What is given as numbers, and its memory as the engine takes it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._error import Error


def numbers(given: Any, name: str) -> np.ndarray:
    """As an array of any layout, not copied where it is one. Error for what is no numbers that the engine takes."""
    if isinstance(given, np.ma.MaskedArray):
        raise Error(f"{name}: a masked array; give its data, and the pixels to be left out as excluded")
    if hasattr(given, "toarray") or hasattr(given, "todense"):
        raise Error(f"{name}: sparse arrays are not taken; give an ordinary one")
    array = np.asarray(given)
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise Error(f"{name}: of type {array.dtype}; give integers or floats of 64 bits at most")
    return array


def memory_of(array: np.ndarray) -> np.ndarray:
    """The very memory of numbers(), but for what few arrays have to be copied."""
    if array.dtype == bool:
        array = array.view(np.uint8)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if any(stride % array.itemsize for stride in array.strides) or not array.flags.aligned:
        array = array.copy()  # fields of a record
    # One number that stands for all, as of np.broadcast_to: no strides at all would say that all are there.
    return array if any(array.strides) else array.copy()
